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
# # 0. Welcome
#
# You will see what this course builds, the way there, and how to work with its chapters.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - See a network find seven organs in a CT, and know what its score means and what it does not.
# - Say in one sentence each what a CNN, an FCN and a 3D U-Net answer.
# - Know how chapters, exercises and solutions work, and try one exercise.
#
# **You need**: Python, and arrays in NumPy. No medicine and no neural networks: each term is explained where it first
# comes.
#
# **In class:** 15 minutes, exercises 5 minutes (our estimate).
#
# **Measured:** about half a minute on two CPU cores (not measured on a GPU), 1.5 GB of memory, 2 MB to download, once (a patient).

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
# ## What you will build
#
# A *CT* (computed tomography) is a three-dimensional picture of the inside of a body. It is made of small boxes, the
# *voxels*, as a photograph is made of pixels. To *segment* it means to say for each voxel what lies there. Drawing the
# borders of organs by hand, slice by slice, is slow work for experts. Roth et al. {cite}`roth2018` trained a neural
# network to do it for seven organs of the abdomen. By the end of the course you will know each part of that network.
#
# First the end, then the way. Here is a network that has already been trained, and comes with the library:

# %%
import matplotlib.pyplot as plt
import numpy as np
import organseg

run = organseg.load_run("drawn")
print(run.network.name, "in", run.network.input_shape, "out",
      run.network.output_shape)

# %% [markdown]
# And here is a patient: a real CT of an abdomen, from the repository of TotalSegmentator {cite}`wasserthal2023`, 2 MB,
# fetched the first time and kept. (Without a connection the cell says so, and a synthetic patient stands in.)

# %% tags=["patient"]
patient = (organseg.sample_patient()
           or organseg.make_phantom(3002, (96, 96, 112)))
found = organseg.predict(run, patient)
print(patient.image.shape, "→", found.shape)

# %% [markdown]
# One number per voxel of the CT went in. The network gives eight probabilities for each voxel, and `predict` keeps the
# most likely class: 0 for background, 1 to 7 for the organs. Both volumes have the same shape, so the organs can be laid
# over the CT in colour. On the left are the organs to compare with, on the right what the network says. *Artery* is the
# aorta with the beginnings of its first branches, *vein* the portal and the splenic vein; other vessels stay grey.
#
# You look at the patient from the feet in the first picture (an *axial* slice), from the front in the second (*coronal*)
# and from the left side in the third (*sagittal*). The letters are the patient's **R**ight and **L**eft, front
# (**A**nterior) and back (**P**osterior), **H**ead and **F**eet.

# %% tags=["patient"] alt="Three slices through a real patient, seen from the feet, from the front and from the side, with the reference on the left and the prediction on the right. Liver, spleen, artery and gallbladder have nearly the same borders on both sides. The predicted pancreas is larger, and a piece of bowel beside the stomach is coloured as stomach too."
organseg.overlay_figure(patient, found, truth="reference")

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0.) Look first at liver, spleen and artery: they lie in the same place on
# both sides, with nearly the same borders. (Nearly: there is a lump of liver beside the gallbladder in the first row, and
# the artery has a gap low down in the third.) Then look at the others. In the first row the network labels more voxels as
# *pancreas* than the reference does, also in front of and beside the vein, of which it finds less; and a piece of bowel that
# is full of gas, beside the stomach, it labels as *stomach* as well. (The scan ends at the top within the liver.)
#
# The organs on the left were not drawn by an expert. TotalSegmentator, a large network that was trained on more than a
# thousand patients, found them. Such a *reference prediction* is good to compare with, but it is not the truth. Where shall
# the truth come from? One way is to make an artificial patient:

# %%
case = organseg.make_phantom(3002, (96, 96, 112))
prediction = organseg.predict(run, case)

# %% alt="Three slices through a synthetic patient, seen from the feet, from the front and from the side. The truth is on the left and the prediction on the right; the seven coloured organs lie in the same places and have nearly the same borders."
organseg.overlay_figure(case, prediction)

