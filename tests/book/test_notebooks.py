"""The notebooks: in step with their text, run to the end, honest about numbers, and readable for everyone."""

import ast
import re
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path

import citations
import jupytext
import nbformat
import prose
import pytest
import yaml

import ledger
import notebooks as tool
from notebooks import has_tag, made


def read(path):
    return path.read_text(encoding="utf-8")


ROOT = Path(__file__).resolve().parents[2]
TEXTS = tool.chapters()
EXCEPTIONS = tomllib.loads(read(ROOT / "tests" / "book" / "number_exceptions.toml"))
FACTS = prose.values("\n".join(f"{fact.section}: {fact.says}" for fact in ledger.facts()))
LONGEST_CELL = 25  # lines
WIDEST_CODE = 80  # columns: a page of the book cuts the rest off


def code_cells(path):
    return tool.code(made(path))


def same_cells(one, other):
    """True where two notebooks have the same cells: kind, source without what was measured, and how they are shown."""

    def cells(notebook):
        for cell in notebook.cells:
            words = re.sub(rf"(?m)^{re.escape(tool.MEASURED)}.*$", "", cell.source)
            yield cell.cell_type, words, {key: value for key, value in cell.metadata.items() if value}

    return list(cells(one)) == list(cells(other))


each_chapter = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)


def test_the_book_and_the_readme_have_every_chapter():
    listed = re.findall(r"file: notebooks/(\w+)", read(ROOT / "_toc.yml"))
    assert listed == [path.stem for path in TEXTS]
    readme = read(ROOT / "README.md")
    for path in TEXTS:
        assert f"notebooks/{path.stem}.ipynb" in readme


@each_chapter
def test_notebook_has_the_cells_of_its_text(path):
    assert same_cells(tool.read_text(path), made(path)), "run `make notebooks`"


def test_a_changed_cell_is_noticed(tmp_path):
    notebook = made(TEXTS[0])
    assert same_cells(tool.read_text(TEXTS[0]), notebook)
    notebook.cells[-1].source += " "
    assert not same_cells(tool.read_text(TEXTS[0]), notebook)


@each_chapter
def test_a_notebook_shows_no_word_of_the_book_s_markup(path):
    """Jupyter shows MyST's roles and directives as they stand."""
    raw = re.compile(r"\{[\w:+-]+\}`[^`]*`|^(?:`{3,}|:{3,})\{.*", flags=re.MULTILINE)
    shown, written = tool.read_text(path), jupytext.read(path)
    for cell, text in zip(shown.cells, written.cells, strict=True):
        if cell.cell_type == "markdown":
            assert not raw.findall(cell.source)
            assert citations.with_roles(cell.source) == text.source, "the book has its own citations back"


def test_a_citation_is_made_of_names_a_year_and_a_link():
    shown = citations.with_links("As Roth et al. {cite}`roth2018` say {cite}`azulay2019,zhang2019`; {cite}`cicek2016`.")
    assert shown == (
        "As Roth et al. ([2018](https://arxiv.org/abs/1803.08691)) say "
        "([Azulay and Weiss 2019](https://jmlr.org/papers/v20/19-519.html); "
        "[Zhang 2019](https://proceedings.mlr.press/v97/zhang19a.html)); "
        "([Çiçek et al. 2016](https://doi.org/10.1007/978-3-319-46723-8_49))."
    )
    other = "([chapter 5](05_dice.ipynb)), ([Someone 2020](https://example.org)) and [2018](https://arxiv.org/abs/1803.08691)"
    assert citations.with_roles(other) == other


def test_the_bibliography_is_read_as_bibtex_reads_it():
    database = pytest.importorskip("pybtex.database", reason="needs pybtex, which comes with jupyter-book")
    entries = database.parse_file(str(citations.BIBLIOGRAPHY)).entries
    assert list(entries) == list(citations.REFERENCES) and len(citations.KEYS) == len(entries)
    for key, entry in entries.items():
        first = entry.persons["author"][0]
        name = " ".join(map(str, [*first.rich_prelast_names, *first.rich_last_names]))
        words, address = citations.REFERENCES[key]
        assert words.startswith(name) and words.endswith(f" {entry.fields['year']}")
        assert re.fullmatch(r"https://[^\s()]+", address), f"{key}: give it a doi, an arXiv number or a url"


