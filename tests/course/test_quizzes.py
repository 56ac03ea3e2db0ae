"""The questions between sections: each has one right choice, is asked once, and what can be computed is right."""

import re

import jupytext
import numpy as np
import pytest
from scipy import ndimage, signal
from skimage.measure import euler_number

import notebooks as tool
import organseg
from notebooks import has_tag
from organseg.augmentation import spline_basis
from organseg.course.quizzes import gift, quiz, read_quizzes

WORDS, PLACES = read_quizzes()
QUESTIONS = {
    f"{place}.{number}": question for place, questions in PLACES.items() for number, question in enumerate(questions, 1)
}
CALL = re.compile(r'(?:from organseg\.course\.quizzes import quiz\n\n)?quiz\("(\w+)"\)')
each_question = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
each_chapter = pytest.mark.parametrize("path", tool.chapters(), ids=lambda path: path.stem)


def right_of(question):
    (right,) = [choice for choice in question.choices if choice.right]
    return right.says


@each_question
def test_one_choice_is_right_and_each_has_a_sentence_of_its_own(question):
    assert 3 <= len(question.choices) <= 4 and question.ask.endswith("?")
    assert {choice.verdict for choice in question.choices} == {"yes", "no"} and right_of(question)
    for column in ([choice.says for choice in question.choices], [choice.why for choice in question.choices]):
        assert len(set(column)) == len(column) and all(text == text.strip() != "" for text in column)
    assert all(choice.why.endswith(".") and choice.why[:-1] != choice.says for choice in question.choices)


def test_the_right_choice_is_not_always_at_the_same_place():
    at = [[choice.right for choice in question.choices].index(True) for question in QUESTIONS.values()]
    assert max(at.count(place) for place in range(3)) < len(at) / 2


@each_chapter
def test_a_chapter_asks_its_own_questions_once_and_in_order(path):
    cells = [cell for cell in jupytext.read(path).cells if has_tag(cell, "quiz")]
    asked = [CALL.fullmatch(cell.source).group(1) for cell in cells]
    chapter = int(path.stem[:2])
    own = [place for place in PLACES if re.fullmatch(rf"{chapter}[a-z]", place)]
    assert asked == own and 2 <= len(own) <= 4
    assert all(2 <= len(PLACES[place]) <= 3 for place in own)
    assert all(has_tag(cell, "remove-input") for cell in cells), "the book shows the questions, not the call"
    assert ["import" in cell.source for cell in cells] == [True, *[False] * (len(cells) - 1)]


def test_every_question_belongs_to_a_chapter():
    chapters = {str(int(path.stem[:2])) for path in tool.chapters()}
    assert {place[:-1] for place in PLACES} == chapters


@each_chapter
def test_nothing_before_a_question_gives_its_answer_away(path):
    """Neither the words nor the outputs: a number with three figures or a phrase would be found."""
    before, outputs = "", [cell for cell in tool.code(tool.made(path)) if not has_tag(cell, "quiz")]
    outputs = iter(outputs)
    for cell in jupytext.read(path).cells:
        if has_tag(cell, "quiz"):
            for question in PLACES[CALL.fullmatch(cell.source).group(1)]:
                says = right_of(question)
                telling = len(says) >= 12 or re.fullmatch(r"\D*\d[\d.,]{2,}\D*", says)
                assert not (telling and f" {says} ".lower() in f" {before} ".lower()), says
        else:
            before = " ".join(f"{before} {cell.source}".split())
            if cell.cell_type == "code":
                printed = [output.get("text", "") for output in next(outputs).outputs]
                before = " ".join(f"{before} {''.join(printed)}".split())


# What can be computed: as it stands in the right choice


def period_of_every_fourth_value():
    k = np.arange(40)
    kept = np.cos(2 * np.pi * 4 * k / 5)
    return f"period of {4 * next(n for n in range(1, 40) if np.allclose(kept[n:], kept[:-n]))}"


def pooled(row):
    return row.reshape(-1, 2).max(axis=1)


def shift_that_two_poolings_bear():
    row = np.random.default_rng(0).random(64)
    twice = pooled(pooled(row))
    return next(s for s in range(1, 9) if np.array_equal(pooled(pooled(np.roll(row, s))), np.roll(twice, 1)))


def first_move_that_max_pooling_shows():
    rows = [pooled(np.eye(6)[place]).tolist() for place in (2, 3, 4)]
    return {(False, True): "second move only"}[rows[0] != rows[1], rows[1] != rows[2]]


