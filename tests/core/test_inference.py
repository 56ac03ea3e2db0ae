"""Tiled prediction equals the whole-volume one; memory follows the tile; labels come back on the scan's own grid."""

import keras
import numpy as np
import pytest

from organseg import inference
from organseg.cases import Case
from organseg.geometry import WorkingGrid
from organseg.inference import affordable_depth, bytes_per_voxel, predict, predict_probabilities, tiles
from organseg.networks import fcn, reach, size_multiple, unet
from organseg.runs import Run, describe

DEPTH = 168  # longer than a tile with two margins, so that inner tiles have both


def trained_like(dtype=None):
    """A small U-Net whose batch-norm statistics and weights are far from their first values, as after a training."""
    keras.utils.set_random_seed(1)
    network = unet(base_filters=2, dtype=dtype)
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, size),
                    rng.normal(0, 0.3, size),
                    rng.normal(0, 0.2, size),
                    rng.uniform(0.3, 2, size),
                ]
            )
    return network


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(0)
    coarse = rng.random((2, 2, 21))
    return (np.kron(coarse, np.ones((8, 8, 8))) + 0.3 * rng.random((16, 16, DEPTH))).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return trained_like()


@pytest.fixture(scope="module")
def whole(network, scan):
    return predict_probabilities(network, scan, tile_depth=DEPTH)


@pytest.mark.parametrize("tile_depth", [8, 16, 24, 40, 48, 56, 64, 80, 120, 160])
def test_tiles_equal_the_whole_volume(network, scan, whole, tile_depth):
    tiled = predict_probabilities(network, scan, tile_depth=tile_depth)
    assert np.abs(tiled - whole).max() <= 5e-6
    best = np.sort(whole, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert np.array_equal(tiled.argmax(axis=-1)[clear], whole.argmax(axis=-1)[clear])
    assert clear.mean() > 0.99 and len(np.unique(whole.argmax(axis=-1))) > 1  # there is something to compare


def test_a_smaller_margin_leaves_seams(network, scan, whole):
    tiled = predict_probabilities(network, scan, tile_depth=24, margin=16)
    assert np.abs(tiled - whole).max() > 1e-5


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="TensorFlow has no float64 MaxPool3D; this runs with KERAS_BACKEND=jax"
)
def test_tiles_are_exact_in_float64(scan):
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        network = trained_like("float64")
        whole = predict_probabilities(network, scan.astype(np.float64), tile_depth=DEPTH)
        tiled = predict_probabilities(network, scan.astype(np.float64), tile_depth=24)
    finally:
        jax.config.update("jax_enable_x64", False)
    assert whole.dtype == np.float64
    assert np.abs(tiled - whole).max() < 1e-13  # what is left is the order of additions


@pytest.mark.parametrize(
    ("depth", "tile_depth", "margin"), [(160, 64, 48), (168, 8, 48), (8, 64, 48), (640, 64, 44), (96, 40, 0)]
)
def test_kept_slices_follow_each_other_and_see_their_margin(depth, tile_depth, margin):
    kept_so_far = 0
    for seen, kept in tiles(depth, tile_depth, margin):
        assert kept.start == kept_so_far
        assert seen.start % 8 == kept.start % 8 == seen.stop % 8 == 0
        assert seen.start == 0 or kept.start - seen.start >= margin
        assert seen.stop == depth or seen.stop - kept.stop >= margin
        kept_so_far = kept.stop
    assert kept_so_far == depth


@pytest.mark.parametrize("tile_depth", [0, 12, -8])
def test_tile_depths_are_multiples_of_8(tile_depth):
    with pytest.raises(ValueError, match="multiple of 8"):
        tiles(64, tile_depth, margin=48)


