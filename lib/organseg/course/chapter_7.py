"""The exercises of chapter 7, Data that isn't there: augmentation."""

import numpy as np

from organseg.course import Found, drawn, number, tried


def exercise_7_1(answer):
    """Six per axis for the paper's crop, 3 · 6³ numbers in all: a deformation is drawn from no more
    than these."""
    cases = [(64, 24), (49, 24), (48, 24), (1, 24), (25, 24), (32, 12), (100, 7)]
    cases += drawn(40, (1, 200), (1, 40))
    found, size, spacing = tried(answer, cases)
    right = (size - 1) // spacing + 4
    yield found == right or {
        "One too many for a crop of 48 at spacing 24. What is the index of the last voxel?":
            found == size // spacing + 4,
        "One too few. Count from point 0, which lies before the crop, to the second one beyond the "
        "last voxel.": found == right - 1,
        "You count the points around the voxels. A cubic B-spline reaches two spacings: one more "
        "on either side.": found == right - 2,
        "You count the points inside the crop. Some of those outside it are within reach, too.":
            found == right - 3,
        "A number of points is a whole number. In which interval does the last voxel lie?":
            (found.values % 1).any(),
        f"For a crop of {size[n := found.wrong(right)]} at spacing {spacing[n]} you say "
        f"{found[n]:g}. Draw the points and the last voxel.": True}  # fmt: skip


def exercise_7_2(answer):
    """Only differences between neighbours can fold a field; how far they move together does not
    matter."""
    cases = [  # displacements and spacing
        ([0, 0, 0, 0], 24), ([100, 100, 100, 100], 24), ([0, 30, 60, 90], 24), ([0, -30, 0, 0], 24),
        ([13, -13, 13, -13], 24), ([11, -11, 11, -11], 24), ([0, 3, -3, 0], 5), ([0, -23.5], 24),
        ([0, 0, 24, 0], 24), ([0, 30, 0, 0], 24), ([0, 0, 0, -30], 24), ([40, 0], 24),
    ]  # fmt: skip
    cases += [(case, 20) for case in drawn(40, *[(-20.0, 20.0)] * 4)]

    def by(criterion):
        return np.array([number(criterion(np.array(moves, float), mm)) for moves, mm in cases])

    found, right = Found(by(answer)), by(lambda c, s: np.all(np.diff(c) > -s))
    small = [by(lambda c, s, share=share: np.abs(c).max() < share * s) for share in (1 / 2, 2 / 3)]
    yield found == right or {
        "You say True where the points are out of order.": found == 1 - right,
        "Each must lie beyond the one before, and two points at one place do not.":
            found == by(lambda c, s: np.all(np.diff(c) >= -s)),
        "You leave out a pair: there is one fewer than there are points.":
            found == by(lambda c, s: np.all(np.diff(c)[:-1] > -s)),
        "You compare the displacements themselves. What must be in order are the moved points.":
            found == by(lambda c, s: np.all(np.diff(c) > 0)),
        "Points that move apart by more than the spacing stretch the picture; they do not fold "
        "it.": found == by(lambda c, s: np.all(np.abs(np.diff(c)) < s)),
        "This looks at the size of the displacements alone. If all points move by 100 together, "
        "nothing folds.": any(found == one for one in small),
        f"For {np.round(cases[n := found.wrong(right)][0], 1).tolist()} at spacing {cases[n][1]} "
        f"you say {bool(found[n])}. Where do the points go?": True}  # fmt: skip


def exercise_7_3(answer):
    """As a list of places a mirror is a warp like any other; whether it makes a plausible patient
    is another matter."""
    for shape in ((3, 4, 5), (6, 2, 2), (64, 3, 1), *drawn(5, (1, 9), (1, 9), (1, 9))):
        found = Found(answer(shape))
        yield {
            f"For a crop of {shape} the places have the shape {found.shape}; expected "
            f"{(3, *shape)}.": found.shape != (3, *shape)}  # fmt: skip
        x, y, z = np.indices(shape, dtype=float)
        back_x, back_y, back_z = (axis.max() - axis for axis in (x, y, z))
        yield found == [back_x, y, z] or {
            f"Voxel 0 reads at {shape[0]}, which is outside: the last voxel of {shape[0]} is "
            f"{shape[0] - 1}.": found == [back_x + 1, y, z],
            "Places below 0 are outside the crop. The mirror stands in the middle, not at the "
            "first voxel.": found == [-x, y, z],
            "This reads every voxel where it is. Nothing is mirrored.": found == [x, y, z],
            "All three axes are mirrored: the head is at the feet and the back in front. Only x "
            "was asked for.": found == [back_x, back_y, back_z],
            "The wrong axis is mirrored. x is the first of the three.":
                found == [x, back_y, z] or found == [x, y, back_z],
            f"In a crop of {shape} the first voxel is read at {found[:, 0, 0, 0].tolist()}. Where "
            "should it be?": True}  # fmt: skip
