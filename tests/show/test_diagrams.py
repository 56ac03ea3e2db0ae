"""Diagrams of networks: what they say is what Keras says, and nothing in them overlaps."""

import re
from math import prod

import pytest

from organseg.backend import keras
from organseg.errors import OrgansegError
from organseg.networks import cnn, fcn, unet
from organseg.show import diagrams
from organseg.show.architecture import read_model
from organseg.show.diagrams import draw_network

layers = keras.layers


def ladder():
    """A network as a student writes it; two convolutions without padding."""
    steps = [keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D()]
    steps += [layers.Conv2D(16, 3), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.5), layers.Flatten()]
    return keras.Sequential([*steps, layers.Dense(10, activation="softmax")], name="ladder")


def strided():
    """Layers that are in none of the library's networks; the skip connection, written with a plus, carries two."""
    inputs = keras.Input((None, None, 1))
    x = layers.SpatialDropout2D(0.25)(layers.Conv2D(4, 3, padding="same", activation="leaky_relu")(inputs))
    y = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    y = layers.UpSampling2D()(layers.Activation("relu")(layers.BatchNormalization()(y)))
    x = layers.Dropout(0.5)(layers.Conv2D(8, 1)(x))
    return keras.Model(inputs, layers.Activation("softmax")(y + x), name="strided")


def residual():
    """A connection that is not across a U."""
    inputs = keras.Input((16, 16, 4))
    return keras.Model(inputs, layers.Add()([layers.Conv2D(4, 3, padding="same")(inputs), inputs]), name="residual")


def average():
    steps = [keras.Input((32, 32, 1)), layers.Conv2D(4, 3, strides=2), layers.AveragePooling2D((3, 3), strides=2)]
    return keras.Sequential([*steps, layers.GlobalAveragePooling2D(), layers.Dense(3)])


def autoencoder():
    steps = [keras.Input((28, 28, 1)), layers.Conv2D(4, 3, strides=2, padding="same"), layers.Flatten()]
    steps += [layers.Dense(8), layers.Dense(196), layers.Reshape((14, 14, 1)), layers.UpSampling2D()]
    return keras.Sequential([*steps, layers.Conv2D(1, 3, padding="same", activation="sigmoid")])


MODELS = {
    "cnn": lambda: cnn(4, 64, base_filters=4),
    "cnn in 3-D": lambda: cnn(3, (32, 32, 16), base_filters=2, levels=3, spatial_dims=3),
    "fcn": fcn,
    "fcn without skips": lambda: fcn(base_filters=4, skips=False, spatial_dims=3),
    "unet": unet,
    "unet in 2-D": lambda: unet(spatial_dims=2, base_filters=8),
    "unet of two levels": lambda: unet(levels=2),
    "unet of six levels": lambda: unet(levels=6, base_filters=1),
    "ladder": ladder,
    "strided": strided,
    "average": average,
    "autoencoder": autoencoder,
    "one layer": lambda: keras.Sequential([keras.Input((5,)), layers.Dense(2)]),
}


def texts(figure):
    return figure.texts + figure.legends[0].get_texts()


def words(figure):
    return [text.get_text() for text in texts(figure)]


def bars_of(cards):
    return [bar for card in cards for bar in card.bars]


def trainable(model):
    return sum(prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_the_models_own(name):
    model = MODELS[name]()
    said = words(draw_network(model))
    total = f"{trainable(model):,} trainable parameters"
    assert total in said
    beside_a_bar = [text for text in texts(draw_network(model)) if re.fullmatch(r"[\d,]+", text.get_text())]
    columns = {round(text.get_position()[0], 3) for text in beside_a_bar}
    stated = [int(text.get_text().replace(",", "")) for text in beside_a_bar]
    cards, skips = read_model(model)
    bars = bars_of(cards) + [bar for _, _, way in skips for bar in way]
    assert sum(bar.parameters for bar in bars) == trainable(model)
    # Each bar's channels and, where it has any, its parameters are written; every column belongs to one of the two.
    channels = [bar.shape[-1] for bar in bars]
    assert sorted(stated) == sorted(channels + [bar.parameters for bar in bars if bar.parameters])
    assert len(columns) <= 2 * (len(cards) + 1)
    rest = model.count_params() - trainable(model)
    assert any(text.startswith(f"and {rest:,} ") for text in said) == (rest > 0)


@pytest.mark.parametrize("name", MODELS)
def test_no_words_overlap_and_none_leaves_the_picture(name):
    figure = draw_network(MODELS[name]())
    assert figure.get_figwidth() == 7.5
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts(figure)]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:number])
    assert min(text.get_fontsize() for text in figure.texts) >= 5


