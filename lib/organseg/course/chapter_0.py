"""The exercise of chapter 0, Welcome."""

from numbers import Integral

from organseg.organs import NUM_CLASSES


def exercise_0_1(answer):
    """Eight classes: seven organs and the background, which is class 0."""
    yield {"The answer is a whole number, such as 5.": not isinstance(answer, Integral)}
    yield answer == NUM_CLASSES or {
        "What does the network say at a voxel of the spine, which belongs to none of the "
        "organs?": answer == NUM_CLASSES - 1,
        "It gives one word per voxel; but how many words can it choose from?": answer == 1,
        "Count the organs in the legend above, and do not forget the voxels without colour.": True,
    }  # fmt: skip
