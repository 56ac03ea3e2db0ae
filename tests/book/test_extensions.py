"""What the book's own Sphinx extensions do with words, without building a book; and what is told on how to grade."""

import json
import re
from types import SimpleNamespace

import measures
import nbformat
import pytest

import notebooks as tool

# The extensions need docutils, which is not among Colab's packages.
publish_doctree = pytest.importorskip("docutils.core").publish_doctree
about, terms = (pytest.importorskip(name) for name in ("about", "terms"))
GLOSSARY = [
    terms.Term("term-bn", ("batch normalisation", "batch normalization"), "A layer."),
    terms.Term("term-case", ("case",), "A scan."),
    terms.Term("term-hu", ("Hounsfield unit (HU)",), "A unit."),
    terms.Term("term-conv", ("convolution",), "A sum."),
    terms.Term("term-tconv", ("transposed convolution",), "A stamp."),
    terms.Term("term-window", ("window",), "A range."),
]


def found(text, page="notebooks/07_any"):
    """The words that become links."""
    doctree = publish_doctree(text, settings_overrides={"report_level": 5})
    uses = terms.first_uses(doctree, GLOSSARY, page).values()
    return sorted(str(text)[start:stop] for text, (start, stop) in uses)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A convolution, and another convolution.", ["convolution"]),
        ("Two convolutions. Cases too.", ["Cases", "convolutions"]),
        ("A transposed\nconvolution stamps.", ["transposed\nconvolution"]),
        ("Batch normalization, as some spell it.", ["Batch normalization"]),
        ("Air has −1000 HU, water 0 Hounsfield units.", ["HU"]),
        ("In this case nothing is meant, in any case.", []),
        ("In this case nothing is meant; a case is a scan.", ["case"]),
        ("Of a convolutional network.", []),
        ("Heading with a case\n===================\n\nText with a window.\n", ["window"]),
        ("Code: ``case``, a link: `case <https://a.b>`_, and ::\n\n   window\n", []),
        (".. figure:: a.png\n\n   A window\n", []),
    ],
)
def test_a_term_is_found_in_prose_only_and_in_all_its_forms(text, words):
    assert found(text) == words


def test_where_a_word_means_something_else_it_is_no_term():
    assert found("Through a window.", "notebooks/02_convolution") == []
    assert found("Through a window.", "notebooks/01_ct_and_geometry") == ["window"]


@pytest.mark.parametrize("path", tool.chapters(), ids=lambda path: path.stem)
def test_the_map_says_what_the_stored_measures_say(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    line = tool.measured_line(notebook["metadata"]["organseg"])
    head = measures.read_head(path.with_suffix(".ipynb"))
    assert f"about {head.to_run} on two CPU cores" in line
    assert f", {head.memory} of memory, {head.download}." in line
    assert f"**In class:** {head.minutes} minutes, exercises {head.exercise_minutes} minutes" in str(notebook["cells"])


def test_a_chapter_without_minutes_is_named(tmp_path):
    cells = [{"source": "# 1. Title\n\nA promise."}, {"source": "Nothing.", "metadata": {"tags": ["head"]}}]
    file = tmp_path / "01_title.ipynb"
    file.write_text(json.dumps({"cells": [{"metadata": {}} | cell for cell in cells]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"01_title\.ipynb: found no minutes"):
        measures.read_head(file)


@pytest.mark.parametrize(
    ("address", "baseurl", "site"),
    [
        ("", "", ""),
        ("https://github.com/Someone/fork", "", "https://someone.github.io/fork/"),
        ("https://github.com/someone/someone.github.io", "", "https://someone.github.io/"),
        ("https://github.com/someone/fork", "https://uni.example/course", "https://uni.example/course/"),
    ],
)
def test_the_address_of_the_site_follows_from_the_repositorys(address, baseurl, site):
    config = SimpleNamespace(html_theme_options={"repository_url": address}, html_baseurl=baseurl)
    assert about.site_address(config) == site


@pytest.mark.parametrize(
    ("tags", "address", "page", "edited"),
    [
        ({"solutions"}, "https://github.com/me/fork", "book/glossary.md", "/edit/main/book/glossary.md"),
        (
            {"solutions"},
            "https://github.com/me/fork",
            "notebooks/02_convolution.ipynb",
            "/edit/main/notebooks/02_convolution.py",
        ),
        ({"solutions"}, "https://github.com/me/fork", "book/ledger.md", None),  # a program writes it
        (set(), "https://github.com/me/fork", "book/glossary.md", None),  # a site for students
        ({"solutions"}, "", "book/glossary.md", None),
    ],
)
def test_a_page_leads_to_what_people_write_where_there_is_an_address(tags, address, page, edited):
    name = page.partition(".")[0]
    app = SimpleNamespace(
        config=SimpleNamespace(html_theme_options={"repository_url": address, "repository_branch": "main"}),
        tags=SimpleNamespace(has=tags.__contains__),
        env=SimpleNamespace(found_docs={name}, doc2path=lambda _: tool.ROOT / page),
    )
    foot = about.foot(app, name, "A & B")
    assert (f'href="{address}{edited}"' in foot) if edited else ("Edit this page" not in foot)
    assert ("Report an error" in foot) == bool(address) and "CC BY 4.0" in foot


# The program for nbgrader on the page for instructors


@pytest.mark.parametrize("path", tool.chapters(), ids=lambda path: path.stem)
def test_the_program_for_nbgrader_puts_a_test_behind_each_exercise(path, tmp_path, monkeypatch):
    page = (tool.ROOT / "book" / "teach_your_way.md").read_text(encoding="utf-8")
    program = next(code for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "sys.argv" in code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["for_nbgrader.py", str(path.with_suffix(".ipynb"))])
    exec(compile(program, "for_nbgrader.py", "exec"), {})
    cells = nbformat.read(f"source/{path.stem}/{path.stem}.ipynb", as_version=4).cells
    exercises = [place for place, cell in enumerate(cells) if tool.has_tag(cell, "exercise")]
    assert exercises
    for place in exercises:
        number, answer = re.search(r'check\("([\d.]+)", (\w+)\)', cells[place].source).groups()
        assert f'verdict("{number}", {answer})' in cells[place + 1].source
        marks = [cell.metadata["nbgrader"] for cell in cells[place : place + 2]]
        assert [mark["grade_id"] for mark in marks] == [
            f"{kind}-{number.replace('.', '-')}" for kind in ("answer", "test")
        ]
        assert [(mark["solution"], mark["grade"]) for mark in marks] == [(True, False), (False, True)]
