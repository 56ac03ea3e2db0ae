"""The command line: phantom, preflight, train, predict, evaluate, info. `organseg COMMAND --help`
explains each."""

import argparse
import shutil
import sys
import warnings
from pathlib import Path

import organseg
from organseg.cases import IMAGE_ENDINGS, case_name, load_case, save_image, save_label
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.folders import (
    find_cases,
    image_file,
    label_file,
    read_dataset_json,
    split,
    write_dataset_json,
)


def main(arguments=None):
    """Run one command. Bad input ends in one line on standard error and exit status 2."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", OrgansegWarning)
    try:
        options.command(options)
    except OrgansegError as error:
        sys.exit(_fail(str(error)))
    except (OSError, MemoryError) as error:
        sys.exit(
            _fail(
                f"{' '.join(str(error).split()) or type(error).__name__}; check the path and the space left"
            )
        )
    except KeyboardInterrupt:
        sys.exit(130)


def phantom(options):
    """Write phantoms as a data folder; with --sheet, a contact sheet of ten of them."""
    from organseg.phantom import make_phantom
    from organseg.show.slices import contact_sheet

    folder = Path(options.folder)
    shape = tuple(options.shape or ((128, 128, 160) if options.sheet else (64, 64, 64)))
    if options.sheet:
        groups = {"phantoms": (make_phantom(options.seed + i, shape) for i in range(10))}
        for real in options.beside:
            files = _images_of(Path(real), skip=())
            groups[Path(real).name] = (
                load_case(f.image, f.label, f.annotated, f.name) for f in files[:10]
            )
        contact_sheet(groups, folder / "sheet.png")
        return print(f"wrote {folder / 'sheet.png'}")
    annotated = (
        read_dataset_json(folder).get("annotated_labels", {})
        if (folder / "dataset.json").is_file()
        else {}
    )
    skipped = 0
    for seed in range(options.seed, options.seed + options.cases):
        name = f"phantom_{seed:04d}"
        image, label = image_file(folder, "Tr", name), label_file(folder, "Tr", name)
        if image.is_file() and label.is_file() and not options.overwrite:
            skipped += 1
        else:
            case = make_phantom(seed, shape)
            save_image(case.image, case.affine, image)
            save_label(case.label, case.affine, label)
        annotated[name] = organseg.ORGAN_IDS
    write_dataset_json(
        folder, "phantoms", annotated, "Synthetic abdomens made by 'organseg phantom'"
    )
    print(
        f"wrote {options.cases - skipped} phantoms to {folder}"
        + (f", skipped {skipped} that were there" if skipped else "")
    )


def preflight(options):
    """Measure for up to a minute what training takes on this machine: time per step, memory,
    hours."""
    from organseg.command.preflight import check_machine

    print(check_machine(options.profile, options.seconds))


def train(options):
    """Train a network on a data folder and write a run folder."""
    files = find_cases(options.data)
    training, held_out = split(files, options.test, options.seed) if options.test else (files, [])
    from organseg.profiles import PROFILES, choose_profile
    from organseg.runs import load_run
    from organseg.training import mean_dice, shorter
    from organseg.training import train as run_training

    out = Path(options.out)
    if options.overwrite and (out / "run.json").is_file():
        shutil.rmtree(out)
    changes = {
        k: v for k in ("steps", "precision", "spacing") if (v := getattr(options, k)) is not None
    }
    profile = shorter(PROFILES[options.profile or choose_profile()], **changes)
    print(
        f"profile {profile.name}: {profile.steps} steps of {profile.batch_size} crops of {profile.crop_size}³ voxels, "
        f"{profile.organ_share:.0%} of them centred on an organ, {len(training)} cases, {len(held_out)} held out"
    )
    start_from = load_run(options.start_from) if options.start_from else None
    _, history = run_training(
        _Told.of(training),
        out,
        profile,
        _Told.of(held_out),
        options.seed,
        options.resume,
        start_from=start_from,
    )
    last = history[-1]
    print(
        f"loss {last['loss']:.3f} after {last['step']} steps and {last['seconds']:.0f} s; the run is in {out}"
    )
    if held_out:
        scores = ", ".join(f"{name} {last[f'dice_{name}']:.2f}" for name in organseg.ORGAN_NAMES)
        print(
            f"Dice on the held-out cases, on the working grid: mean {mean_dice(last):.2f} ({scores})"
        )


def predict(options):
    """Segment a scan or a folder of scans; labels lie on each scan's own grid."""
    from organseg.runs import load_run, load_settings

    settings, _, _ = load_settings(options.run)
    skip = () if options.all else settings.get("trained_on", ())
    files = _images_of(Path(options.images), skip)
    from organseg.inference import predict as segment
    from organseg.show.slices import save_overlay

    run, out = load_run(options.run), Path(options.out)
    if str(options.run) == "pretrained":
        print("pretrained: trained on phantoms only, so expect little of it on a patient's scan")
    failed = 0
    for file in _Told.of(files):
        target = out / f"{file.name}.nii.gz"
        if target.is_file() and not options.overwrite:
            print(f"{file.name}: {target} is there, skipped (--overwrite writes it again)")
            continue
        try:
            case = file.load()
            label = segment(
                run.network, case, run.grid, options.tile_depth, options.margin, options.precision
            )
        except OrgansegError as error:
            if len(files) == 1:
                raise
            failed += 1
            _fail(str(error))
            continue
        save_label(label, case.affine, target)
        save_overlay(case, label, out / f"{file.name}.png")
        voxel = case.spacing[0] * case.spacing[1] * case.spacing[2] / 1000
        found = [
            f"{o.name} {int((label == o.id).sum()) * voxel:.0f} ml"
            for o in organseg.ORGANS
            if (label == o.id).any()
        ]
        print(f"{file.name}: {', '.join(found) or 'no organ found'}; wrote {target}")
    if failed:
        raise OrgansegError(
            f"{failed} of {len(files)} images could not be segmented; the reasons stand above"
        )


