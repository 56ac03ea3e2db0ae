"""The exercise of chapter 0, Welcome."""

from numbers import Integral

from organseg.course import exercise
from organseg.organs import NUM_CLASSES


@exercise("0.1")
def number_of_classes(answer):
    """Eight classes: seven organs and the background, which is class 0."""
    if not isinstance(answer, Integral):
        return "The answer is a whole number, such as 5."
    if answer == NUM_CLASSES:
        return None
    if answer == NUM_CLASSES - 1:
        return "What does the network say at a voxel of the spine, which belongs to none of the organs?"
    if answer == 1:
        return "It gives one word per voxel; but how many words can it choose from?"
    return "Count the organs in the legend above, and do not forget the voxels without colour."
