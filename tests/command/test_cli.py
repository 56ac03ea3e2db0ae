"""The command line on real files: the main job end to end, every awkward file, one-line errors that write nothing."""

import contextlib
import gc
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import weakref

import nibabel
import numpy as np
import pytest

import organseg
from organseg import runs
from organseg.__main__ import main
from organseg.cases import load_case
from organseg.folders import write_dataset_json
from organseg.geometry import WorkingGrid
from organseg.volumes import read_volume, save_image, save_label

LEGAL = {  # file: what the warning about it says, or None
    "niivue_CT_AVM.nii.gz": "not|lowest value 0",
    "niivue_CT_pitch.nii.gz": "axes turned 16.5",
    "niivue_shear.nii.gz": "rounded to 8 bits",
    "totalseg_example_ct_sm.nii.gz": None,
    "nibabel_anatomical.nii": "highest value 30393",
    "totalseg_example_mr_sm.nii.gz": "another modality",
}
ILLEGAL = {  # file: what the error says
    "hpb_92byte.nii.gz": "not a gzip file",
    "lfs_pointer_named.nii.gz": "not a gzip file",
    "totalseg_test_17bytes.nii.gz": "not a gzip file",
    "nibabel_analyze.hdr": "are missing",
    "nibabel_nifti1.hdr": "are missing",
    "nibabel_example4d.nii.gz": "4-D series",
    "nibabel_example_nifti2.nii.gz": "4-D series",
    "nibabel_functional.nii": "4-D series",
    "niivue_pcasl.nii.gz": "4-D series",
    "nibabel_row_major.dconn.nii": "Cifti2Image",
    "niivue_complex.nii.gz": "complex64",
    "niivue_ct_perfusion.nii.gz": "RGB",
}
PHANTOMS = ["phantom", "--cases", "4", "--seed", "5", "--shape", "32", "32", "32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with an untrained, tiny network: what is tested is where its answers end up."""
    folder = tmp_path_factory.mktemp("run")
    architecture = {"network": "unet", "num_classes": 8, "base_filters": 1, "levels": 4}
    runs.save_settings(folder, runs.describe(architecture, WorkingGrid((6.0, 6.0, 6.0)), trained_on=["phantom_0000"]))
    runs.build(architecture).save_weights(folder / "model.weights.h5")
    return folder


def fails(arguments, capfd):
    """Run a command that must fail: exit status 2 and one line on standard error, which is returned."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert stop.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("organseg: ") and "Traceback" not in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with phantoms in data/ and two steps in run/; the command and what it said; at the reading of every
    scan, how many read before were still in memory at their own size."""
    folder, scans, alive = tmp_path_factory.mktemp("trained"), [], []
    data, out = folder / "data", folder / "run"

    def load(*arguments):
        gc.collect()
        alive.append(sum(scan() is not None for scan in scans))
        case = load_case(*arguments)
        scans.append(weakref.ref(case.image))
        return case

    main([*PHANTOMS, str(data)])
    command = ["train", str(data), "--out", str(out), "--profile", "lesson", "--test", "1", "--steps", "2"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(organseg.folders, "load_case", load)
        main(command)
    return folder, command, said.getvalue(), alive


def test_training_holds_one_scan_at_a_time_at_its_own_size(trained):
    """A scan takes 200 MB and more: of 300 patients only the working grids fit into memory."""
    *_, alive = trained
    assert len(alive) == 4 and max(alive) <= 1


def test_from_phantoms_to_a_table(trained, tmp_path, capfd):
    folder, train, said, _ = trained
    data, out = folder / "data", folder / "run"
    main([*PHANTOMS, str(data)])
    assert "skipped 4" in capfd.readouterr().out
    assert "50% of them centred on an organ" in said
    assert "--resume" in fails(train, capfd)
    main([*train, "--resume"])
    held_out = json.loads((out / "run.json").read_text(encoding="utf-8"))["held_out"]
    predict = ["predict", str(out), str(data), "--out", str(tmp_path / "predictions")]
    main(predict)
    assert sorted(p.name for p in (tmp_path / "predictions").iterdir()) == [
        f"{held_out[0]}.nii.gz",
        f"{held_out[0]}.png",
    ]
    main(predict)
    assert "skipped (--overwrite" in capfd.readouterr().out
    (tmp_path / "predictions" / f"{held_out[0]}.png").unlink()  # as if it had been interrupted before the picture
    main(predict)
    assert (tmp_path / "predictions" / f"{held_out[0]}.png").is_file()
    main(
        ["evaluate", str(data), str(tmp_path / "predictions"), "--run", str(out), "--out", str(tmp_path / "table.csv")]
    )
    printed = capfd.readouterr().out
    assert "Total Avg." in printed and "1 cases" in printed
    rows = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 7 and (tmp_path / f"table_{held_out[0]}.png").stat().st_size > 10_000


def test_evaluate_gives_full_marks_to_the_truth_and_skips_what_was_not_annotated(shared, tmp_path, capfd):
    labels = shared / "data" / "real_ct"
    main(["evaluate", str(labels), str(labels / "labelsTr"), "--out", str(tmp_path / "table.csv")])
    rows = [line.split(",") for line in (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert {float(row[2]) for row in rows if row[2]} == {1.0}
    assert [row[1] for row in rows if row[0] == "dcmqi_3slice"] == ["liver"]
    assert "vein" not in [row[1] for row in rows if row[0] == "amos_0001_slab"]
    assert all(row[2] == "" for row in rows if row[0] == "totalseg_s0003")  # absent everywhere: not counted


@pytest.mark.parametrize("name", LEGAL)
def test_legal_but_awkward_files_are_predicted_on_their_own_grid(run, shared, tmp_path, capfd, name):
    path = shared / "data" / "awkward" / name
    main(["predict", str(run), str(path), "--out", str(tmp_path)])
    voxels, affine = read_volume(path)
    label, label_affine = read_volume(tmp_path / f"{name.split('.')[0]}.nii.gz")
    assert label.shape == voxels.shape and label.dtype == np.uint8
    assert label_affine == pytest.approx(affine, abs=1e-3)
    assert (tmp_path / f"{name.split('.')[0]}.png").is_file()
    warned = capfd.readouterr().err
    assert LEGAL[name] is None or any(words in warned for words in LEGAL[name].split("|"))


def test_a_head_and_a_ct_with_padding_are_predicted_on_their_own_grid(run, shared, tmp_path):
    for name in ("imagesTr/totalseg_s0003_0000.nii.gz", "imagesTs/crlm_1004_0000.nii.gz"):
        path = shared / "data" / "real_ct" / name
        main(["predict", str(run), str(path), "--out", str(tmp_path)])
        label, affine = read_volume(tmp_path / path.name.replace("_0000", ""))
        assert label.shape == nibabel.load(path).shape
        assert affine == pytest.approx(nibabel.load(path).affine, abs=1e-3)


@pytest.mark.parametrize("name", ILLEGAL)
def test_files_that_are_no_ct_end_in_one_line_and_nothing_is_written(run, shared, tmp_path, capfd, name):
    path = shared / "data" / "awkward" / name
    line = fails(["predict", run, path, "--out", tmp_path / "out"], capfd)
    assert ILLEGAL[name] in line and name in line
    assert not (tmp_path / "out").exists()
    assert ILLEGAL[name] in fails(["info", path], capfd)


def test_an_image_without_a_finite_voxel_or_a_file_is_refused(run, tmp_path, capfd):
    nibabel.save(nibabel.Nifti1Image(np.full((9, 9, 9), np.nan, np.float32), np.eye(4)), tmp_path / "nan.nii.gz")
    assert "no finite voxel" in fails(["predict", run, tmp_path / "nan.nii.gz", "--out", tmp_path / "out"], capfd)
    assert "no such file" in fails(["predict", run, tmp_path / "gone.nii.gz", "--out", tmp_path / "out"], capfd)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_one_bad_file_still_predicts_the_others(run, shared, tmp_path, capfd):
    (tmp_path / "in").mkdir()
    for name in ("hpb_92byte.nii.gz", "totalseg_example_ct_sm.nii.gz"):
        shutil.copy(shared / "data" / "awkward" / name, tmp_path / "in" / name)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(run), str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and "1 of 2 images" in capfd.readouterr().err
    assert (tmp_path / "out" / "totalseg_example_ct_sm.nii.gz").is_file()


def data_folder(path, labels, affine=None):
    for i, label in enumerate(labels):
        save_image(np.full((16, 16, 16), -100.0), np.eye(4), path / "imagesTr" / f"c{i}_0000.nii.gz")
        save_label(label, np.eye(4) if affine is None else affine, path / "labelsTr" / f"c{i}.nii.gz")
    write_dataset_json(path, "test", {f"c{i}": range(1, 8) for i in range(len(labels))})
    return path


@pytest.mark.parametrize(
    ("labels", "affine", "words"),
    [
        ([np.zeros((16, 16, 15))] * 3, None, "on another grid"),
        ([np.zeros((16, 16, 16))] * 3, np.diag([1, 1, 2, 1.0]), "on another grid"),
        ([np.full((16, 16, 16), 9)] * 3, None, "label ids 9"),
        ([np.zeros((16, 16, 16))] * 2, None, "found 2 patients"),
    ],
)
def test_unusable_training_data_is_refused_before_anything_is_written(tmp_path, capfd, labels, affine, words):
    data = data_folder(tmp_path / "data", labels, affine)
    assert words in fails(["train", data, "--out", tmp_path / "run", "--profile", "lesson"], capfd)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_architecture_is_refused(run, shared, tmp_path, capfd):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    settings = json.loads((other / "run.json").read_text(encoding="utf-8"))
    settings["architecture"]["base_filters"] = 2
    (other / "run.json").write_text(json.dumps(settings), encoding="utf-8")
    image = shared / "data" / "awkward" / "totalseg_example_ct_sm.nii.gz"
    assert "another architecture" in fails(["predict", other, image, "--out", tmp_path / "out"], capfd)
    assert "no run.json" in fails(["predict", tmp_path, image, "--out", tmp_path / "out"], capfd)


def test_plain_folders_of_labels_are_scored_and_axes_stored_otherwise_are_turned(tmp_path, capfd):
    label = np.zeros((8, 9, 10), np.uint8)
    label[1:5, 2:7, 3:9] = 3
    save_label(label, np.diag([2.0, 2, 3, 1]), tmp_path / "labels" / "a.nii.gz")
    flipped = np.diag([-2.0, 2, 3, 1])
    flipped[0, 3] = 14  # the same voxels, with x running the other way
    save_label(label[::-1], flipped, tmp_path / "out" / "a.nii.gz")
    main(["evaluate", str(tmp_path / "labels"), str(tmp_path / "out")])
    rows = [line.split(",") for line in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert {row[1]: row[2] for row in rows if row[2]} == {"liver": "1.0"}
    save_label(np.where(label, 9, 0), np.diag([2.0, 2, 3, 1]), tmp_path / "out" / "a.nii.gz")
    assert "label ids 9" in fails(["evaluate", tmp_path / "labels", tmp_path / "out"], capfd)


def test_a_case_whose_name_ends_like_a_channel_is_scored(tmp_path, capfd):
    """The phantom of seed 0 is called phantom_0000, as if 0000 were the channel of an image."""
    data = tmp_path / "data"
    main(["phantom", str(data), "--cases", "1", "--shape", "24", "24", "24"])
    main(["evaluate", str(data), str(data / "labelsTr"), "--out", str(tmp_path / "table.csv")])
    assert "1 cases" in capfd.readouterr().out
    assert {line.split(",")[0] for line in (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1:]} == {
        "phantom_0000"
    }


def test_a_prediction_on_another_grid_is_not_scored(tmp_path, capfd):
    data = data_folder(tmp_path / "data", [np.ones((16, 16, 16))])
    save_label(np.ones((16, 16, 15)), np.eye(4), tmp_path / "out" / "c0.nii.gz")
    assert "another grid" in fails(["evaluate", data, tmp_path / "out"], capfd)
    save_label(np.ones((16, 16, 16)), np.eye(4), tmp_path / "labels" / "another_case.nii.gz")
    assert "no label for any" in fails(["evaluate", tmp_path / "labels", tmp_path / "out"], capfd)


def test_info_tells_what_a_file_holds(shared, capfd):
    main(["info", str(shared / "data" / "real_ct" / "imagesTs" / "crlm_1004_0000.nii.gz")])
    printed = capfd.readouterr().out
    assert "512×512×41" in printed and "LPS" in printed and "-3024" in printed and "padding" in printed


@pytest.mark.parametrize("name", runs.SHIPPED)
def test_small_networks_come_with_the_package(name):
    run = runs.load_run(name)
    assert run.network.count_params() < 1_300_000
    assert sum(p.stat().st_size for p in (runs.WEIGHTS / name).iterdir()) <= 5_000_000
    assert not set(run.settings["trained_on"]) & {f"phantom_{seed:04d}" for seed in range(1000)}


def test_only_the_network_that_says_so_has_seen_scans_and_none_of_amos():
    drawings = ("phantom_", "plain_", "varied_", "painted_")
    scans = {}
    for name in runs.SHIPPED:
        trained_on = runs.load_settings(name)[0]["trained_on"]
        scans[name] = {case for case in trained_on if not case.startswith(drawings)}
    assert scans["phantoms"] == scans["drawn"] == set()
    assert scans["pretrained"] == {"totalseg_example", "totalseg_slab", "totalseg_s0003", "dcmqi_3slice"}


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_importing_organseg_imports_no_other_backend_and_says_nothing(backend):
    other = {"tensorflow": "jax", "jax": "tensorflow"}[backend]
    lines = [
        "import sys, organseg",
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules), 'a framework was imported before it was needed'",
        "from organseg import unet, train",
        f"assert '{backend}' in sys.modules",
        f"assert '{other}' not in sys.modules or '{other}' == 'jax'",  # TensorFlow itself may import JAX
    ]
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-c", "; ".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_volumes_on_a_sheared_grid_are_those_of_its_voxels(tmp_path, capfd):
    """A tilted gantry: the lengths of the affine's columns would give 6 % more, 1 / cos 20°."""
    case = organseg.make_phantom(0, (48, 48, 48))
    affine = case.affine.copy()
    affine[1, 2] = affine[2, 2] * np.tan(np.radians(20))
    save_image(case.image, affine, tmp_path / "tilted.nii.gz")
    main(["predict", "pretrained", str(tmp_path / "tilted.nii.gz"), "--out", str(tmp_path / "out")])
    voxels = np.count_nonzero(read_volume(tmp_path / "out" / "tilted.nii.gz")[0] == 3)
    assert f"liver {voxels * np.prod(case.spacing) / 1000:.0f} ml" in capfd.readouterr().out and voxels > 100


def organseg_alone(arguments, folder, **environment):
    """`python -m organseg` in a process of its own: what it ended with and said."""
    command = [sys.executable, "-m", "organseg", *arguments]
    environment = os.environ | environment
    return subprocess.run(command, capture_output=True, env=environment, cwd=folder, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_a_terminal_of_few_letters_gets_the_table(tmp_path, encoding):
    for name in ("labels", "out"):
        save_label(np.full((8, 8, 8), 3), np.eye(4), tmp_path / name / "a.nii.gz")
    done = organseg_alone(["evaluate", "labels", "out"], tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and re.search(rb"\nliver +100\.0 ", done.stdout) and not done.stderr


def test_a_window_system_that_is_not_there_is_not_asked_for(tmp_path):
    save_image(np.zeros((8, 8, 8)), np.eye(4), tmp_path / "imagesTr" / "a_0000.nii.gz")
    save_label(np.full((8, 8, 8), 3), np.eye(4), tmp_path / "labelsTr" / "a.nii.gz")
    command = ["evaluate", ".", "labelsTr", "--out", "t.csv"]
    done = organseg_alone(command, tmp_path, MPLBACKEND="module://ipympl.backend_nbagg")
    assert done.returncode == 0 and (tmp_path / "t_a.png").is_file() and b"Traceback" not in done.stderr


@pytest.mark.parametrize("backend", ["mxnet", "torch"])
def test_a_backend_that_is_not_installed_is_named_in_one_line(tmp_path, backend):
    if importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is installed here")
    done = organseg_alone(["predict", "pretrained", ".", "--out", "out"], tmp_path, KERAS_BACKEND=backend)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(lines) == 1 and backend in lines[0], done.stderr.decode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    for name in ("labels", "out"):
        save_label(np.full((8, 8, 8), 3), np.eye(4), tmp_path / name / "a.nii.gz")
    command = f"{sys.executable} -m organseg evaluate labels out | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, cwd=tmp_path, text=True)
    assert done.stdout.startswith("Dice (%)") and done.stderr == ""


def test_predicting_needs_no_labels(tmp_path, capfd):
    """One image of imagesTr has no label yet: that is what it is predicted for."""
    for name in ("a", "b"):
        save_image(np.full((16, 16, 16), -100.0), np.diag([4, 4, 4, 1]), tmp_path / "imagesTr" / f"{name}_0000.nii.gz")
    save_label(np.zeros((16, 16, 16)), np.diag([4, 4, 4, 1]), tmp_path / "labelsTr" / "a.nii.gz")
    main(["predict", "pretrained", str(tmp_path), "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["a.nii.gz", "b.nii.gz"]


def test_a_run_is_begun_anew_without_taking_other_files_along(trained, tmp_path):
    folder, command, *_ = trained
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine", encoding="utf-8")
    main([*command[:3], str(tmp_path / "run"), *command[4:], "--overwrite"])
    assert (tmp_path / "run" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "run" / "run.json").is_file()
