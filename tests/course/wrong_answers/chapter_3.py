"""Typical wrong answers to the exercises of chapter 3: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def forgets_the_bias(size, base_filters, levels):
    """Counts the weights and forgets that each output adds one number, its bias."""
    side = size // 2 ** (levels - 1)
    return side * side * base_filters * 2**levels * 4 * base_filters


def pools_once_too_often(size, base_filters, levels):
    """Thinks that each level ends in a pooling. There is one only between two levels."""
    side = size // 2**levels
    return side * side * base_filters * 2**levels * 4 * base_filters + 4 * base_filters


def forgets_the_second_doubling(size, base_filters, levels):
    """Takes the number of feature maps from the level before the last."""
    side = size // 2 ** (levels - 1)
    return side * side * base_filters * 2 ** (levels - 1) * 4 * base_filters + 4 * base_filters


def forgets_one_side(size, base_filters, levels):
    """Flattens one side of the feature maps, as if they were rows and not squares."""
    side = size // 2 ** (levels - 1)
    return side * base_filters * 2**levels * 4 * base_filters + 4 * base_filters


def rows_for_columns(confusion):
    """Exchanges precision and recall: takes the row, what is true, for the column, what was said."""
    right = np.diag(confusion)
    return right / confusion.sum(axis=1), right / confusion.sum(axis=0)


def recall_twice(confusion):
    """Knows recall only: divides by what is true in both cases."""
    recall = np.diag(confusion) / confusion.sum(axis=1)
    return recall, recall


def precision_twice(confusion):
    """Knows precision only: divides by what was said in both cases."""
    precision = np.diag(confusion) / confusion.sum(axis=0)
    return precision, precision


def accuracy_for_all(confusion):
    """Thinks that accuracy tells how good each class is."""
    accuracy = np.trace(confusion) / confusion.sum()
    return np.full(len(confusion), accuracy), np.full(len(confusion), accuracy)


def draws_slices(patient_of, held_out, seed):
    """Draws slices instead of patients, so that neighbours of the same patient land on both sides."""
    order = np.random.default_rng(seed).permutation(len(patient_of))
    test = len(patient_of) * held_out // len(set(patient_of.tolist()))
    return order[test:], order[:test]


def never_random(patient_of, held_out, seed):
    """Always takes the same patients, so that the result hangs on who they are."""
    in_test = np.isin(patient_of, np.unique(patient_of)[-held_out:])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def test_first(patient_of, held_out, seed):
    """Returns the right parts in the wrong order."""
    chosen = np.random.default_rng(seed).permutation(np.unique(patient_of))[:held_out]
    in_test = np.isin(patient_of, chosen)
    return np.flatnonzero(in_test), np.flatnonzero(~in_test)


def ignores_the_seed(patient_of, held_out, seed, state=np.random.default_rng(5)):  # noqa: B008
    """Draws anew with each call, so that nobody can repeat the split."""
    chosen = state.permutation(np.unique(patient_of))[:held_out]
    in_test = np.isin(patient_of, chosen)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


WRONG = [
    ("3.1", forgets_the_bias, "adds one more number"),
    ("3.1", pools_once_too_often, "Count the poolings"),
    ("3.1", forgets_the_second_doubling, "Count the feature maps"),
    ("3.1", forgets_one_side, "two sides"),
    ("3.2", rows_for_columns, "wrong order"),
    ("3.2", recall_twice, "Look at the precision"),
    ("3.2", precision_twice, "Look at the recall"),
    ("3.2", accuracy_for_all, "accuracy over all classes"),
    ("3.3", draws_slices, "both sides"),
    ("3.3", never_random, "Every seed holds out the same"),
    ("3.3", test_first, "training part first"),
    ("3.3", ignores_the_seed, "same seed"),
]
