"""What can go wrong with people's files, as commands that are run: the tests check what is said, the page shows it.

`python tests/command/situations.py` writes book/what_can_go_wrong.md (`make situations`).
"""

import contextlib
import io
import re
import shutil
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from organseg.phantom import make_phantom

PAGE = Path(__file__).resolve().parents[2] / "book" / "what_can_go_wrong.md"
PLACES = np.arange(40**3).reshape(40, 40, 40)
CT = np.where(PLACES % 7, 40.0, -1000.0) + PLACES % 401
GRID = np.diag([5.0, 5, 5, 1])


@dataclass(frozen=True)
class Situation:
    """A command in a folder that `build` fills: what it says (a pattern), its exit status, and what to do about it."""

    name: str
    build: object
    command: str
    says: str
    advice: str
    status: int = 0


def write(path, voxels=CT, affine=GRID, codes=(1, 1), unit="mm", slope=None):
    """A NIfTI file by nibabel alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels.astype(np.float32 if slope is None else np.uint8), affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, code=codes[0])
    image.set_qform(affine, code=codes[1], strip_shears=True)
    if slope:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


def labelled(folder, names="abc"):
    """A data folder of as many patients, each with a liver."""
    for name in names:
        write(folder / "data" / "imagesTr" / f"{name}_0000.nii.gz")
        write(folder / "data" / "labelsTr" / f"{name}.nii.gz", np.where(CT > 0, 3, 0))


def leaning(degrees):
    affine = GRID.copy()
    affine[1, 2] = 5 * np.tan(np.radians(degrees))
    return affine


def run_folder(folder):
    """A run that was killed before its second checkpoint would be the same to `train`: it has begun."""
    labelled(folder)
    small = "--profile lesson --steps 1 --spacing 12"
    call(f"train data --out run {small}", folder)


def predicted(folder):
    labelled(folder)
    shutil.copytree(folder / "data" / "labelsTr", folder / "predictions")
    (folder / "predictions" / "b.nii.gz").unlink()


SITUATIONS = [
    Situation(
        "The header states no orientation",
        lambda f: write(f / "ct.nii.gz", codes=(0, 0)),
        "info ct.nii.gz",
        r"look at .* states no orientation \(codes 0\); its axes are taken for LAS",
        "Left and right cannot be known from such a file. Compare with a program that showed it rightly, or export it "
        "again from the DICOM files. A predicted label gets the same header as its scan, so the two lie on each other.",
    ),
    Situation(
        "The header states two positions that disagree",
        lambda f: nibabel.save(two_positions(), f / "ct.nii.gz"),
        "info ct.nii.gz",
        r"two positions \(sform and qform\), up to \d+ mm apart; the sform is used",
        "Some programs read the one, some the other. See in which of the two the liver lies on the patient's right.",
    ),
    Situation(
        "The header is whole, and the patient is mirrored in it",
        lambda f: write(f / "ct.nii.gz", *mirrored_phantom()),
        "info --doctor ct.nii.gz",
        r"looks mirrored left to right \(99 %\)",
        "Compare with a program that showed it rightly, or export it again from the DICOM files. Nothing is turned by "
        "itself: a predicted label follows the header of its scan.",
    ),
    Situation(
        "The header counts in metres",
        lambda f: write(f / "ct.nii.gz", affine=np.diag([0.005, 0.005, 0.005, 1]), unit="meter"),
        "info ct.nii.gz",
        r"header is in meters; read as voxels of 5×5×5 mm",
        "There is nothing to do if these are the voxels that you expect.",
    ),
    Situation(
        "The header says metres, and means millimetres",
        lambda f: write(f / "ct.nii.gz", unit="meter"),
        "info ct.nii.gz",
        r"says meter, which makes voxels of 5000×5000×5000 mm; taken for mm instead",
        "There is nothing to do if the lines above show the size of a patient.",
    ),
    Situation(
        "A tilted gantry: slices that lean",
        lambda f: write(f / "ct.nii.gz", affine=leaning(20)),
        "info ct.nii.gz",
        r"slices lean by 20\.0°",
        "There is nothing to do: positions and distances go through the affine, volumes through its determinant.",
    ),
    Situation(
        "Values are not HU: 1024 too high, with padding",
        lambda f: write(f / "ct.nii.gz", padded(CT + 1024)),
        "info ct.nii.gz",
        r"lowest value 24: a CT in HU has air near -1000",
        "Subtract 1024 (in other words, add DICOM's rescale intercept, usually −1024), and write the file again.",
    ),
    Situation(
        "Values are not HU: all of them 8192 too low",
        lambda f: write(f / "ct.nii.gz", CT - 8192),
        "info ct.nii.gz",
        r"highest value -\d+: soft tissue has 0 to 100 HU; are all values shifted\?",
        "Find the offset in the program that wrote the file, and undo it.",
    ),
    Situation(
        "One slice holds no numbers (NaN)",
        lambda f: write(f / "ct.nii.gz", with_nan(CT)),
        "info ct.nii.gz",
        r"1600 voxels are not finite; they count as air",
        "Look at where they lie. A border is harmless, a hole in the liver is not.",
    ),
    Situation(
        "A voxel size twenty times too large",
        lambda f: write(f / "ct.nii.gz", affine=np.diag([100.0, 100, 100, 1])),
        "info ct.nii.gz",
        r"4000 × 4000 mm across: wider than a scanner; are they mm\?",
        "Correct the voxel size. A prediction would need more memory than there is, and is refused.",
    ),
    Situation(
        "The file is cut off",
        lambda f: (f / "ct.nii.gz").write_bytes(write(f / "whole.nii.gz").read_bytes()[:20_000]),
        "info ct.nii.gz",
        r"found no readable image \(.*\); expected a 3-D NIfTI image",
        "Copy or fetch the file again.",
        2,
    ),
    Situation(
        "The results would lie among the scans",
        lambda f: write(f / "scans" / "a.nii.gz"),
        "predict pretrained scans --out scans --overwrite",
        r"scans: found a\.nii\.gz, which is given; expected another folder",
        "Name another folder. Nothing was written.",
        2,
    ),
    Situation(
        "The results would replace the labels that were drawn",
        labelled,
        "predict pretrained data --out data/labelsTr --all --overwrite",
        r"found a\.nii\.gz, which is given; expected another folder",
        "Name another folder. Nothing was written.",
        2,
    ),
    Situation(
        "Two files of one case",
        lambda f: [write(f / "scans" / name) for name in ("a.nii", "a.nii.gz")],
        "predict pretrained scans --out out",
        r"found a\.nii and a\.nii\.gz; expected one file of a; take one out",
        "Both would be predicted into a.nii.gz. Take one of them out.",
        2,
    ),
    Situation(
        "A folder of scans with other files",
        lambda f: [write(f / "scans" / "B.NII.GZ"), (f / "scans" / "c.mha").write_text("x", encoding="utf-8")],
        "predict pretrained scans --out out",
        r"scans: passed over c\.mha, no \.nii or \.nii\.gz",
        "Endings in capitals are read. Convert what was passed over, and predict again: what is there is skipped.",
    ),
    Situation(
        "An image without its channel number",
        lambda f: [labelled(f), write(f / "data" / "imagesTr" / "d.nii.gz")],
        "train data --out run --profile lesson --steps 1 --spacing 12",
        r"passed over d\.nii\.gz, whose names do not end in _0000",
        "nnU-Net's layout wants `CASE_0000.nii.gz`: rename it.",
    ),
    Situation(
        "An image without a label",
        lambda f: [labelled(f), (f / "data" / "labelsTr" / "b.nii.gz").unlink()],
        "train data --out run --profile lesson --steps 1",
        r"b_0000\.nii\.gz: found no labelsTr/b\.nii\.gz; expected a label",
        "Move the image to imagesTs, or add its label. (`predict` needs none.)",
        2,
    ),
    Situation(
        "Some cases have no prediction",
        predicted,
        "evaluate data predictions --out table.csv",
        r"found no prediction for 1 labels: b; expected one",
        "The table has the others. `--run RUN` names the run whose training cases need none; `predict` does the rest.",
        2,
    ),
    Situation(
        "Labels that a header scales",
        lambda f: [
            write(f / "labels" / "a.nii.gz", np.where(CT > 0, 3, 0)),
            write(f / "out" / "a.nii.gz", np.where(CT > 0, 3, 0), slope=0.988),
        ],
        "evaluate labels out",
        r"found label ids .*\(its header scales by 0\.988, adds 0\); expected 0 to 7",
        "Write the label again with slope 1 and intercept 0.",
        2,
    ),
    Situation(
        "Labels on another grid",
        lambda f: [
            write(f / "labels" / "a.nii.gz", np.where(CT > 0, 3, 0)),
            write(f / "out" / "a.nii.gz", np.where(CT > 0, 3, 0)[:, :, :39]),
        ],
        "evaluate labels out",
        r"found a label on another grid .* expected that of",
        "Resample the label to the scan, with nearest neighbour.",
        2,
    ),
    Situation(
        "A run is resumed with other settings",
        run_folder,
        "train data --out run --profile lesson --steps 9 --spacing 12 --resume",
        r"found a run with steps 1; expected 9; choose another folder \(--start-from takes the weights along\)",
        "Resume without naming settings: the run's own are taken. For others, begin a run from these weights.",
        2,
    ),
    Situation(
        "More devices are asked for than there are",
        labelled,
        "train data --out run --profile lesson --devices 64",
        r"found \d+ of 64 devices \(.*\); expected all of them; ask for fewer with --devices",
        "The cores of a processor count as one device: they work together anyway. `--devices` is for several GPUs.",
        2,
    ),
    Situation(
        "A folder of other data is to take phantoms",
        lambda f: [labelled(f), (f / "data" / "dataset.json").write_text(DATASET, encoding="utf-8")],
        "phantom data --cases 1 --shape 16 16 16",
        r"data: found the data set 'mine'; expected an empty folder or one of phantoms",
        "Name another folder. Nothing was written.",
        2,
    ),
]
DATASET = (
    '{"name": "mine", "labels": {"background": 0, "artery": 1, "vein": 2, "liver": 3, "spleen": 4, "stomach": 5, '
    '"gallbladder": 6, "pancreas": 7}}'
)


def mirrored_phantom():
    """Voxels of a phantom, the patient's left for the right, and the affine as if nothing had happened."""
    case = make_phantom(7000, (88, 72, 80), (4.0, 4.0, 4.0))
    return case.image[::-1], case.affine


