"""What looks wrong with a scan although it can be read: doubts are told, the work goes on."""

import numpy as np

from organseg.geometry import to_canonical


def doubts(case):
    """The doubts about a case as lines of text: is it a CT in HU, and is there an abdomen's worth
    of it?

    Parameters
    ----------
    case : Case, as read from its file

    Returns
    -------
    list of str, empty where nothing looks unusual
    """
    found = []
    step = max(1, case.image.size // 10**6)
    sample = case.image.ravel()[::step]
    finite = sample[np.isfinite(sample)]
    if finite.size < sample.size:
        found.append(
            f"{1 - finite.size / sample.size:.1%} of the voxels are not finite; they count as air"
        )
    low, high = float(finite.min()), float(finite.max())
    if low > -200:
        found.append(
            f"lowest value {low:g}: a CT in HU has air near -1000; is this another modality, or a scaled CT?"
        )
    if high > 4100:
        found.append(
            f"highest value {high:g}: CT values in HU end near 3071; is this another modality?"
        )
    steps = np.unique(finite)
    if finite.size > 10_000 and 1 < steps.size <= 256 and high - low > 2 * steps.size:
        found.append(
            f"only {steps.size} different values between {low:g} and {high:g}: HU were rounded to 8 bits"
        )
    elif finite.size > 10_000 and steps.size <= 256:
        found.append(
            f"only {steps.size} different values: an 8-bit picture or a label map rather than HU?"
        )
    if low <= -2000:
        found.append(f"lowest value {low:g}: padding outside the field of view; it counts as air")
    canonical = to_canonical(case)
    extent = np.array(canonical.spacing) * canonical.image.shape
    if min(extent[:2]) < 150:
        found.append(f"{extent[0]:.0f} × {extent[1]:.0f} mm across: smaller than an abdomen")
    if max(canonical.spacing) > 6:
        found.append(
            f"voxels of {max(canonical.spacing):.3g} mm: coarser than what the network was made for"
        )
    if tilt(case) > 1:
        found.append(
            f"axes turned {tilt(case):.1f}° from the patient's: the scan is resampled to straight axes and back"
        )
    return found


def tilt(case):
    """The largest angle between an array axis and the patient's axis nearest to it, in degrees."""
    directions = case.affine[:3, :3] / np.linalg.norm(case.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0, 1))).max())
