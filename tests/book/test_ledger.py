"""The ledger of the paper's facts: complete, in step with what it names, and never better than what is on record."""

import re
from dataclasses import replace

import mutants
import pytest

import ledger
import notebooks
import organseg

IDS = re.findall(r"\S+", "1 2 2b 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 23b 24 25 26")
ROWS = ledger.facts()
KNOWN = ledger.record()
CHECKED = [fact for fact in ROWS if fact.breaks]
each_row = pytest.mark.parametrize("fact", ROWS, ids=lambda fact: fact.id)
each_checked_row = pytest.mark.parametrize("fact", CHECKED, ids=lambda fact: fact.id)


def passed(fact):
    """A record in which everything that a row needs is as it should be."""
    return ledger.Record(
        {ledger.test_of(error): "passed" for error in fact.breaks},
        dict.fromkeys(fact.breaks, True),
        {what: {"value": "12 s", "passed": True, "taken": "2026-01-01, M"} for what in fact.needs},
    )


def test_every_fact_has_one_row():
    assert [fact.id for fact in ROWS] == IDS


def test_the_rows_are_those_of_the_list_of_facts(shared):
    text = (shared / "paper" / "FACTS.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+b?) \|", text, flags=re.MULTILINE) == IDS


@each_row
def test_a_row_names_what_is_there(fact):
    assert fact.chapters and all(ledger.file_of(name).is_file() for name in fact.chapters)
    assert set(fact.library) <= set(organseg.__all__)
    assert bool(fact.told) != bool(fact.breaks), "a row has errors that break it, or says why there are none"
    assert all(mutants.MUTANTS[error].test for error in fact.breaks)


@each_row
def test_a_row_shows_a_figure_that_a_program_found(fact):
    assert fact.told or fact.needs or fact.prints
    for entry in fact.prints:
        line = ledger.printed_line(entry)
        assert line, f"no output begins so: {entry}; name another line or run `make notebooks`"
        assert f"`{line}`" in ledger.section(fact, KNOWN)


def test_only_what_a_chapter_printed_is_quoted():
    assert ledger.printed_line("06_unet: all ") == "all 19,071,784"
    assert ledger.printed_line("06_unet: no output begins with this") is None
    with pytest.raises(SystemExit, match="found no output that begins as"):
        ledger.quoted("06_unet: no output begins with this")


@each_row
def test_numbers_of_measurements_come_from_the_record(fact):
    assert not re.search(r"\d[.,]?\d* ?(s|GB|ms|%)\b", fact.measured), "use {0}, {1} …"
    places = set(re.findall(r"\{(\d+)\}", fact.measured))
    assert places == {str(place) for place in range(len(fact.needs) + len(fact.shows))}


def test_measurements_that_rows_need_are_lines_of_the_program():
    source = (ledger.ROOT / "benchmarks" / "figures_check.py").read_text(encoding="utf-8")
    lines = re.findall(r'result\(\s*f?"([^"]+)"', source)
    patterns = [re.sub(r"\\\{.*?\\\}", ".+", re.escape(line)) for line in lines]
    for fact in ROWS:
        for what in [*fact.needs, *fact.shows]:
            assert any(re.fullmatch(pattern, what) for pattern in patterns), what


def test_every_chapter_is_named_by_a_row():
    named = {name for fact in ROWS for name in fact.chapters}
    assert {path.stem for path in notebooks.chapters()} - named <= {"00_welcome"}


def test_the_page_is_what_the_record_gives():
    assert ledger.PAGE.read_text(encoding="utf-8") == ledger.page(ROWS, KNOWN), "run `make ledger`"


@each_row
def test_the_page_has_an_anchor_and_all_that_a_row_says(fact):
    page = ledger.PAGE.read_text(encoding="utf-8")
    part = page.split(f"(fact-{fact.id})=\n")[1].split("\n(fact-")[0]
    for text in (fact.says, fact.deviates, fact.cannot, fact.told):
        assert text in part
    for error in fact.breaks:
        assert error in part and ledger.test_of(error).removeprefix("tests/") in part


# What a row may say


