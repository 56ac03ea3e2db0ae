"""A record of the tries at exercises, for a class whose teacher asks for one; off until it is asked
for.

    from organseg.course import record
    record("ada.json")

From then on each `check` adds a line to that file: the exercise, the time in UTC, and whether it
was solved; nothing of the answer itself. Other notebooks that name the same file add to it. Where
the environment variable ORGANSEG_RECORD names a file, nobody needs to call anything.
"""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from organseg.errors import OrgansegError
from organseg.files import whole_file

VARIABLE = "ORGANSEG_RECORD"
EXPECTED = "expected a record of exercises, as organseg.course.record writes it"


class Try(NamedTuple):
    time: str  # ISO 8601, in UTC
    exercise: str  # chapter and number, e.g. "2.1"
    solved: bool


_tries, _files = [], []  # of this process; the last file named is the one that is written


def record(path="exercises.json"):
    """Keep every try from now on, in this file.

    What the file holds already stays in it; one that is no record is refused with an
    `OrgansegError`, before anything is tried.
    """
    if Path(path).exists():
        read_record(path)
    _files.append(Path(path))


def report(path=None):
    """Write the tries of this session to the file being kept, or to another, and return its path.

    They join those that the file holds. It appears whole or not at all. `check` calls this after
    each try, so a call is needed only for a copy.
    """
    path = Path(path) if path else _kept()
    if path is None:
        asked = f"record('exercises.json') before the first check, or a file in {VARIABLE}"
        raise OrgansegError(f"found no record; expected {asked}")
    tries = sorted({*_tries, *(read_record(path) if path.exists() else [])})
    lines = ",\n".join(json.dumps(one._asdict()) for one in tries)
    with whole_file(path) as aside:
        aside.write_text(f'{{"tries": [\n{lines}\n]}}\n', encoding="utf-8")
    return path


def read_record(path):
    """The tries in a file, in the order of their times; an `OrgansegError` where it is none."""
    try:
        tries = [Try(**one) for one in json.loads(Path(path).read_text(encoding="utf-8"))["tries"]]
        for one in tries:
            if not re.fullmatch(r"\d+\.\d+", one.exercise) or not isinstance(one.solved, bool):
                raise ValueError(f"the try {one}")
            if datetime.fromisoformat(one.time).utcoffset() is None:
                raise ValueError(f"a time without a zone, {one.time}")
    except (ValueError, TypeError, KeyError) as error:  # no JSON, no text, or other words in it
        found = f"{type(error).__name__}: {error}"
        raise OrgansegError(f"{path}: found {found}; {EXPECTED}; left as it is") from None
    return sorted(tries)


def note(exercise, verdict):
    """Add a try, where a record is kept; a cell that still waits for its answer is none."""
    if _kept() and not verdict.startswith("not started"):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        _tries.append(Try(now, exercise, verdict.startswith("right")))
        report()


def _kept():
    named = os.environ.get(VARIABLE)
    return _files[-1] if _files else Path(named) if named else None
