"""The exercises of chapter 10, Evaluation."""

from functools import partial

import numpy as np

from organseg.course import Found, drawn, numbers, tried, two


def exercise_10_1(answer):
    """The paper's minimum mixes the worst scores of different patients: nobody need have scored so
    low."""
    rng = np.random.default_rng(10)
    cases = [np.array([[0.9, 0.2, np.nan], [0.5, 0.8, 0.9], [0.8, 0.7, 0.4], [0.7, 0.9, 0.6]])]
    for patients, organs in drawn(20, (3, 9), (3, 8)):
        cases.append(rng.random((patients, organs)))
        cases[-1][np.arange(organs) % patients, rng.permutation(organs)] = np.nan  # one each
    for scores in cases:
        hint = "Return two numbers: first that of the row, then that of the patients."
        found = Found(two(answer(scores), hint))
        first, second = map(Found, found)
        row, patient = np.nanmin(scores, axis=0).mean(), np.nanmean(scores, axis=1).min()
        with_worst_entry = np.nanargmin(np.nanmin(scores, axis=1))
        yield found == [row, patient] or {
            "A nan came through. Which functions of numpy leave it out?":
                np.isnan(found.values).any(),
            "These are the right numbers in the wrong order.": found == [patient, row],
            "Your first number is the smallest entry of all. The row is the mean of one minimum "
            "for each organ.": first == np.nanmin(scores),
            "Your first number has one minimum for each patient. A row of the table is an organ: "
            "which axis is that?": first == np.nanmin(scores, axis=1).mean(),
            "Your second number is the worst organ's average. Take the mean over organs first, "
            "along the other axis.": second == np.nanmean(scores, axis=0).min(),
            "Your second number counts nan as 0: a patient without the organ would pay for it.":
                second == np.nan_to_num(scores).mean(axis=1).min(),
            "Your second number is of the patient with the single worst entry. The worst patient "
            "is the one with the lowest mean.": second == np.nanmean(scores[with_worst_entry]),
            f"For {scores.round(2).tolist()} you say {found.values.round(3).tolist()}. Write the "
            "minima of the columns and the means of the rows on paper.": True}  # fmt: skip


def exercise_10_2(answer):
    """The Dice lost differs 6.5 times between the two organs, the mm only 3 times: the gallbladder
    is the smaller."""
    cases = [(0.9, 60.0), (0.5, 20.0), (1.0, 45.0), (0.851, 20.0)]
    cases += drawn(20, (0.1, 1.0), (2.0, 80.0))
    found, dice, radius = tried(answer, cases, within=1e-3)
    ratio = 2 / dice - 1
    right = radius * (np.cbrt(ratio) - 1)
    yield found == right or {
        "This is the radius of the ball with its shell, R + d.": found == radius * np.cbrt(ratio),
        "This is the shell of a tube: areas grow with the square of the radius. What about "
        "volumes?": found == radius * (np.sqrt(ratio) - 1),
        "The volumes are right, but they are not radii. Which root leads from a volume to a "
        "radius?": found == radius * (ratio - 1),
        "Below the line of Dice are both masks, the ball and the ball with its shell. Subtract the "
        "ball's term.": found == radius * (np.cbrt(1 / dice) - 1),
        f"A Dice of 1 leaves no shell, but you say {found[2]:.3f} mm.": not abs(found[2]) < 1e-3,
        f"For a Dice of {dice[n := found.wrong(right)]:.3g} and {radius[n]:.3g} mm you say "
        f"{found[n]:.3f} mm. Which Dice has such a shell by the formula?": True}  # fmt: skip


def exercise_10_3(answer):
    """Drawn together, what is hard for both networks cancels, and a small but steady gain can be
    seen."""
    rng = np.random.default_rng(3)
    middle = partial(np.percentile, q=(2.5, 97.5))
    for patients, draws in ((10, 520), (12, 2000), (7, 1000), (25, 800), (9, 40)):
        first = rng.uniform(0.5, 0.9, patients)
        second = first + rng.normal(0.03, 0.02, patients)
        picks = rng.integers(0, patients, (draws, patients))
        picks[0], picks[-1] = np.argmax(second - first), np.argmin(second - first)  # the extremes
        hint = "Return the two ends of the interval, the low one and the high one."
        found = numbers(two(answer(first, second, picks), hint))
        of_first, of_second = first[picks].mean(axis=1), second[picks].mean(axis=1)
        moved = of_second - of_first

        near = partial(np.allclose, found, rtol=0, atol=np.ptp(middle(moved)) / 50)
        # To sort and cut is as good: an end lies between the draw cut off and the one kept.
        cut, in_order = draws // 40, np.sort(moved)
        least = np.array([in_order[cut - 1], in_order[-cut - 1]]) - 1e-7
        most = np.array([in_order[cut], in_order[-cut]]) + 1e-7
        yield ((least <= found) & (found <= most)).all() or {
            "This is first less second; the other way round is asked for.":
                near(-middle(moved)) or near(-middle(moved)[::-1]),
            "You took the ends of two intervals apart. Take the difference within each draw, and "
            "then the ends.": near(middle(of_second) - middle(of_first)),
            "This asks whether two intervals overlap, as if the networks had had different "
            "patients. Pair them.": near(middle(of_second) - middle(of_first)[::-1]),
            "This is how single patients differ. The interval asked for is that of an average: "
            "draw patients first.": near(middle(second - first)),
            "You took percentiles of single patients' differences. First comes the average of each "
            "draw.": near(middle((second - first)[picks])),
            "Between these ends lie 90 % of the draws. How much must be left out on each side for "
            "95 %?": near(middle(moved, q=(5, 95))),
            "Your interval is too wide. Did both networks get the same patients in each draw?":
                found[1] - found[0] > 1.5 * np.ptp(middle(moved)),
            f"You say {found.round(4).tolist()}; the averages of first and second differ by "
            f"{np.mean(second - first):.4f}, and 95 % of the draws should lie between.": True,
        }  # fmt: skip
