"""Patients as unlike each other as those that scanners see: `draw_varied_patient`.

The phantoms of the course are one kind of scan: portal-venous, of an adult with every organ but
perhaps the gallbladder. A network that is to work on real CT must not learn that. Here everything
that real scans differ in is drawn anew for each patient, in three groups that can be left out one
at a time, so that what each brings can be measured:

    contrast    from none to early arterial to late; the HU of every structure for itself
    shapes      lean and fat, small and large organs, missing ones, resected ones, arms
    contents    food, fluid, stool and gas; vessels and nodes in the fat; lesions, calcium, ascites

What a scanner adds (noise, kernels, slices, cuts) is drawn for each crop: see `crops`.
"""

from dataclasses import dataclass, replace

import numpy as np

from organseg.phantom import anatomy
from organseg.phantom.patient import ENHANCEMENT, JITTERED, Tissue, draw_patient

# HU without contrast agent.
PLAIN = {
    "artery": 42,
    "vein": 42,
    "liver": 57,
    "spleen": 47,
    "pancreas": 40,
    "kidney": 33,
    "vena cava": 42,
    "hepatic veins": 42,
    "heart": 42,
    "gut wall": 40,
    "muscle": 55,
}
BLOOD = ("artery", "vein", "vena cava", "hepatic veins", "heart")
# How much smaller and larger than the average an organ gets, and how far (mm, standard deviation)
# it lies from its place. Veins must stay clear of arteries, so they move little.
SIZES = {
    "liver": (0.8, 1.28),
    "spleen": (0.7, 1.5),
    "stomach": (0.55, 1.4),
    "gallbladder": (0.5, 1.5),
    "pancreas": (0.55, 1.2),
}
PLACES = {"vein": 3.0, "colon": 8.0, "pancreas": 5.0}


@dataclass(frozen=True)
class Variety:
    """Which groups are drawn anew; the others stay as in the phantoms of the course."""

    contrast: bool = True
    shapes: bool = True
    contents: bool = True


def draw_varied_patient(seed, variety=Variety()):  # noqa: B008, it is frozen
    """The `Patient` of a seed, with what `variety` names drawn anew.

    >>> draw_varied_patient(5).hu("artery") == draw_varied_patient(5).hu("artery")
    True
    """
    patient = replace(draw_patient(seed), noise=0.0)
    groups = {"contrast": _contrast, "shapes": _shapes, "contents": _contents}
    for number, (name, draw) in enumerate(groups.items()):
        if getattr(variety, name):
            # Each group has its own numbers: leaving one out does not change the others.
            patient = draw(np.random.default_rng([seed, 100 + number]), patient)
    return patient


def draw_contrast(rng):
    """HU of every structure of `ENHANCEMENT` in one scan (a dict), and whether it has contrast."""
    plain = rng.random() < 0.33
    dose = 0.0 if plain else np.clip(rng.normal(1.0, 0.3), 0.25, 1.7)
    timing = np.clip(rng.normal(-0.1, 0.6), -1, 1)
    together = rng.normal(0, 5)  # tubes and their voltage shift all tissues alike
    hu = {}
    for name, levels in ENHANCEMENT.items():
        uptake = np.interp(timing, (-1, 0, 1), levels) - PLAIN[name]
        own = np.clip(rng.normal(0, 6 if plain else 10), -30, 30)
        hu[name] = PLAIN[name] + together + uptake * dose * rng.uniform(0.85, 1.15) + own
    blood = 42 + together + rng.normal(0, 4)
    if plain:  # then all blood is alike
        hu |= {name: blood + rng.normal(0, 1.5) for name in BLOOD}
    elif timing < -0.5 and rng.random() < 0.3:  # early arterial: little but arteries is bright yet
        hu["artery"] += rng.uniform(20, 150)
    if rng.random() < 0.2:  # a fatty liver
        hu["liver"] -= rng.uniform(5, 50)
    return {name: float(value) for name, value in hu.items()}, not plain


