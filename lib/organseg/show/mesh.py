"""Organs in three dimensions, to turn in the browser: truth beside prediction, as in Fig. 5.

scikit-image finds the surfaces, plotly draws them. A notebook stores the surfaces and a still
picture, not plotly's script of several MB: JupyterLab and VS Code have a plotly of their own; on
Colab the script comes with the live output; the book's pages share one copy
(`book/extensions/renderings.py`). `mesh.js` adds keys, and two views that turn together.
"""

import json
import sys

import numpy as np
from PIL import Image
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots
from scipy import ndimage
from skimage.measure import marching_cubes, regionprops
from skimage.transform import downscale_local_mean

from organseg.errors import OrgansegError
from organseg.organs import ORGANS
from organseg.show.picture import Shown, as_text, fill_page, png, read_file
from organseg.show.slices import COLOURS, truth_and_prediction

PLOTLY = "application/vnd.plotly.v1+json"
LARGEST = 520_000  # letters of the surfaces; with layout and still picture less than 600 kB
COARSENINGS = (0, 4, 5, 6, 8, 10, 12, 16, 24)  # mm: the first that fits is sent
FEWEST_CELLS = 8  # a small piece gets smaller cells, so that it has at least so many
UNIT = 0.1  # mm; coordinates are sent as 16-bit integers


def organ_meshes(label, affine, coarsen=0.0):
    """The surfaces of the organs of a label image (x, y, z) with an affine (4, 4) to mm: a dict of
    the organs that are there, id to (vertices, triangles), a float array (n, 3) in mm and an
    integer array (m, 3) of indices of vertices.

    Each connected piece of an organ is smoothed by a Gaussian and cut by marching cubes (Lorensen
    and Cline 1987) at the height that leaves as many voxels inside as before. So the steps go, the
    volume stays, and a single voxel can still be seen. `coarsen` is the edge in mm of the cells
    into which voxels are averaged beforehand; 0 keeps the voxels.

    >>> label = np.pad([[[3]]], 2)
    >>> vertices, triangles = organ_meshes(label, np.eye(4))[3]
    >>> len(vertices), len(triangles)
    (6, 8)
    """
    meshes, spacing = {}, np.linalg.norm(affine[:3, :3], axis=0)
    for organ, box in zip(ORGANS, ndimage.find_objects(label, len(ORGANS)), strict=True):
        if box is None:
            continue
        vertices, triangles = np.empty((0, 3)), np.empty((0, 3), int)
        corner = [axis.start for axis in box]
        pieces, _ = ndimage.label(label[box] == organ.id, np.ones((3, 3, 3)))
        for piece in regionprops(pieces):
            places, corners = _surface(piece.image, spacing, coarsen)
            triangles = np.concatenate([triangles, corners + len(vertices)])
            vertices = np.concatenate([vertices, places + corner + piece.bbox[:3]])
        meshes[organ.id] = vertices @ affine[:3, :3].T + affine[:3, 3], triangles
    return meshes


def _surface(mask, spacing, coarsen):
    """Vertices, in voxel indices, and triangles of one piece."""
    count = np.count_nonzero(mask)
    edge = min(coarsen, np.cbrt(count * spacing.prod() / FEWEST_CELLS))
    cell = np.maximum(np.rint(edge / spacing), 1).astype(int)  # in voxels
    margin = 3 * cell  # room for the Gaussian, also where the scan ends
    padded = np.pad(mask.astype(np.float32), np.stack([margin, margin], axis=1))
    smooth = ndimage.gaussian_filter(downscale_local_mean(padded, tuple(cell)), 1)
    inside = max(round(count / cell.prod()), 1)
    height = np.partition(smooth, (-inside - 1, -inside), axis=None)[[-inside - 1, -inside]].mean()
    vertices, triangles, _, _ = marching_cubes(smooth, height)
    return (vertices + 0.5) * cell - 0.5 - margin, triangles


def render(case, prediction=None):
    """The organs of a case in three dimensions, truth and prediction side by side; turn them with
    mouse or keys. A notebook shows them if this is the last line of a cell.

    `case` may have any orientation; the truth is its label, if it has one. `prediction` is an array
    (x, y, z) of organ ids on the case's grid, or None. OrgansegError: there is no organ in either.

    >>> from organseg import make_phantom
    >>> render(make_phantom(3, (32, 32, 32)))
    Rendering of phantom_0003: truth
    """
    views = truth_and_prediction(case, prediction)
    if not any(view.label.any() for view in views.values()):
        found = "no organ" if views else "neither a label nor a prediction"
        raise OrgansegError(f"{case.name}: found {found}; expected a voxel of one; give a label")
    words = f"Rendering of {case.name}: {' and '.join(views)}"
    labels, affine = [view.label for view in views.values()], next(iter(views.values())).affine
    figure, still = _figure(labels, affine, list(views)), _still(labels, affine)
    if "google.colab" not in sys.modules:
        return Shown(words, {PLOTLY: figure, "image/png": still})
    # There an output has a page of its own, without a plotly.
    page = fill_page("mesh.html", figure, still, words)
    config = "window.PlotlyConfig = {MathJaxConfig: 'local'};"
    for script in (config, get_plotlyjs(), read_file("mesh.js")):
        page += f"<script>{script}</script>"
    return Shown(words, {"text/html": page})


