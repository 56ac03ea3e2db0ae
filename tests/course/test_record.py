"""The record of tries that a class may keep, and the table that joins those of all students."""

import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

import organseg.course.tries as keeping
import results
from organseg.course import check, record, report
from organseg.errors import OrgansegError, OrgansegWarning

ROOT = Path(__file__).resolve().parents[2]
TRIES = "from organseg.course import check\nfor answer in (..., 7, 8): check('0.1', answer)\n"


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """As a fresh kernel: no file named, nothing tried."""
    monkeypatch.delenv(keeping.VARIABLE, raising=False)
    monkeypatch.setattr(keeping, "_tries", [])
    monkeypatch.setattr(keeping, "_files", [])


def kernel(code, **variables):
    """Run code as a notebook's kernel would, in a process of its own."""
    own = {key: value for key, value in os.environ.items() if key != keeping.VARIABLE}
    own |= {"PYTHONPATH": str(ROOT / "lib")} | variables
    return subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)


def written(path, *tries):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"tries": [{"time": time, "exercise": name, "solved": solved} for time, name, solved in tries]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check("0.1", 8)
    assert "right" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()) and not keeping._tries
    with pytest.raises(OrgansegError, match="expected record"):
        report()


def test_each_try_is_in_the_file_with_its_time_and_no_answer_is(tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    record(tmp_path / "ada.json")
    for answer in (..., None, 7, 8, 8.0):
        check("0.1", answer)
    tries = keeping.read_record(tmp_path / "ada.json")
    assert [(one.exercise, one.solved) for one in tries] == [("0.1", False), ("0.1", True), ("0.1", True)]
    for one in tries:
        time = datetime.fromisoformat(one.time)
        assert time.utcoffset().total_seconds() == 0 and before <= time <= datetime.now(UTC)
    kept = json.loads((tmp_path / "ada.json").read_text(encoding="utf-8"))
    assert set(kept) == {"tries"} and {key for one in kept["tries"] for key in one} == set(keeping.Try._fields)


def test_the_variable_switches_it_on_and_the_next_notebook_adds_to_the_file(tmp_path):
    path = tmp_path / "class" / "ada.json"
    for kernels in (1, 2):
        done = kernel(TRIES, ORGANSEG_RECORD=str(path))
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert [one.solved for one in keeping.read_record(path)].count(True) == kernels
    assert len(keeping.read_record(path)) == 4
    assert kernel(TRIES).stdout == done.stdout, "a record changes nothing of what is said"


def test_a_copy_joins_what_it_finds(tmp_path):
    old = ("2026-01-01T09:00:00+00:00", "2.1", True)
    copy = written(tmp_path / "copy.json", old)
    record(tmp_path / "ada.json")
    check("0.1", 8)
    assert report(copy) == copy and report(copy) == copy
    assert keeping.read_record(copy) == [old, *keeping.read_record(tmp_path / "ada.json")]


def test_a_file_that_is_no_record_is_refused_and_stays_as_it_is(tmp_path):
    other = tmp_path / "notes.json"
    other.write_text("my notes", encoding="utf-8")
    with pytest.raises(OrgansegError, match="notes.json: found .*; expected a record"):
        record(other)
    check("0.1", 8)
    assert other.read_text(encoding="utf-8") == "my notes"


def test_where_it_cannot_be_written_the_answer_is_said_and_a_line_more(tmp_path, capsys):
    record(tmp_path / "ada.json")
    (tmp_path / "ada.json").mkdir()
    with pytest.warns(OrgansegWarning, match="not on record") as warned:
        check("0.1", 8)
    assert "right" in capsys.readouterr().out and warned[0].filename == __file__


def test_a_disk_that_is_full_leaves_the_old_record_whole(tmp_path):
    path = written(tmp_path / "ada.json", *[("2026-01-01T09:00:00+00:00", f"2.{n}", True) for n in range(99)])
    before = path.read_bytes()
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))\n" + TRIES
    done = kernel(code, ORGANSEG_RECORD=str(path))
    assert "right" in done.stdout and "not on record" in done.stderr
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["ada.json"]


# The table of a class


def join(folder, out):
    command = [sys.executable, ROOT / "tools" / "results.py", folder, "--out", out]
    own = os.environ | {"PYTHONPATH": str(ROOT / "lib")}
    return subprocess.run(command, env=own, capture_output=True, text=True)


def test_a_class_becomes_one_table_and_a_damaged_file_one_line(tmp_path):
    record(tmp_path / "class" / "ada.json")
    for answer in (6, 7, 8, 8, 9):
        check("0.1", answer)
    day = "2026-03-02T10:00:0{}.000+00:00".format
    written(tmp_path / "class" / "bo.json", (day(1), "10.2", False), (day(2), "2.1", False), (day(3), "2.1", False))
    for chapter, time in ((2, day(4)), (10, "2026-03-02T11:00:05+01:00")):  # a folder of files is one student
        written(tmp_path / "class" / "Çelik, Cem" / f"{chapter}.json", (time, f"{chapter}.1", True))
    whole = (tmp_path / "class" / "ada.json").read_bytes()
    (tmp_path / "class" / "dan.json").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "class" / "eva.json").write_bytes(b"\xff\xfe\x00")
    written(tmp_path / "class" / "fay.json", ("yesterday", "2.1", True))
    done = join(tmp_path / "class", tmp_path / "table.csv")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.strip().splitlines()
    assert [Path(line.split(": found")[0]).name for line in lines] == ["dan.json", "eva.json", "fay.json"]
    table = pd.read_csv(tmp_path / "table.csv", index_col="student", dtype=str, keep_default_na=False)
    assert list(table.index) == ["ada", "bo", "Çelik, Cem"]
    assert list(table.columns) == ["solved"] + [
        f"{name} {column}" for name in ("0.1", "2.1", "10.1", "10.2") for column in ("tries", "first solved")
    ]
    assert table.loc["ada", ["solved", "0.1 tries", "2.1 tries"]].tolist() == ["1", "3", ""]
    solving = keeping.read_record(tmp_path / "class" / "ada.json")[2]
    assert table.loc["ada", "0.1 first solved"] == solving.time[:19] + "Z"
    assert table.loc["bo"].tolist() == ["0", "", "", "2", "", "", "", "1", ""]
    assert table.loc["Çelik, Cem", "2.1 first solved"] == "2026-03-02T10:00:04Z"
    assert table.loc["Çelik, Cem", "10.1 first solved"] == "2026-03-02T10:00:05Z", "in UTC, wherever it was written"


@pytest.mark.parametrize("made", [True, False], ids=["empty", "not there"])
def test_a_folder_without_records_gets_one_line(made, tmp_path):
    if made:
        (tmp_path / "class").mkdir()
    done = join(tmp_path / "class", tmp_path / "table.csv")
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "table.csv").exists()


def test_a_table_without_a_solved_exercise(tmp_path):
    written(tmp_path / "ada.json", ("2026-03-02T10:00:00+00:00", "2.1", False))
    assert results.table(results.read_class(tmp_path)[0])["solved"].tolist() == [0]
