"""Metrics against reference values, values by hand, a distance transform and the paper's own tables."""

import re
from pathlib import Path

import mutants
import numpy as np
import pandas
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist, pdist

from organseg.errors import OrgansegError
from organseg.metrics import MEASURES, dice, score_case, surface_distances
from organseg.organs import ORGAN_NAMES
from organseg.tables import CONVENTION, organ_table, save_scores, total_average
from organseg.volumes import read_volume

# Tables 1 and 2 of Roth et al. 2018: Avg., Std., Min., Max. of each organ in %, in the order of ORGANS.
TABLE_1 = [
    (84.1, 5.0, 66.9, 91.7),
    (77.5, 8.9, 29.2, 89.2),
    (96.6, 1.1, 91.4, 98.5),
    (96.3, 2.0, 79.8, 98.9),
    (95.6, 7.7, 0.0, 99.7),
    (90.1, 10.9, 0.0, 97.8),
    (85.5, 8.9, 28.0, 95.5),
]
TABLE_2 = [
    (83.5, 4.1, 73.7, 91.1),
    (80.5, 6.8, 49.0, 89.4),
    (97.1, 1.0, 93.5, 98.3),
    (97.7, 0.8, 95.2, 98.9),
    (96.1, 7.9, 49.4, 98.9),
    (85.1, 15.7, 28.6, 97.4),
    (84.9, 9.1, 52.5, 95.1),
]


def grid(*spacing):
    return np.diag([*spacing, 1.0])


def tilted(spacing=(1, 1, 1), degrees=20):
    """A grid whose slices are shifted along y, as a tilted gantry leaves them."""
    affine = grid(*spacing)
    affine[1, 2] = spacing[2] * np.tan(np.radians(degrees))
    return affine


def all_numbers(truth, prediction, spacing):
    return numbers_on(truth, prediction, grid(*spacing))


def numbers_on(truth, prediction, affine):
    apart = surface_distances(truth, prediction, affine)
    return [dice(truth, prediction), apart.hausdorff, apart.hausdorff95, apart.assd, apart.surface_dice(2)]


def ball(centre, radius, grid):
    squared = sum((axis - middle) ** 2 for axis, middle in zip(np.ogrid[(slice(grid),) * 3], centre, strict=True))
    return squared <= radius**2


def voxels(*places, shape=(8, 7, 6)):
    mask = np.zeros(shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def blob(seed, shape=(20, 18, 16)):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 2) > 0.05


def by_transform(truth, prediction, spacing):
    """The same five numbers from distance transforms over the whole array, without a search among border voxels."""
    borders = [m & ~ndimage.binary_erosion(m) for m in (truth, prediction)]
    a, b = (ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders)
    return by_ways(truth, prediction, b[borders[0]], a[borders[1]])


def by_all_pairs(truth, prediction, affine):
    """The same five numbers from the distances of all pairs of border voxels, laid into space by the affine."""
    borders = [np.argwhere(m & ~ndimage.binary_erosion(m)) @ affine[:3, :3].T for m in (truth, prediction)]
    pairs = cdist(*borders)
    return by_ways(truth, prediction, pairs.min(axis=1), pairs.min(axis=0))


def by_ways(truth, prediction, there, back):
    both = np.concatenate([there, back])
    percentile = max(np.percentile(there, 95), np.percentile(back, 95))
    return [dice(truth, prediction), both.max(), percentile, both.mean(), (both <= 2 + 1e-4).mean()]


@pytest.mark.parametrize("number", range(5))
def test_spheres_agree_with_the_reference(vectors, number):
    case = vectors["spheres"]["cases"][number]
    masks = (ball(case[which]["centre"], case[which]["radius"], case["grid"]) for which in "ab")
    names = ("dice", "hausdorff", "hausdorff95", "average_symmetric_surface_distance", "surface_dice_2mm_voxel_border")
    np.testing.assert_allclose(all_numbers(*masks, case["spacing_mm"]), [case[name] for name in names], atol=1e-4)


