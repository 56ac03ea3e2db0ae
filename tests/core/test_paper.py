"""Facts of the paper that no other test holds: each is named in book/ledger.toml, with the error that turns it red."""

import keras
import numpy as np
import pytest

from organseg import inference
from organseg.augmentation import draw_warp
from organseg.cases import Case
from organseg.geometry import choose_grid, to_working
from organseg.losses import dice_loss
from organseg.networks import cnn, fcn, unet
from organseg.organs import BACKGROUND, NUM_CLASSES, ORGAN_IDS, ORGAN_NAMES
from organseg.profiles import PROFILES
from organseg.sampling import CropSampler
from organseg.scans import to_scan
from organseg.show.curves import draw_curves
from organseg.training import compile_for_training, train


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def inputs_of(layer):
    """The layers whose outputs a layer of a network takes in."""
    (node,) = layer._inbound_nodes
    return [tensor._keras_history.operation for tensor in node.input_tensors]


def test_the_cnn_is_convolutions_max_pooling_relu_dense_layers_and_a_softmax():
    network = cnn(num_classes=4, input_size=32, base_filters=2)
    assert kinds(network).count("Conv2D") == kinds(network).count("ReLU") == 2 * 4
    assert kinds(network).count("MaxPooling2D") == 3
    assert kinds(network)[-4:] == ["Flatten", "Dense", "Dense", "Softmax"]
    assert network.layers[-3].activation is keras.activations.relu


def test_the_fcn_learns_its_up_sampling_has_no_dense_layer_and_adds_the_scores_of_the_way_down():
    network = fcn(base_filters=2)
    assert "Dense" not in kinds(network) and "UpSampling2D" not in kinds(network)
    up = [layer for layer in network.layers if type(layer).__name__ == "Conv2DTranspose"]
    assert len(up) == 3 and all(layer.trainable_weights for layer in up)
    for layer in network.layers:
        if type(layer).__name__ == "Add":
            assert sorted(type(source).__name__ for source in inputs_of(layer)) == ["Conv2D", "Conv2DTranspose"]
    assert kinds(network).count("Add") == 3


@pytest.fixture(scope="module")
def cases():
    """Scans whose HU are those of their labels and of their patients: a crop says where both come from."""
    made = []
    for patient in range(4):
        label = np.random.default_rng(patient).integers(0, 8, (20, 20, 20)).astype(np.uint8)
        made.append(
            Case((50.0 * label - 100 + patient).astype(np.float32), label, np.diag([6, 6, 6, 1.0]), f"p{patient}")
        )
    return made


def test_an_image_is_learned_from_with_its_own_labels(cases):
    sampler = CropSampler(list(map(to_scan, cases)), crop_size=16, augment=False)
    for step in range(5):
        images, labels, _ = sampler.batch(step)
        found = np.rint((images[..., 0] * 500 - 100) / 50)  # HU from the normalised image, then the label
        assert np.array_equal(found, labels)


def test_a_training_step_changes_every_layer_from_the_image_to_the_labels(cases):
    keras.utils.set_random_seed(0)
    network = unet(base_filters=2)
    segmenter = compile_for_training(network, PROFILES["paper"])
    images, labels, annotated = CropSampler(list(map(to_scan, cases)), crop_size=16).batch(0)
    before = [weight.copy() for weight in network.get_weights()]
    segmenter.train_on_batch(images, (labels, annotated))
    same = [
        variable.path
        for variable, old, new in zip(network.weights, before, network.get_weights(), strict=True)
        if np.array_equal(old, new)
    ]
    assert same == []


def test_every_convolution_of_the_unet_is_followed_by_batch_norm_and_relu():
    layers = unet(base_filters=2).layers
    after = {}
    for layer in layers[1:]:
        for source in inputs_of(layer):
            after.setdefault(source.name, []).append(type(layer).__name__)
    convolutions = [layer for layer in layers if type(layer).__name__ == "Conv3D" and layer.kernel_size == (3, 3, 3)]
    assert len(convolutions) == 14
    for layer in convolutions:
        assert after[layer.name] == ["BatchNormalization"]
    for layer in layers:
        if type(layer).__name__ == "BatchNormalization":
            assert after[layer.name] == ["ReLU"]


