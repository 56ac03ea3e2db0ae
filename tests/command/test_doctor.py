"""The orientation doctor: a body that lies otherwise than its header says is told, an honest header is believed."""

from itertools import product

import numpy as np
import pytest

import organseg
from organseg.command import doctor
from organseg.command.main import main
from organseg.volumes import save_image


@pytest.fixture(scope="module")
def case():
    """A phantom that no network has seen, from the diaphragm to the pelvis."""
    return organseg.make_phantom(7000, (88, 72, 80), (4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def run():
    return organseg.load_run("drawn")


def mirrored(case, axes):
    """The same file, but for a header that lies: the voxels are mirrored, the affine is not."""
    return type(case)(np.flip(case.image, axes), np.flip(case.label, axes), case.affine, case.name)


def test_a_way_that_finds_an_organ_more_is_far_likelier():
    found = np.zeros(8)
    found[doctor.WAYS.index((True, False, False))] = 2.5
    x, y, z = doctor.chances(found)
    assert x > 0.99 and y < 0.01 and z < 0.01
    assert doctor.chances(np.full(8, 3.0)) == pytest.approx((0.5, 0.5, 0.5))
    assert doctor.chances(found / 2) == pytest.approx((0.5, 0.5, 0.5))  # too little to conclude from


@pytest.mark.parametrize("way", list(product((False, True), repeat=3)))
def test_what_is_said_of_a_way_is_said_of_its_axes(way):
    found = np.zeros(8)
    found[doctor.WAYS.index(way)] = 5.0
    lines = doctor.told(doctor.chances(found))
    assert len(lines) == sum(way) and all(line.startswith("looks") for line in lines)
    assert [
        "left to right" in " ".join(lines),
        "front to back" in " ".join(lines),
        "upside down" in " ".join(lines),
    ] == [*way]


def test_a_whole_abdomen_counts_seven_and_an_empty_scan_nothing():
    labels = np.zeros((7, 10, 100), np.uint8)
    for organ in organseg.ORGANS:
        labels[organ.id - 1] = organ.id  # 1000 voxels each
    assert doctor.abdomen_found(labels, voxel_ml=2.0) == pytest.approx(7)
    assert doctor.abdomen_found(np.zeros((5, 5, 5), np.uint8), voxel_ml=2.0) == 0


def test_a_mirrored_body_is_told_and_an_honest_header_believed(case, run):
    assert not [line for line in doctor.told(doctor.mirrored(run, case)) if line.startswith("looks")]
    lines = doctor.told(doctor.mirrored(run, mirrored(case, 0)))
    assert [line for line in lines if line.startswith("looks")] == ["looks mirrored left to right (99 %)"]


def test_predict_warns_of_a_mirrored_body(case, tmp_path, capfd):
    wrong = mirrored(case, 2)
    save_image(wrong.image, wrong.affine, tmp_path / "turned.nii.gz")
    main(["predict", "drawn", str(tmp_path / "turned.nii.gz"), "--out", str(tmp_path / "out")])
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]
    assert any("looks upside down" in line and "header" in line for line in warnings)


def test_info_asks_the_doctor_only_when_told_to(case, tmp_path, capfd):
    wrong = mirrored(case, (0, 1))
    save_image(wrong.image, wrong.affine, tmp_path / "turned.nii.gz")
    main(["info", str(tmp_path / "turned.nii.gz")])
    assert "looks mirrored" not in capfd.readouterr().out
    main(["info", "--doctor", str(tmp_path / "turned.nii.gz")])
    printed = capfd.readouterr().out
    assert "looks mirrored left to right" in printed and "looks mirrored front to back" in printed
