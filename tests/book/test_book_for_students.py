"""Other ways to build the book: for students, with an address, and with an error."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from building import build, pages, with_address

import notebooks as tool

pytest.importorskip("jupyter_book", reason="needs jupyter-book, which is not among Colab's packages")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site for students, as `make book SOLUTIONS=no` builds it in a fork that has an address."""
    folder = tmp_path_factory.mktemp("students")
    tool.site(folder / "site")
    with_address(folder / "site", "https://github.com/someone/fork")
    done, html = build(folder / "site", folder / "out")  # a link that leads nowhere would fail it
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return html


def test_the_site_for_students_has_no_page_for_instructors(site):
    parts = yaml.safe_load((tool.ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = {Path(page["file"]): part["caption"] for part in parts for page in part["chapters"]}
    left_out = {f"{file.name}.html" for file, caption in files.items() if caption == tool.INSTRUCTORS}
    own = {"instructors", "teach_your_way", "schedule", "objectives", "misconceptions"}
    assert left_out == {f"{name}.html" for name in own}
    expected = {f"{file.name}.html" for file in files if file.parent.name == "book"} | {"intro.html"}
    assert {page.name for page in pages(site / "book")} == expected - left_out
    words = re.compile("|".join(left_out))
    assert not [page.name for page in pages(site) if words.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("chapter", [path.stem for path in tool.chapters()])
def test_a_chapter_for_students_has_exercises_and_no_solution_and_opens_on_colab(chapter, site):
    text = (site / "notebooks" / f"{chapter}.html").read_text(encoding="utf-8")
    assert "tag_exercise" in text and "tag_solution" not in text and "Solution: click to see it" not in text
    assert f"https://colab.research.google.com/github/someone/fork/blob/main/notebooks/{chapter}.ipynb" in text


def test_a_page_can_be_edited_and_errors_reported_where_there_is_an_address(site):
    glossary, chapter = (site / name for name in ("book/glossary.html", "notebooks/02_convolution.html"))
    for page in glossary, chapter:
        text = page.read_text(encoding="utf-8")
        assert "https://github.com/someone/fork/issues/new?title=" in text and "CC BY 4.0" in text
        assert 'property="og:image" content="https://someone.github.io/fork/_static/preview.png"' in text
    assert "https://github.com/someone/fork/edit/main/book/glossary.md" in glossary.read_text(encoding="utf-8")
    assert "/edit/" not in chapter.read_text(encoding="utf-8"), "its source has the solutions"
    assert (site / "_static" / "preview.png").is_file()


def test_the_first_page_opens_the_first_chapter_on_colab_and_promises_no_solutions(site):
    text = (site / "book" / "intro.html").read_text(encoding="utf-8")
    assert re.search(r'href="https://colab\.research\.google\.com/github/someone/fork/[^"]*00_welcome\.ipynb"', text)
    assert "solutions are behind a click" not in text


def test_a_broken_link_fails_the_build(project, tmp_path):
    shutil.copytree(project / "book", tmp_path / "book")
    shutil.copy(project / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/part_1\n", encoding="utf-8")
    (tmp_path / "book" / "part_1.md").write_text(
        "# A page\n\nA link to [nowhere](no_such_page.md).\n", encoding="utf-8"
    )
    done, _ = build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert "no_such_page" in done.stdout + done.stderr
