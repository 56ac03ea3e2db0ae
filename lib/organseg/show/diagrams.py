"""Diagrams of networks, drawn from the Keras model itself, so that a picture cannot disagree with
its network.

The picture has a bar per layer; batch normalisation and ReLU are written into the bar of the
convolution before them. Bars of one resolution form a card. A network that only goes down
(`organseg.cnn`) is a staircase of cards. One that comes up again (`organseg.fcn`, `organseg.unet`)
is a U: the analysis path goes down on the left, the synthesis path comes up on the right, and the
skip connections run across.
"""

import re
from math import prod

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from organseg.backend import keras
from organseg.show.architecture import read_model, size_words
from organseg.show.slices import drawn, png_bytes

COLOURS = {  # dark words are readable on all of them; the legend is in this order
    "image": "#ffffff",
    "convolution": "#c6dcf2",
    "transposed convolution": "#bfe3cf",
    "max pooling": "#f6c9c4",
    "average pooling": "#f7dcc0",
    "up-sampling": "#dcebc5",
    "concatenation": "#ddd0ee",
    "addition": "#efcfe6",
    "flattening": "#d5d5d5",
    "dense layer": "#fbe9b0",
    "softmax": "#f2bd4b",
    "other layer": "#eaeaea",
}
INK, GREY = "#222222", "#6a6a6a"
WIDTH, CARD, ROW, HEAD, GAP, EDGE = 7.5, 2.85, 0.185, 0.24, 0.28, 0.12  # inches


