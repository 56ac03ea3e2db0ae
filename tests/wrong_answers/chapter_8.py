"""Typical wrong answers to the exercises of chapter 8: the exercise, the answer, words of the hint it must get."""

import numpy as np


def as_an_epoch(patients, crops):
    return int(np.ceil(patients / crops))


def one_patient_a_step(patients, crops):
    return int(np.ceil(np.log(patients) / -np.log(1 - 1 / patients)))


def one_step_early(patients, crops):
    return int(np.log(patients) / -np.log(1 - crops / patients))


def for_one_patient(patients, crops):
    return int(np.ceil(np.log(2) / -np.log(1 - crops / patients)))


def what_is_left(momentum, steps):
    return momentum**steps


def only_the_last(momentum, steps):
    return 1 - momentum


def only_the_first_of_them(momentum, steps):
    return (1 - momentum) * momentum ** (steps - 1)


def all_alike(momentum, steps):
    return steps * (1 - momentum)


def not_a_power_of_two(gradients):
    return 65504 / np.abs(gradients).max()


def without_sign(gradients):
    return 2.0 ** np.floor(np.log2(65504 / gradients.max()))


def by_the_smallest(gradients):
    return 2.0 ** np.floor(np.log2(65504 / np.abs(gradients).min()))


def rounded_up(gradients):
    return 2.0 ** np.ceil(np.log2(65504 / np.abs(gradients).max()))


def as_keras_begins(gradients):
    return 2.0**15


WRONG = [
    ("8.1", as_an_epoch, "no patient came twice"),
    ("8.1", one_patient_a_step, "one patient per step"),
    ("8.1", one_step_early, "One step too early"),
    ("8.1", for_one_patient, "one given patient"),
    ("8.2", what_is_left, "everything before"),
    ("8.2", only_the_last, "very last step alone"),
    ("8.2", only_the_first_of_them, "k steps ago alone"),
    ("8.2", all_alike, "do not count alike"),
    ("8.3", {"A": "statistics", "B": "plateau", "C": "over-fitting"}, "which way does the held-out one go"),
    ("8.3", {"A": "over-fitting", "B": "statistics", "C": "plateau"}, "does either of its curves learn"),
    ("8.3", {"A": "over-fitting", "B": "plateau", "C": "over-fitting"}, "ever follow the training"),
    ("8.4", not_a_power_of_two, "no power of two"),
    ("8.4", without_sign, "may be negative"),
    ("8.4", by_the_smallest, "smallest gradient"),
    ("8.4", rounded_up, "Twice too large"),
    ("8.4", as_keras_begins, "where Keras begins"),
]
