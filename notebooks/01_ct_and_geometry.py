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
# # 1. A CT is numbers with a geometry
#
# You will be able to say where in the patient each number of a CT lies, which side is left, and what is lost when a
# scan is made four times coarser.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Read a CT from a file, and turn a voxel's index into a place in millimetres and back.
# - Tell left from right, and know how the two get swapped.
# - Say what a Hounsfield unit is, and choose a window to see an organ.
# - Make a scan coarser without inventing patterns, new organs or a shift.
# - Put a number on what a coarser grid costs, organ by organ.
#
# **You need**: Python, NumPy arrays and a little matrix multiplication.
#
# **In class:** 45 minutes, exercises 30 minutes (our estimate).
#
# **Measured:** about half a minute on two CPU cores (not measured on a GPU), 1.5 GB of memory, 2 MB to download, once (a patient).

# %% tags=["setup"]
# @title Set-up: on Google Colab it installs organseg; where that is installed already, it does nothing
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
            "organseg is not installed, and this notebook has no address to install it from. On your own computer: run "
            "`make lab`. For Colab, an instructor sets the address: `make address URL=https://github.com/YOU/organseg`"
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

# %% [markdown]
# ## A patient to look at
#
# A CT scanner X-rays the body from all sides and computes from that how strongly each small box of tissue weakens the
# rays. The boxes are the *voxels*; a CT is a three-dimensional array with one number per voxel. Here is a synthetic
# one, a *phantom*, with labels that say for each voxel which organ it belongs to.

# %%
import numpy as np
import organseg

case = organseg.make_phantom(50, (112, 112, 72))
print(case.image.shape, case.image.dtype, case.label.shape, case.label.dtype)

# %% [markdown]
# Scroll through the patient. (The same number gives the same patient; here on a coarser grid, to keep this page small.)

# %%
organseg.show_volume(organseg.make_phantom(50, (72, 72, 56)))

