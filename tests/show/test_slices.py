"""Pictures, checked by their numbers: which way round, which slice, which proportions, which colours."""

import base64
from dataclasses import replace

import matplotlib.image
import nibabel
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from matplotlib.colors import to_rgb

from organseg.cases import Case, load_case
from organseg.errors import OrgansegError
from organseg.geometry import to_canonical
from organseg.organs import ORGANS
from organseg.show import slices
from organseg.show.picture import Picture


def make_case(shape=(20, 16, 12), spacing=(2.0, 2.0, 3.0), axes="RAS", annotated=(1, 2, 3, 4, 5, 6, 7)):
    """Liver at the patient's right, front and head; stomach at the left, back and feet; stored in the given axes."""
    x, y, z = shape
    image, label = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    label[-x // 4 :, -y // 4 :, -z // 4 :] = 3
    label[: x // 4, : y // 4, : z // 4] = 5
    case = Case(image, label, np.diag([*spacing, 1.0]), "made", annotated)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    arrays = [nibabel.orientations.apply_orientation(array, turn) for array in (image, label)]
    return Case(*arrays, case.affine @ nibabel.orientations.inv_ornt_aff(turn, shape), "made", annotated)


def organ_corner(picture, organ_id):
    """Which corner of a picture holds an organ's colour, e.g. 'upper left', or None."""
    rows, columns = np.nonzero(np.isclose(picture, to_rgb(ORGANS[organ_id - 1].colour), atol=1e-6).all(axis=-1))
    if not rows.size:
        return None
    vertical = "upper" if rows.mean() < picture.shape[0] / 2 else "lower"
    return vertical + (" left" if columns.mean() < picture.shape[1] / 2 else " right")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAI", "SAR", "PIL"])
def test_any_axis_order_gives_the_canonical_view(axes):
    case, expected = make_case(axes=axes), make_case()
    view = to_canonical(case)
    assert case.axes == axes and view.axes == "RAS"
    np.testing.assert_array_equal(view.label, expected.label)
    np.testing.assert_allclose(view.affine, expected.affine)


@pytest.mark.parametrize(
    ("plane", "index", "organ", "corner"),
    [
        ("axial", -1, 3, "upper left"),  # right is on the left, the front is up
        ("axial", 0, 5, "lower right"),
        ("coronal", -1, 3, "upper left"),  # right is on the left, the head is up
        ("coronal", 0, 5, "lower right"),
        ("sagittal", -1, 3, "upper left"),  # the front is on the left, the head is up
        ("sagittal", 0, 5, "lower right"),
        ("axial", 6, 3, None),
    ],
)
@pytest.mark.parametrize("axes", ["RAS", "LAI"])
def test_pictures_are_in_radiological_view(plane, index, organ, corner, axes):
    view = to_canonical(make_case(axes=axes))
    picture = slices.slice_picture(view, plane, index, opacity=1)
    across, down = [n for axis, n in enumerate(view.image.shape) if axis != slices.PLANES[plane]]
    assert picture.shape == (down, across, 3)
    assert organ_corner(picture, organ) == corner


def test_the_window_is_soft_tissue_and_survives_nan():
    case = make_case(shape=(7, 1, 1))
    image = np.array([-3024, -160, 40, 240, 3000, np.nan, -np.inf], np.float32).reshape(7, 1, 1)
    picture = slices.slice_picture(replace(case, image=image, label=None), "axial", 0)
    np.testing.assert_allclose(picture[0, ::-1, 0], [0, 0, 0.5, 1, 1, 0, 0])


SLICES = {  # organs (x, y, z ranges, id), expected axial slice of 10
    "none: the middle": ([], 5),
    "the only one": ([(2, 4, 7, 8, 3)], 7),
    "two kinds beat a large one": ([(0, 8, 1, 2, 3), (0, 2, 6, 7, 1), (4, 5, 6, 7, 2)], 6),
    "of equals, the larger share": ([(0, 2, 3, 6, 4), (0, 6, 4, 5, 4)], 4),
}


@pytest.mark.parametrize("name", SLICES)
def test_the_slice_with_most_kinds_of_organs_is_shown(name):
    organs, expected = SLICES[name]
    label = np.zeros((9, 9, 10), np.uint8)
    for start, stop, first, last, organ in organs:
        label[start:stop, start:stop, first:last] = organ
    assert slices.best_slice(label, "axial") == expected
    assert slices.best_slice(label.transpose(2, 0, 1), "sagittal") == expected
    assert slices.best_slice(label.transpose(0, 2, 1), "coronal") == expected


def sizes_in_inches(figure):
    return [axes.get_position().size * figure.get_size_inches() for axes in figure.axes]


def words(figure):
    return [text.get_text() for text in figure.texts]


def test_truth_and_prediction_stand_side_by_side_in_mm():
    case = make_case(axes="LPS")
    figure = slices.overlay_figure(case, np.zeros_like(case.label))
    assert {"truth", "prediction", "R", "L", "A", "P", "H", "F"} <= set(words(figure))
    sizes = sizes_in_inches(figure)
    assert len(sizes) == 6
    for pair, mm in zip((sizes[:2], sizes[2:4], sizes[4:]), [(40, 32), (40, 36), (32, 36)], strict=True):
        np.testing.assert_allclose(pair[0], pair[1])
        assert pair[0][0] / pair[0][1] == pytest.approx(mm[0] / mm[1])
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert left.get_position().y0 == right.get_position().y0 and left.get_position().x1 < right.get_position().x0
        assert not np.array_equal(left.images[0].get_array(), right.images[0].get_array())


def test_no_two_words_overlap_and_none_leaves_the_picture(tmp_path):
    cases = [make_case(), make_case(spacing=(0.5, 0.5, 20)), make_case((64, 64, 3), (1, 1, 1)), make_case((7, 5, 3))]
    cases += [make_case((3, 40, 40)), make_case(annotated=(3,)), make_case(annotated=(1, 2, 4, 5))]
    cases = [replace(case, name="a_rather_long_name_of_a_case_as_hospitals_give_them_0001") for case in cases]
    figures = [slices.overlay_figure(case, case.label) for case in cases]
    for figure in [*figures, slices.overlay_figure(replace(cases[0], label=None))]:
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.texts]
        boxes += [legend.get_window_extent() for legend in figure.legends]
        pictures = [axes.get_window_extent() for axes in figure.axes]
        for number, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[:number] + pictures)


