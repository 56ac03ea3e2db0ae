"""The exercises of chapter 11, The whole experiment."""

import numpy as np

from organseg.course import Found, drawn, tried, two


def exercise_11_1(answer):
    """The worst of 340 costs 0.3 points although it scored 0; the worst of 37 costs 1.3 although it
    scored 49.4."""
    rows = [(95.6, 0.0, 340), (96.1, 49.4, 37), (60.0, 30.0, 4)]
    rows += drawn(20, (60.0, 100.0), (0.0, 60.0), (2, 99))
    found, average, minimum, n = tried(answer, rows, within=0.02)
    right = (n * average - minimum) / (n - 1)
    yield found == right or {
        "The sum is right. How many patients are left in it?": found == average - minimum / n,
        "You have taken the patient out of the count but not out of the sum, unless the minimum is "
        "0.": found == n * average / (n - 1),
        "An average of n patients stands for a sum that is n times as large. Take the minimum from "
        "the sum.": found == (average - minimum) / (n - 1),
        f"For average, minimum and n of {np.round(rows[m := found.wrong(right)], 1).tolist()} you "
        f"say {found[m]:.1f}. What do all patients add up to?": True}  # fmt: skip


def exercise_11_2(answer):
    """The spleen is better in the test, beyond chance. The gallbladder's interval holds 0, but a
    loss of 10 too."""
    pairs = [((90.1, 10.9, 340), (85.1, 15.7, 37)), ((96.3, 2.0, 340), (97.7, 0.8, 37))]
    pairs += [((70, 6, 9), (72, 8, 16))]
    rows = iter(drawn(40, (50.0, 99.0), (0.5, 30.0), (2, 400)))
    pairs += zip(rows, rows, strict=True)
    ends = "Return two numbers: the lower and the upper end of the interval."
    found = Found([two(answer(*pair), ends) for pair in pairs])
    (first, second), (std_1, std_2), (n_1, n_2) = np.array(pairs).T
    middle = Found(found.values.mean(axis=1), within=0.01)
    half = Found((found[:, 1] - found[:, 0]) / 2, within=0.01)
    error_1, error_2 = std_1 / np.sqrt(n_1), std_2 / np.sqrt(n_2)
    error = np.hypot(error_1, error_2)
    yield {
        "The interval is about first less second; the difference asked for is second less "
        "first.": middle == first - second,
        "The middle of the interval should be the difference of the averages. Yours is "
        "elsewhere.": middle != second - first}  # fmt: skip
    yield half == 1.96 * error or {
        "The two ends are right, in the wrong order.": half == -1.96 * error,
        "This is one standard error to each side. An interval of 95 % is wider.": half == error,
        "You added the standard errors. Independent errors partly cancel: what adds up are their "
        "squares.": half == 1.96 * (error_1 + error_2),
        "This is the spread of patients. That of an average is smaller, by the square root of "
        "n.": half == 1.96 * np.hypot(std_1, std_2),
        f"For {np.round(pairs[n := half.wrong(1.96 * error)], 1).tolist()} the interval goes "
        f"{half[n]:.2f} to each side. What are the squared standard errors?": True}  # fmt: skip


def exercise_11_3(answer):
    """A hospital's patients are people, and people go to more than one hospital: leaks come through
    patients."""
    scans = [
        ("a1", "anna", "north"), ("a2", "anna", "south"), ("b1", "ben", "north"),
        ("c1", "cleo", "south"), ("d1", "dora", "east"), ("d2", "dora", "east"),
        ("e1", "emil", "east"), ("e2", "emil", "south"),
    ]  # fmt: skip
    tries = [(scans, hospital) for hospital in ("south", "north", "east")]
    for many in range(4, 11):
        more = [(f"s{n}", *pair) for n, pair in enumerate(drawn(many, (0, 5), (0, 3)))]
        tries.append((more, more[-1][-1]))
    for scans, hospital in tries:
        parts = two(answer(scans, hospital), "Return two lists of names: training, then test.")
        training, test = (sorted(map(str, part)) for part in parts)
        there = {patient for _, patient, where in scans if where == hospital}
        made_there = [name for name, _, where in scans if where == hospital]
        made_elsewhere = [name for name, _, where in scans if where != hospital]
        of_its_patients = [name for name, patient, _ in scans if patient in there]
        of_others = [name for name, patient, _ in scans if patient not in there]
        yield (training, test) == (of_others, made_there) or {
            "Training and test are in the wrong order.":
                (training, test) == (made_there, of_others),
            "Your test has scans from other hospitals. It should hold only those of the hospital "
            "held out.": test == of_its_patients != made_there,
            "Some patients of the hospital held out have a scan elsewhere, and your training sees "
            "them.": training == made_elsewhere,
            f"The test is right. For the hospital {hospital} you train on {training}. Who was "
            "never seen there?": test == made_there,
            f"For the hospital {hospital} you test on {test}. Which scans were made there?": True,
        }  # fmt: skip
