"""What each command does; `main` says with which arguments.

Keras and Matplotlib are imported where a command needs them: `organseg info` starts at once.
"""

import os
import sys
import warnings
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from organseg import cases, folders, volumes
from organseg.command.doubts import TellingFiles, doubts, tilt
from organseg.errors import OrgansegError, warn
from organseg.files import case_name, label_name, listed, niftis_by_name
from organseg.folders import CaseFiles, find_cases, image_file, label_file, read_dataset_json
from organseg.organs import ORGAN_IDS, ORGANS

PHANTOMS = "phantoms"  # the data set's name in dataset.json
WORDS = {  # what to expect of the networks that come with the package
    "pretrained": "trained on drawn abdomens for real scans, and on the scans of four patients",
    "drawn": "trained on drawn abdomens for real scans; it has seen no patient's image",
    "phantoms": "trained on the course's phantoms; for a patient's scan take 'pretrained'",
}


def phantom(options):
    """Write phantoms as a data folder."""
    from organseg.phantom import make_phantom

    folder, written = Path(options.folder), 0
    about = read_dataset_json(folder) if (folder / "dataset.json").is_file() else {}
    if about and about.get("name") != PHANTOMS:
        found = f"{folder}: found the data set {about.get('name')!r}"
        raise OrgansegError(f"{found}; expected an empty folder or one of phantoms; choose another")
    annotated = about.get("annotated_labels", {})
    for seed in range(options.seed, options.seed + options.cases):
        name = f"phantom_{seed:04d}"
        image, label = image_file(folder, "Tr", name), label_file(folder, "Tr", name)
        if options.overwrite or not (image.is_file() and label.is_file()):
            case = make_phantom(seed, tuple(options.shape))
            volumes.save_image(case.image, case.affine, image)
            volumes.save_label(case.label, case.affine, label)
            written += 1
        annotated[name] = ORGAN_IDS
    made_by = "Synthetic abdomens made by 'organseg phantom'"
    folders.write_dataset_json(folder, PHANTOMS, annotated, made_by)
    skipped = f", skipped {options.cases - written} that were there"
    print(f"wrote {written} phantoms to {folder}" + (skipped if written < options.cases else ""))


def preflight(options):
    """Measure for up to a minute what training takes here: time per step, memory, hours."""
    from organseg.command.preflight import measure_pace

    print(measure_pace(options.profile, options.seconds))


def predict(options):
    """Segment a scan or a folder of scans; labels lie on each scan's own grid."""
    from organseg.command.workers import each
    from organseg.runs import load_settings

    _lead_from_anywhere(options, "images", "out", *(() if options.run in WORDS else ("run",)))
    settings, _, folder = load_settings(options.run)
    weights = folder / "model.weights.h5"
    # A worker that outlives a training must see that the weights are others now.
    options.version = weights.stat().st_mtime_ns if weights.is_file() else None
    if not options.scheduler:  # else the workers need the GPU
        _run_of(options.run, options.precision, options.version)
    out = Path(options.out)
    if told := WORDS.get(str(options.run)):
        print(f"{options.run}: {told}; not for clinical use")
    skip = () if options.all else settings.get("trained_on", ())
    files = TellingFiles.of(_images_of(Path(options.images), skip))
    _refuse_to_write_among(files, out)
    files = [replace(file, label=None) for file in files]
    told = each(partial(_predict_one, options), files, options.scheduler)
    _, failed = _those_that_worked(told, len(files))
    for rest in out.glob(".writing-*") if options.scheduler else ():  # of a worker that was lost
        rest.unlink(missing_ok=True)
    if failed:
        told = "the reasons stand above"
        raise OrgansegError(f"{failed} of {len(files)} images could not be segmented; {told}")


def _lead_from_anywhere(options, *paths):
    """Make paths absolute, where workers may run in other folders than this."""
    for name in paths if options.scheduler else ():
        setattr(options, name, (path := getattr(options, name)) and os.path.abspath(path))


