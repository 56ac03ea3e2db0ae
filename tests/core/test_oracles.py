"""The scores of random shapes against MONAI and DeepMind's surface-distance: as stored, and as they are here."""

import json

import numpy as np
import pytest
from reference import oracles

from organseg.metrics import dice, surface_distances

STORED = json.loads(oracles.STORE.read_text(encoding="utf-8"))
CASES = {case["seed"]: case for case in STORED["cases"]}
each_seed = pytest.mark.parametrize("seed", oracles.SEEDS)


def ours(seed):
    truth, prediction, spacing = oracles.shapes(seed)
    apart = surface_distances(truth, prediction, np.diag([*spacing, 1]))
    return {
        "dice": dice(truth, prediction),
        "hausdorff": apart.hausdorff,
        "hausdorff95": apart.hausdorff95,
        "assd": apart.assd,
        "surface_dice": apart.surface_dice(oracles.TOLERANCE),
    }


def compare(seed, monai, surface_distance):
    """Hold our numbers against those of the two programs; None stands for what cannot be measured."""
    mine, (truth, prediction, spacing) = ours(seed), oracles.shapes(seed)
    if not (truth.any() or prediction.any()):
        assert (mine["dice"], monai["dice"]) == (pytest.approx(np.nan, nan_ok=True), 1)  # or NaN for any empty truth
        monai = {**monai, "dice": None}
    for name, number in monai.items():  # it computes in single precision
        assert mine[name] == pytest.approx(np.nan if number is None else number, rel=1e-5, nan_ok=True), name
    theirs = {name: np.nan if number is None else number for name, number in surface_distance.items()}
    assert mine["dice"] == pytest.approx(theirs["dice"], nan_ok=True)
    assert mine["hausdorff"] == pytest.approx(theirs["hausdorff"], abs=np.linalg.norm(spacing), nan_ok=True)
    if not (truth.any() and prediction.any()):
        assert mine["surface_dice"] == pytest.approx(theirs["surface_dice"], nan_ok=True)


@each_seed
def test_random_shapes_agree_with_what_two_programs_said(seed):
    truth, prediction, spacing = oracles.shapes(seed)
    voxels = [int(mask.sum()) for mask in (truth, prediction, truth & prediction)]
    assert (voxels, list(spacing)) == (CASES[seed]["voxels"], CASES[seed]["spacing_mm"]), (
        "another shape than was scored"
    )
    compare(seed, CASES[seed]["monai"], CASES[seed]["surface_distance"])


def test_a_missed_and_an_invented_organ_have_surface_dice_0_in_both_programs():
    for seed in oracles.SEEDS[-2:]:
        assert [CASES[seed][name]["surface_dice"] for name in ("monai", "surface_distance")] == [0, 0]
        assert [CASES[seed][name]["hausdorff"] for name in ("monai", "surface_distance")] == [None, None]
    assert CASES[oracles.SEEDS[-3]]["monai"]["surface_dice"] is None  # absent from both masks


@pytest.mark.filterwarnings("ignore")
@each_seed
def test_random_shapes_agree_with_the_programs_themselves(seed):
    for program in ("monai", "surface_distance"):
        pytest.importorskip(program, reason="needs MONAI and surface-distance (pip install organseg[oracle])")
    compare(seed, oracles.monai(*oracles.shapes(seed)), oracles.surface_distance(*oracles.shapes(seed)))
