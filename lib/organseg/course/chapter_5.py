"""The exercises of chapter 5, What to optimise: overlap."""

import numpy as np

from organseg.course import exercise
from organseg.metrics import dice


@exercise("5.1")
def jaccard_from_dice(answer):
    """Between 0 and 1 Jaccard is always the smaller number: a result looks better when it is given
    as Dice."""
    scores = np.array([0.0, 0.25, 0.6, 0.893, 1.0])
    found = [float(answer(score)) for score in scores]

    def is_always(formula):
        return np.allclose(found, formula(scores), atol=1e-3)

    if is_always(lambda d: d / (2 - d)):
        return None
    if is_always(lambda d: 2 * d / (1 + d)):
        return "This is the way from Jaccard to Dice. Solve the equation for J."
    if is_always(lambda d: d / 2):
        return "Half of a perfect Dice would be 0.5, but equal masks have a Jaccard of 1."
    if is_always(lambda d: d / (1 + d)) or is_always(lambda d: d / (2 + d)):
        return "Equal masks should get 1. Look at the sign when you bring the terms with J to one side."
    return f"For a Dice of 0.6 you say {found[2]:.3f}. Put your J into D = 2J / (1 + J): does 0.6 come back?"


@exercise("5.2")
def mean_dice(answer):
    """What is averaged is part of a result: the same masks get another mean under another
    convention."""
    truth = np.array([1, 1, 1, 3, 3, 0, 0, 0, 2, 2, 0, 0])
    prediction = np.array([1, 1, 0, 3, 3, 3, 0, 6, 2, 4, 4, 0])
    # Organ 1 is found in part, 3 too large, 6 invented, 5 and 7 absent; 2 and 4 are drawn in the
    # second round only.
    for annotated in ([1, 3, 5, 6, 7], [1, 2, 3, 4], [7, 2]):
        scores = {organ: dice(truth == organ, prediction == organ) for organ in range(8)}
        drawn = np.array([scores[organ] for organ in annotated])
        found = float(answer(truth, prediction, annotated))

        def same(*values, found=found):
            return np.isclose(found, np.mean(values))

        if same(*drawn[~np.isnan(drawn)]):
            continue
        if np.isnan(found):
            return "The mean of numbers and a nan is nan. An organ that nobody has, and nobody predicted, is left out."
        if same(*np.nan_to_num(drawn)):
            return "An organ absent from truth and prediction got 0: it was rightly not found, yet it lowers your mean."
        if same(*np.nan_to_num(drawn, nan=1.0)):
            return "An organ absent from truth and prediction got 1: finding nothing where nothing is raises your mean."
        if same(*(scores[organ] for organ in range(1, 8) if not np.isnan(scores[organ]))):
            return (
                "An organ that was not drawn counts in your mean, though nobody knows where it is."
            )
        if same(*(scores[organ] for organ in annotated if organ in truth)):
            return "An organ in the prediction only is left out of your mean. To invent an organ is a mistake: score 0."
        if same(*drawn[~np.isnan(drawn)], scores[0]):
            return "The background counts in your mean. Its Dice is always high and says nothing of the organs."
        return f"With annotated={annotated} you say {found:.3f}. Take the organs one at a time: which of them count?"
    return None


@exercise("5.3")
def weights_from_volumes(answer):
    """These are the weights of `organseg.volume_weights`; an absent class has no loss, but a part
    in the scaling."""
    for volumes in ([9000, 200, 50, 0], [10, 0, 0, 40], [4, 2, 1]):
        volumes = np.array(volumes)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(answer(volumes), dtype=float)
        if found.shape != volumes.shape:
            return "One weight per class is asked for."
        present = volumes > 0
        reciprocal = np.where(present, 1 / np.maximum(volumes, 1), 0)
        right = np.where(present, reciprocal, reciprocal.max())
        if np.allclose(found, right / right.mean()):
            continue
        if not np.isfinite(found).all():
            return "A division by a volume of 0 leaves inf or nan. Put a number there before you divide."
        if np.allclose(found, reciprocal / reciprocal.mean()):
            return "The absent class got weight 0. It should get the largest weight of the classes that are present."
        if np.allclose(found, right):
            return "The proportions are right. Now scale the weights to a mean of 1."
        if np.allclose(found, right / right.sum()):
            return "Your weights add up to 1. What is asked for is a *mean* of 1."
        if np.allclose(found[present], right[present] / reciprocal[present].mean()):
            return "You scaled before the absent class had its weight, so the mean over all classes is not 1."
        ones = 1 / np.maximum(volumes, 1)
        if np.allclose(found, ones / ones.mean()):
            return "You count an absent class as one voxel, so it outweighs every class that is present."
        return f"For volumes of {volumes.tolist()} you say {found.round(3).tolist()}. Which class should weigh most?"
    return None


@exercise("5.4")
def dice_of_both(answer):
    """The rim is worth taking where its chance exceeds half of the Dice without it, often well
    below 0.5."""
    cases = [(20, 80, 0.4), (100, 40, 0.2), (50, 50, 0.5), (10, 30, 0.9)]
    found = [np.asarray(answer(*case), dtype=float) for case in cases]
    if any(pair.shape != (2,) for pair in found):
        return "Return two numbers: the Dice without the rim, then the Dice with it."

    def is_always(formula):
        return np.allclose(
            found,
            [formula(core, rim, core + chance * rim) for core, rim, chance in cases],
            atol=1e-3,
        )

    if is_always(
        lambda core, rim, organ: (2 * core / (core + organ), 2 * organ / (core + rim + organ))
    ):
        return None
    if is_always(
        lambda core, rim, organ: (2 * organ / (core + rim + organ), 2 * core / (core + organ))
    ):
        return "These are the right numbers in the wrong order."
    if is_always(lambda core, rim, organ: (1, 2 * organ / (core + rim + organ))):
        return "Without the rim the mask is not perfect: part of the organ lies in the rim, and the mask misses it."
    if is_always(
        lambda core, rim, organ: (
            2 * core / (core + organ),
            2 * (core + rim) / (core + rim + organ),
        )
    ):
        return "Not all of the rim is organ. How many of its voxels are in both, mask and organ?"
    if is_always(
        lambda core, rim, organ: (
            2 * core / (2 * core + rim),
            2 * (core + rim) / (2 * (core + rim)),
        )
    ):
        return "You count the whole rim as organ. How large is the organ, if only a share of the rim belongs to it?"
    if is_always(lambda core, rim, organ: (2 * core / (core + organ), 1)):
        return "With the rim the mask is not perfect: it takes voxels that are not organ. How large is the mask?"
    if is_always(lambda core, rim, organ: (core / organ, organ / (core + rim))):
        return "This is Jaccard, the overlap divided by the union."
    return f"For core 20, rim 80, chance 0.4 you say {found[0].round(3).tolist()}. How large is the organ?"