# %% [markdown]
# A real patient comes at the end of the chapter, beside the phantom.
#
# ## A file: numbers and an affine
#
# Most programs for research exchange volumes as *NIfTI* files {cite}`cox2004`, whose names end in `.nii` or,
# compressed, `.nii.gz`. We write the phantom into one, and its labels into a second.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
organseg.save_image(case.image, case.affine, folder / "patient_0000.nii.gz")
organseg.save_label(case.label, case.affine, folder / "patient.nii.gz")
print(sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# Now forget where it came from, and open it with `nibabel`, the library that reads such files in Python.

# %%
import nibabel

file = nibabel.load(folder / "patient_0000.nii.gz")
voxels = file.get_fdata()
print(voxels.shape, file.get_data_dtype())
print(file.affine.round(2))

# %% [markdown]
# There are two parts. The *voxels* are whole numbers (`int16`), as scanners store them; rounding to whole numbers is
# all that writing has changed. The second part, the matrix, is the *affine*. It says where the voxels are, and the next
# section takes it apart.
#
# `organseg.load_case` reads both files at once, checks that they belong together, and returns the same kind of `Case`
# that we began with.

# %%
loaded = organseg.load_case(folder / "patient_0000.nii.gz",
                            folder / "patient.nii.gz")
np.testing.assert_array_equal(loaded.image, voxels)
np.testing.assert_array_equal(loaded.image, np.rint(case.image))
np.testing.assert_array_equal(loaded.label, case.label)
np.testing.assert_allclose(loaded.affine, case.affine, atol=1e-4)

# %% [markdown]
# ## Where is a voxel?
#
# An array knows its voxels by three whole numbers, the *index* $(i, j, k)$. A place in space is three lengths $(x, y,
# z)$ in millimetres. The affine leads from the one to the other: multiply the index by the three rows and columns in
# the upper left, then add the last column.
#
# $$
# \begin{pmatrix} x \\ y \\ z \end{pmatrix}
# = \begin{pmatrix} a_{xi} & a_{xj} & a_{xk} \\ a_{yi} & a_{yj} & a_{yk} \\ a_{zi} & a_{zj} & a_{zk} \end{pmatrix}
# \begin{pmatrix} i \\ j \\ k \end{pmatrix} + \begin{pmatrix} t_x \\ t_y \\ t_z \end{pmatrix}
# $$
#
# The fourth row, always 0 0 0 1, says nothing about the scan. It is there so that affines can be chained and inverted
# as ordinary matrices.

# %%
def place_of(affine, index):
    return affine[:3, :3] @ index + affine[:3, 3]


for index in ((0, 0, 0), (1, 0, 0), (0, 0, 1), (111, 111, 71)):
    print(index, place_of(case.affine, index).round(1), "mm")

# %% [markdown]
# The first voxel lies at the last column of the affine, the *origin*, (−192.5, −192.5, −206.5) mm. One step along the
# first axis leads from −192.5 to −189.1 mm, one step along the third from −206.5 to −200.7 mm. These steps are the
# columns of the matrix. Their lengths are the *spacing*, the size of a voxel along each axis of the array.

# %%
spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
print(spacing.round(2), "mm")
np.testing.assert_allclose(spacing, case.spacing)
by_nibabel = nibabel.affines.apply_affine(case.affine, (40, 50, 60))
np.testing.assert_allclose(place_of(case.affine, (40, 50, 60)), by_nibabel)

# %% [markdown]
# A place means the *centre* of a voxel. So the scan reaches half a voxel further than its first and last places, and
# its width is 112 voxels, not 111 steps.

# %%
first_edge = place_of(case.affine, np.full(3, -0.5))
last_edge = place_of(case.affine, np.array(case.image.shape) - 0.5)
width = last_edge - first_edge
print(width.round(1), "mm")
np.testing.assert_allclose(width, np.array(case.image.shape) * spacing)

# %% [markdown]
# The way back is the inverse matrix. Which voxel lies at x = 65 mm, y = 45 mm, z = 60 mm, and which organ is it?

# %%
place = np.array([65, 45, 60])
index = place_of(np.linalg.inv(case.affine), place)
nearest = tuple(np.rint(index).astype(int))
print(index.round(2), "→", tuple(int(i) for i in nearest))
print(organseg.ORGANS[case.label[nearest] - 1].name)

# %% [markdown]
# A place rarely hits a centre, so the index has decimals, and `np.rint` takes the nearest voxel.
#
# ## Which way is left?
#
# The affine also says which way the axes point. In NIfTI, x grows towards the patient's **R**ight, y towards the front
# (**A**nterior) and z towards the head (**S**uperior). Right is always the *patient's* right. This convention for the
# millimetres is called RAS+. It holds for each NIfTI file that says where it lies; a few old files do not, and then
# left and right can only be guessed.
#
# The axes of the *array* are another matter: they can run in any direction and order. Three letters describe them, one
# per array axis, each naming the end towards which the index grows. To find a letter, look which of x, y and z changes
# most along the column of the affine, and with which sign.

# %%
def axis_codes(affine):
    letters = ""
    for column in affine[:3, :3].T:
        direction = np.abs(column).argmax()
        letters += ("LR", "PA", "IS")[direction][int(column[direction] > 0)]
    return letters


print(axis_codes(case.affine), case.axes, nibabel.aff2axcodes(case.affine))

# %% [markdown]
# The phantom's array has the axes RAS: its index grows to the right, to the front and to the head. (The other ends are
# **L**eft, **P**osterior and **I**nferior.) Real CTs often come as LPS or LAS, sometimes in an order such as PSR. The
# letters describe the array; the millimetres stay RAS+. One thing to know when you read a position from another
# program: programs built on DICOM or ITK give millimetres in LPS, so for them x and y have the opposite sign.
#
# ### How radiologists look at it
#
# Radiologists look at a slice across the body as if they stood at the feet of a patient who lies on the back. The
# front is at the top of the picture, and the patient's right is on the *left*. An array shown as it is stored looks
# different: `imshow` takes the first axis for the rows, and draws them from top to bottom.

# %% alt="The same slice twice. As stored, the body lies on its side. In radiological view the front of the body is at the top, the large liver on the left of the picture and marked R, the spine below."
import matplotlib.pyplot as plt


def radiological(volume, z):
    return volume[::-1, ::-1, z].T


figure, (stored, viewed) = plt.subplots(1, 2, figsize=(5.6, 3),
                                        layout="constrained")
stored.imshow(case.image[:, :, 52], cmap="gray", vmin=-160, vmax=240)
stored.set(title="as stored", ylabel="first axis: i", xlabel="second axis: j")
viewed.imshow(radiological(case.image, 52), cmap="gray", vmin=-160, vmax=240)
viewed.set(title="radiological view", xticks=[0, 111], xticklabels=["R", "L"],
           yticks=[0, 111], yticklabels=["A", "P"])
plt.show()

# %% [markdown]
# For a RAS array, both axes are turned round, so that the first column is the right end and the first row the front;
# `.T` then makes the second axis the rows. All axial slices that `organseg` draws are in this view.
#
# ### The swap
#
# Left and right get swapped more often than one would think, because nobody sees it in the numbers. We first turn the
# array's first axis round *correctly*: with the array, the affine changes too. The voxel that had the index 111 now has
# the index 0. So the first column changes its sign, and the origin moves to where the last voxel was.

# %%
flipped = case.image[::-1]
flip = np.diag([-1.0, 1, 1, 1])
flip[0, 3] = case.image.shape[0] - 1
flipped_affine = case.affine @ flip
print(axis_codes(flipped_affine), flipped_affine[0].round(2))
np.testing.assert_allclose(place_of(flipped_affine, (0, 5, 7)),
                           place_of(case.affine, (111, 5, 7)))

# %% [markdown]
# `flip` leads from new indices to old ones, and the old affine from there to millimetres: affines are chained by
# multiplying them. No voxel has moved in space. Now the wrong way: the same turned array with the *old* affine.
# Where is the centre of the liver, which has the number 3 in the labels, in millimetres?

# %%
def centre_of_liver(label, affine):
    return place_of(affine, np.argwhere(label == 3).mean(axis=0))


for name, label, affine in (
    ("the scan            ", case.label, case.affine),
    ("array and affine    ", case.label[::-1], flipped_affine),
    ("only the array      ", case.label[::-1], case.affine),
):
    print(name, f"x = {centre_of_liver(label, affine)[0]:5.0f} mm")

# %% alt="Three slices drawn in millimetres, with positive x on the left. Scan, and array and affine flipped together: identical, with the liver on the patient's right. Only the array flipped: a mirror image with the liver on the patient's left."
def draw_in_mm(axes, image, affine, z):
    first = place_of(affine, (-0.5, -0.5, 0))
    last = place_of(affine, np.array(image.shape) - 0.5)
    extent = (first[0], last[0], first[1], last[1])
    axes.imshow(image[:, :, z].T, extent=extent, origin="lower", cmap="gray",
                vmin=-160, vmax=240)
    axes.set(xlim=(190, -190), ylim=(-190, 190), xticks=(150, 0, -150),
             yticks=(-150, 0, 150))


figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.5), sharey=True,
                              layout="constrained")
