"""A DICOM series as one volume in HU, with the affine that its slices state.

SimpleITK decodes the pixels. The geometry is taken from the slices' own positions, since a reader that assumes a
regular stack straightens a tilted scan, closes the gap of a missing slice and stretches a scan around a localiser.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from organseg.errors import OrgansegError

IMAGE_TYPE, MODALITY, SERIES, PATIENT = "0008|0008", "0008|0060", "0020|000e", "0010|0020"
POSITION, ORIENTATION, SPACING, FRAMES = "0020|0032", "0020|0037", "0028|0030", "0028|0008"
EVEN = 0.05  # how much a step between slices may differ from the others, as a share of it


def read_series(folder, series=None):
    """The one CT series in a folder (and the folders in it).

    Parameters
    ----------
    folder : path
    series : SeriesInstanceUID, where the folder holds more than one

    Returns
    -------
    image : float32 array (x, y, z), in HU
    affine : float64 array (4, 4), voxel indices to mm in RAS+; sheared where the gantry was tilted

    Raises
    ------
    OrgansegError
        No CT, several series, slices missing, twice at one place, of different size or direction, or several in a file.
    """
    sitk = _simpleitk()
    found = _slices(Path(folder), series, sitk)
    if any(s.get(FRAMES, "1").strip() not in ("", "1") for s in found):
        raise OrgansegError(
            f"{folder}: found many slices in one file (enhanced CT); expected a file per slice; "
            "convert it to NIfTI, for example with dcm2niix"
        )
    if len({(*np.round(_numbers(s, ORIENTATION), 3), *_numbers(s, SPACING), *s["size"]) for s in found}) > 1:
        raise OrgansegError(
            f"{folder}: found slices of different size or direction in one series; expected one stack; sort them first"
        )
    files, affine = _stack(found, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)  # it warns of a tilt, which the affine here holds
    try:
        image = sitk.GetArrayFromImage(reader.Execute()).T  # (z, y, x) to (x, y, z)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:100]
        raise OrgansegError(f"{folder}: found no readable pixels ({reason}); export the series again") from None
    return image, affine


def patient_id(folder, series=None):
    """The PatientID of the series that `read_series` would read; '' where it is empty or there is no such series."""
    try:
        return _slices(Path(folder), series, _simpleitk())[0].get(PATIENT, "").strip()
    except OrgansegError:
        return ""  # `read_series` will say what is wrong


def _simpleitk():
    try:
        import SimpleITK
    except ImportError:
        raise OrgansegError(
            "found no SimpleITK; reading DICOM needs it; install it with: pip install simpleitk"
        ) from None
    return SimpleITK


def _slices(folder, series, sitk):
    """The headers of the CT slices of one series; localisers, reports and other files left out."""
    if not folder.is_dir():
        raise OrgansegError(f"{folder}: no such folder; expected a DICOM series; check the path")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    slices, unreadable = defaultdict(list), []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            if path.read_bytes()[128:132] == b"DICM":  # else a viewer's program, a picture
                unreadable.append(path.name)
            continue
        header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        scout = "LOCALIZER" in header.get(IMAGE_TYPE, "").upper()
        if header.get(MODALITY, "").strip() != "CT" or scout or not {POSITION, ORIENTATION, SPACING} <= header.keys():
            continue
        header["unreadable"] = unreadable
        slices[header[SERIES].strip(" \0")].append(header | {"size": reader.GetSize()[:2], "path": str(path)})
    if not slices:
        raise OrgansegError(f"{folder}: found no CT slice; expected a DICOM series; check the path and the modality")
    if series is None and len(slices) > 1:
        listed = ", ".join(f"{uid} ({len(found)} slices)" for uid, found in sorted(slices.items())[:4])
        raise OrgansegError(f"{folder}: found {len(slices)} CT series: {listed}; expected one; name it under [series]")
    if series is not None and series not in slices:
        raise OrgansegError(f"{folder}: found no CT series {series}; expected it; look at [series] in the mapping")
    return slices[series or next(iter(slices))]


def _stack(found, folder):
    """Files from the first slice to the last, and the affine."""
    along_row, along_column = np.split(_numbers(found[0], ORIENTATION), 2)
    positions = np.array([_numbers(s, POSITION) for s in found])
    height = positions @ np.cross(along_row, along_column)
    order = np.argsort(height)
    positions, steps = positions[order], np.diff(height[order])
    if len(found) < 2:
        raise OrgansegError(f"{folder}: found a single slice; expected a stack of them; check the path")
    step = np.median(steps)
    if steps.min() < 0.01 * step or step <= 0:
        raise OrgansegError(
            f"{folder}: found two slices at one place; expected one volume in a series; keep the slices of one scan"
        )
    odd = np.flatnonzero(np.abs(steps - step) > EVEN * step)
    if odd.size:
        names = found[0]["unreadable"]
        lost = f" ({len(names)} files could not be read, {names[0]} among them)" if names else ""
        below, above = height[order][odd[0] : odd[0] + 2]
        raise OrgansegError(
            f"{folder}: found slices at {below:.1f} and {above:.1f} mm with nothing between; expected one every "
            f"{step:.2f} mm; fetch the missing slices{lost}"
        )
    # DICOM's pixel spacing is (between rows, between columns): the first of them runs along a column.
    between_rows, between_columns = _numbers(found[0], SPACING)
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(found) - 1)
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # from DICOM's axes (left, back, head) to RAS
    return [found[i]["path"] for i in order], affine


def _numbers(header, key):
    return np.array(header[key].split("\\"), dtype=float)
