"""Drawn patients that differ as real ones do, and crops of them as other scanners would show them."""

from dataclasses import fields, replace

import numpy as np
import pytest

from organseg.cases import Case
from organseg.organs import ORGAN_IDS
from organseg.phantom import abdomen, make_phantom
from organseg.phantom.crops import Disturbances, VariedSampler, draw_cut, scan_anew
from organseg.phantom.variety import Variety, draw_contrast, draw_varied_patient
from organseg.scans import to_scan

SHAPE, SPACING = (48, 48, 56), (8.0, 8.0, 8.0)
SEEDS = range(60)
NONE = Variety(contrast=False, shapes=False, contents=False)
UNDISTURBED = Disturbances(*[False] * len(fields(Disturbances)))


@pytest.fixture(scope="module")
def patients():
    return [draw_varied_patient(seed) for seed in SEEDS]


def test_a_patient_without_variety_is_that_of_the_course_but_for_noise():
    case = make_phantom(3, SHAPE, SPACING, NONE)
    plain = make_phantom(3, SHAPE, SPACING)
    assert np.array_equal(case.label, plain.label)
    apart = (case.image - plain.image)[plain.label > 0]
    assert abs(apart.mean()) < 0.5 and 1 < apart.std() < 14  # its noise is 8 to 14 HU at 3 mm, less at 8


def test_the_same_seed_is_the_same_patient_and_the_groups_do_not_change_each_other(patients):
    again = draw_varied_patient(7)
    assert again.drawn_hu == patients[7].drawn_hu and np.array_equal(again.scale, patients[7].scale)
    no_contrast = draw_varied_patient(7, Variety(contrast=False))
    assert np.array_equal(no_contrast.scale, again.scale) and no_contrast.drawn_hu is None
    assert len(no_contrast.strands) == len(again.strands)
    assert draw_varied_patient(7, Variety(contents=False)).drawn_hu == again.drawn_hu


def test_contrast_goes_from_none_to_early_arterial():
    """Without an agent blood has 30 to 60 HU (ACR, textbooks), in the arterial phase an aorta 200 to 400 and more."""
    drawn = [draw_contrast(np.random.default_rng(seed)) for seed in range(400)]
    plain = [hu for hu, enhanced in drawn if not enhanced]
    artery = np.array([hu["artery"] for hu, _ in drawn])
    assert 0.25 < len(plain) / len(drawn) < 0.41
    assert all(abs(hu["artery"] - hu["vein"]) < 12 for hu in plain)
    assert np.mean([30 < hu["artery"] < 60 for hu in plain]) > 0.9
    assert artery.max() > 330 and np.percentile(artery, 99) < 450
    arterial = [hu for hu, enhanced in drawn if enhanced and hu["artery"] > hu["vein"] + 60]
    portal = [hu for hu, enhanced in drawn if enhanced and abs(hu["artery"] - hu["vein"]) < 20]
    assert len(arterial) > 20 and len(portal) > 20


def test_some_patients_lack_an_organ_and_some_are_lean_or_fat(patients):
    assert 0.05 < np.mean([not p.has_gallbladder for p in patients]) < 0.45
    assert any(not p.has_spleen for p in map(draw_varied_patient, range(120)))
    fat = [p.fat for p in patients]
    assert min(fat) < 8 and max(fat) > 30
    assert {p.tissue.food > 0 for p in patients} == {True, False}
    assert any(p.stomach_content > 80 for p in patients)


def test_a_missing_spleen_and_a_resected_stomach_are_not_painted(monkeypatch):
    seed = next(seed for seed in range(200) if not draw_varied_patient(seed).has_spleen)
    assert not (make_phantom(seed, SHAPE, SPACING, Variety()).label == 4).any()
    seed = next(s for s in range(200) if draw_varied_patient(s).stomach_length < 7)
    patient = draw_varied_patient(seed)
    volumes = []
    for length in (patient.stomach_length, 7):
        monkeypatch.setattr(abdomen, "draw_varied_patient", lambda *_, n=length: replace(patient, stomach_length=n))
        volumes.append((make_phantom(seed, SHAPE, SPACING, Variety()).label == 5).sum())
    assert 0 < volumes[0] < 0.9 * volumes[1]


@pytest.mark.parametrize("seed", [10, 11, 12, 13])
def test_organs_have_the_hu_that_were_drawn_for_them(seed):
    patient = draw_varied_patient(seed)
    case = make_phantom(seed, (64, 64, 72), (6.0, 6.0, 6.0), Variety())
    for organ, name in ((3, "liver"), (4, "spleen")):
        if (case.label == organ).sum() > 200:
            assert np.median(case.image[case.label == organ]) == pytest.approx(patient.hu(name), abs=16)


