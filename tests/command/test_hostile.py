"""A training that is killed goes on as if it had not been; a damaged file is a case or one line."""

import multiprocessing
import subprocess
import sys

import killed
import mutated
import pytest


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
