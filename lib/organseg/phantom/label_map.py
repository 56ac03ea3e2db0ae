"""Real label maps painted with drawn HU: real anatomy, and no patient's image.

The TotalSegmentator data set labels a hundred structures of each patient. Such a map says where
everything lies in a real body, and nothing of how bright it is; that is drawn, as in `variety`. A
network that learns from these sees real shapes, and still no image of any patient.

What a map leaves open is filled in: the wall of the body around all that is labelled, the fat under
the skin, discs, pleura and the muscles between the ribs, vessels in liver and fat.
"""

import json
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from organseg.cases import Case
from organseg.errors import OrgansegError
from organseg.organs import ORGAN_IDS
from organseg.phantom.crops import cloud
from organseg.phantom.patient import draw_patient
from organseg.phantom.variety import Variety, draw_contrast, draw_stool, draw_tissue
from organseg.volumes import read_volume

FINE, COARSE = 2.0, 4.0  # mm: what is painted on, and what comes out
ORGAN_OF = {
    "aorta": 1,
    "portal_vein_and_splenic_vein": 2,
    "liver": 3,
    "spleen": 4,
    "stomach": 5,
    "gallbladder": 6,
    "pancreas": 7,
}
# What the structures of the data set are made of, by the beginnings of their names.
BONE = ("hip", "femur", "vertebrae", "sacrum", "rib_", "skull", "sternum", "scapula", "clavicula")
BONE += ("humerus",)
ARTERIES = ("aorta", "iliac_artery", "brachiocephalic_trunk", "common_carotid", "subclavian_artery")
ARTERIES += ("pulmonary_vein", "atrial_appendage")
VEINS = ("iliac_vena", "inferior_vena", "superior_vena", "brachiocephalic_vein")
MUSCLES = ("autochthon", "gluteus", "iliopsoas")
HOLLOW = ("stomach", "small_bowel", "colon", "duodenum", "urinary_bladder", "esophagus")


