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
    finite = case.image[np.isfinite(case.image)]
    missing = case.image.size - finite.size
    chosen = np.random.default_rng(0).integers(finite.size, size=min(finite.size, 10**6))
    sample, pad = finite[chosen], float(finite.min())
    # HU are judged without the padding, which is one value far below them, in many voxels.
    padded = pad <= -1500 and np.mean(sample == pad) > 0.001 and (sample > pad).any()
    sample = sample[sample > pad] if padded else sample
    low, high, count = float(sample.min()), float(sample.max()), np.unique(sample).size
    few = sample.size > 10_000 and count <= 256
    rounded = few and count > 1 and high - low > 2 * count
    canonical, turned, leaning = to_canonical(case), tilt(case), 90 - _smallest_angle(case)
    x, y, z = np.multiply(canonical.image.shape, canonical.spacing)
    largest = max(canonical.spacing)
    values, other = f"only {count} different values", "is this another modality"
    air = "a CT in HU has air near -1000"
    padding = "padding outside the field of view; it counts as air"
    resampled = "the scan is resampled to straight axes and back"
    lines = (
        (missing > 0, f"{missing} voxels are not finite; they count as air"),
        (low > -200, f"lowest value {low:g}: {air}; {other}, or a scaled CT?"),
        (high < 0, f"highest value {high:g}: soft tissue has 0 to 100 HU; are all values shifted?"),
        (high > 4100, f"highest value {high:g}: CT values in HU end near 3071; {other}?"),
        (rounded, f"{values} between {low:g} and {high:g}: HU were rounded to 8 bits"),
        (few and not rounded, f"{values}: an 8-bit picture or a label map rather than HU?"),
        (padded, f"lowest value {pad:g}: {padding}"),
        (low <= -1500, f"lowest value {low:g}: {air}; are all values shifted?"),
        (min(x, y) < 150, f"{x:.0f} × {y:.0f} mm across: smaller than an abdomen"),
        (max(x, y) > 800, f"{x:.0f} × {y:.0f} mm across: wider than a scanner; are they mm?"),
        (z > 2300, f"{z:.0f} mm from feet to head: longer than a patient; are they mm?"),
        (largest > 6, f"voxels of {largest:.3g} mm: coarser than what the network was made for"),
        (leaning > 0.1, f"slices lean by {leaning:.1f}°, as of a tilted gantry; {resampled}"),
        (turned > 1, f"axes turned {turned:.1f}° from the patient's: {resampled}"),
    )
    return [line for holds, line in lines if holds]


def _smallest_angle(case):
    """Between two of the array axes, in degrees: 90, but for a scan whose slices lean."""
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    cosines = np.abs(np.triu(directions.T @ directions, 1)).max()
    return float(np.degrees(np.arccos(min(cosines, 1))))


def tilt(case):
    """The largest angle between an array axis and the patient's axis nearest to it, in degrees."""
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
