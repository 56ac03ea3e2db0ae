"""A CT case: the image in HU, its labels and its geometry; reading and writing NIfTI."""

import math
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import psutil
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from organseg.errors import OrgansegError, OrgansegWarning
from organseg.files import whole_file
from organseg.organs import NUM_CLASSES, ORGAN_IDS

IMAGE_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
GZIP_LIMIT = 1100  # gzip makes a file at most 1032 times smaller


@dataclass(frozen=True)
class Case:
    """One patient's scan.

    Attributes
    ----------
    image : float32 array (x, y, z), in Hounsfield units (HU)
    label : uint8 array of the same shape with the ids of `ORGANS`, or None
    affine : float64 array (4, 4), voxel indices to mm, in RAS+ (x to the patient's right, y front,
        z to the head)
    name : str
    annotated : ids of the organs for which `label` was drawn; any other organ may hide in label 0
    levels : uint8 array (z,), the body level of each slice, known only for phantoms
        (`phantom.BODY_LEVELS`)
    patient : str; scans of one patient are never split between training and test, nor meet in a
        mini-batch
    """

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    name: str
    annotated: tuple = ORGAN_IDS
    levels: np.ndarray | None = None
    patient: str = ""

    @property
    def spacing(self):
        """Voxel size along the three array axes, in mm: the lengths of the affine's columns."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def axes(self):
        """Three letters, e.g. 'RAS' or 'LPS': the direction in which each array axis grows."""
        return "".join(nibabel.aff2axcodes(self.affine))


UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    MemoryError,
)


def load_case(image, label=None, annotated=ORGAN_IDS, name=None):
    """Read one scan, and its labels if there are any.

    Parameters
    ----------
    image, label : paths of 3-D NIfTI (or Analyze pair) files; the label must lie on the image's
        grid
    annotated : ids of the organs that the label was drawn for
    name : str, by default the file's name without its ending and the channel suffix

    Returns
    -------
    Case, image as stored (any axis order, NaN and padding included), float32 HU

    Raises
    ------
    OrgansegError
        The file is missing, not an image, not 3-D, not one real number per voxel, without data or
        without a single finite value; the label lies on another grid or has unknown ids.
    """
    voxels, affine = read_volume(image)
    finite = np.isfinite(voxels)
    if not finite.any():
        raise OrgansegError(
            f"{image}: found no finite voxel; expected HU; look at how the file was written"
        )
    case = Case(
        voxels.astype(np.float32, copy=False),
        None,
        affine,
        name or case_name(image),
        tuple(annotated),
    )
    return case if label is None else replace(case, label=_read_label(label, case, image))


def read_volume(path):
    """The voxels (x, y, z), scaled as the header says, and the affine of a 3-D file; see
    `load_case` for errors."""
    path = Path(path)
    if not path.is_file():
        found = "no such file, it is a folder" if path.is_dir() else "no such file"
        raise OrgansegError(f"{path}: {found}; expected a NIfTI image; check the path")
    expected = "expected a 3-D NIfTI image of one real number per voxel"
    try:
        # nibabel reads the voxels only when they are asked for, so a damaged file fails at any of
        # these lines.
        image = nibabel.load(path)
        shape, dtype = image.shape, np.dtype(image.get_data_dtype())
        if not hasattr(image, "affine") or len(shape) < 3:
            raise OrgansegError(
                f"{path}: found {type(image).__name__} of shape {shape}; {expected}; convert it first"
            )
        if dtype.names or dtype.kind not in "iuf":
            kind = "RGB" if dtype.names else dtype.name
            raise OrgansegError(
                f"{path}: found {kind} voxels; {expected}; export the CT itself, not a picture of it"
            )
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) > 3:
            raise OrgansegError(
                f"{path}: found a {len(shape)}-D series {shape}; {expected}; save one volume of it"
            )
        if min(shape) < 1:
            raise OrgansegError(
                f"{path}: found an empty volume {shape}; {expected}; export it again"
            )
        _refuse_impossible_size(path, image, shape, dtype)
        voxels = np.asanyarray(image.dataobj).reshape(shape)
    except FileNotFoundError as error:
        missing = Path(error.filename or "data file").name
        raise OrgansegError(
            f"{path}: found a header whose voxels ({missing}) are missing; put both together"
        ) from None
    except UNREADABLE as error:
        if isinstance(error, OrgansegError):
            raise
        reason = " ".join(str(error).split())[:120]
        message = (
            f"{path}: found no readable image ({reason}); {expected}; export or fetch it again"
        )
        raise OrgansegError(message) from None
    affine = np.array(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise OrgansegError(
            f"{path}: found an affine that maps no volume; expected a valid one; export it again"
        )
    _compare_positions(path, image, shape)
    return voxels, affine


def read_affine(path):
    """The affine of a 3-D file, from its header alone; see `load_case` for errors."""
    try:
        return np.array(nibabel.load(path).affine, dtype=np.float64)
    except (*UNREADABLE, AttributeError):
        return read_volume(path)[1]  # says what is wrong with it


def _compare_positions(path, image, shape):
    """Warn where a NIfTI header states two positions (sform and qform) that differ by more than a
    voxel."""
    if not isinstance(image, nibabel.Nifti1Pair):
        return
    (sform, sform_code), (qform, qform_code) = (
        image.get_sform(coded=True),
        image.get_qform(coded=True),
    )
    if sform_code and qform_code and np.isfinite(qform).all():
        apart = corners_apart(sform, qform, shape)
        if apart > np.linalg.norm(sform[:3, :3], axis=0).max():
            warnings.warn(
                f"{path}: its header states two positions (sform and qform), up to {apart:.3g} mm apart; the sform is "
                "used; see that left and right are where you expect them",
                OrgansegWarning,
                stacklevel=3,
            )


def _refuse_impossible_size(path, image, shape, dtype):
    """Stop before memory is taken for voxels that a file of this size, or this machine, cannot
    hold."""
    file = Path(image.file_map["image"].filename or path)
    claimed, there = math.prod(int(n) for n in shape) * dtype.itemsize, file.stat().st_size
    if claimed > there * (GZIP_LIMIT if file.suffix == ".gz" else 1):
        raise OrgansegError(
            f"{path}: found {there} bytes; its header claims {shape} voxels; fetch it again"
        )
    free = psutil.virtual_memory().available
    if claimed > free:
        raise OrgansegError(
            f"{path}: its header claims {claimed / 1e9:.1f} GB of voxels; found {free / 1e9:.1f} GB of free memory; "
            "use a machine with more, or look at how the file was written"
        )


def read_on_grid(path, image, affine, image_path):
    """Read a label or mask that must lie on an image's grid, and turn its axes to the image's.

    A program may store the very same voxels with axes in another order or direction; that is undone
    exactly, without resampling.

    Parameters
    ----------
    path : of the label; image, affine : the image's array and affine; image_path : to name it in an
        error

    Returns
    -------
    array of the image's shape, in the file's own data type

    Raises
    ------
    OrgansegError
        See `load_case`; the label lies on another grid.
    """
    voxels, label_affine = read_volume(path)
    turn = orientations.ornt_transform(
        orientations.io_orientation(label_affine), orientations.io_orientation(affine)
    )
    turned_affine = label_affine @ orientations.inv_ornt_aff(turn, voxels.shape)
    turned = orientations.apply_orientation(voxels, turn)
    if turned.shape == image.shape and same_grid(turned_affine, affine, image.shape):
        return turned
    message = (
        f"{path}: found a label on another grid ({voxels.shape}, {_axes_and_spacing(label_affine)}); expected that "
        f"of {image_path} ({image.shape}, {_axes_and_spacing(affine)}); "
    )
    if turned.shape == image.shape:
        apart = corners_apart(turned_affine, affine, image.shape)
        message += f"they lie up to {apart:.3g} mm apart; find out which header is right, and export the label again"
    else:
        message += "resample the label with nearest neighbour"
    raise OrgansegError(message)


def _read_label(path, case, image_path):
    voxels = read_on_grid(path, case.image, case.affine, image_path)
    unknown = sorted(set(np.unique(voxels).tolist()) - set(range(NUM_CLASSES)))
    if unknown:
        listed = ", ".join(f"{value:g}" for value in unknown[:5])
        raise OrgansegError(
            f"{path}: found label ids {listed}; expected 0 to {NUM_CLASSES - 1}; map them to the organs"
        )
    return voxels.astype(np.uint8)


def same_grid(affine, other, shape):
    """True where two affines put every voxel of a volume at the same place, to a tenth of a
    voxel."""
    return corners_apart(affine, other, shape) < 0.1 * float(
        np.linalg.norm(affine[:3, :3], axis=0).min()
    )


def corners_apart(affine, other, shape):
    """How far two affines put the corners of a volume from each other, at most, in mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    apart = (affine[:3, :3] - other[:3, :3]) @ corners + (affine[:3, 3] - other[:3, 3])[:, None]
    return float(np.linalg.norm(apart, axis=0).max())


