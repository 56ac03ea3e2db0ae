"""What a training takes on a GPU, the table of the page `larger`: `python tools/gpus.py` writes book/gpus.csv.

A card that `make gpu-check` was run on has its measured time (benchmarks/measured.json); any other one has that of
chapter 11's rule: half of the data sheet's speed in float32, 28 % of it in 16 bits.
"""

import csv
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "book" / "gpus.csv"
TFLOP = 4.40  # of a training step of the full network on three crops of 64³ voxels: `training_flops`
SHEETS = {  # dense peaks of the makers' data sheets, TFLOP per second
    "T4, float32": 8.1,
    "T4, float16": 65,
    "A100, bfloat16": 312,
    "H100, bfloat16": 989,
}


def steps(measured):
    """Seconds of a training step on the card that was measured, if one was, by "card, precision"."""
    about = measured.get("gpu", {"machine": "", "lines": {}})
    card = about["machine"].partition(",")[0]
    for what, line in about["lines"].items():
        if what.startswith("step, ") and what.endswith("ms: median, p95"):
            precision = what.removeprefix("step, ").partition(",")[0].removeprefix("mixed_")
            yield f"{card}, {precision}", float(line["value"].partition(",")[0]) / 1000


def sentence(measured):
    """What the README, chapter 11, the ledger and the page on data say of where their hours on a GPU come from."""
    told = ", ".join(f"{step:.2g} s ({name})" for name, step in steps(measured))
    if not told:
        return "Hours on a GPU are by arithmetic; none was measured."
    return (
        f"Measured on {measured['gpu']['date']}, a training step of the full network: {told}; the rest is arithmetic."
    )


def rows(measured):
    """GPU, seconds per step, minutes of 4,000 and hours of 50,000 steps, and where they come from."""
    seconds = {
        name: (TFLOP / (peak * (0.5 if "float32" in name else 0.28)), "by arithmetic") for name, peak in SHEETS.items()
    }
    seconds |= {name: (step, f"measured, {measured['gpu']['date']}") for name, step in steps(measured)}
    for name, (step, source) in seconds.items():
        yield [name, f"{step:.2g}", f"{4000 * step / 60:.2g}", f"{50_000 * step / 3600:.2g}", source]


def main():
    measured = json.loads((ROOT / "benchmarks" / "measured.json").read_text(encoding="utf-8"))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n")
        write.writerow(["GPU", "seconds per step", "4,000 steps (`gpu`), minutes", "50,000 steps, hours", "source"])
        write.writerows(rows(measured))


if __name__ == "__main__":
    main()