HAND = {  # truth, prediction, spacing, (Dice, Hausdorff, Hausdorff 95, ASSD, surface Dice at 2 mm)
    "identical": (voxels((1, 1, 1)), voxels((1, 1, 1)), (1, 1, 1), (1, 0, 0, 0, 1)),
    "3 mm apart along x": (voxels((1, 1, 1)), voxels((4, 1, 1)), (1, 1, 1), (0, 3, 3, 3, 0)),
    "1 voxel of 3 mm apart": (voxels((1, 1, 1)), voxels((2, 1, 1)), (3, 1, 1), (0, 3, 3, 3, 0)),
    "3, 4 and 12 mm apart": (voxels((1, 1, 1)), voxels((2, 2, 2)), (3, 4, 12), (0, 13, 13, 13, 0)),
    # Distances 0 and 4 from the truth, 0 from the prediction: the mean of three; 95th percentile of (0, 4) is 3.8.
    "one of two found": (voxels((1, 1, 1), (5, 1, 1)), voxels((1, 1, 1)), (1, 1, 1), (2 / 3, 4, 3.8, 4 / 3, 2 / 3)),
    "exactly at the tolerance": (voxels((1, 1, 1)), voxels((3, 1, 1)), (1, 1, 1), (0, 2, 2, 2, 1)),
}


@pytest.mark.parametrize("name", HAND)
def test_values_by_hand(name):
    truth, prediction, spacing, expected = HAND[name]
    np.testing.assert_allclose(all_numbers(truth, prediction, spacing), expected, atol=1e-12)
    np.testing.assert_allclose(all_numbers(prediction, truth, spacing), expected, atol=1e-12)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 0.8, 5), (3, 1.5, 0.7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_blobs_that_touch_the_array_edge_agree_with_a_distance_transform(seed, spacing):
    truth, prediction = blob(seed), blob(seed + 10)
    assert truth[0].any() and prediction[-1].any()
    np.testing.assert_allclose(
        all_numbers(truth, prediction, spacing), by_transform(truth, prediction, spacing), atol=1e-9
    )


def test_an_organ_cut_by_the_first_slice_has_a_border_there():
    truth, prediction = np.zeros((2, 9, 9, 9), dtype=bool)
    truth[:, :, :5] = True
    prediction[:, :, 1:5] = True
    # Both slabs fill x and y; they differ by the truth's first slice, which is its border.
    np.testing.assert_allclose(all_numbers(truth, prediction, (1, 1, 2)), by_transform(truth, prediction, (1, 1, 2)))
    assert surface_distances(truth, prediction, grid(1, 1, 2)).hausdorff == 2


def test_a_large_empty_surrounding_changes_nothing():
    truth, prediction = blob(3), blob(4)
    padded = [np.pad(mask, ((30, 5), (0, 40), (9, 21))) for mask in (truth, prediction)]
    np.testing.assert_array_equal(all_numbers(*padded, (1, 2, 3)), all_numbers(truth, prediction, (1, 2, 3)))


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [(voxels(), voxels(), np.nan), (voxels(), voxels((1, 1, 1)), 0), (voxels((1, 1, 1)), voxels(), 0)],
)
def test_empty_masks(truth, prediction, expected):
    np.testing.assert_array_equal(all_numbers(truth, prediction, (1, 1, 1)), [expected, *[np.nan] * 3, expected])


@pytest.mark.parametrize("affine", [(1, 1, 1), np.eye(3), grid(1, 1, 0), grid(1, 1, np.nan)])
def test_a_spacing_or_an_affine_that_maps_no_volume_is_refused(affine):
    for measure in (surface_distances, score_case):
        with pytest.raises(OrgansegError, match=r"expected an affine, since axes can lean; give case\.affine"):
            measure(voxels((1, 1, 1)), voxels((2, 1, 1)), affine)


def test_two_voxels_on_a_sheared_grid_by_hand():
    # Three slices further on y has grown by 3 tan 20° = 1.092 mm; one voxel back, 0.092 mm remain.
    apart = surface_distances(voxels((2, 2, 2)), voxels((2, 1, 5)), tilted())
    assert (
        apart.hausdorff == pytest.approx(np.hypot(3, 3 * np.tan(np.radians(20)) - 1)) == pytest.approx(3.0014, abs=1e-4)
    )


@pytest.mark.parametrize("affine", [tilted(), tilted((0.8, 0.8, 5), -15), tilted((3, 1.5, 0.7), 0.01)])
def test_blobs_on_a_sheared_grid_agree_with_all_pairs(affine):
    affine[:3] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] @ affine[:3]  # turned in space as well
    truth, prediction = blob(0), blob(10)
    np.testing.assert_allclose(
        numbers_on(truth, prediction, affine), by_all_pairs(truth, prediction, affine), atol=1e-9
    )


