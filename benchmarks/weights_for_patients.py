"""Train networks for real scans, from drawings and from what patients' scans may be used.

    small       small crops, of which a step takes two fifths of the time, at a constant rate
    large       goes on from `small` with crops of 48³ and a rate that falls to nothing
    drawn       goes on from `large`, with more of the course's phantoms. None of these three has seen a patient's
                image: they learn from phantoms, phantoms with more variety, real label maps painted with drawn HU
    pretrained  goes on from `drawn`, with the labelled scans of ../shared/data whose licence allows it

Each is interrupted and taken up again by the same command: what was drawn lies in WORK/cases, a training in WORK/NAME.
`--without SCAN` keeps a scan out, to be scored on; the folder's name then says so. No seed used here is used to score
anything.
"""

import argparse
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm
from train_weights import halve

from organseg import runs, training
from organseg.backend import keras
from organseg.cases import Case
from organseg.device.precision import resolve_precision
from organseg.device.steps import HostCrops, take_steps
from organseg.errors import OrgansegError
from organseg.files import whole_file
from organseg.folders import find_cases
from organseg.geometry import WorkingGrid, to_working
from organseg.losses import dice_loss
from organseg.organs import NUM_CLASSES, ORGAN_IDS
from organseg.phantom import make_phantom
from organseg.phantom.crops import Disturbances, VariedSampler
from organseg.phantom.label_map import LabelMap
from organseg.phantom.variety import Variety
from organseg.profiles import Profile
from organseg.scans import to_scan
from organseg.training import Segmenter, compile_for_training, mean_dice, validate

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHAPE, SPACING = (96, 96, 112), 4.0
SEEDS = {"plain": range(1000, 1080), "varied": range(10_000, 10_400), "painted": range(40)}
# The shares of the crops. The phantoms of the course stay in, so that nothing is forgotten.
DRAWN = {"plain": 0.2, "varied": 0.4, "painted": 0.4}
AT_HOME = {"plain": 0.3, "varied": 0.35, "painted": 0.35}
WITH_PATIENTS = {"plain": 0.15, "varied": 0.25, "painted": 0.3, "real": 0.3}
# How often a real scan is drawn beside the others: three slices and a head teach less than an abdomen.
WEIGHTS = {"totalseg_example": 8, "totalseg_slab": 4, "totalseg_s0003": 2, "dcmqi_3slice": 1}
PROFILE = Profile(
    "weights", crop_size=48, base_filters=8, spacing=SPACING, steps=3000, learning_rate=4e-3, schedule=True,
    organ_share=0.6, batch_sum=True, precision="auto", validate_every=250,
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One training: what it starts from, what its crops come from, its profile, and what is drawn anew."""

    start: str | None
    shares: dict
    profile: Profile
    variety: Variety = Variety()
    disturbances: Disturbances = Disturbances()
    seed: int = 1


STAGES = {
    "small": Stage(None, DRAWN, PROFILE.replace(crop_size=32, steps=2500, schedule=False)),
    "large": Stage("small", DRAWN, PROFILE),
    "drawn": Stage("large", AT_HOME, PROFILE.replace(steps=1500, learning_rate=2.5e-3), seed=2),
    "pretrained": Stage("drawn", WITH_PATIENTS, PROFILE.replace(steps=1200, learning_rate=2e-3), seed=3),
}
MOMENTUM = 0.98  # of batch norm: crops differ more than the phantoms', so that averages need more of them


def draw(kind, seed, variety, map_path=None):
    """A case on the working grid."""
    if kind == "painted":
        return _map(map_path).paint(seed, variety)
    if kind == "varied":
        return make_phantom(seed, SHAPE, (SPACING,) * 3, variety)
    return to_working(make_phantom(seed, SHAPE), WorkingGrid((SPACING,) * 3))


_MAPS = {}


def _map(path):
    """The label map, prepared once in each process."""
    if path not in _MAPS:
        _MAPS.clear()
        _MAPS[path] = LabelMap(path)
    return _MAPS[path]


def store(job):
    """Draw a case into its file."""
    path, *what = job
    case = draw(*what)
    with whole_file(path) as aside:
        np.savez(aside, image=whole_hu(case.image), label=case.label)


def draw_all(folder, maps, variety=Variety(), seeds=None):  # noqa: B008, it is frozen
    """Draw every case that is not there yet, with two processes; returns (kind, path) of all."""
    seeds = seeds or SEEDS
    missing_groups = [field.name for field in fields(variety) if not getattr(variety, field.name)]
    told = "".join(f"_no_{group}" for group in missing_groups)
    jobs = [(folder / f"plain_{seed}.npz", "plain", seed, variety, None) for seed in seeds["plain"]]
    jobs += [(folder / f"varied{told}_{seed}.npz", "varied", seed, variety, None) for seed in seeds["varied"]]
    for path in maps:
        name = f"painted{told}_{path.name.partition('.')[0]}"
        jobs += [(folder / f"{name}_{seed}.npz", "painted", seed, variety, path) for seed in seeds["painted"]]
    missing = [job for job in jobs if not job[0].is_file()]
    with ProcessPoolExecutor(2) as pool:
        for _ in tqdm(pool.map(store, missing, chunksize=10), total=len(missing), desc="drawing", disable=None):
            pass
    return [(job[1], job[0]) for job in jobs]


def whole_hu(image):
    """An image in whole HU, as int16: half the memory of float32."""
    return np.rint(image).clip(-1000, 3071).astype(np.int16)


def in_hu(case):
    """The Scan of a case on the working grid with its image in HU."""
    return replace(to_scan(case), image=whole_hu(case.image))


def load(path):
    with np.load(path) as stored:
        case = Case(stored["image"], stored["label"], np.diag([SPACING] * 3 + [1.0]), path.stem, ORGAN_IDS)
    return in_hu(case)


class WithCrossEntropy(Segmenter):
    """The Dice loss and, beside it, the cross-entropy: it pulls at voxels that Dice has given up."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, annotated = y
        ops = keras.ops
        dice = dice_loss(labels, y_pred, annotated, batch_sum=self.batch_sum)
        p = ops.cast(y_pred, "float32")
        # An organ that was not annotated may be anywhere in the background: its probability is right there.
        unknown = ops.concatenate([ops.zeros_like(annotated[:, :1]), 1.0 - annotated], axis=-1)
        truth = ops.one_hot(ops.cast(labels, "int32"), NUM_CLASSES, dtype="float32")
        truth += truth[..., :1] * unknown[:, None, None, None, :]
        right = ops.sum(p * truth, axis=-1)
        return dice - ops.mean(ops.log(ops.maximum(right, 1e-5)))


def real_scans(without):
    """The labelled scans whose licence allows training, on the working grid."""
    scans = []
    for files in find_cases(SHARED / "real_ct"):
        if files.name in WEIGHTS and files.name not in without:
            scan = in_hu(to_working(files.load(), WorkingGrid((SPACING,) * 3)))
            scans += [scan] * WEIGHTS[files.name]
    return scans


def held_out():
    """What the training is watched on: the sample patient, and three phantoms."""
    cases = [files.load() for files in find_cases(SHARED / "real_ct") if files.name == "totalseg_example"]
    cases += [make_phantom(seed, SHAPE) for seed in range(2000, 2003)]
    return [to_scan(to_working(case, WorkingGrid((SPACING,) * 3))) for case in cases]


def train(stage, folder, cases, start=None, without=()):
    """Train one network, from where it was left, and write its run folder."""
    scans = [(kind, load(path)) for kind, path in tqdm(cases, desc="reading", disable=None)]
    if "real" in stage.shares:
        scans += [("real", scan) for scan in real_scans(without)]
    kinds, scans = zip(*scans, strict=True)
    profile = stage.profile
    options = {k: v for k, v in profile.crops.items() if k != "augment"}
    sampler = VariedSampler(scans, kinds, stage.shares, stage.disturbances, seed=stage.seed, **options)
    architecture = {"network": "unet", "num_classes": NUM_CLASSES, "base_filters": profile.base_filters, "levels": 4}
    names = sorted({scan.name for scan in scans})
    settings = runs.describe(architecture, WorkingGrid((SPACING,) * 3), profile=asdict(profile), seed=stage.seed,
                             trained_on=names, held_out=list(without))  # fmt: skip
    first, stored = runs.begin_or_resume(folder, settings, (folder / "run.json").is_file())
    if not first:
        runs.save_settings(folder, settings)
    keras.utils.set_random_seed(stage.seed)
    network = runs.build(architecture, resolve_precision(profile.precision))
    if start:
        network.set_weights(runs.load_run(start).network.get_weights())
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    segmenter = compile_for_training(network, profile, WithCrossEntropy)
    if stored is not None:
        training._restore(segmenter, stored, folder)
    history = runs.load_history(folder, first) if first else []
    before, watched = history[-1]["seconds"] if history else 0.0, held_out()
    for row in take_steps(segmenter, HostCrops(sampler), profile, first, before, progress=sys.stderr.isatty()):
        patient, phantoms = validate(network, watched[:1]), validate(network, watched[1:])
        history.append(row | patient | {"phantoms": mean_dice(phantoms)})
        runs.save(folder, row["step"], network, training._variables(segmenter), history)
        print(f"step {row['step']}: loss {row['loss']:.3f}, {row['seconds']:.0f} s; patient {mean_dice(patient):.3f} "
              f"({', '.join(f'{v:.2f}' for k, v in patient.items() if k.startswith('dice'))}), "
              f"phantoms {mean_dice(phantoms):.3f}", flush=True)  # fmt: skip


def stages_to(name):
    """The names of the stages that lead to one, itself the last."""
    start = STAGES[name].start
    return [*(stages_to(start) if start else []), name]


def taken(work, name):
    """What a finished stage took, for the record."""
    profile = runs.load_settings(work / name)[0]["profile"]
    history = runs.load_history(work / name, profile["steps"])
    kept = {key: profile[key] for key in ("crop_size", "steps", "learning_rate")}
    return {"name": name} | kept | {"minutes": round(history[-1]["seconds"] / 60)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(STAGES)}, each with those before it; all by default")
    parser.add_argument("--work", default="results/weights", help="where cases and run folders are kept")
    parser.add_argument("--out", help="where the finished weights go; by default nowhere")
    parser.add_argument("--without", nargs="*", default=[], help="real scans that 'pretrained' is not to train on")
    parser.add_argument("--steps", type=int, help="of the stages named, for a shorter run")
    options = parser.parse_args()
    maps = sorted((SHARED / "labels_full").glob("*.nii.gz"))
    if not maps:
        raise OrgansegError(f"{SHARED}: found no labels_full; expected the full label maps; ask the maintainers")
    warnings.simplefilter("ignore")
    work = Path(options.work)
    cases = draw_all(work / "cases", maps)
    chains = [stages_to(name) for name in options.names or STAGES]
    for name in dict.fromkeys(sum(chains, [])):
        stage = STAGES[name]
        if options.steps and name in (options.names or STAGES):
            stage = replace(stage, profile=stage.profile.replace(steps=options.steps))
        kept_out = [scan for scan in options.without if "real" in stage.shares]
        folder = work / "_without_".join([name, *kept_out])
        print(f"{folder}:", flush=True)
        train(stage, folder, cases, stage.start and work / stage.start, kept_out)
        if options.out and name in runs.SHIPPED:
            target = Path(options.out) / name
            target.mkdir(parents=True, exist_ok=True)
            halve(folder / "model.weights.h5", target / "model.weights.h5")
            stages = [taken(work, stage) for stage in stages_to(name)]
            runs.save_settings(target, runs.load_settings(folder)[0] | {"stages": stages})


if __name__ == "__main__":
    main()
