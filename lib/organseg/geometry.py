"""From a file's grid to the working grid, and the exact way back.

A scan may be stored in any axis order and at any angle. The *working grid* is where the network
sees it: axes x to the patient's right, y to the front, z to the head (RAS), one voxel size for a
whole run. All positions go through the affines, in mm, so the way back cannot disagree with the way
there.
"""

from dataclasses import dataclass, replace

import numpy as np
import psutil
from nibabel import orientations
from scipy import ndimage

from organseg.errors import OrgansegError, warn
from organseg.volumes import corners

AIR = -1000.0  # HU; what surrounds a scan
FWHM = 2 * np.sqrt(2 * np.log(2))  # a Gaussian's full width at half maximum, in standard deviations


@dataclass(frozen=True)
class WorkingGrid:
    """The voxels a run works on: `factor` times each scan's own (the paper: 4), or `spacing` mm.

    With a factor, `spacing` is the voxel size that the run was trained on. A scan that the factor
    would bring to voxels more than 1.6 times larger or smaller goes to `spacing` instead: the
    network knows organs at that size only.

    >>> WorkingGrid((3.0, 3.0, 3.2), factor=4).spacing_of((0.7, 0.7, 0.8))
    (2.8, 2.8, 3.2)
    """

    spacing: tuple = (3.0, 3.0, 3.0)
    factor: int | None = None

    def spacing_of(self, file_spacing):
        """Working voxel size (mm, along x, y, z) of a scan with this voxel size along x, y, z."""
        if self.factor:
            scaled = self.factor * np.asarray(file_spacing)
            if np.all(np.abs(np.log(scaled / self.spacing)) < np.log(1.6)):
                return tuple(scaled.tolist())
        return self.spacing

    @property
    def paper_voxels(self):
        """The paper's voxel (about 3 mm) in voxels of this grid, at most 1: warps keep their mm."""
        return (1.0, 1.0, 1.0) if self.factor else tuple(min(1.0, 3.0 / s) for s in self.spacing)


def choose_grid(spacings, spacing=3.0):
    """The working grid for a run, from the voxel sizes (mm) of its scans, array (case, 3).

    The paper's factor 4 where every scan is at full resolution as in the paper ([0.59–0.98]² ×
    [0.5–1.0] mm, here up to 0.4–1.25), else `spacing` mm.

    >>> choose_grid([(0.7, 0.7, 0.5), (0.7, 0.7, 5.0)])  # slices 5 mm thick: not the paper's scans
    WorkingGrid(spacing=(3.0, 3.0, 3.0), factor=None)
    """
    spacings = np.atleast_2d(spacings)
    if spacings.size and np.all((spacings >= 0.4) & (spacings <= 1.25)):
        return WorkingGrid(tuple((4 * np.median(spacings, axis=0)).tolist()), factor=4)
    return WorkingGrid((float(spacing),) * 3)


def canonical_spacing(affine):
    """Voxel size (mm) along x, y, z of `to_canonical`, from the affine of the file."""
    order = np.argsort(orientations.io_orientation(affine)[:, 0])
    return tuple(np.linalg.norm(affine[:3, :3], axis=0)[order].tolist())


def to_canonical(case):
    """The case with its arrays flipped and transposed to the RAS axes nearest to its own.

    Nothing is resampled: an oblique scan stays oblique, by less than 45°.
    """
    turn = orientations.io_orientation(case.affine)
    affine = case.affine @ orientations.inv_ornt_aff(turn, case.image.shape)
    image, label = orientations.apply_orientation(case.image, turn), case.label
    label = None if label is None else orientations.apply_orientation(label, turn)
    levels, to_the_feet = case.body_levels, turn[turn[:, 0] == 2, 1] < 0
    levels = levels[::-1] if levels is not None and to_the_feet else levels
    return replace(case, image=image, label=label, affine=affine, body_levels=levels)


