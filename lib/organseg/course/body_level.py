"""The CNN of chapter 3, which names the body level of an axial slice, with its weights."""

from organseg import runs
from organseg.networks import cnn

WEIGHTS = runs.WEIGHTS / "body_level.weights.h5"
ARCHITECTURE = {"num_classes": 4, "input_size": 64, "base_filters": 4, "levels": 4}


def load_body_level_cnn():
    """The CNN of Fig. 1 with the weights that come with the package: a keras.Model from normalised
    slices (batch, 64, 64, 1) of a whole field of view (6 mm pixels) to the probabilities of the
    four `BODY_LEVELS` (batch, 4).

    Trained on phantoms alone (benchmarks/train_body_level.py): it knows nothing of real patients.

    >>> load_body_level_cnn().output_shape
    (None, 4)
    """
    network = cnn(**ARCHITECTURE)
    network.load_weights(WEIGHTS)
    return network
