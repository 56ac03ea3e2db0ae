"""The pages for instructors, made from the chapters' heads, exercises and checks: `make pages`.

    python tools/teaching.py

book/objectives.md      what each chapter teaches, what it needs to be known, and the minutes and memory it takes
book/schedule.md        one day and six weeks: book/schedule.toml says which chapters, the minutes are added up here
book/misconceptions.md  the stored wrong answers to each exercise, what each shows, and the hint that its check gives
"""

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import nbformat

from notebooks import NOTEBOOKS, ROOT, chapters, has_tag

sys.path.append(str(ROOT / "tests" / "course"))  # the stored wrong answers are with the tests, which try them
PLAN = ROOT / "book" / "schedule.toml"
LONGEST_DAY = 7 * 60  # minutes, breaks included and lunch not
LONGEST_STRETCH = 105  # minutes without a break
LONGEST_WEEK = 150, 90  # minutes in class and of exercises
IN_CLASS = re.compile(r"\*\*In class:\*\* (\d+) minutes, exercises (\d+) minutes")
MADE = "<!-- Made by `make pages`: change the chapters' heads or {source} instead. -->\n\n"


@dataclass
class Exercise:
    number: str
    stars: int
    title: str
    text: str
    solution: str


class Chapter:
    """What a notebook says about itself."""

    def __init__(self, path):
        notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
        self.name, self.number, self.cells = path.stem, int(path.stem[:2]), notebook.cells
        self.measures = notebook.metadata["organseg"]
        title, _, self.promise = self.cells[0].source.partition("\n")
        self.title, self.promise = title.removeprefix("# "), " ".join(self.promise.split())
        head = next(cell.source for cell in self.cells if has_tag(cell, "head"))
        minutes = IN_CLASS.search(head)
        if not minutes:
            sys.exit(
                f"{path.name}: its head says no minutes; add a line '**In class:** 60 minutes, exercises 40 minutes'"
            )
        self.minutes, self.exercise_minutes = map(int, minutes.groups())
        self.head = _from_book(head)

    @property
    def objectives(self):
        return re.search(r"^- .*?(?=\n\n|\Z)", self.head, flags=re.MULTILINE | re.DOTALL).group()

    def paragraph(self, start):
        return next(" ".join(p.split()) for p in self.head.split("\n\n") if p.startswith(start))

    @cached_property
    def sections(self):
        """The words and pieces of code of each section of the story: how long it takes is estimated from them."""
        found, now = {}, None
        for cell in self.cells:
            for part in re.split(r"(?m)^(?=## )", cell.source) if cell.cell_type == "markdown" else [cell.source]:
                heading = re.match(r"## (.*)", part) if cell.cell_type == "markdown" else None
                now = heading.group(1) if heading else now
                if now:
                    found[now] = found.get(now, 0) + len(part.split())
        return {name: words for name, words in found.items() if name not in ("Objectives", "Exercises", "References")}

    @cached_property
    def exercises(self):
        solutions = iter([cell for cell in self.cells if has_tag(cell, "solution")])
        words = "\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")
        parts = re.findall(
            r"^### Exercise (\S+) (★+) ([^\n]*)\n\n(.*?)(?=\n##|\Z)", words, flags=re.MULTILINE | re.DOTALL
        )
        return [
            Exercise(number, len(stars), title, _from_book(text), next(solutions).source.split("\n", 1)[1])
            for number, stars, title, text in parts
        ]

    def taught(self, names):
        """Minutes for these sections: their share of the chapter's words, to five minutes."""
        names = list(self.sections) if names == "all" else names
        for name in names:
            if name not in self.sections:
                sys.exit(
                    f"{PLAN.name}: chapter {self.number} has no section {name!r}; it has {', '.join(self.sections)}"
                )
        share = sum(self.sections[name] for name in names) / sum(self.sections.values())
        return _to_five(self.minutes * share)

    def practised(self, numbers):
        """Minutes for these exercises: their share of the chapter's stars."""
        stars = {exercise.number: exercise.stars for exercise in self.exercises}
        for number in numbers:
            if number not in stars:
                sys.exit(f"{PLAN.name}: chapter {self.number} has no exercise {number}; it has {', '.join(stars)}")
        share = sum(stars[number] for number in numbers) / sum(stars.values())
        return _to_five(self.exercise_minutes * share) if numbers else 0

    @property
    def link(self):
        return f"[{self.title}](../notebooks/{self.name}.ipynb)"


