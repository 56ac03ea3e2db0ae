"""The records that a class has handed in, joined into one table: `make results FOLDER=records`.

    python tools/results.py FOLDER [--out TABLE.csv]

Each student hands in a file that `organseg.course.record` has written, or a folder of such files; its name becomes the
row's. For each exercise the table says how many tries there were, up to the first that solved it, and when that was
(UTC). A file that cannot be read gets a line, and the others go on.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from organseg.course.tries import read_record
from organseg.errors import OrgansegError
from organseg.files import whole_file


def read_class(folder):
    """The tries of all students as a table, and a line for each file that could not be read."""
    rows, lines = [], []
    for path in sorted(folder.rglob("*.json")):
        student = path.relative_to(folder).parts[0].removesuffix(path.suffix)
        try:
            rows += [(student, *one) for one in read_record(path)]
        except (OrgansegError, OSError) as error:
            lines.append(str(error))
    tries = pd.DataFrame(rows, columns=["student", "time", "exercise", "solved"]).drop_duplicates()
    tries["time"] = pd.to_datetime(tries["time"], utc=True, format="ISO8601")
    return tries, lines


def table(tries):
    """A row per student; how many exercises are solved, and two columns for each that somebody has tried."""
    groups = ["student", "exercise"]
    solved = tries[tries.solved].groupby(groups)["time"].min().rename("first solved")
    tries = tries.merge(solved, on=groups, how="left")
    counted = tries[tries["first solved"].isna() | (tries.time <= tries["first solved"])]
    found = counted.groupby(groups).size().rename("tries").to_frame().join(solved)
    found["tries"] = found["tries"].astype("Int64")
    found["first solved"] = found["first solved"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    wide = found.unstack("exercise")
    exercises = sorted(tries.exercise.unique(), key=lambda name: [int(part) for part in name.split(".")])
    wide = wide[[(column, exercise) for exercise in exercises for column in found.columns]]
    wide.columns = [f"{exercise} {column}" for column, exercise in wide.columns]
    wide.insert(0, "solved", tries[tries.solved].groupby("student")["exercise"].nunique())
    return wide.fillna({"solved": 0}).astype({"solved": int})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results.csv"))
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"found no folder {arguments.folder}; expected one with the records that students handed in")
    tries, lines = read_class(arguments.folder)
    for line in lines:
        print(line, file=sys.stderr)
    if tries.empty:
        sys.exit(f"{arguments.folder}: found no try in any record; expected files that end in .json")
    found = table(tries)
    with whole_file(arguments.out) as aside:
        found.to_csv(aside, encoding="utf-8")
    print(f"{arguments.out}: {len(found)} students, {tries.exercise.nunique()} exercises")


if __name__ == "__main__":
    main()