def seen_by(position):
    """The first and last voxel that a voxel of the answer sees, in the U-Net with four levels."""
    low = high = position
    for level in range(4):
        low, high = (low, high) if level == 0 else (low // 2, high // 2)
        low, high = low - 2, high + 2
    for _ in range(3):
        low, high = 2 * low - 2, 2 * high + 3
    return low, high


def reaches():
    both = [(place - seen_by(place)[0], seen_by(place)[1] - place) for place in range(64, 72)]
    return f"{np.min(both)} to {np.max(both)}"


def counted_in_float16():
    count = np.float16(0)
    while count + np.float16(1) != count:
        count += np.float16(1)
    return f"{int(count):,}"


def loss_of_a_perfect_answer_without_two_classes():
    r = np.eye(8)[np.arange(6)]
    return f"−{np.mean(2 * (r * r).sum(axis=0) / np.maximum((r + r).sum(axis=0), 1)):.2f}"


def surface_dice_of_a_shell():
    ball = np.zeros((20, 20, 20), bool)
    ball[6:14, 6:14, 6:14] = True
    shell = ndimage.binary_dilation(ball, np.ones((3, 3, 3)))
    apart = organseg.surface_distances(ball, shell, np.diag([4, 4, 5, 1]))
    return f"About {apart.surface_dice(2):g}"


def noise_left_by_three_readings():
    fractions = np.arange(0.05, 1, 0.1)
    weights = [np.array([1 - f, f]) for f in fractions]
    along_one_axis = [np.sum(np.convolve(np.convolve(a, b), c) ** 2) for a in weights for b in weights for c in weights]
    return f"{np.mean(along_one_axis) ** 1.5:.2f}"


def root_mean_square_displacement():
    squares = (spline_basis(np.arange(24) / 24, 4) ** 2).sum(axis=1).mean()
    return f"{4 / np.sqrt(3) * squares**1.5:.1f}"


MASK, OTHER = np.arange(200) < 100, (np.arange(200) >= 50) & (np.arange(200) < 150)
CUBE = np.pad(np.ones((5, 5, 5), int), 1)
CUBE[3, 3, 3] = 0
AFFINE = np.array([2.0, -100.0])  # of one axis: spacing and origin
COMPUTED = {
    "0a.1": organseg.dice(MASK, OTHER),
    "0a.2": int(organseg.dice(MASK, MASK & False)),
    "0b.1": f"{16**3 * organseg.NUM_CLASSES:,}",
    "1a.1": f"{AFFINE @ [99, 1]:g}",
    "1a.2": f"{AFFINE @ [99.5, 1] - AFFINE @ [-0.5, 1]:g}",
    "1c.1": period_of_every_fourth_value,
    "1d.1": next(organ.name for organ in organseg.ORGANS if organ.id == np.rint(3 / 3)).capitalize(),
    "2a.1": "×".join(map(str, signal.correlate2d(np.ones((12, 10)), np.ones((5, 5)), mode="valid").shape)),
    "2a.2": int(np.sum(7 * np.array([[-1, 0, 1]] * 3))),
    "2b.1": f"{3 * 3 * 8 * 16 + 16:,}",
    "2b.2": f"{27 // 9} times",
    "2c.1": "{0}×{0}".format(len(np.convolve(np.ones(3), np.ones(3)))),
    "2d.1": first_move_that_max_pooling_shows,
    "2d.2": shift_that_two_poolings_bear,
    "3a.1": "45 %",  # the share of the most frequent level
    "3b.1": f"{-np.log(1 / 4):.3f}",
    "3b.2": "Almost all of it is the one" if -np.log(0.01) > 20 * 9 * -np.log(0.99) else "",
    "3c.1": {0.5: "About a half"}[round(0.99**70, 1)],
    "3c.2": "Less than a thousandth" if 0.9**70 < 1e-3 else "",
    "4a.1": f"{16 - 8 + 1}×{16 - 8 + 1}",
    "4a.2": 2**3,
    "4b.2": f"81 times and {128**2 // 64**2} times",
    "4c.1": "{0}×{0}".format((2 - 1) * 2 + 3),
    "4c.2": int(np.convolve(np.tile([1, 0], 9), np.ones(4))[9]),
    "4d.1": "{0}×{0}".format(50 // 2 // 2 * 2 * 2),
    "4d.2": -(-50 // 4) * 4,
    "5a.1": lambda: "More than 95 %" if np.mean(organseg.make_phantom(6, (48, 48, 40)).label == 0) > 0.95 else "",
    "5a.2": f"{100 * (1 - 7 / 10_000):.2f} %",
    "5b.1": f"{2 * 0.5 / (1 + 0.5):.2f}",
    "5c.1": "more than a hundred times" if 0.994 / 0.006 > 100 else "",
    "5d.1": loss_of_a_perfect_answer_without_two_classes,
    "6a.2": f"{27 * 256 * 512:,}",
    "6b.1": reaches,
    "6c.1": {0.25: "A quarter"}[2 / 2**3],
    "6c.2": f"{(128 // 64) ** 3} times",
    "7c.1": root_mean_square_displacement,
    "7c.2": f"{32 * np.deg2rad(20):.0f} voxels",
    "7d.1": 0.5**2 + 0.5**2,
    "7d.2": noise_left_by_three_readings,
    "8c.2": "No harm" if 0.99**50_000 < 1e-100 else "",
    "8d.1": "Infinite" if float(np.finfo(np.float16).max) < 64**3 else "",
    "8d.2": counted_in_float16,
    "9b.1": max(seen_by(place)[1] for place in range(64, 96)) - 95,
    "9b.2": 48 + 40 + 48,
    "9d.1": "Half-way" if np.interp(0.5, [0, 1], [0.9, 0.1]) == 0.5 else "",
    "10c.2": surface_dice_of_a_shell,
    "10b.1": {4: "four"}[round(12 * (11 / 12) ** 12)],
    "11a.2": round(28 * 37 / 377),
    "11b.1": f"{1.1 * 50_000 / 3600:.0f} hours",
    "11b.2": f"{380 * 380 * 480 / 3**3 / 1e6:.1f} million",
    "12a.2": ndimage.generate_binary_structure(3, 2).sum() - 1,
    "12c.1": euler_number(CUBE, connectivity=3),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_right_choice_says_what_is_computed_and_no_other_does(name):
    computed = COMPUTED[name]() if callable(COMPUTED[name]) else COMPUTED[name]
    said = re.compile(rf"(?:[\w-]+ ){{0,6}}?{re.escape(str(computed))}(?!\d|[.,]\d)")
    assert computed != ""
    for choice in QUESTIONS[name].choices:
        assert bool(said.match(choice.says)) == choice.right, choice.says


def test_every_question_whose_choices_are_numbers_is_computed():
    numbers = {
        name for name, one in QUESTIONS.items() if all(re.match(r"(?:\D{0,9}\s)?[−\d]", c.says) for c in one.choices)
    }
    assert numbers <= set(COMPUTED)


# In a page


def test_a_quiz_needs_nothing_that_jupyter_takes_away_from_a_notebook_it_does_not_trust():
    for place in PLACES:
        shown = quiz(place)._repr_html_()
        tags = set(re.findall(r"<(\w+)", shown))
        assert tags <= {"div", "p", "strong", "fieldset", "legend", "details", "summary", "code"}
        assert set(re.findall(r'\s(\w+)="', shown)) <= {"class", "style"}
        assert len(shown) < 5000


def test_the_questions_are_answered_by_mouse_and_keys_and_without_a_script(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{quiz('2a')._repr_html_()}", encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 640})
    page, addresses = context.new_page(), []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(file.as_uri())
    first, second = PLACES["2a"]
    assert [page.get_by_text(choice.why).is_visible() for choice in first.choices] == [False] * len(first.choices)
    page.get_by_text(first.choices[0].says, exact=True).click()
    assert [page.get_by_text(choice.why).is_visible() for choice in first.choices] == [True, False, False]
    for _ in first.choices:  # from the choice that was clicked to the next question
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer = page.locator("details[open] p").nth(1)
    assert answer.inner_text() == f"{WORDS[second.choices[0].verdict]} {second.choices[0].why}"
    assert page.get_by_role("group", name=second.ask).locator("summary").count() == len(second.choices)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert addresses == [file.as_uri()]
    context.close()


def test_code_and_signs_are_shown_as_they_are_meant():
    question = PLACES["2a"][0]._replace(ask="Is `x < 2` & more?")
    shown = type(quiz("2a"))("2a", [question], WORDS)._repr_html_()
    assert ">Is <code>x &lt; 2</code> &amp; more?</legend>" in shown


def test_an_unknown_place_is_told():
    with pytest.raises(ValueError, match="found no quiz '99z'; expected one of 0a, 0b"):
        quiz("99z")


def test_a_question_bank_gets_all_questions():
    bank = gift().split("\n\n")
    assert len(bank) == len(QUESTIONS)
    for text, (name, question) in zip(bank, QUESTIONS.items(), strict=True):
        head, *choices, end = re.split(r"\n", text)
        assert head.startswith(f"::{name}:: ") and head.endswith(" {") and end == "}"
        assert [line[0] for line in choices] == ["=" if choice.right else "~" for choice in question.choices]
        assert all(len(re.findall(r"(?<!\\)[~=#{}]", line)) == 2 for line in choices)