def _from_book(text):
    """A notebook's links, as they are written in a page of the book."""
    return re.sub(r"\]\((?!\w+:|#)(\.\./book/)?", lambda m: "](" if m.group(1) else "](../notebooks/", text)


def _to_five(minutes):
    return max(5, 5 * round(minutes / 5))


def read_chapters():
    return {chapter.number: chapter for chapter in map(Chapter, chapters())}


# Objectives


def objectives(course):
    rows, parts = [], []
    for one in course.values():
        seconds, memory = one.measures["seconds"], one.measures["memory_gb"]
        download = f"{one.measures['download_mb']:.0f} MB"
        cells = (one.link, f"{one.minutes} min", f"{one.exercise_minutes} min", f"{seconds:.0f} s", f"{memory:.1f} GB")
        rows.append(f"| {' | '.join((*cells, download))} |")
        exercises = "\n".join(f"- {e.number} {'★' * e.stars} {e.title}" for e in one.exercises)
        parts += [f"## {one.title}", one.promise, f"Afterwards students can:\n\n{one.objectives}"]
        parts += [one.paragraph("**You need**"), one.paragraph("**In class:**"), one.paragraph("**Measured:**")]
        parts += [f"Exercises:\n\n{exercises}"]
    return OBJECTIVES.format(
        rows="\n".join(rows),
        teaching=_hours(sum(one.minutes for one in course.values())),
        exercises=_hours(sum(one.exercise_minutes for one in course.values())),
        running=round(sum(one.measures["seconds"] for one in course.values()) / 60),
        memory=max(one.measures["memory_gb"] for one in course.values()),
    ) + "\n\n".join(parts)


OBJECTIVES = """\
# Objectives, prerequisites, minutes

What each chapter teaches, what students should know before, and what it takes. All of this stands at the chapters' own
heads; this page collects it.

| chapter | in class | exercises | to run | memory | download |
|---|---|---|---|---|---|
{rows}

The minutes in class and for exercises are our estimate: {teaching} of teaching and {exercises} of exercises in all.
What running takes was measured on two CPU cores, without a GPU: all notebooks together need {running} minutes, and none
more than {memory:.1f} GB of memory.

"""


# Schedule


def _hours(minutes):
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{rest} min"


def _clock(minutes):
    return f"{minutes // 60}:{minutes % 60:02d}"


def check_plan(plan, course):
    """Stop with one line where the plan names a chapter that does not exist, or leaves one without a place."""
    day = {one["chapter"] for key in ("parts", "left_out") for one in plan["day"].get(key, []) if "chapter" in one}
    weeks = [number for week in plan["weeks"] for number in week["chapters"]]
    for number in sorted(day | set(weeks)):
        if number not in course:
            sys.exit(f"{PLAN.name}: names chapter {number}; the course has {', '.join(map(str, course))}")
    for number in course:
        if number not in day:
            sys.exit(f"{PLAN.name}: chapter {number} has no place in the day; add it to day.parts or day.left_out")
        if weeks.count(number) != 1:
            sys.exit(f"{PLAN.name}: chapter {number} is in {weeks.count(number)} weeks; put it into one")


