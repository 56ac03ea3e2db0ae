"""Where does a number in a notebook's prose come from? Used by test_notebooks.py."""

import re
from dataclasses import dataclass

from citations import with_roles
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

MARKDOWN = MarkdownIt().enable("table").use(dollarmath_plugin)  # what MyST, the book's Markdown, is built on
NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:[eE]-?\d+)?")
# What looks like a number and is a name, or a place in the text.
NAMES = re.compile(
    r"\b\d-?D\b"
    r"|(?i:\b(?:figs?\.|figures?|tables?|sections?|exercises?|chapters?|equations?|step|version|python)\s*"
    r"\(?\d+(?:\.\d+)*\)?(?:(?:,| and| to|–)\s*\(?\d+(?:\.\d+)*\)?)*)"
    r"|\(\d\)|\[\d+\]"  # numbers of equations and of the paper's references
    r"|et al\.,? \(?\d{4}\)?"
)


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


def words_and_formulas(markdown):
    """What a paragraph says outside of headings, code, HTML and links' addresses; and its formulas."""
    words, formulas, before = "", [], ""
    for block in MARKDOWN.parse(markdown):
        for part in [] if before == "heading_open" else block.children or [block]:
            if part.type.startswith("math"):
                formulas.append(part.content)
            words += part.content if part.type == "text" else " "
        before = block.type
    return words, formulas


def claims(markdown):
    """The numbers that a paragraph claims: names left out, and the small integers of formulas."""
    words, formulas = words_and_formulas(markdown)
    found = [number for formula in formulas for number in numbers(formula) if number.value > 10 or number.decimals]
    return numbers(NAMES.sub(" ", words)) + found


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
    cells = [cell for cell in notebook.cells if "quiz" not in cell.metadata.get("tags", [])]  # a quiz shows nothing
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
        for paragraph in re.split(r"\n\s*\n", with_roles(cell.source)):  # a citation's year is no claim
            if paragraph.startswith(("**Measured:**", "**In class:**")):  # stated by whoever taught or ran it
                continue
            about_paper = "{cite}`roth2018`" in paragraph or "the paper" in paragraph.lower()
            known = near + (facts if about_paper else [])
            for number in claims(paragraph):
                if number.written not in exceptions and not shown(number, known):
                    missing.append(f"{number.written} in: {paragraph[:90]!r}")
    return missing
