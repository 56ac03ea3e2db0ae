"""The training for real scans, in small: it draws, trains, is taken up again; and its loss by hand."""

import json
import sys
from pathlib import Path

import keras
import nibabel
import numpy as np
import pytest

from organseg import make_phantom
from organseg.geometry import WorkingGrid, to_working
from organseg.networks import unet
from organseg.runs import load_run
from organseg.scans import to_scan

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import weights_for_patients as weights


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two phantoms of each kind on a coarse grid, one small label map, two steps of a tiny network."""
    monkeypatch.setattr(weights, "SHAPE", (24, 24, 28))
    monkeypatch.setattr(weights, "SPACING", 16.0)
    monkeypatch.setattr(weights, "SEEDS", {"plain": range(2), "varied": range(2), "painted": range(1)})
    tiny = {"crop_size": 16, "base_filters": 1, "steps": 2, "validate_every": 1}
    stage = weights.Stage(None, weights.DRAWN, weights.PROFILE.replace(**tiny))
    monkeypatch.setattr(weights, "held_out", lambda: [to_scan(to_working(phantom, grid))] * 2)
    grid, phantom = WorkingGrid((16.0,) * 3), make_phantom(5, (24, 24, 28))
    voxels = np.zeros((60, 48, 40), np.uint8)
    voxels[20:40, 10:35, 5:35] = 9
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1])), tmp_path / "one.nii.gz")
    (tmp_path / "one.json").write_text(json.dumps({"liver": 9}), encoding="utf-8")
    return tmp_path, [tmp_path / "one.nii.gz"], stage


def test_a_network_is_trained_and_taken_up_again(small):
    folder, maps, stage = small
    cases = weights.draw_all(folder / "cases", maps)
    assert [kind for kind, _ in cases].count("painted") == 1 and len(cases) == 5
    times = {path: path.stat().st_mtime_ns for _, path in cases}
    weights.train(stage, folder / "run", cases)
    first = (folder / "run" / "history.csv").read_text(encoding="utf-8")
    run = load_run(folder / "run")
    assert run.grid.spacing == (16.0,) * 3 and len(run.settings["trained_on"]) == 5
    assert [line.split(",")[0] for line in first.splitlines()] == ["step", "1", "2"]
    assert weights.draw_all(folder / "cases", maps) == cases
    assert {path: path.stat().st_mtime_ns for _, path in cases} == times  # nothing is drawn twice
    weights.train(stage, folder / "run", cases)
    assert (folder / "run" / "history.csv").read_text(encoding="utf-8") == first
    weights.train(stage, folder / "next", cases, start=folder / "run")
    assert load_run(folder / "next").settings["trained_on"] == run.settings["trained_on"]


def test_the_loss_is_dice_and_cross_entropy_by_hand():
    network = unet(num_classes=8, base_filters=1, levels=2)
    loss = weights.WithCrossEntropy(network.inputs, network.outputs)
    loss.batch_sum = True
    p = np.full((1, 1, 1, 2, 8), 0.05, np.float32)
    p[..., 0, 3], p[..., 1, 0] = 0.65, 0.65  # a liver voxel and a background voxel, each at 0.65
    labels = np.array([[[[3, 0]]]])
    everything, no_spleen = np.ones((1, 7), np.float32), np.array([[1, 1, 1, 0, 1, 1, 1]], np.float32)

    def value(annotated):
        dice = weights.dice_loss(labels, keras.ops.convert_to_tensor(p), annotated, batch_sum=True)
        whole = loss.compute_loss(
            y=(labels, keras.ops.convert_to_tensor(annotated)), y_pred=keras.ops.convert_to_tensor(p)
        )
        return float(whole) - float(dice)

    assert value(everything) == pytest.approx(-np.log(0.65), rel=1e-5)
    # Where no spleen was drawn, a voxel of label 0 may be one: its probability counts as right.
    assert value(no_spleen) == pytest.approx(-(np.log(0.65) + np.log(0.70)) / 2, rel=1e-5)


def test_no_scan_of_doubtful_licence_is_trained_on():
    assert "amos_0001_slab" not in weights.WEIGHTS
