"""The pages for instructors, made from the chapters' heads, exercises and checks: `make pages`.

    python tools/teaching.py [FOLDER]   write them into book/, or into FOLDER

objectives.md      what each chapter teaches and presupposes, and the minutes and memory that it takes
schedule.md        one day and six weeks: book/schedule.toml says which chapters, the minutes are added up here
misconceptions.md  the stored wrong answers to each exercise (see misconceptions.py)
"""

import re
import sys
import tomllib
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from misconceptions import misconceptions
from notebooks import ROOT, chapters, citations, has_tag, made

PAGES = "objectives.md", "schedule.md", "misconceptions.md"
PLAN = ROOT / "book" / "schedule.toml"
LONGEST_DAY = 7 * 60  # minutes, breaks included and lunch not
LONGEST_STRETCH = 105  # minutes without a break
LONGEST_WEEK = 150, 90  # minutes in class and of exercises
IN_CLASS = re.compile(r"\*\*In class:\*\* (\d+) minutes, exercises (\d+) minutes")
EXERCISE = re.compile(r"^### Exercise (\S+) (★+) ([^\n]*)\n\n(.*?)(?=\n##|\Z)", flags=re.MULTILINE | re.DOTALL)
MADE = "<!-- Made by `make pages` (tools/teaching.py says from what): changes made here are lost. -->\n\n"


class Exercise(NamedTuple):
    number: str
    stars: str
    title: str
    text: str
    solution: str

    def __str__(self):
        return " ".join(self[:3])


class Chapter:
    """What a notebook says about itself."""

    def __init__(self, path):
        notebook = made(path)
        for cell in notebook.cells:
            cell.source = citations.with_roles(cell.source)  # as the pages of the book cite
        self.name, self.number, self.cells = path.stem, int(path.stem[:2]), notebook.cells
        self.measures = notebook.metadata["organseg"]
        title, _, promise = self.cells[0].source.partition("\n")
        self.title, self.promise = title.removeprefix("# "), " ".join(promise.split())
        head = next(cell.source for cell in self.cells if has_tag(cell, "head"))
        minutes = IN_CLASS.search(head)
        if not minutes:
            sys.exit(f"{path.name}: found no minutes in its head; add '**In class:** 60 minutes, exercises 40 minutes'")
        self.minutes, self.exercise_minutes = map(int, minutes.groups())
        self.head = _from_book(head)
        self.link = f"[{self.title}](../notebooks/{self.name}.ipynb)"

    @property
    def objectives(self):
        return re.search(r"^- .*?(?=\n\n|\Z)", self.head, flags=re.MULTILINE | re.DOTALL).group()

    def paragraph(self, start):
        return next(" ".join(p.split()) for p in self.head.split("\n\n") if p.startswith(start))

    @cached_property
    def sections(self):
        """The words and pieces of code in each section of the story: how long it takes is estimated from them."""
        found, now = {}, None
        for cell in self.cells:
            prose = cell.cell_type == "markdown"
            for part in re.split(r"(?m)^(?=## )", cell.source) if prose else [cell.source]:
                heading = re.match(r"## (.*)", part) if prose else None
                now = heading.group(1) if heading else now
                found[now] = found.get(now, 0) + len(part.split())
        return {name: n for name, n in found.items() if name not in (None, "Objectives", "Exercises", "References")}

    @cached_property
    def exercises(self):
        solutions = (cell.source.split("\n", 1)[1] for cell in self.cells if has_tag(cell, "solution"))
        prose = "\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")
        return [
            Exercise(number, stars, title, _from_book(text), next(solutions))
            for number, stars, title, text in EXERCISE.findall(prose)
        ]

    def taught(self, names):
        """Minutes for these sections: their share of the chapter's words, to the nearest five."""
        return self._share(self.minutes, self.sections, self.sections if names == "all" else names, "section")

    def practised(self, numbers):
        """Minutes for these exercises: their share of the chapter's stars."""
        stars = {exercise.number: len(exercise.stars) for exercise in self.exercises}
        return self._share(self.exercise_minutes, stars, numbers, "exercise") if numbers else 0

    def _share(self, minutes, weights, names, kind):
        for name in names:
            if name not in weights:
                known = ", ".join(weights)
                sys.exit(f"{PLAN.name}: found {kind} {name!r} of chapter {self.number}; expected one of: {known}")
        return max(5, 5 * round(minutes * sum(weights[name] for name in names) / sum(weights.values()) / 5))


