"""The failure gallery: the stored runs are those of the script, and each shows what chapter 12 says of it."""

from pathlib import Path

import numpy as np
import pytest

from organseg.course.chapter_12 import CAUSES
from organseg.course.gallery import GALLERY, GalleryRun, draw_gallery_run, gallery_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
LETTERS = {cause: letter for letter, cause in CAUSES.items()}
SOUND = gallery_run("sound")
RUNS = {cause: gallery_run(letter) for cause, letter in LETTERS.items()}


def mean(values):
    return float(np.nanmean(values))


def test_the_stored_runs_were_made_by_the_recipes_of_the_script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import broken_runs

    names = LETTERS | {"sound": "sound"}
    with np.load(GALLERY) as stored:
        for cause, recipe in broken_runs.RECIPES.items():
            assert str(stored[f"{names[cause]}.recipe"]) == broken_runs.described(recipe), f"make gallery: {cause}"
    assert set(broken_runs.RECIPES) == {"sound", *CAUSES.values()}
    assert GALLERY.stat().st_size < 200_000


def test_the_sound_run_learns_and_holds_on_new_patients():
    assert SOUND.loss[-1] < -0.55 and SOUND.validation_loss[-1] < -0.55
    assert mean(SOUND.new_dice) > 0.6 and (SOUND.new_dice > 0.5).sum() == 6
    assert SOUND.new_dice[5] < 0.1, "the gallbladder: a few dozen voxels, and 400 steps"
    assert abs(mean(SOUND.new_dice) - SOUND.validation_dice[-1]) < 0.1
    assert abs(SOUND.crops_by_batch - SOUND.crops_by_average) < 0.1


def test_the_learning_rate_stops_the_loss_early_with_labels_and_output_in_order():
    run = RUNS["learning rate"]
    assert np.ptp(run.loss[8:]) < 0.03 and run.loss[-1] > -0.3 and run.largest > 0.99
    np.testing.assert_array_equal(run.given_label, SOUND.given_label)


def test_the_leak_flatters_the_validation_and_fails_on_clean_images():
    run = RUNS["leak"]
    assert run.validation_dice[-1] > SOUND.validation_dice[-1]
    assert run.validation_dice[-1] - mean(run.new_dice) > 0.3
    marked = run.given_image.astype(int) - SOUND.given_image
    assert (marked[SOUND.given_label == 0] == 0).all() and marked[SOUND.given_label >= 4].mean() > 30, "it can be seen"
    others = [other for cause, other in RUNS.items() if cause not in ("leak", "wrong affine")] + [SOUND]
    assert max(other.validation_dice[-1] - mean(other.new_dice) for other in others) < 0.1


def test_interpolated_numbers_put_rims_of_other_organs_around_the_liver():
    run = RUNS["linear label interpolation"]
    liver = SOUND.given_label == 3
    edge = liver & (run.given_label != 3)
    assert edge.sum() > 10 and np.isin(run.given_label[edge], (1, 2, 3)).mean() > 0.8
    assert (np.isin(run.prediction, (1, 2)).sum()) > 2 * np.isin(run.new_label, (1, 2)).sum()
    assert np.nanmax(run.new_dice[:2]) < 0.3, "artery and vein, whose numbers the rims have"


def test_one_dice_for_all_has_the_lowest_loss_and_misses_most_organs():
    run = RUNS["background in the way"]
    assert run.loss[-1] < min(other.loss[-1] for cause, other in RUNS.items() if cause != "background in the way") - 0.1
    assert (run.new_dice < 0.05).sum() >= 5 and run.right > 0.95


def test_the_flipped_labels_lie_on_the_other_side():
    run = RUNS["flipped labels"]
    np.testing.assert_array_equal(run.given_label, SOUND.given_label[::-1])
    assert SOUND.loss[-1] < run.loss[-1] - 0.1
    assert run.new_dice[3] < SOUND.new_dice[3] - 0.1, "the spleen"


def test_with_slow_averages_the_network_fails_only_at_inference():
    run = RUNS["batch norm"]
    np.testing.assert_allclose(run.loss, SOUND.loss, atol=0.02)  # momentum plays no part in a training step
    assert run.crops_by_batch - run.crops_by_average > 0.4
    others = [other for cause, other in RUNS.items() if cause != "batch norm"]
    assert max(other.crops_by_batch - other.crops_by_average for other in others) < 0.15


def test_a_wrong_affine_leaves_the_training_sound_and_no_organ_in_its_place():
    run = RUNS["wrong affine"]
    assert run.validation_dice[-1] > 0.6 and np.nanmax(run.new_dice) < 0.2
    turned = run.prediction[::-1, ::-1]
    assert np.mean(turned[run.new_label == 3] == 3) > 0.8, "turned back, the liver is there"


def test_two_softmaxes_never_give_a_large_probability():
    """Of 8 classes: at best e / (e + 7) = 0.28."""
    run = RUNS["double softmax"]
    assert run.largest <= np.e / (np.e + 7) + 1e-6
    assert run.loss.min() > -0.2


def test_only_the_two_label_errors_show_in_what_was_given():
    for cause, run in RUNS.items():
        same = np.array_equal(run.given_label, SOUND.given_label)
        assert same == (cause not in ("flipped labels", "linear label interpolation")), cause


@pytest.mark.parametrize("name", ["sound", *CAUSES])
def test_a_run_is_drawn_with_its_curves_and_pictures(name):
    run = gallery_run(name)
    figure = draw_gallery_run(run, f"run {name}")
    panels = [panel for part in figure.subfigs for panel in part.axes]
    assert [len(panel.lines) for panel in panels[:2]] == [2, 2] and [len(p.images) for p in panels[2:]] == [1, 2, 2, 2]
    np.testing.assert_array_equal(panels[0].lines[1].get_ydata(), run.validation_loss)
    for field in vars(run):
        assert np.isfinite(np.asarray(getattr(run, field), dtype=float)).all() or field == "new_dice"
    assert isinstance(run, GalleryRun) and len(run.steps) == len(run.loss) == len(run.validation_dice)


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match="expected one of A, B, C, D, E, F, G, H, sound"):
        gallery_run("Z")
