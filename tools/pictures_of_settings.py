"""Draw what `organseg.phantom` can draw anew, and what came of it, for the page about real scans: `make pictures`.

book/images/varied_patients.png  contrast, shapes and contents of drawn patients
book/images/varied_crops.png     what the sampler does to one crop
book/images/painted_map.png      one real label map, painted three times (needs ../shared)
book/images/failures.png         where the network `drawn` fails in real scans (needs ../shared)
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from scipy import ndimage

from organseg.folders import find_cases
from organseg.inference import predict
from organseg.organs import ORGANS
from organseg.phantom import crops, make_phantom
from organseg.phantom.label_map import LabelMap
from organseg.phantom.paint import ID
from organseg.phantom.variety import Variety, draw_varied_patient
from organseg.runs import load_run
from organseg.show.slices import slice_picture, with_label

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "book" / "images"
SHARED = ROOT.parent / "shared" / "data"
MAP = SHARED / "labels_full" / "totalseg_s0004_all.nii.gz"
SHAPE, SPACING = (128, 116, 144), (3.0, 3.0, 3.0)
# What is shown of each group: a title, and a test that the patient of a seed must pass.
SHOWN = {
    "contrast": {
        "none": lambda p: p.hu("artery") < 60,
        "arterial": lambda p: p.hu("artery") > p.hu("vein") + 110,
        "portal-venous": lambda p: p.hu("vein") > 150 and abs(p.hu("artery") - p.hu("vein")) < 25,
        "fatty liver": lambda p: p.hu("liver") < p.hu("spleen") - 45 and p.hu("vein") > p.hu("artery"),
    },
    "shapes": {
        "lean": lambda p: p.fat < 7 and p.has_spleen,
        "fat": lambda p: p.fat > 36,
        "no spleen": lambda p: not p.has_spleen,
        "arms beside": lambda p: bool(p.arms) and p.fat < 14 and p.arms[0][1, 0] < 205,
    },
    "contents": {
        "stomach full of food": lambda p: p.tissue.food > 90 and p.stomach_level > 130 and p.factor["stomach"] > 1,
        "fluid and no gas": lambda p: p.stomach_level > 150 and not p.tissue.food and p.factor["stomach"] > 1,
        "ascites": lambda p: p.tissue.ascites is not None,
        "an agent in the stomach": lambda p: p.stomach_content > 200 and p.stomach_level < 90,
    },
}


def first_seed(group, is_shown):
    variety = Variety(**{name: name == group for name in SHOWN})
    for seed in range(4000):
        patient = draw_varied_patient(seed, variety)
        if is_shown(patient):
            return seed, variety
    raise SystemExit(f"{group}: found no such patient among 4000; expected one; look at the test")


def varied_patients():
    figure, rows = plt.subplots(len(SHOWN), 4, figsize=(9, 6.6), layout="constrained")
    for (group, shown), row in zip(SHOWN.items(), rows, strict=True):
        for (title, is_shown), axes in zip(shown.items(), row, strict=True):
            seed, variety = first_seed(group, is_shown)
            case = make_phantom(seed, SHAPE, SPACING, variety)
            z = int(np.sum(case.label == ID["stomach"], axis=(0, 1)).argmax())
            axes.imshow(slice_picture(case, "axial", z, opacity=0))
            axes.set(title=title, xticks=[], yticks=[])
        row[0].set_ylabel(group, fontsize=11)
    save(figure, "varied_patients.png")


# Seeds whose draw shows what a group is about.
CROPS = {
    "shapes": (2, 8, 12), "scanner": (7, 35, 11), "cuts": (12, 34, 2), "contrast": (6, 25, 18), "texture": (26, 39, 9),
}  # fmt: skip


def varied_crops():
    """One crop of a phantom of the course, as drawn and with each group of disturbances, three times."""
    case = make_phantom(3, (128, 128, 96), SPACING, Variety(contrast=False, shapes=False, contents=False))
    middle, shape = np.array([64.0, 66, 79]), (108, 84, 56)
    places = [np.arange(n) - (n - 1) / 2 for n in shape]
    straight = np.stack(np.meshgrid(*places, indexing="ij")) + middle[:, None, None, None]

    def read(places):
        return ndimage.map_coordinates(case.image, places, np.float32, 1, "grid-constant", -1000)

    def cut(rng):
        return np.where(crops.draw_cut(rng, straight, case.image.shape), -1000, image)

    image = read(straight)
    label = ndimage.map_coordinates(case.label, straight, np.uint8, 0, "grid-constant", 0)
    groups = {
        "shapes": lambda rng: read(crops.places_in(rng, shape, middle)),
        "scanner": lambda rng: crops.scan_anew(rng, image),
        "cuts": cut,
        "contrast": lambda rng: crops.change_contrast(rng, image, label),
        "texture": lambda rng: crops.add_texture(rng, image, label),
    }
    figure, rows = plt.subplots(5, 4, figsize=(9, 9), layout="constrained")
    for (group, draw), row in zip(groups.items(), rows, strict=True):
        drawn = [image, *(draw(np.random.default_rng(seed)) for seed in CROPS[group])]
        for number, (one, axes) in enumerate(zip(drawn, row, strict=True)):
            from_front = group == "cuts" and number == 3
            view, place = ("coronal", 44) if from_front else ("axial", 28)
            axes.imshow(slice_picture(replace(case, image=one, label=None), view, place))
            axes.set(title=("" if number else "as drawn") + "from the front" * from_front, xticks=[], yticks=[])
        row[0].set_ylabel(group, fontsize=11)
    save(figure, "varied_crops.png")


def painted_map():
    if not MAP.is_file():
        return print(f"skip  painted_map.png: no file {MAP}")
    label_map = LabelMap(MAP)
    figure, panels = plt.subplots(1, 4, figsize=(9, 3.4), layout="constrained")
    first = label_map.paint(0)
    y = int(np.argmax((first.label > 0).sum(axis=(0, 2))))
    structures = label_map.structures[::-1, 2 * y].T[::-1]
    panels[0].imshow(structures, cmap="nipy_spectral", interpolation="nearest")
    panels[0].set_title("what was labelled")
    for seed, axes in zip((0, 1, 5), panels[1:], strict=True):
        axes.imshow(slice_picture(label_map.paint(seed), "coronal", y, opacity=0))
        axes.set_title(f"painted, seed {seed}")
    for axes in panels:
        axes.set(xticks=[], yticks=[])
    save(figure, "painted_map.png")


# Which mistake is shown: the scan, the organ whose worst slice it is, and what to see there.
FAILURES = (
    ("totalseg_example", "stomach", "gas in the colon taken for stomach"),
    ("totalseg_example", "pancreas", "stomach, and what lies around the vein, taken for pancreas"),
    ("totalseg_slab", "pancreas", "stomach taken for pancreas"),
    ("dcmqi_3slice", "liver", "in three slices, only the middle of a liver"),
)


def failures():
    """A row per mistake: the scan, what is compared with, and what `drawn` found."""
    if not (SHARED / "real_ct").is_dir():
        return print(f"skip  failures.png: no folder {SHARED / 'real_ct'}")
    run, files = load_run("drawn"), {file.name: file for file in find_cases(SHARED / "real_ct")}
    figure, rows = plt.subplots(len(FAILURES), 3, figsize=(9, 10), layout="constrained")
    for (name, organ, title), row in zip(FAILURES, rows, strict=True):
        case = files[name].load()
        found = predict(run, case)
        shown = [with_label(case, label) for label in (None, case.label, found)]
        wrong = (shown[1].label == ID[organ]) != (shown[2].label == ID[organ])
        place = wrong.sum(axis=(0, 1)).argmax()
        body = np.argwhere(shown[0].image[:, :, place][::-1, ::-1].T > -300)
        (top, left), (bottom, right) = np.percentile(body, (0.5, 99.5), axis=0)  # without table and arms
        for view, axes in zip(shown, row, strict=True):
            axes.imshow(slice_picture(view, "axial", place))
            axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        row[0].set_ylabel(name)
        row[1].set_title(title)
    for axes, what in zip(rows[-1], ("scan", "reference", "found by drawn"), strict=True):
        axes.set_xlabel(what)
    patches = [Patch(color=organ.colour, label=organ.name) for organ in ORGANS]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(ORGANS), frameon=False, columnspacing=1.2)
    save(figure, "failures.png")


def save(figure, name):
    figure.savefig(IMAGES / name, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    plt.switch_backend("Agg")
    varied_patients()
    varied_crops()
    painted_map()
    failures()