def test_the_unet_of_the_paper():
    model = unet()
    cards, skips = read_model(model)
    assert [card.depth for card in cards] == [0, 1, 2, 3, 2, 1, 0]
    assert [(source.shape[-1], bar.words, bar.shape[-1]) for source, bar, way in skips] == [
        (256, "concatenate", 768),
        (128, "concatenate", 384),
        (64, "concatenate", 192),
    ]
    assert sum(bar.parameters for bar in bars_of(cards)) == 19_071_784
    said = words(draw_network(model))
    assert said.count("conv 3×3×3, batch norm, ReLU") == 14 and said.count("max pool 2×2×2") == 3
    assert said.count("transposed conv 2×2×2") == said.count("skip connection") == 3
    assert [said.count(size) for size in ("full size", "1/2 of each edge", "1/8 of each edge")] == [2, 2, 1]
    assert "19,071,784 trainable parameters" in said
    assert said[-5:] == ["convolution", "transposed convolution", "max pooling", "concatenation", "softmax"]


def test_scores_on_the_skip_connections_of_the_fcn():
    _, skips = read_model(fcn(num_classes=5))
    assert [[bar.words for bar in way] for _, _, way in skips] == [["conv 1×1"]] * 3
    assert [bar.shape[-1] for _, bar, _ in skips] == [5, 5, 5]
    assert read_model(fcn(skips=False))[1] == []


def test_skip_connections_run_straight_across():
    for model in (unet(), fcn(), unet(levels=3, spatial_dims=2)):
        cards, skips = read_model(model)
        diagrams._place(cards, skips)
        bottom = max(cards, key=lambda card: card.depth)
        for source, bar, _ in skips:
            assert diagrams._y(source) == pytest.approx(diagrams._y(bar))
            assert source.card.left < bottom.left < bar.card.left


def test_sizes_for_an_image_size():
    said = words(draw_network(unet(base_filters=2), (64, 48, 32)))
    assert [said.count(size) for size in ("64 × 48 × 32", "32 × 24 × 16", "8 × 6 × 4")] == [2, 2, 1]
    assert words(draw_network(unet(base_filters=2), 64)).count("64 × 64 × 64") == 2
    assert "vector" in words(draw_network(cnn(4, 64, base_filters=2)))


def test_layers_say_what_they_are():
    said = words(draw_network(ladder()))
    assert {"conv 3×3, no padding, ReLU", "conv 3×3, no padding, batch norm, ReLU", "dropout 0.5"} <= set(said)
    assert {"max pool 2×2", "flatten", "dense, softmax", "28 × 28 to 26 × 26", "13 × 13 to 11 × 11"} <= set(said)
    said = words(draw_network(strided()))
    assert {"conv 3×3, leaky relu", "conv 3×3, stride 2, batch norm, ReLU", "up-sampling 2×2", "add", "softmax"} <= set(
        said
    )
    assert {"spatial dropout 0.25", "conv 1×1", "dropout 0.5"} <= set(said)
    said = words(draw_network(average()))
    assert {"conv 3×3, stride 2, no padding", "average pool 3×3, stride 2", "global average pool"} <= set(said)
    assert {"15 × 15", "7 × 7", "vector"} <= set(said)
    assert {"reshape", "up-sampling 2×2", "sequential"} <= set(words(draw_network(autoencoder())))


def test_a_notebook_shows_it_as_a_small_picture():
    picture = draw_network(unet()).as_png()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def two_inputs():
    images = [keras.Input((8, 8, 1)) for _ in range(2)]
    return keras.Model(images, layers.Add()(images))


def twice():
    inputs = keras.Input((8, 8, 4))
    convolution = layers.Conv2D(4, 3)
    return keras.Model(inputs, convolution(convolution(inputs)))


def test_a_layer_that_is_used_twice_is_drawn_twice_and_has_its_parameters_once():
    cards, _ = read_model(twice())
    assert [bar.parameters for bar in bars_of(cards)] == [0, 9 * 4 * 4 + 4, 0]


def unpadded():
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, layers.Conv2D(4, 3)(inputs))


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        (
            lambda: keras.Sequential([layers.Dense(3)]),
            None,
            "found 0 inputs and 0 outputs; expected one of each; add a keras.Input",
        ),
        (two_inputs, None, "2 inputs and 1 outputs"),
        (residual, None, "'add' that does not cross a U"),
        (unpadded, None, "give input_size"),
        (lambda: unet(base_filters=1), (20, 20, 20), "images of 20 × 20 × 20; expected a size that fits"),
        (lambda: unet(base_filters=1), (16, 16), "images of 16 × 16; expected a size that fits"),
        (lambda: unet(base_filters=1), 4, "images of 4 × 4 × 4; expected a size that fits"),
        (lambda: cnn(2, 32, base_filters=1), 64, "images of 64 × 64; expected a size that fits"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(model, size, words):
    with pytest.raises(OrgansegError, match=words) as error:
        draw_network(model(), size)
    assert "\n" not in str(error.value)


def test_an_open_network_without_padding_is_drawn_for_a_size():
    assert "12 × 10 to 10 × 8" in words(draw_network(unpadded(), (12, 10)))
