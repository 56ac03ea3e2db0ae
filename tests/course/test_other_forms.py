"""A right answer may have any form that the exercise's text leaves open: another type, another order, another way."""

import math
from fractions import Fraction

import numpy as np
import pytest
from mutation import answer_of, stored_solutions
from valid_inputs import INPUTS

from organseg import course

SOLUTIONS = {number: answer_of(tree) for number, tree in stored_solutions()}
OF_A_NUMBER = [float, np.float32, np.array, lambda value: np.array([value]), lambda value: Fraction(float(value))]
OF_NUMBERS = [
    tuple,
    list,
    np.array,
    lambda values: np.array(values, np.float32),
    lambda values: np.array(values).tolist(),
]


def result_of(number):
    return SOLUTIONS[number](*INPUTS[number](np.random.default_rng(1)))


NO_NUMBERS = "3.3", "11.3", "12.2"  # indices, names, slices
NUMBERS = [number for number in INPUTS if number not in NO_NUMBERS and np.ndim(result_of(number)) == 0]
SEVERAL = [number for number in INPUTS if number not in (*NO_NUMBERS, *NUMBERS)]


def in_form(number, form):
    return lambda *arguments: form(SOLUTIONS[number](*arguments))


@pytest.mark.parametrize(
    "number, form", [(n, form) for n in NUMBERS for form in OF_A_NUMBER] + [(n, f) for n in SEVERAL for f in OF_NUMBERS]
)
def test_the_type_of_numbers_does_not_count(number, form):
    assert course.verdict(number, in_form(number, form)).startswith("right. ")


def undefined_where_never_said(confusion):
    said = confusion.sum(axis=0)
    precision = np.divide(np.diag(confusion), said, out=np.full(len(said), np.nan), where=said > 0)
    return {"precision": precision, "recall": np.diag(confusion) / confusion.sum(axis=1)}.values()


def by_choice_and_mask(patient_of, held_out, seed):
    chosen = np.random.default_rng(seed).choice(np.unique(patient_of), held_out, replace=False)
    return ~np.isin(patient_of, chosen), np.isin(patient_of, chosen)


def by_shuffling_a_list(patient_of, held_out, seed):
    patients = sorted(set(patient_of.tolist()))
    np.random.default_rng(seed).shuffle(patients)
    parts = [], []
    for index, patient in enumerate(patient_of.tolist()):
        parts[patient in patients[:held_out]].append(index)
    return parts


def by_logarithms(patients, crops):
    return math.floor(math.log(patients) / -math.log(1 - crops / patients)) + 1


def by_doubling(gradients):
    scale, largest = 2.0**-60, float(np.abs(gradients).max())
    while 2 * scale * largest <= 65504:
        scale *= 2
    return scale


