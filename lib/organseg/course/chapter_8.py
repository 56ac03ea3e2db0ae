"""The exercises of chapter 8, Training."""

import numpy as np

from organseg.course import Found, drawn, number, tried

CURVE_STEPS = np.arange(0, 2001, 100)


def mystery_curves():
    """The curves of exercise 8.3, by formula: a name, the training and the held-out Dice loss."""
    x = CURVE_STEPS / 2000
    noise = 0.012 * np.random.default_rng(8).normal(size=(6, len(x)))
    learned, early = -0.08 - 0.77 * (1 - np.exp(-4 * x)), 1 - np.exp(-30 * x)
    return {
        "A": (learned + noise[0], -0.08 - 0.5 * (1 - np.exp(-9 * x)) + 0.14 * x + noise[1]),
        "B": (-0.11 - 0.03 * early + noise[2], -0.11 - 0.02 * early + noise[3]),
        "C": (learned + noise[4], -0.02 - 0.05 * np.exp(-20 * x) + 0.3 * noise[5])}  # fmt: skip


def exercise_8_1(answer):
    """It takes several times as many steps as drawing without replacement would: with 340 patients
    658, not 114."""
    cases = [(340, 3), (12, 3), (80, 2), (500, 7), (2, 1), (4, 2), (8, 4), (13, 11)]
    cases += drawn(40, (12, 400), (1, 9))
    found, patients, crops = tried(answer, cases)
    needed = np.log(patients) / -np.log1p(-crops / patients)
    right = np.floor(needed) + 1  # after `needed` steps exactly one is expected, which is not fewer
    if_one_is_drawn = np.ceil(np.log(patients) / -np.log1p(-1 / patients))
    unseen = patients * (1 - crops / patients) ** found.values
    yield found == right or {
        "This would do if no patient came twice. But each step draws anew from all patients.":
            found == np.ceil(patients / crops),
        "You draw one patient per step. A step draws as many as there are crops, all of them "
        "different.": found == if_one_is_drawn,
        "Nearly. If exactly one is expected, as for 2 patients and 1 crop after one step, that is "
        "not fewer than one.": found == np.ceil(needed),
        "One step too early: after your last step one still expects more than one patient unseen.":
            found == right - 1,
        "This is long enough for one given patient. But the expected number counts all of them.":
            (unseen <= patients / 2).all() and found[1] < 5,
        f"For {patients[n := found.wrong(right)]} patients and {crops[n]} crops you say "
        f"{found[n]:g}; then {unseen[n]:.2f} are expected unseen.": True}  # fmt: skip


def exercise_8_2(answer):
    """The memory is about 1 / (1 - momentum) steps long: ten with 0.9, a hundred with 0.99."""
    cases = [(0.9, 10), (0.99, 10), (0.5, 1), (0.99, 300), *drawn(20, (0.0, 1.0), (1, 40))]
    found, m, k = tried(answer, cases, within=1e-6)
    yield found == 1 - m**k or {
        "This is what is left of everything before the last k steps.": found == m**k,
        "This is the share of the very last step alone. The one before it has momentum times as "
        "much.": found == 1 - m,
        "This is the share of the step k steps ago alone. Add up the shares of all k.":
            found == (1 - m) * m ** (k - 1),
        "The k steps do not count alike: each later step shrinks the earlier ones by the momentum.":
            found == k * (1 - m),
        f"For momentum {m[n := found.wrong(1 - m**k)]:.3g} and {k[n]:g} steps you say "
        f"{found[n]:.3f}. What does one step leave of the old average?": True}  # fmt: skip


def exercise_8_3(answer):
    """Two curves that part, two that lie still, and one that never follows: three causes, and three
    remedies."""
    causes = {"A": "over-fitting", "B": "plateau", "C": "statistics"}
    named = isinstance(answer, dict) and set(answer) == set(causes)
    yield {'Answer with a dict that has the keys "A", "B" and "C".': not named}
    for word in answer.values():
        known = word in causes.values()
        yield {f"{word!r} is none of {', '.join(causes.values())}.": not known}
    yield {
        "A: from when on do the curves part, and which way does the held-out one go in the second "
        "half?": answer["A"] != causes["A"],
        "B: does either of its curves learn anything after the first steps?":
            answer["B"] != causes["B"],
        "C: does the held-out curve ever follow the training? With over-fitting it does at first.":
            answer["C"] != causes["C"]}  # fmt: skip


def exercise_8_4(answer):
    """The largest gradient decides, and it changes from step to step: so the scale has to be found
    while training."""
    cases = [1e-8, -3e-4, 2e-6], [-40.0, 0.5], [7.0, -1e-3, 900.0], [-1.5e-5, 1.1e-7], [5.0, 4.0]
    cases += [3.0] * 5, [65504.0, 1.0], [8188.0, -8188.0], [1.9998], [1e6, -4e7], [[1.0], [-9.0]]
    cases += tuple(np.random.default_rng(8).normal(0, 10.0**size, (3, 4)) for size in range(-6, 7))
    cases = [np.array(case, dtype=np.float32) for case in cases]
    found = Found([number(answer(case)) for case in cases])

    def power_for(sizes, limit=65504):
        return 2.0 ** np.floor(np.log2(limit / np.array(sizes)))

    largest = np.array([np.abs(case).max() for case in cases])
    yield found == power_for(largest) or {
        "This fits, but it is no power of two: dividing by it would round each gradient once more.":
            found == 65504 / largest,
        "A gradient may be negative, and too large all the same.":
            found == power_for([case.max() for case in cases]),
        "The smallest gradient would fit. But then the largest is beyond what float16 holds.":
            found == power_for([np.abs(case).min() for case in cases]),
        "Twice too large: the largest gradient becomes inf.":
            found == 2.0 ** np.ceil(np.log2(65504 / largest)),
        "The gradients are not added up; each has to fit on its own.":
            found == power_for([np.abs(case).sum() for case in cases])
            or found == power_for([np.linalg.norm(case) for case in cases]),
        "This is where Keras begins. With gradients of 40 it would already be too much.":
            found == np.full(len(cases), 2.0**15),
        "Gradients may be so large that they have to be made smaller: a power of two may lie below "
        "1.": found == np.maximum(power_for(largest), 1),
        "Nearly. The largest number is 65,504, a little less than 65,536: 1.9998 times 2**15 is "
        "beyond it.": found == power_for(largest, 65536),
        f"If the largest gradient is {largest[n := found.wrong(power_for(largest))]:.5g} you say "
        f"{found[n]:g}. Multiply: what is still finite in float16?": True}  # fmt: skip
