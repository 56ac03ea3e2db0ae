"""One patient of the synthetic abdomen: everything in which a patient, and a scan of this patient,
differs."""

from dataclasses import dataclass

import numpy as np

from organseg.phantom.anatomy import CONFLUENCE

# HU at three times after the injection: late arterial, portal-venous, late. Medians of real
# portal-venous scans: artery 150-190, vein 137-193, liver 93-112, spleen 81-121, pancreas 73-126.
ENHANCEMENT = {
    "artery": (225, 168, 142),
    "vein": (128, 170, 142),
    "liver": (86, 106, 99),
    "spleen": (126, 112, 100),
    "pancreas": (106, 98, 84),
    "kidney": (172, 182, 160),
    "vena cava": (88, 132, 132),
    "hepatic veins": (88, 148, 134),
    "heart": (170, 150, 130),
    "gut wall": (84, 82, 70),
    "muscle": (60, 62, 60),
}
JITTERED = (
    "liver",
    "spleen",
    "stomach",
    "gallbladder",
    "pancreas",
    "vein",
    "right kidney",
    "left kidney",
)
JITTERED += ("duodenum", "colon")  # structures whose size and place vary by themselves too
CONTROL_LOWER, CONTROL_SPACING, CONTROL_COUNT = (-330.0, -330.0, -480.0), 110.0, (7, 7, 9)


@dataclass(frozen=True)
class Tissue:
    """HU, and sizes in mm, of tissues that `ENHANCEMENT` does not name."""

    fat: float = -98.0
    fat_planes: float = 1.0  # thickness of the fat between organs, relative to the average
    ascites: float | None = None  # HU of the fluid that fills the cavity
    heart_wall: float = 40.0  # HU, beside 0.6 of the blood's
    oesophagus: float = 45.0
    marrow: float = 1.0  # relative to the average
    cortex: float = 480.0
    disc: float = 85.0
    spinal_canal: float = 32.0
    urine: float = 6.0
    renal_pelvis: float = 25.0
    medulla: float = 20.0  # HU below the kidney's cortex
    stool: float = 15.0
    stool_contrast: float = 80.0
    bile: float = 16.0
    stomach_wall: float = 4.0  # mm
    food: float = 0.0  # HU by which lumps differ from the fluid
    food_phase: tuple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Patient:
    """Everything in which one patient, and one scan of this patient, differs from the average."""

    scale: np.ndarray  # (3,), size relative to the average adult
    shift: (
        np.ndarray
    )  # (3,) mm, where the patient lies in the field of view; z: where the scan is centred
    tilt: np.ndarray  # (3,) radians, small rotations about x, y and z
    body_warp: np.ndarray  # (3, 7, 7, 9) mm, control points of the deformation of everything
    organ_warp: np.ndarray  # the same for the organs alone, which move more than the skeleton
    field_of_view: float  # mm, width of the image
    length: float  # mm, from the first slice to the last
    fat: float  # mm, thickness of the fat under the skin
    has_gallbladder: bool
    timing: float  # -1 late arterial, 0 portal-venous, 1 late
    dose: float  # contrast relative to the average
    offset: dict  # organ name to (3,) mm
    factor: dict  # organ name to size relative to the average
    hu_offset: dict  # organ name to HU
    stomach_level: float  # mm, y above which the stomach holds air
    stomach_content: float  # HU of what it holds below
    bowel: np.ndarray  # (loops, 3, 4): three points (mm) and radii of each loop of small bowel
    bowel_content: np.ndarray  # (loops,) HU
    colon_gas: float  # mm, y above which the colon holds gas
    noise: float  # HU, standard deviation on a grid of 3 mm
    shading: np.ndarray  # (4,) HU, slow brightening along x, y, z and towards the skin
    outside: (
        float  # HU written outside the round field of view, or 0 where the scanner fills the square
    )
    table: float  # mm below the skin of the back
    # What `variety` draws besides, and the phantoms of the course all have alike:
    tissue: Tissue = Tissue()
    drawn_hu: dict | None = None  # structure to HU, in the place of timing and dose
    has_spleen: bool = True
    stomach_length: int = 7  # points of `anatomy.STOMACH`: all, or what a resection left
    strands: tuple = ()  # (points, structure) of thin vessels in the fat
    lesions: tuple = ()  # (organ, centre, radius in mm, HU)
    calcium: tuple = ()  # (centre, radius in mm, HU)
    arms: tuple = ()  # points and radii (mm) beside the average body; fat moves them outwards

    def hu(self, name):
        """HU of a structure: as drawn, or at this patient's contrast timing."""
        if self.drawn_hu is not None:
            return self.drawn_hu[name]
        plain = 55 if name == "muscle" else 41  # without contrast
        level = float(np.interp(self.timing, (-1, 0, 1), ENHANCEMENT[name]))
        return plain + (level - plain) * self.dose + self.hu_offset.get(name, 0.0)

    def place(self, name, points):
        """Points (n, 3 or 4: x, y, z, perhaps a radius) of an organ, placed as in this patient."""
        points = np.array(points, dtype=np.float64)
        # All veins of the portal system move with their confluence, so that they stay joined.
        middle = np.array(CONFLUENCE) if name == "vein" else points[:, :3].mean(axis=0)
        points[:, :3] = middle + (points[:, :3] - middle) * self.factor[name] + self.offset[name]
        points[:, 3:] *= self.factor[name]
        return points


