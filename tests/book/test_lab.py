"""A notebook as it is first opened, in a real JupyterLab on this machine: what is folded and what is not."""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request

import nbformat
import numpy as np
import pytest
from nbformat.sign import NotebookNotary
from ports import free_port

import notebooks as tool
from organseg import show_volume

pytest.importorskip("jupyterlab", reason="needs jupyterlab, which is not among Colab's packages")

TEXT = """\
# %% [markdown]
# # 0. A chapter
#
# The paper {cite}`roth2018` and a bound of Choi and Lee {cite}`choi2000`.

# %% tags=["setup"]

# %%
patient

# %% tags=["exercise"]
answer = ...

# %% tags=["solution"]
answer = 6 * 7
"""
STARTED = "Exercise 0.1: not started"
ANSWER = "Exercise 0.1: right. It is 42."


def notebook_of(path):
    """The notebook of a text with the outputs that a run leaves."""
    notebook = tool.read_text(path)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    volume = show_volume(np.arange(-100.0, 412.0).reshape(8, 8, 8), window="bone")._repr_mimebundle_()
    for number, cell in enumerate(tool.code(notebook), 1):
        cell.execution_count = number
        if cell.source == "patient":
            cell.outputs = [nbformat.v4.new_output("execute_result", volume, execution_count=number)]
        for tag, said in (("exercise", STARTED), ("solution", ANSWER)):
            if tool.has_tag(cell, tag):
                cell.outputs = [nbformat.v4.new_output("stream", text=said)]
    return notebook


def lab_command():
    """What `make lab` runs, without opening a browser."""
    makefile = (tool.ROOT / "Makefile").read_text(encoding="utf-8")
    (options,) = re.findall(r"^\t\$\(VENV\)/bin/jupyter lab (.*)$", makefile, flags=re.MULTILINE)
    return [sys.executable, "-m", "jupyterlab", *shlex.split(options), "--no-browser", "--allow-root",
            "--ip=127.0.0.1", "--IdentityProvider.token=", "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with three notebooks of the same text: one is new, two are trusted."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("notebooks", "data"):
        (folder / name).mkdir()
    text = folder / "notebooks" / "new.py"
    text.write_text(TEXT, encoding="utf-8")
    notebook = notebook_of(text)
    for name in ("new", "trusted", "clicked"):
        notebook.cells[0].metadata["name"] = name  # what is the same is trusted together
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    notary = NotebookNotary(data_dir=str(folder / "data"))
    for name in ("trusted", "clicked"):
        notary.sign(nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4))
    notary.store.close()
    port = free_port()
    own = {f"JUPYTER_{kind.upper()}_DIR": str(folder / kind) for kind in ("config", "data", "runtime")}
    with (folder / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen([*lab_command(), f"--port={port}"], cwd=folder, env=os.environ | own, stdout=log,
                                  stderr=subprocess.STDOUT)  # fmt: skip
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/lab/workspaces"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:  # its kernels take their time on a busy machine
                server.kill()
                server.wait()


@pytest.fixture(scope="module")
def opened(browser, lab):
    """A function that opens one of the notebooks; each is opened once."""
    context = browser.new_context(viewport={"width": 1400, "height": 2400})
    pages = {}

    def show(name):
        if name not in pages:
            pages[name] = context.new_page()
            pages[name].goto(f"{lab}/{name}/tree/{name}.ipynb")
            pages[name].wait_for_selector(".jp-Notebook .organseg-scroller img", state="attached", timeout=120_000)
            pages[name].wait_for_function("said => document.querySelector('.jp-Notebook').innerText.includes(said)",
                                          arg=STARTED, timeout=60_000)  # fmt: skip
            pages[name].wait_for_selector(".jp-MarkdownOutput p a", timeout=60_000)  # texts come after outputs
        return pages[name]

    yield show
    context.close()


def words(page):
    """What a reader sees of the notebook."""
    return page.locator(".jp-Notebook").inner_text()


@pytest.mark.parametrize("name", ["new", "trusted"])
def test_a_solution_shows_neither_code_nor_outputs(name, opened):
    seen = words(opened(name))
    assert "Solution: click to see it" in seen and STARTED in seen
    assert ANSWER not in seen and "6 * 7" not in seen


def test_a_click_shows_both(opened):
    page = opened("clicked")
    solution = page.locator(".jp-CodeCell", has_text="Solution: click to see it")
    solution.locator(".jp-InputPlaceholder .jp-MoreHorizIcon").click()
    solution.locator(".jp-OutputPlaceholder .jp-MoreHorizIcon").click()
    page.wait_for_function("said => document.querySelector('.jp-Notebook').innerText.includes(said)", arg=ANSWER)
    assert "6 * 7" in words(page)


def test_the_set_up_is_one_line(opened):
    seen = words(opened("new"))
    assert "Set-up: installs organseg on Colab" in seen and "import subprocess" not in seen


def test_where_a_notebook_is_not_trusted_a_scroller_is_a_still_picture(opened):
    output = opened("new").locator(".jp-OutputArea-output", has=opened("new").locator(".organseg-scroller"))
    assert output.locator("img").bounding_box()["width"] > 100
    assert output.inner_text().strip() == "To scroll through the slices, run this cell, or trust the notebook."
    assert output.locator("input, select, canvas, output, style, script, ul, label").count() == 0


def test_where_a_notebook_is_trusted_a_scroller_scrolls(opened):
    scroller = opened("trusted").locator(".organseg-scroller")
    scroller.locator("canvas").focus()
    before = scroller.locator("output").inner_text()
    opened("trusted").keyboard.press("ArrowUp")
    assert before.startswith("axial slice") and scroller.locator("output").inner_text() != before


def test_a_citation_is_a_link_with_authors_and_year(opened):
    page = opened("new")
    assert "The paper (Roth et al. 2018) and a bound of Choi and Lee (2000)." in words(page)
    links = page.locator(".jp-MarkdownOutput p a")
    assert [link.get_attribute("href") for link in links.all()] == [
        "https://arxiv.org/abs/1803.08691", "https://doi.org/10.1006/gmod.2000.0531"]  # fmt: skip


def test_each_chapter_is_listed_once(opened):
    names = opened("new").locator(".jp-DirListing-itemName").all_inner_texts()
    assert [name.strip() for name in names] == ["clicked.ipynb", "new.ipynb", "trusted.ipynb"]
