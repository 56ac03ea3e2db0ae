"""A DICOM series as one volume in HU, with the affine that its slices state.

SimpleITK decodes the pixels. The geometry is taken from the slices' own positions, since a reader that assumes a
regular stack straightens a tilted scan, closes the gap of a missing slice and stretches a scan around a localiser.
"""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from archives import files_under
from organseg.errors import OrgansegError

IMAGE_TYPE, MODALITY, SERIES, PATIENT = "0008|0008", "0008|0060", "0020|000e", "0010|0020"
GEOMETRY = (("0020|0037", 6), ("0028|0030", 2), ("0020|0032", 3))  # directions, spacing, position; how many numbers
FRAMES = "0028|0008"
SAMPLES, PHOTOMETRIC, INTERCEPT, UNIT = "0028|0002", "0028|0004", "0028|1052", "0028|1054"
CT_STORAGE = b"1.2.840.10008.5.1.4.1.1.2\0"
ROUNDED = 0.15  # mm; how far positions may be off that were rounded to 0.1 mm, in all three directions
EVEN = 0.05  # how far slices may be off even steps, as a share of a step, where that is more
TURNED = 2e-3  # how much directions may differ: rounded to three decimals, or 0.1 degree


def read_series(folder, series=None):
    """The one CT series in a folder (and the folders in it), or the one of several with this SeriesInstanceUID.

    Returns the image (x, y, z) in float32 HU; the affine, voxel indices to mm in RAS+, sheared where the gantry was
    tilted; and a list of doubts about what can be read. An OrgansegError says that there is no CT, or several series or
    patients; that slices are damaged, missing, twice at one place, uneven, of different size or direction; or that
    pictures in colour or values that are no HU are among them.
    """
    found = _slices(Path(folder), series)
    placed, doubts = _placed(found, folder)
    slices, affine = _stack(placed, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetOutputPixelType(sitk.sitkFloat32)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)  # it warns of a tilt, which the affine here holds
    with tempfile.TemporaryDirectory() as aside:
        reader.SetFileNames([_as_stored(slices[i], Path(aside, f"{i}.dcm")) for i in range(len(slices))])
        try:
            image = sitk.GetArrayFromImage(reader.Execute()).T  # (z, y, x) to (x, y, z)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()[:100]
            raise OrgansegError(f"{folder}: found no readable pixels ({reason}); export the series again") from None
    return image, affine, doubts


def patient_id(folder, series=None):
    """The PatientID of the series that `read_series` would read; '' where it is empty or there is no such series."""
    try:
        return _slices(Path(folder), series)[0].get(PATIENT, "").strip()
    except OrgansegError:
        return ""  # `read_series` will say what is wrong


def _slices(folder, series):
    """The headers of the CT images of one series; localisers, reports and other files left out."""
    if not folder.is_dir():
        raise OrgansegError(f"{folder}: no such folder; expected a DICOM series; check the path")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    images, damaged = defaultdict(list), []
    for path in files_under(folder):
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            damaged += [path.name] if _should_be_a_slice(path) else []
            continue
        header = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
        if header.get(MODALITY) == "CT" and "LOCALIZER" not in header.get(IMAGE_TYPE, "").upper():
            header |= {"size": reader.GetSize()[:2], "path": path, "many": header.get(FRAMES, "") not in ("", "1")}
            header["placed"] = all(_numbers(header, *entry) is not None for entry in GEOMETRY)
            images[header.get(SERIES, "")].append(header)
    # Pictures of the screen, such as a dose report, state no position.
    slices = {uid: found for uid, found in images.items() if any(s["placed"] or s["many"] for s in found)}
    if damaged:
        mistake = f"{len(damaged)} slices that cannot be read ({damaged[0]}); expected whole files; fetch them again"
    elif not slices:
        mistake = "no CT slice that states its position; expected a DICOM series; check the path and the modality"
    elif series is None and len(slices) > 1:
        listed = ", ".join(f"{uid} ({len(found)} slices)" for uid, found in sorted(slices.items())[:4])
        mistake = f"{len(slices)} CT series: {listed}; expected one; name it under [series]"
    elif series is not None and series not in slices:
        mistake = f"no CT series {series}; expected it; look at [series] in the mapping"
    else:
        return slices[next(iter(slices)) if series is None else series]
    raise OrgansegError(f"{folder}: found {mistake}")


def _should_be_a_slice(path):
    """True for an unreadable file that is a CT slice by its first bytes, is cut before them, or a link to nowhere."""
    start = path.read_bytes()[:1024] if path.is_file() else b""
    cut = len(start) < 200 and (path.is_symlink() or path.suffix.lower() in (".dcm", ".ima"))
    return cut or start.partition(b"\2\0\2\0UI")[2][2:28] == CT_STORAGE


