"""Largest piece and holes, against small volumes counted by hand and against scikit-image."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label as pieces_of

import organseg


def volume(*voxels, shape=(7, 7, 7)):
    """Background with these voxels, each (x, y, z, organ)."""
    labels = np.zeros(shape, np.uint8)
    for *place, organ in voxels:
        labels[tuple(place)] = organ
    return labels


def blobs(seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(20, 18, 16)), 1.0)
    return np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8])).astype(np.uint8)  # organs 0 … 3, in many pieces


def test_the_larger_of_two_pieces_stays_and_the_other_becomes_background():
    labels = volume((0, 0, 0, 5), (3, 3, 3, 5), (3, 3, 4, 5), (6, 6, 6, 2))
    assert np.array_equal(organseg.keep_largest(labels), volume((3, 3, 3, 5), (3, 3, 4, 5), (6, 6, 6, 2)))


@pytest.mark.parametrize(
    "second, least", [((3, 3, 4), 1), ((3, 4, 4), 2), ((4, 4, 4), 3)], ids=["face", "edge", "corner"]
)
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_connectivity_says_which_neighbours_belong_together(second, least, connectivity):
    labels = volume((3, 3, 3, 1), (*second, 1))
    assert np.sum(organseg.keep_largest(labels, connectivity=connectivity)) == (2 if connectivity >= least else 1)


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_the_largest_piece_is_that_of_scikit_image(connectivity):
    labels = blobs()
    kept = organseg.keep_largest(labels, connectivity=connectivity)
    for organ in (1, 2, 3):
        pieces = pieces_of(labels == organ, connectivity=connectivity)
        assert pieces.max() > 1
        assert np.sum(kept == organ) == np.bincount(pieces[pieces > 0]).max()
        assert pieces_of(kept == organ, connectivity=connectivity).max() == 1


def test_only_the_organs_asked_for_are_treated():
    labels = blobs()
    kept = organseg.keep_largest(labels, organs=[2])
    assert np.array_equal(kept == 1, labels == 1) and np.array_equal(kept == 3, labels == 3)
    assert 0 < np.sum(kept == 2) < np.sum(labels == 2)


def test_no_organ_and_no_voxel_is_no_error_and_the_argument_stays_as_it_was():
    empty = np.zeros((4, 4, 4), np.uint8)
    assert not organseg.keep_largest(empty).any() and not organseg.fill_holes(empty).any()
    labels = blobs()
    copy = labels.copy()
    for repaired in (organseg.keep_largest(labels), organseg.fill_holes(labels)):
        assert repaired.dtype == labels.dtype and not np.shares_memory(repaired, labels)
    assert np.array_equal(labels, copy)


def test_an_impossible_connectivity_says_which_are_there():
    with pytest.raises(organseg.OrgansegError, match="found connectivity 26; expected 1, 2 or 3"):
        organseg.keep_largest(blobs(), connectivity=26)


def a_box_with(inside):
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1:8, 1:8, 1:8] = 3
    labels[4, 4, 4] = inside
    return labels


def test_a_hole_is_filled_and_another_organ_inside_stays():
    assert organseg.fill_holes(a_box_with(0))[4, 4, 4] == 3
    assert organseg.fill_holes(a_box_with(2))[4, 4, 4] == 2
    assert organseg.fill_holes(a_box_with(0), organs=[2])[4, 4, 4] == 0


def test_a_tunnel_to_the_outside_is_no_hole():
    labels = a_box_with(0)
    labels[4, 4, :] = 0
    assert np.array_equal(organseg.fill_holes(labels), labels)


def test_holes_are_those_of_scikit_image():
    labels = (blobs(seed=3) > 0).astype(np.uint8)
    labels[0], labels[:, 0], labels[:, :, 0] = 1, 1, 1
    filled = organseg.fill_holes(labels, organs=[1])
    outside = pieces_of(labels == 0, connectivity=1)
    at_the_border = np.unique(np.concatenate([outside[-1].ravel(), outside[:, -1].ravel(), outside[:, :, -1].ravel()]))
    assert np.array_equal(filled == 0, (outside > 0) & np.isin(outside, at_the_border))
    assert filled.sum() > labels.sum()