draw_in_mm(panels[0], case.image, case.affine, 52)
draw_in_mm(panels[1], flipped, flipped_affine, 52)
draw_in_mm(panels[2], flipped, case.affine, 52)
for axes, title in zip(panels, ("the scan", "array and affine flipped",
                                "only the array flipped")):
    axes.set_title(title, fontsize=10)
panels[0].set_ylabel("y (mm)")
figure.supxlabel("x (mm), growing to the patient's right", fontsize=10)
plt.show()

# %% [markdown]
# The third picture looks like a perfectly good CT. Nothing in its numbers is wrong, but the liver is on the left. This
# is what happens when a program reads the voxels, turns them, and writes them with an affine that does not fit, or when
# a network that was trained on RAS arrays gets LAS arrays. The remedy is always the same: let the affine decide, and
# bring each scan to one order of axes first. `organseg` does so with each scan it works on, in any orientation:

# %%
from dataclasses import replace
from organseg.geometry import to_canonical

turned = replace(case, image=flipped, label=case.label[::-1],
                 affine=flipped_affine)
back = to_canonical(turned)
print(turned.axes, "→", back.axes)
np.testing.assert_array_equal(back.image, case.image)
np.testing.assert_array_equal(back.label, case.label)
np.testing.assert_allclose(back.affine, case.affine)

# %% [markdown]
# Nothing was computed anew here: axes were swapped and turned, and each number is still there.
#
# ## What the numbers mean
#
# What the scanner measures is $\mu$, the share of the X-rays that a tissue takes away per length. It is given relative
# to water and air, in *Hounsfield units* (HU), after the inventor of the scanner {cite}`hounsfield1973`:
#
# $$ \text{HU} = 1000 \cdot \frac{\mu - \mu_\text{water}}{\mu_\text{water} - \mu_\text{air}} $$
#
# For the X-rays of a CT, water has a $\mu$ of about 0.19 per centimetre, and air nearly none.

# %%
def hounsfield(mu, mu_water=0.19, mu_air=0.0):
    return 1000 * (mu - mu_water) / (mu_water - mu_air)


print(hounsfield(np.array([0.0, 0.19, 0.20])).round())

# %% [markdown]
# So air has −1000 HU and water 0 HU, whatever the scanner, and a tissue that weakens the rays 5 % more than water has
# about 50 HU. What do we find in the phantom? For tissues without a label we point at a place in millimetres and take
# the mean of the 3×3×3 voxels around it.

# %%
places = {"air": (150, 150, 100), "lung": (90, 30, 180), "fat": (20, 150, 0),
          "muscle": (35, -42, 0)}
places["vertebra"] = (0, 32, 0)
for tissue, place in places.items():
    i, j, k = np.rint(place_of(np.linalg.inv(case.affine), place)).astype(int)
    around = case.image[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]
    print(f"{tissue:12}{around.mean():6.0f} HU")

# %% [markdown]
# For the organs we use their labels. A single number would hide how much the voxels differ, so we print the range of
# the middle nine tenths too. And of the darkest twentieth, which share lies at the organ's border? (An *erosion* takes
# away the voxels that have a neighbour outside.)

# %%
from scipy import ndimage

for organ in organseg.ORGANS:
    mask = case.label == organ.id
    low, middle, high = np.percentile(case.image[mask], (5, 50, 95))
    border = mask & ~ndimage.binary_erosion(mask)
    at_border = border[mask & (case.image <= low)].mean()
    print(f"{organ.name:12}{middle:6.0f} HU, mostly {low:4.0f} to {high:4.0f}, "
          f"darkest: {at_border:4.0%} at the border")

