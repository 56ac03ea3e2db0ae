"""Which numbers to compute in: what the hardware multiplies fast, and what a training bears."""

from pathlib import Path

from organseg.backend import has_gpu, keras
from organseg.device.several import layout
from organseg.errors import OrgansegError


def resolve_precision(precision, training=False):
    """The Keras dtype policy for a precision; every 'auto' of the library means what this says.

    Half precision where the hardware multiplies it: bfloat16, which needs no scaling of the loss,
    on GPUs from compute capability 8.0 (A100, H100) and on CPUs that have it; float16 on older GPUs
    (T4); else float32. A training on a CPU stays in float32, since TensorFlow's gradients in
    bfloat16 have been NaN there. Any other policy ('float32', 'mixed_float16', 'mixed_bfloat16')
    stays as it is.

    >>> resolve_precision("mixed_bfloat16")
    'mixed_bfloat16'
    """
    if precision != "auto":
        return precision
    if has_gpu():
        return "mixed_bfloat16" if _compute_capability() >= 8 else "mixed_float16"
    return "mixed_bfloat16" if _cpu_has_bfloat16() and not training else "float32"


def _compute_capability():
    """What NVIDIA calls the features of the first GPU, e.g. 7.5 for a T4 and 9.0 for an H100."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        gpu = tensorflow.config.list_physical_devices("GPU")[0]
        details = tensorflow.config.experimental.get_device_details(gpu)
        return float("{}.{}".format(*details.get("compute_capability", (0, 0))))
    import jax

    return float(getattr(jax.devices()[0], "compute_capability", 0))


def is_float16(network):
    """True where a layer of a network computes in float16."""
    return any(layer.compute_dtype == "float16" for layer in network.layers)


def loss_scaled(optimizer, network):
    """The optimiser, with a loss scaled up where small gradients would be zero: in float16.

    Keras does so by itself only where the model's own policy is float16; here the layers' is.
    """
    if not is_float16(network):
        return optimizer
    if layout().replicas > 1:  # Keras looks for an overflow in the first replica alone
        found = "found float16 on several devices of TensorFlow"
        advice = "set KERAS_BACKEND=jax, or choose --precision float32"
        raise OrgansegError(f"{found}; expected bfloat16, float32 or JAX; {advice}")
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _cpu_has_bfloat16():
    """True where the CPU multiplies bfloat16 itself (AVX-512 BF16, AMX); elsewhere it is slower."""
    about = Path("/proc/cpuinfo")  # Linux only
    flags = about.read_text(encoding="utf-8") if about.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
