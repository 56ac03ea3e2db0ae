"""Typical wrong answers to the exercises of chapter 9: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np

from organseg.inference import tiles


def two_margins_each(depth, tile_depth, margin):
    """Thinks that every tile has two margins. The first and the last have none outside the scan."""
    return 2 * margin * -(-depth // tile_depth)


def full_margins_inside(depth, tile_depth, margin):
    """Thinks that a margin always fits. Near the ends of the scan it is cut short."""
    return 2 * margin * (-(-depth // tile_depth) - 1)


def one_margin_per_border(depth, tile_depth, margin):
    """Forgets that at each border both tiles compute a margin."""
    return margin * (-(-depth // tile_depth) - 1)


def all_that_is_seen(depth, tile_depth, margin):
    """Counts all that is computed, with what is kept."""
    return sum(seen.stop - seen.start for seen, _ in tiles(depth, tile_depth, margin))


def as_a_ratio(depth, tile_depth, margin):
    """Returns a ratio, where a number of slices is asked for."""
    return all_that_is_seen(depth, tile_depth, margin) / depth


def lowest_slice(levels, bottom=2):
    first = 0
    for _ in range(levels - 1):
        first = (first - 2) // 2
    first -= bottom
    for _ in range(levels - 1):
        first = 2 * first - 2
    return first


def not_rounded(levels):
    """Forgets that tiles have to begin at multiples of what the poolings divide by."""
    return -lowest_slice(levels)


def rounded_down(levels):
    """Rounds down to a multiple, and a seam is left."""
    multiple = 2 ** (levels - 1)
    return -lowest_slice(levels) // multiple * multiple


def without_the_bottom(levels):
    """Forgets the two convolutions on the lowest level, where each step is the longest."""
    return -lowest_slice(levels, bottom=0)


def way_down_only(levels):
    """Forgets that the way up widens the field too."""
    return sum(2 * 2**level for level in range(levels))


def padded(image):
    return np.pad(image, [(0, -size % 8) for size in image.shape])


def cut(labels, shape):
    return labels[tuple(slice(size) for size in shape)]


def not_turned(image, find):
    """Gives the network the axes as they come. It has only seen RAS."""
    return cut(find(padded(image)), image.shape)


def not_turned_back(image, find):
    """Turns the image and forgets to turn the labels back."""
    return cut(find(padded(image[::-1, ::-1])), image.shape)


def one_axis(image, find):
    """Turns one axis only. Between LPS and RAS there are two."""
    return cut(find(padded(image[::-1])), image.shape)[::-1]


def three_axes(image, find):
    """Turns all axes. S, towards the head, is the same in LPS and RAS."""
    return cut(find(padded(image[::-1, ::-1, ::-1])), image.shape)[::-1, ::-1, ::-1]


def not_cut(image, find):
    """Leaves the padding in the answer."""
    return find(padded(image[::-1, ::-1]))[::-1, ::-1]


def cut_too_late(image, find):
    """Turns back first and cuts then, so that the padding is cut off at the wrong end."""
    return cut(find(padded(image[::-1, ::-1]))[::-1, ::-1], image.shape)


def padded_before_the_turn(image, find):
    """Pads first and turns then, so that the padding lies at the lower end."""
    return cut(find(padded(image)[::-1, ::-1])[::-1, ::-1], image.shape)


WRONG = [
    ("9.1", two_margins_each, "two full margins"),
    ("9.1", full_margins_inside, "less than a full margin"),
    ("9.1", one_margin_per_border, "both see a margin"),
    ("9.1", all_that_is_seen, "all that is computed"),
    ("9.1", as_a_ratio, "a ratio"),
    ("9.2", not_rounded, "Which sizes does the network take"),
    ("9.2", rounded_down, "round down"),
    ("9.2", without_the_bottom, "lowest level"),
    ("9.2", way_down_only, "way down only"),
    ("9.3", not_turned, "Bring the axes to RAS"),
    ("9.3", not_turned_back, "Turn them back"),
    ("9.3", one_axis, "one axis round"),
    ("9.3", three_axes, "all three axes"),
    ("9.3", not_cut, "Cut off what you padded"),
    ("9.3", cut_too_late, "wrong order"),
    ("9.3", padded_before_the_turn, "upper end of each RAS axis"),
]
