"""A CT case: the image in HU, its labels and its geometry; reading and writing NIfTI."""

import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import psutil
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from organseg.errors import OrgansegError, warn
from organseg.files import case_name, whole_file
from organseg.organs import NUM_CLASSES, ORGAN_IDS

GZIP_LIMIT = 1100  # gzip makes a file at most 1032 times smaller
UNREADABLE = (ImageFileError, HeaderDataError, HeaderTypeError, OSError, EOFError, ValueError)
UNREADABLE += (zlib.error, MemoryError)  # all that nibabel raises on a damaged file
EXPECTED = "expected a 3-D NIfTI image of one real number per voxel"


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

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "abdomen_0000.nii.gz"
    >>> save_image(np.full((4, 5, 6), -1000.0), np.diag([1, 1, 2.5, 1]), file)
    >>> case = load_case(file)
    >>> case.name, case.image.shape, case.spacing
    ('abdomen', (4, 5, 6), (1.0, 1.0, 2.5))
    """
    voxels, affine = read_volume(image)
    if not np.isfinite(voxels).any():
        raise OrgansegError(f"{image}: found no finite voxel; expected HU; export the CT again")
    voxels = voxels.astype(np.float32, copy=False)
    case = Case(voxels, None, affine, name or case_name(image), tuple(annotated))
    if label is None:
        return case
    return replace(case, label=organ_ids(read_on_grid(label, voxels, affine, image), label))


def read_label(path):
    """Read a label image alone: its organ ids (uint8) and affine; see `load_case` for errors."""
    voxels, affine = read_volume(path)
    return organ_ids(voxels, path), affine


def read_volume(path):
    """The voxels (x, y, z), scaled as the header says, and the affine of a 3-D file."""
    path = Path(path)
    if not path.is_file():
        found = "no such file, it is a folder" if path.is_dir() else "no such file"
        raise OrgansegError(f"{path}: {found}; expected a NIfTI image; check the path")
    try:
        # nibabel reads the voxels only when they are asked for: a damaged file fails at any line.
        image = nibabel.load(path)
        shape = _shape_of_one_volume(path, image)
        _refuse_impossible_size(path, image, shape)
        voxels = np.asanyarray(image.dataobj).reshape(shape)
    except FileNotFoundError as error:
        missing = Path(error.filename or "data file").name
        found = f"{path}: found a header whose voxels ({missing}) are missing"
        raise OrgansegError(f"{found}; put both together") from None
    except UNREADABLE as error:
        if isinstance(error, OrgansegError):
            raise
        reason = " ".join(str(error).split())[:120]
        found = f"{path}: found no readable image ({reason})"
        raise OrgansegError(f"{found}; {EXPECTED}; export or fetch it again") from None
    affine = np.array(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        found = f"{path}: found an affine that maps no volume"
        raise OrgansegError(f"{found}; expected a valid one; export it again")
    _compare_positions(path, image, shape)
    return voxels, affine


def read_affine(path):
    """The affine of a 3-D file, from its header alone; see `load_case` for errors."""
    try:
        return np.array(nibabel.load(path).affine, dtype=np.float64)
    except (*UNREADABLE, AttributeError):
        return read_volume(path)[1]  # says what is wrong with it


def _shape_of_one_volume(path, image):
    """The three sizes of an image of one real number per voxel; anything else is refused."""
    shape, dtype = image.shape, np.dtype(image.get_data_dtype())
    if not hasattr(image, "affine") or len(shape) < 3:
        found, advice = f"{type(image).__name__} of shape {shape}", "convert it first"
    elif dtype.names or dtype.kind not in "iuf":
        found = f"{'RGB' if dtype.names else dtype.name} voxels"
        advice = "export the CT itself, not a picture of it"
    elif max(shape[3:], default=1) > 1:
        found, advice = f"a {len(shape)}-D series {shape}", "save one volume of it"
    elif min(shape) < 1:
        found, advice = f"an empty volume {shape}", "export it again"
    else:
        return shape[:3]
    raise OrgansegError(f"{path}: found {found}; {EXPECTED}; {advice}")


def _refuse_impossible_size(path, image, shape):
    """Stop before memory is taken for voxels that this file, or this machine, cannot hold."""
    file = Path(image.file_map["image"].filename or path)
    there, free = file.stat().st_size, psutil.virtual_memory().available
    claimed = math.prod(map(int, shape)) * np.dtype(image.get_data_dtype()).itemsize
    if claimed > there * (GZIP_LIMIT if file.suffix == ".gz" else 1):
        claim = f"its header claims {shape} voxels"
        raise OrgansegError(f"{path}: found {there} bytes; {claim}; fetch it again")
    if claimed > free:
        claim = f"its header claims {claimed / 1e9:.1f} GB of voxels"
        found = f"found {free / 1e9:.1f} GB of free memory; use a machine with more"
        raise OrgansegError(f"{path}: {claim}; {found}, or look at how the file was written")


def _compare_positions(path, image, shape):
    """Warn where a NIfTI header states two positions that differ by more than a voxel."""
    if not isinstance(image, nibabel.Nifti1Pair):
        return
    (sform, sform_code), (qform, qform_code) = image.get_sform(True), image.get_qform(True)
    if not (sform_code and qform_code and np.isfinite(qform).all()):
        return
    apart = corners_apart(sform, qform, shape)
    if apart > np.linalg.norm(sform[:3, :3], axis=0).max():
        warn(
            f"{path}: its header states two positions (sform and qform), up to {apart:.3g} mm "
            "apart; the sform is used; see that left and right are where you expect them"
        )


def read_on_grid(path, image, affine, image_path):
    """Read a label or mask that must lie on an image's grid, and turn its axes to the image's.

    A program may store the very same voxels with axes in another order or direction; that is undone
    exactly, without resampling. Returns an array of the image's shape, in the file's own data type;
    see `load_case` for errors, which name the image by its path.
    """
    voxels, own = read_volume(path)
    turn = orientations.ornt_transform(*map(orientations.io_orientation, (own, affine)))
    turned_affine = own @ orientations.inv_ornt_aff(turn, voxels.shape)
    turned = orientations.apply_orientation(voxels, turn)
    advice = "resample the label with nearest neighbour"
    if turned.shape == image.shape:
        apart = corners_apart(turned_affine, affine, image.shape)
        if apart < 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min():  # a tenth of a voxel
            return turned
        advice = f"they lie up to {apart:.3g} mm apart; find out which header is right"
    found = f"{path}: found a label on another grid ({_grid_words(voxels, own)})"
    expected = f"expected that of {image_path} ({_grid_words(image, affine)})"
    raise OrgansegError(f"{found}; {expected}; {advice}")


def organ_ids(voxels, path):
    """Label voxels as uint8, once all of them are ids of organs."""
    if unknown := sorted(set(np.unique(voxels).tolist()) - set(range(NUM_CLASSES))):
        listed = ", ".join(f"{value:g}" for value in unknown[:5])
        found = f"{path}: found label ids {listed}"
        raise OrgansegError(f"{found}; expected 0 to {NUM_CLASSES - 1}; map them to the organs")
    return voxels.astype(np.uint8)


def corners_apart(affine, other, shape):
    """How far two affines put the corners of a volume from each other, at most, in mm."""
    apart = corners(np.asarray(affine) - other, [(0, n - 1) for n in shape])
    return float(np.linalg.norm(apart, axis=0).max())


def corners(affine, ends):
    """Where an affine puts the corners of a box, whose ends are given along each axis: (3, 8)."""
    indices = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    return affine[:3, :3] @ indices + affine[:3, 3:]


def _grid_words(voxels, affine):
    lengths = "×".join(f"{n:.3g}" for n in np.linalg.norm(affine[:3, :3], axis=0))
    return f"{voxels.shape}, {''.join(nibabel.aff2axcodes(affine))} {lengths} mm"


def save_label(label, affine, path):
    """Write a label image (x, y, z) of organ ids as uint8 NIfTI, whole or not at all.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "abdomen.nii.gz"
    >>> save_label(np.full((4, 5, 6), 3), np.eye(4), file)
    >>> read_label(file)[0].max()
    np.uint8(3)
    """
    _save(np.asarray(label).astype(np.uint8), affine, path)


def save_image(image, affine, path):
    """Write an image (x, y, z) in HU as int16 NIfTI, rounded, whole or not at all.

    See `load_case` for an example.
    """
    _save(np.clip(np.rint(image), -32768, 32767).astype(np.int16), affine, path)


def _save(voxels, affine, path):
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    # A sheared affine fits no quaternion; then the sform alone speaks, not two that disagree.
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sheared = not np.allclose(columns.T @ columns, np.eye(3), atol=1e-4)
    image.set_qform(None if sheared else affine, code=0 if sheared else 1)
    with whole_file(path) as aside:
        nibabel.save(image, aside)