@each_chapter
def test_no_output_is_a_mere_name_of_an_object(path):
    """A picture that a notebook could not show is stored as `<Figure size 750x667 with 0 Axes>`."""
    for cell in code_cells(path):
        for output in cell.outputs:
            shown = output.get("data", {})
            is_name = re.match(r"<.*( Axes| at 0x\w+)>", shown.get("text/plain", ""))
            assert not is_name or len(shown) > 1, cell.source


@pytest.mark.parametrize("stem, gpu", [("00_welcome", True), ("01_ct_and_geometry", False), ("08_training", True)])
def test_colab_starts_a_gpu_where_a_network_trains_or_predicts(stem, gpu):
    notebook = tool.read_text(ROOT / "notebooks" / f"{stem}.py")
    assert notebook.metadata.get("accelerator") == ("GPU" if gpu else None)
    assert notebook.metadata.get("colab") == ({"gpuType": "T4"} if gpu else None)


@each_chapter
def test_a_solution_and_its_outputs_are_folded(path):
    """In JupyterLab, which test_lab.py asks, and in Colab, which cannot be asked here."""
    for cell in tool.code(tool.read_text(path)):
        folded = {"source_hidden": True, "outputs_hidden": True} if has_tag(cell, "solution") else None
        folded = {"source_hidden": True} if has_tag(cell, "setup") else folded
        assert cell.metadata.get("jupyter") == folded
        assert cell.metadata.get("cellView") == ("form" if folded else None)
        assert cell.metadata.get("collapsed") == (True if has_tag(cell, "solution") else None)
        assert not folded or cell.source.startswith("# @title ")


@each_chapter
def test_every_code_cell_was_run_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "nbval compares nothing in cells that were not run"


@each_chapter
def test_no_cell_failed_or_warned(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    # A library's warning goes to stdout in a notebook, and names a place in memory that is another one each time.
    assert not [o for o in outputs if re.search(r"WARNING:|Warning:| at 0x[0-9a-f]{6}", str(o.get("text", "")))]


@each_chapter
def test_head_says_what_was_measured(path):
    notebook = made(path)
    line = tool.measured_line(notebook.metadata["organseg"])
    heads = [cell for cell in notebook.cells if has_tag(cell, "head")]
    assert len(heads) == 1 and line in heads[0].source
    assert line in read(path)


@each_chapter
def test_notebook_is_quick_and_small(path):
    measures = made(path).metadata["organseg"]
    assert measures["seconds"] <= 120
    assert measures["memory_gb"] <= 4
    largest = 3e6 if "organseg.render(" in read(path) else 2e6  # a rendering carries its surfaces
    assert path.with_suffix(".ipynb").stat().st_size <= largest


def test_notebooks_take_75_seconds_on_average():
    assert statistics.mean(made(path).metadata["organseg"]["seconds"] for path in TEXTS) <= 75


@each_chapter
def test_first_code_cell_installs_the_library(path):
    cells = code_cells(path)
    assert has_tag(cells[0], "setup")
    assert cells[0].source == tool.setup_cell()
    assert not cells[0].outputs


@each_chapter
def test_cells_can_be_read_at_once(path):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)[1:]]
    assert max(lengths) <= LONGEST_CELL
    assert statistics.median(lengths) <= 8


@each_chapter
def test_no_line_of_code_is_wider_than_a_page(path):
    cells = tool.code(tool.read_text(path))
    assert cells and not [line for cell in cells for line in cell.source.splitlines() if len(line) > WIDEST_CODE]


@each_chapter
def test_no_cell_hides_its_value_with_a_semicolon(path):
    """nbval runs cells without a history, and there a semicolon hides nothing: end with plt.show()."""
    assert not [cell.source for cell in code_cells(path) if cell.source.rstrip().endswith(";")]


