"""Typical wrong answers to the exercises of chapter 7: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def size_for_index(size, spacing):
    """Takes the size for the index of the last voxel, which is one less."""
    return size // spacing + 4


def around_the_voxels(size, spacing):
    """Thinks that a voxel is moved by its two neighbours only, as in linear interpolation."""
    return (size - 1) // spacing + 2


def inside_the_crop(size, spacing):
    """Puts control points inside the crop only. At its border some would be missing."""
    return (size - 1) // spacing + 1


def one_too_few(size, spacing):
    """Counts the gaps between points instead of the points."""
    return (size - 1) // spacing + 3


def a_fraction(size, spacing):
    """Forgets that one cannot have part of a control point."""
    return (size - 1) / spacing + 4


def displacements_in_order(control, spacing):
    """Looks at the displacements and not at the places to which they lead."""
    return np.all(np.diff(control) > 0)


def stretching_forbidden(control, spacing):
    """Thinks that any large difference folds. Points that move apart stretch the picture."""
    return np.all(np.abs(np.diff(control)) < spacing)


def size_alone(control, spacing):
    """Thinks that large displacements fold. If all points move alike, nothing folds."""
    return np.abs(control).max() < spacing / 2


def the_other_way(control, spacing):
    """Has the criterion the wrong way round: says when points are out of order."""
    return np.any(np.diff(control) <= -spacing)


def one_too_far(shape):
    """Mirrors the size instead of the last index, and reads one voxel outside."""
    x, y, z = np.indices(shape)
    return np.stack([shape[0] - x, y, z])


def below_zero(shape):
    """Mirrors at voxel 0 instead of in the middle."""
    x, y, z = np.indices(shape)
    return np.stack([-x, y, z])


def all_axes(shape):
    """Mirrors every axis, which is not a mirror along x."""
    return np.indices(shape)[(slice(None), *[slice(None, None, -1)] * 3)]


def another_axis(shape):
    """Mirrors the wrong axis of the array."""
    x, y, z = np.indices(shape)
    return np.stack([x, shape[1] - 1 - y, z])


def one_axis_only(shape):
    """Returns the new x only. A place has three coordinates."""
    return np.arange(shape[0])[::-1]


WRONG = [
    ("7.1", size_for_index, "index of the last voxel"),
    ("7.1", around_the_voxels, "reaches two spacings"),
    ("7.1", inside_the_crop, "inside the crop"),
    ("7.1", one_too_few, "One too few"),
    ("7.1", a_fraction, "whole number"),
    ("7.2", displacements_in_order, "displacements themselves"),
    ("7.2", stretching_forbidden, "stretch the picture"),
    ("7.2", size_alone, "If all points move by 100"),
    ("7.2", the_other_way, "out of order"),
    ("7.3", one_too_far, "which is outside"),
    ("7.3", below_zero, "mirror stands in the middle"),
    ("7.3", all_axes, "All three axes"),
    ("7.3", another_axis, "wrong axis"),
    ("7.3", one_axis_only, "the places have the shape"),
]
