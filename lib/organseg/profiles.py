"""How long and how large a training is: four profiles, and what hardware they are for."""

import os
from dataclasses import dataclass
from pathlib import Path

from organseg.backend import keras


@dataclass(frozen=True)
class Profile:
    """The settings of one training run. Only `paper` is the paper's; the others say in what they
    depart from it."""

    name: str
    crop_size: int = 64  # voxels per axis
    batch_size: int = 3  # crops, from as many patients
    base_filters: int = (
        32  # of the network's first convolution; 32 gives the paper's 19 M parameters
    )
    spacing: float | None = None  # mm of the working grid; None: the paper's factor 4, or else 3 mm
    steps: int = 50_000
    learning_rate: float = 1e-2
    schedule: bool = (
        False  # True: the learning rate falls to zero along a cosine; the paper names no schedule
    )
    organ_share: float = 0.0  # crops that are centred on an organ; 0: anywhere, as in the paper
    augment: bool = True
    batch_sum: bool = False  # equation (1) summed over the batch's images instead of per image
    precision: str = "float32"  # 'auto': half precision where a GPU is
    validate_every: int = 1000  # steps between validations and checkpoints


PROFILES = {
    profile.name: profile
    for profile in (
        # A live cell: at most 40 s on two cores.
        Profile("lesson", crop_size=32, base_filters=4, spacing=6.0, steps=120, schedule=True, organ_share=0.5,
                batch_sum=True, validate_every=60),
        # Two CPU cores, small phantoms: two minutes.
        Profile("fast", crop_size=32, base_filters=8, spacing=6.0, steps=300, schedule=True, organ_share=0.5,
                batch_sum=True, validate_every=100),
        # A course-length run of the full network on a Colab T4.
        Profile("gpu", steps=4000, schedule=True, organ_share=0.5, precision="auto", validate_every=500),
        # Roth et al. 2018, II: nothing changed.
        Profile("paper"),
    )
}  # fmt: skip


def choose_profile():
    """The profile for this machine: the environment variable ORGANSEG_PROFILE, or `gpu` with a GPU,
    else `fast`."""
    return os.environ.get("ORGANSEG_PROFILE") or ("gpu" if has_gpu() else "fast")


def has_gpu():
    """True where Keras' backend sees a GPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import torch

    return torch.cuda.is_available()


def training_precision(precision):
    """A Keras dtype policy from a profile's precision: 'auto' is float16 with loss scaling on a
    GPU, else float32."""
    if precision == "auto":
        return "mixed_float16" if has_gpu() else "float32"
    return precision


def cpu_has_bfloat16():
    """True where the CPU multiplies bfloat16 numbers itself (AVX-512 BF16 or AMX); elsewhere they
    would be slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