@each_chapter
def test_every_picture_has_a_text(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 30, f'add alt="…" to the cell that begins with {cell.source[:60]!r}'


TO_PLAY_WITH = {"explore": "sliders", "show_volume": "scroller", "render": "rendering"}


def played_with(cells):
    """The pages with sliders, slices or surfaces to move that these cells show, with all they need stored in them."""
    for cell in cells:
        kinds = [kind for call, kind in TO_PLAY_WITH.items() if f"organseg.{call}(" in cell.source]
        pages = ["".join(output.get("data", {}).get("text/html", "")) for output in cell.outputs]
        for kind in kinds:
            yield from (page for page in pages if re.search(rf'class="organseg-{kind}" data-\w+="[^"]{{1000}}', page))


@each_chapter
def test_every_chapter_has_a_figure_to_play_with(path):
    """In the built book, where no kernel runs."""
    assert list(played_with(code_cells(path))), "add organseg.explore(…), the last line of a cell"


def test_a_call_without_its_pictures_is_no_figure_to_play_with():
    page = '<div class="organseg-sliders" data-frames="%s">'
    for stored, found in ((page % ("x" * 1000), 1), (page % "", 0), ("<p>Sliders</p>", 0)):
        output = nbformat.v4.new_output("display_data", {"text/html": stored})
        cell = nbformat.v4.new_code_cell("organseg.explore(draw, n=[1, 2])", outputs=[output])
        assert len(list(played_with([cell]))) == found


@each_chapter
def test_every_number_in_the_prose_comes_from_somewhere(path):
    missing = prose.untraced(made(path), FACTS, EXCEPTIONS.get(path.stem[:2], {}))
    assert not missing, "\n".join(missing)


def test_a_wrong_number_in_the_prose_is_found():
    notebook = nbformat.v4.new_notebook()
    printed = nbformat.v4.new_output("stream", text="accuracy 0.983, 1,024 voxels\n")
    text = "It is right in 98 % of 1,024 voxels.\n\nThe paper has 19,071,784 parameters; Fig. 3 and 3-D are names."
    notebook.cells = [
        nbformat.v4.new_code_cell("print(result)", outputs=[printed]),
        nbformat.v4.new_markdown_cell(text),
    ]
    assert not prose.untraced(notebook, FACTS, {})
    for right, wrong in (("98", "97"), ("1,024", "1,025"), ("19,071,784", "19,071,785"), ("The paper", "It")):
        notebook.cells[1].source = text.replace(right, wrong)
        assert len(prose.untraced(notebook, FACTS, {})) == 1


def test_exceptions_are_few_and_still_needed():
    assert sum(map(len, EXCEPTIONS.values())) <= 25
    for path in TEXTS:
        notebook, allowed = made(path), EXCEPTIONS.get(path.stem[:2], {})
        for number in allowed:
            others = {key: why for key, why in allowed.items() if key != number}
            assert prose.untraced(notebook, FACTS, others), f"{path.stem}: {number} is traced; delete the exception"


@each_chapter
def test_chapter_has_its_parts(path):
    text = "\n".join(cell.source for cell in made(path).cells if cell.cell_type == "markdown")
    parts = ["## Objectives", "## Exercises", "## Summary", "## References"]
    places = [text.find(f"\n{part}\n" if part != "## Objectives" else part) for part in parts]
    assert min(places) >= 0 and places == sorted(places), dict(zip(parts, places, strict=True))
    assert re.match(rf"# {int(path.stem[:2])}\. \S", made(path).cells[0].source)


def exercise_numbers(path):
    return re.findall(r"^### Exercise (\d+\.\d+) ★+ \S", read(path).replace("# #", "#"), flags=re.MULTILINE)


def said(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


@each_chapter
def test_every_exercise_waits_for_an_answer_and_accepts_its_solution(path):
    numbers = exercise_numbers(path)
    chapter = int(path.stem[:2])
    assert numbers == [f"{chapter}.{n + 1}" for n in range(len(numbers))]
    assert 2 <= len(numbers) <= 4 or (chapter == 0 and len(numbers) == 1)
    assert not [c for c in made(path).cells if has_tag(c, "solution") and c.cell_type != "code"], "seen without a click"
    untouched = [said(cell) for cell in code_cells(path) if has_tag(cell, "exercise")]
    solved = [said(cell) for cell in code_cells(path) if has_tag(cell, "solution")]
    assert [line.split(". ")[0] for line in untouched] == [f"Exercise {n}: not started" for n in numbers]
    assert [line.split(". ")[0] for line in solved] == [f"Exercise {n}: right" for n in numbers]


@each_chapter
@pytest.mark.parametrize("left_out", [("solution", "exercise"), ("patient",)], ids=["solution", "patient"])
def test_no_later_cell_needs_one_that_may_be_left_out(path, left_out):
    """So the version without solutions runs to the end, and so does a chapter without the sample patient."""
    defined = set()
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        stored |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        stored |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        stored |= {
            a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
        }
        if any(has_tag(cell, tag) for tag in left_out):
            defined |= stored
            continue
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        assert not (used - stored) & defined, f"cell {cell.source[:60]!r} uses {sorted((used - stored) & defined)}"
        defined -= stored


def test_new_words_keep_the_outputs_and_new_code_asks_for_a_run(tmp_path):
    copy = tmp_path / TEXTS[0].name
    text, outputs = read(TEXTS[0]), [cell.outputs for cell in code_cells(TEXTS[0])]
    shutil.copy(TEXTS[0], tmp_path)
    shutil.copy(TEXTS[0].with_suffix(".ipynb"), tmp_path)
    assert tool.keep_outputs(copy)
    for suffix in (".py", ".ipynb"):
        assert read(copy.with_suffix(suffix)) == read(TEXTS[0].with_suffix(suffix)), "nothing has changed"
    copy.write_text(text.replace("## Summary", "## In short"), encoding="utf-8")
    assert tool.keep_outputs(copy)
    assert same_cells(tool.read_text(copy), made(copy))
    assert [cell.outputs for cell in code_cells(copy)] == outputs
    copy.write_text(text.replace("import organseg", "import organseg  # again"), encoding="utf-8")
    assert not tool.keep_outputs(copy)


@pytest.mark.parametrize(
    "copied",
    [
        "https://github.com/someone/fork",
        "https://github.com/someone/fork.git",
        "https://github.com/someone/fork/",
        "http://www.github.com/someone/fork.git/",
        "github.com/someone/fork",
        "git@github.com:someone/fork.git",
        "ssh://git@github.com/someone/fork",
        " https://GitHub.com/someone/fork\n",
    ],
)
def test_an_address_is_taken_as_people_copy_it(copied):
    assert tool.clean_address(copied) == "https://github.com/someone/fork"
    assert tool.clean_address("https://github.com/some-one/a.b_c-2.git") == "https://github.com/some-one/a.b_c-2"
    assert tool.clean_address("") == ""


@pytest.mark.parametrize(
    "copied",
    [
        "https://gitlab.com/someone/fork",
        "https://github.com/someone",
        "https://github.com/someone/fork/tree/main",
        "https://github.com/someone/fork?tab=readme",
        "https://someone.github.io/fork",
        'https://github.com/some"one/fork',
        "https://example.org/github.com/someone/fork",
        "https://github.com/someone/.git",
        "https://github.com/jemand/übung",
        "git+https://github.com/someone/fork@main",
    ],
)
def test_another_address_is_refused_in_one_line(copied):
    with pytest.raises(SystemExit) as refused:
        tool.clean_address(copied)
    assert copied in str(refused.value) and "expected a repository on GitHub" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_address_at_all_is_refused_and_takes_none_away():
    before = read(ROOT / "_config.yml")
    done = subprocess.run(["make", "-o", ".venv/.ready", "address"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "found no address; say make address URL=https://" in done.stdout
    assert read(ROOT / "_config.yml") == before


@pytest.mark.parametrize("ref", ["", "a b", "-x", 'a"b', "main\nurl: x"])
def test_another_name_of_a_branch_is_refused_in_one_line(ref):
    with pytest.raises(SystemExit, match="^found the branch or tag [^\n]*; expected letters"):
        tool.clean_ref(ref)


@pytest.mark.parametrize("ref", ["main", "v0.1.0", "1.10", "classes/autumn-2026"])
def test_the_address_goes_to_the_settings_and_to_every_first_cell(tmp_path, monkeypatch, ref):
    before = yaml.safe_load(read(ROOT / "_config.yml"))["repository"]
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tool, "CONFIG", tmp_path / "_config.yml")
    tool.set_address("https://github.com/someone/fork", ref)
    assert tool.address() == "https://github.com/someone/fork"
    assert 'colab_url: "https://colab.research.google.com"' in read(tmp_path / "_config.yml")
    assert yaml.safe_load(read(tmp_path / "_config.yml"))["repository"]["branch"] == tool.clean_ref(ref) == ref
    for path in tool.chapters():
        assert path.is_relative_to(tmp_path)
        assert f'"git+https://github.com/someone/fork@{ref}"' in read(path)
        assert f'"git+https://github.com/someone/fork@{ref}"' in code_cells(path)[0].source
        assert tool.keep_outputs(path), "setting the address must not ask for a new run"
    tool.set_address(before["url"], before["branch"])
    for path in [tmp_path / "_config.yml", *tool.chapters()]:
        assert read(path) == read(ROOT / path.relative_to(tmp_path)), "there and back"
