"""The exercises of chapter 1, A CT is numbers with a geometry."""

import numpy as np
from nibabel.affines import apply_affine

from organseg.course import exercise


@exercise("1.1")
def axis_codes(answer):
    """Swapping axes moves the letters, turning an axis round changes one: the three letters tell
    what was done."""
    if (
        not isinstance(answer, tuple | list)
        or len(answer) != 3
        or not all(isinstance(code, str) for code in answer)
    ):
        return 'Give three strings of three letters each, such as ("RAS", "RAS", "RAS").'
    first, second, third = (code.upper() for code in answer)
    if second == "RAS":
        return "Where an axis is turned round, its index grows towards the other end: which letter is opposite to A?"
    if second != "RPI":
        return "In the second, the order of the axes stays; only the letters of the turned axes change."
    if first == "ASR":
        return "In the first, transpose(2, 0, 1) makes the old axis 2 the new axis 0. You sent axis 0 to place 2."
    if first != "SRA":
        return "In the first, nothing is turned round: it has the letters of RAS in another order."
    if third == "ALS":
        return "In the third, the steps are done from left to right: first an axis is turned, then two are swapped."
    if third != "PRS":
        return "In the third, the scan is LPS to begin with. Do one step, write the letters down, then do the next."
    return None


def _scans():
    """Small scans in three orientations, each with indices near which to look."""
    turn = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.1], [0.0, -0.1, 1.0]])
    linear_parts = (
        np.diag([2.0, 2.0, 4.0]),
        np.diag([-1.5, -2.0, 3.0]),
        turn @ np.diag([-2.0, 3.0, 2.5])[:, [1, 2, 0]],
    )
    for seed, linear in enumerate(linear_parts):
        rng = np.random.default_rng(seed)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = linear, rng.uniform(-90, -30, 3)
        yield rng.permutation(6 * 7 * 8).reshape(6, 7, 8), affine, rng.integers(1, 5, (6, 3)), rng


@exercise("1.2")
def hu_at(answer):
    """The affine's inverse, the nearest voxel, and a look at the border: so every program reads a
    value at a place."""
    for image, affine, indices, rng in _scans():
        for index in indices:
            beside = index + rng.uniform(0.55, 0.95, 3)  # nearest to the next voxel along each axis
            for near, voxel in ((index, index), (beside, index + 1)):
                said = float(answer(image, affine, tuple(apply_affine(affine, near))))
                if said == image[tuple(voxel)]:
                    continue
                if said == image[tuple(index)]:
                    return "You take a voxel next to the right one. What does int() do to 7.9, and what does rounding?"
                if said == -1000:
                    return "You say air for a place inside the scan. Which matrix leads from mm to an index?"
                return "That is another voxel. Which matrix leads from mm to an index? Did you add its last column too?"
        for outside in ([-2, 3, 3], [3, -1, 4], [2, 2, -3], [8, 3, 3], [3, 9, 4], [2, 2, 11]):
            if float(answer(image, affine, tuple(apply_affine(affine, outside)))) != -1000:
                return "Inside the scan all is right; outside there is air. To NumPy, index -1 means the last voxel."
    return None


@exercise("1.3")
def affine_of_means(answer):
    """The centre of a block is the mean of the centres in it: a wrong origin would shift every
    organ."""
    hint = None
    for factor in (2, 4, 5):
        for _, affine, _, _ in _scans():
            said = np.asarray(answer(affine.copy(), factor), dtype=float)
            if said.shape != (4, 4):
                return f"An affine has the shape (4, 4); yours has {said.shape}."
            if not np.allclose(said[3], (0, 0, 0, 1)):
                return "The fourth row of an affine is always 0 0 0 1."
            hint = hint or _hint(said, affine, factor)
    return hint


def _hint(said, affine, factor):
    linear, origin = affine[:3, :3], affine[:3, 3]
    if np.allclose(said[:3, :3], linear):
        return "One step of the new index leads `factor` times as far, so three columns of the affine change."
    if not np.allclose(said[:3, :3], factor * linear):
        return "The new columns should be the old ones times `factor`, in the same directions."

    def is_origin(place):
        return np.allclose(said[:3, 3], place)

    if is_origin(apply_affine(affine, np.full(3, (factor - 1) / 2))):
        return None
    if is_origin(origin):
        return "The spacing is right. But the first block's centre does not lie where voxel (0, 0, 0) does."
    if is_origin(factor * origin):
        return "The last column is a place, not a step: if the scan lies 100 mm away, a coarse one lies no further."
    if is_origin(apply_affine(affine, np.full(3, factor / 2))):
        return "Nearly: for factor 4, what is the mean of the indices 0, 1, 2, 3?"
    if is_origin(origin + (factor - 1) / 2) or is_origin(
        origin + (factor - 1) / 2 * np.linalg.norm(linear, axis=0)
    ):
        return "The centre moves along the axes of the array, and these may run in any direction: ask the old affine."
    if is_origin(origin + factor * linear @ np.full(3, (factor - 1) / 2)):
        return "The centre's index counts voxels of the old array: multiply it by the old columns, not the new ones."
    return "The spacing is right. Which index has the first block's centre, in the old array, and where is that in mm?"