class Diagram(Figure):
    """A matplotlib figure on white, measured in inches from its upper left corner; a notebook shows
    it by itself."""

    def __init__(self, height):
        super().__init__(figsize=(WIDTH, height), facecolor="white")
        self.paper = self.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        self.paper.set_axis_off()

    def _repr_png_(self):
        return png_bytes(drawn(self, dpi=120).quantize(96))

    def write(self, x, y, words, size=6.8, color=INK, **options):
        self.paper.text(x, y, words, fontsize=size, color=color, va="center_baseline", **options)

    def arrow(self, *corners, color=INK, zorder=1):
        """A line through corners (x, y), with a head at the last."""
        self.paper.plot(*zip(*corners, strict=True), color=color, lw=1.2, zorder=zorder)
        head = {
            "arrowstyle": "-|>,head_width=0.18,head_length=0.36",
            "color": color,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        self.paper.annotate("", corners[-1], corners[-2], arrowprops=head, zorder=zorder)


def draw_network(model, input_size=None):
    """The architecture of a network: its layers, the sizes and channels that they put out, their
    parameters.

    Parameters
    ----------
    model : keras.Model, built, with one input and one output: `cnn`, `fcn`, `unet`, Sequential and
        functional models
    input_size : int or tuple, the image size (x, y[, z]) for which sizes are stated. By default the
        model's own; where that is open, sizes are stated as parts of the image's edges, or by the
        length n of these.

    Returns
    -------
    Diagram, a matplotlib Figure

    Raises
    ------
    OrgansegError
        The model is not built, has several inputs or outputs, or branches within branches; the size
        does not fit it.
    """
    path, cards, skips = read_model(model, input_size)
    bottom = max(cards, key=lambda card: card.level)
    left, right = cards[: cards.index(bottom)], cards[cards.index(bottom) + 1 :]
    is_u = right and _falls([bottom, *reversed(left)]) and _falls([bottom, *right])
    across = [skip for skip in skips if is_u and skip[0].card in left and skip[1].card in right]
    for _, bar, way in (skip for skip in skips if skip not in across):
        for beside in way:  # there is no room for bars on a connection that is not across the U
            beside.words = f"beside: {beside.words}"
            bar.card.insert(beside, bar.card.bars.index(bar))
    end = _place_as_u(left, bottom, right, across) if is_u else _place_as_staircase(cards)

    bars = [bar for card in cards for bar in card.bars] + [
        bar for _, _, way in across for bar in way
    ]
    kinds = [kind for kind in COLOURS if kind != "image" and any(bar.kind == kind for bar in bars)]
    figure = Diagram(end + 0.6 + 0.17 * -(-len(kinds) // 4))
    name = re.sub(
        r"^(sequential|functional)_\d+$", r"\1", model.name
    )  # Keras counts the models that have no name
    figure.write(WIDTH / 2, 0.2, name, size=10, weight="bold", ha="center")
    if is_u:
        figure.write(EDGE, 0.42, "analysis path ↓", size=8, color=GREY)
        figure.write(WIDTH - EDGE, 0.42, "↑ synthesis path", size=8, color=GREY, ha="right")
    for card in cards:
        _draw_card(figure, card, path[0])
    for before, after in zip(cards, cards[1:], strict=False):
        figure.arrow(*_way(before, after))
    for number, skip in enumerate(skips):
        (_draw_across if skip in across else _draw_round)(figure, *skip, number)
    _write_total(figure, model, end + 0.22)
    patches = [Patch(facecolor=COLOURS[kind], edgecolor=GREY, lw=0.5, label=kind) for kind in kinds]
    figure.legend(
        handles=patches, loc="lower center", ncols=min(4, len(kinds)), fontsize=7, frameon=False
    )
    return figure


def _falls(cards):
    return all(after.level < before.level for before, after in zip(cards, cards[1:], strict=False))


def _bottom(card):
    return card.top + HEAD + len(card.bars) * ROW + 0.06


def _y(bar):
    """Where the middle of a bar is drawn."""
    place = bar.card.bars.index(bar)
    place = len(bar.card.bars) - 1 - place if bar.card.upwards else place
    return bar.card.top + HEAD + (place + 0.5) * ROW


def _place_as_u(left, bottom, right, across):
    """Say of each card where it is drawn; returns how far down the drawing reaches."""
    top = 0.55
    for level in sorted({card.level for card in left + right}):
        pair = [card for card in left + right if card.level == level]
        for card in pair:
            card.upwards, card.top = card in right, top
            card.left = WIDTH - EDGE - CARD if card.upwards else EDGE
        apart = next(
            (_y(start) - _y(end) for start, end, _ in across if [start.card, end.card] == pair), 0
        )
        pair[apart > 0].top += abs(apart)  # now the skip connection runs straight across
        top = max(map(_bottom, pair)) + GAP
    bottom.left, bottom.top = (WIDTH - CARD) / 2, top
    return _bottom(bottom)


def _place_as_staircase(cards):
    top, step = 0.45, min(1.6, (WIDTH - CARD - 2 * EDGE - 0.3) / max(len(cards) - 1, 1))
    start = (WIDTH - CARD - step * (len(cards) - 1)) / 2
    for number, card in enumerate(cards):
        card.left, card.top = start + number * step, top
        top = _bottom(card) + GAP
    return top - GAP


def _way(before, after):
    """The corners of the arrow from one card to the next."""
    y = (after.top + _bottom(after)) / 2
    if before.upwards:
        return (after.left + CARD - 0.6, before.top), (after.left + CARD - 0.6, _bottom(after))
    if after.upwards:
        x, y = after.left + CARD - 0.6, (before.top + _bottom(before)) / 2
        return (before.left + CARD, y), (x, y), (x, _bottom(after))
    if after.left - before.left < 1.7:  # below each other, or steps of a staircase
        return (after.left + 0.6, _bottom(before)), (after.left + 0.6, after.top)
    return (before.left + 0.6, _bottom(before)), (before.left + 0.6, y), (after.left, y)


def _draw_card(figure, card, image):
    frame = FancyBboxPatch(
        (card.left, card.top), CARD, _bottom(card) - card.top, "round,pad=0,rounding_size=0.05"
    )
    frame.set(facecolor="white", edgecolor=GREY, lw=0.8, zorder=2)
    figure.paper.add_patch(frame)
    columns = card.left + 2.15, card.left + CARD - 0.1
    sizes = list(
        dict.fromkeys(size_words(bar, image) for bar in card.bars)
    )  # several without padding
    heading = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    y = card.top + HEAD / 2
    figure.write(card.left + 0.1, y, heading, size=min(7.5, 150 / len(heading)), weight="bold")
    for column, words in zip(
        columns, ("channels" if card.bars[-1].size else "numbers", "parameters"), strict=True
    ):
        figure.write(column, y, words, size=6, color=GREY, ha="right")
    for bar in card.bars:
        _draw_bar(figure, bar, card.left + 0.22, _y(bar), CARD - 0.28, columns)
    along = -ROW / 3 if card.upwards else ROW / 3
    ends = (_y(card.bars[0]) - along, _y(card.bars[-1]) + along)
    figure.arrow(*((card.left + 0.12, y) for y in ends), color=GREY, zorder=3)


def _draw_bar(figure, bar, left, y, width, columns):
    place = {"xy": (left, y - ROW / 2 + 0.015), "width": width, "height": ROW - 0.03}
    figure.paper.add_patch(
        Rectangle(**place, facecolor=COLOURS[bar.kind], edgecolor=GREY, lw=0.4, zorder=3)
    )
    numbers = f"{bar.channels:,}", f"{bar.parameters:,}" if bar.parameters else ""
    room = columns[0] - left - 0.06 * len(numbers[0]) - 0.1
    figure.write(
        left + 0.05, y, bar.words, size=min(6.8, 124 * room / len(bar.words))
    )  # 0.055 inches a letter
    for column, words in zip(columns, numbers, strict=True):
        figure.write(column, y, words, ha="right")


def _draw_across(figure, source, bar, way, _):
    start, end, y = source.card.left + CARD, bar.card.left, _y(bar)
    turn = [(start + 0.1, _y(source)), (start + 0.1, y)] if abs(_y(source) - y) > 0.01 else []
    figure.arrow((start, _y(source)), *turn, (end, y))
    figure.write(
        (start + end) / 2, y - ROW / 2 - 0.06, "skip connection", size=6.5, color=GREY, ha="center"
    )
    for place, beside in enumerate(way):
        _draw_bar(
            figure,
            beside,
            start + 0.14,
            y + place * ROW,
            end - start - 0.28,
            (end - 0.66, end - 0.2),
        )


def _draw_round(figure, source, bar, _, number):
    right = source.card.left + CARD, bar.card.left + CARD
    x = max(right) + 0.08 + 0.06 * (number % 3)
    leaves, joins = _y(source) + 0.03, _y(bar) - 0.03  # a bar that does both shows both
    figure.arrow((right[0], leaves), (x, leaves), (x, joins), (right[1], joins), color=GREY)


def _write_total(figure, model, y):
    trained, counted = (
        sum(prod(w.shape) for w in weights) for weights in (model.trainable_weights, model.weights)
    )
    figure.write(
        WIDTH / 2, y, f"{trained:,} trainable parameters", size=9, ha="center", weight="bold"
    )
    if counted > trained:
        norms = [
            layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        measured = (
            sum(prod(w.shape) for layer in norms for w in layer.non_trainable_weights)
            == counted - trained
        )
        what = (
            "means and variances that batch normalisation measures"
            if measured
            else "numbers that are not trained"
        )
        figure.write(
            WIDTH / 2,
            y + 0.18,
            f"and {counted - trained:,} {what}",
            size=7,
            color=GREY,
            ha="center",
        )
