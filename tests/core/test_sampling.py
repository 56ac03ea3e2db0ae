"""Mini-batches: different patients, crops from anywhere or around organs, the same for the same seed and step."""

import numpy as np
import pytest

from organseg.cases import Case
from organseg.device.steps import prefetch
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.sampling import CropSampler
from organseg.scans import to_scan


def make_scan(name, value, size=24, annotated=(1, 2, 3, 4, 5, 6, 7), patient=""):
    """A scan of one HU value, so that a crop says where it came from, with a small organ (3) at one corner."""
    label = np.zeros((size,) * 3, np.uint8)
    label[1:4, 1:4, 1:4] = 3
    image = np.full((size,) * 3, value, np.float32)
    return to_scan(Case(image, label, np.diag([3, 3, 3, 1.0]), name, annotated, patient=patient))


@pytest.fixture
def scans():
    return [make_scan(f"case{i}", value) for i, value in enumerate((-100, 0, 50, 150, 250))]


def test_the_crops_of_a_batch_come_from_different_patients(scans):
    sampler = CropSampler(scans, crop_size=8, augment=False)
    for step in range(30):
        images, _, _ = sampler.batch(step)
        assert len({float(image.mean()) for image in images}) == 3


def test_two_scans_of_one_patient_never_meet_in_a_batch():
    scans = [
        make_scan("a1", -100, patient="a"),
        make_scan("a2", -90, patient="a"),
        make_scan("b", 50),
        make_scan("c", 90),
    ]
    sampler = CropSampler(scans, crop_size=8, augment=False)
    seen = [{round(float(i.mean()) * 500 - 200) for i in sampler.batch(step)[0]} for step in range(30)]
    assert all(not {-100, -90} <= values for values in seen)
    assert {-100, -90} <= set().union(*seen)  # though each has its turn


def test_fewer_patients_than_crops_are_refused_in_one_line(scans):
    with pytest.raises(OrgansegError, match=r"found 2 patients; expected at least 3") as error:
        CropSampler(scans[:2])
    assert "\n" not in str(error.value)


def test_shapes_and_types_of_a_batch(scans):
    images, labels, annotated = CropSampler([*scans[:2], make_scan("part", 0, annotated=(1, 3))], crop_size=8).batch(0)
    assert (images.shape, images.dtype) == ((3, 8, 8, 8, 1), np.float32)
    assert (labels.shape, labels.dtype) == ((3, 8, 8, 8), np.uint8)
    assert sorted(annotated.sum(axis=1)) == [2, 7, 7]
    assert annotated[annotated.sum(axis=1) == 2].tolist() == [[1, 0, 1, 0, 0, 0, 0]]


def test_uniform_crops_reach_every_corner_of_a_scan():
    image = np.zeros((10, 10, 10), np.float32)
    image[...] = np.arange(1000).reshape(10, 10, 10) / 10 - 50
    scans = [to_scan(Case(image, np.zeros(image.shape, np.uint8), np.eye(4), name)) for name in "abc"]
    sampler = CropSampler(scans, crop_size=8, augment=False)
    corners = {float(crop[0, 0, 0, 0]) for step in range(100) for crop in sampler.batch(step)[0]}
    assert len(corners) == 27  # three places along each axis


def test_organ_aware_crops_hold_the_organ_and_uniform_ones_often_do_not(scans):
    def share(organ_share):
        sampler = CropSampler(scans, crop_size=8, augment=False, organ_share=organ_share)
        return np.mean([(crop == 3).any() for step in range(40) for crop in sampler.batch(step)[1]])

    assert share(1.0) == 1.0
    assert share(0.0) < 0.3 < share(0.5) < 0.9


def test_a_scan_smaller_than_a_crop_is_padded_with_air_and_background_and_a_warning():
    small = [make_scan(name, 300, size=6) for name in "abc"]
    with pytest.warns(OrgansegWarning, match="smaller than a crop"):
        sampler = CropSampler(small, crop_size=10, augment=False)
    images, labels, _ = sampler.batch(0)
    assert np.all(images[:, 2:8, 2:8, 2:8] == 1)
    images[:, 2:8, 2:8, 2:8] = 0
    assert np.all(images == 0)
    assert np.all((labels == 3).sum(axis=(1, 2, 3)) == 27)


def test_a_step_draws_the_same_batch_whenever_it_is_asked_for(scans):
    first, again = (CropSampler(scans, crop_size=8, seed=4).batch(17)[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, CropSampler(scans, crop_size=8, seed=5).batch(17)[0])


def test_prefetched_batches_are_the_samplers_and_errors_arrive(scans):
    sampler = CropSampler(scans, crop_size=8)
    for step, batch in zip(range(3, 8), prefetch(sampler.batch, range(3, 8)), strict=True):
        assert np.array_equal(batch[0], sampler.batch(step)[0])
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda step: 1 / step, range(2)))


def test_cases_that_were_not_prepared_are_refused_in_one_line():
    case = Case(np.zeros((8, 8, 8), np.float32), np.zeros((8, 8, 8), np.uint8), np.eye(4), "raw")
    with pytest.raises(OrgansegError, match=r"found a Case; expected a Scan; give to_scan\(to_working"):
        CropSampler([case] * 3, crop_size=8)


def test_a_scan_is_windowed_and_says_which_organs_were_annotated():
    image = np.array([-1000, -200, 50, 300, 3000], np.float32).reshape(5, 1, 1)
    label = np.array([0, 3, 3, 4, 0], np.uint8).reshape(5, 1, 1)
    scan = to_scan(Case(image, label, np.diag([1, 2, 3, 1.0]), "a", annotated=(3, 5)))
    assert scan.image.ravel().tolist() == [0, 0, 0.5, 1, 1] and scan.image.dtype == np.float32
    assert scan.annotated.tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert {organ: list(places) for organ, places in scan.organ_voxels.items()} == {3: [1, 2]}
    assert (scan.patient, scan.spacing) == ("a", (1.0, 2.0, 3.0))
