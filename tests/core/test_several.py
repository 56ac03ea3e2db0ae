"""One training on several devices and in several processes: that on one device, and all or none of it.

Virtual devices and the processes' places are chosen before Keras starts, so each of these runs is a process of its own.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ports import free_port

import organseg
from organseg.device.several import spread_over
from organseg.errors import OrgansegError

COMPILED = str(Path(__file__).resolve().parents[2] / "build" / "jax")  # what one process compiled serves the next
LIBRARY = Path(organseg.__file__).parents[1]
pytest.importorskip("jax", reason="needs JAX (pip install 'organseg[jax]')")

# Losses and weights after three steps on one device and on two, each with half of the mini-batch.
ON_TWO = """
import os, sys
import numpy as np
backend = sys.argv[1]
if backend == "tensorflow":
    import tensorflow
    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    tensorflow.config.set_logical_device_configuration(cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 2)
from organseg import make_phantom, to_scan, unet
from organseg.backend import keras
from organseg.errors import OrgansegError
from organseg.device.crops import DeviceCrops
from organseg.device.several import layout, spread_over
from organseg.device.steps import Steps
from organseg.profiles import PROFILES
from organseg.sampling import CropSampler
from organseg.training import compile_for_training, validate

scans = [to_scan(make_phantom(seed, (24, 24, 24), spacing=(8, 8, 8))) for seed in range(4)]
try:
    with spread_over("all", crops=3):
        raise AssertionError("three crops cannot be shared by two")
except OrgansegError as error:
    refused = "found mini-batches of 3 crops for 2 devices; expected a multiple; choose one with --batch"
    assert str(error) == refused, error
if backend == "tensorflow":
    try:
        with spread_over(2, crops=4):
            compile_for_training(unet(base_filters=2, levels=2, dtype="mixed_float16"), PROFILES["lesson"])
        raise AssertionError("an overflow in the second replica would not be seen")
    except OrgansegError as error:
        assert str(error).startswith("found float16 on several devices of TensorFlow; expected bfloat16"), error
found = {}
ways = {"one": (1, 4e9, True), "two": (2, 4e9, True), "two, those needed": (2, 0, True)}
if backend == "tensorflow":  # whose replicas exchange the loss's sums themselves
    ways |= {"one, per image": (1, 4e9, False), "two, per image": (2, 4e9, False)}
for name, (devices, room, batch_sum) in ways.items():
    with spread_over(devices, crops=4):
        keras.utils.set_random_seed(0)
        network = unet(base_filters=2, levels=2)
        source = DeviceCrops(CropSampler(scans, 16, 4, organ_share=0.5), room)
        profile = PROFILES["lesson"].replace(batch_sum=batch_sum)
        steps = Steps(compile_for_training(network, profile), source)
        losses = [steps.take(source.draw([step]))[0] for step in range(3)]
        if backend == "jax":
            losses += steps.take(source.draw([3, 4])).tolist()
            places = network.weights[0].value.devices()
        else:
            losses += [steps.take(source.draw([step]))[0] for step in (3, 4)]
            places = range(layout().replicas)
        assert len(places) == devices
        values = validate(network, scans[:1])
    found[name + ": losses"], found[name + ": Dice"] = np.array(losses), values["dice_liver"]
    found[name + ": weights"] = np.concatenate([w.ravel() for w in network.get_weights()])
