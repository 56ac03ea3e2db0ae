"""Typical wrong answers to the exercises of chapter 6: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""


def two_convolutions(first, across):
    return 27 * first * across + 2 * across + 27 * across * across + 2 * across


def forgets_the_skip(below, across):
    """Forgets that the skip connection brings channels along: the first convolution reads both."""
    return 8 * below**2 + below + two_convolutions(below, across)


def adds_the_skip(below, across):
    """Thinks that a skip connection adds, as in a residual network. Here it concatenates."""
    return 8 * below**2 + below + two_convolutions(across, across)


def forgets_the_step_up(below, across):
    """Thinks that up-sampling has nothing to learn. A transposed convolution has weights."""
    return two_convolutions(below + across, across)


def forgets_its_bias(below, across):
    """Takes the bias away from all layers. Only those before a batch normalisation lose it."""
    return 8 * below**2 + two_convolutions(below + across, across)


def forgets_batch_norm(below, across):
    """Forgets that batch normalisation learns a scale and a shift for each channel."""
    return 8 * below**2 + below + 27 * (below + across) * across + 27 * across**2


def counts_moving_averages(below, across):
    """Counts the moving averages too. They are kept up to date, and not trained."""
    return 8 * below**2 + below + two_convolutions(below + across, across) + 4 * across


def any_number(memory, weights, per_voxel):
    """Forgets what three poolings ask for: a multiple of 8."""
    return int((memory - weights) // (per_voxel * 128**2))


def rounds_up(memory, weights, per_voxel):
    """Rounds up to a multiple of 8, beyond the memory."""
    return -(-any_number(memory, weights, per_voxel) // 8) * 8


def forgets_the_parameters(memory, weights, per_voxel):
    """Gives all the memory to voxels. The parameters need theirs first."""
    return int(memory // (per_voxel * 128**2) // 8 * 8)


def forgets_the_plane(memory, weights, per_voxel):
    """Takes the cost of a voxel for the cost of a slice."""
    return int((memory - weights) // per_voxel // 8 * 8)


def goes_below_zero(memory, weights, per_voxel):
    """Does not think of a machine on which not even the parameters fit."""
    return any_number(memory, weights, per_voxel) // 8 * 8


def steps_back(position, levels, convolutions, after_pooling=1):
    low = high = position
    for _ in range(levels - 1):
        low, high = (low - convolutions) // 2, (high + convolutions) // 2
    low, high = low - convolutions, high + convolutions
    for _ in range(levels - 1):
        low, high = 2 * low - convolutions, 2 * high + after_pooling + convolutions
    return position - low, high - position


def only_the_papers(position, levels, convolutions):
    """Solves the paper's case and not the general one: always counts two convolutions."""
    return steps_back(position, levels, 2)


def pools_one(position, levels, convolutions):
    """Thinks that a pooled voxel comes from one voxel. Along each axis it is made from two."""
    return steps_back(position, levels, convolutions, after_pooling=0)


def first_and_last(position, levels, convolutions):
    """Returns where the field begins and ends, and not how far it reaches to both sides."""
    before, after = steps_back(position, levels, convolutions)
    return position - before, position + after


def the_rule_of_chapter_2(position, levels, convolutions):
    """Uses the rule for plain CNNs, by which every position sees equally far to both sides."""
    field, jump = 1 + 2 * convolutions, 1
    for _ in range(levels - 1):
        field, jump = field + jump, 2 * jump
        field += 4 * convolutions * jump
    return field // 2, field // 2


WRONG = [
    ("6.1", forgets_the_skip, "joins its channels"),
    ("6.1", adds_the_skip, "skips that add"),
    ("6.1", forgets_the_step_up, "transposed convolution has parameters"),
    ("6.1", forgets_its_bias, "so it has biases"),
    ("6.1", forgets_batch_norm, "a scale and a shift"),
    ("6.1", counts_moving_averages, "are not trained"),
    ("6.2", any_number, "wants a multiple of 8"),
    ("6.2", rounds_up, "go down instead"),
    ("6.2", forgets_the_parameters, "need their bytes"),
    ("6.2", forgets_the_plane, "128 × 128 voxels"),
    ("6.2", goes_below_zero, "no slice does"),
    ("6.3", only_the_papers, "must make a difference"),
    ("6.3", pools_one, "made from two"),
    ("6.3", first_and_last, "how many lie before"),
    ("6.3", the_rule_of_chapter_2, "same at every position"),
]