def test_a_turned_or_mirrored_grid_keeps_all_distances():
    """Also those of exactly 2 mm, the tolerance, which turning makes larger or smaller by a rounding."""
    truth, prediction, spacing = blob(0), blob(10), (0.8, 1.0, 3.0)
    turned = grid(*spacing)
    turned[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0] @ np.diag([-0.8, 1, 3])
    expected = all_numbers(truth, prediction, spacing)
    np.testing.assert_allclose(numbers_on(truth, prediction, turned), expected, atol=1e-9)


@pytest.mark.parametrize("affine", [grid(2, 1, 3), tilted((1, 1, 4), 30), tilted((1, 1, 4), -30)])
def test_the_diagonal_is_the_longest_way_between_two_corners_of_the_scan(affine):
    label = np.zeros((5, 6, 7), np.uint8)
    corners = [[i, j, k] for i in (0, 5) for j in (0, 6) for k in (0, 7)] @ affine[:3, :3].T
    np.testing.assert_allclose(score_case(label, label, affine)["diagonal_mm"], pdist(corners).max())


@pytest.mark.parametrize("measure", [dice, lambda *masks: surface_distances(*masks, np.eye(4))])
def test_masks_on_two_grids_are_refused(measure):
    with pytest.raises(OrgansegError, match=r"\(8, 7, 6\) and prediction \(3, 3, 3\)"):
        measure(voxels(), voxels(shape=(3, 3, 3)))


def test_unannotated_organs_have_no_row():
    truth, prediction = np.zeros((2, 6, 6, 6), dtype=np.uint8)
    truth[:2], prediction[:2], prediction[3], prediction[4] = 3, 3, 2, 6
    scores = score_case(truth, prediction, np.eye(4), annotated=(3, 6, 7), name="one")
    told = ["tolerance_mm", "outcome", "diagonal_mm", "patient"]
    assert list(scores.columns) == ["case", "organ", *MEASURES, *told]
    assert list(scores["organ"]) == ["liver", "gallbladder", "pancreas"]
    # Liver: right. Gallbladder: absent but predicted. Pancreas: absent from both. Vein: predicted, never scored.
    np.testing.assert_array_equal(scores["dice"], [1, 0, np.nan])
    np.testing.assert_array_equal(scores["hausdorff_mm"], [0, np.nan, np.nan])
    np.testing.assert_array_equal(scores["surface_dice"], [1, 0, np.nan])
    assert list(scores["outcome"]) == ["found", "invented", "absent"] and set(scores["patient"]) == {"one"}
    assert organ_table(scores).patients["Avg."] == 0.5


def test_the_tolerance_is_that_asked_for():
    truth, prediction = np.zeros((2, 6, 6, 6), dtype=np.uint8)
    truth[1, 1, 1], prediction[4, 1, 1] = 1, 1
    for tolerance, expected in ((2.9, 0), (3.0, 1)):
        scores = score_case(truth, prediction, np.eye(4), annotated=(1,), tolerance=tolerance)
        assert scores[["surface_dice", "tolerance_mm"]].values.tolist() == [[expected, tolerance]]


def test_a_real_label_map_shifted_by_one_voxel(shared):
    label, affine = read_volume(shared / "data" / "labels_only" / "totalseg_s0001.nii.gz")
    scores = score_case(label, np.roll(label, 1, axis=0), affine).set_index("organ")
    assert scores.loc["spleen", "hausdorff_mm"] == pytest.approx(1.5)
    assert np.isnan(scores.loc["gallbladder", "dice"])  # this patient has none
    assert scores["dice"].drop("gallbladder").between(0.8, 1).all()


@pytest.mark.parametrize(
    ("rows", "before_rounding", "printed"),
    [(TABLE_1, None, (89.4, 6.4, 42.2, 95.9)), (TABLE_2, (89.27, 6.49, 63.13, 95.59), (89.3, 6.5, 63.1, 95.6))],
)
def test_the_total_rows_of_the_paper_are_means_of_the_organ_rows(rows, before_rounding, printed):
    organs = pandas.DataFrame(rows, columns=["Avg.", "Std.", "Min.", "Max."], index=ORGAN_NAMES)
    organs["n"] = 37
    total = total_average(organs)
    assert list(total.index) == ["Avg.", "Std.", "Min.", "Max."]
    assert tuple(total.round(1)) == printed
    assert before_rounding is None or tuple(total.round(2)) == before_rounding


