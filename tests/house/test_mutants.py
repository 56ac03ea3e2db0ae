"""The planted errors fit the code, and an outcome on record counts only as long as error and test stay as they are."""

from dataclasses import replace

import mutants
import pytest


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_an_error_still_fits_the_code(name):
    mutant = mutants.MUTANTS[name]
    assert mutant.targets and mutant.text != mutant.becomes
    assert mutants.misfits([mutant]) == []


def test_an_error_that_no_longer_fits_is_one_line():
    mutant = mutants.MUTANTS["three levels"]
    for change, words in (
        ({"text": "no such text"}, "found 0 times in networks.py"),
        ({"text": "x"}, "times in networks.py"),
        ({"becomes": "levels=("}, "plants what is no Python"),
        ({"file": "no_such_file.py"}, "found 0 times in no_such_file.py"),
        ({"test": "core/test_networks.py::test_nothing"}, "found no tests/core/test_networks.py::test_nothing"),
        ({"chapter": "99_nowhere"}, "found no notebooks/99_nowhere.ipynb"),
    ):
        (line,) = mutants.misfits([replace(mutant, **change)])
        assert line.startswith("three levels: ") and words in line and "\n" not in line


def test_an_outcome_counts_only_as_long_as_error_and_test_stay_as_they_are():
    mutant = mutants.MUTANTS["three levels"]
    (target, *_) = mutant.targets
    outcomes = {mutant.behaviour: {target: {"caught": True, "of": mutant.fingerprint(target)}}}
    assert mutants.caught(mutant, target, outcomes) is True
    assert mutants.caught(replace(mutant, becomes="levels=2,"), target, outcomes) is None
    assert mutants.caught(mutant, "tests/core/test_networks.py::test_2_or_3_dimensions_and_no_others", outcomes) is None
    outcomes[mutant.behaviour][target]["of"] = "found with another test"
    assert mutants.caught(mutant, target, outcomes) is None
    assert mutants.caught(mutant, target, {}) is None
