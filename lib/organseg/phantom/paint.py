"""Painting a patient on a grid, structure by structure, later ones over earlier ones."""

import numpy as np

from organseg.organs import ORGANS
from organseg.phantom import anatomy
from organseg.phantom.shapes import Canvas

ID = {organ.name: organ.id for organ in ORGANS}


def paint(patient, skeleton, organs, spacing):
    """The painted canvas of a patient, and the height (mm) of each of its slices.

    `skeleton` and `organs` are the two `Space`s, `spacing` is in mm. The image is in HU, without
    noise.
    """
    tissue = patient.tissue
    edge = float(np.mean(spacing))
    canvas = Canvas(skeleton.axes[0].shape, edge, tissue.fat, tissue.fat_planes)
    skin, frame, cavity = anatomy.body_wall(*skeleton.axes, patient)
    _paint_arms(canvas, patient, skeleton)
    _paint_wall(canvas, patient, skeleton.axes[2], skin, frame, cavity)
    _paint_gut(canvas, patient, organs, cavity)
    _paint_muscles(canvas, patient, skeleton)
    _paint_thorax(canvas, patient, skeleton, organs, frame, cavity)
    _paint_bones(canvas, patient, skeleton, frame)
    _paint_strands(canvas, patient, organs, cavity)
    _paint_organs(canvas, patient, organs, cavity)
    _paint_vessels(canvas, patient, organs)
    _paint_calcium(canvas, patient, organs)
    nx, ny, _ = skeleton.axes[2].shape
    return canvas, skeleton.axes[2][nx // 2, ny // 2]


def _paint_wall(canvas, patient, z, skin, frame, cavity):
    everywhere = (slice(None),) * 3
    canvas.paint(everywhere, skin, 10.0)
    canvas.paint(everywhere, skin + 2.5, canvas.fat - 6)
    canvas.paint(everywhere, frame, patient.hu("muscle"))
    layers = np.maximum(np.abs(frame + 15) - 1.5, z + 112)  # fat between the gluteal muscles
    canvas.paint(everywhere, layers, canvas.fat + 28)
    canvas.paint(
        everywhere, cavity, canvas.fat if patient.tissue.ascites is None else patient.tissue.ascites
    )


def _paint_arms(canvas, patient, space):
    for points in patient.arms:
        beside = points + (np.sign(points[:, :1]) * patient.fat / patient.scale[0]) * (1, 0, 0, 0)
        box, arm = space.tube(anatomy.curve(beside))
        canvas.paint(box, arm, 10.0)  # skin, fat, muscle, bone
        canvas.paint(box, arm + 2.5, canvas.fat)
        canvas.paint(box, arm + 2.5 + 0.4 * patient.fat, patient.hu("muscle"))
        bone = anatomy.curve(beside * (1, 1, 1, 0.25))
        canvas.paint(*space.tube(bone), patient.tissue.cortex)


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
    canvas.paint(here, heart, 0.6 * patient.hu("heart") + patient.tissue.heart_wall)
    blood = organs.ellipsoid(np.array(centre) + (-8, 2, -2), np.array(radii) * (0.6, 0.55, 0.6))
    canvas.paint(*blood, patient.hu("heart"))
    canvas.paint(*organs.tube(anatomy.curve(anatomy.OESOPHAGUS)), patient.tissue.oesophagus, gap=2)


def _paint_bones(canvas, patient, space, frame):
    tissue = patient.tissue

    def bone(box, distance, marrow, shell=4.0):
        marrow, cortex = marrow * tissue.marrow, tissue.cortex
        canvas.paint(
            box, distance, marrow + (cortex - marrow) * np.clip(1 + distance / shell, 0, 1)
        )

    box = space.box((-150, -95, -70), (150, 115, 400))
    bone(box, anatomy.ribs(*space.at(box), frame[box]), 220.0)
    box = space.box((-45, -90, -190), (45, 35, 400))
    vertebrae, column, canal = anatomy.spine(*space.at(box))
    canvas.paint(box, column, tissue.disc)
    bone(box, vertebrae, 190.0)
    canvas.paint(box, canal, tissue.spinal_canal)
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
    canvas.paint(*space.ellipsoid(centre, np.array(radii) - 3), patient.tissue.urine)
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
    stool = stool * np.sin(z / 5.7 + 2 * np.sin(x / 11))
    stool = patient.tissue.stool + patient.tissue.stool_contrast * stool
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
    _paint_lesions(canvas, patient, space, "liver", box, shape)
    if patient.has_spleen:
        box = space.box((-150, -95, -40), (-40, 70, 130))
        shape = anatomy.spleen(*space.at(box), patient, cavity[box])
        canvas.paint(box, shape, patient.hu("spleen"), ID["spleen"], gap=1.5)
        _paint_lesions(canvas, patient, space, "spleen", box, shape)
    for name in anatomy.KIDNEYS:
        _paint_kidney(canvas, patient, space, name)
    _paint_stomach(canvas, patient, space, cavity)
    box, duodenum = space.tube(anatomy.smooth(patient, "duodenum", anatomy.DUODENUM))
    canvas.paint(box, duodenum, patient.hu("gut wall"), gap=2)
    canvas.paint(box, duodenum + 4, 0.5 * patient.stomach_content + 20)
    if patient.has_gallbladder:
        canvas.paint(
            *space.tube(anatomy.smooth(patient, "gallbladder", anatomy.GALLBLADDER)),
            patient.tissue.bile,
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
    canvas.paint(box, kidney + 7, patient.hu("kidney") - 14 - patient.tissue.medulla)
    canvas.paint(box, np.maximum(sinus, kidney - 3), canvas.fat + 15)
    canvas.paint(box, pelvis, patient.tissue.renal_pelvis)


def _paint_stomach(canvas, patient, space, cavity):
    points = anatomy.STOMACH[: patient.stomach_length]
    box, stomach = space.tube(anatomy.smooth(patient, "stomach", points))
    x, y, z = space.at(box)
    stomach = np.maximum(stomach, np.maximum(cavity[box], anatomy.domes(x, y, z, patient)[0]) + 5)
    canvas.paint(box, stomach, patient.hu("gut wall"), ID["stomach"], gap=2.5)
    lumen = stomach + patient.tissue.stomach_wall
    content = patient.stomach_content
    if patient.tissue.food:
        a, b, c = patient.tissue.food_phase
        lumps = np.sin(x / 6 + a + 2 * np.sin(y / 11)) * np.sin(y / 7 + b + 2 * np.sin(z / 9))
        content = content + patient.tissue.food * lumps * np.sin(z / 5 + c + np.sin(x / 8))
    canvas.paint(box, lumen, content, label=None)
    canvas.paint(box, np.maximum(lumen, patient.stomach_level - y), -900.0, label=None)


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


def _paint_strands(canvas, patient, space, cavity):
    """Thin vessels and small nodes in the fat between the organs."""
    for points, name in patient.strands:
        box, strand = space.tube(points)
        canvas.paint(box, np.maximum(strand, cavity[box] + 3), patient.hu(name))


def _paint_lesions(canvas, patient, space, organ, box, shape):
    """Cysts and tumours inside an organ, whose label they keep."""
    for place, centre, radius, hu in patient.lesions:
        if place == organ:
            lesion = anatomy.ellipsoid(*space.at(box), centre, (radius,) * 3)
            canvas.paint(box, np.maximum(lesion, shape + 1), hu, label=None)


def _paint_calcium(canvas, patient, space):
    """Calcium in the wall of the aorta."""
    for centre, radius, hu in patient.calcium:
        canvas.paint(*space.ellipsoid(centre, (radius,) * 3), hu, label=None)
