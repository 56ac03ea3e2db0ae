"""The book, built as an instructor builds it and opened in a browser that may not leave this machine."""

import functools
import html.parser
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import notebooks as tool

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("_config.yml", "_toc.yml", "_static", "book", "lib", "notebooks")
FORK = "https://github.com/someone/fork"
pytest.importorskip("jupyter_book", reason="needs jupyter-book, which is not among Colab's packages")


def build(source, out):
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", str(source), "--path-output", str(out)]
    done = subprocess.run([*command, "-W", "--keep-going", "-q"], capture_output=True, text=True)
    return done, out / "_build" / "html"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of what the book is built from, so that nothing else of the project's folder takes part."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        there = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        there(ROOT / part, copy / part)
    for other in (".venv/lib/some_package", "build/student"):  # what else may lie there must not become a page
        (copy / other).mkdir(parents=True)
        (copy / other / "page.md").write_text("# Stray\n\n```{bibliography}\n:all:\n```\n")
    return copy


@pytest.fixture(scope="module")
def book(project, tmp_path_factory):
    done, site = build(project, tmp_path_factory.mktemp("book"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return site


def pages(site):
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)


class Tags(html.parser.HTMLParser):
    """All start tags of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_book_builds_without_a_warning(book):
    for path in tool.chapters():
        assert (book / "notebooks" / f"{path.stem}.html").is_file()


def test_a_broken_link_fails_the_build(project, tmp_path):
    copy = shutil.copytree(project, tmp_path / "copy")
    (copy / "_toc.yml").write_text("format: jb-book\nroot: book/part_1\n")
    (copy / "book" / "part_1.md").write_text("# A page\n\nA link to [nowhere](no_such_page.md).\n")
    done, _ = build(copy, tmp_path / "out")
    assert done.returncode != 0
    assert "no_such_page" in done.stdout + done.stderr


def test_every_picture_has_a_text(book):
    for page in pages(book):
        for tag, attributes in Tags(page).found:
            if tag == "img":
                assert (attributes.get("alt") or "").strip(), f"{page.name}: {attributes.get('src', '')[:80]}"


def test_no_page_takes_anything_from_elsewhere(book):
    for page in pages(book):
        for tag, attributes in Tags(page).found:
            taken = attributes.get("href") if tag == "link" else attributes.get("src")
            assert not re.match(r"(https?:)?//", taken or ""), f"{page.name}: <{tag}> takes {taken}"


def test_pages_that_need_no_kernel_show_no_dead_widget(book):
    for page in pages(book / "notebooks"):
        text = page.read_text()
        assert "application/vnd.jupyter.widget" not in text, page.name
        assert "interactive(children" not in text, page.name


def test_solutions_are_behind_a_click(book):
    for path in tool.chapters():
        text = (book / "notebooks" / f"{path.stem}.html").read_text()
        solutions = path.read_text().count('tags=["solution"]')
        assert len(re.findall(r'class="cell tag_solution tag_hide-cell docutils container"', text)) == solutions


def test_the_site_for_students_has_no_solution_and_no_page_for_instructors(book, tmp_path):
    """As `make book SOLUTIONS=no` builds it; every link still leads somewhere, or the build would fail."""
    tool.site(tmp_path / "site")
    done, site = build(tmp_path / "site", tmp_path / "out")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    left_out = {"instructors.html", "schedule.html", "objectives.html", "misconceptions.html"}
    names = {page.name for page in pages(site / "book")}
    assert names == {page.name for page in pages(book / "book")} - left_out
    for path in tool.chapters():
        text = (site / "notebooks" / f"{path.stem}.html").read_text()
        assert "tag_exercise" in text and "tag_solution" not in text and "Solution: click to see it" not in text
    assert not [page.name for page in pages(site) if re.search("|".join(left_out), page.read_text())]


def test_the_colab_button_waits_for_an_address(project, tmp_path, monkeypatch):
    page = f"notebooks/{tool.chapters()[0].stem}"
    copy = shutil.copytree(project, tmp_path / "copy")
    monkeypatch.setattr(tool, "NOTEBOOKS", copy / "notebooks")
    monkeypatch.setattr(tool, "CONFIG", copy / "_config.yml")
    (copy / "_toc.yml").write_text(f"format: jb-book\nroot: {page}\n")

    def built(address):
        tool.set_address(address)  # a fork has one already
        _, site = build(copy, tmp_path / "out")  # links to the other chapters are broken here, so it warns
        return (site / f"{page}.html").read_text()

    assert "colab.research.google.com" not in built("")
    assert f"https://colab.research.google.com/github/someone/fork/blob/main/{page}.ipynb" in built(FORK)


# In a browser


@pytest.fixture(scope="module")
def served(book):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(book))
    handler.log_message = lambda *a: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser, served):
    """A page that notes its errors and what it asks for from elsewhere."""
    page = browser.new_page()
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((served, "data:", "blob:")) else page.wrong.append(r.url))
    yield page
    page.close()


def test_formulas_are_set_without_a_connection(page, served):
    page.goto(f"{served}/notebooks/{tool.chapters()[5].stem}.html")
    page.wait_for_selector("mjx-container", timeout=20000)
    assert page.locator("mjx-container").count() > 5
    assert page.locator("mjx-merror").count() == 0
    assert page.wrong == []


def test_search_finds_a_term_without_a_connection(page, served):
    page.goto(f"{served}/search.html?q=convolution")
    page.wait_for_selector("#search-results li a", timeout=20000)
    assert page.wrong == []


@pytest.mark.parametrize("chapter", [path.stem for path in tool.chapters()])
def test_a_chapter_opens_without_errors(chapter, page, served):
    page.goto(f"{served}/notebooks/{chapter}.html")
    page.wait_for_load_state("networkidle")
    for picture in page.locator("main img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert page.wrong == []


# Renderings: the chapters that have one


RENDERED = [path.stem for path in tool.chapters() if "organseg.render(" in path.read_text()]


def test_the_book_has_one_copy_of_the_viewer(book):
    assert [file.name for file in book.rglob("plotly*.js")] == ["plotly.min.js"]
    for chapter in RENDERED:
        assert (book / "notebooks" / f"{chapter}.html").stat().st_size < 3e6


@pytest.mark.parametrize("chapter", RENDERED)
def test_a_rendering_turns_by_mouse_and_keys(chapter, page, served):
    page.goto(f"{served}/notebooks/{chapter}.html")
    page.wait_for_load_state("networkidle")
    assert not page.evaluate("!!window.Plotly"), "the viewer's script waits until a rendering comes into sight"
    rendering = page.locator(".organseg-rendering").first
    rendering.scroll_into_view_if_needed()
    stage = rendering.locator(".stage")
    page.wait_for_function("stage => stage.querySelectorAll('canvas').length >= 2", arg=stage.element_handle())
    page.wait_for_function("root => root.querySelector('img').hidden", arg=rendering.element_handle())
    assert len(stage.get_attribute("aria-label")) > 100 and stage.get_attribute("tabindex") == "0"

    def cameras():
        return stage.evaluate("s => ['scene', 'scene2'].map(n => s._fullLayout[n].camera.eye)")

    def seen():
        page.wait_for_timeout(1500)
        return stage.screenshot()

    before, start = seen(), cameras()
    assert len(before) > 20_000, "an empty white picture takes fewer bytes"
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4 + 80, box["y"] + box["height"] / 2 + 10, steps=5)
    page.mouse.up()
    turned = seen()
    assert turned != before and cameras() != start
    assert cameras()[0] == pytest.approx(cameras()[1]), "both views turn together"
    stage.focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        last = cameras()
        page.keyboard.press(key)
        page.wait_for_timeout(800)
        assert cameras()[0] != last[0] and cameras()[0] == pytest.approx(cameras()[1])
    page.keyboard.press("0")
    page.wait_for_timeout(800)
    assert cameras()[0] == pytest.approx(start[0])
    assert page.wrong == []


@pytest.mark.parametrize("chapter", RENDERED)
def test_without_scripts_a_rendering_is_a_still_picture(chapter, browser, served):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(f"{served}/notebooks/{chapter}.html")
    picture = opened.locator(".organseg-rendering img").first
    assert picture.is_visible() and len(picture.get_attribute("alt")) > 100
    context.close()
