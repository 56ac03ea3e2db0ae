"""The orientation doctor: does the body lie in the image as the file's header says it does?

A header that lies cannot be seen in the header, and a mirrored abdomen looks like an abdomen. But a
network that was trained on bodies that lie right finds less in it. So it is shown the scan in all
eight ways in which axes can be mirrored; where it finds most, the body lies as it should.
"""

from itertools import product

import numpy as np

from organseg.geometry import to_working
from organseg.inference import predict_probabilities
from organseg.organs import ORGANS
from organseg.scans import to_scan

WAYS = list(product((False, True), repeat=3))  # is x, y, z mirrored?
WORDS = ("left to right", "front to back", "upside down")
# Of an organ that lies whole in a scan, so much is found at least (ml).
ENOUGH_ML = dict(zip(ORGANS, (50, 12, 900, 110, 110, 8, 35), strict=True))
# Set by the first phantoms and scans of benchmarks/doctor.py, which scores the rest.
WHOLE = 6.9  # so much of an abdomen was found in one of 1,442 mirrored ones
LEAST = 2.0  # from less than two organs nothing is concluded
SHARPNESS = 8.0  # how much likelier a way is with one more organ: its logarithm
SURE = 0.95


def abdomen_found(labels, voxel_ml):
    """How many of the seven organs are found, 0…7: a small part of an organ counts little.

    >>> round(abdomen_found(np.full((10, 10, 10), 3), voxel_ml=0.3), 2)  # 300 ml of liver
    0.42
    """
    ml = np.bincount(labels.ravel(), minlength=8) * voxel_ml
    shares = [min(ml[organ.id] / enough, 1.0) for organ, enough in ENOUGH_ML.items()]
    return float(np.log2(1 + np.array(shares)).sum())


def mirrored(run, case):
    """How likely it is, to the network, that the header's x, y and z are mirrored: three floats."""
    scan = to_scan(to_working(case, run.grid))
    return chances(found_in_each_way(run.network, scan.image, scan.spacing))


def found_in_each_way(network, image, spacing):
    """What is found of an abdomen in a normalised image, seen in each of `WAYS`: an array (8,)."""
    turned = (np.ascontiguousarray(np.flip(image, np.flatnonzero(way))) for way in WAYS)
    labels = (predict_probabilities(network, one).argmax(-1) for one in turned)
    return np.array([abdomen_found(one, float(np.prod(spacing)) / 1000) for one in labels])


def chances(found):
    """From what is found in each of `WAYS` to how likely each axis is mirrored."""
    sharpness = SHARPNESS if max(found) >= LEAST else 0.0
    likely = np.exp(sharpness * (np.array(found) - max(found)))
    return tuple(np.array(WAYS, float).T @ (likely / likely.sum()))


def told(chance):
    """What to say of an orientation, as a list of str; empty where the header is believed.

    >>> told((0.02, 0.01, 0.03))
    []
    >>> told((0.99, 0.01, 0.4))
    ['looks mirrored left to right (99 %)', 'cannot tell whether it is upside down']
    """
    lines = []
    for word, value in zip(WORDS, chance, strict=True):
        mirror = "" if word == "upside down" else "mirrored "
        if value >= SURE:
            lines.append(f"looks {mirror}{word} ({100 * min(value, 0.99):.0f} %)")
        elif value > 1 - SURE:
            lines.append(f"cannot tell whether it is {mirror}{word}")
    return lines


def doubts_about(run, case, label):
    """What looks wrong with the orientation of a scan, unless `label` holds a whole abdomen."""
    if abdomen_found(label, abs(np.linalg.det(case.affine)) / 1000) >= WHOLE:
        return []
    return [line for line in told(mirrored(run, case)) if line.startswith("looks")]
