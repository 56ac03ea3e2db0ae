"""The ledger of the paper's facts: book/ledger.md, made from book/ledger.toml and from what is on record.

`ledger.py make`          runs what is not on record yet, then writes the page (`make ledger`)
`ledger.py page`          writes the page from what is on record
`ledger.py check REPORT`  compares a run of the tests with the record (the last step of `make test`'s first run)

On record are: the outcomes of the ledger's tests (tests/ledger.json), which planted errors were caught
(tests/mutants.json, by tests/mutants.py) and the measurements (benchmarks/measured.json, by
benchmarks/figures_check.py). A test's outcome needs no mark of the code it was found with, because every `make test`
finds it anew and compares; a planted error carries one of its own (`mutants.fingerprint`).
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import mutants  # noqa: E402

import organseg  # noqa: E402

PAGE = ROOT / "book" / "ledger.md"
OUTCOMES = ROOT / "tests" / "ledger.json"
MEASURED = ROOT / "benchmarks" / "measured.json"
BADGES = {  # what a row may say, and its colour
    "holds": "success",
    "holds in part": "success-line",
    "fails": "danger",
    "not checked": "warning",
    "not reproduced": "primary-line",
    "told": "primary-line",
}
NOT_MEASURED = "(not measured yet)"


@dataclass(frozen=True)
class Fact:
    """One table of book/ledger.toml, whose head explains the entries."""

    id: str
    name: str
    section: str
    says: str
    chapters: list = field(default_factory=list)
    library: list = field(default_factory=list)
    breaks: list = field(default_factory=list)
    needs: list = field(default_factory=list)
    shows: list = field(default_factory=list)
    measured: str = ""
    prints: list = field(default_factory=list)
    deviates: str = ""
    cannot: str = ""
    told: str = ""


@dataclass(frozen=True)
class Record:
    """What is on record.

    Attributes
    ----------
    tests : dict, a test ("tests/test_x.py::test_y") to its outcome: passed, failed or skipped
    caught : dict, a planted error's name to True (its test failed), False (it did not) or None (not tried as it is)
    measured : dict, a line of figures_check.py to its value, whether it passed, and when and on what it was measured
    """

    tests: dict
    caught: dict
    measured: dict


@dataclass(frozen=True)
class Check:
    """One thing that must be so for a row to hold: True, False, or None where nothing is on record."""

    what: str
    outcome: bool | None


def facts():
    return [Fact(**table) for table in tomllib.loads((ROOT / "book" / "ledger.toml").read_text())["fact"]]


def mutant(behaviour):
    """The planted error of this name."""
    return next(m for m in mutants.MUTANTS if m.behaviour == behaviour)


def test_of(behaviour):
    """The test that a planted error must turn red."""
    return f"tests/{mutant(behaviour).test}"


def record():
    outcomes = mutants.stored()
    named = {behaviour for fact in facts() for behaviour in fact.breaks}
    return Record(
        json.loads(OUTCOMES.read_text()) if OUTCOMES.is_file() else {},
        {behaviour: mutants.caught(mutant(behaviour), test_of(behaviour), outcomes) for behaviour in named},
        measured(json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}),
    )


def measured(store):
    """Every line of every measurement, with the day and the machine of its measurement."""
    return {
        what: line | {"date": entry["date"], "machine": entry["machine"]}
        for entry in store.values()
        for what, line in entry["lines"].items()
    }


def checks(fact, known):
    """All that must be so for a row to hold."""
    found = []
    for behaviour in fact.breaks:
        outcome = known.tests.get(test_of(behaviour))
        found.append(Check(test_of(behaviour), None if outcome in (None, "skipped") else outcome == "passed"))
        found.append(Check(behaviour, known.caught.get(behaviour)))
    for what in fact.needs:
        found.append(Check(what, known.measured[what]["passed"] if what in known.measured else None))
    return found


def status(fact, known):
    """What a row may say of itself, one of `BADGES`."""
    if fact.told:
        return "told"
    outcomes = [check.outcome for check in checks(fact, known)]
    if False in outcomes:
        return "fails"
    if not outcomes and fact.cannot:
        return "not reproduced"
    if None in outcomes or not outcomes:
        return "not checked"
    return "holds in part" if fact.cannot else "holds"


# The page


def page(rows, known):
    """The text of book/ledger.md."""
    counts = {name: sum(status(fact, known) == name for fact in rows) for name in BADGES}
    told = ", ".join(f"{badge(name)} {count}" for name, count in counts.items() if count)
    overview = "\n".join(
        f"| [{fact.id}](#fact-{fact.id}) | {fact.name} | {badge(status(fact, known))} | {short_chapters(fact)} |"
        for fact in rows
    )
    return "\n".join([HEAD.format(rows=len(rows), told=told), overview, "", *[section(fact, known) for fact in rows]])


HEAD = """<!-- Made by `make ledger` from book/ledger.toml: change that file, not this one. -->
# The paper's facts: a ledger

