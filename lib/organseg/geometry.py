"""From a file's grid to the working grid, and the exact way back.

A scan may be stored in any axis order and at any angle. The *working grid* is where the network
sees it: axes x to the patient's right, y to the front, z to the head (RAS), one voxel size for a
whole run. All positions go through the affines, in mm, so the way back cannot disagree with the way
there.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from nibabel import orientations
from scipy import ndimage

from organseg.errors import OrgansegWarning

AIR = -1000.0  # HU; what surrounds a scan
HU_WINDOW = (
    -200.0,
    300.0,
)  # air and lung at one end, bone and calcium at the other, every organ between
FWHM = 2 * np.sqrt(2 * np.log(2))  # a Gaussian's full width at half maximum, in standard deviations


@dataclass(frozen=True)
class WorkingGrid:
    """The voxels a run works on: `factor` times each scan's own (the paper: 4), or else `spacing`
    in mm.

    With a factor, `spacing` is the voxel size that the run was trained on. A scan that the factor
    would bring to voxels more than 1.6 times larger or smaller goes to `spacing` instead: the
    network knows organs at that size only.
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
        """Size of the paper's voxel (about 3 mm) in voxels of this grid, per axis; at most 1.

        On the paper's grid (factor 4) and on 3 mm a voxel is a voxel; coarser grids keep
        displacements, rotations' lever arms and translations the same in mm.
        """
        return (1.0, 1.0, 1.0) if self.factor else tuple(min(1.0, 3.0 / s) for s in self.spacing)


def choose_grid(spacings, spacing=3.0):
    """The working grid for a run: the paper's factor 4 where every scan has full-resolution voxels
    like the paper's ([0.59–0.98]² × [0.5–1.0] mm, here up to 0.4–1.25), else `spacing` mm.

    Parameters
    ----------
    spacings : voxel sizes (mm) of the training scans, array (case, 3)
    """
    spacings = np.atleast_2d(spacings)
    if spacings.size and np.all((spacings >= 0.4) & (spacings <= 1.25)):
        return WorkingGrid(tuple((4 * np.median(spacings, axis=0)).tolist()), factor=4)
    return WorkingGrid((float(spacing),) * 3)


def canonical_spacing(affine):
    """Voxel size (mm) along x, y, z of `to_canonical`, from the affine of the file."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(
        float(lengths[axis]) for axis in np.argsort(orientations.io_orientation(affine)[:, 0])
    )


def to_canonical(case):
    """The case with its arrays flipped and transposed to the RAS axes nearest to its own; nothing
    is resampled."""
    turn = orientations.io_orientation(case.affine)
    affine = case.affine @ orientations.inv_ornt_aff(turn, case.image.shape)
    image, label = (
        None if v is None else orientations.apply_orientation(v, turn)
        for v in (case.image, case.label)
    )
    head_down = (
        turn[turn[:, 0] == 2, 1] < 0
    )  # the array axis along the patient's z grows to the feet
    levels = case.levels[::-1] if case.levels is not None and head_down else case.levels
    return replace(case, image=image, label=label, affine=affine, levels=levels)


def to_working(case, grid):
    """Bring a case to the working grid.

    Images are smoothed before they are down-sampled, by the Gaussian that turns the file's voxel
    into the working voxel (Cardoso et al., "Scale factor point spread function matching", MICCAI
    2015), then read linearly; labels are read with nearest neighbour, so no id appears that was not
    there. Outside the scan there is air and background.

    Returns
    -------
    Case on RAS axes, image in HU without NaN and padding values (both become air), same annotated
    organs
    """
    case = to_canonical(case)
    image = _clean(case)
    spacing = np.array(grid.spacing_of(case.spacing))
    shape, affine = _grid_around(case.image.shape, case.affine, spacing)
    there = np.linalg.inv(case.affine) @ affine  # working index -> file index

    # Working voxel size along each axis of the file; the smoothing that is missing to it is a
    # difference of variances.
    factors = np.maximum(np.abs(there[:3, :3]).max(axis=1), 1.0)
    sigmas = np.sqrt(factors**2 - 1) / FWHM
    if sigmas.any():
        image = ndimage.gaussian_filter(image, sigmas, mode="nearest")
    inside = _nearest(np.broadcast_to(np.uint8(1), image.shape), there, shape)
    image = np.where(inside, _linear(image, there, shape), np.float32(AIR))
    label = None if case.label is None else _nearest(case.label, there, shape)
    return replace(case, image=image, label=label, affine=affine, levels=None)


def to_file_grid(probabilities, working_affine, shape, affine):
    """The most probable label at every voxel of a file's grid, from probabilities on the working
    grid.

    Probabilities are interpolated linearly, slab by slab, and an organ's only where it can win, so
    the memory needed is the result's and a slab's. (Labels have no values between them;
    probabilities do, and give smoother borders.)

    Parameters
    ----------
    probabilities : float array (x, y, z, class) on the working grid
    working_affine : its affine (4, 4)
    shape, affine : those of the file, in any axis order; or those of `half_resolution`, as in Fig.
        5

    Returns
    -------
    uint8 array of the given shape
    """
    turn = orientations.io_orientation(affine)  # from the file's axes to RAS
    canonical_shape = [shape[axis] for axis in np.argsort(turn[:, 0])]
    # From the file's indices, turned to RAS, to indices of the working grid.
    back = np.linalg.inv(working_affine) @ affine @ orientations.inv_ornt_aff(turn, shape)
    classes = [
        np.ascontiguousarray(probabilities[..., c], dtype=np.float32)
        for c in range(probabilities.shape[-1])
    ]
    boxes = [_box_where_it_can_win(p, len(classes), back, canonical_shape) for p in classes[1:]]
    labels = np.zeros(canonical_shape, np.uint8)
    depth = max(1, 2**24 // (canonical_shape[0] * canonical_shape[1]))
    for z in range(0, canonical_shape[2], depth):
        slab = np.array([[0, 0, z], [*canonical_shape[:2], min(z + depth, canonical_shape[2])]])
        inside = [
            (c, both)
            for c, box in enumerate(boxes, start=1)
            if (both := _overlap(box, slab)) is not None
        ]
        if not inside:
            continue
        low = np.min([box[0] for _, box in inside], axis=0)
        high = np.max([box[1] for _, box in inside], axis=0)
        best = _linear(classes[0], back, high - low, start=low)
        winner = labels[_slices(low, high)]  # a view: what is written here is written into labels
        for c, box in inside:
            value = _linear(classes[c], back, box[1] - box[0], start=box[0])
            here = _slices(box[0] - low, box[1] - low)
            wins = value > best[here]
            best[here][wins] = value[wins]
            winner[here][wins] = c
    from_ras = orientations.ornt_transform(orientations.io_orientation(np.eye(4)), turn)
    return orientations.apply_orientation(labels, from_ras)


def half_resolution(shape, affine):
    """Shape and affine of the grid with voxels twice as large over the same volume, as in Fig.
    5."""
    coarse = np.array(affine, dtype=np.float64)
    coarse[:3, :3] *= 2
    coarse[:3, 3] += 0.5 * affine[:3, :3].sum(
        axis=1
    )  # a coarse voxel's centre lies between the centres of its fine ones
    return tuple(-(-n // 2) for n in shape), coarse


def normalise(image):
    """HU to 0…1 over `HU_WINDOW`. Air becomes exactly 0, as zero-padded convolutions see it outside
    an image."""
    low, high = HU_WINDOW
    return ((np.clip(image, low, high) - low) / (high - low)).astype(np.float32)


def _clean(case):
    """HU with NaN and padding (−1024, −3024: 'no measurement') as air, so that smoothing does not
    spread them."""
    missing = ~np.isfinite(case.image)
    if missing.any():
        share = f"{missing.mean():.1%}" if missing.mean() > 0.001 else f"{int(missing.sum())}"
        warnings.warn(
            f"{case.name}: {share} of the voxels are not finite; they count as air",
            OrgansegWarning,
            stacklevel=3,
        )
    return np.maximum(np.where(missing, AIR, case.image), AIR).astype(np.float32)


def _grid_around(shape, affine, spacing):
    """Shape and affine of the RAS grid with this spacing (mm) that covers a volume from its outer
    edge on."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij")).reshape(3, -1)
    places = affine[:3, :3] @ corners + affine[:3, 3:]
    low, high = places.min(axis=1), places.max(axis=1)
    working = np.diag([*spacing, 1.0])
    working[:3, 3] = low + np.asarray(spacing) / 2
    # A hair less than the extent, so that rounding in the affine does not add a slice of nothing.
    return tuple(int(n) for n in np.maximum(np.ceil((high - low) / spacing - 1e-3), 1)), working


