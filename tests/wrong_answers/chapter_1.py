"""Typical wrong answers to the exercises of chapter 1: the exercise, the answer, words of the hint it must get."""

import numpy as np


def truncates(image, affine, place):
    index = (np.linalg.inv(affine) @ [*place, 1])[:3]
    i, j, k = index.astype(int)
    inside = min(i, j, k) >= 0 and all(n < size for n, size in zip((i, j, k), image.shape, strict=True))
    return image[i, j, k] if inside else -1000


def forgets_the_origin(image, affine, place):
    index = np.rint(np.linalg.inv(affine[:3, :3]) @ place).astype(int)
    return image[tuple(index)] if np.all((index >= 0) & (index < image.shape)) else -1000


def never_looks_at_the_border(image, affine, place):
    index = np.rint((np.linalg.inv(affine) @ [*place, 1])[:3]).astype(int)
    return image[tuple(index % image.shape)]


def stays_at_the_border(image, affine, place):
    index = np.rint((np.linalg.inv(affine) @ [*place, 1])[:3]).astype(int)
    return image[tuple(np.clip(index, 0, np.array(image.shape) - 1))]


def goes_the_wrong_way(image, affine, place):
    index = np.rint((affine @ [*place, 1])[:3]).astype(int)
    return image[tuple(index % image.shape)]


def leaves_the_origin(affine, factor):
    coarse = affine.copy()
    coarse[:3, :3] *= factor
    return coarse


def multiplies_the_origin(affine, factor):
    coarse = affine.copy()
    coarse[:3] *= factor
    return coarse


def multiplies_everything(affine, factor):
    return affine * factor


def moves_half_a_block(affine, factor):
    coarse = leaves_the_origin(affine, factor)
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, factor / 2)
    return coarse


def moves_along_x_y_z(affine, factor):
    coarse = leaves_the_origin(affine, factor)
    coarse[:3, 3] += (factor - 1) / 2 * np.linalg.norm(affine[:3, :3], axis=0)
    return coarse


def only_moves(affine, factor):
    coarse = affine.copy()
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return coarse


WRONG = [
    ("1.1", ("ASR", "RPI", "PRS"), "You sent axis 0"),
    ("1.1", ("SRA", "RAS", "PRS"), "opposite to A"),
    ("1.1", ("SRA", "RPI", "ALS"), "from left to right"),
    ("1.1", ("SRA", "RPI", "ARS"), "LPS to begin with"),
    ("1.1", "SRA", "three strings"),
    ("1.2", truncates, "What does int() do"),
    ("1.2", forgets_the_origin, "Which matrix leads"),
    ("1.2", goes_the_wrong_way, "another voxel"),
    ("1.2", never_looks_at_the_border, "means the last voxel"),
    ("1.2", stays_at_the_border, "outside there is air"),
    ("1.3", leaves_the_origin, "does not lie where"),
    ("1.3", multiplies_the_origin, "a place, not a step"),
    ("1.3", multiplies_everything, "fourth row"),
    ("1.3", moves_half_a_block, "mean of the indices"),
    ("1.3", moves_along_x_y_z, "ask the old affine"),
    ("1.3", only_moves, "three columns"),
]