What the paper {{cite}}`roth2018` says, fact by fact, in our words: where the course teaches it, where the library does
it, what was measured here, and where and why we depart from it. *Derived* means that it follows by arithmetic, *ours*
that the paper leaves it open and we chose. The paper's numbers in the chapters' sentences are those of this page;
chapters 10 and 11 also copy its Tables 1 and 2 whole.

No row says of itself that it holds. A program works it out from what is on record:

- {{bdg-success}}`holds`: each of its tests passed, each error that was planted in the library to break this very fact
  made its test fail, and each measurement that it needs reached its mark.
- {{bdg-success-line}}`holds in part`: the same, and the row says what cannot be reproduced here.
- {{bdg-danger}}`fails` or {{bdg-warning}}`not checked`: one of these went wrong, or is not on record.
- {{bdg-primary-line}}`told`: there is nothing that a program could check.

`make test` runs the tests and compares them with the record. `make mutants` plants the errors, and `make figures-check`
repeats the measurements. There are {rows} rows: {told}.

| fact | in a few words | status | taught in |
|---|---|---|---|"""


def badge(name):
    return f"{{bdg-{BADGES[name]}}}`{name}`"


def section(fact, known):
    """The part of the page about one fact."""
    lines = [f"(fact-{fact.id})=", f"## {fact.id}. {fact.name}", "", badge(status(fact, known)), ""]
    lines.append(f"- **The paper** ({fact.section}): {fact.says}")
    lines.append(f"- **Taught in** {', '.join(map(chapter_link, fact.chapters))}")
    if fact.library:
        lines.append(f"- **Done by** {', '.join(map(library_link, fact.library))}")
    if fact.measured:
        lines.append(f"- **Measured here**: {filled(fact, known)}")
    if fact.prints:
        lines.append("- **Found here**, printed by a chapter and compared by `make test`:")
        lines += [f"  - {quoted(entry)}" for entry in fact.prints]
    departs = fact.deviates or ("" if fact.told or fact.cannot else "nowhere.")
    for title, text in (("We depart", departs), ("Not reproduced here", fact.cannot), ("Not tested", fact.told)):
        if text:
            lines.append(f"- **{title}**: {text}")
    if fact.breaks:
        lines.append("- **Broken on purpose**, and the test that notices:")
        lines += [f"  - {behaviour}: {noticed(behaviour, known)}" for behaviour in fact.breaks]
    return "\n".join([*lines, ""])


def noticed(behaviour, known):
    """Whether a planted error was caught, and by which test; and what else is on record of this test."""
    test = test_of(behaviour)
    name, outcome = test.removeprefix("tests/"), known.tests.get(test, "not on record")
    words = {True: "caught by", False: "**not caught** by", None: "not tried yet with"}[known.caught.get(behaviour)]
    return f"{words} `{name}`" + ("" if outcome == "passed" else f" (without the error: {outcome})")


def printed_line(entry):
    """The line of a chapter's outputs that an entry of `prints` ("06_unet: all ") names by its beginning, or None."""
    chapter, _, beginning = entry.partition(": ")
    for cell in json.loads(chapter_file(chapter).read_text())["cells"]:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
            for line in text.splitlines():
                if line.startswith(beginning):
                    return " ".join(line.split())
    return None


def quoted(entry):
    name, line = entry.partition(": ")[0], printed_line(entry)
    if line is None:
        sys.exit(
            f"book/ledger.toml: found no output that begins as {entry!r}; name another line, or run `make notebooks`"
        )
    return f"chapter [{short_name(name)}]({chapter_address(name)}): `{line}`"


