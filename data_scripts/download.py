"""Fetch one large file: a broken download goes on where it stopped, and a file has its name only when it is right."""

import hashlib
import os
import time

import requests
from tqdm.auto import tqdm

from organseg.errors import OrgansegError

PIECE = 2**16  # bytes; what a broken connection loses at most
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
ATTEMPTS = 6  # that bring nothing, one after the other
LONGEST_WAIT = 60  # seconds
PASSING = {408, 429, 500, 502, 503, 504}  # answers that a server takes back when asked again


def fetch(url, file, md5=None, size=None, check=None):
    """Download `url` to `file`, unless it is there.

    The bytes gather in ``FILE.part``. When the connection breaks, or the program was killed, the download goes on
    there, if the server still has the same file and answers range requests (RFC 9110, section 14); otherwise it begins
    anew.

    Parameters
    ----------
    url : str
    file : Path
    md5 : str, what the whole file must have; None if nobody published it
    size : int, bytes, likewise
    check : function that raises an OrgansegError where the file (its path) is not what it should be

    Raises
    ------
    OrgansegError
        The server refuses, cannot be reached, or sends another file than expected; nothing is left under `file`.
    """
    if file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    failures = 0
    while True:
        before = _bytes_in(part)
        try:
            if _receive(url, part, size):
                break
            reason, wait = "the connection closed early", None
        except requests.HTTPError as error:
            answer = error.response
            if answer.status_code not in PASSING:
                raise OrgansegError(
                    f"{url}: the server answered {answer.status_code} {answer.reason}; expected the file; "
                    "try later, or fetch it by hand and name it with --from"
                ) from None
            reason, wait = f"the server answered {answer.status_code}", _asked_to_wait(answer)
        except requests.RequestException as error:
            reason, wait = _short(error), None
        failures = 0 if _bytes_in(part) > before else failures + 1
        if failures == ATTEMPTS:
            raise OrgansegError(
                f"{url}: {reason}, {ATTEMPTS} times in a row; expected the file; "
                f"look at the connection and run this again, it goes on at {_bytes_in(part) / 1e6:.1f} MB"
            )
        wait = min(LONGEST_WAIT, 2**failures) if wait is None else wait
        tqdm.write(f"{reason}; next try in {wait:.0f} s, from {_bytes_in(part) / 1e6:.1f} MB on")
        time.sleep(wait)
    if size is not None and _bytes_in(part) != size:
        found = _bytes_in(part)
        _discard(part)
        raise OrgansegError(f"{url}: found {found} bytes; expected {size}; removed them; look at the address")
    check_md5(part, md5, f"{url}: removed what came; run this again, or look whether the data set has a new version")
    try:
        if check:
            check(part)
    except OrgansegError as error:
        _discard(part)
        raise OrgansegError(f"{error} (it came from {url} and is removed: look there in a browser)") from None
    os.replace(part, file)
    _tag(part).unlink(missing_ok=True)


def check_md5(path, md5, advice):
    """Compare a file's MD5 with what its publisher states; a wrong ``.part`` is removed."""
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while block := file.read(16 * PIECE):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        if path.suffix == ".part":
            _discard(path)
        raise OrgansegError(f"{path.name}: found MD5 {digest.hexdigest()}; expected {md5}; {advice}")


def _receive(url, part, size):
    """One connection's worth of the file, added to `part`; True when it is whole."""
    have = _bytes_in(part)
    if size is not None and have == size:
        return True
    headers = {"Accept-Encoding": "identity"}
    if have and _tag(part).is_file():
        # With If-Range a server whose file has changed sends all of the new one, instead of its end.
        headers |= {"Range": f"bytes={have}-", "If-Range": _tag(part).read_text(encoding="utf-8")}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing lies beyond what we have
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return True
            _discard(part)
            return False
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").lower().startswith("text/html"):  # what we have is kept
            raise OrgansegError(f"{url}: the server sent a web page; expected the file; look there in a browser")
        goes_on = answer.status_code == 206
        if not goes_on:
            have = 0
        # Only a strong validator promises the same bytes.
        tag = answer.headers.get("ETag", "")
        tag = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
        _tag(part).write_text(tag, encoding="utf-8") if tag else _tag(part).unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else size
        with open(part, "ab" if goes_on else "wb") as file, _bar(f"fetching {part.stem}", total, have) as bar:
            for block in answer.iter_content(PIECE):
                file.write(block)
                bar.update(len(block))
    return total is None or _bytes_in(part) >= total


def _bar(what, total, done=0):
    return tqdm(desc=what, total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1000, mininterval=0.5)


def _bytes_in(part):
    return part.stat().st_size if part.is_file() else 0


def _tag(part):
    """Where the server's name for this version of the file is kept."""
    return part.with_name(part.name + ".tag")


def _discard(part):
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _asked_to_wait(answer):
    asked = answer.headers.get("Retry-After", "")
    return min(LONGEST_WAIT, int(asked)) if asked.isdigit() else None


def _short(error):
    """What went wrong with a connection, in a few words."""
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split())[:100]
