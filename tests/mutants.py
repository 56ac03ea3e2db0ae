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
        "concatenation without the skip's features", "networks.py",
        "([x, features])", "([x, x])",
        chapter="06_unet",
    ),
    Mutant(
        "steps up that halve the channels", "networks.py",
        "up(x.shape[-1], 2,", "up(x.shape[-1] // 2, 2,",
        chapter="06_unet",
    ),
    Mutant(
        "steps up counted per voxel put out", "costs.py",
        'incoming[0][:-1] if "Transpose" in type(layer).__name__ else after[:-1]', "after[:-1]",
        "test_costs.py::test_a_small_network_by_hand",
        chapter="06_unet",
    ),
    Mutant(
        "the way back not counted", "costs.py",
        "return 3 * batch_size", "return batch_size",
        "test_costs.py::test_work_and_memory_follow_the_number_of_voxels",
        chapter="06_unet",
    ),
    Mutant(
        "a margin shorter than the reach", "inference.py",
        "MARGIN = 48", "MARGIN = 40",
        chapter="09_inference",
    ),
    Mutant(
        "tiles that start between multiples of 8", "inference.py",
        "margin = -(-margin // MULTIPLE) * MULTIPLE", "margin = margin - 1",
        chapter="09_inference",
    ),
    Mutant(
        "labels up-sampled instead of probabilities", "geometry.py",
        "classes = [np.ascontiguousarray(probabilities[..., c], dtype=np.float32)",
        "classes = [(probabilities.argmax(axis=-1) == c).astype(np.float32)",
        chapter="09_inference",
    ),
    Mutant(
        "another precision without the weights", "inference.py",
        "    copy.set_weights(network.get_weights())\n", "",
        chapter="09_inference",
    ),
    Mutant(
        "labels of a crop read linearly", "augmentation.py",
        "label.dtype, order=0", "label.dtype, order=1",
        chapter="07_augmentation",
    ),
    Mutant(
        "control points from the first voxel on", "augmentation.py",
        "(np.arange(count) - 1))", "np.arange(count))",
        chapter="07_augmentation",
    ),
    Mutant(
        "rotation by indices", "augmentation.py",
        "    linear = linear * size / size[:, None]", "    linear = linear * size / size",
        chapter="07_augmentation",
    ),
    Mutant(
        "a crop that is not turned", "augmentation.py",
        "angles = rng.uniform(-MAX_ROTATION, MAX_ROTATION, 3)", "angles = rng.uniform(-1, 1, 3)",
        chapter="07_augmentation",
    ),
    Mutant(
        "sums in float16", "losses.py",
        'probabilities = ops.cast(probabilities, "float32")', 'probabilities = ops.cast(probabilities, "float16")',
        chapter="08_training",
    ),
    Mutant(
        "no loss scaling in float16", "training.py",
        'if any(layer.compute_dtype == "float16"', 'if any(layer.compute_dtype == "float64"',
        "test_training.py::test_the_loss_is_scaled_in_float16_alone",
        chapter="08_training",
    ),
    Mutant(
        "a checkpoint without the optimiser", "training.py",
        "return [*segmenter.weights, *segmenter.optimizer.variables]", "return [*segmenter.weights]",
        "test_training.py::test_a_resumed_run_ends_where_an_unbroken_one_does",
        chapter="08_training",
    ),
    Mutant(
        "crops that depend on more than the step", "sampling.py",
        "rng = np.random.default_rng([self.seed, step])", "rng = np.random.default_rng()",
        chapter="08_training",
    ),
    Mutant(
        "half resolution without its half voxel", "geometry.py",
        "coarse[:3, 3] += 0.5 * affine", "coarse[:3, 3] += 0.0 * affine",
        chapter="10_evaluation",
    ),
    Mutant(
        "Total Avg. over medians", "metrics.py",
        'return organs.drop(columns="n", errors="ignore").mean()',
        'return organs.drop(columns="n", errors="ignore").median()',
        "test_metrics.py::test_the_total_rows_of_the_paper_are_means_of_the_organ_rows",
        chapter="10_evaluation",
    ),
    Mutant(
        "distances from the truth only", "metrics.py",
        "return np.concatenate([self.from_truth, self.from_prediction])", "return self.from_truth",
        chapter="10_evaluation",
    ),
    Mutant(
        "stray pieces smoothed away", "rendering.py",
        "SMALL_PIECE = 60", "SMALL_PIECE = 0",
        "test_rendering.py::test_a_stray_voxel_keeps_its_size_whatever_the_coarsening",
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
    Mutant(
        "the smallest piece kept", "postprocessing.py",
        "sizes.argmax()", "sizes.argmin()",
        "test_postprocessing.py::test_the_larger_of_two_pieces_stays_and_the_other_becomes_background",
        chapter="12_beyond",
    ),
    Mutant(
        "pieces joined by faces only", "postprocessing.py",
        "generate_binary_structure(3, connectivity)", "generate_binary_structure(3, 1)",
        "test_postprocessing.py::test_connectivity_says_which_neighbours_belong_together",
        chapter="12_beyond",
    ),
    Mutant(
        "pieces of all organs together", "postprocessing.py",
        "ndimage.label(labels == organ, touching)", "ndimage.label(labels > 0, touching)",
        "test_postprocessing.py::test_only_the_organs_asked_for_are_treated",
        chapter="12_beyond",
    ),
    Mutant(
        "another organ filled as a hole", "postprocessing.py",
        "& (filled == 0)", "& (filled != organ)",
        "test_postprocessing.py::test_a_hole_is_filled_and_another_organ_inside_stays",
        chapter="12_beyond",
    ),
    Mutant(
        "a failure filed under another letter", "exercises/chapter_12.py",
        '"F": "batch norm",', '"F": "leak",',
        "test_gallery.py::test_with_slow_averages_the_network_fails_only_at_inference",
        chapter="12_beyond",
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
