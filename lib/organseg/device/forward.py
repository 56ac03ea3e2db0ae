"""A network's answer, left where it was computed: bringing it over can take longer than itself."""

from organseg.backend import has_gpu, keras


def on_device(network):
    """The compiled function from images (batch, x, y[, z], 1) to the network's output, a tensor.

    Batch normalisation uses its averages. `numpy.asarray` brings the output over. It is compiled
    once for each network, which keeps it, as Keras keeps what its own `predict` compiles.

    >>> import numpy as np
    >>> import organseg
    >>> answer = on_device(organseg.unet(base_filters=1))(np.zeros((1, 8, 8, 8, 1), np.float32))
    >>> tuple(answer.shape)
    (1, 8, 8, 8, 8)
    """
    if not hasattr(network, "_on_device"):
        kind = {"jax": _with_jax, "tensorflow": _with_tensorflow}[keras.backend.backend()]
        network._on_device = kind(network)
    return network._on_device


def _with_jax(network):
    import jax

    @jax.jit
    def call(trained, others, images):
        return network.stateless_call(trained, others, images, training=False)[0]

    def now(images):
        parts = (network.trainable_variables, network.non_trainable_variables)
        return call(*([variable.value for variable in part] for part in parts), images)

    return now


def _with_tensorflow(network):
    import tensorflow

    options = {"jit_compile": has_gpu(), "reduce_retracing": True}
    return tensorflow.function(lambda images: network(images, training=False), **options)
