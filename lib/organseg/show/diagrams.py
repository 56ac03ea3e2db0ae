"""Diagrams of networks, drawn from the Keras model itself, so that they cannot disagree with it.

There is a bar per layer; bars of one resolution form a card. A network that only goes down (`cnn`)
is a staircase of cards. One that comes up again (`fcn`, `unet`) is a U, with the analysis path on
the left, the synthesis path on the right, and the skip connections across.
"""

import re
from itertools import pairwise

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path

from organseg.show.architecture import KINDS, count, read_model
from organseg.show.picture import Picture

INK, GREY = "#222222", "#6a6a6a"
WIDTH, CARD, ROW, HEAD, GAP, EDGE = 7.5, 2.85, 0.185, 0.24, 0.28, 0.12  # inches


def draw_network(model, input_size=None):
    """The architecture of a network as a `Picture`, a matplotlib Figure: its layers, the sizes and
    channels that they put out, their parameters.

    `model` is a built keras.Model with one input and one output: a chain of layers as `cnn`, or a U
    as `fcn` and `unet`; otherwise OrgansegError. Sizes are stated for images of `input_size` (int,
    or tuple (x, y[, z])), which must fit; by default for the model's own size, and where that is
    open, as parts of the image's edges.

    >>> from organseg import cnn
    >>> draw_network(cnn(4, 64))
    <Picture size 750x697 with 0 Axes>
    """
    cards, skips = read_model(model, input_size)
    end = _place(cards, skips)
    bars = [bar for card in cards for bar in card.bars] + [bar for *_, way in skips for bar in way]
    kinds = [kind for kind in KINDS if kind != "image" and kind in [bar.kind for bar in bars]]
    height = end + 0.6 + 0.17 * -(-len(kinds) // 4)
    figure = Picture(WIDTH, height, "white", INK, dpi=120, colours=96)
    name = re.sub(r"^(sequential|functional)_\d+$", r"\1", model.name)  # Keras counts the nameless
    figure.write(WIDTH / 2, 0.2, name, 10, weight="bold", ha="center")
    if cards[-1].upwards:
        figure.write(EDGE, 0.42, "analysis path ↓", 8, GREY)
        figure.write(WIDTH - EDGE, 0.42, "↑ synthesis path", 8, GREY, ha="right")
    for card in cards:
        _draw_card(figure, card)
    for before, after in pairwise(cards):
        x = (before.left + after.left + CARD) / 2  # the middle of where they lie above each other
        ends = (before.top, _bottom(after)) if after.upwards else (_bottom(before), after.top)
        _draw_arrow(figure, *((x, y) for y in ends))
    for skip in skips:
        _draw_skip(figure, *skip)
    _write_total(figure, model, end + 0.22)
    patches = [Patch(fc=KINDS[kind][1], ec=GREY, lw=0.5, label=kind) for kind in kinds]
    columns = min(4, len(kinds))
    figure.legend(handles=patches, loc="lower center", ncols=columns, fontsize=7, frameon=False)
    return figure


def _place(cards, skips):
    """Give each card its place; returns how far down the drawing reaches."""
    middle, last = (WIDTH - CARD) / 2, len(cards) - 1
    step = min(1.6, (WIDTH - CARD - 2 * EDGE - 0.3) / max(last, 1))
    top, rows = 0.45, [[card] for card in cards]
    for number, card in enumerate(cards):
        card.left = middle + (number - last / 2) * step
    if cards[-1].upwards:
        depths = sorted({card.depth for card in cards})
        top, rows = 0.55, [[card for card in cards if card.depth == depth] for depth in depths]
        for card in cards:
            card.left = WIDTH - EDGE - CARD if card.upwards else EDGE
        rows[-1][0].left = middle
    for row in rows:
        for card in row:
            card.top = top
        for source, bar, _ in skips:
            if source.card in row:  # the skip connection runs straight across
                apart = _y(source) - _y(bar)
                row[apart > 0].top += abs(apart)
        top = max(map(_bottom, row)) + GAP
    return top - GAP


def _bottom(card):
    return card.top + HEAD + len(card.bars) * ROW + 0.06


def _y(bar):
    """How far down the middle of a bar is."""
    bars = bar.card.bars[::-1] if bar.card.upwards else bar.card.bars
    return bar.card.top + HEAD + (bars.index(bar) + 0.5) * ROW


def _draw_card(figure, card):
    place = (card.left, card.top), CARD, _bottom(card) - card.top, "round,pad=0,rounding_size=0.05"
    figure.add_patch(FancyBboxPatch(*place, fc="white", ec=GREY, lw=0.8, zorder=2))
    sizes = list(dict.fromkeys(bar.size for bar in card.bars))  # several without padding
    heading = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    y, columns = card.top + HEAD / 2, (card.left + 2.15, card.left + CARD - 0.1)
    figure.write(card.left + 0.1, y, heading, min(7.5, 150 / len(heading)), weight="bold")
    channels = "numbers" if sizes == ["vector"] else "channels"
    figure.write(columns[0], y, channels, 6, GREY, ha="right")
    figure.write(columns[1], y, "parameters", 6, GREY, ha="right")
    for bar in card.bars:
        _draw_bar(figure, bar, card.left + 0.22, _y(bar), CARD - 0.28, columns)
    x, along = card.left + 0.12, -ROW / 3 if card.upwards else ROW / 3
    ends = (x, _y(card.bars[0]) - along), (x, _y(card.bars[-1]) + along)
    _draw_arrow(figure, *ends, color=GREY, zorder=3)


def _draw_bar(figure, bar, left, y, width, columns):
    style = {"fc": KINDS[bar.kind][1], "ec": GREY, "lw": 0.4, "zorder": 3}
    figure.add_patch(Rectangle((left, y - ROW / 2 + 0.015), width, ROW - 0.03, **style))
    channels = f"{bar.shape[-1]:,}"
    room = columns[0] - left - 0.06 * len(channels) - 0.1  # 0.055 inches a letter
    figure.write(left + 0.05, y, bar.words, min(6.8, 124 * room / len(bar.words)))
    figure.write(columns[0], y, channels, 6.8, ha="right")
    if bar.parameters:
        figure.write(columns[1], y, f"{bar.parameters:,}", 6.8, ha="right")


def _draw_skip(figure, source, bar, way):
    start, end, y = source.card.left + CARD, bar.card.left, _y(bar)
    _draw_arrow(figure, (start, _y(source)), (end, y))
    above = (start + end) / 2, y - ROW / 2 - 0.06
    figure.write(*above, "skip connection", 6.5, GREY, ha="center")
    for number, beside in enumerate(way):
        place = start + 0.14, y + number * ROW, end - start - 0.28
        _draw_bar(figure, beside, *place, (end - 0.66, end - 0.2))


def _draw_arrow(figure, *corners, color=INK, zorder=1):
    """A line through corners (x, y), with a head at the last."""
    style = {"arrowstyle": "-|>,head_width=1.8,head_length=3.6", "color": color, "lw": 1.2}
    figure.add_patch(FancyArrowPatch(path=Path(corners), zorder=zorder, **style))


def _write_total(figure, model, y):
    words = f"{count(model.trainable_weights):,} trainable parameters"
    figure.write(WIDTH / 2, y, words, 9, ha="center", weight="bold")
    if rest := count(model.non_trainable_weights):
        words = "numbers that are not trained"
        if {one.name for one in model.non_trainable_weights} <= {"moving_mean", "moving_variance"}:
            words = "means and variances that batch normalisation measures"
        figure.write(WIDTH / 2, y + 0.18, f"and {rest:,} {words}", 7, GREY, ha="center")
