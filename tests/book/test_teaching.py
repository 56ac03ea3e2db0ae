"""The pages for instructors: made from what the chapters say, in step with it, and their sums add up."""

import copy
import re
import tomllib

import pytest

import misconceptions
import teaching

PLAN = tomllib.loads(teaching.PLAN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def course():
    return teaching.read_chapters()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages' texts, by name, as `make pages` writes them."""
    folder = tmp_path_factory.mktemp("pages")
    teaching.write(folder)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_pages_that_are_made_are_in_the_book_and_not_in_the_repository(pages):
    contents = (teaching.ROOT / "_toc.yml").read_text(encoding="utf-8")
    ignored = (teaching.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert set(pages) == {"objectives.md", "schedule.md", "misconceptions.md"}
    for name in pages:
        assert f"file: book/{name.removesuffix('.md')}\n" in contents and f"/book/{name}" in ignored


def test_the_objectives_of_every_chapter_are_told_with_its_minutes(pages, course):
    for chapter in course.values():
        assert f"## {chapter.title}\n\n{chapter.promise}\n" in pages["objectives.md"]
        assert chapter.objectives in pages["objectives.md"]
        row = f"| {chapter.link} | {chapter.minutes} min | {chapter.exercise_minutes} min | "
        assert row in pages["objectives.md"]


def clock(text):
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)


def test_the_day_adds_up(pages):
    row = r"^\| (\d+:\d\d)–(\d+:\d\d) \| (.*?) \| (.*?) \| (.*?) \|$"
    rows = re.findall(row, pages["schedule.md"], flags=re.MULTILINE)
    assert len(rows) == len(PLAN["day"]["parts"])
    for (_, ends, *_), (begins, *_) in zip(rows, rows[1:], strict=False):
        assert ends == begins
    for begins, ends, what, *minutes in rows:
        spent = sum(int(words.split(" min")[0]) for words in minutes if words)
        assert what in ("Break", "Lunch") or not spent or clock(ends) - clock(begins) == spent
    lunch = sum(clock(ends) - clock(begins) for begins, ends, what, *_ in rows if what == "Lunch")
    assert lunch >= 45
    assert clock(rows[-1][1]) - clock(rows[0][0]) - lunch <= 7 * 60


def test_every_chapter_is_in_one_of_six_weeks(course):
    assert len(PLAN["weeks"]) == 6
    assert sorted(number for week in PLAN["weeks"] for number in week["chapters"]) == sorted(course)


def test_a_section_takes_its_share_of_the_chapters_minutes(course):
    for chapter in course.values():
        assert chapter.taught("all") == chapter.minutes
        assert chapter.practised([exercise.number for exercise in chapter.exercises]) == chapter.exercise_minutes
        two = list(chapter.sections)[:2]
        assert 5 <= chapter.taught(two[:1]) <= chapter.taught(two) < chapter.minutes


def test_a_chapter_that_is_not_taught_needs_no_place(course):
    plan = copy.deepcopy(PLAN)
    for where in plan["day"]["parts"], plan["day"]["left_out"]:
        where[:] = [one for one in where if one.get("chapter") != 12]
    for week in plan["weeks"]:
        week["chapters"] = [number for number in week["chapters"] if number != 12]
    with pytest.raises(SystemExit, match="chapter 12 has no place"):
        teaching.schedule(course, plan)
    plan["not_taught"] = [12]
    assert course[12].link not in teaching.schedule(course, plan)


BREAK = {"pause": "Break", "minutes": 60}
BROKEN = {
    "is in not_taught and has a place": lambda plan: plan.update(not_taught=[12]),
    "names chapter 99": lambda plan: plan["weeks"][0]["chapters"].append(99),
    "chapter 0 is in 0 weeks": lambda plan: plan["weeks"][0]["chapters"].remove(0),
    "chapter 0 is in 2 weeks": lambda plan: plan["weeks"][1]["chapters"].append(0),
    "chapter 0 has no place in the day": lambda plan: plan["day"]["parts"].pop(0),
    "found section 'Nowhere' of chapter 1": lambda plan: plan["day"]["parts"][1].update(sections=["Nowhere"]),
    "found exercise '1.9' of chapter 1": lambda plan: plan["day"]["parts"][1].update(exercises=["1.9"]),
    "minutes without a break": lambda plan: plan["day"]["parts"][-1].update(minutes=120),
    "the day takes": lambda plan: plan["day"]["parts"].append(BREAK),
    "week 1 has": lambda plan: plan.update(weeks=[{**PLAN["weeks"][0], "chapters": sum(WEEKS, [])}]),
}
WEEKS = [week["chapters"] for week in PLAN["weeks"]]


@pytest.mark.parametrize("words", BROKEN)
def test_a_plan_that_does_not_hold_is_one_line(words, course):
    plan = copy.deepcopy(PLAN)
    BROKEN[words](plan)
    with pytest.raises(SystemExit) as stop:
        teaching.schedule(course, plan)
    assert words in str(stop.value) and "\n" not in str(stop.value)


def test_each_exercise_has_its_wrong_answers_and_its_solution_behind_a_click(pages, course):
    part = r"^### (\d+\.\d+) (.*?)(?=^### |\Z)"
    parts = dict(re.findall(part, pages["misconceptions.md"], flags=re.MULTILINE | re.DOTALL))
    numbers = [exercise.number for chapter in course.values() for exercise in chapter.exercises]
    assert list(parts) == numbers
    for chapter in course.values():
        for exercise in chapter.exercises:
            folded = re.findall(r"<details>.*?</details>", parts[exercise.number], flags=re.DOTALL)
            told = re.sub(r"<details>.*?</details>", "", parts[exercise.number], flags=re.DOTALL)
            assert told.count("*Hint:* ") >= 2
            assert exercise.text in folded[0]
            assert exercise.solution not in told and exercise.solution in folded[-1]


def test_a_wrong_answer_without_words_is_one_line():
    with pytest.raises(SystemExit, match="found no words for 7 of 0.1"):
        misconceptions._item("0.1", 7, "none of the organs")
