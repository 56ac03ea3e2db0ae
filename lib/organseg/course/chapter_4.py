"""The exercises of chapter 4, From CNN to FCN."""

import numpy as np

from organseg.course import Found, drawn, tried, two


def exercise_4_1(answer):
    """A kernel of 4, stride 2 and a crop of 1 double the size exactly: `fcn` climbs its levels by
    them."""
    cases = [(5, 3, 2, 0), (7, 4, 2, 1), (1, 6, 3, 1), (9, 2, 2, 0), (4, 5, 1, 2)]
    cases += [case for case in drawn(60, (3, 70), (1, 9), (1, 6), (0, 3)) if case[1] >= case[2]]
    found, size, kernel, stride, crop = tried(answer, cases)
    right = (size - 1) * stride + kernel - 2 * crop
    yield found == right or {
        "This is the size of an ordinary convolution's output. Here the image grows: draw the "
        "stamps on paper.": found == (size - kernel + 2 * crop) // stride + 1,
        "The last stamp reaches beyond its corner by the rest of the kernel; and what does the "
        "crop take away?": found == size * stride,
        "How many strides lie between the corners of the first stamp and the last? Try an image of "
        "one pixel.": found == right + stride,
        "The crop is taken from both ends of the axis.": found == right + crop,
        "All right as long as nothing is cut off. What does the crop take away?":
            found == right + 2 * crop,
        f"For {size[n := found.wrong(right)]} pixels, kernel {kernel[n]}, stride {stride[n]}, crop "
        f"{crop[n]} you say {found[n]:g}. Draw the stamps.": True}  # fmt: skip


def exercise_4_2(answer):
    """81 windows for an image of 128×128 pixels: each of them would cost the sliding window a pass
    of its own."""
    shapes = [(128, 128), (64, 64), (96, 160), (512, 512), (100, 64), (70, 127), (127, 71)]
    shapes += drawn(20, (64, 600), (64, 600))
    hint = "The map has a size along each of two axes, so return two numbers."
    found, shapes = Found([two(answer(shape), hint) for shape in shapes]), np.array(shapes)
    right, rounded = shapes // 8 - 7, np.round((shapes - 64) / 8) + 1
    yield found == right or {
        "The two axes are swapped for images that are not square.": found == right[:, ::-1],
        "So many features there are. At how many places among them does the kernel fit?":
            found == shapes // 8,
        "An image of 64×64 pixels has one position, not none.": found == right - 1,
        "You move the window pixel by pixel. After three poolings, neighbouring features are "
        "further apart.": found == shapes - 63,
        "You lay the windows side by side. In the coarse map neighbouring windows overlap.":
            found == shapes // 64,
        "A pooling drops an odd last pixel: from 70 pixels come 35, then 17, then 8.":
            found == rounded or found == -(-shapes // 8) - 7,
        f"For a shape of {shapes[n := found.wrong(right)].tolist()} you say {found[n].tolist()}. "
        "Follow the sizes down, pooling by pooling.": True}  # fmt: skip


def exercise_4_3(answer):
    """The same numbers in another order: weights move between programs only if one knows in which
    order they lie."""
    shapes = [(2, 3, 4, 5), (3, 3, 3, 3), (4, 1, 2, 3), *drawn(6, *[(1, 6)] * 4)]
    for seed, shape in enumerate(shapes):
        height, width, channels, outputs = shape
        weights = np.random.default_rng(seed).normal(size=(channels * height * width, outputs))
        found = Found(answer(weights, height, width, channels))
        stored = weights.reshape(channels, height, width, outputs)
        swapped = weights.reshape(channels, width, height, outputs).transpose(2, 1, 0, 3)
        yield found == stored.transpose(1, 2, 0, 3) or {
            "The order is understood, but Keras wants its kernels as (height, width, channel, "
            "output): move an axis.": found == stored,
            f"For {shape} as height, width, channels and outputs the kernel has the shape "
            f"{found.shape}.": found.shape != shape,
            "The shape is right, but here one whole channel follows the other. Which axis changes "
            "slowest?": found == weights.reshape(shape),
            "Height and width are swapped: within a channel, rows follow one another, and the "
            "width changes fastest.": found == swapped,
            "All the weights are there, but not at their places: reshape to the order they lie in, "
            "then move axes.":
                Found(np.sort(found.values, axis=None)) == np.sort(weights, axis=None),
            "The numbers themselves have changed; only their places should.": True}  # fmt: skip
