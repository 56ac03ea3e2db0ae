"""Typical wrong answers to the exercises of chapter 12: the exercise, the answer, words of the hint it must get."""

import numpy as np


def by_the_mean_only(before, after):
    """Lets the average decide, and does not look for the patient who loses most."""
    return np.flatnonzero(np.nanmean(after - before, axis=0) > 0) + 1


def nan_not_left_out(before, after):
    """Lets a nan make an organ's mean nan, and drops the organ without noticing."""
    change = after - before
    return np.flatnonzero((change.mean(axis=0) > 0) & (change.min(axis=0) >= -0.01)) + 1


def places_not_ids(before, after):
    """Takes a column's place in the array for the organ's id."""
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) > 0) & (np.nanmin(change, axis=0) >= -0.01))


def no_gain_needed(before, after):
    """Takes 'does no harm' for 'helps'."""
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) >= 0) & (np.nanmin(change, axis=0) >= -0.01)) + 1


def no_loss_allowed(before, after):
    """Wants a rule that never loses anything, and so gives up one that helps."""
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) > 0) & (np.nanmin(change, axis=0) >= 0)) + 1


def every_organ(before, after):
    """Trusts the rule for all organs, without looking at the scores."""
    return [1, 2, 3, 4, 5, 6, 7]


def ends(mask, axis):
    inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    return int(inside[0]), int(inside[-1])


def margin_in_voxels(mask, spacing, margin):
    """Takes millimetres for voxels."""
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        box.append(slice(max(first - int(margin), 0) // 8 * 8, min(last + 1 + int(margin), size)))
    return box


def in_voxels(spacing, margin, axis):
    return int(np.ceil(margin / spacing[axis]))


def out_of_the_scan(mask, spacing, margin):
    """Forgets that the scan ends, so that a negative start counts from the other end."""
    box = []
    for axis in range(3):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice((first - voxels) // 8 * 8, last + 1 + voxels))
    return box


def one_too_few(mask, spacing, margin):
    """Takes the last voxel inside for a slice's stop, which is not contained."""
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice(max(first - voxels, 0) // 8 * 8, min(last + voxels, size)))
    return box


def any_start(mask, spacing, margin):
    """Lets the box begin anywhere, so that pooling joins other voxels than in the whole scan."""
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice(max(first - voxels, 0), min(last + 1 + voxels, size)))
    return box


def start_rounded_up(mask, spacing, margin):
    """Rounds the start towards the mask, which eats up the margin."""
    box = any_start(mask, spacing, margin)
    return [slice(-(-one.start // 8) * 8, one.stop) for one in box]


def margin_rounded_down(mask, spacing, margin):
    """Cuts off the fraction of a voxel, and the margin becomes smaller than asked."""
    return [
        slice(max(first - int(margin / mm), 0) // 8 * 8, min(last + 1 + int(margin / mm), size))
        for size, mm, (first, last) in zip(mask.shape, spacing, (ends(mask, axis) for axis in range(3)), strict=True)
    ]


def a_cut_out_mask(mask, spacing, margin):
    """Returns what lies in the box instead of the box."""
    return mask[any_start(mask, spacing, margin)[0]]


RIGHT = {
    "A": "learning rate", "B": "leak", "C": "linear label interpolation", "D": "background in the way",
    "E": "flipped labels", "F": "batch norm", "G": "wrong affine", "H": "double softmax",
}  # fmt: skip

WRONG = [
    ("12.1", by_the_mean_only, "the patient who loses most"),
    ("12.1", nan_not_left_out, "leave out nan"),
    ("12.1", places_not_ids, "begin at 1"),
    ("12.1", no_gain_needed, "does not change at all"),
    ("12.1", no_loss_allowed, "up to 0.01"),
    ("12.1", every_organ, "patient by patient"),
    ("12.2", margin_in_voxels, "Divide by the spacing"),
    ("12.2", out_of_the_scan, "leaves the array"),
    ("12.2", one_too_few, "one voxel too early"),
    ("12.2", margin_rounded_down, "Round the voxels up"),
    ("12.2", start_rounded_up, "lies outside"),
    ("12.2", any_start, "multiples of 8"),
    ("12.2", a_cut_out_mask, "three slices"),
    (
        "12.3",
        RIGHT | {"A": "double softmax", "H": "learning rate"},
        "probabilities reach 1",
        "Takes every flat loss for the same illness, and does not look how sure the network becomes.",
    ),
    (
        "12.3",
        RIGHT | {"E": "wrong affine", "G": "flipped labels"},
        "the given liver lie",
        "Sees organs on the wrong side and does not ask whether the network was taught so or only its file says so.",
    ),
    (
        "12.3",
        RIGHT | {"B": "batch norm", "F": "leak"},
        "do given images have",
        "Takes a good validation beside bad new patients for a fault of the network, not of the data.",
    ),
    (
        "12.3",
        RIGHT | {"D": "learning rate", "A": "background in the way"},
        "probabilities reach 1",
        "Trusts the value of a loss, without asking what it counts.",
    ),
    (
        "12.3",
        {"A": "learning rate"},
        "all eight",
        "Diagnoses one run and leaves the others.",
    ),
]
