"""A run folder: what a training leaves behind, and all that a prediction needs.

::

    RUN/run.json            network, working grid, profile, seed, the cases trained on and held out
    RUN/model.weights.h5    the network's weights
    RUN/checkpoint.npz      the same and the optimiser's state, to go on from (`--resume`)
    RUN/history.csv         losses and Dice of each validation (the command line draws curves.png)

Three networks come with the package in such folders: 'phantoms', trained on the course's phantoms,
'drawn', trained on drawings that vary as real scans do, and 'pretrained', which has seen scans too.
"""

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas

from organseg import networks
from organseg.backend import keras
from organseg.device.precision import resolve_precision
from organseg.errors import OrgansegError, warn
from organseg.files import whole_file
from organseg.geometry import WorkingGrid
from organseg.profiles import Profile, find_profile
from organseg.scans import HU_WINDOW

# Of the networks that a run.json may ask for, so that a damaged one does not fill the memory.
LARGEST = {"num_classes": 256, "base_filters": 64, "levels": 6, "spatial_dims": 3}
FILES = ("run.json", "model.weights.h5", "checkpoint.npz", "history.csv")
WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("pretrained", "drawn", "phantoms")


@dataclass(frozen=True)
class Run:
    """A network (keras.Model), the WorkingGrid it works on, and the content of run.json (dict)."""

    network: object
    grid: WorkingGrid
    settings: dict

    def in_precision(self, precision):
        """The same run, computing in another precision (see `resolve_precision`)."""
        policy = resolve_precision(precision)
        if self.network.layers[1].dtype_policy.name == policy:
            return self
        network = build(self.settings["architecture"], policy)
        network.set_weights(self.network.get_weights())
        return replace(self, network=network)


def describe(architecture, grid, **more):
    """The content of run.json."""
    grid = {"spacing": list(grid.spacing), "factor": grid.factor}
    return {"architecture": architecture, "grid": grid, "window": list(HU_WINDOW)} | more


def build(architecture, dtype=None):
    """The network of a run.json's `architecture`, e.g. {"network": "unet", "base_filters": 8}."""
    options = dict(architecture)
    return getattr(networks, options.pop("network"))(**options, dtype=dtype)


def save_settings(folder, settings):
    """Write run.json."""
    with whole_file(Path(folder) / "run.json") as aside:
        aside.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def load_settings(folder):
    """The content of run.json (dict), its WorkingGrid and the folder; see `load_run`."""
    folder = WEIGHTS / folder if str(folder) in SHIPPED else Path(folder)
    path = folder / "run.json"
    expected = f"expected a folder written by 'organseg train', or one of {', '.join(SHIPPED)}"
    if not path.is_file():
        raise OrgansegError(f"{folder}: found no run.json; {expected}")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        sizes = dict(settings["architecture"])
        known = sizes.pop("network") in ("fcn", "unet") and sizes.keys() <= LARGEST.keys()
        if not known or not all(n in range(1, 1 + LARGEST[key]) for key, n in sizes.items()):
            raise ValueError("unknown network")
        grid = WorkingGrid(tuple(settings["grid"]["spacing"]), settings["grid"]["factor"])
    except (ValueError, KeyError, TypeError) as error:
        found = f"{path}: found no settings of a run ({error!r:.60})"
        raise OrgansegError(f"{found}; {expected}; train again") from None
    if settings.get("window") != list(HU_WINDOW):
        found = f"found the HU window {settings.get('window')}"
        raise OrgansegError(f"{path}: {found}; expected {list(HU_WINDOW)}; train again")
    return settings, grid, folder


def load_run(folder):
    """Read a run folder, or one of the networks that come with the package (see above).

    An OrgansegError says that it is none, has no weights yet, or not those that run.json says.

    >>> run = load_run("phantoms")
    >>> run.grid.spacing, run.network.output_shape
    ((4.0, 4.0, 4.0), (None, None, None, None, 8))
    """
    settings, grid, folder = load_settings(folder)
    weights = folder / "model.weights.h5"
    if not weights.is_file():
        found = f"{folder}: found no model.weights.h5"
        raise OrgansegError(f"{found}; expected a run past its first checkpoint; use --resume")
    network = build(settings["architecture"])
    try:
        with warnings.catch_warnings():
            # Keras names each layer that does not fit; one line below says it all.
            warnings.simplefilter("ignore")
            network.load_weights(weights)
    except Exception as error:  # and so does a damaged HDF5 file
        found = f"{weights}: found weights of another architecture ({error!s:.90})"
        raise OrgansegError(f"{found}; expected those of run.json; train again") from None
    return Run(network, grid, settings)


def save(folder, step, network, variables, history):
    """Write all that a run folder gains at a validation; the checkpoint last.

    `variables` are those of network and optimiser, in order; `history` has a dict per validation.
    """
    with whole_file(folder / "model.weights.h5") as aside:
        network.save_weights(aside)
    with whole_file(folder / "history.csv") as aside:
        pandas.DataFrame(history).to_csv(aside, index=False)
    arrays = {f"v{i:04d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    with whole_file(folder / "checkpoint.npz") as aside:
        np.savez(aside, step=step, **arrays)


def load_checkpoint(folder):
    """The step and the list of arrays of checkpoint.npz."""
    path = Path(folder) / "checkpoint.npz"
    try:
        with np.load(path) as stored:
            return int(stored["step"]), [stored[n] for n in sorted(stored.files) if n != "step"]
    except Exception as error:  # a damaged zip file raises whatever it likes
        found = f"{path}: found no checkpoint to go on from ({error!s:.90})"
        raise OrgansegError(f"{found}; expected one; train without --resume") from None


def begin_or_resume(folder, settings, resume):
    """The step to go on from and the stored variables: 0 and None where a run begins.

    Refuses to overwrite a run, and to go on with one that began with other settings.
    """
    for rest in folder.glob(".writing-*"):  # of a training that was killed
        rest.unlink(missing_ok=True)
    if not (folder / "run.json").is_file():
        if resume:
            warn(f"{folder}: nothing to resume; a new run begins")
        return 0, None
    if not resume:
        advice = "go on with --resume or choose another folder"
        raise OrgansegError(f"{folder}: found a run; expected an empty place; {advice}")
    before, _, _ = load_settings(folder)
    was, now = (_flat(s) for s in (before, settings))
    if differing := [key for key in now if was.get(key, now[key]) != now[key]]:
        key = differing[0]
        advice = "choose another folder (--start-from takes the weights along)"
        found = f"{folder}: found a run with {key} {was[key]}"
        raise OrgansegError(f"{found}; expected {now[key]}; {advice}")
    return load_checkpoint(folder) if (folder / "checkpoint.npz").is_file() else (0, None)


def _flat(settings):
    """What a resumed run must agree in, whatever its profile is called."""
    kept = ("architecture", "grid", "seed", "trained_on", "held_out")
    profile = {key: value for key, value in settings["profile"].items() if key != "name"}
    return {key: settings[key] for key in kept} | profile


def profile_for(profile, out, resume):
    """The Profile to train with: by default that of the run to go on with, or this machine's."""
    if not profile and resume and out and (Path(out) / "run.json").is_file():
        return Profile(**load_settings(out)[0]["profile"])
    return find_profile(profile)


def load_history(folder, last):
    """The rows of history.csv up to this step, as dicts; later ones have no checkpoint."""
    rows = pandas.read_csv(Path(folder) / "history.csv", dtype=str)  # then read to the digit
    rows = rows.astype(float).astype({"step": int})
    return rows[rows.step <= last].to_dict("records")
