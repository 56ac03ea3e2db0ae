"""Typical wrong answers to the exercises of chapter 5: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

import numpy as np

from organseg import dice


def the_other_way(score):
    """Takes the formula that leads from Jaccard to Dice."""
    return 2 * score / (1 + score)


def half(score):
    """Thinks that Jaccard is half of Dice, because of the 2 in its formula."""
    return score / 2


def wrong_sign(score):
    """Loses a sign when the equation is solved for J."""
    return score / (2 + score)


def mean_with_nan(truth, prediction, annotated):
    """Does not see that one `nan` makes the whole mean `nan`."""
    return np.mean([dice(truth == organ, prediction == organ) for organ in annotated])


def absent_as_zero(truth, prediction, annotated):
    """Thinks that an organ which is rightly not found has no overlap, so 0."""
    return np.mean(np.nan_to_num([dice(truth == organ, prediction == organ) for organ in annotated]))


def absent_as_one(truth, prediction, annotated):
    """Thinks that finding nothing where nothing is deserves a full score. Whether it does is a convention; here it
    does not count.
    """
    return np.mean(np.nan_to_num([dice(truth == organ, prediction == organ) for organ in annotated], nan=1))


def every_organ(truth, prediction, annotated):
    """Takes organs that nobody drew for organs that are not there."""
    return np.nanmean([dice(truth == organ, prediction == organ) for organ in range(1, 8)])


def organs_of_the_truth(truth, prediction, annotated):
    """Looks only for organs of the truth, so that an invented organ costs nothing."""
    return np.mean([dice(truth == organ, prediction == organ) for organ in annotated if (truth == organ).any()])


def with_background(truth, prediction, annotated):
    """Thinks that the background is a class like the others. It is always easy, and lifts the mean."""
    return np.nanmean([dice(truth == organ, prediction == organ) for organ in [0, *annotated]])


def divides_by_zero(volumes):
    """Does not think of a class without voxels: its weight becomes infinite."""
    return (1 / volumes) / np.mean(1 / volumes)


def absent_without_weight(volumes):
    """Thinks that an absent class needs no weight. A network that invents it should be told."""
    weights = np.array([1 / volume if volume else 0 for volume in volumes])
    return weights / weights.mean()


def absent_as_one_voxel(volumes):
    """Avoids the division by zero by counting one voxel, so that the absent class outweighs all others."""
    weights = 1 / np.maximum(volumes, 1)
    return weights / weights.mean()


def not_scaled(volumes):
    """Forgets to scale, so that the loss becomes tiny and the learning rate means something else."""
    return 1 / np.where(volumes > 0, volumes, volumes[volumes > 0].min())


def sum_of_one(volumes):
    """Scales to a sum of 1, where a mean of 1 is asked for."""
    return not_scaled(volumes) / not_scaled(volumes).sum()


def core_is_all(core, rim, chance):
    """Thinks that a mask without false voxels is perfect. It misses the organ's part of the rim."""
    return 1.0, 2 * (core + chance * rim) / (2 * core + rim + chance * rim)


def rim_is_organ(core, rim, chance):
    """Forgets the chance: takes the whole rim for organ."""
    return 2 * core / (2 * core + rim), 1.0


def rim_overlaps_fully(core, rim, chance):
    """Counts all of the rim as overlap, although only part of it is organ."""
    organ = core + chance * rim
    return 2 * core / (core + organ), 2 * (core + rim) / (core + rim + organ)


def wrong_order(core, rim, chance):
    """Returns the right numbers in the wrong order."""
    organ = core + chance * rim
    return 2 * organ / (core + rim + organ), 2 * core / (core + organ)


def jaccard_of_both(core, rim, chance):
    """Confuses Dice with Jaccard."""
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
