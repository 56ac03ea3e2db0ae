"""The same work by organseg and by others, one library in a process: what benchmarks/bench.py starts.

    python benchmarks/contestants.py LIBRARY TASK FOLDER

FOLDER holds the data that all work on (`bench.prepare`). After its preparations, which warm up and compile, the process
prints "ready"; then it does the work once for every line that it reads, and prints the seconds.
"""

import sys
import time
from pathlib import Path

import numpy as np

SIZE = 64  # voxels along a crop
DEGREES, CONTROL, SHIFT = 20.0, 4.0, 20.0  # the paper's warp: rotation, control points, translation


def load(folder):
    return np.load(Path(folder) / "data.npz")


# ---------------------------------------------------------------------------------------------------------- organseg


def scans_of(data):
    from organseg.scans import Scan

    image, label = data["image"], data["label"]
    names = [f"patient {n}" for n in range(len(image))]
    rows = zip(image, label, names, strict=True)
    return [Scan(i, v, np.ones(7, np.float32), np.diag([3.0, 3, 3, 1]), (3.0,) * 3, n, n) for i, v, n in rows]


def organseg_network(folder, dtype="float32"):
    from organseg import unet

    weights = np.load(Path(folder) / "weights.npz")
    filters = weights["arr_0"].shape[-1]
    network = unet(base_filters=filters, dtype=dtype)
    network.set_weights(list(weights.values()))
    return network


def organseg_warp(folder):
    """A crop as it is drawn in training, where the network computes."""
    import tensorflow

    from organseg.device.crops import DeviceCrops
    from organseg.sampling import CropSampler

    crops = DeviceCrops(CropSampler(scans_of(load(folder)), SIZE, batch_size=1))
    read = tensorflow.function(crops.read)

    def work(step):
        numbers, arrays = crops.draw([step])
        image, label, _ = read({name: rows[0] for name, rows in numbers.items()}, arrays)
        return np.asarray(image), np.asarray(label)

    return work


def organseg_warp_scipy(folder):
    """A crop as the course's text builds it, with SciPy."""
    from organseg.sampling import CropSampler

    return CropSampler(scans_of(load(folder)), SIZE, batch_size=1).batch


def organseg_step(folder):
    from organseg.device.steps import HostCrops, Steps
    from organseg.profiles import PROFILES
    from organseg.sampling import CropSampler
    from organseg.training import compile_for_training

    source = HostCrops(CropSampler(scans_of(load(folder)), SIZE, batch_size=1, augment=False))
    drawn = source.draw([0])
    steps = Steps(compile_for_training(organseg_network(folder), PROFILES["paper"]), source)
    return lambda step: steps.take(drawn)


def organseg_case(folder, dtype="float32"):
    from organseg.inference import predict_probabilities

    network, image = organseg_network(folder, dtype), load(folder)["image"][0]
    return lambda step: predict_probabilities(network, image)


# -------------------------------------------------------------------------------------------------------------- others


def tensors(folder):
    import torch

    data = load(folder)
    pair = {"image": data["image"][0][None], "label": data["label"][0][None]}
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in pair.items()}


