"""A scan as the network is given it: on the working grid, its HU windowed to 0…1.

A case goes file → `Case` → `geometry.to_working` → `to_scan` → crop → batch → loss. This is the one
place where HU are windowed, and where the vector of a case's annotated organs is made.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from organseg.organs import ORGAN_IDS

# Air and lung at one end, bone and calcium at the other, every organ between.
HU_WINDOW = (-200.0, 300.0)


@dataclass(frozen=True)
class Scan:
    """One case on the working grid; made by `to_scan`.

    Attributes
    ----------
    image : float32 array (x, y, z), 0…1
    label : uint8 array (x, y, z) of organ ids, or None
    annotated : float32 array (7,), 1 for each of `ORGANS` that the label was drawn for, else 0
    affine, spacing : voxel indices to mm; voxel size along x, y, z in mm
    """

    image: np.ndarray
    label: np.ndarray | None
    annotated: np.ndarray
    affine: np.ndarray
    spacing: tuple
    name: str
    patient: str

    @cached_property
    def organ_voxels(self):
        """For each annotated organ, flat indices of some 4,000 voxels to centre crops on."""
        places = {}
        for organ in np.array(ORGAN_IDS)[self.annotated > 0].tolist():
            found = np.flatnonzero(self.label == organ)
            if len(found):
                places[organ] = found[:: max(1, len(found) // 4096)]
        return places


def to_scan(case):
    """What the network is given of a case on the working grid (`geometry.to_working`).

    >>> import organseg
    >>> scan = to_scan(organseg.make_phantom(0, (32, 32, 32)))
    >>> float(scan.image.min()), float(scan.image.max()), scan.annotated.sum()
    (0.0, 1.0, np.float32(7.0))
    """
    annotated = np.isin(ORGAN_IDS, case.annotated).astype(np.float32)
    image, patient = normalise(case.image), case.patient or case.name
    return Scan(image, case.label, annotated, case.affine, case.spacing, case.name, patient)


def normalise(image):
    """HU to 0…1 over `HU_WINDOW`.

    Air becomes exactly 0, which is what zero-padded convolutions see outside an image.

    >>> normalise([-1000, -200, 50, 300, 3000]).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    low, high = HU_WINDOW
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)
