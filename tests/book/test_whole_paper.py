"""Chapter 11's cells on real scans: what a reader does who names a data folder, with a training of a few steps."""

import shutil

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest

from notebooks import NOTEBOOKS
from organseg import runs
from organseg.course import check  # noqa: F401  (a missing chapter of exercises shows here, not in the cells)
from organseg.folders import find_cases
from organseg.organs import ORGANS
from organseg.profiles import PROFILES

HIDDEN = ("setup", "exercise", "solution")


@pytest.mark.filterwarnings("ignore::organseg.OrgansegWarning")  # three slices are padded, and more of the kind
def test_the_cells_run_on_real_scans_and_go_on_with_a_run(shared, tmp_path, monkeypatch, capsys):
    cells = jupytext.read(NOTEBOOKS / "11_whole_paper.py").cells
    run, early, save = tmp_path / "run", tmp_path / "early", runs.save

    def save_and_keep_the_first(folder, step, *rest):
        save(folder, step, *rest)
        if step == 2:
            shutil.copytree(folder, early)

    monkeypatch.setattr(runs, "save", save_and_keep_the_first)
    code = [c.source for c in cells if c.cell_type == "code" and not set(HIDDEN) & set(c.metadata.get("tags", ()))]
    monkeypatch.setenv("ORGANSEG_DATA", str(shared / "data" / "real_ct"))
    monkeypatch.setenv("ORGANSEG_RUN", str(run))
    monkeypatch.setenv("ORGANSEG_PROFILE", "fast")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {}
    exec(code[0], names)
    names["profile"] = PROFILES["fast"].replace(steps=4, base_filters=2, crop_size=16, spacing=8.0, validate_every=2)
    rest = code[1:]
    for source in rest:
        exec(source, names)
    assert names["profile"].steps == 4, "what is cut short on phantoms is not on patients"
    said = capsys.readouterr().out
    assert "5 scans of 5 patients" in said and "test: 2 of 2" in said and "'vein': 3" in said
    assert {path.name for path in run.iterdir()} >= {"run.json", "scores_test.csv", "scores_training.csv"}
    tested = {file.name for file in names["testing"]}
    assert set(names["scores_test"].case) == tested and not set(names["scores_training"].case) & tested
    assert len(names["scores_test"]) == sum(len(file.annotated) for file in names["testing"])

    shutil.copytree(early, run, dirs_exist_ok=True)  # as if the runtime had gone after step 2
    exec(next(source for source in rest if "organseg.train(" in source), names)
    assert [row["step"] for row in names["history"]] == [2, 4]


def test_the_stored_labels_of_the_sample_patient_have_the_stored_scores(shared):
    """By a formula of its own: the tables of chapter 11 and its picture are about the same trainings."""
    reference = load_case_of(shared, "totalseg_example").label
    scores = pandas.read_csv(runs.WEIGHTS / "few_patients.csv").set_index(["case", "network", "organ"]).dice
    with np.load(runs.WEIGHTS / "few_patients.npz") as labels:
        assert set(labels) == {"as_it_was", "random", "drawn", "gentle"}
        for start, found in labels.items():
            for organ in ORGANS:
                a, b = set(np.flatnonzero(found == organ.id)), set(np.flatnonzero(reference == organ.id))
                dice = 2 * len(a & b) / (len(a) + len(b))
                assert abs(dice - scores["totalseg_example", start.replace("_", " "), organ.name]) < 1e-4


def load_case_of(shared, name):
    return {file.name: file for file in find_cases(shared / "data" / "real_ct")}[name].load()