def to_working(case, grid):
    """Bring a case, as read from its file, to the working grid.

    Images are smoothed before they are down-sampled, by the Gaussian that turns the file's voxel
    into the working voxel (Cardoso et al., "Scale factor point spread function matching", MICCAI
    2015), then read linearly; labels are read with nearest neighbour, so no id appears that was not
    there. Outside the scan, where there was padding and where voxels were not finite there is air,
    and background.

    >>> import organseg
    >>> case = organseg.make_phantom(0, (32, 32, 32), spacing=(12, 12, 15))
    >>> to_working(case, WorkingGrid((15.0, 15.0, 15.0))).image.shape
    (26, 26, 32)
    """
    case = to_canonical(case)
    spacing = np.array(grid.spacing_of(case.spacing))
    shape, affine = _grid_around(case.image.shape, case.affine, spacing)
    needed, free = 16 * np.prod(shape, dtype=float), psutil.virtual_memory().available
    if needed > free:
        extent = " × ".join(f"{n:.0f}" for n in spacing * shape)
        found = f"{case.name}: found a scan of {extent} mm, which needs {needed / 1e9:.0f} GB here"
        raise OrgansegError(f"{found}; expected at most {free / 1e9:.1f}; check its voxel size")
    there = np.linalg.inv(case.affine) @ affine  # working index -> file index

    # Working voxel size along each axis of the file; the smoothing that is missing to it is a
    # difference of variances.
    factors = np.maximum(np.abs(there[:3, :3]).max(axis=1), 1.0)
    sigmas = np.sqrt(factors**2 - 1) / FWHM
    image, missing = _smoothed_and_read(case, sigmas, there, shape)
    if missing:
        share = missing / case.image.size
        told = f"{share:.1%}" if share > 0.001 else missing
        warn(f"{case.name}: {told} of the voxels are not finite; they count as air")
    inside = _nearest(np.broadcast_to(np.uint8(1), case.image.shape), there, shape)
    label = None if case.label is None else _nearest(case.label, there, shape)
    image = np.where(inside, image, np.float32(AIR))
    return replace(case, image=image, label=label, affine=affine, body_levels=None)


