"""A slice scroller: one piece of HTML that needs no kernel and no net, for JupyterLab, Colab and
the book alike.

The volume travels inside the HTML as two PNG sheets of axial slices, the image and the labels;
`scroller.html` reads them in the browser, cuts the three planes and applies window and colours
there. So that a notebook stays small, HU are rounded to steps, and large volumes are down-sampled
first. The words below the picture say how much.
"""

import base64
import html
import json
from dataclasses import replace
from functools import cached_property
from importlib import resources

import numpy as np
from PIL import Image

from organseg.cases import Case
from organseg.errors import OrgansegError
from organseg.geometry import WorkingGrid, to_canonical, to_working
from organseg.organs import NUM_CLASSES, ORGANS
from organseg.scans import HU_WINDOW
from organseg.show.slices import MARKS, PLANES, WINDOW, best_slice, png_bytes, slice_picture

WINDOWS = {  # HU, black to white
    "soft tissue": WINDOW,
    "liver": (-20, 140),
    "lung": (-1350, 150),
    "bone": (-450, 1050),
    "everything": (-1024, 1500),
    "what the network sees": tuple(int(hu) for hu in HU_WINDOW),
}
LARGEST_SHEET = 365_000  # letters; with labels and the page's own code less than 400 kB
# Longest edge in voxels, and step in HU: the first that fits is sent.
QUALITIES = [(128, 8), (128, 12), (128, 16), (112, 16), (112, 24), (96, 16), (96, 24)]
QUALITIES += [(80, 16), (80, 24), (64, 24), (48, 24), (32, 32)]
LABEL_STEP = 32  # grey levels from one organ to the next, so that no browser's colour management turns one into another


class Scroller:
    """A volume that a notebook shows as a slice scroller; made by `show_volume`."""

    def __init__(self, case, plane, window, opacity, in_mm):
        self.case, self.plane, self.window, self.opacity, self.in_mm = (
            case,
            plane,
            window,
            opacity,
            in_mm,
        )

    def __repr__(self):
        return f"Scroller: {self._words(self.case)}"

    def _repr_html_(self):
        return self._page

    @cached_property
    def _page(self):
        case, codes, hu, step = _made_small(self.case)
        label = np.zeros(case.image.shape, np.uint8) if case.label is None else case.label
        half = (np.array(case.image.shape) - 1) / 2
        first = (case.affine @ [*half, 1])[
            :3
        ] - half * case.spacing  # mm of the first slices through the middle
        starts = {plane: best_slice(label, plane) for plane in PLANES}
        volume = {
            "shape": case.image.shape,
            "spacing": np.round(case.spacing, 4).tolist(),
            "size": np.round(np.multiply(case.image.shape, case.spacing), 2).tolist(),
            "origin": np.round(first, 2).tolist() if self.in_mm else None,
            "columns": columns_of_sheet(case.image.shape),
            "image": codes,
            "labels": None if case.label is None else _png(sheet(case.label * LABEL_STEP)),
            "labelStep": LABEL_STEP,
            "hu": np.round(hu, 1).tolist(),
            "organs": [(organ.name, organ.colour) for organ in ORGANS],
            "marks": MARKS,
            "windows": WINDOWS,
            "start": starts,
            "plane": self.plane,
            "window": self.window,
            "opacity": round(100 * self.opacity),
            "words": self._words(self.case),
            "hint": self._hint(case, step),
        }
        still = slice_picture(case, "axial", starts["axial"], self.opacity)
        fields = {
            "%VOLUME%": html.escape(json.dumps(volume, separators=(",", ":"), ensure_ascii=False)),
            "%STILL%": _png(
                (255 * still).astype(np.uint8) & 0xF8
            ),  # a stand-in needs no more than 5 bits per colour
            "%WORDS%": html.escape(f"One axial slice of: {volume['words']}"),
        }
        page = (
            resources.files("organseg.show").joinpath("scroller.html").read_text(encoding="utf-8")
        )
        for field, value in fields.items():
            page = page.replace(field, value)
        return page

    def _words(self, case):
        words = f"{_times(case.image.shape)} voxels"
        words += f" of {_times(np.round(case.spacing, 2))} mm" if self.in_mm else ""
        if case.label is None:
            return words
        found = np.count_nonzero(np.unique(case.label))
        return f"{words} with {found} organ" + ("" if found == 1 else "s")

    def _hint(self, case, step):
        small = (
            ""
            if case.image.shape == self.case.image.shape
            else f" (down-sampled from {_times(self.case.image.shape)})"
        )
        return (
            "Click the picture, then turn the wheel or press ↑ ↓, Page Up and Down, Home and End; or drag up and down. "
            "R: the patient's right, L left, A front, P back, H head, F feet. "
            f"{self._words(case)}{small}; HU rounded to steps of {step}, outside −200 to 300 HU to steps of {4 * step}."
        )


