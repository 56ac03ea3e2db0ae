"""Before a long training: what a step takes on this machine, and so what the whole would take."""

import itertools
import os
import time
from dataclasses import dataclass

import numpy as np

from organseg.backend import has_gpu
from organseg.device.crops import DeviceCrops
from organseg.device.memory import peak_memory
from organseg.device.precision import resolve_precision
from organseg.device.steps import Steps, prefetch
from organseg.networks import unet
from organseg.phantom import make_phantom
from organseg.profiles import Profile, find_profile
from organseg.sampling import CropSampler
from organseg.scans import to_scan
from organseg.show.architecture import count
from organseg.training import compile_for_training

ITERATIONS = 50_000  # of the paper (II.D)


@dataclass(frozen=True)
class Pace:
    """What was measured; printed, it says so in four lines."""

    profile: Profile
    device: str  #: what computed
    precision: str  #: in which Keras dtype policy
    parameters: int  #: trainable ones
    first_seconds: float  #: the first call of steps, which is compiled as well
    step_seconds: list  #: a step of each call after it, the drawing of its crops included
    memory_gb: float  #: the most held while training, of the GPU or by the process; GB: 10⁹ bytes

    @property
    def seconds_per_step(self):
        """The median step."""
        return float(np.median(self.step_seconds))

    def hours(self, steps=ITERATIONS):
        """Hours that so many steps would take at this pace, without validation."""
        return (self.first_seconds + (steps - 1) * self.seconds_per_step) / 3600

    def __str__(self):
        p = self.profile
        return (
            f"profile {p.name}: {p.batch_size} crops of {p.crop_size}³ voxels, "
            f"{self.parameters:,} parameters, {self.precision}, on {self.device}\n"
            f"time     {1000 * self.seconds_per_step:.0f} ms per step, crops and all "
            f"({len(self.step_seconds)} calls after a first one of {self.first_seconds:.1f} s)\n"
            f"memory   {self.memory_gb:.1f} GB\n"
            f"so       {_in_words(self.hours(p.steps))} for the profile's {p.steps:,} steps, "
            f"{_in_words(self.hours())} for {ITERATIONS:,}, without validation"
        )


def measure_pace(profile=None, seconds=60):
    """What a training step takes here, measured in real steps on crops of phantoms: a `Pace`.

    `profile` is a name in `PROFILES` or a Profile, by default the one for this machine. After so
    many `seconds` it stops; the first call and two more are always made, however long they last.

    >>> pace = measure_pace(find_profile("lesson").replace(base_filters=1, crop_size=16), seconds=1)
    >>> len(pace.step_seconds) >= 2, pace.hours(1_000_000) > pace.hours()
    (True, True)
    """
    ends = time.perf_counter() + seconds
    profile = find_profile(profile)
    size = max(64, profile.crop_size)
    scans = [to_scan(make_phantom(seed, (size,) * 3)) for seed in range(profile.batch_size)]
    precision = resolve_precision(profile.precision, training=True)
    with peak_memory() as memory:
        network = unet(base_filters=profile.base_filters, dtype=precision)
        source = DeviceCrops(CropSampler(scans, **profile.crops))
        steps = Steps(compile_for_training(network, profile), source)
        calls = (range(n, n + steps.at_once) for n in itertools.count(0, steps.at_once))
        times = [time.perf_counter()]
        for drawn in prefetch(source.draw, calls):
            steps.take(drawn)
            times.append(time.perf_counter())
            if len(times) > 3 and 2 * times[-1] - times[-2] > ends:  # the next one would be late
                break
    device = "a GPU" if has_gpu() else f"a CPU ({os.cpu_count()} cores)"
    parameters, held = count(network.trainable_weights), memory.bytes / 1e9
    first, *others = (np.diff(times) / steps.at_once).tolist()
    return Pace(profile, device, precision, parameters, first * steps.at_once, others, held)


def _in_words(hours):
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
