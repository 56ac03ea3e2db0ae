"""Crops and steps on the device: the same as the host's, one by one and several in one call."""

import numpy as np
import pytest

from organseg import make_phantom, unet
from organseg.backend import keras
from organseg.cases import Case
from organseg.device.crops import DeviceCrops
from organseg.device.steps import HostCrops, Steps
from organseg.profiles import PROFILES
from organseg.sampling import CropSampler
from organseg.scans import to_scan
from organseg.training import compile_for_training


def batch(source, step):
    """The mini-batch of a step as NumPy arrays, read by one compiled function as in training."""
    numbers, arrays = source.draw([step])
    read = source.read
    if keras.backend.backend() == "jax":  # one by one, JAX would compile each operation
        import jax

        read = jax.jit(read)
    return list(map(np.asarray, read({name: rows[0] for name, rows in numbers.items()}, arrays)))


def scan(name, shape, spacing, seed, annotated=(1, 2, 3, 4, 5, 6, 7), patient=""):
    """Any numbers in and beyond the window, and any labels: no crop is like another."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(-400, 500, shape).astype(np.float32)
    label = rng.integers(0, 8, shape, dtype=np.uint8)
    return to_scan(Case(image, label, np.diag([*spacing, 1.0]), name, annotated, patient=patient))


@pytest.fixture(scope="module")
def scans():
    shapes = [(40, 44, 36), (30, 52, 41), (64, 33, 29), (20, 20, 12), (37, 41, 43)]
    spacings = [(3, 3, 3), (3, 3, 3), (2.5, 2.5, 4), (3, 3, 3), (2.8, 3.1, 2)]
    annotated = [(1, 2, 3, 4, 5, 6, 7), (3,), (3, 4), (1, 7), (1, 2, 3, 4, 5, 6, 7)]
    names = ["a", "b", "c", "d", "a_again"]
    rows = zip(names, shapes, spacings, range(5), annotated, strict=True)
    return [scan(*row, patient=row[0][0]) for row in rows]


@pytest.mark.filterwarnings("ignore:.*smaller than a crop")
@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("paper_voxels", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.8)])
def test_crops_are_those_of_scipy(scans, size, augment, paper_voxels):
    sampler = CropSampler(scans, size, 3, 0.5, augment, paper_voxels, seed=2)
    source, beside = DeviceCrops(sampler), 0
    for step in range(6):
        images, labels, annotated = batch(source, step)
        by_scipy = sampler.batch(step)
        np.testing.assert_allclose(images, by_scipy[0], rtol=0, atol=1e-5 if not augment else 3e-5)
        np.testing.assert_array_equal(annotated, by_scipy[2])
        assert (images.dtype, labels.dtype) == (np.float32, np.uint8)
        beside += np.count_nonzero(labels != by_scipy[1])
    # A voxel read just between two may go to the other one in float32: in every thousandth at most.
    assert beside <= (0.001 * 6 * 3 * size**3 if augment else 0)


def test_crops_of_smooth_scans_agree_to_1e_5():
    smooth = [to_scan(make_phantom(seed, (40, 44, 48))) for seed in range(3)]
    sampler = CropSampler(smooth, 32, seed=1)
    source = DeviceCrops(sampler)
    for step in range(5):
        images, labels, _ = batch(source, step)
        np.testing.assert_allclose(images, sampler.batch(step)[0], rtol=0, atol=1e-5)
        assert np.mean(labels != sampler.batch(step)[1]) < 1e-4


def test_scans_that_do_not_fit_come_over_with_the_steps_that_need_them(scans):
    sampler = CropSampler([scans[0], scans[1], scans[4]], 16, 2, seed=3)
    fitting, sliding = DeviceCrops(sampler), DeviceCrops(sampler, room=3 * 16**3)
    for step in range(4):
        for one, other in zip(batch(fitting, step), batch(sliding, step), strict=True):
            np.testing.assert_array_equal(one, other)
    lengths = {len(sliding.draw([step, step + 1])[1][0]) for step in range(4)}
    assert lengths == {4 * 37 * 41 * 43}, "one length: nothing is compiled anew"


def trained(scans, source_of, at_once, steps=6):
    """Losses and weights after a few steps; `source_of` makes the source from the sampler."""
    keras.utils.set_random_seed(0)
    sampler = CropSampler(scans, 16, organ_share=0.5)
    segmenter = compile_for_training(unet(base_filters=2, levels=2), PROFILES["lesson"])
    if source_of is None:  # as Keras does it
        losses = []
        for step in range(steps):
            images, labels, annotated = sampler.batch(step)
            losses.append(float(segmenter.train_on_batch(images, (labels, annotated))))
            segmenter.reset_metrics()
        return np.array(losses), segmenter
    source = source_of(sampler)
    taker, losses = Steps(segmenter, source, at_once), []
    for first in range(0, steps, at_once):
        losses += taker.take(source.draw(range(first, first + at_once))).tolist()
    return np.array(losses), segmenter


@pytest.mark.filterwarnings("ignore:.*smaller than a crop")
@pytest.mark.parametrize(("source", "at_once"), [(HostCrops, 1), (HostCrops, 3), (DeviceCrops, 1), (DeviceCrops, 3)])
def test_steps_are_those_of_keras_one_by_one_and_several_in_a_call(scans, source, at_once):
    by_keras, expected = trained(scans, None, 1)
    losses, segmenter = trained(scans, source, at_once)
    np.testing.assert_allclose(losses, by_keras, rtol=0, atol=2e-4)
    assert int(segmenter.optimizer.iterations) == 6 == int(expected.optimizer.iterations)
    found, weights = (np.concatenate([w.ravel() for w in each.get_weights()]) for each in (segmenter, expected))
    # Six steps of 0.01 at most; Adam turns rounding into steps where a gradient is nearly zero.
    apart = np.abs(found - weights)
    assert np.quantile(apart, 0.99) < 0.02 and apart.max() < 0.06
