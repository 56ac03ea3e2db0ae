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
# # 6. The 3D U-Net
#
# You will build the paper's network, account for each of its 19 million parameters, see how far it looks, and work out
# what fits into your GPU.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Go from the FCN of slices to the 3D U-Net, one change at a time, and say what each change adds.
# - Count the network's 19,071,784 parameters by hand, level by level.
# - Compute how far an output voxel sees, why that depends on its position, and check it.
# - Say where the work and the memory of a training step go, and how much of both is at the highest resolution.
# - Work out how many crops of which size fit into a given GPU.
#
# **You need**: receptive fields from [chapter 2](02_convolution.ipynb), batch normalisation from
# [chapter 3](03_cnn.ipynb), transposed convolutions and skip connections from [chapter 4](04_fcn.ipynb). No GPU.
#
# **In class:** 60 minutes, exercises 40 minutes (our estimate).
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
# ## One change at a time
#
# The FCN of chapter 4 looks at one slice. Three changes lead from it to the network that the paper draws in its Fig. 3
# {cite}`roth2018`: the kernels get a third axis, features climb back to full size instead of scores, and the skip
# connections join instead of adding.
#
# ### The kernels get a third axis
#
# A kernel of 3×3×3 covers three slices at once, and it moves along $z$ as well. Images gain an axis: they are
# `(batch, x, y, z, channel)`. Nothing else is new. Here is one voxel of a 3-D convolution by hand: take the 27 voxels
# under the kernel, multiply, and add up over all channels.

# %%
import numpy as np
import organseg
from organseg.backend import keras

layers, as_numpy = keras.layers, keras.ops.convert_to_numpy
rng = np.random.default_rng(6)
volume = rng.normal(size=(1, 6, 6, 6, 2)).astype("float32")
convolution_3d = layers.Conv3D(4, 3, use_bias=False)
found = as_numpy(convolution_3d(volume))
kernel = convolution_3d.get_weights()[0]
one_voxel = np.sum(volume[0, 0:3, 1:4, 2:5, :, np.newaxis] * kernel,
                   axis=(0, 1, 2, 3))
np.testing.assert_allclose(found[0, 0, 1, 2], one_voxel, atol=1e-5)
print("image", volume.shape, "kernel", kernel.shape, "result", found.shape)
print("voxels under the kernel:", kernel[..., 0, 0].size, "in one slice:",
      kernel[:, :, 0, 0, 0].size)

# %% [markdown]
# There is another way to see it: as three 2-D convolutions, each with a kernel of its own for the slice before, the
# slice itself and the slice after, added up.

# %%
def convolve(images, kernel):
    return as_numpy(keras.ops.conv(images, kernel))


one_slice = sum(convolve(volume[:, :, :, 2 + d], kernel[:, :, d])
                for d in range(3))
np.testing.assert_allclose(found[:, :, :, 2], one_slice, atol=1e-5)

# %% [markdown]
# So a 3-D network can do what a 2-D one cannot: compare a slice with its neighbours. Here is a slice near the top of
# the liver, and what the kernel −½, 0, ½ along $z$ makes of it, the change from slice to slice.

# %% alt="Three pictures. An axial slice near the top of the liver: the liver is a large bright oval on the left, the aorta a small bright spot in front of the vertebra. The change along z: a blue ring for the liver, next to nothing for the aorta. A view from the front with a line at the slice: the liver ends just above it, the aorta goes on."
import matplotlib.pyplot as plt

case, z = organseg.make_phantom(3, (96, 96, 64)), 57
scan = organseg.normalise(case.image)
along_z = np.reshape([-0.5, 0, 0.5], (1, 1, 3, 1, 1)).astype("float32")
change = convolve(scan[np.newaxis, ..., np.newaxis], along_z)[0, :, :, z - 1, 0]
of_aorta, of_liver = case.label[:, :, z] == 1, case.label[:, :, z] == 3
print(f"mean change per slice: liver {change[of_liver].mean():.2f}, "
      f"aorta {change[of_aorta].mean():.2f}")