def sort_and_cut(first, second, picks):
    """As chapter 10 does it by hand."""
    averages = sorted((second - first)[draw].mean() for draw in picks)
    return averages[len(picks) // 40], averages[len(picks) - len(picks) // 40 - 1]


def as_sets(scans, hospital):
    return [set(names) for names in SOLUTIONS["11.3"](scans, hospital)]


def backwards(scans, hospital):
    return np.array([np.array(names[::-1]) for names in SOLUTIONS["11.3"](scans, hospital)], dtype=object)


def numpy_slices(mask, spacing, margin):
    box = SOLUTIONS["12.2"](mask, spacing, margin)
    return [slice(np.int64(one.start) or None, np.int64(one.stop), 1) for one in box]


def up_to_the_end(mask, spacing, margin):
    box = SOLUTIONS["12.2"](mask, spacing, margin)
    return tuple(slice(one.start, None if one.stop == n else one.stop) for one, n in zip(box, mask.shape, strict=True))


def padded_more(image, find):
    """Eight slices of air more than needed change nothing."""
    ras = np.pad(image[::-1, ::-1], [(0, -size % 8 + 8) for size in image.shape])
    return find(ras)[tuple(map(slice, image.shape))][::-1, ::-1]


OTHERS = [
    *(("0.1", value) for value in (8.0, np.array(8), np.int64(8), np.array([8]))),
    ("1.1", [("S", "R", "A"), ("R", "P", "I"), ("P", "R", "S")]),
    ("1.1", np.array(["SRA", "RPI", "PRS"])),
    ("1.1", ("sra", "rpi", "prs")),
    ("2.2", [[-1 / 6] * 3, [1 / 3] * 3, [-1 / 6] * 3]),
    ("3.2", undefined_where_never_said),
    ("3.3", by_choice_and_mask),
    ("3.3", by_shuffling_a_list),
    ("5.3", lambda volumes: (w := np.where(volumes, volumes, volumes[volumes > 0].min()) ** -1.0) / w.sum() * len(w)),
    ("6.2", lambda memory, weights, each: max(0, (memory - weights) / each // 128**2 // 8 * 8)),
    ("7.2", lambda control, spacing: all(b - a > -spacing for a, b in zip(control[:-1], control[1:], strict=True))),
    ("7.3", lambda shape: np.indices(shape)[:, ::-1] * [[[[1]]], [[[1]]], [[[1]]]]),
    ("8.1", by_logarithms),
    ("8.3", dict(reversed(SOLUTIONS["8.3"].items()))),
    ("8.4", by_doubling),
    ("9.3", padded_more),
    ("10.3", sort_and_cut),
    ("11.3", as_sets),
    ("11.3", backwards),
    ("12.1", lambda before, after: set(SOLUTIONS["12.1"](before, after))),
    ("12.1", lambda before, after: SOLUTIONS["12.1"](before, after)[::-1]),
    ("12.2", numpy_slices),
    ("12.2", up_to_the_end),
    ("12.3", dict(reversed(SOLUTIONS["12.3"].items()))),
]  # fmt: skip


@pytest.mark.parametrize("number, answer", OTHERS, ids=lambda value: getattr(value, "__name__", None))
def test_another_right_answer_is_right(number, answer):
    assert course.verdict(number, answer).startswith("right. ")


def no_return(*arguments):
    pass


FUNCTIONS = [number for number, solution in SOLUTIONS.items() if callable(solution)]


@pytest.mark.parametrize("number", FUNCTIONS)
def test_a_forgotten_return_is_told_in_one_line(number):
    assert course.verdict(number, no_return) == "not yet. Your function returned None: is a `return` missing?"


@pytest.mark.parametrize("number", FUNCTIONS)
@pytest.mark.parametrize("odd", ["five", {}, [[1], [2, 3]], object(), {"a": 1}, np.nan, 1j, [], len, [None, None], -1])
def test_what_an_odd_answer_does_to_the_check_is_not_called_its_error(number, odd):
    said = course.verdict(number, lambda *arguments: odd)
    assert said.startswith("not yet. ") and "raised" not in said and "\n" not in said


@pytest.mark.parametrize("number", FUNCTIONS)
def test_a_result_handed_over_instead_of_the_function_is_told(number):
    assert "hand over the function itself" in course.verdict(number, result_of(number) if number != "3.3" else 5)


@pytest.mark.parametrize("number", SOLUTIONS.keys() - FUNCTIONS)
@pytest.mark.parametrize("odd", ["five", {}, [[1], [2, 3]], object(), np.nan, [], len, {"A": "leak"}, ("RAS", 1, 2), 5])
def test_an_odd_value_is_no_error(number, odd):
    said = course.verdict(number, odd)
    assert said.startswith("not yet. ") and "raised" not in said and "\n" not in said


@pytest.mark.parametrize("number", [*NUMBERS, *SEVERAL])
@pytest.mark.parametrize("right_ones", [1, 4])
def test_a_hint_quotes_no_case_that_is_right(number, right_ones):
    calls = []

    def right_at_first(*arguments):
        calls.append(arguments)
        result = SOLUTIONS[number](*arguments)
        return result if len(calls) <= right_ones else np.full(np.shape(result), 4321)

    said = course.verdict(number, right_at_first)
    assert said.startswith("not yet. ")
    assert "you say" not in said or "4321" in said or number == "7.2" and "you say True" in said


def rounded(*arguments):
    return [np.round(part, 2) for part in SOLUTIONS["3.2"](*arguments)]


def divides_by_zero(confusion):
    return np.nan_to_num(np.diag(confusion) / confusion.sum(axis=0)), np.diag(confusion) / confusion.sum(axis=1)


def stop_rounded_up(mask, spacing, margin):
    box = zip(SOLUTIONS["12.2"](mask, spacing, margin), mask.shape, strict=True)
    return [slice(one.start, min(-(-one.stop // 8) * 8, size)) for one, size in box]


def one_spacing(mask, spacing, margin):
    return SOLUTIONS["12.2"](mask, spacing[:1] * 3, margin)


def padded_with(value):
    def answer(image, find):
        ras = image[::-1, ::-1]
        padded = np.pad(ras, [(0, -size % 8) for size in ras.shape], constant_values=value)
        return find(padded)[tuple(map(slice, ras.shape))][::-1, ::-1]

    return answer


def padded_with_the_edge(image, find):
    ras = image[::-1, ::-1]
    padded = np.pad(ras, [(0, -size % 8) for size in ras.shape], mode="edge")
    return find(padded)[tuple(map(slice, ras.shape))][::-1, ::-1]


def compares_before_it_rounds(image, affine, place):
    index = (np.linalg.inv(affine) @ [*place, 1])[:3]
    if np.any(index < 0) or np.any(index > np.array(image.shape) - 1):
        return -1000
    return image[tuple(np.rint(index).astype(int))]


def of_who_has_the_worst_entry(scores):
    patient = np.nanargmin(np.nanmin(scores, axis=1))
    return np.nanmin(scores, axis=0).mean(), np.nanmean(scores[patient])


def of_those_found(truth, prediction, annotated):
    found = [organ for organ in annotated if (prediction == organ).any()]
    return SOLUTIONS["5.2"](truth, prediction, found)


def by_the_median(before, after):
    change = after - before
    return np.flatnonzero((np.nanmedian(change, axis=0) > 0) & (np.nanmin(change, axis=0) >= -0.01)) + 1


def not_below_one(gradients):
    return max(1.0, SOLUTIONS["8.4"](gradients))


def truncated_halves(position, levels, convolutions):
    low = high = position
    for _ in range(levels - 1):
        low, high = int((low - convolutions) / 2), int((high + convolutions) / 2)
    low, high = low - convolutions, high + convolutions
    for _ in range(levels - 1):
        low, high = 2 * low - convolutions, 2 * high + 1 + convolutions
    return position - low, high - position


ONCE_MISJUDGED = [
    ("1.2", compares_before_it_rounds, "round before you compare"),
    ("2.3", lambda image, size: SOLUTIONS["2.3"](image, size).astype(int), "whole numbers keeps none"),
    ("3.2", rounded, "all their decimals"),
    ("3.2", divides_by_zero, "divide by zero"),
    ("4.2", lambda shape: [round((n - 64) / 8) + 1 for n in shape], "drops an odd last pixel"),
    ("4.2", lambda shape: [-(-n // 8) - 7 for n in shape], "drops an odd last pixel"),
    ("5.2", of_those_found, "was missed"),
    ("6.2", lambda memory, weights, each: (memory - weights) // (each * 128**2) // 8 * 8, "not even the parameters"),
    ("6.3", truncated_halves, "int(-2.5)"),
    ("7.2", lambda control, spacing: np.all(np.diff(control) >= -spacing), "two points at one place"),
    ("7.2", lambda control, spacing: np.all(np.diff(control)[:-1] > -spacing), "leave out a pair"),
    ("8.1", lambda patients, crops: math.ceil(math.log(patients) / -math.log(1 - crops / patients)), "exactly one"),
    ("8.4", lambda gradients: 2.0 ** np.floor(np.log2(65536 / np.abs(gradients).max())), "less than 65,536"),
    ("8.4", lambda gradients: 2.0 ** np.floor(np.log2(65504 / np.linalg.norm(gradients))), "not added up"),
    ("8.4", not_below_one, "may lie below 1"),
    ("9.3", padded_with(-1000), "air is 0"),
    ("9.3", padded_with(1), "air is 0"),
    ("9.3", padded_with_the_edge, "air is 0"),
    ("10.1", of_who_has_the_worst_entry, "single worst entry"),
    ("12.1", by_the_median, "median"),
    ("12.2", stop_rounded_up, "later than it has to"),
    ("12.2", one_spacing, "three spacings"),
]  # fmt: skip


@pytest.mark.parametrize("number, answer, words", ONCE_MISJUDGED, ids=lambda value: getattr(value, "__name__", None))
def test_an_answer_that_was_once_misjudged_gets_its_hint(number, answer, words):
    said = course.verdict(number, answer)
    assert said.startswith("not yet. ") and words in said
