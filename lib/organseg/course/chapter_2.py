"""The exercises of chapter 2: output sizes, a kernel for thin lines, max pooling, deep stacks."""

import numpy as np

from organseg.course import Found, drawn, numbers, tried


def exercise_2_1(answer):
    """One formula serves convolution and pooling, if both sides get equal padding; it finds most
    shape errors."""
    cases = [(5, 3, 0, 1), (8, 3, 1, 2), *drawn(300, (1, 30), (1, 9), (0, 3), (1, 4))]
    cases = [case for case in cases if case[0] + 2 * case[2] >= case[1]]
    found, size, kernel, padding, stride = tried(answer, cases)
    rest = size + 2 * padding - kernel
    right = rest // stride + 1
    wrong = found.values != right
    plain = wrong & (padding == 0) & (stride == 1)
    n = np.argmax(plain if plain.any() else wrong)
    yield found == right or {
        "The padding is put before the first pixel and behind the last: how many pixels is the row "
        "longer?": found == (rest - padding) // stride + 1,
        "That is no whole number when the last step leads past the end. Is there a result for that "
        "step?": found == rest / stride + 1,
        "Count the places once more: the kernel stands somewhere before its first step, too.":
            found == rest // stride,
        "Without stride that is right. With a stride, which are kept of five places: how many with "
        "stride 2?": found == (rest + 1) // stride,
        f"Begin with padding 0 and stride 1: at how many places does a kernel of {kernel[n]} fit "
        f"into {size[n]}?": plain.any(),
        f"Draw a row of {size[n]} pixels: where can a kernel of {kernel[n]} stand with padding "
        f"{padding[n]}, stride {stride[n]}?": True}  # fmt: skip


def exercise_2_2(answer):
    """It is a second derivative along x with its sign turned: vessels that run along y light up
    under it."""
    kernel = numbers(answer)
    shape = kernel.shape
    yield {f"A kernel of shape (3, 3) is asked for; yours has shape {shape}.": shape != (3, 3)}
    along_x, along_y = kernel[:, 1].sum(), kernel[1].sum()  # for a line of ones through its middle
    ramps = kernel[2].sum() - kernel[0].sum(), kernel[:, 2].sum() - kernel[:, 0].sum()
    yield {
        f"On an image of ones it gives {kernel.sum():.3g}. What must the weights add up to?":
            not np.isclose(kernel.sum(), 0),
        "It answers to a ramp: it finds edges. An edge has two sides that differ; a line has the "
        "same on both.": not np.allclose(ramps, 0),
        "It finds lines along x. The first axis of a kernel is x: a line along y fills one row of "
        "three weights.": np.isclose(along_y, 0) and not np.isclose(along_x, 0),
        f"On a line along x it gives {along_x:.3g}: it finds lines of every direction.":
            not np.isclose(along_x, 0),
        f"In the middle of a line along y it gives {along_y:.3g}; 1 is asked for.":
            not np.isclose(along_y, 1)}  # fmt: skip


def exercise_2_3(answer):
    """Any function of a window may take the maximum's place; the mean gives average pooling."""
    rng = np.random.default_rng(2)
    cases = [(4, 6, 2), (9, 6, 3), (7, 5, 2), (8, 11, 4), (3, 2, 1)]
    for *shape, size in (*cases, *drawn(9, (4, 15), (4, 15), (1, 5))):
        image = rng.uniform(-99, -1, shape := tuple(shape))
        found, (n, m) = Found(answer(image, size)), np.floor_divide(shape, size)
        windows = image[: n * size, : m * size].reshape(n, size, m, size)
        right = windows.max(axis=(1, 3))
        rounded_up = tuple(-(-pixels // size) for pixels in shape)
        yield found == right or {
            "Your windows overlap: a pooling window moves by its own size.":
                found.shape == (shape[0] - size + 1, shape[1] - size + 1) != right.shape,
            f"An image of {shape} has no room for more than {right.shape} whole windows of "
            f"{size}×{size}.": found.shape == rounded_up != right.shape,
            f"From an image of {shape}, windows of {size} make {right.shape}; yours has the shape "
            f"{found.shape}.": found.shape != right.shape,
            "That is average pooling: what does max pooling keep of a window?":
                found == windows.mean(axis=(1, 3)),
            "The decimals are gone: an array of whole numbers keeps none.":
                found == np.trunc(right),
            "That is a stride without pooling: only one pixel of each window was looked at.":
                found == windows[:, 0, :, 0],
            "All pixels here are below zero, but your result is not: from which value does your "
            "maximum start?": found == np.maximum(right, 0),
            f"The shape is right, the values are not. Try it on an image of {shape} that you can "
            "check by eye.": True}  # fmt: skip


def _levels_for(pixels, pooling=1, doubles=True):
    field, jump, levels = 5, 1, 1
    while field < pixels:
        field += pooling * jump
        jump *= 2 if doubles else 1
        field, levels = field + 4 * jump, levels + 1
    return levels


def exercise_2_4(answer):
    """The field doubles with every level, and a little more: that is why a few levels are enough
    for a whole organ."""
    found, sizes = tried(answer, [(pixels,) for pixels in range(1, 400)])
    right = np.array([_levels_for(pixels) for pixels in sizes])
    yield found == right or {
        "You count the poolings. There is one between two levels, so with one level there is none.":
            found == right - 1,
        "Behind a pooling, neighbours lie further apart in the input: what becomes of the jump?":
            found == [_levels_for(pixels, doubles=False) for pixels in sizes],
        "A pooling window has a size too: it looks at more than one value of the layer before it.":
            found == [_levels_for(pixels, pooling=0) for pixels in sizes],
        "A field of exactly the size asked for is enough.":
            found == [_levels_for(pixels + 1) for pixels in sizes],
        f"It is wrong for {sizes[found.wrong(right)]} pixels, among others. Follow "
        "size and jump layer by layer, as the chapter does.": True}  # fmt: skip
