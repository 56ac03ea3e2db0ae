"""The three networks: sizes against tests/reference/vectors.json and the paper, shapes, precision, reach."""

import keras
import numpy as np
import pytest

from organseg.networks import BATCH_NORM_MOMENTUM, cnn, fcn, unet


def parameters(network):
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def layers_of(network, kind):
    return [layer for layer in network.layers if type(layer).__name__ == kind]


def test_the_unet_has_the_papers_19_million_parameters(vectors):
    network = unet(num_classes=8, base_filters=32, levels=4, spatial_dims=3)
    assert parameters(network) == vectors["unet"]["trainable_parameters"] == 19_071_784
    assert network.count_params() == vectors["unet"]["parameters_with_batch_norm_moving_statistics"]


def test_the_unet_has_the_layers_of_section_2a():
    network = unet(base_filters=2)
    convolutions = [layer for layer in layers_of(network, "Conv3D") if layer.kernel_size == (3, 3, 3)]
    assert len(convolutions) == 2 * 4 + 2 * 3  # two per level of each path
    assert all(layer.padding == "same" and not layer.use_bias for layer in convolutions)
    assert len(layers_of(network, "MaxPooling3D")) == len(layers_of(network, "Conv3DTranspose")) == 3
    assert all(layer.pool_size == layer.strides == (2, 2, 2) for layer in layers_of(network, "MaxPooling3D"))
    assert len(layers_of(network, "Concatenate")) == 3
    assert len(layers_of(network, "BatchNormalization")) == len(convolutions)


def test_batch_norm_forgets_fast_enough_for_short_trainings():
    assert BATCH_NORM_MOMENTUM == 0.9
    assert all(layer.momentum == 0.9 for layer in layers_of(unet(base_filters=1), "BatchNormalization"))


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: unet(base_filters=2), (8, 16, 24)),
        (lambda: unet(base_filters=2, spatial_dims=2), (40, 8)),
        (lambda: unet(base_filters=2, levels=3), (4, 12, 8)),
        (lambda: fcn(base_filters=2), (16, 24)),
        (lambda: fcn(base_filters=2, skips=False), (16, 24)),
        (lambda: fcn(base_filters=2, spatial_dims=3), (16, 8, 24)),
    ],
)
def test_an_image_and_its_probabilities_have_the_same_size(make, size):
    image = np.random.default_rng(0).random((2, *size, 1), dtype=np.float32)
    probabilities = keras.ops.convert_to_numpy(make()(image))
    assert probabilities.shape == (2, *size, 8)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 24)), (3, (16, 16, 8))])
def test_the_cnn_says_one_thing_per_image(dims, size):
    network = cnn(num_classes=4, input_size=size, base_filters=2, spatial_dims=dims)
    probabilities = keras.ops.convert_to_numpy(network(np.zeros((3, *size, 1), np.float32)))
    assert probabilities.shape == (3, 4)
    assert probabilities.sum(axis=-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_softmax_stays_in_float32_under_mixed_precision(policy):
    network = unet(base_filters=1, spatial_dims=2, dtype=policy)
    assert network.layers[-1].compute_dtype == "float32"
    assert layers_of(network, "Conv2D")[0].compute_dtype == policy.removeprefix("mixed_")


def test_skips_carry_detail_that_up_sampling_alone_cannot():
    image = np.zeros((1, 32, 32, 1), np.float32)
    changed = image.copy()
    changed[0, 16, 16, 0] = 1

    def spread(network):
        difference = np.abs(keras.ops.convert_to_numpy(network(changed)) - keras.ops.convert_to_numpy(network(image)))[
            0
        ]
        return difference.max(axis=-1).ravel().argmax()

    keras.utils.set_random_seed(0)
    with_skips = spread(unet(base_filters=4, spatial_dims=2))
    row, column = divmod(int(with_skips), 32)
    assert abs(row - 16) <= 2 and abs(column - 16) <= 2  # the strongest answer lies where the pixel changed


def test_2_or_3_dimensions_and_no_others():
    with pytest.raises(ValueError, match="expected 2 or 3"):
        unet(spatial_dims=4)
