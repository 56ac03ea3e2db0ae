"""Soft-edged shapes on a warped grid: the drawing tools of the synthetic abdomen.

A shape is a signed distance in mm, negative inside. Everything is decided in float64 by elementwise
arithmetic, so that the labels do not depend on the CPU or on the versions of NumPy and SciPy.
"""

import numpy as np


def ellipsoid(x, y, z, centre, radii):
    """Distance (mm) to an ellipsoid, exact on its surface to first order."""
    u, v, w = x - centre[0], y - centre[1], z - centre[2]
    a, b, c = radii
    inside = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2)
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2 + (w / c**2) ** 2)
    return inside * (inside - 1) / np.maximum(slope, 1e-6)


def capsule(x, y, z, start, end, radii):
    """Distance to a straight tube whose radius changes linearly from one end to the other."""
    along = [float(e - s) for s, e in zip(start, end, strict=True)]
    length2 = sum(a * a for a in along) + 1e-9
    u, v, w = x - start[0], y - start[1], z - start[2]
    t = np.clip((u * along[0] + v * along[1] + w * along[2]) / length2, 0, 1)
    across = (u - t * along[0]) ** 2 + (v - t * along[1]) ** 2 + (w - t * along[2]) ** 2
    return np.sqrt(across) - (radii[0] + t * (radii[1] - radii[0]))


def union(one, other, rounding):
    """The smaller of two distances with the crease between them filled over about `rounding` mm."""
    overlap = np.clip(rounding - np.abs(one - other), 0, None)
    return np.minimum(one, other) - overlap**2 / (4 * rounding)


def intersection(one, other, rounding):
    """The larger of two distances with the edge rounded off over about `rounding` mm."""
    return -union(-one, -other, rounding)


def curve(points, steps=3):
    """A Catmull-Rom curve through `points` (n, k); radii may be one of the columns."""
    points = np.asarray(points, dtype=np.float64)
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    padded = np.concatenate([before[None], points, after[None]])
    samples = [points[:1]]
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        t = (np.arange(1, steps + 1) / steps)[:, None]
        cubic = (
            (3 * p1 - 3 * p2 + p3 - p0) * t**3
            + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
            + (p2 - p0) * t
        )
        samples.append(p1 + cubic / 2)
    return np.concatenate(samples)


class Space:
    """The coordinates (mm) of every voxel in one patient's frame.

    Shapes are evaluated only in the box that they need.
    """

    def __init__(self, x, y, z, voxel):
        self.axes = (x, y, z)
        self.step = tuple(max(1, round(12 / size)) for size in voxel)
        self.margin = 1.3 * max(step * size for step, size in zip(self.step, voxel, strict=True))
        self.coarse = tuple(
            axis[:: self.step[0], :: self.step[1], :: self.step[2]].copy() for axis in self.axes
        )

    def box(self, lower, upper):
        """Slices that hold every voxel between two corners (mm), found on coarse coordinates."""
        inside = np.ones(self.coarse[0].shape, dtype=bool)
        for axis, low, high in zip(self.coarse, lower, upper, strict=True):
            inside &= axis > low - self.margin
            inside &= axis < high + self.margin
        slices = []
        for axis, step in enumerate(self.step):
            found = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
            slices.append(
                slice(found[0] * step, (found[-1] + 1) * step) if found.size else slice(0, 0)
            )
        return tuple(slices)

    def at(self, box):
        """The coordinates x, y, z inside a box."""
        return tuple(axis[box] for axis in self.axes)

    def ellipsoid(self, centre, radii, reach=6):
        """Box and distance of an ellipsoid; valid up to `reach` mm outside."""
        centre, radii = np.asarray(centre, dtype=np.float64), np.asarray(radii, dtype=np.float64)
        box = self.box(centre - radii - reach, centre + radii + reach)
        return box, ellipsoid(*self.at(box), centre, radii)

    def tube(self, points, reach=6):
        """Box and distance of a tube along `points` (n, 4: x, y, z, radius), to `reach` mm."""
        points = np.asarray(points, dtype=np.float64)
        lower, upper = points[:, :3] - points[:, 3:] - reach, points[:, :3] + points[:, 3:] + reach
        box = self.box(lower.min(axis=0), upper.max(axis=0))
        distance = np.full(self.axes[0][box].shape, 99.0)
        for k in range(len(points) - 1):
            part = self.box(np.minimum(lower[k], lower[k + 1]), np.maximum(upper[k], upper[k + 1]))
            inner = tuple(
                slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True)
            )
            if distance[inner].size:
                here = capsule(
                    *self.at(part), points[k, :3], points[k + 1, :3], points[k : k + 2, 3]
                )
                distance[inner] = np.minimum(distance[inner], here)
        return box, distance


class Canvas:
    """The image (HU) and the label that shapes are painted into, later ones over earlier ones."""

    def __init__(self, shape, edge, fat, fat_planes=1.0):
        self.image = np.full(shape, -1000.0)
        self.label = np.zeros(shape, dtype=np.uint8)
        self.edge = edge  # mm over which a border fades: partial volume of about one voxel
        self.fat = fat
        self.fat_planes = fat_planes  # their thickness, relative to what each structure asks for

    def paint(self, box, distance, hu, label=0, gap=0.0):
        """Paint a shape; `hu` is a number or an array.

        `gap` mm around it become fat, the plane between two organs.
        """
        if gap := gap * self.fat_planes:
            self._blend(box, distance - gap, self.fat)
            self.label[box][distance < gap] = 0
        self._blend(box, distance, hu)
        if label is not None:
            self.label[box][distance < 0] = label

    def _blend(self, box, distance, hu):
        share = np.clip(0.5 - distance / self.edge, 0, 1)
        self.image[box] += share * (hu - self.image[box])
