"""prepare.py own: a user's scans, as they lie about on disks, into the folder that trains."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from data_sets import MASKS, ORGANS_TABLE, REAL_CT_MAPPING, phantom
from nibabel import orientations
from test_prepare import fails
from test_series import write_series

import prepare
from organseg import ORGAN_IDS, ORGAN_NAMES, OrgansegError, find_cases, load_case, save_image, save_label
from tables import DATASETS, read_datasets

SCRIPTS = Path(prepare.__file__).parent
ROOT = SCRIPTS.parent
NIFTI = 'image = "ct/{case}.nii.gz"\nlabel = "seg/{case}_seg.nii.gz"\n'


def own(scans, mapping, out):
    prepare.main(["own", "--from", str(scans), "--mapping", str(mapping), "--out", str(out)])


def refused(capfd, scans, mapping, out):
    return fails(capfd, "own", out, DATASETS, "--from", scans, "--mapping", mapping)


def scans_of(folder, seeds=(0, 1, 2)):
    for seed in seeds:
        case = phantom(seed)
        save_image(case.image, case.affine, folder / "ct" / f"p{seed}.nii.gz")
        save_label(case.label, case.affine, folder / "seg" / f"p{seed}_seg.nii.gz")
    return folder


@pytest.fixture
def mapping(tmp_path):
    """Write a mapping file; returns its path."""

    def write(text):
        path = tmp_path / "mapping.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_names_and_label_values_are_whatever_the_mapping_says(tmp_path, mapping):
    scans = scans_of(tmp_path / "scans")
    table = '[organs]\nliver = [3, 7]\nspleen = 4\n[annotated]\np1 = ["liver"]\n[patients]\np2 = "p0"\n'
    own(scans, mapping(NIFTI + "others = [1, 2, 5, 6]\n" + table), tmp_path / "out")
    cases = {files.name: files for files in find_cases(tmp_path / "out")}
    assert {name: files.annotated for name, files in cases.items()} == {"p0": (3, 4), "p1": (3,), "p2": (3, 4)}
    assert {name: files.patient for name, files in cases.items()} == {"p0": "p0", "p1": "p1", "p2": "p0"}
    truth = phantom(0).label
    np.testing.assert_array_equal(
        cases["p0"].load().label, np.select([(truth == 3) | (truth == 7), truth == 4], [3, 4])
    )


def test_a_mask_per_organ_and_a_missing_mask_is_an_organ_not_annotated(tmp_path, mapping):
    case, scans = phantom(0), tmp_path / "scans"
    for name in ("a", "b"):
        save_image(case.image, case.affine, scans / name / "scan.nii.gz")
        for organ, mask in enumerate(MASKS, start=1):
            if (name, organ) != ("b", 7):
                save_label(255 * (case.label == organ), case.affine, scans / name / f"{mask}.nii.gz")
    text = 'image = "{case}/scan.nii.gz"\nmasks = "{case}/{organ}.nii.gz"\n[organs]\n'
    own(
        scans,
        mapping(text + "\n".join(f'{o} = "{m}"' for o, m in zip(ORGAN_NAMES, MASKS, strict=True))),
        tmp_path / "out",
    )
    a, b = find_cases(tmp_path / "out")
    assert a.annotated == ORGAN_IDS and b.annotated == ORGAN_IDS[:-1]
    np.testing.assert_array_equal(a.load().label, case.label)


@pytest.mark.parametrize("axes", ["LPS", "PIR"])
def test_a_label_stored_with_other_axes_is_turned_to_its_image(tmp_path, mapping, axes):
    """The same voxels in another order: a viewer's export beside the scanner's file. Left stays left."""
    scans, case = scans_of(tmp_path / "scans", (0,)), phantom(0)
    path = scans / "seg" / "p0_seg.nii.gz"
    image = nibabel.load(path)
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(axes))
    )
    nibabel.save(image.as_reoriented(turn), path)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == axes
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    found = find_cases(tmp_path / "out")[0].load()
    np.testing.assert_array_equal(found.label, case.label)
    assert found.axes == "RAS"


def test_a_label_on_another_grid_leaves_out_its_case(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans")
    moved = phantom(1).affine.copy()
    moved[0, 3] += 3
    save_label(phantom(1).label, moved, scans / "seg" / "p1_seg.nii.gz")
    assert "1 case was left out" in refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert [files.name for files in find_cases(tmp_path / "out")] == ["p0", "p2"]
    assert (
        "another grid" in json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["left_out"]["p1"]
    )


def test_a_corrected_label_is_taken_over_and_new_scans_are_added(tmp_path, mapping):
    scans, out = scans_of(tmp_path / "scans", (0, 1)), tmp_path / "out"
    own(scans, mapping(NIFTI + ORGANS_TABLE), out)
    kept = (out / "labelsTr" / "p0.nii.gz").stat().st_mtime_ns
    save_label(np.where(phantom(1).label == 7, 0, phantom(1).label), phantom(1).affine, scans / "seg" / "p1_seg.nii.gz")
    later = time.time() + 2
    os.utime(scans / "seg" / "p1_seg.nii.gz", (later, later))
    scans_of(scans, (2,))
    own(scans, mapping(NIFTI + ORGANS_TABLE), out)
    assert [files.name for files in find_cases(out)] == ["p0", "p1", "p2"]
    assert not (find_cases(out)[1].load().label == 7).any()
    assert (out / "labelsTr" / "p0.nii.gz").stat().st_mtime_ns == kept


def test_a_withdrawn_scan_leaves_the_folder_and_a_stray_one_is_refused(tmp_path, mapping, capfd):
    scans, out = scans_of(tmp_path / "scans"), tmp_path / "out"
    text = NIFTI + ORGANS_TABLE
    own(scans, mapping(text), out)
    (scans / "ct" / "p2.nii.gz").unlink()
    own(scans, mapping(text), out)
    assert "removed p2" in capfd.readouterr().out
    assert [files.name for files in find_cases(out)] == ["p0", "p1"] and not list(out.rglob("p2*"))
    for kind in ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"):
        shutil.copy(out / kind.format("p0"), out / kind.format("stray"))
    with pytest.raises(OrgansegError, match="found stray, which dataset.json does not list"):
        find_cases(out)


def test_what_was_annotated_may_change_from_run_to_run(tmp_path, mapping):
    scans, out = scans_of(tmp_path / "scans", (0, 1)), tmp_path / "out"
    own(scans, mapping(NIFTI + ORGANS_TABLE + '[annotated]\np1 = ["liver"]\n'), out)
    assert set(np.unique(find_cases(out)[1].load().label)) == {0, 3}
    own(scans, mapping(NIFTI + ORGANS_TABLE), out)
    assert find_cases(out)[1].annotated == ORGAN_IDS
    np.testing.assert_array_equal(find_cases(out)[1].load().label, phantom(1).label)


def test_scans_of_another_folder_are_not_mixed_in(tmp_path, mapping, capfd):
    own(scans_of(tmp_path / "scans", (0,)), mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    line = refused(capfd, scans_of(tmp_path / "more", (0,)), mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert "another folder of scans" in line


def test_a_mapping_corrected_before_anything_was_prepared_needs_no_new_folder(tmp_path, mapping, capfd):
    scans, out = scans_of(tmp_path / "scans", (0,)), tmp_path / "out"
    assert "no usable case" in refused(capfd, scans, mapping(NIFTI + "[organs]\nliver = 3"), out)
    with pytest.raises(OrgansegError):
        find_cases(out)
    own(scans, mapping(NIFTI + "others = [1, 2, 4, 5, 6, 7]\n[organs]\nliver = 3"), out)
    assert find_cases(out)[0].annotated == (3,)


def test_a_mask_that_no_case_has_is_a_mistake_and_an_overlap_is_told(tmp_path, mapping, capfd):
    case, scans = phantom(0), tmp_path / "scans"
    save_image(case.image, case.affine, scans / "a" / "ct.nii.gz")
    save_label(case.label == 3, case.affine, scans / "a" / "liver.nii.gz")
    save_label((case.label == 4) | (case.label == 3), case.affine, scans / "a" / "spleen.nii.gz")
    text = 'image = "{case}/ct.nii.gz"\nmasks = "{case}/{organ}.nii.gz"\n[organs]\nliver = "liver"\n'
    assert "no case with the mask 'milz'" in refused(capfd, scans, mapping(text + 'spleen = "milz"'), tmp_path / "out")
    own(scans, mapping(text + 'spleen = "spleen"'), tmp_path / "out")
    twice = int((case.label == 3).sum())
    assert f"{twice} voxels of spleen.nii.gz are in another mask too" in capfd.readouterr().out


def test_images_and_labels_side_by_side_in_one_folder(tmp_path, mapping):
    case = phantom(0)
    for name in ("a", "b"):
        save_image(case.image, case.affine, tmp_path / "scans" / f"{name}.nii.gz")
        save_label(case.label, case.affine, tmp_path / "scans" / f"{name}_seg.nii.gz")
    own(
        tmp_path / "scans",
        mapping('image = "{case}.nii.gz"\nlabel = "{case}_seg.nii.gz"\n' + ORGANS_TABLE),
        tmp_path / "out",
    )
    assert [files.name for files in find_cases(tmp_path / "out")] == ["a", "b"]


def test_no_case_is_worked_on_after_a_run_has_failed(tmp_path, mapping, monkeypatch, capfd):
    """The list of cases cannot be written any more (a full disk, say): those that wait are not begun."""
    scans, out, written = scans_of(tmp_path / "scans", range(8)), tmp_path / "out", []

    def write(*arguments, real=prepare._write_dataset_json):
        written.append(real(*arguments))
        if len(written) == 2:  # after the first case
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(prepare, "_write_dataset_json", write)
    text = mapping(NIFTI + ORGANS_TABLE)
    line = fails(capfd, "own", out, DATASETS, "--from", scans, "--mapping", text, "--workers", 1)
    ready = len(list(out.glob("imagesTr/*")))
    time.sleep(0.3)
    assert os.strerror(28) in line and ready < 8 and len(list(out.glob("imagesTr/*"))) == ready
    assert not list(out.rglob(".writing-*"))


def test_another_mapping_for_the_same_folder_is_refused(tmp_path, mapping, capfd):
    scans, out = scans_of(tmp_path / "scans", (0,)), tmp_path / "out"
    own(scans, mapping(NIFTI + ORGANS_TABLE), out)
    changed = NIFTI + ORGANS_TABLE.replace("liver = 3", "liver = 4").replace("spleen = 4", "spleen = 3")
    assert "another mapping" in refused(capfd, scans, mapping(changed), out)


def test_voxels_without_a_number_become_air_rather_than_water(tmp_path, mapping):
    image = phantom(0).image.copy()
    image[:5] = np.nan
    scans = scans_of(tmp_path / "scans", (0,))
    nibabel.save(nibabel.Nifti1Image(image, phantom(0).affine), scans / "ct" / "p0.nii.gz")
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert (find_cases(tmp_path / "out")[0].load().image[:5] == -1000).all()


def test_a_scaled_image_that_is_no_ct_in_hu_is_named(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans", (0,))
    scaled = ((phantom(0).image + 1000) / 2000).clip(0, 1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(scaled, phantom(0).affine), scans / "ct" / "p0.nii.gz")
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    printed = capfd.readouterr()
    assert "look at p0: lowest value 0: a CT in HU has air near -1000" in printed.out
    about = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert "another modality" in about["prepared"]["p0"][0]


def test_dicom_series_with_labels_keep_a_patients_scans_together(tmp_path, mapping, capfd):
    scans = tmp_path / "scans"
    for name, seed, patient in (("a", 0, "4711"), ("b", 1, "0815"), ("c", 2, "4711")):
        case = phantom(seed)
        write_series(scans / "dicom" / name / "series", np.rint(case.image), case.affine, patient=patient)
        save_label(case.label, case.affine, scans / "seg" / f"{name}_seg.nii.gz")
    own(scans, mapping('dicom = "dicom/{case}"\nlabel = "seg/{case}_seg.nii.gz"\n' + ORGANS_TABLE), tmp_path / "out")
    cases = find_cases(tmp_path / "out")
    assert [(files.name, files.patient) for files in cases] == [("a", "a"), ("b", "b"), ("c", "a")]
    assert "c and a are of one patient" in capfd.readouterr().out
    for seed, files in enumerate(cases):
        case, truth = files.load(), phantom(seed)
        np.testing.assert_array_equal(case.image, np.rint(truth.image))
        np.testing.assert_array_equal(case.label, truth.label)
        np.testing.assert_allclose(case.affine, truth.affine, atol=1e-4)
    written = "".join(
        p.read_text(encoding="utf-8") for p in (tmp_path / "out").iterdir() if p.suffix in (".json", ".md")
    )
    assert "4711" not in written and "Doe" not in written


def test_every_real_scan_comes_through_as_it_is(shared, tmp_path, mapping):
    """../shared/data/real_ct as a user's own folder: six scans of other axes, spacings and padding."""
    real = shared / "data" / "real_ct"
    own(real, mapping(REAL_CT_MAPPING), tmp_path / "out")
    for part in ("Tr", "Ts"):
        before, after = find_cases(real, part), find_cases(tmp_path / "out", part)
        assert [files.name for files in after] == [files.name for files in before]
        for old, new in zip(before, after, strict=True):
            assert new.annotated == old.annotated or part == "Ts"
            old, new = old.load(), load_case(new.image, new.label)
            np.testing.assert_array_equal(new.image, np.rint(old.image))
            np.testing.assert_allclose(new.affine, old.affine, atol=1e-3)
            assert new.label is None or np.array_equal(new.label, old.label)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image = ", "no readable TOML"),
        ('label = "a/{case}"', "neither image, dicom nor unlabelled"),
        ('image = "ct/{case}.nii.gz"\nlabel = "x/{case}"', "found no \\[organs\\]"),
        ('image = "ct/{case}.nii.gz"\nimages = "x"', "found the entry 'images'"),
        ('image = "ct/{case}.nii.gz"\n[organs]\naorta = 1', "found the organ 'aorta'"),
        ('image = "ct/scan.nii.gz"', "expected {case} in it"),
        ('image = "ct/{patient}.nii.gz"', "found {patient} in the pattern"),
        ('image = "nowhere/{case}.nii.gz"', "found no file like nowhere/{case}.nii.gz, but ct/p0.nii.gz"),
        ('image = "/scans/ct/{case}.nii.gz"', "expected a path inside the folder that --from names"),
        ("image = 3", "found image = 3; expected a text in quotes"),
        (NIFTI + "others = 9\n" + ORGANS_TABLE, "found others = 9; expected a list"),
        (NIFTI + "[organs]\nliver = 0", "found the value 0 for the background and for liver"),
        (NIFTI + "[organs]\nliver = [1, 3]\nspleen = 3", "found the value 3 for liver and for spleen"),
        (NIFTI + "others = [3]\n[organs]\nspleen = 3", "found the value 3 for others and for spleen"),
        (NIFTI + "[organs]\nspleen = []", "found spleen = []; expected a number or a list of numbers"),
        (NIFTI + ORGANS_TABLE + '[annotated]\nP0 = ["liver"]', "found 'P0' under [annotated]; expected a case (p0)"),
        (NIFTI + ORGANS_TABLE + '[annotated]\np0 = "liver"', "expected a list of the organs under [organs]"),
        (NIFTI + '[organs]\nliver = 3\n[annotated]\np0 = ["spleen"]', "expected a list of the organs under [organs]"),
        (NIFTI + ORGANS_TABLE + '[patients]\nx = "a"', "found 'x' under [patients]"),
        (NIFTI + ORGANS_TABLE.replace("7", '"7"'), "a number or a list of numbers"),
        (NIFTI + "case = '('\n" + ORGANS_TABLE, "no regular expression"),
        (NIFTI.replace("{case}_seg", "seg") + ORGANS_TABLE, "found label = 'seg/seg.nii.gz'; expected {case} in it"),
        (NIFTI.replace("{case}_seg", "{case}_{x}") + ORGANS_TABLE, "expected {case} in it"),
        (NIFTI.replace("{case}_seg", "{case}_{") + ORGANS_TABLE, "expected {case} in it"),
        (NIFTI + 'name = "x_{y}"\n' + ORGANS_TABLE, "found name = 'x_{y}'; expected {case} in it"),
        ('image = "ct/{case}.nii.gz"\nmasks = "{case}/m.nii.gz"\n[organs]\nliver = "m"', "{case} and {organ} in it"),
        (
            'image = "ct/{case}.nii.gz"\nmasks = "{case}/{organ}.nii.gz"\n[organs]\nliver = "m"\nspleen = "m"',
            "found the value m for liver and for spleen",
        ),
        (NIFTI + 'dicom = "ct/{case}"\n' + ORGANS_TABLE, "found both image and dicom"),
        (NIFTI + 'masks = "{case}/{organ}.nii"\n' + ORGANS_TABLE, "found both label and masks"),
        ('image = "ct/{case}.nii.gz"\n' + ORGANS_TABLE, "found [organs], but neither label nor masks"),
        (NIFTI + 'others = ["9"]\n' + ORGANS_TABLE, "expected a list of numbers"),
        (NIFTI + "[organs]\nliver = true", "expected a number or a list of numbers"),
    ],
)
def test_a_mistake_in_the_mapping_ends_in_one_line(tmp_path, mapping, capfd, text, words):
    line = refused(capfd, scans_of(tmp_path / "scans", (0,)), mapping(text), tmp_path / "out")
    assert words.replace("\\", "") in line, line
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_place_of_the_scans_is_checked(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans", (0,))
    assert "lies inside" in refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), scans / "out")
    assert "no such folder" in refused(capfd, tmp_path / "gone", mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")


# Names as they are found on disks


def names_in(out, part="Tr"):
    return [files.name for files in find_cases(out, part)]


def test_endings_in_capitals_and_without_gz_and_what_is_no_case_is_named(tmp_path, mapping, capfd):
    """As a Windows program and MRtrix write them: the mapping says .nii.gz."""
    case, scans = phantom(0), tmp_path / "scans"
    for image, label in (("A.NII.GZ", "A_seg.nii"), ("B.nii", "B_seg.NII"), ("c.NII.gz", "c_seg.nii.GZ")):
        save_image(case.image, case.affine, scans / "plain.nii.gz")
        for name in (Path("ct", image), Path("seg", label)):
            path = scans / name
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = case.label if "seg" in name.parts else np.rint(case.image).astype(np.int16)
            small = path.with_name(path.name.lower())
            nibabel.save(nibabel.Nifti1Image(voxels, case.affine), small)
            small.rename(path)
    save_image(case.image, case.affine, scans / "ct" / "sub" / "d.nii.gz")
    (scans / "notes.txt").write_text("mine", encoding="utf-8")
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert "passed over 3 files that the mapping does not name: ct/sub/d.nii.gz, plain.nii.gz, notes.txt" in (
        capfd.readouterr().out
    )
    assert names_in(tmp_path / "out") == ["A", "B", "c"]
    for files in find_cases(tmp_path / "out"):
        np.testing.assert_array_equal(files.load().label, case.label)


def test_a_mapping_that_says_nii_finds_nii_gz_and_a_name_without_the_suffix_is_named(tmp_path, mapping, capfd):
    case, scans = phantom(0), tmp_path / "scans"
    for name in ("ct/a_0000.nii.gz", "ct/b.nii.gz"):
        save_image(case.image, case.affine, scans / name)
    save_label(case.label, case.affine, scans / "seg" / "a.nii.gz")
    own(scans, mapping('image = "ct/{case}_0000.nii"\nlabel = "seg/{case}.nii"\n' + ORGANS_TABLE), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["a"]
    assert "passed over 1 files that the mapping does not name: ct/b.nii.gz" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("first", "second", "image"),
    [
        ("ct/a.nii.gz", "ct/a.nii", "ct/{case}.nii.gz"),
        ("ct/a.nii.gz", "ct/a_0000.nii.gz", "ct/{case}.nii.gz"),
        ("ct/a b.nii.gz", "ct/a_b.nii.gz", "ct/{case}.nii.gz"),
        ("ct/a.nii.gz", "ct/A.nii.gz", "ct/{case}.nii.gz"),
        ("ct/a.nii.gz", "ct/B.NII.GZ -> a.nii.gz", "ct/{case}.nii.gz"),
        ("one/ct/a.nii.gz", "two/ct/a.nii.gz", "ct/{case}.nii.gz"),
        ("one/a.nii.gz", "two/a.nii.gz", "{part}/{case}.nii.gz"),
        ("ct/a.nii.gz", "new/a.nii.gz", "ct/{case}.nii.gz"),
    ],
)
def test_two_scans_that_would_become_one_case_are_refused(tmp_path, mapping, capfd, first, second, image):
    """Two names that become one, or one scan under two names: half of them would be lost, or trained and tested on."""
    case, scans = phantom(0), tmp_path / "scans"
    for name in (first, second):
        name, _, link = name.partition(" -> ")
        if link:
            (scans / name).symlink_to(link)
        else:
            save_image(case.image, case.affine, scans / name)
    text = f'image = "{image}"\nparts = ["one", "two"]\nunlabelled = "new/{{case}}.nii.gz"\n'
    line = refused(capfd, scans, mapping(text), tmp_path / "out")
    assert " and " in line and "remove" in line, line
    assert not list((tmp_path / "out").glob("images*/*"))


def test_two_labels_of_one_case_are_refused(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans", (0,))
    nibabel.save(nibabel.load(scans / "seg" / "p0_seg.nii.gz"), scans / "seg" / "p0_seg.nii")
    line = refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert "found seg/p0_seg.nii and seg/p0_seg.nii.gz for one image or label" in line


# What is written can be read by others


TILT = np.array([[-0.8, 0, 0, 90], [0, -0.8, 0.3, 80], [0, 0, 2, -300], [0, 0, 0, 1]])
ROUNDING = np.array([[-0.8, 0, 0, 90], [0, -0.8, 4e-4, 80], [0, 0, 2, -300], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("affine", "codes"), [(ROUNDING, (1, 1)), (ROUNDING, (2, 0)), (TILT, (1, 1)), (ROUNDING, (0, 1))]
)
def test_a_sheared_scan_keeps_its_qform_and_itk_reads_what_is_written(tmp_path, mapping, affine, codes):
    """nnU-Net reads with SimpleITK, which takes the qform where the sform is sheared, and refuses a file without."""
    scans = tmp_path / "scans"
    straight = affine.copy()
    straight[1, 2] = 0
    for folder, name, voxels in (("ct", "p", phantom(0).image), ("seg", "p_seg", phantom(0).label)):
        image = nibabel.Nifti1Image(voxels.astype(np.int16), affine)
        image.set_qform(straight, codes[1])
        image.set_sform(affine if codes[0] else straight, codes[0])
        (scans / folder).mkdir(parents=True)
        nibabel.save(image, scans / folder / f"{name}.nii.gz")
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    files = find_cases(tmp_path / "out")[0]
    for path in (files.image, files.label):
        header = nibabel.load(path).header
        assert (header["sform_code"] > 0, header["qform_code"] > 0) == (codes[0] > 0, True)
        if codes[0]:
            np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
        np.testing.assert_allclose(header.get_qform(), straight, atol=1e-3)
        read = sitk.ReadImage(path)
        np.testing.assert_allclose(read.GetSpacing(), (0.8, 0.8, np.linalg.norm(affine[:3, 2])), atol=0.03)
        np.testing.assert_allclose(read.GetOrigin(), (-90, -80, -300), atol=1e-3)


# Links


def test_linked_folders_and_files_are_read_and_a_link_back_ends(tmp_path, mapping):
    """As a data store links them: a folder, a file, the folder around, and each other."""
    store, scans = scans_of(tmp_path / "store"), tmp_path / "scans"
    (scans / "ct").mkdir(parents=True)
    for seed in range(3):
        (scans / "ct" / f"p{seed}.nii.gz").symlink_to(store / "ct" / f"p{seed}.nii.gz")
    (scans / "seg").symlink_to(store / "seg")
    for folder, target in ((scans / "around", scans), (store / "seg" / "back", store), (scans / "self", "self")):
        folder.symlink_to(target)
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["p0", "p1", "p2"]


def test_a_linked_folder_of_dicom_and_a_link_to_nowhere(tmp_path, mapping, capfd):
    case, scans = phantom(0), tmp_path / "scans"
    write_series(tmp_path / "store" / "a", np.rint(case.image), case.affine)
    scans.mkdir()
    (scans / "a").symlink_to(tmp_path / "store" / "a")
    own(scans, mapping('dicom = "{case}"'), tmp_path / "out")
    np.testing.assert_array_equal(find_cases(tmp_path / "out", "Ts")[0].load().image, np.rint(case.image))
    scans = scans_of(tmp_path / "nifti", (0,))
    (scans / "ct" / "p1.nii.gz").symlink_to(tmp_path / "gone")
    shutil.copy(scans / "seg" / "p0_seg.nii.gz", scans / "seg" / "p1_seg.nii.gz")
    assert "1 case was left out" in refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "more")


def test_a_target_among_the_scans_is_refused_also_through_a_link(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans", (0,))
    store, link = tmp_path / "store", tmp_path / "link"
    (store / "deep").mkdir(parents=True)
    (store / "deep" / "x.nii.gz").write_bytes(b"x")
    (scans / "more").symlink_to(store)
    link.symlink_to(scans)
    through = tmp_path / "through"
    through.mkdir()
    (through / "labelsTr").symlink_to(scans / "seg")
    before = {p: p.read_bytes() for p in (*scans.rglob("*"), *store.rglob("*")) if p.is_file()}
    for out in (scans, scans / "ct", link / "out", store / "out", store / "deep", through):
        assert re.search("lies inside|another origin", refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), out)), out
    assert {p: p.read_bytes() for p in (*scans.rglob("*"), *store.rglob("*")) if p.is_file()} == before


def test_images_of_others_in_the_target_are_not_overwritten(tmp_path, mapping, capfd):
    scans, out = scans_of(tmp_path / "scans", (0,)), tmp_path / "out"
    for part in ("imagesTs", "labelsTs"):
        (out / part).mkdir(parents=True)
        (out / part / "p0.nii.gz").write_bytes(b"mine")
        assert "another origin" in refused(capfd, scans, mapping(NIFTI + ORGANS_TABLE), out)
        assert (out / part / "p0.nii.gz").read_bytes() == b"mine"
        shutil.rmtree(out)


# Scans to segment only


@pytest.mark.parametrize("entry", ["dicom", "unlabelled"])
def test_dicom_without_labels_goes_where_it_is_only_segmented(tmp_path, mapping, capfd, entry):
    scans, case = tmp_path / "scans", phantom(0)
    series = write_series(scans / "new" / "a" / "1", np.rint(case.image), case.affine)
    write_series(scans / "new" / "a" / "2", np.rint(phantom(1).image), case.affine)
    write_series(scans / "new" / "b", np.rint(phantom(2).image), case.affine)
    (scans / "readme.txt").write_text("x", encoding="utf-8")
    own(scans, mapping(f'{entry} = "new/{{case}}"\n[series]\na = "{series}"\n'), tmp_path / "out")
    printed = capfd.readouterr().out
    assert "0 cases to train on, 2 in imagesTs" in printed and "passed over 1 files" in printed
    cases = find_cases(tmp_path / "out", "Ts")
    assert [files.name for files in cases] == ["a", "b"]
    for files, seed in zip(cases, (0, 2), strict=True):
        np.testing.assert_array_equal(files.load().image, np.rint(phantom(seed).image))
        np.testing.assert_allclose(files.load().affine, case.affine, atol=1e-4)


def test_new_dicom_beside_labelled_nifti(tmp_path, mapping):
    scans, case = scans_of(tmp_path / "scans", (0,)), phantom(1)
    write_series(scans / "new" / "x", np.rint(case.image), case.affine)
    own(scans, mapping(NIFTI + 'unlabelled = "new/{case}"\n' + ORGANS_TABLE), tmp_path / "out")
    assert names_in(tmp_path / "out") == ["p0"] and names_in(tmp_path / "out", "Ts") == ["x"]


def test_a_folder_within_a_folder_is_one_scan(tmp_path, mapping):
    """dicom = "{case}" fits both a/ and a/series/: they are one scan, not two."""
    case = phantom(0)
    write_series(tmp_path / "scans" / "a" / "series", np.rint(case.image), case.affine)
    own(tmp_path / "scans", mapping('dicom = "{case}"'), tmp_path / "out")
    assert names_in(tmp_path / "out", "Ts") == ["a"]


def test_a_series_from_a_scanner_comes_through_as_it_is(shared, tmp_path, mapping):
    """JPEG 2000 without endings; real_ct holds the same slab, converted by others, and its label."""
    real, folder = shared / "data" / "real_ct", tmp_path / "scans" / "dicom" / "slab"
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted((shared / "data" / "dicom" / "siemens_jpeg2000").iterdir())):
        shutil.copy(file, folder / f"I{number}")
    (tmp_path / "scans" / "labels").mkdir()
    shutil.copy(real / "labelsTr" / "totalseg_slab.nii.gz", tmp_path / "scans" / "labels" / "slab.nii.gz")
    text = 'dicom = "dicom/{case}"\nlabel = "labels/{case}.nii.gz"\n' + ORGANS_TABLE
    own(tmp_path / "scans", mapping(text), tmp_path / "out")
    found = find_cases(tmp_path / "out")[0].load()
    truth = load_case(real / "imagesTr" / "totalseg_slab_0000.nii.gz", real / "labelsTr" / "totalseg_slab.nii.gz")
    np.testing.assert_array_equal(found.image, truth.image)
    np.testing.assert_array_equal(found.label, truth.label)
    np.testing.assert_allclose(found.affine, truth.affine, atol=1e-4)


