"""Typical wrong answers to the exercises of chapter 10: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np


def smallest_entry(scores):
    """Thinks that “Min.” of the last row is the smallest number of all."""
    return np.nanmin(scores), np.nanmean(scores, axis=1).min()


def minima_of_patients(scores):
    """Mixes up the axes: takes each patient's minimum instead of each organ's."""
    return np.nanmin(scores, axis=1).mean(), np.nanmean(scores, axis=1).min()


def worst_organ(scores):
    """Looks for the worst organ instead of the worst patient."""
    return np.nanmin(scores, axis=0).mean(), np.nanmean(scores, axis=0).min()


def with_nan(scores):
    """Does not leave out `nan`, so that the result is `nan`."""
    return scores.min(axis=0).mean(), scores.mean(axis=1).min()


def wrong_order(scores):
    """Returns the right numbers in the wrong order."""
    return np.nanmean(scores, axis=1).min(), np.nanmin(scores, axis=0).mean()


def absent_as_zero(scores):
    """Counts an organ that is not counted as a score of 0."""
    return np.nanmin(scores, axis=0).mean(), np.nan_to_num(scores).mean(axis=1).min()


def outer_radius(dice, radius):
    """Finds the radius of the ball with its shell, and not the shell."""
    return radius * np.cbrt(2 / dice - 1)


def as_a_tube(dice, radius):
    """Thinks in areas, as for a tube: takes the square root."""
    return radius * (np.sqrt(2 / dice - 1) - 1)


def volumes_for_radii(dice, radius):
    """Takes a ratio of volumes for a ratio of radii."""
    return radius * (2 / dice - 2)


def one_mask_below(dice, radius):
    """Divides the overlap by one mask. Dice divides by the mean of both."""
    return radius * (np.cbrt(1 / dice) - 1)


def ends_apart(first, second, picks):
    """Subtracts the ends of two intervals. Those of a difference are not the difference of the ends."""
    of_first, of_second = (np.percentile(one[picks].mean(axis=1), [2.5, 97.5]) for one in (first, second))
    return of_second - of_first


def overlap(first, second, picks):
    """Thinks that two networks differ only if their intervals do not overlap, and loses the pairing."""
    of_first, of_second = (np.percentile(one[picks].mean(axis=1), [2.5, 97.5]) for one in (first, second))
    return of_second[0] - of_first[1], of_second[1] - of_first[0]


def single_patients(first, second, picks):
    """Gives the spread of single patients instead of that of an average."""
    return np.percentile(second - first, [2.5, 97.5])


def first_less_second(first, second, picks):
    """Subtracts in the wrong order."""
    return np.percentile((first - second)[picks].mean(axis=1), [2.5, 97.5])


def not_averaged(first, second, picks):
    """Forgets to average each draw, and gets the spread of single patients again."""
    return np.percentile((second - first)[picks], [2.5, 97.5])


WRONG = [
    ("10.1", smallest_entry, "one minimum for each organ"),
    ("10.1", minima_of_patients, "which axis"),
    ("10.1", worst_organ, "worst organ's average"),
    ("10.1", with_nan, "leave it out"),
    ("10.1", wrong_order, "wrong order"),
    ("10.1", absent_as_zero, "counts nan as 0"),
    ("10.2", outer_radius, "R + d"),
    ("10.2", as_a_tube, "What about volumes"),
    ("10.2", volumes_for_radii, "Which root"),
    ("10.2", one_mask_below, "both masks"),
    ("10.3", ends_apart, "within each draw"),
    ("10.3", overlap, "Pair them"),
    ("10.3", single_patients, "draw patients first"),
    ("10.3", first_less_second, "first less second"),
    ("10.3", not_averaged, "average of each draw"),
]
