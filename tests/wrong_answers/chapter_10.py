"""Typical wrong answers to the exercises of chapter 10: the exercise, the answer, words of the hint it must get."""

import numpy as np


def smallest_entry(scores):
    return np.nanmin(scores), np.nanmean(scores, axis=1).min()


def minima_of_patients(scores):
    return np.nanmin(scores, axis=1).mean(), np.nanmean(scores, axis=1).min()


def worst_organ(scores):
    return np.nanmin(scores, axis=0).mean(), np.nanmean(scores, axis=0).min()


def with_nan(scores):
    return scores.min(axis=0).mean(), scores.mean(axis=1).min()


def wrong_order(scores):
    return np.nanmean(scores, axis=1).min(), np.nanmin(scores, axis=0).mean()


def absent_as_zero(scores):
    return np.nanmin(scores, axis=0).mean(), np.nan_to_num(scores).mean(axis=1).min()


def outer_radius(dice, radius):
    return radius * np.cbrt(2 / dice - 1)


def as_a_tube(dice, radius):
    return radius * (np.sqrt(2 / dice - 1) - 1)


def volumes_for_radii(dice, radius):
    return radius * (2 / dice - 2)


def one_mask_below(dice, radius):
    return radius * (np.cbrt(1 / dice) - 1)


def ends_apart(first, second, picks):
    of_first, of_second = (np.percentile(one[picks].mean(axis=1), [2.5, 97.5]) for one in (first, second))
    return of_second - of_first


def overlap(first, second, picks):
    of_first, of_second = (np.percentile(one[picks].mean(axis=1), [2.5, 97.5]) for one in (first, second))
    return of_second[0] - of_first[1], of_second[1] - of_first[0]


def single_patients(first, second, picks):
    return np.percentile(second - first, [2.5, 97.5])


def first_less_second(first, second, picks):
    return np.percentile((first - second)[picks].mean(axis=1), [2.5, 97.5])


def not_averaged(first, second, picks):
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