def filled(fact, known):
    """The text on measurements with the values on record, and when they were measured on what."""
    lines = [known.measured.get(what) for what in [*fact.needs, *fact.shows]]
    text = fact.measured.format(*map(value, lines))
    taken = sorted({f"{line['date']}, {line['machine']}" for line in lines if line})
    return f"{text} ({'; '.join(taken)})" if taken else text


def value(line):
    """What a line of a measurement found."""
    if line is None:
        return NOT_MEASURED
    return line["value"] if line["passed"] else f"{line['value']} (**beyond the mark**)"


def chapter_file(name):
    """The file of a chapter, or of another page of the book."""
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    return notebook if notebook.is_file() else ROOT / "book" / f"{name}.md"


def chapter_title(name):
    """A chapter's heading, with its number."""
    file = chapter_file(name)
    text = "".join(json.loads(file.read_text())["cells"][0]["source"]) if file.suffix == ".ipynb" else file.read_text()
    title = re.search(r"^# (.*)$", text, flags=re.MULTILINE).group(1)
    return f"{short_name(name)}: {title}" if file.suffix == ".md" else title


def short_name(name):
    """A chapter's number; of another page its file's name, as in "part 2"."""
    return str(int(name[:2])) if name[:2].isdigit() else name.replace("_", " ")


def chapter_address(name):
    file = chapter_file(name)
    return f"../notebooks/{file.name}" if file.suffix == ".ipynb" else file.name


def chapter_link(name):
    return f"[{chapter_title(name)}]({chapter_address(name)})"


def short_chapters(fact):
    """Only the chapters' numbers, for the table."""
    return ", ".join(f"[{short_name(name)}]({chapter_address(name)})" for name in fact.chapters)


def library_link(name):
    """A name of the library, which leads to its place in the reference; a constant's is its module's."""
    module = f"organseg.{organseg._ROOM_OF[name]}"
    return f"{{py:obj}}`{name} <{module if name.isupper() else f'{module}.{name}'}>`"


# What is on record


def reported(report):
    """The outcome of every test in pytest's XML report; a test with parameters passed where all that ran passed."""
    found = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        names = {child.tag for child in case}
        outcome = "failed" if names & {"failure", "error"} else "skipped" if "skipped" in names else "passed"
        test = f"{case.get('classname').replace('.', '/')}.py::{case.get('name').partition('[')[0]}"
        found.setdefault(test, set()).add(outcome)
    return {test: min(outcomes, key=("failed", "passed", "skipped").index) for test, outcomes in found.items()}


def tests_of(rows):
    """All tests that the rows name."""
    return sorted({test_of(behaviour) for fact in rows for behaviour in fact.breaks})


def run_what_is_new(rows):
    """Run the tests that are not on record as passed, and plant the errors that are not on record as caught."""
    known = record()
    new = [test for test in tests_of(rows) if known.tests.get(test) != "passed"]
    outcomes = {test: outcome for test, outcome in known.tests.items() if test in tests_of(rows)}
    if new:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "tests.xml"
            subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *new], cwd=ROOT)
            outcomes |= {test: outcome for test, outcome in reported(report).items() if test in new}
    OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    untried = [behaviour for fact in rows for behaviour in fact.breaks if known.caught[behaviour] is not True]
    if untried:
        subprocess.run([sys.executable, "tests/mutants.py", "--tests", "--new", *untried], cwd=ROOT)


def differences(rows, known, run):
    """One line for every test of the ledger whose outcome in this run is not the one on record."""
    found = []
    for test in tests_of(rows):
        now, stored = run.get(test, "not run"), known.tests.get(test, "not on record")
        if now != stored and not (now == "skipped" and stored == "passed"):  # it needs what is not there, as ../shared
            found.append(f"{test}: found {now} in this run; expected {stored}, as on record; run `make ledger`")
    return found


def main():
    command, *rest = sys.argv[1:] or ["page"]
    rows = facts()
    if command == "check":
        if found := differences(rows, record(), reported(rest[0])):
            sys.exit("\n".join(found))
        print(f"The ledger's {len(tests_of(rows))} tests are as on record.")
        return
    if command == "make":
        run_what_is_new(rows)
    elif command != "page":
        sys.exit(f"found {command!r}; expected make, page or check")
    known = record()
    PAGE.write_text(page(rows, known))
    for fact in rows:
        print(f"{fact.id:>4}  {status(fact, known):15}{fact.name}")


if __name__ == "__main__":
    main()
