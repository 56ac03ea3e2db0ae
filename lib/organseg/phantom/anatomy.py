"""The anatomy of the synthetic abdomen: the shape of every structure in an average adult.

Patient coordinates, in mm: the origin is the centre of the first lumbar vertebra (L1) of an average
adult, x grows to the patient's right, y to the front, z to the head. So the liver lies at x = +70,
the spleen at x = -100, the front skin near y = +120, the dome of the diaphragm near z = +115, the
bifurcation of the aorta at z = -105, the hips at z = -250. Sizes of the average adult are written
as numbers here; each patient scales, shifts and deforms them (`Patient`).
"""

import numpy as np

from organseg.phantom.shapes import curve, ellipsoid, intersection, union

# Body wall and skeleton, in the coordinates of the skeleton.

SPINE_Z, SPINE_Y = (
    (-260, -205, -180, -150, -110, -70, 0, 40, 100, 160),
    (-60, -40, -20, -4, 6, 8, 0, -5, -14, -18),
)


def oval(x, y, halfwidth, front, back):
    """Distance (mm) along the ray from the centre to a slightly squared oval of two depths."""
    u = (x / halfwidth) ** 2
    v = (y / np.where(y > 0, front, back)) ** 2
    sum2 = u + v + 1e-6
    return np.sqrt(x * x + y * y) * (1 - 1 / np.sqrt(sum2 - 0.4 * u * v / sum2))


def profile(z, values, knots=(-270, -220, -170, -110, -40, 40, 110, 180)):
    """A measure of the body (mm) that changes with the height z."""
    return np.interp(z, knots, values)


def body_wall(x, y, z, patient):
    """Distances to the skin, to the muscular frame under the fat, and to the organs' cavity."""
    halfwidth = profile(z, (160, 160, 150, 138, 136, 142, 142, 132))
    front = profile(z, (84, 88, 94, 98, 102, 106, 100, 88))
    furrow = 7 * np.exp(-((x / 16) ** 2)) * (y < 0)
    frame = oval(x, y - 5, halfwidth, front, 84) + furrow
    belly = np.clip(y / 100, -0.6, 1) * profile(z, (0.1, 0.3, 0.6, 0.8, 0.5, 0.1, -0.2, -0.2))
    skin = frame - patient.fat * (1 + belly)
    cavity = oval(
        x,
        y - profile(z, (10, 8, 10, 5, 5, 5, 5, 5)),
        profile(z, (50, 66, 100, 121, 123, 128, 128, 117)),
        profile(z, (60, 70, 82, 89, 93, 95, 88, 75)),
        profile(z, (52, 62, 60, 66, 70, 74, 76, 74)),
    )
    return skin, frame, cavity


def ribs(x, y, z, frame):
    """Distance to the ribs: arcs in the chest wall that descend from the spine to the front."""
    drop = z + 0.6 * (y + 70)  # constant along a rib
    number = np.clip(np.round((drop - 32) / 27), 0, None)  # 0 is the twelfth rib
    along = (drop - 32 - 27 * number) * 0.9
    across = frame + 7.5
    end = np.interp(number, (0, 1, 2, 3, 4), (-25, 15, 50, 75, 200))
    return np.maximum(np.sqrt((along / 1.5) ** 2 + across**2) - 3.2, y - end)


def spine(x, y, z):
    """Distances to the vertebrae's bone, to the discs between them, and to the spinal canal."""
    height = z - 32 * np.round(z / 32)
    y = y - np.interp(z, SPINE_Z, SPINE_Y)
    waist = 2.0 * (1 - (height / 14) ** 2)
    column = (np.sqrt((x / 23) ** 2 + (y / 17.5) ** 2) - 1) * 19 + waist
    body = intersection(column, np.abs(height) - 13, 3)
    canal = np.sqrt((x / 1.15) ** 2 + (y + 26) ** 2) - 8
    arch = np.maximum(np.abs(canal - 3.5) - 3.5, np.abs(height + 6) - 10)
    spinous = np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(y + 52) - 18), np.abs(height + 10) - 9)
    transverse = np.maximum(np.sqrt((y + 22) ** 2 + height**2) - 4.5, np.abs(x) - 34)
    bone = np.minimum(np.minimum(body, arch), np.minimum(spinous, transverse))
    return np.maximum(bone, -165 - z), np.maximum(column, -165 - z), canal


def sacrum(x, y, z):
    """Distance to the sacrum, three rounded wedges that curve to the back."""
    upper = ellipsoid(x, y, z, (0, -18, -180), (50, 20, 22))
    lower = ellipsoid(x, y, z, (0, -42, -212), (36, 14, 24))
    return union(union(upper, lower, 12), ellipsoid(x, y, z, (0, -58, -244), (18, 9, 22)), 8)


