"""The exercises of chapter 6, The 3D U-Net."""

import numpy as np

from organseg.course import Found, drawn, tried


def exercise_6_1(answer):
    """The first convolution, with its joined channels, is the largest part: most parameters of the
    way up are there."""
    cases = [(512, 256), (128, 64), (3, 2), (10, 40), *drawn(20, (1, 300), (1, 300))]
    found, below, across = tried(answer, cases)

    def two(first):  # convolutions, each with its batch normalisation
        return 27 * first * across + 2 * across + 27 * across**2 + 2 * across

    step_up = 8 * below**2 + below
    right = step_up + two(below + across)
    yield found == right or {
        "The first convolution sees more than what comes from below: the skip connection joins its "
        "channels.": found == step_up + two(below),
        "That is the count for skips that add. Here they join: how many channels does the first "
        "convolution see?": found == step_up + two(across),
        "The two convolutions are right. The transposed convolution has parameters too.":
            found == right - step_up,
        "A few are missing: the transposed convolution has no batch normalisation after it, so it "
        "has biases.": found == right - below,
        "Your transposed convolution changes the number of channels to that of the skip. Here it "
        "keeps it.": found == 8 * below * across + across + two(2 * across),
        "The kernels are right. Batch normalisation has a scale and a shift for each filter.":
            found == right - 4 * across,
        "A few are missing: batch normalisation has two numbers for each filter, a scale and a "
        "shift, not one.": found == right - 2 * across,
        "A few too many: the means and variances of batch normalisation are not trained.":
            found == right + 4 * across,
        f"For {below[n := found.wrong(right)]} channels below and {across[n]} across you say "
        f"{found[n]:g}. Write down three layers: what goes in, what comes out?": True}  # fmt: skip


def exercise_6_2(answer):
    """A slice has about as many voxels as a crop of 25³, so each slice more costs as much as a
    small crop."""
    cases = [(21.6e9, 0.3e9, 5336), (14.4e9, 0.3e9, 2700), (72e9, 0.3e9, 5336)]
    cases += [(5.1e9, 0.3e9, 5336), (5.41e9, 1e9, 5336)]  # 54 slices fit, and 50
    cases += [(2**17 * 5000 + 9, 9, 5000), (2**17 * 5000 + 8, 9, 5000), (0.2e9, 0.3e9, 5336)]
    cases += drawn(60, (0, 2 * 10**10), (0, 10**10), (1000, 9000))
    found, memory, weights, per_voxel = tried(answer, cases)
    per_slice = per_voxel * 128 * 128
    slices = (memory - weights) // per_slice
    right, fit = np.maximum(slices // 8 * 8, 0), memory >= weights
    yield found == right or {
        f"Where not even the parameters fit, no slice does; you say {found[~fit][0]:g}.":
            Found(found[fit]) == right[fit],
        "So many slices fit, but the network wants a multiple of 8.":
            Found(found[fit]) == slices[fit],
        "The next multiple of 8, or the nearest, may be more than what fits: go down instead.":
            Found(found[fit]) == np.ceil(slices / 8)[fit] * 8
            or Found(found[fit]) == np.round(slices / 8)[fit] * 8,
        "The parameters need their bytes as well, however short the scan is.":
            Found(found[fit]) == (memory // per_slice // 8 * 8)[fit],
        "A slice has 128 × 128 voxels, and each of them costs `per_voxel` bytes.":
            found[0] > 100 * slices[0],
        f"For memory, weights and per_voxel {cases[n := found.wrong(right)]} you say {found[n]:g} "
        "slices. How many bytes does one slice cost?": True}  # fmt: skip


def exercise_6_3(answer):
    """The deeper the network, the larger its deepest blocks, and the more the reach depends on the
    position."""
    shapes = (4, 2), (1, 3), (2, 1), (3, 2), (5, 2), (4, 3)
    starts = [(start, shape) for start in (160, 0) for shape in shapes]
    cases = [(start + n, *shape) for start, shape in starts for n in range(2 ** shape[0])]
    both = "Return two numbers: how many voxels before, and how many after."
    far = len(cases) // 2
    cases += drawn(20, (0, 400), (1, 6), (1, 5))
    found, places, levels, convolutions = tried(answer, cases, both=both)

    def reaches(**mistake):
        return np.array([reach_of(*case, **mistake) for case in cases])

    right, papers = reaches(), np.array([reach_of(place, depth, 2) for place, depth, _ in cases])
    yield found == right or {
        "It is right far from the scan's beginning. Near it, halves are below 0: int(-2.5) is -2, "
        "but -5 // 2 is -3.": Found(found[:far]) == right[:far],
        "It is right for the paper's network. The number of convolutions must make a difference.":
            found == papers,
        "Through a pooling, the last voxel `high` was made from two: 2 · high and the one after "
        "it.": found == reaches(pooled=0),
        "You leave out the convolutions of the synthesis path.": found == reaches(up=False),
        "The deepest level has convolutions as well, between the two paths.":
            found == reaches(deepest=False),
        "Before and after are swapped.": found == right[:, ::-1],
        "These are the first and the last voxel. You are asked how many lie before and after "
        "`position`.": found == np.c_[places - right[:, 0], places + right[:, 1]],
        "Your answer is the same at every position. On the way up, neighbours share a voxel of the "
        "level below.": np.ptp(found[:8], axis=0).max() == 0,
        f"For position {places[n := found.wrong(right)]}, {levels[n]} levels and "
        f"{convolutions[n]} convolutions you say {tuple(found[n].tolist())}. Go back from the "
        "answer, one layer at a time.": True,
    }  # fmt: skip


def reach_of(position, levels, convolutions, up=True, deepest=True, pooled=1):
    """How many voxels a U-Net sees before and after a position, along an axis."""
    low = high = position
    for _ in range(levels - 1):
        low, high = (low - convolutions * up) // 2, (high + convolutions * up) // 2
    low, high = low - convolutions * deepest, high + convolutions * deepest
    for _ in range(levels - 1):
        low, high = 2 * low - convolutions, 2 * high + pooled + convolutions
    return position - low, high - position
