"""The checks of the exercises: an untouched one is told so, and each typical mistake gets its own hint.

Right answers are tried in test_other_forms.py, and the stored solutions with mistakes in them in test_solutions.py.
"""

import ast
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec

from organseg import course

HERE = Path(__file__).parent
CHAPTERS = sorted(path.stem for path in (HERE / "wrong_answers").glob("chapter_*.py"))
STORED = [wrong for chapter in CHAPTERS for wrong in import_module(f"wrong_answers.{chapter}").WRONG]
WRONG = [wrong[:3] for wrong in STORED]
CHECKS = [name for chapter in CHAPTERS for name in vars(import_module(f"organseg.course.{chapter}"))]
NUMBERS = [".".join(name.split("_")[1:]) for name in CHECKS if name.startswith("exercise_")]


@pytest.mark.parametrize("number, answer, words", WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_a_wrong_answer_gets_its_hint(number, answer, words, capsys):
    course.check(number, answer)
    said = capsys.readouterr().out
    assert said.startswith(f"Exercise {number}: not yet. ") and said.count("\n") == 1
    assert words in said
    assert "raised" not in said, "a typical wrong answer runs; the mistake is one of understanding"


@pytest.mark.parametrize("number", NUMBERS)
def test_two_wrong_answers_have_two_hints(number):
    said = {course.verdict(number, answer) for one, answer, _ in WRONG if one == number}
    assert len(said) >= 2


def measured_in_new_voxels(affine, factor):
    steps = affine @ np.diag([factor, factor, factor, 1])
    return from_matvec(steps[:3, :3], apply_affine(steps, np.full(3, (factor - 1) / 2)))


def fitting_the_sum(gradients):
    return 2.0 ** np.floor(np.log2(65504 / np.abs(gradients).sum()))


@pytest.mark.parametrize(
    "number, answer, words",
    [("1.3", measured_in_new_voxels, "counts voxels of the old array"), ("8.4", fitting_the_sum, "are not added up")],
)
def test_a_mistake_that_looks_right_in_simple_cases_gets_its_own_hint(number, answer, words):
    """Half a block of two voxels is the same in old and new ones; gradients of unlike sizes add up to their largest."""
    assert words in course.verdict(number, answer)


def test_a_mistake_that_nobody_thought_of_gets_a_hint_too():
    """Where no hint of a table fits, the answer counts as right: so what follows `found == right or` ends with True."""
    tables = [
        node.values[-1]
        for chapter in CHAPTERS
        for node in ast.walk(ast.parse(Path(course.__file__).with_name(f"{chapter}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.BoolOp) and isinstance(node.values[-1], ast.Dict)
    ]
    assert len(tables) > 30
    for table in tables:
        assert ast.unparse(table.values[-1]) == "True", ast.unparse(table.keys[-1])


@pytest.mark.parametrize("number", NUMBERS)
def test_an_untouched_exercise_says_so_without_an_error(number, capsys):
    asks_for_a_function = callable(next(answer for one, answer, _ in WRONG if one == number))
    for answer in [..., None, *([lambda *arguments: ...] if asks_for_a_function else [])]:
        course.check(number, answer)
        assert capsys.readouterr().out.startswith(f"Exercise {number}: not started. ")


def test_an_answer_that_raises_becomes_one_line(capsys):
    def broken(*arguments, **options):
        raise KeyError("no such\nthing")

    callable_ones = [number for number in NUMBERS if "raised KeyError" in course.verdict(number, broken)]
    assert callable_ones
    course.check(callable_ones[0], broken)
    assert capsys.readouterr().out.count("\n") == 1
