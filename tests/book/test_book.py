"""The book, built as an instructor builds it and opened in a browser that may not leave this machine."""

import html.parser
import re

import pytest
from building import pages

import notebooks as tool

pytest.importorskip("jupyter_book", reason="needs jupyter-book, which is not among Colab's packages")


def read(page):
    return page.read_text(encoding="utf-8")


class Tags(html.parser.HTMLParser):
    """All start tags of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(read(page))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def tags(book):
    """All start tags of every page."""
    return {page.relative_to(book): Tags(page).found for page in pages(book)}


def test_the_book_builds_without_a_warning(book):
    for path in tool.chapters():
        assert (book / "notebooks" / f"{path.stem}.html").is_file()


def test_every_picture_has_a_text(tags):
    for name, found in tags.items():
        for tag, attributes in found:
            if tag == "img":
                assert (attributes.get("alt") or "").strip(), f"{name}: {attributes.get('src', '')[:80]}"


def test_no_page_takes_anything_from_elsewhere(tags):
    for name, found in tags.items():
        for tag, attributes in found:
            taken = attributes.get("href") if tag == "link" else attributes.get("src")
            assert not re.match(r"(https?:)?//", taken or ""), f"{name}: <{tag}> takes {taken}"


def test_the_colab_button_waits_for_an_address(book):
    """With one, the site for students has it: see test_book_for_students.py."""
    assert not [page.name for page in pages(book) if "colab.research.google.com/github" in read(page)]


def test_pages_that_need_no_kernel_show_no_dead_widget(book):
    for page in pages(book / "notebooks"):
        text = read(page)
        assert "application/vnd.jupyter.widget" not in text, page.name
        assert "interactive(children" not in text, page.name


def test_solutions_are_behind_a_click(book):
    for path in tool.chapters():
        text = read(book / "notebooks" / f"{path.stem}.html")
        solutions = read(path).count('tags=["solution"]')
        assert len(re.findall(r'class="cell tag_solution tag_hide-cell docutils container"', text)) == solutions
        assert text.count(">Show the solution<") == solutions and text.count(">Show the set-up of this notebook<") == 1
        assert "Show code cell content" not in text and 'summary aria-label="Toggle' not in text


# In a browser


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


RENDERED = [path.stem for path in tool.chapters() if "organseg.render(" in read(path)]


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
