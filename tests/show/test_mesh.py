"""Surfaces against the volume of a ball, and what a rendering hands to a notebook."""

import base64
import html
import io
import json
import re
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from PIL import Image

from organseg import make_phantom, organ_meshes, render
from organseg.cases import Case
from organseg.errors import OrgansegError
from organseg.show.mesh import PLOTLY, UNIT

SPACING = (2.0, 2.5, 3.0)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = -30, 10, 5


def ball(radius=20.0, organ=3):
    """A ball of this radius in mm in the middle of a volume with long voxels."""
    axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip((31, 25, 21), SPACING, strict=True)]
    squared = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    return np.where(squared <= radius**2, organ, 0).astype(np.uint8)


def volume_of(vertices, triangles):
    """By the divergence theorem; only right for a closed surface whose triangles all turn the same way."""
    a, b, c = vertices[triangles].swapaxes(0, 1)
    return abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6


@pytest.mark.parametrize(("coarsen", "tolerance"), [(0, 0.03), (5, 0.06)])
def test_the_surface_of_a_ball(coarsen, tolerance):
    ((organ, (vertices, triangles)),) = organ_meshes(ball(), AFFINE, coarsen).items()
    assert organ == 3
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    if not coarsen:
        assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}, "closed: each edge has two triangles"
    centre = AFFINE[:3, :3] @ [15, 12, 10] + AFFINE[:3, 3]
    np.testing.assert_allclose(vertices.mean(axis=0), centre, atol=0.5)
    assert np.linalg.norm(vertices - centre, axis=1) == pytest.approx(20, abs=2.5)
    assert volume_of(vertices - centre, triangles) == pytest.approx(4 / 3 * np.pi * 20**3, rel=2 * tolerance)


def test_a_stray_voxel_keeps_its_size_whatever_the_coarsening():
    label = ball()
    label[1, 1, 1] = 3
    for coarsen in (0, 8):
        vertices, _ = organ_meshes(label, AFFINE, coarsen)[3]
        stray = vertices[vertices[:, 2] < 5 + 2 * 3]
        np.testing.assert_allclose(np.ptp(stray, axis=0), SPACING, rtol=1e-6)  # half a voxel to each side
        np.testing.assert_allclose(stray.mean(axis=0), np.array([-30, 10, 5]) + SPACING)


def test_coarser_surfaces_have_fewer_triangles():
    counts = [len(organ_meshes(ball(), AFFINE, cell)[3][1]) for cell in (0, 4, 8)]
    assert counts[0] > 2 * counts[1] > 4 * counts[2] > 0


def test_only_organs_that_are_there_and_cut_ones_closed():
    label = ball()
    label[:16, 0, :] = 5
    meshes = organ_meshes(label, AFFINE)
    assert list(meshes) == [3, 5]


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(6, (96, 72, 80), (4, 4, 5))


def figure_of(case, prediction=None):
    return render(case, prediction)._repr_mimebundle_()[PLOTLY]


@pytest.mark.parametrize(("coarsen", "tolerance"), [(0, 0.1), (5, 0.1), (8, 0.3)])
def test_the_volumes_of_the_organs_stay(coarsen, tolerance, phantom):
    """Vessels too, which are two to three voxels thick; the reference is the number of their voxels."""
    for organ, mesh in organ_meshes(phantom.label, phantom.affine, coarsen).items():
        expected = np.count_nonzero(phantom.label == organ) * 4 * 4 * 5
        assert volume_of(*mesh) == pytest.approx(expected, rel=tolerance), organ
        if organ in (3, 4):  # liver and spleen
            assert volume_of(*mesh) == pytest.approx(expected, rel=0.05)


def arrays_of(trace):
    return {key: np.frombuffer(base64.b64decode(trace[key]["bdata"]), trace[key]["dtype"]) for key in "xyzijk"}


def test_what_a_notebook_stores(phantom):
    moved = np.roll(phantom.label, 2, axis=0)
    bundle = render(phantom, moved)._repr_mimebundle_()
    assert list(bundle) == ["text/plain", PLOTLY, "image/png"]
    assert bundle["text/plain"] == "Rendering of phantom_0006: truth and prediction"
    assert len(json.dumps(bundle)) <= 600_000
    figure = bundle[PLOTLY]
    assert [trace["scene"] for trace in figure["data"]].count("scene2") == 7
    assert sum(trace["showlegend"] for trace in figure["data"]) == 7
    shift = []
    for truth, found in zip(figure["data"][:7], figure["data"][7:], strict=True):
        assert truth["name"] == found["name"] and truth["color"] == found["color"]
        for trace in (truth, found):
            arrays = arrays_of(trace)
            assert max(arrays[corner].max() for corner in "ijk") < len(arrays["x"])
        shift.append((arrays_of(found)["x"].mean() - arrays_of(truth)["x"].mean()) * UNIT)
    assert np.median(shift) == pytest.approx(8, abs=0.5)
    assert render(phantom, moved)._repr_mimebundle_() == bundle


def test_plotly_takes_the_figure(phantom):
    plotly = pytest.importorskip("plotly.graph_objects")
    assert len(plotly.Figure(layout=figure_of(phantom)["layout"]).layout.annotations) == 1


@pytest.mark.parametrize("axes", ["LPS", "PIL"])
def test_every_orientation_gives_the_same_picture(axes, phantom):
    turn = nibabel.orientations.ornt_transform(*map(nibabel.orientations.axcodes2ornt, ("RAS", axes)))
    back = nibabel.orientations.inv_ornt_aff(turn, phantom.image.shape)
    image, label = (nibabel.orientations.apply_orientation(a, turn) for a in (phantom.image, phantom.label))
    turned = Case(image, label, phantom.affine @ back, phantom.name)
    assert figure_of(turned, label) == figure_of(phantom, phantom.label)


def test_the_still_picture_shows_the_right_side_on_the_left():
    label = np.zeros((20, 16, 14), np.uint8)
    label[15:18, 5:8, 9:12] = 3  # right and above
    label[2:5, 5:8, 2:5] = 4  # left and below
    case = Case(np.zeros(label.shape, np.float32), label, np.eye(4), "made")
    picture = Image.open(io.BytesIO(base64.b64decode(render(case)._repr_mimebundle_()["image/png"])))
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    orange = np.argwhere(pixels[..., 0] > pixels[..., 2] + 60).mean(axis=0)
    blue = np.argwhere(pixels[..., 2] > pixels[..., 0] + 60).mean(axis=0)
    assert orange[0] < blue[0] and orange[1] < blue[1]


def test_on_colab_the_script_comes_with_the_output(phantom, monkeypatch):
    figure = figure_of(phantom)
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    bundle = render(phantom)._repr_mimebundle_()
    assert list(bundle) == ["text/plain", "text/html"]
    page = bundle["text/html"]
    assert len(page) > 3e6 and not re.search(r"<(script|link)\s", page), "no script is taken from elsewhere"
    stored = re.search(r'data-figure="([^"]*)"', page).group(1)
    assert json.loads(html.unescape(stored)) == figure


def test_what_cannot_be_rendered_is_said(phantom):
    with pytest.raises(OrgansegError, match="neither"):
        render(replace(phantom, label=None))
    with pytest.raises(OrgansegError, match=r"\(3, 3, 3\)"):
        render(phantom, np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(OrgansegError, match="found no organ"):
        render(replace(phantom, label=np.zeros_like(phantom.label)))
