"""Training: a few real steps on both backends and in half precision, resuming, run folders, profiles."""

import csv
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from organseg import runs
from organseg.backend import has_gpu
from organseg.cases import Case
from organseg.device.precision import resolve_precision
from organseg.errors import OrgansegError
from organseg.geometry import WorkingGrid
from organseg.organs import ORGAN_NAMES
from organseg.profiles import PROFILES, choose_profile, find_profile
from organseg.scans import to_scan
from organseg.training import train

# Two levels and crops of 8 voxels: nearly all of a test's time goes into building the graph of the training step.
TINY = PROFILES["lesson"].replace(levels=2, base_filters=2, crop_size=8, steps=6, validate_every=3, spacing=6.0)


def make_case(seed, size=20):
    """A bright ball (liver) in dark fat: learnable within a few steps."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"))
    ball = ((place - rng.uniform(7, 13, 3).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 36
    image = np.where(ball, 200, -100) + rng.normal(0, 10, ball.shape)
    return Case(image.astype(np.float32), (3 * ball).astype(np.uint8), np.diag([6, 6, 6, 1.0]), f"case{seed}")


@pytest.fixture(scope="module")
def cases():
    return [make_case(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def six_steps(cases, tmp_path_factory):
    """A run of six steps: its folder, the run, the history, and how long the history was after each validation.

    Nearly all of the time goes into building the graph, so that most tests take this one run.
    """
    folder, seen = tmp_path_factory.mktemp("run"), []
    told = {"progress": False, "after_validation": lambda history: seen.append(len(history))}
    return folder, *train(cases[:4], folder, TINY, cases[4:], **told), seen


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_six_steps_change_the_weights_and_give_finite_losses(cases, request, precision):
    if precision != "float32" and keras.backend.backend() == "tensorflow":
        pytest.skip(
            "on a CPU, TensorFlow has no float16 MaxPool3D, and in bfloat16 its gradients were NaN once in such a tiny "
            "network; both run with KERAS_BACKEND=jax"
        )
    if precision == TINY.precision:
        _, run, history, _ = request.getfixturevalue("six_steps")
    else:
        run, history = train(cases[:4], None, TINY.replace(precision=precision), cases[4:], progress=False)
    keras.utils.set_random_seed(0)
    untrained = runs.build(run.settings["architecture"])
    assert [row["step"] for row in history] == [3, 6]
    assert all(np.isfinite(row["loss"]) and -1 < row["loss"] < 0 for row in history)
    assert any(not np.allclose(a, b) for a, b in zip(run.network.get_weights(), untrained.get_weights(), strict=True))
    assert all(np.isfinite(w).all() for w in run.network.get_weights())
    assert run.network.layers[1].compute_dtype == "float32"  # what is kept computes in float32 again


def test_a_short_training_learns_and_scores_at_inference(cases):
    """Fails when the sign of the loss, the labels or the batch-norm statistics of inference are wrong."""
    run, history = train(
        cases[:4], None, TINY.replace(base_filters=4, steps=60, validate_every=30), cases[4:], progress=False
    )
    assert history[-1]["loss"] < history[0]["loss"] < 0
    assert history[-1]["dice_liver"] > 0.7
    assert np.isnan(history[-1]["dice_spleen"])  # no spleen in truth or prediction


def test_a_run_folder_holds_all_that_is_needed_to_predict(six_steps):
    folder, run, *_ = six_steps
    names = {path.name for path in folder.iterdir()}
    assert names == {"run.json", "model.weights.h5", "checkpoint.npz", "history.csv"}
    settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert settings["trained_on"] == [f"case{i}" for i in range(4)] and settings["held_out"] == ["case4"]
    assert settings["profile"]["organ_share"] == 0.5  # how crops are drawn is on record
    loaded = runs.load_run(folder)
    assert loaded.grid == WorkingGrid((6.0, 6.0, 6.0)) == run.grid
    assert all(
        np.array_equal(a, b) for a, b in zip(loaded.network.get_weights(), run.network.get_weights(), strict=True)
    )
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert {f"dice_{name}" for name in ORGAN_NAMES} < set(rows[0])


class Stopped(Exception):
    pass


def test_a_resumed_run_ends_where_an_unbroken_one_does(cases, six_steps, tmp_path, monkeypatch):
    _, unbroken, history, _ = six_steps

    from organseg.sampling import CropSampler

    draw = CropSampler.plan

    def stop_at_step_5(self, step):
        if step == 5:
            raise Stopped
        return draw(self, step)

    monkeypatch.setattr(CropSampler, "plan", stop_at_step_5)
    with pytest.raises(Stopped):
        train(cases[:4], tmp_path / "broken", TINY, progress=False)
    monkeypatch.setattr(CropSampler, "plan", draw)
    resumed, again = train(cases[:4], tmp_path / "broken", TINY, resume=True, progress=False)
    assert [row["step"] for row in again] == [row["step"] for row in history] == [3, 6]
    assert again[-1]["loss"] == pytest.approx(history[-1]["loss"], abs=1e-4)
    for a, b in zip(resumed.network.get_weights(), unbroken.network.get_weights(), strict=True):
        assert a == pytest.approx(b, abs=2e-3)


def test_runs_are_never_mixed_up(cases, six_steps, tmp_path):
    shutil.copytree(six_steps[0], tmp_path / "run")
    refusals = [
        (dict(), "expected an empty place"),
        (dict(profile=TINY.replace(base_filters=3), resume=True), "found a run with architecture"),
        (dict(profile=TINY.replace(spacing=5.0), resume=True), "found a run with grid"),
        (dict(seed=1, resume=True), "found a run with seed"),
    ]
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for changes, words in refusals:
        with pytest.raises(OrgansegError, match=words):
            train(cases[:4], tmp_path / "run", **({"profile": TINY} | changes), progress=False)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    settings = json.loads(before["run.json"])
    settings["architecture"]["base_filters"] = 3
    runs.save_settings(tmp_path / "run", settings)
    with pytest.raises(OrgansegError, match="another architecture") as error:
        runs.load_run(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_refused_training_leaves_no_run_behind(cases, tmp_path):
    with pytest.raises(OrgansegError, match="found 2 patients"):
        train(cases[:2], tmp_path / "run", TINY, progress=False)
    assert not (tmp_path / "run").exists()


def test_the_paper_profile_changes_nothing_of_the_paper():
    paper = PROFILES["paper"]
    assert (paper.crop_size, paper.batch_size, paper.steps, paper.learning_rate) == (64, 3, 50_000, 1e-2)
    assert not paper.schedule and paper.organ_share == 0 and paper.augment and not paper.batch_sum
    assert paper.base_filters == 32 and paper.spacing is None and paper.precision == "float32"


def test_the_profile_can_be_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("ORGANSEG_PROFILE", "lesson")
    assert choose_profile() == "lesson"
    monkeypatch.delenv("ORGANSEG_PROFILE")
    assert choose_profile() in ("fast", "gpu")
    monkeypatch.setenv("ORGANSEG_PROFILE", "Fast")
    with pytest.raises(OrgansegError, match="found the profile 'Fast'; expected one of lesson, fast, gpu, paper"):
        find_profile()


def test_profiles_are_plain_data_that_imports_no_keras():
    code = "import sys, organseg; organseg.PROFILES; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_auto_is_one_rule_and_a_named_precision_stays():
    assert resolve_precision("mixed_bfloat16") == "mixed_bfloat16"
    half = {"mixed_float16", "mixed_bfloat16"}
    assert resolve_precision("auto", training=True) in (half if has_gpu() else {"float32"})
    assert resolve_precision("auto") in (half if has_gpu() else {"mixed_bfloat16", "float32"})


@pytest.mark.parametrize("capability, policy", [(7.5, "mixed_float16"), (8.0, "mixed_bfloat16")])
def test_bfloat16_is_taken_from_compute_capability_8_on(monkeypatch, capability, policy):
    monkeypatch.setattr("organseg.device.precision.has_gpu", lambda: True)
    monkeypatch.setattr("organseg.device.precision._compute_capability", lambda: capability)
    assert resolve_precision("auto", training=True) == policy


def test_adam_starts_at_1e_2_and_only_schedules_change_it():
    from organseg.training import compile_for_training

    def rate(profile):
        optimizer = compile_for_training(runs.build({"network": "unet", "base_filters": 1}), profile).optimizer
        return type(optimizer).__name__, float(keras.ops.convert_to_numpy(optimizer.learning_rate))

    assert rate(PROFILES["paper"]) == ("Adam", pytest.approx(1e-2))
    assert rate(PROFILES["fast"]) == ("Adam", pytest.approx(1e-2))


@pytest.mark.parametrize("precision, scaled", [("float32", False), ("mixed_bfloat16", False), ("mixed_float16", True)])
def test_the_loss_is_scaled_in_float16_alone(precision, scaled):
    from organseg.training import compile_for_training

    network = runs.build({"network": "unet", "base_filters": 1}, dtype=precision)
    optimizer = compile_for_training(network, TINY).optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    assert optimizer.built


def test_unannotated_organs_are_not_scored(cases):
    from dataclasses import replace

    from organseg.training import validate

    everything_liver = runs.build({"network": "unet", "base_filters": 1})
    scores = validate(everything_liver, [to_scan(replace(cases[0], annotated=(1, 3)))])
    assert np.isfinite(scores["dice_liver"]) and np.isnan(scores["dice_pancreas"])


def test_a_training_that_diverges_stops_in_one_line_also_where_its_precision_was_resolved(cases):
    precision = "float32" if has_gpu() else "auto"  # float32 again, but by another name
    broken = TINY.replace(learning_rate=1e38, steps=20, precision=precision)
    with pytest.raises(OrgansegError, match="found a loss of nan at step .*; expected a number"):
        train(cases[:4], None, broken, progress=False)


def test_whoever_asks_is_shown_the_history_after_each_validation(six_steps):
    *_, seen = six_steps
    assert seen == [1, 2]
