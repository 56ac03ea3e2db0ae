"""The seven organs of Roth et al. 2018 (Table 1): one registry, used everywhere.

Every label image, table row, colour and network output of this project is in the order of `ORGANS`;
class 0 is the background.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Organ:
    """One organ: its label id (also its channel in the network's output), name and colour."""

    id: int
    name: str
    colour: str  # hex, for overlays, curves and 3-D renderings
    meaning: str  # what counts as this organ in a label image


# Okabe and Ito's seven colours, which colour-blind readers tell apart. Over the stomach's air a
# colour turns dark, so the stomach does not get the light blue, whose dark shade is the vein's.
ORGANS = (
    Organ(
        1, "artery", "#d55e00", "aorta to its bifurcation, coeliac and mesenteric trunks; no iliacs"
    ),
    Organ(2, "vein", "#0072b2", "portal and splenic vein, mesenteric confluence; no vena cava"),
    Organ(3, "liver", "#e69f00", "liver parenchyma"),
    Organ(4, "spleen", "#56b4e9", "spleen"),
    Organ(5, "stomach", "#cc79a7", "stomach with its wall, content and air"),
    Organ(6, "gallbladder", "#009e73", "gallbladder; absent after its removal"),
    Organ(7, "pancreas", "#f0e442", "pancreas: head, body and tail"),
)

ORGAN_IDS = tuple(organ.id for organ in ORGANS)
ORGAN_NAMES = tuple(organ.name for organ in ORGANS)
BACKGROUND = 0
NUM_CLASSES = 1 + len(ORGANS)  # L in equation (2) counts the background
