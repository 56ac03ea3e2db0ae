"""Which files of an archive make a case, and how they become an image and a label of the seven organs."""

import os
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas

from archives import open_archive
from organseg import Case, OrgansegError, load_case, save_image, save_label
from organseg.command.doubts import doubts
from organseg.files import IMAGE_ENDINGS
from organseg.folders import image_file, label_file
from organseg.geometry import AIR
from organseg.volumes import read_on_grid
from series import patient_id, read_series
from tables import ORGAN_ID


@dataclass
class Plan:
    """One case: its name, 'Tr' or 'Ts', its files in the archive, and the organs they are labelled for."""

    name: str
    part: str
    image: str
    labels: dict = field(default_factory=dict)  # a file to {organ id: values in it, or None for all above 0}
    annotated: tuple = ()
    is_series: bool = False  # the image is a folder of DICOM files
    series: str | None = None  # the UID of the one to take, if it holds several
    patient: str = ""

    def image_in(self, out):
        return image_file(out, self.part, self.name)

    def label_in(self, out):
        return label_file(out, self.part, self.name)

    def is_in(self, out, archive):
        """True where image and label are there, and no older than the files of a folder that they were made from."""
        made = [(self.image_in(out), [self.image])] + ([(self.label_in(out), list(self.labels))] if self.labels else [])
        return all(file.is_file() and file.stat().st_mtime >= archive.changed(names) for file, names in made)


def plan_cases(archive, table):
    """All cases of an archive, sorted by name, those without a label (name to reason), and the files of no case."""
    there, plans, left_out, keys, seen, found = defaultdict(list), {}, {}, set(), {}, []
    for name in archive.names():
        there[_plain(name)].append(name)
    held_out = _held_out(archive, table)
    for entry in [entry for entry in ("image", "dicom", "unlabelled") if entry in table]:
        folders = entry == "dicom" or not (entry == "image" or _plain(table[entry]).endswith(IMAGE_ENDINGS))
        drawn = entry != "unlabelled" and bool({"label", "masks"} & set(table))
        found += [(match, drawn, folders) for match in _matches(table[entry], there, table, folders)]
    # Where images and labels lie side by side, a label may look like another image.
    labels = {name for match, drawn, _ in found if drawn for name in _labels_of(match.groupdict(), table, there)}
    for match, drawn, is_series in found:
        image, key = _only(there, match[0]), match["case"]
        if image in labels:
            continue
        name = re.sub(r"[^\w.-]", "_", table.get("name", "{case}").format(**match.groupdict())).removesuffix("_0000")
        # Windows and macOS take A and a for one file; a link gives one scan two names, one to train and one to test on.
        for mark in (name.casefold(), os.path.realpath(archive.path / image)):
            if mark in seen:
                raise OrgansegError(f"found {seen[mark]} and {image} for the case {name}; rename or remove one of them")
            seen[mark] = image
        keys.add(key)
        plan = Plan(
            name, "Ts" if key in held_out or not drawn else "Tr", image, is_series=is_series,
            series=table.get("series", {}).get(key), patient=str(table.get("patients", {}).get(key, "")),
        )  # fmt: skip
        if drawn:
            plan.labels = _labels_of(match.groupdict(), table, there)
            organs = table.get("annotated", {}).get(key)
            ids = {organ for values in plan.labels.values() for organ in values}
            plan.annotated = tuple(sorted(ids & {ORGAN_ID[o] for o in organs} if organs is not None else ids))
            if not plan.labels:
                left_out[name] = f"found no label for {image}; expected {table.get('label') or table.get('masks')}"
                continue
        plans[name] = plan
    _check_names(table, keys, plans.values())
    _join_patients(archive, plans.values())
    used = {*seen.values(), *labels}
    strange = [n for n in archive.names() if not used & {n, *(p.as_posix() for p in Path(n).parents)}]
    plans = sorted(plans.values(), key=lambda plan: (plan.part == "Ts" and not plan.labels, plan.name))
    return plans, left_out, sorted(strange, key=lambda n: (not n.lower().endswith(IMAGE_ENDINGS), n))


def _plain(name):
    """A name whose ending is written as in our folders: .nii.gz for every NIfTI file, and small letters."""
    ending = next((ending for ending in IMAGE_ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)] + (".nii.gz" if ending.startswith(".nii") else ending)


def _only(there, name):
    """The one file of a plain name; a folder's name is its own."""
    if len(files := there.get(name, [name])) > 1:
        raise OrgansegError(f"found {' and '.join(files)} for one image or label; expected one; remove the other")
    return files[0]


def _check_names(table, keys, plans):
    """Refuse what a mapping says of cases and masks that are not there: a misspelt name would be passed over."""
    for entry in ("annotated", "patients", "series"):
        if strange := sorted(set(table.get(entry, ())) - keys):
            listed = ", ".join(sorted(keys)[:5])
            raise OrgansegError(f"found {strange[0]!r} under [{entry}]; expected a case ({listed}); correct the name")
    masks = {ORGAN_ID[organ]: mask for organ, mask in table.get("organs", {}).items()} if "masks" in table else {}
    seen = {organ for plan in plans for organs in plan.labels.values() for organ in organs}
    if seen and (lost := sorted(set(masks) - seen)):
        raise OrgansegError(f"found no case with the mask {masks[lost[0]]!r}; expected one; correct [organs]")


def _join_patients(archive, plans):
    """Name each DICOM case's patient after the patient's first case: the identity itself is written nowhere."""
    first = {}
    for plan in sorted(plans, key=lambda plan: plan.name):
        known = plan.patient or plan.part == "Ts" or not plan.is_series
        identity = "" if known else patient_id(archive.path / plan.image, plan.series)
        if identity:
            plan.patient = first.setdefault(identity, plan.name)
            if plan.patient != plan.name:
                print(f"{plan.name} and {plan.patient} are of one patient (PatientID); if not, say so under [patients]")