def test_labels_that_a_scale_factor_left_nearly_whole_are_rounded_and_told(tmp_path, mapping, capfd):
    scans = scans_of(tmp_path / "scans", (0,))
    nearly = phantom(0).label * np.float32(0.9999999)
    nibabel.save(nibabel.Nifti1Image(nearly, phantom(0).affine), scans / "seg" / "p0_seg.nii.gz")
    own(scans, mapping(NIFTI + ORGANS_TABLE), tmp_path / "out")
    assert "the labels of p0_seg.nii.gz are not quite whole numbers" in capfd.readouterr().out
    np.testing.assert_array_equal(find_cases(tmp_path / "out")[0].load().label, phantom(0).label)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_mapping_saved_by_a_windows_editor(tmp_path, encoding):
    scans = scans_of(tmp_path / "scans", (0,))
    (tmp_path / "mapping.toml").write_text(NIFTI.replace("\n", "\r\n") + ORGANS_TABLE, encoding=encoding)
    own(scans, tmp_path / "mapping.toml", tmp_path / "out")
    assert names_in(tmp_path / "out") == ["p0"]


# The book's page


PAGE = (ROOT / "book" / "data.md").read_text(encoding="utf-8")


EXPECTED = [[(3, 4), (3, 4), (3,)], [(2, 3), (2, 3), (3,)], [(3,), (3,), (3,)]]


