"""Checks of the course's exercises: each answers with a hint, never with the solution.

A notebook calls `check("2.1", answer)`. What is tried is in the file of the chapter: `exercise_2_1`
of `chapter_2` gets the answer and yields, for each thing that it tries, True where all is well or a
table {hint: whether it fits}. The first hint that fits is said. Where none ever fits, the answer is
right, and the function's docstring is said: what the exercise has shown. What an answer is worth
counts and not its type: `number`, `numbers` and `two` read it. A teacher may ask for a record of
the tries: `record` and `report`.
"""

from copy import deepcopy
from functools import partial
from importlib import import_module
from reprlib import repr as shortened

import numpy as np

from organseg.course.tries import note, record, report
from organseg.errors import OrgansegError, warn

__all__ = ["check", "record", "report"]
NOT_STARTED = "not started. Replace the ... by your answer; run the cell again."


class Told(Exception):
    """The line to print, where no table of hints is needed to find it."""


def numbers(value, asked="Numbers are"):
    """The value as an array of numbers, be it a list, a tuple, an array or one number of any type.

    >>> numbers((8, 8.5))
    array([8. , 8.5])
    """
    try:
        array = np.asarray(value)
        array = array.astype(float) if array.dtype.kind == "O" else array
    except (TypeError, ValueError, OverflowError):  # no numbers, or rows of unlike lengths
        array = np.array("")
    if array.dtype.kind not in "biuf":
        raise Told(f"not yet. {asked} asked for; you give {shortened(value)}.")
    return array


def number(value):
    """The value as one float: 8, 8.0, np.int64(8) and np.array(8) are the same answer.

    >>> number(np.array(8))
    8.0
    """
    array = numbers(value, "A number is")
    if array.size != 1:
        raise Told(f"not yet. One number is asked for; you give {shortened(value)}.")
    return float(array.reshape(()))


def two(value, hint):
    """The two parts of an answer, be it a tuple, a list or an array; otherwise the hint is told.

    >>> two(np.zeros((2, 3)), "Return two rows.")
    [array([0., 0., 0.]), array([0., 0., 0.])]
    """
    parts = list(value) if np.iterable(value) and not isinstance(value, str | dict) else []
    if len(parts) != 2:
        raise Told(f"not yet. {hint}")
    return parts


class Found:
    """What an answer gives; `found == expected` is one True or False, by shape and by all numbers.

    Fractions may be off by a hundred-thousandth, whole numbers by rounding only; both by `within`.
    """

    def __init__(self, values, within=1e-8):
        self.values, self.within = numbers(values), within
        self.shape = self.values.shape

    def __eq__(self, expected):
        return self.shape == np.shape(expected) and bool(self._close(expected).all())

    def wrong(self, expected):
        """The place of the first case that is not as expected: a hint never quotes a right one."""
        return int(np.argmin(self._close(expected).reshape(len(expected), -1).all(axis=1)))

    def _close(self, expected):
        share = 1e-5 if np.asarray(expected).dtype.kind == "f" else 1e-8
        return np.isclose(self.values, expected, rtol=share, atol=self.within)

    def __getitem__(self, place):
        return self.values[place]


def tried(answer, cases, within=1e-8, both=None):
    """What a function gives for each case: a number, or two, and `both` says which; the columns."""
    read = partial(two, hint=both) if both else number
    return Found([read(answer(*case)) for case in cases], within), *np.array(cases).T


def drawn(count, *ranges):
    """Cases at random, the same each time: whole numbers where both ends are, and never `stop`.

    >>> cases = drawn(100, (1, 4), (0.0, 1.0))
    >>> sorted({whole for whole, _ in cases}), all(0 <= share < 1 for _, share in cases)
    ([1, 2, 3], True)
    """
    rng = np.random.default_rng(count)
    draw = {int: rng.integers, float: rng.uniform}
    columns = [draw[type(stop)](start, stop, count).tolist() for start, stop in ranges]
    return list(zip(*columns, strict=True))


def check(number, answer):
    """Try an answer and print one line: not started, right, or a hint.

    Parameters
    ----------
    number : str, chapter and number of the exercise, e.g. "2.1"
    answer : what the exercise asks for, often a function

    Examples
    --------
    >>> check("0.1", 7.5)
    Exercise 0.1: not yet. The answer is a whole number, such as 5.
    """
    line = verdict(number, answer)
    print(f"Exercise {number}: {line}")
    try:
        note(number, line)
    except (OrgansegError, OSError) as error:
        warn(f"this try is not on record: {error}")


@np.errstate(all="ignore")  # where an answer divides by 0, its result tells
def verdict(number, answer):
    """What `check` prints after the number of the exercise."""
    chapter, _, place = number.partition(".")
    exercises = import_module(f"{__name__}.chapter_{chapter}")
    exercise = getattr(exercises, f"exercise_{chapter}_{place}")
    line = f"right. {exercise.__doc__}"
    try:
        if answer is None or answer is Ellipsis:
            raise Told(NOT_STARTED)
        for hints in exercise(partial(_result, answer) if callable(answer) else answer):
            table = hints if isinstance(hints, dict) else {}
            if fitting := [hint for hint, fits in table.items() if fits]:
                raise Told(f"not yet. {fitting[0]}")
    except Told as told:
        line = str(told)
    except Exception as error:  # raised by the check, which read the answer: the answer did run
        line = f"not yet. Is this what the exercise asks for? The check cannot read it ({error})."
        if not callable(answer) and "not callable" in str(error):
            line = "not yet. Write a function, and hand over the function itself, not its result."
    return " ".join(line.split())


def _result(function, *arguments):
    """What a student's function returns; told are its own mistakes, of which the check is free."""
    given = deepcopy(arguments)
    try:
        result = function(*given)
    except Exception as error:  # a mistake of any kind becomes a line, not a traceback
        raise Told(f"not yet. Your answer raised {type(error).__name__}: {error}") from error
    if result is Ellipsis:
        raise Told(NOT_STARTED)
    try:
        np.testing.assert_equal(given, arguments)
    except AssertionError:
        raise Told("not yet. Your function overwrites what it is given: work on a copy.") from None
    if result is None:
        raise Told("not yet. Your function returned None: is a `return` missing?")
    return result
