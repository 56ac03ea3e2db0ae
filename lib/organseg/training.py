"""Training (II.C, II.D): mini-batches of crops from different patients, the Dice loss, Adam.

`train` is the whole of it: bring the cases to the working grid, draw a mini-batch, take a step, and
now and then validate, write the history and a checkpoint.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas

from organseg import runs
from organseg.backend import has_gpu, keras
from organseg.cases import Case
from organseg.device import processes, several
from organseg.device.crops import DeviceCrops
from organseg.device.precision import loss_scaled, resolve_precision
from organseg.device.steps import take_steps
from organseg.errors import OrgansegError
from organseg.geometry import WorkingGrid, canonical_spacing, choose_grid, to_working
from organseg.inference import each_tile
from organseg.losses import loss_of_overlaps, overlaps
from organseg.organs import NUM_CLASSES, ORGAN_NAMES, ORGANS
from organseg.sampling import CropSampler
from organseg.scans import to_scan
from organseg.volumes import read_affine


def train(
    cases, out=None, profile=None, validation=(), seed=0, resume=False, grid=None, progress=True,
    start_from=None, after_validation=None, devices=None,
):  # fmt: skip
    """Train a U-Net on labelled cases: a Run, and the history of its validations.

    The history is a list of dicts with step, seconds, loss, validation_loss and the validation's
    mean Dice per organ (NaN where no case has the organ).

    Parameters
    ----------
    cases : list of Case or CaseFiles with labels, from at least as many patients as a mini-batch
        has crops. Files are read one at a time; only the scan on the working grid is kept (13 MB).
    out : the run folder to write (see `runs`), or None to keep everything in memory
    profile : name in `PROFILES`, or Profile; by default the resumed run's, or this machine's
    validation : cases that are never trained on, scored every `profile.validate_every` steps
    seed : of the network's first weights and of every mini-batch
    resume : go on from the checkpoint in `out`
    grid : WorkingGrid; by default the profile's spacing, or `choose_grid` for the cases
    start_from : Run whose weights to begin with (e.g. `load_run('pretrained')`)
    after_validation : function of the history, called when a row has been added, e.g. to draw it
    devices : how many to share each mini-batch, or 'all' (`device.several`); by default one

    >>> import organseg
    >>> cases = [organseg.make_phantom(seed, (32, 32, 32)) for seed in range(3)]
    >>> tiny = organseg.PROFILES["lesson"].replace(crop_size=16, levels=2, steps=2)
    >>> run, history = train(cases, profile=tiny, progress=False)
    >>> [row["step"] for row in history], -1 < history[0]["loss"] < 0
    ([2], True)
    """
    profile = runs.profile_for(profile, out, resume)
    keras.utils.set_random_seed(seed)
    grid = grid or _grid_for(cases, profile)
    settings = _settings(profile, grid, seed, cases, validation)
    out = out and Path(out)
    first, stored = runs.begin_or_resume(out, settings, resume) if out else (0, None)
    precision, speaks = resolve_precision(profile.precision, training=True), processes.number() == 0
    agreed = settings | {"first": first, "precision": precision}
    with several.spread_over(devices, profile.batch_size, agreed):
        scans, held_out = _labelled_scans(cases, grid), _labelled_scans(validation, grid)
        sampler = CropSampler(scans, **profile.crops, paper_voxels=grid.paper_voxels, seed=seed)
        if out and not first and speaks:  # nothing is written before the cases have proved usable
            runs.save_settings(out, settings)
        network = runs.build(settings["architecture"], precision)
        if start_from is not None:
            network.set_weights(start_from.network.get_weights())
        segmenter = compile_for_training(network, profile)
        if stored is not None:
            _restore(segmenter, stored, out)
        history = runs.load_history(out, first) if first else []
        before = history[-1]["seconds"] if history else 0.0
        source, progress = DeviceCrops(sampler), progress and speaks
        for row in take_steps(segmenter, source, profile, first, before, progress):
            history.append(row | validate(network, held_out))
            if out and speaks:
                runs.save(out, row["step"], network, _variables(segmenter), history)
            if after_validation and speaks:
                after_validation(history)
    trained = runs.build(settings["architecture"])  # in float32, whatever the training computed in
    trained.set_weights(network.get_weights())
    return runs.Run(trained, grid, settings), history


class Segmenter(keras.Model):
    """A network with the loss it is trained on.

    y is a pair: the labels (batch, x, y, z), and the organs annotated in each image (batch, organ).
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, annotated = y
        sums = several.over_all(overlaps(labels, y_pred, annotated))
        # TensorFlow adds up the gradients of all replicas.
        return loss_of_overlaps(*sums, batch_sum=self.batch_sum) / several.layout().replicas

    def step(self, images, labels, annotated):
        """One training step on a mini-batch; returns its loss, a float."""
        loss = float(self.train_on_batch(images, (labels, annotated)))
        self.reset_metrics()  # Keras would report the mean since the start
        return loss