def _those_that_worked(told, count):
    """What the cases gave, and how many failed; of several, each failure is a line."""
    values, failed = [], 0
    for tell in told:
        try:
            values.append(tell())
        except OrgansegError as error:
            if count == 1:
                raise
            failed += 1
            print(f"organseg: {error}", file=sys.stderr)
    return values, failed


@lru_cache(1)
def _run_of(folder, precision, version):
    from organseg.runs import load_run

    return load_run(folder).in_precision(precision)


def _refuse_to_write_among(files, out):
    """Predictions have the names of their scans, and those of their labels: never beside either."""
    for file in files:
        for given in (file.image, file.label):
            if given and out.is_dir() and os.path.samefile(Path(given).parent, out):
                found = f"{out}: found {Path(given).name}, which is given"
                expected = "expected another folder for what is predicted"
                raise OrgansegError(f"{found}; {expected}; choose another --out")


def _draw(case, target, label=None):
    """The picture beside a prediction."""
    from organseg.show.slices import save_overlay

    label = cases.read_label(target)[0] if label is None else label
    save_overlay(case, label, target.with_name(f"{case.name}.png"))


def _images_of(path, skip):
    """The images to work on: a file, a plain folder's, or a data folder's but for `skip`."""
    if every := _cases_of(path, labels_needed=False):
        files = [file for file in every if file.name not in skip]
        if not files:
            found = f"{path}: found no case that the run was not trained on"
            raise OrgansegError(f"{found}; expected new ones; --all takes the others too")
        if skipped := len(every) - len(files):
            print(f"skipped {skipped} cases that the run was trained on (--all takes them too)")
        return files
    return [CaseFiles(name, image) for name, image in _niftis(path, case_name).items()]


def _predict_one(options, file):
    from organseg.command import doctor
    from organseg.inference import predict as segment
    from organseg.runs import SHIPPED

    target = Path(options.out) / f"{file.name}.nii.gz"
    if target.is_file() and not options.overwrite:
        print(f"{file.name}: {target} is there, skipped (--overwrite writes it again)")
        if not target.with_name(f"{file.name}.png").is_file():  # it was interrupted
            _draw(file.load(), target)
        return
    run = _run_of(options.run, options.precision, options.version)
    case = file.load()
    label = segment(run, case, options.tile_depth, options.margin, precision=options.precision)
    volumes.save_label(label, case.affine, target, like=file.image)
    _draw(case, target, label)
    voxels, ml = np.bincount(label.ravel(), minlength=8), abs(np.linalg.det(case.affine)) / 1000
    found = [f"{organ.name} {voxels[organ.id] * ml:.0f} ml" for organ in ORGANS if voxels[organ.id]]
    print(f"{file.name}: {', '.join(found) or 'no organ found'}; wrote {target}")
    if str(options.run) in SHIPPED:  # other networks may know only a part of the organs
        for line in doctor.doubts_about(run, case, label):
            warn(f"{file.name}: {line}: is the file's header right? The labels follow it")


