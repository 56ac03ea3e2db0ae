"""Training (II.C, II.D): mini-batches of crops from different patients, the Dice loss, Adam.

`train` is the whole of it: bring the cases to the working grid, draw a mini-batch, take a step, and
now and then validate, write the history and a checkpoint.
"""

import csv
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from organseg import runs
from organseg.backend import keras
from organseg.cases import Case, read_affine
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.files import whole_file
from organseg.geometry import WorkingGrid, canonical_spacing, choose_grid, normalise, to_working
from organseg.inference import predict_probabilities
from organseg.losses import dice_loss
from organseg.metrics import dice
from organseg.organs import NUM_CLASSES, ORGAN_IDS, ORGANS
from organseg.profiles import PROFILES, Profile, choose_profile, has_gpu, training_precision
from organseg.sampling import CropSampler, prefetch


class Segmenter(keras.Model):
    """A network with the loss it is trained on: y is a pair of labels and of the organs annotated
    in each image."""

    batch_sum = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, annotated = y
        return dice_loss(labels, y_pred, annotated, batch_sum=self.batch_sum)


def train(
    cases,
    out=None,
    profile=None,
    validation=(),
    seed=0,
    resume=False,
    grid=None,
    progress=True,
    start_from=None,
):
    """Train a U-Net on labelled cases.

    Parameters
    ----------
    cases : list of Case or CaseFiles with labels, from at least as many patients as a mini-batch
        has crops. Files are read one at a time, and only their working grid is kept: a scan on it
        needs some 13 MB, on its own 200 and more.
    out : the run folder to write (see `runs`), or None to keep everything in memory
    profile : name in `PROFILES` or Profile; by default the one for this machine
    validation : cases that are never trained on, scored every `profile.validate_every` steps
    seed : of the network's first weights and of every mini-batch
    resume : go on from the checkpoint in `out`
    grid : WorkingGrid; by default the profile's spacing, or `choose_grid` for the cases
    start_from : Run whose weights to begin with (e.g. `runs.load_run('pretrained')`), instead of
        random ones

    Returns
    -------
    Run with the trained network, and the history: a list of dicts with step, seconds, loss,
    validation_loss and the validation's mean Dice per organ (NaN for an organ that no validation
    case has)
    """
    profile = profile if isinstance(profile, Profile) else PROFILES[profile or choose_profile()]
    keras.utils.set_random_seed(seed)
    architecture = {
        "network": "unet",
        "num_classes": NUM_CLASSES,
        "base_filters": profile.base_filters,
        "levels": 4,
    }
    if grid is None:
        if profile.spacing:
            grid = WorkingGrid((profile.spacing,) * 3)
        else:
            affines = [
                case.affine if isinstance(case, Case) else read_affine(case.image) for case in cases
            ]
            grid = choose_grid([canonical_spacing(affine) for affine in affines])
    settings = runs.describe(
        architecture, grid, profile=asdict(profile), seed=seed,
        trained_on=[case.name for case in cases], held_out=[case.name for case in validation],
    )  # fmt: skip
    first, stored = 0, None
    if out is not None:
        first, stored = _continue(Path(out), settings, resume)

    sampler = CropSampler(
        [to_working(_loaded(case), grid) for case in cases], profile.crop_size, profile.batch_size, profile.organ_share,
        profile.augment, grid.paper_voxels, seed,
    )  # fmt: skip
    validation = [to_working(_loaded(case), grid) for case in validation]
    if out is not None and first == 0:  # nothing is written before the cases have proved usable
        runs.save_settings(out, settings)
    network = runs.build(architecture, dtype=training_precision(profile.precision))
    if start_from is not None:
        network.set_weights(start_from.network.get_weights())
    segmenter = compiled(network, profile)
    if stored is not None:
        _restore(segmenter, stored, out)

    history = _read_history(out) if first else []
    began, losses = time.monotonic() - (history[-1]["seconds"] if history else 0), []
    bar = tqdm(
        total=profile.steps,
        initial=first,
        desc=f"training ({profile.name})",
        unit="step",
        disable=not progress,
    )
    for step, (images, labels, annotated) in enumerate(
        prefetch(sampler, first, profile.steps), start=first + 1
    ):
        losses.append(float(segmenter.train_on_batch(images, (labels, annotated))))
        segmenter.reset_metrics()  # Keras would report the mean since the start
        bar.update()
        if not np.isfinite(losses[-1]) and profile.precision in ("float32", "mixed_bfloat16"):
            raise OrgansegError(
                f"found a loss of {losses[-1]} at step {step}; expected a number; lower the learning rate"
            )
        if step % profile.validate_every == 0 or step == profile.steps:
            row = {
                "step": step,
                "seconds": round(time.monotonic() - began, 1),
                "loss": float(np.mean(losses)),
            }
            history.append(row | validate(network, validation))
            losses.clear()
            bar.set_postfix(loss=f"{history[-1]['loss']:.3f}", dice=f"{mean_dice(history[-1]):.3f}")
            if out is not None:
                _write(Path(out), step, segmenter, network, history)
    bar.close()
    trained = runs.build(architecture)  # in float32, whatever the training computed in
    trained.set_weights(network.get_weights())
    return runs.Run(trained, grid, settings), history


