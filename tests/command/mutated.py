"""Files with planted damage, and what becomes of them: a case, or one line; nothing else.

`python tests/command/mutated.py 10000` tries ten thousand files; the tests try five hundred.
"""

import contextlib
import gzip
import io
import json
import logging
import random
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "data_scripts"))
SLOWEST = 10  # seconds that one file may take
NUMBERS = (0, 1, -1, 2, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31))
REALS = (0.0, -0.0, 1e-45, 1e30, -1e30, 3.4e38, float("inf"), float("-inf"), float("nan"), 0.5, -1.0)
VALUES = (None, [], {}, -1, 0, 1, 1e300, 10**30, True, "", "x", "\u0000", [[]], {"a": None}, [1, 2, 3], float("nan"))
AFFINE = np.array([[-2.0, 0.1, 0, 9], [0.1, 2, 0, -9], [0, 0, 3, 5], [0, 0, 0, 1]])
MAPPING = """\
image = "imagesTr/{case}_0000.nii.gz"
label = "labelsTr/{case}.nii.gz"
others = [1, 2, 5, 6, 7]
[organs]
liver = 3
spleen = [4]
"""
EXTENSION = b"<?xml version='1.0'?><CIFTI Version='2'><Matrix"


def sound_volumes(folder):
    """Small files as they should be, of every kind that is read: their bytes by ending and kind."""
    voxels = np.zeros((8, 7, 6), np.int16)
    voxels[2:5, 2:5, 2:4] = 3
    made = {}
    for number, kind in enumerate((nibabel.Nifti1Image, nibabel.Nifti2Image)):
        image = kind(voxels, AFFINE)
        image.set_qform(AFFINE, code=1, strip_shears=True)
        for ending in (".nii", ".nii.gz"):
            path = folder / f"sound{number}{ending}"
            nibabel.save(image, path)
            made[path.name] = path.read_bytes()
    return made


