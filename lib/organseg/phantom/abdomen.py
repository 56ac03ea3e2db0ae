"""A patient painted on a grid, structure by structure, and scanned: `make_phantom`."""

import numpy as np

from organseg.augmentation import displacement
from organseg.cases import Case
from organseg.organs import ORGANS
from organseg.phantom import anatomy
from organseg.phantom.patient import CONTROL_LOWER, CONTROL_SPACING, draw_patient
from organseg.phantom.scanner import scan
from organseg.phantom.shapes import Canvas, Space

BODY_LEVELS = ("thorax", "upper abdomen", "lower abdomen", "pelvis")
# Heights (mm) between the levels: top of the diaphragm, lower end of the right kidney (L3), top of
# the sacrum.
LEVEL_HEIGHTS = (108.0, -62.0, -158.0)
# Volumes (ml) of whole organs; the seeds 0 to 99 stay inside. Eleven real scans had: artery 50-190,
# vein 8-39 without branches in the liver, liver 760-1840, spleen 110-260 (one of 1100), stomach
# 130-240, gallbladder 5-35, pancreas 22-100. The upper ends here go beyond them, for stomach and
# vein to nearly twice: so few scans do not span everyone.
VOLUME_ML = {
    "artery": (50, 190),
    "vein": (10, 75),
    "liver": (760, 2350),
    "spleen": (100, 420),
    "stomach": (80, 460),
    "gallbladder": (5, 48),
    "pancreas": (18, 140),
}
ID = {organ.name: organ.id for organ in ORGANS}


def make_phantom(seed, shape=(128, 128, 160), spacing=None):
    """A synthetic portal-venous CT of the abdomen with the labels of the seven organs.

    Parameters
    ----------
    seed : int, the patient; the same seed at another shape is the same patient on a finer or
        coarser grid
    shape : three ints, voxels along x, y, z
    spacing : three voxel sizes in mm; by default the patient's field of view (about 384 mm) and
        length (about 430 mm) divided by `shape`

    Returns
    -------
    Case named ``phantom_SEED`` with a float32 image in HU, a uint8 label, a RAS+ affine and the
    body level of each slice (an index into `BODY_LEVELS`)

    >>> case = make_phantom(0, (32, 32, 32))
    >>> case.name, case.image.shape, case.axes
    ('phantom_0000', (32, 32, 32), 'RAS')
    """
    patient = draw_patient(seed)
    if spacing is None:
        width = patient.field_of_view
        spacing = (width / shape[0], width / shape[1], patient.length / shape[2])
    spacing = np.asarray(spacing, dtype=np.float64)
    # The scanner's mm along each axis.
    grid = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, spacing, strict=True)]
    skeleton, organs = _spaces(patient, grid, spacing)
    canvas, height = _paint(patient, skeleton, organs, spacing)
    image = scan(canvas.image, patient, seed, grid, spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in grid]
    levels = np.searchsorted(-np.array(LEVEL_HEIGHTS), -height).astype(np.uint8)
    image, name = image.astype(np.float32), f"phantom_{seed:04d}"
    return Case(image, canvas.label, affine, name, body_levels=levels)


def _spaces(patient, grid, spacing):
    """Patient coordinates of every voxel: the skeleton's, and the organs', deformed further."""
    x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)
    a, b, c = patient.tilt
    x, y, z = x - patient.shift[0], y - patient.shift[1] - 18, z + patient.shift[2]
    turned = (x + c * y + b * z, y - c * x + a * z, z - b * x - a * y)
    # `displacement` counts from the second control point.
    second = [axis - (low + CONTROL_SPACING) for axis, low in zip(grid, CONTROL_LOWER, strict=True)]
    body = displacement(patient.body_warp, (CONTROL_SPACING,) * 3, second)
    skeleton = [
        axis / size + move for axis, size, move in zip(turned, patient.scale, body, strict=True)
    ]
    inner = displacement(patient.organ_warp, (CONTROL_SPACING,) * 3, second)
    # Organs glide along the spine: their own deformation fades towards it.
    near = np.exp(-((skeleton[0] / 45) ** 2) - ((skeleton[1] + 10) / 40) ** 2)
    inner *= 1 - near
    voxel = spacing / patient.scale
    return Space(*skeleton, voxel), Space(
        *(axis + move for axis, move in zip(skeleton, inner, strict=True)), voxel
    )