def test_the_synthesis_path_has_two_convolutions_after_each_transposed_one():
    found = [kind for kind in kinds(unet(base_filters=2)) if kind in ("Conv3D", "Conv3DTranspose")]
    assert found == ["Conv3D"] * 8 + ["Conv3DTranspose", "Conv3D", "Conv3D"] * 3 + ["Conv3D"]


def test_convolutions_pad_with_zeros():
    network = unet(base_filters=1)
    first = next(layer for layer in network.layers if type(layer).__name__ == "Conv3D")
    first.set_weights([np.ones((3, 3, 3, 1, 1), np.float32)])
    sums = keras.ops.convert_to_numpy(first(np.ones((1, 5, 5, 5, 1), np.float32)))[0, ..., 0]
    assert sums.shape == (5, 5, 5)
    assert (sums[2, 2, 2], sums[0, 2, 2], sums[0, 0, 2], sums[0, 0, 0]) == (27, 18, 12, 8)


def test_skip_connections_concatenate_the_features_of_the_analysis_path():
    network = unet(base_filters=2)
    concatenations = [layer for layer in network.layers if type(layer).__name__ == "Concatenate"]
    assert len(concatenations) == 3
    for layer in concatenations:
        assert [type(source).__name__ for source in inputs_of(layer)] == ["Conv3DTranspose", "ReLU"]


def test_the_default_unet_has_19_071_784_trainable_parameters():
    assert sum(int(np.prod(weight.shape)) for weight in unet().trainable_weights) == 19_071_784


def test_a_mini_batch_is_three_crops_of_64_voxels_unless_one_asks_otherwise():
    cases = [Case(np.zeros((66,) * 3, np.float32), np.zeros((66,) * 3, np.uint8), np.eye(4), name) for name in "abc"]
    images, labels, _ = CropSampler(list(map(to_scan, cases)), augment=False).batch(0)
    assert images.shape == (3, 64, 64, 64, 1) and labels.shape == (3, 64, 64, 64)


def test_every_tile_covers_the_whole_xy_plane_and_overlaps_the_next_along_z(monkeypatch):
    seen, on_device = [], inference.on_device
    monkeypatch.setattr(inference, "on_device", lambda n: lambda x: seen.append(x[0, ..., 0]) or on_device(n)(x))
    image = np.broadcast_to(np.arange(1, 129, dtype=np.float32) / 128, (24, 16, 128))  # a slice holds its own number
    inference.predict_probabilities(unet(base_filters=1), image, tile_depth=32)
    assert [tile.shape[:2] for tile in seen] == [(24, 16)] * 4
    slices = [set(np.rint(128 * np.unique(tile)).astype(int)) for tile in seen]
    assert all(tile.all() for tile in seen)  # no part of a slice is left out
    assert all(len(one & other) >= 48 for one, other in zip(slices[:-1], slices[1:], strict=True))
    assert set.union(*slices) == set(range(1, 129))


def test_control_points_lie_24_voxels_apart_and_move_by_up_to_4():
    rng = np.random.default_rng(0)
    warps = [draw_warp(rng, (64, 64, 64)) for _ in range(20)]
    assert all(warp.control_spacing == (24, 24, 24) and warp.control_points.shape == (3, 6, 6, 6) for warp in warps)
    moves = np.array([warp.control_points for warp in warps])
    assert 3.99 < np.abs(moves).max() <= 4
    assert np.std(moves) == pytest.approx(4 / np.sqrt(3), rel=0.02)  # that of a uniform distribution


def test_rotations_and_translations_are_drawn_anew_for_every_crop():
    image = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32) * 100
    same = [Case(image, np.zeros(image.shape, np.uint8), np.eye(4), name) for name in "abc"]
    sampler = CropSampler(list(map(to_scan, same)), crop_size=20)  # as large as the scan: only warps differ
    crops = [crop for step in range(4) for crop in sampler.batch(step)[0]]
    assert len({crop.tobytes() for crop in crops}) == 12


