"""Score networks on the real scans of ../shared/data/real_ct, each on its own grid: a row per network, scan and organ.

    python benchmarks/score_patients.py drawn pretrained=results/weights/pretrained_without_totalseg_example \
        --scans totalseg_example
    python benchmarks/score_patients.py --store --work results/weights

With --store, every network is scored on the scans that it was not trained on, by the run folders of
`weights_for_patients.py`, and the rows are kept in benchmarks/patients.csv; the book's page shows them.
"""

import argparse
import collections
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
STORE = Path(__file__).with_name("patients.csv")
NETWORKS = ROOT / "book" / "networks.csv"
DRAWN = {
    "phantom": "phantom of the course",
    "plain": "phantom of the course",
    "varied": "phantom with more variety",
    "painted": "painted label map",
}
KINDS = {
    "totalseg_example": "sample patient: abdomen, no agent, 3 mm",
    "totalseg_slab": "slab of 40 mm, with agent, 2 mm",
    "amos_0001_slab": "slab of 55 mm, no agent, 5 mm",
    "dcmqi_3slice": "three slices of 1 mm",
    "totalseg_s0003": "head and neck, 1.5 mm",
}


def scores_of(name, run, cases):
    """A row per case and organ: Dice, distances, ml of truth and of what was found; seconds per case."""
    rows, ids = [], {organ.name: organ.id for organ in ORGANS}
    for case in cases:
        began = time.monotonic()
        labels = predict(run, case)
        seconds = time.monotonic() - began
        ml = abs(np.linalg.det(case.affine[:3, :3])) / 1000
        scores = score_case(case.label, labels, case.affine, case.annotated, case.name)
        organs = scores.organ.map(ids)
        true, found = (np.bincount(volume.ravel(), minlength=8)[organs] * ml for volume in (case.label, labels))
        rows.append(scores.assign(network=name, seconds=seconds, true_ml=true.round(1), found_ml=found.round(1)))
    return pandas.concat(rows, ignore_index=True)


def home():
    """Eight phantoms, of seeds that nothing was trained on."""
    return [make_phantom(seed, (96, 96, 112)) for seed in range(3000, 3008)]


def of_organs(scores):
    """The mean of each organ; one that was invented counts 0, as in the course's tables."""
    return scores.groupby("organ").dice.mean()


def real_scans(names=None):
    """The labelled real scans, or those of these names, in the order of KINDS."""
    files = {file.name: file for file in find_cases(SHARED)}
    return [files[name].load() for name in KINDS if names is None or name in names]


def told(scores):
    """A table of Dice, a line per network and scan; of absent organs it shows the ml that were found."""
    cells = np.where(scores.true_ml > 0, scores.dice.map("{:.2f}".format), scores.found_ml.map("({:.0f} ml)".format))
    wide = scores.assign(cell=cells).pivot(index=["network", "case"], columns="organ", values="cell")
    wide = wide[[organ.name for organ in ORGANS if organ.name in wide]].fillna("")
    present = scores[scores.true_ml > 0].groupby(["network", "case"]).dice.mean()
    wide = wide.loc[scores[["network", "case"]].drop_duplicates().apply(tuple, axis=1)]  # in the order they came
    return wide.assign(mean=present.map("{:.2f}".format)).fillna("")


def summary(name, scores):
    """Lines on one network: the mean over organ-cases, and over phantoms."""
    at_home = scores.case.str.startswith("phantom")
    real, phantoms = scores[(scores.true_ml > 0) & ~at_home], scores[at_home]
    lines = [f"{name}: mean over {len(real)} organ-cases of real scans {real.dice.mean():.3f}"] if len(real) else []
    if len(phantoms):
        organs = of_organs(phantoms)
        lines.append(f"{name}: phantoms {organs.mean():.3f}, lowest {organs.idxmin()} {organs.min():.3f}")
    return [*lines, f"{name}: longest {scores.seconds.max():.1f} s"]


def unseen(work):
    """Pairs of a network's name and run folder, and the scans that it was not trained on."""
    drawn, patients = Path(work) / "drawn", Path(work) / "pretrained"
    yield "drawn", drawn, list(KINDS)
    if patients.is_dir():
        yield "pretrained", patients, ["amos_0001_slab"]
    for folder in sorted(Path(work).glob("pretrained_without_*")):
        left_out = runs.load_settings(folder)[0]["held_out"]
        yield f"pretrained without {left_out[0]}", folder, left_out


def card():
    """What the networks of the package are made from and score at home: a column each, from their run folders."""
    columns, phantoms = {}, home()
    for name in runs.SHIPPED:
        run, files = runs.load_run(name), (runs.WEIGHTS / name).iterdir()
        kinds = (DRAWN.get(case.split("_")[0], "scan of a patient") for case in run.settings["trained_on"])
        of_kind = collections.Counter(kinds)
        # That of the course has one stage, of 20 minutes: see `train_weights`.
        stages = run.settings.get("stages") or [run.settings["profile"] | {"minutes": 20}]
        scores = of_organs(scores_of(name, run, phantoms))
        columns[name] = {
            "learnt from": ", ".join(f"{count} × {kind}" for kind, count in of_kind.items()),
            "steps": " + ".join(f"{stage['steps']:,} of {stage['crop_size']}³" for stage in stages),
            "minutes on two cores": " + ".join(str(stage["minutes"]) for stage in stages),
            "weights": f"{run.network.count_params():,}",
            "size": f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB",
            "voxels": f"{run.grid.spacing[0]:g} mm",
            f"Dice on {len(phantoms)} phantoms": f"{scores.mean():.2f} (lowest: {scores.idxmin()} {scores.min():.2f})",
        }
    pandas.DataFrame(columns).rename_axis("").to_csv(NETWORKS)


def store(work):
    """Score every network on what it has not seen, and keep the rows and the table of the page."""
    rows = [scores_of(name, runs.load_run(folder), real_scans(scans)) for name, folder, scans in unseen(work)]
    scores = pandas.concat(rows, ignore_index=True)
    kept = ["network", "case", "organ", "dice", "assd_mm", "hausdorff95_mm", "true_ml", "found_ml"]
    scores[kept].round(3).to_csv(STORE, index=False)
    for name in ("drawn", "pretrained"):
        table = told(scores[scores.network.str.startswith(name)]).droplevel("network")
        table.index = table.index.map(KINDS)
        table.T.rename_axis("").to_csv(ROOT / "book" / f"patients_{name}.csv")
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", nargs="*", metavar="NAME=FOLDER", help="networks to score; or the name of a shipped one"
    )
    parser.add_argument("--scans", nargs="*", help="only these; by default all, and eight phantoms")
    parser.add_argument("--store", action="store_true", help="score all on what they have not seen, and keep the table")
    parser.add_argument("--work", default="results/weights", help="the run folders of weights_for_patients.py")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.store:
        card()
        return print(told(store(options.work)).to_string())
    cases = real_scans(options.scans)
    if options.scans is None:
        cases += home()
    for text in options.runs:
        name, _, folder = text.partition("=")
        scores = scores_of(name, runs.load_run(folder or name), cases)
        print(told(scores).to_string(), *summary(name, scores), sep="\n", flush=True)


if __name__ == "__main__":
    main()
