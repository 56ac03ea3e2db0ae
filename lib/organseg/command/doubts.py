"""What looks wrong with a scan although it can be read: doubts are told, the work goes on."""

import numpy as np

from organseg.errors import warn
from organseg.folders import CaseFiles
from organseg.geometry import to_canonical


class TellingFiles(CaseFiles):
    """Where a case lies; when it is read, the doubts about it are told."""

    @classmethod
    def of(cls, files):
        return [cls(**vars(file)) for file in files]

    def load(self):
        case = super().load()
        for line in doubts(case):
            warn(f"{self.name}: {line}")
        return case


def doubts(case):
    """The doubts about a case, as it was read, as a list of str: is it a CT in HU, and is it an
    abdomen? The list is empty where nothing looks unusual.

    >>> import organseg
    >>> doubts(organseg.make_phantom(0, (64, 64, 64)))
    ['voxels of 6.74 mm: coarser than what the network was made for']
    """
    sample = case.image.ravel()[:: max(1, case.image.size // 10**6)]
    finite = sample[np.isfinite(sample)]
    missing, count = 1 - finite.size / sample.size, np.unique(finite).size
    low, high = float(finite.min()), float(finite.max())
    few = finite.size > 10_000 and count <= 256
    rounded = few and count > 1 and high - low > 2 * count
    canonical, turned = to_canonical(case), tilt(case)
    x, y, _ = np.multiply(canonical.image.shape, canonical.spacing)
    largest = max(canonical.spacing)
    values, other = f"only {count} different values", "is this another modality"
    air = "a CT in HU has air near -1000"
    padding = "padding outside the field of view; it counts as air"
    resampled = "the scan is resampled to straight axes and back"
    lines = (
        (missing > 0, f"{missing:.1%} of the voxels are not finite; they count as air"),
        (low > -200, f"lowest value {low:g}: {air}; {other}, or a scaled CT?"),
        (high > 4100, f"highest value {high:g}: CT values in HU end near 3071; {other}?"),
        (rounded, f"{values} between {low:g} and {high:g}: HU were rounded to 8 bits"),
        (few and not rounded, f"{values}: an 8-bit picture or a label map rather than HU?"),
        (low <= -2000, f"lowest value {low:g}: {padding}"),
        (min(x, y) < 150, f"{x:.0f} × {y:.0f} mm across: smaller than an abdomen"),
        (largest > 6, f"voxels of {largest:.3g} mm: coarser than what the network was made for"),
        (turned > 1, f"axes turned {turned:.1f}° from the patient's: {resampled}"),
    )
    return [line for holds, line in lines if holds]


def tilt(case):
    """The largest angle between an array axis and the patient's axis nearest to it, in degrees."""
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