def evaluate(options):
    """Score predictions against labels; print the paper's table, write a row per case and organ,
    and pictures."""
    import pandas

    from organseg.metrics import score_case
    from organseg.show.slices import save_overlay
    from organseg.tables import organ_table, save_scores

    predictions, labels = _niftis(Path(options.predictions)), Path(options.labels)
    if not predictions:
        raise OrgansegError(
            f"{options.predictions}: found no NIfTI file; expected those of 'organseg predict'; check the path"
        )
    if (labels / "imagesTr").is_dir():
        truth = {
            f.name: f
            for part in ("Tr", "Ts")
            if (labels / f"images{part}").is_dir()
            for f in find_cases(labels, part)
        }
        truth = {name: f for name, f in truth.items() if f.label}
    else:
        about = read_dataset_json(labels) if (labels / "dataset.json").is_file() else {}
        annotated = about.get("annotated_labels", {})
        truth = {
            case_name(path): organseg.CaseFiles(
                case_name(path),
                None,
                path,
                tuple(annotated.get(case_name(path), organseg.ORGAN_IDS)),
            )
            for path in _niftis(labels)
        }
    both = [(truth[case_name(p)], p) for p in predictions if case_name(p) in truth]
    if not both:
        raise OrgansegError(
            f"{labels}: found no label for any of {len(predictions)} predictions; expected files of the same names"
        )
    for path in predictions:
        if case_name(path) not in truth:
            warnings.warn(
                f"{path.name}: no label of this name, not scored", OrgansegWarning, stacklevel=1
            )
    rows = []
    out = Path(options.out) if options.out else Path(options.predictions) / "table.csv"
    for file, path in both:
        case = (
            load_case(file.label, file.label, file.annotated, file.name)
            if file.image is None
            else file.load()
        )
        predicted = load_case(path, path, name=file.name)
        if (
            not organseg.cases.same_grid(predicted.affine, case.affine, case.image.shape)
            or predicted.label.shape != case.label.shape
        ):
            raise OrgansegError(
                f"{path}: found a prediction on another grid ({predicted.image.shape}); expected that of {file.label} "
                f"({case.image.shape}); predict from the same image"
            )
        rows.append(
            score_case(case.label, predicted.label, case.spacing, case.annotated, file.name)
        )
        if file.image is not None:
            save_overlay(case, predicted.label, out.parent / f"{out.stem}_{file.name}.png")
    scores = pandas.concat(rows, ignore_index=True)
    save_scores(scores, out)
    print(organ_table(scores))
    for measure in ("hausdorff95_mm", "assd_mm"):
        print()
        print(str(organ_table(scores, measure)).split("\n\n")[0])
    print(f"\n{len(rows)} cases; a row per case and organ in {out}")


