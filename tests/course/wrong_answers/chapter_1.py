"""Typical wrong answers to the exercises of chapter 1: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def truncates(image, affine, place):
    """Takes `int` for rounding. It cuts off: a place nearer to the next voxel gets the one before."""
    index = (np.linalg.inv(affine) @ [*place, 1])[:3]
    i, j, k = index.astype(int)
    inside = min(i, j, k) >= 0 and all(n < size for n, size in zip((i, j, k), image.shape, strict=True))
    return image[i, j, k] if inside else -1000


def forgets_the_origin(image, affine, place):
    """Inverts only the 3 × 3 part of the affine, as if voxel (0, 0, 0) lay at 0 mm."""
    index = np.rint(np.linalg.inv(affine[:3, :3]) @ place).astype(int)
    return image[tuple(index)] if np.all((index >= 0) & (index < image.shape)) else -1000


def never_looks_at_the_border(image, affine, place):
    """Forgets that NumPy counts negative indices from the end: a place outside gets a value from the other side."""
    index = np.rint((np.linalg.inv(affine) @ [*place, 1])[:3]).astype(int)
    return image[tuple(index % image.shape)]


def stays_at_the_border(image, affine, place):
    """Thinks that the border goes on outside the scan, as in a padded image. Outside there is air."""
    index = np.rint((np.linalg.inv(affine) @ [*place, 1])[:3]).astype(int)
    return image[tuple(np.clip(index, 0, np.array(image.shape) - 1))]


def goes_the_wrong_way(image, affine, place):
    """Takes the affine for the way from millimetres to voxels. It leads from voxels to millimetres."""
    index = np.rint((affine @ [*place, 1])[:3]).astype(int)
    return image[tuple(index % image.shape)]


def leaves_the_origin(affine, factor):
    """Makes the steps longer and leaves the first voxel where it was. The middle of a block is not the middle of its
    first voxel.
    """
    coarse = affine.copy()
    coarse[:3, :3] *= factor
    return coarse


def multiplies_the_origin(affine, factor):
    """Multiplies the origin as if it were a step."""
    coarse = affine.copy()
    coarse[:3] *= factor
    return coarse


def multiplies_everything(affine, factor):
    """Multiplies the affine like any array, with the row 0, 0, 0, 1 that makes it an affine."""
    return affine * factor


def moves_half_a_block(affine, factor):
    """Measures half a block from the edge of the first voxel. An index means the middle of a voxel."""
    coarse = leaves_the_origin(affine, factor)
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, factor / 2)
    return coarse


def moves_along_x_y_z(affine, factor):
    """Moves the origin along the patient's axes, as if the array's axes were never turned."""
    coarse = leaves_the_origin(affine, factor)
    coarse[:3, 3] += (factor - 1) / 2 * np.linalg.norm(affine[:3, :3], axis=0)
    return coarse


def only_moves(affine, factor):
    """Moves the origin and forgets that the voxels have become larger."""
    coarse = affine.copy()
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return coarse


WRONG = [
    (
        "1.1",
        ("ASR", "RPI", "PRS"),
        "You sent axis 0",
        "Reads `transpose(2, 0, 1)` as where each old axis goes. It says where each new axis comes from.",
    ),
    (
        "1.1",
        ("SRA", "RAS", "PRS"),
        "opposite to A",
        "Thinks that an axis turned round keeps its letter. The letter names the end towards which the index grows.",
    ),
    (
        "1.1",
        ("SRA", "RPI", "ALS"),
        "from left to right",
        "Does the two steps in the other order: swaps the axes first, and turns one round then.",
    ),
    ("1.1", ("SRA", "RPI", "ARS"), "LPS to begin with", "Forgets that the third scan is LPS to begin with."),
    ("1.1", "SRA", "three strings", "Answers for one array of the three."),
    ("1.2", truncates, "What does int() do"),
    ("1.2", forgets_the_origin, "Which matrix leads"),
    ("1.2", goes_the_wrong_way, "another voxel"),
    ("1.2", never_looks_at_the_border, "means the last voxel"),
    ("1.2", stays_at_the_border, "outside there is air"),
    ("1.3", leaves_the_origin, "does not lie where"),
    ("1.3", multiplies_the_origin, "a place, not a step"),
    ("1.3", multiplies_everything, "fourth row"),
    ("1.3", moves_half_a_block, "mean of the indices"),
    ("1.3", moves_along_x_y_z, "ask the old affine"),
    ("1.3", only_moves, "three columns"),
]
