# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11. The whole experiment on phantoms, and a small one on four patients
#
# You will run the whole experiment of the paper in one notebook, from a folder of scans, drawn or real, to the
# paper's Tables 1 and 2. Then you will see a small experiment on four patients, and say what your tables may be compared with.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Look over a data set before a training: how many patients, which voxels, which organs, and do the labels lie where
#   the organs are?
# - Split it by patient in the paper's proportion, and say what the split protects from.
# - Train the paper's network on a GPU, across as many runtimes as it takes, and read its curves.
# - Fill the layout of the paper's Tables 1 and 2, and look at a typical and at the worst patient.
# - Read an experiment on four patients: what leaving one out shows, and what so few cannot show.
# - Say which of the differences from the paper's numbers mean something, and what it would take to reproduce them.
#
# **You need**: chapters 3 and 5 to 10. The parts are put together here; little is new. To run it on patients: a
# data set from [the page on data](../book/data.md), and a GPU.
#
# **In class:** 45 minutes, exercises 30 minutes (our estimate).
#
# **Measured:** about one minute on two CPU cores (not measured on a GPU), 1.5 GB of memory, 2 MB to download, once (a patient).

# %% tags=["setup"]
# @title Set-up: installs organseg on Colab, and does nothing where it is there
import importlib.util
import os
import subprocess
import sys

source = os.environ.get("ORGANSEG_SOURCE", "")
if importlib.util.find_spec("organseg") is None:
    if not source:

        class NotInstalled(Exception):
            def _render_traceback_(self):
                return [str(self)]  # one line in a notebook

        raise NotInstalled(
            "organseg is not installed, and this notebook has no address to "
            "install it from. On your own computer: run `make lab`. For Colab, "
            "an instructor sets the address: "
            "`make address URL=https://github.com/YOU/organseg`"
        )
    pip = [sys.executable, "-m", "pip", "install", "-q", source]
    subprocess.run(pip, check=True)

# %% [markdown]
# ## Three knobs
#
# **What is trained in these pages is trained on phantoms.** The same cells take patients; nobody has yet run them on
# a whole public data set, so we cannot say which Dice to expect there. Towards the end you find what came of a small
# experiment with four scans.
#
# The cells run on a laptop or on a GPU. What differs is set here, and nowhere else.

# %%
import os

import organseg

# a data folder, e.g. "/content/data"; None: phantoms are drawn
data = os.environ.get("ORGANSEG_DATA")
# e.g. "/content/drive/MyDrive/run"; None: a temporary folder
run_folder = os.environ.get("ORGANSEG_RUN")
# or organseg.PROFILES["paper"]
profile = organseg.PROFILES[organseg.choose_profile()]

# %% [markdown]
# - **`data`** is a folder that `data_scripts/prepare.py` has made. `totalsegmentator-small` has all seven organs and
#   can be fetched without asking anybody; `btcv` is nearer to the paper's patients and needs a registration.
# - **`run_folder`** holds the network, its checkpoints and its curves. On Colab put it on your Drive, or it goes when
#   the runtime goes: `from google.colab import drive` and `drive.mount("/content/drive")`, before the cell above.
# - **`profile`** is `gpu` where Keras finds a GPU, and `fast` elsewhere. For the paper's 50,000 iterations choose
#   `paper`.
#
# **On Colab** (nobody has timed it there yet): take a runtime with a GPU; run the first cell, which installs the
# library; bring the project's folder and the data with the lines of [the page on data](../book/data.md), which also
# says how long that takes. By the arithmetic below, `gpu` then trains for 0.3 hours on a T4. When the runtime goes, the
# library, the mount and `/content` go with it.
#
# Without any change and without a GPU, as in these pages, you get phantoms and the profile `fast`. Even that takes longer
# than one likes to wait, so on phantoms we cut it short: fewer steps, and voxels of 8 mm, so that smaller crops show as
# much of the body.

# %%
as_printed = data is None and profile.name == "fast"  # as in these pages
if as_printed:
    profile = profile.replace(steps=180, spacing=8.0, crop_size=24,
                              validate_every=30)

# %% [markdown]
# What does each profile change in the paper's recipe {cite}`roth2018`? The library knows; we ask for every setting in
# which one of them differs from `paper`. The last column is the run below.

# %%
from dataclasses import asdict

import pandas

profiles = {name: organseg.PROFILES[name]
            for name in ("paper", "gpu", "fast")} | {"here": profile}
settings = pandas.DataFrame({name: asdict(values)
                             for name, values in profiles.items()}).drop("name")
differ = settings[settings.map(repr).nunique(axis=1) > 1]
print(differ.fillna("none").to_string())

# %% [markdown]
# `gpu` has the paper's network, size of crops and augmentation, and takes fewer steps. Two settings are to make up for
# that: the learning rate falls towards the end (`schedule`), and half of the crops are centred on an organ
# (`organ_share`). The arithmetic is in half precision where there is a GPU ([chapter 8](08_training.ipynb)). `fast` is
# small in everything. `batch_sum` sums equation (1) over the batch instead of per image ([chapter 5](05_dice.ipynb)),
# `validate_every` says after how many steps the test patients are looked at, and where `spacing` is "none", the data
# decide (below).
#
# ## The data
#
# Where no data folder is named, we make one, of 28 phantoms. It has the same layout as a prepared set of patients, so
# that everything after this cell is the same for both.
#
# Two things that real folders have are put in on purpose. Four patients have a second scan, with thicker slices. And
# every other patient is stored with its x and its y axis reversed: LPS, the convention of DICOM.

# %%
import tempfile
from pathlib import Path

import numpy as np


def write_phantom(folder, name, seed, shape):
    case = organseg.make_phantom(seed, shape)
    image, label, affine = case.image, case.label, case.affine
    if seed % 2:
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        # voxel 0 of the new axis is the last of the old one
        turn[:2, 3] = np.array(shape[:2]) - 1
        image, label, affine = (image[::-1, ::-1], label[::-1, ::-1],
                                affine @ turn)
    organseg.save_image(image, affine,
                        folder / "imagesTr" / f"{name}_0000.nii.gz")
    organseg.save_label(label, affine, folder / "labelsTr" / f"{name}.nii.gz")


