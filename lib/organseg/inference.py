"""Prediction (II.A, end): the network sees the whole xy plane, and tiles follow each other along z.

Tiling here is exact. With zero-padded convolutions and batch normalisation in inference mode, an
output voxel depends on no input farther away than the network's reach: 46 voxels for the four-level
U-Net, where tiles start and end at multiples of 8 (up to 51 elsewhere). Tiles see so many slices
more on both sides, rounded up to 48, of which nothing is kept. So no seams, no blending, and the
memory needed depends on a tile's depth, not on the scan's length.
"""

import numpy as np
import psutil

from organseg.device.forward import on_device
from organseg.errors import OrgansegError
from organseg.geometry import to_file_grid, to_working
from organseg.networks import reach, size_multiple
from organseg.scans import to_scan

# Bytes: 8 GB less the framework's own; and never more than half of the memory that is free.
MEMORY_BUDGET = 7.2e9


def predict(run, case, tile_depth=None, margin=None, precision="auto"):
    """The organs of a scan, on the scan's own grid: uint8 ids, of the shape of `case.image`.

    Parameters
    ----------
    run : Run, a trained network and the grid it works on (`load_run`, `train`)
    case : Case, as read from its file
    tile_depth, margin : as in `predict_probabilities`
    precision : see `device.precision.resolve_precision`

    >>> import organseg
    >>> case = organseg.make_phantom(3003, (24, 24, 24), spacing=(8, 8, 8))
    >>> labels = predict(organseg.load_run("phantoms"), case)
    >>> labels.shape, round(organseg.dice(case.label == 3, labels == 3), 1)  # the liver's Dice
    ((24, 24, 24), 0.9)
    """
    scan = to_scan(to_working(case, run.grid))
    network = run.in_precision(precision).network
    probabilities = predict_probabilities(network, scan.image, tile_depth, margin)
    return to_file_grid(probabilities, scan.affine, case.image.shape, case.affine)


def predict_probabilities(network, image, tile_depth=None, margin=None):
    """Probabilities of every class, tile by tile: an array (x, y, z, class).

    It is float32; float64 from a network in float64.

    Parameters
    ----------
    network : keras.Model, as `unet` builds it
    image : float array (x, y, z) on the working grid, 0…1 (`Scan.image`)
    tile_depth : slices kept of each tile, a multiple of `networks.size_multiple` (8 for four
        levels); by default as many as the memory budget allows
    margin : slices that a tile sees beside them; by default the network's reach, which is exact

    >>> import organseg
    >>> network = organseg.unet(base_filters=1)
    >>> predict_probabilities(network, np.zeros((16, 16, 20), np.float32)).shape
    (16, 16, 20, 8)
    """
    result = np.empty((*image.shape, network.output_shape[-1]), network.outputs[0].dtype)
    for slices, tile in each_tile(network, image, tile_depth, margin):
        result[:, :, slices] = np.asarray(tile)[0]
    return result


def each_tile(network, image, tile_depth=None, margin=None):
    """As `predict_probabilities`, but tile by tile, and left on the device: the slices of the image
    that a tile keeps, and its probabilities, a tensor (1, x, y, z, class)."""
    multiple = size_multiple(network)
    margin = reach(network) if margin is None else margin
    # Padded with air, as the convolutions' own zero padding.
    padded = np.pad(image, [(0, -n % multiple) for n in image.shape])[None, ..., None]
    if tile_depth is None:
        tile_depth = affordable_depth(network, padded.shape[1:4], margin)
    (width, height, depth), answer = image.shape, on_device(network)
    for seen, kept in tiles(padded.shape[3], tile_depth, margin, multiple):
        keep = slice(kept.start, min(kept.stop, depth))
        inner = slice(keep.start - seen.start, keep.stop - seen.start)
        yield keep, answer(padded[:, :, :, seen])[:, :width, :height, inner]


def tiles(depth, tile_depth, margin, multiple=8):
    """The slices that each tile sees and those that are kept of it: a list of (seen, kept).

    The depths are multiples of `multiple` (`networks.size_multiple`), and the margin is rounded up
    to one. The kept slices follow each other without gap or overlap.

    >>> tiles(depth=64, tile_depth=32, margin=14)
    [(slice(0, 48, None), slice(0, 32, None)), (slice(16, 64, None), slice(32, 64, None))]
    """
    if tile_depth < multiple or tile_depth % multiple:
        found = f"found tile_depth={tile_depth}"
        raise OrgansegError(f"{found}; expected a multiple of {multiple}; choose one")
    margin += -margin % multiple
    starts = range(0, depth, tile_depth)
    kept = [slice(start, min(start + tile_depth, depth)) for start in starts]
    return [(slice(max(k.start - margin, 0), min(k.stop + margin, depth)), k) for k in kept]


def affordable_depth(network, shape, margin=None, budget=None):
    """The deepest tile (slices kept) of an image (x, y, z) that fits into the budget, in bytes.

    By default, that is min(8 GB, half of the free memory); what never fits is refused.
    """
    multiple, per_slice = size_multiple(network), bytes_per_voxel(network) * shape[0] * shape[1]
    margin = reach(network) if margin is None else margin
    margin += -margin % multiple
    if budget is None:
        free = psutil.virtual_memory().available
        budget = min(MEMORY_BUDGET, free / 2)
        if (least := per_slice * min(shape[2], multiple + 2 * margin)) > free:
            found = f"found a scan of {shape} voxels here, and {free / 1e9:.1f} GB of free memory"
            raise OrgansegError(f"{found}; expected {least / 1e9:.1f}; check its voxel size")
    slices = int(budget // per_slice)
    if slices >= shape[2]:
        return shape[2]
    return max((slices - 2 * margin) // multiple * multiple, multiple)


def bytes_per_voxel(network):
    """What a prediction holds in memory at its widest place, per voxel of the input.

    In the U-Net that is the last concatenation: the inputs, 2 + 4 times the filters, their sum, and
    copies in the convolution's own layout. Measured on the 19 M network; half precision copies
    more.
    """
    first = next(layer for layer in network.layers if hasattr(layer, "filters"))
    filters, size = {"float32": (20, 4), "float64": (20, 8)}.get(first.compute_dtype, (27, 2))
    return filters * first.filters * size
