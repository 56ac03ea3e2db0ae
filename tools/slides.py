"""Slides from the notebooks' own figures, a deck per chapter, to be shown without a connection: `make slides`.

    python tools/slides.py FOLDER [NAMES]     FOLDER/html/index.html opens them all

A slide per figure: the section's heading, the figure with its text for those who do not see it, and the sentence that
says what it shows. A section without a figure shows its first sentences, a formula and some code. The prose around goes
into the speaker's notes (key S). Solutions are not shown, nor what only asserts. Author and licence are on each deck.
"""

import argparse
import ast
import base64
import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from sphinx.cmd.build import main as sphinx

from notebooks import CONFIG as BOOK
from notebooks import citations, has_tag
from teaching import read_chapters

ABOVE, BESIDE = (1160, 440), (700, 580)  # pixels for a figure above its sentence, or with its sentence at the right
LARGEST = 1.6  # times a figure's own size
CODE_LINES = 13
CONFIG = """\
project = "From pixels to organs"
extensions = ["myst_parser", "sphinx-mathjax-offline", "sphinx.ext.mathjax", "sphinx_revealjs"]
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
revealjs_static_path = ["style"]
revealjs_css_files = ["slides.css"]
revealjs_style_theme = "white"
revealjs_script_conf = dict(width=1280, height=720, margin=0, center=False, hash=True, slideNumber="c/t",
                            transition="none", controlsLayout="edges")
revealjs_script_plugins = [dict(src=f"revealjs/plugin/{name.lower()}/{name.lower()}.js", name=f"Reveal{name}")
                           for name in ("Notes", "Zoom", "Highlight")]
suppress_warnings = ["myst.header"]
"""
CREDIT = "{author}, CC BY 4.0"  # at the foot of each slide
LICENCE = """\
{author}. Text and figures: [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), to be shared and adapted with the
author's name, the licence and what was changed. Code: Apache License 2.0."""
INDEX = """\
# From pixels to organs

:::{{container}} contents
{links}
:::

Arrow keys move. S: speaker's notes. F: full screen. O: all slides of a deck. Alt and click: enlarge.

{licence}

```{{toctree}}
:hidden:
:glob:

[0-9]*
```
"""


@dataclass
class Section:
    heading: str
    parts: list = field(default_factory=list)  # texts, and cells of code


def sections(chapter):
    """A chapter's sections, each with its prose and its cells in order."""
    found = [Section("")]
    for cell in chapter.cells[1:]:
        if any(has_tag(cell, tag) for tag in ("head", "setup", "quiz", "exercise", "solution")):
            continue
        if cell.cell_type == "code":
            found[-1].parts.append(cell)
            continue
        for part in re.split(r"(?m)^(?=##+ )", cell.source):
            heading = re.match(r"##+ (.*)\n*", part)
            if heading:
                found.append(Section(heading.group(1)))
            if text := part[heading.end() if heading else 0 :].strip():
                found[-1].parts.append(_cited(text))
    return found[1:]


def _cited(text):
    """Citations by name, and links by their words: a deck leads nowhere else."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", citations.with_links(text))


def picture(cell):
    """The figure of a cell with its text, as (png, text), or the HTML of one that moves, or None."""
    for output in [] if isinstance(cell, str) else cell.outputs:
        data = output.get("data", {})
        if "organseg-scroller" in "".join(data.get("text/html", "")):
            return "".join(data["text/html"])
        if "image/png" in data:
            return base64.b64decode(data["image/png"]), cell.metadata["mystnb"]["image"]["alt"]
    return None


def sentences(paragraph, most=230):
    """The first sentences of a paragraph, as many as a slide bears; none that leads to something further down."""
    taken, *others = re.split(r"(?<=[.!?])\s+(?=[A-Z“(*`$])", " ".join(paragraph.split()))
    for sentence in others:
        if len(taken) + len(sentence) > most:
            break
        taken += "" if re.search("next (picture|cell)|:$", sentence) else f" {sentence}"
    return re.sub(r":$", ".", taken)


def slide(heading, body, notes=""):
    notes = re.sub(r"(\$\$?)\s*([^$]+?)\s*\1", r"`\2`", notes)  # in the notes' window nobody sets formulas
    aside = f'<aside class="notes">\n\n{notes}\n\n</aside>' if notes else ""
    return f"## {heading}\n\n{body}\n\n{aside}\n\n"


def figure_slide(folder, name, section, place, shown):
    """A figure and what it shows: the cell's own words (slide="…"), or the prose after it, or the prose before."""
    before = next((part for part in reversed(section.parts[:place]) if isinstance(part, str)), "")
    after = next((part for part in section.parts[place + 1 :] if isinstance(part, str) or picture(part)), "")
    after = after if isinstance(after, str) else ""
    notes = f"{before}\n\n{after}".strip()
    said = after.split("\n\n")[0] if after else before.split("\n\n")[-1]
    said = section.parts[place].metadata.get("slide") or sentences(said)
    if isinstance(shown, str):
        return slide(section.heading, f"``````{{raw}} html\n{shown}\n``````\n\n{said}", notes)
    png, words = shown
    (folder / f"{name}.png").write_bytes(png)
    width, height = struct.unpack(">II", png[16:24])
    kind, room = ("beside", BESIDE) if height > 0.75 * width else ("above", ABOVE)
    scale = min(LARGEST, room[0] / width, room[1] / height)
    image = f"```{{image}} {name}.png\n:alt: {words}\n:width: {width * scale:.0f}px\n```"
    return slide(section.heading, f"::::{{container}} {kind}\n{image}\n\n{said}\n::::", notes)


