"""Pictures of a case: axial, coronal and sagittal slices with the organs in colour, and contact
sheets.

Every picture is in radiological view, as in Fig. 5 of Roth et al. 2018: the patient's right is on
the left of axial and coronal pictures, the front is on the left of sagittal ones, the head is up.
Figures are made without pyplot, so they work without a display and leave nothing open behind them.
"""

import io
from dataclasses import replace

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageOps

from organseg.errors import OrgansegError
from organseg.files import whole_file
from organseg.geometry import to_canonical
from organseg.organs import ORGAN_IDS, ORGANS

WINDOW = (-160, 240)  # HU, black to white: soft tissue
PLANES = {
    "axial": 2,
    "coronal": 1,
    "sagittal": 0,
}  # the axis that each plane cuts, x, y, z being 0, 1, 2
MARKS = (
    "RL",
    "AP",
    "HF",
)  # ends of the axes x, y, z, the growing one first: right, left; front, back; head, feet
COLOURS = np.array([(0, 0, 0), *(to_rgb(organ.colour) for organ in ORGANS)])
MOST_ELONGATED = (
    8  # a thin slab is stretched until its longest edge is only so many times its shortest
)


def drawn(figure, dpi):
    """A matplotlib figure as a PIL picture in RGB."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return Image.open(file).convert("RGB")


def png_bytes(picture):
    """A PIL picture as the content of a PNG file, compressed as well as PIL can."""
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


class Picture(Figure):
    """A matplotlib figure on black that a notebook shows without pyplot."""

    def __init__(self, width, height):
        super().__init__(figsize=(width, height), facecolor="black")

    def _repr_png_(self):
        # 6 bits per colour halve the file and are not seen; a palette of 256 colours would merge
        # organs.
        return png_bytes(ImageOps.posterize(drawn(self, dpi=100), 6))

    def save(self, path):
        """Write the picture as PNG; the file appears whole or not at all."""
        with whole_file(path) as aside:
            aside.write_bytes(self._repr_png_())

    def add_slice(self, rgb, left, top, width, height):
        """Show an RGB picture (rows, columns, 3) in a box given in inches from the upper left
        corner."""
        across, down = self.get_size_inches()
        axes = self.add_axes(
            (left / across, 1 - (top + height) / down, width / across, height / down)
        )
        # The box has the proportions in mm, so "auto" gives voxels their true aspect.
        axes.imshow(rgb, aspect="auto")
        axes.set_axis_off()

    def write(self, left, top, words, size=8, color="white", **options):
        """Write words at a place given in inches from the upper left corner."""
        across, down = self.get_size_inches()
        self.text(left / across, 1 - top / down, words, fontsize=size, color=color, **options)


def best_slice(label, plane):
    """The index of the slice that shows most kinds of organs; of equals, that with the largest
    shares of them.

    Parameters
    ----------
    label : integer array (x, y, z) of organ ids
    plane : 'axial', 'coronal' or 'sagittal'

    Returns
    -------
    int, the middle slice where there is no organ
    """
    if not label.any():
        return label.shape[PLANES[plane]] // 2
    areas = np.stack(
        [np.count_nonzero(label == organ, axis=tuple(_edges(plane))) for organ in ORGAN_IDS]
    )
    shares = areas / np.maximum(areas.max(axis=1, keepdims=True), 1)  # (organ, slice)
    # The shares sum to at most the number of organs, so they decide only between slices with as
    # many kinds.
    return int(np.argmax((areas > 0).sum(axis=0) + shares.sum(axis=0) / (len(ORGAN_IDS) + 1)))


def _edges(plane):
    return [
        axis for axis in range(3) if axis != PLANES[plane]
    ]  # the axes across and down a picture


def slice_picture(case, plane, index, opacity=0.5):
    """One slice as a colour picture, organs over the windowed image.

    Parameters
    ----------
    case : Case in canonical view; organs are drawn from its label, if it has one
    plane : 'axial', 'coronal' or 'sagittal'
    index : int, along the axis that the plane cuts
    opacity : 0 (image only) … 1 (organs hide the image)

    Returns
    -------
    float array (rows, columns, 3) in 0…1; the first row is the front or the head, the first column
    right or front
    """
    low, high = WINDOW
    image = _upright(case.image, plane, index)
    grey = (np.nan_to_num(np.clip(image, low, high), nan=low) - low) / (high - low)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    if case.label is not None:
        organs = _upright(case.label, plane, index)
        drawn = organs > 0
        rgb[drawn] = (1 - opacity) * rgb[drawn] + opacity * COLOURS[organs[drawn]]
    return rgb


def _upright(volume, plane, index):
    # Both remaining axes grow to the right, front or head; pictures start with those ends.
    return volume.take(index, axis=PLANES[plane])[::-1, ::-1].T


def shown_size(case):
    """Edge lengths (x, y, z) in mm at which a volume is drawn: its own, but a thin slab stretched
    to be readable."""
    edges = np.multiply(case.image.shape, case.spacing)
    return np.maximum(edges, edges.max() / MOST_ELONGATED)


def overlay_figure(case, prediction=None, opacity=0.5):
    """Truth and prediction side by side on an axial, a coronal and a sagittal slice, drawn to one
    scale.

    The slices are those where the truth (without one: the prediction) shows most kinds of organs,
    else the middle ones.

    Parameters
    ----------
    case : Case, in any orientation; the truth is its label, if it has one
    prediction : integer array (x, y, z) of organ ids on the case's grid, or None
    opacity : 0 (image only) … 1 (organs hide the image)

    Returns
    -------
    Picture, a matplotlib Figure
    """
    if prediction is not None and np.shape(prediction) != case.image.shape:
        found = f"{case.name}: found a prediction of shape {np.shape(prediction)}"
        raise OrgansegError(
            f"{found}; expected that of the image, {case.image.shape}; resample it to the case's grid"
        )
    columns = {}
    if case.label is not None:
        columns["truth" + _not_annotated(case)] = to_canonical(case)
    if prediction is not None:
        columns["prediction"] = to_canonical(
            replace(case, label=np.asarray(prediction).astype(np.uint8))
        )
    return _draw_overlay(case.name, columns or {"image": to_canonical(case)}, opacity)


def save_overlay(case, prediction, path, opacity=0.5):
    """Write `overlay_figure` as PNG; the file appears whole or not at all."""
    overlay_figure(case, prediction, opacity).save(path)


def _not_annotated(case):
    missing = [organ.name for organ in ORGANS if organ.id not in case.annotated]
    if len(missing) <= 3:
        return f" (not annotated: {', '.join(missing)})" if missing else ""
    drawn = [organ.name for organ in ORGANS if organ.id in case.annotated]
    return f" (only {', '.join(drawn)} annotated)" if drawn else " (nothing annotated)"


def _draw_overlay(name, columns, opacity, column=3.3, tallest=4.2, side=0.35):
    # All lengths are in inches; every word has its own strip above, below or beside the slices.
    views = list(columns.values())
    size = shown_size(views[0])
    size_inches = size * min(column / size[:2].max(), tallest / size[1:].max())
    stretched = size / np.multiply(views[0].image.shape, views[0].spacing)
    labels = [view.label for view in views if view.label is not None]
    guide = next(
        (label for label in labels if label.any()), np.zeros(views[0].image.shape, np.uint8)
    )
    heights = sum(size_inches[_edges(plane)[1]] + 0.62 for plane in PLANES)
    figure = Picture(len(views) * (column + 2 * side), 0.72 + heights + 0.75)
    centres = [(column + 2 * side) * (number + 0.5) for number in range(len(views))]
    figure.write(np.mean(centres), 0.3, name[:45], size=10, ha="center")
    for title, centre in zip(columns, centres, strict=True):
        figure.write(centre, 0.58, title, size=9, ha="center")
    top = 0.72
    for plane, axis in PLANES.items():
        index = best_slice(guide, plane)
        notes = [
            f", {'xyz'[edge]} stretched ×{stretched[edge]:.2g}"
            for edge in _edges(plane)
            if stretched[edge] > 1.01
        ]
        words = f"{plane}, slice {index + 1} of {guide.shape[axis]}{''.join(notes)}"
        figure.write(0.1, top + 0.12, words, color="silver")
        across, down = size_inches[_edges(plane)]
        for view, centre in zip(views, centres, strict=True):
            place = centre - across / 2, top + 0.36, across, down
            figure.add_slice(slice_picture(view, plane, index, opacity), *place)
            _write_marks(figure, plane, *place)
        top += down + 0.62
    _write_legend(figure, organs=bool(labels))
    return figure


def _write_marks(figure, plane, left, top, across, down):
    (first, last), (above, below) = [MARKS[axis] for axis in _edges(plane)]
    figure.write(left - 0.12, top + down / 2, first, ha="center", va="center")
    figure.write(left + across + 0.12, top + down / 2, last, ha="center", va="center")
    figure.write(left + across / 2, top - 0.05, above, ha="center")
    figure.write(left + across / 2, top + down + 0.05, below, ha="center", va="top")


def _write_legend(figure, organs=True):
    across, down = figure.get_size_inches()
    if organs:
        patches = [Patch(color=organ.colour, label=organ.name) for organ in ORGANS]
        place = {
            "loc": "lower center",
            "bbox_to_anchor": (0.5, 0.22 / down),
            "ncols": 7 if across > 7 else 4,
        }
        figure.legend(
            handles=patches,
            **place,
            fontsize=8,
            frameon=False,
            labelcolor="white",
            handlelength=1.2,
        )
    low, high = (f"{hu}".replace("-", "−") for hu in WINDOW)
    words = f"R: the patient's right; black to white: {low} to {high} HU"
    figure.write(across / 2, down - 0.12, words, 7, color="silver", ha="center")


def crop_to_body(case, level=-300):
    """The part of a case where at least 1 % of each slice is denser than `level` HU; all of it if
    nothing is."""
    dense = np.nan_to_num(case.image, nan=-1024) > level
    box = []
    for plane in ("sagittal", "coronal", "axial"):  # they cut x, y, z
        inside = np.flatnonzero(dense.mean(axis=tuple(_edges(plane))) >= 0.01)
        box.append(slice(inside[0], inside[-1] + 1) if inside.size else slice(None))
    label = None if case.label is None else case.label[tuple(box)]
    start = [part.start or 0 for part in box]
    affine = case.affine.copy()
    affine[:3, 3] += case.affine[:3, :3] @ start
    return replace(case, image=case.image[tuple(box)], label=label, affine=affine, levels=None)


def contact_sheet(groups, path, opacity=0.4, cell=1.6):
    """Write a PNG with a row of five slices per case: axial at 25, 50 and 75 % of the body,
    coronal, sagittal.

    Parameters
    ----------
    groups : dict, a title (such as "phantoms", "real") to the cases below it; the groups stand side
        by side. Generators will do: each case is read, drawn and let go.
    path : where to write; the file appears whole or not at all
    opacity : 0 (image only) … 1 (organs hide the image)
    cell : edge of a slice's place, in inches (100 pixels)
    """
    rows = {
        title: [(case.name, _sheet_row(case, opacity)) for case in cases]
        for title, cases in groups.items()
    }
    rows = {title: group for title, group in rows.items() if group}
    if not rows:
        raise OrgansegError(
            "found no case for the contact sheet; expected at least one; name a folder that has cases"
        )
    header, gap = 0.25, 0.2
    block, tallest = 5 * cell + gap, max(map(len, rows.values())) * (cell + header)
    figure = Picture(len(rows) * block + gap, 0.65 + tallest + 0.6)
    for number, (title, group) in enumerate(rows.items()):
        left = gap + number * block
        figure.write(left, 0.3, title[:50], size=11)
        for place, head in enumerate(
            ("axial, 25 % of the body", "axial, 50 %", "axial, 75 %", "coronal", "sagittal")
        ):
            figure.write(left + place * cell, 0.55, head, 7, color="silver")
        for row, (name, pictures) in enumerate(group):
            top = 0.65 + row * (cell + header)
            figure.write(left, top + 0.18, name[:70])
            for place, (rgb, size) in enumerate(pictures):
                across, down = size * (cell - 0.06) / max(size)
                figure.add_slice(rgb, left + place * cell, top + header, across, down)
    _write_legend(figure)
    figure.save(path)


def _sheet_row(case, opacity):
    view = crop_to_body(to_canonical(case))
    label = np.zeros(view.image.shape, np.uint8) if view.label is None else view.label
    slices, size = view.image.shape[2], shown_size(view)
    cuts = [("axial", int(slices * share)) for share in (0.25, 0.5, 0.75)]
    cuts += [(plane, best_slice(label, plane)) for plane in ("coronal", "sagittal")]
    return [
        (slice_picture(view, plane, index, opacity), size[_edges(plane)]) for plane, index in cuts
    ]
