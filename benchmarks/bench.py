"""organseg beside others who do the same, in turn, on the same data and network: `make bench`.

    warp              a crop of 64³ voxels with its labels, cut, turned, moved and bent
    step              a training step of the full network on one crop of 64³, float32
    case              128×128×160 voxels through the full network; MONAI's inferer in overlapping windows of 64³
    case, bfloat16    the same in bfloat16
    start             what `import organseg` and the command line take
    scaling           organseg alone: step and case against size, width, classes and cases, with the fitted exponents

The book's page about speed takes its tables and picture from what is kept.

Every library has a process of its own (benchmarks/contestants.py). In each round every one of them does the work once,
so that a busy minute of the machine meets all. Medians, with the fastest and the slowest round, are kept in
benchmarks/bench.json.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from organseg.device.precision import resolve_precision

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "benchmarks" / "bench.json"
OTHERS = ROOT / ".venv-bench" / "bin" / "python"
CONTESTANTS = ROOT / "benchmarks" / "contestants.py"
ROUNDS = {"warp": (20, 10), "step": (5, 3), "case": (3, 2), "case, bfloat16": (3, 2)}  # all, --quick
WIDTH, SHAPE = (32, 8), ((128, 128, 160), (96, 96, 96))


def prepare(folder, quick):
    """Two phantoms on the working grid, 0…1, and the weights of a network."""
    from organseg import make_phantom, to_scan, unet

    scans = [to_scan(make_phantom(seed, SHAPE[quick])) for seed in (7000, 7001)]
    arrays = {"image": [scan.image for scan in scans], "label": [scan.label for scan in scans]}
    np.savez(folder / "data.npz", **arrays)
    np.savez(folder / "weights.npz", *unet(base_filters=WIDTH[quick]).get_weights())


class Contestant:
    """A library at one task, waiting for its turns."""

    def __init__(self, library, task, folder):
        python = sys.executable if library.startswith("organseg") else str(OTHERS)
        command = [python, str(CONTESTANTS), library, task, str(folder)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "lib"), "PYTHONWARNINGS": "ignore"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.library, self.seconds = library, []
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.answer("ready")

    def answer(self, expected=None):
        for line in self.process.stdout:
            if line.strip() == expected or expected is None:
                return line
        sys.exit(f"{self.library} ended:\n{self.process.stderr.read()[-2000:]}")

    def turn(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.answer()))

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compete(task, folder, rounds):
    """The task's libraries in turn: a row for each, ours first."""
    from contestants import TASKS

    contestants = [Contestant(library, task, folder) for library in TASKS[task]]
    for _ in range(rounds):
        for contestant in contestants:
            contestant.turn()
    ours, rows = np.median(contestants[0].seconds), {}
    for contestant in contestants:
        contestant.end()
        median = np.median(contestant.seconds)
        rows[contestant.library] = {
            "seconds": float(f"{median:.4g}"),
            "fastest": float(f"{min(contestant.seconds):.4g}"),
            "slowest": float(f"{max(contestant.seconds):.4g}"),
            "times ours": float(f"{median / ours:.3g}"),
        }
        print(f"{task:16}{contestant.library:22}{1000 * median:10.1f} ms{median / ours:8.2f}", flush=True)
    return rows


def machine_limits():
    """What the machine can do at most: FLOP per second of a large product, bytes per second of a large copy."""
    from organseg.backend import keras

    a, copy = np.random.default_rng(0).random((4096, 4096), dtype=np.float32), np.ones(2**26, np.float32)
    tensor = keras.ops.convert_to_tensor(a)
    ways = (lambda: a @ a, lambda: np.asarray(keras.ops.matmul(tensor, tensor)))  # NumPy's, and that of the network
    product = min(timed(way) for way in ways for _ in range(8))
    moved = min(timed(lambda: copy.copy()) for _ in range(5))
    return 2 * len(a) ** 3 / product, 2 * copy.nbytes / moved