def table_of(*rows):
    return pandas.DataFrame(rows, columns=["case", "organ", "dice"])


THREE = table_of(
    ("a", "liver", 0.9), ("b", "liver", 0.8), ("c", "liver", 0.7), ("a", "artery", 0.5), ("b", "artery", np.nan)
)  # fmt: skip


def test_the_table_is_that_of_the_paper():
    table = organ_table(THREE)
    assert list(table.organs.index) == list(ORGAN_NAMES)
    assert [line.rstrip() for line in str(table).splitlines()[:11]] == [
        "Dice (%)        Avg.   Std.   Min.   Max.      n",
        "artery          50.0      –   50.0   50.0      1",
        "vein               –      –      –      –      0",
        "liver           80.0   10.0   70.0   90.0      3",
        "spleen             –      –      –      –      0",
        "stomach            –      –      –      –      0",
        "gallbladder        –      –      –      –      0",
        "pancreas           –      –      –      –      0",
        "Total Avg.      65.0   10.0   60.0   70.0",
        # Patients a, b, c average 0.7 (liver and artery), 0.8 and 0.7 (liver only).
        "Over patients   73.3    5.8   70.0   80.0      3",
        "",
    ]
    assert str(table).endswith(CONVENTION)


def test_a_notebook_shows_the_same_numbers_as_are_printed():
    table = organ_table(THREE)
    shown = table._repr_html_()
    rows = re.findall(r"<th>([^<]*)</th>\s*(<td>.*?)</tr>", shown, flags=re.DOTALL)
    cells = [[name, *re.findall(r"<td>([^<]*)</td>", row)] for name, row in rows]
    printed = [re.split(r"\s{2,}", line.strip()) for line in str(table).splitlines()[1:10]]
    assert [[cell for cell in row if cell] for row in cells] == printed
    assert "n: the cases counted" in shown and repr(table) == "OrganTable: Dice (%), 7 organs"


@pytest.mark.parametrize("scores", [THREE[:0], table_of(("a", "liver", np.nan))])
def test_a_table_without_a_counted_organ_has_no_number(scores):
    table = organ_table(scores)
    assert (table.organs["n"] == 0).all() and table.total.isna().all() and table.patients["n"] == 0


def test_distances_are_printed_in_mm():
    scores = table_of(("a", "liver", 1.0)).assign(hausdorff95_mm=4.25)
    assert str(organ_table(scores, "hausdorff95_mm")).startswith("Hausdorff 95 % (mm)   Avg.")
    assert organ_table(scores, "hausdorff95_mm").organs.loc["liver", "Avg."] == 4.25
    with pytest.raises(OrgansegError, match="jaccard"):
        organ_table(scores, "jaccard")


def eight_pancreases():
    """Scores of eight patients whose pancreas is found ever worse, and of the same predictions deleted."""
    kept, deleted = [], []
    truth = 7 * ball((12, 12, 12), 5, 24).astype(np.uint8)
    for number, shift in enumerate((0, 0, 1, 1, 1, 2, 4, 11)):
        for rows, prediction in ((kept, np.roll(truth, shift, axis=0)), (deleted, np.zeros_like(truth))):
            rows.append(score_case(truth, prediction, grid(1.5, 1.5, 3), annotated=(7,), name=f"p{number}"))
    return kept, deleted


@pytest.mark.parametrize("measure", MEASURES)
def test_deleting_predictions_never_improves_a_mean(measure):
    """Left out of the mean, the missed organs would reward whoever deletes the worst predictions."""
    kept, deleted = eight_pancreases()
    better = min if measure.endswith("_mm") else max
    found, last = [], None
    for gone in range(9):  # the worst first
        table = organ_table(pandas.concat([*kept[: 8 - gone], *deleted[8 - gone :]]), measure)
        means = [table.organs.loc["pancreas", "Avg."], table.total["Avg."], table.patients["Avg."]]
        assert table.organs.loc["pancreas", "n"] == table.patients["n"] == 8
        if gone:
            assert all(better(now, before) == before for now, before in zip(means, last, strict=True))
        if measure.endswith("_mm"):
            assert list(table.organs.loc["pancreas", ["missed", "invented"]]) == [gone, 0]
            found.append(table.organs.loc["pancreas", "Avg. found"])
        last = means
    assert sorted(found[:7], reverse=True) == found[:7]  # the mean of those found improves, and shows the trap


