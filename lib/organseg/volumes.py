"""Volumes in files: reading and writing NIfTI, which can be damaged, and whose header can be wrong.

What can be put right without a guess is put right; what is a guess is told in a warning; the rest
is refused in one line.
"""

import math
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import psutil
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy

from organseg.errors import OrgansegError, warn
from organseg.files import whole_file

try:  # unpacks in a third of the time; comes with organseg[data]
    from isal import igzip as gzip
except ImportError:
    import gzip

GZIP_LIMIT = 1100  # gzip makes a file at most 1032 times smaller
EXPECTED = "expected a 3-D NIfTI image of one real number per voxel"
MM = {"meter": 1000.0, "micron": 0.001}  # of the units that a NIfTI header can state
# Where a NIfTI header says where its voxels lie, and in which unit.
POSITION = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
POSITION += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units")


def read_volume(path, dtype=None):
    """The voxels (x, y, z) of a 3-D file, scaled as its header says, and their affine in mm.

    In the file's own data type, or in another that is asked for.

    Warns of a header that leaves in doubt where the voxels lie; for errors see `load_case`.
    """
    image, shape, affine = _open(path)
    for line in _doubts_about_position(image, shape):
        warn(f"{path}: {line}; see that left and right are where you expect them")
    with _damage_told(path):  # the voxels are read only now
        return _voxels(image, dtype).reshape(shape), affine


def read_affine(path):
    """The affine in mm of a 3-D file, from its header alone; see `load_case` for errors."""
    return _open(path)[2]


@contextmanager
def _damage_told(path):
    """What nibabel raises on damaged bytes, which may be anything, becomes one line."""
    try:
        yield
    except OrgansegError:
        raise
    except FileNotFoundError as error:
        missing = Path(error.filename or "data file").name
        found = f"{path}: found a header whose voxels ({missing}) are missing; put both together"
        if missing.lower() == Path(path).name.lower():  # nibabel knows .nii and .NII
            found = f"{path}: found an ending in mixed case; rename it to {missing}"
        raise OrgansegError(found) from None
    except Exception as error:
        found = f"{path}: found no readable image ({str(error) or type(error).__name__:.120})"
        raise OrgansegError(f"{found}; {EXPECTED}; export or fetch it again") from None


def _open(path):
    """A file's nibabel image, its three sizes and its affine in mm, once they are usable."""
    path = Path(path)
    if not path.is_file():
        found = "no such file, it is a folder" if path.is_dir() else "no such file"
        raise OrgansegError(f"{path}: {found}; expected a NIfTI image; check the path")
    with _damage_told(path):
        image = nibabel.load(path)
        shape = _shape_of_one_volume(path, image)
        _refuse_impossible_size(path, image, shape)
        affine = _in_mm(path, image, np.array(image.affine, dtype=np.float64))
        usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9
        usable = usable and np.isfinite(orientations.io_orientation(affine)).all()
    if not usable:
        found = f"{path}: found an affine that maps no volume"
        raise OrgansegError(f"{found}; expected a valid one; export it again")
    return image, shape, affine


