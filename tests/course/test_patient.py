"""The sample patient: fetched once from a real server, checked, kept; and a line where it cannot be had."""

import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import nibabel
import numpy as np
import pytest

import prepare
from organseg import sample_patient
from organseg.course import patient
from organseg.folders import find_cases
from organseg.organs import ORGAN_IDS

VOXELS = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) - 100
AFFINE = np.diag([3.0, 3, 3, 1])


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with a scan and masks under the published names, and their sums in the place of the published ones."""
    folder = tmp_path / "published"
    (folder / "example_seg").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(VOXELS, AFFINE), folder / patient.IMAGE)
    for number, name in enumerate(patient.FILES[1:]):
        mask = np.zeros(VOXELS.shape, np.uint8)
        mask[number % 5, number // 5] = 1
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), folder / name)
    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in patient.FILES]
    monkeypatch.setattr(patient, "SUMS", tuple(sums))
    monkeypatch.setattr(patient, "SHARED", tmp_path / "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(patient.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("ORGANSEG_PATIENT", raising=False)
    return folder


@pytest.fixture
def server(published, monkeypatch):
    """A server of that folder on the loopback, and the paths that it was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(patient, "FOLDER", f"http://127.0.0.1:{running.server_port}/")
        yield asked
        running.shutdown()


def is_the_patient(case):
    assert (case.name, case.patient, case.spacing) == (patient.NAME, patient.NAME, (3.0, 3.0, 3.0))
    assert np.array_equal(case.image, VOXELS)
    assert [case.label[n % 5, n // 5].max() for n in range(7)] == [1, 2, 3, 4, 5, 6, 7]
    return True


def test_it_is_fetched_once_and_its_credit_printed(server, capsys):
    assert is_the_patient(sample_patient())
    assert len(server) == 8 and "Apache-2.0" in capsys.readouterr().out
    assert is_the_patient(sample_patient()) and len(server) == 8


def test_without_a_connection_a_line_says_so_and_nothing_is_raised(published, monkeypatch, capsys):
    monkeypatch.setattr(patient, "FOLDER", "http://127.0.0.1:9/")
    assert sample_patient() is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("found no sample patient (") and "ORGANSEG_PATIENT" in line


def test_a_file_with_another_sum_is_refused_and_not_kept(server, published, tmp_path, capsys):
    (published / "example_seg" / "liver.nii.gz").write_bytes(b"something else")
    assert sample_patient() is None
    (line,) = capsys.readouterr().out.splitlines()
    assert "hash" in line and "liver" in line
    assert not list((tmp_path / "cache").rglob("liver*"))


def test_a_folder_of_ones_own_comes_before_the_net(server, published, monkeypatch):
    monkeypatch.setenv("ORGANSEG_PATIENT", str(published))
    assert is_the_patient(sample_patient()) and not server


def test_a_folder_without_the_files_is_told(published, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ORGANSEG_PATIENT", str(tmp_path))
    assert sample_patient() is None
    assert f"{tmp_path}" in capsys.readouterr().out


def test_the_shared_folder_comes_before_the_net(server, shared, monkeypatch):
    monkeypatch.setattr(patient, "SHARED", shared / "data" / "real_ct")
    case = sample_patient()
    assert case.image.shape == (122, 101, 112) and set(np.unique(case.label)) == set(range(8)) and not server


def test_the_data_script_makes_a_data_folder_of_it(server, tmp_path, capsys):
    prepare.main(["sample-patient", "--out", str(tmp_path / "out"), "--delete-archive"])
    (files,) = find_cases(tmp_path / "out")
    assert is_the_patient(replace(files.load(), patient=patient.NAME)) and files.annotated == ORGAN_IDS
    assert "Apache-2.0" in (tmp_path / "out" / "DATASET.md").read_text(encoding="utf-8")
    prepare.main(["sample-patient", "--out", str(tmp_path / "out")])
    assert "nothing to do" in capsys.readouterr().out and len(server) == 8


def test_the_data_script_says_in_one_line_that_there_is_no_connection(published, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(patient, "FOLDER", "http://127.0.0.1:9/")
    with pytest.raises(SystemExit) as ended:
        prepare.main(["sample-patient", "--out", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith("prepare: sample-patient:") and "run this again" in line
