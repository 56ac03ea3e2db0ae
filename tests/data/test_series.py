"""DICOM series, written by pydicom and read back: HU, geometry, and series that only look regular."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
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
            setattr(file, name, value)
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
    found, found_affine = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_allclose(found_affine, affine, atol=1e-5)
    assert found.dtype == np.float32 and patient_id(tmp_path) == "P1"


def test_slices_stored_from_head_to_feet_are_put_in_order(tmp_path):
    image = scan()
    write_series(tmp_path, image, STRAIGHT, range(image.shape[2])[::-1])
    found, affine = read_series(tmp_path)
    np.testing.assert_array_equal(found, image)
    assert affine[2, 2] > 0


def test_a_localiser_under_the_same_series_does_not_stretch_the_scan(tmp_path):
    image = scan()
    series = write_series(tmp_path, image, STRAIGHT)
    scout = turned(90, (2.0, 2.0, 2.0), (0.0, 300.0, 0.0))
    write_series(tmp_path, scan((30, 30, 1)), scout, series=series, ImageType=["DERIVED", "PRIMARY", "LOCALIZER"])
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    found, affine = read_series(tmp_path)
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
    refused(tmp_path, "no readable pixels|no CT slice")
