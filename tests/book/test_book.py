"""The book, built as an instructor builds it and opened in a browser that may not leave this machine."""

import html.parser
import os
import re
from pathlib import Path

import pytest
import yaml
from building import pages
from measures import read_head

import notebooks as tool
import organseg
import students

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


def test_the_first_page_leads_to_every_chapter_with_its_minutes(book, tags):
    page = Path("book/intro.html")
    links = [attributes.get("href") or "" for tag, attributes in tags[page] if tag == "a"]
    assert {"../notebooks/00_welcome.html", "try_it.html"} <= set(links)
    rows = re.findall(r"<tr.*?</tr>", read(book / page), flags=re.DOTALL)
    for path in tool.chapters():
        head = read_head(path.with_suffix(".ipynb"))
        row = next(row for row in rows if f"{path.stem}.html" in row)
        assert f"{head.minutes}\xa0+\xa0{head.exercise_minutes}\xa0min" in row and head.to_run in row


def test_the_site_is_small(book):
    """`make book` adds 20 MB for the page that runs the network, and all is below 90 MB."""
    assert sum(file.stat().st_size for file in book.rglob("*") if file.is_file()) < 70e6


def test_every_page_says_its_version_and_licences(book):
    for page in pages(book):
        if 'http-equiv="Refresh"' not in read(page):
            foot = read(page).partition('<div class="extra_footer">')[2]
            assert all(words in foot for words in (f"Version {organseg.__version__}", "CC BY 4.0", "Apache")), page.name
            assert "Edit this page" not in foot, "there is no address"


def test_no_part_of_the_contents_is_called_as_its_first_page(book):
    for part in yaml.safe_load(read(tool.ROOT / "_toc.yml"))["parts"]:
        first = read(book / f"{part['chapters'][0]['file']}.html")
        assert f"<h1>{part['caption']}<" not in first or part["caption"] == students.INSTRUCTORS


def anchors(tags, page):
    return {attributes["id"] for _, attributes in tags[page] if attributes.get("id")}


def links(tags, page, kind):
    """The links of a page that have this class, as pairs of page and place."""
    found = [attributes for tag, attributes in tags[page] if tag == "a" and kind in attributes.get("class", "").split()]
    split = [attributes["href"].partition("#") for attributes in found]
    return [(Path(os.path.normpath(page.parent / to)) if to else page, place) for to, _, place in split]


def test_each_term_is_linked_where_it_is_used_and_the_glossary_leads_back(book, tags):
    glossary = Path("book/glossary.html")
    terms = {name for name in anchors(tags, glossary) if name.startswith("term-") and name != "term-tip"}
    used = {}
    for page in tags:
        for to, place in links(tags, page, "term"):
            assert to == glossary and place in terms, f"{page}: {place}"
            used.setdefault(place, []).append(page)
    back = re.findall(
        r'href="\.\./([^"#]+)#use-of-(term-[^"]+)"|href="([^"#/]+)#use-of-(term-[^"]+)"', read(book / glossary)
    )
    back = [(Path(page) if page else Path("book", here), term or other) for page, term, here, other in back]
    assert sorted(back) == sorted((page, term) for term, found in used.items() for page in found)
    assert len(used) > 70
    for page, term in back:
        assert f"use-of-{term}" in anchors(tags, page)
    for dt in re.findall(r"(?:<dt.*?</dt>)+<dd>.*?</dd>", read(book / glossary), flags=re.DOTALL):
        assert "Used in: " in dt, dt[:200]


def test_terms_are_not_linked_in_headings_code_and_captions(book):
    for page in pages(book / "notebooks"):
        for closed in re.findall(r"<(h[1-6]|pre|code|figcaption)\b(.*?)</\1>", read(page), flags=re.DOTALL):
            assert 'class="term' not in closed[1], f"{page.name}: {closed[1][:200]}"


def test_names_of_the_library_lead_to_the_reference(book, tags):
    entries = anchors(tags, Path("book/reference.html"))
    count = 0
    for path in tool.chapters():
        text = read(book / "notebooks" / f"{path.stem}.html")
        for before, name in re.findall(
            r'(.{0,200})<code class="docutils[^>]*>\s*<span class="pre">organseg\.(\w+)</span></code>', text
        ):
            if name in organseg.__all__:
                to = re.search(r'<a class="reference internal" href="\.\./book/reference\.html#([\w.-]+)">$', before)
                assert to and to[1] in entries and to[1].endswith(f".{name}"), f"{path.stem}: {name}"
                count += 1
    assert count > 20


