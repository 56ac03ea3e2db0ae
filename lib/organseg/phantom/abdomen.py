"""A patient on a grid, painted and scanned: `make_phantom`."""

import numpy as np

from organseg.augmentation import displacement
from organseg.cases import Case
from organseg.phantom.paint import paint
from organseg.phantom.patient import CONTROL_LOWER, CONTROL_SPACING, draw_patient
from organseg.phantom.scanner import scan
from organseg.phantom.shapes import Space
from organseg.phantom.variety import draw_varied_patient

BODY_LEVELS = ("thorax", "upper abdomen", "lower abdomen", "pelvis")
# Heights (mm) between the levels: top of the diaphragm, lower end of the right kidney (L3), top of
# the sacrum.
LEVEL_HEIGHTS = (108.0, -62.0, -158.0)
# Volumes (ml) of whole organs; the seeds 0 to 99 stay inside. Eleven real scans had: artery 50-190,
# vein 8-39 without branches in the liver, liver 760-1840, spleen 110-260 (one of 1100), stomach
# 130-240, gallbladder 5-35, pancreas 22-100. The upper ends here go beyond them, for stomach and
# vein to nearly twice: so few scans do not span everyone.
VOLUME_ML = {
    "artery": (50, 190),
    "vein": (10, 75),
    "liver": (760, 2350),
    "spleen": (100, 420),
    "stomach": (80, 460),
    "gallbladder": (5, 48),
    "pancreas": (18, 140),
}


def make_phantom(seed, shape=(128, 128, 160), spacing=None, variety=None):
    """A synthetic CT of the abdomen with the labels of the seven organs; portal-venous by default.

    Parameters
    ----------
    seed : int, the patient; the same seed at another shape is the same patient on a finer or
        coarser grid
    shape : three ints, voxels along x, y, z
    spacing : three voxel sizes in mm; by default the patient's field of view (about 384 mm) and
        length (about 430 mm) divided by `shape`
    variety : `variety.Variety`, in what the patient differs from those of the course; by default in
        nothing. Such a phantom has no noise: `crops` draws it anew for each crop.

    Returns
    -------
    Case named ``phantom_SEED`` with a float32 image in HU, a uint8 label, a RAS+ affine and the
    body level of each slice (an index into `BODY_LEVELS`)

    >>> case = make_phantom(0, (32, 32, 32))
    >>> case.name, case.image.shape, case.axes
    ('phantom_0000', (32, 32, 32), 'RAS')
    """
    patient = draw_varied_patient(seed, variety) if variety else draw_patient(seed)
    if spacing is None:
        width = patient.field_of_view
        spacing = (width / shape[0], width / shape[1], patient.length / shape[2])
    spacing = np.asarray(spacing, dtype=np.float64)
    # The scanner's mm along each axis.
    grid = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, spacing, strict=True)]
    skeleton, organs = _spaces(patient, grid, spacing)
    canvas, height = paint(patient, skeleton, organs, spacing)
    image = scan(canvas.image, patient, seed, grid, spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in grid]
    levels = np.searchsorted(-np.array(LEVEL_HEIGHTS), -height).astype(np.uint8)
    image, name = image.astype(np.float32), f"phantom_{seed:04d}"
    return Case(image, canvas.label, affine, name, body_levels=levels)


def _spaces(patient, grid, spacing):
    """Patient coordinates of every voxel: the skeleton's, and the organs', deformed further."""
    x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)
    a, b, c = patient.tilt
    x, y, z = x - patient.shift[0], y - patient.shift[1] - 18, z + patient.shift[2]
    turned = (x + c * y + b * z, y - c * x + a * z, z - b * x - a * y)
    # `displacement` counts from the second control point.
    second = [axis - (low + CONTROL_SPACING) for axis, low in zip(grid, CONTROL_LOWER, strict=True)]
    body = displacement(patient.body_warp, (CONTROL_SPACING,) * 3, second)
    skeleton = [
        axis / size + move for axis, size, move in zip(turned, patient.scale, body, strict=True)
    ]
    inner = displacement(patient.organ_warp, (CONTROL_SPACING,) * 3, second)
    # Organs glide along the spine: their own deformation fades towards it.
    near = np.exp(-((skeleton[0] / 45) ** 2) - ((skeleton[1] + 10) / 40) ** 2)
    inner *= 1 - near
    voxel = spacing / patient.scale
    return Space(*skeleton, voxel), Space(
        *(axis + move for axis, move in zip(skeleton, inner, strict=True)), voxel
    )
