"""A training that is killed, or runs out of disk or memory; a file that is damaged, or means harm."""

import multiprocessing
import os
import subprocess
import sys

import killed
import mutated
import numpy as np
import pytest

from organseg import OrgansegError, make_phantom, runs, save_image, save_label
from organseg.command import work
from organseg.command.main import main
from organseg.folders import image_file, label_file


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="Windows starts no forkserver")
def test_a_training_that_is_killed_ends_like_an_unbroken_one(tmp_path):
    assert killed.attempt(tmp_path / "unbroken")
    killed.kill_and_resume(tmp_path / "killed", kills=3)
    assert killed.differences(tmp_path / "killed", tmp_path / "unbroken") == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the memory is Linux'")
def test_damaged_files_are_a_case_or_one_line():
    """In a process of its own, so that its memory can be limited."""
    done = subprocess.run([sys.executable, mutated.__file__, "500"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "load_case, as a scan: read" in done.stdout and "load_case, as a scan: refused" in done.stdout


class Harm:
    """Once pickled, this makes a folder wherever it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_that_would_execute_something_is_refused(tmp_path):
    np.savez(tmp_path / "checkpoint.npz", step=1, v0000=np.array([Harm(tmp_path / "harm")], dtype=object))
    with pytest.raises(OrgansegError, match="found no checkpoint to go on from"):
        runs.load_checkpoint(tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("network", ["Lambda", "keras", "cnn", "__builtins__", None, ["unet"]])
def test_a_run_asks_for_no_network_but_its_own_two(tmp_path, network):
    architecture = {"network": network, "num_classes": 8, "base_filters": 1, "levels": 2}
    runs.save_settings(tmp_path, runs.describe(architecture, runs.WorkingGrid()))
    with pytest.raises(OrgansegError, match="found no settings of a run"):
        runs.load_settings(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk as Linux does")
def test_a_full_disk_ends_in_one_line_and_the_last_checkpoint_is_whole(tmp_path, capfd):
    data, disk = tmp_path / "data", tmp_path / "disk"
    for seed in range(3):
        case = make_phantom(seed, (24, 24, 24))
        save_image(case.image, case.affine, image_file(data, "Tr", case.name))
        save_label(case.label, case.affine, label_file(data, "Tr", case.name))
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk (run as root)")
    try:
        command = ["train", str(data), "--out", str(disk / "run"), "--profile", "lesson", "--spacing", "12"]
        main([*command, "--steps", "1"])  # takes 5 MB, most of it for the optimiser
        before = {path.name: path.read_bytes() for path in (disk / "run").iterdir()}
        again = ["train", str(data), "--out", str(disk / "other"), *command[4:], "--steps", "1"]
        with pytest.raises(SystemExit) as stop:
            main(again)
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("organseg: ")]
        assert stop.value.code == 2 and len(said) == 1 and "space" in said[0]
        assert not list(disk.rglob(".writing-*"))
        assert before == {path.name: path.read_bytes() for path in (disk / "run").iterdir()}
        assert runs.load_checkpoint(disk / "run")[0] == 1
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # a file may still be open


def test_too_little_memory_ends_in_one_line(monkeypatch, capfd):
    """TensorFlow itself runs out of it here; only what is asked for is not a command's."""
    tensorflow = pytest.importorskip("tensorflow")

    def too_much(options):
        """Ask for more than any machine has."""
        tensorflow.zeros([10**9, 10**6])

    monkeypatch.setattr(work, "info", too_much)
    too_much.__name__ = "info"
    monkeypatch.setattr("organseg.command.main._add_prediction", lambda command: command(too_much)("image"))
    with pytest.raises(SystemExit) as stop:
        main(["info", "ct.nii.gz"])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("organseg: ")]
    assert stop.value.code == 2 and len(lines) == 1 and "too little memory" in lines[0]
