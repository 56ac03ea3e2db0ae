"""DICOM series, written by pydicom and read back: HU, geometry, and series that only look regular."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from organseg import OrgansegError
from series import patient_id, read_series

SLOPE, INTERCEPT = 1.0, -1024.0


def write_series(
    folder, image, affine, order=None, series=None, patient="P1", syntax=ExplicitVRLittleEndian, **changes
):
    """Write an image (x, y, z) in HU as one file per slice; `affine` is in RAS+. Returns the SeriesInstanceUID."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for number, k in enumerate(order if order is not None else range(image.shape[2])):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.Modality, file.PatientID, file.PatientName = "CT", patient, "Doe^Jane"
        file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        file.StudyInstanceUID, file.SeriesInstanceUID, file.InstanceNumber = "1.2.3", series, number + 1
        file.ImagePositionPatient = [f"{v:.6f}" for v in (lps @ [0, 0, k, 1])[:3]]
        directions = lps[:3, :2] / spacing[:2]
        file.ImageOrientationPatient = [f"{v:.6f}" for v in directions.T.ravel()]
        file.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]  # between rows, between columns
        file.SliceThickness = "9"  # not the distance between slices, which many programs take it for
        file.Rows, file.Columns = image.shape[1], image.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.RescaleSlope, file.RescaleIntercept = str(SLOPE), str(INTERCEPT)
        file.PixelData = np.ascontiguousarray(((image[:, :, k].T - INTERCEPT) / SLOPE).astype("<u2")).tobytes()
        for name, value in changes.items():
            setattr(file, name, value) if value is not None else delattr(file, name)
        if syntax == RLELossless:
            file.compress(RLELossless)
        file.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
    return series


def scan(shape=(20, 16, 9), seed=0):
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.float32)


