"""The exercise of chapter 0, Welcome."""

from organseg.course import number
from organseg.organs import NUM_CLASSES


def exercise_0_1(answer):
    """Eight classes: seven organs and the background, which is class 0."""
    found = number(answer)
    yield {"The answer is a whole number, such as 5.": found % 1 != 0}
    yield found == NUM_CLASSES or {
        "What does the network say at a voxel of the spine, which belongs to none of the "
        "organs?": found == NUM_CLASSES - 1,
        "It gives one word per voxel; but how many words can it choose from?": found == 1,
        "Count the organs in the legend above, and do not forget the voxels without colour.": True,
    }  # fmt: skip
