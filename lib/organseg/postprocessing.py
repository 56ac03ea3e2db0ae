"""After the network: what a label map may be mended by, organ by organ (IV: "isolated regions").

Neither rule looks at the image, so neither can tell a false piece from a true one. Choose on
validation patients for which organs a rule helps, and report it as a part of the method.
"""

import numpy as np
from scipy import ndimage

from organseg.errors import OrgansegError
from organseg.organs import ORGAN_IDS


def keep_largest(labels, organs=ORGAN_IDS, connectivity=3):
    """Keep the largest connected piece of each of these organs; its other pieces become background.

    Parameters
    ----------
    labels : integer array (x, y, z) of organ ids
    organs : ids of the organs to treat; the others stay as they are
    connectivity : 1, voxels of a piece touch by faces (6 neighbours); 2, by edges too (18); 3, by
        corners too (26). Of two largest pieces of one size, the first in the array is kept.

    >>> keep_largest([[[3, 3, 0, 3]]]).tolist()
    [[[3, 3, 0, 0]]]
    """
    labels = np.asarray(labels)
    if connectivity not in (1, 2, 3):
        found = f"found connectivity {connectivity!r}"
        raise OrgansegError(f"{found}; expected 1, 2 or 3 (faces, edges, corners); choose one")
    touching = ndimage.generate_binary_structure(3, connectivity)
    kept = labels.copy()
    for organ in organs:
        pieces, count = ndimage.label(labels == organ, touching)
        if count > 1:
            sizes = np.bincount(pieces.ravel())[1:]  # without the background, piece 0
            kept[(pieces > 0) & (pieces != 1 + sizes.argmax())] = 0
    return kept


def fill_holes(labels, organs=ORGAN_IDS):
    """Give each of these organs (ids) the background that it encloses, in 3-D and by faces.

    Other organs stay: what a liver encloses of a vein is not a hole. Nor is what an open end leads
    to from outside.

    >>> shell = np.full((3, 3, 3), 3)
    >>> shell[1, 1, 1] = 0
    >>> int(fill_holes(shell)[1, 1, 1])
    3
    """
    filled = np.array(labels)
    for organ in organs:
        holes = ndimage.binary_fill_holes(filled == organ) & (filled == 0)
        filled[holes] = organ
    return filled
