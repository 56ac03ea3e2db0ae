"""What a scanner makes of a painted patient: table, shading, noise, the round field of view."""

import numpy as np
from scipy import ndimage


def scan(image, patient, seed, grid, spacing):
    """The painted image (HU) with table, slow shading, noise, and what lies outside the view."""
    x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)
    u, v, w = x / 180, y / 180, z / 220
    a, b, c, d = patient.shading
    image = image + (a * u + b * v + c * w + d * (u * u + v * v)) * (image > -700)
    image = image + _table(x, y, z, patient, spacing)
    # Averaging over larger voxels removes noise, though less than independent noise would lose.
    sigma = patient.noise * (3 / float(np.mean(spacing))) ** 0.75
    noise = np.random.default_rng([seed, 1]).standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, 0.5, truncate=3)
    image = image + noise * (sigma / noise.std(dtype=np.float64))
    if patient.outside:
        image = np.where(np.sqrt(x * x + y * y) > patient.field_of_view / 2, patient.outside, image)
    return np.clip(image, -1024, 3071)


def _table(x, y, z, patient, spacing):
    """Two curved shells of the scanner table under the patient."""
    back = patient.shift[1] + 18 - 79 * patient.scale[1] - patient.fat - patient.table
    soft = float(np.mean(spacing))
    curve = back + (x / 100) ** 2 * 8
    shells = np.clip(0.5 - (np.abs(y - curve + 2) - 2.2) / soft, 0, 1) * 1150
    shells = shells + np.clip(0.5 - (np.abs(y - curve + 28) - 2.2) / soft, 0, 1) * 1080
    return shells * (np.abs(x) < 200) * np.ones_like(z)
