"""The most memory that something takes."""

import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import psutil

from organseg.backend import has_gpu, keras


@contextmanager
def peak_memory(children=False):
    """The most memory that is held while a block of code runs; its `bytes` are known afterwards.

    On a GPU it is the peak that the framework reports; else the resident memory of this process,
    looked at 20 times a second. With `children`, it is that of the processes it has started.
    """
    peak, ended = SimpleNamespace(bytes=0), threading.Event()

    def look():
        own = psutil.Process()
        while True:
            total = 0
            for process in own.children(recursive=True) if children else [own]:
                with suppress(psutil.Error):  # it has ended meanwhile
                    total += process.memory_info().rss
            peak.bytes = max(peak.bytes, total)
            if ended.wait(0.05):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
    if has_gpu() and not children:
        peak.bytes = _peak_of_gpu()


def _peak_of_gpu():
    """The most that the framework has held on the first GPU since the process began."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
    import jax

    return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
