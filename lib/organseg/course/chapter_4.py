"""The exercises of chapter 4, From CNN to FCN."""

import numpy as np

from organseg.course import exercise


@exercise("4.1")
def output_size(answer):
    """A kernel of 4, stride 2 and a crop of 1 double the size exactly: `fcn` climbs its levels by
    them."""
    cases = [(5, 3, 2, 0), (7, 4, 2, 1), (1, 6, 3, 1), (9, 2, 2, 0), (4, 5, 1, 2)]

    def is_always(formula):
        return all(int(answer(*case)) == formula(*case) for case in cases)

    if is_always(lambda size, kernel, stride, crop: (size - 1) * stride + kernel - 2 * crop):
        return None
    if is_always(lambda size, kernel, stride, crop: (size - kernel + 2 * crop) // stride + 1):
        return "This is the size of an ordinary convolution's output. Here the image grows: draw the stamps on paper."
    if is_always(lambda size, kernel, stride, crop: size * stride):
        return "The last stamp reaches beyond its corner by the rest of the kernel; and what does the crop take away?"
    if is_always(lambda size, kernel, stride, crop: size * stride + kernel - 2 * crop):
        return "How many strides lie between the corners of the first stamp and the last? Try an image of one pixel."
    if is_always(lambda size, kernel, stride, crop: (size - 1) * stride + kernel - crop):
        return "The crop is taken from both ends of the axis."
    if is_always(lambda size, kernel, stride, crop: (size - 1) * stride + kernel):
        return "All right as long as nothing is cut off. What does the crop take away?"
    for size, kernel, stride, crop in cases:
        found = int(answer(size, kernel, stride, crop))
        if found != (size - 1) * stride + kernel - 2 * crop:
            return f"For {size} pixels, kernel {kernel}, stride {stride}, crop {crop} you say {found}. Draw the stamps."


@exercise("4.2")
def positions(answer):
    """81 windows for an image of 128×128 pixels: each of them would cost the sliding window a pass
    of its own."""
    shapes = [(128, 128), (64, 64), (96, 160), (512, 512), (100, 64)]
    found = [np.asarray(answer(shape)).tolist() for shape in shapes]
    if not isinstance(found[0], list) or len(found[0]) != 2:
        return "The map has a size along each of two axes, so return two numbers."

    def is_always(along_one_axis):
        return found == [[along_one_axis(size) for size in shape] for shape in shapes]

    if is_always(lambda size: size // 8 - 7):
        return None
    if found == [[size // 8 - 7 for size in reversed(shape)] for shape in shapes]:
        return "The two axes are swapped for images that are not square."
    if is_always(lambda size: size // 8):
        return "So many features there are. At how many places among them does the kernel fit?"
    if is_always(lambda size: size // 8 - 8):
        return "An image of 64×64 pixels has one position, not none."
    if is_always(lambda size: size - 63):
        return "You move the window pixel by pixel. After three poolings, neighbouring features are further apart."
    if is_always(lambda size: size // 64):
        return "You lay the windows side by side. In the coarse map neighbouring windows overlap."
    for shape, one in zip(shapes, found, strict=True):
        if one != [size // 8 - 7 for size in shape]:
            return f"For {shape[0]}×{shape[1]} pixels you say {tuple(one)}. Follow the sizes down, pooling by pooling."


@exercise("4.3")
def kernel_of(answer):
    """The same numbers in another order: weights move between programs only if one knows in which
    order they lie."""
    hint = None
    for seed, (height, width, channels, outputs) in enumerate(
        [(2, 3, 4, 5), (3, 3, 3, 3), (4, 1, 2, 3)]
    ):
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(channels * height * width, outputs))
        kernel = np.asarray(answer(weights.copy(), height, width, channels))
        stored = weights.reshape(channels, height, width, outputs)
        if kernel.shape == (height, width, channels, outputs) and np.allclose(
            kernel, stored.transpose(1, 2, 0, 3)
        ):
            continue
        hint = hint or _hint(kernel, weights, stored, (height, width, channels, outputs))
    return hint


def _hint(kernel, weights, stored, shape):
    height, width, channels, outputs = shape
    if kernel.shape == stored.shape != shape and np.allclose(kernel, stored):
        return "The order is understood, but Keras wants its kernels as (height, width, channel, output): move an axis."
    if kernel.shape != shape:
        return f"For {shape} as height, width, channels and outputs the kernel has the shape {kernel.shape}."
    if np.allclose(kernel, weights.reshape(shape)):
        return "The shape is right, but here one whole channel follows the other. Which axis changes slowest?"
    swapped = weights.reshape(channels, width, height, outputs).transpose(2, 1, 0, 3)
    if np.allclose(kernel, swapped):
        return "Height and width are swapped: within a channel, rows follow one another, and the width changes fastest."
    if np.allclose(np.sort(kernel, axis=None), np.sort(weights, axis=None)):
        return "All the weights are there, but not at their places: reshape to the order they lie in, then move axes."
    return "The numbers themselves have changed; only their places should."