def text_slide(section):
    """The section's first sentences, or those that lead to its first formula, and the first code that fits."""
    prose = "\n\n".join(part for part in section.parts if isinstance(part, str))
    before, formula, _ = (*re.split(r"(\$\$.*?\$\$)", prose, maxsplit=1, flags=re.DOTALL), "", "")[:3]
    room = 9 if formula else CODE_LINES
    said = " ".join(before.strip().split("\n\n")[-1].split()) if formula else ""
    said = said if 0 < len(said) <= 330 else sentences(before.strip().split("\n\n")[0], 300)
    blocks = []
    for cell in (part for part in section.parts if not isinstance(part, str)):
        printed = "".join(output.get("text", "") for output in cell.outputs).strip("\n")
        source = without_asserts(cell.source)
        if _fits(source, room):
            left = room + 3 - len(source.splitlines())
            blocks = [("python", source), *([("text", printed)] if _fits(printed, min(5, left)) else [])]
            break
        if not blocks and _fits(printed, room) and printed.count("\n") > 1:
            blocks = [("text", printed)]
    lines = "\n".join(text for _, text in blocks).splitlines()
    size = "large" if lines and len(lines) <= room - 2 and max(map(len, lines)) <= 78 else "small"
    code = "\n\n".join(f"```{language}\n{text}\n```" for language, text in blocks)
    code = f":::{{container}} {size}\n{code}\n:::" if blocks else ""
    return slide(section.heading, f"{said}\n\n{formula}\n\n{code}", prose)


def without_asserts(source):
    """A cell's code without the statements that only compare: on a slide they stand for a result and show none."""
    lines, statements = source.splitlines(), ast.parse(source).body
    compares = [n for n in statements if ast.unparse(n).startswith(("assert ", "np.testing."))]
    for node in compares:
        lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    left = "\n".join(line for line in lines if line is not None)
    return left.strip() if len(compares) < len(statements) else ""


def _fits(text, most):
    lines = text.splitlines()
    return 0 < len(lines) <= most and max(map(len, lines)) <= 104


def deck(chapter, folder):
    """A chapter's slides as text that Sphinx turns into a deck; its pictures are written into the folder."""
    minutes = f"{chapter.minutes} minutes, exercises {chapter.exercise_minutes} minutes."
    slides = [f"# {chapter.title}\n\n{chapter.promise}\n\nFrom pixels to organs. {minutes}\n\n{licence()}\n\n"]
    slides.append(slide("Objectives", _cited(chapter.objectives)))
    for section in sections(chapter):
        if section.heading == "Exercises":
            items = "\n".join(f"- {exercise}" for exercise in chapter.exercises)
            slides.append(slide("Exercises", items, _cited("\n\n".join(e.text for e in chapter.exercises))))
        elif section.heading == "Summary":
            kind = "dense" if len(section.parts[0]) > 850 else "list"
            slides.append(slide("Summary", f"::::{{container}} {kind}\n{section.parts[0]}\n::::"))
        elif section.parts and section.heading != "References":  # without parts: a heading, and at once the next one
            drawn = [(place, shown) for place, part in enumerate(section.parts) if (shown := picture(part))]
            for place, shown in drawn:
                slides.append(figure_slide(folder, f"{chapter.name}-{len(slides)}", section, place, shown))
            if not drawn and not section.heading.startswith("Exercise "):
                slides.append(text_slide(section))
    return "".join(slides)


def author():
    return yaml.safe_load(BOOK.read_text(encoding="utf-8"))["author"]


def licence():
    return f":::{{container}} licence\n{LICENCE.format(author=author())}\n:::"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="the first figures of a chapter, e.g. 02; none: all")
    arguments = parser.parse_args()
    source, html = arguments.folder / "source", arguments.folder / "html"
    (source / "style").mkdir(parents=True, exist_ok=True)
    look = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    credit = json.dumps(CREDIT.format(author=author()), ensure_ascii=False)
    (source / "style" / "slides.css").write_text(f"{look}:root {{ --credit: {credit}; }}\n", encoding="utf-8")
    made = [one for one in read_chapters().values() if one.name.startswith(tuple(arguments.names or [""]))]
    links = "\n".join(f"- [{chapter.title}]({chapter.name}.md)" for chapter in made)
    texts = {f"{chapter.name}.md": deck(chapter, source) for chapter in made}
    texts |= {"conf.py": CONFIG, "index.md": INDEX.format(links=links, licence=licence())}
    for name, text in texts.items():
        (source / name).write_text(text, encoding="utf-8")
    sys.exit(sphinx(["-b", "revealjs", "-W", "--keep-going", "-q", "-E", str(source), str(html)]))


if __name__ == "__main__":
    main()
