"""The gallery of failures of chapter 12: a sound training and eight broken ones, stored by
benchmarks/broken_runs.py, each with what the network was given and what came out."""

from dataclasses import dataclass, fields

import numpy as np

from organseg.errors import OrgansegError
from organseg.organs import ORGANS
from organseg.runs import WEIGHTS

GALLERY = WEIGHTS / "broken_runs.npz"


@dataclass(frozen=True)
class GalleryRun:
    """What a training left behind: curves over its validations, scores, and axial slices (x, y)."""

    steps: np.ndarray  #: (validation,), when the run was validated
    loss: np.ndarray  #: (validation,), mean over the training crops since the last validation
    validation_loss: np.ndarray  #: (validation,), the Dice loss of the validation patients
    validation_dice: np.ndarray  #: (validation,), their mean over the organs, on the working grid
    new_dice: np.ndarray  #: (7,), of each organ of six new patients, on their files' grids, or NaN
    crops_by_batch: float  #: mean Dice of new patients' crops, by the batch's own statistics
    crops_by_average: float  #: the same by the moving averages of batch normalisation
    right: float  #: the share of all voxels of the new patients that got the right class
    largest: float  #: the largest probability that the network gave to any class of any voxel
    given_image: np.ndarray  #: a training patient as the network was given it, window units
    given_label: np.ndarray  #: the labels that the network was given with it
    new_image: np.ndarray  #: a new patient, window units
    new_label: np.ndarray  #: the truth about the new patient
    prediction: np.ndarray  #: the labels of the new patient as written


def gallery_run(name):
    """A stored run: 'sound', or one of the broken ones, 'A' to 'H'.

    >>> run = gallery_run("sound")
    >>> print(f"mean Dice after {run.steps[-1]:.0f} steps: {run.validation_dice[-1]:.1f}")
    mean Dice after 400 steps: 0.7
    """
    with np.load(GALLERY) as stored:
        names = sorted({key.split(".")[0] for key in stored.files})
        if name not in names:
            raise OrgansegError(f"found {name!r}; expected one of {', '.join(names)}")
        values = [stored[f"{name}.{field.name}"] for field in fields(GalleryRun)]
    return GalleryRun(*(value if value.ndim else float(value) for value in values))


def draw_gallery_run(run, title=""):
    """The curves and the pictures of a run, as a matplotlib Figure.

    >>> draw_gallery_run(gallery_run("A"), "run A").get_suptitle()
    'run A'
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subfigures(2, 1)
    losses, scores = above.subplots(1, 2)
    losses.plot(run.steps, run.loss, ".-", color="0.3", label="training crops")
    losses.set(xlabel="step", title="loss", ylim=(-1.02, 0.02))
    scores.set(xlabel="step", title="mean Dice over the organs", ylim=(-0.02, 1))
    for panel, curve in ((losses, run.validation_loss), (scores, run.validation_dice)):
        panel.plot(run.steps, curve, ".-", color="#d55e00", label="validation patients")
    on_files = {"color": "#0072b2", "label": "new patients, their files"}
    scores.plot(run.steps[-1], np.nanmean(run.new_dice), "D", **on_files)
    losses.legend(fontsize=8)
    scores.legend(fontsize=8, loc="upper left")
    colours = ListedColormap([organ.colour for organ in ORGANS])
    shown = {
        "training image, as given": (run.given_image, None),
        "its labels, as given": (run.given_image, run.given_label),
        "new patient, truth": (run.new_image, run.new_label),
        "new patient, file written": (run.new_image, run.prediction),
    }
    for panel, (name, (image, label)) in zip(below.subplots(1, 4), shown.items(), strict=True):
        panel.imshow(image[::-1, ::-1].T, cmap="gray", vmin=0, vmax=255)
        if label is not None:
            label = np.ma.masked_equal(label[::-1, ::-1].T, 0)
            panel.imshow(label, cmap=colours, vmin=1, vmax=7, alpha=0.6, interpolation="nearest")
        panel.set_title(name, fontsize=10)
        panel.set(xlim=(5.5, 57.5), ylim=(53.5, 9.5))  # the body; the rest is air
        panel.set_axis_off()
    return figure
