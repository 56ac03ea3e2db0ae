"""How good is a segmentation? Dice and surface distances per organ, and the tables of Roth et al. 2018.

Scores follow one convention (`CONVENTION`), printed under every table, because published numbers differ by it:
what does an empty organ score, and what an organ that nobody drew?
"""

from dataclasses import dataclass

import numpy as np
import pandas
from scipy import ndimage

from organseg.cases import whole_file
from organseg.errors import OrgansegError
from organseg.organs import ORGAN_IDS, ORGAN_NAMES, ORGANS

CONVENTION = (
    "Convention: an organ absent from truth and prediction is not counted; absent from the truth but predicted,\n"
    "or missed altogether, it scores Dice 0 and its surface measures are not counted; an organ that was not\n"
    "annotated is never scored. n: the cases counted."
)
NOTES = (
    "Total Avg.: the mean of the organ rows, column by column. Over patients: the statistics of each patient's\n"
    "mean over the organs counted. Std.: of the sample (n − 1)."
)
MEASURES = {  # column of the scores: title in the table, factor for printing
    "dice": ("Dice (%)", 100),
    "hausdorff_mm": ("Hausdorff (mm)", 1),
    "hausdorff95_mm": ("Hausdorff 95 % (mm)", 1),
    "assd_mm": ("ASSD (mm)", 1),
    "surface_dice": ("Surface Dice (%)", 100),
}
STATISTICS = {"Avg.": "mean", "Std.": "std", "Min.": "min", "Max.": "max", "n": "count"}  # columns of the tables


def dice(truth, prediction):
    """Overlap of two masks: ``Dice = 2 |A ∩ B| / (|A| + |B|)``, the score of Tables 1 and 2.

    Parameters
    ----------
    truth, prediction : boolean arrays of one shape

    Returns
    -------
    float in 0…1; NaN when both masks are empty, 0 when only one is
    """
    truth, prediction = _masks(truth, prediction)
    size = np.count_nonzero(truth) + np.count_nonzero(prediction)
    return 2 * np.count_nonzero(truth & prediction) / size if size else float("nan")


@dataclass(frozen=True)
class SurfaceDistances:
    """For every border voxel of one mask, how far the other's border is; NaN throughout when either mask is empty.

    Attributes
    ----------
    from_truth : float array, one distance in mm per border voxel of the truth, to the border of the prediction
    from_prediction : float array, the same in the other direction
    """

    from_truth: np.ndarray
    from_prediction: np.ndarray

    @property
    def hausdorff(self):
        """The largest distance in either direction, in mm: one stray voxel decides it."""
        return self._worse_direction(100)

    @property
    def hausdorff95(self):
        """The larger of the two directed 95th percentiles, in mm: forgives 5 % of each border."""
        return self._worse_direction(95)

    @property
    def assd(self):
        """Average symmetric surface distance, in mm: the mean over the voxels of both borders."""
        return float(self._both().mean()) if self else float("nan")

    def surface_dice(self, tolerance=2.0):
        """The share (0…1) of both borders that lies within `tolerance` mm of the other border."""
        return float((self._both() <= tolerance).mean()) if self else float("nan")

    def __bool__(self):
        return self.from_truth.size > 0 and self.from_prediction.size > 0

    def _both(self):
        return np.concatenate([self.from_truth, self.from_prediction])

    def _worse_direction(self, percent):
        directed = (self.from_truth, self.from_prediction)
        return float(max(np.percentile(d, percent) for d in directed)) if self else float("nan")


def surface_distances(truth, prediction, spacing):
    """Distances between the borders of two masks, from which Hausdorff, ASSD and surface Dice follow.

    A border voxel is one that a 6-connected erosion removes; beyond the array there is background, so an organ
    that the scan cuts has a border there. Tools that weigh border elements by their area give other numbers.

    Parameters
    ----------
    truth, prediction : boolean arrays (x, y, z)
    spacing : voxel size along the three axes, in mm

    Returns
    -------
    SurfaceDistances
    """
    truth, prediction = _masks(truth, prediction)
    spacing = np.asarray(spacing, dtype=float)
    if spacing.shape != (truth.ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise OrgansegError(
            f"found spacing {spacing.tolist()}; expected {truth.ndim} positive lengths in mm; correct it"
        )
    if not (truth.any() and prediction.any()):
        return SurfaceDistances(np.empty(0), np.empty(0))
    # Both borders lie in this box, so a small organ of a big scan costs little and the numbers stay the same.
    box = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth[box], prediction[box])]
    return SurfaceDistances(_distances(*borders, spacing), _distances(*borders[::-1], spacing))


def _distances(start, goal, spacing):
    # The transform also tells *which* goal voxel is nearest; measuring only from `start` saves half of the memory.
    nearest = ndimage.distance_transform_edt(~goal, sampling=spacing, return_distances=False, return_indices=True)
    steps = nearest[:, start] - np.argwhere(start).T  # (axis, border voxel)
    return np.linalg.norm(steps * spacing[:, None], axis=0)


