"""Sliders around a function that draws, alive where a kernel runs; elsewhere a still picture."""

import inspect
import io
import math
import sys

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from organseg.errors import OrgansegError
from organseg.show.picture import as_text

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def explore(function, **sliders):
    """Show a picture and a slider for each of the numbers that it depends on.

    With a live kernel, the picture is drawn anew when a slider is let go. A stored notebook and the
    pages of the book, which have no kernel, show the picture for the start values.

    The function returns a matplotlib Figure, or draws one with pyplot. Each of its parameters gets
    (low, high, start) or (low, high, start, step), all integers or with decimals; or a list of
    choices, the first being the start. OrgansegError: a slider does not say this, or the function
    has no such parameter.

    >>> explore(plt.axhline, y=(0.0, 1.0, 0.5))
    explore(axhline): y=0.5
    """
    ranges = {name: _complete_range(name, given) for name, given in sliders.items()}
    signature, title = inspect.signature(function), f"explore({function.__name__}): "
    try:
        signature.bind(**sliders)
    except TypeError as error:
        found = f"{title}found sliders for {', '.join(sliders) or 'nothing'}"
        expected = f"expected its parameters {', '.join(signature.parameters)}"
        raise OrgansegError(f"{found}; {expected}") from error
    start = {name: one[0] if isinstance(one, list) else one[2] for name, one in ranges.items()}
    still = _png_of(function, start)
    words = title + ", ".join(f"{name}={value}" for name, value in start.items())
    shell = get_ipython()
    if shell is None:
        print(words)
        return
    bundle = {"text/plain": words, "image/png": as_text(still)}
    if hasattr(shell, "kernel"):
        box = _box(function, ranges, still)
        bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        if "google.colab" in sys.modules:  # always a live kernel; it would prefer the picture
            del bundle["image/png"]
    display(bundle, raw=True)


def _complete_range(name, given):
    """(low, high, start, step), of which the step may have been missing; or a list of choices."""
    if isinstance(given, list) and given:
        return given
    try:
        low, high, start, *steps = given
        fine = 10.0 ** math.floor(math.log10((high - low) / 50))
        (step,) = steps or [1 if _are_whole(given) else fine]
        if low <= start <= high and step > 0:
            return low, high, start, step
    except (TypeError, ValueError, OverflowError):
        pass  # not three or four numbers, or high is not above low
    raise OrgansegError(
        f"explore({name}={given!r}): expected (low, high, start) or (low, high, start, step), "
        "numbers with low ≤ start ≤ high and a step above 0; or choices as a list of at least one"
    )


def _are_whole(numbers):
    return all(isinstance(number, int) for number in numbers)


def _png_of(function, values):
    """The picture for these values; pyplot keeps the figures that it had, and no other."""
    before = set(plt.get_fignums())
    try:
        plt.figure()
        returned = function(**values)
        figure = returned if isinstance(returned, Figure) else plt.gcf()
        if not figure.axes:
            found = f"{function.__name__}: found no picture"
            raise OrgansegError(f"{found}; expected a Figure returned or drawn by pyplot")
        if not figure.get_layout_engine() and all(one.get_subplotspec() for one in figure.axes):
            figure.tight_layout()
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi="figure")
        return file.getvalue()
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _box(function, ranges, still):
    """The sliders above the picture, as one widget."""
    import ipywidgets

    controls = {name: _control(name, given) for name, given in ranges.items()}
    layout = {"max_width": "100%", "align_self": "flex-start"}
    picture = ipywidgets.Image(value=still, format="png", layout=layout)
    trouble = ipywidgets.Label()

    def draw_anew(_):
        try:
            values = {name: control.value for name, control in controls.items()}
            picture.value, trouble.value = _png_of(function, values), ""
        except Exception as error:  # an error inside a widget would vanish in the kernel's log
            trouble.value = f"{type(error).__name__}: {error}"

    for control in controls.values():
        control.style.description_width = f"{0.65 * max(map(len, ranges)) + 1:.0f}em"
        control.observe(draw_anew, names="value")
    return ipywidgets.VBox([*controls.values(), picture, trouble])


def _control(name, given):
    import ipywidgets

    if isinstance(given, list):
        choices = [(str(choice), choice) for choice in given]
        control = ipywidgets.Dropdown(options=choices, value=given[0])
    else:
        whole = _are_whole(given)
        low, high, start, step = given if whole else map(float, given)
        control = ipywidgets.interactive.widget_from_abbrev((low, high, step), start)
        control.continuous_update, control.layout.width = False, "36em"
        if not whole:
            control.readout_format = f".{max(0, -math.floor(math.log10(step) + 1e-9))}f"
    control.layout.max_width, control.description = "100%", name.replace("_", " ")
    return control