np.savez(sys.argv[2], **found)
"""


def environment(backend="jax", **more):
    quick = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=" + more.pop("devices", "1")
    ours = {"PYTHONPATH": str(LIBRARY), "KERAS_BACKEND": backend, "XLA_FLAGS": quick, "OMP_NUM_THREADS": "1"}
    kept = {"JAX_COMPILATION_CACHE_DIR": COMPILED, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return os.environ | ours | kept | more


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_devices_with_half_the_batch_each_are_one_with_the_whole(backend, tmp_path):
    command = [sys.executable, "-c", ON_TWO, backend, str(tmp_path / "found.npz")]
    done = subprocess.run(command, env=environment(backend, devices="2"), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        two = {name.partition(":")[0] for name in found if name.startswith("two")}
        for name in two:
            one = name.replace("two", "one").removesuffix(", those needed")
            np.testing.assert_allclose(found[f"{name}: losses"], found[f"{one}: losses"], rtol=0, atol=1e-4)
            np.testing.assert_allclose(found[f"{name}: Dice"], found[f"{one}: Dice"], rtol=0, atol=0.02)
            # Five steps of 0.01 at most; Adam turns rounding into steps where a gradient is nearly zero.
            apart = np.abs(found[f"{name}: weights"] - found[f"{one}: weights"])
            assert np.quantile(apart, 0.9) < 0.002 and apart.max() < 0.05, np.quantile(apart, [0.5, 0.9, 0.99, 1])


def test_devices_that_are_not_there_are_refused():
    expected = r"^found \d of 64 devices \(cpu\); expected all of them; ask for fewer with --devices$"
    with pytest.raises(OrgansegError, match=expected), spread_over(64, crops=64):
        pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "data"
    command = [sys.executable, "-m", "organseg", "phantom", str(folder), "--cases", "5", "--shape", "24", "24", "24"]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    return folder


# The command line with a profile of small steps.
TINY = """
from organseg.profiles import PROFILES
PROFILES["lesson"] = PROFILES["lesson"].replace(levels=2, base_filters=2, crop_size=16, validate_every=5)
from organseg.command.main import main
main()
"""


class Processes:
    """Trainings by the command line, one with others; what they printed stands in files."""

    def __init__(self, data, folder):
        self.data, self.folder, self.started = data, folder, []

    def start(self, number, *more, processes=2, address=None, **variables):
        command = [sys.executable, "-c", TINY, "train", self.data, "--out", self.folder / "run", "--test", "1"]
        command += ["--profile", "lesson", "--batch", "4", *more]
        if address:
            command += ["--address", address, "--processes", str(processes), "--process", str(number)]
        said = self.folder / f"said_{len(self.started)}.txt"
        with said.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(command, env=environment(**variables), stdout=out, stderr=out)
        process.said = said
        self.started.append(process)
        return process

    def two(self, *more, **variables):
        address = f"127.0.0.1:{free_port()}"
        return [self.start(number, *more, address=address, **variables) for number in range(2)]


def said(process):
    return process.said.read_text(encoding="utf-8")


@pytest.fixture
def processes(data, tmp_path):
    every = Processes(data, tmp_path)
    yield every
    for process in every.started:
        process.kill()
        process.wait()


def history(folder):
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does(processes, data, tmp_path_factory):
    pair = processes.two("--steps", "5", "--devices", "all")
    assert [process.wait(200) for process in pair] == [0, 0], [said(process) for process in pair]
    assert ["5 steps" in said(process) for process in pair] == [True, False], "only the first one speaks"
    alone = Processes(data, tmp_path_factory.mktemp("alone"))
    one = alone.start(0, "--steps", "5")
    assert one.wait(200) == 0, said(one)
    (both,), (single,) = history(processes.folder / "run"), history(alone.folder / "run")
    assert float(both["loss"]) == pytest.approx(float(single["loss"]), abs=1e-4)
    settings = [json.loads((each.folder / "run" / "run.json").read_text("utf-8")) for each in (processes, alone)]
    assert settings[0] == settings[1]


def test_processes_that_were_started_with_other_settings_all_end(processes):
    address = f"127.0.0.1:{free_port()}"
    pair = [processes.start(n, "--steps", "5", "--seed", str(n), address=address) for n in range(2)]
    assert [process.wait(200) for process in pair] == [2, 2]
    for process in pair:
        assert "found processes that began with other cases, settings or checkpoints" in said(process)
    assert not (processes.folder / "run").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_lost_process_ends_the_other_with_one_line_and_the_run_goes_on(processes):
    pair = processes.two("--steps", "60")
    checkpoint, ends = processes.folder / "run" / "checkpoint.npz", time.monotonic() + 200
    while not checkpoint.is_file() and time.monotonic() < ends:  # after 5 steps
        assert [process.poll() for process in pair] == [None, None], [said(process) for process in pair]
        time.sleep(0.1)
    pair[1].send_signal(signal.SIGKILL)
    assert pair[0].wait(100) == 2
    (line,) = [line for line in said(pair[0]).splitlines() if line.startswith("organseg: ")]
    assert "found one of 2 processes lost" in line and line.endswith("start all of them again with --resume")
    one = processes.start(0, "--steps", "60", "--resume")
    assert one.wait(200) == 0, said(one)
    assert [int(row["step"]) for row in history(processes.folder / "run")] == list(range(5, 61, 5))


JOINED = "from organseg.device import processes as p; p.join('slurm'); p.agree(1); print(p.number(), p.count())"


def test_slurms_environment_tells_the_processes_of_each_other(tmp_path):
    job = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    started = []
    for number in range(2):
        place = job | {"SLURM_PROCID": str(number), "SLURM_LOCALID": "0"}
        arguments = {"env": environment(**place), "stdout": subprocess.PIPE, "encoding": "utf-8"}
        started.append(subprocess.Popen([sys.executable, "-c", JOINED], **arguments))
    last = [process.communicate(timeout=100)[0].splitlines()[-1] for process in started]
    assert last == ["0 2", "1 2"]


NO_PORT = "--address HERE: found no port; expected HOST:PORT of process 0"
REFUSED = """
import sys
from organseg.command.main import main
for more in (["HERE:1", "--processes", "2"], ["slurm"], ["HERE", "--processes", "2", "--process", "0"]):
    try:
        main(["train", sys.argv[1], "--out", "run", "--address", *more])
    except SystemExit as ended:
        assert ended.code == 2
"""


@pytest.mark.parametrize(
    ("backend", "lines"),
    [
        ("tensorflow", ["found KERAS_BACKEND=tensorflow; expected jax for several processes"] * 3),
        ("jax", ["found --processes 2 and --process None", "--address slurm: found no SLURM_STEP_NODELIST", NO_PORT]),
    ],
)
def test_a_process_without_its_place_is_refused_in_one_line(backend, lines, data, tmp_path):
    arguments = {"env": environment(backend), "cwd": tmp_path, "capture_output": True, "encoding": "utf-8"}
    done = subprocess.run([sys.executable, "-c", REFUSED, str(data)], **arguments)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (0, "", [])
    for line, expected in zip(done.stderr.splitlines(), lines, strict=True):
        assert line.startswith(f"organseg: {expected}")
