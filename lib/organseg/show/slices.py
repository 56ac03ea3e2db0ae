"""Pictures of a case: axial, coronal and sagittal slices with the organs in colour.

Every picture is in radiological view, as in Fig. 5 of Roth et al. 2018: the patient's right is on
the left of axial and coronal pictures, the front is on the left of sagittal ones, the head is up.
"""

from dataclasses import replace

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from organseg.cases import organ_ids
from organseg.errors import OrgansegError
from organseg.geometry import to_canonical
from organseg.organs import ORGAN_IDS, ORGANS
from organseg.show.picture import Picture

WINDOW = (-160, 240)  # HU, black to white: soft tissue
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that a plane cuts, of x, y, z
EDGES = {"axial": [0, 1], "coronal": [0, 2], "sagittal": [1, 2]}  # those across and down a picture
MARKS = ("RL", "AP", "HF")  # ends of x, y, z, the growing one first: right, front (A) and head
COLOURS = np.array([(0, 0, 0), *(to_rgb(organ.colour) for organ in ORGANS)])
MOST_ELONGATED = 8  # a thin slab is drawn thicker, until its longest edge is 8 times its shortest


def best_slice(label, plane):
    """The index of the slice of a label image (x, y, z) that shows most kinds of organs; of equals,
    that with the largest shares of them; the middle one where there is no organ."""
    if not label.any():
        return label.shape[PLANES[plane]] // 2
    edges = tuple(EDGES[plane])
    areas = np.stack([np.count_nonzero(label == organ, axis=edges) for organ in ORGAN_IDS])
    shares = areas / np.maximum(areas.max(axis=1, keepdims=True), 1)  # (organ, slice)
    # The shares sum to at most the number of organs: they decide between equal numbers of kinds.
    return int(np.argmax((areas > 0).sum(axis=0) + shares.sum(axis=0) / (len(ORGAN_IDS) + 1)))


def slice_picture(case, plane, index, opacity=0.5):
    """One slice as a colour picture, organs over the windowed image: float array (rows, columns, 3)
    in 0…1; the first row is the front or the head, the first column right or front.

    `case` is in canonical view; organs are drawn from its label, if it has one. `plane` is 'axial',
    'coronal' or 'sagittal', `index` counts along the axis that it cuts, and `opacity` goes from 0
    (image only) to 1 (organs hide the image).

    >>> from organseg import make_phantom
    >>> slice_picture(make_phantom(3, (48, 40, 32)), "coronal", 20).shape
    (32, 48, 3)
    """
    # All axes grow to the right, front or head; pictures start with those ends.
    image, organs = (
        None if volume is None else volume.take(index, axis=PLANES[plane])[::-1, ::-1].T
        for volume in (case.image, case.label)
    )
    low, high = WINDOW
    grey = (np.nan_to_num(np.clip(image, low, high), nan=low) - low) / (high - low)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    if organs is not None:
        here = organs > 0
        rgb[here] = (1 - opacity) * rgb[here] + opacity * COLOURS[organs[here]]
    return rgb


def truth_and_prediction(case, prediction):
    """A dict of the case on canonical axes: 'truth' with its own label, if it has one, and
    'prediction' with the predicted one, if there is one."""
    views = {} if case.label is None else {"truth": to_canonical(case)}
    if prediction is not None:
        views["prediction"] = with_label(case, prediction)
    return views


def with_label(case, label):
    """The case on canonical axes with another label, which must lie on its grid, or with None."""
    if label is not None:
        if np.shape(label) != case.image.shape:
            found = f"{case.name}: found labels of shape {np.shape(label)}"
            expected = f"expected that of the image, {case.image.shape}"
            raise OrgansegError(f"{found}; {expected}; resample them to the case's grid")
        label = organ_ids(np.asarray(label), case.name)
    return to_canonical(replace(case, label=label))


