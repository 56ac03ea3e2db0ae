"""data_scripts/prepare.py: every set from a real server into the folder that trains, through everything that breaks."""

import contextlib
import gc
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from data_sets import (
    AMOS_IDS,
    ARCHIVES,
    BTCV_IDS,
    MASKS,
    altered,
    btcv,
    content_of,
    faulty,
    image_bytes,
    nifti,
    phantom,
    renamed,
    served,
    serving,
    totalsegmentator,
    zipped,
)

import download
import prepare
from organseg import ORGAN_IDS, OrgansegError, find_cases
from organseg.__main__ import main as organseg_main
from tables import DATASETS, read_datasets, size

SCRIPT = Path(prepare.__file__)
SCANS = [name for name in ARCHIVES if name != "organmnist-axial"]
# What each set holds of a phantom: the case's name, and our organs that are annotated.
EXPECTED = {
    "totalsegmentator-small": ({f"s{seed:04d}": seed for seed in range(4)}, ORGAN_IDS),
    "totalsegmentator": ({f"s{seed:04d}": seed for seed in (2, 4, 5)}, ORGAN_IDS),
    "msd-spleen": ({f"spleen_{seed}": seed for seed in range(3)}, (4,)),
    "msd-liver": ({f"liver_{seed}": seed for seed in range(3)}, (3,)),
    "msd-pancreas": ({f"pancreas_{seed}": seed for seed in range(3)}, (7,)),
    "amos22": ({f"amos_{4 * seed + 1:04d}": seed for seed in range(3)}, (1, 3, 4, 5, 6, 7)),
    "btcv": ({f"btcv_{seed + 1:04d}": seed for seed in range(3)}, ORGAN_IDS),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "LONGEST_WAIT", 0)


@pytest.fixture(scope="module")
def server(nginx, tmp_path_factory):
    """Address of the server, its folder, and the table of data sets that points to it."""
    folder = tmp_path_factory.mktemp("server")
    with serving(nginx, folder) as address:
        yield address, folder / "files", served(folder / "files", address)


