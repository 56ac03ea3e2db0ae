"""Reading and writing scans and data folders: every awkward real file has its stated outcome."""

import gzip
import json
import random
import struct
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from isal import igzip

from organseg import volumes
from organseg.cases import load_case
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.files import case_name, whole_file
from organseg.folders import CaseFiles, find_cases, read_dataset_json, split, write_dataset_json
from organseg.organs import ORGAN_IDS, ORGANS
from organseg.volumes import read_volume, save_image, save_label

LEGAL = {  # shape and axes
    "ibsi_digital_tiny.nii.gz": ((5, 4, 4), "LPS"),
    "nibabel_anatomical.nii": ((33, 41, 25), "LAS"),
    "nibabel_reoriented_anat_moved.nii": ((21, 26, 22), "RAS"),
    "nibabel_resampled_anat_moved.nii": ((17, 21, 3), "LAS"),
    "nibabel_someones_anatomy.nii.gz": ((57, 67, 56), "RAS"),
    "nibabel_someones_epi.nii.gz": ((53, 61, 33), "RAS"),
    "nibabel_standard.nii.gz": ((4, 5, 7), "RAS"),
    "niivue_CT_AVM.nii.gz": ((256, 242, 154), "RAS"),
    "niivue_CT_pitch.nii.gz": ((175, 248, 58), "RAS"),
    "niivue_cope1.nii.gz": ((64, 64, 36), "RAS"),
    "niivue_draw.nii.gz": ((79, 67, 64), "AIL"),
    "niivue_low_res.nii.gz": ((7, 5, 3), "RAS"),
    "niivue_minimal.nii.gz": ((64, 64, 10), "LAS"),
    "niivue_ras.hdr": ((62, 41, 34), "RAS"),
    "niivue_ras.img": ((62, 41, 34), "RAS"),
    "niivue_shear.nii.gz": ((306, 422, 54), "RAS"),
    "niivue_torsoLabel.nii.gz": ((384, 320, 89), "RAS"),
    "totalseg_example_ct_sm.nii.gz": ((122, 101, 30), "RAS"),
    "totalseg_example_mr_sm.nii.gz": ((117, 91, 20), "LPS"),
}
ILLEGAL = {  # a word of the reason
    "hpb_92byte.nii.gz": "not a gzip file",
    "lfs_pointer_named.nii.gz": "not a gzip file",
    "totalseg_test_17bytes.nii.gz": "not a gzip file",
    "nibabel_analyze.hdr": "nibabel_analyze.img",
    "nibabel_nifti1.hdr": "nibabel_nifti1.img",
    "nibabel_example4d.nii.gz": "4-D",
    "nibabel_example_nifti2.nii.gz": "4-D",
    "nibabel_functional.nii": "4-D",
    "niivue_pcasl.nii.gz": "4-D",
    "nibabel_row_major.dconn.nii": "Cifti2",
    "niivue_complex.nii.gz": "complex64",
    "niivue_ct_perfusion.nii.gz": "RGB",
}


