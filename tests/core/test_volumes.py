"""What headers say of where voxels lie: kept to the bit where it can be, told where it is in doubt."""

import warnings

import nibabel
import numpy as np
import pytest

from organseg.cases import Case, load_case, read_label
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.geometry import WorkingGrid, to_working
from organseg.volumes import POSITION, read_affine, read_volume, save_label

SIZES = (6, 5, 4)
OBLIQUE = np.array([[-0.8, 0.02, 0, 90], [0.02, 0.8, 0.1, -70], [0, -0.04, 2.5, 30], [0, 0, 0, 1]])


def write(path, voxels, affine=OBLIQUE, codes=(1, 1), unit="mm", kind=nibabel.Nifti1Image):
    image = kind(voxels, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, code=codes[0])
    image.set_qform(affine, code=codes[1], strip_shears=True)
    nibabel.save(image, path)
    return path


def quiet(call, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*arguments)


@pytest.mark.parametrize("unit", ["mm", "meter", "unknown"])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 1), (2, 4)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.filterwarnings("ignore::organseg.errors.OrgansegWarning")
def test_a_label_has_its_scans_position_and_unit_to_the_bit(tmp_path, kind, codes, unit):
    scan = write(tmp_path / "scan.nii.gz", np.zeros(SIZES, np.int16), codes=codes, unit=unit, kind=kind)
    case = load_case(scan)
    save_label(np.full(SIZES, 3), case.affine, tmp_path / "label.nii.gz", like=scan)
    ours, theirs = nibabel.load(tmp_path / "label.nii.gz"), nibabel.load(scan)
    for field in POSITION:
        assert ours.header[field] == pytest.approx(theirs.header[field], rel=1e-7), field
    assert np.array_equal(ours.affine, theirs.affine) or kind is nibabel.Nifti2Image
    assert np.asarray(ours.dataobj).dtype == np.uint8 and (np.asarray(ours.dataobj) == 3).all()
    assert (load_case(scan, tmp_path / "label.nii.gz").label == 3).all()


def test_a_header_without_an_orientation_is_told(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros(SIZES, np.int16), codes=(0, 0))
    with pytest.warns(OrgansegWarning, match=r"states no orientation \(codes 0\); its axes are taken for LAS"):
        assert load_case(path).axes == "LAS"  # nibabel's rule, after SPM's
    quiet(load_case, write(tmp_path / "b.nii", np.zeros(SIZES, np.int16), codes=(0, 1)))


def test_an_analyze_file_without_an_orientation_is_told(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(np.zeros(SIZES, np.int16), np.diag([-2.0, 2, 2, 1])), tmp_path / "a.img")
    with pytest.warns(OrgansegWarning, match="states no orientation"):
        read_volume(tmp_path / "a.hdr")


@pytest.mark.parametrize("unit, factor", [("meter", 1000), ("micron", 0.001)])
def test_a_header_in_another_unit_is_read_in_mm(tmp_path, unit, factor):
    inside = np.diag([1 / factor] * 3 + [1]) @ OBLIQUE
    path = write(tmp_path / "a.nii", np.zeros(SIZES, np.int16), inside, unit=unit)
    with pytest.warns(OrgansegWarning, match=f"its header is in {unit}s; read as voxels of 0.8"):
        assert load_case(path).affine == pytest.approx(OBLIQUE, rel=1e-5)
    with pytest.warns(OrgansegWarning, match="is in"):
        assert read_affine(path) == pytest.approx(OBLIQUE, rel=1e-5)


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_a_unit_that_makes_voxels_of_no_scanner_is_not_believed(tmp_path, unit):
    path = write(tmp_path / "a.nii", np.zeros(SIZES, np.int16), unit=unit)
    with pytest.warns(OrgansegWarning, match=f"its header says {unit}, .* taken for mm instead"):
        assert load_case(path).affine == pytest.approx(OBLIQUE, rel=1e-5)


@pytest.mark.parametrize("shear, code", [(0, 1), (2e-4, 1), (4e-3, 1), (0.3, 0)])
def test_a_shear_that_is_rounding_leaves_a_rotation_for_programs_that_want_one(tmp_path, shear, code):
    """ITK and Slicer refuse a file whose direction cosines are not orthonormal, and no qform stands in for them."""
    affine = np.diag([-0.8, -0.8, 2.0, 1])
    affine[1, 2] = shear
    save_label(np.zeros(SIZES), affine, tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert header["qform_code"] == code and header.get_sform() == pytest.approx(affine, abs=1e-6)
    if code:
        directions = header.get_qform()[:3, :3] / header.get_zooms()
        assert directions.T @ directions == pytest.approx(np.eye(3), abs=1e-6)
        end = np.array([n - 1 for n in SIZES] + [1])
        assert header.get_qform() @ end == pytest.approx(affine @ end, abs=0.08)  # a tenth of a voxel


@pytest.mark.parametrize("degrees", [45 - 3e-6, 45, 45 + 3e-6])
def test_grids_on_both_sides_of_45_degrees_are_one(tmp_path, degrees):
    def turned(by):
        c, s = np.cos(np.radians(by)), np.sin(np.radians(by))
        return np.array([[2 * c, -2 * s, 0, 0], [2 * s, 2 * c, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])

    scan = write(tmp_path / "scan.nii", np.zeros(SIZES, np.int16), turned(45 - 3e-6))
    drawn = np.zeros(SIZES, np.uint8)
    drawn[1, 2, 3] = 3
    label = write(tmp_path / "label.nii", drawn, turned(degrees))
    assert np.array_equal(load_case(scan, label).label, drawn)


def test_labels_that_are_nearly_whole_are_rounded_and_told(tmp_path):
    drawn = np.where(np.arange(120).reshape(SIZES) % 2, 3, 0)
    path = write(tmp_path / "a.nii", (drawn * 0.99999994).astype(np.float32))
    with pytest.warns(OrgansegWarning, match="not quite whole numbers; they are rounded"):
        assert np.array_equal(read_label(path)[0], drawn)


def test_labels_that_a_header_scales_are_refused_with_the_factor(tmp_path):
    image = nibabel.Nifti1Image(np.full(SIZES, 3, np.uint8), OBLIQUE)
    image.header.set_slope_inter(0.988, 0)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(OrgansegError, match=r"found label ids 2\.964 \(its header scales by 0\.988, adds 0\)"):
        read_label(tmp_path / "a.nii")


def test_a_voxel_size_that_no_memory_could_hold_is_refused_before_it_is_taken():
    far = Case(np.zeros((9, 9, 9), np.float32), None, np.diag([1e5, 1e5, 1e5, 1]), "far")
    with pytest.raises(
        OrgansegError, match="far: found a scan of 900000 × 900000 × 900000 mm, .* check its voxel size"
    ):
        to_working(far, WorkingGrid((3.0, 3.0, 3.0)))


@pytest.mark.parametrize("name", ["a.NII", "a.NII.GZ"])
def test_endings_in_capitals_are_read(tmp_path, name):
    write(tmp_path / name.lower(), np.zeros(SIZES, np.int16)).rename(tmp_path / name)
    assert load_case(tmp_path / name).name == "a"


def test_an_ending_in_mixed_case_is_refused_with_the_name_to_give(tmp_path):
    write(tmp_path / "a.nii", np.zeros(SIZES, np.int16)).rename(tmp_path / "a.Nii")
    if not (tmp_path / "a.nii").is_file():  # as on macOS and Windows, where the two are one
        with pytest.raises(OrgansegError, match="ending in mixed case; rename it to a.nii"):
            load_case(tmp_path / "a.Nii")
