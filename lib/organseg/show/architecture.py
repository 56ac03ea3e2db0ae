"""What a Keras model is made of, read from the model itself: its layers as bars, bars of one
resolution as cards.

`diagrams.draw_network` draws them. Batch normalisation and activations are counted and named with
the layer before them.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from math import log2, prod

from organseg.backend import keras
from organseg.errors import OrgansegError

# Each kind of layer and what to look for in the name of its class; the first that is found decides.
KINDS = {
    "image": "InputLayer",
    "convolution": "Conv(?!.*Transpose)",
    "transposed convolution": "Conv",
    "max pooling": "MaxPool",
    "average pooling": "AveragePool",
    "up-sampling": "UpSampling",
    "concatenation": "Concatenate",
    "addition": "^Add",
    "flattening": "Flatten|Reshape",
    "dense layer": "Dense",
    "softmax": "Softmax",
    "other layer": "",
}
NAMED_WITH_THE_LAYER_BEFORE = "Normalization|Activation|LU$"
LARGE = 4096  # stands for an open image size; the sizes at LARGE and 2 LARGE tell which part of the image's they are


@dataclass(eq=False)
class Bar:
    """One layer, with the small ones that are named with it."""

    kind: str
    words: str
    shapes: tuple  # of the output, (x, y[, z], channel), for two image sizes
    sources: list  # the bars before this one
    parameters: int = 0  # trainable ones
    card: "Card" = None

    @property
    def channels(self):
        return self.shapes[0][-1]

    @property
    def size(self):
        return self.shapes[0][:-1]


@dataclass(eq=False)
class Card:
    """Bars of one resolution, and where they are drawn, in inches from the upper left corner."""

    level: int  # how often the image's size has been halved
    bars: list = field(default_factory=list)
    left: float = 0
    top: float = 0
    upwards: bool = False

    def insert(self, bar, place=None):
        bar.card = self
        self.bars.insert(len(self.bars) if place is None else place, bar)


def read_model(model, input_size=None):
    """A model's bars on the way from image to output, its cards, and its skip connections.

    Returns
    -------
    path : list of Bar, the longest way through the network
    cards : list of Card, in order
    skips : list of (the bar that a connection leaves, the bar that it joins, the bars on it)
    """
    path = _longest_path(_make_bars(read_graph(model), shapes_of_image(model, input_size)))
    return path, _make_cards(path), _find_skips(path)


def read_graph(model):
    """The model's layers from image to output: [(layer, numbers of the layers before it)]."""
    if not getattr(model, "inputs", None):
        raise OrgansegError(
            f"{model.name}: found a model without a known input; give it a keras.Input first"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        found = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise OrgansegError(
            f"{model.name}: found {found}; expected one of each; draw its parts one by one"
        )
    graph, numbers, waiting = [], {}, [model.outputs[0]]
    while waiting:
        layer, call, _ = waiting[-1]._keras_history
        before = layer._inbound_nodes[call].input_tensors
        missing = [tensor for tensor in before if tensor._keras_history[:2] not in numbers]
        if missing:
            waiting.append(missing[0])
            continue
        waiting.pop()
        graph.append((layer, [numbers[tensor._keras_history[:2]] for tensor in before]))
        numbers[layer, call] = len(graph) - 1
    return graph


def shapes_of_image(model, input_size):
    """The shape of the image at two sizes, (x, y[, z], channel); the same twice if no size is
    open."""
    *own, channels = model.inputs[0].shape[1:]
    if input_size is not None:
        size = [input_size] * len(own) if isinstance(input_size, int) else list(input_size)
        if len(size) != len(own) or any(
            mine not in (None, n) for mine, n in zip(own, size, strict=True)
        ):
            raise OrgansegError(
                f"{model.name}: found input_size={input_size}; expected one that fits {tuple(own)}"
            )
        own = size
    return tuple(
        (*(size if n is None else n for n in own), channels) for size in (LARGE, 2 * LARGE)
    )


def _make_bars(graph, image_shapes):
    bars, counted = (
        [],
        set(),
    )  # bars: one per layer of the graph; small layers share that of the layer before
    for layer, before in graph:
        sources = [bars[number] for number in before]
        name, words = type(layer).__name__, _words(layer)
        kind = (
            "softmax"
            if words == "softmax"
            else next(kind for kind in KINDS if re.search(KINDS[kind], name))
        )
        shapes = (
            tuple(shape_after(layer, [bar.shapes[at] for bar in sources]) for at in (0, 1))
            if before
            else image_shapes
        )
        small = kind != "softmax" and re.search(NAMED_WITH_THE_LAYER_BEFORE, name)
        if (
            small
            and sources[0].kind != "image"
            and sum(before[0] in others for _, others in graph) == 1
        ):
            bar = sources[0]
            bar.words += f", {words}"
        else:
            bar = Bar(kind, words, shapes, sources)
        if layer not in counted:  # a layer that is used twice has its weights once
            bar.parameters += sum(
                prod(weight.shape) for weight in getattr(layer, "trainable_weights", ())
            )
        counted.add(layer)
        bars.append(bar)
    return bars


def shape_after(layer, before):
    """The shape that a layer puts out for the shapes that come in, all without the batch."""
    after = before[0]  # what is no layer, such as a sum written with +, works number by number
    if isinstance(layer, keras.Layer):
        batched = [(None, *shape) for shape in before]
        after = tuple(layer.compute_output_shape(batched if len(batched) > 1 else batched[0]))[1:]
    if len({shape[:-1] for shape in before}) > 1 or min(after) < 1:
        found = " and ".join(" × ".join(map(str, shape[:-1])) for shape in before)
        raise OrgansegError(
            f"{layer.name}: found {found} coming in; expected sizes that fit; take another input_size"
        )
    return after


def _words(layer):
    """What is written into the bar of a layer, e.g. 'conv 3×3×3, stride 2, ReLU'."""
    name = type(layer).__name__
    if name == "Activation":
        return _activation(layer)
    short = {"BatchNormalization": "batch norm", "InputLayer": "image", "ReLU": "ReLU"}
    spaced = re.sub(
        r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\dD", "", name)
    ).lower()  # GlobalMaxPooling2D: global max …
    spaced = (
        spaced.replace("conv transpose", "transposed conv")
        .replace("pooling", "pool")
        .replace("up s", "up-s")
    )
    first = short.get(name, layer.name if isinstance(layer, keras.Model) else spaced)
    size = next(
        (tuple(getattr(layer, key)) for key in ("kernel_size", "pool_size") if hasattr(layer, key)),
        (),
    )
    if "UpSampling" in name:
        size = layer.size if isinstance(layer.size, tuple) else (layer.size,)
    strides = getattr(layer, "strides", size)
    strides = (strides,) * len(size) if isinstance(strides, int) else tuple(strides)
    words = [
        f"{first} {'×'.join(map(str, size))}"
        if size
        else f"{first} {layer.rate:g}"
        if "Dropout" in name
        else first
    ]
    if strides not in (size, (1,) * len(size)):
        words.append(
            f"stride {strides[0] if len(set(strides)) == 1 else '×'.join(map(str, strides))}"
        )
    if "Conv" in name and "Transpose" not in name and layer.padding == "valid" and max(size) > 1:
        words.append("no padding")
    return ", ".join(words + [_activation(layer)]).removesuffix(", ")


def _activation(layer):
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return {"linear": "", "relu": "ReLU"}.get(name, name.replace("_", " "))


def _longest_path(bars):
    longest = {}
    for bar in bars:
        if bar not in longest:
            longest[bar] = max((longest[source] for source in bar.sources), key=len, default=[]) + [
                bar
            ]
    return longest[bars[-1]]


def _make_cards(path):
    """A layer that halves or doubles the size, or flattens, opens the next card."""
    cards = [Card(0)]
    for before, bar in zip([path[0], *path], path, strict=False):
        if len(before.size) == len(bar.size):
            step = round(log2(prod(before.size) / prod(bar.size)) / max(len(bar.size), 1))
        else:
            step = 1 if len(before.size) > len(bar.size) else -1
        if step:
            cards.append(Card(cards[-1].level + step))
        cards[-1].insert(bar)
    return cards


def _find_skips(path):
    skips = []
    for before, bar in zip(path, path[1:], strict=False):
        for source in bar.sources:
            way = []
            while source not in path:
                way.insert(0, source)
                if len(source.sources) != 1:
                    raise OrgansegError(
                        f"found branches within branches before '{source.words}'; expected one beside"
                    )
                source = source.sources[0]
            if way or source is not before:
                skips.append((source, bar, way))
    return skips


def size_words(bar, image):
    """The size that a bar puts out, as a part of the image's where that is open: 'full size', '1/2
    of each edge'."""
    words, parts = [], set()
    sizes = [shape[:-1] for shape in (*bar.shapes, *image.shapes)]
    for small, large, first, second in zip(*sizes, strict=False):
        part = Fraction(large - small, second - first) if second > first else Fraction(0)
        rest = small - part * first
        parts.add(part if part and not rest else None)
        n = (
            f"{part.numerator}n/{part.denominator}".removeprefix("1").removesuffix("/1")
            if part
            else ""
        )
        words.append(
            f"({n} {'−' if rest < 0 else '+'} {abs(rest)})" if part and rest else n or str(small)
        )
    if len(parts) == 1 and None not in parts:
        return "full size" if parts == {1} else f"{parts.pop()} of each edge"
    return " × ".join(words) or "vector"
