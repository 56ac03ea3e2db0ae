"""What the pictures of this room are made with: a figure measured in inches, and pieces of HTML."""

import base64
import html
import io
import json
from importlib import resources

from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D
from PIL import Image, ImageOps

from organseg.files import whole_file


class Picture(Figure):
    """A matplotlib figure, measured in inches from its upper left corner. A notebook shows it by
    itself, without pyplot: it needs no display and leaves nothing open behind it."""

    def __init__(self, width, height, paper="black", ink="white", dpi=100, colours=None):
        super().__init__(figsize=(width, height), facecolor=paper)
        self.ink, self.stored_dpi, self.colours = ink, dpi, colours
        self.inches = Affine2D().scale(1, -1).translate(0, height) + self.dpi_scale_trans

    def _repr_mimebundle_(self, include=None, exclude=None):
        # Where pyplot is asked instead, it takes a figure without axes for an empty one.
        return {"text/plain": repr(self), "image/png": self.as_png()}

    def as_png(self):
        """The content of a PNG file."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=self.stored_dpi)
        picture = Image.open(file).convert("RGB")
        if self.colours:
            return png(picture.quantize(self.colours))
        # 6 bits per colour halve the file and are not seen; a palette would merge organs.
        return png(ImageOps.posterize(picture, 6))

    def save(self, path):
        """Write the picture as PNG; the file appears whole or not at all."""
        with whole_file(path) as aside:
            aside.write_bytes(self.as_png())

    def write(self, left, top, words, size=8, color=None, **options):
        options |= {"fontsize": size, "color": color or self.ink, "va": "center_baseline"}
        self.text(left, top, words, transform=self.inches, **options)

    def add_patch(self, patch):
        patch.set_transform(self.inches)
        self.add_artist(patch)

    def add_slice(self, rgb, x, y, width, height):
        """Show an RGB picture (rows, columns, 3) in a box around (x, y), which has the slice's true
        proportions."""
        across, down = self.get_size_inches()
        corner = (x - width / 2) / across, 1 - (y + height / 2) / down
        axes = self.add_axes((*corner, width / across, height / down))
        axes.imshow(rgb, aspect="auto")
        axes.set_axis_off()


class Shown:
    """What a notebook shows, a bundle of contents by MIME type; elsewhere it is words."""

    def __init__(self, words, bundle):
        self.words, self.bundle = words, {"text/plain": words, **bundle}

    def __repr__(self):
        return self.words

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.bundle


def png(picture):
    """A PIL picture as the content of a PNG file, compressed as well as PIL can."""
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


def as_text(content):
    """Bytes in base64, as HTML and JSON hold them."""
    return base64.b64encode(content).decode()


def png_as_text(pixels):
    return as_text(png(Image.fromarray(pixels)))


def read_file(name):
    return resources.files("organseg.show").joinpath(name).read_text(encoding="utf-8")


def fill_page(name, data, still, words):
    """One of this folder's pages, filled in: data for its script, a still picture (a PNG `as_text`)
    for where no script runs, and words for those who do not see the picture."""
    page, data = read_file(name), json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for place, value in {"%DATA%": data, "%STILL%": still, "%WORDS%": words}.items():
        page = page.replace(place, html.escape(value))
    return page