def draw_patient(seed):
    """The patient of a seed. All but the noise is drawn here: every grid shows one anatomy."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.88, 1.09) * rng.uniform((0.95, 1.0, 0.95), (1.05, 1.1, 1.05))
    fat = rng.uniform(9, 30)
    width = 2 * (160 * scale[0] + fat)
    timing = float(np.clip(rng.normal(0, 0.4), -1, 1))
    patient = {
        "scale": scale,
        "fat": fat,
        "field_of_view": float(np.clip(max(384 * rng.uniform(0.92, 1.04), 1.04 * width), 353, 415)),
        "length": rng.uniform(380, 450),
        "shift": np.array([rng.normal(0, 7), rng.normal(0, 10), rng.uniform(-86, -48)]),
        "tilt": rng.normal(0, (0.03, 0.03, 0.04)),
        "body_warp": rng.uniform(-1, 1, (3, *CONTROL_COUNT)) * 16,
        "organ_warp": rng.uniform(-1, 1, (3, *CONTROL_COUNT)) * 22,
        "has_gallbladder": bool(rng.uniform() < 0.82),
        "timing": timing,
        "dose": rng.uniform(0.88, 1.14),
        "offset": {name: np.clip(rng.normal(0, 4.5, 3), -9, 9) for name in JITTERED},
        "factor": {name: float(np.clip(rng.normal(1, 0.08), 0.85, 1.17)) for name in JITTERED},
        "hu_offset": {name: float(np.clip(rng.normal(0, 5), -9, 9)) for name in ENHANCEMENT},
        "stomach_level": rng.uniform(62, 95),
        "stomach_content": rng.uniform(8, 45),
        "colon_gas": rng.uniform(62, 90),
        "noise": rng.uniform(8, 14),
        "shading": rng.normal(0, (4, 4, 3, 5)),
        "outside": float(rng.choice([0, 0, -1024])),
        "table": rng.uniform(4, 10),
    }
    patient["offset"]["vein"] /= 2  # it must stay clear of the arteries
    patient["bowel"], patient["bowel_content"] = _draw_bowel(rng)
    return Patient(**patient)


def _draw_bowel(rng):
    loops, content = [], []
    for z in range(-190, -20, 27):
        for y in (22, 50, 78):
            for x in range(-72, 73, 36):
                middle = np.array([x, y, z]) + rng.uniform(-9, 9, 3)
                half = rng.normal(0, (16, 12, 12))
                bend = rng.uniform(-9, 9, 3)
                radius = rng.uniform(9.5, 13)
                loops.append(
                    [
                        [*(middle - half), radius],
                        [*(middle + bend), radius],
                        [*(middle + half), radius * 0.9],
                    ]
                )
                content.append(
                    rng.choice(
                        [15, 25, 40, 60, 80, 95, -700], p=[0.18, 0.17, 0.15, 0.2, 0.15, 0.09, 0.06]
                    )
                )
    return np.array(loops), np.array(content, dtype=np.float64)