def to_file_grid(probabilities, working_affine, shape, affine):
    """The most probable label at every voxel of a file's grid: a uint8 array.

    Probabilities are interpolated linearly, slab by slab, and an organ's only where it can win, so
    the memory needed is the result's and a slab's. (Labels have no values between them;
    probabilities do, and give smoother borders.)

    Parameters
    ----------
    probabilities : float array (x, y, z, class) on the working grid
    working_affine : its affine (4, 4)
    shape, affine : those of the file, in any axis order; or those of `half_resolution` (Fig. 5)

    >>> probabilities = np.eye(8)[[[[0, 3]]]]  # two voxels of 2 mm: background and liver
    >>> to_file_grid(probabilities, np.diag([1.0, 1, 2, 1]), (1, 1, 3), np.eye(4)).tolist()
    [[[0, 0, 3]]]
    """
    turn = orientations.io_orientation(affine)  # from the file's axes to RAS
    x, y, z = (shape[axis] for axis in np.argsort(turn[:, 0]))
    # From the file's indices, turned to RAS, to indices of the working grid.
    back = np.linalg.inv(working_affine) @ affine @ orientations.inv_ornt_aff(turn, shape)
    classes = np.moveaxis(probabilities, -1, 0).astype(np.float32, order="C")
    boxes = {c: _box_where_it_can_win(classes, c, back, (x, y, z)) for c in range(1, len(classes))}
    labels = np.zeros((x, y, z), np.uint8)
    depth = max(1, 2**24 // (x * y))
    for start in range(0, z, depth):
        slab = slice(start, min(start + depth, z))
        inside = {c: box.clip((0, 0, slab.start), (x, y, slab.stop)) for c, box in boxes.items()}
        inside = {c: box for c, box in inside.items() if np.all(box[0] < box[1])}
        if inside:
            _fill_with_winners(labels, classes, back, inside)
    from_ras = orientations.ornt_transform(orientations.io_orientation(np.eye(4)), turn)
    return orientations.apply_orientation(labels, from_ras)


def _fill_with_winners(labels, classes, back, boxes):
    """Write the most probable class into `labels`, wherever a box says that an organ may win."""
    low, _ = np.min(list(boxes.values()), axis=0)
    _, high = np.max(list(boxes.values()), axis=0)
    best = _linear(classes[0], back, high - low, start=low)
    winner = labels[_slices(low, high)]  # a view: what is written here is written into labels
    for c, (first, end) in boxes.items():
        value = _linear(classes[c], back, end - first, start=first)
        here = _slices(first - low, end - low)
        np.copyto(winner[here], c, where=value > best[here])
        np.maximum(best[here], value, out=best[here])


def half_resolution(shape, affine):
    """Shape and affine of the grid with voxels twice as large over the same volume (Fig. 5).

    >>> shape, affine = half_resolution((5, 4, 4), np.eye(4))
    >>> shape, affine[:3, 3].tolist()
    ((3, 2, 2), [0.5, 0.5, 0.5])
    """
    coarse = np.array(affine, dtype=np.float64)
    coarse[:3, :3] *= 2
    # A coarse voxel's centre lies between the centres of its fine ones.
    coarse[:3, 3] += 0.5 * affine[:3, :3].sum(axis=1)
    return tuple(-(-n // 2) for n in shape), coarse


def _smoothed_and_read(case, sigmas, there, shape):
    """A case's image, smoothed, then read linearly at `there`; how many voxels were not finite.

    Where the axes are parallel, both are one small matrix per axis, and voxels that nobody will
    read are not smoothed at all: a fourth of the places along each axis is a 64th of them. SciPy
    does the same in two goes for an oblique scan.
    """
    if _is_oblique(there, shape):
        image, missing = _clean(case.image)
        image = ndimage.gaussian_filter(image, sigmas, mode="nearest")
        return _linear(image, there, shape), missing
    along = zip(case.image.shape, there.diagonal(), there[:3, 3], shape, sigmas, strict=False)
    weights = [_axis_weights(*axis) for axis in along]
    order = np.argsort(np.abs(case.image.strides))[::-1]  # as the voxels lie in memory
    image, (slow, middle, fast) = case.image.transpose(order), (weights[axis] for axis in order)
    depth, parts, missing = max(1, 2**22 // (len(middle.T) * len(fast.T))), [], 0
    for start in range(0, len(image), depth):
        slab, lost = _clean(image[start : start + depth])
        parts.append(middle @ (slab @ fast.T))
        missing += lost
    image = np.tensordot(slow, np.concatenate(parts), 1)
    return image.transpose(np.argsort(order)), missing


def _is_oblique(matrix, shape):
    """True where an axis leaves the volume's own by more than 1e-4 voxels over this shape."""
    tilt = np.abs(matrix[:3, :3] - np.diag(matrix.diagonal()[:3]))
    return (tilt @ shape).max() > 1e-4


def _axis_weights(size, step, start, count, sigma=0):
    """How much each voxel of an axis counts where it is read: a float32 matrix (count, size).

    A Gaussian of `sigma` voxels, then linear reading at start + i step; the border goes on.
    """
    smoothing = ndimage.gaussian_filter(np.eye(size), (sigma, 0), mode="nearest")
    places = np.clip(start + step * np.arange(count), 0, size - 1)
    below = places.astype(int)
    part = (places - below)[:, None]
    weights = (1 - part) * smoothing[below] + part * smoothing[np.minimum(below + 1, size - 1)]
    return weights.astype(np.float32)


def _clean(image):
    """HU, NaN and padding (−1024, −3024: 'no measurement') as air; how many were not finite."""
    finite = np.isfinite(image)
    missing = finite.size - np.count_nonzero(finite)
    image = np.maximum(image, AIR, dtype=np.float32)
    if missing:
        image[~finite] = AIR
    return image, missing


def _grid_around(shape, affine, spacing):
    """Shape and affine of the RAS grid with this spacing (mm) over a volume's outer edges."""
    places = corners(affine, [(-0.5, n - 0.5) for n in shape])
    low, high = places.min(axis=1), places.max(axis=1)
    working = np.diag([*spacing, 1.0])
    working[:3, 3] = low + np.asarray(spacing) / 2
    # A hair less than the extent, so that rounding in the affine does not add a slice of nothing.
    return tuple(int(n) for n in np.maximum(np.ceil((high - low) / spacing - 1e-3), 1)), working


def _linear(volume, matrix, shape, start=(0, 0, 0)):
    """Read a volume linearly at matrix @ index, from `start` on; the border's value beyond."""
    linear, shape = matrix[:3, :3], tuple(int(n) for n in shape)
    offset = linear @ np.asarray(start) + matrix[:3, 3]
    if _is_oblique(matrix, np.add(start, shape)):
        options = {"output": np.float32, "order": 1, "mode": "nearest"}
        return ndimage.affine_transform(volume, linear, offset, shape, **options)
    along = zip(volume.shape, linear.diagonal(), offset, shape, strict=True)
    x, y, z = (_axis_weights(*axis) for axis in along)
    return np.tensordot(x, y @ (volume @ z.T), 1)


def _nearest(volume, matrix, shape):
    """Read a volume at the nearest voxel of matrix @ index; 0 outside.

    With an even factor the places lie exactly between two voxels. Rounding all of them up would
    move every organ by half a voxel, so the tie goes up and down in a checkerboard.
    """
    result = np.zeros(shape, volume.dtype)
    end = np.reshape(volume.shape, (3, 1, 1))
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for k in range(shape[2]):
        up_or_down = np.where((i + j + k) % 2, 1e-6, -1e-6)
        place = [row[0] * i + row[1] * j + (row[2] * k + row[3]) + up_or_down for row in matrix[:3]]
        place = np.array(place)
        inside = np.all((place > -0.501) & (place < end - 0.499), axis=0)  # a tie at the border too
        voxel = np.clip(np.rint(place).astype(np.intp), 0, end - 1)
        result[..., k][inside] = volume[tuple(voxel[:, inside])]
    return result


def _box_where_it_can_win(classes, c, back, shape):
    """The file voxels (first, end) where class c may be the most probable of all."""
    # A winner has at least 1/classes, and an interpolated value no more than its largest neighbour.
    found = ndimage.find_objects((classes[c] >= 1 / len(classes)).astype(np.uint8))
    if not found:
        return np.zeros((2, 3), int)
    places = corners(np.linalg.inv(back), [(axis.start - 1, axis.stop) for axis in found[0]])
    low, high = np.floor(places.min(axis=1)), np.ceil(places.max(axis=1)) + 1
    return np.array([low, high]).astype(int).clip(0, shape)


def _slices(low, high):
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
