"""What each ingredient of the drawings brings: short trainings without it, two seeds each, one table.

    python benchmarks/ingredients.py --work results/ingredients

Each begins with `phantoms`, which knows the course's phantoms and finds next to nothing in a patient, and goes on with
drawings as `drawn` does. None has seen the real scans that it is scored on, once, at the end: the sample patient,
the slabs and the three slices, and a head in which there is nothing to find. benchmarks/ingredients.csv keeps a row per
training, scan and organ, book/ingredients.csv the table of the page about real scans.

A training is interrupted and taken up again by the same command. With --seed 1 and --seed 2 two processes share the
work (TF_NUM_INTRAOP_THREADS=1 gives each a core); a last call without it makes the table.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import pandas
from score_patients import real_scans, scores_of
from weights_for_patients import DRAWN, PROFILE, SHARED, Stage, draw_all, train

from organseg import runs
from organseg.phantom.crops import Disturbances
from organseg.phantom.variety import Variety

STORE = Path(__file__).with_name("ingredients.csv")
PAGE = STORE.parents[1] / "book" / "ingredients.csv"
SEEDS = {"plain": range(1000, 1040), "varied": range(10_000, 10_120), "painted": range(20)}
SHORT = PROFILE.replace(crop_size=32, steps=600, validate_every=300)
FULL = Stage(None, DRAWN, SHORT)
WITHOUT = {
    "nothing": FULL,
    "contrast and HU": replace(FULL, variety=Variety(contrast=False), disturbances=Disturbances(contrast=False)),
    "scanner": replace(FULL, disturbances=Disturbances(scanner=False)),
    "cuts": replace(FULL, disturbances=Disturbances(cuts=False)),
    "shapes": replace(FULL, variety=Variety(shapes=False), disturbances=Disturbances(shapes=False)),
    "texture and contents": replace(FULL, variety=Variety(contents=False), disturbances=Disturbances(texture=False)),
    "painted maps": replace(FULL, shares={"plain": 0.35, "varied": 0.65}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="results/ingredients", help="where cases and run folders are kept")
    parser.add_argument("--seed", type=int, choices=(1, 2), help="train with this seed alone, and store nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    work, maps = Path(options.work), sorted((SHARED / "labels_full").glob("*.nii.gz"))
    scans, rows = real_scans(), []
    for seed in [options.seed] if options.seed else (1, 2):
        for name, stage in WITHOUT.items():
            cases = draw_all(work / "cases", maps, stage.variety, SEEDS)
            cases = [(kind, path) for kind, path in cases if kind in stage.shares]
            folder = work / f"{name.replace(' ', '_')}_{seed}"
            print(f"{folder}:", flush=True)
            train(replace(stage, seed=seed), folder, cases, "phantoms")
            if not options.seed:
                phantoms = pandas.read_csv(folder / "history.csv").phantoms.iloc[-1]
                scores = scores_of(name, runs.load_run(folder), scans)
                rows.append(scores.assign(seed=seed, phantoms=phantoms))
    if rows:
        table = pandas.concat(rows).rename(columns={"network": "without"})
        columns = ["without", "seed", "case", "organ", "dice", "true_ml", "found_ml", "phantoms"]
        table[columns].round(3).to_csv(STORE, index=False)
        of_page(table).to_csv(PAGE)


def of_page(table):
    """A row per group left out: means over organs that are there, ml in the head, of the two seeds."""
    there, sample = table.true_ml > 0, table.case == "totalseg_example"

    def both(rows, column, how, digits=2):
        each = rows.groupby(["without", "seed"], sort=False)[column].agg(how).map(f"{{:.{digits}f}}".format)
        return each.groupby("without", sort=False).agg(", ".join)

    return pandas.DataFrame({
        "sample patient": both(table[sample], "dice", "mean"),
        "slabs and slices": both(table[there & ~sample], "dice", "mean"),
        "found in the head (ml)": both(table[table.case == "totalseg_s0003"], "found_ml", "sum", digits=1),
        "phantoms": both(table, "phantoms", "first"),
    })  # fmt: skip


if __name__ == "__main__":
    main()