def limits(quick):
    """For step and case, the seconds that no program can beat here: by arithmetic, and by memory."""
    from organseg import layer_costs, training_flops, unet

    rate, bandwidth = machine_limits()
    network, shape = unet(base_filters=WIDTH[quick]), SHAPE[quick]
    voxels = np.prod(shape) / 64**3
    layers = layer_costs(network, 64)
    flops = sum(layer.flops for layer in layers)
    # Every convolution's output has to be written once and read once; all else may be done on the way.
    moved = 2 * sum(layer.bytes for layer in layers if layer.flops)
    rows = {"matrix rate, GFLOP/s": rate / 1e9, "bandwidth, GB/s": bandwidth / 1e9}
    rows |= {"step, by arithmetic": training_flops(network, 64) / rate, "step, by memory": 3 * moved / bandwidth}
    rows |= {"case, by arithmetic": voxels * flops / rate, "case, by memory": voxels * moved / bandwidth}
    return {name: float(f"{value:.3g}") for name, value in rows.items()}


def start(repeats):
    """Seconds of imports and of the command line, each in a new process."""
    from organseg import make_phantom, save_image

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phantom.nii.gz"
        case = make_phantom(0, (64, 64, 64))
        save_image(case.image, case.affine, file)
        organseg = [sys.executable, "-m", "organseg"]
        commands = {
            "import keras": [sys.executable, "-c", "from organseg.backend import keras"],
            "import organseg, training and all": [sys.executable, "-c", "import organseg; organseg.train"],
            "organseg --help": [*organseg, "--help"],
            "organseg info": [*organseg, "info", str(file)],
        }
        runs = [[timed(lambda c=c: subprocess.run(c, capture_output=True, check=True)) for c in commands.values()]
                for _ in range(repeats + 1)]  # fmt: skip
    rows = dict(zip(commands, np.median(runs[1:], axis=0).round(2).tolist(), strict=True))
    for name, seconds in rows.items():
        print(f"start           {name:34}{seconds:8.2f} s", flush=True)
    return rows


def scaling():
    """Seconds of a step and of a case against one size at a time, and the exponent of the fitted power."""
    from organseg import unet
    from organseg.device.steps import HostCrops, Steps
    from organseg.inference import predict_probabilities
    from organseg.profiles import PROFILES
    from organseg.training import compile_for_training

    def step(size=32, width=8, classes=8, batch=1):
        images = np.ones((1, batch, size, size, size, 1), np.float32)
        labels, annotated = images[..., 0].astype(np.uint8), np.ones((1, batch, classes - 1), np.float32)
        network = unet(classes, base_filters=width)
        steps = Steps(compile_for_training(network, PROFILES["paper"]), HostCrops(None))
        return lambda: steps.take(((images, labels, annotated), ()))

    def case(size=64, width=8, classes=8):
        network, image = unet(classes, base_filters=width), np.ones((size,) * 3, np.float32)
        return lambda: predict_probabilities(network, image)

    rows = {}
    for name, work, values in (
        ("step, voxels along a crop", lambda n: step(size=n), (16, 24, 32, 48, 64)),
        ("step, width", lambda n: step(width=n), (4, 8, 16, 32)),
        ("step, classes", lambda n: step(classes=n), (2, 8, 32)),
        ("step, crops", lambda n: step(batch=n), (1, 2, 4, 8)),
        ("case, voxels along an edge", lambda n: case(size=n), (32, 48, 64, 96, 128)),
        ("case, width", lambda n: case(width=n), (4, 8, 16, 32)),
        ("case, classes", lambda n: case(classes=n), (2, 8, 32)),
    ):
        seconds = []
        for value in values:
            once = work(value)
            once()
            seconds.append(float(f"{np.median([timed(once) for _ in range(5)]):.3g}"))
        exponent = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        rows[name] = {"at": list(values), "seconds": seconds, "exponent": float(exponent.round(2))}
        print(f"scaling         {name:30}{exponent:6.2f}  {seconds}", flush=True)
    return rows


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tables(stored):
    """The book's tables, rows of text under their headings, by the name of the file."""
    tasks = [["task", "library", "seconds (median)", "fastest to slowest", "times ours"]]
    for task, libraries in stored["tasks"].items():
        for library, row in libraries.items():
            spread = f"{row['fastest']:.3g} to {row['slowest']:.3g}"
            times = f"{row['times ours']:.2f}" if row["times ours"] < 10 else f"{row['times ours']:.0f}"
            tasks.append([task, library, f"{row['seconds']:.3g}", spread, times])
    limits = [["", "by arithmetic (s)", "by memory (s)", "measured (s)", "share of the limit"]]
    for task in ("step", "case"):
        by = [stored["limits"][f"{task}, by {what}"] for what in ("arithmetic", "memory")]
        measured = stored["tasks"][task]["organseg"]["seconds"]
        limits.append([task, *(f"{seconds:.2g}" for seconds in (*by, measured)), f"{max(by) / measured:.0%}"])
    grows = [["what grows", "from … to", "seconds", "exponent"]]
    for name, row in stored["scaling"].items():
        (least, most), (fast, slow) = ((row[what][0], row[what][-1]) for what in ("at", "seconds"))
        grows.append([name, f"{least} to {most}", f"{fast:.2g} to {slow:.2g}", f"{row['exponent']:.2f}"])
    begins = [["what is started", "seconds"], *([f"`{name}`", f"{row:.2f}"] for name, row in stored["start"].items())]
    return {"bench": tasks, "bench_limits": limits, "bench_scaling": grows, "bench_start": begins}


