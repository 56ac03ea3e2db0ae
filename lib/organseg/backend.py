"""Keras, imported without the lines that TensorFlow writes to standard error while it starts.

Those lines come from C++, before any setting silences them; in a notebook they would be the first
cell's output. Every module that needs Keras takes it from here: `from organseg.backend import
keras`.
"""

import os
import sys
import tempfile
from contextlib import contextmanager


@contextmanager
def _standard_error_aside():
    """Keep what is written to file descriptor 2; show it only if the block fails."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):  # no standard error to silence
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            aside.seek(0)
            sys.stderr.write(aside.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


with _standard_error_aside():
    import keras

    # TensorFlow looks for GPUs, and speaks again, when it is first asked for devices.
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()

__all__ = ["keras"]
