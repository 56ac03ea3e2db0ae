"""The measurement before a training: what it says follows from what it timed, and it stops in time."""

import re
import time

import numpy as np
import psutil
import pytest

from organseg import networks
from organseg.__main__ import main
from organseg.command.preflight import Pace, measure_pace
from organseg.device.memory import peak_memory
from organseg.profiles import PROFILES

TINY = PROFILES["lesson"].replace(base_filters=1, crop_size=16)


def pace(**changes):
    values = {"first_seconds": 7.0, "step_seconds": [0.4, 0.5, 3.0], "memory_gb": 1.25}
    return Pace(PROFILES["paper"], "a CPU (2 cores)", "float32", 19_071_784, **(values | changes))


def test_hours_are_the_first_step_and_the_median_of_the_others():
    assert pace().seconds_per_step == 0.5
    assert pace().hours(1) == pytest.approx(7 / 3600)
    assert pace().hours() == pytest.approx((7 + 49_999 * 0.5) / 3600)


def test_the_paper_week_is_12_seconds_per_step():
    assert pace(step_seconds=[12.1]).hours() / 24 == pytest.approx(7, abs=0.01)


def test_the_report_says_all_that_was_measured():
    assert str(pace()).splitlines() == [
        "profile paper: 3 crops of 64³ voxels, 19,071,784 parameters, float32, on a CPU (2 cores)",
        "time     500 ms per step, crops and all (3 calls after a first one of 7.0 s)",
        "memory   1.2 GB",
        "so       6.9 hours for the profile's 50,000 steps, 6.9 hours for 50,000, without validation",
    ]


def test_a_machine_is_measured_in_the_time_given():
    began = time.monotonic()
    measured = measure_pace(TINY, seconds=8)
    assert time.monotonic() - began < 60
    assert len(measured.step_seconds) >= 2 and min(measured.step_seconds) > 0
    assert measured.first_seconds > np.median(measured.step_seconds), "the first step builds the graph"
    assert 0 < measured.memory_gb < 8
    network = networks.unet(base_filters=1)
    assert measured.parameters == sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def test_memory_that_is_given_back_still_counts():
    before = psutil.Process().memory_info().rss
    with peak_memory() as memory:
        held = np.ones(50_000_000)
        time.sleep(0.3)
        del held
    assert 3.5e8 < memory.bytes - before < 8e8


def test_the_command_line_prints_the_report(capsys):
    main(["preflight", "--profile", "lesson", "--seconds", "1"])
    said = capsys.readouterr().out
    assert re.search(r"^profile lesson: 3 crops of 32³ voxels", said)
    assert re.search(r"\d+ ms per step, crops and all \((\d+) calls", said)
    assert re.search(r"\d+\.\d minutes for the profile's 120 steps, \d+\.\d hours for 50,000", said)