# %% [markdown]
# Artery and vein are bright because a *contrast agent* with iodine was injected before the scan; in the *portal venous
# phase*, about a minute later, it has reached the veins of the gut and the liver. The paper's scans {cite}`roth2018`
# were taken in this phase, and the phantoms imitate it.
#
# Look at the ranges: those of liver, spleen and pancreas overlap widely. (Their low ends are border voxels, as the last
# column shows; these hold some organ and some of the fat around it, which is called the *partial volume effect*. A thin
# organ has so many of them that even its middle value, 54 HU for the pancreas, lies below that of its tissue.) **The
# number alone does not tell which organ a voxel belongs to.** Place, shape and surroundings do, and these are what a
# network has to learn.
#
# ### Windows
#
# A screen shows a few hundred greys, a CT has thousands of values. A *window* picks the range that matters: all below
# it is black, all above it is white. It has a *centre* (also called level, a word with other uses in this course) and a
# *width*.

# %%
def window(hu, centre, width):
    grey = (hu - (centre - width / 2)) / width
    return np.clip(grey, 0, 1)


print(window(np.array([-1000, -160, 40, 240, 1000]), centre=40, width=400))

# %% [markdown]
# Radiologists switch between a few. These are common choices; with a live kernel, try them with the sliders below.

# %%
presets = {"soft tissue": (40, 400), "liver": (80, 150), "lung": (-500, 1400),
           "bone": (500, 1500)}
for name, (centre, width) in presets.items():
    print(f"{name:12}centre {centre:4}, width {width:4}: "
          f"{centre - width / 2:5.0f} to {centre + width / 2:4.0f} HU")

# %% alt="The slice with the liver in a soft-tissue window: organs in shades of grey, fat dark, bone white, air black."
from matplotlib.figure import Figure


