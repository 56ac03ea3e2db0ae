"""The synthetic abdomen: a patient made of smooth shapes, scanned from the lower thorax to the
pelvis.

It needs no download and takes seconds, and its labels are true by construction.

    anatomy    where the organs lie and how they are shaped, in patient coordinates
    patient    one patient's own numbers: size, position, contrast, noise
    shapes     drawing tools: ellipsoids, tubes, a canvas with soft edges
    abdomen    paints a patient on a grid
    scanner    makes a scan of what was painted
"""

from organseg.phantom.abdomen import BODY_LEVELS, VOLUME_ML, make_phantom

__all__ = ["BODY_LEVELS", "VOLUME_ML", "make_phantom"]