def info(options):
    """Say what a file holds and what looks wrong with it."""
    from organseg.command.doubts import doubts, tilt

    case = load_case(options.image)
    import numpy as np

    values = case.image[np.isfinite(case.image)]
    low, high = np.percentile(values, (1, 99))
    print(f"{case.name}: {'×'.join(map(str, case.image.shape))} voxels")
    print(f"spacing  {' × '.join(f'{s:.3g}' for s in case.spacing)} mm")
    print(f"axes     {case.axes}" + (f", turned by {tilt(case):.1f}°" if tilt(case) > 0.1 else ""))
    print(
        f"values   {values.min():g} to {values.max():g} HU; 1 % below {low:g}, 1 % above {high:g}"
    )
    found = doubts(case)
    print("\n".join(f"look at  {line}" for line in found) if found else "nothing looks wrong")


class _Told(organseg.CaseFiles):
    """Where a case lies; when it is read, the doubts about it are told."""

    @classmethod
    def of(cls, files):
        return [cls(**vars(file)) for file in files]

    def load(self):
        from organseg.command.doubts import doubts

        case = super().load()
        for line in doubts(case):
            warnings.warn(f"{self.name}: {line}", OrgansegWarning, stacklevel=2)
        return case


def _images_of(path, skip):
    """The images to work on: a file, all of a plain folder, or a data folder's without those in
    `skip`."""
    if path.is_file() or not path.exists():
        return [organseg.CaseFiles(case_name(path), path)]
    if any((path / f"images{part}").is_dir() for part in ("Tr", "Ts")):
        files = [
            f
            for part in ("Tr", "Ts")
            if (path / f"images{part}").is_dir()
            for f in find_cases(path, part)
        ]
        left = [f for f in files if f.name not in skip]
        if len(left) < len(files):
            print(
                f"skipped {len(files) - len(left)} cases that the run was trained on (--all takes them too)"
            )
        files = left
    else:
        files = [organseg.CaseFiles(case_name(p), p) for p in _niftis(path)]
    if not files:
        raise OrgansegError(
            f"{path}: found no image left to work on; expected NIfTI files or a data folder; check the path"
        )
    return files