def score_case(truth, prediction, spacing, annotated=ORGAN_IDS, name="", tolerance=2.0):
    """All scores of one case, a row per annotated organ.

    Parameters
    ----------
    truth, prediction : integer arrays (x, y, z) of organ ids, on one grid
    spacing : voxel size along the three axes, in mm
    annotated : ids of the organs that the truth was drawn for; no other organ gets a row
    name : str, the case
    tolerance : float, of the surface Dice, in mm

    Returns
    -------
    pandas.DataFrame with the columns case, organ, those of `MEASURES` (Dice in 0…1, NaN: not counted) and tolerance_mm
    """
    rows = []
    for organ in ORGANS:
        if organ.id not in annotated:
            continue
        masks = np.asarray(truth) == organ.id, np.asarray(prediction) == organ.id
        apart = surface_distances(*masks, spacing)
        measured = dice(*masks), apart.hausdorff, apart.hausdorff95, apart.assd, apart.surface_dice(tolerance)
        rows.append((name, organ.name, *measured, tolerance))
    return pandas.DataFrame(rows, columns=["case", "organ", *MEASURES, "tolerance_mm"])


def save_scores(scores, path):
    """Write the rows of `score_case` (of many cases: `pandas.concat`) as CSV; the file appears whole or not at all."""
    with whole_file(path) as aside:
        scores.to_csv(aside, index=False)


@dataclass(frozen=True, repr=False)
class OrganTable:
    """A table in the layout of the paper's Tables 1 and 2: `print` it, or let a notebook show it.

    Attributes
    ----------
    organs : pandas.DataFrame, a row per organ: Avg., Std., Min., Max. (Dice in 0…1, distances in mm) and n
    total : pandas.Series, the "Total Avg." row, see `total_average`
    patients : pandas.Series, the same statistics over patients, each counted with the mean of his or her organs
    measure : str, the column of the scores
    """

    organs: pandas.DataFrame
    total: pandas.Series
    patients: pandas.Series
    measure: str = "dice"

    def __str__(self):
        title, factor = MEASURES[self.measure]
        lines = [_line(title, STATISTICS)]
        lines += [_line(name, _numbers(row, factor)) for name, row in self.organs.iterrows()]
        lines += [_line("Total Avg.", _numbers(self.total, factor)), ""]
        lines += [_line("Over patients", _numbers(self.patients, factor)), ""]
        return "\n".join([*lines, NOTES, CONVENTION])

    def __repr__(self):
        return f"OrganTable: {MEASURES[self.measure][0]}, {len(self.organs)} organs"

    def _repr_html_(self):
        title, factor = MEASURES[self.measure]
        rows = [*self.organs.iterrows(), ("Total Avg.", self.total), ("Over patients", self.patients)]
        body = "".join(_html_row(name, _numbers(row, factor)) for name, row in rows)
        head = "".join(f'<th scope="col">{cell}</th>' for cell in (title, *STATISTICS))
        words = " ".join(f"{NOTES} {CONVENTION}".split())
        return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{words}</p>'


def organ_table(scores, measure="dice"):
    """The paper's table of one measure: average, standard deviation, minimum, maximum and n of each organ.

    The paper does not say which standard deviation it prints; this is the sample's (n − 1), and a single case has none.

    Parameters
    ----------
    scores : pandas.DataFrame, the rows of `score_case` of any number of cases
    measure : one of `MEASURES`

    Returns
    -------
    OrganTable
    """
    if measure not in MEASURES:
        raise OrgansegError(f"found measure {measure!r}; expected one of {', '.join(MEASURES)}; choose one")
    organs = scores.groupby("organ")[measure].agg(**STATISTICS).reindex(ORGAN_NAMES).fillna({"n": 0})
    patients = scores.groupby("case")[measure].mean().agg(list(STATISTICS.values())).set_axis(list(STATISTICS))
    return OrganTable(organs, total_average(organs), patients, measure)


def total_average(organs):
    """The "Total Avg." row of Tables 1 and 2: the unweighted mean of the organ rows, column by column.

    It is no statistic over patients: its "Min." is the mean of the organs' minima. Organs without number are left out.
    """
    return organs.drop(columns="n", errors="ignore").mean()


def _line(label, cells):
    return f"{label:<20}" + "".join(f"{cell:>7}" for cell in cells)


def _html_row(label, cells):
    cells = [*cells, *[""] * (len(STATISTICS) - len(cells))]  # the total has no n
    numbers = "".join(f'<td class="score">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{label}</th>{numbers}</tr>'


def _numbers(row, factor):
    numbers = ["–" if np.isnan(value) else f"{value * factor:.1f}" for value in row.drop("n", errors="ignore")]
    return numbers + [f"{row['n']:.0f}"] if "n" in row else numbers


def _masks(truth, prediction):
    truth, prediction = np.asarray(truth, dtype=bool), np.asarray(prediction, dtype=bool)
    if truth.shape != prediction.shape:
        raise OrgansegError(
            f"found truth {truth.shape} and prediction {prediction.shape}; expected one grid; resample the prediction"
        )
    return truth, prediction