def _from_book(text):
    """A notebook's links, as they are written in a page of the book."""
    return re.sub(r"\]\((?!\w+:|#)(\.\./book/)?", lambda m: "](" if m.group(1) else "](../notebooks/", text)


def read_chapters():
    return {chapter.number: chapter for chapter in map(Chapter, chapters())}


# Objectives


OBJECTIVES = """\
# Objectives, prerequisites, minutes

What each chapter teaches, what students should know before, and what it takes. All of this stands at the chapters' own
heads; this page collects it.

| chapter | in class | exercises | to run | memory | download |
|---|---|---|---|---|---|
{rows}

The minutes in class and for exercises are our estimate: {teaching} of teaching and {exercises} of exercises in all.
The questions between the sections are for reading and are not counted: in class, add a minute for each that you ask.
What running takes was measured on two CPU cores, without a GPU: all notebooks together need {running} minutes, and none
more than {memory:.1f} GB of memory.

{chapters}
"""


def objectives(course):
    rows, parts = [], []
    for one in course.values():
        rows.append(
            f"| {one.link} | {one.minutes} min | {one.exercise_minutes} min | {one.measures['seconds']:.0f} s "
            f"| {one.measures['memory_gb']:.1f} GB | {one.measures['download_mb']:.0f} MB |"
        )
        parts += [f"## {one.title}", one.promise, f"Afterwards students can:\n\n{one.objectives}"]
        parts += [one.paragraph(start) for start in ("**You need**", "**In class:**", "**Measured:**")]
        parts.append("\n".join(["Exercises:\n", *(f"- {exercise}" for exercise in one.exercises)]))
    return OBJECTIVES.format(
        rows="\n".join(rows),
        teaching=_hours(sum(one.minutes for one in course.values())),
        exercises=_hours(sum(one.exercise_minutes for one in course.values())),
        running=round(sum(one.measures["seconds"] for one in course.values()) / 60),
        memory=max(one.measures["memory_gb"] for one in course.values()),
        chapters="\n\n".join(parts),
    )


# Schedule


SCHEDULE = """\
# Schedules

Two ways through the course. The minutes come from the chapters' heads, where they are our estimate; those of a section
are its share of the chapter's words, and those of an exercise its share of the chapter's stars, all to the nearest
five; the notebooks run while you talk. `book/schedule.toml` says which chapters and sections come when: change it, and
`make pages` does the sums again and says where a day or a week has become too long.

## One day

For a class that knows Python and NumPy. In each chapter the sections named here are shown; students run the whole
notebook ({longest:.0f} seconds at most, as measured on two CPU cores) and have the rest to read. The network of
chapters 9 and 10 comes with the library, so nobody waits for a long training.

| time | chapter | sections | exercises |
|---|---|---|---|
{day}

{left_out}Before the day: students install the course, or open one chapter on Colab ([how](instructors.md)), and
run chapter 0 to its end. The first cell that uses Keras takes a few seconds more than the others.

## Six weeks

One meeting a week. To the minutes in class add ten for a break between the chapters, and from the second week on
fifteen to begin with: ask which hints the checks gave, and talk about the [wrong answers](misconceptions.md) behind
them. The exercises are homework. What a week's homework asks for besides them is for those who want more; allow half an
hour for a text, and an evening for a data set or a GPU.

{weeks}
"""


def _hours(minutes):
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{rest} min"


def _clock(minutes):
    return f"{minutes // 60}:{minutes % 60:02d}"