def refused(word, name, call, *args, **options):
    """The call fails with one line that names the file and holds the word."""
    with pytest.raises(OrgansegError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert "\n" not in message and str(name) in message and word in message


def write(path, voxels, affine=None):
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


def test_every_awkward_file_has_a_stated_outcome(shared):
    assert {path.name for path in (shared / "data" / "awkward").iterdir()} == LEGAL.keys() | ILLEGAL.keys()


@pytest.mark.parametrize("name", [*LEGAL, *ILLEGAL])
def test_awkward_files_load_or_fail_in_one_line(shared, name):
    path = shared / "data" / "awkward" / name
    if name in ILLEGAL:
        return refused(ILLEGAL[name], path, load_case, path)
    case = load_case(path)
    assert (case.image.shape, case.axes) == LEGAL[name]
    assert case.image.dtype == np.float32 and case.image.dtype.isnative and case.label is None
    assert name.startswith(case.name) and np.isfinite(case.image).any()


def test_nan_stays_in_the_image_as_stored(shared):
    assert np.isnan(load_case(shared / "data/awkward/nibabel_resampled_anat_moved.nii").image).sum() == 153


def test_a_scan_without_a_finite_voxel_is_refused(tmp_path):
    path = write(tmp_path / "void.nii.gz", np.full((4, 4, 4), np.nan, np.float32))
    refused("finite", path, load_case, path)


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    refused("no such file", "gone.nii.gz", load_case, tmp_path / "gone.nii.gz")
    refused("no such file", tmp_path, load_case, tmp_path)  # a folder
    for name in ("empty.nii", "empty.nii.gz", "text.nii", "text.txt"):
        (tmp_path / name).write_text("" if name.startswith("empty") else "not an image\n" * 100, encoding="utf-8")
        refused("no readable image", name, load_case, tmp_path / name)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused(shared, tmp_path, share):
    whole = (shared / "data/awkward/totalseg_example_ct_sm.nii.gz").read_bytes()
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(whole[: int(share * len(whole))])
    refused("", path, load_case, path)


@pytest.mark.parametrize("library", [gzip, igzip], ids=["gzip", "ISA-L"])
def test_a_flipped_bit_that_only_the_checksum_shows_is_refused(tmp_path, monkeypatch, library):
    """The voxels are packed without compression, so any byte among them unpacks: to another HU."""
    monkeypatch.setattr(volumes, "gzip", library)
    voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    plain = write(tmp_path / "plain.nii", voxels).read_bytes()
    path, packed = tmp_path / "flipped.nii.gz", bytearray(gzip.compress(plain, compresslevel=0))
    path.write_bytes(packed)
    np.testing.assert_array_equal(load_case(path).image, voxels)
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)
    refused("CRC check failed", path, load_case, path)


@pytest.mark.parametrize("scaling", [(1, 0), (0.5, 3)], ids=["as stored", "scaled"])
@pytest.mark.parametrize("shape", [(300, 200, 150), (3, 2, 1, 1)], ids=str)
def test_the_voxels_of_a_packed_file_are_those_that_nibabel_reads(tmp_path, shape, scaling):
    voxels = np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16)
    image, path = nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "packed.nii.gz"
    image.header.set_slope_inter(*scaling)
    nibabel.save(image, path)
    expected = nibabel.load(path).get_fdata()
    for ours in (load_case(path).image, read_volume(path)[0]):
        np.testing.assert_array_equal(ours, expected.reshape(shape[:3]))
    assert read_volume(path)[0].dtype == np.asanyarray(nibabel.load(path).dataobj).dtype


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("side", [1000, 30000])
def test_a_header_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path, side, ending):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((side, side, side))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    content = header.binaryblock + bytes(4) + bytes(range(256)) * 4
    path = tmp_path / f"huge{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    tracemalloc.start()
    refused("claims", path, load_case, path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_header_with_an_unknown_data_type_is_refused(tmp_path):
    path = write(tmp_path / "odd.nii", np.zeros((4, 4, 4), np.int16))
    content = bytearray(path.read_bytes())
    content[70:72] = struct.pack("<h", 999)
    path.write_bytes(content)
    refused("no readable image", path, load_case, path)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_affine_that_maps_no_volume_is_refused(tmp_path, value):
    path = write(tmp_path / "affine.nii", np.zeros((4, 4, 4), np.int16))
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<hh", 0, 1)  # only the sform speaks
    content[280:284] = struct.pack("<f", value)
    path.write_bytes(content)
    refused("affine", path, load_case, path)


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path):
    assert load_case(write(tmp_path / "a.nii", np.zeros((4, 5, 6, 1), np.int16))).image.shape == (4, 5, 6)