def compile_for_training(network, profile, kind=Segmenter):
    """The network as a `Segmenter` (or a `kind` of it) with its optimiser: Adam at 1e-2 (II.D).

    The rate falls along a cosine if the profile says so.
    """
    segmenter = kind(network.inputs, network.outputs)
    several.synchronise(network)
    segmenter.batch_sum = profile.batch_sum
    rate = profile.learning_rate
    if profile.schedule:
        rate = keras.optimizers.schedules.CosineDecay(rate, profile.steps)
    optimizer = loss_scaled(keras.optimizers.Adam(rate), network)
    # XLA makes a step faster on a GPU and several times slower on a CPU; JAX always compiles.
    compiler = "auto" if keras.backend.backend() == "jax" else has_gpu()
    segmenter.compile(optimizer=optimizer, jit_compile=compiler)
    segmenter.optimizer.build(segmenter.trainable_variables)
    return segmenter


def validate(network, scans):
    """The means over scans with labels of their Dice loss and of each organ's Dice: a dict.

    Its keys are validation_loss and dice_ORGAN. Organs that were not annotated are left out; NaN
    where nobody has one.
    """
    rows = []
    for scan in scans:
        soft, hard = [], []  # sums of the probabilities and of the labels made from them
        for slices, probabilities in each_tile(network, scan.image, processes.same_depth()):
            label = scan.label[None, :, :, slices]
            soft.append(overlaps(label, probabilities, scan.annotated[None]))
            chosen = keras.ops.one_hot(keras.ops.argmax(probabilities, -1), NUM_CLASSES)
            hard.append(overlaps(label, chosen))
        *sums, _ = map(sum, zip(*soft, strict=True))
        row = {"validation_loss": float(loss_of_overlaps(*sums, soft[0][-1]))}
        both, found, there, _ = (np.asarray(sum(parts))[0] for parts in zip(*hard, strict=True))
        for organ in np.array(ORGANS)[scan.annotated > 0]:
            size = found[organ.id] + there[organ.id]
            row[f"dice_{organ.name}"] = 2 * both[organ.id] / size if size else np.nan
        rows.append(row)
    columns = ["validation_loss", *(f"dice_{name}" for name in ORGAN_NAMES)]
    return pandas.DataFrame(rows, columns=columns, dtype=float).mean().to_dict()


def mean_dice(row):
    """The mean over the organs of a row of the history; NaN without validation."""
    values = [row[f"dice_{name}"] for name in ORGAN_NAMES]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _settings(profile, grid, seed, cases, validation):
    """The content of run.json."""
    architecture = {"network": "unet", "num_classes": NUM_CLASSES, "levels": profile.levels}
    architecture |= {"base_filters": profile.base_filters}
    names = {"trained_on": [c.name for c in cases], "held_out": [c.name for c in validation]}
    return runs.describe(architecture, grid, profile=asdict(profile), seed=seed, **names)


def _grid_for(cases, profile):
    if profile.spacing:
        return WorkingGrid((profile.spacing,) * 3)
    affines = [case.affine if isinstance(case, Case) else read_affine(case.image) for case in cases]
    return choose_grid([canonical_spacing(affine) for affine in affines])


def _labelled_scans(cases, grid):
    """The scans of a list of Case or CaseFiles; the files are read one at a time and let go."""
    scans = []
    for case in cases:
        case = case if isinstance(case, Case) else case.load()
        if case.label is None:
            raise OrgansegError(f"{case.name}: found no label; expected one; add it to labelsTr")
        scans.append(to_scan(to_working(case, grid)))
        del case
    return scans


def _variables(segmenter):
    return [*segmenter.weights, *segmenter.optimizer.variables]


def _restore(segmenter, stored, out):
    variables = _variables(segmenter)
    if [tuple(v.shape) for v in variables] != [s.shape for s in stored]:
        found = f"{out}/checkpoint.npz: found variables of another architecture"
        raise OrgansegError(f"{found}; expected those of run.json; train again")
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)
