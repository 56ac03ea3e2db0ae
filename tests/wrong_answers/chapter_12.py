"""Typical wrong answers to the exercises of chapter 12: the exercise, the answer, words of the hint it must get."""

import numpy as np


def by_the_mean_only(before, after):
    return np.flatnonzero(np.nanmean(after - before, axis=0) > 0) + 1


def nan_not_left_out(before, after):
    change = after - before
    return np.flatnonzero((change.mean(axis=0) > 0) & (change.min(axis=0) >= -0.01)) + 1


def places_not_ids(before, after):
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) > 0) & (np.nanmin(change, axis=0) >= -0.01))


def no_gain_needed(before, after):
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) >= 0) & (np.nanmin(change, axis=0) >= -0.01)) + 1


def no_loss_allowed(before, after):
    change = after - before
    return np.flatnonzero((np.nanmean(change, axis=0) > 0) & (np.nanmin(change, axis=0) >= 0)) + 1


def every_organ(before, after):
    return [1, 2, 3, 4, 5, 6, 7]


def ends(mask, axis):
    inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    return int(inside[0]), int(inside[-1])


def margin_in_voxels(mask, spacing, margin):
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        box.append(slice(max(first - int(margin), 0) // 8 * 8, min(last + 1 + int(margin), size)))
    return box


def in_voxels(spacing, margin, axis):
    return int(np.ceil(margin / spacing[axis]))


def out_of_the_scan(mask, spacing, margin):
    box = []
    for axis in range(3):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice((first - voxels) // 8 * 8, last + 1 + voxels))
    return box


def one_too_few(mask, spacing, margin):
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice(max(first - voxels, 0) // 8 * 8, min(last + voxels, size)))
    return box


def any_start(mask, spacing, margin):
    box = []
    for axis, size in enumerate(mask.shape):
        first, last = ends(mask, axis)
        voxels = in_voxels(spacing, margin, axis)
        box.append(slice(max(first - voxels, 0), min(last + 1 + voxels, size)))
    return box


def start_rounded_up(mask, spacing, margin):
    box = any_start(mask, spacing, margin)
    return [slice(-(-one.start // 8) * 8, one.stop) for one in box]


def margin_rounded_down(mask, spacing, margin):
    return [
        slice(max(first - int(margin / mm), 0) // 8 * 8, min(last + 1 + int(margin / mm), size))
        for size, mm, (first, last) in zip(mask.shape, spacing, (ends(mask, axis) for axis in range(3)), strict=True)
    ]


def a_cut_out_mask(mask, spacing, margin):
    return mask[any_start(mask, spacing, margin)[0]]


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
]