def overlay_figure(case, prediction=None, opacity=0.5, truth="truth"):
    """Truth and prediction side by side on an axial, a coronal and a sagittal slice, to one scale,
    as a `Picture` (a matplotlib Figure). The slices are those where the truth (without one: the
    prediction) shows most kinds of organs.

    `case` may have any orientation; the truth is its label, if it has one. `prediction` is an array
    (x, y, z) of organ ids on the case's grid, or None. `opacity` goes from 0 (image only) to 1
    (organs hide the image). `truth` is the title of the case's label, e.g. "reference".

    >>> from organseg import make_phantom
    >>> overlay_figure(make_phantom(3, (32, 32, 32), (12, 12, 12)))
    <Picture size 400x1323 with 3 Axes>
    """
    views = truth_and_prediction(case, prediction) or {"image": to_canonical(case)}
    first = next(iter(views.values()))
    labels = [view.label for view in views.values() if view.label is not None and view.label.any()]
    guide = labels[0] if labels else np.zeros(first.image.shape, np.uint8)
    true_size = np.multiply(first.image.shape, first.spacing)
    size = np.maximum(true_size, true_size.max() / MOST_ELONGATED)
    stretched = size / true_size
    inches = size * min(3.3 / size[:2].max(), 4.2 / size[1:].max())
    heights = sum(inches[EDGES[plane][1]] + 0.62 for plane in PLANES)
    figure = Picture(4 * len(views), 0.72 + heights + 0.75)
    figure.write(2 * len(views), 0.25, case.name[:45], 10, ha="center")
    for number, title in enumerate(views):
        words = truth + _not_annotated(case) if title == "truth" else title
        figure.write(4 * number + 2, 0.53, words, 9, ha="center")
    top = 0.72
    for plane, axis in PLANES.items():
        index, edges = best_slice(guide, plane), EDGES[plane]
        words = [f"{plane}, slice {index + 1} of {guide.shape[axis]}"]
        words += [f"{'xyz'[e]} stretched ×{stretched[e]:.2g}" for e in edges if stretched[e] > 1.01]
        figure.write(0.1, top + 0.08, ", ".join(words), color="silver")
        (left, right), (above, below) = [MARKS[edge] for edge in edges]
        across, down = inches[edges]
        for number, view in enumerate(views.values()):
            x, y = 4 * number + 2, top + 0.36 + down / 2  # the middle of the slice
            rgb = slice_picture(view, plane, index, opacity)
            figure.add_slice(rgb, x, y, across, down)
            figure.write(x - across / 2 - 0.12, y, left, ha="center")
            figure.write(x + across / 2 + 0.12, y, right, ha="center")
            figure.write(x, y - down / 2 - 0.1, above, ha="center")
            figure.write(x, y + down / 2 + 0.1, below, ha="center")
        top += down + 0.62
    _write_legend(figure, organs="image" not in views)
    return figure


def _not_annotated(case):
    missing = [organ.name for organ in ORGANS if organ.id not in case.annotated]
    known = [organ.name for organ in ORGANS if organ.id in case.annotated]
    if len(missing) <= 3:
        return f" (not annotated: {', '.join(missing)})" if missing else ""
    return f" (only {', '.join(known)} annotated)" if known else " (nothing annotated)"


def _write_legend(figure, organs=True):
    across, down = figure.get_size_inches()
    if organs:
        patches = [Patch(color=organ.colour, label=organ.name) for organ in ORGANS]
        style = {"fontsize": 8, "frameon": False, "labelcolor": "white", "handlelength": 1.2}
        style |= {"loc": "lower center", "bbox_to_anchor": (0.5, 0.22 / down)}
        figure.legend(handles=patches, ncols=7 if across > 7 else 4, **style)
    low, high = (f"{hu}".replace("-", "−") for hu in WINDOW)
    words = f"R: the patient's right; black to white: {low} to {high} HU"
    figure.write(across / 2, down - 0.15, words, 7, "silver", ha="center")


def save_overlay(case, prediction, path, opacity=0.5):
    """Write `overlay_figure` as PNG; the file appears whole or not at all.

    >>> import tempfile, organseg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     organseg.save_overlay(organseg.make_phantom(3, (32, 32, 32)), None, f"{folder}/3.png")
    """
    overlay_figure(case, prediction, opacity).save(path)
