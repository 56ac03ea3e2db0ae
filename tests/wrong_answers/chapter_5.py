"""Typical wrong answers to the exercises of chapter 5: the exercise, the answer, words of the hint it must get."""

import numpy as np

from organseg import dice


def the_other_way(score):
    return 2 * score / (1 + score)


def half(score):
    return score / 2


def wrong_sign(score):
    return score / (2 + score)


def mean_with_nan(truth, prediction, annotated):
    return np.mean([dice(truth == organ, prediction == organ) for organ in annotated])


def absent_as_zero(truth, prediction, annotated):
    return np.mean(np.nan_to_num([dice(truth == organ, prediction == organ) for organ in annotated]))


def absent_as_one(truth, prediction, annotated):
    return np.mean(np.nan_to_num([dice(truth == organ, prediction == organ) for organ in annotated], nan=1))


def every_organ(truth, prediction, annotated):
    return np.nanmean([dice(truth == organ, prediction == organ) for organ in range(1, 8)])


def organs_of_the_truth(truth, prediction, annotated):
    return np.mean([dice(truth == organ, prediction == organ) for organ in annotated if (truth == organ).any()])


def with_background(truth, prediction, annotated):
    return np.nanmean([dice(truth == organ, prediction == organ) for organ in [0, *annotated]])


def divides_by_zero(volumes):
    return (1 / volumes) / np.mean(1 / volumes)


def absent_without_weight(volumes):
    weights = np.array([1 / volume if volume else 0 for volume in volumes])
    return weights / weights.mean()


def absent_as_one_voxel(volumes):
    weights = 1 / np.maximum(volumes, 1)
    return weights / weights.mean()


def not_scaled(volumes):
    return 1 / np.where(volumes > 0, volumes, volumes[volumes > 0].min())


def sum_of_one(volumes):
    return not_scaled(volumes) / not_scaled(volumes).sum()


def core_is_all(core, rim, chance):
    return 1.0, 2 * (core + chance * rim) / (2 * core + rim + chance * rim)


def rim_is_organ(core, rim, chance):
    return 2 * core / (2 * core + rim), 1.0


def rim_overlaps_fully(core, rim, chance):
    organ = core + chance * rim
    return 2 * core / (core + organ), 2 * (core + rim) / (core + rim + organ)


def wrong_order(core, rim, chance):
    organ = core + chance * rim
    return 2 * organ / (core + rim + organ), 2 * core / (core + organ)


def jaccard_of_both(core, rim, chance):
    organ = core + chance * rim
    return core / organ, organ / (core + rim)


WRONG = [
    ("5.1", the_other_way, "from Jaccard to Dice"),
    ("5.1", half, "equal masks have a Jaccard of 1"),
    ("5.1", wrong_sign, "Look at the sign"),
    ("5.2", mean_with_nan, "a nan is nan"),
    ("5.2", absent_as_zero, "got 0"),
    ("5.2", absent_as_one, "got 1"),
    ("5.2", every_organ, "not drawn counts"),
    ("5.2", organs_of_the_truth, "invent"),
    ("5.2", with_background, "background counts"),
    ("5.3", divides_by_zero, "inf or nan"),
    ("5.3", absent_without_weight, "got weight 0"),
    ("5.3", absent_as_one_voxel, "as one voxel"),
    ("5.3", not_scaled, "scale the weights"),
    ("5.3", sum_of_one, "add up to 1"),
    ("5.4", core_is_all, "Without the rim the mask is not perfect"),
    ("5.4", rim_is_organ, "whole rim as organ"),
    ("5.4", rim_overlaps_fully, "Not all of the rim is organ"),
    ("5.4", wrong_order, "wrong order"),
    ("5.4", jaccard_of_both, "This is Jaccard"),
]