# Crops


@pytest.fixture(scope="module")
def scans():
    cases = [make_phantom(seed, SHAPE, SPACING, Variety()) for seed in (20, 21, 22)]
    return [replace(to_scan(case), image=np.rint(case.image).astype(np.int16)) for case in cases]


def sampler(scans, disturbances=None, **options):
    options = {"crop_size": 24, "batch_size": 3, "organ_share": 0.6, "seed": 4} | options
    chosen = disturbances or Disturbances()
    return VariedSampler(scans, ["drawn"] * len(scans), {"drawn": 1.0}, chosen, **options)


def test_undisturbed_crops_hold_the_windowed_voxels_of_the_scan(scans):
    gradient = np.arange(24 * 26 * 28, dtype=np.float32).reshape(24, 26, 28) % 400 - 150
    case = Case(gradient, np.ones(gradient.shape, np.uint8), np.eye(4), "a")
    scan = replace(to_scan(case), image=gradient)
    images, labels, annotated = sampler([scan], UNDISTURBED, batch_size=1, crop_size=9).batch(0)
    assert images.shape == (1, 9, 9, 9, 1) and annotated.shape == (1, 7)
    steps = np.diff(images[0, ..., 0], axis=2)[labels[0, :, :, 1:] > 0]
    assert np.median(steps) == pytest.approx(1 / 500, abs=1e-4)  # 1 HU from voxel to voxel, of a window of 500


def test_a_step_has_its_own_crops_and_always_the_same(scans):
    one, other = sampler(scans), sampler(scans)
    for a, b in zip(one.batch(3), other.batch(3), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.batch(3)[0], one.batch(4)[0])
    images, labels, annotated = one.batch(5)
    assert (images.dtype, labels.dtype, annotated.dtype) == (np.float32, np.uint8, np.float32)
    assert images.min() >= 0 and images.max() <= 1
    assert set(np.unique(labels)) <= {0, *ORGAN_IDS}


def test_kinds_of_scans_have_the_shares_that_were_asked_for(scans):
    shares = {"often": 0.8, "seldom": 0.2}
    chosen = [replace(scan, annotated=np.full(7, k, np.float32)) for k, scan in enumerate(scans[:2])]
    several = VariedSampler(chosen, ["often", "seldom"], shares, UNDISTURBED, crop_size=8, batch_size=2, seed=0)
    drawn = np.concatenate([several.batch(step)[2][:, 0] for step in range(90)])
    assert np.mean(drawn == 0) == pytest.approx(0.8, abs=0.1)


def test_what_is_cut_off_is_air_and_background_and_nothing_else_changes(scans):
    options = {"batch_size": 1, "crop_size": 32}
    plain, cut = sampler(scans, UNDISTURBED, **options), sampler(scans, replace(UNDISTURBED, cuts=True), **options)
    shares = []
    for step in range(40):
        (before, before_label, _), (after, after_label, _) = plain.batch(step), cut.batch(step)
        changed = (before != after)[..., 0]
        shares.append(changed.mean())
        assert not after[changed].any() and not after_label[changed].any()
        assert np.array_equal(before_label[~changed & (after_label > 0)], after_label[~changed & (after_label > 0)])
    assert 0.15 < np.mean(np.array(shares) > 0) < 0.6 and max(shares) > 0.2


def test_a_slab_has_a_slice_or_more_and_a_field_of_view_keeps_the_middle():
    shape = (48, 48, 48)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    cuts = [draw_cut(np.random.default_rng(seed), places, shape) for seed in range(200)]
    assert 0.4 < np.mean([cut is None for cut in cuts]) < 0.7
    kept = [~cut.all(axis=(0, 1)) for cut in cuts if cut is not None]
    assert min(slices.sum() for slices in kept) >= 1 and max(slices.sum() for slices in kept) == 48
    assert all(np.ptp(np.flatnonzero(slices)) + 1 == slices.sum() for slices in kept if slices.any())


def test_a_scanner_adds_2_to_28_hu_of_noise_and_keeps_the_mean():
    flat = np.full((32, 32, 32), 50, np.float32)
    stds = [scan_anew(np.random.default_rng(seed), flat).std() for seed in range(60)]
    assert np.mean(np.array(stds) < 0.1) < 0.25  # one in ten has none
    noisy = [std for std in stds if std > 0.1]
    assert min(noisy) > 1.9 and max(noisy) < 29 and max(noisy) > 15
    means = [scan_anew(np.random.default_rng(seed), flat).mean() for seed in range(20)]
    assert np.allclose(means, 50, atol=1.5)
