"""Cases shared among dask's workers: the same files and words as by one process, whatever happens to a worker.

The scheduler and its two workers are dask's own programs on the loopback.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
import tasks
from ports import free_port

import organseg
from organseg import runs
from organseg.__main__ import main
from organseg.command import workers
from organseg.errors import OrgansegError
from organseg.geometry import WorkingGrid

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
pytest.importorskip("distributed", reason="needs dask.distributed (pip install 'organseg[scale]')")


class Dask:
    """Dask's own programs on the loopback, which run in another folder than the tests."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.start("scheduler", "--host", self.address)

    def start(self, kind, *arguments):
        paths = [ROOT / "lib", ROOT / "data_scripts", ROOT / "tests" / "command"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments, "--no-dashboard"]
        with (self.folder / f"{kind}_{len(self.started)}.txt").open("w", encoding="utf-8") as said:
            pipes = {"stdout": said, "stderr": said, "start_new_session": True}
            self.started.append(subprocess.Popen(command, env=environment, cwd=self.folder, **pipes))

    def add_worker(self):
        self.start("worker", self.address, "--nthreads", "1", "--local-directory", str(self.folder))

    def end(self, which=slice(None)):
        for process in self.started[which]:  # with the processes that a worker's nanny has started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two workers."""
    dask = Dask(tmp_path_factory.mktemp("workers"))
    dask.add_worker()
    dask.add_worker()
    from distributed import Client

    with Client(dask.address, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
    yield dask.address
    dask.end()


def said_by(*arguments):
    """What a command prints on standard output and on standard error, and its exit status."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as ended:
            status = ended.code
    return out.getvalue(), errors.getvalue(), status


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Five phantoms and a file that is no scan."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "images").mkdir()
    for seed in range(5):
        case = organseg.make_phantom(seed, (32, 32, 32))
        organseg.save_image(case.image, case.affine, folder / "images" / f"p{seed}.nii.gz")
        organseg.save_label(case.label, case.affine, folder / "labels" / f"p{seed}.nii.gz")
    (folder / "images" / "p2_damaged.nii.gz").write_bytes(b"no gzip file")
    return folder


@pytest.fixture(scope="module")
def alone(scans, tmp_path_factory):
    """The folder, and what is said, of a prediction and an evaluation by one process."""
    out = tmp_path_factory.mktemp("alone") / "predictions"
    return (
        out,
        said_by("predict", "phantoms", scans / "images", "--out", out),
        said_by("evaluate", scans / "labels", out),
    )


def test_predictions_and_words_are_those_of_one_process(scans, alone, scheduler, tmp_path, monkeypatch):
    out, (printed, warned, status), _ = alone
    monkeypatch.chdir(scans)  # relative paths lead to the same files, wherever the workers run
    shared = os.path.relpath(tmp_path / "predictions")
    found = said_by("predict", "phantoms", "images", "--out", shared, "--scheduler", scheduler)
    assert [text.replace(str(tmp_path), str(out.parent)) for text in found[:2]] == [printed, warned]
    assert found[2] == status == 2 and "1 of 6 images could not be segmented" in warned
    assert "p2_damaged" in warned and printed.count("wrote") == 5
    for file in sorted(out.glob("*.nii.gz")):
        one, other = nibabel.load(file), nibabel.load(tmp_path / "predictions" / file.name)
        np.testing.assert_array_equal(one.get_fdata(), other.get_fdata())
        np.testing.assert_array_equal(one.affine, other.affine)


def test_in_a_terminal_lines_stand_above_a_bar_with_the_time_left(scans, alone, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "organseg", "predict", "phantoms", scans / "images", "--out", tmp_path / "out"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "lib")}, **streams)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while part := os.read(ours, 4096):
            said += part
    assert process.wait(60) == 2
    shown = said.decode().replace("\r\n", "\n")
    lines = [line.rsplit("\r", 1)[-1] for line in shown.split("\n")]  # what a line ends up as
    for line in (alone[1][0] + alone[1][1]).splitlines():
        assert line.replace(str(alone[0]), str(tmp_path / "out")) in lines
    assert re.search(r"3/6 \[\d\d:\d\d<\d\d:\d\d", shown)


def test_scores_are_those_of_one_process(scans, alone, scheduler, tmp_path):
    out, _, (printed, warned, status) = alone
    table = tmp_path / "table.csv"
    found = said_by("evaluate", scans / "labels", out, "--out", table, "--scheduler", scheduler)
    assert (found[0].replace(str(table), str(out / "table.csv")), *found[1:]) == (printed, warned, status)
    pandas.testing.assert_frame_equal(pandas.read_csv(table), pandas.read_csv(out / "table.csv"))


def test_prepared_cases_are_those_of_one_process(scans, scheduler, tmp_path):
    mapping = tmp_path / "mapping.toml"
    organs = "\n".join(f"{organ.name} = {organ.id}" for organ in organseg.ORGANS)
    mapping.write_text(
        f'image = "images/{{case}}.nii.gz"\nlabel = "labels/{{case}}.nii.gz"\n[organs]\n{organs}\n', encoding="utf-8"
    )
    shutil.copytree(scans, tmp_path / "given")
    (tmp_path / "given" / "images" / "p2_damaged.nii.gz").rename(tmp_path / "given" / "images" / "p5.nii.gz")
    shutil.copy(scans / "labels" / "p0.nii.gz", tmp_path / "given" / "labels" / "p5.nii.gz")
    command = [sys.executable, ROOT / "data_scripts" / "prepare.py", "own", "--from", tmp_path / "given"]
    command += ["--mapping", mapping, "--out"]
    environment, said = os.environ | {"PYTHONPATH": str(ROOT / "lib")}, []
    for out, more in (("one", ()), ("shared", ("--scheduler", scheduler))):
        done = subprocess.run([*command, tmp_path / out, *more], env=environment, capture_output=True, encoding="utf-8")
        told = [text.replace(str(tmp_path / out), "OUT") for text in (done.stdout, done.stderr)]
        said.append([done.returncode, told[0], told[1].splitlines()[-2:]])  # and not the progress before
    assert said[0] == said[1] and said[0][0] == 2 and "left out p5" in said[0][2][0]
    files = [sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).rglob("*.*")) for out in ("one", "shared")]
    assert files[0] == files[1] and len([file for file in files[0] if file.name.endswith(".nii.gz")]) == 10
    one, other = ((tmp_path / out / "dataset.json").read_text(encoding="utf-8") for out in ("one", "shared"))
    assert one == other


def test_a_lost_worker_costs_its_current_case_only(scheduler, tmp_path):
    work = partial(tasks.third_is_lost, str(tmp_path))
    assert [tell() for tell in workers.each(work, range(8), scheduler)] == [0, 2, 4, 6, 8, 10, 12, 14]
    times = [len((tmp_path / f"tried_{item}").read_text(encoding="utf-8")) for item in range(8)]
    assert times == [1, 1, 1, 2, 1, 1, 1, 1]


def test_a_case_that_ends_every_worker_is_told_and_the_others_go_on(scheduler, tmp_path):
    told = []
    for tell in workers.each(partial(tasks.third_kills_all, str(tmp_path)), range(6), scheduler):
        try:
            told.append(tell())
        except OrgansegError as error:
            told.append(str(error))
    assert told[:3] + told[4:] == [0, 2, 4, 8, 10]
    assert "found a case that no worker could finish (each worker that tried it was lost" in told[3]


def test_outcomes_come_in_the_order_of_the_items_as_soon_as_they_are_known(scheduler):
    began, known = time.monotonic(), []
    for tell in workers.each(tasks.slow, [0.1, 3.0, 0.1], scheduler):
        known.append((tell(), time.monotonic() - began))
    assert [value for value, _ in known] == [0.1, 3.0, 0.1]
    assert known[1][1] - known[0][1] > 1, "the first was kept back until the second was done"


def test_a_scheduler_that_is_lost_ends_the_work_with_one_line(tmp_path):
    dask = Dask(tmp_path)
    dask.add_worker()
    try:
        told = workers.each(tasks.slow, [0.1, 30.0], dask.address)
        assert next(told)() == 0.1
        dask.end(slice(1))
        with pytest.raises(OrgansegError, match=rf"^{dask.address}: lost the scheduler \(.*; .* which goes on$"):
            list(told)
    finally:
        dask.end()


def test_a_scheduler_without_workers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 5)
    dask = Dask(tmp_path)
    try:
        with pytest.raises(OrgansegError, match="found no scheduler with a worker"):
            list(workers.each(tasks.slow, [0.1], dask.address))
    finally:
        dask.end()


def test_workers_take_the_weights_of_a_run_that_was_trained_anew(scans, scheduler, tmp_path):
    run, found = tmp_path / "run", []
    architecture = {"network": "unet", "num_classes": 8, "base_filters": 1, "levels": 4}
    for organ in (3, 4):  # a network that sees this organ everywhere
        runs.save_settings(run, runs.describe(architecture, WorkingGrid((6.0, 6.0, 6.0)), trained_on=[]))
        network = runs.build(architecture)
        weights = [0 * weight for weight in network.get_weights()]
        weights[-1][organ] = 10
        network.set_weights(weights)
        network.save_weights(run / "model.weights.h5")
        out = tmp_path / f"out_{organ}"
        said_by("predict", run, scans / "images" / "p0.nii.gz", "--out", out, "--scheduler", scheduler)
        found.append(np.unique(nibabel.load(out / "p0.nii.gz").get_fdata()).tolist())
    assert found == [[3.0], [4.0]]


def test_a_prediction_that_cannot_be_scored_is_told_and_the_others_go_on(scans, alone, scheduler, tmp_path):
    predictions = shutil.copytree(alone[0], tmp_path / "predictions")
    (predictions / "p1.nii.gz").write_bytes(b"no gzip file")
    said = [
        said_by("evaluate", scans / "labels", predictions, "--out", tmp_path / f"{number}.csv", *more)
        for number, more in enumerate([(), ("--scheduler", scheduler)])
    ]
    printed, warned, status = said[0]
    assert status == 2 and "4 cases; a row per case" in printed and "1 of 5 predictions could not be scored" in warned
    assert said[1] == (printed.replace("0.csv", "1.csv"), warned, status)
    assert set(pandas.read_csv(tmp_path / "0.csv")["case"]) == {"p0", "p2", "p3", "p4"}


def test_a_local_cluster_is_started_and_ended(scans, alone, tmp_path):
    command = [sys.executable, "-m", "organseg", "predict", "phantoms", scans / "images", "--out", tmp_path / "out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lib")}
    done = subprocess.run([*command, "--scheduler", "local"], env=environment, capture_output=True, encoding="utf-8")
    printed, warned, status = alone[1]
    assert done.returncode == status, done.stderr
    assert done.stdout.replace(str(tmp_path / "out"), str(alone[0])) == printed
    assert done.stderr == warned
    assert not list((tmp_path / "out").glob(".writing-*"))


def test_where_no_scheduler_answers_one_line_says_so(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    out = tmp_path / "out"
    *_, line, status = said_by(
        "predict", "phantoms", scans / "images", "--out", out, "--scheduler", "tcp://127.0.0.1:9"
    )
    assert status == 2 and line.startswith("organseg: tcp://127.0.0.1:9: found no scheduler with a worker (")
    assert line.endswith("expected dask's; start 'dask scheduler' and 'dask worker'\n") and line.count("\n") == 1
    assert not out.exists()


def test_without_dask_one_line_says_what_to_install(scans, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    *_, line, status = said_by("predict", "phantoms", scans / "images", "--out", tmp_path, "--scheduler", "local")
    assert status == 2 and "found no dask.distributed; expected it; pip install 'organseg[scale]'" in line


def test_nothing_of_dask_is_imported_without_a_scheduler(scans, tmp_path):
    code = "import sys; from organseg.__main__ import main; main(sys.argv[1:]); "
    code += "print([name for name in sys.modules if name in ('dask', 'distributed')])"
    command = [sys.executable, "-c", code, "predict", "phantoms", scans / "images" / "p0.nii.gz", "--out", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lib")}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
