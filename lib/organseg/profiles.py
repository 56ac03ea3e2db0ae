"""How long and how large a training is: four profiles, and what hardware they are for.

Plain data: reading it imports no Keras.
"""

import dataclasses
import os
from dataclasses import dataclass

from organseg.errors import OrgansegError


@dataclass(frozen=True)
class Profile:
    """The settings of one training. Only `paper` is the paper's; the others say where they depart.

    >>> PROFILES["lesson"].replace(steps=10).steps
    10
    """

    name: str
    crop_size: int = 64  # voxels per axis
    batch_size: int = 3  # crops, from as many patients
    levels: int = 4  # of the network, see `networks.unet`
    base_filters: int = 32  # of its first convolution; 32 gives the paper's 19 M parameters
    spacing: float | None = None  # mm of the working grid; None: the paper's factor 4, or else 3 mm
    steps: int = 50_000
    learning_rate: float = 1e-2
    schedule: bool = False  # True: the learning rate falls along a cosine; the paper names none
    organ_share: float = 0.0  # crops that are centred on an organ; 0: anywhere, as in the paper
    augment: bool = True
    batch_sum: bool = False  # equation (1) summed over the batch's images instead of per image
    precision: str = "float32"  # or 'auto', see `device.precision.resolve_precision`
    validate_every: int = 1000  # steps between validations and checkpoints

    def replace(self, **changes):
        """The same profile with some settings changed."""
        return dataclasses.replace(self, **changes)

    @property
    def crops(self):
        """The options of `CropSampler` that are settings of a profile."""
        return {k: getattr(self, k) for k in ("crop_size", "batch_size", "organ_share", "augment")}


# What two CPU cores can train: small crops, a coarse grid, half of the crops centred on an organ.
_SMALL = Profile("", crop_size=32, spacing=6.0, schedule=True, organ_share=0.5, batch_sum=True)
PROFILES = {
    profile.name: profile
    for profile in (
        # A live cell: at most 40 s on two cores.
        _SMALL.replace(name="lesson", base_filters=4, steps=120, validate_every=60),
        # Two CPU cores, small phantoms: two minutes.
        _SMALL.replace(name="fast", base_filters=8, steps=300, validate_every=100),
        # A course-length run of the full network on a Colab T4.
        Profile(
            "gpu", steps=4000, schedule=True, organ_share=0.5, precision="auto", validate_every=500
        ),
        # Roth et al. 2018, II: nothing changed.
        Profile("paper"),
    )
}


def choose_profile():
    """The name of this machine's profile: ORGANSEG_PROFILE, or `gpu` with a GPU, else `fast`.

    >>> choose_profile() in PROFILES
    True
    """
    if name := os.environ.get("ORGANSEG_PROFILE"):
        return name
    from organseg.backend import has_gpu

    return "gpu" if has_gpu() else "fast"


def find_profile(profile=None):
    """A profile from its name; None is the one for this machine, and a Profile is itself.

    >>> find_profile("paper").steps
    50000
    """
    if isinstance(profile, Profile):
        return profile
    name = profile or choose_profile()
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise OrgansegError(f"found the profile {name!r}; expected one of {known}; choose one")
    return PROFILES[name]