def monai_warp(folder):
    """Crop first, then one warp with a field that is a smoothed noise; with a margin for the turn."""
    import monai.transforms as t

    keys, margin = ("image", "label"), 32
    chain = t.Compose([
        t.RandSpatialCropd(keys, (SIZE + margin,) * 3, random_size=False),
        t.Rand3DElasticd(
            keys, sigma_range=(5, 8), magnitude_range=(50, 150), spatial_size=(SIZE,) * 3, prob=1.0,
            rotate_range=(np.radians(DEGREES),) * 3, translate_range=(SHIFT,) * 3, mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
    ])  # fmt: skip
    pair = tensors(folder)
    return lambda step: chain(pair)


def torchio_warp(folder):
    """The whole scan is warped by a B-spline, as TorchIO's transforms do, then a crop is taken."""
    import torchio as tio

    pair = tensors(folder)
    subject = tio.Subject(image=tio.ScalarImage(tensor=pair["image"]), label=tio.LabelMap(tensor=pair["label"].to(int)))
    warp = tio.Compose([
        tio.RandomAffine(scales=0, degrees=DEGREES, translation=SHIFT),
        tio.RandomElasticDeformation(num_control_points=8, max_displacement=CONTROL),
    ])  # fmt: skip
    crop = tio.data.UniformSampler(SIZE)
    return lambda step: next(crop(warp(subject), 1))


def batchgeneratorsv2_warp(folder):
    """nnU-Net's spatial transform: crop, deformation and turn in one reading."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    warp = SpatialTransform(
        (SIZE,) * 3, 0, random_crop=True, p_elastic_deform=1, p_rotation=1,
        rotation=(-np.radians(DEGREES), np.radians(DEGREES)), mode_seg="nearest",
    )  # fmt: skip
    pair = tensors(folder)
    return lambda step: warp(image=pair["image"], segmentation=pair["label"].short())


def torch_network(folder):
    import torch
    from torch_twin import UNet, load_keras

    weights = list(np.load(Path(folder) / "weights.npz").values())
    network = UNet(base_filters=weights[0].shape[-1])
    load_keras(network, weights)
    return network.to(memory_format=torch.channels_last_3d)


def torch_step(folder):
    import torch
    from torch_twin import training_step

    pair = tensors(folder)
    corner = (slice(None), *(slice(0, SIZE),) * 3)
    image = pair["image"][corner][None].to(memory_format=torch.channels_last_3d)
    step = training_step(torch_network(folder))
    return lambda number: float(step(image, pair["label"][corner].long()))


def torch_case(folder, precision=None, through=None):
    import torch

    network, image = torch_network(folder).eval(), tensors(folder)["image"][None]
    image = image.to(memory_format=torch.channels_last_3d)
    half = {"enabled": precision is not None, "dtype": precision or torch.bfloat16}

    def work(step):
        with torch.inference_mode(), torch.autocast("cpu", **half):
            scores = through(image, network) if through else network(image)
            torch.softmax(scores.float(), 1).numpy()

    return work


def monai_case(folder, overlap, precision=None):
    from monai.inferers import sliding_window_inference

    def windows(image, network):
        return sliding_window_inference(image, (SIZE,) * 3, 1, network, overlap=overlap, mode="gaussian")

    return torch_case(folder, precision, windows)


def bfloat16():
    import torch

    return torch.bfloat16


TASKS = {
    "warp": {
        "organseg": organseg_warp,
        "organseg, SciPy": organseg_warp_scipy,
        "MONAI": monai_warp,
        "TorchIO": torchio_warp,
        "batchgeneratorsv2": batchgeneratorsv2_warp,
    },
    "step": {"organseg": organseg_step, "PyTorch": torch_step},
    "case": {
        "organseg": organseg_case,
        "PyTorch": torch_case,
        "MONAI, overlap 0.25": lambda folder: monai_case(folder, 0.25),
        "MONAI, overlap 0.5": lambda folder: monai_case(folder, 0.5),
    },
    "case, bfloat16": {
        "organseg": lambda folder: organseg_case(folder, "mixed_bfloat16"),
        "PyTorch": lambda folder: torch_case(folder, bfloat16()),
        "MONAI, overlap 0.25": lambda folder: monai_case(folder, 0.25, bfloat16()),
        "MONAI, overlap 0.5": lambda folder: monai_case(folder, 0.5, bfloat16()),
    },
}


def main():
    library, task, folder = sys.argv[1:]
    work = TASKS[task][library](folder)
    work(0)  # compiles, fills caches
    print("ready", flush=True)
    for step, _ in enumerate(sys.stdin, start=1):
        began = time.perf_counter()
        work(step)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