# %%
folder = Path(data or tempfile.mkdtemp())
if data is None:
    width, depth = (48, 48) if profile.name == "fast" else (128, 160)
    scans = {f"phantom_{seed:02d}": (seed, depth) for seed in range(28)}
    # the second scans
    scans |= {f"phantom_{seed:02d}_b": (seed, depth // 2) for seed in range(4)}
    for name, (seed, slices) in scans.items():
        write_phantom(folder, name, seed, (width, width, slices))
    patients = {name: name.removesuffix("_b") for name in scans}
    organseg.write_dataset_json(folder, "phantoms",
                                dict.fromkeys(scans, organseg.ORGAN_IDS),
                                patients=patients)

# %% [markdown]
# Now we look at the folder as if we had not made it. The headers of the files are enough to begin with: they are read in
# a moment, the voxels are not.

# %%
import nibabel


def header(file):
    scan = nibabel.load(file.image)
    # which axis of the array runs along x, y and z
    along = np.abs(scan.affine[:3, :3]).argmax(axis=1)
    sizes = np.linalg.norm(scan.affine[:3, :3], axis=0)[along]
    axes = "".join(nibabel.aff2axcodes(scan.affine))
    return {"name": file.name, "patient": file.patient, "stored": axes,
            "slices": scan.shape[along[2]],
            "x": sizes[0], "y": sizes[1], "z": sizes[2]}


files = organseg.find_cases(folder)
table = pandas.DataFrame([header(file) for file in files])
print(f"{len(table)} scans of {table.patient.nunique()} patients, "
      f"stored as {table.stored.value_counts().to_dict()}")
print(table[["slices", "x", "y", "z"]].agg(["min", "median", "max"]).round(2))

# %% [markdown]
# Put it beside the paper's data {cite}`roth2018`: 377 scans of as many patients with gastric cancer, all in the
# portal-venous phase; slices of 512×512 pixels of 0.59 to 0.98 mm; 460 to 1177 slices, 0.5 to 1.0 mm apart. Our phantoms
# are few and coarse. With patients, look at the two ends of each column: a scan of three slices, or one with voxels ten
# times as large as the others', is better found now than after the training.
#
# Which organs were drawn in how many scans? An organ that was not drawn in a scan is unknown there, not absent
# ([chapter 5](05_dice.ipynb)), and counts neither in the loss nor in the tables.

# %%
drawn = {organ.name: sum(organ.id in file.annotated for file in files)
         for organ in organseg.ORGANS}
print("drawn in so many scans:", drawn)

# %% [markdown]
# ## The split
#
# The paper {cite}`roth2018` split its patients at random: 340 to train, 37 to test. We hold out the same share, and at
# least two patients.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("11a")

# %%
test_patients = max(2, round(table.patient.nunique() * 37 / 377))
training, testing = organseg.split(files, test=test_patients, seed=0)
trained_on = {file.patient for file in training}
tested_on = {file.patient for file in testing}
print(f"training: {len(training)} scans of {len(trained_on)} patients; test: "
      f"{len(testing)} of {len(tested_on)}")
assert not trained_on & tested_on and len(tested_on) == test_patients
assert len(training) + len(testing) == len(files)

# %% [markdown]
# The first assertion is the most important line of this notebook. A patient on both sides would be recognised rather
# than segmented, and Table 2 would praise it ([chapter 3](03_cnn.ipynb)). Splitting by *scan* would not be enough: the
# second scan of a patient shows the same organs. If your patients are in `dataset.json`, under `patients`, `split`
# keeps their scans together. If they are not, every scan counts as a patient of its own: then the assertion passes, and
# only you can know whether it says anything.
#
# ## The working grid
#
# The paper {cite}`roth2018` down-samples by a factor of 4, to slices of 128×128 pixels of about 3 mm. `choose_grid`
# does the same where every scan has voxels like the paper's; otherwise it takes 3 mm for all, because a factor would
# bring scans of different voxels to different sizes. Only the training scans have a say.

# %%
of_training = table[table.name.isin([file.name for file in training])]
if profile.spacing:
    grid = organseg.WorkingGrid((profile.spacing,) * 3)
else:
    grid = organseg.choose_grid(of_training[["x", "y", "z"]])
print(grid)

# %% [markdown]
# Do the labels lie on the organs? Software that mixes up two axes leaves files that look right and cannot be learned
# from. There is a test that needs no anatomy: bring image and labels to the working grid, and ask for the Hounsfield
# units under each label. To know what an error would look like,
# we ask again with the same labels upside down.

# %%
def median_hu(image, label):
    found = [organ for organ in organseg.ORGANS if (label == organ.id).any()]
    return {organ.name: np.median(image[label == organ.id]) for organ in found}


sample = [organseg.to_working(file.load(), grid)
          for file in files[:: min(3, max(1, len(files) // 5))]]
names = [case.name for case in sample]
hu = pandas.DataFrame([median_hu(case.image, case.label) for case in sample],
                      names, organseg.ORGAN_NAMES)
turned = [median_hu(case.image, case.label[:, :, ::-1]) for case in sample]
upside_down = pandas.DataFrame(turned, names, organseg.ORGAN_NAMES)

# %% alt="For each organ, a coloured dot per scan for the median HU under its label, and beside it a grey cross for the same labels upside down. The dots of an organ lie close together: artery and vein highest, then liver and spleen, then the pancreas; stomach and gallbladder lie lowest, little above water. The crosses lie much lower for artery, vein, liver and pancreas; those of spleen and stomach lie near the dots, and those of the gallbladder a little below."
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for place, organ in enumerate(organseg.ORGANS):
    axes.plot(np.full(len(hu), place - 0.12), hu[organ.name], "o",
              color=organ.colour, markeredgecolor="0.3", alpha=0.7)
    axes.plot(np.full(len(hu), place + 0.12), upside_down[organ.name], "x",
              color="0.45")
axes.plot([], [], "o", color="0.7", markeredgecolor="0.3",
          label="labels as they are")
axes.plot([], [], "x", color="0.45", label="labels upside down")
axes.set_xticks(range(7), organseg.ORGAN_NAMES)
axes.set(ylabel="median HU under the label",
         title=f"{len(sample)} scans on the working grid")
axes.grid(axis="y", alpha=0.3)
axes.legend(fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# With contrast agent in the portal-venous phase, vessels are brightest, then liver and spleen; bile is nearly water,
# and so is what fills a stomach. (The pancreas is darker here than on finer grids: in voxels of 8 mm it is mixed with
# the fat around it.) Without contrast agent the solid organs and the vessels move close together. Labels on the wrong
# grid show a mixture of fat, bowel and whatever lies there. Some organs may look right by chance, as the spleen nearly
# does here, so look at all seven. If a dot lies far from the others, look at that scan before you go on. Liver and
# spleen are good witnesses, though a fatty liver is dark too:

# %%
dark = hu.index[(hu["liver"] <= 40) | (hu["spleen"] <= 40)].tolist()
print("look at these scans before you go on:", ", ".join(dark) or "none")
if data is None:
    liver, bile = hu["liver"], hu["gallbladder"].dropna()
    assert liver.between(80, 130).all() and (bile < 40).all()
    assert (hu["artery"] > liver).all()
    assert (upside_down["liver"] < 70).all()
    assert set(table.stored) == {"RAS", "LPS"}
    assert len({case.axes for case in sample}) == 1

# %% [markdown]
# ## Network, augmentation, loss
#
# The network is the 3D U-Net of [chapter 6](06_unet.ipynb). The paper {cite}`roth2018` counts about 19 million
# parameters; its text does not give the numbers of filters. With 32 in the first convolution we come to

# %%
from organseg.backend import keras

counts = {}
for name, filters in {"paper": 32, profile.name: profile.base_filters}.items():
    weights = organseg.unet(base_filters=filters).trainable_weights
    count = sum(int(keras.ops.size(weight)) for weight in weights)
    counts[name] = f"{count:,} parameters"
print(counts)

# %% [markdown]
# A step sees three crops, from three patients, each warped by a B-spline, a rotation and a translation of its own
# ([chapter 7](07_augmentation.ipynb)). A last look at what the network will be shown, in the slice of each crop that has
# most organ. (`paper_voxels` keeps the warp the same in millimetres where voxels are not of 3 mm.)

# %% alt="Three crops, each a grey axial slice with the organs' labels in colour over it. They come from different patients and are turned and shifted differently; beyond the scan there is black." slide="What the network sees in one step: crops from different patients, each moved in another way."
from matplotlib.colors import ListedColormap

scans = [organseg.to_scan(case) for case in sample
         if case.name in set(of_training.name)]
sampler = organseg.CropSampler(scans, profile.crop_size, 3, profile.organ_share,
                               profile.augment, grid.paper_voxels)
images, labels, annotated = sampler.batch(3)
colours = ListedColormap([organ.colour for organ in organseg.ORGANS])
figure, panels = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for panel, image, label in zip(panels, images[..., 0], labels, strict=True):
    z = np.sum(label > 0, axis=(0, 1)).argmax()
    panel.imshow(image[::-1, ::-1, z].T, cmap="gray", vmin=0, vmax=1)
    shown = np.ma.masked_equal(label[::-1, ::-1, z].T, 0)
    panel.imshow(shown, cmap=colours, vmin=1, vmax=7, alpha=0.5,
                 interpolation="nearest")
    panel.set(title=f"{profile.crop_size}³ voxels, slice {z}", xticks=[],
              yticks=[])
plt.show()

# %%
assert images.shape == (3, *(profile.crop_size,) * 3, 1) and labels.max() <= 7
if data is None:
    assert len(sampler.patients) >= 3 and labels.any(axis=(1, 2, 3)).all()
    assert annotated.all()

# %% [markdown]
# The loss is the Dice loss with all weights $w_l = 1$ ([chapter 5](05_dice.ipynb)): in the profiles `paper` and `gpu`
# equations (1) and (2) for each image, in `fast`, as here, summed over the batch. The optimiser is Adam. It starts at the
# paper's learning rate of 0.01 {cite}`roth2018`; in `gpu` and `fast` the rate then falls to zero.
#
# ## How long, and how much memory
#
# Hours on a GPU are by arithmetic; none was measured. A training step of the full network on three crops is 4.40 TFLOP
# ([chapter 6](06_unet.ipynb)). The speeds are assumptions: half of what the maker's data sheets name in float32,
# less than a third of it in 16 bits {cite}`nvidia2016,nvidia2018,nvidia2020`. Frameworks' convolutions in
# three dimensions can be slower still, and all the rest of a step is left out. How far off can it be? The last two
# lines are for the paper's GPU, a Quadro P6000 with about 12 TFLOP per second in float32: by the same rule, and as its
# training went, a week for 50,000 steps. The crops are left out as well: they are made on the GPU
# ([chapter 7](07_augmentation.ipynb)), and reading eight neighbours a voxel is little beside the convolutions. (SciPy
# took 42 ms for one on one of our CPU cores: three would take longer than an A100 takes for the whole step.)

# %% tags=["quiz", "remove-input"]
quiz("11b")

# %%
network = organseg.unet()
tflop_per_step = organseg.training_flops(network, 64, batch_size=3) / 1e12
assert round(tflop_per_step, 2) == 4.40
# TFLOP per second
peaks = {"T4, float32": 8.1, "T4, 16 bits": 65, "A100, 16 bits": 312,
         "P6000, float32": 12}
# assumed
speeds = {"T4, float32": 4, "T4, 16 bits": 18, "A100, 16 bits": 88,
          "P6000, float32": 6}
speeds["the paper's week"] = tflop_per_step / (7 * 24 * 3600 / 50_000)
for name, speed in speeds.items():
    step = tflop_per_step / speed
    print(f"{name:16} {step:5.2f} s per step, gpu {4000 * step / 3600:4.1f} "
          f"hours, paper {50_000 * step / 3600:5.1f} hours")
assert all(0.2 < speeds[name] / peak <= 0.5 for name, peak in peaks.items())

# %% [markdown]
# The profile `paper` computes in float32. With `organseg.PROFILES["paper"].replace(precision="auto")` a T4 takes
# float16: less than a quarter of the hours by this arithmetic, and no other change than half precision and its loss scaling
# ([chapter 8](08_training.ipynb)). On the paper's own GPU the rule says 0.73 s per step, and the paper's week makes
# 12.10 s: a factor of more than sixteen. The week includes all that is not convolution. So measure before you begin
# (`organseg preflight`, from chapter 8).
#
# Memory: three crops of the full network need about 4.5 GB of the GPU in float32, by the count of chapter 6. All scans,
# of training and test, lie in the computer's own memory on the working grid. Those of training lie on the GPU as well,
# in 3 bytes a voxel, if all of them fit into 4 GB; otherwise each call brings over those that its steps need.
# `totalsegmentator-small` has 102 scans. If each covers 380 × 380 × 480 mm, they need:

# %%
voxels = (380 / 3) * (380 / 3) * (480 / 3)
bytes_per_voxel = 4 + 1  # the image in float32, the label in one byte
gpu_memory = organseg.training_bytes(network, 64, batch_size=3) / 1e9
print(f"{voxels * bytes_per_voxel / 1e6:.0f} MB per scan, "
      f"{102 * voxels * bytes_per_voxel / 1e9:.1f} GB for 102 scans")
print(f"on the GPU {102 * voxels * 3 / 1e9:.1f} GB")
assert round(gpu_memory, 1) == 4.5

# %% [markdown]
# ## Training
#
# One cell. The test patients are scored on the way, for the curves of Fig. 4. Nothing is decided by them: there is no
# early stopping, no choice of a best checkpoint; what counts is the network of the last step. The moment you choose
# anything by these curves, you need a third group of patients for the table.
#
# Was the runtime lost? Run the notebook again with the same `run_folder`. `resume` goes on from the last checkpoint
# (`gpu` writes one every 500 steps, `paper` every 1000), with the crops that the unbroken run would have drawn; a run
# that has ended is only read. A folder that holds a run on other patients is refused, and so is the smaller network of
# `fast`, if you get no GPU the second time ("choose another folder"): wait for one.

#
# At each checkpoint we also want to see something. `look` reads the network from the run folder and lets it segment one
# test scan.

# %%
from dataclasses import replace
from organseg.show.slices import best_slice

run_folder = Path(run_folder or tempfile.mkdtemp())
watched = organseg.to_working(testing[0].load(), grid)
middle = best_slice(watched.label, "coronal")
on_the_way = {}
looking = []  # one network, made once, which gets each checkpoint's weights


def look(history):
    if not looking:
        looking.append(organseg.load_run(run_folder))
    looking[0].network.load_weights(run_folder / "model.weights.h5")
    found = organseg.predict(looking[0], watched, precision="float32")
    dice = [organseg.dice(watched.label == organ, found == organ)
            for organ in watched.annotated]
    picture = organseg.slice_picture(replace(watched, label=found), "coronal",
                                     middle)
    on_the_way[history[-1]["step"]] = picture, np.nanmean(dice)


# %%
run, history = organseg.train(
    training, run_folder, profile, validation=testing, grid=grid, seed=0,
    resume=(run_folder / "run.json").is_file(), progress=data is not None,
    after_validation=look,
)
look(history)  # a run that had ended before is only read
print(sorted(path.name for path in run_folder.iterdir()))

# %% [markdown]
# What was trained on is written beside the weights. So the question whether a network has seen a patient can be answered
# a year later:

# %%
stored = organseg.load_run(run_folder)
assert not set(stored.settings["trained_on"]) & set(stored.settings["held_out"])
assert set(stored.settings["trained_on"]) == {file.name for file in training}
for kept, trained in zip(stored.network.get_weights(),
                         run.network.get_weights(), strict=True):
    np.testing.assert_array_equal(kept, trained)

# %% [markdown]
# And here is our Fig. 4, the Dice loss in training and in testing, with the Dice of each organ in the test beside it.

# %% alt="Left: the Dice loss of the training crops falls over the steps, and that of the test patients falls with it. Right: the test Dice of the organs rises from near zero, the liver first and highest; the lines of gallbladder (dashed) and vein stay lowest."
curves = pandas.DataFrame(history)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4),
                                     layout="constrained")
left.plot(curves.step, curves.loss, ".-", color="0.3", label="training, crops")
left.plot(curves.step, curves.validation_loss, ".-", color="#d55e00",
          label="test, whole scans")
left.set(xlabel="step", ylabel="Dice loss", title="as Fig. 4")
left.legend()
for organ in organseg.ORGANS:
    style = "--" if organ.name == "gallbladder" else "-"
    right.plot(curves.step, curves[f"dice_{organ.name}"], style, marker=".",
               color=organ.colour, label=organ.name)
right.set(xlabel="step", ylabel="Dice", ylim=(-0.02, 1),
          title="test patients, by organ")
right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% tags=["nbval-ignore-output"]
print(curves.iloc[[0, -1]].drop(columns="seconds").round(2).T.to_string(
    header=["first", "last"]))
assert curves.step.iloc[-1] == profile.steps
if as_printed:
    assert curves.loss.iloc[-1] < curves.loss.iloc[0] - 0.1
    on_test = curves.validation_loss
    assert on_test.iloc[-1] < on_test.iloc[0] - 0.1
    assert curves.dice_liver.iloc[-1] > 0.65
    assert curves.dice_gallbladder.iloc[-1] < 0.3

# %% [markdown]
# In so few steps the liver is learned, and after it the spleen; stomach, artery and pancreas have begun. Vein and
# gallbladder have hardly: in the right panel their lines lie on the axis or a little above it. The run ends because the
# learning rate has come down to zero, not because there was nothing left to learn.
#
# The test line may be the better one: the training loss is that of warped crops, in which organs are cut or missing. So
# read the lines' direction, not their distance. On the way the test scores may dip: as long as the weights move fast, batch
# normalisation's averages lag behind them. On patients, read them as in [chapter 8](08_training.ipynb): two lines
# that fall together are what the paper shows; a test line that turns up while the training line falls is over-fitting.
#
# ### Play: the network learns
#
# And this is the scan that we watched. Guess which organ comes first, and what a network of few steps does with the
# others: does it leave them out, or put them in the wrong place? Then move the slider.

# %%
steps = sorted(on_the_way)
dices = [on_the_way[step][1] for step in steps]
truth = organseg.slice_picture(watched, "coronal", middle)
aspect = watched.spacing[2] / watched.spacing[0]


def draw_step(step):
    picture, dice = on_the_way[step]
    figure, panels = plt.subplots(1, 3, figsize=(7, 2.7), layout="constrained")
    for panel, shown, title in zip(panels, (picture, truth),
                                   (f"after {step} steps", "truth")):
        panel.imshow(shown, aspect=aspect, interpolation="nearest")
        panel.set(title=title, xticks=[], yticks=[])
    panels[2].plot(steps, dices, ".-", color="0.6")
    panels[2].plot(step, dice, "o", color="#d55e00")
    panels[2].set(xlabel="step", ylim=(0, 1), title=f"mean Dice {dice:.2f}")
    return figure


# %% tags=["nbval-ignore-output"]
every = -(-len(steps) // 8)  # eight pictures at most, the last among them
organseg.explore(
    draw_step, "A coronal slice with the organs that the network has found "
    "after some steps, the same slice with the truth, and the mean Dice.",
    step=steps[::-1][::every][::-1])

# %% [markdown]
# What the network does not know it does not leave out: the first pictures have whole regions in a wrong colour. The liver
# finds its place first; the others begin as bits in bowel and bones, and some of these go only when the organ itself is
# found. None of this can be seen in the mean Dice.
#
# ## Inference
#
# The network covers the whole xy plane of a scan, tile after tile along z, and its answer goes back to the scan's own
# grid ([chapter 9](09_inference.ipynb)). There it is scored, where the truth was drawn.

# %%
from organseg.device.precision import resolve_precision

# as in training: no bfloat16 on a CPU, so tables agree
precision = resolve_precision("auto", training=True)
# once here, or predict would copy the network for each case
run = run.in_precision(precision)


def segment(file):
    case = file.load()
    return case, organseg.predict(run, case, precision=precision)


# %%
def score(files):
    rows = []
    for file in files:
        case, prediction = segment(file)
        for organ in organseg.ORGANS:
            if organ.id in case.annotated:
                truth = case.label == organ.id
                rows.append((file.name, organ.name,
                             organseg.dice(truth, prediction == organ.id),
                             truth.any()))
    return pandas.DataFrame(rows, columns=["case", "organ", "dice", "present"])


scores_test = score(testing)
scores_training = score(training)
for name, scores in {"test": scores_test, "training": scores_training}.items():
    scores.to_csv(run_folder / f"scores_{name}.csv", index=False)

# %% [markdown]
# Every scan is scored alone first, and every score is kept in the run folder: a table can be made from scores, but no
# score from a table.
#
# ## Tables 1 and 2
#
# These are the paper's two tables {cite}`roth2018`, in per cent: average, standard deviation, minimum and maximum.

# %%
columns = ["Avg.", "Std.", "Min.", "Max."]
paper_training = pandas.DataFrame(
    [
        [84.1, 5.0, 66.9, 91.7], [77.5, 8.9, 29.2, 89.2],
        [96.6, 1.1, 91.4, 98.5], [96.3, 2.0, 79.8, 98.9],
        [95.6, 7.7, 0.0, 99.7], [90.1, 10.9, 0.0, 97.8],
        [85.5, 8.9, 28.0, 95.5],
    ], index=organseg.ORGAN_NAMES, columns=columns,
)
paper_test = pandas.DataFrame(
    [
        [83.5, 4.1, 73.7, 91.1], [80.5, 6.8, 49.0, 89.4],
        [97.1, 1.0, 93.5, 98.3], [97.7, 0.8, 95.2, 98.9],
        [96.1, 7.9, 49.4, 98.9], [85.1, 15.7, 28.6, 97.4],
        [84.9, 9.1, 52.5, 95.1],
    ], index=organseg.ORGAN_NAMES, columns=columns,
)

# %% [markdown]
# The last row of both is called "Total Avg."; it is the mean of the organ rows, column by column
# ([chapter 10](10_evaluation.ipynb)). Do our copies give the numbers that the paper prints there?

# %%
from organseg.tables import total_average

print("Table 1:", total_average(paper_training).round(2).to_dict())
print("Table 2:", total_average(paper_test).round(2).to_dict())

# %% [markdown]
# In the paper {cite}`roth2018` the row reads 89.4, 6.4, 42.2 and 95.9 % in training, and 89.3, 6.5, 63.1 and 95.6 % in the
# test. These are our numbers, rounded.
#
# Now read the tables together: the average and the minimum of each organ, in training and in the test.

# %%
both = pandas.concat([paper_training.add_suffix(" training"),
                      paper_test.add_suffix(" test")], axis=1)
print(both.filter(regex="Avg|Min").to_string())
assert (paper_training["Avg."] - paper_test["Avg."]).abs().max().round(1) == 5
assert (paper_training["Min."] < paper_test["Min."]).all()

# %% tags=["quiz", "remove-input"]
quiz("11c")

# %% [markdown]
# The averages differ by 5 points at most, up here and down there. The minima differ by far more, and every one of them
# is lower in training, where there are nine times as many patients among whom to find the worst. A minimum of 0 % is an
# organ that was missed altogether in somebody, or invented; with averages above 90 % for stomach and gallbladder,
# nobody would guess it from the first column.
#
# Now ours, in the same layout. Your numbers will differ a little from these; assertions say what must hold on every
# machine.

# %% tags=["nbval-ignore-output"]
ours = {"training": organseg.organ_table(scores_training),
        "test": organseg.organ_table(scores_test)}
for name, table_of in ours.items():
    print(f"{name:9} Total Avg. {table_of.total['Avg.']:.2f}, "
          f"liver {table_of.organs['Avg.']['liver']:.2f}")
if as_printed:
    average, lowest = ours["test"].organs["Avg."], ours["test"].organs["Min."]
    assert average["liver"] > 0.65 and lowest["liver"] > 0.5
    assert average["spleen"] > 0.3
    assert abs(ours["training"].total["Avg."]
               - ours["test"].total["Avg."]) < 0.15
assert ours["test"].organs["n"].max() <= len(testing)
assert ours["training"].organs["n"].max() <= len(training)

# %%
def with_total(table):
    total = total_average(table).rename("Total Avg.").to_frame().T
    rows = pandas.concat([table, total])[columns]
    return rows.map("{:.1f}".format, na_action="ignore").fillna("–")


def draw_table(ours, paper, title):
    cells = pandas.concat([with_total(100 * ours.organs), with_total(paper)],
                          axis=1).to_numpy()
    counts = [*(f"{n:.0f}" for n in ours.organs["n"]), ""]
    cells = np.column_stack([cells[:, :4], counts, cells[:, 4:]])
    figure, axes = plt.subplots(figsize=(8.5, 3.3), layout="constrained")
    head = [*columns, "n", *(f"{name}\npaper" for name in columns)]
    drawn = axes.table(cells, colLabels=head, loc="center", cellLoc="right",
                       rowLabels=[*organseg.ORGAN_NAMES, "Total Avg."],
                       edges="horizontal", bbox=(0.02, 0, 0.98, 1))
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(10)
    for (row, column), cell in drawn.get_celld().items():
        # the head has two lines; the paper's columns are grey
        cell.set_height(cell.get_height() * (1.6 if row == 0 else 1))
        cell.get_text().set_color("0.5" if column >= 5 else "black")
    axes.set_axis_off()
    axes.set_title(title)


# %% alt="Table 1 as the paper lays it out: a row per organ and the total, Dice in per cent, with average, standard deviation, minimum, maximum and n of our training scans, and the paper's four columns beside them. The averages of our short training on phantoms are below the paper's in every organ, least in the liver." slide="Training patients, ours beside the paper's. What ours are worth is seen in the test."
draw_table(ours["training"], paper_training,
           "Table 1, training: Dice (%), ours and the paper's (n = 340)")
plt.show()

# %% alt="Table 2 in the same layout for the test patients. Liver and spleen have the highest averages, vein and gallbladder the lowest; all of ours are below the paper's."
draw_table(ours["test"], paper_test,
           "Table 2, test: Dice (%), ours and the paper's (n = 37)")
plt.show()

# %% [markdown]
# `n` counts the scans in which an organ has a score. An organ that was not drawn has none, nor has one that is absent
# from truth and prediction. In how many scans is each organ really there?

# %%
for name, scores in {"training": scores_training, "test": scores_test}.items():
    present = scores.groupby("organ").present.sum()[list(organseg.ORGAN_NAMES)]
    print(f"{name:9}", present.to_dict())
    assert (ours[name].organs["n"] >= present).all()

# %% [markdown]
# Where `n` is larger than this, the network has invented the organ in a scan without it. For the scans that were trained
# on:

# %% tags=["nbval-ignore-output"]
counts = (ours["training"].organs["n"]
          - scores_training.groupby("organ").present.sum())
some = counts[counts > 0].astype(int).to_dict()
print("invented, in so many scans:", some or "none")

# %% [markdown]
# (None is no praise: a network that never says gallbladder invents no gallbladder.) An invented organ scores 0, like
# one that was missed, and in the tables you cannot tell the two apart. The paper {cite}`roth2018` does not say what it
# did with absent organs; in a set that covers other regions of the body, such as TotalSegmentator, this matters for
# every row. (Four of our patients count twice in Table 1, by their second scan; the paper's `n` are patients.)
#
# With ten test patients or more, the next picture has an interval for the total: patients are drawn with replacement,
# as in [chapter 10](10_evaluation.ipynb). With a handful it would say little, since it cannot leave the range of the
# few scores. So here the picture shows the three patients alone, and it stays open how much others would have changed
# the total.

# %% alt="Three small dots for the mean Dice of our test patients, close together at about a third of the scale, and below them a black diamond for the row Total Avg. A grey diamond for the paper stands far to the right, at 89.3, in a row of its own for 37 other patients." slide="The test patients one by one, and the total. With three of them nobody can say how sure it is."
by_scan = scores_test.pivot(index="case", columns="organ",
                            values="dice").dropna(how="all")
by_patient = by_scan.groupby({file.name: file.patient
                              for file in testing}).mean()
total = ours["test"].total["Avg."]
figure, axes = plt.subplots(figsize=(7, 1.9), layout="constrained")
if len(by_patient) >= 10:
    picks = np.random.default_rng(11).integers(0, len(by_patient),
                                               (1000, len(by_patient)))
    totals = [by_patient.iloc[pick].mean().mean() for pick in picks]
    axes.plot(100 * np.percentile(totals, [2.5, 97.5]), [0, 0], color="#0072b2",
              linewidth=6, solid_capstyle="butt")
axes.plot(100 * by_patient.mean(axis=1), [0] * len(by_patient), ".",
          color="#0072b2", alpha=0.6, markersize=9)
axes.plot(100 * total, -0.3, "d", color="black")
axes.plot(89.3, 1, "d", color="0.6")
axes.set_yticks([0, 1], [f"ours, {len(by_patient)} patients",
                         "the paper, 37 other patients"])
axes.set(xlabel="mean Dice (%): each patient (dot), Total Avg. (diamond)",
         xlim=(0, 100), ylim=(-0.6, 1.6))
plt.show()

# %% tags=["nbval-ignore-output"]
print(f"Total Avg. {total:.3f}; "
      f"patients {by_patient.mean(axis=1).round(3).tolist()}")
assert len(by_patient) <= test_patients and 0 <= total <= 1
if as_printed:
    assert 0.2 < total < 0.6 and len(by_patient) == test_patients

# %% [markdown]
# ## As Fig. 5
#
# Numbers first, then pictures, and not of the best patient. We sort the test scans by their mean and look at the one in
# the middle, then at the lowest. [Chapter 10](10_evaluation.ipynb) shows how to draw them in three dimensions, and at half
# of the scan's resolution as in the paper's Fig. 5.

# %%
ranked = by_scan.mean(axis=1).sort_values()
by_name = {file.name: file for file in testing}
worst, typical = (by_name[ranked.index[0]],
                  by_name[ranked.index[len(ranked) // 2]])

# %% alt="A typical test scan in axial, coronal and sagittal slices, truth on the left and prediction on the right. Liver and spleen have about the right place and size. Thin and small organs are in pieces or missing, and stray pieces lie where there is no organ." slide="A typical test patient: truth on the left, prediction on the right." tags=["nbval-ignore-output"]
organseg.overlay_figure(*segment(typical))

# %% [markdown]
# Begin with the large organs: liver and spleen have about their place and size. Then look for colour where there should
# be none. After such a short run there is some in every picture, though not always in the same place: in the heart, at
# ribs, spine and pelvis, in a kidney, along the border of the liver. Nothing in the loss or in the network says that an
# organ is one piece; the paper {cite}`roth2018` names this in its outlook, and [chapter 12](12_beyond.ipynb) takes it
# up.

# %% alt="The test scan with the lowest mean Dice in the same layout. Liver and spleen are found here too; the small organs have the wrong size or place, or are missing." slide="The worst test patient: large organs are found, small ones are wrong or missing." tags=["nbval-ignore-output"]
organseg.overlay_figure(*segment(worst))

# %% [markdown]
# With three phantoms, the worst is hardly worse than the one in the middle. With patients it is the picture to begin with:
# is it the scan (cut, without contrast agent, an organ removed), the labels, or the network?

# %% [markdown]
# ## Four patients
#
# So far you have seen phantoms. Now a small experiment on people. Four labelled scans are at hand:
#
# | scan | what it shows | labels |
# |---|---|---|
# | `totalseg_example` | an abdomen without contrast agent, in voxels of 3 mm: the sample patient of these chapters | all seven organs |
# | `totalseg_slab` | 40 mm of an abdomen, with contrast agent | all seven; the gallbladder is not in the slab |
# | `dcmqi_3slice` | three slices of 1 mm | the liver alone |
# | `totalseg_s0003` | head and neck | all seven; none of them is in the scan |
#
# The labels of the first two are the prediction of another network, TotalSegmentator {cite}`wasserthal2023`, and so a
# *reference* rather than the truth. In the third the liver was drawn by people.
#
# Four patients cannot be divided into a group to train on and a group to test on. What one does instead is to *leave one
# out*: train on three, score the fourth, and do so four times. Then each has been scored by a network that has not seen
# it. Here this was done in three ways:
#
# - **random**: from random weights;
# - **drawn**: from the weights of `drawn`, a network of this library that has learnt from drawings alone (phantoms of many
#   kinds, and label maps of other patients that were painted with made-up HU). It was trained on none of these patients
#   ([real scans](../book/patients.md));
# - **gentle**: from `drawn` again, with one eighth of the learning rate, 0.0005 instead of 0.004.
#
# **As it was** is `drawn` before any of these trainings. (Decisions about it were based on the sample patient, so its scores
# there are a little too good.)
#
# Each of the twelve trainings took 600 steps of three crops of 32³ voxels of 4 mm, eight in ten of them around an organ, with
# eight filters at the start, the Dice loss summed over the batch, the paper's augmentation and a rate that falls to zero.
# That is four to eleven minutes each on two cores, too long for this page. So a script ran them
# (`benchmarks/few_patients.py`), and what came out is stored with the library.

# %%
from organseg.runs import WEIGHTS

few = pandas.read_csv(WEIGHTS / "few_patients.csv")
ways = ["random", "as it was", "drawn", "gentle"]
organs = list(organseg.ORGAN_NAMES)
there = few[few.true_ml > 0].pivot(index=["case", "network"], columns="organ",
                                   values="dice")
there = there[organs].reindex(ways, level="network")
print(there.assign(mean=there.mean(axis=1)).map(
    "{:.2f}".format, na_action="ignore").fillna("–").to_string())

# %% [markdown]
# These are the organs that the patients have. And what was found of organs that are *not* in a scan, in ml:

# %%
absent = few[(few.true_ml == 0) & few.case.isin(["totalseg_slab",
                                                 "totalseg_s0003"])]
invented = absent.pivot(index=["case", "network"], columns="organ",
                        values="found_ml")
print(invented[organs].reindex(ways, level="network").map(
    "{:.1f}".format, na_action="ignore").fillna("–").to_string())

# %% [markdown]
# From **random** weights, 600 steps lead nowhere near: a part of the spleen and of the liver in the slab, almost nothing in
# the other two, and almost a litre of organs that are not in the scan of head and neck. A longer training might do
# better; this one does not say.
#
# `drawn` **as it was** finds most organs, and next to nothing where nothing is. What did three patients add?
#
# - In the *three slices* the liver goes from 0.63 to 0.77 and 0.83. (On the network's grid they are one slice.)
# - In the *slab*, the larger steps of **drawn** help the pancreas, from 0.12 to 0.31, and a little the vessels; **gentle** has
#   the pancreas at 0.23 and loses as much in the vein.
# - In the *sample patient*, much is **forgotten**. Only liver and stomach are about as before. With **drawn** the artery falls
#   from 0.85 to 0.55, the gallbladder from 0.78 to 0.03, the pancreas from 0.40 to 0.00. With **gentle** these three and the
#   vein fall less deep, but they fall.
# - And both now invent: 12 and 20 ml of artery in a neck (in these labels, "artery" is the aorta), a gallbladder in the slab.
#
# One training of each kind does not prove why. But look at what the network was trained on. Without the sample patient, five of
# the seven organs are seen only in a slab of 40 mm, with contrast agent, and the gallbladder in nobody. What `drawn` knew
# about whole abdomens, about vessels and pancreases without contrast agent and about gallbladders was never called on in
# these 600 steps.
#
# Now in the layout of Table 2, per cent Dice of the patients left out: `drawn` as it was, and after the gentle training.

# %%
for way in ("as it was", "gentle"):
    print(way)
    table_of = organseg.organ_table(few[few.network == way])
    print(table_of.cells.to_string(col_space=6), end="\n\n")

# %% [markdown]
# Six of the seven averages are lower in the second table. Careful: some organs were found less well, but others were
# *invented*, and each of those is one more patient with a Dice of 0. The liver is of the second kind. In the patients who
# have one it is better than before on average; the average falls because of 0.6 ml in the neck. (The same rule
# gives the gallbladder a minimum of 0 in the first table: a speck in the slab, too small for the list above.) So read `n`,
# which differs from row to row and from table to table. A standard deviation of two or three numbers says little; a
# minimum says which patient to look at. And no column may stand beside the paper's, with its 37 patients of one kind.
#
# And as Fig. 4, for the three patients who have something to find. Above, the loss of the three scans that were trained
# on; below, the Dice of the one left out, here on the working grid.

# %% alt="Two rows of three panels, one column for each patient left out. Above, the loss in training falls in all of them; from random weights it lies far higher. Below, the Dice of the one left out. From random weights it stays near zero. In the sample patient, drawn falls at once from the dotted line of the beginning to about 0.45, and gentle little by little to 0.6. In the slab, gentle stays on the line, and drawn falls below it at first and ends above it. In the three slices both lie above the line, but for one deep dip of drawn at step 350." slide="Trained on three patients, scored on the fourth: what was learnt and what was forgotten."
curves = pandas.read_csv(WEIGHTS / "few_patients_history.csv")
left_out = ["totalseg_example", "totalseg_slab", "dcmqi_3slice"]
figure, panels = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey="row",
                              layout="constrained")
for (above, below), name in zip(panels.T, left_out, strict=True):
    # the organs that the patient has
    scored = "dice_" + there.loc[name, "as it was"].dropna().index
    for way, colour in {"random": "#d55e00", "drawn": "#0072b2",
                        "gentle": "#009e73"}.items():
        rows = curves[(curves.start == way) & (curves.left_out == name)]
        above.plot(rows.step, rows.loss, color=colour)
        below.plot(rows.step, rows[scored].mean(axis=1), color=colour,
                   label=way)
    below.axhline(rows[scored].mean(axis=1).iloc[0], color="0.5", linestyle=":",
                  label="drawn, as it was")
    above.set(title=f"without {name}")
    below.set(xlabel="step", ylim=(-0.02, 1))
panels[0, 0].set(ylabel="Dice loss in training, crops")
panels[1, 0].set(ylabel="mean Dice, the one left out")
figure.legend(*below.get_legend_handles_labels(), loc="outside lower center",
              ncols=4)
plt.show()

# %% [markdown]
# In training, the loss falls in all of them. What it is worth to the patient left out is another matter. In the first
# column, the loss falls above (better) and the Dice falls below (worse), at once for **drawn**, little by little for
# **gentle**. Chapter 8 calls that over-fitting, if the patients are of one kind. Here they are not, and over-fitting and
# forgetting cannot be told apart. And the deep dip in the third panel warns of reading much into any one point: every
# line is one training from one seed.
#
# Last, as Fig. 5: the sample patient, by the reference, by `drawn` as it was, and after the gentle training on the other
# three.

# %% alt="The sample patient in an axial and a coronal slice, three times. The reference. Then drawn as it was: nearly the same, with a pancreas that is too thick in places and some stomach in the bowel. Then gentle: the aorta is thin, most of the gallbladder and the whole pancreas are missing, stomach lies where a vein should be, the liver has a tip that reaches too far down, and a piece of spleen lies beside the right hip bone." slide="The sample patient: the reference, before the training on three others, and after it." tags=["patient", "nbval-ignore-output"]
from organseg.geometry import to_canonical

patient = organseg.sample_patient()
if patient:
    with np.load(WEIGHTS / "few_patients.npz") as labels:
        shown = {"reference": patient.label, "as it was": labels["as_it_was"],
                 "gentle": labels["gentle"]}
else:
    patient, found = segment(typical)
    shown = {"truth": patient.label, "prediction": found}
figure, panels = plt.subplots(2, len(shown), figsize=(9, 6.2),
                              layout="constrained")
guide = to_canonical(patient).label
for column, (name, labels) in zip(panels.T, shown.items(), strict=True):
    case = to_canonical(replace(patient, label=labels))
    for panel, plane in zip(column, ("axial", "coronal"), strict=True):
        place = best_slice(guide, plane)
        panel.imshow(organseg.slice_picture(case, plane, place))
        panel.set(xticks=[], yticks=[])
    column[0].set_title(name)
patches = [plt.Rectangle((0, 0), 1, 1, color=o.colour) for o in organseg.ORGANS]
figure.legend(patches, organs, loc="outside lower center", ncols=7)
plt.show()

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0. Where the patient is not at hand, you see a phantom again.) As it was, `drawn`
# comes close to the reference, but for a pancreas that is too thick in places and some stomach in the bowel beside it.
# After the gentle training the aorta is thin in the axial slice, most of the gallbladder and the whole pancreas are
# missing, bits of stomach lie where a vein should be, a tip of liver reaches too far down, and a piece of spleen lies
# beside the right hip bone.
#
# What can so few scans say? That a network finds liver, spleen and aorta in people, and others less surely; and which of
# its errors are gross. They cannot say how good it will be on the next patient: the four differ so much that each asks
# another question, and a fifth would ask a new one. For that you need tens of patients of the kind that the network is
# meant for, to train on and, others, to test on.
#
# And how does one use three patients without forgetting the rest? One way is to mix them among other crops. The package's
# `pretrained` was trained on with real scans in three of ten crops, and drawings in the others. A network made in the same
# way, but without the sample patient and the head, has lost nothing on that patient and finds next to nothing in the head:
# [the page on real scans](../book/patients.md) has the table. (Its crops were larger and its loss another, so this is no
# proof that the mixing did it.)
#
# ## What may be compared with what
#
# You have two columns beside each other, and they invite a comparison. Which ones mean something?
#
# - **Scores on phantoms with scores on patients: nothing.** A network that is perfect on the first may be useless on the
#   others. They show that the experiment runs, and catch gross errors in the program.
# - **Your Table 1 with your Table 2: yes**, allowing for chance (exercise 11.2). The same network, the same kind of patients; it
#   has seen the first group. The paper {cite}`roth2018` has 89.4 % and 89.3 %, and concludes that it does not over-fit.
# - **Two runs of yours on the same test patients: yes**, scan by scan ([chapter 10](10_evaluation.ipynb)), to report the
#   difference. To *choose* one of them you need a third group of patients.
# - **Your Table 2 with the paper's: with great care.** Its 89.3 % was measured on data that are not public: patients of
#   one study, in one phase of contrast, with labels by its own annotators. It has "the arteries" where the public sets
#   have the aorta alone, so leave that row out. In other data patients lack organs, scans are cut. A difference of some
#   per cent may come from any of this. The paper says so itself of its own comparison with others: other data and other
#   validation schemes.
# - **Means over different organs, different voxel sizes, or another rule for absent organs: no.**
#
# And what must be different from the run above to *reproduce* the paper?
#
# 1. Patients: hundreds of portal-venous CTs of the abdomen, with thin slices and all seven organs drawn. None of the sets
#    on [the page on data](../book/data.md) has 377 of this kind. `btcv` has thirty, with thicker slices;
#    `totalsegmentator` has more patients than the paper, of all kinds.
# 2. The grid: a factor of 4 from thin slices. Sets with thicker ones get 3 mm.
# 3. The profile `paper`: 50,000 iterations at the full width, crops anywhere in the scan.
# 4. What the paper's text leaves open stays a guess: the numbers of filters (ours lead to its 19 million parameters), the
#    window of HU, the rule for absent organs, the grid of the scores. We state ours; nobody else can say whether they are
#    the authors'.
#
# So a run on public data *repeats the experiment*. It cannot confirm or refute 89.3 %.

# %% [markdown]
# ## Exercises
#
# ### Exercise 11.1 ★ One patient of 340
#
# In Table 1 the stomach has an average of 95.6 % and a minimum of 0 %: in one patient at least it was missed altogether,
# or invented.
# What would the average be without this patient? Write the function for any row: from the average, the minimum and the
# number of patients, the average of the others. Then compare the stomach in Table 1 ($n = 340$) and in Table 2 ($n = 37$,
# minimum 49.4 %).

# %% tags=["exercise"]
from organseg.course import check


def without_the_worst(average, minimum, n):
    return ...


check("11.1", without_the_worst)

# %% tags=["solution"]
def without_the_worst(average, minimum, n):
    return (n * average - minimum) / (n - 1)


check("11.1", without_the_worst)
print(f"{without_the_worst(95.6, 0, 340):.1f} instead of 95.6, "
      f"{without_the_worst(96.1, 49.4, 37):.1f} instead of 96.1")

# %% [markdown]
# ### Exercise 11.2 ★★ More than chance?
#
# In the paper the gallbladder has 90.1 % in training and 85.1 % in the test; the spleen has 96.3 % and 97.7 %. Which of
# the two differences is more than chance? The patients are different ones, so the two averages err independently, and
# their squared standard errors $\text{Std.}^2/n$ add up. Return the ends of the 95 % interval of the difference, second
# less first (1.96 standard errors to both sides, which takes averages to scatter like a normal distribution; those of
# skewed scores do so roughly). Each of `first` and `second` is (average, standard deviation, n).

# %% tags=["exercise"]
def interval_of_difference(first, second):
    return ...  # low, high: 1.96 standard errors to each side, for 95 %


check("11.2", interval_of_difference)

# %% tags=["solution"]
def interval_of_difference(first, second):
    difference = second[0] - first[0]
    error = np.sqrt(first[1] ** 2 / first[2] + second[1] ** 2 / second[2])
    return difference - 1.96 * error, difference + 1.96 * error


check("11.2", interval_of_difference)
for organ in organseg.ORGAN_NAMES:
    one = *paper_training.loc[organ, ["Avg.", "Std."]], 340
    other = *paper_test.loc[organ, ["Avg.", "Std."]], 37
    low_end, high_end = interval_of_difference(one, other)
    print(f"{organ:12}{low_end:5.1f} to {high_end:4.1f}")
# Vein, liver and spleen exclude 0, all three better in the test. Of seven
# such intervals one may miss by chance.

# %% [markdown]
# ### Exercise 11.3 ★★★ Hold out a hospital
#
# The paper's patients come from one study, and it names no other. To know how a network does *elsewhere*, hold out not
# patients but a hospital. `scans` is a list of (name, patient, hospital). Return two lists of names: those to train on,
# and those to test on, which are all scans of the hospital held out. Some patients were scanned in two hospitals. Whom
# must the training not see?

# %% tags=["exercise"]
def hold_out(scans, hospital):
    return ...  # training, test


check("11.3", hold_out)

# %% tags=["solution"]
def hold_out(scans, hospital):
    test = [name for name, _, where in scans if where == hospital]
    seen_there = {patient for _, patient, where in scans if where == hospital}
    return [name for name, patient, _ in scans
            if patient not in seen_there], test


check("11.3", hold_out)

# %% [markdown]
# ## Summary
#
# - The whole experiment is a handful of cells: a data folder, a split by patient, a working grid, a training into a run
#   folder, inference on each scan's own grid, and two tables.
# - Look at the data before the training: patients and scans, voxel sizes, organs drawn, HU under the labels.
# - The test patients may be watched during the training as long as nothing is decided by them.
# - A run folder on lasting storage and `resume` carry a training across runtimes.
# - Hours and memory on a GPU can be estimated by arithmetic, and have to be measured before they are believed.
# - Table 1 beside Table 2 says, allowing for chance, whether a network over-fits. Your Table 2 beside the paper's says little,
#   and scores on phantoms say nothing about patients.
# - A few patients can be used in turn, one left out each time. They show gross errors, but not how good a network will be on
#   the next patient. Here, what a network had learnt from drawings alone was worth more than what three patients added:
#   on the whole abdomen it got worse.
#
# ## References
#
# The paper {cite}`roth2018`, Sections II and III, Tables 1 and 2, Figs. 4 and 5. Public data with all seven organs:
# TotalSegmentator {cite}`wasserthal2023` and BTCV {cite}`landman2015`.