class LabelMap:
    """A full label map of one patient, prepared to be painted again and again.

    Parameters
    ----------
    path : a NIfTI file of structure ids at 1.5 mm, in RAS; beside it, with the ending .json, a
        table of the structures' names and ids
    """

    def __init__(self, path):
        path = Path(path)
        voxels, affine = read_volume(path)
        names = path.with_name(path.name.partition(".")[0] + ".json")
        straight = nibabel.aff2axcodes(affine) == ("R", "A", "S")
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        if not (names.is_file() and straight and np.allclose(sizes, 1.5, atol=1e-3)):
            found = f"{path}: found no {names.name}, or other voxels than 1.5 mm in RAS"
            raise OrgansegError(f"{found}; expected both, as in TotalSegmentator's data set")
        self.ids = json.loads(names.read_text(encoding="utf-8"))
        self.name = names.stem
        # Air around, so that the wall of the body has room.
        voxels = np.pad(voxels.astype(np.uint8), ((32, 32), (32, 32), (0, 0)))
        organs = np.zeros(256, np.uint8)
        for name, organ in ORGAN_OF.items():
            organs[self.ids.get(name, 0)] = organ
        organs[0] = 0
        self.label = _nearest(organs[voxels], COARSE)
        fine = _nearest(voxels, FINE)
        self.structures = np.zeros([2 * n for n in self.label.shape], np.uint8)
        x, y, z = np.minimum(self.structures.shape, fine.shape)
        self.structures[:x, :y, :z] = fine[:x, :y, :z]

    def of(self, *beginnings):
        """Where the structures lie whose names begin so: a bool array."""
        ids = [i for name, i in self.ids.items() if name.startswith(beginnings)]
        return np.isin(self.structures, ids)

    @cached_property
    def body(self):
        """Everything inside the wall of the body, which lies around all that is labelled."""
        arms = self.of("humerus", "scapula", "clavicula")
        trunk = (self.structures > 0) & ~arms
        hull = np.stack([_convex(trunk[:, :, z]) for z in range(trunk.shape[2])], axis=2)
        hull = ndimage.gaussian_filter(hull.astype(np.float32), (2, 2, 3)) > 0.45
        humerus = self.of("humerus")
        upper_arm = _depth(~humerus) < 30 if humerus.any() else False
        return hull | trunk | upper_arm

    @cached_property
    def free(self):
        """What is not labelled in the body: fat, and what lies in it."""
        return (self.structures == 0) & self.body

    @cached_property
    def between(self):
        """Discs, pleura and the muscles between the ribs: where they must be (bool arrays)."""
        spine = _depth(~self.of("vertebrae", "sacrum")) < 9
        lungs = self.of("lung")
        return {
            "disc": (_depth(spine) >= 9) & self.free,
            "intercostal": (_depth(~self.of("rib_", "costal", "sternum")) < 9) & self.free,
            "pleura": (_depth(~lungs) < 4.5) & self.free if lungs.any() else lungs,
        }

    @cached_property
    def outside(self):
        """Distance (mm) to the wall of the body from outside."""
        return _depth(~self.body)

    @cached_property
    def depth_in_bone(self):
        return _depth(self.of(*BONE))

    @cached_property
    def depth_in_hollow(self):
        return {name: _depth(self.of(name)) for name in HOLLOW if self.of(name).any()}

    def paint(self, seed, variety=Variety()):  # noqa: B008, it is frozen
        """A Case of this anatomy with HU drawn from the seed, at 4 mm, without noise.

        Of `variety`, the contrast alone is asked for: without it, it is that of the course's
        phantom of this seed.
        """
        rng = np.random.default_rng([seed, 7])
        hu, enhanced = draw_contrast(rng)
        tissue = draw_tissue(rng, enhanced)
        if not variety.contrast:
            patient = draw_patient(seed)
            hu, enhanced, tissue = {name: patient.hu(name) for name in hu}, True, patient.tissue
        hu["fat"] = tissue.fat
        image = self._brightness(rng, hu, tissue, enhanced)[self.structures]
        self._paint_wall(rng, image, hu)
        self._paint_between(rng, image, hu, tissue)
        self._paint_vessels(rng, image, hu)
        self._paint_bone(rng, image, tissue)
        for name in self.depth_in_hollow:
            self._fill(rng, image, name, tissue)
        self._paint_lesions(rng, image)
        image = ndimage.gaussian_filter(image, np.sqrt(3) / 2.355)  # see `geometry.to_working`
        x, y, z = self.label.shape
        image = image.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
        affine = np.diag([COARSE] * 3 + [1.0])
        name = f"{self.name}_{seed:04d}"
        return Case(
            image.astype(np.float32), self.label, affine, name, ORGAN_IDS, patient=self.name
        )

    def _brightness(self, rng, hu, tissue, enhanced):
        """HU of every structure id: a float32 array (256,)."""
        table = np.full(256, hu["fat"], np.float32)
        drawn = {
            BONE: lambda: 200 * tissue.marrow + rng.normal(0, 15),
            ARTERIES: lambda: hu["artery"] + rng.normal(0, 4),
            VEINS: lambda: hu["vena cava"] + rng.normal(0, 8 if enhanced else 2),
            MUSCLES: lambda: hu["muscle"] + rng.normal(0, 4),
            ("lung",): lambda: rng.uniform(-900, -750),
            ("trachea",): lambda: -980.0,
            ("kidney",): lambda: hu["kidney"] - 14,
            ("adrenal",): lambda: hu["pancreas"] + rng.normal(0, 10),
            ("portal",): lambda: hu["vein"],
            ("liver",): lambda: hu["liver"],
            ("spleen",): lambda: hu["spleen"],
            ("pancreas",): lambda: hu["pancreas"] - 12,
            ("heart",): lambda: hu["heart"],
            ("gallbladder",): lambda: tissue.bile,
            ("costal",): lambda: rng.uniform(70, 180),
            ("spinal_cord",): lambda: tissue.spinal_canal,
            ("thyroid",): lambda: rng.uniform(80, 180),
            HOLLOW: lambda: hu["gut wall"] + rng.normal(0, 6),
        }
        for name, number in self.ids.items():
            draws = [draw for beginnings, draw in drawn.items() if name.startswith(beginnings)]
            table[number] = draws[0]() if draws else rng.uniform(30, 70)
        return table

    def _paint_wall(self, rng, image, hu):
        """Muscle of uneven thickness around everything, fat, skin, and air outside."""
        muscle = rng.uniform(3, 14) + 2.5 * _coarse_cloud(rng, image.shape, 25)
        lean_to_fat = ((3, 12), (8, 25), (20, 42))
        skin = muscle + rng.uniform(*lean_to_fat[rng.integers(3)])
        out = self.outside
        image[(out > 0) & (out <= muscle)] = hu["muscle"]
        image[(out > muscle) & (out <= skin)] = hu["fat"] - 6
        image[(out > skin) & (out <= skin + 2.2)] = 10
        image[out > skin + 2.2] = -1000

    def _paint_between(self, rng, image, hu, tissue):
        image[self.between["intercostal"]] = hu["muscle"] + rng.normal(0, 10)
        if rng.random() < 0.9:
            image[self.between["pleura"]] = hu["muscle"] + rng.normal(0, 8)
        image[self.between["disc"]] = tissue.disc

    def _paint_vessels(self, rng, image, hu):
        """Vessels in the fat and in the liver: where two clouds are both near zero."""
        fat = self.free & ~np.logical_or.reduce(list(self.between.values()))
        places = (
            (fat, ("vein", "artery", "gut wall"), 0.9, (0.1, 0.3)),
            (self.of("liver"), ("vein", "hepatic veins"), 0.8, (0.08, 0.25)),
        )
        for place, names, chance, widths in places:
            for name in names if rng.random() < chance else ():
                size, width = rng.uniform(6, 14), rng.uniform(*widths)
                clouds = (cloud(rng, image.shape, size) for _ in range(2))
                near = np.logical_and.reduce([np.abs(c) < width for c in clouds])
                image[near & place] = hu[name]
        if rng.random() < 0.15:  # strands and fluid in the fat
            image[
                self.free & (cloud(rng, image.shape, rng.uniform(4, 12)) > rng.uniform(0.8, 2))
            ] = rng.uniform(-20, 40)

    def _paint_bone(self, rng, image, tissue):
        """Bone is brightest at its surface."""
        bone, depth = self.depth_in_bone > 0, self.depth_in_bone
        brighter = tissue.cortex - 200 * tissue.marrow
        image[bone] += brighter * np.clip(1 - depth[bone] / rng.uniform(2.5, 6), 0, 1)

    def _fill(self, rng, image, name, tissue):
        """What a hollow organ holds: fluid, food or stool, gas on top, an agent that was drunk."""
        wall = 3.0 if name == "urinary_bladder" else rng.uniform(2, 5)
        inside = self.depth_in_hollow[name] > wall
        shape, agent = image.shape, rng.uniform(100, 450) if rng.random() < 0.2 else None
        if not inside.any() or name == "esophagus":
            return
        if name == "urinary_bladder":
            image[inside] = tissue.urine
        elif name == "colon":
            stool = draw_stool(rng)
            lumps = stool["stool_contrast"] * _coarse_cloud(rng, shape, rng.uniform(2, 4))
            image[inside] = stool["stool"] + lumps[inside]
            if rng.random() < 0.4:  # gas has risen to the front, and fills what lies there
                gas = _in_front(inside, rng.uniform(0.3, 0.9))
            else:
                gas = _coarse_cloud(rng, shape, rng.uniform(8, 25)) > rng.uniform(-0.8, 1.8)
            image[inside & gas] = -930
        elif name == "stomach":
            image[inside] = agent or rng.uniform(-5, 60)
            if rng.random() < 0.35:
                food = rng.uniform(15, 120) * _coarse_cloud(rng, shape, rng.uniform(2, 6))
                image[inside] += food[inside]
            image[inside & _in_front(inside, rng.uniform(0, 1.3))] = -950
        else:
            folds = rng.uniform(5, 35) * _coarse_cloud(rng, shape, rng.uniform(5, 12))
            image[inside] = np.clip(rng.uniform(10, 60) + folds[inside], -10, 130)
            if agent:
                image[inside & (_coarse_cloud(rng, shape, 15) > rng.normal(0, 1))] = agent
            image[inside & (_coarse_cloud(rng, shape, 8) > rng.uniform(1.2, 3))] = -800

    def _paint_lesions(self, rng, image):
        for name, chance in (("liver", 0.3), ("spleen", 0.08), ("kidney", 0.15)):
            if rng.random() < chance:
                lesion = _coarse_cloud(rng, image.shape, rng.uniform(3, 10)) > rng.uniform(1.5, 2.6)
                image[lesion & self.of(name)] = rng.choice((5, 30, 60, 140)) + rng.normal(0, 8)


