"""Typical wrong answers to the exercises of chapter 11: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def all_in_the_count(average, minimum, n):
    """Takes the patient out of the sum and not out of the count."""
    return (n * average - minimum) / n


def not_out_of_the_sum(average, minimum, n):
    """Takes the patient out of the count and not out of the sum."""
    return n * average / (n - 1)


def from_the_average(average, minimum, n):
    """Takes the patient out of the average, as if it were a sum."""
    return (average - minimum) / (n - 1)


def interval(difference, half):
    return difference - half, difference + half


def errors_added(first, second):
    """Adds standard errors. What adds up for independent averages are their squares."""
    error = first[1] / np.sqrt(first[2]) + second[1] / np.sqrt(second[2])
    return interval(second[0] - first[0], 1.96 * error)


def of_patients(first, second):
    """Confuses the spread of patients with the error of an average, which is smaller by the square root of n."""
    return interval(second[0] - first[0], 1.96 * np.hypot(first[1], second[1]))


def error_of(first, second):
    return np.sqrt(first[1] ** 2 / first[2] + second[1] ** 2 / second[2])


def one_error(first, second):
    """Goes one standard error to each side, which covers 68 %."""
    return interval(second[0] - first[0], error_of(first, second))


def first_less_second(first, second):
    """Subtracts in the wrong order."""
    return interval(first[0] - second[0], 1.96 * error_of(first, second))


def by_scan(scans, hospital):
    """Thinks in scans: patients who were scanned in both hospitals stay in the training."""
    return [scan[0] for scan in scans if scan[2] != hospital], [scan[0] for scan in scans if scan[2] == hospital]


def by_patient(scans, hospital):
    """Holds out the patients, and with them their scans from other hospitals, which were not asked for."""
    there = {patient for _, patient, where in scans if where == hospital}
    return [scan[0] for scan in scans if scan[1] not in there], [scan[0] for scan in scans if scan[1] in there]


def wrong_order(scans, hospital):
    """Returns the right parts in the wrong order."""
    there = {patient for _, patient, where in scans if where == hospital}
    return [scan[0] for scan in scans if scan[2] == hospital], [scan[0] for scan in scans if scan[1] not in there]


WRONG = [
    ("11.1", all_in_the_count, "How many patients are left"),
    ("11.1", not_out_of_the_sum, "not out of the sum"),
    ("11.1", from_the_average, "from the sum"),
    ("11.2", errors_added, "their squares"),
    ("11.2", of_patients, "by the square root of n"),
    ("11.2", one_error, "An interval of 95 % is wider"),
    ("11.2", first_less_second, "second less first"),
    ("11.3", by_scan, "your training sees them"),
    ("11.3", by_patient, "scans from other hospitals"),
    ("11.3", wrong_order, "in the wrong order"),
]
