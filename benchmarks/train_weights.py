"""Train `phantoms`, the network that comes with the package for the chapters, on phantoms only: `make weights`.

The steps took 20 minutes on two CPU cores with AVX-512 BF16; interrupted, they go on from the last checkpoint.
The seeds used here are never used to score the weights: the eight phantoms of `make figures-check` have other ones.
"""

import argparse
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from organseg import runs
from organseg.phantom import make_phantom
from organseg.profiles import Profile
from organseg.training import mean_dice, train

SHAPE = (96, 96, 112)  # about 4 mm
SEEDS = range(1000, 1080)
VALIDATION_SEEDS = range(2000, 2004)
# No warp: every phantom is another patient, and unlike the paper's 340 patients there are as many as one likes.
PROFILE = Profile(
    "weights", crop_size=48, base_filters=8, spacing=4.0, steps=1600, schedule=True, organ_share=0.6, augment=False,
    batch_sum=True, precision="mixed_bfloat16", validate_every=200,
)  # fmt: skip


def phantom(seed):
    return make_phantom(seed, SHAPE)


def halve(source, target):
    """Copy a weights file with its kernels rounded to float16: half the size, a relative error of 1/2000."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                # Only kernels: batch norm's small variances would lose their digits, and the liver with them.
                data = item[()].astype(np.float16) if item.ndim > 1 else item[()]
                new.create_dataset(name, data=data, **({"compression": "gzip"} if data.size > 1 else {}))
            else:
                new.require_group(name)
            for key, value in item.attrs.items():
                new[name].attrs[key] = value

        old.visititems(copy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="results/weights", help="run folder of the training")
    parser.add_argument("--out", default=str(runs.WEIGHTS / "phantoms"), help="where the finished weights go")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with ProcessPoolExecutor(2) as pool:
        training = list(pool.map(phantom, SEEDS))
        validation = list(pool.map(phantom, VALIDATION_SEEDS))
    resume = (Path(options.work) / "run.json").is_file()
    run, history = train(training, options.work, PROFILE, validation, seed=1, resume=resume)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    halve(Path(options.work) / "model.weights.h5", Path(options.out) / "model.weights.h5")
    runs.save_settings(options.out, run.settings)
    print(f"mean Dice on the validation phantoms: {mean_dice(history[-1]):.3f}")


if __name__ == "__main__":
    main()