def show_volume(image, labels=None, spacing=None, plane="axial", window="soft tissue", opacity=0.4):
    """A scroller through the slices of a volume, with the organs in colour; it works without a
    kernel too.

    Parameters
    ----------
    image : Case in any orientation, or array (x, y, z) in HU with x to the patient's right, y front
        and z to the head
    labels : integer array (x, y, z) of organ ids on the image's grid; by default the case's own
    spacing : voxel size (x, y, z) in mm of an array; without it voxels are drawn as cubes and no mm
        are stated
    plane : 'axial', 'coronal' or 'sagittal', shown first
    window : shown first: 'soft tissue', 'liver', 'lung', 'bone', 'everything' or 'what the network
        sees'
    opacity : of the organs, 0 (image only) … 1 (organs hide the image)

    Returns
    -------
    Scroller, which a notebook shows if it is the last line of a cell

    Raises
    ------
    OrgansegError
        The image is not 3-D or not in HU, the labels are on another grid or have unknown ids, an
        option is unknown.
    """
    if isinstance(image, Case):
        if spacing is not None:
            raise OrgansegError(
                f"found spacing={spacing} beside a Case, which has its own; leave it out"
            )
        case, in_mm = image, True
    else:
        image, in_mm = np.asarray(image, np.float32), spacing is not None
        lengths = np.broadcast_to(spacing if in_mm else 1.0, 3).astype(float)
        case = Case(image, None, np.diag([*lengths, 1.0]), "volume")
    if case.image.ndim != 3 or 0 in case.image.shape:
        raise OrgansegError(
            f"found an image of shape {case.image.shape}; expected (x, y, z); take one volume of it"
        )
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != case.image.shape:
            raise OrgansegError(
                f"found labels of shape {labels.shape}; expected the image's, {case.image.shape}"
            )
        if labels.dtype.kind not in "iub" or labels.min() < 0 or labels.max() >= NUM_CLASSES:
            raise OrgansegError(
                f"found labels other than the ids 0 to {NUM_CLASSES - 1}; take argmax of probabilities"
            )
        case = replace(case, label=labels.astype(np.uint8))
    image = np.nan_to_num(case.image, nan=-1024, neginf=-1024, posinf=3000)
    if np.ptp(image) <= 2 and image.any():
        raise OrgansegError(
            f"found values from {image.min():g} to {image.max():g}; expected HU; give the image itself"
        )
    for name, given, known in (("plane", plane, PLANES), ("window", window, WINDOWS)):
        if given not in known:
            raise OrgansegError(
                f"found {name}={given!r}; expected one of {', '.join(map(repr, known))}"
            )
    if not 0 <= opacity <= 1:
        raise OrgansegError(
            f"found opacity={opacity}; expected 0 (image only) to 1 (organs hide the image)"
        )
    return Scroller(to_canonical(replace(case, image=image)), plane, window, opacity, in_mm)


def encode(image, step):
    """HU as 8-bit codes, in fine steps where the organs are: the codes, and the HU that each code
    stands for.

    The error is at most step / 2 from −200 to 300 HU and 2 step beyond, up to −1024 and 1500 HU,
    which are the ends.
    """
    fine, coarse = np.arange(-200, 300, step), 4 * step
    edges = np.concatenate(
        [np.arange(-1024, -200, coarse), fine, np.arange(300, 1500, coarse), [1500]]
    )
    hu = np.concatenate([[-1024], (edges[:-1] + edges[1:]) / 2, [1500]])
    return np.searchsorted(edges, image, side="right").astype(np.uint8), hu


def columns_of_sheet(shape):
    """How many slices a sheet has in a row, so that it is about as wide as high."""
    return max(1, round(np.sqrt(shape[2] * shape[1] / shape[0])))


def sheet(volume):
    """All axial slices in one picture, row by row from the head down; each begins right and front
    (radiological)."""
    nx, ny, nz = volume.shape
    columns = columns_of_sheet(volume.shape)
    rows = -(-nz // columns)
    slices = np.zeros((rows * columns, ny, nx), volume.dtype)
    slices[:nz] = volume[::-1, ::-1, ::-1].T
    return slices.reshape(rows, columns, ny, nx).swapaxes(1, 2).reshape(rows * ny, columns * nx)


def _made_small(case):
    """The case on a grid coarse enough, its image's sheet as PNG, the HU of the sheet's codes,
    their step."""
    for edge, step in QUALITIES:
        factors = np.maximum(np.divide(case.image.shape, edge), 1)
        small = (
            to_working(case, WorkingGrid(tuple(factors * case.spacing)))
            if factors.max() > 1
            else case
        )
        codes, hu = encode(small.image, step)
        picture = _png(sheet(codes))
        if len(picture) <= LARGEST_SHEET:
            break
    return small, picture, hu, step


def _png(pixels):
    return "data:image/png;base64," + base64.b64encode(png_bytes(Image.fromarray(pixels))).decode()


def _times(numbers):
    return " × ".join(f"{n:g}" for n in numbers)
