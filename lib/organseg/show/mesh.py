"""Organs in three dimensions, to turn in the browser: truth beside prediction, as in Fig. 5 of Roth
et al. 2018.

scikit-image finds the surfaces, plotly draws them. A notebook stores the surfaces and a still
picture, not plotly's script of several MB: JupyterLab and VS Code have a plotly of their own; on
Colab the script comes with the live output; the book's pages share one copy
(`book/extensions/renderings.py`). `mesh.js` adds what plotly has not: keys, and two views that turn
together.
"""

import base64
import html
import json
import sys
from dataclasses import replace
from functools import cached_property
from importlib import resources

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage, sparse

from organseg.errors import OrgansegError
from organseg.geometry import to_canonical
from organseg.organs import ORGANS
from organseg.show.slices import png_bytes

PLOTLY = "application/vnd.plotly.v1+json"
LARGEST = (
    520_000  # letters of one picture's surfaces; with layout and still picture less than 600 kB
)
COARSENINGS = (0, 4, 5, 6, 8, 10, 12, 16, 24)  # mm: the first that fits is sent
SMALL_PIECE = 60  # vertices
UNIT = 0.1  # mm; coordinates are sent as 16-bit integers
HINT = "Drag to turn it, or click it and press the arrow keys; + and − come nearer and go away, 0 goes back."
STILL_HEIGHT = 300  # pixels


def organ_meshes(label, affine, coarsen=0.0):
    """The surfaces of the organs of a label image.

    Marching cubes (Lorensen and Cline 1987) on the mask of each organ; then vertices closer than
    `coarsen` are merged, and the steps are smoothed without shrinking (Taubin 1995). Pieces of few
    voxels stay as they are, to be seen.

    Parameters
    ----------
    label : integer array (x, y, z) of organ ids
    affine : array (4, 4), voxel indices to mm
    coarsen : edge in mm of the cells in which all vertices become one; 0: none

    Returns
    -------
    dict, organ id to (vertices, triangles): float array (n, 3) in mm, and integer array (m, 3) of
    indices of vertices; only organs that are there
    """
    from skimage.measure import marching_cubes

    label = np.asarray(label)
    boxes = ndimage.find_objects(label, max_label=len(ORGANS))
    meshes = {}
    for organ, box in zip(ORGANS, boxes, strict=True):
        if box is None:
            continue
        mask = np.pad(label[box] == organ.id, 1)  # closed also where the scan ends
        vertices, triangles, _, _ = marching_cubes(mask.astype(np.float32), 0.5)
        vertices = vertices + [axis.start - 1 for axis in box]
        vertices = vertices @ affine[:3, :3].T + affine[:3, 3]
        if coarsen:
            vertices, triangles = _merge(vertices, triangles, coarsen)
        if len(triangles):
            meshes[organ.id] = _smooth(vertices, triangles), triangles
    return meshes


def _neighbours(vertices, triangles):
    """Which vertices an edge joins, as a sparse matrix of zeros and ones; and which belong to a
    small piece."""
    a, b, c = triangles.T
    rows, columns = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
    joined = sparse.csr_array((np.ones(len(rows)), (rows, columns)), (len(vertices),) * 2)
    joined.data[:] = 1  # an edge counts once, though two triangles share it
    piece = sparse.csgraph.connected_components(joined, directed=False)[1]
    return joined, np.bincount(piece)[piece] < SMALL_PIECE


def _merge(vertices, triangles, cell):
    """All vertices of a cell become their mean; triangles that lose a corner go."""
    small = _neighbours(vertices, triangles)[1]
    alone = np.where(small, 1 + np.arange(len(vertices)), 0)  # each in a cell of its own
    cells = np.column_stack([np.floor(vertices / cell), alone])
    _, number, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    merged = np.stack([np.bincount(number, axis) for axis in vertices.T], axis=1) / count[:, None]
    triangles = number[triangles]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
    triangles = triangles[np.sort(first)]
    used, renumbered = np.unique(triangles, return_inverse=True)
    return merged[used], renumbered.reshape(-1, 3)


def _smooth(vertices, triangles, rounds=8):
    """Move vertices to the mean of their neighbours, then back a little more: steps go, the size
    stays."""
    joined, small = _neighbours(vertices, triangles)
    count = np.asarray(joined.sum(axis=1)).reshape(-1, 1)
    for _ in range(rounds):
        for step in (0.5, -0.53):
            vertices = vertices + step * ~small[:, None] * (joined @ vertices / count - vertices)
    return vertices