# %% [markdown]
# This is a *phantom*: a synthetic abdomen of smooth shapes with noise on top. `organseg.make_phantom` makes a different
# one for every number it gets, and knows the true organs to the voxel. Again the two sides look much alike, but not in
# everything: in the second row, the network's gallbladder fills the grey ring, its wall, around the true one.
#
# How much is that, as a number? For each organ, count the voxels that truth and prediction share; twice that number, divided
# by the sum of both sizes, is the *Dice coefficient*: 1 where two regions agree in every voxel.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("0a")

# %% tags=["nbval-ignore-output"]
scores = {}
for organ in organseg.ORGANS:
    truth, claimed = case.label == organ.id, prediction == organ.id
    shared = (truth & claimed).sum()
    scores[organ.name] = 2 * shared / (truth.sum() + claimed.sum())

mean = sum(scores.values()) / len(scores)
print(f"mean Dice {mean:.2f}, the lowest {min(scores.values()):.2f}")
assert mean > 0.85 and min(scores.values()) > 0.70

# %% tags=["patient", "nbval-ignore-output"] alt="Two charts with a bar for each of the seven organs and its Dice coefficient. Phantom: all bars are longer than 0.7. Patient: liver and spleen are longest, artery and gallbladder follow; stomach, vein and pancreas are shorter, the pancreas is the shortest."
by_organ = {"phantom": list(scores.values())}
by_organ[patient.name] = [organseg.dice(patient.label == o.id, found == o.id)
                          for o in organseg.ORGANS]
for name, value in zip(scores, by_organ[patient.name]):
    print(f"{name:12}{value:.2f}")
print(f"{patient.name}: mean {np.mean(by_organ[patient.name]):.2f}")
figure, panels = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True,
                              layout="constrained")
for axes, (name, values) in zip(panels, by_organ.items()):
    bars = axes.barh(list(scores), values,
                     color=[organ.colour for organ in organseg.ORGANS])
    axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.set(xlabel="Dice coefficient", xlim=(0, 1.12), title=name)
axes.invert_yaxis()
plt.show()

# %% [markdown]
# On the phantom the mean is 0.89 here, and the lowest is the gallbladder's, 0.77. On the patient, liver and spleen have 0.95
# and 0.94, the stomach 0.61, the vein 0.59 and the pancreas 0.40. (What a network says differs in its last digits from
# computer to computer.) A pair of regions with a Dice of 0.95 is hard to tell apart by eye; at 0.40, most of what is
# coloured lies in the wrong place.
#
# Liver and spleen have clear borders in drawings and in patients. Bowel full of gas looks like a stomach. And this patient
# was given no *contrast agent*, a fluid that brightens the blood and that the phantom's vessels are full of: without it, a
# vein and a pancreas are as grey as what lies around them. [Chapter 10](10_evaluation.ipynb) looks at these mistakes one by
# one. And what had this network learnt from?

# %%
from collections import Counter

trained_on = run.settings["trained_on"]
print(dict(Counter(name.partition("_")[0] for name in trained_on)))
# The phantom above would be called plain_3002 there.
assert "plain_3002" not in trained_on and "totalseg_example" not in trained_on

# %% [markdown]
# Every image that it learnt from was drawn: plain phantoms like the one above, phantoms in which more varies from patient
# to patient, and *painted* label maps, which are the shapes of three other patients' organs with drawn brightness. It had
# never seen a patient's image before this one. [The page about real scans](../book/patients.md)
# shows how such drawings are made, what the network finds in other patients, and where it fails.
#
# The paper {cite}`roth2018` reports a mean Dice of 89.3 % (a Dice is often given in per cent) for CTs of 37 real patients.
# Neither mean above can be compared with that: one is about a drawing, the other about one patient and another network's
# opinion.
#
# Why phantoms at all, then? Nobody has to download them or ask for permission, their true organs are known exactly, and a
# small network learns them in minutes. So most chapters use them, and those where a patient teaches more show one too.
#
# Scroll through the whole phantom, with the organs as the network found them:

