"""How good is a segmentation? Dice and surface distances, organ by organ.

Scores follow one convention (`tables.CONVENTION`): what does an empty organ score, and what one
that nobody drew?
"""

from dataclasses import dataclass

import numpy as np
import pandas
from scipy import ndimage
from scipy.spatial import cKDTree

from organseg.errors import OrgansegError
from organseg.organs import ORGAN_IDS, ORGANS

MEASURES = {  # column of the scores: title in the table, factor for printing
    "dice": ("Dice (%)", 100),
    "hausdorff_mm": ("Hausdorff (mm)", 1),
    "hausdorff95_mm": ("Hausdorff 95 % (mm)", 1),
    "assd_mm": ("ASSD (mm)", 1),
    "surface_dice": ("Surface Dice (%)", 100),
}
OUTCOMES = ("absent", "invented", "missed", "found")  # in neither, prediction, truth, both


def dice(truth, prediction):
    """Overlap of two masks of one shape, ``2 |A ∩ B| / (|A| + |B|)``: the score of Tables 1 and 2.

    It is in 0…1; NaN when both masks are empty, 0 when only one is.

    >>> dice([1, 1, 0, 0], [0, 1, 1, 0])
    0.5
    """
    truth, prediction = _masks(truth, prediction)
    size = np.count_nonzero(truth) + np.count_nonzero(prediction)
    return float(2 * np.count_nonzero(truth & prediction) / size) if size else float("nan")


@dataclass(frozen=True)
class SurfaceDistances:
    """For every border voxel of one mask, how far the other's border is, in mm.

    All measures are NaN when both masks are empty. When one is, those in mm are, and the surface
    Dice is 0, as in MONAI and DeepMind's surface-distance.

    Attributes
    ----------
    from_truth : float array, per border voxel of the truth, to the border of the prediction; inf
        where that is empty
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
        both = self._both()
        # 0.1 µm more: the rounding of an affine must not decide what lies exactly at the tolerance.
        return float((both <= tolerance + 1e-4).mean()) if both.size else float("nan")

    def __bool__(self):
        return self.from_truth.size > 0 and self.from_prediction.size > 0

    def _both(self):
        return np.concatenate([self.from_truth, self.from_prediction])

    def _worse_direction(self, percent):
        directed = (self.from_truth, self.from_prediction)
        return float(max(np.percentile(d, percent) for d in directed)) if self else float("nan")


def surface_distances(truth, prediction, affine):
    """SurfaceDistances between two masks: Hausdorff, ASSD and surface Dice follow from them.

    A border voxel is one that a 6-connected erosion removes; beyond the array there is background,
    so an organ that the scan cuts has a border there. Tools that weigh border elements by their
    area give other numbers.

    Parameters
    ----------
    truth, prediction : boolean arrays (x, y, z)
    affine : (4, 4), voxel indices to mm, as in `Case`. A spacing is refused: it cannot tell a grid
        whose axes are not perpendicular (a tilted gantry), where other distances hold.

    >>> truth, prediction = np.zeros((2, 9, 1, 1), dtype=bool)
    >>> truth[2], prediction[5] = True, True
    >>> surface_distances(truth, prediction, affine=np.diag([2.0, 1.0, 1.0, 1.0])).hausdorff
    6.0
    """
    truth, prediction = _masks(truth, prediction)
    columns = _columns(affine, truth.ndim)
    # Both borders lie in this box, so a small organ of a big scan costs little.
    box = (ndimage.find_objects((truth | prediction).astype(np.uint8)) or [...])[0]
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth[box], prediction[box])]
    a, b = (np.argwhere(border) @ columns.T for border in borders)  # (border voxel, axis) in mm
    if not (len(a) and len(b)):
        return SurfaceDistances(np.full(len(a), np.inf), np.full(len(b), np.inf))
    return SurfaceDistances(cKDTree(b).query(a)[0], cKDTree(a).query(b)[0])


def score_case(truth, prediction, affine, annotated=ORGAN_IDS, name="", tolerance=2.0, patient=""):
    """All scores of one case: a pandas.DataFrame with a row per annotated organ.

    Its columns are case, organ, those of `MEASURES` (Dice in 0…1; NaN: nothing to measure),
    tolerance_mm, outcome (of `OUTCOMES`), diagonal_mm (the scan's longest: what an organ without a
    distance costs in `organ_table`) and patient.

    Parameters
    ----------
    truth, prediction : integer arrays (x, y, z) of organ ids, on one grid
    affine : (4, 4), voxel indices to mm, as in `Case`
    annotated : ids of the organs that the truth was drawn for; no other organ gets a row
    name, patient : str, the case and whose it is; by default each case is another patient
    tolerance : float, of the surface Dice, in mm

    >>> truth = np.full((4, 4, 4), 3)
    >>> score_case(truth, truth, np.eye(4), annotated=[3])[["organ", "dice", "assd_mm", "outcome"]]
       organ  dice  assd_mm outcome
    0  liver   1.0      0.0   found
    """
    rows, diagonals = [], np.array([(1, y, z) for y in (-1, 1) for z in (-1, 1)]) * np.shape(truth)
    longest = np.linalg.norm(diagonals @ _columns(affine, 3).T, axis=1).max()
    for organ in [organ for organ in ORGANS if organ.id in annotated]:
        masks = np.asarray(truth) == organ.id, np.asarray(prediction) == organ.id
        apart = surface_distances(*masks, affine)
        measured = [dice(*masks), apart.hausdorff, apart.hausdorff95, apart.assd]
        outcome = OUTCOMES[2 * masks[0].any() + masks[1].any()]
        told = (apart.surface_dice(tolerance), tolerance, outcome, longest, patient or name)
        rows.append((name, organ.name, *measured, *told))
    columns = ["case", "organ", *MEASURES, "tolerance_mm", "outcome", "diagonal_mm", "patient"]
    return pandas.DataFrame(rows, columns=columns)


def _masks(truth, prediction):
    truth, prediction = np.asarray(truth, dtype=bool), np.asarray(prediction, dtype=bool)
    if truth.shape != prediction.shape:
        found = f"found truth {truth.shape} and prediction {prediction.shape}"
        raise OrgansegError(f"{found}; expected one grid; resample the prediction")
    return truth, prediction


def _columns(affine, axes):
    affine = np.asarray(affine, dtype=float)
    square = affine.shape == (axes + 1, axes + 1) and np.isfinite(affine).all()
    if not square or abs(np.linalg.det(affine[:-1, :-1])) < 1e-9:
        found = f"found {affine.tolist()}; expected an affine, since axes can lean"
        raise OrgansegError(f"{found}; give case.affine, or np.diag([*spacing, 1])")
    return affine[:-1, :-1]  # the steps in mm along the array's axes