def check_plan(plan, course):
    """Stop with one line where the plan names a chapter that does not exist, or leaves one without a place."""
    day = {one["chapter"] for key in ("parts", "left_out") for one in plan["day"].get(key, []) if "chapter" in one}
    weeks = [number for week in plan["weeks"] for number in week["chapters"]]
    untaught = plan.get("not_taught", [])
    for number in sorted({*day, *weeks, *untaught}):
        if number not in course:
            sys.exit(f"{PLAN.name}: names chapter {number}; the course has {', '.join(map(str, course))}")
    for number in untaught:
        if number in day or number in weeks:
            sys.exit(f"{PLAN.name}: chapter {number} is in not_taught and has a place; choose one of them")
    for number in [number for number in course if number not in untaught]:
        if number not in day:
            sys.exit(f"{PLAN.name}: chapter {number} has no place in the day; add it to day.parts or day.left_out")
        if weeks.count(number) != 1:
            sys.exit(f"{PLAN.name}: chapter {number} is in {weeks.count(number)} weeks; put it into one")


def day(plan, course):
    """The day's rows (time, chapter or pause, sections, exercises), or one line where it is too long."""
    hour, minute = map(int, plan["starts"].split(":"))
    now = start = 60 * hour + minute
    rows, lunch, stretch = [], 0, 0
    for part in plan["parts"]:
        if "chapter" in part:
            chapter = course[part["chapter"]]
            taught, practised = chapter.taught(part["sections"]), chapter.practised(part["exercises"])
            sections = "the whole chapter" if part["sections"] == "all" else "; ".join(part["sections"])
            minutes, words = taught + practised, [chapter.link, f"{taught} min: {sections}"]
            words.append(f"{practised} min: {', '.join(part['exercises'])}" if practised else "")
        else:
            minutes, words = part["minutes"], [part.get("pause") or part["talk"], "", ""]
        stretch = 0 if "pause" in part else stretch + minutes
        lunch += minutes if part.get("pause") == "Lunch" else 0
        if stretch > LONGEST_STRETCH:
            sys.exit(f"{PLAN.name}: {stretch} minutes without a break up to {words[0]}; at most {LONGEST_STRETCH}")
        rows.append(f"| {_clock(now)}–{_clock(now + minutes)} | {' | '.join(words)} |")
        now += minutes
    if (spent := now - start - lunch) > LONGEST_DAY:
        sys.exit(f"{PLAN.name}: the day takes {_hours(spent)} without lunch; at most {_hours(LONGEST_DAY)}")
    return rows


def week(number, plan, course):
    """The text on a week, or one line where it is too long."""
    chapters = [course[chapter] for chapter in plan["chapters"]]
    taught, practised = sum(one.minutes for one in chapters), sum(one.exercise_minutes for one in chapters)
    for minutes, most in zip((taught, practised), LONGEST_WEEK, strict=True):
        if minutes > most:
            sys.exit(f"{PLAN.name}: week {number} has {minutes} minutes of one kind; at most {most}")
    lines = [f"- {one.link}: {one.minutes} min, exercises {one.exercise_minutes} min" for one in chapters]
    numbers = ", ".join(exercise.number for one in chapters for exercise in one.exercises)
    homework = f"Homework: exercises {numbers} ({_hours(practised)}). {plan['homework']}"
    parts = f"### Week {number}: {plan['title']}", "\n".join(lines), f"In class {_hours(taught)}. {homework}"
    return "\n\n".join(parts)


def schedule(course, plan):
    check_plan(plan, course)
    left_out = [f"- {course[one['chapter']].link}: {one['instead']}" for one in plan["day"].get("left_out", [])]
    return SCHEDULE.format(
        day="\n".join(day(plan["day"], course)),
        left_out="\n".join(["Left out:\n", *left_out, "\n"]) if left_out else "",
        longest=max(chapter.measures["seconds"] for chapter in course.values()),
        weeks="\n\n".join(week(number, one, course) for number, one in enumerate(plan["weeks"], start=1)),
    )


def pages():
    """The pages' texts, by name."""
    course, plan = read_chapters(), tomllib.loads(PLAN.read_text(encoding="utf-8"))
    made = (objectives(course), schedule(course, plan), misconceptions(course))
    return {name: MADE + text for name, text in zip(PAGES, made, strict=True)}


def write(folder):
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "book")