# %%
organseg.show_volume(case, labels=prediction)

# %% [markdown]
# To see a network at work without installing anything, open [Try it](../book/try_it.md) in the course's book: there it
# segments a phantom, or a CT of your own, inside your browser, and sends nothing anywhere.
#
# ## The way there
#
# The paper tells its story in three steps, and so does the course. All three networks take a picture. What changes is
# the question: what is on this image? What is at this pixel? What is in this volume, voxel by voxel? We draw what is
# asked of each of them, with the true answers.

# %%
from dataclasses import replace
from organseg.show.slices import slice_picture


def draw_stack(axes, volume, heights):
    for place, z in enumerate(heights):
        low, high = 40 * place, 40 * place + 96
        axes.imshow(slice_picture(volume, "axial", z),
                    extent=(low, high, low, high), zorder=place)
    axes.set(xlim=(0, high), ylim=(0, high))


without_organs = replace(case, label=None)
questions = {"CNN": [82], "FCN": [82], "3D U-Net": [66, 74, 82]}

# %% alt="Three rows. CNN: one axial slice, and as answer the words upper abdomen. FCN: the same slice, and as answer the slice with its organs in colour. 3D U-Net: a stack of three slices, and as answer the stack with its organs in colour." slide="A CNN answers with a word, an FCN with a slice, a 3D U-Net with a volume."
figure, rows = plt.subplots(3, 2, figsize=(4.6, 6.4), layout="constrained")
for (name, heights), (question, answer) in zip(questions.items(), rows):
    draw_stack(question, without_organs, heights)
    question.set_title(f"{name}: in")
    answer.set_title("out")
    if name == "CNN":
        word = organseg.BODY_LEVELS[case.body_levels[heights[0]]]
        answer.text(0.5, 0.5, f"“{word}”", fontsize=13, ha="center",
                    va="center")
    else:
        draw_stack(answer, case, heights)
for axes in rows.flat:
    axes.set_axis_off()

# %% [markdown]
# The library has all three. Their input and output shapes say the same as the picture:

# %% tags=["quiz", "remove-input"]
quiz("0b")

# %%
for network in (organseg.cnn(num_classes=4, input_size=64), organseg.fcn(),
                organseg.unet()):
    print(f"{network.name:5}in {network.input_shape!s:30}out "
          f"{network.output_shape}")

# %% [markdown]
# The first `None` is the number of pictures, which is free; any other `None` is a size that can be chosen, in
# multiples of 8. (The patient's sizes are none: `predict` brings a scan to the network's grid, and its answer back.)
#
# - A **convolutional network (CNN)**, in this course, gives one word per image. (The other two are built of
#   convolutions as well, but have names of their own.) For a slice of 64×64 pixels it puts out four probabilities,
#   one for each part of the body the slice may come from. [Chapter 2](02_convolution.ipynb) is about its main
#   ingredient, [chapter 3](03_cnn.ipynb) about the network.
# - A **fully convolutional network (FCN)** gives one word per pixel: for a slice of any size (in our FCN the sides
#   must be multiples of 8), eight probabilities at each of its pixels. [Chapter 4](04_fcn.ipynb) makes it out of the
#   CNN, and [chapter 5](05_dice.ipynb) teaches it with a loss that measures overlap.
# - A **3D U-Net** gives one word per voxel of a whole volume, and sees what lies above and below a slice. This is the
#   network of the paper, where the course is heading.
#
# Here is the U-Net as large as the paper's, drawn from the network itself. You need not understand it yet. At each
# level of the drawing the picture is half as wide, high and deep as one level up; it goes down on the left, comes up
# again on the right, and shortcuts run across.

