"""The exercises of chapter 12, Beyond."""

import numpy as np

from organseg.course import exercise

# Six patients, seven organs: without the rule, and what it changes. Organs 1 and 4 are safe. Organ
# 2 gains on average and loses much in one patient; 3 loses; 5 does not change; 6 gains where it is
# counted and harms a patient slightly more than allowed; 7 is not counted in some patients and is
# safe, a small loss in one patient included.
_BEFORE = np.array([
    [0.92, 0.80, 0.97, 0.95, 0.93, 0.85, np.nan],
    [0.93, 0.82, 0.96, 0.96, 0.91, np.nan, 0.80],
    [0.91, 0.78, 0.97, 0.94, 0.92, 0.88, 0.84],
    [0.94, 0.85, 0.98, 0.97, 0.90, 0.86, np.nan],
    [0.92, 0.81, 0.95, 0.96, 0.94, np.nan, 0.86],
    [0.90, 0.83, 0.97, 0.95, 0.93, 0.84, 0.82],
])  # fmt: skip
_CHANGE = np.array([
    [0.010, 0.060, -0.004, 0.002, 0.0, 0.050, np.nan],
    [0.000, 0.050, 0.000, 0.003, 0.0, np.nan, 0.020],
    [0.004, 0.040, -0.003, 0.000, 0.0, -0.012, 0.010],
    [0.003, -0.100, 0.000, -0.005, 0.0, 0.040, np.nan],
    [0.000, 0.030, -0.002, 0.004, 0.0, np.nan, -0.008],
    [0.005, 0.020, 0.001, 0.003, 0.0, 0.030, 0.030],
])  # fmt: skip


def _safe(change, mean=np.nanmean, worst=-0.01, strict=True):
    average = mean(change, axis=0)
    gains = average > 0 if strict else average >= 0
    return (np.flatnonzero(gains & (np.nanmin(change, axis=0) >= worst)) + 1).tolist()


@exercise("12.1")
def safe_organs(answer):
    """An average may rise while one patient loses an organ; to look at the worst patient keeps the
    rule from harm."""
    found = sorted(int(organ) for organ in answer(_BEFORE.copy(), _BEFORE + _CHANGE))
    if found == _safe(_CHANGE):
        return None
    if found == [organ - 1 for organ in _safe(_CHANGE)]:
        return "These are places in the array. The ids of organs begin at 1."
    if found == _safe(_CHANGE, worst=-np.inf):
        return "On average all of these gain. Look for the patient who loses most."
    if found == _safe(_CHANGE, np.mean):
        return "An organ that is not counted in one patient dropped out. Which functions leave out nan?"
    if found == _safe(_CHANGE, strict=False):
        return "One of these organs does not change at all. The rule has to raise the mean."
    if found == _safe(_CHANGE, worst=0.0):
        return "You allow no loss at all; a loss of up to 0.01 in a patient is allowed."
    return f"For six patients made up for this check you say {found}. Compute the change first, patient by patient."


_CASES = (  # shape, corner and size of the found region, spacing, margin
    ((96, 72, 160), (40, 30, 70), (20, 12, 50), (4.0, 4.0, 4.0), 24.0),
    ((96, 72, 100), (3, 30, 70), (20, 40, 30), (3.0, 3.0, 5.0), 13.0),
)


def _box(
    mask, spacing, margin, multiple=8, clipped=True, last=1, grow=np.ceil, in_mm=True, down=True
):
    box = []
    for axis, size in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        voxels = int(grow(margin / spacing[axis])) if in_mm else int(margin)
        start, stop = inside[0] - voxels, inside[-1] + last + voxels
        if clipped:
            start, stop = max(start, 0), min(stop, size)
        start = start // multiple * multiple if down else -(-start // multiple) * multiple
        box.append((int(start), int(stop)))
    return box


@exercise("12.2")
def box_around(answer):
    """Start at a multiple of 8 and every pooling joins the same voxels as in the whole scan; the
    margin is in mm."""
    wrong = {
        "The margin is in mm and array indices are in voxels. Divide by the spacing of each axis.": {
            "in_mm": False
        },
        "Your box leaves the array. A negative start would count from the other end.": {
            "clipped": False
        },
        "Your box ends one voxel too early: a slice does not contain its stop.": {"last": 0},
        "The margin is smaller than asked on some side. Round the voxels up.": {"grow": np.floor},
        "You round the start up, into the margin. Which multiple of 8 lies outside?": {
            "down": False
        },
        "Your box does not begin at multiples of 8.": {"multiple": 1},
    }
    found, masks = [], []
    for shape, corner, size, spacing, margin in _CASES:
        mask = np.zeros(shape, bool)
        mask[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = True
        box = answer(mask.copy(), spacing, margin)
        if len(box) != 3 or not all(isinstance(one, slice) for one in box):
            return "Return three slices, one for each axis: (slice(start, stop), …)."
        found.append([(int(one.start or 0), int(one.stop)) for one in box])
        masks.append((mask, spacing, margin))
    if found == [_box(*mask) for mask in masks]:
        return None
    for hint, mistake in wrong.items():
        if found == [_box(*mask, **mistake) for mask in masks]:
            return hint
    return f"For a region from 40 to 60 along x, with voxels of 4 mm and a margin of 24 mm, you say {found[0][0]}."


CAUSES = {  # of the runs in the failure gallery; benchmarks/broken_runs.py files them under these letters
    "A": "learning rate",
    "B": "leak",
    "C": "linear label interpolation",
    "D": "background in the way",
    "E": "flipped labels",
    "F": "batch norm",
    "G": "wrong affine",
    "H": "double softmax",
}
_LOOK_AT = {
    "A": "its labels are right and its probabilities reach 1, but after a hundred steps the loss falls no more.",
    "B": "its validation beats the sound run's, its diamond does not. What do given images have that new ones lack?",
    "C": "look at the border of the given liver. Which numbers lie between those of the liver and of the background?",
    "D": "it has the lowest loss of all, and six organs score 0. What can such a loss be counting?",
    "E": "on which side of the body does the given liver lie, and on which does the network paint one?",
    "F": "compare `batch` and `average` in the table, and the two loss curves in the first half.",
    "G": "up to the diamond it is as good as the sound run. What happens between the working grid and the file?",
    "H": "compare `largest` with the other runs. Which output can never come near 1, however sure the network is?",
}


@exercise("12.3")
def diagnoses(answer):
    """Four were seen in the pictures, two in the table, two by comparing curves: no single look
    finds them all."""
    if not isinstance(answer, dict) or sorted(answer) != sorted(CAUSES):
        return 'Give all eight, A to H, as {"A": "one of the causes", "B": …}.'
    for letter, cause in sorted(answer.items()):
        if cause not in CAUSES.values():
            return f"{letter}: {cause!r} is not in the list of causes; copy it from there."
    wrong = [letter for letter in sorted(CAUSES) if answer[letter] != CAUSES[letter]]
    if not wrong:
        return None
    return f"{8 - len(wrong)} of 8 are right. {wrong[0]}: {_LOOK_AT[wrong[0]]}"