def draw_tissue(rng, enhanced):
    """The `Tissue` of one scan: what blood does not reach, or what excretes the agent."""
    excreted = enhanced and rng.random() < 0.2  # the kidneys have begun to excrete the agent
    return Tissue(
        fat=rng.uniform(-118, -85),
        heart_wall=(40 if enhanced else 21) + rng.normal(0, 8),
        oesophagus=45 + rng.normal(0, 8),
        marrow=rng.uniform(0.45, 1.4),
        cortex=480 * rng.uniform(0.7, 1.5),
        disc=rng.uniform(60, 115),
        spinal_canal=rng.uniform(15, 45),
        urine=rng.uniform(100, 500) if excreted else rng.uniform(-5, 18),
        renal_pelvis=rng.uniform(150, 500) if excreted else rng.uniform(0, 35),
        medulla=rng.uniform(0, 60) if enhanced else rng.uniform(-4, 4),
        bile=rng.uniform(-4, 28) if rng.random() < 0.9 else rng.uniform(30, 120),
    )


def draw_stool(rng):
    """The HU of stool, and by how much its lumps differ."""
    return {"stool": rng.uniform(-30, 70), "stool_contrast": rng.uniform(15, 140)}


def _contrast(rng, patient):
    hu, enhanced = draw_contrast(rng)
    return replace(patient, drawn_hu=hu, tissue=draw_tissue(rng, enhanced))


def _shapes(rng, patient):
    lean_to_fat = ((4, 15), (9, 30), (25, 45))
    factor = {n: np.clip(rng.normal(1, 0.15), *SIZES.get(n, (0.8, 1.2))) for n in JITTERED}
    offset = {n: np.clip(rng.normal(0, PLACES.get(n, 6.5), 3), -15, 15) for n in JITTERED}
    resected = rng.random() < 0.05
    return replace(
        patient,
        scale=patient.scale * rng.uniform(0.9, 1.1) * rng.uniform(0.95, 1.05, 3),
        fat=rng.uniform(*lean_to_fat[rng.choice(3, p=(0.3, 0.45, 0.25))]),
        shift=np.array([rng.normal(0, 10), rng.normal(0, 12), rng.uniform(-95, -30)]),
        tilt=rng.normal(0, (0.05, 0.05, 0.06)),
        body_warp=patient.body_warp * rng.uniform(0.6, 1.5),
        organ_warp=patient.organ_warp * rng.uniform(0.6, 1.5),
        factor={name: float(value) for name, value in factor.items()},
        offset=offset,
        table=rng.uniform(2, 25),
        arms=_draw_arms(rng) if rng.random() < 0.2 else (),
        has_gallbladder=bool(rng.random() < 0.8),
        has_spleen=bool(rng.random() < 0.96),
        stomach_length=int(rng.integers(2, 4)) if resected else patient.stomach_length,
        tissue=replace(
            patient.tissue,
            fat_planes=rng.uniform(0, 0.3) if rng.random() < 0.35 else rng.uniform(0.3, 1.3),
        ),
    )


def _draw_arms(rng):
    """Arms that lie beside the body: from shoulder to hand, each a tube with a bone in it."""
    radii = rng.uniform(0.7, 1.15) * np.array([58, 44, 28])
    elbow, y = 160 + radii[1] + rng.uniform(0, 15), rng.uniform(-45, 25)
    places = [(elbow - 20, y, 300), (elbow, y - 5, 30), (elbow - 15, y + 35, -200)]
    points = np.concatenate([places, radii[:, None]], axis=1)
    return tuple(points * (side, 1, 1, 1) for side in (1, -1))


def _contents(rng, patient):
    patient = _fill_stomach(rng, _fill_bowel(rng, patient))
    ascites = rng.uniform(-5, 25) if rng.random() < 0.04 else None
    tissue = replace(patient.tissue, ascites=ascites, **draw_stool(rng))
    return replace(
        patient,
        tissue=tissue,
        colon_gas=rng.uniform(20, 110),
        shading=rng.normal(0, (4, 4, 3, 5)),
        strands=tuple(_strand(rng) for _ in range(rng.integers(5, 45))),
        lesions=_draw_lesions(rng),
        calcium=_draw_calcium(rng) if rng.random() < 0.3 else (),
    )


