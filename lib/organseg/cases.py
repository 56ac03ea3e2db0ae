"""A CT case: the image in HU, its labels and its geometry."""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np

from organseg.errors import OrgansegError, warn
from organseg.files import case_name
from organseg.organs import NUM_CLASSES, ORGAN_IDS
from organseg.volumes import read_on_grid, read_volume


@dataclass(frozen=True)
class Case:
    """One patient's scan.

    Attributes
    ----------
    image : float32 array (x, y, z), in Hounsfield units (HU)
    label : uint8 array of the same shape with the ids of `ORGANS`, or None
    affine : float64 array (4, 4), voxel indices to mm, in RAS+ (x to the patient's right, y front,
        z to the head)
    annotated : ids of the organs for which `label` was drawn; any other may hide in label 0
    body_levels : uint8 array, an index into `BODY_LEVELS` for each slice along the patient's z;
        known only for phantoms
    patient : scans of one patient are never split between training and test, nor meet in a
        mini-batch
    """

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    name: str
    annotated: tuple = ORGAN_IDS
    body_levels: np.ndarray | None = None
    patient: str = ""

    @property
    def spacing(self):
        """Voxel size along the three array axes, in mm: the lengths of the affine's columns."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def axes(self):
        """Three letters, e.g. 'RAS' or 'LPS': the direction in which each array axis grows."""
        return "".join(nibabel.aff2axcodes(self.affine))


def load_case(image, label=None, annotated=ORGAN_IDS, name=None):
    """Read one scan, and its labels if there are any: a Case.

    The image is as stored (any axis order, NaN and padding included), in float32 HU. An
    OrgansegError says that it is missing, damaged, not 3-D, not one real number per voxel, or
    without a finite one; or that the label lies on another grid or has unknown ids.

    Parameters
    ----------
    image, label : paths of 3-D NIfTI (or Analyze) files; the label must lie on the image's grid
    annotated : ids of the organs that the label was drawn for
    name : str, by default the file's name without its ending and the channel suffix

    >>> import organseg, tempfile
    >>> file = tempfile.mkdtemp() + "/abdomen_0000.nii.gz"
    >>> organseg.save_image(np.full((4, 5, 6), -1000.0), np.diag([1, 1, 2.5, 1]), file)
    >>> case = load_case(file)
    >>> case.name, case.image.shape, case.spacing
    ('abdomen', (4, 5, 6), (1.0, 1.0, 2.5))
    """
    voxels, affine = read_volume(image, np.float32)
    if not np.isfinite(voxels).any():
        raise OrgansegError(f"{image}: found no finite voxel; expected HU; export the CT again")
    case = Case(voxels, None, affine, name or case_name(image), tuple(annotated))
    if label is None:
        return case
    return replace(case, label=organ_ids(read_on_grid(label, voxels, affine, image), label))


def read_label(path):
    """Read a label image alone: its organ ids (uint8) and affine; see `load_case` for errors."""
    voxels, affine = read_volume(path)
    return organ_ids(voxels, path), affine


def organ_ids(voxels, path):
    """Label voxels as uint8, once all of them are ids of organs; those nearly whole are rounded."""
    ids = np.rint(voxels)
    if not np.array_equal(ids, voxels) and np.abs(ids - voxels).max() < 0.01:
        warn(f"{path}: its labels are not quite whole numbers; they are rounded")
        voxels = ids
    if unknown := sorted(set(np.unique(voxels).tolist()) - set(range(NUM_CLASSES))):
        listed = ", ".join(f"{value:g}" for value in unknown[:5])
        found = f"{path}: found label ids {listed}{_scaling(path)}"
        raise OrgansegError(f"{found}; expected 0 to {NUM_CLASSES - 1}; map them to the organs")
    return voxels.astype(np.uint8)


def _scaling(path):
    """Words on the factor by which a file's header scales its voxels, if it does."""
    data = nibabel.load(path).dataobj if Path(path).is_file() else None
    if data is None or (data.slope, data.inter) == (1, 0):
        return ""
    return f" (its header scales by {data.slope:g}, adds {data.inter:g})"
