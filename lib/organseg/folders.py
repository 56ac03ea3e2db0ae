"""Data folders: where cases lie, which organs each was annotated for, and the split into training
and test.

A data folder has the layout of nnU-Net and the Medical Segmentation Decathlon, so the same folder
feeds nnU-Net or MONAI::

    DATA/dataset.json                    names of the labels, and which organs each case has labels
    for DATA/imagesTr/CASE_0000.nii.gz       images to train on (0000 is the channel: CT)
    DATA/labelsTr/CASE.nii.gz            their labels DATA/imagesTs/CASE_0000.nii.gz       images
    that are never trained on (optional), with labels in labelsTs or without
"""

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from organseg.cases import IMAGE_ENDINGS, case_name, load_case
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.files import whole_file
from organseg.organs import ORGAN_IDS, ORGANS


@dataclass(frozen=True)
class CaseFiles:
    """Where one case of a data folder lies; `load` reads it."""

    name: str
    image: Path
    label: Path | None = None
    annotated: tuple = ORGAN_IDS
    patient: str = ""

    def load(self):
        """Read the case; see `load_case`."""
        return replace(
            load_case(self.image, self.label, self.annotated, self.name), patient=self.patient
        )


def image_file(folder, part, name):
    """Where the image of a case lies in a data folder; `part` is 'Tr' or 'Ts'."""
    return Path(folder) / f"images{part}" / f"{name}_0000.nii.gz"


def label_file(folder, part, name):
    """Where the label of a case lies in a data folder."""
    return Path(folder) / f"labels{part}" / f"{name}.nii.gz"


def find_cases(folder, part="Tr"):
    """The cases of a data folder, sorted by name.

    Parameters
    ----------
    folder : path of a folder with ``imagesTr`` and ``labelsTr`` (and ``imagesTs``, ``labelsTs``)
    part : 'Tr' or 'Ts'

    Returns
    -------
    list of CaseFiles; `label` is None where there is no label file (allowed only in 'Ts')
    """
    folder = Path(folder)
    if not (folder / f"images{part}").is_dir() and not _lists_cases(folder, part):
        raise OrgansegError(
            f"{folder}: found no folder images{part}; expected the nnU-Net layout; see 'organseg phantom'"
        )
    about = read_dataset_json(folder)
    found = []
    for image in sorted((folder / f"images{part}").glob("*")):
        if image.name.startswith(".") or not image.name.endswith(("_0000.nii.gz", "_0000.nii")):
            continue
        name = case_name(image)
        label = next(
            (
                p
                for e in IMAGE_ENDINGS[:2]
                if (p := folder / f"labels{part}" / f"{name}{e}").is_file()
            ),
            None,
        )
        if label is None and part == "Tr":
            raise OrgansegError(
                f"{image}: found no labelsTr/{name}.nii.gz; expected a label; or move it to imagesTs"
            )
        annotated = about.get("annotated_labels", {}).get(name, ORGAN_IDS)
        if label is not None and name not in about.get("annotated_labels", (name,)):
            message = f"{name}: not among annotated_labels in {folder}/dataset.json, so all seven organs count as annotated"
            warnings.warn(message, OrgansegWarning, stacklevel=2)
        if not isinstance(annotated, list | tuple) or any(
            organ not in ORGAN_IDS for organ in annotated
        ):
            where = f"{folder}/dataset.json"
            raise OrgansegError(
                f"{where}: found annotated_labels {annotated!r} of {name}; expected a list of ids 1 to 7"
            )
        found.append(
            CaseFiles(
                name, image, label, tuple(annotated), str(about.get("patients", {}).get(name, name))
            )
        )
    listed = set(about.get("cases", {}).get(f"images{part}", ()))
    if missing := sorted(listed - {case.name for case in found}):
        raise OrgansegError(
            f"{folder}: found {len(listed) - len(missing)} of the {len(listed)} cases that dataset.json lists for "
            f"images{part} ({missing[0]} is missing); expected all; prepare the data again, which adds what is missing"
        )
    if listed and (strange := sorted({case.name for case in found} - listed)):
        raise OrgansegError(
            f"{folder}/images{part}: found {strange[0]}, which dataset.json does not list; expected only cases that "
            "were prepared; take it out, or add it to the scans and prepare them again"
        )
    if about.get("left_out"):
        message = f"{folder}: {len(about['left_out'])} cases were left out when it was prepared; dataset.json says why"
        warnings.warn(message, OrgansegWarning, stacklevel=2)
    if not found:
        raise OrgansegError(
            f"{folder}/images{part}: found no file CASE_0000.nii.gz; expected at least one; add images"
        )
    return found


