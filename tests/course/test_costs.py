"""What networks cost, against formulas worked out by hand, tests/reference/vectors.json, and what XLA counts."""

import numpy as np
import pytest

from organseg import OrgansegError, cnn, fcn, unet
from organseg.backend import keras
from organseg.course.costs import crops_that_fit, layer_costs, training_bytes, training_flops

layers = keras.layers


@pytest.fixture(scope="module")
def paper():
    return unet()


def total(costs, what):
    return sum(getattr(cost, what) for cost in costs)


def test_a_small_network_by_hand():
    image = keras.Input((None, None, None, 1))
    x = layers.Conv3D(2, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling3D(2)(x)
    x = layers.Conv3DTranspose(5, 2, strides=2)(x)
    costs = layer_costs(keras.Model(image, layers.Conv3D(3, 1)(x)), (4, 6, 8))
    voxels = 4 * 6 * 8
    assert [cost.kind for cost in costs] == [
        *("InputLayer", "Conv3D", "BatchNormalization", "MaxPooling3D", "Conv3DTranspose", "Conv3D")
    ]
    assert [cost.shape for cost in costs[2:5]] == [(4, 6, 8, 2), (2, 3, 4, 2), (4, 6, 8, 5)]
    assert [cost.parameters for cost in costs] == [0, 27 * 2, 2 * 2, 0, 8 * 2 * 5 + 5, 5 * 3 + 3]
    assert [cost.flops for cost in costs] == [
        *(0, 2 * 27 * 2 * voxels, 0, 0, 2 * 8 * 2 * 5 * voxels // 8, 2 * 5 * 3 * voxels)
    ]
    assert [cost.bytes for cost in costs] == [
        *(4 * voxels, 4 * 2 * voxels, 4 * 2 * voxels, 4 * 2 * voxels // 8, 4 * 5 * voxels, 4 * 3 * voxels)
    ]


def test_strides_and_missing_padding_count_the_places_that_are_put_out():
    image = keras.Input((10, 10, 1))
    x = layers.Conv2D(3, 3, strides=2, padding="valid")(image)  # 4 × 4 places
    x = layers.Dense(7)(layers.Flatten()(x))
    convolution, _, dense = layer_costs(keras.Model(image, x), 10)[1:]
    assert convolution.flops == 2 * 9 * 3 * 16
    assert (dense.flops, dense.parameters) == (2 * 48 * 7, 48 * 7 + 7)


def test_the_papers_network(paper, vectors):
    costs = layer_costs(paper, 64)
    assert total(costs, "parameters") == vectors["unet"]["trainable_parameters"]
    assert total(costs, "flops") / 1e12 == pytest.approx(vectors["unet"]["forward_TFLOP_per_64_cube"], abs=5e-4)
    expected = vectors["unet"]["train_TFLOP_per_step_of_three_64_cubes"]
    assert training_flops(paper, 64, batch_size=3) / 1e12 == pytest.approx(expected, abs=5e-3)


def test_work_and_memory_follow_the_number_of_voxels(paper):
    small, large = layer_costs(paper, 32), layer_costs(paper, (64, 32, 96))
    assert total(large, "flops") == 6 * total(small, "flops")
    assert total(large, "bytes") == 6 * total(small, "bytes")
    assert training_flops(paper, 32, batch_size=5) == 15 * total(small, "flops")


@pytest.mark.parametrize("make", [cnn, fcn, unet])
def test_parameters_are_those_that_keras_counts(make):
    network = make(num_classes=4, base_filters=2, spatial_dims=2, **({"input_size": 16} if make is cnn else {}))
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert total(layer_costs(network, 16), "parameters") == trainable


def test_a_layer_that_is_used_twice_works_twice_and_has_its_weights_once():
    image = keras.Input((8, 8, 1))
    layer = layers.Conv2D(1, 3, padding="same", use_bias=False)
    costs = layer_costs(keras.Model(image, layer(layer(image))), 8)
    assert total(costs, "parameters") == 9
    assert total(costs, "flops") == 2 * 2 * 9 * 64


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_halves_all_but_the_softmax(policy):
    full, half = layer_costs(unet(base_filters=2), 16), layer_costs(unet(base_filters=2, dtype=policy), 16)
    for one, other in zip(full, half, strict=True):
        whole = one.kind in ("InputLayer", "Softmax")
        assert other.bytes == (one.bytes if whole else one.bytes // 2)


def test_memory_has_four_numbers_per_weight():
    network = unet(base_filters=2)
    costs = layer_costs(network, 16)
    weights = 4 * 4 * total(costs, "parameters")
    assert training_bytes(network, 16, batch_size=0) == weights
    assert training_bytes(network, 16, batch_size=3) == weights + 3 * total(costs, "bytes")


def test_as_many_fit_as_the_memory_holds():
    network = unet(base_filters=2)
    for crops in (1, 2, 7):
        memory = training_bytes(network, 16, crops)
        assert crops_that_fit(network, 16, memory, usable=1) == crops
        assert crops_that_fit(network, 16, memory - 1, usable=1) == crops - 1
        assert crops_that_fit(network, 16, 2 * memory, usable=0.5) == crops
    assert crops_that_fit(network, 16, 0) == 0
    with pytest.raises(OrgansegError, match="found usable=1.2"):
        crops_that_fit(network, 16, 1e9, usable=1.2)


def test_a_size_that_does_not_fit_is_refused(paper):
    with pytest.raises(OrgansegError, match="60 × 60 × 60; expected a size that fits"):
        layer_costs(paper, 60)
    with pytest.raises(OrgansegError, match="64 × 64; .* give input_size"):
        layer_costs(paper, (64, 64))


def test_xla_counts_nearly_the_same():
    """Its count leaves out what is multiplied with the zeros of the padding, and adds the small layers."""
    if keras.backend.backend() != "jax":
        pytest.skip("asks JAX; run with KERAS_BACKEND=jax")
    import jax

    network = unet(base_filters=8, spatial_dims=2)
    weights = [variable.value for variable in network.trainable_variables]
    others = [variable.value for variable in network.non_trainable_variables]
    image = jax.ShapeDtypeStruct((1, 128, 128, 1), np.float32)

    def forward(weights, image):
        return network.stateless_call(weights, others, image)[0]

    def loss(weights, image):
        return (forward(weights, image) ** 2).sum()

    def counted(function):
        return jax.jit(function).lower(weights, image).compile().cost_analysis()["flops"]

    assert counted(forward) == pytest.approx(total(layer_costs(network, 128), "flops"), rel=0.05)
    assert counted(jax.value_and_grad(loss)) == pytest.approx(training_flops(network, 128), rel=0.05)