def day(plan, course):
    """The day's rows (from, to, chapter or pause, sections, exercises), or one line where it is too long."""
    now = start = sum(int(n) * unit for n, unit in zip(plan["starts"].split(":"), (60, 1), strict=True))
    rows, lunch, stretch = [], 0, 0
    for part in plan["parts"]:
        if "chapter" in part:
            chapter = course[part["chapter"]]
            taught, practised = chapter.taught(part["sections"]), chapter.practised(part["exercises"])
            minutes, words = taught + practised, [chapter.link, f"{taught} min: {_sections(part)}"]
            words.append(f"{practised} min: {', '.join(part['exercises'])}" if practised else "")
        else:
            minutes, words = part["minutes"], [part.get("pause") or part["talk"], "", ""]
        stretch = 0 if "pause" in part else stretch + minutes
        lunch += minutes if part.get("pause") == "Lunch" else 0
        if stretch > LONGEST_STRETCH:
            sys.exit(f"{PLAN.name}: {stretch} minutes without a break up to {words[0]}; at most {LONGEST_STRETCH}")
        rows.append((_clock(now), _clock(now + minutes), *words))
        now += minutes
    if now - start - lunch > LONGEST_DAY:
        sys.exit(
            f"{PLAN.name}: the day takes {_hours(now - start - lunch)} without lunch; at most {_hours(LONGEST_DAY)}"
        )
    return rows


def _sections(part):
    return "the whole chapter" if part["sections"] == "all" else "; ".join(part["sections"])


def schedule(course, plan):
    check_plan(plan, course)
    rows = "\n".join(f"| {a}–{b} | {' | '.join(words)} |" for a, b, *words in day(plan["day"], course))
    left_out = [f"- {course[one['chapter']].link}: {one['instead']}" for one in plan["day"].get("left_out", [])]
    weeks = []
    for number, week in enumerate(plan["weeks"], start=1):
        taught, practised = (sum(getattr(course[c], what) for c in week["chapters"]) for what in MINUTES)
        for minutes, most in zip((taught, practised), LONGEST_WEEK, strict=True):
            if minutes > most:
                sys.exit(f"{PLAN.name}: week {number} has {minutes} minutes of one kind; at most {most}")
        lines = [
            f"- {course[c].link}: {course[c].minutes} min, exercises {course[c].exercise_minutes} min"
            for c in week["chapters"]
        ]
        numbers = ", ".join(e.number for c in week["chapters"] for e in course[c].exercises)
        weeks += [f"### Week {number}: {week['title']}", "\n".join(lines)]
        weeks += [f"In class {_hours(taught)}. Homework: exercises {numbers} ({_hours(practised)}). {week['homework']}"]
    one_day = "\n\n".join([rows, *(["Left out:\n\n" + "\n".join(left_out)] if left_out else [])])
    longest = max(chapter.measures["seconds"] for chapter in course.values())
    return SCHEDULE.format(day=one_day, longest=longest, weeks="\n\n".join(weeks))


MINUTES = ("minutes", "exercise_minutes")
SCHEDULE = """\
# Schedules

Two ways through the course. The minutes come from the chapters' heads, where they are our estimate; those of a section
are its share of the chapter's words, and those of an exercise its share of the chapter's stars, all rounded to five
minutes; the notebooks run while you talk. Which chapters and sections come when is written in `book/schedule.toml`:
change it, and `make pages` adds up anew and says where a day or a week has become too long.

## One day

For a class that knows Python and NumPy. In each chapter the sections named here are shown; students run the whole
notebook ({longest:.0f} seconds at most, as measured on two CPU cores) and have the rest to read. The network of
chapters 9 and 10 comes with the library, so nobody waits for a long training.

| time | chapter | sections | exercises |
|---|---|---|---|
{day}

Before the day: students install the course, or open one chapter on Colab ([how](instructors.md)), and
run chapter 0 to its end. The first cell that uses Keras takes a few seconds more than the others.

## Six weeks

One meeting a week. To the minutes in class add ten for a break between the chapters, and from the second week on
fifteen to begin with: ask which hints the checks gave, and talk about the [wrong answers](misconceptions.md) behind
them. The exercises are homework. What a week's homework asks for besides them is for those who want more; allow half an
hour for a text, and an evening for a data set or a GPU.

{weeks}
"""


