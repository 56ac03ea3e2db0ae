"""The way to the working grid and back: every position is checked in mm, against truths known by formula."""

import itertools
import warnings

import numpy as np
import pytest
from nibabel import orientations
from scipy import ndimage

from organseg.cases import Case, load_case
from organseg.errors import OrgansegWarning
from organseg.geometry import (
    AIR,
    WorkingGrid,
    canonical_spacing,
    choose_grid,
    half_resolution,
    to_canonical,
    to_file_grid,
    to_working,
)
from organseg.scans import normalise
from organseg.volumes import read_affine

THREE = WorkingGrid()
ONE = WorkingGrid((1.0, 1.0, 1.0))


def places(shape, affine):
    """The mm positions of all voxels, array (3, x, y, z)."""
    index = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def centroid(mask, affine):
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


def voxels_apart(mask, affine, centre):
    """Distance of a mask's centroid from a place in mm, as voxels of the mask's grid: the largest of the three axes."""
    return np.abs(np.linalg.inv(affine[:3, :3]) @ (centroid(mask, affine) - centre)).max()


def turned(degrees, axis=0):
    """A rotation about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    others = [a for a in range(3) if a != axis]
    matrix[np.ix_(others, others)] = [[c, -s], [s, c]]
    return matrix


def around(centre, linear, extent=110.0):
    """Shape and affine of a grid with this linear part that has `centre` (mm) near its middle, off voxel centres."""
    shape = tuple(int(n) for n in np.ceil(extent / np.linalg.norm(linear, axis=0)))
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.asarray(centre) - linear @ (np.array(shape) / 2 + (0.13, -0.21, 0.37))
    return shape, affine


def empty(shape, affine, value=0.0, label=None):
    return Case(np.full(shape, value, np.float32), label, affine, "made")


def one_hot(label, classes=8):
    return np.eye(classes, dtype=np.float32)[label]


SHEAR = np.array([[1, 0, 0], [0, 1, np.tan(np.radians(18.5))], [0, 0, 1]])
GRIDS = {  # linear parts of affines
    "0.8×0.8×5 LPS": np.diag([-0.8, -0.8, 5.0]),
    "0.57 LAI": np.diag([-0.57, 0.57, -5.0]),
    "1.5 RAS": np.diag([1.5, 1.5, 1.5]),
    "sagittal": np.diag([-1.0, 2.0, -1.5])[:, [1, 2, 0]],
    "oblique": turned(16.5) @ np.diag([0.9, 0.9, 2.5]),
    "twice oblique": turned(16.5) @ turned(-25, 2) @ np.diag([-1.0, 1.2, 3.0]),
    "sheared": SHEAR @ np.diag([1.0, 1.0, 2.4]),
}
GRIDS["half_resolution"] = GRIDS["0.8×0.8×5 LPS"]
CENTRE = np.array([31.7, -12.3, 205.4])  # mm


# There and back again, on axes alone


def small_truth():
    """A small asymmetric case in RAS, voxels 2 × 3 × 4 mm; its numbers are exact in binary."""
    rng = np.random.default_rng(0)
    label = np.zeros((6, 5, 7), np.uint8)
    label[1:3, 1, 2:5], label[4, 2:4, 1], label[5, 4, 6] = 3, 4, 7
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 10, -20, 30
    return Case(rng.integers(-900, 900, label.shape).astype(np.float32), label, affine, "truth")


def reordered(case, order, flips):
    turn = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
    back = orientations.inv_ornt_aff(turn, case.image.shape)
    image, label = (orientations.apply_orientation(a, turn) for a in (case.image, case.label))
    return Case(image, label, case.affine @ back, case.name)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
def test_every_axis_order_gives_the_same_working_image_and_goes_back(order, flips):
    truth = small_truth()
    grid = WorkingGrid(truth.spacing)
    case = reordered(truth, order, flips)
    for found in (to_canonical(case), to_working(case, grid)):
        assert found.axes == "RAS" and found.affine == pytest.approx(truth.affine)
        assert np.array_equal(found.image, truth.image) and np.array_equal(found.label, truth.label)
    back = to_file_grid(one_hot(found.label), found.affine, case.image.shape, case.affine)
    assert back.dtype == np.uint8 and np.array_equal(back, case.label)
    for organ in (3, 4, 7):  # left stays left
        assert centroid(back == organ, case.affine) == pytest.approx(centroid(truth.label == organ, truth.affine))


def test_a_scan_on_the_working_grid_passes_bit_by_bit():
    truth = small_truth()
    found = to_working(truth, WorkingGrid(truth.spacing))
    assert np.array_equal(found.affine, truth.affine) and found.image.dtype == np.float32
    assert np.array_equal(found.image, truth.image) and np.array_equal(found.label, truth.label)


# Places in mm


@pytest.mark.parametrize("name", GRIDS)
def test_a_smooth_organ_comes_back_to_its_place_on_the_files_grid(name):
    shape, affine = around(CENTRE, GRIDS[name])
    working = to_working(empty(shape, affine), THREE)
    if name == "half_resolution":
        shape, affine = half_resolution(shape, affine)
    apart = places(working.image.shape, working.affine) - CENTRE[:, None, None, None]
    squares = ((apart / np.reshape([28.0, 22.0, 33.0], (3, 1, 1, 1))) ** 2).sum(axis=0)
    organ = np.exp(-np.log(2) * squares)  # 0.5 on the ellipsoid with these half axes
    labels = to_file_grid(np.stack([1 - organ, organ], axis=-1), working.affine, shape, affine)
    assert voxels_apart(labels == 1, affine, CENTRE) < 0.1
    volume = labels.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * 28 * 22 * 33, rel=0.02)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("linear", [np.diag([0.75, 0.75, 0.75]), np.diag([-0.8, 0.75, -0.7])[:, [2, 0, 1]]])
def test_a_ball_keeps_its_place_where_even_factors_make_ties(factor, linear):
    shape, affine = around(CENTRE, linear, 60.0)
    ball = (np.linalg.norm(places(shape, affine) - CENTRE[:, None, None, None], axis=0) < 20).astype(np.uint8)
    grid = WorkingGrid((factor * 0.75,) * 3, factor=factor)
    found = to_working(empty(shape, affine, label=ball), grid)
    assert found.spacing == pytest.approx([factor * s for s in to_canonical(empty(shape, affine)).spacing])
    assert voxels_apart(found.label == 1, found.affine, CENTRE) < 0.1


@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_keeps_its_place_at_3_mm(name):
    shape, affine = around(CENTRE, GRIDS[name])
    ball = (np.linalg.norm(places(shape, affine) - CENTRE[:, None, None, None], axis=0) < 30).astype(np.uint8)
    found = to_working(empty(shape, affine, label=ball), THREE)
    # A ball in 5 mm slices is not round any more: what it must keep is the place it has in the file.
    # Nearest neighbour can be off by half a file voxel; where 3 file voxels make one, each is off the same way
    # (measured: 0.145 working voxels on the sheared grid, at most 0.037 on the others).
    limit = 0.15 if name == "sheared" else 0.1
    assert voxels_apart(found.label == 1, found.affine, centroid(ball == 1, affine)) < limit


@pytest.mark.parametrize("name", GRIDS)
def test_the_image_and_the_label_stay_on_top_of_each_other(name):
    shape, affine = around(CENTRE, GRIDS[name])
    ball = (np.linalg.norm(places(shape, affine) - CENTRE[:, None, None, None], axis=0) < 30).astype(np.uint8)
    found = to_working(Case(ball * np.float32(1000) + np.float32(AIR), ball, affine, "ball"), THREE)
    weights = found.image - AIR
    centre = [(weights * place).sum() / weights.sum() for place in places(found.image.shape, found.affine)]
    assert np.abs(centroid(found.label == 1, found.affine) - centre).max() < (0.45 if name == "sheared" else 0.3)  # mm


def test_real_livers_and_spleens_come_back_to_their_place(shared):
    path = shared / "data" / "labels_only" / "totalseg_s0001.nii.gz"
    truth = load_case(path, path)
    working = to_working(truth, THREE)
    back = to_file_grid(one_hot(working.label), working.affine, truth.image.shape, truth.affine)
    # The liver is cut by the top of this tilted scan, where the grids share no slice: measured 0.111 working voxels in
    # z on the way there (0.35 mm after the way back); the spleen's 0.065 (0.24 mm) is as good as uncut livers'.
    for organ, there_limit, back_limit in ((3, 0.12, 0.4), (4, 0.1, 0.3)):
        centre = centroid(truth.label == organ, truth.affine)
        assert voxels_apart(working.label == organ, working.affine, centre) < there_limit
        assert np.abs(centroid(back == organ, truth.affine) - centre).max() < back_limit
        both = ((back == organ) & (truth.label == organ)).sum()
        assert 2 * both / ((back == organ).sum() + (truth.label == organ).sum()) >= 0.95


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SRA", "IPL"])
def test_body_levels_turn_with_the_axis_that_runs_along_the_patient(axes):
    image = np.zeros((2, 3, 4), np.float32)
    image[..., :] = levels = np.array([3, 2, 1, 0])  # from the pelvis up; each slice holds its own level
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes))
    turned = orientations.apply_orientation(image, turn)
    along_z = next(n for n, letter in enumerate(axes) if letter in "SI")
    stored = np.moveaxis(turned, along_z, 0)[:, 0, 0].astype(np.uint8)
    case = Case(turned, None, orientations.inv_ornt_aff(turn, image.shape), "case", body_levels=stored)
    assert case.axes == axes and (list(stored) == list(levels)) == ("S" in axes)
    assert to_canonical(case).body_levels.tolist() == levels.tolist()


def test_half_resolution_covers_the_same_volume():
    affine = np.diag([-1.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = 7, 8, 9
    shape, coarse = half_resolution((4, 5, 1), affine)
    assert shape == (2, 3, 1)
    assert coarse == pytest.approx(np.array([[-2, 0, 0, 6.5], [0, 4, 0, 9], [0, 0, 10, 11.5], [0, 0, 0, 1]]))
    assert affine[0, 0] == -1  # the input stays as it was


# Voxel values


def test_a_fine_pattern_becomes_its_mean_where_plain_subsampling_would_not():
    board = np.where(np.indices((48, 48, 48)).sum(axis=0) % 2, 200, 0).astype(np.float32)
    found = to_working(Case(board, None, np.eye(4), "board"), WorkingGrid((4.0, 4.0, 4.0)))
    assert found.image.shape == (12, 12, 12)
    assert np.abs(found.image - 100).max() < 5
    stripes = np.where(np.indices((48, 48, 48))[0] // 2 % 2, 200, 0).astype(np.float32)  # 4 mm: the grid's own period
    assert np.ptp(stripes[::4, ::4, ::4]) == 0 and stripes[0, 0, 0] == 0
    found = to_working(Case(stripes, None, np.eye(4), "stripes"), WorkingGrid((4.0, 4.0, 4.0)))
    assert np.abs(found.image[1:-1] - 100).max() < 25


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.7, 0.9, 5.0), (4.0, 4.0, 1.0), (3.0, 3.0, 3.0)])
@pytest.mark.parametrize("tilt", [0.0, 1e-9, 1e-2])
def test_smoothing_and_reading_at_once_is_smoothing_and_then_reading(spacing, tilt):
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3], affine[0, 1] = (7.3, -2.1, 40), tilt
    values = np.random.default_rng(0).uniform(-1000, 1500, (40, 37, 23)).astype(np.float32)
    case = Case(values[:, :, ::-1].copy()[:, :, ::-1], None, affine, "noise")
    working = to_working(case, WorkingGrid((3.0,) * 3))
    there = np.linalg.inv(affine) @ working.affine
    step = np.maximum(np.abs(np.diag(there)[:3]), 1)
    smooth = ndimage.gaussian_filter(values, np.sqrt((step**2 - 1) / (8 * np.log(2))), mode="nearest")
    read = ndimage.affine_transform(smooth, there[:3, :3], there[:3, 3], working.image.shape, order=1, mode="nearest")
    inner = (slice(1, -1),) * 3  # at the border there may be air instead
    np.testing.assert_allclose(working.image[inner], read[inner], rtol=0, atol=1e-3)


def test_the_smoothing_has_the_width_of_the_missing_voxel():
    point = np.zeros((40, 40, 41), np.float32)
    point[20, 20, 20] = 1e6
    fine = to_working(
        Case(point, None, np.diag([0.75, 0.75, 3, 1]), "point"), WorkingGrid((3.0, 3.0, 3.0), factor=None)
    )
    assert fine.image.shape == (10, 10, 41)
    assert not fine.image[:, :, 19].any() and fine.image[:, :, 20].any()  # 3 mm slices are not smoothed


@pytest.mark.parametrize("size", [40, 41, 42, 43])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_constant_scan_stays_constant_up_to_its_border(size, factor):
    case = empty((size, 40, size), np.diag([0.75, 0.75, 0.75, 1]), 57.0, np.ones((size, 40, size), np.uint8))
    found = to_working(case, WorkingGrid((factor * 0.75,) * 3, factor=factor))
    ends = places(found.image.shape, found.affine) / 0.75 <= np.reshape(case.image.shape, (3, 1, 1, 1)) - 0.5 + 1e-6
    inside = ends.all(axis=0)  # where a working voxel's centre lies in the scan
    assert inside.mean() > 0.8
    assert found.image[inside] == pytest.approx(57) and np.all(found.image[~inside] == AIR)
    assert np.array_equal(found.label, inside)


@pytest.mark.parametrize("name", ["oblique", "twice oblique", "sheared"])
def test_outside_an_oblique_scan_there_is_air_and_background(name):
    shape, affine = around(CENTRE, GRIDS[name], 60.0)
    found = to_working(empty(shape, affine, 57.0, np.full(shape, 5, np.uint8)), THREE)
    index = np.linalg.inv(affine) @ np.vstack(
        [places(found.image.shape, found.affine).reshape(3, -1), np.ones(found.image.size)]
    )
    beyond = np.maximum(-0.5 - index[:3], index[:3] - (np.reshape(shape, (3, 1)) - 0.5)).max(axis=0)
    beyond = beyond.reshape(found.image.shape)
    assert (beyond > 0.01).mean() > 0.1
    assert np.all(found.image[beyond > 0.01] == AIR) and np.all(found.label[beyond > 0.01] == 0)
    assert found.image[beyond < -0.01] == pytest.approx(57) and np.all(found.label[beyond < -0.01] == 5)


def test_nan_becomes_air_with_a_warning():
    image = np.full((8, 8, 8), 50, np.float32)
    image[2:4, 3, 3], image[6, 6, 6] = np.nan, np.inf
    with pytest.warns(OrgansegWarning, match="made: .*not finite"):
        found = to_working(Case(image, None, np.eye(4), "made"), ONE)
    assert np.all(found.image[2:4, 3, 3] == AIR) and found.image[6, 6, 6] == AIR
    assert (found.image == 50).sum() == 512 - 3


def test_padding_becomes_air_and_does_not_leak_into_the_scan():
    image = np.full((32, 32, 32), 50, np.float32)
    image[:8] = -3024
    for spacing in (1.0, 2.0, 4.0):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # padding is usual
            found = to_working(Case(image, None, np.eye(4), "padded"), WorkingGrid((spacing,) * 3)).image
        edge = int(8 / spacing)
        assert found.min() >= AIR - 0.01 and found.max() <= 50.01  # as float32 rounds
        assert found[0] == pytest.approx(AIR, abs=1) and found[edge + 2 :] == pytest.approx(50, abs=1)
        assert np.all(np.diff(found, axis=0) >= -1e-3)


@pytest.mark.parametrize("name", ["0.8×0.8×5 LPS", "oblique", "sheared"])
def test_labels_get_no_new_ids(name):
    shape, affine = around(CENTRE, GRIDS[name], 40.0)
    label = np.random.default_rng(0).choice(np.array([0, 2, 7], np.uint8), shape)
    found = to_working(empty(shape, affine, label=label), THREE)
    assert found.label.dtype == np.uint8 and set(np.unique(found.label)) == {0, 2, 7}
    back = to_file_grid(one_hot(found.label), found.affine, shape, affine)
    assert set(np.unique(back)) <= {0, 2, 7}


def test_what_belongs_to_a_case_survives_and_levels_do_not():
    case = Case(np.zeros((4, 4, 4), np.float32), None, np.eye(4), "a", (1, 3), np.zeros(4, np.uint8), "anna")
    found = to_working(case, THREE)
    assert (found.name, found.annotated, found.patient, found.label) == ("a", (1, 3), "anna", None)
    assert found.body_levels is None and case.body_levels is not None


def test_normalised_air_is_zero_and_the_window_is_zero_to_one():
    found = normalise(np.array([-3024.0, AIR, -200.0, 50.0, 300.0, 3000.0]))
    assert found.tolist() == [0, 0, 0, 0.5, 1, 1] and found.dtype == np.float32


# The choice of the grid


def test_full_resolution_scans_get_the_papers_factor_and_others_3_mm():
    paper = np.random.default_rng(0).uniform((0.59, 0.59, 0.5), (0.98, 0.98, 1.0), (20, 3))
    grid = choose_grid(paper)
    assert grid.factor == 4 and grid.spacing == pytest.approx(4 * np.median(paper, axis=0))
    assert choose_grid([(3.0, 3.0, 3.0)] * 2) == THREE == choose_grid([])
    assert choose_grid(np.vstack([paper, (0.8, 0.8, 5.0)])) == THREE
    assert choose_grid((1.5, 1.5, 1.5), spacing=6) == WorkingGrid((6.0, 6.0, 6.0))


def test_a_factor_grid_falls_back_on_its_spacing_for_thick_slices():
    grid = WorkingGrid((3.2, 3.2, 3.0), factor=4)
    assert grid.spacing_of((0.7, 0.7, 0.8)) == pytest.approx((2.8, 2.8, 3.2))
    assert grid.spacing_of((0.8, 0.8, 5.0)) == (3.2, 3.2, 3.0)
    assert grid.spacing_of((0.8, 0.8, 0.4)) == (3.2, 3.2, 3.0)
    assert THREE.spacing_of((0.8, 0.8, 0.8)) == (3, 3, 3)


def test_the_papers_voxel_shrinks_on_coarser_grids_only():
    assert WorkingGrid((3.2, 3.2, 3.0), factor=4).paper_voxels == (1, 1, 1)
    assert THREE.paper_voxels == (1, 1, 1) == WorkingGrid((1.5, 2.0, 3.0)).paper_voxels
    assert WorkingGrid((6.0, 4.0, 3.0)).paper_voxels == (0.5, 0.75, 1)


# The slab-by-slab way back against a plain evaluation


@pytest.mark.parametrize("name", ["sagittal", "0.8×0.8×5 LPS", "twice oblique", "sheared"])
def test_the_way_back_equals_a_plain_evaluation_of_all_classes(name):
    shape, affine = around(CENTRE, GRIDS[name], 36.0)
    working = to_working(empty(shape, affine), THREE)
    rng = np.random.default_rng(1)
    logits = 6 * ndimage.gaussian_filter(rng.normal(size=(*working.image.shape, 5)), (1, 1, 1, 0)) / 0.15
    logits[..., 4] -= 300  # a class that wins nowhere
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found = to_file_grid(probabilities.astype(np.float32), working.affine, shape, affine)
    index = places(shape, np.linalg.inv(working.affine) @ affine)
    values = [ndimage.map_coordinates(probabilities[..., c], index, order=1, mode="nearest") for c in range(5)]
    two_best = np.sort(values, axis=0)[-2:]
    clear = two_best[1] - two_best[0] > 1e-5  # float32 may decide a tie either way
    assert clear.mean() > 0.99 and len(np.unique(found)) == 4
    assert np.array_equal(found[clear], np.argmax(values, axis=0)[clear])


def test_background_everywhere_comes_back_as_zeros():
    probabilities = np.zeros((4, 4, 4, 8), np.float32)
    probabilities[..., 0] = 1
    assert not to_file_grid(probabilities, np.eye(4), (6, 6, 6), np.eye(4)).any()


@pytest.mark.parametrize("name", ["imagesTr/amos_0001_slab", "imagesTr/totalseg_slab", "imagesTr/totalseg_s0003"])
def test_the_header_alone_tells_the_canonical_spacing(shared, name):
    path = shared / "data" / "real_ct" / f"{name}_0000.nii.gz"
    assert canonical_spacing(read_affine(path)) == pytest.approx(to_canonical(load_case(path)).spacing)


def test_canonical_spacing_follows_permuted_and_flipped_axes():
    affine = np.array([[0, 0, 5, 0], [-0.5, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1.0]])  # axes P, I, R
    assert canonical_spacing(affine) == (5, 0.5, 2)
    case = Case(np.zeros((4, 5, 6), np.float32), None, affine, "permuted")
    assert canonical_spacing(affine) == to_canonical(case).spacing