# %% alt="The 3D U-Net drawn layer by layer: four levels down on the left, the same levels up on the right, and a connection across at each of the upper three levels."
unet = organseg.unet()
learned = sum(int(np.prod(weights.shape)) for weights in unet.trainable_weights)
print(f"{learned:,} numbers to learn")
organseg.draw_network(unet)

# %% [markdown]
# About 19 million numbers are learned in it, as in the paper {cite}`roth2018`. The network that found the organs above is
# the same with about a quarter of the channels at each step (see the column *channels*).

# %% [markdown]
# ## How the chapters work
#
# **Each chapter stands alone** and runs in any order, in a minute or two on two CPU cores. Its head says what you will
# be able to do, what you should know before, and what was measured: minutes, memory, download.
#
# **Where to run them.** On *Google Colab*, the first code cell of a chapter installs the library, if whoever
# gives the course has set its address. On your own computer,
# `make lab` in the project's folder opens them in JupyterLab. A GPU is not needed.
#
# **First by hand, then the library.** What a chapter teaches, it writes out in a few lines. Then it shows that the
# library's version gives the same, and uses that from there on:

# %%
by_library = [organseg.dice(case.label == organ.id, prediction == organ.id)
              for organ in organseg.ORGANS]
np.testing.assert_allclose(by_library, list(scores.values()))

# %% [markdown]
# **Numbers are checked.** What is printed here was computed here. Most numbers are the same on every computer. What
# differs a little from one computer to the next, such as everything a network says, is printed with few digits, and mostly an
# `assert` line beside it gives a bound: if it did not hold, the cell would stop with an error. You have seen one above.
#
# **Profiles.** How long a training takes depends on the machine, so the settings of a training come in four sizes. Two
# are for a laptop; `gpu` wants a graphics card, and `paper` is what Roth et al. ran for a week. The course picks one
# by itself. (A *crop* is a block cut out of a scan, *filters* set how large the network is, and a *step* is one small
# correction of its numbers; later chapters explain them.)

# %%
for profile in organseg.PROFILES.values():
    size, filters = profile.crop_size, profile.base_filters
    print(f"{profile.name:7}crops of {size}³ voxels, {filters:2} filters, "
          f"{profile.steps:6,} steps")

# %% [markdown]
# **No patient's data are needed.** All chapters run on phantoms; a cell that wants the patient shown earlier says so where
# there is no connection, and the chapter goes on. You may bring CTs of your own, as long as
# you are allowed to use them; do not upload those of real patients to Colab without permission. What you build is for
# learning and research, **not for clinical use**.
#
# ## Exercises
#
# Most chapters have two to four exercises, with one to three stars from easy to hard; this one has one. Replace the `...`
# by your answer and run the cell. `check` tells you whether it is right; where it is not, you get a hint and can try again
# as often as you like. The solution is in the next cell, behind a click.
#
# ### Exercise 0.1 ★ How many answers?
#
# The FCN and the U-Net choose at each voxel among a fixed number of classes. How many, if seven organs can be found?
# Try a wrong number first, to see a hint.

# %% tags=["exercise"]
from organseg.course import check

number_of_classes = ...
check("0.1", number_of_classes)

# %% tags=["solution"]
number_of_classes = len(organseg.ORGANS) + 1
check("0.1", number_of_classes)

# %% [markdown]
# ## Summary
#
# - To segment a CT is to give each voxel the name of an organ, or "background". A network can learn it.
# - The Dice coefficient measures how well two regions agree, from 0 to 1. On phantoms, which are drawn, it says nothing
#   about real patients.
# - In the one real patient shown, a network that had learnt from drawings found liver and spleen well, and pancreas, vein
#   and stomach badly.
# - A CNN gives one word per image, an FCN one per pixel, a 3D U-Net one per voxel of a volume at once.
# - Chapters compute what they claim, compare what you write with the library, and give hints before solutions.
#
# ## References
#
# The course follows Roth et al. {cite}`roth2018`; "the paper" always means this one.