def compiled(network, profile):
    """The network with its loss and optimiser: Adam at 1e-2 (II.D), falling along a cosine if the
    profile says so."""
    segmenter = Segmenter(network.inputs, network.outputs)
    segmenter.batch_sum = profile.batch_sum
    rate = profile.learning_rate
    if profile.schedule:
        rate = keras.optimizers.schedules.CosineDecay(rate, profile.steps)
    # XLA makes a step faster on a GPU and several times slower on a CPU; JAX always compiles.
    compiler = "auto" if keras.backend.backend() == "jax" else has_gpu()
    optimizer = keras.optimizers.Adam(rate)
    if any(layer.compute_dtype == "float16" for layer in network.layers):
        # Small gradients are zero in float16, so the loss is scaled. Keras does so by itself only
        # where the model's own policy is float16, and here the layers' is.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    segmenter.compile(optimizer=optimizer, jit_compile=compiler)
    segmenter.optimizer.build(segmenter.trainable_variables)
    return segmenter


def validate(network, cases):
    """The Dice loss and the mean Dice per organ on whole working-grid cases; unannotated organs are
    left out."""
    scores, losses = {organ: [] for organ in ORGAN_IDS}, []
    for case in cases:
        probabilities = predict_probabilities(network, normalise(case.image))
        predicted = probabilities.argmax(axis=-1)
        annotated = np.isin(ORGAN_IDS, case.annotated)[None].astype(np.float32)
        losses.append(float(dice_loss(case.label[None], probabilities[None], annotated)))
        for organ in case.annotated:
            scores[organ].append(dice(case.label == organ, predicted == organ))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # the mean of no number is NaN: that is what it should be
        means = {
            f"dice_{organ.name}": float(np.nanmean(scores[organ.id] or [np.nan]))
            for organ in ORGANS
        }
        return {"validation_loss": float(np.mean(losses or [np.nan]))} | means


def mean_dice(row):
    """The mean over the organs of a row of the history; NaN without validation."""
    values = [row[f"dice_{organ.name}"] for organ in ORGANS]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _loaded(case):
    case = case if isinstance(case, Case) else case.load()
    if case.label is None:
        raise OrgansegError(
            f"{case.name}: found no label; expected one to train on; add it to labelsTr"
        )
    return case


def _continue(out, settings, resume):
    """The step to go on from and the stored variables; refuses to overwrite a run or to go on with
    another."""
    if not (out / "run.json").is_file():
        if resume:
            warnings.warn(
                f"{out}: nothing to resume; a new run begins", OrgansegWarning, stacklevel=3
            )
        return 0, None
    if not resume:
        raise OrgansegError(
            f"{out}: found a run; expected an empty place; go on with --resume or choose another folder"
        )
    before, _, _ = runs.load_settings(out)
    for key in ("architecture", "grid", "seed", "trained_on"):
        if before[key] != settings[key]:
            raise OrgansegError(
                f"{out}: found a run with {key} {before[key]}; expected {settings[key]}; choose another folder"
            )
    if not (out / "checkpoint.npz").is_file():
        return 0, None
    return runs.load_checkpoint(out)


def _variables(segmenter):
    return [*segmenter.weights, *segmenter.optimizer.variables]


def _restore(segmenter, stored, out):
    variables = _variables(segmenter)
    if [tuple(v.shape) for v in variables] != [s.shape for s in stored]:
        raise OrgansegError(
            f"{out}/checkpoint.npz: found variables of another architecture; expected those of run.json; train again"
        )
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)


def _write(out, step, segmenter, network, history):
    runs.save_weights(network, out)
    with whole_file(out / "history.csv") as aside, open(aside, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    draw_curves(history, out / "curves.png")
    runs.save_checkpoint(out, step, [keras.ops.convert_to_numpy(v) for v in _variables(segmenter)])


def _read_history(out):
    with open(Path(out) / "history.csv", newline="") as file:
        return [
            {k: int(v) if k == "step" else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def draw_curves(history, path):
    """Training and validation curves as in Fig. 4, and the validation Dice of each organ beside
    them."""
    from matplotlib.figure import Figure

    steps = [row["step"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        steps, [row["loss"] for row in history], marker=".", color="0.2", label="training crops"
    )
    left.plot(
        steps,
        [row["validation_loss"] for row in history],
        marker=".",
        color="tab:orange",
        label="held-out cases",
    )
    left.set(xlabel="step", ylabel="Dice loss", title="Dice loss (lower is better)")
    left.legend(frameon=False)
    for organ in ORGANS:
        values = [row[f"dice_{organ.name}"] for row in history]
        right.plot(steps, values, marker=".", color=organ.colour, label=organ.name)
    right.set(xlabel="step", ylabel="Dice", ylim=(0, 1), title="held-out cases, per organ")
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with whole_file(path) as aside:
        figure.savefig(aside, dpi=110)


def shorter(profile, **changes):
    """A profile with some settings changed, e.g. `shorter('fast', steps=10)`."""
    return replace(PROFILES[profile] if isinstance(profile, str) else profile, **changes)
