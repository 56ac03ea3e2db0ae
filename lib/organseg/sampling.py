"""Mini-batches of random crops, each crop from another patient (II.A), warped on the way (II.B).

Every step has its own random numbers, drawn from (seed, step): a resumed run goes on with the crops
it would have seen.
"""

import queue
import threading
import warnings

import numpy as np

from organseg.augmentation import apply_warp, draw_warp, no_warp
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.geometry import normalise
from organseg.organs import ORGAN_IDS


class CropSampler:
    """Draws mini-batches from cases on the working grid.

    Parameters
    ----------
    cases : list of Case with labels, all on the working grid (`geometry.to_working`)
    crop_size : int, voxels along each axis (the paper: 64)
    batch_size : int, crops in a batch, from as many different patients (the paper: 3)
    organ_share : the share of crops that are centred on a voxel of a random organ of the scan; the
        others lie anywhere in the scan, as in the paper (0: all of them)
    augment : whether crops are warped
    paper_voxels : `WorkingGrid.paper_voxels`, the scale of the warp
    """

    def __init__(
        self,
        cases,
        crop_size=64,
        batch_size=3,
        organ_share=0.0,
        augment=True,
        paper_voxels=(1.0,) * 3,
        seed=0,
    ):
        self.patients = {}
        for case in cases:
            self.patients.setdefault(case.patient or case.name, []).append(
                self._prepare(case, crop_size)
            )
        if len(self.patients) < batch_size:
            raise OrgansegError(
                f"found {len(self.patients)} patients; expected at least {batch_size}, since each crop of a "
                "mini-batch comes from another patient; add cases or hold out fewer"
            )
        self.shape = (crop_size,) * 3
        self.batch_size, self.organ_share, self.augment = batch_size, organ_share, augment
        self.paper_voxels, self.seed = paper_voxels, seed

    def _prepare(self, case, crop_size):
        if min(case.image.shape) < crop_size:
            size = "×".join(map(str, case.image.shape))
            warnings.warn(
                f"{case.name}: {size} voxels on the working grid, smaller than a crop of {crop_size}; "
                "it is padded with air and background",
                OrgansegWarning,
                stacklevel=3,
            )
        # A few thousand places per organ are enough to centre crops on, and cost no memory worth
        # naming.
        places = {}
        for organ in case.annotated:
            found = np.flatnonzero(case.label == organ)
            if len(found):
                places[organ] = found[:: max(1, len(found) // 4096)]
        annotated = np.isin(ORGAN_IDS, case.annotated).astype(np.float32)
        return normalise(case.image), case.label, case.spacing, places, annotated

    def batch(self, step):
        """The mini-batch of one step.

        Returns
        -------
        images float32 (batch, x, y, z, 1), labels uint8 (batch, x, y, z), annotated float32 (batch,
        organ)
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.patients), self.batch_size, replace=False)
        scans_of = list(self.patients.values())
        crops = [
            self._crop(rng, scans_of[patient][rng.integers(len(scans_of[patient]))])
            for patient in chosen
        ]
        images, labels, annotated = (np.stack(parts) for parts in zip(*crops, strict=True))
        return images[..., None], labels, annotated

    def _crop(self, rng, scan):
        image, label, spacing, places, annotated = scan
        free = np.array(image.shape) - self.shape  # negative where the scan is smaller than a crop
        corner = np.where(free > 0, rng.integers(np.maximum(free, 0) + 1), free // 2)
        if places and rng.random() < self.organ_share:
            organ = list(places)[rng.integers(len(places))]
            voxel = np.array(np.unravel_index(rng.choice(places[organ]), image.shape))
            corner = voxel - np.array(self.shape) // 2
        warp = (
            draw_warp(rng, self.shape, self.paper_voxels) if self.augment else no_warp(self.shape)
        )
        crop, crop_label = apply_warp(warp, image, label, corner, self.shape, spacing)
        return crop, crop_label, annotated


def prefetch(sampler, first, last, ahead=4):
    """The batches of steps first … last - 1, made in a thread while the network works on those
    before."""
    ready = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def work():
        try:
            for step in range(first, last):
                item = sampler.batch(step)
                while not stopped.is_set():
                    try:
                        ready.put(item, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stopped.is_set():
                    return
        except (
            BaseException
        ) as error:  # handed over, so that the caller sees it instead of waiting for ever
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
