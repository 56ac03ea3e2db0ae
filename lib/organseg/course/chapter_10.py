"""The exercises of chapter 10, Evaluation."""

import numpy as np

from organseg.course import exercise


@exercise("10.1")
def two_minima(answer):
    """The paper's minimum mixes the worst scores of different patients: nobody need have scored so
    low."""
    scores = np.array([[0.9, 0.2, np.nan], [0.5, 0.8, 0.9], [0.8, 0.7, 0.4], [0.7, 0.9, 0.6]])
    found = np.asarray(answer(scores), dtype=float)
    if found.shape != (2,):
        return "Return two numbers: first the one of the row, then the one of the patients."
    row, patient = np.nanmin(scores, axis=0).mean(), np.nanmean(scores, axis=1).min()
    if np.allclose(found, [row, patient]):
        return None
    if np.isnan(found).any():
        return "A nan came through. Which functions of numpy leave it out?"
    if np.allclose(found, [patient, row]):
        return "These are the right numbers in the wrong order."
    if np.isclose(found[0], np.nanmin(scores)):
        return "Your first number is the smallest entry of all. The row is the mean of one minimum for each organ."
    if np.isclose(found[0], np.nanmin(scores, axis=1).mean()):
        return "Your first number has one minimum for each patient. A row of the table is an organ: which axis is that?"
    if np.isclose(found[1], np.nanmean(scores, axis=0).min()):
        return "Your second number is the worst organ's average. Take the mean over organs first, along the other axis."
    if np.isclose(found[1], np.nan_to_num(scores).mean(axis=1).min()):
        return "Your second number counts nan as 0: a patient without the organ would pay for it."
    return f"You say {found.round(3).tolist()}. Write the minima of the columns and the means of the rows on paper."


@exercise("10.2")
def thickness(answer):
    """The Dice lost differs 6.5 times between the two organs, the mm only 3 times: the gallbladder
    is the smaller."""
    cases = [(0.9, 60.0), (0.5, 20.0), (1.0, 45.0), (0.851, 20.0)]
    found = np.array([float(answer(*case)) for case in cases])
    dice, radius = np.array(cases).T
    ratio = 2 / dice - 1

    def is_always(formula):
        return np.allclose(found, formula, atol=1e-3)

    if is_always(radius * (np.cbrt(ratio) - 1)):
        return None
    if is_always(radius * np.cbrt(ratio)):
        return "This is the radius of the ball with its shell, R + d."
    if is_always(radius * (np.sqrt(ratio) - 1)):
        return "This is the shell of a tube: areas grow with the square of the radius. What about volumes?"
    if is_always(radius * (ratio - 1)):
        return "The volumes are right, but they are not radii. Which root leads from a volume to a radius?"
    if is_always(radius * (np.cbrt(1 / dice) - 1)):
        return "Below the line of Dice are both masks, the ball and the ball with its shell. Subtract the ball's term."
    if not np.isclose(found[2], 0, atol=1e-3):
        return f"A Dice of 1 leaves no shell, but you say {found[2]:.3f} mm."
    return f"For a Dice of 0.5 and 20 mm you say {found[1]:.3f} mm. Put it back into the formula: does 0.5 come out?"


@exercise("10.3")
def interval_of_difference(answer):
    """Drawn together, what is hard for both networks cancels, and a small but steady gain can be
    seen."""
    rng = np.random.default_rng(3)
    first = rng.uniform(0.5, 0.9, 10)
    second = first + rng.normal(0.03, 0.02, 10)
    picks = rng.integers(0, 10, (500, 10))
    found = np.asarray(answer(first, second, picks), dtype=float)
    if found.shape != (2,):
        return "Return the two ends of the interval, the low one and the high one."
    of_first, of_second = first[picks].mean(axis=1), second[picks].mean(axis=1)
    ends = [2.5, 97.5]
    right = np.percentile(of_second - of_first, ends)
    if np.allclose(found, right, atol=1e-9):
        return None
    if np.allclose(found, -right[::-1]) or np.allclose(found, -right):
        return "This is first less second."
    low_first, high_first = np.percentile(of_first, ends)
    low_second, high_second = np.percentile(of_second, ends)
    if np.allclose(found, [low_second - low_first, high_second - high_first]):
        return "You took the ends of two intervals apart. Take the difference within each draw, and then the ends."
    if np.allclose(found, [low_second - high_first, high_second - low_first]):
        return "This asks whether two intervals overlap, as if the networks had had different patients. Pair them."
    if np.allclose(found, np.percentile(second - first, ends)):
        return "This is how single patients differ. The interval asked for is that of an average: draw patients first."
    if np.allclose(found, np.percentile((second - first)[picks], ends)):
        return "You took percentiles of single patients' differences. First comes the average of each draw."
    if np.allclose(found, np.percentile(of_second - of_first, [5, 95])):
        return "Between these ends lie 90 % of the draws. How much must be left out on each side for 95 %?"
    if found[1] - found[0] > 1.5 * (right[1] - right[0]):
        return "Your interval is too wide. Did both networks get the same patients in each draw?"
    return f"You say {found.round(4).tolist()}, but the averages differ by {np.mean(second - first):.4f}."
