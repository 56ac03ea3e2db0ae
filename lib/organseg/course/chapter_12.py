"""The exercises of chapter 12, Beyond."""

import numpy as np

from organseg.course import Found

# What the rule changes in six patients and seven organs. Organs 1 and 4 are safe. Organ 2 gains on
# average and loses much in one patient; 3 loses; 5 does not change; 6 gains where it is counted and
# harms a patient slightly more than allowed; 7 is not counted in some patients and is safe, a small
# loss in one patient included.
_CHANGE = np.array([
    [0.010, 0.060, -0.004, 0.002, 0.0, 0.050, np.nan],
    [0.000, 0.050, 0.000, 0.003, 0.0, np.nan, 0.020],
    [0.004, 0.040, -0.003, 0.000, 0.0, -0.012, 0.010],
    [0.003, -0.100, 0.000, -0.005, 0.0, 0.040, np.nan],
    [0.000, 0.030, -0.002, 0.004, 0.0, np.nan, -0.008],
    [0.005, 0.020, 0.001, 0.003, 0.0, 0.030, 0.030],
])  # fmt: skip
_BEFORE = np.random.default_rng(12).uniform(0.8, 0.95, _CHANGE.shape) + 0 * _CHANGE  # keeps nan


def _safe(mean=np.nanmean, worst=-0.01, strict=True):
    average = mean(_CHANGE, axis=0)
    gains = average > 0 if strict else average >= 0
    return np.flatnonzero(gains & (np.nanmin(_CHANGE, axis=0) >= worst)) + 1


def exercise_12_1(answer):
    """An average may rise while one patient loses an organ; to look at the worst patient keeps the
    rule from harm."""
    found = Found(sorted(int(organ) for organ in answer(_BEFORE.copy(), _BEFORE + _CHANGE)))
    yield found == _safe() or {
        "These are places in the array. The ids of organs begin at 1.": found == _safe() - 1,
        "On average all of these gain. Look for the patient who loses most.":
            found == _safe(worst=-np.inf),
        "An organ that is not counted in one patient dropped out. Which functions leave out nan?":
            found == _safe(mean=np.mean),
        "One of these organs does not change at all. The rule has to raise the mean.":
            found == _safe(strict=False),
        "You allow no loss at all; a loss of up to 0.01 in a patient is allowed.":
            found == _safe(worst=0.0),
        f"For six patients made up for this check you say {found.values.tolist()}. Compute "
        "the change first, patient by patient.": True}  # fmt: skip


def _box(mask, spacing, margin, multiple=8, clipped=True, last=1, grow=np.ceil, down=True):
    box = []
    for places, size, mm in zip(np.nonzero(mask), mask.shape, spacing, strict=True):
        voxels = int(grow(margin / mm))
        start, stop = places.min() - voxels, places.max() + last + voxels
        if clipped:
            start, stop = max(start, 0), min(stop, size)
        start = start // multiple * multiple if down else -(-start // multiple) * multiple
        box.append((start, stop))
    return box


def exercise_12_2(answer):
    """Start at a multiple of 8 and every pooling joins the same voxels as in the whole scan; the
    margin is in mm."""
    first, second = np.zeros((96, 72, 160), bool), np.zeros((96, 72, 100), bool)
    first[40:60, 30:42, 70:120] = second[3:23, 30:70, 70:100] = True
    cases = [(first, (4.0, 4.0, 4.0), 24.0), (second, (3.0, 3.0, 5.0), 13.0)]
    said = []
    for mask, spacing, margin in cases:
        box = answer(mask.copy(), spacing, margin)
        three = len(box) == 3 and all(isinstance(one, slice) for one in box)
        yield {"Return three slices, one for each axis: (slice(start, stop), …).": not three}
        said.append([(int(one.start or 0), int(one.stop)) for one in box])
    found = Found(said)

    def boxes(**mistake):
        return [_box(*case, **mistake) for case in cases]

    yield found == boxes() or {
        "The margin is in mm and array indices are in voxels. Divide by the spacing of each axis.":
            found == [_box(mask, (1, 1, 1), margin) for mask, _, margin in cases],
        "Your box leaves the array. A negative start would count from the other end.":
            found == boxes(clipped=False),
        "Your box ends one voxel too early: a slice does not contain its stop.":
            found == boxes(last=0),
        "The margin is smaller than asked on some side. Round the voxels up.":
            found == boxes(grow=np.floor),
        "You round the start up, into the margin. Which multiple of 8 lies outside?":
            found == boxes(down=False),
        "Your box does not begin at multiples of 8.": found == boxes(multiple=1),
        "For a region from 40 to 60 along x, with voxels of 4 mm and a margin of 24 mm, you say "
        f"{said[0][0]}.": True}  # fmt: skip


CAUSES = {  # of the runs in the gallery, filed under these letters by benchmarks/broken_runs.py
    "A": "learning rate", "B": "leak", "C": "linear label interpolation",
    "D": "background in the way", "E": "flipped labels", "F": "batch norm", "G": "wrong affine",
    "H": "double softmax",
}  # fmt: skip
_LOOK_AT = {
    "A": "its labels are right and its probabilities reach 1, but after a hundred steps the loss "
    "falls no more.",
    "B": "its validation beats the sound run's, its diamond does not. What do given images have "
    "that new ones lack?",
    "C": "look at the border of the given liver. Which numbers lie between those of the liver and "
    "of the background?",
    "D": "it has the lowest loss of all, and six organs score 0. What can such a loss be counting?",
    "E": "on which side of the body does the given liver lie, and on which does the network paint "
    "one?",
    "F": "compare `batch` and `average` in the table, and the two loss curves.",
    "G": "up to the diamond it is as good as the sound run. What happens between the working grid "
    "and the file?",
    "H": "compare `largest` with the other runs. Which output can never come near 1, however sure "
    "the network is?",
}


def exercise_12_3(answer):
    """Four were seen in the pictures, two in the table, two by comparing curves: no single look
    finds them all."""
    whole = isinstance(answer, dict) and sorted(answer) == sorted(CAUSES)
    yield {'Give all eight, A to H, as {"A": "one of the causes", "B": …}.': not whole}
    for letter, cause in sorted(answer.items()):
        known = cause in CAUSES.values()
        yield {f"{letter}: {cause!r} is not in the list of causes; copy it from there.": not known}
    wrong = [letter for letter, cause in CAUSES.items() if answer[letter] != cause]
    for letter in wrong:
        yield {f"{8 - len(wrong)} of 8 are right. {letter}: {_LOOK_AT[letter]}": True}
