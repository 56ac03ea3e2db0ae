"""Other ways to build the book: for students, with an address, and with an error."""

import html
import re
import shutil
from pathlib import Path

import pytest
import yaml
from building import build, course_for_students, distinctive_lines, pages

import notebooks as tool
import students

pytest.importorskip("jupyter_book", reason="needs jupyter-book, which is not among Colab's packages")

FORK = "https://github.com/someone/fork"
STUDENTS = f"https://colab.research.google.com/github/someone/fork/blob/{students.BRANCH}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site for students, as `make book SOLUTIONS=no` builds it in a fork that has an address."""
    folder = tmp_path_factory.mktemp("students")
    done, html = build(course_for_students(folder, FORK), folder / "out")  # a link that leads nowhere would fail it
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return html


def test_the_site_for_students_has_no_page_for_instructors(site):
    parts = yaml.safe_load((tool.ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = {Path(page["file"]): part["caption"] for part in parts for page in part["chapters"]}
    left_out = {f"{file.name}.html" for file, caption in files.items() if caption == students.INSTRUCTORS}
    assert {f"{name}.html" for name in ("instructors", "teach_your_way", "misconceptions")} <= left_out
    expected = {f"{file.name}.html" for file in files if file.parent.name == "book"} | {"intro.html"}
    assert {page.name for page in pages(site / "book")} == expected - left_out
    words = re.compile("|".join(left_out))
    assert not [page.name for page in pages(site) if words.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("chapter", [path.stem for path in tool.chapters()])
def test_a_chapter_for_students_has_exercises_and_no_solution_and_opens_on_colab(chapter, site):
    text = (site / "notebooks" / f"{chapter}.html").read_text(encoding="utf-8")
    assert "tag_exercise" in text and "tag_solution" not in text and "Solution: click to see it" not in text
    assert f"{STUDENTS}/notebooks/{chapter}.ipynb" in text


def test_no_link_leads_to_the_repository_s_solutions(site):
    """All that opens something in the repository opens it on the branch without solutions; a fault may be reported."""
    links = {link for page in pages(site) for link in re.findall(r'href="([^"]*)"', page.read_text(encoding="utf-8"))}
    own = {link for link in links if "someone/fork" in link}
    assert own and not {link for link in own if not link.startswith((f"{STUDENTS}/", f"{FORK}/issues/"))}


def test_no_solution_is_in_the_site_nor_in_what_it_searches(site):
    """Not in its pages, nor in the sources that they offer for download, nor in the list of words for the search."""
    texts = {}
    for file in site.rglob("*"):
        if file.suffix in (".html", ".ipynb", ".md", ".txt", ".js") and "_static" not in file.parts:
            texts[file.name] = file.read_text(encoding="utf-8").replace('\\"', '"')
            if file.suffix == ".html":
                texts[file.name] = html.unescape(re.sub(r"<[^>]+>", "", texts[file.name]))  # code is made of pieces
    assert {"searchindex.js", "02_convolution.html", "02_convolution.ipynb"} <= set(texts)
    solutions = distinctive_lines()
    assert not {(key, line): name for key, lines in solutions.items() for line in lines
                for name, text in texts.items() if line in text}  # fmt: skip
    names = {word for lines in solutions.values() for line in lines for word in re.findall(r"\w+_\w+", line)}
    kept = " ".join(text for name, text in texts.items() if name != "searchindex.js")
    gone = {name for name in names if name not in kept}
    assert {"as_stored", "in_test"} <= gone and not {name for name in gone if name in texts["searchindex.js"]}


def test_errors_can_be_reported_and_the_site_has_a_preview_where_there_is_an_address(site):
    for page in "book/glossary.html", "notebooks/02_convolution.html":
        text = (site / page).read_text(encoding="utf-8")
        assert f"{FORK}/issues/new?title=" in text and "CC BY 4.0" in text and "Edit this page" not in text
        assert 'property="og:image" content="https://someone.github.io/fork/_static/preview.png"' in text
    assert (site / "_static" / "preview.png").is_file()


def test_the_first_page_opens_the_first_chapter_on_colab_and_promises_no_solutions(site):
    text = (site / "book" / "intro.html").read_text(encoding="utf-8")
    assert f'href="{STUDENTS}/notebooks/00_welcome.ipynb"' in text
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