def _paint(patient, skeleton, organs, spacing):
    canvas = Canvas(skeleton.axes[0].shape, edge=float(np.mean(spacing)), fat=-98.0)
    skin, frame, cavity = anatomy.body_wall(*skeleton.axes, patient)
    _paint_wall(canvas, patient, skeleton.axes[2], skin, frame, cavity)
    _paint_gut(canvas, patient, organs, cavity)
    _paint_muscles(canvas, patient, skeleton)
    _paint_thorax(canvas, patient, skeleton, organs, frame, cavity)
    _paint_bones(canvas, skeleton, frame)
    _paint_organs(canvas, patient, organs, cavity)
    _paint_vessels(canvas, patient, organs)
    nx, ny, _ = skeleton.axes[2].shape
    return canvas, skeleton.axes[2][nx // 2, ny // 2]


def _paint_wall(canvas, patient, z, skin, frame, cavity):
    everywhere = (slice(None),) * 3
    canvas.paint(everywhere, skin, 10.0)
    canvas.paint(everywhere, skin + 2.5, -104.0)
    canvas.paint(everywhere, frame, patient.hu("muscle"))
    layers = np.maximum(np.abs(frame + 15) - 1.5, z + 112)  # fat between the gluteal muscles
    canvas.paint(everywhere, layers, -70.0)
    canvas.paint(everywhere, cavity, canvas.fat)


def _paint_muscles(canvas, patient, space):
    hu = patient.hu("muscle")
    for side in (1, -1):
        mirrored = np.array([side, 1, 1, 1])
        # Erector spinae, quadratus lumborum.
        canvas.paint(*space.ellipsoid((side * 34, -50, -40), (30, 23, 190)), hu)
        canvas.paint(*space.ellipsoid((side * 64, -30, -55), (20, 11, 70)), hu)
        canvas.paint(*space.ellipsoid((side * 84, -4, -165), (26, 34, 55)), hu)  # iliacus
        canvas.paint(*space.tube(anatomy.curve(anatomy.PSOAS) * mirrored), hu, gap=2)


def _paint_thorax(canvas, patient, skeleton, organs, frame, cavity):
    box = skeleton.box((-150, -95, -20), (150, 115, 400))
    x, y, z = organs.at(box)
    dome = anatomy.domes(x, y, z, patient)[0]
    mediastinum = 20 - np.abs(x + 4) + (y - 5) ** 2 / 350
    recess = 26 + 0.4 * (y + 60) - z  # the lungs reach lower at the back
    lung = np.maximum(np.maximum(-dome, cavity[box] + 3), np.maximum(mediastinum, recess))
    canvas.paint(box, lung, -850.0)
    canvas.paint(
        box,
        np.maximum(np.abs(dome + 1.5) - 1.8, np.maximum(cavity[box], 15 - z)),
        patient.hu("muscle"),
    )
    centre, radii = anatomy.HEART
    here, heart = organs.ellipsoid(centre, radii, reach=10)
    canvas.paint(here, np.maximum(heart - 4, cavity[here] + 3), canvas.fat)
    canvas.paint(here, heart, 0.6 * patient.hu("heart") + 40)
    blood = organs.ellipsoid(np.array(centre) + (-8, 2, -2), np.array(radii) * (0.6, 0.55, 0.6))
    canvas.paint(*blood, patient.hu("heart"))
    canvas.paint(*organs.tube(anatomy.curve(anatomy.OESOPHAGUS)), 45.0, gap=2)


def _paint_bones(canvas, space, frame):
    def bone(box, distance, marrow, shell=4.0, cortex=480.0):
        canvas.paint(
            box, distance, marrow + (cortex - marrow) * np.clip(1 + distance / shell, 0, 1)
        )

    box = space.box((-150, -95, -70), (150, 115, 400))
    bone(box, anatomy.ribs(*space.at(box), frame[box]), 220.0)
    box = space.box((-45, -90, -190), (45, 35, 400))
    vertebrae, column, canal = anatomy.spine(*space.at(box))
    canvas.paint(box, column, 85.0)  # discs
    bone(box, vertebrae, 190.0)
    canvas.paint(box, canal, 32.0)
    box = space.box((-55, -80, -275), (55, 5, -150))
    bone(box, anatomy.sacrum(*space.at(box)), 120.0)
    box = space.box((-140, -75, -270), (140, 60, -100))
    bone(box, anatomy.ilium(*space.at(box)), 160.0)
    for side in (1, -1):
        mirrored = np.array([side, 1, 1, 1])
        bone(*space.ellipsoid((side * 92, 6, -250), (23, 23, 23)), 260.0)
        bone(*space.tube(np.array(anatomy.FEMUR) * mirrored), 200.0)
        bone(*space.tube(np.array(anatomy.PUBIS) * mirrored), 180.0)


def _paint_gut(canvas, patient, space, cavity):
    wall = patient.hu("gut wall")
    centre, radii = anatomy.BLADDER
    canvas.paint(*space.ellipsoid(centre, radii), 45.0, gap=3)
    canvas.paint(*space.ellipsoid(centre, np.array(radii) - 3), 6.0)
    for points, content in zip(patient.bowel, patient.bowel_content, strict=True):
        box, loop = space.tube(anatomy.curve(points, steps=2))
        loop = np.maximum(loop, cavity[box] + 5)
        canvas.paint(box, loop, wall, gap=2.5)
        x, y, _ = space.at(box)
        lumen = loop + 3
        if content < 0:  # gas floats on fluid
            canvas.paint(box, lumen, 20.0)
            lumen = np.maximum(lumen, points[1, 1] - y)
        canvas.paint(box, lumen, content)
    _paint_colon(canvas, patient, space, cavity)


def _paint_colon(canvas, patient, space, cavity):
    points = anatomy.smooth(patient, "colon", anatomy.COLON)
    box, colon = space.tube(points)
    x, y, z = space.at(box)
    haustra = 2.2 * np.sin(x / 6.5) * np.sin(z / 6.5 + 1)
    colon = np.maximum(colon + haustra, cavity[box] + 4)
    canvas.paint(box, colon, patient.hu("gut wall"), gap=3)
    stool = np.sin(x / 4.3 + 2 * np.sin(y / 9 + z / 13)) * np.sin(
        y / 5.1 + 2 * np.sin(z / 8 + x / 15)
    )
    stool = 15 + 80 * stool * np.sin(z / 5.7 + 2 * np.sin(x / 11))
    canvas.paint(box, colon + 3, stool)
    canvas.paint(box, np.maximum(colon + 3, patient.colon_gas - y), -920.0)


def _paint_organs(canvas, patient, space, cavity):
    box = space.box((-110, -95, -110), (160, 120, 150))
    shape = anatomy.liver(*space.at(box), patient, cavity[box])
    canvas.paint(box, shape, patient.hu("liver"), ID["liver"], gap=1)
    for points in anatomy.HEPATIC_VEINS:
        canvas.paint(*space.tube(anatomy.curve(points)), patient.hu("hepatic veins"), label=None)
    for points in anatomy.PORTAL_BRANCHES:
        canvas.paint(
            *space.tube(anatomy.smooth(patient, "vein", points)), patient.hu("vein"), label=None
        )
    box = space.box((-150, -95, -40), (-40, 70, 130))
    canvas.paint(
        box,
        anatomy.spleen(*space.at(box), patient, cavity[box]),
        patient.hu("spleen"),
        ID["spleen"],
        gap=1.5,
    )
    for name in anatomy.KIDNEYS:
        _paint_kidney(canvas, patient, space, name)
    _paint_stomach(canvas, patient, space, cavity)
    box, duodenum = space.tube(anatomy.smooth(patient, "duodenum", anatomy.DUODENUM))
    canvas.paint(box, duodenum, patient.hu("gut wall"), gap=2)
    canvas.paint(box, duodenum + 4, 0.5 * patient.stomach_content + 20)
    if patient.has_gallbladder:
        canvas.paint(
            *space.tube(anatomy.smooth(patient, "gallbladder", anatomy.GALLBLADDER)),
            16.0,
            ID["gallbladder"],
        )
    box, pancreas = space.tube(anatomy.smooth(patient, "pancreas", anatomy.PANCREAS))
    x, y, z = space.at(box)
    lobules = 1.3 * np.sin(x / 3.4) * np.sin(y / 3.1) * np.sin(z / 3.6 + 1)
    canvas.paint(box, pancreas + lobules, patient.hu("pancreas") - 12, ID["pancreas"], gap=2)


def _paint_kidney(canvas, patient, space, name):
    centre, radii = anatomy.KIDNEYS[name]
    centre = np.array(centre) + patient.offset[name]
    radii = np.array(radii) * patient.factor[name]
    side = np.sign(centre[0])
    box, kidney = space.ellipsoid(centre, radii, reach=12)
    x, y, z = space.at(box)
    sinus = anatomy.ellipsoid(
        x, y, z, centre - (side * 0.55 * radii[0], -6, 0), radii * (0.62, 0.42, 0.55)
    )
    pelvis = anatomy.ellipsoid(
        x, y, z, centre - (side * 0.5 * radii[0], -4, 0), radii * (0.35, 0.2, 0.3)
    )
    canvas.paint(box, kidney, patient.hu("kidney") - 14, gap=5)
    canvas.paint(box, kidney + 7, patient.hu("kidney") - 34)
    canvas.paint(box, np.maximum(sinus, kidney - 3), canvas.fat + 15)
    canvas.paint(box, pelvis, 25.0)


def _paint_stomach(canvas, patient, space, cavity):
    box, stomach = space.tube(anatomy.smooth(patient, "stomach", anatomy.STOMACH))
    x, y, z = space.at(box)
    stomach = np.maximum(stomach, np.maximum(cavity[box], anatomy.domes(x, y, z, patient)[0]) + 5)
    canvas.paint(box, stomach, patient.hu("gut wall"), ID["stomach"], gap=2.5)
    canvas.paint(box, stomach + 4, patient.stomach_content, label=None)
    canvas.paint(box, np.maximum(stomach + 4, patient.stomach_level - y), -900.0, label=None)


def _paint_vessels(canvas, patient, space):
    cava = patient.hu("vena cava")
    for points in (anatomy.VENA_CAVA, *anatomy.RENAL_VEINS):
        canvas.paint(*space.tube(anatomy.curve(points)), cava, label=None)
    thin = anatomy.smooth(patient, "vein", anatomy.MESENTERIC_VEIN_END)
    thick = (anatomy.SPLENIC_VEIN, anatomy.MESENTERIC_VEIN, anatomy.PORTAL_VEIN)
    thick = [anatomy.smooth(patient, "vein", points) for points in thick]
    _paint_tree(canvas, space, [thin], thick, patient.hu("vein"), ID["vein"])
    mirrored = np.array([-1, 1, 1, 1])
    iliac = anatomy.curve(anatomy.ILIAC_VEIN)
    _paint_tree(canvas, space, [iliac, iliac * mirrored], [], cava)
    iliac = anatomy.curve(anatomy.ILIAC_ARTERY)
    thin = (anatomy.MESENTERIC_ARTERY_END, *anatomy.COELIAC_BRANCHES)
    thin = [*(anatomy.curve(points) for points in thin), iliac, iliac * mirrored]
    thick = [
        anatomy.curve(points)
        for points in (anatomy.COELIAC, anatomy.MESENTERIC_ARTERY, anatomy.AORTA)
    ]
    _paint_tree(canvas, space, thin, thick, patient.hu("artery"), ID["artery"])


def _paint_tree(canvas, space, thin, thick, hu, label=0):
    """Paint vessels of one tree: thin ones in the image only, thick ones in the label too."""
    thin, thick = ([space.tube(points) for points in part] for part in (thin, thick))
    # First the fat around all of them: painted one by one, each would cut the others at the joint.
    for vessel in thin + thick:
        canvas.paint(*vessel, hu, gap=1.5)
    for vessel in thin + thick:
        canvas.paint(*vessel, hu)
    for vessel in thick:
        canvas.paint(*vessel, hu, label)
