"""Bring a CT data set from the web, or scans of your own, into the folder that trains.

    python data_scripts/prepare.py --list
    python data_scripts/prepare.py totalsegmentator-small --out data/totalsegmentator
    python data_scripts/prepare.py own --from scans --mapping mapping.toml --out data/own

The result has the layout of nnU-Net and the Medical Segmentation Decathlon (see `organseg.folders`), the seven organs
under organseg's ids, and a card with licence and citation. Run the same command again after an interruption: it does
only what is missing. While cases are missing, `organseg train` refuses the folder.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import psutil
import requests
from tqdm.auto import tqdm

from archives import files_under, open_archive
from download import check_md5, fetch
from organseg import OrgansegError, write_dataset_json
from organseg.command.workers import as_done
from organseg.files import whole_file
from organseg.folders import image_file, label_file
from plans import plan_cases, prepare_case, prepare_case_from
from tables import DATASETS, card, dataset, list_of, own_table, read_datasets, recipe, size

MEMORY_PER_CASE = 3e9  # bytes: a scan of 512×512×700 voxels as it is stored, in float32 and with its label


def main(arguments=None):
    """The command line. Bad input or a failure ends in one line on standard error and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        sets = read_datasets(options.datasets)
        if options.list:
            return print(list_of(sets))
        if not options.name or not options.out:
            raise OrgansegError("found no data set or no --out; expected both; see --list and --help")
        left_out = prepare(options, sets)
    except OrgansegError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        sys.exit(_fail(f"{' '.join(str(error).split())}; make room or check the path, then run this again: it goes on"))
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again: it goes on")
        sys.exit(130)
    if left_out:
        for name, reason in sorted(left_out.items()):
            print(f"left out {name}: {reason}", file=sys.stderr)
        cases = "1 case was" if len(left_out) == 1 else f"{len(left_out)} cases were"
        sys.exit(_fail(f"{cases} left out; the others are ready in {options.out}"))


def prepare(options, sets):
    """Do what one command line asks for; returns the cases that had to be left out, with the reasons."""
    out = Path(options.out)
    table = own_table(options) if options.name == "own" else dataset(sets, options.name)
    source = {"set": options.name, "recipe": recipe(table), "limit": options.limit}
    if options.name == "own":  # a fingerprint, since a path may name people
        source["place"] = hashlib.sha256(str(Path(options.source).resolve()).encode()).hexdigest()[:12]
    if options.source and Path(options.source).is_dir():
        _keep_off(out, Path(options.source))
    about = _check_place(out, source)
    if about and options.name != "own" and _is_complete(out, about, options.limit):
        count = sum(map(len, about["cases"].values()))
        print(f"{out}: all {count} cases are there, nothing to do")
        return {}
    if about and (before := about["source"]["limit"]) is not None and options.limit is not None:
        source["limit"] = max(before, options.limit)
    elif about:
        source["limit"] = None
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / ".preparing.lock", timeout=0)
    try:
        with lock:
            return _prepare_locked(options, table, source, out, about or {})
    except filelock.Timeout:
        raise OrgansegError(f"{out}: another run is preparing this folder; wait until it has ended") from None


