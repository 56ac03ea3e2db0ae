"""The page of typical misconceptions, of which `tools/teaching.py` makes the text: the stored wrong answers to each
exercise, what each shows of its author's thinking, and the hint that its check gives."""

import inspect
import re
import sys
from importlib import import_module

from notebooks import ROOT

sys.path.append(str(ROOT / "tests" / "course"))  # the stored wrong answers are with the tests, which try them

MISCONCEPTIONS = """\
# Typical misconceptions

For each exercise: the wrong answers that the course expects, what each shows of its author's thinking, and the hint
with which the check answers it. The hints below are what the checks say; the tests try every one. The exercise's text,
its solution and the wrong answers' code are behind a click."""


def misconceptions(course):
    parts = [MISCONCEPTIONS]
    for one in course.values():
        stored = import_module(f"wrong_answers.chapter_{one.number}")
        parts += [f"## {one.title}", f"Exercises of the chapter {one.link}."]
        for exercise in one.exercises:
            wrong = [entry for entry in stored.WRONG if entry[0] == exercise.number]
            parts += [f"### {exercise}", _folded("The exercise", exercise.text)]
            parts.append("\n".join(_item(*entry) for entry in wrong))
            code = sources([entry[1] for entry in wrong if callable(entry[1])])
            parts += [_folded("These answers in code", _python(code))] if code else []
            parts.append(_folded("Solution", _python(exercise.solution)))
    return "\n\n".join(parts) + "\n"


def _item(number, answer, _, *shows):
    """A wrong answer: what it shows, its name or value, and the hint that the check gives."""
    from organseg.course import verdict

    words = " ".join(answer.__doc__.split()) if callable(answer) and answer.__doc__ else "".join(shows)
    value = answer.round(2).tolist() if hasattr(answer, "tolist") else answer
    name = answer.__name__ if callable(answer) else repr(value)
    if not words:
        sys.exit(f"wrong_answers: found no words for {name} of {number}; add a docstring, or a fourth entry")
    hint = re.sub(r"([*<$|])(?![^`]*`[^`]*(?:`[^`]*`)*$)", r"\\\1", verdict(number, answer).removeprefix("not yet. "))
    return f"- {words} (`{name}`)\n\n  *Hint:* {hint}"


def sources(functions):
    """The source of these functions and of those of their file that they call, without docstrings."""
    found, waiting = {}, list(functions)
    while waiting:
        function = waiting.pop(0)
        if function in found:
            continue
        source = re.sub(r'\n    """.*?"""', "", inspect.getsource(function), count=1, flags=re.DOTALL)
        found[function] = re.sub(r"  # noqa.*", "", source).strip()
        called = [function.__globals__.get(name) for name in function.__code__.co_names]
        waiting += [f for f in called if inspect.isfunction(f) and f.__module__ == function.__module__]
    return "\n\n\n".join(found.values())


def _folded(title, text):
    """Behind a click, on the site and on GitHub alike."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def _python(code):
    return f"```python\n{code}\n```"
