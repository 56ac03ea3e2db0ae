"""The slice scroller's page: what it holds, decoded as the browser does, is the volume."""

import base64
import html
import io
import json
import re
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image

from organseg import show_volume
from organseg.cases import Case, load_case
from organseg.errors import OrgansegError
from organseg.geometry import to_canonical
from organseg.phantom import make_phantom
from organseg.show.scroller import LABEL_STEP, encode, sheet


def page_of(scroller):
    return scroller._repr_mimebundle_()["text/html"]


def volume_of(page):
    """What the page tells its script."""
    return json.loads(html.unescape(re.search(r'data-volume="([^"]*)"', page).group(1)))


def slices_of(picture, volume):
    """The axial slices of a sheet, as the page's script cuts them: array (slice from the head, row, column)."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    nx, ny, nz = volume["shape"]
    cut = [divmod(k, pixels.shape[1] // nx) for k in range(nz)]
    return np.stack([pixels[row * ny : (row + 1) * ny, place * nx : (place + 1) * nx] for row, place in cut])


def decoded(page):
    """Image in HU and labels, back in canonical order (x, y, z)."""
    volume = volume_of(page)
    image = np.array(volume["hu"])[slices_of(volume["image"], volume)]
    labels = volume["labels"] and slices_of(volume["labels"], volume) // LABEL_STEP
    return image.T[::-1, ::-1, ::-1], labels if labels is None else labels.T[::-1, ::-1, ::-1]


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(1, (96, 96, 112))


def test_the_page_of_a_working_volume_is_small_and_whole(phantom):
    page = page_of(show_volume(phantom))
    assert len(page.encode()) <= 400_000
    assert "http" not in page and "//cdn" not in page and not re.search("%[A-Z]+%", page)
    assert volume_of(page)["shape"] == [96, 96, 112]
    image, labels = decoded(page)
    np.testing.assert_array_equal(labels, phantom.label)
    error = np.abs(image - np.clip(phantom.image, -1024, 1500))
    inside = (phantom.image >= -200) & (phantom.image < 300)
    step = volume_of(page)["step"]
    assert step <= 16 and error[inside].max() <= step / 2 + 0.1 and error.max() <= 2 * step + 0.1


def test_the_same_volume_gives_the_same_bytes(phantom):
    again = show_volume(make_phantom(1, (96, 96, 112)))
    assert page_of(show_volume(phantom)) == page_of(again)
    assert repr(again) == repr(show_volume(phantom))


def test_codes_stand_for_hu_near_by():
    hu = np.arange(-3000, 3000, dtype=np.float32)
    for step in (8, 12, 16, 24, 32):
        codes, values = encode(hu, step)
        assert codes.max() == len(values) - 1 <= 255 and np.all(np.diff(values) > 0)
        error = np.abs(values[codes] - np.clip(hu, -1024, 1500))
        assert error[(hu >= -200) & (hu < 300)].max() <= step / 2 and error.max() <= 2 * step


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIL"])
def test_the_patients_right_is_on_the_left_the_front_above_the_head_first(axes):
    image, label = np.full((20, 16, 7), -1000, np.float32), np.zeros((20, 16, 7), np.uint8)
    image[-1, -1, -1] = 1000
    label[-1, -1, -1] = 5
    turn = nibabel.orientations.ornt_transform(*map(nibabel.orientations.axcodes2ornt, ("RAS", axes)))
    turned = [nibabel.orientations.apply_orientation(array, turn) for array in (image, label)]
    affine = np.diag([2.0, 2.0, 5.0, 1.0]) @ nibabel.orientations.inv_ornt_aff(turn, image.shape)
    volume = volume_of(page_of(show_volume(Case(*turned, affine, "made"))))
    bright = np.argwhere(np.array(volume["hu"])[slices_of(volume["image"], volume)] > 500)
    assert bright.tolist() == np.argwhere(slices_of(volume["labels"], volume)).tolist() == [[0, 0, 0]]
    assert volume["marks"] == ["RL", "AP", "HF"] and volume["spacing"] == [2, 2, 5] and volume["shape"] == [20, 16, 7]
    assert volume["origin"] == [0, 0, 0]


def test_slices_fill_the_sheet_in_order():
    volume = np.arange(1, 3 * 4 * 7 + 1, dtype=np.uint8).reshape(3, 4, 7)
    pixels = sheet(volume)
    np.testing.assert_array_equal(pixels[:4, :3], volume[::-1, ::-1, -1].T)
    np.testing.assert_array_equal(pixels[:4, 3:6], volume[::-1, ::-1, -2].T)
    assert sheet(np.zeros((5, 5, 1))).shape == (5, 5)


def test_spacing_and_millimetres():
    image = np.linspace(-1000, 1000, 8 * 8 * 3).reshape(8, 8, 3)
    unknown, known = show_volume(image), show_volume(image, spacing=(1, 1, 8))
    assert repr(unknown) == "Scroller: 8 × 8 × 3 voxels" and volume_of(page_of(unknown))["origin"] is None
    assert repr(known) == "Scroller: 8 × 8 × 3 voxels of 1 × 1 × 8 mm"
    assert volume_of(page_of(known))["spacing"] == [1, 1, 8]
    labels = np.zeros(image.shape, int)
    labels[0] = 3
    assert repr(show_volume(image, labels)).endswith(" with 1 organ")


def test_labels_may_be_given_beside_a_case(phantom):
    case = replace(phantom, image=phantom.image[::4, ::4, ::8], label=phantom.label[::4, ::4, ::8])
    nothing = np.zeros(case.image.shape, np.int64)
    _, labels = decoded(page_of(show_volume(case, nothing)))
    assert not labels.any() and case.label.any()
    assert volume_of(page_of(show_volume(replace(case, label=None))))["labels"] is None


def test_a_noisy_large_volume_is_made_small_and_says_so():
    noise = np.random.default_rng(0).normal(0, 300, (200, 160, 30)).astype(np.float32)
    shown = show_volume(noise, spacing=(1, 1, 5))
    page = page_of(shown)
    assert len(page.encode()) <= 400_000
    volume = volume_of(page)
    assert max(volume["shape"]) <= 128 and volume["words"] == "200 × 160 × 30 voxels of 1 × 1 × 5 mm"
    assert volume["sent"].startswith(" × ".join(map(str, volume["shape"]))), "the page says what it was made from"
    np.testing.assert_allclose(np.multiply(volume["shape"], volume["spacing"]), [200, 160, 150], rtol=0.03)


@pytest.mark.parametrize("name", ["totalseg_example", "dcmqi_3slice"])
def test_real_scans_are_shown(shared, name):
    folder = shared / "data" / "real_ct"
    case = load_case(folder / "imagesTr" / f"{name}_0000.nii.gz", folder / "labelsTr" / f"{name}.nii.gz")
    page = page_of(show_volume(case))
    assert len(page.encode()) <= 400_000
    volume, (_, labels) = volume_of(page), decoded(page)
    view = to_canonical(case)
    sent = np.multiply(volume["shape"], volume["spacing"])
    np.testing.assert_allclose(sent, np.multiply(view.image.shape, view.spacing), rtol=0.05)
    assert set(np.unique(labels)) == set(np.unique(case.label))


HU = np.linspace(-1000, 1000, 4 * 4 * 4).reshape(4, 4, 4)
BAD = {
    "2-D": ((HU[0],), {}, "expected .x, y, z."),
    "labels elsewhere": ((HU, np.zeros((4, 4, 3), int)), {}, "found labels of shape"),
    "unknown ids": ((HU, np.full(HU.shape, 8)), {}, "found label ids 8; expected 0 to 7"),
    "probabilities": ((HU, np.full(HU.shape, 0.5)), {}, "found label ids 0.5; expected 0 to 7"),
    "normalised": ((HU / 4000 + 0.5,), {}, "expected HU"),
    "plane": ((HU,), {"plane": "oblique"}, "expected one of 'axial', 'coronal', 'sagittal'"),
    "window": ((HU,), {"window": "brain"}, "expected one of 'soft tissue'"),
    "opacity": ((HU,), {"opacity": 40}, "expected 0"),
    "spacing beside a case": ((Case(HU, None, np.eye(4), "made"),), {"spacing": (1, 1, 1)}, "leave it out"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_is_said_in_one_line(name):
    given, options, words = BAD[name]
    with pytest.raises(OrgansegError, match=words) as error:
        show_volume(*given, **options)
    assert "\n" not in str(error.value)
