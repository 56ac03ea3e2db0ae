"""Downloads from a real server (nginx) through faults: what arrives is whole, or a line says what is wrong."""

import contextlib
import hashlib

import numpy as np
import pytest
from data_sets import faulty, serving

import download
from download import fetch
from organseg import OrgansegError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server(nginx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with serving(nginx, folder) as address:
        (folder / "files" / "set.zip").write_bytes(CONTENT)
        yield address, folder / "files"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "LONGEST_WAIT", 0)


def goes_on_at(wanted, broke):
    """True where a Range header asks for the rest from where a connection broke, but for the last unfinished piece."""
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    return broke - download.PIECE <= start <= broke


@pytest.mark.parametrize("place", ["", "/noranges", "/moved"])
def test_a_file_arrives_whole_also_without_ranges_and_after_a_redirect(server, tmp_path, place):
    fetch(f"{server[0]}{place}/set.zip", tmp_path / "set.zip", MD5, len(CONTENT))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_connection_goes_on_where_it_broke(server, tmp_path, share):
    with faulty(server[0], [share]) as (address, seen):
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5)
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert seen[0][0] is None and goes_on_at(seen[1][0], share * len(CONTENT))
    assert [status for _, status in seen] == [200, 206]


def test_a_download_of_an_earlier_run_goes_on(server, tmp_path):
    with faulty(server[0], [0.5, *[503] * 10]) as (address, _), pytest.raises(OrgansegError, match="503, 6 times"):
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5)
    assert not (tmp_path / "set.zip").exists()
    with faulty(server[0], []) as (address, seen):
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5)
    assert len(seen) == 1 and goes_on_at(seen[0][0], 1_500_000)
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_without_ranges_a_cut_download_begins_anew(server, tmp_path):
    with faulty(server[0], [0.5]) as (address, seen):
        fetch(f"{address}/noranges/set.zip", tmp_path / "set.zip", MD5)
    assert [status for _, status in seen] == [200, 200]
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(server, tmp_path):
    file = server[1] / "changing.zip"
    file.write_bytes(b"old" * 500_000)
    with faulty(server[0], [0.5, *[503] * 10]) as (address, _), contextlib.suppress(OrgansegError):
        fetch(f"{address}/changing.zip", tmp_path / "set.zip")
    file.write_bytes(b"n" * 1_400_000)
    fetch(f"{server[0]}/changing.zip", tmp_path / "set.zip")  # no MD5 is known, so only the server can tell
    assert (tmp_path / "set.zip").read_bytes() == b"n" * 1_400_000


def test_a_busy_server_is_asked_again(server, tmp_path):
    with faulty(server[0], [503, 429, 500]) as (address, seen):
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5)
    assert [status for _, status in seen] == [503, 429, 500, 200]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_ends_at_once_in_one_line(server, tmp_path, status):
    with faulty(server[0], [status] * 3) as (address, seen), pytest.raises(OrgansegError) as error:
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5)
    assert len(seen) == 1
    assert f"answered {status}" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.zip"))


def test_a_wrong_check_sum_removes_what_came(server, tmp_path):
    with pytest.raises(OrgansegError, match=f"found MD5 {MD5}; expected {'0' * 32}"):
        fetch(f"{server[0]}/set.zip", tmp_path / "set.zip", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_page_instead_of_the_file_is_refused_by_its_size(server, tmp_path):
    with pytest.raises(OrgansegError, match=f"found {len(CONTENT)} bytes; expected 12"):
        fetch(f"{server[0]}/set.zip", tmp_path / "set.zip", None, 12)
    assert list(tmp_path.iterdir()) == []


def test_no_server_at_all_ends_in_one_line(tmp_path):
    with pytest.raises(OrgansegError, match="no connection to the server, 6 times in a row"):
        fetch("http://127.0.0.1:9/set.zip", tmp_path / "set.zip")


def test_a_part_that_is_whole_already_is_only_checked(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(CONTENT)  # killed between the last byte and the check
    with faulty(server[0], []) as (address, seen):
        fetch(f"{address}/set.zip", tmp_path / "set.zip", MD5, len(CONTENT))
    assert seen == []


def test_what_is_there_is_not_asked_for(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"here")
    fetch("http://127.0.0.1:9/set.zip", tmp_path / "set.zip", MD5)