def two_positions():
    image = nibabel.Nifti1Image(CT.astype(np.float32), GRID)
    image.set_sform(GRID, code=1)
    image.set_qform(np.diag([-5.0, 5, 5, 1]), code=1)
    return image


def padded(voxels):
    return np.where(np.arange(40) < 3, -2000, voxels)


def with_nan(voxels):
    return np.where(np.arange(40) < 1, np.nan, voxels)


def call(command, folder):
    """Run a command of organseg in a folder: its exit status, and what it said."""
    from organseg.command.main import main

    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(command.split())
            return 0, said.getvalue()
        except SystemExit as stop:
            return stop.code, said.getvalue()


def line_of(situation, said):
    """The line of what was said that speaks of the situation, or None."""
    return next((line.strip() for line in said.splitlines() if re.search(situation.says, line)), None)


def page():
    """The page of the book, as Markdown."""
    lines = PAGE.read_text(encoding="utf-8").partition("<!-- made by `make situations` -->")[0].rstrip().splitlines()
    lines += ["", "<!-- made by `make situations` -->", ""]
    for situation in SITUATIONS:
        with tempfile.TemporaryDirectory() as place:
            situation.build(Path(place))
            status, said = call(situation.command, Path(place))
        ended = "" if status == 0 else f" (exit status {status})"
        lines += [f"## {situation.name}", "", "```text", f"$ organseg {situation.command}"]
        lines += textwrap.wrap(line_of(situation, said), 72, subsequent_indent="  ", break_on_hyphens=False)
        lines += ["```", "", *textwrap.wrap(f"{situation.advice}{ended}", 118), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
