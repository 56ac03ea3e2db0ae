"""A run folder: what a training leaves behind, and all that a prediction needs.

    RUN/run.json            network, working grid, profile, seed, which cases were trained on and
    which held out RUN/model.weights.h5    the network's weights RUN/checkpoint.npz      the same
    and the optimiser's state, to go on from (`--resume`) RUN/history.csv, RUN/curves.png

The weights that come with the package lie in such a folder too; its name is 'pretrained'.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from organseg import networks
from organseg.errors import OrgansegError
from organseg.files import whole_file
from organseg.geometry import HU_WINDOW, WorkingGrid

PRETRAINED = Path(__file__).parent / "weights"
BODY_LEVEL_WEIGHTS = PRETRAINED / "body_level.weights.h5"
BODY_LEVEL_CNN = {
    "network": "cnn",
    "num_classes": 4,
    "input_size": 64,
    "base_filters": 4,
    "levels": 4,
}


@dataclass
class Run:
    """A network together with the grid it works on.

    Attributes
    ----------
    network : keras.Model
    grid : WorkingGrid
    settings : dict, the content of run.json
    """

    network: object
    grid: WorkingGrid
    settings: dict


def describe(architecture, grid, **more):
    """The content of run.json."""
    window = list(HU_WINDOW)
    return {
        "architecture": architecture,
        "grid": {"spacing": list(grid.spacing), "factor": grid.factor},
        "window": window,
    } | more


def build(architecture, dtype=None):
    """The network of a run.json's `architecture`, e.g. {"network": "unet", "base_filters": 8}."""
    options = dict(architecture)
    return getattr(networks, options.pop("network"))(**options, dtype=dtype)


def save_settings(folder, settings):
    """Write run.json."""
    with whole_file(Path(folder) / "run.json") as aside:
        aside.write_text(json.dumps(settings, indent=1) + "\n")


def load_settings(folder):
    """Read run.json of a run folder ('pretrained': the weights that come with the package)."""
    folder = PRETRAINED if str(folder) == "pretrained" else Path(folder)
    path = folder / "run.json"
    if not path.is_file():
        raise OrgansegError(
            f"{folder}: found no run.json; expected a folder written by 'organseg train', or 'pretrained'"
        )
    try:
        settings = json.loads(path.read_text())
        if settings["architecture"]["network"] not in ("fcn", "unet"):
            raise ValueError("unknown network")
        grid = WorkingGrid(tuple(settings["grid"]["spacing"]), settings["grid"]["factor"])
    except (ValueError, KeyError, TypeError) as error:
        raise OrgansegError(
            f"{path}: found no settings of a run ({error!r:.60}); expected those of 'organseg train'; train again"
        ) from None
    if settings.get("window") != list(HU_WINDOW):
        raise OrgansegError(
            f"{path}: found the HU window {settings.get('window')}; expected {list(HU_WINDOW)}; train again"
        )
    return settings, grid, folder


def load_run(folder):
    """Read a run folder, or 'pretrained'.

    Returns
    -------
    Run

    Raises
    ------
    OrgansegError
        No run folder, no weights in it yet, or weights of another architecture than run.json says.
    """
    settings, grid, folder = load_settings(folder)
    weights = folder / "model.weights.h5"
    if not weights.is_file():
        raise OrgansegError(
            f"{folder}: found no model.weights.h5; expected a run past its first checkpoint; go on with --resume"
        )
    network = build(settings["architecture"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Keras names each layer that does not fit; one line below says it all
            network.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:90]
        raise OrgansegError(
            f"{weights}: found weights of another architecture ({reason}); expected those of run.json; train again"
        ) from None
    return Run(network, grid, settings)


def load_body_level_cnn():
    """The CNN of Fig. 1 with the weights that come with the package: it names the body level of an
    axial slice.

    Trained on phantoms alone (benchmarks/train_body_level.py), so it knows nothing of real
    patients.

    Returns
    -------
    keras.Model, normalised slices (batch, 64, 64, 1) of a whole field of view (6 mm pixels) to the
    probabilities of the four `BODY_LEVELS` (batch, 4)
    """
    network = build(BODY_LEVEL_CNN)
    network.load_weights(BODY_LEVEL_WEIGHTS)
    return network


def save_weights(network, folder):
    """Write model.weights.h5."""
    with whole_file(Path(folder) / "model.weights.h5") as aside:
        network.save_weights(aside)


def save_checkpoint(folder, step, variables):
    """Write checkpoint.npz: a step's number and the values of all variables, of network and
    optimiser."""
    with whole_file(Path(folder) / "checkpoint.npz") as aside:
        np.savez(aside, step=step, **{f"v{i:04d}": np.asarray(v) for i, v in enumerate(variables)})


def load_checkpoint(folder):
    """The step and the list of arrays of checkpoint.npz."""
    path = Path(folder) / "checkpoint.npz"
    try:
        with np.load(path) as stored:
            return int(stored["step"]), [
                stored[name] for name in sorted(stored.files) if name != "step"
            ]
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:90]
        raise OrgansegError(
            f"{path}: found no checkpoint to go on from ({reason}); expected one; train without --resume"
        ) from None