class Rendering:
    """Organs that a notebook shows in three dimensions; made by `render`."""

    def __init__(self, views, affine, name):
        self.views, self.affine, self.name = views, affine, name

    def __repr__(self):
        return f"Rendering of {self.name}: {' and '.join(self.views)}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        still = base64.b64encode(self._still).decode()
        if "google.colab" in sys.modules:  # an output has a page of its own there, without a plotly
            return {"text/plain": repr(self), "text/html": self._page(still)}
        return {"text/plain": repr(self), PLOTLY: self.figure, "image/png": still}

    @cached_property
    def figure(self):
        """What plotly draws, as a dict: data, layout and config."""
        for cell in COARSENINGS:
            traces = [
                _trace(organ, *meshes[organ.id], f"scene{number or ''}", number == 0)
                for number, label in zip((0, 2), self.views.values(), strict=False)
                for meshes in [organ_meshes(label, self.affine, cell)]
                for organ in ORGANS
                if organ.id in meshes
            ]
            if len(json.dumps(traces)) <= LARGEST:
                break
        _show_each_organ_once_in_the_legend(traces)
        return {
            "data": traces,
            "layout": self._layout(),
            "config": {"displaylogo": False, "scrollZoom": False},
        }

    def _layout(self):
        gap, count = 0.02, len(self.views)
        axis = {"visible": False, "showspikes": False}
        # From the front, the patient's right on the left of the picture.
        camera = {"eye": {"x": 0, "y": 1.45, "z": 0.2}, "up": {"x": 0, "y": 0, "z": 1}}
        box = self._box()
        edges = np.ptp(box, axis=1)
        ratio = dict(
            zip("xyz", (edges / edges.max()).round(4).tolist(), strict=True)
        )  # one mm is one mm in both views
        layout = {
            "height": 460,
            "margin": {"l": 0, "r": 0, "t": 30, "b": 0},
            "legend": {"orientation": "h", "y": 0, "yanchor": "top", "x": 0.5, "xanchor": "center"},
            "paper_bgcolor": "white",
            "font": {"color": "#222"},
            "modebar": {"orientation": "v"},  # beside the titles, not over them
            "annotations": [],
        }
        for number, title in enumerate(self.views):
            start, end = number / count, (number + 1) / count
            place = {"x": [start + gap, end - gap], "y": [0.04, 1]}
            axes = {
                f"{letter}axis": axis | {"range": span}
                for letter, span in zip("xyz", box, strict=True)
            }
            layout["scene2" if number else "scene"] = {"domain": place, "camera": camera, **axes}
            layout["scene2" if number else "scene"] |= {
                "aspectmode": "manual",
                "aspectratio": ratio,
            }
            word = {"text": title, "x": (start + end) / 2, "y": 1, "yanchor": "bottom"}
            layout["annotations"].append(
                word | {"xref": "paper", "yref": "paper", "showarrow": False}
            )
        return layout

    def _box(self):
        """The span of all organs along x, y and z, the same in both views, in units of `UNIT`."""
        there = np.argwhere(np.any([label > 0 for label in self.views.values()], axis=0))
        if not there.size:
            raise OrgansegError(
                f"{self.name}: found no organ; expected at least one voxel of one; nothing to render"
            )
        ends = (
            np.array([there.min(axis=0) - 1, there.max(axis=0) + 1]) @ self.affine[:3, :3].T
            + self.affine[:3, 3]
        )
        return np.rint(np.sort(ends, axis=0).T / UNIT).astype(int).tolist()

    @cached_property
    def _still(self):
        """The first surfaces that one meets from the front, shaded by their slope, as PNG."""
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        there = np.any([label > 0 for label in self.views.values()], axis=0)
        box = ndimage.find_objects(there.astype(np.uint8))[0]
        pictures = [_from_the_front(label[box], spacing) for label in self.views.values()]
        joined = np.concatenate(pictures, axis=1)
        picture = Image.fromarray(
            (255 * joined).astype(np.uint8) & 0xF0 | 0x0F
        )  # a stand-in needs no more colours
        height = STILL_HEIGHT
        width = round(height * joined.shape[1] * spacing[0] / (joined.shape[0] * spacing[2]))
        return png_bytes(picture.resize((width, height), Image.Resampling.NEAREST))

    def _page(self, still):
        from plotly.offline import get_plotlyjs

        script = resources.files("organseg.show").joinpath("mesh.js").read_text(encoding="utf-8")
        config = "window.PlotlyConfig = {MathJaxConfig: 'local'};"
        scripts = "".join(f"<script>{part}</script>" for part in (config, get_plotlyjs(), script))
        return rendering_html(self.figure, still, repr(self)) + scripts