@pytest.mark.parametrize("number", range(3))
def test_the_mappings_of_the_books_page_work(tmp_path, mapping, number):
    text = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)[number]
    scans, case = tmp_path / "scans", phantom(0)
    for name in ("p001", "p002", "p003"):
        label = case.label == 3
        if number == 0:
            label = np.select([label, case.label == 7, case.label == 4], [1, 2, 3])
        save_label(label, case.affine, scans / "labels" / f"{name}.nii.gz")
        if number == 2:
            write_series(scans / "dicom" / name, np.rint(case.image), case.affine, patient=name)
        else:
            save_image(case.image, case.affine, scans / "ct" / f"{name}.nii.gz")
            save_image(case.image, case.affine, scans / name / "ct.nii.gz")
            for organ, mask in ((3, "liver"), (2, "portal_vein_and_splenic_vein"))[: 1 + (name != "p003")]:
                save_label(case.label == organ, case.affine, scans / name / "segmentations" / f"{mask}.nii.gz")
    own(scans, mapping(text), tmp_path / "out")
    cases = find_cases(tmp_path / "out")
    assert [files.name for files in cases] == ["p001", "p002", "p003"]
    assert [files.annotated for files in cases] == EXPECTED[number]
    expected = np.isin(case.label, (3, 7) if number == 0 else (3,))
    np.testing.assert_array_equal(cases[0].load().label == 3, expected)


def test_the_lines_that_the_page_explains_are_those_of_the_program():
    told = re.findall(r"^\| `(.*?)`", PAGE.split("## When something goes wrong")[1], flags=re.MULTILINE)
    sources = "".join(
        path.read_text(encoding="utf-8") for path in [*SCRIPTS.glob("*.py"), ROOT / "lib" / "organseg" / "folders.py"]
    )
    written = re.sub(r'"\s*f?"', "", sources)  # strings over several lines
    assert len(told) == 14
    missing = [words for words in told if words not in written and words != os.strerror(28)]
    assert not missing


def test_the_page_and_the_table_agree():
    for name, table in read_datasets(DATASETS).items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        size = f"{table['gigabytes']:g} GB" if table["gigabytes"] >= 1 else f"{1000 * table['gigabytes']:g} MB"
        assert f"| {size} | {table.get('cases', '')} |".replace("|  |", "| |") in row
        assert table["licence"] in row or name == "btcv"