def _linear(volume, matrix, shape, start=(0, 0, 0)):
    """Read a volume linearly at matrix @ index, indices start … start + shape; beyond the border
    its value."""
    matrix = np.where(np.abs(matrix) < 1e-9, 0.0, matrix)
    linear, offset = matrix[:3, :3], matrix[:3, :3] @ np.asarray(start) + matrix[:3, 3]
    diagonal = np.count_nonzero(linear - np.diag(np.diag(linear))) == 0
    linear = (
        np.diag(linear) if diagonal else linear
    )  # SciPy is several times faster on a plain scaling
    return ndimage.affine_transform(
        volume, linear, offset, tuple(int(n) for n in shape), np.float32, order=1, mode="nearest"
    )


def _nearest(volume, matrix, shape):
    """Read a volume at the nearest voxel of matrix @ index; 0 outside.

    With an even factor the places lie exactly between two voxels. Rounding all of them up would
    move every organ by half a voxel, so the tie goes up and down in a checkerboard.
    """
    result = np.zeros(shape, volume.dtype)
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for k in range(shape[2]):
        up_or_down = np.where((i + j + k) % 2, 1e-6, -1e-6)
        place = [row[0] * i + row[1] * j + (row[2] * k + row[3]) + up_or_down for row in matrix[:3]]
        end = np.reshape(volume.shape, (3, 1, 1))
        inside = np.all(
            (np.array(place) > -0.501) & (place < end - 0.499), axis=0
        )  # a tie at the border is inside
        voxel = np.clip(np.rint(place).astype(np.intp), 0, end - 1)
        result[..., k][inside] = volume[tuple(voxel[:, inside])]
    return result


def _box_where_it_can_win(probability, num_classes, back, shape):
    """The file voxels (first, end) where this class may be the most probable of all, or None.

    A winner has at least 1/classes of the probability, and an interpolated value no more than its
    largest neighbour.
    """
    found = ndimage.find_objects((probability >= 1 / num_classes).astype(np.uint8))
    if not found:
        return None
    ends = [(axis.start - 1, axis.stop) for axis in found[0]]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    forward = np.linalg.inv(back)
    places = forward[:3, :3] @ corners + forward[:3, 3:]
    low = np.clip(np.floor(places.min(axis=1)).astype(int), 0, shape)
    high = np.clip(np.ceil(places.max(axis=1)).astype(int) + 1, 0, shape)
    return np.array([low, high])


def _overlap(box, slab):
    if box is None:
        return None
    both = np.array([np.maximum(box[0], slab[0]), np.minimum(box[1], slab[1])])
    return both if np.all(both[0] < both[1]) else None


def _slices(low, high):
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