def evaluate(options):
    """Score predictions against labels; print the paper's table, write scores and pictures."""
    import pandas

    from organseg.command.workers import each
    from organseg.tables import organ_table, save_scores

    _lead_from_anywhere(options, "labels", "predictions", "out")
    predictions, truth = _niftis(Path(options.predictions)), _labels_of(Path(options.labels))
    both = [name for name in predictions if name in truth]
    if not both:
        found = f"{options.labels}: found no label for any of {len(predictions)} predictions"
        raise OrgansegError(f"{found}; expected files of the same names")
    for name in predictions.keys() - truth:
        warn(f"{predictions[name].name}: no label of this name, not scored")
    out = Path(options.out or Path(options.predictions) / "table.csv")
    if out.suffix != ".csv":
        raise OrgansegError(f"{out}: found no name of a table; expected one in .csv; change --out")
    pairs = [(truth[name], predictions[name]) for name in both]
    told = each(partial(_score_one, out), pairs, options.scheduler)
    scores, failed = _those_that_worked(told, len(pairs))
    bad = f"{failed} of {len(pairs)} predictions could not be scored; the reasons stand above"
    if not scores:
        raise OrgansegError(bad)
    scores = pandas.concat(scores, ignore_index=True)
    save_scores(scores, out)
    print(organ_table(scores))
    for measure in ("hausdorff95_mm", "assd_mm"):
        print(f"\n{organ_table(scores, measure).cells.to_string(col_space=6)}")
    print(f"\n{len(both) - failed} cases; a row per case and organ in {out}")
    if failed:
        raise OrgansegError(f"{bad}; the table has the others")
    known = _trained_on(options.run) if options.run else ()
    if missing := sorted(name for name in truth.keys() - predictions if name not in known):
        found = f"found no prediction for {len(missing)} labels: {listed(missing)}"
        expected = "expected one for each that the run was not trained on (--run RUN tells which)"
        raise OrgansegError(f"{found}; {expected}; the table has the others")


def _trained_on(run):
    from organseg.runs import load_settings

    return load_settings(run)[0].get("trained_on", ())


def _labels_of(folder):
    """The labels to score against, by case: a data folder's, or the files of a plain folder."""
    if every := _cases_of(folder):
        return {file.name: file for file in every if file.label}
    about = read_dataset_json(folder) if (folder / "dataset.json").is_file() else {}
    known, named = about.get("annotated_labels", {}), _niftis(folder)
    return {n: CaseFiles(n, None, p, tuple(known.get(n, ORGAN_IDS))) for n, p in named.items()}


def _score_one(out, pair):
    """Score one prediction, and draw it beside the truth where there is an image."""
    file, path = pair
    from organseg.metrics import score_case
    from organseg.show.slices import save_overlay

    case = file.load() if file.image else None
    truth, affine = (case.label, case.affine) if case else cases.read_label(file.label)
    predicted = cases.organ_ids(volumes.read_on_grid(path, truth, affine, file.label), path)
    if case:
        save_overlay(case, predicted, out.parent / f"{out.stem}_{file.name}.png")
    return score_case(truth, predicted, affine, file.annotated, file.name, patient=file.patient)


def info(options):
    """Say what a file holds and what looks wrong with it."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        case = cases.load_case(options.image)
    values = case.image[np.isfinite(case.image)]
    low, high = np.percentile(values, (1, 99))
    turned = f", turned by {tilt(case):.1f}°" if tilt(case) > 0.1 else ""
    print(f"{case.name}: {'×'.join(map(str, case.image.shape))} voxels")
    print(f"spacing  {' × '.join(f'{s:.3g}' for s in case.spacing)} mm")
    print(f"axes     {case.axes}{turned}")
    ends = f"{values.min():g} to {values.max():g} HU"
    print(f"values   {ends}; 1 % below {low:g}, 1 % above {high:g}")
    lines = [str(warning.message) for warning in told] + doubts(case)
    if options.doctor:
        from organseg.command import doctor
        from organseg.runs import load_run

        lines += doctor.told(doctor.mirrored(load_run("drawn"), case))
    found = [f"look at  {line}" for line in lines]
    print("\n".join(found or ["nothing looks wrong"]))


def _cases_of(path, labels_needed=True):
    """The cases of a data folder, of both its parts; none where the path is something else."""
    parts = [part for part in ("Tr", "Ts") if (path / f"images{part}").is_dir()]
    return TellingFiles.of(f for part in parts for f in find_cases(path, part, labels_needed))


def _niftis(path, name_of=label_name):
    """The NIfTI files of a folder by name; or the file itself, whatever it is called."""
    if path.is_file():
        return {name_of(path): path}
    files = niftis_by_name(path, name_of) if path.is_dir() else {}
    if not files:
        found = "found no NIfTI file" if path.is_dir() else "no such file or folder"
        raise OrgansegError(f"{path}: {found}; expected NIfTI images; check the path")
    return files
