"""The exercises of chapter 7, Data that isn't there: augmentation."""

import numpy as np

from organseg.course import exercise


@exercise("7.1")
def points_needed(answer):
    """Six per axis for the paper's crop, 3 · 6³ numbers in all: a deformation is drawn from no more
    than these."""
    cases = [(64, 24), (49, 24), (48, 24), (1, 24), (25, 24), (32, 12), (100, 7)]
    found = [answer(*case) for case in cases]

    def is_always(formula):
        return found == [formula(size, spacing) for size, spacing in cases]

    if is_always(lambda size, spacing: (size - 1) // spacing + 4):
        return None
    if is_always(lambda size, spacing: size // spacing + 4):
        return "One too many for a crop of 48 at spacing 24. What is the index of the last voxel?"
    if is_always(lambda size, spacing: (size - 1) // spacing + 3):
        return "One too few. Count from point 0, which lies before the crop, to the second one beyond the last voxel."
    if is_always(lambda size, spacing: (size - 1) // spacing + 2):
        return "You count the points around the voxels. A cubic B-spline reaches two spacings: one more on either side."
    if is_always(lambda size, spacing: (size - 1) // spacing + 1):
        return (
            "You count the points inside the crop. Some of those outside it are within reach, too."
        )
    if any(value != int(value) for value in found):
        return "A number of points is a whole number. In which interval does the last voxel lie?"
    for (size, spacing), value in zip(cases, found, strict=True):
        if value != (size - 1) // spacing + 4:
            return f"For a crop of {size} at spacing {spacing} you say {value}. Draw the points and the last voxel."


@exercise("7.2")
def in_order(answer):
    """Only differences between neighbours can fold a field; how far they move together does not
    matter."""
    rng = np.random.default_rng(0)
    cases = [
        ([0, 0, 0, 0], 24, True),
        ([100, 100, 100, 100], 24, True),
        ([0, 30, 60, 90], 24, True),
        ([0, -30, 0, 0], 24, False),
        ([13, -13, 13, -13], 24, False),
        ([11, -11, 11, -11], 24, True),
        ([0, 3, -3, 0], 5, False),
        (rng.uniform(-4, 4, 6), 24, True),
    ]
    found = [bool(answer(np.array(control, dtype=float), spacing)) for control, spacing, _ in cases]

    def is_always(criterion):
        return found == [
            bool(criterion(np.array(control, dtype=float), spacing))
            for control, spacing, _ in cases
        ]

    if found == [expected for *_, expected in cases]:
        return None
    if found == [not expected for *_, expected in cases]:
        return "You say True where the points are out of order."
    if is_always(lambda c, s: np.all(np.diff(c) > 0)):
        return (
            "You compare the displacements themselves. What must be in order are the moved points."
        )
    if is_always(lambda c, s: np.all(np.abs(np.diff(c)) < s)):
        return "Points that move *apart* by more than the spacing stretch the picture; they do not fold it."
    if is_always(lambda c, s: np.abs(c).max() < s / 2) or is_always(
        lambda c, s: np.abs(c).max() < 2 * s / 3
    ):
        return "This looks at the size of the displacements alone. If all points move by 100 together, nothing folds."
    for (control, spacing, expected), value in zip(cases, found, strict=True):
        if value != expected:
            return f"For {np.round(control, 1).tolist()} at spacing {spacing} you say {value}. Where do the points go?"


@exercise("7.3")
def mirrored_places(answer):
    """As a list of places a mirror is a warp like any other; whether it makes a plausible patient
    is another matter."""
    for shape in ((3, 4, 5), (6, 2, 2), (64, 3, 1)):
        places = np.asarray(answer(shape))
        if places.shape != (3, *shape):
            return f"For a crop of {shape} the places have the shape {places.shape}; expected {(3, *shape)}."
        x, y, z = np.indices(shape)
        last = shape[0] - 1
        if np.allclose(places, [last - x, y, z]):
            continue
        if np.allclose(places, [shape[0] - x, y, z]):
            return f"Voxel 0 reads at {shape[0]}, which is outside: the last voxel of {shape[0]} is {last}."
        if np.allclose(places, [-x, y, z]):
            return "Places below 0 are outside the crop. The mirror stands in the middle, not at the first voxel."
        if np.allclose(places, [x, y, z]):
            return "This reads every voxel where it is. Nothing is mirrored."
        if np.allclose(places, [last - x, shape[1] - 1 - y, shape[2] - 1 - z]):
            return "All three axes are mirrored: the head is at the feet and the back in front. Only x was asked for."
        if np.allclose(places, [x, shape[1] - 1 - y, z]) or np.allclose(
            places, [x, y, shape[2] - 1 - z]
        ):
            return "The wrong axis is mirrored. x is the first of the three."
        return f"In a crop of {shape} the first voxel is read at {places[:, 0, 0, 0].tolist()}. Where should it be?"
    return None
