"""The long measurements, each beside what it must reach, printed with pass or fail: `make figures-check`.

Name some to run only these: `python benchmarks/figures_check.py fast phantoms`. What was found is kept in
benchmarks/measured.json, measurement by measurement, for the ledger of the paper's facts.
"""

import argparse
import ast
import datetime
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas

from organseg import load_case, make_phantom, runs
from organseg.errors import OrgansegWarning
from organseg.folders import find_cases
from organseg.geometry import WorkingGrid, to_file_grid, to_working
from organseg.metrics import dice
from organseg.organs import NUM_CLASSES, ORGANS
from organseg.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
STORE = ROOT / "benchmarks" / "measured.json"
RESULTS = []


def result(what, value, passed):
    """Put one line on record."""
    RESULTS.append((what, value, passed))
    print(f"{'pass' if passed else 'FAIL':6}{what}: {value}", flush=True)


def record(name, lines):
    """Keep the lines of one measurement, in the place of those of an earlier run."""
    store = json.loads(STORE.read_text(encoding="utf-8")) if STORE.is_file() else {}
    store[name] = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores",
        "lines": {what: {"value": str(value), "passed": bool(passed)} for what, value, passed in lines},
    }
    text = json.dumps(store, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    STORE.write_text(text, encoding="utf-8")


def organ_dice(cases, predictions):
    """Mean Dice of each organ over cases (NaN where no case has it)."""
    rows = [[dice(c.label == o.id, p == o.id) for o in ORGANS] for c, p in zip(cases, predictions, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(rows, axis=0)


def told(scores):
    return (
        f"{np.nanmean(scores):.3f} on average ("
        + ", ".join(f"{o.name} {s:.2f}" for o, s in zip(ORGANS, scores, strict=True))
        + ")"
    )


def predicted(run, cases, **options):
    from organseg.inference import predict

    return [predict(run, case, **options) for case in cases]


def ceiling(cases, grid):
    """The truth down to the working grid and back: what a perfect network would score."""
    back = []
    for case in cases:
        working = to_working(case, grid)
        one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[working.label]
        back.append(to_file_grid(one_hot, working.affine, case.image.shape, case.affine))
    return organ_dice(cases, back)


def hu_classifier(training, cases):
    """Every voxel gets the class that is likeliest for its HU (bins of 4 HU) when all classes are equally frequent."""
    counts = np.zeros((NUM_CLASSES, 512))
    for case in training:
        np.add.at(counts, (case.label.ravel(), hu_bin(case.image).ravel()), 1)
    likeliest = (counts / counts.sum(axis=1, keepdims=True)).argmax(axis=0)
    majority = counts.argmax(axis=0)
    both = [organ_dice(cases, [classes[hu_bin(case.image)] for case in cases]) for classes in (likeliest, majority)]
    return max(both, key=np.nanmean)


def hu_bin(image):
    return np.clip((image + 1024) // 4, 0, 511).astype(int)


def mean_atlas(training, cases):
    """Every voxel gets the class that most training phantoms have at this place of the scan."""
    frequency = np.stack([sum(case.label == c for case in training) for c in range(NUM_CLASSES)])
    return organ_dice(cases, [frequency.argmax(axis=0)] * len(cases))


def baselines(name, training, cases, grid):
    for baseline, scores in (("HU alone", hu_classifier(training, cases)), ("mean atlas", mean_atlas(training, cases))):
        result(f"{name}: {baseline}, mean Dice below 0.45", told(scores), np.nanmean(scores) < 0.45)
    print(f"      {name}: resolution ceiling: {told(ceiling(cases, grid))}", flush=True)


def fast():
    """`fast` training on 12 phantoms, 4 held out."""
    from organseg.training import train

    cases = [make_phantom(seed, (64, 64, 64)) for seed in range(16)]
    run, history = train(cases[:12], None, "fast", cases[12:], progress=False)
    scores = organ_dice(cases[12:], predicted(run, cases[12:]))
    result("fast: training, at most 120 s", f"{history[-1]['seconds']:.0f} s", history[-1]["seconds"] <= 120)
    result("fast: mean Dice 0.60", told(scores), np.nanmean(scores) >= 0.60)
    result("fast: liver and spleen 0.85", f"liver {scores[2]:.3f}, spleen {scores[3]:.3f}", min(scores[2:4]) >= 0.85)
    baselines("fast", cases[:12], cases[12:], run.grid)


def phantoms():
    """The network `phantoms` that comes with the package, on eight phantoms of seeds never trained on."""
    shape = (96, 96, 112)
    run = runs.load_run("phantoms")
    cases = [make_phantom(seed, shape) for seed in range(3000, 3008)]
    scores = organ_dice(cases, predicted(run, cases))
    result("phantoms: mean Dice 0.85", told(scores), np.nanmean(scores) >= 0.85)
    result("phantoms: no organ under 0.70", f"lowest {np.nanmin(scores):.3f}", np.nanmin(scores) >= 0.70)
    seen = [make_phantom(int(name.removeprefix("phantom_")), shape) for name in run.settings["trained_on"][:8]]
    averages = np.nanmean(organ_dice(seen, predicted(run, seen))), np.nanmean(scores)
    told_apart = "{:.3f} in training, {:.3f} in the test".format(*averages)
    result("phantoms: Dice on training and unseen phantoms within 0.05", told_apart, abs(np.diff(averages)[0]) < 0.05)
    size = sum(path.stat().st_size for path in (runs.WEIGHTS / "phantoms").iterdir()) / 1e6
    result("phantoms: at most 5 MB", f"{size:.2f} MB", size <= 5)
    full, half = (predicted(run, cases[:2], precision=p) for p in ("float32", "mixed_bfloat16"))
    same = np.mean([np.mean(a == b) for a, b in zip(full, half, strict=True)])
    agree = organ_dice([type(c)(c.image, f, c.affine, c.name) for c, f in zip(cases, full, strict=False)], half)
    result("phantoms: bfloat16 labels as float32 ones", f"{same:.4%} of the voxels; Dice {told(agree)}", same > 0.995)
    baselines("phantoms", [make_phantom(seed, shape) for seed in range(12)], cases, run.grid)


ONE_CASE = """
import resource, sys, time
import numpy as np
from organseg.inference import predict_probabilities
from organseg.networks import unet
depth, precision = int(sys.argv[1]), sys.argv[2]
network = unet(dtype=precision)
image = np.random.default_rng(0).random((128, 128, depth), dtype=np.float32)
began = time.monotonic()
probabilities = predict_probabilities(network, image)
seconds = time.monotonic() - began
assert probabilities.shape == (128, 128, depth, 8) and np.isfinite(probabilities).all()
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def one_case(depth, precision):
    """Seconds and peak memory (GB) of a prediction by the 19 M network, in a process of its own."""
    command = [sys.executable, "-c", ONE_CASE, str(depth), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return map(float, done.stdout.split())


def full_size():
    """The 19 M network on a 128×128×160 case."""
    for precision, limit in (("float32", 60), ("mixed_bfloat16", 30)):
        seconds, memory = one_case(160, precision)
        result(f"19 M, 128×128×160, {precision}: under {limit} s", f"{seconds:.1f} s", seconds < limit)
        result(f"19 M, 128×128×160, {precision}: under 8 GB", f"{memory:.1f} GB", memory < 8)


ONE_STEP = """
import numpy as np, psutil
from organseg.course.costs import training_bytes
from organseg.networks import unet
from organseg.device.memory import peak_memory
from organseg.profiles import PROFILES
from organseg.training import compile_for_training
network = unet()
segmenter = compile_for_training(network, PROFILES["paper"])
batch = np.ones((1, 64, 64, 64, 1), "float32"), (np.ones((1, 64, 64, 64), "int32"), np.ones((1, 7), "float32"))
before = psutil.Process().memory_info().rss
with peak_memory() as memory:
    segmenter.train_on_batch(*batch)
there_before = training_bytes(network, 64, 0) * 3 // 4  # weights and Adam's averages; the gradients come in the step
print(memory.bytes - before, training_bytes(network, 64, 1) - there_before)
"""


def training_memory():
    """One training step of the 19 M network on a 64³ crop: the memory it takes, beside `organseg.training_bytes`."""
    done = subprocess.run([sys.executable, "-c", ONE_STEP], capture_output=True, text=True, check=True)
    measured, counted = map(float, done.stdout.split())
    both = f"measured {measured / 1e9:.2f} GB, counted {counted / 1e9:.2f} GB"
    result("19 M, one training step of 64³: memory as counted, within a fifth", both, abs(measured / counted - 1) < 0.2)


PACE = """
from organseg.command.preflight import measure_pace
pace = measure_pace("paper", 60)
print(pace.seconds_per_step, pace.hours() / 24)
"""


def paper_pace():
    """Steps of the profile `paper`, three crops of 64³ each, and the days that 50,000 would take."""
    done = subprocess.run([sys.executable, "-c", PACE], capture_output=True, text=True, check=True)
    seconds, days = map(float, done.stdout.split())
    result("profile paper: a step at most 60 s", f"{seconds:.0f} s, {days:.0f} days for 50,000 steps", seconds <= 60)


def long_scan():
    """The same on 128×128×640: the memory budget is kept."""
    for precision in ("float32", "mixed_bfloat16"):
        seconds, memory = one_case(640, precision)
        result(f"19 M, 128×128×640, {precision}: under 8 GB", f"{memory:.1f} GB in {seconds:.0f} s", memory < 8)


LARGE_SCAN = """
import sys, time
from organseg import load_case, load_run
from organseg.device.memory import peak_memory
from organseg.geometry import to_file_grid, to_working
from organseg.inference import predict_probabilities
from organseg.scans import to_scan
run, times = load_run("pretrained").in_precision("auto"), [time.monotonic()]
with peak_memory() as memory:
    case = load_case(sys.argv[1])
    times.append(time.monotonic())
    scan = to_scan(to_working(case, run.grid))
    times.append(time.monotonic())
    probabilities = predict_probabilities(run.network, scan.image)
    times.append(time.monotonic())
    label = to_file_grid(probabilities, scan.affine, case.image.shape, case.affine)
    times.append(time.monotonic())
assert label.shape == case.image.shape and label.any()
print(*(after - before for before, after in zip(times[:-1], times[1:])), memory.bytes / 1e9)
"""


def large_scan():
    """512×512×640 voxels from a compressed file to labels on its own grid."""
    from organseg import save_image

    small = make_phantom(7, (128, 128, 160))
    image = small.image.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    rng = np.random.default_rng(0)
    for z in range(image.shape[2]):
        image[:, :, z] += rng.normal(0, 20, image.shape[:2]).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.nii.gz"
        save_image(image, np.diag([0.75, 0.75, 0.75, 1]), file)
        del image
        done = [
            subprocess.run([sys.executable, "-c", LARGE_SCAN, str(file)], capture_output=True, text=True, check=True)
            for _ in range(3)
        ]
    *parts, memory = np.median([list(map(float, each.stdout.split())) for each in done], axis=0)
    names = ("reading", "to the working grid", "network", "back to its own grid")
    told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in zip(names, parts, strict=True))
    result("512×512×640, from file to labels: at most 4.5 s", f"{sum(parts):.1f} s ({told})", sum(parts) <= 4.5)
    result("512×512×640, from file to labels: at most 2 GB", f"{memory:.1f} GB", memory <= 2)


def real_ct():
    """Ten CPU minutes of training on the labelled real cases, scored on one of them: can it learn real CT at all?"""
    from organseg.training import train

    files = find_cases(SHARED / "real_ct")
    # No warp: five cases in ten minutes say whether real CT can be learnt, not how well it generalises.
    profile = PROFILES["fast"].replace(spacing=5.0, steps=900, validate_every=450, augment=False)
    cases = [file.load() for file in files]
    run, history = train(cases, None, profile, (), progress=False)
    example = [case for case in cases if case.name == "totalseg_example"]
    scores = organ_dice(example, predicted(run, example))
    minutes = history[-1]["seconds"] / 60
    result("real CT: trained at most ten minutes", f"{minutes:.1f} minutes", minutes <= 10)
    result("real CT: liver 0.80 on totalseg_example (trained on it)", told(scores), scores[2] >= 0.80)


def patients():
    """Real scans, each scored by networks that have not seen it; what is not trained yet is trained (hours)."""
    import score_patients

    work = ROOT / "results" / "weights"
    train = [sys.executable, str(ROOT / "benchmarks" / "weights_for_patients.py"), "--work", str(work)]
    subprocess.run(train, check=True)
    for left_out in ("totalseg_example", "totalseg_slab"):  # and the head with both
        more = ["pretrained", "--without", left_out, "totalseg_s0003", "--steps", "600"]
        subprocess.run([*train, *more], check=True)
    scores = score_patients.store(work)
    real = scores[scores.true_ml > 0].set_index(["network", "case", "organ"]).dice
    marks = {"artery": 0.84, "vein": 0.6, "liver": 0.92, "spleen": 0.92, "stomach": 0.6, "gallbladder": 0.7}
    for organ, mark in (marks | {"pancreas": 0.4}).items():
        value = real["drawn", "totalseg_example", organ]
        result(f"drawn: {organ} of the sample patient {mark}", f"{value:.3f}", value >= mark)
    mean, count = real["drawn"].mean(), len(real["drawn"])
    result(f"drawn: mean of {count} organ-cases 0.62", f"{mean:.3f}", mean >= 0.62)
    for case, network, mark in (
        ("totalseg_example", "pretrained without totalseg_example", 0.72),
        ("totalseg_slab", "pretrained without totalseg_slab", 0.65),
        ("amos_0001_slab", "pretrained", 0.50),
    ):
        value = real[network, case].mean()
        result(f"{network}: {case} {mark}", f"{value:.3f}", value >= mark)
    for network, rows in scores[scores.case == "totalseg_s0003"].groupby("network"):
        invented = rows.found_ml.sum()
        result(f"{network}: at most 1 ml in a head", f"{invented:.1f} ml", invented <= 1)
    homes = score_patients.home()
    for network in ("drawn", "pretrained"):
        run = runs.load_run(work / network)
        home = organ_dice(homes, predicted(run, homes))
        passed = np.nanmean(home) >= 0.88 and np.nanmin(home) >= 0.75
        result(f"{network}: phantoms 0.88, no organ under 0.75", told(home), passed)


def prepared_data():
    """From a web server to a table: a served totalsegmentator-small of twelve phantoms, and real scans as one's own."""
    sys.path[:0] = [str(ROOT / "tests" / "data"), str(ROOT / "data_scripts")]
    import data_sets

    import prepare

    def organseg(*arguments):
        done = subprocess.run([sys.executable, "-m", "organseg", *map(str, arguments)], capture_output=True, text=True)
        result(f"organseg {arguments[0]}", f"exit {done.returncode} {done.stderr[-200:]}", done.returncode == 0)
        return done.stdout

    out = Path("results") / "prepared"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder, data_sets.nginx(Path(folder)) as address:
        archive = functools.partial(data_sets.totalsegmentator, seeds=range(12), distinct=12)
        data_sets.ARCHIVES["totalsegmentator-small"] = archive
        data_sets.phantom = lambda seed, shape=(96, 96, 112): make_phantom(3000 + seed, shape)
        table = data_sets.served(Path(folder) / "files", address, ["totalsegmentator-small"])
        arguments = ["totalsegmentator-small", "--out", str(out / "data"), "--datasets", str(table)]
        prepare.main(arguments)
    organseg("train", out / "data", "--out", out / "run", "--profile", "fast", "--test", "2")
    organseg("predict", out / "run", out / "data", "--out", out / "predictions")
    print(organseg("evaluate", out / "data", out / "predictions"))
    scores = pandas.read_csv(out / "predictions" / "table.csv")
    liver = scores[scores.organ == "liver"].dice.mean()
    result("prepared set, three cases never trained on: liver 0.80", f"{liver:.3f}", liver >= 0.80)

    began, real = time.perf_counter(), SHARED / "real_ct"
    mapping = out / "mapping.toml"
    mapping.write_text(data_sets.REAL_CT_MAPPING, encoding="utf-8")
    prepare.main(["own", "--from", str(real), "--mapping", str(mapping), "--out", str(out / "own")])
    seconds = time.perf_counter() - began
    voxels = sum(case.load().image.size for part in ("Tr", "Ts") for case in find_cases(out / "own", part))
    result("real scans as one's own: prepared", f"{voxels / 1e6:.0f} million voxels in {seconds:.1f} s", seconds < 60)
    options = ["--profile", "fast", "--spacing", "5", "--steps", "400"]
    organseg("train", out / "own", "--out", out / "own-run", *options)
    organseg("predict", out / "own-run", out / "own", "--out", out / "own-predictions", "--all")
    print(organseg("evaluate", out / "own", out / "own-predictions"))
    files = find_cases(out / "own") + find_cases(out / "own", "Ts")
    same = [load_case(out / "own-predictions" / f"{f.name}.nii.gz").image.shape == f.load().image.shape for f in files]
    result("real scans: each predicted on its own grid", f"{sum(same)} of {len(files)}", all(same))


AWKWARD = ("niivue_CT_AVM.nii.gz", "niivue_CT_pitch.nii.gz", "niivue_shear.nii.gz", "totalseg_example_ct_sm.nii.gz",
           "nibabel_anatomical.nii", "totalseg_example_mr_sm.nii.gz")  # fmt: skip


def grids():
    """`organseg predict pretrained` on real and awkward files: labels on their own grid."""
    files = [
        SHARED / "real_ct" / "imagesTs" / "crlm_1004_0000.nii.gz",
        *(SHARED / "awkward" / name for name in AWKWARD),
    ]
    out = Path("results") / "awkward"
    for file in files:
        arguments = ["predict", "pretrained", str(file), "--out", str(out), "--overwrite"]
        done = subprocess.run([sys.executable, "-m", "organseg", *arguments], capture_output=True, text=True)
        case = load_case(file)
        try:
            label = load_case(out / f"{case.name}.nii.gz")
            same = label.image.shape == case.image.shape and np.allclose(label.affine, case.affine, atol=1e-3)
        except ValueError:
            same = False
        result(f"predict {case.name}: on its own grid", f"exit {done.returncode}, {case.image.shape} {case.axes}", same)


def speed():
    """A warp, and phantoms."""
    from organseg.augmentation import apply_warp, draw_warp

    rng = np.random.default_rng(0)
    image, label = rng.random((128, 128, 160), dtype=np.float32), rng.integers(0, 8, (128, 128, 160), dtype=np.uint8)
    seconds = median_time(lambda: apply_warp(draw_warp(rng, (64,) * 3), image, label, (30, 30, 40), (64,) * 3), 15)
    result("warp of a 64³ crop, image and label: at most 60 ms", f"{1000 * seconds:.0f} ms", seconds <= 0.06)
    for shape, limit in (((64, 64, 64), 0.5), ((128, 128, 160), 5)):
        seconds = median_time(lambda shape=shape: make_phantom(7, shape), 5)
        result(f"phantom of {'×'.join(map(str, shape))}: at most {limit} s", f"{seconds:.2f} s", seconds <= limit)


def prepared_in_time():
    """Training steps with real against ready-made input."""
    from organseg.device.crops import DeviceCrops
    from organseg.device.steps import HostCrops, Steps, prefetch
    from organseg.sampling import CropSampler
    from organseg.scans import to_scan
    from organseg.training import compile_for_training

    grid = WorkingGrid((6.0,) * 3)
    scans = [to_scan(to_working(make_phantom(seed, (64, 64, 64)), grid)) for seed in range(4)]
    wide = PROFILES["fast"].replace(crop_size=64, base_filters=32, spacing=3.0)
    for name, profile, steps, limit in (("fast", PROFILES["fast"], 24, 1.10), ("full width", wide, 3, 1.02)):
        sampler = CropSampler(scans, profile.crop_size, organ_share=0.5, paper_voxels=(0.5,) * 3)
        segmenter = compile_for_training(runs.build({"network": "unet", "base_filters": profile.base_filters}), profile)
        source, ready = DeviceCrops(sampler), HostCrops(sampler)
        with_crops, without = Steps(segmenter, source), Steps(segmenter, ready)
        same = ready.draw([0])

        def seconds(steps, drawn):
            times = [time.perf_counter()]
            for batch in drawn:
                steps.take(batch)
                times.append(time.perf_counter())
            return np.diff(times).tolist()

        def real_steps(first, last, source=source, steps=with_crops):
            return seconds(steps, prefetch(source.draw, ([step] for step in range(first, last))))

        real_steps(0, 2), seconds(without, [same] * 2)  # compile
        real, made = [], []
        for repeat in range(2):  # side by side, since machines are noisy
            real += real_steps(repeat * steps, (repeat + 1) * steps)
            made += seconds(without, [same] * steps)
        ratio = np.median(real) / np.median(made)
        result(f"step with real / ready-made input, {name}: at most {limit}", f"{ratio:.3f}", ratio <= limit)


def median_time(function, times):
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def longer_training():
    """Chapter 5's two trainings with 40 epochs: the scores that its notebook shows as stored."""
    import jupytext

    notebook = jupytext.read(ROOT / "notebooks" / "05_dice.py")
    names, stored = {}, None
    for cell in notebook.cells:
        if cell.cell_type != "code" or "setup" in cell.metadata.get("tags", []):
            continue
        if "40 epochs (stored)" in cell.source:
            stored = re.search(r"40 epochs \(stored\)\": \((.*)\),", cell.source).group(1)
            exec(cell.source.split("\n\n\n")[0], names)  # the function that scores
            break
        exec(cell.source.replace("epochs=8", "epochs=40"), names)
    for loss, shown in zip(("by_cross_entropy", "by_dice"), ast.literal_eval(stored), strict=True):
        found = names["scores_of"](names[loss])
        apart = np.abs(found - shown).max()
        result(f"chapter 5, 40 epochs, {loss}: within 0.1 of the stored", told(found), apart <= 0.1)


def five_starts():
    """Chapter 5's two short trainings from five starts: the scores that its notebook shows as stored."""
    import jupytext

    names, source = {}, (ROOT / "notebooks" / "05_dice.py").read_text(encoding="utf-8")
    for cell in jupytext.reads(source, fmt="py:percent").cells:
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            if "by_cross_entropy =" in cell.source:
                break
            exec(cell.source, names)
    stored = ast.literal_eval(re.search(r"^five_starts = (\{.*?^\})", source, flags=re.MULTILINE | re.DOTALL).group(1))
    losses = {"cross-entropy": "sparse_categorical_crossentropy", "Dice loss": names["dice_over_batch"]}
    for name, loss in losses.items():
        answers = [names["train"](loss, seed=seed).argmax(axis=-1) for seed in range(5)]
        for organ, shown in stored[name].items():
            number = [o.name for o in ORGANS].index(organ) + 1
            found = [dice(names["test_labels"] == number, answer == number) for answer in answers]
            what = f"chapter 5, {name}, {organ}: the mean of five starts within 0.2 of the stored"
            value = ", ".join(f"{score:.2f}" for score in found)
            result(what, value, abs(np.mean(found) - np.mean(shown)) <= 0.2)


def longer_augmentation():
    """Chapter 7's two trainings with 2000 steps: the scores that its notebook shows as stored."""
    import jupytext

    notebook, names, stored = jupytext.read(ROOT / "notebooks" / "07_augmentation.py"), {}, None
    for cell in notebook.cells:
        if cell.cell_type != "code" or "setup" in cell.metadata.get("tags", []):
            continue
        if "2000 steps (stored)" in cell.source:
            stored = re.search(r"stored = (\{.*?^\})", cell.source, flags=re.DOTALL | re.MULTILINE).group(1)
            break
        exec(cell.source.replace("steps=300", "steps=2000"), names)
    for name, shown in ast.literal_eval(stored).items():
        found = names["scores"][name]
        apart = max(np.abs(np.subtract(found[key], value)).max() for key, value in shown.items())
        what = f"chapter 7, 2000 steps, {name} augmentation: within 0.15 of the stored"
        result(what, {key: np.round(value, 2).tolist() for key, value in found.items()}, apart <= 0.15)


def over_fitting():
    """Chapter 8's two longer runs, on three and on thirty patients: the curves that its notebook shows as stored."""
    from organseg.training import train

    source = (ROOT / "notebooks" / "08_training.py").read_text(encoding="utf-8")
    stored = ast.literal_eval(re.search(r"^stored_runs = (\{.*?^\})", source, flags=re.MULTILINE | re.DOTALL).group(1))
    profile = PROFILES["lesson"].replace(steps=600, validate_every=50, augment=False)
    held_out = [make_phantom(seed, (64, 64, 64)) for seed in range(100, 103)]
    for name, curves in stored.items():
        patients = [make_phantom(seed, (64, 64, 64)) for seed in range(int(name.split()[0]))]
        _, history = train(patients, None, profile, held_out, progress=False)
        for key, shown in zip(("loss", "validation_loss"), curves, strict=True):
            found = [row[key] for row in history]
            result(
                f"chapter 8, {name}, {key}: the last three within 0.05 of the stored",
                ", ".join(f"{value:.2f}" for value in found), np.abs(np.subtract(found, shown))[-3:].max() <= 0.05,
            )  # fmt: skip


def script(what, name, count):
    """Run a script of the tests at its full length; its last line, or lines, are what was found."""
    command = [sys.executable, ROOT / "tests" / "command" / name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    result(what, "; ".join(lines) or done.stderr[-300:], done.returncode == 0)


def killed_trainings():
    """A training that is killed goes on as if it had not been."""
    script("trainings killed with -9 and resumed, against an unbroken one", "killed.py", 20)


def damaged_files():
    """A damaged file is a case or one line."""
    script("damaged volumes, and settings, weights and checkpoints", "mutated.py", 10_000)


def make(target, minutes_allowed, *options):
    """A target of the Makefile into an empty folder, the environment being there."""
    began = time.monotonic()
    done = subprocess.run(["make", target, *options], capture_output=True, text=True, cwd=ROOT)
    minutes = (time.monotonic() - began) / 60
    passed = minutes <= minutes_allowed and not done.returncode
    value = f"{minutes:.1f} minutes, exit {done.returncode}"
    result(f"make {target}: at most {minutes_allowed} minutes", value, passed)


def demo():
    """`make demo`: from phantoms to a table of scores."""
    with tempfile.TemporaryDirectory() as folder:
        make("demo", 6, f"RESULTS={folder}")


def course():
    """`make course`: every notebook, and the book."""
    with tempfile.TemporaryDirectory() as folder:
        make("course", 20, f"BUILD={folder}")


MEASUREMENTS = (
    fast,
    phantoms,
    full_size,
    training_memory,
    paper_pace,
    long_scan,
    large_scan,
    real_ct,
    patients,
    prepared_data,
    grids,
    speed,
    prepared_in_time,
    longer_training,
    five_starts,
    longer_augmentation,
    over_fitting,
    killed_trainings,
    damaged_files,
    demo,
    course,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {function.__name__: function for function in MEASUREMENTS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    chosen = parser.parse_args().names or list(names)
    if unknown := set(chosen) - set(names):
        parser.error(f"found {', '.join(sorted(unknown))}; expected some of {', '.join(names)}")
    warnings.simplefilter("ignore", OrgansegWarning)
    for name in chosen:
        if name in ("real_ct", "patients", "prepared_data", "grids") and not SHARED.is_dir():
            print(f"skip  {name}: no folder {SHARED}", flush=True)
            continue
        before = len(RESULTS)
        names[name]()
        record(name, RESULTS[before:])
    failed = sum(not passed for _, _, passed in RESULTS)
    print(f"\n{len(RESULTS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
