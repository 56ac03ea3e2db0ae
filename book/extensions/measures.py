"""What the chapters say of themselves, in the book's pages: their map, and what running them takes.

A notebook stores what its last run took, and its head says it in words (`tools/notebooks.py` writes both). This Sphinx
extension hands them to the pages as MyST substitutions, so that no minute is typed by hand: {{ map_of_part_1 }},
{{ measures_of_chapters }}, {{ minutes_to_run }} and what else `words_for_pages` lists.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

IN_CLASS = re.compile(r"\*\*In class:\*\* (\d+) minutes, exercises (\d+) minutes")
MEASURED = re.compile(r"\*\*Measured:\*\* about (.+?) on two CPU cores.*?, ([\d.]+ GB) of memory, (.+)\.$", re.M)
MAP = "| chapter | | class + exercises | to run |\n|---|---|---|---|\n"
MEASURES = "| chapter | to run | memory | download |\n|---|---|---|---|\n"


class Head(NamedTuple):
    """A chapter's own words about itself."""

    name: str
    title: str
    promise: str
    minutes: str
    exercise_minutes: str
    to_run: str
    memory: str
    download: str
    measures: dict

    @property
    def link(self):
        return f"[{self.title}](../notebooks/{self.name}.ipynb)"

    @property
    def on_the_map(self):
        taught = f"{self.minutes} + {self.exercise_minutes} min".replace(" ", "\N{NO-BREAK SPACE}")
        return f"| {self.link} | {self.promise} | {taught} | {self.to_run} |"


def read_head(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first = "".join(notebook["cells"][0]["source"])
    heads = ["".join(cell["source"]) for cell in notebook["cells"] if "head" in cell["metadata"].get("tags", [])]
    title, _, promise = first.partition("\n")
    told = [pattern.search("".join(heads)) for pattern in (IN_CLASS, MEASURED)]
    if None in told:
        raise ValueError(f"{path.name}: found no minutes in its head; expected lines **In class:** and **Measured:**")
    words = path.stem, title.removeprefix("# "), " ".join(promise.split())
    return Head(*words, *told[0].groups(), *told[1].groups(), notebook["metadata"]["organseg"])


def words_for_pages(folder, parts):
    """The substitutions: `parts` are lists of names of chapters, whose notebooks lie in the folder."""
    heads = {path.stem: read_head(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    taken = [head.measures for head in heads.values()]
    words = {
        "number_of_chapters": str(len(heads)),
        "minutes_to_run": str(round(sum(one["seconds"] for one in taken) / 60)),
        "longest_to_run": f"{max(one['seconds'] for one in taken) / 60:.1f}",
        "most_memory": f"{max(one['memory_gb'] for one in taken):.1f}",
        "measures_of_chapters": MEASURES
        + "\n".join(f"| {one.link} | {one.to_run} | {one.memory} | {one.download} |" for one in heads.values()),
    }
    for number, names in enumerate(parts, start=1):
        words[f"map_of_part_{number}"] = MAP + "\n".join(heads[name].on_the_map for name in names if name in heads)
    return words


def tell(app, config):
    import yaml

    contents = yaml.safe_load((Path(app.srcdir) / "_toc.yml").read_text(encoding="utf-8"))
    files = [[Path(page["file"]) for page in part["chapters"]] for part in contents.get("parts", [])]
    parts = [[file.name for file in part] for part in files if any(file.parent.name == "notebooks" for file in part)]
    if parts:  # a book of one page, as a trial, has none
        config.myst_substitutions |= words_for_pages(Path(app.srcdir) / "notebooks", parts)


def setup(app):
    app.connect("config-inited", tell, priority=100)  # before MyST reads its settings
    return {"parallel_read_safe": True, "parallel_write_safe": True}
