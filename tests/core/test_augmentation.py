"""A crop's warp, held against SimpleITK (tests/reference/vectors.json), SciPy's rotations and formulas by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from organseg.augmentation import (
    Warp,
    apply_warp,
    control_counts,
    displacement,
    draw_warp,
    no_warp,
    rotation,
    warp_coordinates,
)


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(0)
    return rng.random((40, 36, 44), dtype=np.float32), rng.integers(0, 8, (40, 36, 44), dtype=np.uint8)


@pytest.mark.parametrize("index", [0, 1])
def test_displacements_agree_with_simpleitk(vectors, index):
    case = vectors["bspline"]["cases"][index]
    control_points = np.array(case["control_points"])
    for point in case["points"]:
        places = [np.array([p]) for p in point["voxel"]]
        found = displacement(control_points, (case["control_spacing_voxels"],) * 3, places)
        assert found.ravel() == pytest.approx(point["displacement"], abs=1e-5)


def test_the_warp_adds_the_displacement_at_full_strength(vectors):
    case = vectors["bspline"]["cases"][0]
    warp = Warp(np.array(case["control_points"]), (24.0,) * 3, (0.0,) * 3, (0.0,) * 3)
    coordinates = warp_coordinates(warp, (0, 0, 0), (64, 64, 64))
    for point in case["points"]:
        voxel = np.array(point["voxel"])
        if np.all(voxel == np.rint(voxel)):
            found = coordinates[(slice(None), *voxel.astype(int))] - voxel
            assert found == pytest.approx(point["displacement"], abs=1e-5)


def test_control_points_cover_the_papers_crop_with_six_per_axis():
    assert control_counts((64, 64, 64), (24, 24, 24)) == (6, 6, 6)


def test_a_zero_warp_is_the_identity_to_the_bit(volume):
    image, label = volume
    crop, crop_label = apply_warp(no_warp((16, 20, 24)), image, label, (3, 5, 7), (16, 20, 24), (0.7, 0.7, 5.0))
    assert np.array_equal(crop, image[3:19, 5:25, 7:31])
    assert np.array_equal(crop_label, label[3:19, 5:25, 7:31])


def test_outside_the_scan_there_is_air_and_background(volume):
    image, label = volume
    crop, crop_label = apply_warp(no_warp((50, 50, 50)), image, label + 1, (-5, -5, -3), (50, 50, 50), outside=-9.0)
    assert np.array_equal(crop[5:45, 5:41, 3:47], image)
    crop[5:45, 5:41, 3:47], crop_label[5:45, 5:41, 3:47] = -9, 0
    assert np.all(crop == -9) and np.all(crop_label == 0)


def test_labels_are_read_at_the_nearest_voxel_and_the_image_between():
    image = np.arange(8, dtype=np.float32).reshape(8, 1, 1)
    label = np.array([0, 7, 0, 7, 0, 7, 0, 7], np.uint8).reshape(8, 1, 1)
    half_right = Warp(np.zeros((3, 4, 4, 4)), (24.0,) * 3, (0.0,) * 3, (0.4, 0.0, 0.0))
    crop, crop_label = apply_warp(half_right, image, label, (0, 0, 0), (7, 1, 1))
    assert crop.ravel() == pytest.approx(np.arange(7) + 0.4)
    assert np.array_equal(crop_label, label[:7])


def test_a_warp_of_labels_brings_no_new_ids(volume):
    label = np.where(volume[1] > 3, 7, 2).astype(np.uint8)
    warp = draw_warp(np.random.default_rng(3), (32, 32, 32))
    _, crop = apply_warp(warp, volume[0], label, (2, 2, 2), (32, 32, 32))
    assert set(np.unique(crop)) <= {0, 2, 7}


def test_rotations_agree_with_scipy():
    angles = (20.0, -7.0, 13.0)
    assert rotation(angles) == pytest.approx(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), abs=1e-12)


def test_a_rotation_keeps_lengths_in_mm_on_anisotropic_voxels():
    size = np.array([1.0, 1.0, 4.0])
    warp = Warp(np.zeros((3, 4, 4, 4)), (24.0,) * 3, (20.0, -11.0, 5.0), (0.0,) * 3)
    mm = warp_coordinates(warp, (0, 0, 0), (11, 13, 9), size) * size[:, None, None, None]
    for axis, step in enumerate(np.eye(3, dtype=int)):
        apart = mm[:, step[0], step[1], step[2]] - mm[:, 0, 0, 0]
        assert np.linalg.norm(apart) == pytest.approx(size[axis])
    assert mm[:, 5, 6, 4] == pytest.approx(np.array([5, 6, 4]) * size)  # the centre stays


def test_translation_reads_from_the_place_it_says():
    warp = Warp(np.zeros((3, 4, 4, 4)), (24.0,) * 3, (0.0,) * 3, (3.0, -2.0, 5.0))
    assert warp_coordinates(warp, (10, 20, 30), (4, 4, 4))[:, 0, 0, 0] == pytest.approx([13, 18, 35])


def test_drawn_parameters_fill_the_papers_ranges_uniformly():
    rng = np.random.default_rng(0)
    warps = [draw_warp(rng, (64, 64, 64)) for _ in range(400)]
    for values, limit in (
        (np.concatenate([w.control_points.ravel()[:200] for w in warps]), 4),
        (np.array([w.angles for w in warps]).ravel(), 20),
        (np.array([w.translation for w in warps]).ravel(), 20),
    ):
        assert np.abs(values).max() <= limit
        assert np.abs(values).max() > 0.97 * limit
        assert np.std(values) == pytest.approx(limit / np.sqrt(3), rel=0.05)  # that of a uniform distribution


def test_displacements_of_the_papers_field_stay_below_one_voxel_rms():
    rng = np.random.default_rng(1)
    places = [np.arange(64.0)] * 3
    fields = [displacement(draw_warp(rng, (64,) * 3).control_points, (24.0,) * 3, places) for _ in range(20)]
    assert 0.7 <= np.sqrt(np.mean(np.square(fields))) <= 0.8


def test_a_coarser_grid_keeps_the_warp_the_same_in_mm():
    fine = draw_warp(np.random.default_rng(5), (64, 64, 64))
    coarse = draw_warp(np.random.default_rng(5), (32, 32, 32), (0.5, 0.5, 0.5))  # voxels of 6 mm
    assert coarse.control_points.shape == fine.control_points.shape
    assert coarse.control_points == pytest.approx(fine.control_points / 2)
    assert np.array(coarse.translation) == pytest.approx(np.array(fine.translation) / 2)
    assert coarse.angles == fine.angles


def test_the_same_seed_draws_the_same_warp():
    first, second = (draw_warp(np.random.default_rng(9), (32, 32, 32)) for _ in range(2))
    assert np.array_equal(first.control_points, second.control_points) and first.angles == second.angles