def _voxels(image, dtype):
    """The voxels of a nibabel image, a few slices at a time: no second copy of a large scan.

    A packed file is read to its end, where its checksum is: without it a flipped bit would pass.
    """
    stored, file = image.dataobj, str(image.file_map["image"].filename)
    if not file.lower().endswith(".gz"):
        return np.asanyarray(stored, dtype)
    with gzip.open(file) as unpacked:
        layout = (stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter)
        stored = ArrayProxy(unpacked, layout)
        dtype = dtype or stored[:, :, :1].dtype  # as scaled
        voxels = np.empty(stored.shape, dtype, order="F")
        depth = max(1, 2**22 // math.prod(stored.shape[:2]))
        for start in range(0, stored.shape[2], depth):
            voxels[:, :, start : start + depth] = stored[:, :, start : start + depth]
        unpacked.read(1)
    return voxels


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
    if claimed > there * (GZIP_LIMIT if file.suffix.lower() == ".gz" else 1):
        claim = f"its header claims {shape} voxels"
        raise OrgansegError(f"{path}: found {there} bytes; {claim}; fetch it again")
    if claimed > free:
        claim = f"its header claims {claimed / 1e9:.1f} GB of voxels"
        found = f"found {free / 1e9:.1f} GB of free memory; use a machine with more"
        raise OrgansegError(f"{path}: {claim}; {found}, or look at how the file was written")


def _in_mm(path, image, affine):
    """The affine in mm: a header may state metres or microns, and many state them wrongly."""
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    if unit not in MM:
        return affine
    stated = MM[unit] * np.linalg.norm(affine[:3, :3], axis=0)
    size = "×".join(f"{n:.4g}" for n in stated)
    if stated.min() >= 0.05 and stated.max() <= 50:
        warn(f"{path}: its header is in {unit}s; read as voxels of {size} mm")
        return np.diag([MM[unit]] * 3 + [1.0]) @ affine
    warn(f"{path}: its header says {unit}, which makes voxels of {size} mm; taken for mm instead")
    return affine


def _doubts_about_position(image, shape):
    """What a header leaves open about where its voxels lie, as lines of text."""
    header, axes = image.header, "".join(nibabel.aff2axcodes(image.affine))
    if not isinstance(image, nibabel.Nifti1Pair):
        yield f"{type(image).__name__} states no orientation; its axes are taken for {axes}"
    elif not (header["sform_code"] or header["qform_code"]):
        yield f"its header states no orientation (codes 0); its axes are taken for {axes}"
    elif header["sform_code"] and header["qform_code"]:
        try:
            apart = corners_apart(header.get_sform(), header.get_qform(), shape)
        except ValueError:  # no rotation at all
            apart = np.inf
        if not apart <= np.linalg.norm(image.affine[:3, :3], axis=0).max():
            positions = f"two positions (sform and qform), up to {apart:.3g} mm apart"
            yield f"its header states {positions}; the sform is used"


def read_on_grid(path, image, affine, image_path):
    """Read a label or mask that must lie on an image's grid, and turn its axes to the image's.

    A program may store the very same voxels with axes in another order or direction; that is undone
    exactly, without resampling. Returns an array of the image's shape, in the file's own data type;
    see `load_case` for errors, which name the image by its path.
    """
    voxels, own = read_volume(path)
    # From the one grid to the other, not from each to the patient: near 45° two grids that differ
    # by rounding would be turned differently.
    turn = orientations.io_orientation(np.linalg.inv(affine) @ own)
    if np.isnan(turn).any():  # two axes lie along one of the image's
        turn = orientations.io_orientation(np.eye(4))
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


def save_label(label, affine, path, like=None):
    """Write a label image (x, y, z) of organ ids as uint8 NIfTI, whole or not at all.

    `like` is the file of the scan on whose grid it lies: the label gets its position and unit to
    the bit, so that whatever program reads the scan puts the label on it.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "abdomen.nii.gz"
    >>> save_label(np.full((4, 5, 6), 3), np.eye(4), file)
    >>> read_volume(file)[0].max()
    np.uint8(3)
    """
    _save(np.asarray(label).astype(np.uint8), affine, path, like)


def save_image(image, affine, path, like=None):
    """Write an image (x, y, z) in HU as int16 NIfTI, rounded, whole or not at all.

    `like` as in `save_label`; see `load_case` for an example.
    """
    _save(np.clip(np.rint(image), -32768, 32767).astype(np.int16), affine, path, like)


def _save(voxels, affine, path, like):
    image = nibabel.Nifti1Image(voxels, affine)
    source = None if like is None else nibabel.load(like)
    if isinstance(source, nibabel.Nifti1Pair):
        image = nibabel.Nifti1Image(voxels, None, image.header)
        for field in POSITION:
            image.header[field] = source.header[field]
    else:
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code=1)
        # A qform cannot shear. It states the nearest position that it can, where that is the same
        # to a tenth of a voxel: ITK and Slicer refuse a file without one.
        image.set_qform(affine, code=1, strip_shears=True)
        apart = corners_apart(affine, image.get_qform(), voxels.shape)
        if apart > 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min():
            image.set_qform(None, code=0)
    with whole_file(path) as aside:
        nibabel.save(image, aside)