def rendering_html(figure, still, words):
    """The place on a page that `mesh.js` fills.

    Parameters
    ----------
    figure : dict, as in `Rendering.figure`
    still : str, a PNG in base64, shown until the figure is
    words : str, for those who do not see the picture
    """
    data, words = html.escape(json.dumps(figure, separators=(",", ":"))), html.escape(words)
    return (
        f'<div class="organseg-rendering" data-figure="{data}">'
        f'<img src="data:image/png;base64,{still}" alt="{words}" style="max-width: 100%">'
        f'<div class="stage" tabindex="0" role="img" aria-label="{words} {HINT}" hidden></div>'
        f'<p style="margin: 0; font-size: 0.85em" hidden>{HINT}</p></div>'
    )


def render(case, prediction=None):
    """The organs of a case in three dimensions, truth and prediction side by side; turn them with
    mouse or keys.

    Parameters
    ----------
    case : Case, in any orientation; the truth is its label, if it has one
    prediction : integer array (x, y, z) of organ ids on the case's grid, or None

    Returns
    -------
    Rendering, which a notebook shows if it is the last line of a cell
    """
    labels = {} if case.label is None else {"truth": case.label}
    if prediction is not None:
        if np.shape(prediction) != case.image.shape:
            found = f"{case.name}: found a prediction of shape {np.shape(prediction)}"
            raise OrgansegError(
                f"{found}; expected that of the image, {case.image.shape}; resample it to that grid"
            )
        labels["prediction"] = np.asarray(prediction).astype(np.uint8)
    if not labels:
        raise OrgansegError(
            f"{case.name}: found neither a label nor a prediction; expected one to render; give one"
        )
    views = {title: to_canonical(replace(case, label=label)) for title, label in labels.items()}
    affine = next(iter(views.values())).affine
    return Rendering({title: view.label for title, view in views.items()}, affine, case.name)


def _trace(organ, vertices, triangles, scene, first):
    coordinates = np.rint(vertices / UNIT).astype("<i2")
    indices = triangles.astype("<u2" if len(vertices) < 2**16 else "<u4")
    return {
        "type": "mesh3d",
        "name": organ.name,
        "legendgroup": organ.name,
        "scene": scene,
        "color": organ.colour,
        "hoverinfo": "name",
        "lighting": {"ambient": 0.65, "diffuse": 0.55, "specular": 0.15, "roughness": 0.6},
        "lightposition": {"x": 30_000, "y": 100_000, "z": 60_000},  # from the front and above
        **{letter: _typed(axis) for letter, axis in zip("xyz", coordinates.T, strict=True)},
        **{letter: _typed(corner) for letter, corner in zip("ijk", indices.T, strict=True)},
    }


def _show_each_organ_once_in_the_legend(traces):
    seen = set()
    for trace in traces:
        trace["showlegend"] = trace["name"] not in seen
        seen.add(trace["name"])


def _typed(array):
    """An array as plotly.js takes it since version 2.28: its bytes in base64, and their type."""
    return {
        "dtype": array.dtype.str[1:],
        "bdata": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


def _from_the_front(label, spacing):
    colours = np.array([(1, 1, 1), *(to_rgb(organ.colour) for organ in ORGANS)])
    front = np.pad(label, ((2, 2), (0, 0), (2, 2)))[:, ::-1]  # y from the front to the back
    depth = (front > 0).argmax(axis=1)
    organ = np.take_along_axis(front, depth[:, None], axis=1)[:, 0]
    slope = np.hypot(
        *np.gradient(ndimage.gaussian_filter(depth * spacing[1], 1), spacing[0], spacing[2])
    )
    rgb = colours[organ] * np.where(organ > 0, 0.45 + 0.55 / np.sqrt(1 + slope**2), 1)[..., None]
    return rgb[::-1, ::-1].swapaxes(0, 1)  # the patient's right on the left, the head up
