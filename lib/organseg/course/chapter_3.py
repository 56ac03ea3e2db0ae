"""Checks of chapter 3: the size of a dense layer, precision and recall, the split by patient."""

import numpy as np

from organseg.course import exercise


@exercise("3.1")
def dense_parameters(answer):
    """The dense layer grows with the area of the image; no convolution does. Chapter 4 does without
    it."""
    for size, base_filters, levels in ((64, 4, 4), (128, 4, 4), (64, 8, 3), (32, 2, 1)):
        side, channels, units = (
            size // 2 ** (levels - 1),
            base_filters * 2**levels,
            4 * base_filters,
        )
        right = side * side * channels * units + units
        found = answer(size, base_filters, levels)
        if found == right:
            continue
        if found == right - units:
            return "Each output of a dense layer adds one more number to its sum, besides the products."
        if found == (side // 2) ** 2 * channels * units + units:
            return "Count the poolings again: there is one between two levels, so one fewer than there are levels."
        if found == side * side * channels // 2 * units + units:
            return "Count the feature maps again: the second convolution of a level doubles their number."
        if found == side * channels * units + units:
            return "The feature maps have two sides: Flatten puts all their pixels into the row."
        return f"For size {size}, base_filters {base_filters}, levels {levels}: how many numbers come out of Flatten?"


@exercise("3.2")
def precision_and_recall(answer):
    """Two questions, two numbers: what share of what was said is true, and what share was found."""
    tables = (
        [[8, 2, 0], [1, 5, 0], [0, 3, 9]],
        [[1, 0], [30, 4]],
        [[5, 1, 0], [2, 6, 0], [1, 1, 0]],
    )
    for table in (np.array(table) for table in tables):
        with np.errstate(divide="ignore", invalid="ignore"):
            found = answer(table)
            precision = np.diag(table) / table.sum(axis=0)
            recall = np.diag(table) / table.sum(axis=1)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "Return two things: the precision of each class, then the recall of each class."
        found = [np.asarray(part, dtype=float) for part in found]
        if any(part.shape != recall.shape for part in found):
            return "One number per class is asked for, in each of the two."
        said = (
            table.sum(axis=0) > 0
        )  # a class that was never said has no precision: any value will do
        same = [[np.allclose(a[said], b[said]) for b in (precision, recall)] for a in found]
        if same[0][1] and same[1][0]:
            return "These are the right numbers in the wrong order: which of them divides by what was said?"
        if np.allclose(found[0], np.trace(table) / table.sum()):
            return "This is the accuracy over all classes. Precision and recall look at one class at a time."
        if not same[0][0]:
            return "Look at the precision: divide by how often the class was said. Is that a row or a column?"
        if not same[1][1] or not np.allclose(found[1], recall):
            return "Look at the recall: divide by how many there are of the class. Is that a row or a column?"


@exercise("3.3")
def split_slices(answer):
    """No patient on both sides, whatever the seed: such a test speaks about new patients."""
    for patient_of in (np.repeat(np.arange(6), 5), np.array(list("ddaabbbcceeeefa"))):
        drawn = []
        for seed in range(12):
            training, test = (np.asarray(part) for part in answer(patient_of, 2, seed))
            if training.dtype == bool:
                training, test = np.flatnonzero(training), np.flatnonzero(test)
            if sorted([*training.tolist(), *test.tolist()]) != list(range(len(patient_of))):
                return "Every slice belongs to training or test, and to one of them only; return two arrays of indices."
            ours, theirs = set(patient_of[training].tolist()), set(patient_of[test].tolist())
            if ours & theirs:
                return "Some patients have slices on both sides: the leak. Draw patients, then take their slices."
            if len(theirs) != 2:
                return f"Two patients were to be held out, and {len(theirs)} were: the training part comes first."
            drawn.append(tuple(sorted(theirs)))
        if len(set(drawn)) == 1:
            return "Every seed holds out the same patients. Let a random generator with this seed draw them."
        again = np.asarray(answer(patient_of, 2, 11)[1])
        if again.dtype == bool:
            again = np.flatnonzero(again)
        if set(patient_of[again].tolist()) != set(drawn[-1]):
            return "The same seed must hold out the same patients each time: np.random.default_rng(seed)."