# In a browser


def test_formulas_are_set_without_a_connection(page, served):
    page.goto(f"{served}/notebooks/{tool.chapters()[5].stem}.html")
    page.wait_for_selector("mjx-container", timeout=20000)
    assert page.locator("mjx-container").count() > 5
    assert page.locator("mjx-merror").count() == 0
    assert page.wrong == []


def test_search_finds_a_term_in_either_spelling_and_quotes_what_is_seen(page, served):
    for spelling in "batch normalisation", "batch normalization":
        page.goto(f"{served}/search.html?q={spelling}")
        page.wait_for_function("document.querySelectorAll('#search-results p.context').length > 3", timeout=20000)
        found = " ".join(link.get_attribute("href") for link in page.locator("#search-results li a").all())
        assert "book/glossary.html" in found and "notebooks/03_cnn.html" in found
    page.goto(f"{served}/search.html?q=convolution")
    page.wait_for_function("document.querySelectorAll('#search-results p.context').length > 3", timeout=20000)
    assert "Contents" not in page.locator("#search-results").inner_text(), "the list that only prints"
    assert page.wrong == []


def bytes_of(page, address):
    """All that a page loads, by address."""
    taken = []
    page.on("requestfinished", lambda request: taken.append(request))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return {request.url: len(request.response().body()) for request in taken}


def test_the_first_page_loads_less_than_a_megabyte_and_its_picture_is_low(browser, page, served):
    with browser.new_context() as context:  # nothing is in its cache
        sizes = bytes_of(context.new_page(), f"{served}/book/intro.html")
    assert 100_000 < sum(sizes.values()) < 1e6, sizes
    page.goto(f"{served}/book/intro.html")
    picture = page.locator("article img").first
    assert picture.bounding_box()["height"] < page.viewport_size["height"] / 2
    assert "phantom_" not in page.content() and page.wrong == []


def test_the_largest_chapters_load_less_than_four_megabytes(book, browser, served):
    largest = sorted((book / "notebooks").glob("*.html"), key=lambda page: page.stat().st_size)[-2:]
    for path in largest:
        with browser.new_context() as context:
            sizes = bytes_of(context.new_page(), f"{served}/notebooks/{path.name}")
            assert 1e6 < sum(sizes.values()) < 4e6, sizes


def test_a_definition_shows_below_its_term_for_mouse_and_keys(page, served):
    page.goto(f"{served}/notebooks/02_convolution.html")
    term, tip = page.locator("a.term").first, page.locator("#term-tip")
    definition = term.get_attribute("title")
    for act in term.hover, term.focus:
        act()
        assert tip.is_visible() and tip.inner_text() == definition
        assert term.get_attribute("aria-describedby") == "term-tip"
        page.keyboard.press("Escape")
        assert not tip.is_visible() and term.get_attribute("title") == definition
        page.mouse.move(0, 0)
    assert page.wrong == []


def test_misconceptions_are_chosen_by_chapter_and_words_and_lead_to_their_exercises(page, served):
    page.goto(f"{served}/book/misconceptions.html")
    shown = page.locator("article section section section:visible")
    everything = shown.count()
    page.locator(".filter select").select_option(index=3)
    assert {heading[:2] for heading in page.locator("article h3:visible").all_inner_texts()} == {"2."}
    page.locator(".filter input").fill("no such words")
    assert shown.count() == 0 and page.locator(".filter output").inner_text() == "0 exercises"
    page.goto(f"{served}/notebooks/05_dice.html")
    page.locator(".to-exercise a").first.click()
    assert page.locator("article h3:visible").count() == everything
    page.locator(".filter select").select_option(index=1)
    page.evaluate(
        "hash => { location.hash = hash }", page.locator("article section section section").last.get_attribute("id")
    )
    page.wait_for_function("document.querySelector('.filter select').value === ''")
    page.locator(".to-exercise a").last.click()
    assert page.url.partition("#")[0].endswith(f"{tool.chapters()[-1].stem}.html") and "#exercise-12-" in page.url
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
