"""Scores of random shapes by two independent programs, MONAI and DeepMind's surface-distance.

    pip install "organseg[oracle]" && python tests/reference/oracles.py    write oracles.json anew

tests/core/test_oracles.py compares the library with oracles.json always, and with the programs where they are
installed. MONAI's borders are ours: voxels that a 6-connected erosion removes; only where both masks are empty it gives
Dice 1, and we NaN. surface-distance puts its border on the corners between the voxels and weighs each piece of it by
its area, so its numbers are others; see `surface_distance` for what may be compared. Neither knows sheared grids.
"""

import json
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np

STORE = Path(__file__).with_suffix(".json")
SEEDS = range(15)  # the last three: both empty, missed, invented
SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (3.0, 1.5, 0.7), (2.0, 2.0, 3.0)]
TOLERANCE = 2.0


def shapes(seed):
    """Truth and prediction, boolean (24, 20, 18), and the spacing: unions of balls, some cut by the array's edge.

    Only whole numbers decide which voxels they hold, so they are the same on every machine.
    """
    rng = np.random.default_rng(seed)
    shape = np.array((24, 20, 18))
    grid = np.indices(shape)

    def balls(count):
        mask = np.zeros(shape, dtype=bool)
        for _ in range(count):
            centre, radius = rng.integers(0, shape), rng.integers(1, 7)
            mask |= ((grid - centre[:, None, None, None]) ** 2).sum(axis=0) <= radius**2
        return mask

    truth = balls(rng.integers(1, 5))
    moved = np.roll(truth, rng.integers(-2, 3, 3), axis=(0, 1, 2))
    prediction = moved | balls(1) if seed % 3 else balls(2)
    truth, prediction = truth & (seed not in SEEDS[-3::2]), prediction & (seed not in SEEDS[-3:-1])
    return truth, prediction, SPACINGS[seed % 4]


def monai(truth, prediction, spacing):
    """MONAI's numbers; None stands for NaN and infinity: there is nothing to measure."""
    import torch
    from monai import metrics

    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    background = {"include_background": True}
    numbers = {
        "dice": metrics.compute_dice(*masks, **background, ignore_empty=False),
        "hausdorff": metrics.compute_hausdorff_distance(*masks, **background, spacing=spacing),
        "hausdorff95": metrics.compute_hausdorff_distance(*masks, **background, spacing=spacing, percentile=95),
        "assd": metrics.compute_average_surface_distance(*masks, **background, spacing=spacing, symmetric=True),
        "surface_dice": metrics.compute_surface_dice(*masks, [TOLERANCE], **background, spacing=spacing),
    }
    return {name: _finite(number) for name, number in numbers.items()}


def surface_distance(truth, prediction, spacing):
    """surface-distance's numbers: of these the Hausdorff distance lies within a voxel's diagonal of ours.

    A corner of its border lies half a diagonal from a border voxel of ours, and each of ours as near to one of its. No
    such bound holds for what it weighs by area (the percentile, the mean, the surface Dice), except where a mask is
    empty.
    """
    with mock.patch.object(np, "Inf", np.inf, create=True), mock.patch.object(np, "NaN", np.nan, create=True):
        import surface_distance as program  # version 0.1 spells both as NumPy 1 did

        found = program.compute_surface_distances(truth, prediction, spacing)
        if not (truth.any() or prediction.any()):
            return dict.fromkeys(("dice", "hausdorff", "surface_dice"))
        return {
            "dice": _finite(program.compute_dice_coefficient(truth, prediction)),
            "hausdorff": _finite(program.compute_robust_hausdorff(found, 100)),
            "surface_dice": _finite(program.compute_surface_dice_at_tolerance(found, TOLERANCE)),
        }


def _finite(number):
    return float(number) if np.isfinite(float(number)) else None


def main():
    made_with = {name: version(name) for name in ("monai", "surface-distance", "torch", "numpy", "scipy")}
    cases = []
    for seed in SEEDS:
        truth, prediction, spacing = shapes(seed)
        voxels = [int(mask.sum()) for mask in (truth, prediction, truth & prediction)]
        numbers = {"monai": monai(*shapes(seed)), "surface_distance": surface_distance(*shapes(seed))}
        cases.append({"seed": seed, "spacing_mm": spacing, "voxels": voxels, **numbers})
    stored = {
        "made_with": made_with,
        "made_by": "tests/reference/oracles.py",
        "tolerance_mm": TOLERANCE,
        "cases": cases,
    }
    STORE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