def ilium(x, y, z):
    """Distance to the two iliac wings: thin plates from the sacrum, thick at the hip joint."""
    knots = (-248, -228, -190, -150, -122, -104)
    near_x, near_y = (
        np.interp(z, knots, (78, 66, 58, 52, 70, 92)),
        np.interp(z, knots, (4, -8, -48, -58, -40, -12)),
    )
    far_x, far_y = (
        np.interp(z, knots, (96, 104, 112, 122, 120, 110)),
        np.interp(z, knots, (32, 36, 42, 42, 30, 8)),
    )
    along_x, along_y = far_x - near_x, far_y - near_y
    u, v = np.abs(x) - near_x, y - near_y
    t = np.clip((u * along_x + v * along_y) / (along_x**2 + along_y**2), 0, 1)
    thickness = np.interp(z, knots, (13, 12, 6, 5.5, 4.5, 3))
    plate = np.sqrt((u - t * along_x + 20 * t * (1 - t)) ** 2 + (v - t * along_y) ** 2) - thickness
    return np.maximum(plate, np.maximum(z + 104, -256 - z))


# fmt: off
PSOAS = (
    (26, -6, 25, 7), (33, -3, -30, 14), (42, 2, -90, 20), (56, 10, -150, 20), (74, 34, -205, 9),
    (88, 42, -250, 9),
)
PUBIS = ((78, 34, -252, 10), (48, 58, -268, 8), (10, 62, -284, 10))
FEMUR = ((92, 6, -250, 12), (118, -2, -264, 12), (132, -6, -280, 16))

# Organs, in the coordinates of the organs: rows of x, y, z and radius (mm).

AORTA = (
    (-12, 14, 240, 12.5), (-16, 16, 170, 12.5), (-13, 22, 110, 12), (-8, 29, 50, 11.5),
    (-7, 32, 0, 10.8),
    (-5, 37, -60, 10), (0, 37, -105, 9.4),
)
COELIAC = ((-7, 33, 22, 5.2), (-5, 50, 23, 5.0), (-2, 60, 20, 4.8))
COELIAC_BRANCHES = (
    ((-2, 60, 20, 2.6), (-25, 50, 24, 2.6), (-60, 30, 38, 2.2), (-84, 8, 44, 2)),  # splenic artery
    ((-2, 60, 20, 2.6), (20, 62, 18, 2.4), (40, 56, 32, 2)),  # common hepatic artery
)
MESENTERIC_ARTERY = ((-7, 35, 0, 5.2), (-6, 45, -8, 5.0), (-5, 52, -24, 4.8), (-4, 55, -38, 4.6))
MESENTERIC_ARTERY_END = ((-4, 55, -38, 2.5), (2, 58, -75, 2.3), (14, 52, -115, 2))
ILIAC_ARTERY = (
    (1, 37, -104, 6.4), (20, 32, -130, 6), (40, 12, -165, 5.6), (52, 8, -195, 5.2),
    (66, 36, -235, 5),
    (74, 60, -275, 5),
)
ILIAC_VEIN = (
    (20, 27, -116, 8), (26, 18, -140, 7), (42, -2, -170, 6.6), (56, -4, -200, 6),
    (60, 30, -240, 6), (64, 54, -275, 6),
)
VENA_CAVA = (
    (22, 27, -116, 9.5), (22, 26, -60, 10.5), (23, 28, 0, 11), (24, 30, 50, 12),
    (22, 34, 95, 13), (14, 42, 135, 13),
)
CONFLUENCE = (9, 50, -10)
PORTAL_VEIN = ((8, 50, -14, 7.6), (14, 50, 0, 7.8), (28, 47, 18, 7.6), (46, 42, 36, 7))
PORTAL_BRANCHES = (
    ((46, 42, 36, 5), (72, 36, 42, 4), (102, 22, 40, 2.4)),
    ((72, 36, 42, 3.6), (88, 10, 62, 2.6), (96, -8, 74, 1.8)),
    ((46, 42, 36, 4.5), (34, 60, 50, 3.6), (4, 66, 60, 2.6), (-22, 68, 66, 2)),
)
# It passes in front of the mesenteric artery, between that artery's origin and the pancreas.
SPLENIC_VEIN = (
    (10, 52, -8, 7), (0, 54, 4, 7), (-14, 52, 8, 6.8), (-38, 40, 13, 6.6), (-62, 20, 28, 6.4),
    (-82, 0, 42, 6),
)
MESENTERIC_VEIN = ((9, 50, -10, 7.2), (11, 52, -26, 7), (12, 53, -40, 6.8))
MESENTERIC_VEIN_END = ((12, 53, -40, 3.6), (16, 55, -75, 3.2), (24, 54, -115, 2.6))
HEPATIC_VEINS = (
    ((24, 34, 92, 6), (60, 20, 84, 4.6), (100, 4, 62, 2.6)),
    ((22, 38, 92, 5.6), (50, 52, 82, 4.4), (72, 74, 58, 2.6)),
    ((18, 42, 92, 5), (-4, 56, 84, 3.6), (-28, 66, 74, 2.2)),
)
RENAL_VEINS = (
    ((22, 27, -14, 5), (40, 10, -16, 5)),
    ((14, 34, -8, 4.5), (-8, 46, -7, 4), (-24, 30, -4, 4.6), (-42, 4, -2, 5)),
)
PANCREAS = (
    (28, 52, -46, 9), (29, 52, -30, 13.4), (22, 58, -12, 13.8), (2, 66, 0, 11.2),
    (-22, 62, 8, 11.6), (-46, 46, 20, 12),
    (-68, 26, 34, 11), (-82, 10, 42, 8),
)
STOMACH = (
    (-58, 8, 78, 22), (-64, 22, 64, 27), (-64, 50, 38, 26), (-52, 72, 10, 21.5),
    (-28, 80, -10, 17.5),
    (0, 82, -12, 14.5), (22, 75, 0, 8.5),
)
DUODENUM = (
    (27, 73, 2, 7), (44, 62, 2, 11), (54, 48, -12, 12), (54, 38, -44, 12), (38, 34, -66, 12),
    (8, 52, -70, 10),
    (-24, 46, -58, 11),
)
GALLBLADDER = ((44, 52, 18, 5.5), (54, 66, 2, 10), (62, 78, -16, 13.6), (65, 82, -24, 12))
OESOPHAGUS = ((-4, 8, 240, 8), (-8, 26, 140, 8), (-18, 36, 108, 8), (-40, 26, 88, 8))
COLON = (
    (84, 28, -188, 22), (96, 18, -160, 25), (102, 8, -115, 24), (102, 4, -70, 23),
    (92, 28, -44, 21),  # ascending
    (70, 70, -50, 19), (35, 84, -62, 20), (-8, 86, -68, 20), (-50, 82, -52, 19),
    (-88, 56, -22, 18),  # transverse
    (-108, 8, 2, 17), (-110, -14, -40, 15), (-108, -8, -95, 14), (-98, 12, -145, 14),  # descending
    (-70, 30, -178, 14), (-30, 36, -172, 15), (4, 20, -186, 15), (8, -8, -202, 16),  # sigmoid
    (0, -28, -228, 19), (0, -30, -268, 16),  # rectum
)
# fmt: on
KIDNEYS = {
    "right kidney": ((58, -26, -18), (29, 26, 54)),
    "left kidney": ((-58, -24, -4), (29, 27, 56)),
}
HEART = ((-18, 50, 150), (60, 44, 47))
BLADDER = ((0, 38, -238), (36, 28, 26))


