"""Data folders: where cases lie, which organs each was annotated for, and the split into two.

A data folder has the layout of nnU-Net and the Medical Segmentation Decathlon, so the same folder
feeds nnU-Net or MONAI::

    DATA/dataset.json                    names of the labels; which organs each case has labels for
    DATA/imagesTr/CASE_0000.nii.gz       images to train on (0000 is the channel: CT)
    DATA/labelsTr/CASE.nii.gz            their labels
    DATA/imagesTs/CASE_0000.nii.gz       images that are never trained on (optional), with labels in
                                         labelsTs or without
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from organseg.cases import load_case
from organseg.errors import OrgansegError, warn
from organseg.files import case_name, listed, niftis_by_name, whole_file
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
        case = load_case(self.image, self.label, self.annotated, self.name)
        return replace(case, patient=self.patient)


def image_file(folder, part, name):
    """Where the image of a case lies in a data folder; `part` is 'Tr' or 'Ts'."""
    return Path(folder) / f"images{part}" / f"{name}_0000.nii.gz"


def label_file(folder, part, name):
    """Where the label of a case lies in a data folder."""
    return Path(folder) / f"labels{part}" / f"{name}.nii.gz"


def find_cases(folder, part="Tr", labels_needed=True):
    """The cases of a data folder (`part` is 'Tr' or 'Ts'), sorted by name: a list of CaseFiles.

    `label` is None where there is no label file, which is refused in 'Tr' where labels are needed.
    Files that belong to no case are passed over with a warning.

    >>> import tempfile, organseg
    >>> folder = Path(tempfile.mkdtemp())
    >>> organseg.save_image(np.zeros((4, 4, 4)), np.eye(4), image_file(folder, "Tr", "a"))
    >>> organseg.save_label(np.zeros((4, 4, 4)), np.eye(4), label_file(folder, "Tr", "a"))
    >>> write_dataset_json(folder, "mine", {"a": [3, 4]})
    >>> [(case.name, case.annotated) for case in find_cases(folder)]
    [('a', (3, 4))]
    """
    folder = Path(folder)
    images, drawn = folder / f"images{part}", folder / f"labels{part}"
    there = images.is_dir() or (folder / "dataset.json").is_file()
    about = read_dataset_json(folder) if there else {}
    expected = set(about.get("cases", {}).get(f"images{part}", ()))
    if not images.is_dir() and not expected:
        found = f"{folder}: found no folder images{part}"
        raise OrgansegError(f"{found}; expected the nnU-Net layout; see 'organseg phantom'")
    every = niftis_by_name(images) if images.is_dir() else {}
    image_of = {case_name(path): path for name, path in every.items() if name.endswith("_0000")}
    label_of = niftis_by_name(drawn) if drawn.is_dir() else {}
    if strange := [path.name for name, path in every.items() if not name.endswith("_0000")]:
        warn(f"{images}: passed over {listed(strange)}, whose names do not end in _0000")
    if unpaired := [path.name for name, path in label_of.items() if name not in image_of]:
        warn(f"{drawn}: passed over {listed(unpaired)}, labels without an image")
    if labels_needed and part == "Tr" and (bare := [n for n in image_of if n not in label_of]):
        found = f"{image_of[bare[0]]}: found no labelsTr/{bare[0]}.nii.gz"
        raise OrgansegError(f"{found}; expected a label; or move it to imagesTs")
    _compare_with_list(folder, part, image_of.keys(), expected)
    if about.get("left_out"):
        count = len(about["left_out"])
        warn(f"{folder}: {count} cases were left out when it was prepared; dataset.json says why")
    if not image_of:
        found = f"{images}: found no file CASE_0000.nii.gz"
        raise OrgansegError(f"{found}; expected at least one; add images")
    return [_case_files(folder, n, image_of[n], label_of.get(n), about) for n in sorted(image_of)]


def _case_files(folder, name, image, label, about):
    """One case of a data folder, with what dataset.json says about it."""
    where, known = f"{folder}/dataset.json", about.get("annotated_labels", {})
    annotated = known.get(name, ORGAN_IDS)
    if label is not None and "annotated_labels" in about and name not in known:
        told = f"{name}: not among annotated_labels in {where}"
        warn(f"{told}, so all seven organs count as annotated")
    if not isinstance(annotated, list | tuple) or any(o not in ORGAN_IDS for o in annotated):
        found = f"{where}: found annotated_labels {annotated!r} of {name}"
        raise OrgansegError(f"{found}; expected a list of ids 1 to 7")
    patient = str(about.get("patients", {}).get(name, name))
    return CaseFiles(name, image, label, tuple(annotated), patient)


def _compare_with_list(folder, part, there, expected):
    """Refuse a folder that lacks a case which dataset.json lists, or has one that it does not."""
    if missing := sorted(expected - there):
        found = f"{folder}: found {len(expected) - len(missing)} of the {len(expected)} cases that "
        found += f"dataset.json lists for images{part} ({missing[0]} is missing); expected all"
        raise OrgansegError(f"{found}; prepare the data again, which adds what is missing")
    if expected and (strange := sorted(there - expected)):
        found = f"{folder}/images{part}: found {strange[0]}, which dataset.json does not list"
        advice = "take it out, or add it to the scans and prepare them again"
        raise OrgansegError(f"{found}; expected only cases that were prepared; {advice}")


def read_dataset_json(folder):
    """The dataset.json of a data folder as a dict; its label ids must be those of `ORGANS`."""
    path = Path(folder) / "dataset.json"
    if not path.is_file():
        warn(f"{folder}: no dataset.json, so all seven organs count as annotated")
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        ids = {name: int(value) for name, value in about["labels"].items() if name != "background"}
        for optional in ("annotated_labels", "patients", "cases"):
            about.get(optional, {}).items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{path}: found no readable labels ({error!r:.60})"
        raise OrgansegError(f"{found}; expected nnU-Net's dataset.json; correct it") from None
    if ids != {organ.name: organ.id for organ in ORGANS}:
        found = f"{path}: found labels {ids}"
        raise OrgansegError(f"{found}; expected those of organseg.ORGANS, in order; map them")
    return about


def write_dataset_json(folder, name, annotated, description="", **more):
    """Write dataset.json; see `find_cases` for an example.

    Parameters
    ----------
    annotated : dict, the name of each case with labels to the ids of its annotated organs
    more : further entries. `patients` maps cases to patients; `cases` maps 'imagesTr' and
        'imagesTs' to the names of all cases that must be there, so that `find_cases` refuses an
        unfinished folder.
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
        aside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def split(cases, test=37, seed=0):
    """A random split by patient, as in section III.B: two lists, 340 for training and 37 to test.

    Both are in the order of `cases`; every order of the input gives the same.

    Parameters
    ----------
    cases : sequence of CaseFiles, or of anything with a `name` (and perhaps a `patient`)
    test : int, the number of patients to hold out

    >>> training, test = split([CaseFiles(f"case{n}", None) for n in range(377)])
    >>> len(training), len(test)
    (340, 37)
    """
    patient_of = {case.name: getattr(case, "patient", "") or case.name for case in cases}
    patients = sorted(set(patient_of.values()))
    if not 0 <= test < len(patients):
        found = f"found {len(patients)} patients, {test} to test on"
        raise OrgansegError(f"{found}; expected one or more to train on; lower test")
    held_out = set(np.random.default_rng(seed).permutation(patients)[:test].tolist())
    training = [case for case in cases if patient_of[case.name] not in held_out]
    return training, [case for case in cases if patient_of[case.name] in held_out]
