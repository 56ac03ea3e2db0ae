"""The exercises of chapter 12, Beyond."""

import numpy as np

from organseg.course import Found, drawn, numbers

# What the rule changes in six patients and seven organs. Organs 1, 4 and 7 are safe: 4 loses a
# little in one patient, 7 is not counted in some. Organ 2 gains on average and loses much in one
# patient; 3 loses; 5 does not change; 6 gains and harms a patient slightly more than allowed.
_CHANGE = np.array([
    [0.010, 0.060, -0.004, 0.002, 0.0, 0.050, np.nan],
    [0.000, 0.050, 0.000, 0.003, 0.0, np.nan, 0.020],
    [0.004, 0.040, -0.003, 0.000, 0.0, -0.012, 0.010],
    [0.003, -0.100, 0.000, -0.005, 0.0, 0.040, np.nan],
    [0.000, 0.030, -0.002, 0.004, 0.0, np.nan, -0.008],
    [0.005, 0.020, 0.001, 0.003, 0.0, 0.030, 0.030],
])  # fmt: skip


def _rules():
    """Scores without a rule and with it: as above, from 0.01 to 0, and drawn at random."""
    rng = np.random.default_rng(12)
    yield (before := rng.uniform(0.8, 0.95, _CHANGE.shape) + 0 * _CHANGE), before + _CHANGE
    yield np.array([[0.01], [0.5]]), np.array([[0.0], [0.6]])  # lowered by 0.01, which is allowed
    for patients, organs in drawn(20, (2, 7), (3, 8)):
        change = rng.normal(0.003, 0.008, (patients, organs))
        change[rng.integers(patients), rng.integers(organs)] = np.nan
        yield (before := rng.uniform(0.5, 0.9, change.shape) + 0 * change), before + change


def _safe(change, mean=np.nanmean, worst=-0.01, strict=True):
    average = mean(change, axis=0)
    gains = average > 0 if strict else average >= 0
    return np.flatnonzero(gains & (np.nanmin(change, axis=0) >= worst)) + 1


def exercise_12_1(answer):
    """An average may rise while one patient loses an organ; to look at the worst patient keeps the
    rule from harm."""
    cases, found = list(_rules()), []
    for before, after in cases:
        organs = answer(before, after)
        found.append(np.sort(numbers(list(organs) if isinstance(organs, set) else organs)).tolist())

    def safe(**mistake):
        return [_safe(after - before, **mistake).tolist() for before, after in cases]

    right = safe()
    n = [*map(list.__ne__, found, right), True].index(True) % len(cases)  # the first that is wrong
    yield found == right or {
        "These are places in the array. The ids of organs begin at 1.":
            found == [[organ - 1 for organ in organs] for organs in right],
        "On average all of these gain. Look for the patient who loses most.":
            found == safe(worst=-np.inf),
        "An organ that is not counted in one patient dropped out. Which functions leave out nan?":
            found == safe(mean=np.mean),
        "One of these organs does not change at all. The rule has to raise the mean.":
            found == safe(strict=False),
        "That is the median. The rule has to raise the mean.": found == safe(mean=np.nanmedian),
        "You allow no loss at all; a loss of up to 0.01 in a patient is allowed.":
            found == safe(worst=0.0),
        f"For changes of {np.subtract(*cases[n][::-1]).round(3).tolist()} (a row is a patient) you "
        f"say {found[n]}. Go patient by patient: who loses more than 0.01?": True}  # fmt: skip


def _box(mask, spacing, margin, multiple=8, clipped=True, last=1, grow=np.ceil, down=1, up=0):
    box = []
    for places, size, mm in zip(np.nonzero(mask), mask.shape, spacing, strict=True):
        voxels = int(grow(margin / mm))
        start, stop = places.min() - voxels, places.max() + last + voxels
        if clipped:
            start, stop = max(start, 0), min(stop, size)
        start = start // multiple * multiple if down else -(-start // multiple) * multiple
        stop = min(-(-stop // 8) * 8, size) if up else stop
        box.append((start, stop))
    return box


def _masks():
    """A mask, the spacing and the margin: two boxes, then voxels at random."""
    first, second = np.zeros((96, 56, 64), bool), np.zeros((32, 72, 60), bool)
    first[40:60, 22:34, 28:50] = second[3:23, 30:70, 30:60] = True
    yield from ((first, (4.0, 4.0, 4.0), 24.0), (second, (3.0, 2.5, 5.0), 13.0))
    rng = np.random.default_rng(122)
    for *shape, many, margin in drawn(20, *[(9, 60)] * 3, (0, 4), (0, 15)):
        mask = np.zeros(shape, bool)
        mask.flat[-1] = many == 0  # the last voxel alone, and no margin
        mask[tuple(rng.integers(0, shape, (many, 3)).T)] = True
        yield mask, tuple(rng.choice([0.75, 1.5, 2.0, 3.0, 4.0, 5.0], 3).tolist()), margin * many


def exercise_12_2(answer):
    """Start at a multiple of 8 and every pooling joins the same voxels as in the whole scan; the
    margin is in mm."""
    cases, said = list(_masks()), []
    for mask, spacing, margin in cases:
        box = answer(mask, spacing, margin)
        steps = [one.step or 1 if isinstance(one, slice) else 0 for one in box]
        three = "Return three slices, one for each axis: (slice(start, stop), …)."
        yield {three: steps != [1, 1, 1]}
        sizes = zip(box, mask.shape, strict=True)
        said.append([(s.start or 0, n if s.stop is None else s.stop) for s, n in sizes])
    found = Found(said)

    def boxes(**mistake):
        return [_box(*case, **mistake) for case in cases]

    inside = [_box(mask, (1, 1, 1), 0, 1) for mask, *_ in cases]
    yield found == boxes() or {
        "The three axes may have three spacings: divide by that of each axis.":
            any(found == [_box(mask, [mm[axis]] * 3, margin) for mask, mm, margin in cases]
                for axis in range(3)),
        "The margin is in mm and array indices are in voxels. Divide by the spacing of each axis.":
            found == [_box(mask, (1, 1, 1), margin) for mask, _, margin in cases],
        "Your box leaves the array. A negative start would count from the other end.":
            found == boxes(clipped=False),
        "Your box ends one voxel too early: a slice does not contain its stop.":
            found == boxes(last=0),
        "Your box ends later than it has to. Only its start is asked to be a multiple of 8.":
            found == boxes(up=1),
        "The margin is smaller than asked on some side. Round the voxels up.":
            found == boxes(grow=np.floor),
        "You round the start up, into the margin. Which multiple of 8 lies outside?":
            found == boxes(down=0),
        "Your box does not begin at multiples of 8.": found == boxes(multiple=1),
        f"A mask fills {np.array(inside[n := found.wrong(boxes())]).tolist()}, margin and spacing "
        f"are {cases[n][2]} and {cases[n][1]} mm: you say {found[n].tolist()}.": True}  # fmt: skip


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
