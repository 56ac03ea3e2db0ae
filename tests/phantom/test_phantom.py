"""The synthetic abdomen: its contract, its anatomy in numbers, and that it is neither random noise nor too easy."""

import zlib

import numpy as np
import pytest
from scipy import ndimage

from organseg.organs import NUM_CLASSES, ORGAN_IDS, ORGANS
from organseg.phantom import BODY_LEVELS, VOLUME_ML, make_phantom
from organseg.phantom.patient import draw_patient

SMALL = (64, 64, 64)
SEEDS = range(20)
AORTA_ID = 1
LIVER_ID = 3

# Medians (HU) over a whole organ, content included; wider than the portal-venous range as the timing differs.
MEDIAN_HU = {
    "artery": (120, 215),
    "vein": (70, 190),
    "liver": (75, 125),
    "spleen": (82, 140),
    "stomach": (0, 60),
    "gallbladder": (5, 35),
    "pancreas": (40, 112),
}

# seed, shape, checksum of the label, voxels per label, HU at some voxels; the same in every supported environment
STORED = [
    (
        11,
        (32, 32, 40),
        4260088484,
        [39455, 68, 20, 1035, 135, 190, 0, 57],
        {(16, 17, 24): 184.02, (21, 16, 28): 12.01, (12, 14, 12): -91.93},
    ),
    (
        12,
        (48, 48, 56),
        1411886166,
        [125066, 186, 65, 2657, 534, 384, 0, 132],
        {(24, 26, 33): 251.90, (31, 24, 40): 148.52, (19, 21, 16): 62.42},
    ),
]


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(seed, SMALL) for seed in SEEDS]


def volumes(case):
    """Millilitres of each label."""
    return np.bincount(case.label.ravel(), minlength=NUM_CLASSES) * np.prod(case.spacing) / 1000


def cut_organs(case):
    """Organs that touch the first or the last slice, so that their volume is not that of the whole organ."""
    return set(np.unique(case.label[:, :, [0, -1]]).tolist()) - {0}


@pytest.mark.parametrize("shape, spacing", [((64, 64, 64), None), ((48, 40, 30), (8.0, 9.5, 12.0))])
def test_contract(shape, spacing):
    case = make_phantom(7, shape, spacing)
    assert case.image.shape == case.label.shape == shape
    assert (case.image.dtype, case.label.dtype, case.body_levels.dtype) == (np.float32, np.uint8, np.uint8)
    assert (case.axes, case.name, case.annotated) == ("RAS", "phantom_0007", ORGAN_IDS)
    if spacing:
        assert case.spacing == pytest.approx(spacing)
    else:
        assert 353 / 64 <= case.spacing[0] <= 415 / 64
        assert 380 / 64 <= case.spacing[2] <= 450 / 64
    assert case.image.min() >= -1024
    assert case.image.max() <= 3071


def test_same_seed_same_phantom_and_other_seed_other_phantom(phantoms):
    again = make_phantom(3, SMALL)
    np.testing.assert_array_equal(again.image, phantoms[3].image)
    np.testing.assert_array_equal(again.label, phantoms[3].label)
    assert len({zlib.crc32(case.label.tobytes()) for case in phantoms}) == len(phantoms)
    assert len({case.spacing for case in phantoms}) == len(phantoms)


def test_finer_grid_shows_the_same_patient():
    coarse, fine = make_phantom(5, (48, 48, 48)), make_phantom(5, (96, 96, 96))
    assert volumes(fine)[1:] == pytest.approx(volumes(coarse)[1:], rel=0.25)
    for organ in (LIVER_ID, 4):
        places = [np.array(ndimage.center_of_mass(case.label == organ)) * case.spacing for case in (coarse, fine)]
        assert np.linalg.norm(places[0] + 0.5 * np.array(coarse.spacing) - places[1] - 0.5 * np.array(fine.spacing)) < 3


@pytest.mark.parametrize("seed, shape, checksum, counts, hu", STORED)
def test_labels_identical_and_hu_close_in_every_environment(seed, shape, checksum, counts, hu):
    case = make_phantom(seed, shape)
    assert np.bincount(case.label.ravel(), minlength=NUM_CLASSES).tolist() == counts
    assert zlib.crc32(case.label.tobytes()) == checksum
    for voxel, value in hu.items():
        assert case.image[voxel] == pytest.approx(value, abs=1)


@pytest.mark.parametrize("organ", ORGANS, ids=lambda organ: organ.name)
def test_volume_of_whole_organs(phantoms, organ):
    low, high = VOLUME_ML[organ.name]
    # Every scan ends within the aorta, so its range is that of the part in the scan.
    whole = [volumes(c)[organ.id] for c in phantoms if organ.id == AORTA_ID or organ.id not in cut_organs(c)]
    present = [volume for volume in whole if volume > 0]
    assert len(present) >= 10
    assert low <= min(present)
    assert max(present) <= high


