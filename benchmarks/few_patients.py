"""Four patients, leave one out: trainings for chapter 11, from random weights and from `drawn`, stored for its tables.

    python benchmarks/few_patients.py --work results/few

Each of the four labelled scans that may be used is left out once, and three networks learn from the other three scans,
with the library's own `train`: one begins with random weights, one with `drawn`, one with `drawn` and takes steps of an
eighth of the size. `drawn` itself is scored beside them ("as it was").

What the chapter shows is kept in lib/organseg/weights/: the scores on the scan's own grid (few_patients.csv, a row per
network, scan and organ), the curves (few_patients_history.csv) and the labels found in the sample patient
(few_patients.npz). A training is interrupted and taken up again by the same command.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas
from score_patients import real_scans, scores_of

from organseg import runs
from organseg.geometry import to_working
from organseg.inference import predict
from organseg.profiles import Profile
from organseg.scans import to_scan
from organseg.training import train, validate

SAMPLE = "totalseg_example"
SCANS = (SAMPLE, "totalseg_slab", "dcmqi_3slice", "totalseg_s0003")
PROFILE = Profile(
    "few", crop_size=32, base_filters=8, spacing=4.0, steps=600, learning_rate=4e-3, schedule=True,
    organ_share=0.8, batch_sum=True, precision="auto", validate_every=50,
)  # fmt: skip
# A network that knows something already forgets it at the rate that suits random weights: `gentle` is to show that.
RATES = {"random": 4e-3, "drawn": 4e-3, "gentle": 5e-4}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="results/few", help="where run folders are kept")
    parser.add_argument("--drawn", default="drawn", help="the network to start from")
    parser.add_argument("--start", choices=RATES, help="train from this start alone, and store nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = {case.name: case for case in real_scans(SCANS)}
    drawn = runs.load_run(options.drawn)
    scores = [scores_of("as it was", drawn, cases.values())]
    labels, histories = {"as_it_was": predict(drawn, cases[SAMPLE])}, []
    for left_out in SCANS:
        # Where `drawn` begins, on the working grid as all of the curve.
        scan = to_scan(to_working(cases[left_out], drawn.grid))
        beginning = {"step": 0} | validate(drawn.network, [scan])
        for start in [options.start] if options.start else RATES:
            folder = Path(options.work) / f"{start}_without_{left_out}"
            others = [case for name, case in cases.items() if name != left_out]
            start_from = None if start == "random" else drawn
            profile, resume = PROFILE.replace(learning_rate=RATES[start]), (folder / "run.json").is_file()
            run, history = train(
                others, folder, profile, [cases[left_out]], seed=0, resume=resume, progress=False, start_from=start_from
            )
            scores.append(scores_of(start, run, [cases[left_out]]))
            rows = history if start_from is None else [beginning, *history]
            histories.append(pandas.DataFrame(rows).assign(start=start, left_out=left_out))
            if left_out == SAMPLE:
                labels[start] = predict(run, cases[left_out])
            mean = scores[-1][scores[-1].true_ml > 0].dice.mean()
            print(f"{folder}: mean Dice {mean:.3f} after {history[-1]['seconds']:.0f} s", flush=True)
    if options.start:
        return
    columns = ["network", "case", "organ", "dice", "hausdorff95_mm", "true_ml", "found_ml"]
    pandas.concat(scores)[columns].round(4).to_csv(runs.WEIGHTS / "few_patients.csv", index=False)
    pandas.concat(histories).round(4).to_csv(runs.WEIGHTS / "few_patients_history.csv", index=False)
    np.savez_compressed(runs.WEIGHTS / "few_patients.npz", **labels)


if __name__ == "__main__":
    main()
