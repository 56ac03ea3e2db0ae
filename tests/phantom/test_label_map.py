"""Real label maps painted with drawn HU: the labels stay, the HU are those drawn, everything lies in a body."""

import json

import nibabel
import numpy as np
import pytest

from organseg.errors import OrgansegError
from organseg.organs import ORGAN_IDS
from organseg.phantom.label_map import LabelMap
from organseg.phantom.variety import draw_contrast

IDS = {
    "aorta": 7,
    "liver": 9,
    "stomach": 4,
    "vertebrae_L1": 30,
    "lung_lower_lobe_left": 12,
    "colon": 5,
    "humerus_left": 40,
}


def box(voxels, number, low, high):
    voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = number


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small map of 1.5 mm: boxes for organs in a body of 90 × 75 × 60 mm."""
    folder = tmp_path_factory.mktemp("map")
    voxels = np.zeros((90, 72, 48), np.uint8)
    box(voxels, IDS["liver"], (50, 20, 8), (80, 60, 40))
    box(voxels, IDS["stomach"], (12, 30, 8), (40, 62, 40))
    box(voxels, IDS["aorta"], (42, 22, 0), (49, 29, 48))
    box(voxels, IDS["vertebrae_L1"], (36, 6, 0), (54, 20, 20))
    box(voxels, IDS["colon"], (12, 8, 4), (30, 26, 44))
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1])), folder / "small.nii.gz")
    (folder / "small.json").write_text(json.dumps(IDS), encoding="utf-8")
    return folder / "small.nii.gz"


@pytest.fixture(scope="module")
def small(path):
    return LabelMap(path)


def test_the_seven_organs_have_this_projects_ids_and_their_volume(small, path):
    label = small.paint(0).label
    stored = np.asarray(nibabel.load(path).dataobj)
    assert set(np.unique(label)) == {0, 1, 3, 5}
    for organ, name in ((1, "aorta"), (3, "liver"), (5, "stomach")):
        ml = (label == organ).sum() * 64, (stored == IDS[name]).sum() * 1.5**3
        assert ml[0] == pytest.approx(ml[1], rel=0.25)


@pytest.mark.parametrize("seed", range(6))
def test_organs_have_the_hu_that_were_drawn_and_air_lies_around_the_body(small, seed):
    case = small.paint(seed)
    hu, _ = draw_contrast(np.random.default_rng([seed, 7]))
    assert np.median(case.image[case.label == 3]) == pytest.approx(hu["liver"], abs=12)
    assert np.percentile(case.image[case.label == 1], 70) == pytest.approx(hu["artery"], abs=40)
    assert (case.image[[0, 0, -1, -1], [0, -1, 0, -1]] == -1000).all()  # the corners
    assert np.mean(case.image < -900) > 0.1
    assert case.annotated == ORGAN_IDS and case.spacing == (4.0, 4.0, 4.0)
    assert case.image.min() >= -1000 and np.isfinite(case.image).all()


def test_another_seed_has_another_brightness_and_the_same_shape(small):
    one, other, again = small.paint(0), small.paint(1), small.paint(0)
    assert np.array_equal(one.image, again.image) and not np.array_equal(one.image, other.image)
    assert np.array_equal(one.label, other.label) and one.name != other.name and one.patient == other.patient


def test_a_map_without_its_names_or_of_another_size_is_refused(path, tmp_path):
    lonely = tmp_path / "lonely.nii.gz"
    lonely.write_bytes(path.read_bytes())
    with pytest.raises(OrgansegError, match=r"found no lonely\.json"):
        LabelMap(lonely)
    (tmp_path / "coarse.json").write_text(json.dumps(IDS), encoding="utf-8")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), np.diag([3.0, 3, 3, 1])), tmp_path / "coarse.nii.gz")
    with pytest.raises(OrgansegError, match=r"other voxels than 1\.5 mm in RAS"):
        LabelMap(tmp_path / "coarse.nii.gz")


def test_a_real_map_keeps_its_organs(shared):
    """Volumes (ml) counted in the file at 1.5 mm, against those that come out at 4 mm."""
    file = shared / "data" / "labels_full" / "totalseg_s0006_all.nii.gz"
    ids = json.loads(file.with_name("totalseg_s0006_all.json").read_text(encoding="utf-8"))
    stored = np.asarray(nibabel.load(file).dataobj)
    label = LabelMap(file).label
    for organ, name in ((3, "liver"), (4, "spleen"), (7, "pancreas")):
        found = (label == organ).sum() * 0.064
        assert found == pytest.approx((stored == ids[name]).sum() * 1.5**3 / 1000, rel=0.06)
