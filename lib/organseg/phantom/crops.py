"""Crops as other scanners would show them: `VariedSampler`, a `CropSampler` with more variety.

The paper warps its crops by up to 4 voxels and 20°, and all its scans come from one hospital. To
learn from drawings what is to work on any scan, more is drawn anew for each crop:

    shapes    scale 0.8 to 1.25, shear by unequal scales, finer and stronger warps than the paper's
    scanner   noise from 2 to 28 HU on a 4 mm grid, kernels from smooth to sharp, thick slices
    cuts      slabs of a few slices, fields of view that cut into the body
    contrast  each organ a little brighter or darker, soft tissue stretched or squeezed
    texture   tissue is not of one HU, but cloudy; a pancreas may be full of fat

All of it is done in HU, before they are windowed: what lies beyond the window must not come back
into it by blurring.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from organseg.augmentation import control_counts, displacement, rotation
from organseg.geometry import AIR
from organseg.phantom.paint import ID
from organseg.sampling import CropSampler
from organseg.scans import normalise


@dataclass(frozen=True)
class Disturbances:
    """Which groups of disturbances are drawn for a crop; see the module."""

    shapes: bool = True
    scanner: bool = True
    cuts: bool = True
    contrast: bool = True
    texture: bool = True


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def cloud(rng, shape, size):
    """A smooth random field, of about unit variance, with features of `size` voxels."""
    knots = [int(np.ceil(n / size)) + 3 for n in shape]
    values = rng.standard_normal(knots).astype(np.float32)
    return ndimage.affine_transform(values, [1 / size] * 3, rng.random(3), tuple(shape), order=1)


def places_in(rng, shape, voxel):
    """Where in the scan a crop around `voxel` is read, turned, scaled and warped: (3, x, y, z)."""
    zoom = log_uniform(rng, 0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
    linear = rotation(rng.normal(0, 8, 3).clip(-20, 20)) / zoom[:, None]
    spacing = rng.uniform(9, 20)  # voxels between control points
    # Beyond about 0.4 of the spacing a field folds (see `augmentation`).
    most = min(rng.uniform(0, 5), 0.3 * spacing) if rng.random() < 0.85 else 0.0
    control = rng.uniform(-most, most, (3, *control_counts(shape, (spacing,) * 3)))
    places = displacement(control, (spacing,) * 3, [np.arange(n, dtype=float) for n in shape])
    centred = [np.arange(n) - (n - 1) / 2 for n in shape]
    grid = np.meshgrid(*centred, indexing="ij", sparse=True)
    for axis in range(3):
        places[axis] += sum(linear[axis, other] * grid[other] for other in range(3)) + voxel[axis]
    return places


class VariedSampler(CropSampler):
    """Draws mini-batches like a `CropSampler`, from scans in HU, and disturbs each crop.

    Parameters
    ----------
    scans : list of Scan with labels whose images are in HU, not windowed
    shares : dict of a scan's kind to the share of crops that come from such scans; `kinds` says
        which kind each scan is
    disturbances : Disturbances
    others as in `CropSampler`
    """

    def __init__(self, scans, kinds, shares, disturbances=Disturbances(), **options):  # noqa: B008
        super().__init__(scans, **options)
        self.disturbances = disturbances
        self.of_kind = {
            k: [s for s, kind in zip(scans, kinds, strict=True) if kind == k] for k in shares
        }
        self.shares = shares
        each = {id(scan): scan for scan in scans}  # a scan may stand there several times
        self.body = {key: _places_in_the_body(scan) for key, scan in each.items()}

    def batch(self, step):
        """As `CropSampler.batch`; the scans of one batch may be of one patient."""
        rng = np.random.default_rng([self.seed, step])
        kinds = rng.choice(list(self.shares), self.batch_size, p=list(self.shares.values()))
        scans = [self.of_kind[kind][rng.integers(len(self.of_kind[kind]))] for kind in kinds]
        crops = [self._crop(rng, scan) for scan in scans]
        images, labels, annotated = (np.stack(parts) for parts in zip(*crops, strict=True))
        return images[..., None], labels, annotated

    def _crop(self, rng, scan):
        chosen, shape = self.disturbances, self.shape
        voxel = self._middle(rng, scan)
        if chosen.shapes:
            places = places_in(rng, shape, voxel)
        else:
            centred = [np.arange(n) - (n - 1) / 2 for n in shape]
            places = np.stack(np.meshgrid(*centred, indexing="ij")) + voxel[:, None, None, None]
        beyond = "grid-constant"
        image = ndimage.map_coordinates(scan.image, places, np.float32, 1, beyond, AIR)
        label = ndimage.map_coordinates(scan.label, places, np.uint8, 0, beyond)
        outside = draw_cut(rng, places, scan.image.shape) if chosen.cuts else None
        if outside is not None and np.mean((image > -300) & ~outside) < 0.005:
            outside = None  # nothing would be left of the body
        if chosen.contrast:
            image = change_contrast(rng, image, label)
        if chosen.texture:
            image = add_texture(rng, image, label)
        if chosen.scanner:
            image = scan_anew(rng, image)
        if outside is not None:
            image[outside], label[outside] = AIR, 0
        return normalise(image), label, scan.annotated

    def _middle(self, rng, scan):
        """The voxel that a crop is centred on: in an organ, somewhere in the body, or anywhere."""
        shape, organs = scan.image.shape, scan.organ_voxels
        if organs and rng.random() < self.organ_share:
            voxel = rng.choice(organs[list(organs)[rng.integers(len(organs))]])
            aside = rng.uniform(-0.15, 0.15, 3) * self.shape * (rng.random() < 0.5)
            return np.array(np.unravel_index(voxel, shape)) + aside
        body = self.body[id(scan)]
        if len(body) and rng.random() < 0.85:
            return np.array(np.unravel_index(rng.choice(body), shape), dtype=float)
        return rng.uniform(0, shape)


def _places_in_the_body(scan):
    """Flat indices of some 5,000 voxels inside the patient."""
    body = np.flatnonzero(ndimage.binary_opening(scan.image > -300))
    return body[:: max(1, len(body) // 5000)]


def draw_cut(rng, places, shape):
    """The voxels of a crop outside a drawn slab or field of view: a bool array, or None.

    A slab has 1 to 30 slices of the crop; a field of view is round or square, in the scan's plane.
    """
    if rng.random() > 0.45:
        return None
    size, kind = places.shape[1:], rng.random()
    outside = np.zeros(size, dtype=bool)
    if kind < 0.6:
        thick = int(log_uniform(rng, 1, 30))
        first = rng.integers(-thick // 3, size[2] - 2 * thick // 3 + 1)
        outside[:, :, : max(first, 0)] = outside[:, :, max(first + thick, 0) :] = True
    if kind > 0.4:
        middle = np.array(shape[:2]) / 2 + rng.normal(0, 5, 2)
        x, y = (places[axis] - middle[axis] for axis in (0, 1))
        radius = rng.uniform(26, 48)
        if rng.random() < 0.5:
            outside |= x**2 + y**2 > radius**2
        else:
            outside |= np.abs(x) > radius * rng.uniform(0.85, 1.15)
            outside |= np.abs(y) > radius * rng.uniform(0.6, 1.0)
    return outside


def change_contrast(rng, image, label):
    """Each organ a little brighter or darker; now and then soft tissue stretched or squeezed."""
    if rng.random() < 0.7:
        change = np.concatenate([[0], rng.normal(0, 9, 7)]).astype(np.float32)
        image = image + ndimage.uniform_filter(change[label], 2)  # its border stays soft
    if rng.random() < 0.15:
        image = np.where(image > -50, 40 + (image - 40) * rng.uniform(0.6, 1.5), image)
    if rng.random() < 0.3:
        inside = (image > -200) & (image < 300)
        curved = np.clip((image + 200) / 500, 0, 1) ** np.exp(rng.normal(0, 0.12)) * 500 - 200
        image = np.where(inside, curved, image)
    return image


def add_texture(rng, image, label):
    """Clouds of up to 16 HU in the tissue, fat in the pancreas, a slow brightening of the crop."""
    tissue = np.clip((image + 350) / 150, 0, 1)
    if rng.random() < 0.8:
        image = image + tissue * cloud(rng, image.shape, rng.uniform(1.2, 5)) * rng.uniform(0, 16)
    if rng.random() < 0.35:  # with age, fat grows between the lobules
        lobules = cloud(rng, image.shape, rng.uniform(1.2, 2.5)) < rng.uniform(-0.5, 1)
        fat = (label == ID["pancreas"]) & ~lobules
        image = np.where(fat, image + rng.uniform(0.2, 0.8) * (-95 - image), image)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in image.shape], indexing="ij", sparse=True)
    a, b, c, d, e = rng.normal(0, 5, 5)
    return image + tissue * (a * x + b * y + c * z + d * (x**2 + y**2) + e)


def scan_anew(rng, image):
    """Another kernel (smoother, or sharper), slices up to about 8 mm, and noise."""
    kind = rng.random()
    if kind < 0.6:
        plane, along = rng.uniform(0, 0.65), rng.uniform(0, 1.1)
        image = ndimage.gaussian_filter(image, (plane, plane, along), truncate=2.5)
    elif kind < 0.75:
        soft = ndimage.gaussian_filter(image, 0.8, truncate=2.5)
        image = image + rng.uniform(0.2, 0.8) * (image - soft)
    if rng.random() < 0.9:
        grain = np.array([rng.uniform(0, 0.8)] * 2 + [rng.uniform(0, 0.8)])
        if rng.random() < 0.1:
            grain[0] = rng.uniform(1, 3)  # streaks from side to side
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, grain, truncate=2.5)
        image = image + noise * (log_uniform(rng, 2, 28) / noise.std())
    return np.asarray(image, dtype=np.float32)
