"""Sliders around a function that draws: all their pictures are drawn at once, and no kernel is
needed to move them. They work in the book, in JupyterLab and on Colab alike."""

import base64
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from organseg.errors import OrgansegError
from organseg.show.picture import Shown, fill_page

# Letters, so that a notebook stays small and a page loads fast: 300 kB, less the script and words.
LARGEST = 294_000
QUALITIES = (None, 90, 80, 65, 50)  # lossless if there is room, else the first that fits


def explore(function, words="", start=None, **sliders):
    """A picture, and a slider for each of the values that it depends on. A notebook shows it if
    this is the last line of a cell.

    * `function` : returns a matplotlib Figure, or draws one with pyplot; it is called once for
      every combination of values
    * `words` : what is to be seen, for those who do not see it
    * `start` : dict of the values shown first; by default the first of each slider
    * each other argument is named as a parameter of the function: a list of its values, in the
      slider's order

    OrgansegError: the function has no such parameter or draws nothing, a start is none of the
    values, or the pictures need more than 300 kB.

    >>> explore(lambda y: plt.axhline(y).figure, start={"y": 2}, y=[1, 2, 3])
    Sliders: y=2 (of 3 pictures)
    """
    values = {name: list(given) for name, given in sliders.items()}
    first = {name: given[0] for name, given in values.items() if given} | (start or {})
    for name in {**values, **first}:
        if first.get(name) not in values.get(name, []):
            found = f"explore({name}={values.get(name)}): found no value {first.get(name)} in it"
            raise OrgansegError(f"{found}; expected a list of values, one of them the start")
    frames = [_frame(function, dict(zip(values, chosen, strict=True)))
              for chosen in itertools.product(*values.values())]  # fmt: skip
    at = [given.index(first[name]) for name, given in values.items()]
    pictures = _encoded(frames)
    data = {
        "names": [name.replace("_", " ") for name in values],
        "values": [[_told(value) for value in given] for given in values.values()],
        "start": at,
        "frames": pictures,
    }
    shown = ", ".join(f"{name}={_told(first[name])}" for name in values)
    still = pictures[int(np.ravel_multi_index(at, [len(given) for given in values.values()]))]
    page = fill_page("sliders.html", data, still, f"{words or 'A picture with sliders'} ({shown})")
    return Shown(f"Sliders: {shown} (of {len(frames)} pictures)", {"text/html": page})


def _told(value):
    """A value as the slider states it."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _frame(function, values):
    """The picture for these values; pyplot keeps the figures that it had, and no other."""
    before = set(plt.get_fignums())
    try:
        try:
            figure = function(**values)
        except TypeError as error:
            if f"{function.__name__}()" not in str(error):
                raise
            found = f"explore({', '.join(values)}): {error}"
            raise OrgansegError(f"{found}; expected the function's parameters") from None
        figure = figure if isinstance(figure, Figure) else plt.gcf()
        if not figure.axes:
            found = f"{function.__name__}: found no picture"
            raise OrgansegError(f"{found}; expected a Figure returned or drawn by pyplot")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi="figure")
        return Image.open(file).convert("RGB")
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _encoded(frames):
    """Every picture as WebP in base64, all of them as well as the limit has room for."""
    best = None
    for quality in QUALITIES:
        tried = [_webp(frame, quality) for frame in frames]
        best = [min(pair, key=len) for pair in zip(best or tried, tried, strict=True)]
        if (size := sum(map(len, best)) + max(map(len, best))) <= LARGEST:  # with the still one
            return best
    found = f"found {len(frames)} pictures of {size / 1000:.0f} kB together"
    raise OrgansegError(f"{found}; expected at most {LARGEST // 1000}; take fewer or smaller ones")


def _webp(picture, quality):
    options = {"quality": quality} if quality else {"lossless": True}
    file = io.BytesIO()
    picture.save(file, format="webp", method=4, **options)
    return base64.b64encode(file.getvalue()).decode()
