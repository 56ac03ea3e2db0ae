"""One training on several devices.

Each device holds the whole network and all scans, and takes its share of the crops of a mini-batch.
A training on several devices is the training on one, but for rounding: the loss and the batch
normalisation see the whole mini-batch, wherever its crops are.

With JAX, `keras.distribution.DataParallel` lays the arrays out, and the compiler adds the exchange;
the devices may be those of several processes (`processes`). With TensorFlow, `MirroredStrategy`
runs a step on each device of one process, and what is summed over the batch is exchanged here.
"""

from contextlib import contextmanager, nullcontext

from organseg.backend import has_gpu, keras
from organseg.device import processes
from organseg.errors import OrgansegError


@contextmanager
def spread_over(devices, crops, settings=None):
    """Inside, networks are built for so many `devices` ('all', or a number; None is one).

    An OrgansegError says that they are not there, or cannot share mini-batches of so many `crops`.
    In several processes all devices take part, and all processes need the same `settings`.

    >>> with spread_over(1, crops=3):
    ...     layout().replicas
    1
    """
    kind, there = devices_there()
    everything = devices == "all" or processes.count() > 1
    number = len(there) if everything else int(devices or 1)
    if not 1 <= number <= len(there):
        found = f"found {len(there)} of {number} devices ({kind})"
        raise OrgansegError(f"{found}; expected all of them; ask for fewer with --devices")
    if crops % number:
        found = f"found mini-batches of {crops} crops for {number} devices"
        raise OrgansegError(f"{found}; expected a multiple; choose one with --batch")
    spread = _built_for(there[:number]) if number > 1 else nullcontext()
    with processes.all_or_none(settings), spread:
        yield


def layout():
    """Where arrays lie and steps run now: an object with `replicas`, `everywhere`, `shared`."""
    if keras.backend.backend() == "jax":
        spread = keras.distribution.distribution()
        return _Mesh(spread.device_mesh.backend_mesh) if spread else OneDevice()
    import tensorflow

    strategy = tensorflow.distribute.get_strategy()
    return _Mirrors(strategy) if strategy.num_replicas_in_sync > 1 else OneDevice()


class OneDevice:
    """All there is to do in most trainings: nothing."""

    replicas = 1  #: copies of a step that run side by side, and exchange what they sum

    def everywhere(self, array):
        """An array on each device."""
        return keras.ops.convert_to_tensor(array)

    def shared(self, drawn):
        """Arrays (step, crop, …) with a share of the crops on each device."""
        return drawn


class _Mesh(OneDevice):
    """JAX: one step, whose arrays lie on several devices."""

    def __init__(self, mesh):
        self.mesh = mesh

    def everywhere(self, array):
        return self._laid_out(array)

    def shared(self, drawn):
        return keras.tree.map_structure(lambda array: self._laid_out(array, None, "batch"), drawn)

    def _laid_out(self, array, *axes):
        import jax

        place = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(*axes))
        return jax.make_array_from_callback(array.shape, place, lambda part: array[part])


class _Mirrors(OneDevice):
    """TensorFlow: a step on each device, with the arrays that lie there."""

    def __init__(self, strategy):
        self.strategy, self.replicas = strategy, strategy.num_replicas_in_sync

    def everywhere(self, array):
        return self._on_each(lambda number: array)

    def shared(self, drawn):
        def share(array, number):
            each = array.shape[1] // self.replicas
            return array[:, number * each : (number + 1) * each]

        return keras.tree.map_structure(
            lambda array: self._on_each(lambda number: share(array, number)), drawn
        )

    def _on_each(self, part):
        import tensorflow

        def placed(context):
            number = context.replica_id_in_sync_group
            with tensorflow.device(self.strategy.extended.worker_devices[number]):
                return tensorflow.convert_to_tensor(part(number))

        return self.strategy.experimental_distribute_values_from_function(placed)


def synchronise(network):
    """Let the batch normalisation see the crops of all replicas."""
    if layout().replicas > 1:
        for layer in network.layers:
            if hasattr(layer, "synchronized"):
                layer.synchronized = True


def over_all(sums):
    """Sums per crop, (crop, …) each, of this replica's crops: those of all replicas."""
    if layout().replicas == 1:
        return sums
    import tensorflow

    context = tensorflow.distribute.get_replica_context()
    return [context.all_gather(each, axis=0) for each in sums]


def devices_there():
    """What kind of devices the network would compute on, and their names, of all processes."""
    if keras.backend.backend() == "jax":
        there = keras.distribution.list_devices()
        return there[0].partition(":")[0], there
    import tensorflow

    kind = "GPU" if has_gpu() else "CPU"
    there = tensorflow.config.list_logical_devices(kind)
    return kind.lower(), [device.name for device in there]


@contextmanager
def _built_for(devices):
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        with tensorflow.distribute.MirroredStrategy(devices).scope():
            yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
