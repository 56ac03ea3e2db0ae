"""The exercises of chapter 8, Training."""

import numpy as np

from organseg.course import exercise

CURVE_STEPS = np.arange(0, 2001, 100)


def mystery_curves():
    """The curves of exercise 8.3, made by formula: a name and the Dice losses of training and
    held-out cases."""
    x = CURVE_STEPS / 2000
    noise = 0.012 * np.random.default_rng(8).normal(size=(6, len(x)))
    learned = -0.08 - 0.77 * (1 - np.exp(-4 * x))
    return {
        "A": (learned + noise[0], -0.08 - 0.5 * (1 - np.exp(-9 * x)) + 0.14 * x + noise[1]),
        "B": (
            -0.11 - 0.03 * (1 - np.exp(-30 * x)) + noise[2],
            -0.11 - 0.02 * (1 - np.exp(-30 * x)) + noise[3],
        ),
        "C": (learned + noise[4], -0.02 - 0.05 * np.exp(-20 * x) + 0.3 * noise[5]),
    }


TRUTH = {"A": "over-fitting", "B": "plateau", "C": "statistics"}
HINTS = {
    "A": "A: from when on do the curves part, and which way does the held-out one go in the second half?",
    "B": "B: does either of its curves learn anything after the first steps?",
    "C": "C: does the held-out curve ever follow the training? With over-fitting it does at first.",
}


@exercise("8.1")
def steps_until_seen(answer):
    """It takes several times as many steps as drawing without replacement would: with 340 patients
    658, not 114."""
    cases = [(340, 3), (12, 3), (80, 2), (500, 7)]
    found = [answer(*case) for case in cases]

    def expected(patients, crops, steps):
        return patients * (1 - crops / patients) ** steps

    def is_always(function):
        return all(value == function(*case) for value, case in zip(found, cases, strict=True))

    if all(expected(*c, s) < 1 <= expected(*c, s - 1) for c, s in zip(cases, found, strict=True)):
        return None
    if is_always(lambda patients, crops: int(np.ceil(patients / crops))):
        return "This would do if no patient came twice. But each step draws anew from all patients."
    if all(
        expected(p, 1, s) < 1 <= expected(p, 1, s - 1)
        for (p, _), s in zip(cases, found, strict=True)
    ):
        return "You draw one patient per step. A step draws as many as there are crops, all of them different."
    if is_always(lambda p, c: int(np.ceil(np.log(p) / -np.log1p(-c / p))) - 1):
        return "One step too early: after your last step one still expects more than one patient unseen."
    if all((1 - c / p) ** s < 0.5 for (p, c), s in zip(cases, found, strict=True)) and found[1] < 5:
        return (
            "This is long enough for one given patient. But the expected number counts all of them."
        )
    return f"For 12 patients and 3 crops you say {found[1]}; then {expected(12, 3, found[1]):.2f} are expected unseen."


@exercise("8.2")
def share_of_the_last(answer):
    """The memory is about 1 / (1 - momentum) steps long: ten with 0.9, a hundred with 0.99."""
    cases = [(0.9, 10), (0.99, 10), (0.5, 1), (0.99, 300)]
    found = np.array([float(answer(*case)) for case in cases])

    def is_always(function):
        return np.allclose(found, [function(*case) for case in cases], atol=1e-6)

    if is_always(lambda m, k: 1 - m**k):
        return None
    if is_always(lambda m, k: m**k):
        return "This is what is left of everything before the last k steps."
    if is_always(lambda m, k: 1 - m):
        return "This is the share of the very last step alone. The one before it has momentum times as much."
    if is_always(lambda m, k: (1 - m) * m ** (k - 1)):
        return "This is the share of the step k steps ago alone. Add up the shares of all k."
    if is_always(lambda m, k: k * (1 - m)):
        return "The k steps do not count alike: each later step shrinks the earlier ones by the momentum."
    return f"For momentum 0.5 and one step you say {found[2]:.3f}. What does one step leave of the old average?"


@exercise("8.3")
def diagnosis(answer):
    """Two curves that part, two that lie still, and one that never follows: three causes, and three
    remedies."""
    if not isinstance(answer, dict) or set(answer) != set(TRUTH):
        return 'Answer with a dict that has the keys "A", "B" and "C".'
    strange = [word for word in answer.values() if word not in TRUTH.values()]
    if strange:
        return f"{strange[0]!r} is none of {', '.join(TRUTH.values())}."
    for name, word in TRUTH.items():
        if answer[name] != word:
            return HINTS[name]
    return None


@exercise("8.4")
def largest_scale(answer):
    """The largest gradient decides, and it changes from step to step: so the scale has to be found
    while training."""
    cases = [[1e-8, -3e-4, 2e-6], [-40.0, 0.5], [7.0, -1e-3, 900.0], [-1.5e-5, 1.1e-7]]
    cases = [np.array(case, dtype=np.float32) for case in cases]
    found = np.array([float(answer(case)) for case in cases])
    limit = 65504.0

    def is_always(function):
        return np.allclose(found, [function(case) for case in cases])

    def power(value):
        return 2.0 ** np.floor(np.log2(value))

    if is_always(lambda g: power(limit / np.abs(g).max())):
        return None
    if is_always(lambda g: limit / np.abs(g).max()):
        return "This fits, but it is no power of two: dividing by it would round each gradient once more."
    if is_always(lambda g: power(limit / g.max())):
        return "A gradient may be negative, and too large all the same."
    if is_always(lambda g: power(limit / np.abs(g).min())):
        return "The smallest gradient would fit. But then the largest is beyond what float16 holds."
    if is_always(lambda g: 2 * power(limit / np.abs(g).max())):
        return "Twice too large: the largest gradient becomes inf."
    if is_always(lambda g: power(limit / np.abs(g).sum())):
        return "The gradients are not added up; each has to fit on its own."
    if is_always(lambda g: 2.0**15):
        return "This is where Keras begins. With gradients of 40 it would already be too much."
    return f"For gradients {cases[1].tolist()} you say {found[1]:g}. Multiply: what is still finite in float16?"
