"""The same patient for everybody: one real abdomen with seven organs, fetched once and kept.

An unenhanced CT of 3 mm from TotalSegmentator's repository, 2 MB, and what TotalSegmentator found
in it: a *reference prediction*, good enough to compare with, and not an expert's truth.
"""

import os
from pathlib import Path

import numpy as np
import pooch
import requests

from organseg.cases import Case, load_case
from organseg.errors import OrgansegError
from organseg.organs import ORGANS
from organseg.volumes import read_on_grid

NAME = "totalseg_example"
COMMIT = "5de6e4dcf702d525e0b2813683575b2c9e998aee"
ADDRESS = "https://raw.githubusercontent.com/wasserth/TotalSegmentator"
FOLDER = f"{ADDRESS}/{COMMIT}/tests/reference_files/"
CREDIT = """\
CT and organs (a reference prediction): TotalSegmentator project, Apache-2.0;
Wasserthal et al., "TotalSegmentator", Radiology: Artificial Intelligence 2023."""
IMAGE = "example_ct.nii.gz"
MASKS = {"aorta": 1, "portal_vein_and_splenic_vein": 2}
MASKS |= {organ.name: organ.id for organ in ORGANS[2:]}
SUMS = (  # SHA-256 of the scan, and of the masks in this order
    "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
    "bc784809e86609a2576c9c69abc96fed4aced855e16e5d488a10d698d1a289ed",
    "72b9e1b2552c73d3bc03074af021ccbd05434650f9c867b526e75c490c911e95",
    "57316a558a421f573ecc91eb5f81d4918d3277286647973428f4b526a56338b1",
    "85f885e536dade84c6fd97db7b73d275c1ea67a9e4dff1511302cde86deac1f5",
    "a54ef0e77ef7e2fe6707a3a7865e84aac9156c263c4673128dac1d2a2b6da174",
    "d074534923a684a9258a7c86f3df4551f8b29c5eff328003159d47b0c9905617",
    "eebfc8180eaa341b02766df54a7840d379c84eed632117460df7b0580f3baa43",
)
FILES = (IMAGE, *(f"example_seg/{name}.nii.gz" for name in MASKS))
# Beside a clone of the repository lies, for who has it, a folder with real scans.
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "real_ct"


def sample_patient():
    """The sample patient as a Case, or None with a line that says why: then a chapter goes on.

    Taken from the folder ORGANSEG_PATIENT, if that is set; from where it was kept before; from
    ../shared/data beside a clone; or else fetched, once, into the user's cache (2 MB), and checked.

    >>> from unittest import mock
    >>> with mock.patch.dict(os.environ, ORGANSEG_PATIENT="nowhere"):
    ...     print(sample_patient())  # doctest: +ELLIPSIS
    found no sample patient (...example_ct.nii.gz: no such file...
    None
    """
    try:
        case = _from_shared() or _load(fetch_files())
    except (OrgansegError, OSError, ValueError, requests.RequestException) as error:
        found = f"found no sample patient ({' '.join(str(error).split()):.150})"
        print(f"{found}; expected a connection, or its files in the folder ORGANSEG_PATIENT")
        return None
    print(CREDIT)
    return case


def at_hand():
    """Whether `sample_patient` needs no connection: a bool.

    >>> at_hand() in (True, False)
    True
    """
    return _is_near() or (SHARED / f"imagesTr/{NAME}_0000.nii.gz").is_file()


def _is_near():
    """Whether a folder is named, or all files were kept: the last of them is fetched last."""
    kept = Path(pooch.os_cache("organseg")) / FILES[-1]
    return bool(os.environ.get("ORGANSEG_PATIENT")) or kept.is_file()


def fetch_files():
    """The folder of the eight files: ORGANSEG_PATIENT, or the user's cache, fetched and checked."""
    if folder := os.environ.get("ORGANSEG_PATIENT"):
        return Path(folder)
    store = pooch.create(
        path=pooch.os_cache("organseg"),
        base_url=FOLDER,
        registry=dict(zip(FILES, SUMS, strict=True)),
    )
    pooch.get_logger().setLevel("WARNING")  # not a line for each file
    for name in FILES:
        store.fetch(name)
    return store.abspath


def _from_shared():
    """The case that lies beside a clone, if nothing else is nearer."""
    image, label = SHARED / f"imagesTr/{NAME}_0000.nii.gz", SHARED / f"labelsTr/{NAME}.nii.gz"
    return None if _is_near() or not image.is_file() else load_case(image, label)


def _load(folder):
    """The case from its eight files."""
    image = folder / IMAGE
    case = load_case(image, name=NAME)
    label = np.zeros(case.image.shape, np.uint8)
    for name, organ in MASKS.items():
        mask = read_on_grid(folder / f"example_seg/{name}.nii.gz", case.image, case.affine, image)
        label[mask > 0] = organ
    return Case(case.image, label, case.affine, NAME, patient=NAME)