def _prepare_locked(options, table, source, out, before):
    scratch = out / ".scratch"
    for litter in [scratch, *out.glob(".writing-*"), *out.glob("[il]*T[rs]/.writing-*")]:  # of a run that was killed
        shutil.rmtree(litter) if litter.is_dir() else litter.unlink(missing_ok=True)
    if not options.source and "register" in table:
        raise OrgansegError(
            f"{options.name}: found no --from; register at {table['register']}, download the archive, and name it "
            "with --from"
        )
    if "pictures" in table:
        return _prepare_pictures(options, table, out)
    path = _obtain(options, table, source, out)
    with open_archive(path) as archive:
        plans, left_out, strange = plan_cases(archive, table)
        if not plans and not left_out:
            pattern = table.get("image") or table.get("dicom") or table.get("unlabelled")
            instead = ", ".join(archive.names()[:3]) or "nothing"
            raise OrgansegError(f"{path}: found no file like {pattern}, but {instead}; expected it; check the path")
        if strange and options.name == "own":
            print(f"passed over {len(strange)} files that the mapping does not name: {', '.join(strange[:5])}")
        plans = plans[: source["limit"]]
        annotated, done = before.get("annotated_labels", {}), before.get("prepared", {})
        there = [
            p for p in plans
            if p.name in done and p.is_in(out, archive) and annotated.get(p.name, []) == [*p.annotated]
        ]  # fmt: skip
        done = {plan.name: done[plan.name] for plan in there}
        missing = [plan for plan in plans if plan.name not in done]

        def write(plans, left_out):
            _write_dataset_json(out, options.name, table, source, plans, left_out, done)

        write(plans, left_out)  # before the first case: until all are there, it says what is missing
        (out / "DATASET.md").write_text(card(options.name, table), encoding="utf-8")
        _remove_withdrawn(out, before, plans)
        if there:
            print(f"{len(there)} of {len(plans)} cases are there already")
        # Closed also when writing fails here, so that no case is worked on after the lock is gone.
        if options.scheduler:
            results = _share_cases(path, table, missing, out, scratch, options.scheduler)
        else:
            results = _prepare_cases(archive, table, missing, out, scratch, options.workers)
        with closing(results):
            for plan, tell in results:
                try:
                    done[plan.name] = tell()
                except OrgansegError as error:
                    left_out[plan.name] = str(error)
                else:
                    write(plans, left_out)
    ready = [plan for plan in plans if plan.name not in left_out]
    write(ready, left_out)
    _remove_withdrawn(out, before, ready)
    for name, lines in sorted(done.items()) if options.name == "own" else ():
        if lines:
            print(f"look at {name}: {'; '.join(lines)}")
    if not ready:
        raise OrgansegError(f"{path}: found no usable case ({next(iter(left_out.values()))}); nothing was prepared")
    if options.delete_archive and not options.source and path.is_file():
        path.unlink()
        with suppress(OSError):  # it is not empty: what else lies there is not ours
            path.parent.rmdir()
    in_test = sum(plan.part == "Ts" for plan in ready)
    print(f"{out}: {len(ready) - in_test} cases to train on" + (f", {in_test} in imagesTs" if in_test else ""))
    return left_out


def _obtain(options, table, source, out):
    """The archive or folder to read, fetched and checked if need be, after a look at the free disk."""
    if options.name == "own":
        path = Path(options.source)
        _check_disk(out, sum(file.stat().st_size for file in files_under(path) if file.is_file()))
        return path
    if options.name == "sample-patient" and not options.source:
        return _fetch_sample_patient()
    path = Path(options.source or out / "archive" / table["url"].rpartition("/")[2])
    _check_disk(out, table.get("bytes", table["gigabytes"] * 1e9), source["limit"], table["cases"], path)
    if not options.source:
        fetch(table["url"], path, table.get("md5"), table.get("bytes"), lambda part: open_archive(part).close())
    elif path.is_file() and not (out / "dataset.json").is_file():
        check_md5(path, table.get("md5"), "look whether the download is whole, or of another version")
    return path


