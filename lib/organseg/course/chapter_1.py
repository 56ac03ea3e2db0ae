"""The exercises of chapter 1, A CT is numbers with a geometry."""

import numpy as np
from nibabel.affines import apply_affine, from_matvec

from organseg.course import Found, drawn, number


def exercise_1_1(answer):
    """Swapping axes moves the letters, turning an axis round changes one: the three letters tell
    what was done."""
    whole = np.iterable(answer) and all(isinstance(part, str) for codes in answer for part in codes)
    codes = ["".join(letters).upper() for letters in answer] if whole else []
    three = [len(letters) for letters in codes] == [3, 3, 3]
    yield {'Give three strings of three letters each, such as ("RAS", "RAS", "RAS").': not three}
    first, second, third = codes
    yield {
        "Where an axis is turned round, its index grows towards the other end: which letter is "
        "opposite to A?": second == "RAS",
        "In the second, the order of the axes stays; only the letters of the turned axes change.":
            second != "RPI",
        "In the first, transpose(2, 0, 1) makes the old axis 2 the new axis 0. You sent axis 0 to "
        "place 2.": first == "ASR",
        "In the first, nothing is turned round: it has the letters of RAS, in the order 2, 0, 1.":
            first != "SRA",
        "In the third, the steps are done from left to right: first an axis is turned, then two "
        "are swapped.": third == "ALS",
        "In the third, the scan is LPS to begin with. Do one step, write the letters down, then do "
        "the next.": third != "PRS"}  # fmt: skip


def _scans():
    """Small scans in three orientations, with numbers for what is looked at."""
    turn = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.1], [0.0, -0.1, 1.0]])
    oblique = turn @ np.diag([-2.0, 3.0, 2.5])[:, [1, 2, 0]]
    for seed, linear in enumerate((np.diag([2.0, 2, 4]), np.diag([-1.5, -2, 3]), oblique)):
        rng = np.random.default_rng(seed)
        affine = from_matvec(linear, rng.uniform(-90, -30, 3))
        yield rng.permutation(6 * 7 * 8).reshape(6, 7, 8) - 99.5, affine, rng


def _probes(shape, rng):
    """Indices at which to look: near voxels inside, and on both sides of each border."""
    voxels = rng.integers(1, 5, (6, 3))
    yield from (*voxels, *(voxels + rng.uniform(0.55, 0.95, (6, 3))))
    yield from voxels + rng.uniform(-0.45, 0.45, (6, 3))
    for axis, size in enumerate(shape):
        for border in (0, -0.4, size - 1, size - 0.6, -0.6, -1, -2, size - 0.4, size, size + 3):
            probe = rng.uniform(1.6, 2.4, 3)
            probe[axis] = border
            yield probe


def exercise_1_2(answer):
    """The affine's inverse, the nearest voxel, and a look at the border: so every program reads a
    value at a place."""
    for image, affine, rng in _scans():
        for probe in _probes(image.shape, rng):
            found = number(answer(image, affine, apply_affine(affine, probe)))
            voxel = tuple(np.rint(probe).astype(int))
            inside = all(0 <= index < size for index, size in zip(voxel, image.shape, strict=True))
            at_border = inside and not all(1 <= index < 5 for index in probe)
            cut = image[tuple(probe.astype(int) % image.shape)]
            yield found == (image[voxel] if inside else -1000) or {
                "Inside the scan all is right; outside there is air. To NumPy, index -1 means the "
                "last voxel.": not inside,
                "You take a voxel next to the right one. What does int() do to 7.9, and what "
                "does rounding?": found == cut,
                "You say air for a place in an outermost voxel. The first index is 0, the last is "
                "size - 1; round before you compare.": at_border and found == -1000,
                "You say air for a place inside the scan. Which matrix leads from mm to an index?":
                    found == -1000,
                "That is another voxel. Which matrix leads from mm to an index? Did you add its "
                "last column too?": True}  # fmt: skip


def exercise_1_3(answer):
    """The centre of a block is the mean of the centres in it: a wrong origin would shift every
    organ."""
    factors = 4, 2, 5, 1, 3, *(factor for (factor,) in drawn(3, (6, 12)))
    for factor, (_, affine, _) in ((factor, scan) for factor in factors for scan in _scans()):
        found = Found(answer(affine, factor))
        yield {f"An affine has the shape (4, 4); yours has {found.shape}.": found.shape != (4, 4)}
        steps, place = Found(found[:3, :3]), Found(found[:3, 3])
        linear, origin, middle = affine[:3, :3], affine[:3, 3], np.full(3, (factor - 1) / 2)
        right = from_matvec(factor * linear, apply_affine(affine, middle))
        along_x_y_z = middle * np.linalg.norm(linear, axis=0)
        yield found == right or {
            "The fourth row of an affine is always 0 0 0 1.": Found(found[3]) != right[3],
            "One step of the new index leads `factor` times as far, so three columns of the affine "
            "change.": steps == linear,
            "The new columns should be the old ones times `factor`, in the same directions.":
                steps != factor * linear,
            "The spacing is right. But the first block's centre does not lie where voxel (0, 0, 0) "
            "does.": place == origin,
            "The last column is a place, not a step: if the scan lies 100 mm away, a coarse one "
            "lies no further.": place == factor * origin,
            "Nearly: for factor 4, what is the mean of the indices 0, 1, 2, 3?":
                place == apply_affine(affine, middle + 0.5),
            "The centre moves along the axes of the array, and these may run in any direction: ask "
            "the old affine.": place == origin + middle or place == origin + along_x_y_z,
            "The centre's index counts voxels of the old array: multiply it by the old columns, "
            "not the new ones.": place == origin + factor * linear @ middle,
            "The spacing is right. Which index has the first block's centre, in the old array, and "
            "where is that in mm?": True}  # fmt: skip
