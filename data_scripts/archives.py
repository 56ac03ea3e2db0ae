"""Read single files out of a zip, a tar or a folder, without trusting it.

Nothing is ever unpacked as a whole: a caller asks for a member by its name and says where it goes, so a member's name
never becomes a path. Archives with names that would lead elsewhere are refused all the same: something is wrong there.
"""

import math
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

from organseg.errors import OrgansegError

LARGEST_MEMBER = 8 * 2**30  # bytes; the largest CT of these sets has under 1 GB
ZIP_RATIO = 1100  # deflate makes a file at most 1032 times smaller
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError)


def open_archive(path):
    """A `ZipArchive`, `TarArchive` or `Folder`, after a check of all its names and sizes.

    Raises
    ------
    OrgansegError
        No such file; no zip or tar; a name that leads out of the archive, a link, a device, a member over 8 GiB.
    """
    path = Path(path)
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise OrgansegError(f"{path}: no such file or folder; expected an archive; check the path")
    try:
        archive = ZipArchive(path) if ".zip" in path.name.lower() else TarArchive(path)
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:80]
        raise OrgansegError(
            f"{path}: found no readable zip or plain tar ({reason}); expected a whole one; delete it and fetch it again"
        ) from None
    for name, size in archive.sizes.items():
        parts = re.split(r"[\\/]", name)
        if name.startswith(("/", "\\")) or ".." in parts or re.match("[A-Za-z]:", name):
            raise OrgansegError(f"{path}: found the member {name!r}, which leads out of the archive; fetch it again")
        if size > LARGEST_MEMBER:
            raise OrgansegError(
                f"{path}: found the member {name!r}, which claims {size / 1e9:.0f} GB; expected a CT; fetch it again"
            )
    return archive


def files_under(folder, above=()):
    """All files of a folder and the folders in it, hidden ones left out, sorted.

    Linked folders are followed, unless a link leads back to a folder that it lies in. Links to nowhere are files too,
    so that a scan is not passed over for want of its target.
    """
    above = {*above, os.path.realpath(folder)}
    for path in sorted(p for p in Path(folder).iterdir() if not p.name.startswith(".")):
        if path.is_dir():
            yield from files_under(path, above) if os.path.realpath(path) not in above else ()
        elif path.is_file() or path.is_symlink():
            yield path


class _Archive:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close what is open; nothing but a zip stays open."""

    def names(self):
        """Names of all files, sorted; hidden ones and macOS' additions left out."""
        hidden = (".", "__MACOSX")
        return sorted(n for n in self.sizes if not any(part.startswith(hidden) for part in n.split("/")))

    def changed(self, names):
        """When the latest of some members was changed (s); an archive never changes."""
        return 0.0

    def extract(self, name, folder):
        """Copy one member into a folder, and return the path of the copy (of the file itself, from a folder)."""
        target = Path(folder) / Path(name).name
        try:
            with self._open(name) as member, open(target, "wb") as file:
                shutil.copyfileobj(member, file, 2**20)
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:80]
            found = f"found damage in {self.path.name} ({reason})"
            raise OrgansegError(f"{name}: {found}; delete that and fetch it again") from None
        if target.stat().st_size != self.sizes[name]:
            raise OrgansegError(f"{name}: {self.path.name} ends in the middle of it; delete that and fetch it again")
        return target


class ZipArchive(_Archive):
    """A zip; the check sum of each member is verified when it is read."""

    def __init__(self, path):
        self.path = path
        self._file = zipfile.ZipFile(path)
        self.sizes = {}
        for info in self._file.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise OrgansegError(f"{path}: found the link {info.filename!r}; expected files only; fetch it again")
            if info.file_size > 2**20 + ZIP_RATIO * info.compress_size:
                raise OrgansegError(
                    f"{path}: found the member {info.filename!r}, {info.compress_size} bytes that claim to be "
                    f"{info.file_size / 1e9:.0f} GB; fetch it again"
                )
            if not info.is_dir():
                self.sizes[info.filename] = info.file_size

    def close(self):
        self._file.close()

    def _open(self, name):
        return self._file.open(name)  # several at a time may be open: zipfile guards its position in the file


class TarArchive(_Archive):
    """A tar without compression, so that each member can be read without those before it."""

    def __init__(self, path):
        self.path = path
        self.sizes, self._members = {}, {}
        with tarfile.open(path, "r:") as file:
            for member in file:
                if member.isfile():
                    name = member.name.removeprefix("./")
                    self.sizes[name], self._members[name] = member.size, member
                elif not member.isdir():
                    raise OrgansegError(f"{path}: found {member.name!r}, a link or device; fetch it again")

    @contextmanager
    def _open(self, name):
        with tarfile.open(self.path, "r:") as file, file.extractfile(self._members[name]) as member:
            yield member


class Folder(_Archive):
    """A folder; its files are read where they lie."""

    def __init__(self, path):
        self.path = path
        there = {p.relative_to(path).as_posix(): p for p in files_under(path)}
        self.sizes = {name: p.stat().st_size if p.exists() else 0 for name, p in there.items()}

    def changed(self, names):
        paths = [self.path / name for name in names]
        files = [f for path in paths for f in [path, *(files_under(path) if path.is_dir() else ())]]
        return max(file.stat().st_mtime if file.exists() else math.inf for file in files)

    def extract(self, name, folder):
        return self.path / name
