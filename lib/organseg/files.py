"""Names of image files, and files that appear whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

IMAGE_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")


def case_name(image):
    """The case that an image belongs to: its file's name without ending and channel suffix.

    >>> case_name("imagesTr/liver_07_0000.nii.gz")
    'liver_07'
    """
    return label_name(image).removesuffix("_0000")


def label_name(label):
    """The case that a label or a prediction belongs to: its file's name without ending."""
    name = Path(label).name
    return name.removesuffix(next((e for e in IMAGE_ENDINGS if name.endswith(e)), ""))


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
