"""Before a long training: what a step takes on this machine, and so what the whole would take.

A training of days should not begin with a guess. `measure_pace` builds the network of a profile,
takes real steps on crops of phantoms for as long as it is given, and counts up to the profile's
steps and the paper's 50,000 (II.D).
"""

import os
import statistics
import threading
import time
from dataclasses import dataclass

import psutil

from organseg.backend import has_gpu, keras, resolve_precision
from organseg.networks import unet
from organseg.phantom import make_phantom
from organseg.profiles import Profile, find_profile
from organseg.sampling import CropSampler
from organseg.scans import to_scan
from organseg.training import compile_for_training

ITERATIONS = 50_000  # of the paper (II.D)


@dataclass(frozen=True)
class Pace:
    """What was measured; printed, it says so in four lines.

    Attributes
    ----------
    profile : Profile
    device, precision : str, what computed, and in which Keras dtype policy
    parameters : int, trainable ones
    first_seconds : float, the first step, which builds the graph as well
    step_seconds : list of float, each step after it
    crop_seconds : float, to draw and warp one mini-batch
    memory_gb : float, the most that was held while training: of the GPU, or by the whole process
        (1 GB: 10⁹ bytes)
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
        """The median step, or the drawing of its crops meanwhile, whichever is longer."""
        return max(statistics.median(self.step_seconds), self.crop_seconds)

    def hours(self, steps=ITERATIONS):
        """Hours that so many steps would take at this pace, without validation."""
        return (self.first_seconds + (steps - 1) * self.seconds_per_step) / 3600

    def __str__(self):
        p, step, count = self.profile, statistics.median(self.step_seconds), len(self.step_seconds)
        return (
            f"profile {p.name}: {p.batch_size} crops of {p.crop_size}³ voxels, "
            f"{self.parameters:,} parameters, {self.precision}, on {self.device}\n"
            f"time     {1000 * step:.0f} ms per step ({count} steps after a first one of "
            f"{self.first_seconds:.1f} s), {1000 * self.crop_seconds:.0f} ms to draw its crops "
            f"meanwhile\nmemory   {self.memory_gb:.1f} GB\n"
            f"so       {_in_words(self.hours(p.steps))} for the profile's {p.steps:,} steps, "
            f"{_in_words(self.hours())} for {ITERATIONS:,}, without validation"
        )


def measure_pace(profile=None, seconds=60):
    """Measure what a training step takes here.

    Parameters
    ----------
    profile : name in `PROFILES` or Profile; by default the one for this machine
    seconds : when to stop; the first step and two more are always taken, however long they last

    Returns
    -------
    Pace

    >>> pace = measure_pace(find_profile("lesson").replace(base_filters=1, crop_size=16), seconds=1)
    >>> len(pace.step_seconds) >= 2, pace.hours(1_000_000) > pace.hours()
    (True, True)
    """
    ends = time.monotonic() + seconds
    profile = find_profile(profile)
    size = max(64, profile.crop_size)
    phantoms = [make_phantom(seed, (size,) * 3) for seed in range(profile.batch_size)]
    sampler = CropSampler([to_scan(phantom) for phantom in phantoms], **profile.crops)
    drawing, batch = _timed(sampler.batch, 0)
    precision = resolve_precision(profile.precision, training=True)
    with PeakMemory() as memory:
        network = unet(base_filters=profile.base_filters, dtype=precision)
        segmenter = compile_for_training(network, profile)
        times = []
        while len(times) < 3 or time.monotonic() + times[-1] < ends:
            # The loss becomes a number here: on a GPU the step has ended only then.
            times.append(_timed(segmenter.step, *batch)[0])
    parameters = sum(int(keras.ops.size(weight)) for weight in network.trainable_weights)
    device = "a GPU" if has_gpu() else f"a CPU ({os.cpu_count()} cores)"
    held = memory.bytes / 1e9
    return Pace(profile, device, precision, parameters, times[0], times[1:], drawing, held)


def _in_words(hours):
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


class PeakMemory:
    """The most memory that is held while a block of code runs, in `bytes`.

    On a GPU it is the peak that the framework reports; else the resident memory of this process,
    looked at 20 times a second. With `children`, it is that of the processes it has started.
    """

    def __init__(self, children=False):
        self.children, self.bytes = children, 0

    def __enter__(self):
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def _look(self):
        while True:
            own = psutil.Process()
            total = 0
            for process in own.children(recursive=True) if self.children else [own]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it has ended meanwhile
                    continue
            self.bytes = max(self.bytes, total)
            if self.stopped.wait(0.05):
                return

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        if has_gpu() and not self.children:
            self.bytes = _peak_of_gpu()


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