def _placed(found, folder):
    """The images that are slices of one CT volume, once all of them can be, and what is doubtful about them."""
    units = {s.get(UNIT, "") for s in found} - {"", "HU", "US"}  # US: unspecified
    colour = [s["path"].name for s in found if s.get(SAMPLES, "1") != "1"]
    patients, many = {s.get(PATIENT, "") for s in found}, any(s["many"] for s in found)
    for wrong, words in (
        (many, "many slices in a file (enhanced CT); expected a file per slice; convert it with dcm2niix"),
        (colour, f"a picture in colour, {''.join(colour[:1])}; expected CT slices alone; take it out"),
        (units, f"values in {', '.join(units)}; expected HU; choose the series of the CT itself"),
        (len(patients) > 1, "slices of several patients in one series; expected one; sort them first"),
    ):
        if wrong:
            raise OrgansegError(f"{folder}: found {words}")
    placed, others = [s for s in found if s["placed"]], [s["path"].name for s in found if not s["placed"]]
    doubts = [f"{len(others)} images of the series state no position: {others[0]} is left out"] if others else []
    if count := sum(INTERCEPT not in s for s in placed):
        doubts.append(f"{count} slices state no RescaleIntercept: their values are taken for HU as they are")
    if len(kinds := {"/".join(s.get(IMAGE_TYPE, "").split("\\")[:3]) for s in placed}) > 1:
        doubts.append(f"slices of different kinds in one series: {', '.join(sorted(kinds))}")
    return placed, doubts


def _stack(found, folder):
    """The slices from the first to the last, and the affine."""
    directions, spacings, positions = (np.array([_numbers(s, *entry) for s in found]) for entry in GEOMETRY)
    row, column = directions.mean(axis=0).reshape(2, 3)
    alike = np.ptp(directions, axis=0).max() <= TURNED and np.ptp(spacings, axis=0).max() <= 1e-3 * spacings.max()
    if not alike or len({s["size"] for s in found}) > 1:
        mistake = "slices of different size or direction in one series; expected one stack; sort them first"
    elif np.abs([row @ row - 1, column @ column - 1, row @ column]).max() > 0.01:
        mistake = f"the directions {row} and {column}; expected a right angle; export the series again"
    elif len(found) < 2:
        mistake = "a single slice; expected a stack of them; check the path"
    else:
        # Rounded directions are not quite perpendicular, which neither NIfTI's quaternion nor ITK takes.
        row /= np.linalg.norm(row)
        column -= (column @ row) * row
        column /= np.linalg.norm(column)
        normal = np.cross(row, column)
        order = np.argsort(positions @ normal)
        positions = positions[order]
        mistake = _gaps(positions, positions @ normal)
    if mistake:
        raise OrgansegError(f"{folder}: found {mistake}")
    # From the first to the last, as ITK has it, on whose grid labels are drawn.
    whole = positions[-1] - positions[0]
    straight = (whole @ normal) * normal
    if np.linalg.norm(whole - straight) <= max(ROUNDED, TURNED * np.linalg.norm(whole)):
        whole = straight  # rounding; a tilted gantry shears more
    # DICOM's pixel spacing is (between rows, between columns): the first of them runs along a column.
    between_rows, between_columns = spacings[0]
    affine = np.eye(4)
    columns = (row * between_columns, column * between_rows, whole / (len(found) - 1), positions[0])
    affine[:3] = np.transpose(columns)
    affine[:2] *= -1  # from DICOM's axes (left, back, head) to RAS
    return [found[i] for i in order], affine


def _gaps(positions, height):
    """In words, what keeps sorted slices from lying on a line in even steps; or None."""
    steps, number = np.diff(height), np.arange(len(height))
    step = np.median(steps)
    if steps.min() < 0.01 * step or step <= 0:
        return "two slices at one place; expected one volume in a series; keep the slices of one scan"
    if (wide := np.flatnonzero(steps > 1.5 * step)).size:
        ends, usual = f"{height[wide[0]]:.1f} and {height[wide[0] + 1]:.1f} mm", np.delete(steps, wide).mean()
        return f"slices at {ends} with nothing between; expected one every {usual:.2f} mm; fetch the missing slices"
    slope, start = np.polyfit(number, positions, 1)
    off = np.linalg.norm(positions - start - np.outer(number, slope), axis=1).max()
    if off <= (allowed := min(step / 4, max(ROUNDED, EVEN * step))):
        return None
    even = f"even steps of {step:.2f} mm; expected at most {allowed:.2f} mm"
    return f"slices up to {off:.2f} mm off {even}; convert the series with dcm2niix, which makes them even"


def _as_stored(header, copy):
    """A slice's file, or a copy of it that says MONOCHROME2 where it says MONOCHROME1.

    Both mean the same HU, and differ in how they are shown. But GDCM inverts the values before they become HU.
    """
    if header.get(PHOTOMETRIC) != "MONOCHROME1":
        return str(header["path"])
    content = header["path"].read_bytes()
    if b"MONOCHROME1" not in content:
        raise OrgansegError(
            f"{header['path']}: found deflated MONOCHROME1; expected MONOCHROME2; convert it with dcm2niix"
        )
    copy.write_bytes(content.replace(b"MONOCHROME1", b"MONOCHROME2"))
    return str(copy)


def _numbers(header, key, count):
    """The numbers of an entry, or None where it does not hold as many."""
    try:
        values = np.array(header.get(key, "").split("\\"), dtype=float)
    except ValueError:
        return None
    return values if values.size == count and np.isfinite(values).all() else None