def _fetch_sample_patient():
    """The folder of its files, in the user's cache, where the chapters look too."""
    from organseg.course.patient import fetch_files  # the other sets need none of the course

    try:
        return fetch_files()
    except (requests.RequestException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OrgansegError(f"sample-patient: {reason}; expected a connection; run this again") from None


def _remove_withdrawn(out, before, plans):
    """Remove the files of cases that an earlier run prepared and that are no longer among the scans."""
    kept = {file for plan in plans for file in (plan.image_in(out), plan.label_in(out))}
    for part in ("Tr", "Ts"):
        for name in before.get("cases", {}).get(f"images{part}", ()):
            files = [image_file(out, part, name), label_file(out, part, name)]
            gone = [file for file in files if file.is_file() and file not in kept]
            for file in gone:
                file.unlink()
            if gone:
                print(f"removed {name}: it is no longer among the scans")


# The place where it goes


def _keep_off(out, source):
    """Refuse a folder to write in that lies among the files to read, also by way of a link."""
    folders = {source} | {folder for file in files_under(source) for folder in file.parents}
    read = {os.path.realpath(folder) for folder in folders - {*source.parents}}
    for target in (out, *(out / f"{kind}{part}" for kind in ("images", "labels") for part in ("Tr", "Ts"))):
        target = Path(os.path.realpath(target))
        if read & {str(folder) for folder in (target, *target.parents)}:
            raise OrgansegError(f"{out}: lies inside {source}, where the scans are read; choose a folder beside it")


def _check_place(out, source):
    """The dataset.json of an earlier run of the same kind, or None; refuses a folder that holds anything else."""
    file = out / "dataset.json"
    if not file.is_file():
        if any(any(out.glob(f"{kind}T[rs]/*")) for kind in ("images", "labels")):
            raise OrgansegError(f"{out}: found images of another origin; expected an empty folder; choose another")
        return None
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        before = about["source"]
        about["cases"]["imagesTr"], about["cases"]["imagesTs"], before["limit"]
    except (ValueError, KeyError, TypeError):
        raise OrgansegError(
            f"{out}: found a dataset.json of another origin; expected an empty folder; choose another"
        ) from None
    if not any(out.glob("images*/*")):
        return None  # nothing was prepared, so nothing is mixed
    for key, what in (("set", "data set"), ("recipe", "mapping (organs or files)"), ("place", "folder of scans")):
        if before.get(key) != source.get(key):
            raise OrgansegError(
                f"{out}: found cases prepared with another {what}; expected {source['set']} as it is asked for now; "
                "choose another folder, or delete this one"
            )
    return about


def _is_complete(out, about, limit):
    """True where an earlier run finished at least what is asked for now."""
    before = about["source"]["limit"]
    enough = before is None or (limit is not None and limit <= before)
    cases = [(part, name) for part in ("Tr", "Ts") for name in about["cases"][f"images{part}"]]
    return enough and not about.get("left_out") and all(image_file(out, *case).is_file() for case in cases)


def _check_disk(out, archive_bytes, limit=None, cases=None, archive=None):
    """State the need of disk, and refuse where it does not fit.

    Nothing of a case grows by preparing it, the compression aside, so an archive's bytes per case bound a case's;
    `limit` of its `cases` are taken. `archive` is the path of what is still to be fetched, unless it is there.
    """
    prepared = 1.2 * archive_bytes * (min(1.0, limit / cases) if cases and limit is not None else 1.0)
    prepared = max(0, prepared - sum(file.stat().st_size for file in out.glob("*/*.nii.gz")))
    to_fetch = 0
    if archive is not None and not archive.exists():
        part = archive.with_name(archive.name + ".part")
        to_fetch = archive_bytes - (part.stat().st_size if part.is_file() else 0)
    need, free = to_fetch + prepared, shutil.disk_usage(out).free
    print(f"disk: {size(to_fetch)} to fetch and about {size(prepared)} of cases; {size(free)} are free")
    if need > free:
        raise OrgansegError(
            f"{out}: found {size(free)} of free disk; expected {size(need)}; make {size(need - free)} of room, take "
            "fewer cases with --limit, or choose another disk"
        )


# The work


def _prepare_cases(archive, table, plans, out, scratch, workers):
    """Prepare several cases at once; yields each plan when it is done, and a function that returns the doubts about the
    case, or raises why it failed."""
    affordable = int(psutil.virtual_memory().available / MEMORY_PER_CASE)
    workers = workers or max(1, min(os.cpu_count() or 1, affordable))
    scratch.mkdir(exist_ok=True)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(plans), unit="case", desc="preparing") as bar:
        jobs = {pool.submit(prepare_case, plan, archive, table, out, scratch): plan for plan in plans}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    shutil.rmtree(scratch)