def _niftis(folder):
    """The NIfTI files of a folder (or the file itself), sorted."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise OrgansegError(
            f"{folder}: no such file or folder; expected NIfTI images; check the path"
        )
    return sorted(
        p
        for p in folder.iterdir()
        if p.name.endswith(IMAGE_ENDINGS[:2]) and not p.name.startswith(".")
    )


def _show_warning(message, category, *_):
    text = " ".join(str(message).split())
    if issubclass(category, OrgansegWarning):
        print(f"warning: {text}", file=sys.stderr)


def _fail(line):
    print(f"organseg: {line}", file=sys.stderr)
    return 2


def _parser():
    parser = argparse.ArgumentParser(
        prog="organseg",
        description="Multi-organ CT segmentation with the 3D U-Net of Roth et al. 2018.",
    )
    parser.add_argument("--version", action="version", version=f"organseg {organseg.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name):
        sub = commands.add_parser(
            name, help=function.__doc__.split(";")[0].rstrip("."), description=function.__doc__
        )
        sub.set_defaults(command=function)
        return sub

    sub = command(phantom, "phantom")
    sub.add_argument("folder", help="data folder to write (or to add to)")
    sub.add_argument("--cases", type=_positive, default=16, help="how many (16)")
    sub.add_argument(
        "--seed", type=int, default=0, help="the first patient (0); the next ones follow"
    )
    sub.add_argument(
        "--shape",
        type=_positive,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="voxels (64 64 64; for the sheet 128 128 160)",
    )
    sub.add_argument("--overwrite", action="store_true", help="write cases again that are there")
    sub.add_argument(
        "--sheet",
        action="store_true",
        help="write FOLDER/sheet.png, a contact sheet of ten phantoms, instead",
    )
    sub.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="REAL",
        help="folders whose scans the sheet shows beside them",
    )

    sub = command(preflight, "preflight")
    sub.add_argument("--profile", choices=PROFILE_NAMES, help="by default the one for this machine")
    sub.add_argument(
        "--seconds",
        type=_positive,
        default=60,
        help="when to stop (60); three steps are always taken",
    )

    sub = command(train, "train")
    sub.add_argument("data", help="data folder: imagesTr, labelsTr, dataset.json")
    sub.add_argument("--out", required=True, help="run folder to write")
    sub.add_argument("--profile", choices=PROFILE_NAMES, help="by default the one for this machine")
    sub.add_argument(
        "--test", type=int, default=0, help="patients to hold out and to validate on (0)"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    sub.add_argument(
        "--overwrite", action="store_true", help="delete a run that is there, and begin anew"
    )
    sub.add_argument(
        "--start-from", metavar="RUN", help="begin with the weights of this run, or of 'pretrained'"
    )
    sub.add_argument("--steps", type=_positive, help="instead of the profile's")
    sub.add_argument(
        "--spacing", type=float, help="of the working grid in mm, instead of the profile's"
    )
    sub.add_argument("--precision", choices=PRECISIONS, help="instead of the profile's")

    sub = command(predict, "predict")
    sub.add_argument("run", help="run folder, or 'pretrained': weights trained on phantoms only")
    sub.add_argument("images", help="a NIfTI file, a folder of them, or a data folder")
    sub.add_argument("--out", required=True, help="folder for CASE.nii.gz and CASE.png")
    sub.add_argument(
        "--tile-depth",
        type=_multiple_of_8,
        help="slices kept per tile; by default what fits into memory",
    )
    sub.add_argument(
        "--margin", type=int, default=48, help="slices that a tile sees besides (48: exact)"
    )
    sub.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="by default what is fastest here"
    )
    sub.add_argument("--all", action="store_true", help="also cases that the run was trained on")
    sub.add_argument(
        "--overwrite", action="store_true", help="write predictions again that are there"
    )

    sub = command(evaluate, "evaluate")
    sub.add_argument("labels", help="data folder, or a folder of label files")
    sub.add_argument("predictions", help="folder of predictions with the cases' names")
    sub.add_argument(
        "--out",
        help="CSV with a row per case and organ (PREDICTIONS/table.csv); pictures lie beside it",
    )

    sub = command(info, "info")
    sub.add_argument("image", help="a NIfTI file")
    return parser


PROFILE_NAMES = ("lesson", "fast", "gpu", "paper")
PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def _positive(text):
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"found {value}; expected at least 1")
    return value


def _multiple_of_8(text):
    if (value := int(text)) < 8 or value % 8:
        raise argparse.ArgumentTypeError(f"found {value}; expected a multiple of 8")
    return value


if __name__ == "__main__":
    main()