def _nearest(voxels, size):
    """A map of 1.5 mm at another voxel size (mm), by nearest neighbour."""
    axes = []
    for n in voxels.shape:
        places = (np.arange(int(n * 1.5 / size)) + 0.5) * size / 1.5 - 0.5
        axes.append(np.clip(np.rint(places).astype(int), 0, n - 1))
    return voxels[np.ix_(*axes)]


def _depth(mask):
    """Distance (mm) of each voxel of a mask to what lies outside of it."""
    return ndimage.distance_transform_edt(mask).astype(np.float32) * FINE


def _in_front(inside, share):
    """Where gas collects in a patient who lies on the back: beyond a share of the depth."""
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    return np.arange(inside.shape[1])[:, None] > rows[0] + share * (rows[-1] - rows[0])


def _coarse_cloud(rng, shape, size):
    """A cloud in steps of two voxels, one of what comes out: an eighth of the work."""
    coarse = cloud(rng, [-(-n // 2) for n in shape], size / 2)
    for axis, n in enumerate(shape):
        coarse = np.repeat(coarse, 2, axis=axis).take(np.arange(n), axis=axis)
    return coarse


def _convex(mask):
    """The convex hull of a 2-D mask."""
    points = np.argwhere(mask)
    if len(points) < 20:
        return np.zeros(mask.shape, dtype=bool)
    try:
        hull = ConvexHull(points)
    except QhullError:  # all on one line
        return mask
    x, y = np.meshgrid(*map(np.arange, mask.shape), indexing="ij", sparse=True)
    return np.logical_and.reduce([a * x + b * y + c <= 0.5 for a, b, c in hull.equations])
