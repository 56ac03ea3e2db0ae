"""What a Keras model is made of, read from the model itself: its layers as bars, bars of one
resolution as cards. `diagrams.draw_network` draws them; `course.costs` counts what they cost.

Batch normalisation and activations are named and counted with the layer before them.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from math import log2, prod
from typing import NamedTuple

import numpy as np

from organseg.backend import keras
from organseg.errors import OrgansegError

KINDS = {  # of layers, in the legend's order: a pattern of their words, and their colour
    "image": ("^image", "#ffffff"),
    "convolution": ("(?<!transposed )conv", "#c6dcf2"),
    "transposed convolution": ("^transposed conv", "#bfe3cf"),
    "max pooling": ("max pool", "#f6c9c4"),
    "average pooling": ("average pool", "#f7dcc0"),
    "up-sampling": ("^up-sampling", "#dcebc5"),
    "concatenation": ("^concatenate", "#ddd0ee"),
    "addition": ("^add", "#efcfe6"),
    "flattening": ("^flatten|^reshape", "#d5d5d5"),
    "dense layer": ("^dense", "#fbe9b0"),
    "softmax": ("^softmax", "#f2bd4b"),
    "other layer": ("", "#eaeaea"),
}
SHORT = {"BatchNormalization": "batch norm", "ConvTranspose": "transposed conv", "ReLU": "ReLU"}
SHORT |= {"InputLayer": "image", "UpSampling": "up-sampling"}
OPEN = 4096  # stands for an edge of the image that may have any length


class Call(NamedTuple):
    """What one layer does on the way of an image; tensors have a shape and a type, no values."""

    layer: keras.Operation
    inputs: list
    output: keras.KerasTensor
    parameters: int = 0  # trainable ones; 0 where the layer is used again


def trace(model, input_size=None):
    """The calls of a model's layers, from the image to the output, for images of a size: an int, a
    tuple (x, y[, z]), or by default the model's own, where `OPEN` stands for an open edge.
    OrgansegError: the model is not built with one input and one output, or the size does not fit.
    """
    ends = [getattr(model, name, None) or [] for name in ("inputs", "outputs")]
    if (found := [len(tensors) for tensors in ends]) != [1, 1]:
        found = f"{model.name}: found {found[0]} inputs and {found[1]} outputs"
        raise OrgansegError(f"{found}; expected one of each; add a keras.Input, or take its parts")
    [given], [output] = ends
    _, *own, channels = given.shape
    size = own if input_size is None else np.asarray(input_size).tolist()
    size = size if isinstance(size, list) else [size] * len(own)
    same = keras.Model(given, output)  # but never Sequential, where nothing can stand in
    try:
        if any(edge not in (None, n) for edge, n in zip(own, size, strict=True)):
            raise ValueError(f"the model's own size is {own}")
        shape = *(edge or OPEN for edge in size), channels
        image = keras.Input(shape, dtype=given.dtype, name=given.name)
        calls = [Call(same.layers[0], [], image)]
        keras.models.clone_model(same, image, lambda layer: _StandIn(layer, calls))
    except ValueError as error:
        found = f"{model.name}: found images of {' × '.join(map(str, size))}"
        expected = "expected a size that fits each layer; give input_size"
        raise OrgansegError(f"{found}; {expected}") from error
    return calls


class _StandIn(keras.Operation):
    """Takes a layer's place in a copy of the model and notes its calls: a copy without weights."""

    def __init__(self, layer, calls):
        super().__init__(name=layer.name)
        self.layer, self.calls = layer, calls
        self.parameters = count(getattr(layer, "trainable_weights", ()))

    def compute_output_spec(self, *inputs, **options):
        output = self.layer.compute_output_spec(*inputs, **options)
        before = [one for one in keras.tree.flatten(inputs) if isinstance(one, keras.KerasTensor)]
        if len({one.shape[1:-1] for one in before}) > 1:
            raise ValueError(f"{self.name} joins {before}")
        self.calls.append(Call(self.layer, before, output, self.parameters))
        self.parameters = 0
        return output


@dataclass(eq=False)
class Bar:
    words: str  # e.g. 'conv 3×3×3, batch norm, ReLU'
    shape: tuple  # of the output, (x, y[, z], channel)
    size: str  # of the output, e.g. '1/2 of each edge'
    parameters: int  # trainable ones
    sources: list  # the bars before this one
    place: int  # on the longest way from the image
    kind: str  # a key of KINDS
    card: "Card" = None


