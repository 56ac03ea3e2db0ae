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
    """The doubts about a case as lines of text: is it a CT in HU, and is it an abdomen?

    Parameters
    ----------
    case : Case, as read from its file

    Returns
    -------
    list of str, empty where nothing looks unusual

    >>> import organseg
    >>> doubts(organseg.make_phantom(0, (64, 64, 64)))
    ['voxels of 6.74 mm: coarser than what the network was made for']
    """
    return [*_doubts_about_values(case.image), *_doubts_about_geometry(case)]


def _doubts_about_values(image):
    sample = image.ravel()[:: max(1, image.size // 10**6)]
    finite = sample[np.isfinite(sample)]
    if finite.size < sample.size:
        share = 1 - finite.size / sample.size
        yield f"{share:.1%} of the voxels are not finite; they count as air"
    low, high, count = float(finite.min()), float(finite.max()), np.unique(finite).size
    if low > -200:
        question = "is this another modality, or a scaled CT?"
        yield f"lowest value {low:g}: a CT in HU has air near -1000; {question}"
    if high > 4100:
        yield f"highest value {high:g}: CT values in HU end near 3071; is this another modality?"
    if finite.size > 10_000 and count <= 256:
        if count > 1 and high - low > 2 * count:
            between = f"between {low:g} and {high:g}"
            yield f"only {count} different values {between}: HU were rounded to 8 bits"
        else:
            yield f"only {count} different values: an 8-bit picture or a label map rather than HU?"
    if low <= -2000:
        yield f"lowest value {low:g}: padding outside the field of view; it counts as air"


def _doubts_about_geometry(case):
    canonical = to_canonical(case)
    extent, turned = np.array(canonical.spacing) * canonical.image.shape, tilt(case)
    if min(extent[:2]) < 150:
        yield f"{extent[0]:.0f} × {extent[1]:.0f} mm across: smaller than an abdomen"
    if max(canonical.spacing) > 6:
        size = max(canonical.spacing)
        yield f"voxels of {size:.3g} mm: coarser than what the network was made for"
    if turned > 1:
        done = "the scan is resampled to straight axes and back"
        yield f"axes turned {turned:.1f}° from the patient's: {done}"


def tilt(case):
    """The largest angle between an array axis and the patient's axis nearest to it, in degrees."""
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