def turned(angle, spacing, origin):
    """An affine whose axes are turned about x, as a head holder's are."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-1, 0, 0], [0, -c, s], [0, s, c]]) * spacing
    affine[:3, 3] = origin
    return affine


STRAIGHT = turned(0, (0.7, 0.8, 2.5), (120.0, 90.0, -300.0))
TILTED = STRAIGHT.copy()  # a tilted gantry: the slices stay axial in size, and each lies higher up
TILTED[:3, 2] = (0, -0.8, 2.4)


@pytest.mark.parametrize("affine", [STRAIGHT, turned(12, (0.7, 0.8, 2.5), (1.0, 2.0, 3.0)), TILTED])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_series_comes_back_as_it_was(tmp_path, affine, syntax):
    image = scan()
    shuffled = np.random.default_rng(1).permutation(image.shape[2])
    write_series(tmp_path / "a" / "b", image, affine, shuffled, syntax=syntax)
    found, found_affine, doubts = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_allclose(found_affine, affine, atol=1e-5)
    assert not doubts and found.dtype == np.float32 and patient_id(tmp_path) == "P1"


def test_slices_stored_from_head_to_feet_are_put_in_order(tmp_path):
    image = scan()
    write_series(tmp_path, image, STRAIGHT, range(image.shape[2])[::-1])
    found, affine, _ = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    assert affine[2, 2] > 0


def test_a_localiser_under_the_same_series_does_not_stretch_the_scan(tmp_path):
    image = scan()
    series = write_series(tmp_path, image, STRAIGHT)
    scout = turned(90, (2.0, 2.0, 2.0), (0.0, 300.0, 0.0))
    write_series(tmp_path, scan((30, 30, 1)), scout, series=series, ImageType=["DERIVED", "PRIMARY", "LOCALIZER"])
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    found, affine, _ = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_allclose(affine, STRAIGHT, atol=1e-5)


def refused(folder, words, series=None):
    with pytest.raises(OrgansegError, match=words) as error:
        read_series(folder, series)
    assert "\n" not in str(error.value)


def test_missing_slices_are_not_closed_up(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT, [0, 1, 2, 3, 5, 6, 7, 8])
    refused(tmp_path, "nothing between; expected one every 2.50 mm")


def test_two_phases_in_one_series_are_not_interleaved(tmp_path):
    series = write_series(tmp_path, scan(), STRAIGHT)
    write_series(tmp_path, scan(seed=1), STRAIGHT, series=series)
    refused(tmp_path, "two slices at one place")


def test_several_series_are_named_and_one_can_be_chosen(tmp_path):
    one = write_series(tmp_path / "1", scan(), STRAIGHT)
    two = write_series(tmp_path / "2", scan(seed=2), STRAIGHT)
    refused(tmp_path, "found 2 CT series")
    refused(tmp_path, "no CT series 1.2.3.4", "1.2.3.4")
    np.testing.assert_array_equal(read_series(tmp_path, two)[0], scan(seed=2))
    assert one != two


def test_slices_of_another_size_are_refused(tmp_path):
    series = write_series(tmp_path, scan(), STRAIGHT)
    far = STRAIGHT.copy()
    far[2, 3] += 9 * 2.5
    write_series(tmp_path, scan((24, 16, 2)), far, series=series)
    refused(tmp_path, "different size or direction")


def test_what_is_no_ct_is_refused(tmp_path):
    refused(tmp_path / "gone", "no such folder")
    write_series(tmp_path, scan(), STRAIGHT, Modality="MR")
    refused(tmp_path, "no CT slice")


def test_a_series_without_pixels_is_refused(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT)
    for path in tmp_path.glob("*.dcm"):
        file = pydicom.dcmread(path)
        del file.PixelData
        file.save_as(path)
    refused(tmp_path, "9 slices that cannot be read")


def rewritten(folder, which, **changes):
    """Change entries of some slices (by their InstanceNumber); None removes one."""
    for path in folder.rglob("*.dcm"):
        file = pydicom.dcmread(path)
        if int(file.InstanceNumber) in which:
            for name, value in changes.items():
                setattr(file, name, value) if value is not None else delattr(file, name)
            file.save_as(path)


# Rounded headers: the right geometry is what was rounded


@pytest.mark.parametrize("angle", [0, 20])
@pytest.mark.parametrize("offset", [0.0, 0.013, 0.05])
def test_rounded_positions_and_directions_are_no_gap_and_no_shear(tmp_path, angle, offset):
    """Positions to 0.1 mm at steps of 0.625 mm, directions to three decimals."""
    affine, image = turned(angle, (0.7, 0.7, 0.625), (120.0, 90.0, -300.0 + offset)), scan((20, 16, 30))
    write_series(tmp_path, image, affine)
    for path in tmp_path.glob("*.dcm"):
        file = pydicom.dcmread(path)
        file.ImagePositionPatient = [f"{v:.1f}" for v in file.ImagePositionPatient]
        shift = 0.0004 * (int(file.InstanceNumber) % 2)  # in some slices the last decimal was rounded up
        file.ImageOrientationPatient = [f"{v + shift * (0 < abs(v) < 1):.3f}" for v in file.ImageOrientationPatient]
        file.save_as(path)
    found, found_affine, _ = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    corner = np.array([19, 15, 29, 1])
    np.testing.assert_allclose(found_affine @ corner, affine @ corner, atol=0.12)
    columns = found_affine[:3, :3] / np.linalg.norm(found_affine[:3, :3], axis=0)
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-12)


def test_a_slice_missing_among_rounded_positions_is_still_missed(tmp_path):
    write_series(
        tmp_path, scan((8, 6, 30)), turned(0, (0.7, 0.7, 0.625), (0.0, 0.0, 0.03)), [*range(15), *range(16, 30)]
    )
    for path in tmp_path.iterdir():
        file = pydicom.dcmread(path)
        file.ImagePositionPatient = [f"{v:.1f}" for v in file.ImagePositionPatient]
        file.save_as(path)
    refused(tmp_path, "nothing between; expected one every 0.6[23] mm; fetch the missing slices")


@pytest.mark.parametrize("moved", [(0, 0, 0.9), (3.0, 0, 0), (0, -2.0, 0)])
def test_a_slice_off_the_line_is_not_put_on_it(tmp_path, moved):
    """Too high, or shifted sideways, where the table or the patient moved."""
    write_series(tmp_path, scan(), STRAIGHT)
    place = (np.diag([-1, -1, 1, 1]) @ STRAIGHT @ [0, 0, 4, 1])[:3] + moved
    rewritten(tmp_path, {5}, ImagePositionPatient=[f"{v:.3f}" for v in place])
    refused(tmp_path, "off even steps of .* dcm2niix")


def test_steps_that_grow_are_not_taken_for_even_ones(tmp_path):
    """Half of the slices every 2.5 mm, half every 2.6 mm: no step is odd, but the last slice is 2 mm off."""
    series = write_series(tmp_path, scan((8, 6, 20)), turned(0, (1, 1, 2.5), (0.0, 0.0, 0.0)))
    write_series(tmp_path, scan((8, 6, 20)), turned(0, (1, 1, 2.6), (0.0, 0.0, 50.0)), series=series)
    refused(tmp_path, "off even steps")


# Values: as stored, times the slope, plus the intercept (PS3.3, C.11.1), whatever they look like on a screen


@pytest.mark.parametrize("stored", [{}, {"BitsStored": 12, "HighBit": 11}, {"PixelRepresentation": 1}])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_series_stored_to_be_shown_inverted_has_the_same_hu(tmp_path, stored, syntax):
    image = scan()
    write_series(tmp_path, image, STRAIGHT, syntax=syntax, PhotometricInterpretation="MONOCHROME1", **stored)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    np.testing.assert_array_equal(read_series(tmp_path)[0], image)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_slice_has_its_own_slope_and_intercept(tmp_path):
    image = scan()
    write_series(tmp_path, image, STRAIGHT)
    rewritten(tmp_path, {2}, RescaleSlope="2", RescaleIntercept="-500")
    expected = image.copy()
    expected[..., 1] = 2 * (image[..., 1] + 1024) - 500
    np.testing.assert_array_equal(read_series(tmp_path)[0], expected)


def test_a_picture_in_colour_is_no_slice(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
              "BitsStored": 8, "HighBit": 7, "PixelData": bytes(20 * 16 * 3)}  # fmt: skip
    rewritten(tmp_path, {9}, **colour)
    refused(tmp_path, "found a picture in colour, .*; take it out")


def test_values_in_another_unit_and_several_patients_are_refused(tmp_path):
    write_series(tmp_path / "iodine", scan(), STRAIGHT, RescaleType="MGML")
    refused(tmp_path / "iodine", "found values in MGML; expected HU")
    write_series(tmp_path / "two", scan(), STRAIGHT)
    rewritten(tmp_path / "two", {8, 9}, PatientID="P2")
    refused(tmp_path / "two", "slices of several patients")


def test_many_slices_in_one_file_are_named_as_such(tmp_path):
    """An enhanced CT states the positions of its frames elsewhere."""
    write_series(
        tmp_path, scan((20, 16, 1)), STRAIGHT, NumberOfFrames=2, ImagePositionPatient=None, PixelData=bytes(4 * 20 * 16)
    )
    refused(tmp_path, "many slices in a file")


# What is left out is told, and a slice that cannot be read is not left out


def test_images_of_the_series_without_a_position_are_named_and_reports_are_no_slices(tmp_path):
    image = scan()
    series = write_series(tmp_path, image, STRAIGHT)
    write_series(tmp_path / "pictures", scan((20, 16, 1)), STRAIGHT, series=series, ImagePositionPatient=None)
    write_series(tmp_path / "dose", scan((20, 16, 1)), STRAIGHT, ImagePositionPatient=None)  # a series of its own
    report = pydicom.dcmread(next(tmp_path.glob("*.dcm")))
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.Modality = "SR"
    del report.PixelData
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    found, _, doubts = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    assert len(doubts) == 1 and doubts[0].startswith("1 images of the series state no position: ")


@pytest.mark.parametrize("length", [-40, 400, 180, 0])
def test_a_slice_cut_short_is_not_left_out_at_the_end_of_the_scan(tmp_path, length):
    write_series(tmp_path, scan(), STRAIGHT)
    last = next(p for p in tmp_path.iterdir() if pydicom.dcmread(p).InstanceNumber == 9)
    last.write_bytes(last.read_bytes()[:length])
    refused(tmp_path, f"found 1 slices that cannot be read \\({last.name}\\)")


def test_a_link_to_nowhere_is_a_slice_that_cannot_be_read(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT)
    (tmp_path / "slice10").symlink_to(tmp_path / "gone")
    refused(tmp_path, "1 slices that cannot be read .slice10.")


def test_slices_of_two_kinds_or_without_an_intercept_are_told(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT)
    rewritten(tmp_path, {1}, ImageType=["DERIVED", "SECONDARY", "AXIAL"])
    rewritten(tmp_path, {2, 3}, RescaleIntercept=None)
    assert read_series(tmp_path)[2] == [
        "2 slices state no RescaleIntercept: their values are taken for HU as they are",
        "slices of different kinds in one series: DERIVED/SECONDARY/AXIAL, ORIGINAL/PRIMARY/AXIAL",
    ]


@pytest.mark.parametrize("entry", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_empty_entries_are_no_traceback(tmp_path, entry):
    write_series(tmp_path, scan(), STRAIGHT, **{entry: ""})
    refused(tmp_path, "no CT slice that states its position")


def test_directions_that_are_no_right_angle_are_refused(tmp_path):
    write_series(tmp_path, scan(), STRAIGHT, ImageOrientationPatient=["1", "0", "0", "0.2", "1", "0"])
    refused(tmp_path, "expected a right angle")


def test_a_series_from_a_scanner_is_read_as_it_is(shared):
    """JPEG 2000, names without a meaning. pydicom decodes the same values; the slices state the positions."""
    folder = shared / "data" / "dicom" / "siemens_jpeg2000"
    image, affine, doubts = read_series(folder)
    files = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda file: file.ImagePositionPatient[2])
    assert not doubts and image.shape == (512, 512, 20)
    np.testing.assert_array_equal(image, np.stack([apply_rescale(f.pixel_array, f).T for f in files], axis=-1))
    for k, file in enumerate(files):
        np.testing.assert_allclose((affine @ [0, 0, k, 1])[:3], [-1, -1, 1] * np.array(file.ImagePositionPatient))
