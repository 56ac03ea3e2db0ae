"""A slice scroller: one piece of HTML that needs no kernel and no net.

The volume travels inside the HTML as two PNG sheets of axial slices, the image and the labels;
`scroller.html` cuts the three planes and applies window and colours in the browser. So that a
notebook stays small, HU are rounded to steps, and large volumes are down-sampled first; the words
below the picture say how much.
"""

from dataclasses import replace

import numpy as np
from skimage.util import montage

from organseg.cases import Case
from organseg.errors import OrgansegError
from organseg.geometry import WorkingGrid, to_working
from organseg.organs import ORGANS
from organseg.scans import HU_WINDOW
from organseg.show.picture import Shown, fill_page, png_as_text
from organseg.show.slices import MARKS, PLANES, WINDOW, best_slice, slice_picture, with_label

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
LABEL_STEP = 32  # greys between two organs, more than a browser's colour management shifts them


def show_volume(image, labels=None, spacing=None, plane="axial", window="soft tissue", opacity=0.4):
    """A scroller through the slices of a volume, with the organs in colour; it works without a
    kernel too. A notebook shows it if this is the last line of a cell.

    * `image` : Case in any orientation, or array (x, y, z) in HU with x to the patient's right, y
      front and z to the head
    * `labels` : array (x, y, z) of organ ids on the image's grid; by default the case's own
    * `spacing` : voxel size (x, y, z) in mm of an array; without it voxels are drawn as cubes and
      no mm are stated
    * `plane` and `window`, shown first: 'axial', 'coronal' or 'sagittal'; a key of `WINDOWS`
    * `opacity` : of the organs, 0 (image only) … 1 (organs hide the image)

    OrgansegError: the image is not 3-D or not in HU, the labels are on another grid or have unknown
    ids, an option is unknown.

    >>> from organseg import make_phantom
    >>> show_volume(make_phantom(3, (32, 32, 32), (12, 12, 12)), window="liver")
    Scroller: 32 × 32 × 32 voxels of 12 × 12 × 12 mm with 7 organs
    """
    for name, given, known in (("plane", plane, PLANES), ("window", window, WINDOWS)):
        if given not in known:
            names = ", ".join(map(repr, known))
            raise OrgansegError(f"found {name}={given!r}; expected one of {names}")
    if not 0 <= opacity <= 1:
        raise OrgansegError(f"found opacity={opacity}; expected 0 (image only) to 1 (organs only)")
    in_mm = isinstance(image, Case) or spacing is not None
    case = _as_case(image, labels, spacing)
    start = {"plane": plane, "window": window, "opacity": round(100 * opacity)}
    words = _in_words(case, in_mm)
    return Shown(f"Scroller: {words}", {"text/html": _page(case, words, in_mm, start)})


def _as_case(image, labels, spacing):
    """What is to be shown, checked, on canonical axes and without NaN."""
    case = image
    if not isinstance(case, Case):
        lengths = np.broadcast_to(1.0 if spacing is None else spacing, 3)
        case = Case(np.asarray(image, np.float32), None, np.diag([*lengths, 1.0]), "volume")
    elif spacing is not None:
        raise OrgansegError(f"found spacing={spacing} and a Case, which has its own; leave it out")
    shape = case.image.shape
    if len(shape) != 3 or 0 in shape:
        raise OrgansegError(f"found an image of shape {shape}; expected (x, y, z); take one of it")
    hu = np.nan_to_num(case.image, nan=-1024, neginf=-1024, posinf=3000)
    if np.ptp(hu) <= 2 and hu.any():
        found = f"found values from {hu.min():g} to {hu.max():g}"
        raise OrgansegError(f"{found}; expected HU; give the image itself")
    return with_label(replace(case, image=hu), case.label if labels is None else labels)


def _page(case, words, in_mm, start):
    small, codes, hu, step = _made_small(case)
    label = np.zeros(small.image.shape, np.uint8) if small.label is None else small.label
    slices = {plane: best_slice(label, plane) for plane in PLANES}
    half = (np.array(label.shape) - 1) / 2
    first = (small.affine @ [*half, 1])[:3] - half * small.spacing  # mm of the first slices
    volume = start | {
        "shape": label.shape,
        "spacing": np.round(small.spacing, 4).tolist(),
        "origin": np.round(first, 2).tolist() if in_mm else None,
        "image": codes,
        "labels": None if small.label is None else png_as_text(sheet(label * LABEL_STEP)),
        "labelStep": LABEL_STEP,
        "hu": np.round(hu, 1).tolist(),
        "step": step,
        "organs": [(organ.name, organ.colour) for organ in ORGANS],
        "marks": MARKS,
        "windows": WINDOWS,
        "slices": slices,
        "words": words,
        "sent": _in_words(small, in_mm),
    }
    still = slice_picture(small, "axial", slices["axial"], start["opacity"] / 100)
    # A stand-in needs no more than 5 bits per colour.
    still = png_as_text((255 * still).astype(np.uint8) & 0xF8)
    return fill_page("scroller.html", volume, still, f"One axial slice of: {words}")


def _in_words(case, in_mm):
    lengths = [case.image.shape, np.round(case.spacing, 2)]
    shape, spacing = (" × ".join(f"{n:g}" for n in numbers) for numbers in lengths)
    words = f"{shape} voxels of {spacing} mm" if in_mm else f"{shape} voxels"
    if case.label is None:
        return words
    found = np.count_nonzero(np.unique(case.label))
    return f"{words} with {found} organ{'' if found == 1 else 's'}"


def encode(image, step):
    """HU as 8-bit codes, and the HU of each code. The error is at most step / 2 from −200 to 300,
    where the organs are, and 2 step beyond, up to −1024 and 1500 HU, which are the ends."""
    low, high = np.arange(-1024, -200, 4 * step), np.arange(300, 1500, 4 * step)
    edges = np.concatenate([low, np.arange(-200, 300, step), high, [1500]])
    hu = np.concatenate([[-1024], (edges[:-1] + edges[1:]) / 2, [1500]])
    return np.searchsorted(edges, image, side="right").astype(np.uint8), hu


def sheet(volume):
    """All axial slices in one picture about as wide as high, row by row from the head down; each
    begins right and front (radiological)."""
    nx, ny, nz = volume.shape
    columns = max(1, round(np.sqrt(nz * ny / nx)))
    return montage(volume[::-1, ::-1, ::-1].T, fill=0, grid_shape=(-(-nz // columns), columns))


def _made_small(case):
    """The case on a grid coarse enough, its image's sheet, the HU of the sheet's codes, a step."""
    for edge, step in QUALITIES:
        factors = np.maximum(np.divide(case.image.shape, edge), 1)
        grid = WorkingGrid(tuple(factors * case.spacing))
        small = to_working(case, grid) if factors.max() > 1 else case
        codes, hu = encode(small.image, step)
        picture = png_as_text(sheet(codes))
        if len(picture) <= LARGEST_SHEET:
            break
    return small, picture, hu, step
