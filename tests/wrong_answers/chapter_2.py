"""Typical wrong answers to the exercises of chapter 2: the exercise, the answer, words of the hint it must get."""

import numpy as np


def pads_one_side(size, kernel, padding, stride):
    return (size + padding - kernel) // stride + 1


def divides_without_rounding(size, kernel, padding, stride):
    return (size + 2 * padding - kernel) / stride + 1


def forgets_the_first_place(size, kernel, padding, stride):
    return (size + 2 * padding - kernel) // stride


def divides_the_number_of_places(size, kernel, padding, stride):
    return (size + 2 * padding - kernel + 1) // stride


def forgets_the_kernel(size, kernel, padding, stride):
    return (size + 2 * padding) // stride


def forgets_the_stride(size, kernel, padding, stride):
    return size + 2 * padding - kernel + 1


def whole_windows_of(image, size):
    n, m = image.shape[0] // size, image.shape[1] // size
    return image[: n * size, : m * size].reshape(n, size, m, size)


def takes_the_mean(image, size):
    return whole_windows_of(image, size).mean(axis=(1, 3))


def moves_by_one(image, size):
    return np.lib.stride_tricks.sliding_window_view(image, (size, size)).max(axis=(2, 3))


def starts_from_zero(image, size):
    return np.maximum(whole_windows_of(image, size).max(axis=(1, 3)), 0)


def skips_pixels(image, size):
    return whole_windows_of(image, size)[:, 0, :, 0]


def keeps_the_rest(image, size):
    grown = np.pad(image, [(0, -n % size) for n in image.shape], constant_values=-np.inf)
    return whole_windows_of(grown, size).max(axis=(1, 3))


def grow(pixels, pooling, doubles):
    field, jump, levels = 5, 1, 1
    while field < pixels:
        field += pooling * jump
        jump = 2 * jump if doubles else jump
        field, levels = field + 4 * jump, levels + 1
    return levels


def counts_poolings(pixels):
    return grow(pixels, 1, True) - 1


def leaves_the_jump_at_one(pixels):
    return grow(pixels, 1, False)


def forgets_the_pooling_window(pixels):
    return grow(pixels, 0, True)


def wants_more_than_enough(pixels):
    return grow(pixels + 1, 1, True)


def doubles_the_field(pixels):
    return 1 + max(0, int(np.ceil(np.log2(pixels / 5))))


HALF = 0.5
EDGES = np.array([[-HALF, 0, HALF]] * 3).T
BLUR = np.ones((3, 3)) / 9
LINE = np.array([[0, -HALF, 0], [0, 1, 0], [0, -HALF, 0]])
SPOT = np.array([[0, -HALF, 0], [-HALF, 2, -HALF], [0, -HALF, 0]])

WRONG = [
    ("2.1", pads_one_side, "behind the last"),
    ("2.1", divides_without_rounding, "no whole number"),
    ("2.1", forgets_the_first_place, "before its first step"),
    ("2.1", divides_the_number_of_places, "With a stride"),
    ("2.1", forgets_the_kernel, "Begin with padding 0"),
    ("2.1", forgets_the_stride, "Draw a row"),
    ("2.2", BLUR, "On an image of ones"),
    ("2.2", EDGES, "it finds edges"),
    ("2.2", LINE.T, "It finds lines along x"),
    ("2.2", SPOT, "every direction"),
    ("2.2", 2 * LINE, "1 is asked for"),
    ("2.2", LINE[:, 1], "shape (3,)"),
    ("2.3", takes_the_mean, "average pooling"),
    ("2.3", moves_by_one, "overlap"),
    ("2.3", starts_from_zero, "below zero"),
    ("2.3", skips_pixels, "stride without pooling"),
    ("2.3", keeps_the_rest, "no room"),
    ("2.4", counts_poolings, "You count the poolings"),
    ("2.4", leaves_the_jump_at_one, "the jump"),
    ("2.4", forgets_the_pooling_window, "A pooling window has a size"),
    ("2.4", wants_more_than_enough, "is enough"),
    ("2.4", doubles_the_field, "layer by layer"),
]