def _lists_cases(folder, part):
    """True where dataset.json lists cases of this part, so that a missing folder means an
    unfinished preparation."""
    return (folder / "dataset.json").is_file() and bool(
        read_dataset_json(folder).get("cases", {}).get(f"images{part}")
    )


def read_dataset_json(folder):
    """The dataset.json of a data folder as a dict, after a check that its label ids are those of
    `ORGANS`."""
    path = Path(folder) / "dataset.json"
    if not path.is_file():
        message = f"{folder}: no dataset.json, so all seven organs count as annotated"
        warnings.warn(message, OrgansegWarning, stacklevel=2)
        return {}
    try:
        about = json.loads(path.read_text())
        ids = {name: int(value) for name, value in about["labels"].items() if name != "background"}
        for optional in ("annotated_labels", "patients", "cases"):
            about.get(optional, {}).items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: found no readable labels ({error!r:.60}); expected nnU-Net's dataset.json; correct it"
        raise OrgansegError(message) from None
    if ids != {organ.name: organ.id for organ in ORGANS}:
        raise OrgansegError(
            f"{path}: found labels {ids}; expected those of organseg.ORGANS, in order; map the labels"
        )
    return about


def write_dataset_json(folder, name, annotated, description="", **more):
    """Write dataset.json.

    Parameters
    ----------
    folder : path of the data folder
    name, description : str
    annotated : dict, the name of each case with labels to the ids of its annotated organs
    more : further entries. Two have a meaning here: `patients`, a dict from case to patient, and
        `cases`, a dict from 'imagesTr' and 'imagesTs' to the names of all cases that must be there;
        `find_cases` refuses a folder that lacks one of them, so a folder that was not finished is
        never trained on.
    """
    about = {
        "name": name,
        "description": description,
        "channel_names": {"0": "CT"},
        "file_ending": ".nii.gz",
        "labels": {"background": 0} | {organ.name: organ.id for organ in ORGANS},
        "annotated_labels": {case: list(ids) for case, ids in annotated.items()},
        "numTraining": len(more.get("cases", {}).get("imagesTr", annotated)),
    } | more
    with whole_file(Path(folder) / "dataset.json") as aside:
        aside.write_text(json.dumps(about, indent=1) + "\n")


def split(cases, test=37, seed=0):
    """A random split by patient, as in section III.B (340 for training, 37 for testing).

    Parameters
    ----------
    cases : sequence of CaseFiles (or of anything with a `name`; a `patient` keeps a patient's scans
        together)
    test : int, the number of patients to hold out

    Returns
    -------
    two lists (training, test), each in the order of `cases`; the same for every order of the input
    """
    patient_of = {case.name: getattr(case, "patient", "") or case.name for case in cases}
    patients = sorted(set(patient_of.values()))
    if not 0 <= test < len(patients):
        raise OrgansegError(
            f"found {len(patients)} patients, {test} to test on; expected one or more to train on; lower test"
        )
    held_out = set(np.random.default_rng(seed).permutation(patients)[:test].tolist())
    training = [case for case in cases if patient_of[case.name] not in held_out]
    return training, [case for case in cases if patient_of[case.name] in held_out]