@pytest.fixture
def scan(tmp_path):
    return write(tmp_path / "scan_0000.nii.gz", np.zeros((6, 5, 4), np.int16), np.diag([2.0, 2, 3, 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_of_any_number_type_are_accepted_when_whole(scan, tmp_path, dtype):
    ids = (np.arange(120) % 8).reshape(6, 5, 4)
    label = write(tmp_path / "label.nii.gz", ids.astype(dtype), np.diag([2.0, 2, 3, 1]))
    case = load_case(scan, label, annotated=[1, 3])
    assert np.array_equal(case.label, ids) and case.label.dtype == np.uint8
    assert case.name == "scan" and case.annotated == (1, 3) and case.spacing == (2, 2, 3)


@pytest.mark.parametrize("value", [9, 1.5, -1, np.nan, 256])
def test_unknown_label_ids_are_refused(scan, tmp_path, value):
    ids = np.zeros((6, 5, 4), np.float32)
    ids[3, 3, 3] = value
    label = write(tmp_path / "label.nii.gz", ids, np.diag([2.0, 2, 3, 1]))
    refused(f"ids {value:g}", label, load_case, scan, label)


def test_a_label_on_another_grid_is_refused(scan, tmp_path):
    shifted = np.diag([2.0, 2, 3, 1])
    shifted[0, 3] = 1.0
    for shape, affine in (
        ((5, 6, 4), np.diag([2.0, 2, 3, 1])),
        ((6, 5, 4), np.diag([2.0, 2, 5, 1])),
        ((6, 5, 4), np.diag([-2.0, 2, 3, 1])),
        ((6, 5, 4), shifted),
    ):
        label = write(tmp_path / "label.nii.gz", np.zeros(shape, np.uint8), affine)
        refused("another grid", label, load_case, scan, label)


def test_a_label_whose_axes_collapse_on_the_images_is_refused(tmp_path):
    """nibabel finds no orientation from the one to the other, and would raise its own error."""
    scan = write(tmp_path / "scan.nii.gz", np.zeros((6, 5, 4), np.int16), np.diag([1, 1, 1e4, 1]))
    affine = np.eye(4)
    affine[:3, :3] = [[1, 1e4, 3], [1e4, 2, 1e4], [1, 0, 1]]
    label = write(tmp_path / "label.nii.gz", np.zeros((6, 5, 4), np.uint8), affine)
    refused("another grid", label, load_case, scan, label)


GRIDS = [f"real_ct/imagesTr/{name}_0000.nii.gz" for name in ("amos_0001_slab", "dcmqi_3slice", "totalseg_example")]
GRIDS += [f"real_ct/imagesTr/{name}_0000.nii.gz" for name in ("totalseg_s0003", "totalseg_slab")]
GRIDS += [f"awkward/{name}.nii.gz" for name in ("niivue_shear", "niivue_CT_pitch", "niivue_draw")]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_saved_label_lies_on_the_grid_of_its_scan(shared, tmp_path, grid):
    scan = nibabel.load(shared / "data" / grid)
    label = np.zeros(scan.shape, np.uint8)
    label[: scan.shape[0] // 3, :5, 1] = 7
    save_label(label, scan.affine, tmp_path / "new" / "a.nii.gz")
    back = nibabel.load(tmp_path / "new" / "a.nii.gz")
    assert back.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(back.dataobj), label)
    assert back.affine == pytest.approx(scan.affine, abs=1e-4)
    assert back.header.get_xyzt_units()[0] == "mm"
    if "shear" in grid:
        assert back.header["qform_code"] == 0  # no quaternion can say it
    else:
        assert back.get_qform() == pytest.approx(back.get_sform(), abs=1e-3)
        assert back.header["qform_code"] == back.header["sform_code"] == 1


def test_images_are_saved_as_rounded_hu(tmp_path):
    save_image(np.array([[[-1000.4, 39.6, 1e6]]]), np.eye(4), tmp_path / "a.nii.gz")
    assert load_case(tmp_path / "a.nii.gz").image.ravel().tolist() == [-1000, 40, 32767]


def test_an_interrupted_write_leaves_nothing_and_keeps_what_was_there(tmp_path):
    for existing in (False, True):
        if existing:
            (tmp_path / "a.txt").write_text("old", encoding="utf-8")
        with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "a.txt") as aside:
            aside.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] * existing
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    with whole_file(tmp_path / "a.txt") as aside:
        aside.write_text("new", encoding="utf-8")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new" and len(list(tmp_path.iterdir())) == 1


def test_case_names_lose_ending_and_channel():
    for name in ("a.b_0000.nii.gz", "a.b_0000.nii", "a.b.nii.gz", "a.b.img"):
        assert case_name(f"/some/where/{name}") == "a.b"


def test_the_real_data_folder_is_found(shared):
    cases = find_cases(shared / "data" / "real_ct")
    names = ["amos_0001_slab", "dcmqi_3slice", "totalseg_example", "totalseg_s0003", "totalseg_slab"]
    assert [case.name for case in cases] == names
    assert [case.annotated for case in cases] == [(1, 3, 4, 5, 6, 7), (3,), ORGAN_IDS, ORGAN_IDS, ORGAN_IDS]
    assert all(case.patient == case.name for case in cases)
    loaded = cases[1].load()
    assert loaded.annotated == (3,) and set(np.unique(loaded.label)) == {0, 3} and loaded.patient == "dcmqi_3slice"
    (unlabelled,) = find_cases(shared / "data" / "real_ct", "Ts")
    assert unlabelled.name == "crlm_1004" and unlabelled.label is None


@pytest.fixture
def folder(tmp_path):
    """A data folder of three scans; the first two are one patient's."""
    for name in ("a1", "a2", "b"):
        for part, end in (("imagesTr", "_0000"), ("labelsTr", "")):
            (tmp_path / part).mkdir(exist_ok=True)
            write(tmp_path / part / f"{name}{end}.nii.gz", np.zeros((3, 3, 3), np.uint8))
    write_dataset_json(tmp_path, "tiny", {"a1": (1, 2), "a2": ORGAN_IDS, "b": ()})
    return tmp_path


def change(folder, **entries):
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8")) | entries
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")


def test_a_written_dataset_json_is_read_back(folder):
    about = read_dataset_json(folder)
    assert about["labels"] == {"background": 0} | {organ.name: organ.id for organ in ORGANS}
    assert (about["name"], about["numTraining"], about["channel_names"]) == ("tiny", 3, {"0": "CT"})
    assert [case.annotated for case in find_cases(folder)] == [(1, 2), ORGAN_IDS, ()]


def test_without_dataset_json_all_organs_count_as_annotated(folder):
    (folder / "dataset.json").unlink()
    with pytest.warns(OrgansegWarning, match="annotated"):
        assert [case.annotated for case in find_cases(folder)] == [ORGAN_IDS] * 3


def test_a_training_image_without_label_is_refused(folder):
    (folder / "labelsTr" / "a2.nii.gz").unlink()
    refused("labelsTr/a2", "a2_0000.nii.gz", find_cases, folder)


def test_hidden_and_foreign_files_in_the_images_folder_are_left_alone(folder):
    for name in ("._a1_0000.nii.gz", "notes.txt", ".DS_Store"):  # as macOS leaves them
        (folder / "imagesTr" / name).write_text("", encoding="utf-8")
    assert [case.name for case in find_cases(folder)] == ["a1", "a2", "b"]


def test_folders_without_images_are_refused(folder):
    refused("imagesTs", folder, find_cases, folder, "Ts")
    (folder / "imagesTs").mkdir()
    refused("CASE_0000", folder, find_cases, folder, "Ts")


LABELS = {organ.name: organ.id for organ in ORGANS}


@pytest.mark.parametrize(
    "labels", [LABELS | {"liver": 4, "spleen": 3}, LABELS | {"kidney": 8}, {"liver": 1}, None, [1], {"liver": [1, 2]}]
)
def test_other_labels_than_the_seven_organs_are_refused(folder, labels):
    change(folder, labels=labels)
    refused("labels", "dataset.json", find_cases, folder)


def test_a_broken_dataset_json_is_refused(folder):
    for text in ("", "{", "[]", "3"):
        (folder / "dataset.json").write_text(text, encoding="utf-8")
        refused("no readable labels", "dataset.json", find_cases, folder)


@pytest.mark.parametrize("ids", [[0], [8], ["liver"], 3, "37", [[1]], None])
def test_bad_annotated_ids_are_refused(folder, ids):
    change(folder, annotated_labels={"a1": ids})
    refused("annotated_labels", "dataset.json", find_cases, folder)


def test_annotated_labels_must_name_cases(folder):
    change(folder, annotated_labels=[1, 2])
    refused("dataset.json", "dataset.json", find_cases, folder)


def test_two_scans_of_one_patient_are_never_divided(folder):
    change(folder, patients={"a1": "anna", "a2": "anna"})
    cases = find_cases(folder)
    assert [case.patient for case in cases] == ["anna", "anna", "b"]
    held_out = {tuple(case.name for case in split(cases, test=1, seed=seed)[1]) for seed in range(20)}
    assert held_out == {("a1", "a2"), ("b",)}


def test_the_papers_377_patients_split_into_340_and_37():
    cases = [CaseFiles(f"case{i:03}", None) for i in range(377)]
    training, test = split(cases)
    assert (len(training), len(test)) == (340, 37)
    assert sorted(training + test, key=lambda case: case.name) == cases
    assert split(cases) == (training, test)
    assert split(cases, seed=1)[1] != test


def test_the_split_does_not_depend_on_the_order_of_the_cases():
    cases = [CaseFiles(f"case{i:03}", None, patient=f"p{i // 2}") for i in range(40)]
    shuffled = random.Random(0).sample(cases, len(cases))
    for one, other in zip(split(cases, test=5), split(shuffled, test=5), strict=True):
        assert {case.name for case in one} == {case.name for case in other}
    assert [case.name for case in split(shuffled, 5)[0]] == [c.name for c in shuffled if c in split(cases, 5)[0]]


def test_a_split_that_leaves_nobody_to_train_on_is_refused():
    cases = [CaseFiles(name, None) for name in "abc"]
    for test in (3, 4, -1):
        refused("lower test", "3 patients", split, cases, test=test)
    assert split(cases, test=0) == (cases, [])


def test_reading_gives_no_warnings(scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_case(scan)


def test_a_header_that_claims_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    save_image(np.zeros((20, 20, 20)), np.eye(4), tmp_path / "big.nii.gz")
    monkeypatch.setattr("organseg.volumes.psutil.virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(OrgansegError, match="claims 0.0 GB of voxels; found 0.0 GB of free memory"):
        read_volume(tmp_path / "big.nii.gz")


def test_a_data_folder_that_was_not_finished_is_refused(tmp_path):
    for name in ("a", "b"):
        save_image(np.zeros((9, 9, 9)), np.eye(4), tmp_path / "imagesTr" / f"{name}_0000.nii.gz")
        save_label(np.zeros((9, 9, 9)), np.eye(4), tmp_path / "labelsTr" / f"{name}.nii.gz")
    listed = {"a": ORGAN_IDS, "b": ORGAN_IDS, "c": ORGAN_IDS}
    write_dataset_json(tmp_path, "tiny", listed, cases={"imagesTr": ["a", "b", "c"], "imagesTs": []})
    with pytest.raises(OrgansegError, match="found 2 of the 3 cases .*c is missing"):
        find_cases(tmp_path)
    write_dataset_json(tmp_path, "tiny", listed, cases={"imagesTr": ["a", "b"], "imagesTs": []})
    assert len(find_cases(tmp_path)) == 2


def test_a_case_that_dataset_json_does_not_list_is_told(tmp_path):
    save_image(np.zeros((9, 9, 9)), np.eye(4), tmp_path / "imagesTr" / "a_0000.nii.gz")
    save_label(np.zeros((9, 9, 9)), np.eye(4), tmp_path / "labelsTr" / "a.nii.gz")
    write_dataset_json(tmp_path, "tiny", {"b": (3,)})
    with pytest.warns(OrgansegWarning, match="a: not among annotated_labels .* all seven organs count"):
        assert find_cases(tmp_path)[0].annotated == ORGAN_IDS


def test_a_header_whose_two_positions_mirror_each_other_is_told(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((9, 8, 7), np.int16), np.eye(4))
    image.set_sform(np.diag([3.0, 3, 3, 1]), code=1)
    image.set_qform(np.diag([-3.0, 3, 3, 1]), code=1)
    nibabel.save(image, tmp_path / "mirrored.nii.gz")
    with pytest.warns(
        OrgansegWarning, match=r"two positions \(sform and qform\), up to 48 mm apart; the sform is used"
    ):
        assert read_volume(tmp_path / "mirrored.nii.gz")[1][0, 0] == 3
    image.set_qform(np.diag([3.0, 3, 3, 1]), code=1)
    nibabel.save(image, tmp_path / "agreed.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(tmp_path / "agreed.nii.gz")