def damaged(rng, name, content):
    """The bytes of a volume with something wrong in its header, its gzip stream, its length or its extensions."""
    zipped, inside = name.endswith(".gz"), content
    if zipped:
        inside = gzip.decompress(content)
    inside = bytearray(inside)
    header = 540 if "1" in name.partition(".")[0] else 348
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(header)
        how = rng.randrange(7)
        if how == 0:
            inside[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            struct.pack_into("<h", inside, min(place, header - 2), max(-32768, min(rng.choice(NUMBERS), 32767)))
        elif how == 2:
            struct.pack_into("<i", inside, min(place, header - 4), rng.choice(NUMBERS[:7] + NUMBERS[8:]))
        elif how == 3:
            struct.pack_into("<f", inside, min(place // 4 * 4, header - 4), rng.choice(REALS))
        elif how == 4:
            struct.pack_into("<d", inside, min(place // 8 * 8, header - 8), rng.choice(REALS[:3] + REALS[6:]))
        elif how == 5:
            del inside[rng.randrange(len(inside)) :]
            inside.extend(bytes(max(0, 16 - len(inside))))
            break
        else:
            size = rng.choice((16, 64, 2**20, 2**31 - 16))
            inside[header : header + 4] = b"\1\0\0\0"
            inside[header + 4 : header + 4] = struct.pack("<ii", size, rng.choice((0, 2, 4, 6, 32))) + EXTENSION
    inside = bytes(inside)
    if not zipped:
        return inside
    packed = bytearray(gzip.compress(inside, 1))
    if rng.random() < 0.3:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del packed[rng.randrange(len(packed)) :]
    return bytes(packed)


def garbled(rng, text, is_json=True):
    """A text with other bytes or an end too early; or a JSON text with a value exchanged or gone."""
    how = rng.randrange(4 if is_json else 2)
    if how == 0:
        content = bytearray(text.encode())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)
    if how == 1:
        return text.encode()[: rng.randrange(len(text))]
    about = json.loads(text)
    places = [(about, key) for key in about]
    places += [(value, key) for value in about.values() if isinstance(value, dict) for key in value]
    where, key = rng.choice(places)
    if how == 2:
        del where[key]
    else:
        where[key] = rng.choice(VALUES)
    return json.dumps(about).encode()


def outcome(call, *arguments):
    """'read'; 'refused' where it ends in one line (an OrgansegError, or exit status 2); or else what went wrong."""
    from organseg.errors import OrgansegError

    began, said = time.monotonic(), io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            call(*arguments)
        found = "read"
    except OrgansegError as error:
        found = "refused" if "\n" not in str(error) else f"more than a line: {error}"
    except SystemExit as error:
        lines = [line for line in said.getvalue().splitlines() if line.startswith(("organseg: ", "prepare"))]
        found = "refused" if error.code == 2 and lines else f"exit status {error.code}: {said.getvalue()[-200:]}"
    except BaseException as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
    took = time.monotonic() - began
    return found if took < SLOWEST else f"{took:.0f} s"


def ways_of_a_volume(folder):
    """What reads a volume, by name and by the share of the files that it is given: functions of a path."""
    from organseg import load_case
    from organseg.command.main import main

    sound = folder / "labels"
    nibabel.save(nibabel.Nifti1Image(np.full((8, 7, 6), 3, np.uint8), AFFINE), folder / "scan.nii")

    def evaluate(path):
        for kept, other in ((sound, folder / "predictions"), (folder / "predictions", sound)):
            for place in (kept, other):
                place.mkdir(exist_ok=True)
                for file in place.iterdir():
                    file.unlink()
            (kept / path.name).write_bytes(path.read_bytes())
            (other / f"{path.name.partition('.')[0]}.nii").write_bytes((folder / "scan.nii").read_bytes())
            main(["evaluate", str(sound), str(folder / "predictions"), "--out", str(folder / "table.csv")])

    return {
        "load_case, as a scan": (1, load_case),
        "load_case, as a label": (1, lambda path: load_case(folder / "scan.nii", path)),
        "organseg info": (4, lambda path: main(["info", str(path)])),
        "organseg evaluate": (16, evaluate),
    }


def try_volumes(count, seed=0):
    """Damage `count` volumes and give them to all that reads volumes: a Counter of (way, outcome)."""
    rng, found = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sound, ways = sound_volumes(folder), ways_of_a_volume(folder)
        for number in range(count):
            name = rng.choice(list(sound))
            path = folder / f"damaged{''.join(Path(name).suffixes)}"
            path.write_bytes(damaged(rng, name, sound[name]))
            for way, (every, call) in ways.items():
                if number % every == 0:
                    found[way, outcome(call, path)] += 1
    return found


def built_once(build):
    """The same function, building each network once: TensorFlow would keep thousands of them in memory."""
    made = {}

    def build_or_take(architecture):
        key = json.dumps(architecture)
        if key not in made:
            made[key] = build(architecture)
        return made[key]

    return build_or_take


def try_settings(count, seed=0):
    """The same for a mapping, dataset.json, run.json, weights and checkpoint."""
    import prepare
    from organseg import PROFILES, find_cases, load_run, make_phantom, runs, save_image, save_label, train
    from organseg.folders import image_file, label_file, write_dataset_json
    from organseg.runs import load_checkpoint

    rng, found = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as place:
        data, run = Path(place) / "data", Path(place) / "run"
        cases = [make_phantom(seed, (24, 24, 24)) for seed in range(3)]
        for case in cases:
            save_image(case.image, case.affine, image_file(data, "Tr", case.name))
            save_label(case.label, case.affine, label_file(data, "Tr", case.name))
        write_dataset_json(data, "three", {case.name: [3, 4] for case in cases}, patients={cases[0].name: "a"})
        small = {"levels": 2, "base_filters": 1, "crop_size": 8, "steps": 1}
        train(cases, run, PROFILES["lesson"].replace(**small), progress=False)
        runs.build = built_once(runs.build)
        limit_memory()
        mapping, out = Path(place) / "mapping.toml", Path(place) / "out"
        mapping.write_text(MAPPING, encoding="utf-8")
        own = ["own", "--from", str(data), "--mapping", str(mapping), "--out", str(out)]

        def prepare_own(_):
            shutil.rmtree(out, ignore_errors=True)
            prepare.main(own)

        files = {
            mapping: (2, prepare_own),
            data / "dataset.json": (1, lambda _: find_cases(data)),
            run / "run.json": (2, lambda _: load_run(run)),
            run / "model.weights.h5": (2, lambda _: load_run(run)),
            run / "checkpoint.npz": (1, lambda _: load_checkpoint(run)),
        }
        for path, (every, call) in files.items():
            whole = path.read_bytes()
            assert (sound := outcome(call, path)) == "read", f"undamaged {path.name}: {sound}"
            for _ in range(count // every):
                path.unlink()  # HDF5 keeps what it knows of a file that was not closed, until another takes its place
                if path.suffix in (".json", ".toml"):
                    path.write_bytes(garbled(rng, whole.decode(), path.suffix == ".json"))
                else:
                    content = bytearray(whole)
                    for _ in range(rng.choice((1, 4, 64))):
                        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                    path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
                found[path.name, outcome(call, path)] += 1
            path.write_bytes(whole)
    return found


def limit_memory(gigabytes=1.0):
    """Let an allocation beyond what the process has now, and so much more, fail: it would show as an outcome.

    A training comes before: TensorFlow takes most of a gigabyte of addresses for it, and ends the process without.
    """
    import resource

    now = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + int(gigabytes * 1e9), resource.RLIM_INFINITY))


def wrong(found):
    """The outcomes that are neither a case nor one line; running out of memory is one, whatever says so."""
    return {key: n for key, n in found.items() if key[1] not in ("read", "refused")}


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    logging.disable()  # nibabel tells what it mends
    found = try_settings(max(8, count // 20))  # and limits the memory, for the volumes too
    found += try_volumes(count)
    for (way, what), number in sorted(found.items()):
        print(f"{number:6d}  {way}: {what}")
    sys.exit(bool(wrong(found)))
