"""Mini-batches of random crops, each from another patient (II.A), warped on the way (II.B).

Every step has its own random numbers, drawn from (seed, step): a resumed run goes on with the crops
it would have seen.
"""

import numpy as np

from organseg.augmentation import apply_warp, draw_warp, no_warp
from organseg.errors import OrgansegError, warn
from organseg.scans import Scan


class CropSampler:
    """Draws mini-batches from scans.

    Parameters
    ----------
    scans : list of Scan with labels (`to_scan`)
    crop_size : int, voxels along each axis (the paper: 64)
    batch_size : int, crops in a batch, from as many different patients (the paper: 3)
    organ_share : the share of crops that are centred on a voxel of a random organ of the scan; the
        others lie anywhere in the scan, as in the paper (0: all of them)
    augment : whether crops are warped
    paper_voxels : `WorkingGrid.paper_voxels`, the scale of the warp

    >>> import organseg
    >>> scans = [organseg.to_scan(organseg.make_phantom(seed, (32, 32, 32))) for seed in range(3)]
    >>> images, labels, annotated = CropSampler(scans, crop_size=16).batch(0)
    >>> images.shape, labels.shape, annotated.shape
    ((3, 16, 16, 16, 1), (3, 16, 16, 16), (3, 7))
    """

    def __init__(
        self, scans, crop_size=64, batch_size=3, organ_share=0.0, augment=True,
        paper_voxels=(1.0,) * 3, seed=0,
    ):  # fmt: skip
        self.shape = (crop_size,) * 3
        self.batch_size, self.organ_share, self.augment = batch_size, organ_share, augment
        self.paper_voxels, self.seed = paper_voxels, seed
        self.patients = {}
        for scan in scans:
            if not isinstance(scan, Scan):
                found = f"found a {type(scan).__name__}; expected a Scan"
                raise OrgansegError(f"{found}; give to_scan(to_working(case, grid))")
            if min(scan.image.shape) < crop_size:
                size = "×".join(map(str, scan.image.shape))
                told = f"{scan.name}: {size} voxels on the working grid, smaller than a crop"
                warn(f"{told} of {crop_size}; it is padded with air and background")
            self.patients.setdefault(scan.patient, []).append(scan)
        if len(self.patients) < batch_size:
            found = f"found {len(self.patients)} patients; expected at least {batch_size}"
            reason = "since each crop of a mini-batch comes from another patient"
            raise OrgansegError(f"{found}, {reason}; add cases or hold out fewer")

    def batch(self, step):
        """The mini-batch of one step.

        images float32 (batch, x, y, z, 1), labels uint8 (batch, x, y, z), annotated (batch, organ)
        """
        crops = [(*self._read(*place), place[0].annotated) for place in self.plan(step)]
        images, labels, annotated = (np.stack(parts) for parts in zip(*crops, strict=True))
        return images[..., None], labels, annotated

    def plan(self, step):
        """Where the crops of a step are read: scan, corner (voxel) and warp of each, in a list."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.patients), self.batch_size, replace=False)
        scans_of = list(self.patients.values())
        return [self._place(rng, _any_of(rng, scans_of[patient])) for patient in chosen]

    def _place(self, rng, scan):
        free = np.array(scan.image.shape) - self.shape  # negative where the scan is smaller
        corner = np.where(free > 0, rng.integers(np.maximum(free, 0) + 1), free // 2)
        places = scan.organ_voxels
        if places and rng.random() < self.organ_share:
            voxel = rng.choice(places[_any_of(rng, list(places))])
            corner = np.array(np.unravel_index(voxel, scan.image.shape)) - np.array(self.shape) // 2
        drawn = (rng, self.shape, self.paper_voxels)
        return scan, corner, draw_warp(*drawn) if self.augment else no_warp(self.shape)

    def _read(self, scan, corner, warp):
        return apply_warp(warp, scan.image, scan.label, corner, self.shape, scan.spacing)


def _any_of(rng, choices):
    return choices[rng.integers(len(choices))]
