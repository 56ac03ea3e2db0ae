"""What a Keras model is made of, read from the model itself: its layers as bars, bars of one
resolution as cards. `diagrams.draw_network` draws them.

Batch normalisation and activations are named and counted with the layer before them.
"""

import re
from dataclasses import dataclass, field
from math import log2, prod

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
    inputs, outputs = (getattr(model, end, None) or [] for end in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{model.name}: found {len(inputs)} inputs and {len(outputs)} outputs"
        raise OrgansegError(f"{found}; expected one of each; add a keras.Input, or draw its parts")
    layers = keras.Model(inputs, outputs).operations
    before = {id(one.output): [*map(id, keras.tree.flatten(one.input))] for one in layers}
    needed = sum(before.values(), [id(outputs[0])])
    if not {*needed} <= {*before}:
        found = f"{model.name}: found a layer that is used twice"
        raise OrgansegError(f"{found}; expected each once; draw its parts one by one")
    *own, channels = inputs[0].shape[1:]
    image = [input_size] * len(own) if isinstance(input_size, int) else list(input_size or own)
    found = f"{model.name}: found images of {' × '.join(map(str, image))}"
    misfit = OrgansegError(f"{found}; expected a size that fits each layer; give input_size")
    given = keras.KerasTensor((None, *(edge or OPEN for edge in image), channels))
    try:
        parts = keras.Model(inputs, [layer.output for layer in layers]).compute_output_spec(given)
    except ValueError as error:
        raise misfit from error
    bars = {}
    for layer, part, (key, incoming) in zip(layers, parts, before.items(), strict=True):
        sources, shape = [bars[one] for one in incoming], tuple(part.shape[1:])
        size = _size_in_words(shape[:-1], image)
        if not size or len({source.shape[:-1] for source in sources}) > 1:
            raise misfit
        words, parameters = _words(layer), count(getattr(layer, "trainable_weights", ()))
        small = re.search("Normalization|Activation|LU$", type(layer).__name__)
        named = small and words != "softmax" and sources[0].words != "image"
        if named and needed.count(incoming[0]) == 1:
            bars[key] = sources[0]
            bars[key].words += f", {words}"
            bars[key].parameters += parameters
        else:
            place = 1 + max((source.place for source in sources), default=0)
            kind = next(kind for kind, (pattern, _) in KINDS.items() if re.search(pattern, words))
            bars[key] = Bar(words, shape, size, parameters, sources, place, kind)
    return bars[key]


def count(weights):
    """How many numbers there are in these weights."""
    return sum(prod(weight.shape) for weight in weights)


def _size_in_words(size, image):
    """The size of an output, as a part of the image's where that is open; None if it is no part."""
    if None not in image or not size:
        return " × ".join(map(str, size)) or "vector"
    part, *others = {(edge or OPEN) / n for n, edge in zip(size, image, strict=True)}
    words = "full size" if part == 1 else f"1/{part:.0f} of each edge"
    return None if others or part % 1 else words


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
