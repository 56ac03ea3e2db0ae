"""Break ten behaviours, one at a time, and show that each turns a named test red: `make mutants`."""

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
    """One error: `text` in a file of the library becomes `becomes`, and `test` must fail."""

    behaviour: str
    file: str
    text: str
    becomes: str
    test: str


MUTANTS = (
    Mutant(
        "sign of the Dice", "losses.py",
        "per_class = -2.0 * intersection", "per_class = 2.0 * intersection",
        "test_losses.py::test_a_perfect_prediction_scores_minus_one_and_a_better_one_less",
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
    ),
)  # fmt: skip


def passes(test, library):
    """True where a test passes with the library in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{test}"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(library)}, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):  # 1 is a failed test; anything else never got as far
        sys.exit(f"{test}: pytest ended with status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


def main():
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lib"
        for mutant in MUTANTS:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(ROOT / "lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
            if not passes(mutant.test, copy):
                sys.exit(f"{mutant.test} fails on the library as it is; mend that first")
            file = copy / "organseg" / mutant.file
            source = file.read_text()
            if source.count(mutant.text) != 1:
                sys.exit(f"{mutant.file}: found {source.count(mutant.text)} times, expected once: {mutant.text}")
            file.write_text(source.replace(mutant.text, mutant.becomes))
            survived = passes(mutant.test, copy)
            survivors += [mutant] if survived else []
            print(f"{'SURVIVED' if survived else 'caught':9}{mutant.behaviour:42}{mutant.test}", flush=True)
    print(f"\n{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} errors caught")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
