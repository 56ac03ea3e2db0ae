"""The exercises of chapter 9, Inference."""

import numpy as np

from organseg.course import Found, drawn, tried
from organseg.course.chapter_6 import reach_of


def exercise_9_1(answer):
    """Divided by the depth and plus one, this is the work of the chapter: shallow tiles throw
    nearly all of it away."""
    cases = [(160, 32, 48), (168, 64, 48), (296, 72, 48), (96, 96, 48), (80, 16, 8), (40, 64, 8)]
    cases += [tuple(8 * eighth for eighth in case) for case in drawn(20, (1, 40), (1, 12), (0, 9))]
    found, depth, tile_depth, margin = tried(answer, cases)

    def seen_by_all(depth, tile_depth, margin):
        starts = np.arange(0, depth, tile_depth)
        stops = np.minimum(starts + tile_depth + margin, depth)
        return (stops - np.maximum(starts - margin, 0)).sum()

    computed, tiles = np.array([seen_by_all(*case) for case in cases]), -(-depth // tile_depth)
    right, ratio = computed - depth, computed / depth
    yield found == right or {
        "That is all that is computed. How much of it is kept?": found == computed,
        "That is a ratio; a number of slices is asked for.": found == ratio or found == ratio - 1,
        "You give every tile two full margins. What lies below the first tile, and above the last?":
            found == 2 * margin * tiles,
        "Only the ends of the scan are cut. But a tile near the end may have less than a full "
        "margin.": found == 2 * margin * (tiles - 1),
        "Where two tiles meet, both see a margin beyond the border.": found == margin * (tiles - 1),
        f"For {depth[n := found.wrong(right)]} slices, tiles of {tile_depth[n]} and a margin of "
        f"{margin[n]} you say {found[n]:g}. Write down for each tile the first and the last slice "
        "that it sees.": True}  # fmt: skip


def exercise_9_2(answer):
    """The margins are 8, 24, 48 and 96 slices for two to five levels: from three on, each level
    doubles it."""
    found, levels = tried(answer, [(2,), (3,), (4,), (5,), (6,), (7,)])
    multiple = 2 ** (levels - 1)
    reach = np.array([reach_of(0, n, convolutions=2)[0] for n in levels])
    shallow = np.array([reach_of(0, n, convolutions=2, deepest=False)[0] for n in levels])
    right, down = -(-reach // multiple) * multiple, 4 * multiple - 2
    yield found == right or {
        "That is how far slice 0 reaches. Which sizes does the network take? Round up to these.":
            found == reach,
        "You round down, and leave a seam.": found == reach // multiple * multiple,
        "The lowest level has two convolutions as well, and each of their steps is the widest of "
        "all.": found == shallow or found == -(-shallow // multiple) * multiple,
        "That is the way down only. The convolutions on the way up reach further, too.":
            found == down or found == -(-down // multiple) * multiple,
        f"For {levels[n := found.wrong(right)]} levels you say {found[n]:g}. From slice 0 of the "
        "output walk back through the layers: which is the lowest slice needed?": True}  # fmt: skip


def _find(image):
    """Stands for a network: a bright voxel's label tells in which part of a RAS image it lies. All
    voxels around it matter, those of the padding too."""
    if any(size % 8 for size in image.shape):
        raise ValueError(f"find got an image of {image.shape}; expected multiples of 8")
    x, y, z = np.indices(image.shape)
    place = 1 + (x > 6) + 2 * (y > 4) + (z > 10) + 10 * abs(int(image.sum(dtype=float)))
    return np.where(image > 0.5, place, 0)


def _labels(image, turned, back=True, **padding):
    """What `_find` says of an image with these axes turned round."""
    ras = np.flip(image, turned)
    padded = np.pad(ras, [(0, -size % 8) for size in ras.shape], **padding)
    labels = _find(padded)[tuple(slice(size) for size in ras.shape)]
    return np.flip(labels, turned) if back else labels


def exercise_9_3(answer):
    """Every step on the way there has its opposite on the way back, in the opposite order."""
    for shape in ((16, 8, 24), (13, 10, 21), *drawn(4, *[(3, 20)] * 3)):
        image = np.random.default_rng(9).random(shape).astype(np.float32)
        found = Found(answer(image, _find))
        other_air = {"constant_values": -1000}, {"constant_values": 1}, {"mode": "edge"}
        yield found == _labels(image, (0, 1)) or {
            f"For an image of {shape} you return labels of {found.shape}. Cut off what you padded.":
                found.shape != shape,
            "`find` knows patients whose right side is at the upper end of x. Bring the axes to "
            "RAS first.": found == _labels(image, ()),
            "These labels lie on the RAS axes. Turn them back to those of the image.":
                found == _labels(image, (0, 1), back=False),
            "You turn one axis round. How many letters differ between LPS and RAS?":
                found == _labels(image, 0),
            "You turn all three axes round. Is the third letter different?":
                found == _labels(image, (0, 1, 2)),
            "You pad with something other than air. In a normalised image air is 0.":
                any(found == _labels(image, (0, 1), **padding) for padding in other_air),
            "Bright voxels got labels, but wrong ones. Does the air lie at the upper end of each "
            "RAS axis?": np.array_equal(found.values > 0, image > 0.5),
            "The labels do not lie on the image: some steps back are missing, or in the wrong "
            "order.": True}  # fmt: skip
