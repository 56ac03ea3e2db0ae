"""Keras, its backend, and whether there is a GPU.

TensorFlow writes lines to standard error while it starts. They come from C++, before any setting
silences them; in a notebook they would be the first cell's output. So every module that needs Keras
takes it from here: `from organseg.backend import keras`.
"""

import os
import tempfile
from contextlib import contextmanager

from organseg.errors import OrgansegError


@contextmanager
def _standard_error_aside():
    """Drop what is written to file descriptor 2 meanwhile; Python's errors are raised as ever."""
    with tempfile.TemporaryFile() as aside:
        try:
            saved = os.dup(2)
        except OSError:  # no standard error to silence
            yield
            return
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


with _standard_error_aside():
    try:
        import keras
    except (ImportError, ValueError) as error:
        found = f"found KERAS_BACKEND={os.environ.get('KERAS_BACKEND')} ({error})"
        raise OrgansegError(f"{found}; expected tensorflow or jax, installed; choose one") from None

    # TensorFlow looks for GPUs, and speaks again, when it is first asked for devices.
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()


def has_gpu():
    """True where Keras' backend sees a GPU."""
    if keras.backend.backend() == "tensorflow":
        return bool(tensorflow.config.list_physical_devices("GPU"))
    import jax

    return jax.default_backend() == "gpu"
