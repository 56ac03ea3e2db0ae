"""Prediction (II.A, end): the network covers the whole xy plane of a scan, and tiles follow each
other along z.

Tiling here is exact. With zero-padded convolutions and batch normalisation in inference mode, an
output voxel depends on no input farther away than the network's reach: 44 to 51 voxels for the
four-level U-Net, depending on the voxel's position, and 46 at positions that are multiples of 8.
Tiles start at multiples of 8 and see a margin of 48 slices on both sides, of which nothing is kept.
So no seams, no blending, and the memory needed depends on a tile's depth, not on the scan's length.
"""

import numpy as np
import psutil

from organseg.backend import keras
from organseg.geometry import WorkingGrid, normalise, to_file_grid, to_working
from organseg.profiles import cpu_has_bfloat16, has_gpu

MARGIN = 48  # slices
MULTIPLE = 8  # three poolings by two
MEMORY_BUDGET = 7.2e9  # bytes: 8 GB less the framework's own; and never more than half of the memory that is free


def predict(network, case, grid=None, tile_depth=None, margin=MARGIN, precision="auto"):
    """The organs of a scan, on the scan's own grid.

    Parameters
    ----------
    network : keras.Model
    case : Case, as read from its file
    grid : WorkingGrid that the network was trained on; 3 mm by default
    tile_depth : slices kept of each tile, a multiple of 8; by default as many as the memory budget
        allows
    margin : slices around them that a tile sees as well
    precision : Keras dtype policy; 'auto' takes half precision where the hardware multiplies it

    Returns
    -------
    uint8 array (x, y, z) of organ ids, of the shape of `case.image`
    """
    working = to_working(case, grid or WorkingGrid())
    network = in_precision(network, fast_precision() if precision == "auto" else precision)
    probabilities = predict_probabilities(network, normalise(working.image), tile_depth, margin)
    return to_file_grid(probabilities, working.affine, case.image.shape, case.affine)


def predict_probabilities(network, image, tile_depth=None, margin=MARGIN):
    """Probabilities of every class, tile by tile.

    Parameters
    ----------
    image : float array (x, y, z) on the working grid, normalised

    Returns
    -------
    float32 array (x, y, z, class); float64 from a network in float64
    """
    padded = np.pad(
        image, [(0, -n % MULTIPLE) for n in image.shape]
    )  # with air, as the convolutions' own zero padding
    if tile_depth is None:
        tile_depth = affordable_depth(network, padded.shape, margin)
    result = np.empty((*image.shape, network.output_shape[-1]), network.outputs[0].dtype)
    for seen, kept in tiles(padded.shape[2], tile_depth, margin):
        tile = np.asarray(network.predict_on_batch(padded[None, :, :, seen, None]))[0]
        keep = slice(kept.start, min(kept.stop, image.shape[2]))
        inner = slice(keep.start - seen.start, keep.stop - seen.start)
        result[:, :, keep] = tile[: image.shape[0], : image.shape[1], inner]
    return result


def tiles(depth, tile_depth, margin=MARGIN):
    """The slices that each tile sees and those that are kept of it.

    Parameters
    ----------
    depth, tile_depth : multiples of 8; margin : slices, rounded up to a multiple of 8

    Returns
    -------
    list of (seen, kept) slices; the kept ones follow each other without gap or overlap
    """
    if tile_depth < MULTIPLE or tile_depth % MULTIPLE:
        raise ValueError(f"found tile_depth={tile_depth}; expected a multiple of {MULTIPLE}")
    margin = -(-margin // MULTIPLE) * MULTIPLE
    starts = range(0, depth, tile_depth)
    kept = [slice(start, min(start + tile_depth, depth)) for start in starts]
    return [(slice(max(k.start - margin, 0), min(k.stop + margin, depth)), k) for k in kept]


def affordable_depth(network, shape, margin=MARGIN, budget=None):
    """The deepest tile (slices kept) that fits into the budget, by default min(8 GB, half the free
    memory)."""
    if budget is None:
        budget = min(MEMORY_BUDGET, psutil.virtual_memory().available / 2)
    slices = int(budget // (bytes_per_voxel(network) * shape[0] * shape[1]))
    if slices >= shape[2]:
        return shape[2]
    return max((slices - 2 * margin) // MULTIPLE * MULTIPLE, MULTIPLE)


def bytes_per_voxel(network):
    """What a prediction holds in memory at its widest place, per voxel of the input.

    In the U-Net that is the last concatenation: the inputs, 2 + 4 times the filters, their
    concatenation, and copies in the convolution's own layout. The figures were measured on the 19 M
    network; half precision copies more.
    """
    first = next(layer for layer in network.layers if hasattr(layer, "filters"))
    filters, size = {"float32": (20, 4), "float64": (20, 8)}.get(first.compute_dtype, (27, 2))
    return filters * first.filters * size


def fast_precision():
    """What predicts fastest here: float16 on a GPU, bfloat16 on a CPU that has it, else float32."""
    return "mixed_float16" if has_gpu() else "mixed_bfloat16" if cpu_has_bfloat16() else "float32"


def in_precision(network, policy):
    """The same network with the same weights, computing in another precision; its softmax stays in
    float32."""
    if network.layers[1].dtype_policy.name == policy:
        return network

    def with_policy(layer):
        config = layer.get_config()
        if not isinstance(layer, (keras.layers.InputLayer, keras.layers.Softmax)):
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(network, clone_function=with_policy)
    copy.set_weights(network.get_weights())
    return copy
