"""Typical wrong answers to the exercises of chapter 4: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""


def forgets_the_overhang(size, kernel, stride, crop):
    """Thinks that the output is `stride` times as large. The last stamp reaches beyond, if the kernel is larger than
    the stride.
    """
    return size * stride


def one_stride_too_many(size, kernel, stride, crop):
    """Counts a stride for each pixel. Between `size` pixels there are `size - 1`."""
    return size * stride + kernel - 2 * crop


def crops_one_end(size, kernel, stride, crop):
    """Cuts off one end only."""
    return (size - 1) * stride + kernel - crop


def never_crops(size, kernel, stride, crop):
    """Forgets the cut."""
    return (size - 1) * stride + kernel


def shrinks(size, kernel, stride, crop):
    """Uses the formula of the ordinary convolution, which makes images smaller."""
    return (size + 2 * crop - kernel) // stride + 1


def counts_features(shape):
    """Counts the pixels behind the poolings. The dense layer that became a kernel of 8 still has to fit in."""
    return shape[0] // 8, shape[1] // 8


def loses_the_last(shape):
    """Subtracts the window and forgets the place before the first step."""
    return (shape[0] - 64) // 8, (shape[1] - 64) // 8


def pixel_by_pixel(shape):
    """Thinks that the map has a value per pixel. Three poolings make the window move by 8."""
    return shape[0] - 64 + 1, shape[1] - 64 + 1


def side_by_side(shape):
    """Thinks that the windows lie side by side. They overlap: 64 pixels wide, 8 apart."""
    return shape[0] // 64, shape[1] // 64


def multiplies_the_axes(shape):
    """Returns how many positions there are, and not how many along each axis."""
    return (shape[0] // 8 - 7) * (shape[1] // 8 - 7)


def reshapes_only(weights, height, width, channels):
    """Thinks that `reshape` puts numbers in another order. It only draws other borders between them."""
    return weights.reshape(height, width, channels, -1)


def keeps_channels_first(weights, height, width, channels):
    """Reads the weights in the right order and leaves the channel's axis at the front."""
    return weights.reshape(channels, height, width, -1)


def swaps_height_and_width(weights, height, width, channels):
    """Loses track of the axes: height and width are exchanged."""
    return weights.reshape(channels, width, height, -1).transpose(2, 1, 0, 3)


WRONG = [
    ("4.1", forgets_the_overhang, "reaches beyond"),
    ("4.1", one_stride_too_many, "How many strides"),
    ("4.1", crops_one_end, "both ends"),
    ("4.1", never_crops, "as long as nothing is cut off"),
    ("4.1", shrinks, "ordinary convolution"),
    ("4.2", counts_features, "So many features"),
    ("4.2", loses_the_last, "not none"),
    ("4.2", pixel_by_pixel, "pixel by pixel"),
    ("4.2", side_by_side, "overlap"),
    ("4.2", multiplies_the_axes, "return two numbers"),
    ("4.3", reshapes_only, "changes slowest"),
    ("4.3", keeps_channels_first, "move an axis"),
    ("4.3", swaps_height_and_width, "Height and width are swapped"),
]
