"""The weights of chapter 3: body levels of phantoms that they were not trained on (benchmarks/train_body_level.py)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import organseg
from organseg.course.body_level import WEIGHTS

UNSEEN = range(5000, 5006)  # neither the seeds of the training nor those of the held-out score


@pytest.fixture(scope="module")
def answers():
    """Right levels and those that the network says, of all slices of the unseen phantoms."""
    network = organseg.load_body_level_cnn()
    right, said = [], []
    with ThreadPoolExecutor(2) as pool:
        cases = list(pool.map(lambda seed: organseg.make_phantom(seed, (64, 64, 24 + 8 * (seed % 3))), UNSEEN))
    for case in cases:
        slices = np.moveaxis(organseg.normalise(case.image), 2, 0)[..., np.newaxis]
        said.append(network.predict(slices, verbose=0).argmax(axis=1))
        right.append(case.body_levels.astype(int))
    return np.concatenate(right), np.concatenate(said)


def test_unseen_slices_are_named_correctly(answers):
    right, said = answers
    assert np.mean(right == said) > 0.9
    for level in range(len(organseg.BODY_LEVELS)):
        assert np.mean(said[right == level] == level) > 0.7, organseg.BODY_LEVELS[level]


def test_mistakes_are_neighbouring_levels(answers):
    right, said = answers
    assert np.all(np.abs(right - said) <= 1)


def test_the_network_takes_slices_of_64_pixels():
    network = organseg.load_body_level_cnn()
    assert network.input_shape == (None, 64, 64, 1)
    assert network.output_shape == (None, len(organseg.BODY_LEVELS))


def test_the_file_is_small():
    assert WEIGHTS.stat().st_size < 500_000
