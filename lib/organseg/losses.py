"""The soft Dice loss of Roth et al. 2018, equations (1) and (2), with its weightings.

All functions take labels (batch, x, y[, z]) of class ids and probabilities (batch, x, y[, z],
class) and sum in float32: a sum over 64³ voxels overflows float16. They run on every backend of
Keras.

[22] Milletari et al., "V-Net", 3DV 2016: the differentiable Dice coefficient.
[39] Shen et al., "On the influence of Dice loss function in multi-class organ segmentation",
MI2017-51: `volume_weights`.
[40] Sudre et al., "Generalised Dice overlap as a deep learning loss function", DLMIA 2017:
`generalised_dice_loss`.
"""

from organseg.backend import keras

ops = keras.ops

# Keeps 0/0 out of classes that are neither true nor predicted; far below one voxel's share.
TINY = 1e-7


def dice_loss(labels, probabilities, annotated=None, weights=None, batch_sum=False):
    """The total loss, equation (2): the mean over the classes of w_l L_l; -1 is perfect, 0 worst.

    L_l = -2 Σ p r / (Σ p + Σ r), equation (1). The sums run over one image's voxels ("the current
    image volume") and the images' losses are averaged; with `batch_sum` they run over all images of
    the batch, so that a class absent from one crop is scored on the others. A class absent from the
    truth contributes 0. The loss is a float32 scalar.

    Parameters
    ----------
    annotated : (batch, class - 1), 1 for the organs that were annotated in an image, else 0. Where
        an organ was not, label 0 means "none of the annotated organs": the probability of the
        organs not annotated counts as background, and these organs have no term of their own (nor a
        part in L).
    weights : w_l, (class,) or (batch, class); 1 by default, as in the paper

    >>> labels = [[[0, 1]]]  # one image of two pixels
    >>> float(dice_loss(labels, keras.ops.one_hot(labels, 2)))
    -1.0
    """
    sums = overlaps(labels, probabilities, annotated)
    return loss_of_overlaps(*sums, weights, batch_sum)


def loss_of_overlaps(intersection, predicted, true, counted, weights=None, batch_sum=False):
    """Equation (2) from what `overlaps` returns, or from its sum over the tiles of an image."""
    weights = ops.cast(1.0 if weights is None else weights, "float32") * ops.ones_like(true)
    if batch_sum:
        images = ops.sum(counted, axis=0, keepdims=True)
        weights = ops.sum(weights * counted, axis=0, keepdims=True) / ops.maximum(images, 1.0)
        sums = (intersection, predicted, true)
        intersection, predicted, true = (ops.sum(s, axis=0, keepdims=True) for s in sums)
        counted = ops.minimum(images, 1.0)
    per_class = -2.0 * intersection / ops.maximum(predicted + true, TINY)  # equation (1)
    total = ops.sum(weights * per_class * counted, axis=-1)
    return ops.mean(total / ops.sum(counted, axis=-1))  # equation (2)


def generalised_dice_loss(labels, probabilities, annotated=None):
    """Generalised Dice [40], per image: -2 Σ_l w_l Σ p r / Σ_l w_l Σ (p + r) with w_l = 1 / (Σ r)².

    So a small organ weighs as much as a large one. An absent class gets the largest weight of the
    classes present. Parameters and returns as in `dice_loss`.

    >>> missed = keras.ops.one_hot([[[0, 0, 0, 0]]], 2)
    >>> round(float(generalised_dice_loss([[[0, 0, 0, 1]]], missed)), 3)  # dice_loss: -0.429
    -0.375
    """
    intersection, predicted, true, counted = overlaps(labels, probabilities, annotated)
    weights = _inverse_volumes(true, power=2) * counted
    overlap = ops.sum(weights * intersection, axis=-1)
    return ops.mean(-2.0 * overlap / ops.sum(weights * (predicted + true), axis=-1))


def volume_weights(labels, num_classes, power=1):
    """Weights w_l for `dice_loss` that favour small organs [39]: 1 / (Σ r)**power.

    `power` is 1 ("simple") or 2 ("square"); 0 gives the paper's uniform weights. They are float32
    (batch, class), with a mean of 1 in each image; an absent class gets the largest weight of those
    present.

    >>> keras.ops.convert_to_numpy(volume_weights([[[0, 0, 0, 1]]], num_classes=2)).tolist()
    [[0.5, 1.5]]
    """
    truth = ops.one_hot(ops.cast(labels, "int32"), num_classes, dtype="float32")
    weights = _inverse_volumes(ops.sum(truth, axis=_voxel_axes(truth)), power)
    return weights / ops.mean(weights, axis=-1, keepdims=True)


def overlaps(labels, probabilities, annotated=None):
    """Σ p r, Σ p, Σ r over each image's voxels, and which classes count: float32 (batch, class).

    Parameters as in `dice_loss`.
    """
    probabilities = ops.cast(probabilities, "float32")
    truth = ops.one_hot(ops.cast(labels, "int32"), probabilities.shape[-1], dtype="float32")
    axes = _voxel_axes(truth)
    summands = (probabilities * truth, probabilities, truth)
    intersection, predicted, true = (ops.sum(values, axis=axes) for values in summands)
    if annotated is None:
        return intersection, predicted, true, ops.ones_like(true)
    annotated = ops.cast(annotated, "float32")
    counted = ops.concatenate([ops.ones_like(annotated[:, :1]), annotated], axis=-1)
    # Background takes over the probability of the organs not annotated: p'_0 = p_0 + Σ p_l. Only
    # the sums are needed: where the truth is background (r_0 = 1), Σ p'_0 r_0 = Σ p_0 r_0 +
    # Σ_l Σ p_l r_0.
    not_annotated = 1.0 - counted
    on_background = ops.sum(probabilities * truth[..., :1], axis=axes)
    first = ops.one_hot(0, probabilities.shape[-1], dtype="float32")
    taken = ops.sum(on_background * not_annotated, axis=-1, keepdims=True)
    intersection = intersection + first * taken
    predicted = predicted + first * ops.sum(predicted * not_annotated, axis=-1, keepdims=True)
    return intersection * counted, predicted * counted, true * counted, counted


def _inverse_volumes(volumes, power):
    present = volumes > 0
    inverse = ops.where(present, 1.0 / ops.maximum(volumes, 1.0) ** power, 0.0)
    return ops.where(present, inverse, ops.max(inverse, axis=-1, keepdims=True))


def _voxel_axes(array):
    return tuple(range(1, len(array.shape) - 1))
