"""How the tests build the book, and what they read of it."""

import subprocess
import sys
from pathlib import Path

import pytest

import notebooks as tool


def build(source, out):
    """Build a book as the Makefile does; returns the finished process and the folder of the pages."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", str(source), "--path-output", str(out)]
    done = subprocess.run([*command, "-W", "--keep-going", "-q"], capture_output=True, text=True)
    return done, out / "_build" / "html"


def with_address(folder, url):
    """Set the repository's address in a copy of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "NOTEBOOKS", folder / "notebooks")
        patch.setattr(tool, "CONFIG", folder / "_config.yml")
        tool.set_address(url)


def pages(site):
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)
