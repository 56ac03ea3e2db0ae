"""Sliders around a function that draws: alive where a kernel runs, a still picture where none
does."""

import base64
import inspect
import io
import math
import sys

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from organseg.errors import OrgansegError

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def explore(function, **sliders):
    """Show a picture and a slider for each of the numbers that it depends on.

    With a live kernel, the picture is drawn anew when a slider is let go. A stored notebook and the
    pages of the book, which have no kernel, show the picture for the start values.

    Parameters
    ----------
    function : function of the sliders' values that returns a matplotlib Figure, or draws one with
        pyplot
    **sliders : for each parameter of the function (low, high, start) or (low, high, start, step),
        all integers or with decimals; or a list of choices, the first being the start

    Raises
    ------
    OrgansegError
        A slider does not say what it must, or the function has no such parameter.

    Examples
    --------
    >>> organseg.explore(draw_window, level=(-200, 300, 40), width=(50, 1000, 400))  # doctest: +SKIP
    """
    ranges = {name: _check(name, given) for name, given in sliders.items()}
    parameters = inspect.signature(function).parameters
    unknown = [name for name in sliders if name not in parameters]
    missing = [
        name for name, one in parameters.items() if one.default is one.empty and name not in sliders
    ]
    if unknown or missing:
        found = f"found sliders for {', '.join(sliders) or 'nothing'}"
        raise OrgansegError(
            f"explore({function.__name__}): {found}; expected its parameters {', '.join(parameters)}"
        )
    start = {
        name: given[0] if isinstance(given, list) else given[2] for name, given in ranges.items()
    }
    still = _draw(function, start)
    words = f"explore({function.__name__}): " + ", ".join(
        f"{name}={value}" for name, value in start.items()
    )
    shell = get_ipython()
    if shell is None:
        print(words)
        return
    bundle = {"text/plain": words, "image/png": base64.b64encode(still).decode()}
    if hasattr(shell, "kernel"):
        box = _box(function, ranges, still)
        bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        if (
            "google.colab" in sys.modules
        ):  # where there always is a kernel; nothing may be preferred to the sliders
            del bundle["image/png"]
    display(bundle, raw=True)


def _check(name, given):
    """A slider's range, complete with its step: (low, high, start, step), or the list of
    choices."""
    found = f"explore({name}={given!r}): "
    if isinstance(given, list):
        if not given:
            raise OrgansegError(found + "found no choice; expected a list of at least one")
        return given
    if not isinstance(given, tuple) or len(given) not in (3, 4):
        raise OrgansegError(
            found + "expected (low, high, start), (low, high, start, step) or a list of choices"
        )
    if not all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in given
    ):
        raise OrgansegError(found + "expected numbers; give choices of another kind as a list")
    low, high, start, *step = given
    if not low <= start <= high or low == high:
        raise OrgansegError(
            found + "expected low ≤ start ≤ high, in this order, and a range between low and high"
        )
    whole = all(isinstance(n, int) for n in given)
    step = step[0] if step else 1 if whole else 10.0 ** math.floor(math.log10((high - low) / 50))
    if step <= 0:
        raise OrgansegError(found + "expected a step above 0")
    return low, high, start, step


def _draw(function, values):
    """The picture as PNG; pyplot keeps the figures that it had, and the picture keeps its size
    whatever the values."""
    before, already = set(plt.get_fignums()), plt.gcf() if plt.get_fignums() else None
    try:
        plt.figure()
        drawn = function(**values)
        figure = drawn if isinstance(drawn, Figure) else plt.gcf()
        if not figure.axes:
            raise OrgansegError(
                f"{function.__name__}: found no picture; expected a Figure returned or drawn by pyplot"
            )
        if figure.get_layout_engine() is None and all(
            axes.get_subplotspec() for axes in figure.axes
        ):
            figure.tight_layout()
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi="figure")
        return file.getvalue()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
        if already is not None:
            plt.figure(already.number)


def _box(function, ranges, still):
    """The sliders above the picture, as one widget."""
    import ipywidgets

    width = f"{0.65 * max(map(len, ranges)) + 1:.0f}em"
    controls = {name: _control(ipywidgets, name, given, width) for name, given in ranges.items()}
    picture = ipywidgets.Image(
        value=still, format="png", layout={"max_width": "100%", "align_self": "flex-start"}
    )
    trouble = ipywidgets.Label(layout={"display": "none"})

    def draw_anew(_):
        try:
            picture.value = _draw(
                function, {name: control.value for name, control in controls.items()}
            )
            trouble.value = ""
        except Exception as error:  # an error inside a widget would vanish in the kernel's log
            trouble.value = f"{type(error).__name__}: {error}"
        trouble.layout.display = None if trouble.value else "none"

    for control in controls.values():
        control.observe(draw_anew, names="value")
    return ipywidgets.VBox([*controls.values(), trouble, picture])


def _control(ipywidgets, name, given, width):
    options = {"description": name.replace("_", " "), "style": {"description_width": width}}
    if isinstance(given, list):
        return ipywidgets.Dropdown(
            options=[(str(choice), choice) for choice in given], value=given[0], **options
        )
    low, high, start, step = given
    options |= {"min": low, "max": high, "value": start, "step": step, "continuous_update": False}
    options["layout"] = {"width": "36em", "max_width": "100%"}
    if all(isinstance(n, int) for n in given):
        return ipywidgets.IntSlider(**options)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return ipywidgets.FloatSlider(readout_format=f".{digits}f", **options)
