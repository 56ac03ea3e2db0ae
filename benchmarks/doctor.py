"""How often the orientation doctor is right: two hundred phantoms and the real scans, each shown in all eight ways.

    python benchmarks/doctor.py             # half an hour on two cores
    python benchmarks/doctor.py --table     # the table of the book from what is stored

To the network, a mirrored scan and one whose header lies are the same voxels. So it looks at each scan in
eight ways, and what it finds is read once for each lie. Its answers are kept in benchmarks/doctor.csv, a row for each
header; book/doctor.csv counts them.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas
from score_patients import SHARED, real_scans
from tqdm import tqdm

from organseg import make_phantom, runs
from organseg.command import doctor
from organseg.folders import find_cases
from organseg.geometry import to_working
from organseg.phantom.crops import log_uniform, scan_anew
from organseg.phantom.variety import Variety
from organseg.scans import normalise, to_scan

STORE = Path(__file__).with_name("doctor.csv")
PAGE = STORE.parents[1] / "book" / "doctor.csv"
KINDS = {
    "real": "real scans",
    "of the course, whole": "phantoms of the course",
    "of the course, slabs": "slabs of these",
    "varied, whole": "phantoms as for `drawn`",
    "varied, slabs": "slabs of phantoms as for `drawn`",
}
SEEDS = range(7000, 7200)  # that nothing was trained on
SHAPE, SPACING = (96, 96, 112), (4.0, 4.0, 4.0)


def phantom(seed):
    """A kind, and the normalised image of a phantom: of the course or of more variety, whole or a slab."""
    rng = np.random.default_rng([seed, 9])
    varied, slab = seed % 2, seed % 4 > 1
    image = make_phantom(seed, SHAPE, SPACING, Variety() if varied else None).image
    image = scan_anew(rng, image) if varied else image
    if slab:  # of 60 mm and more, anywhere but in thorax and pelvis alone
        thick = int(log_uniform(rng, 60, 300) / SPACING[2])
        first = rng.integers(20, max(21, 100 - thick))
        image = image[:, :, first : first + thick]
    return ("varied" if varied else "of the course") + (", slabs" if slab else ", whole"), normalise(image)


def judged(kind, name, found):
    """A row for each of the eight headers: the axes judged, those judged rightly, and what `predict` would say."""
    rows = []
    for lie, way in enumerate(doctor.WAYS):
        # The scan is presented as `way` says: mirrored once more, it is right again.
        order = [doctor.WAYS.index(tuple(np.not_equal(way, more))) for more in doctor.WAYS]
        chance = np.array(doctor.chances(found[order]))
        sure = (chance >= doctor.SURE) | (chance <= 1 - doctor.SURE)
        right = sure & ((chance > 0.5) == np.array(way))
        believed = found[lie] >= doctor.WHOLE  # `predict` asks no further
        rows.append({
            "kind": kind, "name": name, "mirrored": "".join(np.array(list("xyz"))[np.array(way)]) or "none",
            "judged": int(sure.sum()), "right": int(right.sum()),
            "doubted": bool((chance >= doctor.SURE).any()), "believed": bool(believed),
        })  # fmt: skip
    return rows


def table(frame):
    """Per kind of scan: axes judged, rightly or not, and not; honest headers doubted; lies that `predict` believes.

    The answer is the same for each of a scan's eight headers, so its axes count once.
    """
    assert (frame.groupby("name")[["judged", "right"]].nunique() == 1).all(axis=None)
    honest = frame.mirrored == "none"
    by = frame[honest].groupby("kind", sort=False)
    counts = pandas.DataFrame({
        "scans": by.size(),
        "axes": 3 * by.size(),
        "cannot tell": 3 * by.size() - by.judged.sum(),
        "right": by.right.sum(),
        "wrong": by.judged.sum() - by.right.sum(),
        "honest, doubted": by.doubted.sum(),
        "not asked": (frame.believed & ~honest).groupby(frame.kind).sum(),
    })  # fmt: skip
    counts = counts.reindex([kind for kind in KINDS if kind in counts.index])
    phantoms = counts.drop("real", errors="ignore").sum().rename("all phantoms")
    return pandas.concat([counts.rename(index=KINDS), phantoms.to_frame().T]).rename_axis("kind")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="drawn", help="the network that looks")
    parser.add_argument("--phantoms", type=int, default=len(SEEDS))
    parser.add_argument("--table", action="store_true", help="make the book's table from what is stored")
    options = parser.parse_args()
    if options.table:
        return table(pandas.read_csv(STORE)).to_csv(PAGE)
    warnings.simplefilter("ignore")
    run, rows = runs.load_run(options.run), []
    scans = real_scans() + [files.load() for files in find_cases(SHARED, "Ts", labels_needed=False)]
    for case in scans:
        scan = to_scan(to_working(case, run.grid))
        found = doctor.found_in_each_way(run.network, scan.image, scan.spacing)
        print(f"{case.name}: {found.round(2)} {np.round(doctor.chances(found), 3)}", flush=True)
        rows += judged("real", case.name, found)
    for seed in tqdm(SEEDS[: options.phantoms], disable=None):
        kind, image = phantom(seed)
        found = doctor.found_in_each_way(run.network, image, SPACING)
        rows += judged(kind, f"phantom_{seed}", found)
        if seed % 10 == 0:
            print(table(pandas.DataFrame(rows)).to_string(), flush=True)
    rows = pandas.DataFrame(rows)
    rows.to_csv(STORE, index=False)
    table(rows).to_csv(PAGE)
    print(table(rows).to_string())


if __name__ == "__main__":
    main()
