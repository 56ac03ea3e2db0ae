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


def residual():
    """Connections that are not across a U, one of them with a layer, one written with a plus."""
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.Add()([layers.Conv2D(4, 3, padding="same")(x), x])
    y = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(y + layers.Conv2D(8, 1, strides=2)(x))
    return keras.Model(inputs, layers.Dense(3)(x), name="residual")


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
    "residual": residual,
    "autoencoder": autoencoder,
    "one layer": lambda: keras.Sequential([keras.Input((5,)), layers.Dense(2)]),
}


def texts(figure):
    return [text for text in figure.paper.texts if text.get_text()] + figure.legends[0].get_texts()


def words(figure):
    return [text.get_text() for text in texts(figure)]


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
    path, cards, skips = read_model(model)
    bars = {*path, *(bar for _, _, way in skips for bar in way)}
    assert sum(bar.parameters for bar in bars) == trainable(model)
    # Each bar's channels and, where it has any, its parameters are written; every column belongs to one of the two.
    assert sorted(stated) == sorted([bar.channels for bar in bars] + [bar.parameters for bar in bars if bar.parameters])
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
    for text in figure.paper.texts:
        assert not text.get_text() or text.get_fontsize() >= 5


def test_the_unet_of_the_paper():
    model = unet()
    path, cards, skips = read_model(model)
    assert [card.level for card in cards] == [0, 1, 2, 3, 2, 1, 0]
    assert [(source.channels, bar.words, bar.channels) for source, bar, way in skips] == [
        (256, "concatenate", 768),
        (128, "concatenate", 384),
        (64, "concatenate", 192),
    ]
    assert sum(bar.parameters for bar in path) == 19_071_784
    said = words(draw_network(model))
    assert said.count("conv 3×3×3, batch norm, ReLU") == 14 and said.count("max pool 2×2×2") == 3
    assert said.count("transposed conv 2×2×2") == said.count("skip connection") == 3
    assert [said.count(size) for size in ("full size", "1/2 of each edge", "1/8 of each edge")] == [2, 2, 1]
    assert "19,071,784 trainable parameters" in said
    assert said[-5:] == ["convolution", "transposed convolution", "max pooling", "concatenation", "softmax"]


def test_scores_on_the_skip_connections_of_the_fcn():
    _, _, skips = read_model(fcn(num_classes=5))
    assert [[bar.words for bar in way] for _, _, way in skips] == [["conv 1×1"]] * 3
    assert [bar.channels for _, bar, _ in skips] == [5, 5, 5]
    assert read_model(fcn(skips=False))[2] == []


def test_skip_connections_run_straight_across():
    for model in (unet(), fcn(), unet(levels=3, spatial_dims=2)):
        _, cards, skips = read_model(model)
        bottom = max(cards, key=lambda card: card.level)
        at = cards.index(bottom)
        diagrams._place_as_u(cards[:at], bottom, cards[at + 1 :], skips)
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
    said = words(draw_network(residual()))
    assert {"full size to (n − 2) × (n − 2)", "beside: conv 1×1, stride 2", "global average pool"} <= set(said)
    assert {"reshape", "up-sampling 2×2", "sequential"} <= set(words(draw_network(autoencoder())))


def test_a_notebook_shows_it_as_a_small_picture():
    picture = draw_network(unet())._repr_png_()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def two_inputs():
    images = [keras.Input((8, 8, 1)) for _ in range(2)]
    return keras.Model(images, layers.Add()(images))


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [
        (lambda: keras.Sequential([layers.Dense(3)]), None, "without a known input"),
        (two_inputs, None, "2 inputs and 1 outputs"),
        (lambda: unet(base_filters=1), (20, 20, 20), "coming in"),
        (lambda: unet(base_filters=1), (16, 16), "expected one that fits"),
        (lambda: cnn(2, 32, base_filters=1), 64, "expected one that fits"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(model, size, words):
    with pytest.raises(OrgansegError, match=words) as error:
        draw_network(model(), size)
    assert "\n" not in str(error.value)