def test_equation_1_sums_over_one_image_by_hand():
    labels = np.array([[[0, 0, 0, 1]], [[0, 1, 1, 1]]])
    probabilities = np.array([[[[0.9, 0.1]] * 3 + [[0.4, 0.6]]], [[[0.2, 0.8]] * 4]], np.float32)
    # image 1: Σ p r = 2.7 and 0.6, Σ p = 3.1 and 0.9, Σ r = 3 and 1; image 2: 0.2 and 2.4, 0.8 and 3.2, 1 and 3
    first = (-2 * 2.7 / (3.1 + 3) - 2 * 0.6 / (0.9 + 1)) / 2
    second = (-2 * 0.2 / (0.8 + 1) - 2 * 2.4 / (3.2 + 3)) / 2
    assert float(dice_loss(labels, probabilities)) == pytest.approx((first + second) / 2)


def test_equation_2_counts_the_background_and_weighs_all_classes_alike():
    labels = np.array([[[0, 0, 1, 2]]])
    all_background = np.eye(3, dtype=np.float32)[np.zeros((1, 1, 4), int)]
    # L_0 = -2·2 / (4 + 2), the organs 0: their mean over L = 3
    assert float(dice_loss(labels, all_background)) == pytest.approx(-(2 / 3) / 3)
    assert float(dice_loss(labels, np.eye(3, dtype=np.float32)[labels])) == pytest.approx(-1)


def test_the_default_backend_is_tensorflow():
    import os
    import subprocess
    import sys

    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    program = "from organseg.backend import keras; print(keras.backend.backend())"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tensorflow"


def test_a_case_of_the_papers_size_passes_the_network_in_one_piece():
    """Tiles with their margins repeat work; the paper's size, 128×128×160, fits the memory budget as a whole."""
    depth = inference.affordable_depth(unet(), (128, 128, 160), budget=inference.MEMORY_BUDGET)
    assert [(seen.start, seen.stop) for seen, _ in inference.tiles(160, depth, margin=46)] == [(0, 160)]


def test_the_organs_are_the_seven_of_table_1():
    assert ORGAN_NAMES == ("artery", "vein", "liver", "spleen", "stomach", "gallbladder", "pancreas")
    assert ORGAN_IDS == (1, 2, 3, 4, 5, 6, 7) and BACKGROUND == 0 and NUM_CLASSES == 8


def test_slices_of_512_pixels_become_128_and_a_quarter_of_the_slices_stays():
    scan = Case(np.zeros((512, 512, 24), np.float32), None, np.diag([0.8, 0.8, 0.7, 1]), "scan")
    working = to_working(scan, choose_grid([scan.spacing]))
    assert working.image.shape == (128, 128, 6)
    assert working.spacing == pytest.approx((3.2, 3.2, 2.8))


def test_the_curves_show_the_training_and_the_testing_loss(cases):
    profile = PROFILES["lesson"].replace(levels=2, crop_size=8, steps=4, validate_every=2)
    _, history = train(cases[:3], None, profile, cases[3:], progress=False)
    figure = draw_curves(history)
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines == {
        "training crops": [row["loss"] for row in history],
        "held-out cases": [row["validation_loss"] for row in history],
    }
    assert len(history) == 2 and np.isfinite([*lines["training crops"], *lines["held-out cases"]]).all()


def test_the_loss_has_no_constraint_on_shape():
    """Voxels that change places, in truth and prediction alike, cost the same: isolated regions cost nothing more."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, (1, 6, 6, 6))
    probabilities = rng.dirichlet(np.ones(8), (1, 6, 6, 6)).astype(np.float32)
    order = rng.permutation(6**3)
    mixed = labels.reshape(1, -1)[:, order].reshape(labels.shape)
    mixed_probabilities = probabilities.reshape(1, -1, 8)[:, order].reshape(probabilities.shape)
    found = float(dice_loss(mixed, mixed_probabilities))
    assert found == pytest.approx(float(dice_loss(labels, probabilities)), abs=1e-6)
