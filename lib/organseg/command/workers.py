"""Cases shared among processes, on one machine or on many: `--scheduler`, with dask.distributed."""

import logging
import sys
import threading
import warnings
from contextlib import (
    ExitStack,
    closing,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from functools import partial
from io import StringIO
from itertools import islice

import psutil
from tqdm.auto import tqdm

from organseg.errors import OrgansegError

MEMORY_PER_CASE = 8e9  # bytes: the network's budget (`inference.MEMORY_BUDGET`) and the scan
PATIENCE = 20  # seconds to find the scheduler and its first worker
LAST_CASES = 60  # seconds for those in work when the command is stopped
_one_at_a_time = threading.Lock()  # of the cases of a worker: they print into one place


def each(work, items, scheduler=None):
    """For each item, in their order, a function that does work(item), or tells how it went.

    With a `scheduler`, the address of dask's or 'local', workers do it. The function then returns,
    prints, warns and raises what `work` did there. `work` and the items must be what pickle can
    send, and paths must lead to the same files everywhere.

    >>> [tell() for tell in each(abs, [-1, 2])]
    [1, 2]
    """
    ready, following = {}, 0
    with closing(as_done(work, items, scheduler)) as done:
        for number, tell in done:
            ready[number] = tell
            while following in ready:
                yield ready.pop(following)
                following += 1


def as_done(work, items, scheduler=None):
    """The number of each item, and the function of `each`, in the order in which they are done."""
    items = list(items)
    done = _by_workers(work, items, scheduler) if scheduler else _by_itself(work, items)
    shown = {"total": len(items), "unit": "case", "disable": None if len(items) > 1 else True}
    with ExitStack() as stack, closing(done), tqdm(file=sys.stderr, **shown) as bar:
        if not bar.disable:  # what is printed meanwhile stands above the bar
            stack.enter_context(redirect_stdout(_AboveBar(bar, sys.stdout)))
            stack.enter_context(redirect_stderr(_AboveBar(bar, sys.stderr)))
        for number, tell in done:
            yield number, tell
            bar.update()


class _AboveBar:
    """A stream whose lines stand above the bar; tqdm's own clears only a bar on the same stream."""

    def __init__(self, bar, stream):
        self._bar, self._stream, self._within = bar, stream, False

    def write(self, text):
        if not self._within:
            self._bar.clear()
        self._stream.write(text)
        self._within = not text.endswith("\n")
        if not self._within:
            self._stream.flush()
            self._bar.refresh()

    def __getattr__(self, name):
        return getattr(self._stream, name)


def _by_itself(work, items):
    yield from ((number, partial(work, item)) for number, item in enumerate(items))


def _by_workers(work, items, scheduler):
    with _client(scheduler) as client:
        from distributed import as_completed, wait

        attempt, waiting, place = partial(_attempt, work), iter(enumerate(items)), {}
        running = as_completed(with_results=True, raise_errors=False)

        def start():
            # No more at once than can be worked on: dask blames a lost worker on all that it holds.
            free = sum(client.nthreads().values()) - len(place)
            for number, item in islice(waiting, max(free, 0 if place else 1)):
                future = client.submit(attempt, item, pure=False)
                place[future] = number
                running.add(future)

        try:
            start()
            for future, outcome in running:
                ok, number = future.status == "finished", place.pop(future)
                if future.status == "cancelled":
                    raise OSError("it is gone")
                yield number, partial(_tell, *(outcome if ok else _not_finished(future, scheduler)))
                start()
        except OSError as error:
            found = f"{scheduler}: lost the scheduler ({error!s:.60})"
            advice = "start it again and run this again, which goes on"
            raise OrgansegError(f"{found}; expected it to the end; {advice}") from None
        finally:
            if place:  # stopped: what is in work is finished before the command ends
                with suppress(Exception):
                    wait(list(place), timeout=LAST_CASES)


def _attempt(work, item):
    """What work(item) returned, printed, warned of, and raised."""
    value, error, aside = None, None, redirect_stdout(StringIO())
    with _one_at_a_time, aside as printed, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            value = work(item)
        except (OrgansegError, OSError, MemoryError) as raised:
            error = raised.with_traceback(None)  # which would hold the scan
    said = [(str(warning.message), warning.category) for warning in warned]
    return value, printed.getvalue(), said, error


def _tell(value, printed, warned, error):
    for message, category in warned:
        warnings.warn(message, category, stacklevel=2)
    print(printed, end="")
    if error:
        raise error
    return value


def _not_finished(future, scheduler):
    """An outcome for a case that no worker has finished."""
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        error = "each worker that tried it was lost, perhaps for want of memory"
    found = f"{scheduler}: found a case that no worker could finish ({error!s:.90})"
    expected = "expected workers with this version of organseg, and memory for a case"
    return None, "", (), OrgansegError(f"{found}; {expected}; run this again, which goes on")


@contextmanager
def _client(scheduler):
    try:
        import distributed
    except ImportError:
        found = "--scheduler: found no dask.distributed"
        raise OrgansegError(f"{found}; expected it; pip install 'organseg[scale]'") from None
    if scheduler == "local":
        most = int(psutil.virtual_memory().available / MEMORY_PER_CASE)
        number = max(1, min(psutil.cpu_count() or 1, most))
        alone = {"n_workers": number, "threads_per_worker": 1, "memory_limit": 0}
        # Each takes what it needs of a GPU, and leaves the rest to the others.
        alone["env"] = {
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        alone |= {"dashboard_address": None, "silence_logs": logging.CRITICAL}
        with distributed.LocalCluster(**alone) as cluster, distributed.Client(cluster) as client:
            yield client
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told in a line
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        found = f"{scheduler}: found no scheduler with a worker ({error!s:.60})"
        raise OrgansegError(
            f"{found}; expected dask's; start 'dask scheduler' and 'dask worker'"
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close()