@pytest.mark.parametrize("levels, multiple, voxels", [(2, 2, 8), (3, 4, 22), (4, 8, 46), (5, 16, 94)])
def test_the_reach_and_the_multiple_follow_from_the_network(levels, multiple, voxels):
    """By experiment: the farthest voxel whose change an output at a tile's border notices."""
    keras.utils.set_random_seed(1)
    network = unet(base_filters=1, levels=levels, spatial_dims=2)
    for layer in network.layers:
        if hasattr(layer, "kernel"):  # all positive, so that nothing cancels and no ReLU is silent
            layer.set_weights([np.full(w.shape, w.ndim > 1, np.float32) for w in layer.get_weights()])
    scores = keras.Model(network.inputs, network.layers[-2].output)
    start = multiple * (-(-voxels // multiple) + 1)  # a tile begins here, with more than the reach on both sides
    size = 2 * start + multiple
    image = np.zeros((size, multiple, size, 1), np.float32)
    image[np.arange(size), :, np.arange(size)] = 1.0  # a batch of images, each with one bright line
    change = scores.predict(image, batch_size=64, verbose=0) - scores.predict(0 * image[:1], verbose=0)
    noticed = np.abs(change[:, :, start : start + multiple]).max(axis=(1, 2, 3)) > 0
    first, last = np.flatnonzero(noticed)[[0, -1]]
    assert max(start - first, last - (start + multiple - 1)) == reach(network) == voxels
    assert size_multiple(network) == multiple


@pytest.mark.parametrize(
    "build",
    [
        lambda: unet(base_filters=2, levels=3),
        lambda: fcn(base_filters=2, spatial_dims=3),
        lambda: unet(base_filters=1, levels=5),
    ],
)
def test_other_networks_are_tiled_exactly_too(build):
    keras.utils.set_random_seed(3)
    network = build()
    image = np.random.default_rng(0).random((16, 16, 4 * reach(network)), dtype=np.float32)
    depth = size_multiple(network)
    whole = predict_probabilities(network, image, tile_depth=-(-image.shape[2] // depth) * depth)
    assert np.abs(predict_probabilities(network, image, tile_depth=2 * depth) - whole).max() <= 5e-6


def test_any_size_is_padded_with_air_and_cut_back(network):
    image = np.random.default_rng(3).random((13, 9, 21), dtype=np.float32)
    probabilities = predict_probabilities(network, image)
    assert probabilities.shape == (13, 9, 21, 8)
    by_hand = keras.ops.convert_to_numpy(
        network(np.pad(image, [(0, 3), (0, 7), (0, 3)])[None, ..., None], training=False)
    )
    assert probabilities == pytest.approx(by_hand[0, :13, :9, :21], abs=5e-6)


def test_the_tile_depends_on_the_budget_and_not_on_the_scans_length(network):
    per_slice = bytes_per_voxel(network) * 128 * 128
    depths = [affordable_depth(network, (128, 128, z), budget=170 * per_slice) for z in (176, 320, 640)]
    assert depths == [72, 72, 72]  # 170 slices, less two margins of 48, in steps of 8
    assert affordable_depth(network, (128, 128, 160), budget=170 * per_slice) == 160
    assert affordable_depth(network, (128, 128, 640), budget=0) == 8


def test_no_tile_is_deeper_than_the_budget_allows(network, scan, monkeypatch):
    seen, on_device = [], inference.on_device
    monkeypatch.setattr(inference, "on_device", lambda n: lambda x: seen.append(x.shape[3]) or on_device(n)(x))
    monkeypatch.setattr(inference, "MEMORY_BUDGET", bytes_per_voxel(network) * 16 * 16 * 120)
    predict_probabilities(network, scan)
    assert max(seen) <= 120 and len(seen) == DEPTH // 24


def test_prediction_uses_the_running_statistics_of_batch_norm(network):
    image = np.random.default_rng(5).random((16, 16, 16), dtype=np.float32)
    alone = predict_probabilities(network, image)
    brighter = np.asarray(network.predict_on_batch(np.stack([image, image + 5])[..., None]))[0]
    assert alone == pytest.approx(brighter, abs=5e-6)  # what else is in a batch changes nothing
    before = [w.copy() for w in network.get_weights()]
    predict_probabilities(network, image + 5)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_another_precision_keeps_weights_and_nearly_all_labels(network, scan, whole):
    small = {"network": "unet", "num_classes": 8, "base_filters": 2, "levels": 4}
    run = Run(network, WorkingGrid(), describe(small, WorkingGrid()))
    half = run.in_precision("mixed_bfloat16").network
    assert half.layers[1].compute_dtype == "bfloat16"
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), half.get_weights(), strict=True))
    probabilities = predict_probabilities(half, scan)
    assert probabilities.dtype == np.float32
    assert (probabilities.argmax(axis=-1) == whole.argmax(axis=-1)).mean() > 0.95
    assert np.abs(probabilities - whole).max() > 0  # it did compute in another precision


def marker_network():
    """A network that calls a voxel liver (3) where it is brighter than 0.8, and background elsewhere."""
    network = keras.Sequential([keras.Input((None, None, None, 1)), keras.layers.Conv3D(8, 1), keras.layers.Softmax()])
    weights, bias = np.zeros((1, 1, 1, 1, 8), np.float32), np.full(8, -100, np.float32)
    weights[..., 3], bias[3], bias[0] = 40, -32, 0
    network.layers[0].set_weights([weights, bias])
    return network


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAI", "SRA", "PIR"])
def test_labels_lie_on_the_files_own_grid_whatever_its_axes(axes):
    from nibabel import orientations

    image = np.full((40, 32, 24), -100, np.float32)
    image[4:16, 18:28, 6:12] = 250  # bright: 0.9 after normalisation; off centre along each axis
    affine = np.diag([2.0, 2.5, 4.0, 1.0])
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(axes))
    turned = orientations.apply_orientation(image, turn)
    case = Case(turned, None, affine @ orientations.inv_ornt_aff(turn, image.shape), "case")
    assert case.axes == axes
    label = predict(Run(marker_network(), WorkingGrid((2.0, 2.0, 2.0)), {}), case, precision="float32")
    assert label.shape == turned.shape and label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 3}
    for found, true in zip(np.argwhere(label == 3).mean(axis=0), np.argwhere(turned > 0).mean(axis=0), strict=True):
        assert found == pytest.approx(true, abs=0.1)
    assert 2 * ((label == 3) & (turned > 0)).sum() / ((label == 3).sum() + (turned > 0).sum()) > 0.9
