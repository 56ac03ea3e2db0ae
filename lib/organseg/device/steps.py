"""Training steps that do not wait for the host: crops and step in one compiled function.

A device whose every loss becomes a number at once stands still meanwhile. So several steps are one
call, and their losses come back together.
"""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from tqdm.auto import tqdm

from organseg.backend import has_gpu, keras
from organseg.device.precision import is_float16
from organseg.device.several import layout
from organseg.errors import OrgansegError


def take_steps(segmenter, source, profile, first=0, before=0.0, progress=False):
    """Take the steps after `first`; yield step, seconds and mean loss whenever to validate.

    `before` are the seconds that the steps up to `first` have taken.
    """
    began, losses, lost = time.monotonic() - before, [], 0
    steps = Steps(segmenter, source)
    # In float16 a step whose scaled loss overflows is left out, and the scale halved: not forever.
    most = 20 if is_float16(segmenter) else 0
    bar = {"desc": f"training ({profile.name})", "unit": "step", "disable": not progress}
    calls = _calls(first, profile, steps.at_once)
    with tqdm(total=profile.steps, initial=first, **bar) as shown:
        for call, drawn in zip(calls, prefetch(source.draw, calls), strict=True):
            for step, loss in enumerate(steps.take(drawn).tolist(), start=call.start + 1):
                losses.append(loss)
                lost = 0 if np.isfinite(loss) else lost + 1
                if lost > most:
                    found = f"found a loss of {loss} at step {step}"
                    raise OrgansegError(f"{found}; expected a number; lower the learning rate")
            shown.update(len(call))
            if call.stop % profile.validate_every == 0 or call.stop == profile.steps:
                seconds, loss = round(time.monotonic() - began, 1), float(np.mean(losses))
                shown.set_postfix(loss=f"{loss:.3f}")
                losses.clear()
                yield {"step": call.stop, "seconds": seconds, "loss": loss}


def _calls(first, profile, at_once):
    """The steps from `first` on in ranges, each one call; none goes over a validation."""
    calls, every = [], profile.validate_every
    while first < profile.steps:
        end = min(first + at_once, first - first % every + every, profile.steps)
        calls.append(range(first, end))
        first = end
    return calls


def prefetch(draw, items, ahead=4):
    """What `draw` makes of each item, in a thread of its own while the network works on."""
    pool = ThreadPoolExecutor(1)
    try:
        items = iter(items)
        waiting = deque(pool.submit(draw, item) for item in islice(items, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(draw, item) for item in islice(items, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Steps:
    """Takes training steps of a compiled `Segmenter` on mini-batches of `source`.

    `source` is a `DeviceCrops`, or `HostCrops` of any sampler. `at_once` is how many steps are one
    call: by default 25 on a GPU and one on a CPU, where XLA is slow at loops over convolutions.
    Made inside `spread_over`, it shares out the crops of each mini-batch.

    >>> import organseg
    >>> from organseg.training import compile_for_training
    >>> scans = [organseg.to_scan(organseg.make_phantom(seed, (32, 32, 32))) for seed in range(3)]
    >>> source = HostCrops(organseg.CropSampler(scans, crop_size=16))
    >>> network = organseg.unet(base_filters=1, levels=2)
    >>> segmenter = compile_for_training(network, organseg.PROFILES["lesson"])
    >>> Steps(segmenter, source).take(source.draw([0, 1])).shape
    (2,)
    """

    def __init__(self, segmenter, source, at_once=None):
        place = layout()
        # TensorFlow's mirrors cannot exchange anything inside a loop.
        self.at_once = at_once or (25 if has_gpu() and place.replicas == 1 else 1)
        kind = {"jax": _with_jax, "tensorflow": _with_tensorflow}[keras.backend.backend()]
        self._take = kind(segmenter, source, place)

    def take(self, drawn):
        """A step for each mini-batch of `source.draw`; returns their losses, an array of floats."""
        return np.asarray(self._take(*drawn))


class HostCrops:
    """The mini-batches of a sampler as they are, cut and warped on the host."""

    def __init__(self, sampler):
        self.sampler = sampler

    def draw(self, steps):
        """The batches of these steps, (step, batch, …) each, and no scans."""
        batches = [self.sampler.batch(step) for step in steps]
        return tuple(np.stack(parts) for parts in zip(*batches, strict=True)), ()

    def read(self, batch, arrays):
        """The batch itself."""
        return batch


def _is_one(drawn):
    # A single step has no use for a loop, which takes seconds to build.
    return len(keras.tree.flatten(drawn)[0]) == 1


def _with_jax(segmenter, source, place):
    import jax

    parts = ("trainable_variables", "non_trainable_variables", "metrics_variables")
    trained, others, metrics = (getattr(segmenter, part) for part in parts)
    variables = (trained, others, segmenter.optimizer.variables, metrics)

    def step(arrays, state, drawn):
        images, labels, annotated = source.read(drawn, arrays)
        # Keras' metric is the mean loss since it was reset; here, that of this step.
        state = (*state[:3], [0 * value for value in state[3]])
        logs, state = segmenter.train_step(state, (images, (labels, annotated)))
        return tuple(map(list, state)), logs["loss"]

    def one(state, drawn, arrays):
        state, loss = step(arrays, state, jax.tree.map(lambda part: part[0], drawn))
        return state, loss[None]

    def several(state, drawn, arrays):
        return jax.lax.scan(lambda *now: step(arrays, *now), state, drawn)

    # The old state is donated: its memory becomes the new one's.
    one, several = (jax.jit(function, donate_argnums=0) for function in (one, several))

    def take(drawn, arrays):
        state = tuple([variable.value for variable in part] for part in variables)
        function = one if _is_one(drawn) else several
        state, losses = function(state, place.shared(drawn), arrays)
        for part, values in zip(variables, state, strict=True):
            for variable, value in zip(part, values, strict=True):
                variable.assign(value)
        return losses

    return take


def _with_tensorflow(segmenter, source, place):
    import tensorflow

    def step(drawn, arrays):
        images, labels, annotated = source.read(drawn, arrays)
        segmenter.reset_metrics()
        return segmenter.train_step((images, (labels, annotated)))["loss"]

    def one(drawn, arrays):
        return step(keras.tree.map_structure(lambda part: part[0], drawn), arrays)[None]

    def several(drawn, arrays):
        options = {"parallel_iterations": 1, "fn_output_signature": "float32"}
        return tensorflow.map_fn(lambda one: step(one, arrays), drawn, **options)

    def on_each(drawn, arrays):
        losses = place.strategy.run(one, (drawn, arrays))
        return place.strategy.reduce("MEAN", losses, axis=None)

    if place.replicas > 1:
        on_each = tensorflow.function(on_each, reduce_retracing=True)
        return lambda drawn, arrays: on_each(place.shared(drawn), arrays)
    # XLA makes a step faster on a GPU and several times slower on a CPU.
    options = {"jit_compile": has_gpu(), "reduce_retracing": True}
    one, several = (tensorflow.function(function, **options) for function in (one, several))
    return lambda drawn, arrays: (one if _is_one(drawn) else several)(drawn, arrays)
