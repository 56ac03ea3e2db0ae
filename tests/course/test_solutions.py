"""The checks refuse each stored solution with a mistake in it, unless the mistake changes no result.

What is refused and what is right is decided apart: `mutation` makes the mistakes, `valid_inputs` draws inputs as the
exercises' texts allow them. A mutant counts as right only if it gives the solution's results on all of these.
"""

import ast
import warnings
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from mutation import answer_of, mutants_of, overwriting, stored_solutions
from valid_inputs import INPUTS, OPEN, PROPERTIES, ROUNDS, alike

from organseg import course

SOLUTIONS = dict(stored_solutions())
COUNTS = {}


@pytest.fixture(autouse=True)
def quiet():
    """Mutants divide by zero and average nothing, and NumPy warns of it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module", autouse=True)
def table(request):
    """Prints, with `-v`, what was made and what became of it."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        if request.config.option.verbose > 0 and COUNTS:
            print("\n\nexercise  mutants  refused  (they raise)  equivalent")
            counts = {number: COUNTS[number] for number in SOLUTIONS if number in COUNTS}
            counts["all"] = np.sum([*counts.values()], axis=0)
            for number, (made, refused, raised) in counts.items():
                print(f"{number:8}{made:9}{refused:9}{raised:14}{made - refused:12}")


@cache
def expected_results(number):
    rng = np.random.default_rng(int(float(number) * 100))
    inputs = [INPUTS[number](rng) for _ in range(ROUNDS)]
    solution = answer_of(SOLUTIONS[number])
    return [(arguments, solution(*deepcopy(arguments))) for arguments in inputs]


def is_right(number, answer):
    """Whether an answer gives what the exercise's text asks for, on all inputs, and leaves these as they are."""
    try:
        if number in PROPERTIES:
            return PROPERTIES[number](answer)
        if not callable(answer):
            return answer == answer_of(SOLUTIONS[number])
        for arguments, expected in expected_results(number):
            given = deepcopy(arguments)
            with np.errstate(**dict.fromkeys(("divide", "invalid"), "raise" if number == "3.2" else "ignore")):
                found = answer(*given)
            np.testing.assert_equal(given, arguments)
            if not OPEN.get(number, lambda found, expected, *_: alike(found, expected))(found, expected, *arguments):
                return False
    except Exception:
        return False
    return True


SAMPLE = """
def answer(values, size):
    result = values.copy()
    for value in values:
        if size < 0.5 and value >= 0:
            result[0] += max(size // 2, 3)
    return np.nanmean(result), size
"""
MISTAKES = """
size < 0.5 → size <= 0.5; value >= 0 → value > 0; 0.5 → 1.5; 2 → 1; 3 → 4; result[0] += max(size // 2, 3) → pass
size // 2 → int(size / 2); size // 2 → round(size / 2); size // 2 → -(-size // 2); max(size // 2, 3) → size // 2
values.copy() → values; np.nanmean(result) → np.mean(result); np.nanmean(result) → np.nanmedian(result)
np.nanmean(result) → np.nanmean(result[:-1]); size < 0.5 and value >= 0 → size < 0.5 or value >= 0; values → size
(np.nanmean(result), size) → (size, np.nanmean(result)); return (np.nanmean(result), size) → (np.nanmean(result), size)
return (np.nanmean(result), size) → return whole((np.nanmean(result), size))
"""


def test_the_typical_mistakes_are_made():
    made = {change for change, _ in mutants_of(ast.parse(SAMPLE))}
    assert set(MISTAKES.strip().replace("\n", "; ").split("; ")) <= made
    assert any("if not (size < 0.5 and value >= 0)" in change for change in made)
    assert any("for value in list(values)[:-1]" in change for change in made)


@pytest.mark.parametrize("number", SOLUTIONS)
def test_the_solution_is_right_on_all_valid_inputs(number):
    solution = answer_of(SOLUTIONS[number])
    assert course.verdict(number, solution).startswith("right. ")
    assert is_right(number, solution)


@pytest.mark.parametrize("number", SOLUTIONS)
def test_a_mutant_is_refused_unless_it_gives_the_same_results(number):
    wrongly = {"accepted": [], "refused": []}
    lines = []
    for change, mutant in mutants_of(SOLUTIONS[number]):
        lines.append(course.verdict(number, mutant))
        assert lines[-1].startswith(("right. ", "not yet. ")) and "The check cannot" not in lines[-1], change
        accepted, right = lines[-1].startswith("right. "), is_right(number, mutant)
        if accepted != right:
            wrongly["accepted" if accepted else "refused"].append(f"{change}: {lines[-1]}")
    kinds = "", "not yet. ", "not yet. Your answer raised"
    COUNTS[number] = [sum(line.startswith(kind) for line in lines) for kind in kinds]
    assert not any(wrongly.values()), wrongly


# The places of those arguments that a function could overwrite.
KEPT = [
    (number, place)
    for number, draw in INPUTS.items()
    for place, argument in enumerate(draw(np.random.default_rng(0)))
    if isinstance(argument, np.ndarray | list)
]


@pytest.mark.parametrize("number, place", KEPT)
def test_an_answer_that_overwrites_the_callers_array_is_refused_with_this_reason(number, place):
    answer = overwriting(answer_of(SOLUTIONS[number]), place)
    assert "overwrites what it is given" in course.verdict(number, answer)
