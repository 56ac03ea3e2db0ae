"""The exercises of chapter 3: how large a dense layer is, precision and recall, whom to test on."""

import numpy as np

from organseg.course import Found, drawn, numbers, tried, two


def exercise_3_1(answer):
    """The dense layer grows with the area of the image; no convolution does. Chapter 4 does without
    it."""
    cases = [(64, 4, 4), (128, 4, 4), (64, 8, 3), (32, 2, 1), *drawn(20, (32, 200), (1, 9), (1, 6))]
    found, size, base_filters, levels = tried(answer, cases)
    side, channels, units = size // 2 ** (levels - 1), base_filters * 2**levels, 4 * base_filters
    right = side**2 * channels * units + units
    yield found == right or {
        "Each output of a dense layer adds one more number to its sum, besides the products.":
            found == right - units,
        "Count the poolings again: there is one between two levels, so one fewer than there are "
        "levels.": found == (side // 2) ** 2 * channels * units + units,
        "Count the feature maps again: the second convolution of a level doubles their number.":
            found == side**2 * channels // 2 * units + units,
        "The feature maps have two sides: Flatten puts all their pixels into the row.":
            found == side * channels * units + units,
        f"For size {size[n := found.wrong(right)]}, base_filters {base_filters[n]}, levels "
        f"{levels[n]}: how many numbers come out of Flatten?": True}  # fmt: skip


def exercise_3_2(answer):
    """Two questions, two numbers: what share of what was said is true, and what share was found."""
    tables = [[8, 2, 0], [1, 5, 0], [0, 3, 9]], [[1, 0], [30, 4]], [[5, 1, 0], [2, 6, 0], [1, 1, 0]]
    rng = np.random.default_rng(3)
    tables += [[1, 1], [0, 2]], *(rng.integers(0, 4, (size, size)) for size in (2, 3, 4, 5) * 4)
    for table in (one for one in map(np.array, tables) if one.any(axis=1).all()):
        divided, hits = [], np.diag(table)
        with np.errstate(divide="call", invalid="call", call=lambda *_, to=divided: to.append(1)):
            found = answer(table)
        parts = "Return two things: the precision of each class, then the recall of each class."
        first, second = map(Found, two(found, parts))
        one_each = first.shape == second.shape == hits.shape
        yield {"One number per class is asked for, in each of the two.": not one_each}
        # A class that was never said has no precision: any value will do.
        said = table.sum(axis=0) > 0
        precision, recall = (hits / table.sum(axis=0).clip(1))[said], hits / table.sum(axis=1)
        of_said = Found(first[said])
        swapped = of_said == recall[said] and Found(second[said]) == precision
        rounded = any(of_said == precision.round(n) and second == recall.round(n) for n in range(5))
        yield (not divided and of_said == precision and second == recall) or {
            "These are the right numbers in the wrong order: which of them divides by what was "
            "said?": swapped,
            "This is the accuracy over all classes. Precision and recall look at one class at a "
            "time.": first == np.full(len(hits), hits.sum() / table.sum()),
            "Look at the precision: divide by how often the class was said. Is that a row or a "
            "column?": of_said != precision and of_said == recall[said],
            "Look at the recall: divide by how many there are of the class. Is that a row or a "
            "column?": second != recall and Found(second[said]) == precision,
            "These are the right numbers, but rounded: return them with all their decimals.":
                rounded and not divided,
            "You divide by zero where a class was never said. What could stand below instead?":
                divided,
            f"For {table.tolist()} you say {first.values.round(3).tolist()} and "
            f"{second.values.round(3).tolist()}. Take one class: what was right, of how many?":
                True}  # fmt: skip


def exercise_3_3(answer):
    """No patient on both sides, whatever the seed: such a test speaks about new patients."""
    some = np.array(list("gddaabbbcceeeef"))
    for patient_of, many in ((np.repeat(np.arange(6), 5), 2), (some, 2), (some, 1), (some, 4)):
        held_out, indices = [], "Return two arrays of indices: to train on, and to test on."
        for seed in (*range(80), 79):
            parts = [numbers(part) for part in two(answer(patient_of, many, seed), indices)]
            parts = [np.flatnonzero(p) if p.dtype == bool else p.astype(int) for p in parts]
            slices = sorted(np.concatenate(parts).tolist())
            yield {
                "Every slice belongs to training or test, and to one of them only; return two "
                "arrays of indices.": slices != list(range(len(patient_of)))}  # fmt: skip
            ours, theirs = (set(patient_of[part].tolist()) for part in parts)
            yield {
                "Some patients have slices on both sides: the leak. Draw patients, then take their "
                "slices.": ours & theirs,
                "Return the training part first, then the test.": len(ours) == many != len(theirs),
                f"Patients held out: {len(theirs)} instead of {many}.": len(theirs) != many,
            }  # fmt: skip
            held_out.append(theirs)
        never = sorted(set(patient_of.tolist()).difference(*held_out))
        yield {
            "Every seed holds out the same patients. Let a random generator with this seed draw "
            "them.": all(patients == held_out[0] for patients in held_out),
            "The same seed must hold out the same patients each time: np.random.default_rng(seed).":
                held_out[-1] != held_out[-2],
            f"Patient {next(iter(never), None)} is never held out, whatever the seed. Draw from "
            "all of them.": never}  # fmt: skip
