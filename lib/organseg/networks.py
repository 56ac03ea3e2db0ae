"""Three networks on one set of blocks: cnn (Fig. 1), fcn (Fig. 2) and unet (Fig. 3 of Roth et al.
2018).

All work in 2-D and 3-D (`spatial_dims`), on channels-last arrays: (batch, x, y, channel) or (batch,
x, y, z, channel). Networks end in a float32 softmax whatever the precision of the layers before it,
so that losses add float32 numbers.

References
----------
Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015 (fcn).
Çiçek et al., "3D U-Net: learning dense volumetric segmentation from sparse annotation", MICCAI 2016
(unet).
"""

from organseg.backend import keras
from organseg.organs import NUM_CLASSES

layers = keras.layers

# Keras' default of 0.99 averages over the last hundred steps and more. In a training of a few
# hundred steps the averages then lag behind the weights, and the network that scored well in
# training fails at inference.
BATCH_NORM_MOMENTUM = 0.9


def cnn(num_classes, input_size, base_filters=32, levels=4, spatial_dims=2, dtype=None):
    """A convolutional network that says one thing about a whole image (Fig. 1): an analysis path
    and dense layers.

    Parameters
    ----------
    num_classes : int
    input_size : int or tuple, the fixed image size: dense layers need to know how many features
        come in
    base_filters, levels, spatial_dims, dtype : as in `unet`

    Returns
    -------
    keras.Model, (batch, x, y[, z], 1) to class probabilities (batch, class)
    """
    size = (input_size,) * spatial_dims if isinstance(input_size, int) else tuple(input_size)
    inputs = keras.Input((*size, 1), name="image")
    x, _ = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    x = layers.Flatten(dtype=dtype)(x)
    x = layers.Dense(4 * base_filters, activation="relu", dtype=dtype)(x)
    x = layers.Dense(num_classes, dtype=dtype)(x)
    return keras.Model(inputs, _probabilities(x, dtype), name="cnn")


def fcn(num_classes=NUM_CLASSES, base_filters=32, levels=4, spatial_dims=2, skips=True, dtype=None):
    """A fully convolutional network (Fig. 2): the dense layers give way to learned up-sampling.

    The deepest features become class scores by a 1×1 convolution; transposed convolutions bring the
    scores back to full size, a factor of two at a time. With `skips`, the scores of the analysis
    path's level are added on the way.

    Parameters and returns as in `unet`; `skips=False` shows what the up-sampling can do alone.
    """
    inputs = keras.Input((None,) * spatial_dims + (1,), name="image")
    x, skipped = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    x = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(x)
    for features in reversed(skipped):
        x = _layer("Conv", spatial_dims, "Transpose")(
            num_classes, 4, strides=2, padding="same", dtype=dtype
        )(x)
        if skips:
            scores = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(features)
            x = layers.Add(dtype=dtype)([x, scores])
    return keras.Model(inputs, _probabilities(x, dtype), name="fcn")


def unet(num_classes=NUM_CLASSES, base_filters=32, levels=4, spatial_dims=3, dtype=None):
    """The U-Net of Fig. 3: symmetric analysis and synthesis paths with concatenation skip
    connections (II.A).

    With the default values 19,071,784 trainable parameters, the paper's ~19 M.

    Parameters
    ----------
    num_classes : int, classes with the background
    base_filters : int, filters of the first convolution; the first level has `base_filters` and
        twice as many, and each level down doubles both
    levels : int, resolution levels of each path; each size of an image must be a multiple of
        2**(levels - 1)
    spatial_dims : 2 or 3
    dtype : Keras dtype policy of the layers, e.g. 'mixed_float16'; by default Keras' global one

    Returns
    -------
    keras.Model, images (batch, x, y[, z], 1) to probabilities (batch, x, y[, z], class) of the same
    size
    """
    inputs = keras.Input((None,) * spatial_dims + (1,), name="image")
    x, skipped = _analysis_path(inputs, base_filters, levels, spatial_dims, dtype)
    for features in reversed(skipped):
        up = _layer("Conv", spatial_dims, "Transpose")
        x = up(x.shape[-1], 2, strides=2, dtype=dtype)(
            x
        )  # twice the size, the same number of channels
        x = layers.Concatenate(dtype=dtype)([x, features])
        for _ in range(2):
            x = _convolution(x, features.shape[-1], spatial_dims, dtype)
    x = _layer("Conv", spatial_dims)(num_classes, 1, dtype=dtype)(x)
    return keras.Model(inputs, _probabilities(x, dtype), name="unet")


def _probabilities(x, dtype):
    """The softmax over the classes, in float32 (in float64 where everything is)."""
    return layers.Softmax(
        dtype="float64" if dtype == "float64" else "float32", name="probabilities"
    )(x)


def _analysis_path(x, base_filters, levels, spatial_dims, dtype):
    """Per level two convolutions; between levels a 2×2×2 max pooling. Returns the deepest features
    and those above."""
    skipped = []
    for level in range(levels):
        if level > 0:
            x = _layer("MaxPooling", spatial_dims)(2, dtype=dtype)(x)
        x = _convolution(x, base_filters * 2**level, spatial_dims, dtype)
        x = _convolution(x, base_filters * 2 ** (level + 1), spatial_dims, dtype)
        skipped.append(x)
    return x, skipped[:-1]


def _convolution(x, filters, spatial_dims, dtype):
    """A 3×3×3 convolution with zero padding, batch normalisation (its shift makes a bias
    superfluous) and ReLU."""
    x = _layer("Conv", spatial_dims)(filters, 3, padding="same", use_bias=False, dtype=dtype)(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)(x)
    return layers.ReLU(dtype=dtype)(x)


def _layer(kind, spatial_dims, suffix=""):
    if spatial_dims not in (2, 3):
        raise ValueError(f"found spatial_dims={spatial_dims}; expected 2 or 3")
    return getattr(layers, f"{kind}{spatial_dims}D{suffix}")