def page(stored):
    """Write the book's tables and picture."""
    import csv

    import matplotlib.pyplot as plt

    for name, rows in tables(stored).items():
        with (ROOT / "book" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    tasks = stored["tasks"]
    heights = [len(libraries) for libraries in tasks.values()]
    figure, panels = plt.subplots(
        len(tasks), 1, figsize=(7, 0.7 * len(tasks) + 0.33 * sum(heights)), layout="constrained", height_ratios=heights
    )
    for panel, (task, libraries) in zip(panels, tasks.items(), strict=True):
        names, each = list(libraries)[::-1], list(libraries.values())[::-1]
        median = np.array([row["seconds"] for row in each])
        ends = [median - [row["fastest"] for row in each], [row["slowest"] for row in each] - median]
        colours = ["#0072b2" if name.startswith("organseg") else "0.75" for name in names]
        panel.barh(names, median, xerr=ends, color=colours, capsize=3)
        if limit := stored["limits"].get(f"{task}, by arithmetic"):
            panel.axvline(limit, color="#d55e00", ls="--")
            panel.text(limit, len(names) - 0.45, " the machine's limit", color="#d55e00", va="bottom", size=8)
        log = median.max() > 20 * median.min()
        panel.set_xscale("log" if log else "linear")
        panel.set_title(task, size=10, loc="left")
        panel.set_xlabel("seconds, on a logarithmic axis" if log else "seconds", size=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "book" / "images" / "bench.svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join([*ROUNDS, 'start', 'scaling'])}; all by default")
    parser.add_argument("--quick", action="store_true", help="an eighth of the width, fewer rounds; nothing is stored")
    options = parser.parse_args()
    found = json.loads(STORE.read_text(encoding="utf-8")) if STORE.is_file() and not options.quick else {"tasks": {}}
    parts = options.parts or [*ROUNDS, "start", "scaling"]
    found |= {"machine": machine(), "date": datetime.date.today().isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.quick)
        found["limits"] = limits(options.quick)
        for part in parts:
            if part == "case, bfloat16" and resolve_precision("auto") != "mixed_bfloat16":
                print(f"skip  {part}: this processor does not multiply it")
            elif part in ROUNDS:
                found["tasks"][part] = compete(part, folder, ROUNDS[part][options.quick])
            elif part == "start":
                found["start"] = start(2 if options.quick else 5)
            elif part == "scaling" and not options.quick:
                found["scaling"] = scaling()
            if not options.quick:
                STORE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["limits"])
    if not options.quick and {*ROUNDS, "start", "scaling"} - {"case, bfloat16"} <= {*found["tasks"], *found}:
        page(found)


def machine():
    """The processor and the versions that all this was measured with."""
    import keras
    import tensorflow

    asked = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in "
    asked += "('monai', 'torchio', 'batchgeneratorsv2', 'torch')), sep=', ')"
    others = subprocess.run([OTHERS, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    multiplies = "with" if resolve_precision("auto") == "mixed_bfloat16" else "without"
    cores = f"{os.cpu_count()} CPU cores {multiplies} bfloat16"
    return f"{cores}, Keras {keras.__version__}, TensorFlow {tensorflow.__version__}, {others}"


if __name__ == "__main__":
    main()
