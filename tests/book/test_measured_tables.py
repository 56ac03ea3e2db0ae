"""The tables of the pages on speed and on larger machines are those of the measurements that are kept."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

import gpus

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "benchmarks" / "bench.json"


def stored(name):
    with (ROOT / "book" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench", ROOT / "benchmarks" / "bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_on_speed_are_those_of_the_benchmark(bench):
    tables = bench.tables(json.loads(KEPT.read_text(encoding="utf-8")))
    assert {name: stored(name) for name in tables} == tables
    assert all(len(rows) > 2 for rows in tables.values())


def test_hours_on_a_gpu_follow_chapter_11s_rule():
    table = {row[0]: row[1:] for row in stored("gpus")}
    # 4.40 TFLOP a step; a T4 makes 8.1 TFLOP per second in float32 by its data sheet, and half of it here
    assert table["T4, float32"] == ["1.1", "72", "15", "by arithmetic"]
    assert float(table["A100, bfloat16"][0]) == pytest.approx(4.40 / 88, rel=0.02)  # chapter 11 assumes 88
    measured = json.loads((ROOT / "benchmarks" / "measured.json").read_text(encoding="utf-8"))
    assert stored("gpus")[1:] == list(gpus.rows(measured))


@pytest.mark.parametrize("name", ["README.md", "book/data.md", "book/ledger.md", "notebooks/11_whole_paper.py"])
def test_who_names_hours_on_a_gpu_says_whether_one_was_measured(name):
    text = (ROOT / name).read_text(encoding="utf-8").replace("\n# ", " ").replace("\n", " ")
    measured = json.loads((ROOT / "benchmarks" / "measured.json").read_text(encoding="utf-8"))
    assert gpus.sentence(measured) in text


def test_a_card_that_was_measured_has_its_time_in_the_table():
    lines = {"step, mixed_bfloat16, ms: median, p95": {"value": "22.0, 23.1"}, "step, float32: TFLOP/s": {"value": "3"}}
    about = {"machine": "NVIDIA H200, JAX 0.11", "date": "2026-11-28", "lines": lines}
    *others, last = gpus.rows({"gpu": about})
    assert last == ["NVIDIA H200, bfloat16", "0.022", "1.5", "0.31", "measured, 2026-11-28"]
    assert [row[-1] for row in others] == ["by arithmetic"] * len(gpus.SHEETS)
    assert gpus.sentence({"gpu": about}) == (
        "Measured on 2026-11-28, a training step of the full network: 0.022 s (NVIDIA H200, bfloat16); "
        "the rest is arithmetic."
    )
