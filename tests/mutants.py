"""Break the library, one behaviour at a time: each must turn a named test red, and the chapter that teaches it.

`make mutants`; `python tests/mutants.py 05_dice` tries those of one chapter, `--tests` leaves the notebooks out.
What was caught is written to tests/mutants.json, from which the ledger of the paper's facts is made.
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / "tests" / "mutants.json"


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
        "core/test_losses.py::test_a_perfect_prediction_scores_minus_one_and_a_better_one_less",
        chapter="05_dice",
    ),
    Mutant(
        "labels interpolated linearly", "augmentation.py",
        "label.dtype, order=0", "label.dtype, order=1",
        "core/test_augmentation.py::test_a_warp_of_labels_brings_no_new_ids",
    ),
    Mutant(
        "margin 16", "inference.py",
        "MARGIN = 48", "MARGIN = 16",
        "core/test_inference.py::test_tiles_equal_the_whole_volume",
    ),
    Mutant(
        "an axis flipped", "geometry.py",
        "apply_orientation(labels, from_ras)", "apply_orientation(labels[::-1], from_ras)",
        "core/test_inference.py::test_labels_lie_on_the_files_own_grid_whatever_its_axes",
    ),
    Mutant(
        "displacement halved", "augmentation.py",
        "coordinates = displacement(", "coordinates = 0.5 * displacement(",
        "core/test_augmentation.py::test_the_warp_adds_the_displacement_at_full_strength",
    ),
    Mutant(
        "crops from one patient", "sampling.py",
        "chosen = rng.choice(len(self.patients), self.batch_size, replace=False)",
        "chosen = [rng.integers(len(self.patients))] * self.batch_size",
        "core/test_sampling.py::test_the_crops_of_a_batch_come_from_different_patients",
    ),
    Mutant(
        "unannotated organ as background", "losses.py",
        "    if annotated is None:", "    if True:",
        "core/test_losses.py::test_unannotated_organs_are_unknown_rather_than_background",
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
        "core/test_inference.py::test_prediction_uses_the_running_statistics_of_batch_norm",
    ),
    Mutant(
        "half-voxel shift on the way back", "geometry.py",
        "back = np.linalg.inv(working_affine) @ affine",
        "back = np.array([[1, 0, 0, 0.5], *np.eye(4)[1:]]) @ np.linalg.inv(working_affine) @ affine",
        "core/test_inference.py::test_labels_lie_on_the_files_own_grid_whatever_its_axes",
        chapter="01_ct_and_geometry",
    ),
    # One error per fact of the paper that none of the others breaks; book/ledger.toml names them.
    Mutant(
        "dense layers without ReLU", "networks.py",
        'activation="relu"', 'activation="linear"',
        "core/test_paper.py::test_the_cnn_is_convolutions_max_pooling_relu_dense_layers_and_a_softmax",
    ),
    Mutant(
        "an image with another's labels", "sampling.py",
        "return images[..., None], labels, annotated", "return images[..., None], labels[::-1], annotated",
        "core/test_paper.py::test_an_image_is_learned_from_with_its_own_labels",
    ),
    Mutant(
        "three levels", "networks.py",
        "def unet(num_classes=NUM_CLASSES, base_filters=32, levels=4,",
        "def unet(num_classes=NUM_CLASSES, base_filters=32, levels=3,",
        "core/test_networks.py::test_the_unet_has_the_layers_of_section_2a",
    ),
    Mutant(
        "convolutions without ReLU", "networks.py",
        "return layers.ReLU(dtype=dtype)(x)", "return x",
        "core/test_paper.py::test_every_convolution_of_the_unet_is_followed_by_batch_norm_and_relu",
    ),
    Mutant(
        "up-sampling that is not learned", "networks.py",
        "up(x.shape[-1], 2, strides=2, dtype=dtype)(x)", '_layer("UpSampling", spatial_dims)(2, dtype=dtype)(x)',
        "core/test_paper.py::test_the_synthesis_path_has_two_convolutions_after_each_transposed_one",
    ),
    Mutant(
        "one convolution per step up", "networks.py",
        "for _ in range(2):", "for _ in range(1):",
        "core/test_paper.py::test_the_synthesis_path_has_two_convolutions_after_each_transposed_one",
    ),
    Mutant(
        "convolutions without padding", "networks.py",
        '(filters, 3, padding="same"', '(filters, 3, padding="valid"',
        "core/test_paper.py::test_convolutions_pad_with_zeros",
    ),
    Mutant(
        "a sigmoid instead of the softmax", "networks.py",
        "layers.Softmax(dtype=", 'layers.Activation("sigmoid", dtype=',
        "core/test_networks.py::test_an_image_and_its_probabilities_have_the_same_size",
    ),
    Mutant(
        "no class for the background", "organs.py",
        "NUM_CLASSES = 1 + len(ORGANS)", "NUM_CLASSES = len(ORGANS)",
        "core/test_networks.py::test_an_image_and_its_probabilities_have_the_same_size",
    ),
    Mutant(
        "crops of 32 voxels", "sampling.py",
        "crop_size=64, batch_size=3", "crop_size=32, batch_size=3",
        "core/test_paper.py::test_a_mini_batch_is_three_crops_of_64_voxels_unless_one_asks_otherwise",
    ),
    Mutant(
        "mini-batches of two", "profiles.py",
        "batch_size: int = 3", "batch_size: int = 2",
        "core/test_training.py::test_the_paper_profile_changes_nothing_of_the_paper",
    ),
    Mutant(
        "no batch normalisation", "networks.py",
        "    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, dtype=dtype)(x)\n", "",
        "core/test_networks.py::test_the_unet_has_the_layers_of_section_2a",
    ),
    Mutant(
        "crops from one corner of the scan", "sampling.py",
        "rng.integers(np.maximum(free, 0) + 1)", "rng.integers(np.maximum(free, 0) // 2 + 1)",
        "core/test_sampling.py::test_uniform_crops_reach_every_corner_of_a_scan",
    ),
    Mutant(
        "tiles that do not overlap", "inference.py",
        "max(k.start - margin, 0), min(k.stop + margin, depth)", "k.start, k.stop",
        "core/test_paper.py::test_every_tile_covers_the_whole_xy_plane_and_overlaps_the_next_along_z",
    ),
    Mutant(
        "control points that move twice as far", "augmentation.py",
        "MAX_DISPLACEMENT = 4.0", "MAX_DISPLACEMENT = 8.0",
        "core/test_paper.py::test_control_points_lie_24_voxels_apart_and_move_by_up_to_4",
    ),
    Mutant(
        "control points 12 voxels apart", "augmentation.py",
        "CONTROL_SPACING = 24.0", "CONTROL_SPACING = 12.0",
        "core/test_paper.py::test_control_points_lie_24_voxels_apart_and_move_by_up_to_4",
    ),
    Mutant(
        "translations half as far", "augmentation.py",
        "MAX_TRANSLATION = 20.0", "MAX_TRANSLATION = 10.0",
        "core/test_augmentation.py::test_drawn_parameters_fill_the_papers_ranges_uniformly",
    ),
    Mutant(
        "the same warp at every step", "sampling.py",
        "draw_warp(rng, self.shape", "draw_warp(np.random.default_rng(0), self.shape",
        "core/test_paper.py::test_rotations_and_translations_are_drawn_anew_for_every_crop",
    ),
    Mutant(
        "equation 1 summed over the batch", "losses.py",
        "    if batch_sum:", "    if True:",
        "core/test_paper.py::test_equation_1_sums_over_one_image_by_hand",
    ),
    Mutant(
        "the background left out of equation 2", "losses.py",
        "per_image = ops.sum(weights * per_class * counted, axis=-1) / ops.sum(counted, axis=-1)",
        "per_image = ops.sum((weights * per_class * counted)[:, 1:], axis=-1) / ops.sum(counted[:, 1:], axis=-1)",
        "core/test_paper.py::test_equation_2_counts_the_background_and_weighs_all_classes_alike",
    ),
    Mutant(
        "small organs weigh more", "losses.py",
        "weights = ops.ones_like(true) if weights is None", "weights = _inverse_volumes(true, 1) if weights is None",
        "core/test_paper.py::test_equation_2_counts_the_background_and_weighs_all_classes_alike",
    ),
    Mutant(
        "another backend by default", "backend.py",
        "    import keras\n", '    os.environ.setdefault("KERAS_BACKEND", "jax")\n    import keras\n',
        "core/test_paper.py::test_the_default_backend_is_tensorflow",
    ),
    Mutant(
        "stochastic gradient descent instead of Adam", "training.py",
        "keras.optimizers.Adam(rate)", "keras.optimizers.SGD(rate)",
        "core/test_training.py::test_adam_starts_at_1e_2_and_only_schedules_change_it",
    ),
    Mutant(
        "a learning rate of 0.001", "profiles.py",
        "learning_rate: float = 1e-2", "learning_rate: float = 1e-3",
        "core/test_training.py::test_adam_starts_at_1e_2_and_only_schedules_change_it",
    ),
    Mutant(
        "a schedule that the paper does not name", "profiles.py",
        "schedule: bool = False", "schedule: bool = True",
        "core/test_training.py::test_the_paper_profile_changes_nothing_of_the_paper",
    ),
    Mutant(
        "5,000 iterations", "profiles.py",
        "steps: int = 50_000", "steps: int = 5_000",
        "core/test_training.py::test_the_paper_profile_changes_nothing_of_the_paper",
    ),
    Mutant(
        "a forecast for 5,000 iterations", "command/preflight.py",
        "ITERATIONS = 50_000", "ITERATIONS = 5_000",
        "command/test_preflight.py::test_the_paper_week_is_12_seconds_per_step",
    ),
    Mutant(
        "tiles where a whole scan fits", "inference.py",
        "MEMORY_BUDGET = 7.2e9", "MEMORY_BUDGET = 0.72e9",
        "core/test_paper.py::test_a_case_of_the_papers_size_passes_the_network_in_one_piece",
    ),
    Mutant(
        "the paper's voxel sizes taken for coarse ones", "geometry.py",
        "(spacings >= 0.4)", "(spacings >= 0.7)",
        "core/test_geometry.py::test_full_resolution_scans_get_the_papers_factor_and_others_3_mm",
    ),
    Mutant(
        "a registry without the pancreas", "organs.py",
        '    Organ(7, "pancreas", "#f0e442", "pancreas: head, body and tail"),\n', "",
        "core/test_paper.py::test_the_organs_are_the_seven_of_table_1",
    ),
    Mutant(
        "down-sampling by 2", "geometry.py",
        "(4 * np.median(spacings, axis=0)).tolist()), factor=4)",
        "(2 * np.median(spacings, axis=0)).tolist()), factor=2)",
        "core/test_paper.py::test_slices_of_512_pixels_become_128_and_a_quarter_of_the_slices_stays",
    ),
    Mutant(
        "38 patients to test on", "folders.py",
        "def split(cases, test=37,", "def split(cases, test=38,",
        "core/test_cases.py::test_the_papers_377_patients_split_into_340_and_37",
    ),
    Mutant(
        "a split that is not random", "folders.py",
        "np.random.default_rng(seed).permutation(patients)[:test].tolist()", "patients[:test]",
        "core/test_cases.py::test_the_papers_377_patients_split_into_340_and_37",
    ),
    Mutant(
        "half a Dice", "metrics.py",
        "return 2 * np.count_nonzero(truth & prediction) / size", "return np.count_nonzero(truth & prediction) / size",
        "core/test_metrics.py::test_values_by_hand",
    ),
    Mutant(
        "minimum and maximum exchanged", "metrics.py",
        '"Min.": "min", "Max.": "max"', '"Min.": "max", "Max.": "min"',
        "core/test_metrics.py::test_the_table_is_that_of_the_paper",
    ),
    Mutant(
        "the training curve drawn twice", "training.py",
        '[row["validation_loss"] for row in history]', '[row["loss"] for row in history]',
        "core/test_paper.py::test_the_curves_show_the_training_and_the_testing_loss",
    ),
    Mutant(
        "the truth in the prediction's place", "show/slices.py",
        'columns["prediction"] = to_canonical(replace(case, label=np.asarray(prediction).astype(np.uint8)))',
        'columns["prediction"] = to_canonical(case)',
        "show/test_slices.py::test_truth_and_prediction_stand_side_by_side_in_mm",
    ),
    Mutant(
        "a loss that looks at a voxel's neighbour", "losses.py",
        'probabilities = ops.cast(probabilities, "float32")',
        'probabilities = ops.roll(ops.cast(probabilities, "float32"), 1, axis=1)',
        "core/test_paper.py::test_the_loss_has_no_constraint_on_shape",
    ),
    Mutant(
        "an FCN that interpolates", "networks.py",
        '_layer("Conv", spatial_dims, "Transpose")(num_classes, 4, strides=2, padding="same", dtype=dtype)(x)',
        '_layer("UpSampling", spatial_dims)(2, dtype=dtype)(x)',
        "core/test_paper.py::test_the_fcn_learns_its_up_sampling_has_no_dense_layer_and_adds_the_scores_of_the_way_down",
    ),
    Mutant(
        "an FCN that puts out another size", "networks.py",
        "(num_classes, 4, strides=2, padding=", "(num_classes, 4, strides=1, padding=",
        "core/test_networks.py::test_an_image_and_its_probabilities_have_the_same_size",
    ),
    Mutant(
        "a first layer that does not learn", "training.py",
        "    segmenter.batch_sum = profile.batch_sum\n",
        "    segmenter.batch_sum = profile.batch_sum\n    network.layers[1].trainable = False\n",
        "core/test_paper.py::test_a_training_step_changes_every_layer_from_the_image_to_the_labels",
    ),
    Mutant(
        "crops of 48 voxels in the profile", "profiles.py",
        "crop_size: int = 64", "crop_size: int = 48",
        "core/test_training.py::test_the_paper_profile_changes_nothing_of_the_paper",
    ),
    Mutant(
        "half of the xy plane", "inference.py",
        "    tile = np.asarray(network.predict_on_batch(padded[None, :, :, seen, None]))[0]",
        "    padded[padded.shape[0] // 2 :] = 0\n"
        "        tile = np.asarray(network.predict_on_batch(padded[None, :, :, seen, None]))[0]",
        "core/test_paper.py::test_every_tile_covers_the_whole_xy_plane_and_overlaps_the_next_along_z",
    ),
    Mutant(
        "volume weights without their power", "losses.py",
        "1.0 / ops.maximum(volumes, 1.0) ** power", "1.0 / ops.maximum(volumes, 1.0)",
        "core/test_losses.py::test_weights_follow_the_formula_by_hand",
    ),
    Mutant(
        "variances instead of standard deviations", "metrics.py",
        '"Std.": "std"', '"Std.": "var"',
        "core/test_metrics.py::test_the_table_is_that_of_the_paper",
    ),
    Mutant(
        "the truth rendered in the prediction's place", "show/mesh.py",
        'labels["prediction"] = np.asarray(prediction).astype(np.uint8)', 'labels["prediction"] = case.label',
        "show/test_mesh.py::test_what_a_notebook_stores",
    ),
    Mutant(
        "kernels of 5 instead of 3", "networks.py",
        '(filters, 3, padding="same", use_bias=False', '(filters, 5, padding="same", use_bias=False',
        "core/test_networks.py::test_the_unet_has_the_layers_of_section_2a",
        chapter="02_convolution",
    ),
    Mutant(
        "pooling over 3 instead of 2", "networks.py",
        '_layer("MaxPooling", spatial_dims)(2,', '_layer("MaxPooling", spatial_dims)(3,',
        "core/test_networks.py::test_the_unet_has_the_layers_of_section_2a",
        chapter="02_convolution",
    ),
    Mutant(
        "a bias before batch norm", "networks.py",
        'padding="same", use_bias=False', 'padding="same", use_bias=True',
        "core/test_paper.py::test_the_default_unet_has_19_071_784_trainable_parameters",
        chapter="02_convolution",
    ),
    Mutant(
        "skip connections lost", "networks.py",
        "([x, scores])", "([x, x])",
        "core/test_paper.py::test_the_fcn_learns_its_up_sampling_has_no_dense_layer_and_adds_the_scores_of_the_way_down",
        chapter="04_fcn",
    ),
    Mutant(
        "average instead of max pooling", "networks.py",
        '_layer("MaxPooling", spatial_dims)', '_layer("AveragePooling", spatial_dims)',
        "core/test_paper.py::test_the_cnn_is_convolutions_max_pooling_relu_dense_layers_and_a_softmax",
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
        "core/test_cases.py::test_the_papers_377_patients_split_into_340_and_37",
        chapter="03_cnn",
    ),
    Mutant(
        "concatenation without the skip's features", "networks.py",
        "([x, features])", "([x, x])",
        "core/test_paper.py::test_skip_connections_concatenate_the_features_of_the_analysis_path",
        chapter="06_unet",
    ),
    Mutant(
        "steps up that halve the channels", "networks.py",
        "up(x.shape[-1], 2,", "up(x.shape[-1] // 2, 2,",
        "core/test_paper.py::test_the_default_unet_has_19_071_784_trainable_parameters",
        chapter="06_unet",
    ),
    Mutant(
        "steps up counted per voxel put out", "course/costs.py",
        'incoming[0][:-1] if "Transpose" in type(layer).__name__ else after[:-1]', "after[:-1]",
        "course/test_costs.py::test_a_small_network_by_hand",
        chapter="06_unet",
    ),
    Mutant(
        "the way back not counted", "course/costs.py",
        "return 3 * batch_size", "return batch_size",
        "course/test_costs.py::test_work_and_memory_follow_the_number_of_voxels",
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
        "core/test_augmentation.py::test_drawn_parameters_fill_the_papers_ranges_uniformly",
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
        "core/test_training.py::test_the_loss_is_scaled_in_float16_alone",
        chapter="08_training",
    ),
    Mutant(
        "a checkpoint without the optimiser", "training.py",
        "return [*segmenter.weights, *segmenter.optimizer.variables]", "return [*segmenter.weights]",
        "core/test_training.py::test_a_resumed_run_ends_where_an_unbroken_one_does",
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
        "core/test_geometry.py::test_half_resolution_covers_the_same_volume",
        chapter="10_evaluation",
    ),
    Mutant(
        "Total Avg. over medians", "metrics.py",
        'return organs.drop(columns="n", errors="ignore").mean()',
        'return organs.drop(columns="n", errors="ignore").median()',
        "core/test_metrics.py::test_the_total_rows_of_the_paper_are_means_of_the_organ_rows",
        chapter="10_evaluation",
    ),
    Mutant(
        "distances from the truth only", "metrics.py",
        "return np.concatenate([self.from_truth, self.from_prediction])", "return self.from_truth",
        chapter="10_evaluation",
    ),
    Mutant(
        "stray pieces smoothed away", "show/mesh.py",
        "SMALL_PIECE = 60", "SMALL_PIECE = 0",
        "show/test_mesh.py::test_a_stray_voxel_keeps_its_size_whatever_the_coarsening",
    ),
    Mutant(
        "two scans of a patient on both sides", "folders.py",
        'patient_of = {case.name: getattr(case, "patient", "") or case.name for case in cases}',
        "patient_of = {case.name: case.name for case in cases}",
        "core/test_cases.py::test_two_scans_of_one_patient_are_never_divided",
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
        "core/test_postprocessing.py::test_the_larger_of_two_pieces_stays_and_the_other_becomes_background",
        chapter="12_beyond",
    ),
    Mutant(
        "pieces joined by faces only", "postprocessing.py",
        "generate_binary_structure(3, connectivity)", "generate_binary_structure(3, 1)",
        "core/test_postprocessing.py::test_connectivity_says_which_neighbours_belong_together",
        chapter="12_beyond",
    ),
    Mutant(
        "pieces of all organs together", "postprocessing.py",
        "ndimage.label(labels == organ, touching)", "ndimage.label(labels > 0, touching)",
        "core/test_postprocessing.py::test_only_the_organs_asked_for_are_treated",
        chapter="12_beyond",
    ),
    Mutant(
        "another organ filled as a hole", "postprocessing.py",
        "& (filled == 0)", "& (filled != organ)",
        "core/test_postprocessing.py::test_a_hole_is_filled_and_another_organ_inside_stays",
        chapter="12_beyond",
    ),
    Mutant(
        "a failure filed under another letter", "course/chapter_12.py",
        '"F": "batch norm",', '"F": "leak",',
        "course/test_gallery.py::test_with_slow_averages_the_network_fails_only_at_inference",
        chapter="12_beyond",
    ),
)  # fmt: skip


def passes(targets, library):
    """True where tests, or notebooks compared with their stored outputs, pass with the library in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(library)}
    if any(target.endswith(".ipynb") for target in targets):
        command += ["--nbval"]
        environment |= {"ORGANSEG_PROFILE": "fast"}
        environment.pop("MPLBACKEND", None)
    done = subprocess.run([*command, *targets], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1 is a failed test; anything else never got as far
        sys.exit(f"{' '.join(targets)}: pytest ended with status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


@functools.cache
def refuse_what_fails_as_it_is(targets):
    """Stop where one of these fails on the library as it is: it would catch any error."""
    if targets and not passes(targets, ROOT / "lib"):
        sys.exit(f"on the library as it is, something fails in {' '.join(targets)}; mend that first")


def targets(mutant):
    if mutant.test:
        yield f"tests/{mutant.test}"
    if mutant.chapter:
        yield f"notebooks/{mutant.chapter}.ipynb"


def fingerprint(mutant, target):
    """What an outcome was found with: the error and the source of its test. Where either changes, it is tried anew.

    The rest of the library takes no part: most changes leave an outcome as it is, and `make mutants` tries them all.
    """
    name, _, function = target.partition("::")
    file = ROOT / name
    source = file.with_suffix(".py").read_text()
    if function:
        source = function_source(source, function)
    parts = (mutant.file, mutant.text, mutant.becomes, source)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def function_source(source, name):
    """A function's lines, from its decorators on, or nothing where there is no such function."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    return ""


def stored():
    """The outcomes on record: behaviour, then target, to whether it was caught and the fingerprint."""
    return json.loads(STORE.read_text()) if STORE.is_file() else {}


def caught(mutant, target, outcomes):
    """True or False as on record, None where nothing was recorded or error or test have changed since."""
    found = outcomes.get(mutant.behaviour, {}).get(target, {})
    return found.get("caught") if found.get("of") == fingerprint(mutant, target) else None


def record(mutant, target, was_caught):
    outcomes = stored()
    outcomes.setdefault(mutant.behaviour, {})[target] = {"caught": was_caught, "of": fingerprint(mutant, target)}
    known = {m.behaviour: set(targets(m)) for m in MUTANTS}
    kept = {
        b: {t: o for t, o in sorted(found.items()) if t in known[b]}
        for b, found in sorted(outcomes.items())
        if b in known
    }
    STORE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def try_out(mutant, target, folder):
    """Plant the error in a copy of the library, in `folder`, and see whether the target fails there."""
    copy = Path(folder) / "lib"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "organseg" / mutant.file
    source = file.read_text()
    if source.count(mutant.text) != 1:
        sys.exit(f"{mutant.file}: found {source.count(mutant.text)} times, expected once: {mutant.text}")
    file.write_text(source.replace(mutant.text, mutant.becomes))
    was_caught = not passes((target,), copy)
    record(mutant, target, was_caught)
    print(f"{'caught' if was_caught else 'SURVIVED':9}{mutant.behaviour:46}{target}", flush=True)
    return was_caught


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="chapters or names of behaviours; all by default")
    parser.add_argument("--tests", action="store_true", help="only those that a test must catch, not a notebook")
    parser.add_argument("--new", action="store_true", help="only those without an outcome on record that still counts")
    options = parser.parse_args()
    wanted = []
    for mutant in MUTANTS:
        if options.names and not {mutant.chapter, mutant.behaviour} & set(options.names):
            continue
        for target in targets(mutant):
            notebook, known = target.endswith(".ipynb"), caught(mutant, target, stored())
            if not (options.tests and notebook) and not (options.new and known):
                wanted.append((mutant, target))
    refuse_what_fails_as_it_is(tuple({target: 0 for _, target in wanted if not target.endswith(".ipynb")}))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for mutant, target in wanted:
            if target.endswith(".ipynb"):
                refuse_what_fails_as_it_is((target,))
            found.append(try_out(mutant, target, folder))
    print(f"\n{sum(found)} of {len(found)} caught")
    sys.exit(0 if all(found) else 1)


if __name__ == "__main__":
    main()
