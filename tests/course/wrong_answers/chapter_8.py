"""Typical wrong answers to the exercises of chapter 8: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def as_an_epoch(patients, crops):
    """Thinks in epochs, where nobody comes twice. Here each step draws anew."""
    return int(np.ceil(patients / crops))


def one_patient_a_step(patients, crops):
    """Forgets that a step draws several patients."""
    return int(np.ceil(np.log(patients) / -np.log(1 - 1 / patients)))


def one_step_early(patients, crops):
    """Rounds down, to one step too few."""
    return int(np.log(patients) / -np.log(1 - crops / patients))


def for_one_patient(patients, crops):
    """Asks when one given patient has probably come, and not when all have."""
    return int(np.ceil(np.log(2) / -np.log(1 - crops / patients)))


def what_is_left(momentum, steps):
    """Gives the share of all that came before."""
    return momentum**steps


def only_the_last(momentum, steps):
    """Gives the share of the very last batch, whatever the number of steps."""
    return 1 - momentum


def only_the_first_of_them(momentum, steps):
    """Gives the share of one batch, the one so many steps ago."""
    return (1 - momentum) * momentum ** (steps - 1)


def all_alike(momentum, steps):
    """Thinks that all batches count alike. Each older one counts less."""
    return steps * (1 - momentum)


def not_a_power_of_two(gradients):
    """Forgets that a power of two is asked for, which changes no digit of a gradient."""
    return 65504 / np.abs(gradients).max()


def without_sign(gradients):
    """Looks for the largest number, and not for the one furthest from zero."""
    return 2.0 ** np.floor(np.log2(65504 / gradients.max()))


def by_the_smallest(gradients):
    """Protects the smallest gradient. The largest one overflows first."""
    return 2.0 ** np.floor(np.log2(65504 / np.abs(gradients).min()))


def rounded_up(gradients):
    """Rounds up, and the largest gradient overflows."""
    return 2.0 ** np.ceil(np.log2(65504 / np.abs(gradients).max()))


def as_keras_begins(gradients):
    """Gives the scale at which Keras begins, whatever the gradients are."""
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
    (
        "8.3",
        {"A": "statistics", "B": "plateau", "C": "over-fitting"},
        "which way does the held-out one go",
        "Takes any loss that stays high for a plateau, and does not look which way the held-out one goes.",
    ),
    (
        "8.3",
        {"A": "over-fitting", "B": "statistics", "C": "plateau"},
        "does either of its curves learn",
        "Takes every gap between the curves for over-fitting, and does not ask whether anything is learned.",
    ),
    (
        "8.3",
        {"A": "over-fitting", "B": "plateau", "C": "over-fitting"},
        "ever follow the training",
        "Takes every high held-out loss for over-fitting, and does not ask whether it ever followed the training.",
    ),
    ("8.4", not_a_power_of_two, "no power of two"),
    ("8.4", without_sign, "may be negative"),
    ("8.4", by_the_smallest, "smallest gradient"),
    ("8.4", rounded_up, "Twice too large"),
    ("8.4", as_keras_begins, "where Keras begins"),
]