# Misconceptions


def misconceptions(course):
    parts = [MISCONCEPTIONS]
    for one in course.values():
        stored = import_module(f"wrong_answers.chapter_{one.number}")
        parts += [f"## {one.title}", f"Exercises of the chapter {one.link}."]
        for exercise in one.exercises:
            wrong = [entry for entry in stored.WRONG if entry[0] == exercise.number]
            parts += [f"### {exercise.number} {'★' * exercise.stars} {exercise.title}", exercise.text]
            parts.append("\n".join(_item(*entry) for entry in wrong))
            code = _code(stored, [entry[1].__name__ for entry in wrong if callable(entry[1])])
            parts += [_folded("These answers in code", code)] if code else []
            parts.append(_folded("Solution", exercise.solution))
    return "\n\n".join(parts) + "\n"


MISCONCEPTIONS = """\
# Typical misconceptions

For each exercise: the wrong answers that the course expects, what each shows of its author's thinking, and the hint
with which the check answers it. The hints below are what the checks say; the tests try every one. Solutions and the
wrong answers' code are behind a click."""


def _item(number, answer, _, *shows):
    from organseg.course import said_of

    import_module(f"organseg.course.chapter_{number.split('.')[0]}")
    name = getattr(answer, "__name__", None)
    words = " ".join(answer.__doc__.split()) if name and answer.__doc__ else "".join(shows)
    if not words:
        sys.exit(f"tests/course/wrong_answers: {name or answer!r} of {number} says nothing of its author's thinking; "
                 "add a docstring, or a fourth entry to a value")  # fmt: skip
    hint = re.sub(r"([*<$|])(?![^`]*`[^`]*(?:`[^`]*`)*$)", r"\\\1", said_of(number, answer).removeprefix("not yet. "))
    return f"- {words} (`{name or _value(answer)}`)\n\n  *Hint:* {hint}"


def _value(answer):
    return repr(answer.round(2).tolist() if hasattr(answer, "tolist") else answer)


def _code(module, names):
    """The source of these functions and of what they use of their file, without docstrings."""
    source = Path(module.__file__).read_text()
    lines, functions = (
        source.splitlines(),
        {f.name: f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)},
    )
    blocks = {}
    while names:
        name, *names = names
        if name not in functions or name in blocks:
            continue
        function, first = functions[name], functions[name].body[0]
        cut = range(first.lineno, first.end_lineno + 1) if ast.get_docstring(function) else ()
        kept = [lines[n - 1] for n in range(function.lineno, function.end_lineno + 1) if n not in cut]
        blocks[name] = "\n".join(line.split("  # noqa")[0] for line in kept)
        names += [n.id for n in ast.walk(function) if isinstance(n, ast.Name)]
    return "\n\n\n".join(blocks.values())


def _folded(title, code):
    """Behind a click, on the site and on GitHub alike."""
    return f"<details>\n<summary>{title}</summary>\n\n```python\n{code}\n```\n\n</details>"


def pages():
    """The pages' texts, by file."""
    course = read_chapters()
    plan = tomllib.loads(PLAN.read_text())
    made = {
        "objectives.md": MADE.format(source="`tools/teaching.py`") + objectives(course) + "\n",
        "schedule.md": MADE.format(source="`book/schedule.toml`") + schedule(course, plan),
        "misconceptions.md": MADE.format(source="`tests/course/wrong_answers`") + misconceptions(course),
    }
    return {ROOT / "book" / name: text for name, text in made.items()}


def main():
    for path, text in pages().items():
        path.write_text(text)
        print(f"{path.relative_to(NOTEBOOKS.parent)}: written")


if __name__ == "__main__":
    main()
