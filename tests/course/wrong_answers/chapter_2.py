"""Typical wrong answers to the exercises of chapter 2: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def pads_one_side(size, kernel, padding, stride):
    """Thinks that padding makes a row longer by `padding`. It is added on both sides."""
    return (size + padding - kernel) // stride + 1


def divides_without_rounding(size, kernel, padding, stride):
    """Lets the last step lead past the end, so that part of a window counts as a place."""
    return (size + 2 * padding - kernel) / stride + 1


def forgets_the_first_place(size, kernel, padding, stride):
    """Counts the steps instead of the places. Before the first step there is a place too."""
    return (size + 2 * padding - kernel) // stride


def divides_the_number_of_places(size, kernel, padding, stride):
    """Divides the number of places by the stride: of five places with stride 2 three are kept, not two."""
    return (size + 2 * padding - kernel + 1) // stride


def forgets_the_kernel(size, kernel, padding, stride):
    """Thinks that the kernel may stand at every pixel, and forgets that all of it has to fit."""
    return (size + 2 * padding) // stride


def forgets_the_stride(size, kernel, padding, stride):
    """Counts the places of a kernel that moves by one, whatever its stride."""
    return size + 2 * padding - kernel + 1


def whole_windows_of(image, size):
    n, m = image.shape[0] // size, image.shape[1] // size
    return image[: n * size, : m * size].reshape(n, size, m, size)


def takes_the_mean(image, size):
    """Confuses max pooling with average pooling."""
    return whole_windows_of(image, size).mean(axis=(1, 3))


def moves_by_one(image, size):
    """Moves the pooling window by one pixel, like a convolution's. It moves by its own size."""
    return np.lib.stride_tricks.sliding_window_view(image, (size, size)).max(axis=(2, 3))


def starts_from_zero(image, size):
    """Begins the search for the maximum at 0, so that windows of negative values give 0."""
    return np.maximum(whole_windows_of(image, size).max(axis=(1, 3)), 0)


def skips_pixels(image, size):
    """Thinks that pooling is a stride: it keeps one pixel of each window and never looks at the others."""
    return whole_windows_of(image, size)[:, 0, :, 0]


def keeps_the_rest(image, size):
    """Pools the rest at the border too. Keras leaves out what is no whole window."""
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
    """Counts the poolings and not the levels. There is one level more."""
    return grow(pixels, 1, True) - 1


def leaves_the_jump_at_one(pixels):
    """Forgets that behind a pooling neighbours lie two input pixels apart."""
    return grow(pixels, 1, False)


def forgets_the_pooling_window(pixels):
    """Counts the pooling's stride and not its window, which also looks at more than one value."""
    return grow(pixels, 0, True)


def wants_more_than_enough(pixels):
    """Asks for a field larger than `pixels`, where one just as wide is enough."""
    return grow(pixels + 1, 1, True)


def doubles_the_field(pixels):
    """Doubles the field per level and leaves out what the two convolutions add each time."""
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
    (
        "2.2",
        BLUR,
        "On an image of ones",
        "Takes a blur for a line finder: it answers to any bright place, flat ones included.",
    ),
    ("2.2", EDGES, "it finds edges", "Confuses a line with an edge: an edge has two sides that differ."),
    (
        "2.2",
        LINE.T,
        "It finds lines along x",
        "Confuses the axes: the kernel's first axis is x, which a printed array shows downwards.",
    ),
    ("2.2", SPOT, "every direction", "Finds bright spots, and with them lines of every direction."),
    ("2.2", 2 * LINE, "1 is asked for", "Has the right shape at twice the size: a line of ones should give 1."),
    ("2.2", LINE[:, 1], "shape (3,)", "Thinks in one dimension: gives the row and forgets that a kernel has three."),
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