def _fill_stomach(rng, patient):
    """Empty and collapsed, full of fluid, full of food, or with a contrast agent that was drunk."""
    kind = rng.choice(["usual", "collapsed", "fluid", "food", "agent"], p=(0.3, 0.2, 0.2, 0.2, 0.1))
    factor, content = dict(patient.factor), rng.uniform(-5, 60)
    wall, food, gas_from = rng.uniform(2.5, 7), 0.0, rng.uniform(40, 100)
    if kind == "collapsed":
        factor["stomach"] *= rng.uniform(0.6, 0.85)
        wall, gas_from = rng.uniform(5, 9), 200.0
    elif kind == "fluid":
        gas_from = 200.0  # no gas
    elif kind == "food":
        content, food = rng.uniform(10, 60), rng.uniform(20, 150)
        gas_from = rng.uniform(60, 200)
    elif kind == "agent":
        content = rng.uniform(80, 400)
    phase = tuple(rng.uniform(0, 2 * np.pi, 3))
    tissue = replace(patient.tissue, stomach_wall=wall, food=food, food_phase=phase)
    return replace(
        patient, factor=factor, stomach_content=content, stomach_level=gas_from, tissue=tissue
    )


def _fill_bowel(rng, patient):
    content = np.array(patient.bowel_content)
    fluid = content + rng.normal(0, 15) + rng.normal(0, 12, content.shape)
    content = np.where(content < 0, content, fluid)
    if rng.random() < 0.2:  # a contrast agent that was drunk
        reached = rng.random(content.shape) < rng.uniform(0.2, 0.9)
        content = np.where(reached, rng.uniform(100, 450), content)
    if rng.random() < 0.3:
        content = np.where(rng.random(content.shape) < 0.25, -700, content)
    loops = np.array(patient.bowel)
    loops[..., 3] *= rng.uniform(0.75, 1.35)
    kept = rng.random(len(loops)) < rng.uniform(0.55, 1.0)
    return replace(patient, bowel=loops[kept], bowel_content=content[kept])


def _strand(rng):
    """A thin vessel or a small node somewhere in the fat of the abdomen: points and structure."""
    start = rng.uniform((-100, -10, -150), (100, 95, 60))
    end = start + rng.normal(0, 25, 3)
    radius = rng.uniform(1.0, 3.5)
    middle = (start + end) / 2 + rng.normal(0, 6, 3)
    points = np.array([[*start, radius], [*middle, radius], [*end, 0.7 * radius]])
    return points, str(rng.choice(["vein", "artery", "gut wall"]))


def _draw_lesions(rng):
    """Cysts (5 HU), metastases (30, 60) and bright tumours (140) in the liver, or in the spleen."""
    lesions = []
    boxes = (
        ("liver", 0.3, (-20, -40, -30), (120, 60, 80)),
        ("spleen", 0.08, (-115, -40, 20), (-80, 10, 70)),
    )
    for organ, chance, low, high in boxes:
        for _ in range(rng.integers(1, 6) if rng.random() < chance else 0):
            hu = rng.choice((5, 30, 60, 140)) + rng.normal(0, 8)
            lesions.append((organ, rng.uniform(low, high), rng.uniform(4, 22), float(hu)))
    return tuple(lesions)


def _draw_calcium(rng):
    points = anatomy.curve(anatomy.AORTA)
    spots = []
    for _ in range(rng.integers(3, 40)):
        x, y, z, radius = points[rng.integers(len(points))]
        angle = rng.uniform(0, 2 * np.pi)
        centre = (x + radius * np.cos(angle), y + radius * np.sin(angle), z + rng.normal(0, 5))
        spots.append((centre, rng.uniform(1, 3), rng.uniform(250, 900)))
    return tuple(spots)
