"""The slides, built as an instructor builds them and shown by a browser that may not leave this machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx_revealjs", reason="needs sphinx-revealjs, which is not among Colab's packages")

import notebooks as tool
import slides
import teaching

ROOT = Path(__file__).resolve().parents[2]
NAMES = [path.stem for path in tool.chapters()]
WIDTH, HEIGHT = 1280, 720


@pytest.fixture(params=tool.chapters(), ids=lambda path: path.stem)
def chapter(request):
    return teaching.Chapter(request.param)


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    done = subprocess.run([sys.executable, ROOT / "tools" / "slides.py", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return folder / "html"


def figures(chapter):
    """The texts of all figures that a chapter has drawn, from the notebook itself."""
    cells = [cell for cell in chapter.cells if cell.cell_type == "code"]
    drawn = [cell for cell in cells if any("image/png" in output.get("data", {}) for output in cell.outputs)]
    return [cell.metadata["mystnb"]["image"]["alt"] for cell in drawn]


def test_a_deck_has_every_figure_the_head_the_exercises_and_the_summary(chapter, tmp_path):
    text = slides.deck(chapter, tmp_path)
    assert re.findall(r":alt: (.*)", text) == figures(chapter)
    assert text.startswith(f"# {chapter.title}\n\n{chapter.promise}")
    title = text.partition("\n## ")[0]
    assert "The organseg developers." in title and "(https://creativecommons.org/licenses/by/4.0/)" in title
    for exercise in chapter.exercises:
        assert f"- {exercise.number} {exercise.stars} {exercise.title}\n" in text
        assert exercise.solution not in text
    assert not re.findall(r"(?<=[\s(])\{[\w:-]+\}`", text), (
        "a word of the book's markup, which Reveal shows as it stands"
    )
    headings = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert headings[0] == "Objectives" and headings[-1] == "Summary"
    told = {section.heading for section in slides.sections(chapter) if section.parts} & set(chapter.sections)
    assert not told - set(headings), "each section that says something has a slide"


def test_a_slide_says_whole_sentences():
    text = "The liver is large. It is 60 mm\nwide, i.e. wider than others. The next picture shows it. See below:"
    assert slides.sentences(text) == "The liver is large. It is 60 mm wide, i.e. wider than others."
    assert slides.sentences(text, most=30) == "The liver is large."
    assert slides.sentences("What it weighs:") == "What it weighs."


def test_a_slide_shows_no_code_that_only_asserts(chapter, tmp_path):
    """Whoever looks at a slide wants to see what comes out; `assert` and `np.testing` show nothing."""
    blocks = re.findall(r"^```python\n(.*?)^```", slides.deck(chapter, tmp_path), flags=re.MULTILINE | re.DOTALL)
    for block in blocks:
        names = {ast.unparse(node).partition(".assert_")[0] for node in ast.parse(block).body}
        assert not [name for name in names if name.startswith("assert ") or name == "np.testing"], block


def test_asserts_are_left_out_whole_and_nothing_else_is():
    kept = ["total = sum(\n    parts)", "for n in parts:\n    assert n\n    print(n)"]
    gone = "assert (total\n        == 3)\nnp.testing.assert_allclose(total,\n    3)"
    assert slides.without_asserts("\n".join([kept[0], gone, kept[1]])) == "\n".join(kept)
    assert slides.without_asserts("# as said\nassert total == 3") == ""


def test_a_citation_becomes_its_names():
    assert slides._cited("As the paper {cite}`roth2018` says.") == "As the paper (Roth et al. 2018) says."
    assert slides._cited("[chapter 1](01_ct_and_geometry.ipynb)") == "chapter 1"


# In a browser

TOO_LARGE = """() => [...Reveal.getCurrentSlide().querySelectorAll('*')].filter(e => {
    const { width, height, left, top, right, bottom } = e.getBoundingClientRect();
    return width * height && (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) && !e.closest('aside');
}).map(e => `${e.tagName}: ${e.textContent.slice(0, 60)}`)"""
FOOT = "() => getComputedStyle(Reveal.getCurrentSlide(), '::after').content"
# A scroller hides the still picture that it has for those without scripts.
PICTURES = """() => [...Reveal.getCurrentSlide().querySelectorAll('img')].filter(e => !e.closest('.organseg-scroller'))
    .map(image => [image.alt, image.complete && image.naturalWidth, image.getBoundingClientRect().width])"""


@pytest.fixture(scope="module")
def context(browser):
    """Its pages have a slide's size, and share what they have loaded."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    yield context
    context.close()