def _share_cases(path, table, plans, out, scratch, scheduler):
    """The same by the workers of a dask scheduler, which see these files."""
    scratch.mkdir(exist_ok=True)
    places = (path.absolute(), table, out.absolute(), scratch.absolute())
    with closing(as_done(partial(prepare_case_from, *places), plans, scheduler)) as done:
        for number, tell in done:
            yield plans[number], tell
    shutil.rmtree(scratch, ignore_errors=True)  # a worker that was lost may still be at it


def _prepare_pictures(options, table, out):
    """A set that is one file of pictures: fetch it, see that it loads without pickle, keep it."""
    file = out / table["url"].rpartition("/")[2]
    if options.source:
        check_md5(Path(options.source), table["md5"], "look whether the download is whole, or of another version")
        with whole_file(file) as aside:
            shutil.copyfile(options.source, aside)
    else:
        _check_disk(out, table["gigabytes"] * 1e9, 0, 1, file)
        fetch(table["url"], file, table["md5"])
    try:
        with np.load(file, allow_pickle=False) as stored:
            counts = {part: len(stored[f"{part}_images"]) for part in table["pictures"]}
            if any(len(stored[f"{part}_labels"]) != count for part, count in counts.items()):
                raise ValueError("not as many labels as pictures")
    except (OSError, ValueError, KeyError, EOFError) as error:
        message = f"{file}: found no pictures with labels ({error!r:.60}); delete it and run this again"
        raise OrgansegError(message) from None
    (out / "DATASET.md").write_text(card(options.name, table), encoding="utf-8")
    print(f"{file}: pictures: " + ", ".join(f"{part} {count}" for part, count in counts.items()))
    return {}


def _write_dataset_json(out, name, table, source, plans, left_out, done):
    """Write dataset.json; `done`: the cases that are ready, with the doubts about each."""
    patients = {plan.name: plan.patient for plan in plans if plan.patient}
    write_dataset_json(
        out, name, {plan.name: plan.annotated for plan in plans if plan.labels}, table.get("title", ""),
        licence=table.get("licence", ""), reference=table.get("source", ""), source=source,
        left_out=dict(sorted(left_out.items())), prepared=dict(sorted(done.items())),
        cases={f"images{part}": [plan.name for plan in plans if plan.part == part] for part in ("Tr", "Ts")},
        **({"patients": patients} if patients else {}),
    )  # fmt: skip


def _fail(line):
    print(f"prepare: {line}", file=sys.stderr)
    return 2


def _parser():
    parser = argparse.ArgumentParser(prog="prepare.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", nargs="?", help="a data set of --list, or 'own'")
    parser.add_argument("--out", help="data folder to write, or to complete")
    parser.add_argument("--list", action="store_true", help="show the data sets: size, cases, licence, organs")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N cases")
    found = "an archive (or unpacked folder) that you have; needed for btcv and own"
    parser.add_argument("--from", dest="source", metavar="PATH", help=found)
    mapping = "own: where the scans lie and which label is which organ (TOML)"
    parser.add_argument("--mapping", metavar="FILE", help=mapping)
    parser.add_argument("--workers", type=_positive, metavar="N", help="cases at once (all cores, as memory allows)")
    shared = "share the cases among dask's workers, or 'local'"
    parser.add_argument("--scheduler", metavar="ADDRESS", help=shared)
    parser.add_argument("--delete-archive", action="store_true", help="delete what was fetched once all is prepared")
    mirror = "another table of data sets, e.g. with a mirror's addresses"
    parser.add_argument("--datasets", default=DATASETS, metavar="FILE", help=mirror)
    return parser


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


if __name__ == "__main__":
    main()
