"""Before a long training: what a step takes on this machine, and so what the whole of it would
take.

A training of days should not begin with a guess. `check_machine` builds the network of a profile,
takes real steps on crops of phantoms for as long as it is given, and counts up to the profile's
steps and the paper's 50,000 (II.D).
"""

import os
import statistics
import threading
import time
from dataclasses import dataclass

import psutil

from organseg import runs
from organseg.backend import keras
from organseg.organs import NUM_CLASSES
from organseg.phantom import make_phantom
from organseg.profiles import PROFILES, Profile, choose_profile, has_gpu, training_precision
from organseg.sampling import CropSampler
from organseg.training import compiled

ITERATIONS = 50_000  # of the paper (II.D)


@dataclass(frozen=True)
class Pace:
    """What was measured; printed, it says so in four lines.

    Attributes
    ----------
    profile : Profile
    device : str, what computed
    precision : str, the Keras dtype policy it computed in
    parameters : int, trainable ones
    first_seconds : float, the first step, which builds the graph as well
    step_seconds : list of float, each step after it
    crop_seconds : float, to draw and warp one mini-batch
    memory_gb : float, the most that was held while training: of the GPU, or by the whole process (1
        GB: 10⁹ bytes)
    """

    profile: Profile
    device: str
    precision: str
    parameters: int
    first_seconds: float
    step_seconds: list
    crop_seconds: float
    memory_gb: float

    @property
    def seconds_per_step(self):
        """The median step, or the drawing of its crops where that takes longer: a thread does it
        meanwhile."""
        return max(statistics.median(self.step_seconds), self.crop_seconds)

    def hours(self, steps=ITERATIONS):
        """Hours that so many steps would take at this pace, without validation."""
        return (self.first_seconds + (steps - 1) * self.seconds_per_step) / 3600

    def __str__(self):
        profile, step = self.profile, statistics.median(self.step_seconds)
        return (
            f"profile {profile.name}: {profile.batch_size} crops of {profile.crop_size}³ voxels, "
            f"{self.parameters:,} parameters, {self.precision}, on {self.device}\n"
            f"time     {1000 * step:.0f} ms per step ({len(self.step_seconds)} steps after a first one of "
            f"{self.first_seconds:.1f} s), {1000 * self.crop_seconds:.0f} ms to draw its crops meanwhile\n"
            f"memory   {self.memory_gb:.1f} GB\n"
            f"so       {_told(self.hours(profile.steps))} for the profile's {profile.steps:,} steps, "
            f"{_told(self.hours())} for {ITERATIONS:,}, without validation"
        )


def check_machine(profile=None, seconds=60):
    """Measure what a training step takes here.

    Parameters
    ----------
    profile : name in `PROFILES` or Profile; by default the one for this machine
    seconds : when to stop. The first step and two more are always taken, however long they last.

    Returns
    -------
    Pace
    """
    ends = time.monotonic() + seconds
    profile = profile if isinstance(profile, Profile) else PROFILES[profile or choose_profile()]
    sampler = CropSampler(
        [make_phantom(seed, (max(64, profile.crop_size),) * 3) for seed in range(profile.batch_size)],
        profile.crop_size, profile.batch_size, profile.organ_share, profile.augment,
    )  # fmt: skip
    drawing, (images, labels, annotated) = _timed(sampler.batch, 0)
    with PeakMemory() as memory:
        network = runs.build(
            {
                "network": "unet",
                "num_classes": NUM_CLASSES,
                "base_filters": profile.base_filters,
                "levels": 4,
            },
            dtype=training_precision(profile.precision),
        )
        segmenter = compiled(network, profile)
        times = []
        while len(times) < 3 or time.monotonic() + times[-1] < ends:
            # The loss becomes a number here: on a GPU the step has ended only then.
            times.append(
                _timed(lambda: float(segmenter.train_on_batch(images, (labels, annotated))))[0]
            )
    parameters = sum(int(keras.ops.size(weight)) for weight in network.trainable_weights)
    device = "a GPU" if has_gpu() else f"a CPU ({os.cpu_count()} cores)"
    precision = network.layers[1].dtype_policy.name
    return Pace(
        profile, device, precision, parameters, times[0], times[1:], drawing, memory.bytes / 1e9
    )


def _told(hours):
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


class PeakMemory:
    """The most memory that the process holds while a block of code runs, in `bytes`.

    On a GPU it is the peak that the framework reports; else the resident memory, looked at 20 times
    a second.
    """

    def __enter__(self):
        self.stopped, self.peak = threading.Event(), 0
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self):
        while True:
            self.peak = max(self.peak, psutil.Process().memory_info().rss)
            if self.stopped.wait(0.05):
                return

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self.bytes = _peak_of_gpu() if has_gpu() else self.peak


def _peak_of_gpu():
    """The most that the framework has held on the first GPU since the process began."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    import torch

    return torch.cuda.max_memory_allocated()
