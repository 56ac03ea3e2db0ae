"""Cases shared among processes, on one machine or on many: `--scheduler`, with dask.distributed."""

import logging
import threading
import warnings
from contextlib import closing, contextmanager, redirect_stdout, suppress
from functools import partial
from io import StringIO
from itertools import islice

import psutil
from tqdm.auto import tqdm

from organseg.errors import OrgansegError

MEMORY_PER_CASE = 8e9  # bytes: the network's budget (`inference.MEMORY_BUDGET`) and the scan
PATIENCE = 20  # seconds to find the scheduler
_one_at_a_time = threading.Lock()  # of the cases of a worker: they print into one place


def each(work, items, scheduler=None):
    """For each item, in their order, a function that tells how work(item) went.

    It returns, prints, warns and raises what `work` did: here, or by the workers of a `scheduler`,
    the address of dask's or 'local'. Those need `work` and items that pickle can send, and paths
    that lead to the same files everywhere.

    >>> [tell() for tell in each(abs, [-1, 2])]
    [1, 2]
    """
    items = list(items)
    attempts = _by_workers(work, items, scheduler) if scheduler else _by_itself(work, items)
    shown = {"total": len(items), "unit": "case", "disable": None if len(items) > 1 else True}
    with closing(attempts), tqdm(**shown) as bar:
        for outcome in attempts:
            bar.update()
            with bar.external_write_mode():
                yield partial(_tell, *outcome)


def _by_itself(work, items):
    yield from (_attempt(work, item) for item in items)


def _by_workers(work, items, scheduler):
    with _client(scheduler) as client:
        from distributed import as_completed

        attempt, place, ready = partial(_attempt, work), {}, {}
        waiting, running = (
            iter(enumerate(items)),
            as_completed(with_results=True, raise_errors=False),
        )

        def start():
            # No more at once than can be worked on: dask blames a lost worker on all that it holds.
            free = sum(client.nthreads().values()) - running.count()
            for number, item in islice(waiting, max(free, 0 if running.count() else 1)):
                future = client.submit(attempt, item, pure=False)
                place[future.key] = number
                running.add(future)

        start()
        following = 0
        for future, outcome in running:
            ok = future.status == "finished"
            ready[place[future.key]] = outcome if ok else _not_finished(future, scheduler)
            start()
            while following in ready:
                yield ready.pop(following)
                following += 1


def _attempt(work, item):
    """What work(item) returned, printed, warned of, and raised."""
    value, error, aside = None, None, redirect_stdout(StringIO())
    with _one_at_a_time, aside as printed, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            value = work(item)
        except (OrgansegError, OSError, MemoryError) as raised:
            error = raised
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
    error = future.exception() if future.status == "error" else "the scheduler is gone"
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
        alone |= {"dashboard_address": None, "silence_logs": logging.CRITICAL}
        with distributed.LocalCluster(**alone) as cluster, distributed.Client(cluster) as client:
            yield client
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told in a line
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        found = f"{scheduler}: found no scheduler ({error!s:.60})"
        raise OrgansegError(f"{found}; expected dask's; start it with 'dask scheduler'") from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close()
