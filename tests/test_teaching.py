"""The pages for instructors: made from what the chapters say, in step with it, and their sums add up."""

import copy
import re
import tomllib

import pytest

import teaching

COURSE = teaching.read_chapters()
PLAN = tomllib.loads(teaching.PLAN.read_text())
PAGES = teaching.pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_committed_page_is_what_the_chapters_say_now(path):
    assert path.read_text() == PAGES[path], "run `make pages`"


def clock(text):
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)


def test_the_day_adds_up():
    text = (teaching.ROOT / "book" / "schedule.md").read_text()
    rows = re.findall(r"^\| (\d+:\d\d)–(\d+:\d\d) \| (.*?) \| (.*?) \| (.*?) \|$", text, flags=re.MULTILINE)
    assert len(rows) == len(PLAN["day"]["parts"])
    for (_, ends, *_), (begins, *_) in zip(rows, rows[1:], strict=False):
        assert ends == begins
    for begins, ends, what, *minutes in rows:
        spent = sum(int(words.split(" min")[0]) for words in minutes if words)
        assert what in ("Break", "Lunch") or not spent or clock(ends) - clock(begins) == spent
    lunch = sum(clock(ends) - clock(begins) for begins, ends, what, *_ in rows if what == "Lunch")
    assert lunch >= 45
    assert clock(rows[-1][1]) - clock(rows[0][0]) - lunch <= 7 * 60


def test_every_chapter_is_in_one_of_six_weeks():
    assert len(PLAN["weeks"]) == 6
    assert sorted(number for week in PLAN["weeks"] for number in week["chapters"]) == sorted(COURSE)


def test_a_section_takes_its_share_of_the_chapters_minutes():
    for chapter in COURSE.values():
        assert chapter.taught("all") == chapter.minutes
        assert chapter.practised([exercise.number for exercise in chapter.exercises]) == chapter.exercise_minutes
        two = list(chapter.sections)[:2]
        assert 5 <= chapter.taught(two[:1]) <= chapter.taught(two) < chapter.minutes


def broken_plans():
    """Plans with one mistake each, and words of what is said about it."""

    def changed(change):
        plan = copy.deepcopy(PLAN)
        change(plan)
        return plan

    first = sorted(COURSE)[0]
    yield changed(lambda p: p["weeks"][0]["chapters"].append(99)), "names chapter 99"
    yield changed(lambda p: p["weeks"][0]["chapters"].remove(first)), f"chapter {first} is in 0 weeks"
    yield changed(lambda p: p["weeks"][1]["chapters"].append(first)), f"chapter {first} is in 2 weeks"
    yield changed(lambda p: p["day"]["parts"].pop(0)), f"chapter {first} has no place in the day"
    yield changed(lambda p: p["day"]["parts"][1].update(sections=["Nowhere"])), "has no section 'Nowhere'"
    yield changed(lambda p: p["day"]["parts"][1].update(exercises=["1.9"])), "has no exercise 1.9"
    yield changed(lambda p: p["day"]["parts"][-1].update(minutes=120)), "minutes without a break"
    breaks = [{"pause": "Break", "minutes": 60}]
    yield changed(lambda p: p["day"].update(parts=p["day"]["parts"] + breaks)), "the day takes"
    yield changed(lambda p: p.update(weeks=[{**p["weeks"][0], "chapters": sorted(COURSE)}])), "week 1 has"


@pytest.mark.parametrize("plan, words", list(broken_plans()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_plan_that_does_not_hold_is_one_line(plan, words):
    with pytest.raises(SystemExit) as stop:
        teaching.schedule(COURSE, plan)
    assert words in str(stop.value) and "\n" not in str(stop.value)


def test_each_exercise_has_its_wrong_answers_and_its_solution_behind_a_click():
    text = (teaching.ROOT / "book" / "misconceptions.md").read_text()
    parts = dict(re.findall(r"^### (\d+\.\d+) (.*?)(?=^### |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    numbers = [exercise.number for chapter in COURSE.values() for exercise in chapter.exercises]
    assert list(parts) == numbers
    for chapter in COURSE.values():
        for exercise in chapter.exercises:
            told, *folded = parts[exercise.number].split("<details>")
            assert told.count("*Hint:* ") >= 2
            assert exercise.solution not in told and exercise.solution in folded[-1]


def test_a_wrong_answer_without_words_is_one_line():
    with pytest.raises(SystemExit, match="says nothing of its author's thinking"):
        teaching._item("0.1", 7, "none of the organs")