def _figure(labels, affine, titles):
    """What plotly draws, as a dict: data, layout and config."""
    for coarsen in COARSENINGS:
        views = [organ_meshes(label, affine, coarsen) for label in labels]
        scenes = zip(("scene", "scene2"), views, strict=False)
        traces = [_trace(scene, *mesh) for scene, view in scenes for mesh in view.items()]
        if len(json.dumps(traces)) <= LARGEST:
            break
    names = [trace["name"] for trace in traces]
    for number, name in enumerate(names):  # the legend names each organ once
        traces[number]["showlegend"] = name not in names[:number]
    vertices = np.concatenate([vertices for view in views for vertices, _ in view.values()])
    spans = np.rint(np.stack([vertices.min(axis=0), vertices.max(axis=0)], axis=1) / UNIT)
    axes = [{"visible": False, "showspikes": False, "range": span.tolist()} for span in spans]
    ratio = (np.ptp(spans, axis=1) / np.ptp(spans, axis=1).max()).round(4).tolist()
    # From the front, the patient's right on the left; one mm is as long in both views.
    scene = {"camera": {"eye": {"x": 0, "y": 1.45, "z": 0.2}, "up": {"x": 0, "y": 0, "z": 1}}}
    scene |= {"aspectmode": "manual", "aspectratio": dict(zip("xyz", ratio, strict=True))}
    scene |= dict(zip(("xaxis", "yaxis", "zaxis"), axes, strict=True))
    places = {"specs": [[{"type": "scene", "b": 0.04}] * len(titles)], "horizontal_spacing": 0.04}
    figure = make_subplots(1, len(titles), subplot_titles=titles, **places).update_scenes(scene)
    legend = {"orientation": "h", "y": 0, "yanchor": "top", "x": 0.5, "xanchor": "center"}
    layout = {"margin": {"l": 0, "r": 0, "t": 30, "b": 0}, "legend": legend, "template": "none"}
    figure.update_layout(layout, height=460, modebar_orientation="v")  # beside the titles
    config = {"displaylogo": False, "scrollZoom": False}
    return {"data": traces, "layout": figure.layout.to_plotly_json(), "config": config}


def _trace(scene, organ_id, mesh):
    organ, (vertices, triangles) = ORGANS[organ_id - 1], mesh
    trace = {"type": "mesh3d", "scene": scene, "color": organ.colour, "hoverinfo": "name"}
    trace |= {"name": organ.name, "legendgroup": organ.name}
    trace["lighting"] = {"ambient": 0.65, "diffuse": 0.55, "specular": 0.15, "roughness": 0.6}
    trace["lightposition"] = {"x": 30_000, "y": 100_000, "z": 60_000}  # above and in front
    places = np.rint(vertices / UNIT).astype("<i2")
    corners = triangles.astype("<u2" if len(vertices) < 2**16 else "<u4")
    for key, numbers in zip("xyzijk", [*places.T, *corners.T], strict=True):
        # A typed array, as plotly.js takes it since version 2.28.
        trace[key] = {"dtype": numbers.dtype.str[1:], "bdata": as_text(numbers.tobytes())}
    return trace


def _still(labels, affine):
    """The first surfaces that one meets from the front, shaded by their slope, as text of a PNG."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    (box,) = ndimage.find_objects(np.any(labels, axis=0).astype(np.uint8))
    # From the patient's right to the left, from the front to the back, the head up.
    views = [np.pad(label[box], ((2, 2), (0, 0), (2, 2)))[::-1, ::-1, ::-1] for label in labels]
    label = np.concatenate(views)
    depth = (label > 0).argmax(axis=1)
    organ = np.take_along_axis(label, depth[:, None], axis=1)[:, 0]
    depth = ndimage.gaussian_filter(depth * spacing[1], 1)
    slope = np.hypot(*np.gradient(depth, spacing[0], spacing[2]))
    shaded = COLOURS[organ] * (0.45 + 0.55 / np.sqrt(1 + slope**2))[..., None]
    rgb = 255 * np.where(organ[..., None] > 0, shaded, 1).swapaxes(0, 1)
    # A stand-in needs no more than 4 bits per colour.
    picture = Image.fromarray(rgb.astype(np.uint8) & 0xF0 | 0x0F)
    width = round(300 * picture.width * spacing[0] / (picture.height * spacing[2]))
    return as_text(png(picture.resize((width, 300), Image.Resampling.NEAREST)))
