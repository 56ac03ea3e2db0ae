"""The curves of a training: losses as in Fig. 4 of Roth et al. 2018, and the Dice of each organ."""

from matplotlib.figure import Figure

from organseg.organs import ORGANS


def draw_curves(history):
    """The history of a training, a list of dict as `train` returns it, as a matplotlib Figure.

    >>> row = {"step": 1, "loss": -0.2, "validation_loss": -0.1}
    >>> figure = draw_curves([row | {f"dice_{organ.name}": 0.5 for organ in ORGANS}])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['Dice loss', 'Dice']
    """
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = ("loss", "0.2", "training crops"), ("validation_loss", "tab:orange", "held-out cases")
    for key, colour, label in losses:
        left.plot(steps, [row[key] for row in history], marker=".", color=colour, label=label)
    left.set(xlabel="step", ylabel="Dice loss", title="Dice loss (lower is better)")
    left.legend(frameon=False)
    for organ in ORGANS:
        values = [row[f"dice_{organ.name}"] for row in history]
        right.plot(steps, values, marker=".", color=organ.colour, label=organ.name)
    right.set(xlabel="step", ylabel="Dice", ylim=(0, 1), title="held-out cases, per organ")
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