@dataclass(eq=False)
class Card:
    depth: int  # how often the image's size has been halved
    bars: list = field(default_factory=list)
    upwards: bool = False  # on the synthesis path
    left: float = 0  # where it is drawn, in inches from the upper left corner
    top: float = 0


def read_model(model, input_size=None):
    """A model's cards from image to output, with the bars of the longest way through the network;
    and its skip connections, each (the bar that it leaves, the bar that it joins, bars on it)."""
    path = [_read_bars(model, input_size)]
    while path[0].sources:
        path.insert(0, max(path[0].sources, key=lambda bar: bar.place))
    cards, skips = [Card(0)], []
    for before, bar in zip([path[0], *path], path, strict=False):
        old, new = before.shape[:-1], bar.shape[:-1]
        # To flatten counts as halving once for each axis; to give a vector a shape, as doubling.
        halved = len(old) - len(new) or round(log2(prod(old) / prod(new)) / max(len(new), 1))
        if halved:
            cards.append(Card(cards[-1].depth + halved))
        bar.card = cards[-1]
        bar.card.bars.append(bar)
        for source in bar.sources:
            way = []
            while source not in path and len(source.sources) == 1:
                way.insert(0, source)
                source = source.sources[0]
            if way or source is not before:
                skips.append((source, bar, way))
    depths = [card.depth for card in cards]
    turn = depths.index(max(depths))
    there_and_back = sorted({*depths[:turn]}) + sorted({*depths[turn:]}, reverse=True)
    for card in cards[turn + 1 :]:
        card.upwards = depths == there_and_back
    for source, bar, _ in skips:
        across = source.card and bar.card.upwards and not source.card.upwards
        if not across or source.card.depth != bar.card.depth:
            found = f"{model.name}: found a connection to '{bar.words}' that does not cross a U"
            raise OrgansegError(f"{found}; expected a chain of layers, or a U; draw its parts")
    return cards, skips


def _read_bars(model, input_size):
    """The bar of the output, which knows the bars before it."""
    calls, bars = trace(model, input_size), {}
    image = calls[0].output.shape[1:-1]
    uses = Counter(id(tensor) for call in calls for tensor in call.inputs)
    for layer, inputs, output, parameters in calls:
        sources, words = [bars[id(tensor)] for tensor in inputs], _words(layer)
        small = re.search("Normalization|Activation|LU$", type(layer).__name__)
        named = small and words != "softmax" and sources[0].words != "image"
        if named and uses[id(inputs[0])] == 1:
            bar = sources[0]
            bar.words += f", {words}"
            bar.parameters += parameters
        else:
            size = _size_in_words(output.shape[1:-1], image)
            place = 1 + max((source.place for source in sources), default=0)
            kind = next(kind for kind, (pattern, _) in KINDS.items() if re.search(pattern, words))
            bar = Bar(words, output.shape[1:], size, parameters, sources, place, kind)
        bars[id(output)] = bar
    return bar


def count(weights):
    """How many numbers there are in these weights."""
    return sum(prod(weight.shape) for weight in weights)


def _size_in_words(size, image):
    """The size of an output, as a part of the image's where that is open."""
    if OPEN not in image or not size:
        return " × ".join(map(str, size)) or "vector"
    part, *others = {edge / n for n, edge in zip(size, image, strict=True)}
    if others or part % 1:
        found = "found a layer without padding in a network for images of any size"
        raise OrgansegError(f"{found}; expected sizes that are parts of the image; give input_size")
    return "full size" if part == 1 else f"1/{part:.0f} of each edge"


def _words(layer):
    """What is written into the bar of a layer, e.g. 'conv 3×3×3, stride 2, ReLU'."""
    name = re.sub(r"\dD", "", type(layer).__name__)
    spaced = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("pooling", "pool")
    words = layer.name if isinstance(layer, keras.Model) else SHORT.get(name, spaced)
    sizes = [getattr(layer, key, None) for key in ("kernel_size", "pool_size", "size", "rate")]
    size = next((size if isinstance(size, tuple) else (size,) for size in sizes if size), ())
    if size:
        words += f" {'×'.join(map(str, size))}"
    strides = getattr(layer, "strides", size)
    if strides not in (size, (1,) * len(size)):
        words += f", stride {'×'.join(map(str, strides if len({*strides}) > 1 else strides[:1]))}"
    if name == "Conv" and layer.padding == "valid" and max(size) > 1:
        words += ", no padding"
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if activation != "linear":
        activation = {"relu": "ReLU"}.get(activation, activation.replace("_", " "))
        words = activation if name == "Activation" else f"{words}, {activation}"
    return words
