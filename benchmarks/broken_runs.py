"""Train one sound and eight broken networks for chapter 12's gallery of failures: `make gallery`.

Each broken run differs from the sound one in one place, an error that people make. Its curves, scores and one picture
are stored in lib/organseg/weights/broken_runs.npz (see `organseg.course.gallery`). The nine took 27 minutes together on
two busy CPU cores, and 1.3 GB of memory; `python benchmarks/broken_runs.py leak` makes one run anew.
"""

import argparse
import inspect
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from organseg import make_phantom
from organseg.backend import keras
from organseg.course.chapter_12 import CAUSES
from organseg.course.gallery import GALLERY, GalleryRun
from organseg.device.crops import DeviceCrops
from organseg.device.steps import take_steps
from organseg.geometry import WorkingGrid, to_file_grid, to_working
from organseg.inference import predict_probabilities
from organseg.metrics import dice
from organseg.networks import unet
from organseg.organs import ORGAN_IDS
from organseg.profiles import PROFILES, Profile
from organseg.sampling import CropSampler
from organseg.scans import normalise, to_scan
from organseg.training import Segmenter, compile_for_training, mean_dice, validate

SHAPE = (64, 64, 64)
GRID = WorkingGrid((6.0,) * 3)
PROFILE = PROFILES["lesson"].replace(steps=400, validate_every=25, augment=False)
NEW = range(200, 206)


@dataclass(frozen=True)
class Recipe:
    """A run; what is not set is as in the sound one."""

    profile: Profile = PROFILE
    training: range = range(16)  # the phantoms' seeds
    validation: range = range(100, 104)
    relabel: object = None  # what happens to the labels of a training patient; gets its number too
    mark: object = None  # what happens to the images of training and validation patients; gets the label too
    network: object = partial(unet, base_filters=PROFILE.base_filters)
    segmenter: object = None  # another loss
    write: object = None  # what happens to a prediction on its way into a file


def two_softmaxes():
    """The network ends in a softmax, and its user adds another."""
    network = unet(base_filters=PROFILE.base_filters)
    return keras.Model(network.inputs, keras.layers.Softmax()(network.outputs[0]))


def slow_averages():
    """Batch normalisation with a momentum that was chosen for trainings of many thousands of steps."""
    network = unet(base_filters=PROFILE.base_filters)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.999
    return network


def every_other_one_flipped(label, number):
    """Half of the label files come from a tool that stores left and right the other way round."""
    return label[::-1] if number % 2 else label


def interpolated(label, _):
    """Labels brought to a grid of half the resolution and back, linearly in their numbers, then rounded."""
    there = ndimage.zoom(label.astype(np.float32), 0.5, order=1)
    back = ndimage.zoom(there, np.array(label.shape) / there.shape, order=1)
    return np.rint(back).astype(np.uint8)


def tinted(image, label):
    """Exported from the annotation tool with its overlay switched on: each organ is brighter by its number."""
    return image + 30.0 * label


