"""Several processes that train together, on one machine or on several.

Every process reads the same data and draws the same crops; each computes its devices' share.
Process 0 writes the run folder and speaks. Where one is lost, the others end, and the run can be
resumed.
"""

import atexit
import hashlib
import json
import os
import re
import sys
from contextlib import contextmanager, suppress

import numpy as np

from organseg.backend import keras
from organseg.errors import OrgansegError

LOST_AFTER = 30  # seconds without a sign of life; with JAX's own 100 the others would stand still


def join(address, processes=None, process=None):
    """Become one of several processes that train together: call it before anything computes.

    `address` is HOST:PORT of process 0, which listens there, `processes` how many they are,
    `process` the number of this one; or `address` is "slurm", whose environment says all three.
    """
    if keras.backend.backend() != "jax":
        found = f"found KERAS_BACKEND={keras.backend.backend()}; expected jax for several processes"
        raise OrgansegError(f"{found}; set KERAS_BACKEND=jax")
    import jax

    place = {"coordinator_address": address, "num_processes": processes, "process_id": process}
    place["cluster_detection_method"] = "slurm" if address == "slurm" else "deactivate"
    if address == "slurm":
        if "SLURM_STEP_NODELIST" not in os.environ:
            found = "--address slurm: found no SLURM_STEP_NODELIST in the environment"
            raise OrgansegError(f"{found}; expected one; start the command with srun")
        place["coordinator_address"] = None
    elif not re.fullmatch(r".+:\d+", address):
        found = f"--address {address}: found no port; expected HOST:PORT of process 0"
        raise OrgansegError(f"{found}; name a port that is free there")
    elif processes is None or process is None or process not in range(processes):
        found = f"found --processes {processes} and --process {process}"
        raise OrgansegError(f"{found}; expected a number of 0 … processes - 1; give both")
    with suppress(AttributeError):  # of JAX before it had this; a SIGTERM should end the process
        jax.config.update("jax_enable_preemption_service", False)
    try:
        # `keras.distribution.initialize` is this call, but for the time to wait.
        jax.distributed.initialize(**place, heartbeat_timeout_seconds=LOST_AFTER)
    except (RuntimeError, ValueError) as error:
        found = f"{address}: found no way to the other processes ({error!s:.60})"
        raise OrgansegError(f"{found}; expected all of them; start all, with one address") from None
    finally:
        # At exit JAX says goodbye to the other processes, and would wait for one that is lost.
        atexit.register(_end_at_once)


def number():
    """The number of this process among those that train together; 0 writes and speaks."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return jax.process_index()


def count():
    """How many processes train together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.process_count()


@contextmanager
def all_or_none(settings):
    """Begin and end together: all processes with the same `settings` (dict), or none.

    Where one is lost meanwhile, an OrgansegError in the others says so.
    """
    agree(settings)
    with _told_if_lost():
        yield
    agree("done")
    atexit.unregister(_end_at_once)


def agree(said):
    """Wait for all processes; an OrgansegError if they `said` different things (JSON)."""
    if count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    said = json.dumps(said, sort_keys=True, default=str).encode()
    with _told_if_lost():
        heard = process_allgather(np.frombuffer(hashlib.sha256(said).digest(), np.uint8))
    if (heard != heard[0]).any():
        found = "found processes that began with other cases, settings or checkpoints"
        raise OrgansegError(f"{found}; expected one command, on a disk that all of them see")


def same_depth():
    """The depth of tiles where all processes must compute the same; None lets memory choose."""
    return 64 if count() > 1 else None


@contextmanager
def _told_if_lost():
    if count() == 1:
        yield
        return
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        found = f"found one of {count()} processes lost ({error!s:.60})"
        expected = "expected all to the end; start all of them again with --resume"
        raise OrgansegError(f"{found}; {expected}") from error


def _end_at_once():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)