@pytest.mark.parametrize("organ", ORGANS, ids=lambda organ: organ.name)
def test_median_hu(phantoms, organ):
    low, high = MEDIAN_HU[organ.name]
    medians = [np.median(c.image[c.label == organ.id]) for c in phantoms if (c.label == organ.id).any()]
    assert low <= min(medians)
    assert max(medians) <= high


def test_organs_hang_together(phantoms):
    for case in phantoms:
        for organ in ORGAN_IDS:
            parts, number = ndimage.label(case.label == organ, structure=np.ones((3, 3, 3)))
            if number:
                assert np.bincount(parts.ravel())[1:].max() > 0.85 * (parts > 0).sum(), (case.name, organ)


def test_sides_and_order_of_the_organs(phantoms):
    stomach_in_front = []
    for case in phantoms:
        place = {organ.name: ndimage.center_of_mass(case.label == organ.id) for organ in ORGANS if organ.id != 6}
        assert place["liver"][0] > place["vein"][0] > place["spleen"][0]  # x grows to the patient's right
        assert place["liver"][0] > place["artery"][0] > place["stomach"][0]
        assert place["pancreas"][1] > place["artery"][1]  # y grows to the front
        assert place["spleen"][2] > place["pancreas"][2]  # z grows to the head
        stomach_in_front.append(place["stomach"][1] > place["artery"][1])
    assert np.mean(stomach_in_front) >= 0.9


def test_only_the_gallbladder_may_be_missing(phantoms):
    for seed, case in zip(SEEDS, phantoms, strict=True):
        found = set(np.unique(case.label).tolist()) - {0}
        expected = set(ORGAN_IDS) if draw_patient(seed).has_gallbladder else set(ORGAN_IDS) - {6}
        assert found == expected
    share = np.mean([draw_patient(seed).has_gallbladder for seed in range(100)])
    assert 0.6 < share < 0.95


def test_levels_fall_from_pelvis_to_thorax(phantoms):
    for case in phantoms:
        assert case.body_levels.shape == case.image.shape[2:]
        assert (np.diff(case.body_levels.astype(int)) <= 0).all()
        assert set(case.body_levels.tolist()) == set(range(len(BODY_LEVELS)))
        liver = case.body_levels[(case.label == LIVER_ID).any(axis=(0, 1))]
        assert np.mean(liver == BODY_LEVELS.index("upper abdomen")) > 0.7


def test_iliac_arteries_are_in_the_image_but_not_in_the_label():
    case = make_phantom(2, (96, 96, 112))
    patient = draw_patient(2)
    lowest = np.flatnonzero((case.label == AORTA_ID).any(axis=(0, 1)))[0]
    middle = np.array(ndimage.center_of_mass(case.label[:, :, lowest] == AORTA_ID))
    below = lowest - round(24 / case.spacing[2])
    reach = [round(45 / size) for size in case.spacing[:2]]
    x, y = (slice(int(m) - r, int(m) + r) for m, r in zip(middle, reach, strict=True))
    soft = ndimage.gaussian_filter(case.image[x, y, below], 0.7)
    vessels, _ = ndimage.label((soft > 0.7 * patient.hu("artery")) & (soft < 1.2 * patient.hu("artery")))
    assert not (case.label[:, :, below] == AORTA_ID).any()
    assert vessels.max() >= 2


def dice(prediction, truth):
    scores = []
    for organ in ORGAN_IDS:
        a, b = prediction == organ, truth == organ
        if b.any():
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return np.mean(scores)


def test_neither_hu_alone_nor_position_alone_is_enough(phantoms):
    training, held_out = phantoms[:12], phantoms[12:18]
    bins = np.arange(-1024, 1025, 4)
    of_hu = np.zeros((NUM_CLASSES, len(bins) + 1))
    of_place = np.zeros((NUM_CLASSES, *SMALL))
    for case in training:
        np.add.at(of_hu, (case.label, np.digitize(case.image, bins)), 1)
        of_place += case.label == np.arange(NUM_CLASSES)[:, None, None, None]
    likeliest = (of_hu / of_hu.sum(axis=1, keepdims=True)).argmax(axis=0)
    for table in (of_hu.argmax(axis=0), likeliest):
        assert np.mean([dice(table[np.digitize(c.image, bins)], c.label) for c in held_out]) < 0.45
    for atlas in (of_place.argmax(axis=0), of_place[1:].argmax(axis=0) * (of_place[0] < 9) + (of_place[0] < 9)):
        assert np.mean([dice(atlas, c.label) for c in held_out]) < 0.45
