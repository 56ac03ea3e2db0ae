"""What the tests of the book share."""

import shutil

import pytest
from building import with_address

import notebooks as tool
import teaching

PARTS = ("_config.yml", "_toc.yml", "_static", "book", "notebooks")


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of what the book is built from, without an address, with the pages that `make book` makes first."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        there = shutil.copytree if (tool.ROOT / part).is_dir() else shutil.copy
        there(tool.ROOT / part, copy / part)
    with_address(copy, "")  # a fork has one
    teaching.write(copy / "book")
    # What else may lie there must not become a page, nor a warning that ends `make book`.
    for other in (".venv/lib/some_package", ".github", "build/student"):
        (copy / other).mkdir(parents=True)
        (copy / other / "page.md").write_text("# Stray\n\n```{bibliography}\n:all:\n```\n", encoding="utf-8")
    return copy