class OneDiceForAll(Segmenter):
    """One Dice over all classes at once, instead of the mean of one Dice per class: nearly all of it is background."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        truth = keras.ops.one_hot(y[0], y_pred.shape[-1])
        return -2.0 * keras.ops.sum(truth * y_pred) / keras.ops.sum(truth + y_pred)


def wrong_axes(label):
    """A prediction in RAS, written with the affine of a file in LPS."""
    return label[::-1, ::-1]


RECIPES = {
    "sound": Recipe(),
    "double softmax": Recipe(network=two_softmaxes),
    "flipped labels": Recipe(relabel=every_other_one_flipped),
    "linear label interpolation": Recipe(relabel=interpolated),
    "wrong affine": Recipe(write=wrong_axes),
    "learning rate": Recipe(profile=replace(PROFILE, learning_rate=1.0)),
    "background in the way": Recipe(segmenter=OneDiceForAll),
    "batch norm": Recipe(network=slow_averages),
    "leak": Recipe(mark=tinted),
}


def described(recipe):
    """A recipe as text, with the source of its functions, to tell whether a stored run was made by it."""

    def told(value):
        if isinstance(value, type) or inspect.isfunction(value):
            return inspect.getsource(value)
        if isinstance(value, Profile):  # a setting that profiles get later, at its default, changes no run
            return str({k: v for k, v in vars(value).items() if v != getattr(Profile(""), k)})
        return f"{value.func.__name__} {value.keywords}" if isinstance(value, partial) else str(value)

    settings = [f"phantoms {SHAPE}, {GRID}, new patients {NEW}"]
    return "\n".join(settings + [f"{key}: {told(value)}" for key, value in vars(recipe).items()])


def patients(seeds, relabel=None, mark=None):
    """Phantoms on the working grid; `relabel` and `mark` are what happens to their labels and images."""
    cases = []
    for seed in seeds:
        case = to_working(make_phantom(seed, SHAPE), GRID)
        image = mark(case.image, case.label) if mark else case.image
        label = relabel(case.label, seed) if relabel else case.label
        cases.append(replace(case, image=np.float32(image), label=np.ascontiguousarray(label)))
    return cases


def model(recipe):
    """The network and what trains it."""
    keras.utils.set_random_seed(0)
    network = recipe.network()
    segmenter = compile_for_training(network, recipe.profile)
    if recipe.segmenter:
        optimizer, segmenter = segmenter.optimizer, recipe.segmenter(network.inputs, network.outputs)
        segmenter.compile(optimizer=optimizer)
    return network, segmenter


def train(recipe):
    """Train by one recipe; returns a GalleryRun."""
    profile, mark = recipe.profile, recipe.mark
    training, validation = patients(recipe.training, recipe.relabel, mark), patients(recipe.validation, mark=mark)
    network, segmenter = model(recipe)
    options = profile.crop_size, profile.batch_size, profile.organ_share, profile.augment
    history = []
    source = DeviceCrops(CropSampler(list(map(to_scan, training)), *options))
    for row in take_steps(segmenter, source, profile):
        row |= validate(network, list(map(to_scan, validation)))
        history.append((row["step"], row["loss"], row["validation_loss"], mean_dice(row)))
    steps, loss, validation_loss, validation_dice = np.array(history, dtype=np.float32).T
    given, new = training[1], patients(NEW)
    z = slice_to_show(given.label if recipe.relabel is None else patients(recipe.training[1:2])[0].label)
    by_batch, by_average = crop_scores(network, CropSampler(list(map(to_scan, new)), *options), steps=range(10))
    return GalleryRun(
        steps, loss, validation_loss, validation_dice, crops_by_batch=by_batch, crops_by_average=by_average,
        given_image=grey(given.image[:, :, z]), given_label=given.label[:, :, z], **scored(network, recipe.write),
    )  # fmt: skip


def scored(network, write):
    """New patients, predicted and scored on their files' own grids, with a slice of the first one."""
    scores, right, largest = [], [], []
    for seed in NEW:
        case = make_phantom(seed, SHAPE)
        working = to_working(case, GRID)
        probabilities = predict_probabilities(network, normalise(working.image))
        label = to_file_grid(probabilities, working.affine, case.image.shape, case.affine)
        label = write(label) if write else label
        scores.append([dice(case.label == organ, label == organ) for organ in ORGAN_IDS])
        right.append(np.mean(case.label == label))
        largest.append(probabilities.max())
        if seed == NEW[0]:
            z = slice_to_show(case.label)
            picture = {"new_image": grey(case.image[:, :, z]), "new_label": case.label[:, :, z],
                       "prediction": label[:, :, z]}  # fmt: skip
    return picture | {"new_dice": np.nanmean(scores, axis=0), "right": np.mean(right), "largest": max(largest)}


def crop_scores(network, sampler, steps):
    """Mean Dice of crops by batch statistics and by moving averages; an organ's voxels are counted over all crops."""
    truth, found = [], {True: [], False: []}
    for step in steps:
        images, labels, _ = sampler.batch(step)
        truth.append(labels)
        for training, predicted in found.items():
            predicted.append(keras.ops.convert_to_numpy(network(images, training=training)).argmax(axis=-1))
    truth = np.stack(truth)
    return (
        float(np.nanmean([dice(truth == organ, np.stack(found[training]) == organ) for organ in ORGAN_IDS]))
        for training in (True, False)
    )


def slice_to_show(label):
    """The axial slice in which most organs are to be seen, and of these the one with most of the smallest."""
    counts = np.array([[np.sum(plane == organ) for organ in ORGAN_IDS] for plane in np.moveaxis(label, 2, 0)])
    return int(np.lexsort((np.sort(counts, axis=1)[:, 2], (counts > 0).sum(axis=1)))[-1])


def grey(image):
    """A window of HU as bytes."""
    return np.rint(255 * normalise(image)).astype(np.uint8)


def stored():
    if not GALLERY.exists():
        return {}
    with np.load(GALLERY) as file:
        return dict(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("causes", nargs="*", help=f"of {', '.join(RECIPES)}; all by default")
    chosen = parser.parse_args().causes or list(RECIPES)
    if unknown := set(chosen) - set(RECIPES):
        parser.error(f"found {', '.join(sorted(unknown))}; expected some of {', '.join(RECIPES)}")
    letters = {cause: letter for letter, cause in CAUSES.items()} | {"sound": "sound"}
    for cause in chosen:
        began = time.monotonic()
        run = train(RECIPES[cause])
        values = {f"{letters[cause]}.{key}": np.asarray(value) for key, value in vars(run).items()}
        values[f"{letters[cause]}.recipe"] = np.asarray(described(RECIPES[cause]))
        np.savez_compressed(GALLERY, **(stored() | values))
        told = {key: np.round(value, 2).tolist() for key, value in vars(run).items() if np.size(value) in (1, 7)}
        print(
            f"{cause}: {time.monotonic() - began:.0f} s, loss {run.loss[-1]:.2f}, {told}", file=sys.stderr, flush=True
        )


if __name__ == "__main__":
    main()
