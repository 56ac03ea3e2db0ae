"""What a GPU makes of the library, in at most eight minutes: `make gpu-check`.

Written for KERAS_BACKEND=jax. Everything is run from the full network on crops of 64³ voxels:

    steps     median and 95th percentile of a training step, float32, float16, bfloat16, from real and from ready-made
              crops; TFLOP per second, share of the card's peak, memory
    case      a volume of 128×128×160 voxels through the network, with its transfers
    torch     the same network and ready-made crops in PyTorch: channels-last, autocast, compiled
    train     1,500 steps of the profile `gpu` on phantoms, and its Dice

Each line is printed as soon as it is known and kept in benchmarks/measured.json, with the card's name. On a CPU
(`--small`) it only shows that the script runs.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "benchmarks" / "measured.json"
# Dense peaks by the maker's data sheets, TFLOP per second; float32 products are made in TF32.
PEAKS = {"H100": (494, 989, 989), "H200": (494, 989, 989), "A100": (156, 312, 312), "T4": (8.1, 65, None)}
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
LINES = {}


def tell(what, value):
    """Print a line, and keep it."""
    LINES[what] = value
    print(f"{what}: {value}", flush=True)


def keep(device, store):
    """Write the lines so far beside the others, in the place of those of an earlier run on this card."""
    known = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    lines = {what: {"value": value, "passed": True} for what, value in LINES.items()}
    known["gpu"] = {"date": datetime.date.today().isoformat(), "machine": device, "lines": lines}
    store.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


class Ready:
    """Ready-made crops: the same batch for every step, already on the device."""

    def __init__(self, source):
        self.batch = source.batch(0)

    def draw(self, steps):
        return {"step": np.array(steps)}, self.batch

    def read(self, numbers, batch):
        return batch


def pace(segmenter, source, calls, at_once):
    """Seconds per step of each call, after two that compile and warm up."""
    from organseg.device.steps import Steps, prefetch

    steps, seconds = Steps(segmenter, source, at_once), []
    each = [range(n * at_once, (n + 1) * at_once) for n in range(calls + 2)]
    began = time.perf_counter()
    for call, drawn in enumerate(prefetch(source.draw, each)):
        losses = steps.take(drawn)
        seconds.append((time.perf_counter() - began) / at_once)
        began = time.perf_counter()
        assert np.isfinite(losses).all() or call < 2, losses
    return np.array(seconds[2:])


def measure_steps(scans, size, filters, calls, at_once, peaks):
    from organseg import unet
    from organseg.course.costs import training_flops
    from organseg.device.crops import DeviceCrops
    from organseg.profiles import PROFILES
    from organseg.sampling import CropSampler
    from organseg.training import compile_for_training

    sampler = CropSampler(scans, size, organ_share=0.5)
    source = DeviceCrops(sampler)
    ready = Ready(source)
    for precision, peak in zip(PRECISIONS, peaks, strict=True):
        network = unet(base_filters=filters, dtype=precision)
        segmenter = compile_for_training(network, PROFILES["gpu"])
        real = pace(segmenter, source, calls, at_once)
        made = pace(segmenter, ready, calls, at_once)
        ms = 1000 * np.median(real)
        tell(f"step, {precision}, ms: median, p95", f"{ms:.1f}, {1000 * np.percentile(real, 95):.1f}")
        tell(f"step, {precision}: real / ready-made crops", f"{np.median(real) / np.median(made):.3f}")
        speed = training_flops(network, size, batch_size=3) / 1e12 / np.median(real)
        share = f", {speed / peak:.0%} of the data sheet's {peak}" if peak else ""
        tell(f"step, {precision}: TFLOP/s", f"{speed:.1f}{share}")
        tell(f"50,000 steps, {precision}, minutes", f"{50_000 * np.median(real) / 60:.1f}")
        tell(f"after {precision}: most memory, GB", memory())


def memory():
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return f"{stats.get('peak_bytes_in_use', 0) / 1e9:.1f}"


def measure_case(shape, filters):
    from organseg import unet
    from organseg.inference import predict_probabilities

    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    for precision in PRECISIONS:
        network = unet(base_filters=filters, dtype=precision)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            predict_probabilities(network, image)
            seconds.append(time.perf_counter() - began)
        tell(f"a case of {'×'.join(map(str, shape))}, {precision}, ms", f"{1000 * np.median(seconds[1:]):.0f}")


def measure_training(steps, shape, store):
    import organseg

    began = time.monotonic()
    cases = [organseg.make_phantom(seed, shape) for seed in range(24)]
    tell("24 phantoms drawn in, s", f"{time.monotonic() - began:.0f}")
    profile = organseg.PROFILES["gpu"].replace(steps=steps, validate_every=max(1, steps // 3))
    began = time.monotonic()
    run, history = organseg.train(cases[:20], store, profile, validation=cases[20:], progress=False)
    tell(f"{steps} steps of `gpu` on 20 phantoms, with validation, s", f"{time.monotonic() - began:.0f}")
    for row in history:
        organs = {name.removeprefix("dice_"): round(value, 2) for name, value in row.items() if "dice" in name}
        mean = np.nanmean(list(organs.values()))
        tell(f"after {row['step']} steps ({row['seconds']:.0f} s): mean Dice of 4 others", f"{mean:.3f} {organs}")


def measure_torch(size, filters, steps):
    """In a process of its own, so that neither framework holds memory that the other needs."""
    import torch
    from torch_twin import UNet, training_step

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    images = torch.rand(3, 1, size, size, size, device=device).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 8, (3, size, size, size), device=device)
    for precision in ("float32", "float16", "bfloat16"):
        for compiled in (False, True):
            name = f"PyTorch {torch.__version__}, {precision}{', compiled' if compiled else ''}: step, ms"
            try:
                network = UNet(base_filters=filters).to(device).to(memory_format=torch.channels_last_3d)
                step, times = training_step(network, precision, compiled), []
                for _ in range(steps + 5):
                    began = time.perf_counter()
                    step(images, labels)
                    if device == "cuda":
                        torch.cuda.synchronize()
                    times.append(time.perf_counter() - began)
                print(f"{name}: {1000 * np.median(times[5:]):.1f}", flush=True)
            except Exception as error:  # such as no compiler on the machine
                print(f"{name}: none ({type(error).__name__}: {str(error)[:80]!r})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="steps, case, torch, train; all by default")
    parser.add_argument("--small", action="store_true", help="see that it runs: two filters, small crops, few steps")
    parser.add_argument("--out", type=Path, default=None, help="also keep the lines and the trained run here")
    options = parser.parse_args()
    parts = options.parts or ["steps", "case", "torch", "train"]
    size, filters, calls, at_once = (16, 2, 2, 1) if options.small else (64, 32, 8, 25)
    if parts == ["torch-alone"]:
        return measure_torch(size, filters, 3 if options.small else 60)
    began = time.monotonic()
    import jax
    import keras

    import organseg
    from organseg.scans import to_scan

    card = jax.devices()[0].device_kind
    device = f"{card}, JAX {jax.__version__}, Keras {keras.__version__}, Python {platform.python_version()}"
    tell("machine", device)
    peaks = next((peaks for name, peaks in PEAKS.items() if name in card), (None, None, None))
    store = options.out / "measured.json" if options.out else STORE
    whole = (32, 32, 40) if options.small else (128, 128, 160)
    for part in parts:
        if part == "torch":
            command = [sys.executable, __file__, "torch-alone", *["--small"] * options.small]
            environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
            found = subprocess.run(command, env=environment, capture_output=True, text=True)
            for line in found.stdout.splitlines():
                tell(*line.rsplit(": ", 1))
        elif part == "steps":
            scans = [to_scan(organseg.make_phantom(seed, whole)) for seed in range(6)]
            measure_steps(scans, size, filters, calls, at_once, peaks)
        elif part == "case":
            measure_case(whole, filters)
        elif part == "train":
            measure_training(3 if options.small else 1500, whole, options.out and options.out / "run")
        tell(f"{part}: done after, s", f"{time.monotonic() - began:.0f}")
        keep(device, store)


if __name__ == "__main__":
    main()
