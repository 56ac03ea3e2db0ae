"""Typical wrong answers to the exercises of chapter 3: the exercise, the answer, words of the hint it must get."""

import numpy as np


def forgets_the_bias(size, base_filters, levels):
    side = size // 2 ** (levels - 1)
    return side * side * base_filters * 2**levels * 4 * base_filters


def pools_once_too_often(size, base_filters, levels):
    side = size // 2**levels
    return side * side * base_filters * 2**levels * 4 * base_filters + 4 * base_filters


def forgets_the_second_doubling(size, base_filters, levels):
    side = size // 2 ** (levels - 1)
    return side * side * base_filters * 2 ** (levels - 1) * 4 * base_filters + 4 * base_filters


def forgets_one_side(size, base_filters, levels):
    side = size // 2 ** (levels - 1)
    return side * base_filters * 2**levels * 4 * base_filters + 4 * base_filters


def rows_for_columns(confusion):
    right = np.diag(confusion)
    return right / confusion.sum(axis=1), right / confusion.sum(axis=0)


def recall_twice(confusion):
    recall = np.diag(confusion) / confusion.sum(axis=1)
    return recall, recall


def precision_twice(confusion):
    precision = np.diag(confusion) / confusion.sum(axis=0)
    return precision, precision


def accuracy_for_all(confusion):
    accuracy = np.trace(confusion) / confusion.sum()
    return np.full(len(confusion), accuracy), np.full(len(confusion), accuracy)


def draws_slices(patient_of, held_out, seed):
    order = np.random.default_rng(seed).permutation(len(patient_of))
    test = len(patient_of) * held_out // len(set(patient_of.tolist()))
    return order[test:], order[:test]


def never_random(patient_of, held_out, seed):
    in_test = np.isin(patient_of, np.unique(patient_of)[-held_out:])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def test_first(patient_of, held_out, seed):
    chosen = np.random.default_rng(seed).permutation(np.unique(patient_of))[:held_out]
    in_test = np.isin(patient_of, chosen)
    return np.flatnonzero(in_test), np.flatnonzero(~in_test)


def ignores_the_seed(patient_of, held_out, seed, state=np.random.default_rng(5)):  # noqa: B008
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
    ("3.3", test_first, "training part comes first"),
    ("3.3", ignores_the_seed, "same seed"),
]
