"""Keras, and what it computes on: is there a GPU, and which numbers does the hardware multiply?

TensorFlow writes lines to standard error while it starts. They come from C++, before any setting
silences them; in a notebook they would be the first cell's output. So every module that needs Keras
takes it from here: `from organseg.backend import keras`.
"""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

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


def resolve_precision(precision, training=False):
    """The Keras dtype policy for a precision; every 'auto' of the library means what this says.

    Half precision where the hardware multiplies it: float16 on a GPU, bfloat16 on a CPU that has
    it, else float32. A training on a CPU stays in float32, since TensorFlow's gradients in bfloat16
    have been NaN there. Any other policy ('float32', 'mixed_float16', 'mixed_bfloat16') stays as it
    is.

    >>> resolve_precision("mixed_bfloat16")
    'mixed_bfloat16'
    """
    if precision != "auto":
        return precision
    if has_gpu():
        return "mixed_float16"
    return "mixed_bfloat16" if _cpu_has_bfloat16() and not training else "float32"


def _cpu_has_bfloat16():
    """True where the CPU multiplies bfloat16 itself (AVX-512 BF16, AMX); elsewhere it is slower."""
    about = Path("/proc/cpuinfo")  # Linux only
    flags = about.read_text(encoding="utf-8") if about.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
