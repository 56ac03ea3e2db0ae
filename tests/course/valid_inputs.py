"""For each exercise: inputs at random that its text allows, border cases among them, and what of an answer counts.

This is written from the texts of the exercises and not from their checks, which it tests: an answer is right if it
gives what the stored solution gives on all of these. Where the text leaves several answers open, `OPEN` says what is
asked.
"""

from collections.abc import Iterator

import numpy as np
from nibabel.affines import from_matvec

ROUNDS = 150


def whole(rng, *ranges):
    """A whole number from each range, its end included."""
    return tuple(int(rng.integers(low, high, endpoint=True)) for low, high in ranges)


def where(condition, draw):
    """Draws again until the condition holds."""

    def drawn(rng):
        while not condition(*(arguments := draw(rng))):
            pass
        return arguments

    return drawn


def affine_of(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return from_matvec(turn * rng.uniform(0.5, 6, 3), rng.uniform(-300, 300, 3))


def place_in_a_scan(rng):
    shape, affine = whole(rng, *[(1, 6)] * 3), affine_of(rng)
    index = rng.integers(-2, np.array(shape) + 2) + rng.choice([-0.45, -0.3, 0, 0.2, 0.45], 3)  # never half way
    return rng.normal(0, 300, shape), affine, affine[:3, :3] @ index + affine[:3, 3]


def image_and_window(rng):
    size = whole(rng, (1, 5))[0]
    return rng.normal(-50, 90, whole(rng, (size, 20), (size, 20))), size


def confusion(rng):
    table = rng.integers(0, rng.choice([2, 5, 40]), [whole(rng, (2, 6))[0]] * 2)
    return (table + np.diag(table.sum(axis=1) == 0),)  # there is at least one of each class


def slices_of_patients(rng):
    names = rng.permutation(list("abcdefgh") if rng.random() < 0.5 else 10 * np.arange(8))[: whole(rng, (3, 8))[0]]
    between = rng.permutation([*names[1:-1], *rng.choice(names[1:-1], whole(rng, (0, 20))[0])])
    patient_of = np.array([names[0], *between, names[-1]])  # the first and the last have one slice each
    return patient_of, whole(rng, (1, len(names) - 1))[0]


def weights(rng):
    height, width, channels, outputs = whole(rng, *[(1, 6)] * 4)
    return rng.normal(size=(channels * height * width, outputs)), height, width, channels


def case_of_organs(rng):
    shape, organs = whole(rng, *[(1, 4)] * 3), whole(rng, (1, 7))[0]
    truth, prediction = rng.integers(0, organs + 1, (2, *shape))
    return truth, prediction, rng.permutation(np.arange(1, 8))[: whole(rng, (1, 7))[0]].tolist()


def volumes(rng):
    return (rng.integers(0, rng.choice([3, 1000]), whole(rng, (1, 9))[0]),)


def displacements(rng):
    size, spacing = whole(rng, (2, 8), (1, 30))
    control = rng.uniform(-spacing, spacing, size) if rng.random() < 0.5 else rng.integers(-40, 40, size)
    return np.round(control * rng.choice([0.25, 1.0])), spacing  # whole, so that two may meet exactly


def patients_and_crops(rng):
    halves = int(2 ** rng.integers(1, 5))  # with half of them in each step exactly one is left in the end
    return (halves, halves // 2) if rng.random() < 0.2 else whole(rng, (20, 500), (1, 9))


def gradients(rng):
    shape, size = whole(rng, *[(1, 4)] * rng.integers(1, 3)), 10.0 ** rng.integers(-7, 9)
    drawn = rng.normal(0, size, shape)
    drawn.flat[0] = rng.choice([65504, 1.9998, -1.9998, 2, drawn.flat[0]]) * rng.choice([2.0**-10, 2.0**-3, 1, 16])
    return (drawn.astype(np.float32),)


def eighths(rng):
    return tuple(8 * number for number in whole(rng, (1, 40), (1, 20), (0, 12)))


def find(image):
    """Stands for a network to which each voxel of a RAS image matters: it would see any other padding."""
    assert not any(size % 8 for size in image.shape)
    x, y, z = np.indices(image.shape)
    place = 1 + x // 2 + 3 * (y // 3) + 7 * (z // 5)
    return np.where(image > 0.5, place + int(round(10 * float(np.sum(image, dtype=float)))) % 1000, 0)


def scores(rng):
    table = rng.random(whole(rng, (2, 8), (2, 8)))
    holes = rng.random(table.shape) < 0.15
    holes[np.arange(len(table)), rng.integers(0, table.shape[1], len(table))] = False  # each patient has an organ
    holes[rng.integers(0, len(table), table.shape[1]), np.arange(table.shape[1])] = False  # each organ is there
    return np.where(holes, np.nan, table)


def two_networks(rng):
    patients, fortieth = whole(rng, (6, 30), (1, 40))
    first = rng.uniform(0.4, 0.95, patients)
    second = first + rng.normal(rng.uniform(-0.05, 0.05), 0.03, patients)
    return first, second, rng.integers(0, patients, (40 * fortieth, patients))


def row_of_a_table(rng):
    return float(rng.uniform(50, 99)), float(rng.uniform(0.5, 30)), whole(rng, (2, 400))[0]


def scans(rng):
    patients, hospitals = rng.choice(list("abcde"), 12).tolist(), rng.choice(list("NSEW"), 12).tolist()
    made = [(f"s{n}", patients[n], hospitals[n]) for n in range(rng.integers(2, 13))]
    return made, made[rng.integers(len(made))][2]


def with_and_without_the_rule(rng):
    before = scores(rng)
    change = rng.normal(0.004, rng.choice([0.003, 0.008, 0.02]), before.shape)
    change[:, rng.integers(change.shape[1])] = 0  # raises no mean
    after = before + change
    organ = rng.integers(change.shape[1])
    before[0, organ], after[0, organ] = 0.01, 0.0  # lowered by 0.01, and not by more
    return before, after


def mask_and_margin(rng):
    mask = np.zeros(whole(rng, *[(1, 40)] * 3), bool)
    mask[tuple(rng.integers(0, mask.shape, (whole(rng, (1, 3))[0], 3)).T)] = True
    return mask, tuple(rng.choice([0.5, 0.75, 1, 2, 3, 5.0], 3).tolist()), float(rng.integers(0, 25))


INPUTS = {
    "1.2": place_in_a_scan,
    "1.3": lambda rng: (affine_of(rng), *whole(rng, (1, 9))),
    "2.1": where(lambda n, k, p, s: n + 2 * p >= k, lambda rng: whole(rng, (1, 60), (1, 12), (0, 6), (1, 7))),
    "2.3": image_and_window,
    "2.4": lambda rng: whole(rng, (1, 10 ** rng.integers(1, 5))),
    "3.1": lambda rng: whole(rng, (32, 300), (1, 12), (1, 6)),
    "3.2": confusion,
    "4.1": where(lambda n, k, s, c: k >= s and n > 2 * c, lambda rng: whole(rng, (1, 60), (1, 9), (1, 6), (0, 5))),
    "4.2": lambda rng: (whole(rng, (64, 300), (64, 300)),),
    "4.3": weights,
    "5.1": lambda rng: (float(rng.choice([0, 1, rng.random()])),),
    "5.2": where(lambda a, b, drawn: np.isin([a, b], drawn).any(), case_of_organs),
    "5.3": where(lambda them: them.any(), volumes),
    "5.4": lambda rng: (*whole(rng, (1, 400), (0, 400)), float(rng.choice([0, 1, rng.random()]))),
    "6.1": lambda rng: whole(rng, (1, 600), (1, 600)),
    "6.2": lambda rng: whole(rng, (0, 10 ** rng.integers(8, 12)), (0, 10**9), (1000, 9000)),
    "6.3": lambda rng: whole(rng, (0, 400), (1, 6), (1, 5)),
    "7.1": lambda rng: whole(rng, (1, 200), (1, 50)),
    "7.2": displacements,
    "7.3": lambda rng: (whole(rng, *[(1, 9)] * 3),),
    "8.1": patients_and_crops,
    "8.2": lambda rng: (float(rng.uniform(0, 1)), *whole(rng, (0, 60))),
    "8.4": gradients,
    "9.1": eighths,
    "9.2": lambda rng: whole(rng, (2, 8)),
    "9.3": lambda rng: (rng.random(whole(rng, *[(1, 20)] * 3)).astype(np.float32), find),
    "10.1": lambda rng: (scores(rng),),
    "10.2": lambda rng: (float(rng.choice([1, rng.uniform(0.05, 1)])), float(rng.uniform(1, 90))),
    "10.3": two_networks,
    "11.1": lambda rng: (float(rng.uniform(50, 99)), float(rng.uniform(0, 50)), *whole(rng, (2, 400))),
    "11.2": lambda rng: (row_of_a_table(rng), row_of_a_table(rng)),
    "11.3": scans,
    "12.1": with_and_without_the_rule,
    "12.2": mask_and_margin,
}  # fmt: skip


def alike(found, expected):
    """The same numbers in the same shape, whatever their types."""
    found = list(found) if isinstance(found, Iterator) else found
    try:
        found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return False
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-6, atol=1e-9)


def where_it_was_said(found, expected, confusion):
    said = confusion.sum(axis=0) > 0
    precision, recall = found
    return alike(precision[said], expected[0][said]) and alike(recall, expected[1]) and len(precision) == len(said)


def beside_the_percentiles(found, expected, first, second, picks):
    draws, cut = np.sort((second - first)[picks].mean(axis=1)), len(picks) // 40
    low, high = found
    return draws[cut - 1] <= low <= draws[cut] and draws[-cut - 1] <= high <= draws[-cut] and np.shape(found) == (2,)


OPEN = {
    "3.2": where_it_was_said,
    "10.3": beside_the_percentiles,
    "11.3": lambda found, expected, *_: [sorted(part) for part in found] == [sorted(part) for part in expected],
    "12.1": lambda found, expected, *_: alike(sorted(found), sorted(expected)),
    "12.2": lambda found, expected, *_: [(one.start, one.stop) for one in found] == [
        (one.start, one.stop) for one in expected
    ],
}  # fmt: skip


def splits_patients(answer):
    """Exercise 3.3 asks for a draw, so no two answers give the same: this is what its text asks of each.

    All slices, no patient on both sides, as many held out as asked for, the same ones for one seed and others for
    others, and each patient has a chance.
    """
    rng = np.random.default_rng(0)
    for patient_of, many in [slices_of_patients(rng) for _ in range(8)]:
        held_out = []
        for seed in (*range(80), 79):
            given = patient_of.copy()
            training, test = (np.arange(len(patient_of))[part] for part in answer(given, many, seed))
            seen, theirs = set(patient_of[training]), set(patient_of[test])
            if sorted([*training, *test]) != list(range(len(patient_of))) or not np.array_equal(given, patient_of):
                return False
            if len(theirs) != many or theirs & seen:
                return False
            held_out.append(theirs)
        if held_out[-1] != held_out[-2] or set().union(*held_out) != set(patient_of.tolist()):
            return False
    return True


def finds_thin_lines(kernel):
    """Exercise 2.2, by its words, on images of 9 × 9 pixels: the kernel is laid on the middle and summed."""
    x, y = np.indices((9, 9))

    def middle(image):
        return float(np.sum(np.asarray(kernel, dtype=float) * image[3:6, 3:6]))

    flat = [middle(np.ones((9, 9))), middle(x), middle(y), middle(y == 4)]
    return np.shape(kernel) == (3, 3) and np.allclose(flat, 0) and np.isclose(middle(x == 4), 1)


PROPERTIES = {"3.3": splits_patients, "2.2": finds_thin_lines}
