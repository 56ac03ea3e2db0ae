"""The exercises of chapter 11, The paper, whole, on real CT."""

import numpy as np

from organseg.course import exercise


@exercise("11.1")
def without_the_worst(answer):
    """The worst of 340 costs 0.3 points although it scored 0; the worst of 37 costs 1.3 although it
    scored 49.4."""
    rows = [(95.6, 0.0, 340), (96.1, 49.4, 37), (60.0, 30.0, 4)]
    found = [float(answer(*row)) for row in rows]

    def is_always(formula):
        return np.allclose(found, [formula(*row) for row in rows], atol=0.02)

    if is_always(lambda average, minimum, n: (n * average - minimum) / (n - 1)):
        return None
    if is_always(lambda average, minimum, n: (n * average - minimum) / n):
        return "The sum is right. How many patients are left in it?"
    if is_always(lambda average, minimum, n: n * average / (n - 1)):
        return "You have taken the patient out of the count but not out of the sum, unless the minimum is 0."
    if is_always(lambda average, minimum, n: (average - minimum) / (n - 1)):
        return "An average of n patients stands for a sum that is n times as large. Take the minimum from the sum."
    return f"For an average of 60, a minimum of 30 and 4 patients you say {found[2]:.1f}. What do the four add up to?"


@exercise("11.2")
def interval_of_difference(answer):
    """The spleen is better in the test, beyond chance. The gallbladder's interval holds 0, but a
    loss of 10 too."""
    pairs = [
        ((90.1, 10.9, 340), (85.1, 15.7, 37)),
        ((96.3, 2.0, 340), (97.7, 0.8, 37)),
        ((70, 6, 9), (72, 8, 16)),
    ]
    found = np.array([np.asarray(answer(*pair), dtype=float) for pair in pairs])
    if found.shape != (3, 2):
        return "Return two numbers: the lower and the upper end of the interval."
    middles, halves = found.mean(axis=1), (found[:, 1] - found[:, 0]) / 2
    differences = np.array([second[0] - first[0] for first, second in pairs])
    each = np.array([[std / np.sqrt(n) for _, std, n in pair] for pair in pairs])  # standard errors
    if np.allclose(middles, -differences, atol=0.01):
        return "The interval is about first less second; the difference asked for is second less first."
    if not np.allclose(middles, differences, atol=0.01):
        return "The middle of the interval should be the difference of the averages. Yours is elsewhere."
    error = np.sqrt((each**2).sum(axis=1))
    if np.allclose(halves, 1.96 * error, atol=0.01):
        return None
    if np.allclose(halves, -1.96 * error, atol=0.01):
        return "The two ends are right, in the wrong order."
    if np.allclose(halves, error, atol=0.01):
        return "This is one standard error to each side. An interval of 95 % is wider."
    if np.allclose(halves, 1.96 * each.sum(axis=1), atol=0.01):
        return "You added the standard errors. Independent errors partly cancel: what adds up are their squares."
    spread = np.sqrt([sum(std**2 for _, std, _ in pair) for pair in pairs])
    if np.allclose(halves, 1.96 * spread, atol=0.01):
        return "This is the spread of patients. That of an average is smaller, by the square root of n."
    return f"For {pairs[2]} the interval is {halves[2]:.2f} wide to each side. What are the squared standard errors?"


@exercise("11.3")
def hold_out(answer):
    """A hospital's patients are people, and people go to more than one hospital: leaks come through
    patients."""
    scans = [
        ("a1", "anna", "north"), ("a2", "anna", "south"), ("b1", "ben", "north"), ("c1", "cleo", "south"),
        ("d1", "dora", "east"), ("d2", "dora", "east"), ("e1", "emil", "east"), ("e2", "emil", "south"),
    ]  # fmt: skip
    found = {}
    for hospital in ("south", "north", "east"):
        parts = answer(list(scans), hospital)
        if not isinstance(parts, tuple | list) or len(parts) != 2:
            return "Return two lists of names: training, then test."
        found[hospital] = tuple(sorted(part) for part in parts)
    for hospital, (training, test) in found.items():
        there = {patient for _, patient, where in scans if where == hospital}
        right_test = sorted(name for name, _, where in scans if where == hospital)
        right = sorted(name for name, patient, _ in scans if patient not in there)
        if (training, test) == (right, right_test):
            continue
        if (training, test) == (right_test, right):
            return "Training and test are in the wrong order."
        all_of_them = sorted(name for name, patient, _ in scans if patient in there)
        if test == all_of_them:
            return "Your test has scans from other hospitals. It should hold only those of the hospital held out."
        if training == sorted(name for name, _, where in scans if where != hospital):
            return "Some patients of the hospital held out have a scan elsewhere, and your training sees them."
        if test == right_test:
            return f"The test is right. For the hospital {hospital} you train on {training}. Who was never seen there?"
        return f"For the hospital {hospital} you test on {test}. Which scans were made there?"
    return None