def test_missed_and_invented_organs_are_counted_beside_the_mean_of_those_found():
    truth, prediction = np.zeros((2, 10, 10, 10), np.uint8)
    truth[2, 2, 2], prediction[2, 2, 5] = 7, 7  # 3 mm apart
    truth[5, 5, 5], prediction[8, 8, 8] = 3, 6  # the liver missed, a gallbladder invented
    rows = [score_case(truth, p, np.eye(4), (3, 6, 7), name) for name, p in (("a", prediction), ("b", truth))]
    table = organ_table(pandas.concat(rows), "assd_mm")
    far = np.sqrt(300)  # of 10 × 10 × 10 mm
    assert list(table.organs.columns) == ["Avg.", "Std.", "Min.", "Max.", "n", "missed", "invented", "Avg. found"]
    averages = table.organs.loc[["liver", "gallbladder", "pancreas"], ["Avg.", "n", "missed", "invented", "Avg. found"]]
    np.testing.assert_allclose(averages, [[far / 2, 2, 1, 0, 0], [far, 1, 0, 1, np.nan], [1.5, 2, 0, 0, 1.5]])
    # Patient a: the mean of two diagonals and 3 mm, or 3 mm alone; patient b: 0.
    np.testing.assert_allclose(table.patients[["Avg.", "Avg. found"]], [(2 * far + 3) / 6, 1.5])
    assert list(table.cells.loc["Over patients", ["n", "missed", "invented"]]) == ["2", "1", "1"]
    assert list(table.cells.loc["Total Avg.", ["n", "missed", "invented"]]) == [""] * 3
    assert organ_table(pandas.concat(rows)).organs.columns[-1] == "n"  # Dice counts them as 0


def test_two_scans_of_one_patient_count_as_one_patient():
    rows = table_of(("a1", "liver", 0.2), ("a2", "liver", 0.2), ("b", "liver", 0.9))
    patients = organ_table(rows.assign(patient=["a", "a", "b"])).patients
    assert (patients["Avg."], patients["n"]) == (pytest.approx(0.55), 2)
    label = np.full((3, 3, 3), 3)
    named = pandas.concat([score_case(label, label, np.eye(4), (3,), name, patient="a") for name in ("a1", "a2")])
    assert set(named["patient"]) == {"a"} and organ_table(named).patients["n"] == 1


def test_scores_of_an_older_file_are_read():
    old = table_of(("a1", "liver", 0.2), ("a2", "liver", 0.0), ("b", "liver", 0.9))
    old = old.assign(assd_mm=[4.0, np.nan, 1.0], surface_dice=[0.5, np.nan, 0.9])
    assert organ_table(old).patients["n"] == 3  # each case another patient
    assert organ_table(old, "surface_dice").organs.loc["liver", "Avg."] == pytest.approx(1.4 / 3)
    table = organ_table(old, "assd_mm").organs.loc["liver"]
    assert (table["Avg."], table["missed"], table["Avg. found"]) == (np.inf, 1, 2.5)
    mixed = pandas.concat([old[:1], old[2:].assign(patient="p", diagonal_mm=9.0, outcome="found")])
    assert organ_table(mixed).patients["n"] == 2


def test_scores_are_written_and_read_back(tmp_path):
    save_scores(THREE, tmp_path / "new" / "scores.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "new" / "scores.csv"), THREE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.csv"]


CONVENTIONS = re.findall(
    r"^\| (.+) \| (.+) \| `(.+\.py::.+)` \|$",
    (Path(__file__).resolve().parents[2] / "book" / "reference.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


@pytest.mark.parametrize(("what", "convention", "test"), CONVENTIONS, ids=[row[0] for row in CONVENTIONS])
def test_a_convention_of_the_reference_names_a_test(what, convention, test):
    assert mutants.source_of(f"tests/{test}")


def test_the_reference_has_all_conventions():
    assert len(CONVENTIONS) == 21