@pytest.fixture(scope="module")
def clean(server, tmp_path_factory):
    """What each set looks like when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("clean")
    for name in SCANS:
        run(name, folder / name, server[2])
    run("btcv", folder / "btcv", server[2], "--from", btcv(folder / "RawData.zip"))
    return folder


def run(name, out, table=DATASETS, *more):
    prepare.main([name, "--out", str(out), "--datasets", str(table), *map(str, more)])


def fails(capfd, *arguments):
    """The one line that a failing run ends with."""
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    lines = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("prepare: ")]
    assert len(lines) == 1 and "Traceback" not in lines[0]
    return lines[0]


def md5_of(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def nothing_half_written(folder):
    return not list(folder.rglob(".writing-*"))


# Every set, when nothing goes wrong


@pytest.mark.parametrize("name", EXPECTED)
def test_a_set_becomes_a_data_folder_with_our_ids(clean, name):
    seeds, organs = EXPECTED[name]
    parts = [find_cases(clean / name, part) for part in ("Tr", "Ts") if (clean / name / f"images{part}").is_dir()]
    cases = {files.name: files for files in sum(parts, [])}
    assert cases.keys() == seeds.keys()
    for case_name, seed in seeds.items():
        case, truth = cases[case_name].load(), phantom(seed)
        assert case.annotated == organs
        np.testing.assert_array_equal(case.label, np.where(np.isin(truth.label, organs), truth.label, 0))
        np.testing.assert_array_equal(case.image, np.rint(truth.image))
        np.testing.assert_allclose(case.affine, truth.affine, atol=1e-5)


def test_the_publishers_test_split_goes_where_it_is_never_trained_on(clean):
    assert [files.name for files in find_cases(clean / "totalsegmentator-small", "Ts")] == ["s0003"]
    assert "s0003" not in [files.name for files in find_cases(clean / "totalsegmentator-small")]


def test_a_card_states_licence_citation_and_what_was_changed(clean):
    for name in EXPECTED:
        text, table = (clean / name / "DATASET.md").read_text(encoding="utf-8"), read_datasets(DATASETS)[name]
        assert table["licence"] in text and table["citation"] in text and table["source"] in text
        assert "rounded to whole HU" in text


def test_dataset_json_is_what_nnunet_asks_for(clean):
    """Its fields, and as many labels as numTraining says, which nnU-Net checks before it plans anything."""
    for name in EXPECTED:
        about = json.loads((clean / name / "dataset.json").read_text(encoding="utf-8"))
        assert about["channel_names"] == {"0": "CT"} and about["file_ending"] == ".nii.gz"
        assert list(about["labels"].values()) == list(range(8))
        assert about["numTraining"] == len(list((clean / name / "labelsTr").glob("*.nii.gz")))


def test_the_table_holds_the_published_addresses_and_sums():
    sets = read_datasets(DATASETS)
    assert sets["totalsegmentator-small"]["bytes"] == 3_244_617_817
    sums = {name: sets[name]["md5"] for name in sets if "md5" in sets[name]}
    assert sums == {
        "totalsegmentator-small": "6b5524af4b15e6ba06ef2d700c0c73e0",
        "totalsegmentator": "fe250e5718e0a3b5df4c4ea9d58a62fe",
        "msd-spleen": "410d4a301da4e5b2f6f86ec3ddba524e",
        "msd-liver": "a90ec6c4aa7f6a3d087205e23d4e6397",
        "msd-pancreas": "4f7080cfca169fa8066d17ce6eb061e4",
        "organmnist-axial": "68e3f8846a6bd62f0c9bf841c0d9eacc",
    }
    assert "bytes" not in sets["totalsegmentator"]


def test_the_list_shows_size_licence_organs_and_cases(capfd):
    prepare.main(["--list"])
    printed = capfd.readouterr().out
    assert all(name in printed for name in [*EXPECTED, "organmnist-axial", "own"])
    row = next(line for line in printed.splitlines() if line.startswith("totalsegmentator-small"))
    assert row.split() == ["totalsegmentator-small", "3.24", "GB", "102", "CC", "BY", "4.0", "all", "seven"]


def test_small_pictures_are_kept_as_they_are_and_hold_no_pickle(server, tmp_path, capfd):
    run("organmnist-axial", tmp_path / "out", server[2])
    with np.load(tmp_path / "out" / "organamnist.npz", allow_pickle=False) as stored:
        assert stored["train_images"].shape == (800, 28, 28) and stored["test_labels"].shape == (200, 1)
    parts = [f"{part}_{kind}" for part in ("train", "val", "test") for kind in ("images", "labels")]
    np.savez(tmp_path / "bad.npz", **{part: np.array([{}]) for part in parts})
    table = altered(DATASETS, "organmnist-axial", tmp_path / "sets.toml", md5=md5_of(tmp_path / "bad.npz"))
    line = fails(capfd, "organmnist-axial", tmp_path / "bad", table, "--from", tmp_path / "bad.npz")
    assert "no pictures with labels" in line


# Again, more, less


def test_a_second_run_does_nothing_and_needs_no_server(clean, tmp_path, capfd):
    shutil.copytree(clean / "msd-spleen", tmp_path / "out", copy_function=shutil.copy2)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    shutil.rmtree(tmp_path / "out" / "archive")
    run("msd-spleen", tmp_path / "out")  # the real address, which a test machine cannot reach
    assert "all 3 cases are there" in capfd.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in before if p.is_file()} == {p: t for p, t in before.items() if p.is_file()}


def test_only_what_is_missing_is_prepared(server, clean, tmp_path, capfd):
    out = tmp_path / "out"
    shutil.copytree(clean / "amos22", out, copy_function=shutil.copy2)
    kept = out / "imagesTr" / "amos_0001_0000.nii.gz"
    before = kept.stat().st_mtime_ns
    (out / "imagesTr" / "amos_0005_0000.nii.gz").unlink()
    with pytest.raises(OrgansegError, match="found 2 of the 3 cases .*amos_0005 is missing"):
        find_cases(out)
    run("amos22", out, server[2])
    assert "2 of 3 cases are there already" in capfd.readouterr().out
    assert content_of(out) == content_of(clean / "amos22") and kept.stat().st_mtime_ns == before


def test_a_limit_takes_the_first_cases_and_can_be_raised(server, clean, tmp_path, capfd):
    out = tmp_path / "out"
    run("totalsegmentator-small", out, server[2], "--limit", 2)
    assert [files.name for files in find_cases(out)] == ["s0000", "s0001"]
    capfd.readouterr()
    run("totalsegmentator-small", out, server[2], "--limit", 1)
    assert "all 2 cases are there" in capfd.readouterr().out
    run("totalsegmentator-small", out, server[2])
    assert content_of(out) == content_of(clean / "totalsegmentator-small")


def test_a_folder_of_another_set_is_left_alone(clean, server, tmp_path, capfd):
    before = content_of(clean / "msd-liver")
    assert "another data set" in fails(capfd, "msd-spleen", clean / "msd-liver", server[2])
    assert content_of(clean / "msd-liver") == before
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "mine.nii.gz").write_bytes(b"mine")
    assert "another origin" in fails(capfd, "msd-spleen", tmp_path, server[2])
    assert [p.name for p in tmp_path.rglob("*")] == ["imagesTr", "mine.nii.gz"]


def test_the_archive_goes_only_when_asked_and_only_at_the_end(server, tmp_path):
    run("msd-spleen", tmp_path, server[2])
    assert (tmp_path / "archive" / "Task09_Spleen.tar").is_file()
    shutil.rmtree(tmp_path / "imagesTr")
    (tmp_path / "archive" / "notes.txt").write_text("mine", encoding="utf-8")
    run("msd-spleen", tmp_path, server[2], "--delete-archive")
    assert [p.name for p in (tmp_path / "archive").iterdir()] == ["notes.txt"] and len(find_cases(tmp_path)) == 3


# The network


@pytest.mark.parametrize("name", SCANS)
def test_faults_of_the_network_one_after_the_other_end_in_the_right_folder(server, clean, tmp_path, capfd, name):
    """Not found, forbidden, busy, cut at 10, 50 and 99 %: each run ends in a line or goes on, the last is complete."""
    out = tmp_path / "out"
    with faulty(server[0], [404, 403, 503, 0.1, 0.5, 0.99]) as (address, seen):
        table = served(server[1], address, [name])
        assert "answered 404" in fails(capfd, name, out, table)
        assert "answered 403" in fails(capfd, name, out, table)
        assert not (out / "dataset.json").exists() and nothing_half_written(out)
        run(name, out, table)
    statuses = [status for _, status in seen]
    assert statuses[:4] == [404, 403, 503, 200] and len(statuses) == 7 and statuses[5:] == [206, 206]
    assert content_of(out) == content_of(clean / name)


@pytest.mark.parametrize("place", ["/noranges", "/moved"])
@pytest.mark.parametrize("name", SCANS)
def test_a_server_without_ranges_and_one_that_redirects(server, clean, tmp_path, name, place):
    with faulty(server[0], [0.5]) as (address, _):
        run(name, tmp_path / "out", served(server[1], address + place, [name]))
    assert content_of(tmp_path / "out") == content_of(clean / name)


@pytest.mark.parametrize("name", SCANS)
def test_a_truncated_archive_is_never_taken_for_the_set(server, clean, tmp_path, capfd, name):
    """With a published MD5 it fails there; without one (AMOS22), the zip itself shows it."""
    table = served(server[1], server[0], [name])
    archive = server[1] / read_datasets(table)[name]["url"].rpartition("/")[2]
    (server[1] / "short").mkdir(exist_ok=True)
    (server[1] / "short" / archive.name).write_bytes(archive.read_bytes()[: -archive.stat().st_size // 3])
    table = altered(table, name, tmp_path / "sets.toml", {"bytes"}, url=f"{server[0]}/short/{archive.name}")
    line = fails(capfd, name, tmp_path / "out", table)
    assert ("no readable zip" if name == "amos22" else "found MD5") in line
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not list((tmp_path / "out").glob("imagesTr/*")) and not list((tmp_path / "out").glob("archive/*"))
    run(name, tmp_path / "out", served(server[1], server[0], [name]))
    assert content_of(tmp_path / "out") == content_of(clean / name)


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_web_page_instead_of_an_archive_without_a_check_sum_does_not_keep_its_name(server, tmp_path, capfd, kind):
    """A login page, say, by its type or only by its content. The next run fetches."""
    page = server[1] / f"page-{kind.replace('/', '-')}" / ("amos22.html" if kind == "text/html" else "amos22.zip")
    page.parent.mkdir()
    page.write_bytes(b"<html>Please log in" + bytes(1000))
    address = f"{server[0]}/{page.parent.name}/{page.name}"
    table = altered(server[2], "amos22", tmp_path / "sets.toml", {"bytes"}, url=address, gigabytes=1e-6)
    line = fails(capfd, "amos22", tmp_path / "out", table)
    assert "sent a web page" in line if kind == "text/html" else "found no readable zip" in line and address in line
    assert not list((tmp_path / "out").glob("archive/*"))
    run("amos22", tmp_path / "out", server[2])
    assert len(find_cases(tmp_path / "out")) == 3


def test_an_unpacked_set_is_not_prepared_into_itself(tmp_path, capfd):
    with zipfile.ZipFile(btcv(tmp_path / "RawData.zip", seeds=(0,))) as file:
        file.extractall(tmp_path / "set")
    before = content_of(tmp_path / "set")
    for out in (tmp_path / "set", tmp_path / "set" / "RawData" / "Training" / "out"):
        assert "lies inside" in fails(capfd, "btcv", out, DATASETS, "--from", tmp_path / "set")
    assert content_of(tmp_path / "set") == before


def test_a_conflict_over_a_licence_stands_in_the_list_and_on_the_card(clean, capfd):
    note = read_datasets(DATASETS)["amos22"]["licence_note"]
    prepare.main(["--list"])
    printed = capfd.readouterr().out
    assert f"* amos22: {note}" in printed and "CC BY 4.0*" in printed and "CC BY-NC" in note
    assert note in (clean / "amos22" / "DATASET.md").read_text(encoding="utf-8")


def test_sizes_are_told_in_units_that_show_them():
    assert [size(n) for n in (0, 1200, 38e6, 3_244_617_817, 2.5e12)] == [
        "0 kB",
        "1.2 kB",
        "38 MB",
        "3.245 GB",
        "2.5 TB",
    ]


@pytest.mark.parametrize("name", [n for n in SCANS if n != "amos22"])
def test_a_wrong_check_sum_stops_before_anything_is_unpacked(server, tmp_path, capfd, name):
    table = altered(server[2], name, tmp_path / "sets.toml", md5="0" * 32)
    line = fails(capfd, name, tmp_path / "out", table)
    assert "expected " + "0" * 32 in line
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name != ".preparing.lock"] == []


# The disk


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own that is full soon."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk (run as root)")
    try:
        yield path
    finally:
        gc.collect()  # nibabel closes a file that it could not write to the end only with its last reference
        subprocess.run(["umount", path], check=True)


def test_a_disk_that_cannot_hold_the_set_is_refused_before_the_download(server, tmp_path, capfd):
    with small_disk(tmp_path / "disk", "100k") as disk:
        line = fails(capfd, "totalsegmentator-small", disk / "out", server[2])
        assert re.search(r"found 1\d\d(\.\d)? kB of free disk; expected .* MB; make .* of room", line), line
        assert "--limit" in line
        assert [p.name for p in (disk / "out").iterdir()] == [".preparing.lock"]


@pytest.mark.parametrize("stage", ["fetching", "preparing"])
@pytest.mark.parametrize("name", SCANS)
def test_a_disk_that_fills_up_ends_in_a_line_and_the_next_run_goes_on(server, clean, tmp_path, capfd, name, stage):
    archive = read_datasets(server[2])[name]["bytes"]
    cases = sum(file.stat().st_size for file in (clean / name).glob("images*/*"))
    size = archive // 2 if stage == "fetching" else archive + cases // 2
    # A table that states no size, so that the check before the start does not help.
    table = altered(server[2], name, tmp_path / "sets.toml", {"bytes"}, gigabytes=0)
    with small_disk(tmp_path / "disk", size) as disk:
        line = fails(capfd, name, disk, table)
        assert "No space left" in line or "no space" in line.lower()
        assert nothing_half_written(disk)
        if (disk / "dataset.json").is_file():
            with pytest.raises(OrgansegError):
                find_cases(disk)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        run(name, disk, table)
        assert content_of(disk) == content_of(clean / name)


# Archives that are not what they seem


BAD_NAMES = ["../evil.nii.gz", "/tmp/evil.nii.gz", "RawData/../../evil.nii.gz", "C:\\evil.nii.gz", "..\\evil.nii.gz"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_archive_with_a_name_that_leads_out_is_refused(tmp_path, capfd, name):
    archive = btcv(tmp_path / "RawData.zip", members={name: b"x"})
    assert "leads out of the archive" in fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    assert not (tmp_path / "out" / "dataset.json").exists() and not list(tmp_path.rglob("evil*"))


def test_links_in_archives_are_refused(server, tmp_path, capfd):
    archive = btcv(tmp_path / "RawData.zip")
    with zipfile.ZipFile(archive, "a") as file:
        link = zipfile.ZipInfo("RawData/Training/img/img0009.nii.gz")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    assert "found the link" in fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        tar = tmp_path / "Task09_Spleen.tar"
        shutil.copy(server[1] / tar.name, tar)
        with tarfile.open(tar, "a") as file:
            info = tarfile.TarInfo("Task09_Spleen/imagesTr/spleen_9.nii.gz")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        table = altered(DATASETS, "msd-spleen", tmp_path / "sets.toml", {"md5"})
        assert "a link or device" in fails(capfd, "msd-spleen", tmp_path / "out", table, "--from", tar)


def test_a_member_that_claims_100_gb_is_refused_without_reading_it(tmp_path, capfd):
    archive = btcv(tmp_path / "RawData.zip", seeds=(0,))
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        size = file.getinfo("RawData/Training/img/img0001.nii.gz").file_size
    huge = struct.pack("<L", 4_000_000_000)  # what a zip can say without its 64-bit extension
    archive.write_bytes(content.replace(struct.pack("<L", size), huge))
    assert "claim to be 4 GB" in fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    tar = tmp_path / "Task09_Spleen.tar"
    info = tarfile.TarInfo("Task09_Spleen/imagesTr/spleen_9.nii.gz")
    info.size = 100 * 10**9
    tar.write_bytes(info.tobuf() + b"\0" * 10240)
    table = altered(DATASETS, "msd-spleen", tmp_path / "sets.toml", {"md5"})
    line = fails(capfd, "msd-spleen", tmp_path / "out", table, "--from", tar)
    assert "claims 100 GB" in line or "no readable zip or" in line


def test_a_nifti_that_claims_100_gb_leaves_out_its_case_only(tmp_path, capfd):
    """Zeros, so well packed that the file could hold what its header claims: only the memory tells."""
    header = bytearray(nibabel.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4)).to_bytes()[:352])
    header[40:48] = struct.pack("<4h", 3, 5000, 5000, 2000)
    bomb = gzip.compress(bytes(header) + np.random.default_rng(0).bytes(95_000_000), 0)
    archive = btcv(tmp_path / "RawData.zip", seeds=(0, 1))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as file:
        file.writestr("RawData/Training/img/img0007.nii.gz", bomb)
        file.writestr("RawData/Training/label/label0007.nii.gz", nifti(phantom(0).label, phantom(0).affine))
    line = fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    assert "1 case was left out" in line
    about = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert list(about["left_out"]) == ["btcv_0007"] and "claims" in about["left_out"]["btcv_0007"]
    assert [files.name for files in find_cases(tmp_path / "out")] == ["btcv_0001", "btcv_0002"]


def test_a_damaged_member_leaves_out_its_case_and_says_so(tmp_path, capfd):
    archive = btcv(tmp_path / "RawData.zip")
    with zipfile.ZipFile(archive) as file:
        place = file.getinfo("RawData/Training/img/img0002.nii.gz").header_offset
    content = bytearray(archive.read_bytes())
    content[place + 300 : place + 400] = bytes(100)
    archive.write_bytes(content)
    line = fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    assert "1 case was left out" in line
    assert "btcv_0002" in json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["left_out"]
    assert [files.name for files in find_cases(tmp_path / "out")] == ["btcv_0001", "btcv_0003"]


def test_an_unknown_label_value_is_not_taken_for_background(tmp_path, capfd):
    strange = phantom(1).label.copy()
    strange[0, 0, 0] = 77
    archive = btcv(tmp_path / "RawData.zip", seeds=(0,))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("RawData/Training/img/img0005.nii.gz", image_bytes(phantom(1)))
        file.writestr("RawData/Training/label/label0005.nii.gz", nifti(strange, phantom(1).affine))
    fails(capfd, "btcv", tmp_path / "out", DATASETS, "--from", archive)
    reason = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["left_out"]["btcv_0005"]
    assert "found label values 77" in reason


S0002_MASKS = {f"s0002/segmentations/{mask}.nii.gz" for mask in MASKS}
WITHOUT = {
    "btcv": lambda path: zipped(path, {
        **{f"RawData/Training/img/img000{i}.nii.gz": image_bytes(phantom(i)) for i in (1, 2)},
        "RawData/Training/label/label0001.nii.gz": nifti(renamed(phantom(1).label, BTCV_IDS), phantom(1).affine),
    }),
    "amos22": lambda path: zipped(path, {
        **{f"amos22/imagesTr/amos_000{i}.nii.gz": image_bytes(phantom(i)) for i in (1, 2)},
        "amos22/labelsTr/amos_0001.nii.gz": nifti(renamed(phantom(1).label, AMOS_IDS), phantom(1).affine),
    }),
    "totalsegmentator-small": lambda path: totalsegmentator(path, (1, 2), S0002_MASKS),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT)
def test_a_case_without_its_label_is_left_out_and_named(tmp_path, capfd, name):
    archive = WITHOUT[name](tmp_path / "set.zip")
    out, table = tmp_path / "out", altered(DATASETS, name, tmp_path / "sets.toml", {"md5"})
    line = fails(capfd, name, out, table, "--from", archive)
    assert "1 case was left out; the others are ready" in line
    about = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert len(about["left_out"]) == 1 and "found no label" in next(iter(about["left_out"].values()))
    assert len(find_cases(out)) == 1


def test_an_organ_without_its_mask_counts_as_not_annotated(tmp_path):
    archive = totalsegmentator(tmp_path / "set.zip", (1, 2, 3), {"s0002/segmentations/liver.nii.gz"})
    table = altered(DATASETS, "totalsegmentator", tmp_path / "sets.toml", {"md5"})
    run("totalsegmentator", tmp_path / "out", table, "--from", archive)
    annotated = {files.name: files.annotated for files in find_cases(tmp_path / "out")}
    assert annotated == {"s0001": ORGAN_IDS, "s0002": (1, 2, 4, 5, 6, 7)}


def test_btcv_without_its_archive_says_where_to_register(tmp_path, capfd):
    line = fails(capfd, "btcv", tmp_path / "out")
    assert "https://www.synapse.org/Synapse:syn3193805" in line and "--from" in line


# Two at once, and killed


def started(name, out, table, *more):
    command = [sys.executable, SCRIPT, name, "--out", out, "--datasets", table, *more]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1] / "lib")}
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(condition, process, seconds=60):
    """Wait until something is to be seen, or the process has ended."""
    for _ in range(int(seconds / 0.002)):
        with contextlib.suppress(FileNotFoundError):  # a file that went while the condition looked at it
            if condition() or process.poll() is not None:
                return
        time.sleep(0.002)


def test_two_runs_at_once_do_not_meet(server, clean, tmp_path, capfd):
    table, out = served(server[1], server[0] + "/slow", ["totalsegmentator-small"]), tmp_path / "out"
    first = started("totalsegmentator-small", out, table)
    wait_for(lambda: list(out.glob("archive/*.part")), first)
    assert "another run is preparing this folder" in fails(capfd, "totalsegmentator-small", out, table)
    assert first.wait(60) == 0, first.stderr.read()
    assert content_of(out) == content_of(clean / "totalsegmentator-small")


def count(folder, pattern):
    return len(list(folder.glob(pattern)))


STAGES = {
    "fetching": lambda out: any(p.stat().st_size > 100_000 for p in out.glob("archive/*.zip.part")),
    "fetched": lambda out: any(out.glob("archive/*.zip")),
    "planned": lambda out: (out / "dataset.json").is_file(),
    "writing the first case": lambda out: any(out.rglob(".writing-*.nii.gz")),
    "a label without its image": lambda out: count(out, "labelsTr/s*") > count(out, "imagesTr/s*") > 3,
    "half of the cases": lambda out: count(out, "imagesTr/s*") > 12,
    "all but the last": lambda out: count(out, "imagesT?/s*") > 22,
}  # fmt: skip


def test_a_run_killed_in_every_stage_is_taken_up_and_ends_complete(server, tmp_path):
    archive = server[1] / "many" / "Totalsegmentator_dataset_small_v201.zip"
    archive.parent.mkdir()
    totalsegmentator(archive, range(24))
    table = altered(
        server[2], "totalsegmentator-small", tmp_path / "sets.toml",
        url=f"{server[0]}/slow/many/{archive.name}", bytes=archive.stat().st_size, md5=md5_of(archive),
    )  # fmt: skip
    out, killed = tmp_path / "out", []
    for stage, reached in STAGES.items():
        process = started("totalsegmentator-small", out, table, "--workers", 1)
        wait_for(lambda reached=reached: reached(out), process)
        process.send_signal(signal.SIGKILL)
        if process.wait(30) == -signal.SIGKILL:
            killed.append(stage)
        with pytest.raises(OrgansegError):  # no folder yet, or not all cases in it
            find_cases(out), find_cases(out, "Ts")
    assert len(killed) >= 6, f"killed only while {killed}"
    run("totalsegmentator-small", out, table)
    run("totalsegmentator-small", tmp_path / "straight", table, "--from", archive)
    assert content_of(out) == content_of(tmp_path / "straight")
    assert len(find_cases(out)) + len(find_cases(out, "Ts")) == 24


def test_a_prepared_set_is_trained_on_predicted_and_scored(clean, tmp_path, capfd):
    """The whole way by the command line, a few steps long: the publisher's test case is predicted, never trained on."""
    data = clean / "totalsegmentator-small"
    organseg_main(["train", str(data), "--out", str(tmp_path / "run"), "--profile", "lesson", "--steps", "2"])
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["trained_on"] == [
        "s0000",
        "s0001",
        "s0002",
    ]
    organseg_main(["predict", str(tmp_path / "run"), str(data), "--out", str(tmp_path / "predictions")])
    assert [p.name for p in (tmp_path / "predictions").glob("*.nii.gz")] == ["s0003.nii.gz"]
    organseg_main(["evaluate", str(data), str(tmp_path / "predictions"), "--run", str(tmp_path / "run")])
    rows = (tmp_path / "predictions" / "table.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"s0003"} and "Total Avg." in capfd.readouterr().out
