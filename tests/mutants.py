"""Break the library, one behaviour at a time: each must turn a named test red, and the chapter that teaches it.

`make mutants`; `python tests/mutants.py 05_dice` tries those of one chapter.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """One error: `text` in a file of the library becomes `becomes`; `test`, if named, and `chapter` must fail."""

    behaviour: str
    file: str
    text: str
    becomes: str
    test: str = ""
    chapter: str = ""  # the notebook that teaches this, e.g. 05_dice


MUTANTS = (
    Mutant(
        "sign of the Dice", "losses.py",
        "per_class = -2.0 * intersection", "per_class = 2.0 * intersection",
        "test_losses.py::test_a_perfect_prediction_scores_minus_one_and_a_better_one_less",
        chapter="05_dice",
    ),
    Mutant(
        "labels interpolated linearly", "augmentation.py",
        "label.dtype, order=0", "label.dtype, order=1",
        "test_augmentation.py::test_a_warp_of_labels_brings_no_new_ids",
    ),
    Mutant(
        "margin 16", "inference.py",
        "MARGIN = 48", "MARGIN = 16",
        "test_inference.py::test_tiles_equal_the_whole_volume",
    ),
    Mutant(
        "an axis flipped", "geometry.py",
        "apply_orientation(labels, from_ras)", "apply_orientation(labels[::-1], from_ras)",
        "test_inference.py::test_labels_lie_on_the_files_own_grid_whatever_its_axes",
    ),
    Mutant(
        "displacement halved", "augmentation.py",
        "coordinates = displacement(", "coordinates = 0.5 * displacement(",
        "test_augmentation.py::test_the_warp_adds_the_displacement_at_full_strength",
    ),
    Mutant(
        "crops from one patient", "sampling.py",
        "chosen = rng.choice(len(self.patients), self.batch_size, replace=False)",
        "chosen = [rng.integers(len(self.patients))] * self.batch_size",
        "test_sampling.py::test_the_crops_of_a_batch_come_from_different_patients",
    ),
    Mutant(
        "unannotated organ as background", "losses.py",
        "    if annotated is None:", "    if True:",
        "test_losses.py::test_unannotated_organs_are_unknown_rather_than_background",
        chapter="05_dice",
    ),
    Mutant(
        "spacing ignored", "metrics.py",
        "sampling=spacing", "sampling=None",
        "test_metrics.py",
    ),
    Mutant(
        "batch norm in training mode at inference", "inference.py",
        "network.predict_on_batch(padded[None, :, :, seen, None])",
        "keras.ops.convert_to_numpy(network(padded[None, :, :, seen, None], training=True))",
        "test_inference.py::test_prediction_uses_the_running_statistics_of_batch_norm",
    ),
    Mutant(
        "half-voxel shift on the way back", "geometry.py",
        "back = np.linalg.inv(working_affine) @ affine",
        "back = np.array([[1, 0, 0, 0.5], *np.eye(4)[1:]]) @ np.linalg.inv(working_affine) @ affine",
        "test_inference.py::test_labels_lie_on_the_files_own_grid_whatever_its_axes",
        chapter="01_ct_and_geometry",
    ),
    Mutant(
        "kernels of 5 instead of 3", "networks.py",
        '(filters, 3, padding="same", use_bias=False', '(filters, 5, padding="same", use_bias=False',
        chapter="02_convolution",
    ),
    Mutant(
        "pooling over 3 instead of 2", "networks.py",
        '_layer("MaxPooling", spatial_dims)(2,', '_layer("MaxPooling", spatial_dims)(3,',
        chapter="02_convolution",
    ),
    Mutant(
        "a bias before batch norm", "networks.py",
        'padding="same", use_bias=False', 'padding="same", use_bias=True',
        chapter="02_convolution",
    ),
    Mutant(
        "skip connections lost", "networks.py",
        "([x, scores])", "([x, x])",
        chapter="04_fcn",
    ),
    Mutant(
        "average instead of max pooling", "networks.py",
        '_layer("MaxPooling", spatial_dims)', '_layer("AveragePooling", spatial_dims)',
        chapter="04_fcn",
    ),
    Mutant(
        "a network that sees raw HU", "inference.py",
        "normalise(working.image), tile_depth", "working.image, tile_depth",
        chapter="00_welcome",
    ),
    Mutant(
        "half-voxel shift on the way there", "geometry.py",
        "    working[:3, 3] = low + np.asarray(spacing) / 2", "    working[:3, 3] = low",
        chapter="01_ct_and_geometry",
    ),
    Mutant(
        "labels interpolated on the way there", "geometry.py",
        "_nearest(case.label, there, shape)",
        "np.rint(_linear(case.label.astype(np.float32), there, shape)).astype(np.uint8)",
        chapter="01_ct_and_geometry",
    ),
    Mutant(
        "no smoothing before down-sampling", "geometry.py",
        "    sigmas = np.sqrt(factors**2 - 1) / FWHM", "    sigmas = np.zeros(3)",
        chapter="01_ct_and_geometry",
    ),
    Mutant(
        "batch norm with Keras' momentum", "networks.py",
        "BATCH_NORM_MOMENTUM = 0.9", "BATCH_NORM_MOMENTUM = 0.99",
        chapter="03_cnn",
    ),
    Mutant(
        "training patients in the test", "folders.py",
        "training = [case for case in cases if patient_of[case.name] not in held_out]", "training = list(cases)",
        chapter="03_cnn",
    ),
    Mutant(
        "two scans of a patient on both sides", "folders.py",
        'patient_of = {case.name: getattr(case, "patient", "") or case.name for case in cases}',
        "patient_of = {case.name: case.name for case in cases}",
        "test_cases.py::test_two_scans_of_one_patient_are_never_divided",
        chapter="11_whole_paper",
    ),
    Mutant(
        "labels left behind when the axes are turned", "geometry.py",
        "label = None if case.label is None else orientations.apply_orientation(case.label, turn)",
        "label = case.label",
        chapter="11_whole_paper",
    ),
    Mutant(
        "a prediction on the wrong axes", "geometry.py",
        "return orientations.apply_orientation(labels, from_ras)", "return labels",
        chapter="11_whole_paper",
    ),
    Mutant(
        "the total as a median", "metrics.py",
        'errors="ignore").mean()', 'errors="ignore").median()',
        chapter="11_whole_paper",
    ),
)  # fmt: skip


@functools.cache
def passes_as_it_is(target):
    return passes(target, ROOT / "lib")


def passes(target, library):
    """True where a test, or a notebook compared with its stored outputs, passes with the library in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(library)}
    if target.endswith(".ipynb"):
        command += ["--nbval"]
        environment |= {"ORGANSEG_PROFILE": "fast"}
        environment.pop("MPLBACKEND", None)
    done = subprocess.run([*command, target], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1 is a failed test; anything else never got as far
        sys.exit(f"{target}: pytest ended with status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


def targets(mutant):
    if mutant.test:
        yield f"tests/{mutant.test}"
    if mutant.chapter:
        yield f"notebooks/{mutant.chapter}.ipynb"


def main():
    survived = tried = 0
    wanted = sys.argv[1:]  # chapters or parts of a behaviour's name; all without
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lib"
        for mutant in MUTANTS:
            if wanted and not any(word in (mutant.chapter, mutant.behaviour) for word in wanted):
                continue
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(ROOT / "lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
            file = copy / "organseg" / mutant.file
            source = file.read_text()
            if source.count(mutant.text) != 1:
                sys.exit(f"{mutant.file}: found {source.count(mutant.text)} times, expected once: {mutant.text}")
            file.write_text(source.replace(mutant.text, mutant.becomes))
            for target in targets(mutant):
                if not passes_as_it_is(target):
                    sys.exit(f"{target} fails on the library as it is; mend that first")
                alive = passes(target, copy)
                survived, tried = survived + alive, tried + 1
                print(f"{'SURVIVED' if alive else 'caught':9}{mutant.behaviour:42}{target}", flush=True)
    print(f"\n{tried - survived} of {tried} caught")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
