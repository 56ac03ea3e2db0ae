"""The Dice losses, held against numbers computed with MONAI (tests/reference/vectors.json) and by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from organseg.losses import dice_loss, generalised_dice_loss, volume_weights


def loss_and_gradient(loss, probabilities):
    """The loss and its gradient with respect to the probabilities, on whichever backend Keras runs."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        value, gradient = jax.value_and_grad(loss)(ops.convert_to_tensor(probabilities))
    else:
        import tensorflow as tf

        variable = tf.Variable(probabilities)
        with tf.GradientTape() as tape:
            value = loss(variable)
        gradient = tape.gradient(value, variable)
    return float(value), ops.convert_to_numpy(gradient)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_equations_1_and_2_agree_with_monai(vectors, index):
    case = vectors["soft_dice"]["cases"][index]
    labels, probabilities = np.array(case["labels"]), np.array(case["probabilities"], np.float32)
    per_image = float(dice_loss(labels, probabilities))
    over_batch = float(dice_loss(labels, probabilities, batch_sum=True))
    assert per_image == pytest.approx(case["per_image_loss"], abs=1e-6)
    assert per_image == pytest.approx(case["monai_DiceLoss_batch_false"] - 1, abs=1e-5)
    assert over_batch == pytest.approx(case["batch_sum_loss"], abs=1e-6)
    assert over_batch == pytest.approx(case["monai_DiceLoss_batch_true"] - 1, abs=1e-5)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_generalised_dice_agrees_with_monai(vectors, index):
    case = vectors["soft_dice"]["cases"][index]
    loss = float(generalised_dice_loss(np.array(case["labels"]), np.array(case["probabilities"], np.float32)))
    assert loss == pytest.approx(case["monai_GeneralizedDiceLoss_batch_false"] - 1, abs=1e-4)


def test_unannotated_organs_are_unknown_rather_than_background(vectors):
    case = vectors["partial_annotation"]
    labels, probabilities = np.array(case["labels"]), np.array(case["probabilities"], np.float32)
    annotated = np.array([[organ in ids for organ in range(1, 5)] for ids in case["annotated"]], np.float32)
    each = [float(dice_loss(labels[i : i + 1], probabilities[i : i + 1], annotated[i : i + 1])) for i in range(3)]
    assert each == pytest.approx(case["per_image_losses"], abs=1e-6)
    assert float(dice_loss(labels, probabilities, annotated)) == pytest.approx(case["per_image_loss"], abs=1e-6)
    over_batch = float(dice_loss(labels, probabilities, annotated, batch_sum=True))
    assert over_batch == pytest.approx(case["batch_sum_loss"], abs=1e-6)


def test_a_prediction_of_an_unannotated_organ_costs_nothing():
    labels = np.zeros((1, 4, 4, 4), int)
    background, organ_2 = np.eye(3, dtype=np.float32)[np.zeros_like(labels)], np.eye(3, dtype=np.float32)[labels + 2]
    annotated = np.array([[1.0, 0.0]])
    assert float(dice_loss(labels, organ_2, annotated)) == float(dice_loss(labels, background, annotated))
    assert float(dice_loss(labels, organ_2)) > float(dice_loss(labels, background))


def test_a_perfect_prediction_scores_minus_one_and_a_better_one_less():
    labels = np.random.default_rng(0).integers(0, 8, (2, 8, 8, 8))
    perfect = np.eye(8, dtype=np.float32)[labels]
    uniform = np.full_like(perfect, 1 / 8)
    assert float(dice_loss(labels, perfect)) == pytest.approx(-1, abs=1e-6)
    assert float(dice_loss(labels, 0.5 * perfect + 0.5 * uniform)) < float(dice_loss(labels, uniform)) < 0


@pytest.mark.parametrize("loss", [dice_loss, generalised_dice_loss])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_all_background_crop_has_a_finite_loss_and_gradient(loss, precision):
    labels = np.zeros((2, 8, 8, 8), np.int32)
    for background in (0.0, 0.5, 1.0):
        probabilities = np.zeros((2, 8, 8, 8, 8), precision)
        probabilities[..., 0], probabilities[..., 1] = background, 1 - background
        value, gradient = loss_and_gradient(lambda p: loss(labels, p), probabilities)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_an_absent_class_contributes_nothing_by_hand():
    labels = np.array([[[0, 1]]])  # one row of two pixels, class 2 absent
    probabilities = np.array([[[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]]], np.float32)
    # L_0 = -2·0.5 / (0.75 + 1), L_1 = -2·0.5 / (0.75 + 1), L_2 = 0 / (0.5 + 0)
    assert float(dice_loss(labels, probabilities)) == pytest.approx(-(2 / 1.75) / 3)


def test_sums_over_a_whole_crop_do_not_overflow_in_half_precision():
    labels = np.zeros((1, 48, 48, 48), np.int32)  # 110,592 voxels; float16 ends at 65,504
    probabilities = np.zeros((1, 48, 48, 48, 2), np.float16)
    probabilities[..., 0] = 1
    assert float(dice_loss(labels, probabilities)) == pytest.approx(-0.5, abs=1e-6)


def test_weights_follow_the_formula_by_hand():
    labels = np.array([[[0, 0, 0, 1]]])
    probabilities = np.full((1, 1, 4, 2), 0.5, np.float32)
    each = np.array([-2 * 1.5 / 5, -2 * 0.5 / 3])  # L_0 and L_1
    weighted = float(dice_loss(labels, probabilities, weights=[0.2, 1.8]))
    assert weighted == pytest.approx((0.2 * each[0] + 1.8 * each[1]) / 2)
    # Σ r = (3, 1): inverse volumes (1/3, 1), scaled to a mean of 1: (0.5, 1.5); their squares (0.2, 1.8)
    assert ops.convert_to_numpy(volume_weights(labels, 2)) == pytest.approx(np.array([[0.5, 1.5]]))
    assert ops.convert_to_numpy(volume_weights(labels, 2, power=2)) == pytest.approx(np.array([[0.2, 1.8]]))
    assert ops.convert_to_numpy(volume_weights(labels, 2, power=0)) == pytest.approx(np.array([[1.0, 1.0]]))


def test_an_absent_class_gets_the_largest_weight_of_those_present():
    weights = ops.convert_to_numpy(volume_weights(np.array([[[0, 0, 0, 1]]]), 3))
    assert weights[0, 2] == weights[0, 1] > weights[0, 0]
