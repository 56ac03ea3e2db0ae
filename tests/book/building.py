"""How the tests build the book, and what they read of it."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import notebooks as tool
import students


def build(source, out):
    """Build a book as the Makefile does; returns the finished process and the folder of the pages."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", str(source), "--path-output", str(out)]
    done = subprocess.run([*command, "-W", "--keep-going", "-q"], capture_output=True, text=True)
    return done, out / "_build" / "html"


@contextmanager
def patched(folder):
    """The tools work on a copy of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "NOTEBOOKS", folder / "notebooks")
        patch.setattr(tool, "CONFIG", folder / "_config.yml")
        yield


def with_address(folder, url):
    """Set the repository's address in a copy of the project."""
    with patched(folder):
        tool.set_address(url)


def course_for_students(fork, url):
    """The course without solutions, as a fork with an address writes it; returns its folder."""
    shutil.copytree(tool.NOTEBOOKS, fork / "notebooks")
    shutil.copy(tool.CONFIG, fork)
    with_address(fork, url)
    with patched(fork):
        students.write(fork / "student")
    return fork / "student"


def pages(site):
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)


def distinctive_lines():
    """The lines of each solution, outputs too, that stand in no other cell nor in the core; by chapter and place."""
    core = (tool.ROOT / "lib" / "organseg").glob("*.py")
    found, others = {}, "".join(module.read_text(encoding="utf-8") for module in core)
    for path in tool.chapters():
        solutions = [cell for cell in tool.made(path).cells if tool.has_tag(cell, "solution")]
        for place, cell in enumerate(solutions):
            said = "".join(output.get("text", "") for output in cell.outputs)
            found[path.stem, place] = [*cell.source.splitlines(), *said.splitlines()]
        others += "".join(cell.source + "\n" for cell in tool.made(path).cells if not tool.has_tag(cell, "solution"))
    lines = {key: [line.strip() for line in some] for key, some in found.items()}
    return {key: [line for line in some if len(line) >= 12 and line not in others] for key, some in lines.items()}
