"""The ledger of the paper's facts: book/ledger.md, made from book/ledger.toml and from what is on record.

    python tools/ledger.py make             run what is not on record yet, then write the page (`make ledger`)
    python tools/ledger.py page             write the page from what is on record
    python tools/ledger.py compare REPORT   compare a run of the tests with the record (after `make test`'s first run)

On record are the outcomes of the ledger's tests (tests/ledger.json), which planted errors were caught
(tests/mutants.json, by tests/mutants.py) and the measurements (benchmarks/measured.json, by
benchmarks/figures_check.py). A planted error carries a mark of the code it was tried with; a test's outcome needs none,
because every `make test` finds it anew and compares.
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
    tests : dict, a test ("tests/core/test_x.py::test_y") to its outcome: passed, failed or skipped
    caught : dict, a planted error's name to True (its test failed), False (it did not) or None (not tried as it is)
    measured : dict, a line of figures_check.py to its value, whether it passed, and when and on what it was measured
    """

    tests: dict
    caught: dict
    measured: dict


def facts():
    text = (ROOT / "book" / "ledger.toml").read_text(encoding="utf-8")
    return [Fact(**table) for table in tomllib.loads(text)["fact"]]


def test_of(error):
    """The test that a planted error must turn red."""
    return f"tests/{mutants.MUTANTS[error].test}"


def stored(file):
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def record():
    outcomes = mutants.stored()
    named = {error for fact in facts() for error in fact.breaks}
    caught = {error: mutants.caught(mutants.MUTANTS[error], test_of(error), outcomes) for error in named}
    measured = {
        what: line | {"taken": f"{entry['date']}, {entry['machine']}"}
        for entry in stored(MEASURED).values()
        for what, line in entry["lines"].items()
    }
    return Record(stored(OUTCOMES), caught, measured)


def evidence(fact, known):
    """Of all that must be so for a row to hold: True, False, or None where nothing is on record."""
    tests = [known.tests.get(test_of(error)) for error in fact.breaks]
    passed = {"passed": True, "failed": False}
    found = [passed.get(outcome) for outcome in tests] + [known.caught.get(error) for error in fact.breaks]
    return found + [known.measured[what]["passed"] if what in known.measured else None for what in fact.needs]


def status(fact, known):
    """What a row may say of itself, one of `BADGES`."""
    found = evidence(fact, known)
    if fact.told:
        return "told"
    if False in found:
        return "fails"
    if not found and fact.cannot:
        return "not reproduced"
    if None in found or not found:
        return "not checked"
    return "holds in part" if fact.cannot else "holds"


# The page


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


def page(rows, known):
    """The text of book/ledger.md."""
    found = [status(fact, known) for fact in rows]
    told = ", ".join(f"{badge(name)} {found.count(name)}" for name in BADGES if name in found)
    parts = [HEAD.format(rows=len(rows), told=told)]
    for fact, name in zip(rows, found, strict=True):
        numbers = ", ".join(f"[{short_name(chapter)}]({address(chapter)})" for chapter in fact.chapters)
        parts.append(f"| [{fact.id}](#fact-{fact.id}) | {fact.name} | {badge(name)} | {numbers} |")
    return "\n".join([*parts, "", *(section(fact, known) for fact in rows)])


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
        lines += [f"  - {error}: {noticed(error, known)}" for error in fact.breaks]
    return "\n".join([*lines, ""])


def noticed(error, known):
    """Whether a planted error was caught, and by which test; and what else is on record of this test."""
    test = test_of(error)
    outcome = known.tests.get(test, "not on record")
    words = {True: "caught by", False: "**not caught** by", None: "not tried yet with"}[known.caught.get(error)]
    without = "" if outcome == "passed" else f" (without the error: {outcome})"
    return f"{words} `{test.removeprefix('tests/')}`{without}"


def printed_line(entry):
    """The line of a chapter's outputs that an entry of `prints` ("06_unet: all ") names by its beginning, or None."""
    chapter, _, beginning = entry.partition(": ")
    for cell in json.loads(file_of(chapter).read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
            for line in text.splitlines():
                if line.startswith(beginning):
                    return " ".join(line.split())
    return None


def quoted(entry):
    name, line = entry.partition(": ")[0], printed_line(entry)
    if line is None:
        sys.exit(f"ledger.toml: found no output that begins as {entry!r}; name another line, or run `make notebooks`")
    return f"chapter [{short_name(name)}]({address(name)}): `{line}`"


def filled(fact, known):
    """The text on measurements with the values on record, and when they were measured on what."""
    lines = [known.measured.get(what) for what in [*fact.needs, *fact.shows]]
    taken = sorted({line["taken"] for line in lines if line})
    return fact.measured.format(*map(value, lines)) + (f" ({'; '.join(taken)})" if taken else "")


def value(line):
    """What a line of a measurement found."""
    if line is None:
        return NOT_MEASURED
    return line["value"] if line["passed"] else f"{line['value']} (**beyond the mark**)"


def file_of(name):
    """The file of a chapter, or of another page of the book."""
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    return notebook if notebook.is_file() else ROOT / "book" / f"{name}.md"


def short_name(name):
    """A chapter's number; of another page its file's name, as in "part 2"."""
    return str(int(name[:2])) if name[:2].isdigit() else name.replace("_", " ")


def address(name):
    file = file_of(name)
    return f"../notebooks/{file.name}" if file.suffix == ".ipynb" else file.name


def chapter_link(name):
    """A chapter's heading, or another page's name and heading, which lead there."""
    file = file_of(name)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    heading = re.search(r"^# (.*)$", text, flags=re.MULTILINE).group(1)
    title = heading if file.suffix == ".ipynb" else f"{short_name(name)}: {heading}"
    return f"[{title}]({address(name)})"


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
    return sorted({test_of(error) for fact in rows for error in fact.breaks})


def run_what_is_new(rows):
    """Run the tests that are not on record as passed, and plant the errors that are not on record as caught."""
    known, tests = record(), tests_of(rows)
    outcomes = {test: known.tests[test] for test in tests if test in known.tests}
    if new := [test for test in tests if outcomes.get(test) != "passed"]:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "tests.xml"
            subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *new], cwd=ROOT)
            outcomes |= {test: outcome for test, outcome in reported(report).items() if test in new}
    OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if untried := [error for fact in rows for error in fact.breaks if known.caught[error] is not True]:
        subprocess.run([sys.executable, "tests/mutants.py", "--tests", "--new", *untried], cwd=ROOT)


def differences(rows, known, run):
    """One line for every test of the ledger whose outcome in this run is not the one on record."""
    found = []
    for test in tests_of(rows):
        now, before = run.get(test, "not run"), known.tests.get(test, "not on record")
        if now != before and (now, before) != ("skipped", "passed"):  # it needs what is not there, as ../shared
            found.append(f"{test}: found {now} in this run; expected {before}, as on record; run `make ledger`")
    return found


def main():
    command, *rest = sys.argv[1:] or ["page"]
    rows = facts()
    if command == "compare":
        if found := differences(rows, record(), reported(rest[0])):
            sys.exit("\n".join(found))
        print(f"The ledger's {len(tests_of(rows))} tests are as on record.")
        return
    if command == "make":
        run_what_is_new(rows)
    elif command != "page":
        sys.exit(f"found {command!r}; expected make, page or compare")
    known = record()
    PAGE.write_text(page(rows, known), encoding="utf-8")
    for fact in rows:
        print(f"{fact.id:>4}  {status(fact, known):15}{fact.name}")


if __name__ == "__main__":
    main()
