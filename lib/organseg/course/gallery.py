"""The gallery of failures of chapter 12: a sound training and eight broken ones, stored by
benchmarks/broken_runs.py.

Each has its curves, its scores, and one picture of what the network was given and what came out.
"""

from dataclasses import dataclass, fields

import numpy as np

from organseg.organs import ORGANS
from organseg.runs import PRETRAINED

GALLERY = PRETRAINED / "broken_runs.npz"


@dataclass(frozen=True)
class GalleryRun:
    """What a training left behind.

    Attributes
    ----------
    steps : int (validation,), when the run was validated
    loss, validation_loss : float (validation,), mean loss of the training crops since the last
        validation, and the Dice loss of the validation patients
    validation_dice : float (validation,), mean Dice over the organs of the validation patients, on
        the working grid
    new_dice : float (7,), Dice of each organ of six new patients, on the files' own grids; NaN
        where nobody has it
    crops_by_batch, crops_by_average : float, mean Dice of crops of new patients, where batch
        normalisation uses the batch's own statistics, as in training, and where it uses its moving
        averages, as at inference
    right : float, the share of all voxels of the new patients that got the right class
    largest : float, the largest probability that the network gave to any class of any voxel
    given_image, given_label : (x, y), an axial slice of a training patient as the network was given
        it, window units
    new_image, new_label, prediction : (x, y), an axial slice of a new patient, the truth, and the
        labels as written
    """

    steps: np.ndarray
    loss: np.ndarray
    validation_loss: np.ndarray
    validation_dice: np.ndarray
    new_dice: np.ndarray
    crops_by_batch: float
    crops_by_average: float
    right: float
    largest: float
    given_image: np.ndarray
    given_label: np.ndarray
    new_image: np.ndarray
    new_label: np.ndarray
    prediction: np.ndarray


def gallery_run(name):
    """A stored run: 'sound', or one of the broken ones, 'A' to 'H'."""
    with np.load(GALLERY) as stored:
        names = sorted({key.split(".")[0] for key in stored.files})
        if name not in names:
            raise ValueError(f"found {name!r}; expected one of {', '.join(names)}")
        values = {field.name: stored[f"{name}.{field.name}"] for field in fields(GalleryRun)}
    return GalleryRun(
        **{key: value if value.ndim else float(value) for key, value in values.items()}
    )


def draw_gallery_run(run, title=""):
    """The curves and the picture of a run; returns a matplotlib Figure."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1))
    losses, scores = above.subplots(1, 2)
    losses.plot(run.steps, run.loss, ".-", color="0.3", label="training crops")
    losses.plot(run.steps, run.validation_loss, ".-", color="#d55e00", label="validation patients")
    losses.set(xlabel="step", title="loss", ylim=(-1.02, 0.02))
    losses.legend(fontsize=8)
    scores.plot(run.steps, run.validation_dice, ".-", color="#d55e00", label="validation patients")
    scores.plot(
        run.steps[-1],
        np.nanmean(run.new_dice),
        "D",
        color="#0072b2",
        label="new patients, their files",
    )
    scores.set(xlabel="step", title="mean Dice over the organs", ylim=(-0.02, 1))
    scores.legend(fontsize=8, loc="upper left")
    colours = ListedColormap([organ.colour for organ in ORGANS])
    panels = below.subplots(1, 4)
    shown = {
        "training image, as given": (run.given_image, None),
        "its labels, as given": (run.given_image, run.given_label),
        "new patient, truth": (run.new_image, run.new_label),
        "new patient, file written": (run.new_image, run.prediction),
    }
    for panel, (name, (image, label)) in zip(panels, shown.items(), strict=True):
        panel.imshow(image[::-1, ::-1].T, cmap="gray", vmin=0, vmax=255)
        if label is not None:
            coloured = np.ma.masked_equal(label[::-1, ::-1].T, 0)
            panel.imshow(coloured, cmap=colours, vmin=1, vmax=7, alpha=0.6, interpolation="nearest")
        panel.set_title(name, fontsize=10)
        panel.set(xlim=(5.5, 57.5), ylim=(53.5, 9.5))  # the body; the rest is air
        panel.set_axis_off()
    return figure
