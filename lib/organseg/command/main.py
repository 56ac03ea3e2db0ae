"""The command line: phantom, preflight, train, predict, evaluate, info.

`organseg COMMAND --help` explains each.
"""

import argparse
import os
import sys
import warnings

import organseg
from organseg.command import work
from organseg.command.train import train
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.profiles import PROFILES

OUT_OF_MEMORY = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "out of memory")
YES = {"action": "store_true"}
SCHEDULER = {"metavar": "ADDRESS", "help": "share the cases among dask's workers, or 'local'"}
PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def main(arguments=None):
    """Run one command. Bad input ends in one line on standard error and exit status 2."""
    os.environ["MPLBACKEND"] = "Agg"  # pictures go into files, wherever windows may go
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a pipe on Windows does not hold every letter
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", OrgansegWarning)
    try:
        options.command(options)
    except OrgansegError as error:
        _fail(error)
    except BrokenPipeError:  # nobody reads on, as in `organseg evaluate ... | head`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, for the exit to flush into
    except (OSError, MemoryError) as error:
        _fail(f"{error or type(error).__name__}; check the path and the space left")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        said = f"{type(error).__name__} {error}"
        if not any(words in said for words in OUT_OF_MEMORY):
            raise
        _fail(f"found too little memory ({said:.80}); choose a smaller profile, or tiles")


def _fail(error):
    print("organseg:", *str(error).split(), file=sys.stderr)
    sys.exit(2)


def _show_warning(message, category, *_):
    if issubclass(category, OrgansegWarning):
        print("warning:", *str(message).split(), file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser("organseg", description=organseg.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"organseg {organseg.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function):
        said, name = function.__doc__, function.__name__
        sub = commands.add_parser(name, help=said.split(";")[0].rstrip("."), description=said)
        sub.set_defaults(command=function)
        return sub.add_argument

    _add_training(command)
    _add_prediction(command)
    return parser


def _add_training(command):
    profile = {"choices": PROFILES, "help": "by default the one for this machine"}
    add = command(work.phantom)
    add("folder", help="data folder to write (or to add to)")
    add("--cases", type=_positive, default=16, help="how many (16)")
    add("--seed", type=int, default=0, help="the first patient (0); the next ones follow")
    add("--shape", type=_positive, nargs=3, default=(64, 64, 64), help="voxels (64 64 64)")
    add("--overwrite", **YES, help="write cases again that are there")
    add = command(work.preflight)
    add("--profile", **profile)
    add("--seconds", type=_positive, default=60, help="when to stop (60), but not before 3 calls")
    add = command(train)
    add("data", help="data folder: imagesTr, labelsTr, dataset.json")
    add("--out", required=True, help="run folder to write")
    add("--profile", **profile)
    add("--test", type=int, default=0, help="patients to hold out and to validate on (0)")
    add("--seed", type=int, default=0)
    add("--resume", **YES, help="go on from the run folder's checkpoint")
    add("--overwrite", **YES, help="delete a run that is there, and begin anew")
    add("--start-from", metavar="RUN", help="begin with the weights of this run, or 'drawn'")
    add("--steps", type=_positive, help="instead of the profile's")
    add("--spacing", type=float, help="of the working grid in mm, instead of the profile's")
    add("--precision", choices=PRECISIONS, help="instead of the profile's")
    add("--batch", type=_positive, dest="batch_size", help="crops of a step, as above")
    add("--devices", type=_all_or_positive, help="share each step among so many, or 'all'")
    add("--address", help="HOST:PORT of process 0, or 'slurm': one of several processes")
    add("--processes", type=_positive, help="how many train together")
    add("--process", type=int, help="the number of this one, from 0")


def _add_prediction(command):
    add = command(work.predict)
    add("run", help="run folder; or 'pretrained' (for real scans), 'drawn', 'phantoms'")
    add("images", help="a NIfTI file, a folder of them, or a data folder")
    add("--out", required=True, help="folder for CASE.nii.gz and CASE.png")
    add("--tile-depth", type=_positive, help="slices kept per tile; by default what memory allows")
    add("--margin", type=int, help="slices that a tile sees besides; by default enough to be exact")
    add("--precision", choices=PRECISIONS, default="auto", help="by default the fastest here")
    add("--all", **YES, help="also cases that the run was trained on")
    add("--overwrite", **YES, help="write predictions again that are there")
    add("--scheduler", **SCHEDULER)
    add = command(work.evaluate)
    add("labels", help="data folder, or a folder of label files")
    add("predictions", help="folder of predictions with the cases' names")
    add("--out", help="CSV, a row per case and organ (PREDICTIONS/table.csv); pictures beside it")
    add("--run", help="run folder: what it was trained on needs no prediction")
    add("--scheduler", **SCHEDULER)
    add = command(work.info)
    add("image", help="a NIfTI file")
    add("--doctor", **YES, help="also ask the network whether the body lies as the header says")


def _all_or_positive(text):
    return text if text == "all" else _positive(text)


def _positive(text):
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"found {value}; expected at least 1")
    return value
