"""Augmentation (II.B): a B-spline deformation, rotation and translation of a crop, in one reading.

`draw_warp` draws the numbers and `apply_warp` carries them out, so that tests and pictures can fix
them. A warp says for each of the crop's voxels where in the scan it is read. Image and label are
read once each; outside the scan there is air and background, never a smeared edge.

Displacement of a cubic B-spline on control points c with spacing s (one row of points lies before
the crop): d(x) = Σ_ijk c_ijk B(x/s - i + 1) B(y/s - j + 1) B(z/s - k + 1). B never exceeds 2/3 and
neighbours partly cancel, so control points within ±4 move voxels by 0.7–0.8 RMS per component; a
field folds only beyond about 0.4 s.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

MAX_DISPLACEMENT = 4.0  # paper's voxels (about 3 mm), at the control points
CONTROL_SPACING = 24.0  # paper's voxels
MAX_ROTATION = 20.0  # degrees, about each axis
MAX_TRANSLATION = 20.0  # paper's voxels, along each axis


@dataclass(frozen=True)
class Warp:
    """The parameters of one warp of a crop.

    Attributes
    ----------
    control_points : (3, i, j, k) displacements along x, y, z at the control points, in voxels of
        the working grid
    control_spacing : (3,) voxels between control points
    angles : (3,) rotations about the x, y and z axis through the crop's centre, in degrees, applied
        in this order
    translation : (3,) voxels
    """

    control_points: np.ndarray
    control_spacing: tuple
    angles: tuple
    translation: tuple


def draw_warp(rng, shape, paper_voxels=(1.0, 1.0, 1.0)):
    """Draw a warp for a crop of this shape, uniformly within the paper's ranges.

    `paper_voxels` is the paper's voxel in voxels of the working grid (`WorkingGrid.paper_voxels`),
    so that warps are the same in mm.

    >>> draw_warp(np.random.default_rng(0), (64, 64, 64)).control_points.shape
    (3, 6, 6, 6)
    """
    scale = np.asarray(paper_voxels, dtype=float)
    spacing = CONTROL_SPACING * scale
    counts = control_counts(shape, spacing)
    control_points = rng.uniform(-MAX_DISPLACEMENT, MAX_DISPLACEMENT, (3, *counts))
    control_points *= scale.reshape(3, 1, 1, 1)
    angles = rng.uniform(-MAX_ROTATION, MAX_ROTATION, 3)
    translation = rng.uniform(-MAX_TRANSLATION, MAX_TRANSLATION, 3) * scale
    return Warp(control_points, tuple(spacing), tuple(angles), tuple(translation))


def no_warp(shape, control_spacing=(CONTROL_SPACING,) * 3):
    """The warp that changes nothing, to the bit; see `apply_warp` for an example."""
    zeros = np.zeros((3, *control_counts(shape, control_spacing)))
    return Warp(zeros, tuple(control_spacing), (0.0,) * 3, (0.0,) * 3)


def apply_warp(warp, image, label, corner, shape, voxel_size=(1.0, 1.0, 1.0), outside=0.0):
    """Read one warped crop from a whole scan: its image (float32) and label (uint8, or None).

    Parameters
    ----------
    image, label : float32 and uint8 array (x, y, z); the label may be None
    corner : index of the crop's first voxel before the warp; may lie outside the scan
    shape : size in voxels of the crop
    voxel_size : mm per voxel along x, y, z; a rotation keeps lengths in mm, not in voxels
    outside : what the image is outside the scan (0 is air after `scans.normalise`)

    >>> image = np.arange(27.0, dtype=np.float32).reshape(3, 3, 3)
    >>> crop, _ = apply_warp(no_warp((2, 2, 2)), image, None, corner=(2, 0, 0), shape=(2, 2, 2))
    >>> crop.tolist()  # half of it lies outside the scan
    [[[18.0, 19.0], [21.0, 22.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    places = warp_coordinates(warp, corner, shape, voxel_size)
    beyond = "grid-constant"  # one value, not the border's
    crop = ndimage.map_coordinates(image, places, np.float32, 1, beyond, outside)
    if label is None:
        return crop, None
    # The labels at the nearest voxel: a mean of two organs' ids would be a third organ.
    return crop, ndimage.map_coordinates(label, places, label.dtype, 0, beyond)


def warp_coordinates(warp, corner, shape, voxel_size=(1.0, 1.0, 1.0)):
    """Where in the scan each voxel of the crop is read: (3, x, y, z), in voxels."""
    positions = [np.arange(n, dtype=float) for n in shape]
    grid = np.meshgrid(*positions, indexing="ij", sparse=True)
    coordinates = displacement(warp.control_points, warp.control_spacing, positions)
    size = np.asarray(voxel_size, dtype=float)
    linear = rotation(warp.angles) * size / size[:, None]  # voxels -> mm, rotate, mm -> voxels
    centre = (np.asarray(shape) - 1) / 2
    # Rotating about the centre moves voxel x to centre + R(x - centre). Written as a change of x,
    # so that a warp of zeros adds exact zeros to exact indices and reads the scan's very values.
    change = linear - np.eye(3)
    offset = np.asarray(corner, dtype=float) + warp.translation - change @ centre
    for axis in range(3):
        moved = sum(change[axis, other] * grid[other] for other in range(3)) + offset[axis]
        coordinates[axis] += grid[axis] + moved
    return coordinates


def displacement(control_points, control_spacing, positions):
    """The displacement of the cubic B-spline at every place of a lattice: (3, x, y, z), in voxels.

    control_points : (3, i, j, k); point 0 lies one spacing before position 0
    positions : three 1-D arrays, the lattice's places along x, y and z in voxels

    The spline is a product of three 1-D ones, so three small matrices, applied one after the other,
    do it all: 64³ places cost little more than one multiplication each.
    """
    counts = control_points.shape[1:]
    places = (where / spacing for where, spacing in zip(positions, control_spacing, strict=True))
    bases = map(spline_basis, places, counts)
    return np.einsum("cijk,xi,yj,zk->cxyz", control_points, *bases, optimize=True)


def spline_basis(places, count):
    """Cubic B-spline weights (place, control point), in spacings; point i lies at i - 1."""
    distance = np.abs(np.asarray(places, dtype=float)[:, None] - (np.arange(count) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def control_counts(shape, control_spacing):
    """How many control points cover a crop: one before it, and two beyond its last interval."""
    return tuple(int((n - 1) // s) + 4 for n, s in zip(shape, control_spacing, strict=True))


def rotation(angles):
    """The matrix that rotates about x, then y, then z by these angles in degrees."""
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