@pytest.fixture
def page(context):
    """A page that notes its errors and whatever it asks for beside files."""
    page = context.new_page()
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("requestfailed", lambda request: page.wrong.append(f"missing: {request.url}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else page.wrong.append(r.url))
    yield page
    page.close()


def open_deck(page, decks, name):
    page.goto((decks / f"{name}.html").as_uri())
    page.wait_for_function("() => window.Reveal && Reveal.isReady()")
    page.evaluate("async () => { await window.MathJax?.startup?.promise }")  # formulas are set


def test_every_slide_of_a_deck_fits_and_shows_its_figures(chapter, page, decks):
    open_deck(page, decks, chapter.name)
    shown = []
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        assert page.evaluate("Reveal.getSlidePastCount()") == number
        heading = page.evaluate("Reveal.getCurrentSlide().querySelector('h1, h2').textContent")
        assert page.evaluate(TOO_LARGE) == [], f"slide {number + 1}, {heading}"
        assert page.evaluate(FOOT) == '"The organseg developers, CC BY 4.0"', f"slide {number + 1}, {heading}"
        for alt, decoded, width in page.evaluate(PICTURES):
            assert alt and decoded and width > 100, f"slide {number + 1}, {heading}"
            shown.append(alt)
        page.keyboard.press("ArrowRight")
    assert set(figures(chapter)) <= set(shown)
    assert page.locator("mjx-merror").count() == 0
    assert page.wrong == []


def test_a_slide_that_is_too_full_is_noticed(page, decks):
    open_deck(page, decks, NAMES[0])
    page.keyboard.press("ArrowRight")
    assert page.evaluate(TOO_LARGE) == []
    page.add_style_tag(content=".reveal { font-size: 120px !important }")
    assert page.evaluate(TOO_LARGE) != []


def test_the_first_page_leads_to_every_deck(page, decks):
    open_deck(page, decks, "index")
    assert page.evaluate(TOO_LARGE) == []
    links = page.locator(".contents a").all()
    assert [link.get_attribute("href") for link in links] == [f"{name}.html" for name in NAMES]
    links[-1].click()
    page.wait_for_function("name => location.pathname.endsWith(name)", arg=f"{NAMES[-1]}.html")
    assert page.wrong == []


def test_the_speaker_has_the_prose_around_a_figure(page, decks):
    open_deck(page, decks, "02_convolution")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    notes = opened.value
    notes.wait_for_function("() => document.querySelector('.speaker-controls-notes .value')?.textContent.length > 50")
    assert "three across and three down" in notes.locator(".speaker-controls-notes").inner_text()


def test_a_patient_is_scrolled_on_a_slide_by_keys_that_do_not_leave_it(page, decks):
    open_deck(page, decks, "00_welcome")
    page.evaluate("Reveal.slide([...document.querySelectorAll('.slides > section')].findIndex("
                  "s => s.querySelector('.organseg-scroller')))")  # fmt: skip
    scroller = page.locator(".organseg-scroller")
    before, place = scroller.locator("output").inner_text(), page.evaluate("Reveal.getSlidePastCount()")
    scroller.locator("canvas").click()
    page.keyboard.press("ArrowRight")
    assert scroller.locator("output").inner_text() != before
    assert page.evaluate("Reveal.getSlidePastCount()") == place
