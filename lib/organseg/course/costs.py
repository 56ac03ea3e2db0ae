"""What a network costs: parameters, floating-point operations (FLOPs) and memory, asked of Keras.

Counted are multiplications and additions of convolutions and dense layers. Batch normalisation,
ReLU and pooling take a few operations per number, less than a hundredth of a U-Net's. The memory is
an estimate: what a program really holds depends on what it keeps, computes anew, or copies.
"""

from dataclasses import dataclass
from math import prod

from organseg.errors import OrgansegError
from organseg.show.architecture import trace

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
    """The cost of every layer for one image, from image to output: a list of LayerCost.

    A convolution multiplies each of its weights once for each voxel that it puts out (zeros of the
    padding included), a transposed convolution once for each voxel that comes in. The model must be
    a built keras.Model with one input and one output, and `input_size` (int, or tuple (x, y[, z]))
    must fit it; otherwise OrgansegError.

    >>> from organseg import unet
    >>> image, convolution, *_ = layer_costs(unet(), 64)
    >>> convolution.shape, convolution.flops == 2 * (27 * 32) * 64**3
    ((64, 64, 64, 32), True)
    """
    costs = []
    for layer, inputs, output, parameters in trace(model, input_size):
        kind, kernel = type(layer).__name__, getattr(layer, "kernel", None)
        before = [tensor.shape[1:-1] for tensor in inputs]
        places = before[0] if "Transpose" in kind else output.shape[1:-1]
        flops = 0 if kernel is None else 2 * prod(kernel.shape) * prod(places)
        size = prod(output.shape[1:]) * (2 if "16" in output.dtype else 4)  # float16, bfloat16
        costs.append(LayerCost(layer.name, kind, output.shape[1:], parameters, flops, size))
    return costs


def training_flops(model, input_size, batch_size=1):
    """FLOPs of one training step: the forward pass, and twice as many on the way back.

    There a layer needs the gradient of its weights and the gradient of its input, and each takes as
    many multiplications as the layer itself.

    >>> from organseg import unet
    >>> print(f"{training_flops(unet(), 64, batch_size=3) / 1e12:.2f} TFLOP")
    4.40 TFLOP
    """
    return 3 * batch_size * sum(cost.flops for cost in layer_costs(model, input_size))


def training_bytes(model, input_size, batch_size=1):
    """An estimate of the memory that a training step needs, in bytes.

    Every layer's output is counted once for every image, because the way back needs it; and 16
    bytes for every weight: itself, its gradient and the two averages of Adam, in float32.

    >>> from organseg import unet
    >>> training_bytes(unet(), 64, batch_size=0) / 16  # without images: its weights
    19071784.0
    """
    of_weights, of_image = _bytes(model, input_size)
    return of_weights + batch_size * of_image


def crops_that_fit(model, input_size, memory, usable=USABLE):
    """How many images of this size a training step may have, by the estimate of `training_bytes`.

    `memory` is that of the GPU in bytes, `usable` the part of it that the training may take. In a
    network of `dtype='mixed_float16'` outputs take half the memory.

    >>> from organseg import unet
    >>> crops_that_fit(unet(), 64, memory=24e9)
    15
    """
    if not 0 < usable <= 1:
        raise OrgansegError(f"found usable={usable}; expected a part, above 0 and at most 1")
    of_weights, of_image = _bytes(model, input_size)
    return max(int((usable * memory - of_weights) // of_image), 0)


def _bytes(model, input_size):
    costs = layer_costs(model, input_size)
    of_weights = BYTES_PER_WEIGHT * sum(cost.parameters for cost in costs)
    return of_weights, sum(cost.bytes for cost in costs)
