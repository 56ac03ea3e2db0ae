"""Sliders around a function that draws: one picture for each combination of values, in a real browser too."""

import base64
import html
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from organseg.errors import OrgansegError
from organseg.show.sliders import LARGEST, explore


def draw_grey(level, width=1):
    """A picture as grey as the level, on pyplot."""
    plt.subplots(figsize=(1 + width, 1))
    plt.axis("off")
    plt.imshow(np.full((4, 4), level), cmap="gray", vmin=0, vmax=100, extent=(0, 1, 0, 1), aspect="auto")


def draw_returned(power, colour="red"):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(np.arange(5.0) ** power, color=colour)
    return figure


def data(shown):
    page = shown._repr_mimebundle_()["text/html"]
    return json.loads(html.unescape(re.search(r'data-frames="([^"]*)"', page)[1]))


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def middle(text):
    image = picture(text).convert("L")
    return image.getpixel((image.width // 2, image.height // 2))


def test_there_is_a_picture_for_each_combination_and_the_last_slider_runs_fastest():
    found = data(explore(draw_grey, level=[0, 50, 100], width=[1, 3]))
    assert found["names"] == ["level", "width"] and found["values"] == [["0", "50", "100"], ["1", "3"]]
    assert [picture(frame).size for frame in found["frames"]] == [(200, 100), (400, 100)] * 3
    assert [middle(frame) for frame in found["frames"]] == pytest.approx([0, 0, 127, 127, 255, 255], abs=4)


def test_the_still_picture_is_that_of_the_start_values():
    shown = explore(draw_grey, "A grey <field>", start={"level": 100}, level=[0, 100], width=[1])
    assert repr(shown) == "Sliders: level=100, width=1 (of 2 pictures)"
    page = shown._repr_mimebundle_()["text/html"]
    still = re.search(r'<img src="data:image/webp;base64,([^"]*)" alt="([^"]*)"', page)
    assert middle(still[1]) > 250 and html.unescape(still[2]) == "A grey <field> (level=100, width=1)"
    assert data(shown)["start"] == [1, 0]


def test_a_returned_figure_is_taken_and_choices_may_be_words():
    found = data(explore(draw_returned, power=[1.0, 0.25], colour=["red", "blue"]))
    assert found["values"] == [["1", "0.25"], ["red", "blue"]]
    red, green, blue = np.asarray(picture(found["frames"][1]), int).reshape(-1, 3).T
    assert np.any((blue > 200) & (red < 50)) and not np.any((red > 200) & (blue < 50))


def test_figures_of_others_stay_and_none_is_left():
    own = plt.figure()
    explore(draw_grey, level=[0, 1])
    assert plt.get_fignums() == [own.number] and plt.gcf() is own
    plt.close(own)


def test_pictures_that_need_too_much_room_lose_some_quality_and_then_are_refused():
    noise = np.random.default_rng(0).random((12, 200, 300))

    def draw(n):
        figure = Figure(figsize=(3, 2))
        figure.add_axes((0, 0, 1, 1)).imshow(noise[n], cmap="gray")
        return figure

    page = explore(draw, n=range(6))._repr_mimebundle_()["text/html"]
    assert 0.3 * LARGEST < len(page) <= 300_000
    with pytest.raises(OrgansegError, match=f"expected at most {LARGEST // 1000}; take fewer"):
        explore(lambda n, m: draw(n), n=range(12), m=range(3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"level": []}, "found no value"),
        ({"level": [1], "start": {"level": 2}}, "found no value 2"),
        ({"level": [1], "start": {"depth": 2}}, "found no value 2"),
        ({"level": [1], "depth": [2]}, "unexpected keyword argument 'depth'"),
        ({}, "missing 1 required positional argument"),
    ],
)
def test_a_bad_slider_is_said_in_one_line(given, words):
    with pytest.raises(OrgansegError, match=words) as error:
        explore(draw_grey, **given)
    assert "\n" not in str(error.value)


def test_an_error_in_the_function_comes_through():
    with pytest.raises(ZeroDivisionError):
        explore(lambda n: 1 / n, n=[0])


def test_in_a_browser_the_sliders_move_by_keys_and_the_picture_follows(browser):
    page = browser.new_page()
    page.set_content(explore(draw_grey, level=[0, 50, 100], width=[1, 3])._repr_mimebundle_()["text/html"])
    level, width = page.get_by_label("level"), page.get_by_label("width")
    assert level.input_value() == "0" and page.locator("img:visible").count() == 1
    shown = page.locator("img:visible")

    def brightness():
        return shown.evaluate("""async (image) => {
          await image.decode();
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), pen = canvas.getContext("2d");
          pen.drawImage(image, 0, 0);
          return [image.naturalWidth, pen.getImageData(image.naturalWidth / 2, image.naturalHeight / 2, 1, 1).data[0]];
        }""")

    assert brightness() == [200, pytest.approx(0, abs=4)]
    level.focus()
    page.keyboard.press("ArrowRight")
    assert brightness() == [200, pytest.approx(127, abs=4)]
    width.focus()
    page.keyboard.press("End")
    assert brightness() == [400, pytest.approx(127, abs=4)]
    assert level.get_attribute("aria-valuetext") == "level 50" and "50" in page.inner_text("label >> nth=0")
    page.close()
