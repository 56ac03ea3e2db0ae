"""The exercises of chapter 6, The 3D U-Net."""

from organseg.course import exercise


@exercise("6.1")
def level_parameters(answer):
    """The first convolution, with its joined channels, is the largest part: most parameters of the
    way up are there."""
    cases = [(512, 256), (128, 64), (3, 2), (10, 40)]

    def is_always(formula):
        return all(int(answer(*case)) == formula(*case) for case in cases)

    def step_up(below):
        return 8 * below**2 + below

    def two(first, across):
        return 27 * first * across + 2 * across + 27 * across**2 + 2 * across

    if is_always(lambda below, across: step_up(below) + two(below + across, across)):
        return None
    if is_always(lambda below, across: step_up(below) + two(below, across)):
        return "The first convolution sees more than what comes from below: the skip connection joins its channels."
    if is_always(lambda below, across: step_up(below) + two(across, across)):
        return "That is the count for skips that add. Here they join: how many channels does the first convolution see?"
    if is_always(lambda below, across: two(below + across, across)):
        return "The two convolutions are right. The transposed convolution has parameters too."
    if is_always(lambda below, across: 8 * below**2 + two(below + across, across)):
        return "A few are missing: the transposed convolution has no batch normalisation after it, so it has biases."
    if is_always(lambda below, across: 8 * below * across + across + two(2 * across, across)):
        return "Your transposed convolution changes the number of channels to that of the skip. Here it keeps it."
    if is_always(lambda below, across: step_up(below) + two(below + across, across) - 4 * across):
        return "The kernels are right. Batch normalisation has a scale and a shift for each filter."
    if is_always(lambda below, across: step_up(below) + two(below + across, across) - 2 * across):
        return "A few are missing: batch normalisation has two numbers for each filter, a scale and a shift, not one."
    if is_always(lambda below, across: step_up(below) + two(below + across, across) + 4 * across):
        return "A few too many: the means and variances of batch normalisation are not trained."
    found = int(answer(3, 2))
    return f"For 3 channels below and 2 across you say {found}. Write down three layers: what goes in, what comes out?"


@exercise("6.2")
def longest_scan(answer):
    """A slice has about as many voxels as a crop of 25³, so each slice more costs as much as a
    small crop."""
    cases = [
        (memory, 0.3e9, per_voxel)
        for memory, per_voxel in ((21.6e9, 5336), (14.4e9, 2700), (72e9, 5336))
    ]
    cases += [(5.1e9, 0.3e9, 5336), (5.41e9, 1e9, 5336)]  # 54 slices fit, and 50
    found = [int(answer(*case)) for case in cases]

    def is_always(formula):
        return found == [formula(*case) for case in cases]

    def slices(memory, weights, per_voxel):
        return int((memory - weights) // (per_voxel * 128 * 128))

    if is_always(lambda *case: slices(*case) // 8 * 8):
        nothing = int(answer(0.2e9, 0.3e9, 5336))
        return (
            None
            if nothing == 0
            else f"Where not even the parameters fit, no slice does; you say {nothing}."
        )
    if is_always(slices):
        return "So many slices fit, but the network wants a multiple of 8."
    if is_always(lambda *case: -(-slices(*case) // 8) * 8):
        return "You fill up to the next multiple of 8. That much does not fit any more: go down instead."
    if is_always(lambda *case: round(slices(*case) / 8) * 8):
        return "The nearest multiple of 8 may lie above what fits: go down instead."
    if is_always(lambda memory, _, per_voxel: slices(memory, 0, per_voxel) // 8 * 8):
        return "The parameters need their bytes as well, however short the scan is."
    if found[0] > 100 * slices(*cases[0]):
        return "A slice has 128 × 128 voxels, and each of them costs `per_voxel` bytes."
    return f"For {cases[0][0]:.3g} bytes you say {found[0]} slices. How many bytes does one slice cost?"


@exercise("6.3")
def reach(answer):
    """The deeper the network, the larger its deepest blocks, and the more the reach depends on the
    position."""
    for levels, convolutions in ((4, 2), (1, 3), (2, 1), (3, 2), (5, 2), (4, 3)):
        for position in range(160, 160 + 2**levels):
            found = _pair(answer(position, levels, convolutions))
            if found != _reach(position, levels, convolutions):
                return _hint(answer, position, levels, convolutions, found)
    return None


def _pair(values):
    before, after = values
    return int(before), int(after)


def _reach(position, levels, convolutions, up=True, deepest=True, pooled=1):
    low = high = position
    for _ in range(levels - 1):
        low, high = low - convolutions * up, high + convolutions * up
        low, high = low // 2, high // 2
    low, high = low - convolutions * deepest, high + convolutions * deepest
    for _ in range(levels - 1):
        low, high = 2 * low - convolutions, 2 * high + pooled + convolutions
    return position - low, high - position


def _hint(answer, position, levels, convolutions, found):
    def everywhere(like):
        return all(_pair(answer(place, 4, 3)) == like(place, 4, 3) for place in range(160, 176))

    if everywhere(lambda place, levels, _: _reach(place, levels, 2)):
        return "It is right for the paper's network. The number of convolutions must make a difference."
    if everywhere(lambda *place: _reach(*place, pooled=0)):
        return "Through a pooling, the last voxel `high` was made from two: 2 · high and the one after it."
    if everywhere(lambda *place: _reach(*place, up=False)):
        return "You leave out the convolutions of the synthesis path."
    if everywhere(lambda *place: _reach(*place, deepest=False)):
        return "The deepest level has convolutions as well, between the two paths."
    if everywhere(lambda *place: _reach(*place)[::-1]):
        return "Before and after are swapped."
    if everywhere(
        lambda place, *rest: (place - _reach(place, *rest)[0], place + _reach(place, *rest)[1])
    ):
        return "These are the first and the last voxel. Asked is how many lie before and after `position`."
    if len({_pair(answer(place, 4, 2)) for place in range(160, 168)}) == 1:
        return "Your answer is the same at every position. On the way up, neighbours share a voxel of the level below."
    where = f"position {position}, {levels} levels and {convolutions} convolutions"
    return f"For {where} you say {found}. Go back from the answer, one layer at a time."
