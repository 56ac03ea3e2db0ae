"""`organseg train`: on one device, on several, or as one of several processes."""

import os
import sys
import warnings
from pathlib import Path

from organseg import folders
from organseg.command.doubts import TellingFiles
from organseg.errors import OrgansegError, OrgansegWarning
from organseg.files import whole_file
from organseg.folders import find_cases
from organseg.organs import ORGAN_NAMES


def train(options):
    """Train a network on a data folder and write a run folder."""
    if options.address:
        _join_others(options)
    elif options.processes or options.process is not None:
        found = "found --processes or --process without --address"
        raise OrgansegError(f"{found}; expected all three; see 'organseg train --help'")
    out, files = Path(options.out), find_cases(options.data)
    to_train, held_out = folders.split(files, options.test, options.seed)
    from organseg import runs, training
    from organseg.device import processes, several
    from organseg.show.curves import draw_curves

    if options.overwrite and processes.number() == 0 and (out / "run.json").is_file():
        for name in (*runs.FILES, "curves.png"):  # and nothing else that lies there
            (out / name).unlink(missing_ok=True)
    processes.agree("the old run is gone")
    names = ("steps", "precision", "spacing", "batch_size")
    changed = {k: v for k in names if (v := getattr(options, k))}
    profile = runs.profile_for(options.profile, out, options.resume).replace(**changed)
    print(
        f"profile {profile.name}: {profile.steps} steps of {profile.batch_size} crops of "
        f"{profile.crop_size}³ voxels, {profile.organ_share:.0%} of them centred on an organ, "
        f"{len(to_train)} cases, {len(held_out)} held out"
    )
    if options.devices or options.address:
        kind, there = several.devices_there()
        print(f"devices found: {len(there)} ({kind}); processes: {processes.count()}")

    def draw(history):
        with whole_file(out / "curves.png") as aside:
            draw_curves(history).savefig(aside, dpi=110)

    start = runs.load_run(options.start_from) if options.start_from else None
    both = TellingFiles.of(to_train), TellingFiles.of(held_out)
    more = {"resume": options.resume, "after_validation": draw, "start_from": start}
    more["devices"] = options.devices
    _, history = training.train(both[0], out, profile, both[1], options.seed, **more)
    last = history[-1]
    took = f"{last['step']} steps and {last['seconds']:.0f} s"
    print(f"loss {last['loss']:.3f} after {took}; the run is in {out}")
    if held_out:
        mean = f"mean {training.mean_dice(last):.2f}"
        scores = ", ".join(f"{name} {last[f'dice_{name}']:.2f}" for name in ORGAN_NAMES)
        print(f"Dice of the held-out, on the working grid: {mean} ({scores})")


def _join_others(options):
    from organseg.device import processes

    processes.join(options.address, options.processes, options.process)
    if processes.number() > 0:  # the first one speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, for the rest of the command
        warnings.simplefilter("ignore", OrgansegWarning)