def draw_window(centre, width):
    figure = Figure(figsize=(3.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(window(radiological(case.image, 58), centre, width),
                cmap="gray", vmin=0, vmax=1)
    axes.set(title=f"centre {centre}, width {width}", xticks=[], yticks=[])
    return figure


organseg.explore(draw_window, centre=(-1000, 1000, 40), width=(50, 2000, 400))

# %% [markdown]
# A network gets its numbers through a window as well, and a wide one: `organseg.normalise` takes −200 to 300 HU to 0…1.
# The tissues of all seven organs lie inside; lung is black, bone nearly white.

# %%
print(organseg.normalise(np.array([-1000, -200, 50, 300, 1000])))
np.testing.assert_allclose(organseg.normalise(case.image),
                           window(case.image, centre=50, width=500), atol=1e-6)

# %% [markdown]
# ## Seven organs
#
# The course looks for the seven organs of the paper {cite}`roth2018`. `organseg.ORGANS` is their list, with the number
# that stands for each in a label, and a colour. How large are they? Count voxels, multiply by the volume of one voxel
# in mm³, divide by 1000: a millilitre is 1000 mm³. The volume is the affine's determinant: here the product of the
# spacings, and right also where a tilted gantry left axes that are not perpendicular.

# %%
voxel_ml = abs(np.linalg.det(case.affine)) / 1000
volumes = {organ.name: voxel_ml * np.count_nonzero(case.label == organ.id)
           for organ in organseg.ORGANS}
for organ in organseg.ORGANS:
    print(f"{organ.id} {organ.name:12}{volumes[organ.name]:6.0f} ml   "
          f"{organ.meaning}")
print(f"background: {np.mean(case.label == 0):.0%} of the voxels")

# %% alt="Left: a slice from the front through the synthetic patient with its organs in colour. Right: a bar for each organ's volume; the liver's is many times longer than all others, the gallbladder's hardly visible."
from organseg.show.slices import best_slice, slice_picture

figure, (slice_axes, bars) = plt.subplots(1, 2, figsize=(8, 3.6),
                                          layout="constrained")
size = np.array(case.image.shape) * case.spacing
y = best_slice(case.label, "coronal")
slice_axes.imshow(slice_picture(case, "coronal", y, opacity=0.7),
                  extent=(0, size[0], 0, size[2]))
slice_axes.set(title="from the front", xticks=[], yticks=[])
bars.barh(list(volumes), list(volumes.values()),
          color=[organ.colour for organ in organseg.ORGANS])
bars.set(xlabel="volume (ml)")
bars.invert_yaxis()

# %% [markdown]
# The liver is some sixty times larger than the gallbladder, and nineteen voxels of twenty are background. A network
# that always says "background" is nearly always right, and useless. [Chapter 5](05_dice.ipynb) takes this up.
#
# ## Four times coarser
#
# The scans of the paper {cite}`roth2018` have slices of 512×512 voxels and between 460 and 1177 slices. They were
# down-sampled by 4 along each axis before a network saw them. Why? Take 800 slices and four bytes per number. The
# volume itself is not the trouble, but what a network computes from it: the first level of the 3D U-Net puts out 64
# numbers, or *features*, per voxel.

# %%
voxels_full = 512 * 512 * 800
for name, voxel_count in (("as scanned", voxels_full),
                          ("by 4", voxels_full // 4**3)):
    gigabytes = 4 * voxel_count / 1e9
    print(f"{name:12}one volume {gigabytes:6.3f} GB, "
          f"64 features {64 * gigabytes:6.2f} GB")
print(f"64 voxels in a row: {64 * 0.75:.0f} mm as scanned, "
      f"{64 * 3:.0f} mm by 4")

# %% [markdown]
# For a whole scan in one piece, one layer of features at full size would take 53.69 GB. The graphics card of the paper
# {cite}`roth2018` has 24 GB, for all layers together. By 4 along each axis means 64 times fewer voxels, and the layer
# fits into 0.84 GB.
#
# There is a second advantage. In training the paper's network sees crops of 64×64×64 voxels. With voxels of 0.75 mm a
# crop would be 48 mm wide, and show a piece of liver without its surroundings. With 3 mm it is 192 mm, half a body.
#
# The paper does not say how it made the scans coarser. What follows is our choice, with the reasons.
#
# ### Not like this: `[::4]`
#
# The shortest way to a coarser image is to keep each fourth voxel. See what it does to a fine wave.

# %% alt="A fine wave with a period of five voxels. Every fourth voxel is marked; the marks form a slow wave with a period of twenty voxels that is not in the data. The smoothed wave is nearly flat."
voxel = np.arange(60)
wave = np.cos(2 * np.pi * voxel / 5)
sigma = np.sqrt(4**2 - 1) / 2.355
smooth = ndimage.gaussian_filter1d(wave, sigma, mode="wrap")

figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
between = np.linspace(0, 59, 1000)
axes.plot(between, np.cos(2 * np.pi * between / 5), color="0.75",
          label="wave, period 5 voxels")
axes.plot(voxel[::4], wave[::4], "o-", color="#d55e00",
          label="every fourth voxel")
axes.plot(voxel[::4], smooth[::4], "s-", color="#0072b2",
          label="smoothed first")
axes.set(xlabel="voxel", ylim=(-1.2, 1.9))
axes.legend(ncols=3, loc="upper center")
plt.show()

# %%
np.testing.assert_allclose(wave[::4], np.cos(2 * np.pi * voxel[::4] / 20),
                           atol=1e-12)
print(f"largest value after smoothing: {smooth.max():.2f}")
print("a Gaussian's width at half its height: "
      f"{2 * np.sqrt(2 * np.log(2)):.3f} standard deviations")

# %% [markdown]
# The kept voxels form a slow wave, with a period of 20 voxels, that never existed. The new grid has a value every 4
# voxels. A wave needs at least two values per period, one up and one down, so the new grid holds no wave with a period
# below 8 voxels; ours has 5. This is *aliasing*: what is too fine for the new grid does not vanish but comes back as
# something coarse. The remedy is to smooth first, so that little of what is too fine is left.
#
# How much? Think of a voxel as a small blurred dot. A Gaussian one that is as wide as one voxel at half its height has
# a standard deviation of 1/2.355 voxels. The coarse voxel wants one of 4/2.355. Blurs add up as squares, so $\sigma =
# \sqrt{4^2 - 1} / 2.355$ is what is missing {cite}`cardoso2015`, and this is what we used. Of the wave, 0.12 is left.
#
# Now an image. This is a slab of eight slices of the same patient, with voxels of 0.75 mm, about as large as those of
# the paper's scans. We bring it to 3 mm in both ways. (Values below −1000 HU are noise in the air, and count as air.)

# %%
slab = organseg.make_phantom(50, (512, 512, 8), spacing=(0.75, 0.75, 0.75))
naive = slab.image[::4, ::4, ::4]
smoothed = ndimage.gaussian_filter(np.maximum(slab.image, -1000), sigma,
                                   mode="nearest")
print(slab.image.shape, "→", naive.shape)

# %% [markdown]
# Which value belongs to a coarse voxel? It covers four fine voxels along each axis, 0 to 3, then 4 to 7. Its centre
# lies at 1.5, half-way between the fine voxels 1 and 2; the next one half-way between 5 and 6. So we take the mean of
# these two, along one axis after the other. (A value between voxels, weighted by how near each of them is, is called
# *linear interpolation*; half-way, it is the mean.)

# %%
def at_centres_of_four(volume):
    for axis in range(3):
        first, second = (volume.take(np.arange(start, volume.shape[axis], 4),
                                     axis) for start in (1, 2))
        volume = (first + second) / 2
    return volume


coarse = at_centres_of_four(smoothed)
grid = organseg.WorkingGrid((3.0, 3.0, 3.0), factor=4)
working = organseg.to_working(slab, grid)
print(coarse.shape, working.image.shape, working.spacing)
np.testing.assert_allclose(working.image, coarse, atol=0.1)

# %% [markdown]
# `organseg.to_working` does the same, for any factor and orientation. It brings a scan to the *working grid*, on which
# the network works, and its affine says where that grid lies:

# %%
print(slab.affine[:3, 3], "→", working.affine[:3, 3])
np.testing.assert_allclose(working.affine[:3, 3],
                           place_of(slab.affine, (1.5, 1.5, 1.5)))

# %% [markdown]
# The centre of the first voxel moves by 1.5 fine voxels, since it is now the centre of a larger box. Whoever only
# multiplies the spacing by four, and leaves the last column as it was, shifts the whole patient by that much. (For
# `[::4]` that affine would be right: it keeps voxel 0, not the centre of four.)

# %% alt="A part of the slice with kidney and liver, three times: as scanned, with every fourth voxel kept, and smoothed first. The second is as noisy as the first and its borders are jagged; the third is smooth."
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.6), layout="constrained")
shown = {"as scanned, 0.75 mm": slab.image[..., 4], "[::4]": naive[..., 1],
         "smoothed first": coarse[..., 1]}
for axes, (title, picture) in zip(panels, shown.items()):
    axes.imshow(picture[::-1, ::-1].T, cmap="gray", vmin=-160, vmax=240,
                extent=(0, 384, 384, 0))
    axes.set(title=title, xlim=(50, 200), ylim=(250, 80), xticks=[], yticks=[])

# %% [markdown]
# Every fourth voxel keeps all the noise, and the borders become jagged. Smoothing uses all voxels, so
# the noise averages out. Inside the liver, away from its border, the standard deviation of the values tells how much:

# %%
inside = ndimage.binary_erosion(working.label == 3, np.ones((7, 7, 1)))
inside_fine = inside.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2)
for name, values in (("as scanned", slab.image[inside_fine]),
                     ("[::4]", naive[inside]), ("smoothed", coarse[inside])):
    print(f"{name:12}{values.std():4.0f} HU")

# %% [markdown]
# ### Labels have no values in between
#
# A label is a name that is written as a number. Between background (0) and liver (3) there is nothing, but arithmetic
# does not know that:

# %%
half_way = (0 + 3) / 2
print(half_way, "→", organseg.ORGANS[round(half_way) - 1].name)

# %% [markdown]
# Treat a label image as if it were a CT, and an organ can get a rim of others, whose numbers lie in between. We keep
# only the liver in the slab's labels, smooth, read at the same places as above, and round.

# %%
liver_only = np.where(slab.label == 3, 3, 0)
blurred = ndimage.gaussian_filter(liver_only.astype(float), sigma)
linear = np.rint(at_centres_of_four(blurred)).astype(int)
nearest = organseg.to_working(replace(slab, label=liver_only.astype(np.uint8)),
                              grid).label
print("ids in the truth:", np.unique(liver_only), "read linearly:",
      np.unique(linear), "nearest:", np.unique(nearest))

# %% alt="Two label images of the liver. Read linearly, the liver has a rim in the colours of artery and vein. With nearest neighbour there is only liver."
from matplotlib.colors import ListedColormap

colours = ["black", *(organ.colour for organ in organseg.ORGANS)]
figure, panels = plt.subplots(1, 2, figsize=(5, 3.2), layout="constrained")
ways = {"read linearly": linear, "nearest neighbour": nearest}
for axes, (title, label) in zip(panels, ways.items()):
    axes.imshow(label[::-1, ::-1, 1].T, cmap=ListedColormap(colours), vmin=0,
                vmax=7)
    axes.set(title=title, xlim=(15, 45), ylim=(70, 22), xticks=[], yticks=[])
patches = [plt.Rectangle((0, 0), 1, 1, color=organ.colour, label=organ.name)
           for organ in organseg.ORGANS[:3]]
figure.legend(handles=patches, loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Read linearly, the liver wears a rim of "vein" and "artery". So ids are never interpolated. We read labels with
# *nearest neighbour*: each coarse voxel takes the label of the fine voxel nearest to its centre, whole. No id can
# appear that was not there. (Another sound way is to interpolate the mask of each class apart, and to take the largest.
# nnU-Net {cite}`isensee2021` does so.)
#
# By four, the centre at 1.5 is just as near to voxel 1 as to voxel 2. Rounding all of these ties up would shift each
# organ by half a fine voxel. `organseg.to_working` rounds up and down in turns, like the colours of a chessboard. The
# border looks a little frayed, but the organ as a whole stays where it was.
#
# ## There and back again: what it costs
#
# The network answers on the working grid, but the answer is wanted on the scan's own. On the way back, names are not
# interpolated either. A network puts out a *probability* for each class at each voxel, and probabilities do have values
# in between. Half-way between a voxel that is surely liver and one that is surely background:

# %%
surely_liver, surely_background = np.eye(organseg.NUM_CLASSES)[[3, 0]]
print((surely_liver + surely_background) / 2)

# %% [markdown]
# Liver and background share the place, and "vein" gets nothing. `organseg.to_file_grid` interpolates the probability of
# each class and takes the largest.
#
# Now suppose a network were *perfect* on the working grid: there it says exactly what the labels say. How well would
# its answer agree with the truth on the scan's own grid? The *Dice coefficient* tells: it is 1 where two regions agree
# in every voxel and 0 where they share none ([chapter 5](05_dice.ipynb) has its formula). This is not a strict limit:
# a network that is unsure at a border, and splits the probability there as the organs split the voxel, can do better.
# It shows how much of the truth the labels on the working grid still hold. We take the whole patient with voxels of
# 1.5 mm, a compromise that keeps memory and time small, and go to 3 mm, about the voxel that the paper works on, and
# by 4 to 6 mm.

# %%
def there_and_back(case, grid):
    working = organseg.to_working(case, grid)
    perfect = np.eye(organseg.NUM_CLASSES, dtype="float32")[working.label]
    return organseg.to_file_grid(perfect, working.affine, case.image.shape,
                                 case.affine)


fine = organseg.make_phantom(50, (192, 192, 216), spacing=(1.5, 1.5, 1.5))
by_2 = there_and_back(fine, organseg.WorkingGrid((3.0, 3.0, 3.0)))
by_4 = there_and_back(fine, organseg.WorkingGrid((6.0, 6.0, 6.0)))

# %%
best = {}
print(f"{'Dice':12}  3 mm  6 mm")
for organ in organseg.ORGANS:
    truth = fine.label == organ.id
    best[organ.name] = [organseg.dice(truth, back == organ.id)
                        for back in (by_2, by_4)]
    print(
        f"{organ.name:12}{best[organ.name][0]:6.2f}{best[organ.name][1]:6.2f}")

# %% alt="For each organ two points, the Dice of the labels brought to 3 or 6 millimetres and back. Both are close to one for the liver; for the pancreas they are lowest, and far apart."
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for column, marker, name in ((0, "o", "3 mm"), (1, "s", "6 mm")):
    axes.plot(list(best), [values[column] for values in best.values()], marker,
              markersize=8, label=name)
axes.set(ylim=(0.7, 1.005), ylabel="Dice, there and back")
axes.grid(axis="y", alpha=0.3)
figure.legend(title="working voxel", loc="outside right upper")
plt.show()

# %%
for back in (by_2, by_4):
    moved = (centre_of_liver(back, fine.affine)
             - centre_of_liver(fine.label, fine.affine))
    assert np.abs(moved).max() < 0.2

# %% [markdown]
# The liver's centre has not moved, to within 0.2 mm (the centre of a thin organ can, where its thinnest parts get
# lost), but a network that only repeats the working grid's labels does not get a Dice of 1. For the liver it comes
# close; the pancreas gets 0.85 at 3 mm, and 0.74 at 6 mm. The reason is the share of voxels that lie at the border of
# the organ, where one name for a whole coarse voxel must be wrong in part:

# %%
at_3_mm = organseg.to_working(fine, organseg.WorkingGrid((3.0, 3.0, 3.0))).label
for organ in organseg.ORGANS:
    mask = at_3_mm == organ.id
    border = mask & ~ndimage.binary_erosion(mask)
    print(f"{organ.name:12}{border.sum() / mask.sum():4.0%} of the voxels at 3 "
          "mm are at the border")

# %% [markdown]
# Of the liver 14 % of the voxels are at the border, of the pancreas 70 %, and those organs lose most that have most
# border. So a Dice has to be read with its grid in mind, and with the organ's size and shape.
#
# In the paper {cite}`roth2018` too, liver, spleen and stomach have the highest Dice, and artery, vein, gallbladder and
# pancreas the lowest. The grid is one of the reasons, not the only one.
#
# ## Beside a real patient
#
# How far does the drawing go? Here is a real abdomen: a CT without contrast agent, with voxels of 3 mm, from the
# repository of TotalSegmentator {cite}`wasserthal2023`. Its organs were not drawn by an expert. They are what the
# network of that name found, a *reference prediction*: good enough to compare with, and not the truth. The first time,
# the 2 MB come from the net; without a connection the cell says so, and the phantom stands in for the patient.

# %% tags=["patient"]
patient = organseg.sample_patient() or case
print(f"\n{patient.image.shape}, {patient.spacing[0]:.0f} mm, {patient.axes}\n")
print(f"{'':12}{'phantom':>8}{'patient':>24}")
for organ in organseg.ORGANS:
    print(f"{organ.name:12}", end="")
    for scan in (case, patient):
        low, middle, high = np.percentile(scan.image[scan.label == organ.id],
                                          (5, 50, 95))
        print(f"{middle:5.0f} HU, {low:4.0f} to {high:4.0f}", end="   ")
    print()

# %% [markdown]
# Without contrast agent, blood hardly stands out: in this patient artery, vein, liver and spleen have nearly the same
# middle value, 34 to 46 HU, and the ranges of all four overlap. In the phantom artery and vein stand far above the other
# two. The darkest twentieth of the stomach lies below −606 HU, for there is air in it. The pancreas has −9 HU, less
# than water: it is thin, with fat between its lobes, and most of its voxels hold some of both. Now look at both, in one
# window:

# %% tags=["patient"] alt="Four slices in one window. The phantom: smooth organs of even grey, bright vessels, an empty table. The patient: grainy, hardly a difference of grey between the organs, stool and gas in the bowel, fine strands in the fat, pelvic bones."
figure, rows = plt.subplots(2, 2, figsize=(6.4, 6.6), layout="constrained")
for column, (name, scan) in enumerate({"phantom": case,
                                       "patient": patient}.items()):
    width, _, height = np.array(scan.image.shape) * scan.spacing
    for axes, view, across in zip(rows[:, column], ("axial", "coronal"),
                                  (width, height)):
        axes.imshow(slice_picture(scan, view, best_slice(scan.label, view),
                                  opacity=0), extent=(0, width, 0, across))
        axes.set(title=f"{name}, {view}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0.) What differs? The patient has more of everything: folds of bowel with
# stool and gas, vessels of all sizes, muscles with fat in them, and in other patients diseases, implants, breath and
# heartbeat that blur. The phantom's borders are sharp and its labels exact, while real borders are drawn differently
# even by experts. A phantom is good for learning how things work, and for tests whose answer is known. A network that
# has learnt from such drawings alone finds next to nothing in this patient. What must a drawing have, so that a network
# that learns from it finds organs in patients? [The page about real scans](../book/patients.md) is about that.
#
# If you have a CT as a NIfTI file that you may use, write its path below, for example `"/content/my_ct.nii.gz"`.
# (`organseg.load_case` reads NIfTI files of any orientation; other formats, such as DICOM, must be converted first.)

# %% alt="The middle slice of the phantom in radiological view."
my_ct = None  # the path of a CT, in quotes

shown = {"phantom": case}
if my_ct is not None:
    shown["my CT"] = to_canonical(organseg.load_case(my_ct))

figure, panels = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.8),
                              squeeze=False, layout="constrained")
for axes, (name, one) in zip(panels.flat, shown.items()):
    picture = window(radiological(one.image, one.image.shape[2] // 2),
                     centre=40, width=400)
    axes.imshow(picture, cmap="gray", aspect=one.spacing[1] / one.spacing[0])
    axes.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# ## Exercises
#
# ### Exercise 1.1 ★ Axis codes
#
# Which axis codes do these three arrays have, if the affine is changed along with each? Give a tuple of three strings.
#
# 1. A RAS scan after `image.transpose(2, 0, 1)`. (The old axis 2 becomes the new axis 0, and so on.)
# 2. A RAS scan after `image[:, ::-1, ::-1]`.
# 3. An LPS scan after `image[::-1].transpose(1, 0, 2)`.

# %% tags=["exercise"]
from organseg.course import check

codes = ...
check("1.1", codes)

# %% tags=["solution"]
codes = ("SRA", "RPI", "PRS")
check("1.1", codes)

# %% [markdown]
# ### Exercise 1.2 ★★ The value at a place
#
# Write a function that returns the HU of the voxel nearest to a place, given in millimetres. Outside the scan, which
# reaches half a voxel beyond its outermost places, there is air, −1000 HU.

# %% tags=["exercise"]
def hu_at(image, affine, place):
    return ...


check("1.2", hu_at)

# %% tags=["solution"]
def hu_at(image, affine, place):
    inverse = np.linalg.inv(affine)
    index = np.rint(inverse[:3, :3] @ place + inverse[:3, 3]).astype(int)
    if np.any(index < 0) or np.any(index >= image.shape):
        return -1000
    return image[tuple(index)]


check("1.2", hu_at)

# %% [markdown]
# ### Exercise 1.3 ★★★ The affine of a coarser scan
#
# A scan is made coarser by taking the mean of each block of `factor`×`factor`×`factor` voxels. Write a function that
# returns the affine of the result, for any factor and any orientation.

# %% tags=["exercise"]
def affine_of_means(affine, factor):
    return ...


check("1.3", affine_of_means)

# %% tags=["solution"]
def affine_of_means(affine, factor):
    coarse = affine.copy()
    coarse[:3, :3] *= factor
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return coarse


check("1.3", affine_of_means)

# %% [markdown]
# ## Summary
#
# - A CT is an array of Hounsfield units and an affine. The affine leads from indices to millimetres; its columns are the
#   steps along the array's axes, its last column is the place of the first voxel's centre.
# - In NIfTI, millimetres grow to the patient's right, front and head (RAS+). The array's own axes can run in any
#   direction; the axis codes name them. Turn an array only together with its affine.
# - A window picks the HU that are shown. HU alone do not tell organs apart.
# - Smooth an image before making it coarser; interpolate probabilities or masks, never ids.
# - A coarser grid has a price, and thin organs pay most of it.
#
# ## References
#
# The data and the down-sampling by four are those of Roth et al. {cite}`roth2018`. NIfTI: Cox et al. {cite}`cox2004`.
# CT and its units: Hounsfield {cite}`hounsfield1973`. How much to smooth: Cardoso et al. {cite}`cardoso2015`.
