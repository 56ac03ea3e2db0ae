"""Three networks on one set of blocks: cnn (Fig. 1), fcn (Fig. 2), unet (Fig. 3 of the paper).

All work in 2-D and 3-D (`spatial_dims`), on channels-last arrays: (batch, x, y[, z], channel). They
end in a float32 softmax whatever the precision before it, so that losses add float32 numbers.

Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015 (fcn).
Çiçek et al., "3D U-Net: learning dense volumetric segmentation from sparse annotation", 2016.
"""

from organseg.backend import keras
from organseg.errors import OrgansegError
from organseg.organs import NUM_CLASSES

layers = keras.layers

# Keras' default of 0.99 averages over a hundred steps and more. In a training of a few hundred the
# averages lag behind the weights, and a network that scored well in training fails at inference.
BATCH_NORM_MOMENTUM = 0.9


def cnn(num_classes, input_size, base_filters=32, levels=4, spatial_dims=2, dtype=None):
    """A convolutional network that says one thing about a whole image (Fig. 1).

    A keras.Model, images (batch, x, y[, z], 1) to class probabilities (batch, class). Its dense
    layers need to know how many features come in, so `input_size` (int or tuple) is fixed. The
    other parameters are those of `unet`.

    >>> cnn(4, input_size=64, base_filters=4).output_shape
    (None, 4)
    """
    size = (input_size,) * spatial_dims if isinstance(input_size, int) else tuple(input_size)
    inputs = keras.Input((*size, 1), name="image")
    x, _ = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    x = layers.Flatten(dtype=dtype)(x)  # (batch, x, y, filter) -> (batch, feature)
    x = layers.Dense(4 * base_filters, activation="relu", dtype=dtype)(x)
    x = layers.Dense(num_classes, dtype=dtype)(x)  # (batch, class)
    return keras.Model(inputs, _probabilities(x, dtype), name="cnn")


def fcn(num_classes=NUM_CLASSES, base_filters=32, levels=4, spatial_dims=2, skips=True, dtype=None):
    """A fully convolutional network (Fig. 2): learned up-sampling in the place of dense layers.

    The deepest features become class scores by a 1×1 convolution; transposed convolutions bring the
    scores back to full size, a factor of two at a time. With `skips`, the scores of the analysis
    path's level are added on the way; without, one sees what the up-sampling can do alone. The
    other parameters and what it returns are those of `unet`.

    >>> fcn(base_filters=4).output_shape
    (None, None, None, 8)
    """
    inputs = keras.Input((None,) * spatial_dims + (1,), name="image")
    x, skipped = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    x = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(x)  # (batch, x/8, y/8, class)
    up = _layer("Conv", spatial_dims, "Transpose")
    for features in reversed(skipped):
        x = up(num_classes, 4, strides=2, padding="same", dtype=dtype)(x)  # twice the size
        if skips:
            scores = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(features)
            x = layers.Add(dtype=dtype)([x, scores])
    return keras.Model(inputs, _probabilities(x, dtype), name="fcn")


def unet(num_classes=NUM_CLASSES, base_filters=32, levels=4, spatial_dims=3, dtype=None):
    """The U-Net of Fig. 3: analysis and synthesis path with concatenation skips (II.A).

    A keras.Model, images (batch, x, y[, z], 1) to probabilities (batch, x, y[, z], class).

    Parameters
    ----------
    num_classes : int, classes with the background
    base_filters : int, filters of the first convolution; the first level has `base_filters` and
        twice as many, and each level down doubles both
    levels : int, resolution levels; each size of an image must be a multiple of 2**(levels - 1)
    spatial_dims : 2 or 3
    dtype : Keras dtype policy of the layers, e.g. 'mixed_float16'; by default Keras' global one

    >>> from math import prod
    >>> sum(prod(weight.shape) for weight in unet().trainable_weights)  # the paper's ~19 M
    19071784
    """
    inputs = keras.Input((None,) * spatial_dims + (1,), name="image")  # (batch, x, y, z, 1)
    x, skipped = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    up = _layer("Conv", spatial_dims, "Transpose")
    for features in reversed(skipped):
        # (batch, x/2, y/2, z/2, c) -> (batch, x, y, z, c)
        x = up(x.shape[-1], 2, strides=2, dtype=dtype)(x)
        x = layers.Concatenate(dtype=dtype)([x, features])  # (batch, x, y, z, c + c/2)
        for _ in range(2):
            x = _convolution(x, features.shape[-1], spatial_dims, dtype)  # (batch, x, y, z, c/2)
    x = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(x)  # (batch, x, y, z, class)
    return keras.Model(inputs, _probabilities(x, dtype), name="unet")


def _probabilities(x, dtype):
    """The softmax over the classes, in float32 (in float64 where everything is)."""
    kind = "float64" if dtype == "float64" else "float32"
    return layers.Softmax(dtype=kind, name="probabilities")(x)


def _analysis_path(x, base_filters, levels, spatial_dims, dtype):
    """Per level two convolutions; between levels a 2×2×2 max pooling.

    Returns the deepest features and those of the levels above.
    """
    skipped = []
    for level in range(levels):
        if level > 0:
            x = _layer("MaxPooling", spatial_dims)(2, dtype=dtype)(x)  # half of each size
        x = _convolution(x, base_filters * 2**level, spatial_dims, dtype)
        x = _convolution(x, base_filters * 2 ** (level + 1), spatial_dims, dtype)
        skipped.append(x)
    return x, skipped[:-1]


def _convolution(x, filters, spatial_dims, dtype):
    """A 3×3×3 convolution with zero padding, batch normalisation (its shift is a bias) and ReLU."""
    x = _layer("Conv", spatial_dims)(filters, 3, padding="same", use_bias=False, dtype=dtype)(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)(x)
    return layers.ReLU(dtype=dtype)(x)


def _layer(kind, spatial_dims, suffix=""):
    if spatial_dims not in (2, 3):
        raise OrgansegError(f"found spatial_dims={spatial_dims}; expected 2 or 3; choose one")
    return getattr(layers, f"{kind}{spatial_dims}D{suffix}")


def size_multiple(network):
    """What each size of an image must be a multiple of: 2 for every pooling on the way down.

    >>> size_multiple(unet(base_filters=1)), size_multiple(unet(base_filters=1, levels=5))
    (8, 16)
    """
    return 2 ** sum("MaxPooling" in type(layer).__name__ for layer in network.layers)


def reach(network):
    """How many voxels beyond a tile its outputs depend on, on either side along an axis.

    The tile starts and ends at multiples of `size_multiple`. From the output back to the image,
    each layer says which of its inputs it needs for the outputs that are needed of it.

    >>> reach(unet(base_filters=1))
    46
    """
    tile = size_multiple(network)
    needed = {id(network.outputs[0]): (0, tile - 1)}  # first and last voxel needed of each tensor
    for layer in reversed(network.layers):
        first, last = needed[id(layer.output)]
        size, stride = (getattr(layer, name, (1,))[-1] for name in ("kernel_size", "strides"))
        if "Transpose" in type(layer).__name__:
            before = (size - stride) // 2  # zeros that padding takes off at the start
            first, last = -((size - 1 - before - first) // stride), (last + before) // stride
        elif "MaxPooling" in type(layer).__name__:
            first, last = 2 * first, 2 * last + 1
        else:
            first, last = first - (size - 1) // 2, last + size // 2
        for tensor in keras.tree.flatten(layer.input):
            a, b = needed.get(id(tensor), (first, last))
            needed[id(tensor)] = min(a, first), max(b, last)
    first, last = needed[id(network.inputs[0])]
    return max(-first, last - (tile - 1))