def _axes_and_spacing(affine):
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return (
        "".join(nibabel.aff2axcodes(affine))
        + " "
        + "×".join(f"{length:.3g}" for length in lengths)
        + " mm"
    )


def _save(voxels, affine, path):
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    # A sheared affine fits no quaternion; then the sform alone speaks, rather than two that
    # disagree.
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sheared = not np.allclose(columns.T @ columns, np.eye(3), atol=1e-4)
    image.set_qform(None if sheared else affine, code=0 if sheared else 1)
    with whole_file(path) as aside:
        nibabel.save(image, aside)


def save_label(label, affine, path):
    """Write a label image (x, y, z) of organ ids as uint8 NIfTI; the file appears whole or not at
    all."""
    _save(np.asarray(label).astype(np.uint8), affine, path)


def save_image(image, affine, path):
    """Write an image (x, y, z) in HU as int16 NIfTI, rounded; the file appears whole or not at
    all."""
    _save(np.clip(np.rint(image), -32768, 32767).astype(np.int16), affine, path)


def case_name(path):
    """The case a file belongs to: its name without ending and without the channel suffix
    ``_0000``."""
    name = Path(path).name
    name = next((name[: -len(ending)] for ending in IMAGE_ENDINGS if name.endswith(ending)), name)
    return name.removesuffix("_0000")
