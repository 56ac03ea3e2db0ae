"""The book's pages as readers use them: on a phone, by keyboard, in the dark, on paper, and as axe-core judges them."""

import contextlib
from pathlib import Path

import pytest
from building import pages
from conftest import noting

import notebooks as tool

CHAPTERS = [path.stem for path in tool.chapters()]
RENDERED = next(path.stem for path in tool.chapters() if "organseg.render(" in path.read_text(encoding="utf-8"))
# Not ours: the theme's button for the search says "Search Ctrl+K", the one for the colours has three pictures' names.
THEME = [[".search-button-field"], [".theme-switch-button"]]


@pytest.fixture
def opened(browser, served):
    """Opens a page in a browser of the given kind; at the end, nothing was wrong and nothing came from elsewhere."""
    with contextlib.ExitStack() as stack:

        def goto(path, width=1280, height=800, **options):
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            stack.callback(context.close)
            page = stack.enter_context(noting(context, served))
            page.goto(f"{served}/{path}.html")
            seen.append(page)
            return page

        seen = []
        yield goto
        assert not [page.wrong for page in seen if page.wrong]


def phone(opened, path, **options):
    return opened(path, 390, 800, has_touch=True, is_mobile=True, **options)


def test_no_page_scrolls_to_the_side_on_a_phone_and_80_columns_fit_a_laptop(book, browser, served):
    """Without scripts, which makes it fast: formulas are not set yet, and the theme needs none to lay a page out."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    columns = """() => [...document.querySelectorAll("pre")].filter(block => block.scrollWidth > block.clientWidth + 1)
        .map(block => block.textContent).filter(text => text.split("\\n").every(line => line.length <= 80))"""
    wide = {}
    for file in set(pages(book)) - {book / "index.html"}:  # that one leads on
        name = file.relative_to(book).as_posix()
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{served}/{name}", wait_until="domcontentloaded")
        cut = page.evaluate(columns)
        page.set_viewport_size({"width": 390, "height": 800})
        width = page.evaluate("document.documentElement.scrollWidth")
        if cut or width > 390:
            wide[name] = width, cut
    context.close()
    assert not wide


def test_a_figure_enlarges_by_a_tap_and_by_keys(opened):
    page = phone(opened, f"notebooks/{RENDERED}")
    figure = page.locator(".enlarge", has=page.locator("button:visible")).first
    small, button = figure.locator("img"), figure.get_by_role("button", name="Enlarge the picture")
    dialog = page.get_by_role("dialog", name="Enlarged picture")
    small.tap()
    large = dialog.locator("img")
    assert large.get_attribute("alt") == small.get_attribute("alt")
    assert large.evaluate("image => image.clientWidth === image.naturalWidth")
    assert large.bounding_box()["width"] > 1.15 * small.bounding_box()["width"]
    dialog.get_by_role("button", name="Close").tap()
    assert dialog.count() == 0
    button.press("Enter")
    assert dialog.is_visible()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert button.evaluate("button => button === document.activeElement")


def test_only_a_figure_that_is_shown_smaller_than_it_is_has_a_button(opened):
    page = opened(f"notebooks/{RENDERED}")
    page.wait_for_load_state("networkidle")
    figures = page.evaluate("""() => [...document.querySelectorAll(".bd-article img")].filter(e => e.checkVisibility())
        .filter(e => !e.closest(".organseg-rendering"))
        .map(e => [e.naturalWidth > 1.15 * e.clientWidth, !!e.parentElement.querySelector("button:not([hidden])")])""")
    assert {True, False} == {smaller for smaller, _ in figures}
    assert all(smaller == button for smaller, button in figures)


def test_the_keyboard_reaches_a_solution_without_passing_each_formula(opened):
    page = opened(f"notebooks/{CHAPTERS[2]}")
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container[tabindex='0']").count() == 0
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the exercises"
    page.keyboard.press("Enter")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.tag_solution summary')"):
            break
    else:
        pytest.fail("ten Tabs from the exercises there was no solution")


def test_a_rendering_on_a_dark_phone_turns_by_a_finger_lets_the_page_scroll_and_has_no_pale_box(opened):
    page = phone(opened, f"notebooks/{RENDERED}", color_scheme="dark")
    page.locator(".organseg-rendering").first.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.organseg-rendering img').hidden")
    stage = page.locator(".organseg-rendering .stage").first
    stage.evaluate("stage => stage.scrollIntoView({ block: 'center' })")
    touch, box = page.context.new_cdp_session(page), stage.bounding_box()

    def eyes():
        return stage.evaluate("s => ['scene', 'scene2'].map(n => Object.values(s._fullLayout[n].camera.eye))")

    def swipe(right, down):
        x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for part in range(1, 11):
            points = [{"x": x + right * part / 10, "y": y + down * part / 10}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(800)

    start, place = eyes(), page.evaluate("scrollY")
    swipe(90, 5)
    turned = eyes()
    assert turned[0] == pytest.approx(turned[1]) and abs(turned[0][0] - start[0][0]) > 0.3
    assert page.evaluate("scrollY") == place
    swipe(3, -120)
    assert eyes()[0] == pytest.approx(turned[0]) and page.evaluate("scrollY") > place + 50
    assert page.locator(".modebar-btn").count() == 0, "the buttons would lie over the organs"

    for output in page.locator(".output.text_html:has(.organseg-scroller, .organseg-rendering)").all():
        assert output.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"
    paper, letters = stage.evaluate("s => [s._fullLayout.paper_bgcolor, s._fullLayout.font.color]")
    assert paper == "rgba(0, 0, 0, 0)" and min(map(int, letters[4:-1].split(","))) > 150
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_function("dark => document.querySelector('.stage')._fullLayout.font.color !== dark", arg=letters)


def test_paper_is_light_and_loses_no_code(opened):
    page = opened(f"notebooks/{RENDERED}", width=700, color_scheme="dark")
    page.evaluate("addEventListener('beforeprint', () => window.ink = getComputedStyle(document.body).color)")
    on_screen = page.evaluate("getComputedStyle(document.body).color")
    page.pdf()
    ink = [int(part) for part in page.evaluate("window.ink")[4:-1].split(",")]
    assert max(ink) < 100 and page.evaluate("getComputedStyle(document.body).color") == on_screen
    page.emulate_media(media="print")
    cut = "() => [...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    for selector in (".bd-sidebar-primary", ".bd-header-article", ".copybtn", ".tag_setup summary"):
        assert not page.locator(selector).first.is_visible(), selector
    whole = "() => [...document.querySelectorAll('.bd-article img')].filter(e => e.checkVisibility())"
    assert set(page.evaluate(f"{whole}.map(e => getComputedStyle(e).breakInside)")) == {"avoid"}


def test_the_book_becomes_one_pdf(book, browser):
    pytest.importorskip("pypdf", reason="needs pypdf (pip install pypdf)")
    import pdf

    page = browser.new_page()
    listed = pdf.listed_pages(page, book)
    assert [Path(address).stem for address, *_ in listed if "/notebooks/" in address] == CHAPTERS
    some = [entry for entry in listed if Path(entry[0]).stem in ("intro", "part_1", CHAPTERS[2], "bibliography")]
    made = pdf.make(page, some)
    page.close()
    texts = [sheet.extract_text() for sheet in made.pages]
    assert "2. Convolution by hand" in texts[0] and made.outline[0]["/Title"] == "From pixels to organs"
    assert texts[-1].rstrip().endswith(str(len(made.pages))), "each page has its number"
    assert any("Exercise 2.1: right" in text for text in texts), "solutions are unfolded"
    links = [link.get_object() for sheet in made.pages for link in sheet.get("/Annots", [])]
    assert sum("/Dest" in link for link in links) > 10
    assert not [link for link in links if "/A" in link and not link["/A"]["/URI"].startswith(("http", "mailto"))]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", [f"notebooks/{RENDERED}", f"notebooks/{CHAPTERS[2]}", "book/ledger"])
def test_axe_finds_nothing_serious(name, colours, opened, npm_packages):
    page = opened(name, color_scheme=colours)
    page.wait_for_load_state("networkidle")
    for rendering in page.locator(".organseg-rendering").all():
        rendering.scroll_into_view_if_needed()
        rendering.locator("img").wait_for(state="hidden")
    page.add_script_tag(path=npm_packages / "axe-core" / "axe.min.js")
    found = page.evaluate("exclude => axe.run({ exclude }, { resultTypes: ['violations'] })", THEME)["violations"]
    bad = {rule["id"]: [node["html"][:120] for node in rule["nodes"]] for rule in found
           if rule["impact"] in ("serious", "critical")}  # fmt: skip
    assert not bad