def _matches(pattern, there, table, folders):
    """Files, or outermost folders, whose names look like a pattern, with {case} and {part}; a folder may lie around."""
    fields = {"case": table.get("case", "[^/]+?"), "part": "|".join(table.get("parts", ()))}
    expression, seen = "(?P<around>(?:[^/]+/)?)", set()
    for piece in re.split(r"(\{\w+\})", _plain(pattern.strip("/"))):
        name = piece[1:-1] if piece.startswith("{") else None
        if name is None:
            expression += re.escape(piece)
        elif name in fields:
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>{fields[name]})"
            seen.add(name)
        else:
            raise OrgansegError(f"found {piece} in the pattern {pattern!r}; expected {{case}} or {{part}}; correct it")
    if "case" not in seen:
        raise OrgansegError(f"found the pattern {pattern!r}; expected {{case}} in it; correct the mapping")
    places = sorted({p.as_posix() for name in there for p in Path(name).parents} - {"."}) if folders else there
    found = {name: match for name in places if (match := re.fullmatch(expression, name))}
    return [match for name, match in found.items() if not found.keys() & {p.as_posix() for p in Path(name).parents}]


def _labels_of(fields, table, there):
    """The label files of a case that are there, each with the values that are organs in it."""
    organs = {ORGAN_ID[organ]: value for organ, value in table.get("organs", {}).items()}
    if "label" in table:
        name = _plain(fields["around"] + table["label"].format(**fields))
        listed = {organ: [value] if isinstance(value, int) else list(value) for organ, value in organs.items()}
        return {_only(there, name): listed} if name in there else {}
    found = {}
    for organ, mask in organs.items():
        name = _plain(fields["around"] + table.get("masks", "").format(organ=mask, **fields))
        if name in there:
            found[_only(there, name)] = {organ: None}
    return found


def _held_out(archive, table):
    """The cases that the publisher set aside for testing."""
    if "split" not in table:
        return set()
    file = next((n for n in archive.names() if n.rpartition("/")[2] == table["split"]), None)
    if file is None:
        print(f"found no {table['split']}: no case is set aside for testing")
        return set()
    with tempfile.TemporaryDirectory() as folder:
        rows = pandas.read_csv(archive.extract(file, folder), sep=";", encoding="utf-8-sig", dtype=str)
    return set(rows.loc[rows["split"] == "test", "image_id"])


def prepare_case(plan, archive, table, out, scratch):
    """Read one case from the archive and write it; returns the doubts about the scan (see `organseg.command.doubts`).

    Raises
    ------
    OrgansegError
        A file is damaged, no CT, or lies on another grid than the image; the label has a value that nobody named.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        case, like, found = _read_image(plan, archive, folder)
        found += doubts(case)
        if plan.labels:
            label, overlaps = _read_labels(plan, archive, table, case, folder)
            found += overlaps
            if not label.any():
                found.append("no voxel of the label is an organ; if the scan shows one, look at [organs]")
            save_label(label, case.affine, plan.label_in(out), like)
        # A NaN has no whole number; what was not measured counts as air, here as in training.
        save_image(np.where(np.isfinite(case.image), case.image, AIR), case.affine, plan.image_in(out), like)
    return found


def prepare_case_from(path, table, out, scratch, plan):
    """The same in a process that has not opened the archive."""
    with open_archive(path) as archive:
        return prepare_case(plan, archive, table, out, scratch)


def _read_image(plan, archive, folder):
    """The case without its label, the file whose position and unit are kept, and the doubts about what was read."""
    if plan.is_series:
        image, affine, found = read_series(archive.path / plan.image, plan.series)
        return Case(image, None, affine, plan.name, plan.annotated), None, found
    file = archive.extract(plan.image, folder)
    case, header = load_case(file, annotated=plan.annotated, name=plan.name), nibabel.load(file).header
    # ITK, and nnU-Net with it, refuses a sheared sform without a qform beside it: there one is made anew.
    return case, None if header.get("sform_code") and not header.get("qform_code") else file, []


def _read_labels(plan, archive, table, case, folder):
    """The label image with our ids, on the grid and axes of the case's image; and what is doubtful about it.

    An organ that was not annotated in this case is not written, whatever its file says.
    """
    label, found = np.zeros(case.image.shape, np.uint8), []
    for file, organs in plan.labels.items():
        voxels = read_on_grid(archive.extract(file, folder), case.image, case.affine, plan.image)
        if (
            voxels.dtype.kind == "f" and np.abs(whole := np.rint(voxels) - voxels).max() < 0.01 and whole.any()
        ):  # a scale factor's rounding
            voxels = voxels + whole
            found.append(f"the labels of {Path(file).name} are not quite whole numbers; they were rounded")
        known = {0, *table.get("others", ())}
        for organ, values in organs.items():
            if values is None:
                if twice := int(np.count_nonzero(label[voxels > 0])):
                    found.append(f"{twice} voxels of {Path(file).name} are in another mask too; the later one counts")
                label[voxels > 0] = organ
            else:
                label[np.isin(voxels, values)] = organ
                known |= set(values)
        unknown = sorted(set(np.unique(voxels).tolist()) - known) if None not in organs.values() else []
        if unknown:
            listed = ", ".join(f"{value:g}" for value in unknown[:5])
            raise OrgansegError(
                f"{file}: found label values {listed}; expected {', '.join(f'{v:g}' for v in sorted(known))}; "
                "name them under [organs], or under others if they are none of the seven"
            )
    label[~np.isin(label, plan.annotated)] = 0
    return label, found
