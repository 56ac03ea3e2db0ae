"""Names of image files, and files that appear whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from organseg.errors import OrgansegError, warn

IMAGE_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")  # in capitals too
NO_SCANS = (".png", ".csv", ".json", ".txt", ".md")  # what lies beside them, as a rule


def case_name(image):
    """The case that an image belongs to: its file's name without ending and channel suffix.

    >>> case_name("imagesTr/liver_07_0000.nii.gz")
    'liver_07'
    """
    return label_name(image).removesuffix("_0000")


def label_name(label):
    """The case that a label or a prediction belongs to: its file's name without ending."""
    name = Path(label).name
    ending = next((e for e in IMAGE_ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


def niftis_by_name(folder, name_of=label_name):
    """The NIfTI files of a folder, sorted: a dict of their paths by `name_of` the path.

    Two files of one name are refused; what is no NIfTI file is passed over with a warning.
    """
    found, others = {}, []
    for path in sorted(p for p in Path(folder).iterdir() if not p.name.startswith(".")):
        if not path.name.lower().endswith(IMAGE_ENDINGS[:2]):
            others += [path.name] if path.suffix not in NO_SCANS else []
        elif (name := name_of(path)) in found:
            both = f"found {found[name].name} and {path.name}"
            raise OrgansegError(f"{folder}: {both}; expected one file of {name}; take one out")
        else:
            found[name] = path
    if others:
        warn(f"{folder}: passed over {listed(others)}, no .nii or .nii.gz")
    return found


def listed(names, most=5):
    """The first few of these names as words, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@contextmanager
def whole_file(path):
    """Write a file aside and rename it at the end, so that it appears whole or not at all.

    Yields a temporary path in the same folder with the same ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = next((e for e in (".nii.gz", ".weights.h5") if path.name.endswith(e)), path.suffix)
    handle, aside = tempfile.mkstemp(prefix=".writing-", suffix=ending, dir=path.parent)
    os.close(handle)
    try:
        yield Path(aside)
        os.chmod(aside, 0o644)
        # On the disk before it has its name, even if the power fails. Windows asks for "+" here.
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)
