"""Train in child processes that are killed with −9, resume, and compare with an unbroken training.

`python tests/command/killed.py 20` kills twenty times; the tests kill three times.
"""

import csv
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS, EVERY = 12, 2


def cases():
    """Four patients with a bright ball, the liver, in noise."""
    from organseg.cases import Case

    made = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        place = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"))
        ball = ((place - rng.uniform(6, 10, 3).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 20
        image = np.where(ball, 200, -100) + rng.normal(0, 10, ball.shape)
        label = (3 * ball).astype(np.uint8)
        made.append(Case(image.astype(np.float32), label, np.diag([6, 6, 6, 1.0]), f"case{seed}"))
    return made


def train_here(folder, told):
    """What the child process does: begin or go on, and tell of each validation."""
    from organseg.profiles import PROFILES
    from organseg.training import train

    small = {"levels": 2, "base_filters": 2, "crop_size": 8, "steps": STEPS, "validate_every": EVERY}
    tell = {"progress": False, "after_validation": lambda history: told.send(history[-1]["step"])}
    every = cases()
    train(every[:3], folder, PROFILES["lesson"].replace(**small), every[3:], resume=True, **tell)


def attempt(folder, moment=None):
    """Train in a child process, and kill it when `moment` (a function) returns. True: it came to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["organseg.training"])  # so that Keras is imported once
    heard, told = context.Pipe(duplex=False)
    child = context.Process(target=train_here, args=(folder, told))
    child.start()
    told.close()
    try:
        if moment:
            heard.recv()
            moment()
            child.kill()
    except EOFError:  # it ended before it could be killed
        pass
    child.join()
    return child.exitcode == 0


def kill_and_resume(folder, kills, seed=0):
    """Kill `kills` trainings of one run folder, half of them while a file is written, and bring the run to its end.

    Returns how many were killed while they wrote.
    """
    rng, folder, while_writing = random.Random(seed), Path(folder), 0

    def by_the_clock():
        time.sleep(rng.uniform(0, 0.3))

    def while_a_file_is_written():
        nonlocal while_writing
        until, ending = time.monotonic() + 2, rng.choice([".h5", ".csv", ".npz"])
        while time.monotonic() < until:
            if any(folder.glob(f".writing-*{ending}")):
                while_writing += 1
                return

    for number in range(kills):
        attempt(folder, while_a_file_is_written if number % 2 else by_the_clock)
        if number % 4 == 3 and len(rows(folder)) == STEPS // EVERY:  # at its end: begin anew
            for file in folder.iterdir():
                file.unlink()
    assert attempt(folder)
    return while_writing


def rows(folder):
    """The history as it was written, without the seconds."""
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def differences(folder, other):
    """What two run folders differ in, as words: nothing if their trainings ended alike to the bit."""
    found = [] if rows(folder) == rows(other) else ["history.csv"]
    with np.load(folder / "checkpoint.npz") as one, np.load(other / "checkpoint.npz") as two:
        found += [f"checkpoint.npz, {name}" for name in one.files if not np.array_equal(one[name], two[name])]
    weights = [(path / "model.weights.h5").read_bytes() for path in (folder, other)]
    found += [] if weights[0] == weights[1] else ["model.weights.h5"]
    names = [{file.name for file in path.iterdir()} for path in (folder, other)]
    return found + sorted(names[0] ^ names[1])


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    assert attempt(place / "unbroken")
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    writing = kill_and_resume(place / "killed", kills)
    found = differences(place / "killed", place / "unbroken")
    print(f"{kills} kills, {writing} of them while a file was written; differences: {found or 'none'}")
    sys.exit(bool(found))
