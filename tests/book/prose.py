"""Where does a number in a notebook's prose come from? Used by test_notebooks.py."""

import re
from dataclasses import dataclass

NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:[eE]-?\d+)?")
# What looks like a number and is a name, a place in the text or code.
NAMES = re.compile(
    r"```.*?```"  # code and directives
    r"|`[^`]*`"
    r"|\]\([^)]*\)"  # where a link leads
    r"|<[^>]+>"  # HTML
    r"|^#+ [^\n]*"  # headings
    r"|^\s*\d+\.\s"  # numbers of a list
    r"|\b\d-?D\b"
    r"|(?i:\b(?:figs?\.|figures?|tables?|sections?|exercises?|chapters?|equations?|step|version|python)\s*"
    r"\(?\d+(?:\.\d+)*\)?(?:(?:,| and| to|–)\s*\(?\d+(?:\.\d+)*\)?)*)"
    r"|\(\d\)|\[\d+\]"  # numbers of equations and of the paper's references
    r"|et al\.,? \(?\d{4}\)?",
    flags=re.DOTALL | re.MULTILINE,
)
MATH = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", flags=re.DOTALL)


@dataclass(frozen=True)
class Number:
    """A number as it is written: its value without sign, the decimals shown, and whether a % follows."""

    written: str
    value: float
    decimals: int
    percent: bool


def numbers(text):
    """All numbers in a text."""
    text = text.replace("\u202f", "").replace("\u2009", "")
    found = []
    for match in NUMBER.finditer(text):
        plain = match.group().replace(",", "")
        decimals = len(plain.split(".")[1]) if re.fullmatch(r"\d+\.\d+", plain) else 0
        percent = text[match.end() : match.end() + 2].strip().startswith("%")
        found.append(Number(match.group(), float(plain), decimals, percent))
    return found


def claims(markdown):
    """The numbers that a paragraph claims: names left out, and the small integers of formulas."""
    text = NAMES.sub(" ", markdown)
    formulas = [n for formula in MATH.findall(text) for n in numbers(formula) if n.value > 10 or n.decimals]
    return numbers(MATH.sub(" ", text)) + formulas


def shown(number, values):
    """True where one of the values, rounded as the text rounds, is the number; 98 % may be shown as 0.98."""
    return any(
        round(value, number.decimals) == number.value
        or (number.percent and round(100 * value, number.decimals) == number.value)
        for value in values
    )


def values(text):
    return [number.value for number in numbers(text)]


def printed(cell):
    """The text of a code cell's outputs, as far as a reader sees numbers in it."""
    parts = []
    for output in cell.get("outputs", []):
        plain = "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
        parts.append("" if plain.startswith("<") else plain)
    return "\n".join(parts)


def untraced(notebook, facts, exceptions):
    """The claims that nothing shows, each with the paragraph it is in.

    A number may be shown by any output of the notebook, by an `assert`, by the code cell before or after the
    paragraph, in a paragraph about the paper by the ledger of its facts, or be one of the exceptions.
    """
    cells = notebook.cells
    everywhere = []
    for cell in cells:
        if cell.cell_type == "code":
            asserts = "\n".join(re.findall(r"assert.*", cell.source))
            everywhere += values(printed(cell)) + values(asserts)
    missing = []
    for place, cell in enumerate(cells):
        if cell.cell_type != "markdown":
            continue
        before = next((c.source for c in reversed(cells[:place]) if c.cell_type == "code"), "")
        after = next((c.source for c in cells[place:] if c.cell_type == "code"), "")
        near = everywhere + values(before) + values(after)
        for paragraph in re.split(r"\n\s*\n", cell.source):
            if paragraph.startswith(("**Measured:**", "**In class:**")):  # stated by whoever taught or ran it
                continue
            about_paper = "{cite}`roth2018`" in paragraph or "the paper" in paragraph.lower()
            known = near + (facts if about_paper else [])
            for number in claims(paragraph):
                if number.written not in exceptions and not shown(number, known):
                    missing.append(f"{number.written} in: {paragraph[:90]!r}")
    return missing
