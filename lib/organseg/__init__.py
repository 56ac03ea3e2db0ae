"""organseg: from CNNs to the 3D U-Net of Roth et al. 2018 for multi-organ CT segmentation.

The core lies here, in the order in which a case walks through it: `cases`, `folders`, `geometry`,
`scans`, `augmentation`, `sampling`, `networks`, `losses`, `training`, `runs`, `inference`,
`postprocessing`, `metrics`, `tables`. Its own room is `device`: crops, training steps and answers
where the network computes. Around it: `phantom` (a synthetic abdomen), `show` (pictures),
`command` (the command line), `course` (what the chapters need).

Keras takes its backend from KERAS_BACKEND (TensorFlow by default); importing organseg imports none.
"""

import os

# TensorFlow reads these when it is imported. Its C++ log lines would be a notebook's first output.
# oneDNN it uses by itself only on CPUs with AVX-512; on others too a 3-D step is 3 times faster.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from importlib import import_module  # noqa: E402

__version__ = "0.1.0"

# Names are imported when they are first used: reading a file does not wait for TensorFlow.
_ROOMS = {
    "cases": "Case load_case",
    "volumes": "save_image save_label",
    "folders": "CaseFiles find_cases split write_dataset_json",
    "errors": "OrgansegError OrgansegWarning",
    "geometry": "WorkingGrid choose_grid half_resolution to_file_grid to_working",
    "organs": "BACKGROUND NUM_CLASSES ORGANS ORGAN_IDS ORGAN_NAMES Organ",
    "scans": "Scan normalise to_scan",
    "augmentation": "Warp apply_warp draw_warp no_warp",
    "sampling": "CropSampler",
    "networks": "cnn fcn unet",
    "losses": "dice_loss generalised_dice_loss volume_weights",
    "profiles": "PROFILES Profile choose_profile",
    "training": "train",
    "runs": "Run load_run",
    "inference": "predict predict_probabilities",
    "postprocessing": "fill_holes keep_largest",
    "metrics": "dice score_case surface_distances",
    "tables": "organ_table",
    "phantom": "BODY_LEVELS make_phantom",
    "show.slices": "overlay_figure save_overlay slice_picture",
    "show.scroller": "show_volume",
    "show.mesh": "organ_meshes render",
    "show.sliders": "explore",
    "show.diagrams": "draw_network",
    "show.curves": "draw_curves",
    "command.preflight": "Pace measure_pace",
    "course.gallery": "GalleryRun draw_gallery_run gallery_run",
    "course.body_level": "load_body_level_cnn",
    "course.patient": "sample_patient",
    "course.costs": "LayerCost crops_that_fit layer_costs training_bytes training_flops",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_ROOM_OF)


def __getattr__(name):
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'organseg' has no attribute {name!r}")
    return getattr(import_module(f"organseg.{_ROOM_OF[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
