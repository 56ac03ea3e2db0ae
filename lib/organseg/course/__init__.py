"""Checks of the course's exercises: each answers with a hint, never with the solution.

A notebook calls `check("2.1", answer)`. What is tried is in the file of the chapter: `exercise_2_1`
of `chapter_2` gets the answer and yields, for each thing that it tries, True where all is well or a
table {hint: whether it fits}. The first hint that fits is said. Where none ever fits, the answer is
right, and the function's docstring is said: what the exercise has shown.
"""

from importlib import import_module

import numpy as np


class NotStarted(Exception):
    """The answer is still the `...` of the untouched exercise."""


class Found:
    """What an answer gives; `found == expected` is one True or False, by shape and by all numbers.

    Fractions may be off by a hundred-thousandth, whole numbers by rounding only; both by `within`.
    """

    def __init__(self, values, within=1e-8):
        self.values, self.within = np.asarray(values), within
        self.shape = self.values.shape

    def __eq__(self, expected):
        expected = np.asarray(expected)
        share = 1e-5 if expected.dtype.kind == "f" else 1e-8
        alike = self.shape == expected.shape
        return alike and np.allclose(self.values, expected, rtol=share, atol=self.within)

    def __getitem__(self, place):
        return self.values[place]


def tried(answer, cases, within=1e-8):
    """What a function gives for each case, a number each; and the cases' columns, as arrays."""
    return Found([float(answer(*case)) for case in cases], within), *np.array(cases).T


def check(number, answer):
    """Try an answer and print one line: not started, right, or a hint.

    Parameters
    ----------
    number : str, chapter and number of the exercise, e.g. "2.1"
    answer : what the exercise asks for, often a function

    Examples
    --------
    >>> check("0.1", "eight")
    Exercise 0.1: not yet. The answer is a whole number, such as 5.
    """
    print(f"Exercise {number}: {verdict(number, answer)}")


@np.errstate(all="ignore")  # where an answer divides by 0, its result tells
def verdict(number, answer):
    """What `check` prints after the number of the exercise."""
    chapter, _, place = number.partition(".")
    exercises = import_module(f"{__name__}.chapter_{chapter}")
    exercise = getattr(exercises, f"exercise_{chapter}_{place}")
    try:
        for hints in exercise(_started(answer)):
            table = hints if isinstance(hints, dict) else {}
            if fitting := [hint for hint, fits in table.items() if fits]:
                return f"not yet. {fitting[0]}"
    except NotStarted:
        return "not started. Replace the ... by your answer and run the cell again."
    except Exception as error:  # a student's mistake of any kind becomes a line, not a traceback
        return " ".join(f"not yet. Your answer raised {type(error).__name__}: {error}".split())
    return " ".join(f"right. {exercise.__doc__}".split())


def _started(answer):
    """The answer, unless it is untouched; a function is watched, for it may return `...` itself."""
    if answer is None or answer is Ellipsis:
        raise NotStarted
    if not callable(answer):
        return answer
    return lambda *arguments, **options: _started(answer(*arguments, **options))