@pytest.mark.parametrize(
    ("annotated", "title"),
    [
        ((1, 2, 3, 4, 5, 6, 7), "truth"),
        ((1, 3, 4, 5, 6, 7), "truth (not annotated: vein)"),
        ((3,), "truth (only liver annotated)"),
        ((), "truth (nothing annotated)"),
    ],
)
def test_the_title_says_which_organs_are_unknown(annotated, title):
    assert title in words(slices.overlay_figure(make_case(annotated=annotated)))


def test_a_thin_slab_is_stretched_and_says_so():
    figure = slices.overlay_figure(make_case((64, 64, 3), (1, 1, 1)))
    assert any(text == "axial, slice 3 of 3" for text in words(figure))
    assert any(text.endswith("z stretched ×2.7") for text in words(figure))
    across, down = sizes_in_inches(figure)[1]
    assert across / down == pytest.approx(slices.MOST_ELONGATED)


def test_the_slices_follow_the_truth_or_else_the_prediction():
    case = make_case()
    prediction = np.zeros_like(case.label)
    prediction[:, :, 2] = 4
    empty = replace(case, label=np.zeros_like(case.label))
    for shown in (replace(case, label=None), empty):
        assert "axial, slice 3 of 12" in words(slices.overlay_figure(shown, prediction))
    assert "axial, slice 7 of 12" in words(slices.overlay_figure(replace(case, label=None)))


def test_a_prediction_on_another_grid_is_refused():
    with pytest.raises(OrgansegError, match=r"\(3, 3, 3\).*\(20, 16, 12\)"):
        slices.overlay_figure(make_case(), np.zeros((3, 3, 3)))


def test_every_organ_keeps_its_colour_in_the_file(tmp_path):
    case = make_case((64, 64, 40))
    for place, organ in enumerate(ORGANS):
        case.label[:, 8 * place + 8 : 8 * place + 16] = organ.id
    slices.save_overlay(case, case.label, tmp_path / "new" / "made.png", opacity=1)
    pixels = matplotlib.image.imread(tmp_path / "new" / "made.png")[..., :3]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["made.png"]
    assert (pixels[0] == 0).all() and (pixels[:, 0] == 0).all()
    for organ in ORGANS:
        near = np.abs(pixels - to_rgb(organ.colour)).max(axis=-1) < 0.02
        assert near.sum() > 1000, organ.name


# What remains of (red, green, blue) with full colour-blindness: Machado, Oliveira and Fernandes 2009, table 1.
SEEN_BY = {
    "most": np.eye(3),
    "protanopes": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopes": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6727, 0.0472], [-0.0118, 0.0429, 0.9689]],
}


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_organ_colours_differ_over_soft_tissue(eyes):
    tints = np.array([0.5 * np.array(to_rgb(organ.colour)) + 0.25 for organ in ORGANS]) @ np.array(SEEN_BY[eyes]).T
    apart = np.linalg.norm(tints[:, None] - tints[None], axis=-1) + np.eye(len(ORGANS))
    assert apart.min() > 0.09


@pytest.mark.parametrize("axes", [True, False], ids=["with axes", "without axes"])
def test_a_notebook_shows_a_figure_by_itself(axes):
    """Where pyplot is at work, IPython asks it for every figure, and it shows none that has no axes."""
    figure = slices.overlay_figure(make_case()) if axes else Picture(2, 1)
    shell = InteractiveShell()
    select_figure_formats(shell, {"png"})
    shown, _ = shell.display_formatter.format(figure)
    content = shown["image/png"]
    content = base64.b64decode(content) if isinstance(content, str) else content  # pyplot's, or ours
    assert bool(figure.axes) == axes and content.startswith(b"\x89PNG")


REAL = ["real_ct/imagesTr/totalseg_example_0000.nii.gz", "real_ct/imagesTr/dcmqi_3slice_0000.nii.gz"]
AWKWARD = ["awkward/niivue_low_res.nii.gz", "awkward/niivue_CT_pitch.nii.gz", "awkward/niivue_shear.nii.gz"]


@pytest.mark.parametrize("path", REAL + AWKWARD)
def test_real_and_awkward_scans_give_a_small_file(shared, tmp_path, path):
    image = shared / "data" / path
    label = shared / "data" / path.replace("imagesTr", "labelsTr").replace("_0000", "")
    case = load_case(image, label if path in REAL else None)
    slices.save_overlay(case, case.label, tmp_path / "case.png")
    assert (tmp_path / "case.png").stat().st_size < 300_000
