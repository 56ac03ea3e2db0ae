"""Checks of the course's exercises: each answers with a hint, never with the solution.

A notebook calls `check("2.1", answer)`. What is tried, and which hint fits which mistake, is in the
file of the chapter (`chapter_2`); this file only finds it there, and says what came out.
"""

from importlib import import_module

CHECKS = {}  # the number of an exercise: the function that tries an answer


class NotStarted(Exception):
    """The answer is still the `...` of the untouched exercise."""


def exercise(number):
    """Register the function that tries the answer to an exercise.

    The function gets the answer (functions are wrapped, so that one that returns `None` or `...`
    counts as untouched), and returns a hint in a sentence or two where something is wrong, and None
    where all is right. Its docstring's first line is said to whoever got it right: what the
    exercise has shown.
    """

    def register(function):
        CHECKS[number] = function
        return function

    return register


def check(number, answer):
    """Try an answer and print one line: not started, right, or a hint.

    Parameters
    ----------
    number : str, chapter and number of the exercise, e.g. "2.1"
    answer : what the exercise asks for, often a function
    """
    import_module(f"{__name__}.chapter_{number.split('.')[0]}")
    print(f"Exercise {number}: {said_of(number, answer)}")


def said_of(number, answer):
    """What `check` prints after the number."""
    tried = CHECKS[number]
    try:
        hint = tried(_started(answer))
    except NotStarted:
        return "not started. Replace the ... by your answer and run the cell again."
    except (
        Exception
    ) as error:  # a student's mistake of any kind becomes a line, not a traceback of this package
        found = " ".join(str(error).split())
        return f"not yet. Your answer raised {type(error).__name__}: {found}"
    return f"not yet. {hint}" if hint else f"right. {tried.__doc__.strip().splitlines()[0]}"


def _started(answer):
    """The answer, or NotStarted; a function's results are looked at in the same way, each time it
    is called."""
    if answer is None or answer is Ellipsis:
        raise NotStarted
    if not callable(answer):
        return answer

    def watched(*arguments, **options):
        return _started(answer(*arguments, **options))

    return watched
