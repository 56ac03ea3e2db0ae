"""The synthetic abdomen: a patient made of smooth shapes, scanned from the lower thorax to the
pelvis.

It needs no download and takes seconds, and its labels are true by construction.

    anatomy    where the organs lie and how they are shaped, in patient coordinates
    patient    one patient's own numbers: size, position, contrast, noise
    shapes     drawing tools: ellipsoids, tubes, a canvas with soft edges
    paint      paints a patient on a grid, structure by structure
    scanner    makes a scan of what was painted
    abdomen    from a seed to a case

To train networks for real scans, more is drawn:

    variety    patients as unlike each other as real ones
    label_map  real label maps, painted
    crops      crops as other scanners would show them
"""

from organseg.phantom.abdomen import BODY_LEVELS, VOLUME_ML, make_phantom

__all__ = ["BODY_LEVELS", "VOLUME_ML", "make_phantom"]
