"""Crops cut and warped where the network is: those of `CropSampler`, without the host's work.

SciPy warps a crop of 64³ voxels in some 35 ms on a CPU core; a step takes three, and a large GPU
is done with it in 20 ms. So here the scans lie on the device, one behind the other in two long
arrays, and the host draws only the few hundred numbers of a warp. All the rest is arithmetic in
`keras.ops`, compiled together with the training step.
"""

import numpy as np

from organseg.augmentation import rotation, spline_basis
from organseg.backend import keras
from organseg.device.several import layout

ops = keras.ops

LEVELS = 65535  # 0…1 in 16 bits: off by 1/131070 at most
BYTES = 3  # of a voxel on the device: the image's two, the label's one
ROOM = 4e9  # bytes: 500 scans of the paper's size, beside a step's 4.5 GB on a GPU of 16 GB
MOST = 2**31 - 1  # voxels that 32-bit indices can tell apart


class DeviceCrops:
    """The mini-batches of a `CropSampler`, read on the device.

    `draw(steps)` is the host's part, `read` the device's: it is compiled with the training step.
    Where all scans take more than `room` bytes, those that some steps need come over with them.

    >>> import organseg
    >>> scans = [organseg.to_scan(organseg.make_phantom(seed, (32, 32, 32))) for seed in range(3)]
    >>> sampler = organseg.CropSampler(scans, crop_size=16)
    >>> images, labels, annotated = DeviceCrops(sampler).batch(7)
    >>> bool(np.allclose(images, sampler.batch(7)[0], atol=1e-5))
    True
    """

    def __init__(self, sampler, room=ROOM):
        self.sampler, self.shape, self.layout = sampler, sampler.shape, layout()
        scans = [scan for scans in sampler.patients.values() for scan in scans]
        self.largest = max(scan.image.size for scan in scans)
        fits = sum(scan.image.size for scan in scans) <= min(room / BYTES, MOST)
        self.all = self._bring_over(scans) if fits else None
        warp = sampler.plan(0)[0][2]
        places = [np.arange(n) / s for n, s in zip(self.shape, warp.control_spacing, strict=True)]
        bases = map(spline_basis, places, warp.control_points.shape[1:])
        self.bases = [basis.astype(np.float32) for basis in bases]

    def batch(self, step):
        """The mini-batch of one step, as `CropSampler.batch` has it, left on the device."""
        numbers, arrays = self.draw([step])
        return self.read({name: rows[0] for name, rows in numbers.items()}, arrays)

    def draw(self, steps):
        """What the mini-batches of these steps are read by: a dict of arrays (step, crop, …), and
        the arrays of the scans that they are read from."""
        plans = [self.sampler.plan(step) for step in steps]
        starts, arrays = self.all or self._those_needed(plans)
        rows = [[self._row(starts, *crop) for crop in plan] for plan in plans]
        names = rows[0][0]
        numbers = {name: np.array([[row[name] for row in plan] for plan in rows]) for name in names}
        return numbers, arrays

    def _those_needed(self, plans):
        scans = {id(scan): scan for plan in plans for scan, _, _ in plan}.values()
        # Always as long as it could be: another length would be compiled anew.
        return self._bring_over(list(scans), sum(map(len, plans)) * self.largest)

    def _bring_over(self, scans, length=None):
        """Where each scan begins, and the arrays of all images and labels on the device."""
        voxels = sum(scan.image.size for scan in scans)
        image, label = np.zeros(length or voxels, np.uint16), np.zeros(length or voxels, np.uint8)
        starts, start = {}, 0
        for scan in scans:
            here = slice(start, start + scan.image.size)
            image[here] = np.rint(scan.image * LEVELS).ravel()
            label[here] = scan.label.ravel()
            starts[id(scan)], start = np.int32(start), here.stop
        return starts, tuple(map(self.layout.everywhere, (image, label)))

    def _row(self, starts, scan, corner, warp):
        # As in `augmentation.warp_coordinates`. Whole voxels stay apart from their fractions: in
        # float32 a place such as 500.123 is off by 1e-5 of a voxel.
        size = np.asarray(scan.spacing, dtype=float)
        change = rotation(warp.angles) * size / size[:, None] - np.eye(3)
        offset = corner + np.asarray(warp.translation) - change @ ((np.array(self.shape) - 1) / 2)
        whole = np.floor(offset)
        return {
            "control_points": warp.control_points.astype(np.float32),
            "change": change.astype(np.float32),
            "whole": whole.astype(np.int32),
            "part": (offset - whole).astype(np.float32),
            "start": starts[id(scan)],
            "size": np.array(scan.image.shape, np.int32),
            "annotated": scan.annotated,
        }

    def read(self, numbers, arrays):
        """A mini-batch: images (batch, x, y, z, 1), labels (batch, x, y, z), annotated."""
        image, label = arrays
        below, part = self._places(numbers)
        total = 0.0
        for corner in np.ndindex(2, 2, 2):  # of the cell of eight voxels around each place
            weight = 1.0
            for share, far in zip(part, corner, strict=True):
                weight = weight * (share if far else 1 - share)
            places = [voxel + far for voxel, far in zip(below, corner, strict=True)]
            total = total + weight * ops.cast(_at(image, places, numbers), "float32")
        halves = [ops.cast(share >= 0.5, "int32") for share in part]
        nearest = [voxel + half for voxel, half in zip(below, halves, strict=True)]
        return total[..., None] / LEVELS, _at(label, nearest, numbers), numbers["annotated"]

    def _places(self, numbers):
        """Where in its scan each voxel is read: the voxel below it, and the share of the next."""
        moved = ops.einsum("bcijk,xi,yj,zk->bcxyz", numbers["control_points"], *self.bases)
        steps = np.ix_(*(np.arange(n, dtype=np.float32) for n in self.shape))
        below, part = [], []
        for axis in range(3):
            change = _by_crop(numbers["change"][:, axis])
            turned = sum(change[:, other] * steps[other] for other in range(3))
            place = moved[:, axis] + turned + _by_crop(numbers["part"])[:, axis]
            low = ops.floor(place)
            part.append(place - low)
            first = _by_crop(numbers["whole"])[:, axis] + steps[axis].astype(np.int32)
            below.append(ops.cast(low, "int32") + first)
        return below, part


def _by_crop(rows):
    """(batch, n) as (batch, n, 1, 1, 1), to be spread over the voxels of each crop."""
    return rows[..., None, None, None]


def _at(volumes, places, numbers):
    """The scans' voxels at these indices; 0, which is air and background, outside."""
    sizes = [_by_crop(numbers["size"])[:, axis] for axis in range(3)]
    inside, flat = True, 0
    for place, size in zip(places, sizes, strict=True):
        inside = ops.logical_and(inside, ops.logical_and(place >= 0, place < size))
        flat = flat * size + ops.clip(place, 0, size - 1)
    values = ops.take(volumes, flat + _by_crop(numbers["start"]))
    return ops.where(inside, values, ops.zeros((), values.dtype))
