"""Score networks on the real scans of ../shared/data/real_ct, each on its own grid: a row per network, scan and organ.

python benchmarks/score_patients.py drawn=results/weights/drawn --scans totalseg_example
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas

from organseg import make_phantom, runs
from organseg.folders import find_cases
from organseg.inference import predict
from organseg.metrics import score_case
from organseg.organs import ORGANS

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "real_ct"
PHANTOMS = range(3000, 3008)  # seeds that nothing was trained on


def scores_of(name, run, cases):
    """A row per case and organ: Dice, distances, ml of truth and of what was found; seconds per case."""
    rows = []
    for case in cases:
        began = time.monotonic()
        labels = predict(run, case)
        seconds = time.monotonic() - began
        ml = abs(np.linalg.det(case.affine[:3, :3])) / 1000
        scores = score_case(case.label, labels, case.affine, case.annotated, case.name)
        found = np.bincount(labels.ravel(), minlength=8) * ml
        true = np.bincount(case.label.ravel(), minlength=8) * ml
        scores = scores.assign(network=name, seconds=round(seconds, 1), shape="×".join(map(str, case.image.shape)))
        ids = scores.organ.map({organ.name: organ.id for organ in ORGANS})
        rows.append(scores.assign(true_ml=true[ids].round(1), found_ml=found[ids].round(1)))
    return pandas.concat(rows, ignore_index=True)


def real_scans(names=None):
    return [files.load() for files in find_cases(SHARED) if names is None or files.name in names]


def told(scores):
    """A table of Dice, a line per network and scan; absent organs show the ml that were found."""
    cells = np.where(scores.true_ml > 0, scores.dice.map("{:.2f}".format), scores.found_ml.map("({:.0f} ml)".format))
    wide = scores.assign(cell=cells).pivot(index=["network", "case"], columns="organ", values="cell")
    wide = wide[[o.name for o in ORGANS if o.name in wide]].fillna("")
    present = scores[scores.true_ml > 0].groupby(["network", "case"]).dice
    return wide.assign(mean=present.mean().round(3), seconds=scores.groupby(["network", "case"]).seconds.first())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="NAME=FOLDER", help="networks to score")
    parser.add_argument("--scans", nargs="*", help="only these; by default all, and eight phantoms")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = real_scans(options.scans)
    if options.scans is None:
        cases += [make_phantom(seed, (96, 96, 112)) for seed in PHANTOMS]
    for text in options.runs:
        name, _, folder = text.partition("=")
        scores = scores_of(name, runs.load_run(folder or name), cases)
        print(told(scores).to_string())
        real = scores[(scores.true_ml > 0) & ~scores.case.str.startswith("phantom")]
        print(f"{name}: mean over {len(real)} organ-cases of real scans {real.dice.mean():.3f}")
        home = scores[scores.case.str.startswith("phantom")]
        if len(home):
            organs = home.groupby("organ").dice.mean()
            print(f"{name}: phantoms {organs.mean():.3f}, lowest {organs.idxmin()} {organs.min():.3f}", flush=True)


if __name__ == "__main__":
    main()
