"""What a network costs: parameters, floating-point operations (FLOPs) and memory, read from the
Keras model itself.

Counted are multiplications and additions of convolutions and dense layers. Batch normalisation,
ReLU and pooling take a few operations per number, less than a hundredth of a U-Net's. The memory is
an estimate: what a program really holds depends on what it keeps, computes anew, or copies.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from organseg.backend import keras
from organseg.errors import OrgansegError
from organseg.show.architecture import read_graph, shape_after, shapes_of_image

USABLE = 0.9  # of a GPU's memory; the rest is the framework's own and lost between the blocks
BYTES_PER_WEIGHT = 16  # float32: the weight, its gradient, and the two averages that Adam keeps


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one image."""

    name: str
    kind: str  # the name of the layer's class, e.g. 'Conv3D'
    shape: tuple  # of its output, (x, y[, z], channel)
    parameters: int  # trainable ones
    flops: int  # of the forward pass; a multiplication and an addition are two
    bytes: int  # of its output


def layer_costs(model, input_size):
    """The cost of every layer for one image, from image to output.

    A convolution multiplies each of its weights once for each voxel that it puts out (zeros of the
    padding included), a transposed convolution once for each voxel that comes in.

    Parameters
    ----------
    model : keras.Model with one input and one output
    input_size : int or tuple, the image size (x, y[, z])

    Returns
    -------
    list of LayerCost

    Raises
    ------
    OrgansegError
        The model is not built, has several inputs or outputs, or the size does not fit it.
    """
    shapes, costs, counted = [], [], set()
    for layer, before in read_graph(model):
        incoming = [shapes[number] for number in before]
        shapes.append(
            shape_after(layer, incoming) if before else shapes_of_image(model, input_size)[0]
        )
        weights = (
            () if layer in counted else getattr(layer, "trainable_weights", ())
        )  # a layer used twice has them once
        counted.add(layer)
        number = np.dtype("float32") if not before else _number_type(layer)
        costs.append(
            LayerCost(
                name=layer.name,
                kind=type(layer).__name__,
                shape=shapes[-1],
                parameters=sum(prod(weight.shape) for weight in weights),
                flops=_flops(layer, incoming, shapes[-1]),
                bytes=prod(shapes[-1]) * number.itemsize,
            )
        )
    return costs


def training_flops(model, input_size, batch_size=1):
    """FLOPs of one training step: the forward pass, and twice as many on the way back.

    There a layer needs the gradient of its weights and the gradient of its input, and each takes as
    many multiplications as the layer itself.
    """
    return 3 * batch_size * sum(cost.flops for cost in layer_costs(model, input_size))


def training_bytes(model, input_size, batch_size=1):
    """An estimate of the memory that a training step needs, in bytes.

    Every layer's output is counted once for every image, because the way back needs it; and 16
    bytes for every weight: the weight itself, its gradient and the two averages of Adam, in
    float32.
    """
    costs = layer_costs(model, input_size)
    weights = BYTES_PER_WEIGHT * sum(cost.parameters for cost in costs)
    return weights + batch_size * sum(cost.bytes for cost in costs)


def crops_that_fit(model, input_size, memory, usable=USABLE):
    """How many images of this size a training step may have on a GPU, by the estimate of
    `training_bytes`.

    Parameters
    ----------
    model : keras.Model; with `dtype='mixed_float16'`, outputs take half the memory
    input_size : int or tuple, the size of the images or crops
    memory : of the GPU, in bytes
    usable : the part of it that the training may take

    Returns
    -------
    int, 0 where not even one fits
    """
    if not 0 < usable <= 1:
        raise OrgansegError(
            f"found usable={usable}; expected a part of the memory, above 0 and at most 1"
        )
    weights = training_bytes(model, input_size, batch_size=0)
    each = training_bytes(model, input_size, batch_size=1) - weights
    return max(int((usable * memory - weights) // each), 0)


def _flops(layer, incoming, after):
    """Two for each weight of the kernel, at every place where it is applied."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or not incoming:
        return 0
    places = incoming[0][:-1] if "Transpose" in type(layer).__name__ else after[:-1]
    return 2 * prod(kernel.shape) * prod(places)


def _number_type(layer):
    """The type of the numbers that a layer puts out; what is no layer, such as a sum written with
    +, keeps float32."""
    return (
        np.dtype("float32")
        if not isinstance(layer, keras.Layer)
        else _as_numpy(layer.compute_dtype)
    )


def _as_numpy(name):
    return (
        np.dtype("float16") if name == "bfloat16" else np.dtype(name)
    )  # numpy has no bfloat16; both have two bytes
