"""Checks of chapter 2: the size of an output, a kernel for thin lines, max pooling, the depth of a
stack."""

from itertools import product

import numpy as np

from organseg.course import exercise


@exercise("2.1")
def output_size(answer):
    """One formula serves convolution and pooling, if both sides get equal padding; it finds most
    shape errors."""
    sizes = [
        s
        for s in product((5, 8, 12, 31), (1, 2, 3, 5), (0, 1, 2), (1, 2, 3))
        if s[0] + 2 * s[2] >= s[1]
    ]

    def all_are(formula):
        return all(np.isclose(found[s], formula(*s)) for s in sizes)

    found = {s: answer(*s) for s in sizes}
    if all_are(lambda size, kernel, padding, stride: (size + 2 * padding - kernel) // stride + 1):
        return None
    if all_are(lambda size, kernel, padding, stride: (size + padding - kernel) // stride + 1):
        return "The padding is put before the first pixel and behind the last: how many pixels is the row longer?"
    if all_are(lambda size, kernel, padding, stride: (size + 2 * padding - kernel) / stride + 1):
        return "That is no whole number when the last step leads past the end. Is there a result for that step?"
    if all_are(lambda size, kernel, padding, stride: (size + 2 * padding - kernel) // stride):
        return "Count the places once more: the kernel stands somewhere before its first step, too."
    if all_are(lambda size, kernel, padding, stride: (size + 2 * padding - kernel + 1) // stride):
        return "Without stride that is right. With a stride, which are kept of five places: how many with stride 2?"
    plain = [s for s in sizes if s[2:] == (0, 1)]
    wrong = next((s for s in plain if found[s] != s[0] - s[1] + 1), None)
    if wrong:
        return f"Begin with padding 0 and stride 1: at how many places does a kernel of {wrong[1]} fit into {wrong[0]}?"
    size, kernel, padding, stride = next(
        s for s in sizes if found[s] != (s[0] + 2 * s[2] - s[1]) // s[3] + 1
    )
    return f"Draw a row of {size} pixels: where can a kernel of {kernel} stand with padding {padding}, stride {stride}?"


@exercise("2.2")
def line_kernel(answer):
    """It is a second derivative along x with its sign turned: vessels that run along y light up
    under it."""
    kernel = np.asarray(answer, dtype=float)
    if kernel.shape != (3, 3):
        return f"A kernel of shape (3, 3) is asked for; yours has shape {kernel.shape}."
    along_x, along_y = (
        kernel[:, 1].sum(),
        kernel[1].sum(),
    )  # what it says of a line of ones through its middle
    ramps = (kernel.sum(axis=1) * [-1, 0, 1]).sum(), (kernel.sum(axis=0) * [-1, 0, 1]).sum()
    if not np.isclose(kernel.sum(), 0):
        return f"On an image of ones it gives {kernel.sum():.3g}. What must the weights add up to?"
    if not np.allclose(ramps, 0):
        return "It answers to a ramp: it finds edges. An edge has two sides that differ; a line has the same on both."
    if np.isclose(along_y, 0) and not np.isclose(along_x, 0):
        return "It finds lines along x. The first axis of a kernel is x: a line along y fills one row of three weights."
    if not np.isclose(along_x, 0):
        return f"On a line along x it gives {along_x:.3g}: it finds lines of every direction."
    if not np.isclose(along_y, 1):
        return f"In the middle of a line along y it gives {along_y:.3g}; 1 is asked for."


@exercise("2.3")
def max_pool(answer):
    """Any function of a window may take the maximum's place; the mean gives average pooling."""
    rng = np.random.default_rng(2)
    for shape, size in (((4, 6), 2), ((9, 6), 3), ((7, 5), 2), ((8, 11), 4)):
        image = rng.integers(-99, 0, shape).astype(float)
        found = np.asarray(answer(image, size), dtype=float)
        places = [[i * size for i in range(n // size)] for n in shape]
        windows = np.array(
            [[image[i : i + size, j : j + size] for j in places[1]] for i in places[0]]
        )
        right = windows.max(axis=(2, 3))
        if found.shape == right.shape and np.array_equal(found, right):
            continue
        if found.shape == tuple(n - size + 1 for n in shape):
            return "Your windows overlap: a pooling window moves by its own size."
        if found.shape == tuple(-(-n // size) for n in shape) != right.shape:
            return f"An image of {shape} has no room for more than {right.shape} whole windows of {size}×{size}."
        if found.shape != right.shape:
            return f"From an image of {shape}, windows of {size} make {right.shape}; yours has the shape {found.shape}."
        if np.allclose(found, windows.mean(axis=(2, 3))):
            return "That is average pooling: what does max pooling keep of a window?"
        if np.allclose(found, windows[:, :, 0, 0]):
            return "That is a stride without pooling: only one pixel of each window was looked at."
        if np.allclose(found, np.maximum(right, 0)):
            return "All pixels here are below zero, but your result is not: from which value does your maximum start?"
        return f"The shape is right, the values are not. Try it on an image of {shape} that you can check by eye."


@exercise("2.4")
def levels_needed(answer):
    """The field doubles with every level, and a little more: that is why a few levels are enough
    for a whole organ."""

    def levels(pixels, growth_of_pooling=1, doubles=True):
        field, jump, needed = 5, 1, 1
        while field < pixels:
            field += growth_of_pooling * jump
            jump *= 2 if doubles else 1
            field += 4 * jump
            needed += 1
        return needed

    asked = range(1, 400)
    found = [answer(pixels) for pixels in asked]
    if found == [levels(n) for n in asked]:
        return None
    if found == [levels(n) - 1 for n in asked]:
        return "You count the poolings. There is one between two levels, so with one level there is none."
    if found == [levels(n, doubles=False) for n in asked]:
        return (
            "Behind a pooling, neighbours lie further apart in the input: what becomes of the jump?"
        )
    if found == [levels(n, growth_of_pooling=0) for n in asked]:
        return "A pooling window has a size too: it looks at more than one value of the layer before it."
    if found == [levels(n + 1) for n in asked]:
        return "A field of exactly the size asked for is enough."
    wrong = next(n for n, one in zip(asked, found, strict=True) if one != levels(n))
    return f"It is wrong for {wrong} pixels, among others. Follow size and jump layer by layer, as the chapter does."