y = int(np.argwhere(of_aorta)[:, 1].mean())
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
panels[0].imshow(scan[::-1, ::-1, z].T, cmap="gray", vmin=0, vmax=1)
panels[1].imshow(change[::-1, ::-1].T, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
panels[2].imshow(scan[::-1, y, ::-1].T, cmap="gray", vmin=0, vmax=1,
                 aspect=case.spacing[2] / case.spacing[0])
panels[2].axhline(63 - z, color="white", linewidth=1)
for panel, title in zip(panels, ("one slice", "change along z",
                                 "from the front"), strict=True):
    panel.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# In the slice alone, the liver (the large oval on the left) and the aorta (the small spot just in front of the vertebra,
# right of the middle) are both bright and round. At the liver's rim the kernel tells them apart: the liver ends above, so
# its brightness falls there, by 0.12 per slice on average over the whole cross-section, and the aorta goes on. In the
# middle of the liver a longer kernel would be needed. The price is 27 weights in place of 9 for every pair of channels.
# For the FCN of chapter 4 with all its filters:

# %%
def parameters(part):
    """Trainable parameters of a network or a layer."""
    return sum(int(np.prod(weight.shape)) for weight in part.trainable_weights)


in_2d, in_3d = (parameters(organseg.fcn(spatial_dims=dims)) for dims in (2, 3))
print(f"FCN in 2-D: {in_2d:,} parameters, in 3-D: {in_3d:,}")

# %% [markdown]
# Nearly three times as many. The other price is higher: a volume of 64 slices has 64 times as many voxels as a slice.
# We shall come to that.
#
# ### Features climb, not scores
#
# In the FCN, the deepest features are turned into eight scores at once, and only scores climb. All the convolutions
# that find features are on the way down. In the U-Net the *features* climb, with all their channels, and on each level
# two convolutions work on them: the *synthesis path* is as long as the analysis path. The paper calls the two symmetric
# {cite}`roth2018`.
#
# Each step up is a transposed convolution with kernel 2 and stride 2. Its stamps lie side by side (chapter 4), so
# every voxel becomes a block of 2×2×2, and each voxel of this block has a matrix of its own, from old channels to new.

# %%
features = rng.normal(size=(1, 3, 3, 3, 4)).astype("float32")
up = layers.Conv3DTranspose(4, 2, strides=2)
doubled = as_numpy(up(features))
stamp, bias = up.get_weights()  # (2, 2, 2, new channel, old channel)
block = stamp @ features[0, 1, 2, 0] + bias
print(features.shape, "to", doubled.shape)
np.testing.assert_allclose(doubled[0, 2:4, 4:6, 0:2], block, atol=1e-5)

# %% [markdown]
# ### Skips join, they do not add
#
# The FCN adds the scores of the analysis path to those that come up. The U-Net puts the two sets of features side by
# side, as channels of one array: it *concatenates* them. What does the next convolution make of that? Its kernel has
# one part for each channel, so it can be cut in two.

# %%
from_below, across = rng.normal(size=(2, 1, 6, 6, 6, 4)).astype("float32")
kernel = rng.normal(size=(3, 3, 3, 8, 5)).astype("float32")
joined = convolve(np.concatenate([from_below, across], axis=-1), kernel)
apart = (convolve(from_below, kernel[..., :4, :])
         + convolve(across, kernel[..., 4:, :]))
np.testing.assert_allclose(joined, apart, atol=1e-3)

# %% [markdown]
# A convolution of joined features is the sum of two convolutions, with two kernels that are learned separately. If
# the two happen to be the same, the features might as well have been added first:

# %%
same = rng.normal(size=(3, 3, 3, 4, 5)).astype("float32")
tied = convolve(np.concatenate([from_below, across], axis=-1),
                np.concatenate([same, same], axis=-2))
np.testing.assert_allclose(tied, convolve(from_below + across, same), atol=1e-3)

# %% [markdown]
# So joining can do all that adding can, and more: it can treat *what* (from below) and *where* (from across) each in
# its own way, and they need not have the same number of channels. The price is a larger kernel, and more memory for
# the joined features. Both are counted below.
#
# ### The whole network
#
# The rest stays as it was. Each 3×3×3 convolution pads with zeros, has batch normalisation instead of a bias, and a
# ReLU; between the levels of the analysis path is a max pooling; a 1×1×1 convolution makes the scores, and a softmax
# per voxel ends it. The paper has four levels in each path. That is all, and it fits into two short functions.

# %%
def convolution(x, filters):
    x = layers.Conv3D(filters, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def unet_by_hand(base_filters, levels=4, classes=8):
    image = keras.Input((None, None, None, 1))
    x, skipped = image, []
    for level in range(levels):
        x = layers.MaxPooling3D(2)(x) if level else x
        x = convolution(x, base_filters * 2**level)
        x = convolution(x, 2 * base_filters * 2**level)
        skipped.append(x)

    for features in reversed(skipped[:-1]):
        x = layers.Conv3DTranspose(x.shape[-1], 2, strides=2)(x)
        x = layers.Concatenate()([x, features])
        x = convolution(x, features.shape[-1])
        x = convolution(x, features.shape[-1])
    return keras.Model(image, layers.Softmax()(layers.Conv3D(classes, 1)(x)))


# %% [markdown]
# `organseg.unet` builds the same. To compare the two we take two filters instead of 32 at the start, which
# computes in a moment, and give both the same weights. (A little is added to each of them, so that batch
# normalisation has something to do as well.)

# %%
library = organseg.unet(base_filters=2)
library.set_weights([weight + 0.2 * rng.random(weight.shape)
                     for weight in library.get_weights()])
by_hand = unet_by_hand(base_filters=2)
by_hand.set_weights(library.get_weights())
crop = rng.random((1, 16, 24, 8, 1)).astype("float32")
print(crop.shape, "to", library(crop).shape)
np.testing.assert_allclose(as_numpy(by_hand(crop)), as_numpy(library(crop)),
                           atol=1e-5)

# %% [markdown]
# From here on we use the library's. This is the network of the paper in full size, with the sizes of a crop of 64×64×64
# voxels.

# %% alt="The 3D U-Net as a letter U. On the left the analysis path goes down four levels, from 64 to 8 voxels per edge and from 32 to 512 channels; on the right the synthesis path comes up again with transposed convolutions; three skip connections run across into concatenations. Below: 19,071,784 trainable parameters."
network = organseg.unet()
organseg.draw_network(network, input_size=64)

# %% [markdown]
# Read it from the image, down, and up again. Where the picture says *concatenate*, the channels are those from below
# and those from across: 512 + 256, 256 + 128, 128 + 64.
#
# What does such a network answer, once it is trained? One that comes with the library, `drawn`, is the same with a
# quarter of the filters. It has learnt from drawings alone ([how](../book/patients.md)); here it sees a patient for the
# first time, in a CT without contrast agent. On the left are the organs that another network, TotalSegmentator
# {cite}`wasserthal2023`, found: a *reference prediction*, not an expert's truth. (Where no patient can be had, the cell
# says so and takes a phantom.)

# %% tags=["patient"] alt="Three slices through a real patient, from the feet, the front and the side, with the reference on the left and the prediction of the 3D U-Net on the right. Liver, spleen, artery and gallbladder agree; the predicted pancreas is larger, and a piece of bowel is called stomach."
patient = (organseg.sample_patient()
           or organseg.make_phantom(3002, (96, 96, 112)))
found = organseg.predict(organseg.load_run("drawn"), patient)
organseg.overlay_figure(patient, found, truth="reference")

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0.) One number per voxel, and seven organs in it. The large ones lie where
# the reference has them; of the pancreas there is too much, and a piece of bowel is called stomach. How to put a number on
# such a picture is the subject of [chapter 10](10_evaluation.ipynb).
#
# ## Nineteen million, by hand
#
# The paper says that there are about 19 million parameters; the numbers of filters are not in its text {cite}`roth2018`.
# Ours begin with 32 and double from there. Do they come to its 19 million? Let us count. Three rules are enough, for a layer with $c$ channels coming in and $f$ filters:
#
# - a 3×3×3 convolution without bias has $27\,c f$ weights, and its batch normalisation $2f$ numbers, scale and shift;
# - a transposed convolution of 2×2×2 that keeps the number of channels has $8\,c^2$ weights and $c$ biases;
# - the last convolution of 1×1×1 has $c f$ weights and $f$ biases.

# %%
def of_convolution(channels, filters):
    return 27 * channels * filters + 2 * filters


def of_step_up(channels):
    return 8 * channels**2 + channels


# %% [markdown]
# The filters: on level $l$ of the analysis path $32 \cdot 2^{l-1}$ and then twice as many. On the way up, the first
# convolution of each level sees the channels from below and those from across.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("6a")

# %%
counts, channels = {}, 1
for level in (1, 2, 3, 4):
    wide = 64 * 2 ** (level - 1)
    first = of_convolution(channels, wide // 2)
    counts[f"analysis, level {level}"] = (
        first + of_convolution(wide // 2, wide))
    channels = wide
for level in (3, 2, 1):
    wide = 64 * 2 ** (level - 1)
    two = of_convolution(channels + wide, wide) + of_convolution(wide, wide)
    counts[f"synthesis, level {level}"] = of_step_up(channels) + two
    channels = wide
counts["scores"] = channels * 8 + 8
for name, count in counts.items():
    print(f"{name:18} {count:10,} {count / sum(counts.values()):6.1%}")
print(f"{'all':18} {sum(counts.values()):10,}")

# %% [markdown]
# Keras should agree, and not in the sum only. A new level begins with each pooling and each transposed convolution.

# %%
by_keras = [0]
for layer in network.layers:
    scores = layer is network.layers[-2]
    if scores or isinstance(layer,
                            layers.MaxPooling3D | layers.Conv3DTranspose):
        by_keras.append(0)
    by_keras[-1] += parameters(layer)
assert by_keras == list(counts.values())
assert sum(by_keras) == parameters(network) == 19071784
print(f"not trained: {network.count_params() - parameters(network):,}")

# %% [markdown]
# Every level agrees. The 4,672 numbers that are not trained are the means and variances that batch normalisation
# keeps, two for each of 2,336 filters. They are saved with the network, and counted by `count_params()`, so Keras
# reports 19,076,456.

# %%
filters = sum(layer.filters for layer in network.layers
              if isinstance(layer, layers.Conv3D) and not layer.use_bias)
print(f"filters with batch normalisation: {filters:,}, all numbers: "
      f"{network.count_params():,}")
assert 2 * filters == network.count_params() - parameters(network)

# %% [markdown]
# Look at the shares again. The third and fourth level hold more than four fifths of the parameters, and one level of
# the synthesis path, the third, holds almost half: there the first convolution sees 512 + 256 joined channels. The
# level of full resolution, in both paths together, has about 3 %. Keep this in mind: for work and memory it will be the
# other way round.
#
# ## How far does it see?
#
# Chapter 2 computed the receptive field of a layer on the way down. What of a voxel of the answer, at the end of the
# way up? Follow the dependence back from it. Let `low` and `high` be the first and the
# last voxel that matter, along one axis.
#
# - Through a convolution of three, both move out by one.
# - Through a transposed convolution of kernel 2 and stride 2: the voxel $i$ of a block comes from the voxel
#   $\lfloor i/2 \rfloor$ below, so both are halved and rounded down.
# - Through a pooling: the voxel $i$ was made from $2i$ and $2i + 1$.
#
# The longest way decides: down to the deepest level and up again. The deepest level is shared by the two paths and
# counts once. The skips are shorter.

# %% tags=["quiz", "remove-input"]
quiz("6b")


# %%
def field(position, levels=4):
    low = high = position
    # the synthesis path, backwards: from full size to the deepest level
    for _ in range(levels - 1):
        low, high = low - 2, high + 2
        low, high = low // 2, high // 2
    low, high = low - 2, high + 2
    # the analysis path, backwards: from the deepest level to the image
    for _ in range(levels - 1):
        low, high = 2 * low, 2 * high + 1
        low, high = low - 2, high + 2
    return low, high


for position in range(56, 65):
    low, high = field(position)
    print(f"voxel {position} sees {low:2} to {high:3}: "
          f"{position - low} before, {high - position} after it")
for end, name in enumerate(("first", "last")):
    jumps = [position for position in range(56, 72)
             if field(position)[end] > field(position - 1)[end]]
    print(f"from 56 to 71, the {name} voxel seen jumps at {jumps}")

# %% [markdown]
# The answer depends on the position. A voxel sees between 44 and 51 voxels to one side. At multiples of 8 (56, 64) it
# is 46 before and 45 after, and after eight voxels all repeats.
#
# Why? On the deepest level one number stands for eight voxels of the image. So the first and the last voxel seen cannot
# move along with the answer: they stand still for eight positions and then jump by eight. The convolutions of the way
# up decide where they jump: the last voxel at 58, 66, …, the first at 62, 70, … Just after its jump the last voxel is
# farthest away (58 sees 51 after it), just before it is nearest (57 sees 44). So there is no *one* receptive field of a
# U-Net, and the rule of chapter 2 with its jumps, which made a voxel the centre of its field, does not carry over to
# the way up.
#
# ### See it
#
# As in chapter 2 we ask a network. Two ideas make it cheap. The dependence is the same whatever the number of filters,
# so one filter at the start will do. And along one axis is enough, since all three are alike: the image may be long and
# thin.
#
# All weights are positive. Then a black image (all zeros) gives only zeros up to the scores, and *one* bright voxel
# makes a score positive exactly where there is a way from the voxel to the score. Nothing is hidden by rounding, since
# positive numbers cannot cancel. (We stay on the CPU even where there is a GPU: it may compute convolutions by a detour
# over Fourier transforms, which leaves tiny numbers where a zero should be.)

# %%
with keras.device("cpu:0"):
    probe = organseg.unet(base_filters=1)
    for layer in probe.layers:
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            layer.set_weights([np.full(kernel.shape, 1 / kernel[..., 0].size),
                               *bias])
    # without the softmax
    scores = keras.Model(probe.input, probe.layers[-2].output)
    black = as_numpy(scores(np.zeros((1, 128, 8, 8, 1))))
print(f"network of {parameters(probe):,} parameters; "
      f"scores of the black image: {black.min()} to {black.max()}")

# %% [markdown]
# Now 128 images of 128×8×8 voxels: in each, another voxel of the middle line is bright. From the answers we keep the
# same line.

# %%
images = np.zeros((128, 128, 8, 8, 1), "float32")
images[np.arange(128), np.arange(128), 4, 4] = 1
with keras.device("cpu:0"):
    answers = [as_numpy(scores(images[k : k + 16])) for k in range(0, 128, 16)]
influence = np.concatenate(answers)[:, :, 4, 4, 0]  # (bright voxel, score)

for position in range(52, 76):  # far enough from both ends
    seen = np.flatnonzero(influence[:, position] > 0)
    assert (seen[0], seen[-1]) == field(position)
    assert len(seen) == seen[-1] - seen[0] + 1
print("voxel 56 sees", *np.flatnonzero(influence[:, 56] > 0)[[0, -1]])

# %% [markdown]
# For all of the 24 positions the network sees from the first voxel that we computed to the last, without a gap. In the
# picture each column belongs to a voxel of the answer, and shows the voxels of the image that reach it.

# %% alt="A grey band across the picture, bright in the middle and darker towards both edges; outside it is black. Its lower and upper edge are staircases with steps every eight columns, and the computed orange lines lie exactly on them."
columns = np.arange(52, 76)
visible = np.where(influence > 0, influence, np.nan)[:, columns]
figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
axes.set_facecolor("black")
extent = (51.5, 75.5, -0.5, 127.5)
shown = axes.imshow(np.log10(visible), origin="lower", cmap="gray", vmin=-20,
                    extent=extent, aspect="auto")
for end, beyond in ((0, -0.5), (1, 0.5)):
    line = np.array([field(column)[end] for column in columns]) + beyond
    axes.step(columns, line, where="mid", color="darkorange", lw=2,
              label=None if end else "first and last voxel, computed")
axes.plot(columns, columns, color="tab:blue", lw=1,
          label="the voxel's own place")
axes.set(xlabel="voxel of the answer", ylabel="voxel of the image",
         title="What each voxel of the answer sees")
figure.legend(loc="outside lower center", ncols=2)
figure.colorbar(shown, label="log₁₀ of the influence")
plt.show()

# %% [markdown]
# The edges stand still for eight columns, then jump by eight, each at its own place. The grey is on a logarithmic
# scale: from the middle to the rim the influence falls by many powers of ten. How many voxels around the middle make up
# 99 % of it, along this line?

# %%
position = 56
from_middle = np.abs(np.arange(128) - position)
inside = [influence[from_middle <= r, position].sum()
          / influence[:, position].sum() for r in range(52)]
radius = int(np.argmax(np.array(inside) >= 0.99))
print(f"99 % of the influence on voxel {position} comes from {radius} voxels "
      "to each side")

# %% [markdown]
# Only 4 of them: that is what the shortest way sees, two convolutions on level 1, the skip across, and two more. Along
# the long way through the deepest level, the influence is shared out among so many voxels that little is left for each.
# But there are very many of them, and this is one line. With trained weights the shares are others; but there too the
# middle was found to count far more than the rim {cite}`luo2016`. The outer limit is exact, whatever the weights: what
# lies beyond it does not matter at all. (While it trains, batch normalisation links all voxels of the batch by their
# mean and variance. In use it does not.) Chapter 9 builds on this, when it cuts a scan into tiles.
#
# ### Play: levels and skips
#
# What makes the field large, and what do the skips do for it? We measure the same line for networks of one to four
# levels, once as they are, and once with the weights of the features from across set to zero, so that the skips are cut.

# %%
def influence_on_56(levels, skips):
    small = organseg.unet(base_filters=1, levels=levels)
    for before, layer in zip(small.layers, small.layers[1:]):
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            kernel = np.full(kernel.shape, 1 / kernel[..., 0].size)
            if skips == "cut" and isinstance(before, layers.Concatenate):
                # two thirds of the channels are from below, the rest is across
                kernel[..., 2 * kernel.shape[3] // 3 :, :] = 0
            layer.set_weights([kernel, *bias])
    to_scores = keras.Model(small.input, small.layers[-2].output)
    return np.concatenate([as_numpy(to_scores(images[k : k + 16]))[:, 56, 4, 4]
                           for k in range(0, 112, 16)])[:, 0]


with keras.device("cpu:0"):
    measured = {(levels, skips): influence_on_56(levels, skips)
                for levels in (1, 2, 3, 4) for skips in ("joined", "cut")}
for (levels, _), line in measured.items():
    first, last = np.flatnonzero(line > 0)[[0, -1]]
    assert (first, last) == field(56, levels)

# %% [markdown]
# A guess first: does a network without its skips see less far? On the left is the field in a body, with voxels of 3 mm;
# what the voxel at the blue dot cannot see is dark. On the right is how its influence is shared out along a line through
# it. Begin with one level, add the others, then cut the skips.

# %%
slice_30 = scan[::-1, ::-1, 30].T
mm = (np.arange(96) - 47.5) * case.spacing[0]
down = mm + 40  # zero in the middle of the body


def draw_field(levels, skips):
    first, last = np.array(field(56, levels)) - 56
    low, high = 3 * (first - 0.5), 3 * (last + 0.5)
    inside = [(low < places) & (places < high) for places in (down, mm)]
    figure, (body, axes) = plt.subplots(1, 2, figsize=(6.4, 2.9),
                                        layout="constrained")
    body.imshow(np.where(np.outer(*inside), slice_30, slice_30 / 3),
                cmap="gray", vmin=0, vmax=1, interpolation="nearest",
                extent=(mm[0], mm[-1], down[-1], down[0]))
    body.plot(0, 0, "o", color="tab:blue", markersize=5)
    body.set(xlim=(-145, 145), ylim=(145, -145), xlabel="mm", yticks=[],
             title=f"levels {levels}: {last - first + 1} voxels, "
             f"{high - low:.0f} mm")
    line = measured[levels, skips] / measured[levels, skips].sum()
    axes.axvspan(first, last, color="darkorange", alpha=0.2)
    axes.plot(np.arange(112) - 56, line, color="darkorange")
    axes.set(xlim=(-56, 56), ylim=(0, 0.4), xlabel="voxels from its own place",
             ylabel="share of the influence", title=f"skips {skips}: "
             f"{line[52:61].sum():.0%} within 4 voxels")
    return figure


# %%
organseg.explore(
    draw_field, "Left, a slice of a body, dark but for the field that the "
    "voxel in the middle sees. Right, the share of each voxel in its answer.",
    levels=[1, 2, 3, 4], skips=["joined", "cut"])

# %% [markdown]
# No: each level widens the field to more than twice its size, and the skips have no part in that, because the longest way
# goes through the deepest level. What is lost with them is the *place*. With skips, nearly all of the influence (of these
# equal weights) comes from the voxels nearby: a peak. Without them, 4 levels make a wide and flat hill: the answer may know
# what is there, and hardly in which voxel it ends.
#
# What does it mean in the body? The paper down-samples its images by 4 along each axis {cite}`roth2018`, to voxels of
# about 3 mm.

# %%
for position in (56, 58):
    low, high = field(position)
    print(f"voxel {position}: a field of {high - low + 1} voxels, "
          f"{3 * (high - low + 1)} mm")
low, high = field(32)
print(f"in a crop of voxels 0 to 63, voxel 32 looks for {low} to {high}")

# %% [markdown]
# The field, 276 or 300 mm wide, reaches across most of an abdomen. It is also larger than a crop of 64 voxels. Even the
# voxel in the middle of a crop looks beyond both of its ends, and finds the zeros of the padding there. So during
# training *every* voxel sees padding. Around the image it looks like air, which `organseg.normalise` makes 0. Around the
# features of deeper layers it is just zeros, with which the network has to learn to live.
#
# ## Where the time goes
#
# Count the multiplications and additions, together called *floating-point operations* (FLOPs). For each voxel that a
# convolution puts out, each weight of the kernel is multiplied once and added once: two operations per weight and
# voxel. A transposed convolution does the same for each voxel that comes *in*. Here are
# three layers for a crop of 64×64×64.

# %%
second = 2 * (27 * 32 * 64) * 64**3  # the second convolution: 32 channels to 64
# the last transposed convolution, from 32×32×32 voxels
step_up = 2 * (8 * 128 * 128) * 32**3
# the convolution after the last concatenation: 128 + 64 channels
joined = 2 * (27 * 192 * 64) * 64**3
print([f"{flops / 1e9:.1f} GFLOP" for flops in (second, step_up, joined)])

# %% [markdown]
# `organseg.layer_costs` goes through all layers of a Keras model and notes for each the shape of its output, its
# parameters, its FLOPs, and the bytes of its output. It must give the same for the three.

# %%
costs = organseg.layer_costs(network, 64)
with_work = [cost for cost in costs if cost.flops]
assert (with_work[1].flops, with_work[-4].flops,
        with_work[-3].flops) == (second, step_up, joined)
print(f"{'layer':17} {'output':18} {'GFLOP':>6}")
for cost in with_work:
    print(f"{cost.kind:17} {str(cost.shape):18} {cost.flops / 1e9:6.1f}")
forward = sum(cost.flops for cost in costs)
print(f"all: {forward / 1e9:.1f} GFLOP; "
      f"the convolution after the last concatenation: {joined / forward:.0%}")

# %% [markdown]
# A single layer does more than a third of the work: the first convolution after the last concatenation, which sees
# 128 + 64 channels at full resolution. (What is not counted, batch normalisation, ReLU and pooling, takes a few
# operations per number instead of hundreds or thousands. Still these layers cost time, because each number must be
# fetched and put back.)
#
# ### A training step
#
# Training goes through the network twice: forward, and back with the gradients. For a convolution, write the voxels
# under the kernel as the rows of a matrix $X$ and the weights as a matrix $W$; the result is $Y = XW$. On the way back
# comes $G$, the gradient of the loss for $Y$, and two products are needed:
#
# $$\frac{\partial \mathcal{L}}{\partial W} = X^\mathsf{T} G, \qquad \frac{\partial \mathcal{L}}{\partial X} = G\,W^\mathsf{T}.$$
#
# The first is for the weights, the second goes on to the layer before. Each takes as many multiplications as $XW$, so a
# step costs three times the forward pass, for each crop of the batch. (The first layer has no layer before it and needs
# no second product, a saving that does not show.)

# %%
step = 3 * 3 * forward  # three crops, forward and twice as much back
print(f"one step of three crops: {step / 1e12:.2f} TFLOP")
assert organseg.training_flops(network, 64, batch_size=3) == step
seconds = 7 * 24 * 3600 / 50_000
print(f"the paper: {seconds:.1f} s per step, "
      f"{step / seconds / 1e12:.2f} TFLOP per second")
print(f"of 12 TFLOP per second: {step / seconds / 12e12:.0%}")

# %% [markdown]
# The paper trained 50,000 steps in about a week on an NVIDIA Quadro P6000 {cite}`roth2018`. That leaves 12.1 s for
# each, with all that belongs to it. If all of it were computing, it would be 0.36 TFLOP per second, 3 % of the 12 that
# the card's maker gives for it {cite}`nvidia2016`. No program reaches such a figure, but the gap says that the
# arithmetic alone does not explain the week. Loading and deforming images, or numbers on their way to and from the
# memory, must have had a large part in it.
#
# ## Where the memory goes
#
# Look at the formulas again: the way back needs $X$, the layer's input. So what a layer puts out must stay in memory
# until the way back has passed by. In a prediction it can be forgotten as soon as the next layers have read it;
# that is why training needs so much more memory.
#
# We count the output of every layer once, four bytes a number, for each crop. On top of that come 16 bytes for each
# parameter: the weight itself, its gradient, and the two averages that the optimiser Adam keeps.

# %%
outputs = sum(4 * np.prod(cost.shape) for cost in costs)
weights = 16 * parameters(network)
print(f"outputs of one crop {outputs / 1e9:.2f} GB, "
      f"parameters {weights / 1e9:.2f} GB")
print(f"three crops: {(3 * outputs + weights) / 1e9:.2f} GB")
by_library = organseg.training_bytes(network, 64, batch_size=3)
assert by_library == 3 * outputs + weights

# %% [markdown]
# The 19 million parameters are the smaller part, by far. This is an estimate. A program may do with less, if it throws
# away some outputs or computes them again, and it needs more while it works: for gradients on their way, and for copies
# in another order.
#
# Now the shares of the levels. We call the level of full resolution level 1, as in the count of the parameters.

# %% tags=["quiz", "remove-input"]
quiz("6c")

# %%
shares = {}
print("level          1       2       3       4")
for what in ("parameters", "flops", "bytes"):
    by_level = [sum(getattr(cost, what) for cost in costs
                    if cost.shape[0] == edge) for edge in (64, 32, 16, 8)]
    shares[what] = np.array(by_level) / sum(by_level)
    print(f"{what:10}", "  ".join(f"{share:6.1%}" for share in shares[what]))

# %% alt="Three horizontal bars divided into the four levels. Parameters: level 1 is a sliver, levels 3 and 4 take most of the bar. FLOPs: level 1 takes more than half. Bytes of the outputs: level 1 takes three quarters."
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
colours = ["#0072b2", "#56b4e9", "#e69f00", "#d55e00"]
names = ["parameters", "FLOPs", "bytes of outputs"]
left = np.zeros(3)
for level in range(4):
    width = np.array([share[level] for share in shares.values()])
    axes.barh(names, width, left=left, color=colours[level],
              label=f"level {level + 1}")
    left += width
axes.set(xlabel="share of the whole network", xlim=(0, 1))
axes.set_title("Parameters lie deep, work and memory lie at full resolution")
axes.invert_yaxis()
figure.legend(loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# Level 1 has 3.3 % of the parameters, 55 % of the work and 76 % of the memory. Each level down has an eighth of the
# voxels and twice the channels. So its outputs need about a quarter of the memory, while its kernels, with twice the
# channels on both sides, have four times the weights. (Level 4 has less than that: it has no synthesis part of its
# own.)
#
# Whoever wants to save memory must save at full resolution. Fewer parameters in the deep levels would hardly help.
#
# ## What fits into your GPU?
#
# Outputs grow with the number of voxels, parameters stay. That gives a calculator. We leave a tenth of the memory to
# the framework and to what the estimate does not see, which is our choice.

# %%
per_voxel = outputs / 64**3


def crops_by_hand(memory, edge):
    room = 0.9 * memory - weights
    return max(int(room // (per_voxel * edge**3)), 0)


print(f"{per_voxel:.0f} bytes per voxel")
for edge in (32, 64, 96, 128):
    assert crops_by_hand(24e9, edge) == organseg.crops_that_fit(
        network, edge, memory=24e9)

# %% [markdown]
# Over 5 kB for every voxel of a crop! The library's version counts from the model. So it can tell what *half precision*
# saves, in which outputs are stored in two bytes instead of four (all but the image and the softmax; the parameters
# stay as they are). Here are three GPUs: a T4, as Google Colab lends it, the paper's Quadro P6000, and one of today's
# large ones. Besides crops we try two whole scans: the paper's shortest and longest, of 460 and 1177 slices
# {cite}`roth2018`. The number of slices is divided by 4 and filled up to a multiple of 8.

# %%
half = organseg.unet(dtype="mixed_float16")
short, long = ((128, 128, -(-slices // 32) * 8) for slices in (460, 1177))
sizes = {"64³": 64, "96³": 96, "128³": 128, "short": short, "long": long}
table = [f"{'crops that fit':19}" + "".join(f"{name:>7}" for name in sizes)]
for name, memory in {"T4, 16 GB": 16e9, "P6000, 24 GB": 24e9,
                     "80 GB": 80e9}.items():
    for words, model in (("", network), (", half", half)):
        fit = [organseg.crops_that_fit(model, size, memory)
               for size in sizes.values()]
        table.append(f"{name + words:19}"
                     + "".join(f"{count:7}" for count in fit))
print("short", short, "long", long)
print("\n".join(table))

# %% [markdown]
# Three crops of 64³ fit everywhere, with room to spare. The longest scan fits only with half precision, or into a large
# GPU.
#
# Now your own. Set the slider to the memory of your GPU (`!nvidia-smi` shows it). A guess first: how much larger may the
# crops be with twice the memory?

# %%
edges = np.arange(32, 216, 8)
one_crop = {
    name: np.array([organseg.training_bytes(model, int(edge), batch_size=1)
                    for edge in edges]) - weights
    for name, model in (("float32", network), ("half", half))
}


def draw_what_fits(memory_gb, precision):
    fit = (0.9 * memory_gb * 1e9 - weights) // one_crop[precision]
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.semilogy(edges[fit > 0], fit[fit > 0], "o-", color="tab:blue")
    axes.axhline(3, color="0.5", ls="--", label="a batch of three")
    axes.axvline(64, color="0.5", ls=":", label="the paper's 64³")
    axes.legend()
    three = (f"three crops up to {edges[fit >= 3].max()}³" if fit.max() >= 3
             else "not even three of 32³")
    axes.set(title=f"{memory_gb} GB, {precision}: {three}",
             xlabel="edge of a crop (voxels)", ylabel="crops that fit")
    axes.set(xlim=(28, 212), ylim=(0.8, 1000), yticks=(1, 10, 100, 1000),
             yticklabels=("1", "10", "100", "1000"))
    return figure


# %% slide="Twice the edge takes about eight times the memory, so far fewer crops fit into 24 GB."
organseg.explore(
    draw_what_fits, "Crops that fit against the edge of a crop: a curve that "
    "falls steeply.", start={"memory_gb": 24},
    memory_gb=[4, 8, 12, 16, 24, 40, 80], precision=["float32", "half"])

# %% [markdown]
# A crop of twice the edge needs eight times the memory. So from 12 to 24 GB the largest batch of three only goes from 80³
# to 104³, and half precision gains about as much as twice the memory.

# %% [markdown]
# ### Why three crops of 64³?
#
# The paper gives the reason in half a sentence: a size "small enough to allow the extraction of three subvolumes for
# mini-batch training on a single GPU" {cite}`roth2018`. Let us hold the table against it.
#
# - A batch of three whole scans does not fit. In float32, two of the shortest would go into 24 GB, three would not, and
#   the longest not even alone. So crops it must be, and their edges must be multiples of 8.
# - Three crops show the network three patients in each step. Batch normalisation takes its mean and variance over
#   them, and with a single patient it would normalise that patient by himself.
# - Within the room for three there is a choice, and every voxel costs time. The step of three crops of 96³ takes over
#   three times the work.

# %%
largest = max(edge for edge in range(32, 200, 8)
              if organseg.crops_that_fit(network, edge, 24e9) >= 3)
print(f"three crops in 24 GB: up to {largest}³ by our estimate")
for edge in (96, largest):
    print(f"{edge}³ has {(edge / 64) ** 3:.1f} times the voxels of 64³")

# %% [markdown]
# By our count the memory alone would have allowed crops of up to 104³, at more than four times the work. The paper does
# not say what else decided; software of that time may have needed more memory than we count.
#
# The paper expects that larger memories will allow whole volumes at higher resolution {cite}`roth2018`. The last rows
# of the table show the first half of this: 80 GB have room for whole scans, but at a quarter of the resolution along
# each axis. And at half the resolution?

# %%
finer = tuple(2 * size for size in long)
needed = organseg.training_bytes(network, finer, batch_size=1)
print(f"{finer}: {np.prod(finer) / np.prod(long):.0f} times the voxels, "
      f"{needed / 1e9:.0f} GB")

# %% [markdown]
# At half the resolution a scan has eight times as many voxels: the longest would need about 207 GB, more than twice
# what the largest GPU of the table has.
#
# ## Exercises
#
# ### Exercise 6.1 ★ One level of the synthesis path
#
# `below` channels come up from the level below, `across` channels come over the skip connection. A transposed
# convolution keeps the number of channels; after the concatenation, two 3×3×3 convolutions have `across` filters each,
# with batch normalisation and without bias. How many trainable parameters has this level?

# %% tags=["exercise"]
from organseg.course import check


def level_parameters(below, across):
    return ...


check("6.1", level_parameters)

# %% tags=["solution"]
def level_parameters(below, across):
    step_up = 8 * below * below + below
    first = 27 * (below + across) * across + 2 * across
    second = 27 * across * across + 2 * across
    return step_up + first + second


check("6.1", level_parameters)

# %% [markdown]
# ### Exercise 6.2 ★★ How long may a scan be?
#
# You want to train on whole scans, one per step. The slices have 128×128 voxels. A voxel costs `per_voxel` bytes, the
# parameters cost `weights` bytes, and `memory` bytes can be used. How many slices may the scan have? The network wants
# a multiple of 8: return the largest that fits, and 0 where not even the parameters fit.

# %% tags=["exercise"]
def longest_scan(memory, weights, per_voxel):
    return ...


check("6.2", longest_scan)

# %% tags=["solution"]
def longest_scan(memory, weights, per_voxel):
    slices = (memory - weights) // (per_voxel * 128 * 128)
    return max(int(slices // 8 * 8), 0)


check("6.2", longest_scan)

# %% [markdown]
# ### Exercise 6.3 ★★ Another network's reach
#
# A network has `levels` levels, and `convolutions` convolutions of three on each level of each path (the paper's: 4 and
# 2). The deepest level is shared by the two paths and counts once. Return how many voxels the voxel at `position` sees
# before it and after it, as if the scan went on beyond its ends.

# %% tags=["exercise"]
def reach(position, levels, convolutions):
    return ...  # before, after


check("6.3", reach)

# %% tags=["solution"]
def reach(position, levels, convolutions):
    low = high = position
    for _ in range(levels - 1):
        low, high = (low - convolutions) // 2, (high + convolutions) // 2
    low, high = low - convolutions, high + convolutions
    for _ in range(levels - 1):
        low, high = 2 * low - convolutions, 2 * high + 1 + convolutions
    return position - low, high - position


check("6.3", reach)

# %% [markdown]
# ## Summary
#
# - From FCN to 3D U-Net: kernels with a third axis, features that climb through convolutions of their own, skips that
#   join. A convolution of joined features is a sum of two, so joining can do all that adding can.
# - The network has 19,071,784 trainable parameters. Most of them lie deep.
# - A voxel sees 44 to 51 voxels to one side, depending on its position; 46 at multiples of 8. That is more than a
#   crop of 64 holds.
# - A forward pass on 64³ takes 489 GFLOP, a training step of three crops nine times that, 4.40 TFLOP.
# - Most of the work and three quarters of the memory are at full resolution. Memory grows with voxels, about 1.4 GB for
#   a crop of 64³ in training, and that decides what fits.
#
# ## References
#
# The paper {cite}`roth2018`, Section II.A and Fig. 3; the U-Net in two dimensions {cite}`ronneberger2015` and in three
# {cite}`cicek2016`; what fields are in practice {cite}`luo2016`.
