"""The exercises of chapter 9, Inference."""

import numpy as np

from organseg.course import exercise


@exercise("9.1")
def wasted_slices(answer):
    """Divided by the depth and plus one, this is the work of the chapter: shallow tiles throw
    nearly all of it away."""
    for depth, tile_depth, margin in (
        (160, 32, 48),
        (168, 64, 48),
        (296, 72, 48),
        (96, 96, 48),
        (80, 16, 8),
    ):
        number = -(-depth // tile_depth)  # tiles, the last one perhaps shallower
        seen = [
            min(start + tile_depth + margin, depth) - max(start - margin, 0)
            for start in range(0, depth, tile_depth)
        ]
        found = float(answer(depth, tile_depth, margin))
        told = f"For a scan of {depth} slices, tiles of {tile_depth} and a margin of {margin} you say {found:g}. "
        if found == sum(seen) - depth:
            continue
        if found == sum(seen):
            return told + "That is all that is computed. How much of it is kept?"
        if np.isclose(found, sum(seen) / depth) or np.isclose(found, sum(seen) / depth - 1):
            return told + "That is a ratio; a number of slices is asked for."
        if found == 2 * margin * number:
            return (
                told
                + "You give every tile two full margins. What lies below the first tile, and above the last?"
            )
        if found == 2 * margin * (number - 1):
            return (
                told
                + "Only the ends of the scan are cut. But a tile near the end may have less than a full margin."
            )
        if found == margin * (number - 1):
            return told + "Where two tiles meet, both see a margin beyond the border."
        return told + "Write down for each tile the first and the last slice that it sees."
    return None


def _margin(levels, skip_bottom=False):
    first = 0
    for _ in range(levels - 1):
        first = (first - 2) // 2
    first -= 0 if skip_bottom else 2
    for _ in range(levels - 1):
        first = 2 * first - 2
    return -first


@exercise("9.2")
def margin_for(answer):
    """The margins are 8, 24, 48 and 96 slices for two to five levels: from three on, each level
    doubles it."""
    levels = np.array([2, 3, 4, 5])
    multiple = 2 ** (levels - 1)
    found = np.array([float(answer(int(n))) for n in levels])

    def is_always(reaches):
        return np.array_equal(found, reaches)

    reach = np.array([_margin(n) for n in levels])
    if is_always(-(-reach // multiple) * multiple):
        return None
    if is_always(reach):
        return (
            "That is how far slice 0 reaches. Which sizes does the network take? Round up to these."
        )
    if is_always(reach // multiple * multiple):
        return "You round down, and leave a seam."
    shallow = np.array([_margin(n, skip_bottom=True) for n in levels])
    if is_always(shallow) or is_always(-(-shallow // multiple) * multiple):
        return "The lowest level has two convolutions as well, and each of their steps is the widest of all."
    down = 2 * np.cumsum(2 ** np.arange(5))[levels - 1]
    if is_always(down) or is_always(-(-down // multiple) * multiple):
        return "That is the way down only. The convolutions on the way up reach further, too."
    wrong = int(np.argmax(found != -(-reach // multiple) * multiple))
    told = f"For {levels[wrong]} levels you say {found[wrong]:g}. "
    return (
        told
        + "Start at slice 0 of the output, walk backwards through the layers and note the lowest slice needed."
    )


def _find(image):
    """Stands for a network: a bright voxel is labelled by the quarter of the image, seen in RAS, in
    which it lies."""
    if any(size % 8 for size in image.shape):
        raise ValueError(f"find got an image of {image.shape}; expected multiples of 8")
    x, y, z = np.indices(image.shape)
    place = 1 + (x > 6) + 2 * (y > 4) + (z > 10)
    return np.where(image > 0.5, place, 0).astype(np.uint8)


@exercise("9.3")
def labels_of(answer):
    """Every step on the way there has its opposite on the way back, in the opposite order."""
    for shape in ((16, 8, 24), (13, 10, 21)):
        image = np.random.default_rng(9).random(shape).astype(np.float32)
        found = np.asarray(answer(image.copy(), _find))
        if found.shape != shape:
            return f"For an image of {shape} you return labels of {found.shape}. Cut off what you padded."
        if np.array_equal(found, _labels(image, both)):
            continue
        if np.array_equal(found, _labels(image, none)):
            return "`find` knows patients whose right side is at the upper end of x. Bring the axes to RAS first."
        if np.array_equal(found, _labels(image, both, back=False)):
            return "These labels lie on the RAS axes. Turn them back to those of the image."
        if np.array_equal(found, _labels(image, first)):
            return "You turn one axis round. How many letters differ between LPS and RAS?"
        if np.array_equal(found, _labels(image, every)):
            return "You turn all three axes round. Is the third letter different?"
        if np.array_equal(found > 0, image > 0.5):
            return "Bright voxels got labels, but wrong ones. Does the air lie at the upper end of each RAS axis?"
        return "The labels do not lie on the image: some steps back are missing, or in the wrong order."
    return None


none, first, both, every = np.s_[:], np.s_[::-1], np.s_[::-1, ::-1], np.s_[::-1, ::-1, ::-1]


def _labels(image, turned, back=True):
    ras = image[turned]
    padded = np.pad(ras, [(0, -size % 8) for size in ras.shape])
    labels = _find(padded)[tuple(slice(size) for size in ras.shape)]
    return labels[turned] if back else labels
