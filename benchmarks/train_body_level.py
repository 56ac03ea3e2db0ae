"""Train the CNN of chapter 3 (lib/organseg/weights/body_level.weights.h5), on phantoms only: `make weights`.

It names the body level of an axial slice. The phantoms that score it here and in tests/core/test_body_level.py have
other seeds than those it is trained on. It takes about two and a half minutes on two CPU cores, and 1 GB of memory.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from train_weights import halve

import organseg
from organseg.backend import keras
from organseg.course.body_level import ARCHITECTURE, WEIGHTS
from organseg.networks import cnn

SEEDS = range(3000, 3120)
HELD_OUT_SEEDS = range(4000, 4020)
SLICES = (24, 32, 40, 48)  # slices per phantom, in turn: the network meets thick slices and thin ones
EPOCHS = 12
LEARNING_RATE = 1e-3  # at 3e-3 the narrow dense layer lost units for good, and with them the thorax
MAX_SHIFT = 5  # pixels; every batch is moved a little, as patients do not all lie in the middle


def slices_of(seed):
    """The axial slices of one phantom (slice, x, y, 1), normalised, and the body level of each."""
    case = organseg.make_phantom(seed, (64, 64, SLICES[seed % len(SLICES)]))
    return np.moveaxis(organseg.normalise(case.image), 2, 0)[..., None], case.body_levels


def moved(images, rng):
    """A batch, moved by up to MAX_SHIFT pixels; air comes in from the edge."""
    x, y = rng.integers(0, 2 * MAX_SHIFT + 1, 2)
    padded = np.pad(images, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0)))
    return padded[:, x : x + images.shape[1], y : y + images.shape[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    with ProcessPoolExecutor(2) as pool:
        images, levels = (np.concatenate(part) for part in zip(*pool.map(slices_of, SEEDS), strict=True))
        unseen = [np.concatenate(part) for part in zip(*pool.map(slices_of, HELD_OUT_SEEDS), strict=True)]

    network = cnn(**ARCHITECTURE)
    steps = len(images) // 32
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * steps)
    network.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        for batch in np.array_split(order, steps):
            network.train_on_batch(moved(images[batch], rng), levels[batch])
        print(f"epoch {epoch + 1}: held-out accuracy {network.evaluate(*unseen, verbose=0)[1]:.3f}", file=sys.stderr)

    finished = cnn(**ARCHITECTURE)
    finished.set_weights(network.get_weights())  # without the optimiser's state
    with tempfile.TemporaryDirectory() as folder:
        finished.save_weights(Path(folder) / "full.weights.h5")
        halve(Path(folder) / "full.weights.h5", WEIGHTS)
    guess = np.argmax(organseg.load_body_level_cnn().predict(unseen[0], verbose=0), axis=1)
    levels = unseen[1].astype(int)
    print(f"{len(images)} slices of {len(SEEDS)} phantoms; held out: {len(unseen[0])} of {len(HELD_OUT_SEEDS)}")
    print(f"accuracy on the held-out phantoms: {np.mean(guess == levels):.3f}")
    for level, name in enumerate(organseg.BODY_LEVELS):
        print(f"  {name}: {np.mean(guess[levels == level] == level):.3f} of its slices found")
    print(f"more than one level off: {np.sum(np.abs(guess - levels) > 1)}")


if __name__ == "__main__":
    main()