def smooth(patient, name, points):
    """The curve of a tubular organ of this patient, as rows of x, y, z and radius."""
    return curve(patient.place(name, points))


def domes(x, y, z, patient):
    """Distance to the space under the diaphragm, and to the liver's upper surface in it."""
    size, move = patient.factor["liver"], patient.offset["liver"]
    right = ellipsoid(x, y, z, (66 + move[0], 14 + move[1], 20), (78 * size, 88, 96 + move[2]))
    left = ellipsoid(x, y, z, (-66, 12, 10), (74, 84, 96 + patient.offset["spleen"][2]))
    front = ellipsoid(x, y, z, (0, 58, 44), (84, 44, 54 + move[2]))
    return union(union(right, front, 20), left, 20), union(right, front, 16)


def liver(x, y, z, patient, cavity):
    """Distance to the liver: right dome and left lobe, cut by the oblique visceral surface."""
    size, move = patient.factor["liver"], patient.offset["liver"]
    upper = domes(x, y, z, patient)[1] + 3.5
    under = 24 + move[2] - 0.85 * (x - 22) / size - 0.4 * (y - 20)
    under = np.minimum(under, 40 - 0.1 * x)  # the left lobe ends well above the pancreas
    shape = intersection(upper, (under - z) * 0.73, 14)
    reach = (-38 * size + move[0] - x) * 0.9 + 0.25 * (z - 70)  # how far the left lobe reaches
    medial = 8 - 0.6 * (y - 10) - x  # the bare area beside the spine
    return np.maximum(intersection(intersection(shape, reach, 10), medial * 0.85, 12), cavity + 2)


def spleen(x, y, z, patient, cavity):
    """Distance to the spleen, a wedge between the diaphragm, the stomach and the left kidney."""
    size, move = patient.factor["spleen"], patient.offset["spleen"]
    tipped = z + 0.35 * (y + 12)  # its long axis follows the tenth rib
    shape = ellipsoid(
        x,
        y,
        tipped,
        (-98 + move[0], -16 + move[1], 46 + move[2]),
        (33 * size, 52 * size, 48 * size),
    )
    hilum = ellipsoid(x, y, z, (-58 + move[0], 6 + move[1], 44 + move[2]), (22, 26, 40))
    return np.maximum(intersection(shape, -hilum, 8), cavity + 3)
