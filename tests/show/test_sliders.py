"""Sliders around a function that draws, in a kernel that listens and in a place without one."""

import base64
import io
import sys

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from organseg.errors import OrgansegError
from organseg.show import sliders
from organseg.show.sliders import WIDGET_VIEW, explore


def draw_window(level, width):
    """Grey as bright as the level, on pyplot."""
    plt.subplots(figsize=(2, 1))
    plt.axis("off")
    plt.imshow(np.full((4, 4), level), cmap="gray", vmin=level - width, vmax=level + width)


def draw_returned(power, colour="red"):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot(np.arange(5.0) ** power, color=colour)
    return figure


class Shell:
    kernel = object()


@pytest.fixture
def shown(monkeypatch):
    """What explore displays, as bundles, as if a kernel ran."""
    bundles = []
    monkeypatch.setattr(sliders, "get_ipython", Shell)
    monkeypatch.setattr(sliders, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def picture(bundle):
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))


def test_one_bundle_with_the_sliders_the_still_picture_and_words(shown):
    explore(draw_window, level=(-200, 300, 40), width=(50, 1000, 400))
    (bundle,) = shown
    assert set(bundle) == {WIDGET_VIEW, "image/png", "text/plain"}
    assert bundle["text/plain"] == "explore(draw_window): level=40, width=400"
    assert picture(bundle).size == (200, 100)
    assert bundle[WIDGET_VIEW]["version_major"] == 2 and bundle[WIDGET_VIEW]["model_id"]


def test_the_still_picture_is_that_of_the_start_values_and_the_same_every_time(shown):
    for start in (2.0, 2.0, 3.0):
        explore(draw_returned, power=(0.0, 4.0, start), colour=["red", "blue"])
    assert shown[0]["image/png"] == shown[1]["image/png"] != shown[2]["image/png"]
    assert shown[0]["text/plain"] == "explore(draw_returned): power=2.0, colour=red"
    red, green, blue = np.asarray(picture(shown[0]).convert("RGB"), int).reshape(-1, 3).T
    assert np.any((red > 200) & (green < 50) & (blue < 50)) and not np.any((blue > 200) & (red < 50))


def test_letting_a_slider_go_draws_anew():
    ranges = {"power": sliders._complete_range("power", (0.0, 4.0, 1.0)), "colour": ["red", "blue"]}
    box = sliders._box(draw_returned, ranges, b"")
    power, colour, shown, trouble = box.children
    assert (power.description, colour.description, power.continuous_update) == ("power", "colour", False)
    assert (power.min, power.max, power.step, power.readout_format) == (0, 4, 0.01, ".2f")
    power.value = 3.0
    cubic = shown.value
    assert Image.open(io.BytesIO(cubic)).size == (300, 200)
    colour.value = "blue"
    assert shown.value != cubic and trouble.value == ""


def test_an_error_in_the_function_is_seen_and_the_next_value_clears_it():
    def fails_at(n):
        if n == 2:
            raise ZeroDivisionError("two is not allowed")
        plt.plot([n])

    n, _, trouble = sliders._box(fails_at, {"n": (1, 3, 1, 1)}, b"").children
    n.value = 2
    assert trouble.value == "ZeroDivisionError: two is not allowed"
    n.value = 3
    assert trouble.value == ""
    assert plt.get_fignums() == []


def test_sliders_are_whole_or_decimal():
    for given, kind, step in [
        ((0, 10, 5), ipywidgets.IntSlider, 1),
        ((0, 10, 5, 5), ipywidgets.IntSlider, 5),
        ((0, 1.0, 0.5), ipywidgets.FloatSlider, 0.01),
        ((0.0, 0.02, 0.01), ipywidgets.FloatSlider, 0.0001),
        ((0, 300.0, 1), ipywidgets.FloatSlider, 1),
    ]:
        slider = sliders._control("max_shift", sliders._complete_range("max_shift", given))
        assert type(slider) is kind and slider.step == pytest.approx(step) and slider.value == given[2]
        assert slider.description == "max shift"


def test_figures_of_others_stay_and_none_is_left(shown):
    own = plt.figure()
    explore(draw_window, level=(0, 2, 1), width=(1, 3, 2))
    explore(draw_returned, power=(0, 4, 2))
    assert plt.get_fignums() == [own.number] and plt.gcf() is own
    plt.close(own)
    explore(draw_window, level=(0, 2, 1), width=(1, 3, 2))
    assert plt.get_fignums() == []


def test_colab_gets_the_sliders_alone(monkeypatch, shown):
    monkeypatch.setitem(sys.modules, "google.colab", object())
    explore(draw_window, level=(0, 2, 1), width=(1, 3, 2))
    assert set(shown[0]) == {WIDGET_VIEW, "text/plain"}


def test_without_a_kernel_there_is_no_widget(monkeypatch, shown, capsys):
    monkeypatch.setattr(sliders, "get_ipython", lambda: object())  # IPython in a terminal
    explore(draw_window, level=(0, 2, 1), width=(1, 3, 2))
    assert set(shown[0]) == {"image/png", "text/plain"}
    monkeypatch.setattr(sliders, "get_ipython", lambda: None)  # plain Python
    explore(draw_window, level=(0, 2, 1), width=(1, 3, 2))
    assert capsys.readouterr().out == "explore(draw_window): level=1, width=2\n" and len(shown) == 1


BAD = {
    "two numbers": ((1, 2), "expected .low, high, start."),
    "no tuple": (5, "expected .low, high, start."),
    "start outside": ((0, 10, 11), "low ≤ start ≤ high"),
    "wrong order": ((10, 0, 5), "low ≤ start ≤ high"),
    "no range": ((1, 1, 1), "low ≤ start ≤ high"),
    "step 0": ((0, 10, 5, 0), "step above 0"),
    "words": (("a", "b", "c"), "as a list"),
    "no choices": ([], "at least one"),
    "not a number": ((0, float("nan"), 1), "numbers with low"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_slider_is_said_in_one_line(name, shown):
    given, words = BAD[name]
    with pytest.raises(OrgansegError, match=words) as error:
        explore(draw_window, level=given, width=(1, 3, 2))
    assert str(error.value).startswith("explore(level=") and "\n" not in str(error.value) and not shown


def test_wrong_names_and_missing_pictures_are_said_in_one_line(shown):
    with pytest.raises(OrgansegError, match="found sliders for levle, width; expected its parameters level, width"):
        explore(draw_window, levle=(0, 2, 1), width=(1, 3, 2))
    with pytest.raises(OrgansegError, match="expected its parameters level, width"):
        explore(draw_window, level=(0, 2, 1))
    with pytest.raises(OrgansegError, match="found no picture"):
        explore(lambda n: n, n=(0, 2, 1))
    assert plt.get_fignums() == []
