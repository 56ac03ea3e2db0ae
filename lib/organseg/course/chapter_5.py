"""The exercises of chapter 5, What to optimise: overlap."""

import numpy as np

from organseg.course import Found, drawn, number, tried
from organseg.metrics import dice


def exercise_5_1(answer):
    """Between 0 and 1 Jaccard is always the smaller number: a result looks better when it is given
    as Dice."""
    cases = [(0.0,), (0.25,), (0.6,), (0.893,), (1.0,), *drawn(20, (0.0, 1.0))]
    found, d = tried(answer, cases, within=1e-3)
    right = d / (2 - d)
    yield found == right or {
        "This is the way from Jaccard to Dice. Solve the equation for J.": found == 2 * d / (1 + d),
        "Half of a perfect Dice would be 0.5, but equal masks have a Jaccard of 1.": found == d / 2,
        "Equal masks should get 1. Look at the sign when you bring the terms with J to one side.":
            found == d / (1 + d) or found == d / (2 + d),
        f"For a Dice of {d[n := found.wrong(right)]:.3g} you say {found[n]:.3f}. Put your J into "
        f"D = 2J / (1 + J): does {d[n]:.3g} come back?": True}  # fmt: skip


def _cases():
    """Truth, prediction and the organs drawn: of one made by hand, then at random."""
    truth = np.array([1, 1, 1, 3, 3, 0, 5, 5, 2, 2, 0, 0])
    prediction = np.array([1, 1, 0, 3, 3, 3, 0, 6, 2, 4, 4, 0])
    # 1 and 2 are found in part, 3 too large, 5 missed, 4 and 6 invented, 7 absent.
    for annotated in ([1, 3, 4, 5, 6, 7], [1, 2, 3, 4], [7, 2]):
        yield truth, prediction, annotated
    rng = np.random.default_rng(5)
    for shape in ((9,), (3, 4), (2, 3, 2), (5,)) * 4:
        drawn_organs = rng.permutation(np.arange(1, 8))[: rng.integers(1, 8)].tolist()
        truth, prediction = rng.integers(0, 8, (2, *shape))
        if np.intersect1d(truth, prediction[np.isin(prediction, drawn_organs)]).size:
            yield truth, prediction, drawn_organs


def exercise_5_2(answer):
    """What is averaged is part of a result: the same masks get another mean under another
    convention."""
    for truth, prediction, annotated in _cases():
        scores = np.array([dice(truth == organ, prediction == organ) for organ in range(8)])
        asked, found = scores[annotated], Found(number(answer(truth, prediction, annotated)))
        yield found == np.nanmean(asked) or {
            "The mean of numbers and a nan is nan. An organ that nobody has, and nobody predicted, "
            "is left out.": np.isnan(found.values),
            "An organ absent from truth and prediction got 0: it was rightly not found, yet it "
            "lowers your mean.": found == np.nan_to_num(asked).mean(),
            "An organ absent from truth and prediction got 1: finding nothing where nothing is "
            "raises your mean.": found == np.nan_to_num(asked, nan=1.0).mean(),
            "An organ that was not drawn counts in your mean, though nobody knows where it is.":
                found == np.nanmean(scores[1:]),
            "An organ in the prediction only is left out of your mean. To invent an organ is a "
            "mistake: score 0.": found == asked[np.isin(annotated, truth)].mean(),
            "An organ that is there and was missed is left out of your mean. Missing it is the "
            "worst of mistakes: score 0.": found == asked[np.isin(annotated, prediction)].mean(),
            "The background counts in your mean. Its Dice is always high and says nothing of the "
            "organs.": found == np.nanmean([*asked, scores[0]]),
            f"With annotated={annotated} you say {found.values:.3f}. Take the organs one at a "
            "time: which of them count?": True}  # fmt: skip


def exercise_5_3(answer):
    """These are the weights of `organseg.volume_weights`; an absent class has no loss, but a part
    in the scaling."""
    cases = [[9000, 200, 50, 0], [10, 0, 0, 40], [4, 2, 1], [0, 0, 7], [1, 0, 1, 3]]
    cases += drawn(20, (0, 3), (1, 900), (0, 3), (1, 900))
    for volumes in map(np.array, cases):
        found = Found(answer(volumes))
        yield {"One weight per class is asked for.": found.shape != volumes.shape}
        present, ones = volumes > 0, 1 / np.maximum(volumes, 1)
        reciprocal = np.where(present, ones, 0)
        weights = np.where(present, ones, reciprocal.max())
        scaled_early = (weights / reciprocal[present].mean())[present]
        yield found == weights / weights.mean() or {
            "A division by a volume of 0 leaves inf or nan. Put a number there before you divide.":
                not np.isfinite(found.values).all(),
            "The absent class got weight 0. It should get the largest weight of the classes that "
            "are present.": found == reciprocal / reciprocal.mean(),
            "The proportions are right. Now scale the weights to a mean of 1.": found == weights,
            "Your weights add up to 1. What is asked for is a mean of 1.":
                found == weights / weights.sum(),
            "You scaled before the absent class had its weight, so the mean over all classes is "
            "not 1.": Found(found[present]) == scaled_early,
            "You count an absent class as one voxel, so it outweighs every class that is present.":
                found == ones / ones.mean(),
            f"For volumes of {volumes.tolist()} you say {found.values.round(3).tolist()}. Which "
            "class should weigh most?": True}  # fmt: skip


def exercise_5_4(answer):
    """The rim is worth taking where its chance exceeds half of the Dice without it, often well
    below 0.5."""
    cases = [(20, 80, 0.4), (100, 40, 0.2), (50, 50, 0.5), (10, 30, 0.9), (7, 9, 0.0), (9, 7, 1.0)]
    cases += drawn(20, (1, 300), (0, 300), (0.0, 1.0))
    both = "Return two numbers: the Dice without the rim, then the Dice with it."
    found, core, rim, chance = tried(answer, cases, within=1e-3, both=both)
    organ, one = core + chance * rim, np.ones(len(cases))
    without, with_rim = 2 * core / (core + organ), 2 * organ / (core + rim + organ)
    right = np.c_[without, with_rim]
    yield found == right or {
        "These are the right numbers in the wrong order.": found == np.c_[with_rim, without],
        "Without the rim the mask is not perfect: part of the organ lies in the rim, and the mask "
        "misses it.": found == np.c_[one, with_rim],
        "Not all of the rim is organ. How many of its voxels are in both, mask and organ?":
            found == np.c_[without, 2 * (core + rim) / (core + rim + organ)],
        "You count the whole rim as organ. How large is the organ, if only a share of the rim "
        "belongs to it?": found == np.c_[2 * core / (2 * core + rim), one],
        "With the rim the mask is not perfect: it takes voxels that are not organ. How large is "
        "the mask?": found == np.c_[without, one],
        "This is Jaccard, the overlap divided by the union.":
            found == np.c_[core / organ, organ / (core + rim)],
        f"For core {core[n := found.wrong(right)]:g}, rim {rim[n]:g}, chance {chance[n]:.3g} you "
        f"say {found[n].round(3).tolist()}. How large is the organ?": True}  # fmt: skip