@each_checked_row
def test_a_row_holds_where_everything_is_on_record(fact):
    known = passed(fact)
    assert ledger.status(fact, known) == ("holds in part" if fact.cannot else "holds")
    assert ledger.status(replace(fact, cannot="private"), known) == "holds in part"


@each_checked_row
def test_a_row_does_not_hold_without_one_of_its_tests(fact):
    for test in passed(fact).tests:
        for outcome, expected in (("failed", "fails"), ("skipped", "not checked"), (None, "not checked")):
            known = passed(fact)
            known.tests[test] = outcome
            if outcome is None:
                del known.tests[test]
            assert ledger.status(fact, known) == expected


@each_checked_row
def test_a_row_does_not_hold_where_an_error_was_not_caught(fact):
    for error in fact.breaks:
        for outcome, expected in ((False, "fails"), (None, "not checked")):
            known = passed(fact)
            known.caught[error] = outcome
            assert ledger.status(fact, known) == expected


@pytest.mark.parametrize("fact", [fact for fact in ROWS if fact.needs], ids=lambda fact: fact.id)
def test_a_row_does_not_hold_without_its_measurements(fact):
    for what in fact.needs:
        known = passed(fact)
        known.measured[what]["passed"] = False
        assert ledger.status(fact, known) == "fails"
        del known.measured[what]
        assert ledger.status(fact, known) == "not checked"
        assert ledger.NOT_MEASURED in ledger.section(fact, known)


def test_a_measurement_that_missed_its_mark_says_so():
    fact = next(fact for fact in ROWS if fact.shows and fact.breaks)
    line = {"value": "12 s", "passed": True, "taken": "2026-01-01, M"}
    for good, words in ((True, "12 s"), (False, "12 s (**beyond the mark**)")):
        known = replace(passed(fact), measured={what: line | {"passed": good} for what in fact.shows})
        assert fact.measured.format(words) + " (2026-01-01, M)" in ledger.section(fact, known)
        assert ledger.status(fact, known).startswith("holds"), "it is of interest, and decides nothing"


def test_a_row_that_nothing_checks_never_holds():
    empty = ledger.Record({}, {}, {})
    bare = ledger.Fact("1", "a fact", "I", "something")
    assert ledger.status(bare, empty) == "not checked"
    assert ledger.status(replace(bare, cannot="private data"), empty) == "not reproduced"
    assert ledger.status(replace(bare, told="history"), empty) == "told"
    assert all(ledger.status(fact, empty) in ("not checked", "told") for fact in ROWS)


def test_what_cannot_be_reproduced_says_so():
    said = {fact.id: fact.cannot for fact in ROWS if fact.cannot}
    assert "private" in said["19"] and "89.3 %" in said["23"] and "private" in said["23"] and "week" in said["17"]


# What is on record


REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two[0]"/>
<testcase classname="tests.test_a" name="test_two[1]"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="test_three[0]"><skipped/></testcase>
<testcase classname="tests.test_a" name="test_three[1]"/>
<testcase classname="tests.test_a" name="test_four"><skipped/></testcase>
<testcase classname="tests.test_a" name="test_five"><error/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read_with_its_parameters(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT, encoding="utf-8")
    outcomes = ledger.reported(tmp_path / "tests.xml")
    expected = {"one": "passed", "two": "failed", "three": "passed", "four": "skipped", "five": "failed"}
    assert outcomes == {f"tests/test_a.py::test_{name}": outcome for name, outcome in expected.items()}


def test_a_run_that_differs_from_the_record_is_told():
    tests = ledger.tests_of(ROWS)
    known = ledger.Record(dict.fromkeys(tests, "passed"), {}, {})
    as_stored = dict.fromkeys(tests, "passed")
    assert ledger.differences(ROWS, known, as_stored) == []
    assert ledger.differences(ROWS, known, as_stored | {tests[0]: "skipped"}) == []  # without ../shared
    for now in ("failed", None):
        run = {test: outcome for test, outcome in (as_stored | {tests[3]: now}).items() if outcome}
        (line,) = ledger.differences(ROWS, known, run)
        assert tests[3] in line and "\n" not in line
    assert len(ledger.differences(ROWS, ledger.Record({}, {}, {}), as_stored)) == len(tests)
