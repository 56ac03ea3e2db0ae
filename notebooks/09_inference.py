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
# # 9. Inference
#
# You will let a trained network answer for a whole scan, tile by tile and without seams, and bring its answer back to
# the voxels of the file.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Give a fully convolutional network a volume of another size than its training crops.
# - Measure where the seams between tiles come from, and compute the margin that removes them.
# - Say why tiles start at multiples of 8, and what blending can and cannot do.
# - Weigh memory against work when you choose the depth of a tile.
# - Bring probabilities back to a file's own grid, and say what half precision changes on the way.
#
# **You need**: the affine and the working grid from [chapter 1](01_ct_and_geometry.ipynb), the receptive field from
# [chapter 2](02_convolution.ipynb), fully convolutional networks from [chapter 4](04_fcn.ipynb), and the U-Net
# with its reach from [chapter 6](06_unet.ipynb).
#
# **In class:** 60 minutes, exercises 40 minutes (our estimate).
#
# **Measured:** about one minute on two CPU cores (not measured on a GPU), 2.5 GB of memory, 2 MB to download, once (a patient).

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
# ## The network takes the whole scan
#
# In training, the network sees small crops. Now it is trained, and a patient comes whose whole scan is to be
# segmented. The paper {cite}`roth2018` *reshapes* the network for this: to an input that covers the whole xy plane of
# the scan, and along z as much as the memory allows.
#
# Reshaping sounds like work. For a fully convolutional network it is none, because no weight knows the size of the
# image. We take a network that comes with the library, `phantoms`, which works on voxels of 4 mm, and a patient it has not
# seen. The field of view is narrow and the scan is long, from the chest to the thighs: small enough for a laptop, and
# long enough for several tiles.

# %%
import numpy as np
import organseg

run = organseg.load_run("phantoms")
network = run.network
case = organseg.make_phantom(3002, shape=(64, 64, 160), spacing=(4, 4, 4))
print("the network's input:", network.input_shape)
crop = (run.settings["profile"]["crop_size"],) * 3
print("crops in its training:", crop, "this scan:", case.image.shape)
print(f"the scan has {case.image.size / np.prod(crop):.1f} times the voxels of "
      "a crop")
assert case.name not in run.settings["trained_on"]

# %% [markdown]
# The three sizes of the input are `None`, so they are open; each has to be a multiple of 8, because there are three
# poolings by two. `predict_on_batch` computes in inference mode: batch normalisation uses the averages that were kept
# from the training, and so the answer for one part of the scan cannot depend on what else is in the batch.

# %%
def probabilities_of(image):
    batch = image[np.newaxis, ..., np.newaxis]  # one image, one channel
    return np.asarray(network.predict_on_batch(batch))[0]


image = organseg.normalise(case.image)
whole = probabilities_of(image)
label = whole.argmax(axis=-1).astype("uint8")
print(image.shape, "to", whole.shape)

# %% [markdown]
# Each voxel got eight probabilities, all in one pass. How good is the answer? (What a network says may differ in its
# last digits on your machine, here and below; what the `assert` lines say holds on all.)

# %% tags=["nbval-ignore-output"]
def mean_dice(truth, prediction):
    return np.mean([organseg.dice(truth == organ.id, prediction == organ.id)
                    for organ in organseg.ORGANS])


whole_dice = mean_dice(case.label, label)
print(f"mean Dice {whole_dice:.3f}")
assert whole_dice > 0.88

# %% alt="Two coronal slices of a long, narrow scan, from the chest to the thighs, with the organs in colour: on the left the truth, on the right the prediction, which looks nearly the same. A white square on the right, about a third of the scan's length, is the size of a training crop."
import matplotlib.pyplot as plt
from dataclasses import replace

figure, panels = plt.subplots(1, 2, figsize=(5, 5.4), layout="constrained")
shown = {"truth": case.label, f"prediction\nmean Dice {whole_dice:.3f}": label}
for panel, (name, organs) in zip(panels, shown.items(), strict=True):
    coronal = organseg.slice_picture(replace(case, label=organs), "coronal", 48)
    panel.imshow(coronal, extent=(0, 64, 0, 160))
    panel.set(title=name, xticks=[], ylabel="z (slices)")
panels[1].add_patch(plt.Rectangle((8, 76), 48, 48, fill=False, color="white",
                                  label="training crop"))
panels[1].legend(loc="lower center")
plt.show()

# %% [markdown]
# The mean Dice is above 0.88, on a volume nearly six times as large as a training crop (the white square).
#
# ## Why not always at once?
#
# Because of the memory. We count what the network of the paper's size has to hold. At each place, a layer writes one
# number per channel. A pooling leaves an eighth of the places and leads one level down; a transposed convolution
# leads one level up again. So per voxel of the input, each layer writes:

# %%
from organseg.backend import keras

unet = organseg.unet()
level, numbers = 0, {}
for layer in unet.layers:
    level += isinstance(layer, keras.layers.MaxPooling3D)
    level -= isinstance(layer, keras.layers.Conv3DTranspose)
    numbers[layer] = layer.output.shape[-1] / 8**level
widest = max(numbers, key=numbers.get)
parts = [tensor.shape[-1] for tensor in widest.input]
print(f"widest: {type(widest).__name__}, "
      f"joins {parts} to {widest.output.shape[-1]} channels")

# %% [markdown]
# The last concatenation is the widest place. While it works, its two inputs and its output are in memory together. A
# float32 number has 4 bytes. In the paper {cite}`roth2018` a scan has 460 to 1177 slices of 512×512 voxels, and is
# down-sampled by 4.

# %%
from organseg.inference import bytes_per_voxel
at_least = 4 * (sum(parts) + widest.output.shape[-1])
print(f"bytes per voxel: {at_least} at least, "
      f"{bytes_per_voxel(unet)} by the library")
for slices in (460, 1177):
    voxels = 128 * 128 * (slices // 4)
    print(f"{slices} slices: {voxels * at_least / 1e9:.1f} GB at least, "
          f"{voxels * bytes_per_voxel(unet) / 1e9:.1f} GB")

# %% [markdown]
# A framework needs more than the least, for copies in the layout that its convolution likes. `bytes_per_voxel` has a
# factor for this that was measured. Either way the memory grows with the length of the scan, and a long scan is too
# much for many machines. So the scan is cut into *tiles*: pieces that cover the whole xy plane and follow each other
# along z.
#
# ## Tiles by hand
#
# First the simplest way: cut, predict, put together. It works as if each tile were a scan of its own.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("9a")


# %% tags=["nbval-ignore-output"]
def in_tiles(image, depth):
    starts = range(0, image.shape[2], depth)
    return np.concatenate([probabilities_of(image[:, :, z : z + depth])
                           for z in starts], axis=2)


tiled_label = in_tiles(image, 32).argmax(axis=-1).astype("uint8")
tiled_dice = mean_dice(case.label, tiled_label)
changed = tiled_label != label
print(f"{changed.sum()} voxels get another label; "
      f"mean Dice {tiled_dice:.3f} instead of {whole_dice:.3f}")
assert changed.sum() > 1000
assert tiled_dice < whole_dice - 0.02

# %% [markdown]
# More than 1000 voxels get another label than from the whole scan, and the mean Dice falls by more than 0.02. Where
# are these voxels?

# %% alt="Left: the prediction of the whole scan, a coronal slice with liver, stomach and other organs. Middle: the prediction in tiles of 32 slices; above the uppermost dotted line the heart is coloured as liver. Right: the changed voxels, counted along y; they lie in a large spot above the uppermost line, and in smaller ones that begin at other lines. The titles give both scores and the number of changed voxels."
figure, panels = plt.subplots(1, 3, figsize=(8, 5.6), layout="constrained")
both = {"whole scan": (label, whole_dice),
        "tiles of 32 slices": (tiled_label, tiled_dice)}
for panel, (name, (organs, score)) in zip(panels, both.items()):
    coronal = organseg.slice_picture(replace(case, label=organs), "coronal", 48)
    panel.imshow(coronal, extent=(0, 64, 0, 160))
    panel.set_title(f"{name}\nmean Dice {score:.3f}")
counts = changed.sum(axis=1).T
shown = panels[2].imshow(counts, origin="lower", cmap="magma", vmax=8,
                         extent=(64, 0, 0, 160))
panels[2].set_title(f"{changed.sum()} voxels\nchanged")
figure.colorbar(shown, label="changed voxels along y", extend="max", shrink=0.7)
for panel in panels:
    panel.set(xticks=[], ylabel="z (slices)")
    for z in range(32, 160, 32):
        panel.axhline(z, color="white", linestyle=":", linewidth=1)
plt.show()

# %% [markdown]
# All large spots begin at a border between two tiles (dotted). Let us look at one of them close up, at the border
# at slice 96, in the coronal slice where most has changed.

# %% alt="The same part of a coronal slice twice, 24 slices high, with a short mark at slice 96 on both sides. In the whole scan the outlines of gallbladder, pancreas and stomach go on smoothly across slice 96. In tiles the top of the gallbladder is cut off straight at that slice; below it the lower end of the stomach and a part of the pancreas are missing."
y = changed[:, :, 84:108].sum(axis=(0, 2)).argmax()
figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for panel, (name, organs) in zip(
    panels, {"whole scan": label, "tiles of 32 slices": tiled_label}.items(),
    strict=True):
    coronal = organseg.slice_picture(replace(case, label=organs), "coronal", y)
    panel.imshow(coronal, extent=(0, 64, 0, 160))
    panel.plot([9, 10.5], [96, 96], [54.5, 56], [96, 96], color="white",
               linewidth=3)
    panel.set(title=name, xlim=(9, 56), ylim=(84, 108), xticks=[],
              yticks=[84, 96, 108], ylabel="z (slices)")
plt.show()

# %% [markdown]
# In the whole scan the outlines go on across slice 96 (marked at the edges). In the tiles they break off there: this is
# a *seam*.
#
# The largest spot is in the uppermost tile. There, a part of the heart is called liver. In the whole scan the network
# sees what lies below the heart; in this tile there is nothing below it.

# %% tags=["nbval-ignore-output"]
topmost = slice(128, 160)
heart_as_liver = np.sum(changed[:, :, topmost]
                        & (tiled_label[:, :, topmost] == 3))
print("liver in the uppermost tile only: "
      f"{heart_as_liver} of the {changed.sum()} voxels")
assert 0.4 < heart_as_liver / changed.sum() < 0.6

# %% [markdown]
# This false liver (label 3) is about half of all that changed: the `assert` allows for a share between 0.4 and 0.6. And
# there is worse: with another tile depth, say on a machine with less memory, the borders lie elsewhere. One scan would
# have as many answers as there are machines.
#
# ## Where the seams come from
#
# Each convolution pads its input with zeros at the end of the tile, although the scan goes on there. For the first
# layer zero is air. For the deeper ones it is not even that: air has features of its own, and they are not zero. The
# outermost slices of a tile are computed from such zeros, and each layer carries the error a step further in. If this
# is the cause, the error depends on the distance to the end of the tile. We cut the scan at four heights, throw away
# what lies above, and compare with the whole.

# %% tags=["nbval-ignore-output"]
errors = []
for cut in range(88, 120, 8):
    difference = np.abs(probabilities_of(image[:, :, :cut]) - whole[:, :, :cut])
    # from the cut downwards
    errors.append(difference.max(axis=(0, 1, 3))[::-1][:72])
error = np.max(errors, axis=0)
print("largest error, by slices from the cut:",
      {distance: f"{error[distance]:.0e}" for distance in (0, 16, 32, 46)})
assert error[:10].max() > 0.9 and error[16] > 0.01 and error[32] > 1e-4
assert error[46:].max() < 1e-4

# %% alt="The largest error of a probability against the distance to the cut, on a logarithmic axis. It is almost 1 over the ten slices next to the cut, then falls by orders of magnitude to about one in ten million two slices before the dashed line at 46, and lies at rounding, or at the lower end of the axis, beyond."
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for one in errors:
    axes.semilogy(np.maximum(one, 1e-8), color="0.8", linewidth=1)
axes.semilogy(np.maximum(error, 1e-8), color="#0072b2", marker=".",
              label="largest of the four cuts (grey)")
axes.axvline(46, color="black", linestyle="--", label="46 slices")
axes.set(xlabel="slices between the voxel and the cut",
         ylabel="largest error of a probability")
axes.set_title("An error that comes in from the tile's end")
axes.legend()
plt.show()

# %% [markdown]
# In the ten slices next to the cut a probability may be entirely wrong, by almost 1. Then the error falls, by orders of
# magnitude, but after 16 and after 32 slices it is still there. From 46 slices on it is below $10^{-4}$: nothing is
# left but rounding, where numbers are added in another order because the tile has another size. (On some machines not
# even that is left; the picture draws zero at $10^{-8}$.)
#
# ## How far a network sees
#
# Is 46 a property of this scan, or of the network? Which slices *can* an output depend on? [Chapter 6](06_unet.ipynb)
# answered this for one line of voxels: 44 to 51 to a side. Here we need it for slices, and for a whole tile at once. We
# ask the network as there: light up one slice of a black image and look where the scores are not zero, in a small
# network with positive weights, so that no two influences cancel and no ReLU stops one. We do it for each of 128 slices
# in one batch.

# %%
small = organseg.unet(base_filters=2)
small.set_weights([np.abs(weights) for weights in small.get_weights()])
before_softmax = keras.Model(small.input, small.layers[-2].output)
one_slice = np.eye(128, dtype="float32").reshape(128, 1, 1, 128, 1)
# image number i has only slice i lit
lit = np.broadcast_to(one_slice, (128, 8, 8, 128, 1))
answer = before_softmax.predict(lit, batch_size=16, verbose=0)
depends = (answer > 0).any(axis=(1, 2, 4))  # [input slice, output slice]

# %% alt="A square picture of 128 by 128: for each output slice upwards, the input slices that it depends on form a broad dark band along the diagonal. Its two edges are not straight but climb in stairs of eight slices."
figure, axes = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
axes.imshow(depends.T, origin="lower", cmap="Blues", vmax=1.5)
axes.plot([0, 127], [0, 127], color="black", linewidth=1)
axes.axhline(64, color="#d55e00", ls="--", lw=1, label="output slice 64")
axes.set(xlabel="input slice", ylabel="output slice",
         title="Which slices an answer depends on")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# The blue band is what an output slice depends on. Its edges are the stairs of chapter 6. Along the dashed line, and
# for the seven slices above it:

# %%
for z in range(64, 72):
    needed = np.flatnonzero(depends[:, z])
    first, last = needed[[0, -1]]
    print(f"slice {z} (8·{z // 8} + {z % 8}) needs {first} to {last}: "
          f"reach {z - first} down, {last - z} up")

# %% [markdown]
# It is 44 to 51 slices to a side, as in chapter 6, and the same along x and y. There we followed the dependence back
# with numbers of our own. Now we take the layers from the network itself, with the same three rules: a convolution of 3
# needs one more at both ends, a transposed convolution halves, rounding down, and a pooling doubles.

# %%
def needed_for(z, network):
    first = last = z
    for layer in reversed(network.layers):
        if isinstance(layer, keras.layers.Conv3DTranspose):
            first, last = first // 2, last // 2
        elif isinstance(layer, keras.layers.MaxPooling3D):
            first, last = 2 * first, 2 * last + 1
        elif isinstance(layer, keras.layers.Conv3D):
            side = layer.kernel_size[2] // 2
            first, last = first - side, last + side
    return first, last


slices = np.arange(128)
by_hand = [(first <= slices) & (slices <= last)
           for first, last in (needed_for(z, unet) for z in slices)]
np.testing.assert_array_equal(np.transpose(by_hand), depends)

# %% [markdown]
# The two agree in all 128 × 128 entries, though one is the small network and the other that of the paper: only the
# kernels and the levels count. Now the question of the margin. A tile starts at slice 64, say. Which slices do *all*
# of its voxels need?

# %% tags=["quiz", "remove-input"]
quiz("9b")

# %%
lowest = min(needed_for(z, unet)[0] for z in range(64, 96))
highest = max(needed_for(z, unet)[1] for z in range(64, 96))
print(f"slices 64 to 95 need slices {lowest} to {highest}: "
      f"{64 - lowest} below, {highest - 95} above")

# %% [markdown]
# The margin is 46 slices at both ends. The measured error was down to rounding by then, even two slices earlier: what
# is connected need not be noticeable. (Some voxels inside the tile reach 51 slices, but they are further from its end.)
# Since the sizes that the network takes are multiples of 8, we round up to 48.
#
# ## Tiles with a margin
#
# A tile now *sees* 48 slices more than it *keeps*, at both ends, as far as the scan goes. At the two ends of the scan
# itself there is no margin: the zeros there are the same for the whole scan.

# %% tags=["nbval-ignore-output"]
def with_margin(image, depth, margin):
    kept = []
    for start in range(0, image.shape[2], depth):
        first = max(start - margin, 0)
        tile = probabilities_of(image[:, :, first : start + depth + margin])
        kept.append(tile[:, :, start - first : start - first + depth])
    return np.concatenate(kept, axis=2)


exact = with_margin(image, depth=32, margin=48)
other_labels = np.sum(exact.argmax(axis=-1) != label)
print(f"largest difference {np.abs(exact - whole).max():.0e}, other labels: "
      f"{other_labels}")
assert np.abs(exact - whole).max() < 1e-4
assert other_labels < 5

# %% [markdown]
# No seams are left. The difference to the whole scan is below $10^{-4}$, and it is rounding alone. (The second
# `assert` allows for a voxel or two that are undecided between two organs up to the last digit. GPUs that shorten
# float32 numbers before they multiply them round more coarsely.) In the library, `tiles` says what each tile sees and
# keeps, once `reach` has worked out from the network's layers how far it sees: the 46 slices of above. And
# `predict_probabilities` does the rest; it also pads sizes that are no multiple of 8 with air, and cuts the answer back.
# To see that the tile depth does not matter any more, we give it another one.

# %%
from organseg.inference import tiles
from organseg.networks import reach, size_multiple

print(f"reach: {reach(network)} slices; "
      f"tiles start at multiples of {size_multiple(network)}")
for seen, kept in tiles(160, tile_depth=32, margin=reach(network)):
    print(f"sees {seen.start:3} to {seen.stop:3}, "
          f"keeps {kept.start:3} to {kept.stop:3}")
by_library = organseg.predict_probabilities(network, image, tile_depth=80)
np.testing.assert_allclose(by_library, exact, atol=1e-4)

# %% [markdown]
# ### Play: a seam fades
#
# Here is the scan in tiles of two depths, with margins from none to 48. A guess before you move the slider: from which margin
# on can the organs no longer be told from those of the whole scan? And do deeper tiles need a smaller margin?

# %%
margins = (0, 8, 16, 32, 48)
tiled = {(depth, margin): with_margin(image, depth, margin)
         for depth in (32, 80) for margin in margins}
seams = {key: np.abs(p - whole).max(axis=-1) for key, p in tiled.items()}
y = seams[32, 0].sum(axis=(0, 2)).argmax()  # the coronal slice to be shown

# %%
assert seams[32, 32].max() > 1e-4
assert max(seams[32, 48].max(), seams[80, 48].max()) < 1e-4


# %%
def draw_seams(depth, margin):
    organs = tiled[depth, margin].argmax(axis=-1).astype("uint8")
    error = seams[depth, margin]
    computed = sum(seen.stop - seen.start
                   for seen, _ in tiles(160, depth, margin))
    figure, (left, right) = plt.subplots(1, 2, figsize=(5, 4.4),
                                         layout="constrained")
    coronal = organseg.slice_picture(replace(case, label=organs), "coronal", y)
    left.imshow(coronal, extent=(0, 64, 0, 160), interpolation="nearest")
    shown = np.log10(np.maximum(error[::-1, y, ::-1].T, 1e-6))
    drawn = right.imshow(shown, cmap="magma", vmin=-6, vmax=0,
                         extent=(0, 64, 0, 160), interpolation="nearest")
    figure.colorbar(drawn, label="error of a probability, log₁₀", shrink=0.7)
    for panel in (left, right):
        panel.set(xticks=[], yticks=range(0, 161, depth))
    left.set(ylabel="z (slices)", title=f"margin {margin}: work\n"
             f"{computed / 160:.1f} times the scan")
    right.set_title(f"largest error\n{error.max():.1g}")
    return figure


# %% tags=["nbval-ignore-output"]
organseg.explore(
    draw_seams, "A coronal slice in tiles: left the organs found, right how "
    "far the probabilities are off, most at the borders between tiles.",
    depth=[32, 80], margin=margins)

# %% [markdown]
# Without a margin the seams glow, and the error reaches far into the tiles. Each step of the margin pushes it back; the false
# liver in the heart goes early, but the error can still be measured when nothing is to be seen in the organs. Deeper
# tiles have fewer seams, and the same margin costs them less. Here their one seam crosses fewer organs, so its errors are smaller;
# yet they end where the others end: with 48, nothing is left but rounding.
#
# Could the margin be smaller? Look at the curve of the errors again: after 32 slices what is left changes no label
# you would ever notice. The part of the receptive field that matters is smaller than the receptive field
# {cite}`luo2016`. But how much smaller depends on the weights and on the scan, and has to be measured. The 46 depend
# on neither.
#
# ### Why tiles start at multiples of 8
#
# A margin is not all. Here are five tiles that are equally deep, and start at slice 0, 1, 2, 4 and 8. We look only at
# slices with at least 51 others between them and each end of the tile, so that no zeros can reach them.

# %%
middle = slice(60, 92)
moved, shifted = {}, {}
for start in (0, 1, 2, 4, 8):
    moved[start] = probabilities_of(image[:, :, start : start + 144])
    inner = moved[start][:, :, middle.start - start : middle.stop - start]
    shifted[start] = np.abs(inner - whole[:, :, middle]).max()
assert max(shifted[0], shifted[8]) < 1e-4
assert min(shifted[1], shifted[2], shifted[4]) > 0.05

# %% alt="A bar for each of the starts 0, 1, 2, 4 and 8 of a tile, the largest error in its middle on a logarithmic axis, with the number above it. For the starts 1, 2 and 4 the bar ends above 0.05. For 0 and 8 there is no bar, since there is no error, or a short one of the size of rounding."
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for start, largest in shifted.items():
    bar = axes.bar(start, max(largest, 1e-8),
                   color="#009e73" if start % 8 == 0 else "#d55e00")
    axes.bar_label(bar, [f"{largest:.1g}"])
axes.set(yscale="log", ylim=(1e-8, 10), xticks=list(shifted),
         xlabel="slice at which the tile starts")
axes.set(ylabel="largest error of a probability",
         title="Far from the ends, and still different")
plt.show()

# %% [markdown]
# Zero has no place on a logarithmic axis: where the error is not above $10^{-8}$, the axis's lower end, no bar appears.
# So it is for the starts 0 and 8, apart from rounding on some machines.
#
# A tile that starts at slice 1 differs in its middle, too. The first pooling of the whole scan joins the slices 0 and
# 1, 2 and 3, and so on. In a tile that starts at slice 1 it joins 1 and 2, 3 and 4. After three poolings, groups of
# eight have been formed, and they fall on the same slices only if the tile starts at a multiple of 8. So a network with
# pooling is not quite the same everywhere {cite}`azulay2019`: it gives the same answer only for shifts by multiples of
# 8 voxels.
#
# The shifted answer is not *worse*. Against the truth, it scores about the same:

# %% tags=["nbval-ignore-output"]
truth, same_slices = case.label[:, :, 1:145], label[:, :, 1:145]
difference = (mean_dice(truth, moved[1].argmax(axis=-1))
              - mean_dice(truth, same_slices))
print("mean Dice of the shifted answer, less that of the same slices: "
      f"{difference:+.4f}")
assert abs(difference) < 0.01

# %% [markdown]
# The two scores are within 0.01 of each other. But the answers are two, and where tiles of both kinds meet there
# would be a seam. `tiles` keeps the starts at multiples of 8, and rounds a margin up so that what a tile sees starts
# there too.
#
# ## What blending can do
#
# The paper {cite}`roth2018` uses *overlapping* tiles. It does not say how they are put together. A common way is to
# take the mean where they overlap, often with weights that fade towards the ends of a tile, since the error is there;
# nnU-Net, a program that many use, takes a Gaussian {cite}`isensee2021`. We predict four tiles of 64 slices that start
# 32 slices apart, so that all but the first and the last 32 slices are seen twice, and put the same four answers
# together in three ways.

# %%
starts = range(0, 128, 32)
answers = [probabilities_of(image[:, :, z : z + 64]) for z in starts]


def joined(weights):
    total, sum_of_weights = np.zeros_like(whole), np.zeros((160, 1))
    for z, answer in zip(starts, answers, strict=True):
        total[:, :, z : z + 64] += weights[:, np.newaxis] * answer
        sum_of_weights[z : z + 64] += weights[:, np.newaxis]
    return total / sum_of_weights


# %% [markdown]
# To *cut* is to keep only the inner 32 slices of a tile, a margin of 16. We write it with weights as well: the outer
# slices weigh next to nothing, and count only at the ends of the scan, where no other tile is.

# %% tags=["quiz", "remove-input"]
quiz("9c")

# %% tags=["nbval-ignore-output"]
place = np.arange(64)
weights = {
    "cut": np.where(np.abs(place - 31.5) < 16, 1, 1e-9),
    "mean": np.ones(64),
    "Gaussian": np.exp(-0.5 * ((place - 31.5) / 8) ** 2),
}
blended = {name: joined(w) for name, w in weights.items()}
off = {name: p - whole for name, p in blended.items()}
differs = {name: np.sum(p.argmax(axis=-1) != label)
           for name, p in blended.items()}
step = {name: np.abs(np.diff(d, axis=2))[:, :, [47, 79, 111]].max()
        for name, d in off.items()}
for name in weights:
    largest = np.abs(off[name]).max()
    print(f"{name:9}{differs[name]:4} labels differ, "
          f"largest error {largest:.2f}, largest step {step[name]:.2f}")
assert differs["mean"] > 3 * differs["cut"]
assert differs["mean"] > 3 * differs["Gaussian"]
assert step["cut"] > 2 * step["Gaussian"]
assert all(np.abs(d).max() > 0.1 for d in off.values())

# %% [markdown]
# `step` is how far the error jumps where the cut goes from one tile to the next: between the slices 47 and 48, 79 and
# 80, 111 and 112. We draw the largest error of each slice (at least $10^{-8}$, since zero has no place on a logarithmic
# axis), and the error along z through the voxel where the cut jumps most. The legend says how many labels each way
# changes.

# %% alt="Left: largest error of a probability in each slice, on a logarithmic axis. Mean lies highest, cut and Gaussian are below it and close together, and margin 48 is a flat line at the lower end of the axis. Right: the error along z through one voxel. Margin 48 stays at zero. Cut is at zero up to slice 111 and jumps to its largest error at 112. The Gaussian takes several smaller steps around that place, and the mean is off over about ten slices."
jump = np.abs(np.diff(off["cut"], axis=2))[:, :, 111]
x, y, organ = np.unravel_index(jump.argmax(), jump.shape)
curves = {"mean": "0.6", "cut": "#d55e00", "Gaussian": "#0072b2",
          "margin 48": "#009e73"}
blended["margin 48"] = exact
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9),
                                     layout="constrained")
for name, colour in curves.items():
    by_slice = np.abs(blended[name] - whole).max(axis=(0, 1, 3))
    left.semilogy(np.maximum(by_slice, 1e-8), color=colour)
    right.plot((blended[name] - whole)[x, y, :, organ], color=colour,
               marker=".")
    labels = np.sum(blended[name].argmax(axis=-1) != label)
    left.plot([], color=colour, marker=".", label=f"{name}: {labels} changed")
left.set(xlabel="z (slices)", ylabel="largest error of a probability",
         title="In each slice")
right.axvline(111.5, color="black", linestyle=":", linewidth=1)
right.set(xlabel="z (slices)", ylabel="error of a probability",
          title="Along one line", xlim=(98, 120))
figure.legend(loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# The plain mean is the worst of the three: it gives the erroneous ends of each tile as much say as the good middle of
# its neighbour. It changes more than three times as many labels as the cut does. The Gaussian listens to the middle
# and gets rid of most of that. And it does what a cut cannot: it goes over smoothly from one tile to the next
# (right). There the cut jumps more than twice as far.
#
# But none of the three stays below an error of 0.1, and none can be exact. In the overlap both answers are off, each
# by its own zeros, and the mean of two wrong numbers is not the right one. Blending hides the seam; a margin of the
# network's reach takes away its cause. (Blending has uses of its own, for example to average out what a network says
# at several positions.)
#
# ## What a tile costs
#
# Margins are computed and thrown away. What did exactness cost in slices computed?

# %%
def work(depth, tile_depth, margin=48):
    return sum(seen.stop - seen.start
               for seen, _ in tiles(depth, tile_depth, margin)) / depth


print(f"the four overlapping tiles: {4 * 64 / 160:.1f} times the scan")
print(f"margin 48, tiles of 32: {work(160, 32):.1f} times, of 80: "
      f"{work(160, 80):.1f} times")

# %% [markdown]
# Tiles of 32 slices with the full margin are twice the work of the overlapping ones. Tiles of 80 are no more work
# than these, and exact; they need more memory. So the choice is one of memory against work. Here it is for the
# network of the paper's size, slices of 128×128 voxels and the longest scan, 296 slices with its padding.

# %% alt="Left: memory against the depth of the tile; lines that rise until a tile sees the whole scan, with a dip near the middle where two tiles suffice, for float32 and, below it, for half precision, and a dotted line for a budget of 7.2 GB. Right: the work in multiples of the scan falls steeply from 12 for the smallest tiles towards 1."
depths = np.arange(8, 300, 8)
seen_slices = np.array([
    max(seen.stop - seen.start for seen, _ in tiles(296, int(d), 48))
    for d in depths])
half = organseg.unet(dtype="mixed_bfloat16")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3),
                                     layout="constrained")
for name, model in {"float32": unet, "bfloat16": half}.items():
    left.plot(depths, bytes_per_voxel(model) * 128 * 128 * seen_slices / 1e9,
              label=name)
left.axhline(7.2, color="black", linestyle=":", label="7.2 GB")
left.set(xlabel="tile depth (slices kept)", ylabel="memory (GB)", ylim=(0, 14),
         title="Memory")
left.legend()
right.plot(depths, [work(296, int(depth)) for depth in depths], color="#d55e00")
right.set(xlabel="tile depth (slices kept)",
          ylabel="slices computed / slices of the scan", ylim=(0, 13))
right.set_title("Work")
plt.show()

# %% [markdown]
# With shallow tiles the memory is that of the two margins, and nearly all of the work is thrown away. The memory dips
# where two tiles suffice, or nearly: one begins and the other ends with the scan, so neither has two full margins.
#
# So take the deepest tile that fits. `affordable_depth` does: within a budget in bytes, by default 7.2 GB and no more
# than half of the memory that is free. It assumes two full margins for every tile, to be safe.

# %%
from organseg.inference import affordable_depth

for slices in (120, 160, 296):
    depth = affordable_depth(unet, (128, 128, slices), budget=7.2e9)
    print(f"{slices} slices: tiles of {depth}, "
          f"{work(slices, depth):.1f} times the work")

# %% [markdown]
# The first two go in one piece. The longest is cut, which takes a little more than twice the work. The depth of a tile
# depends on the machine, as in the paper {cite}`roth2018`. But the answer does not depend on that depth. (On the
# precision it does, a little: see the last section.)
#
# ## Back to the file
#
# Until now the scan was on the working grid. In a file it has other voxels, and the labels have to come back to
# these, voxel for voxel, or they will not lie on the image. Here is the same patient in finer voxels, as a file may
# hold it.

# %%
fine = organseg.make_phantom(3002, shape=(144, 112, 80), spacing=(2, 2, 3))
working = organseg.to_working(fine, run.grid)
on_grid = organseg.to_scan(working).image
probabilities = organseg.predict_probabilities(network, on_grid)
print("file", fine.image.shape, "working grid", working.image.shape,
      "probabilities", probabilities.shape)

# %% [markdown]
# The two affines say where a voxel of the file lies on the working grid, as in [chapter 1](01_ct_and_geometry.ipynb):
# from its index to millimetres, and from there to an index.

# %%
there = np.linalg.inv(working.affine) @ fine.affine
print(there.round(3))

# %% [markdown]
# A step along x of the file is half a step on the working grid, and the first voxel lies a quarter of a voxel before
# the first working one. Most places fall between working voxels, so we have to interpolate. But what: the labels, or
# the probabilities?

# %% tags=["quiz", "remove-input"]
quiz("9d")

# %%
from scipy import ndimage


def at_file_voxels(values, order):
    scale, offset = np.diag(there)[:3], there[:3, 3]
    return ndimage.affine_transform(values, scale, offset, fine.image.shape,
                                    order=order, mode="nearest")


coarse_label = probabilities.argmax(axis=-1)
linear_labels = np.rint(at_file_voxels(coarse_label.astype(float),
                                       order=1)).astype("uint8")
nearest_labels = at_file_voxels(coarse_label, order=0)
classes = np.moveaxis(probabilities, -1, 0)
from_probabilities = np.argmax([at_file_voxels(p, order=1) for p in classes],
                               axis=0)

# %% [markdown]
# `order=1` is linear interpolation, `order=0` takes the nearest voxel. The third way interpolates each class and
# takes the most probable one afterwards.

# %% alt="A part of an axial slice four times, with the organs' numbers in a legend and the mean Dice above. The truth has smooth outlines, and a black ring between gallbladder and liver. Labels, linear: every organ has a rim in the colours of other organs. Labels, nearest: blocky outlines, in stairs. Probabilities, linear: smooth outlines, close to the truth. In the three predictions the ring is liver."
from matplotlib.colors import ListedColormap

colours = ["black", *(organ.colour for organ in organseg.ORGANS)]
# artery, vein, pancreas
z = np.isin(fine.label, [1, 2, 7]).sum(axis=(0, 1)).argmax()
ways = {"truth": fine.label, "labels, linear": linear_labels,
        "labels, nearest": nearest_labels}
ways["probabilities, linear"] = from_probabilities
scores = {name: mean_dice(fine.label, organs) for name, organs in ways.items()}
figure, panels = plt.subplots(1, 4, figsize=(9, 2.9), layout="constrained")
for panel, (name, organs) in zip(panels, ways.items(), strict=True):
    panel.imshow(organs[62:116, 60:106, z][::-1].T,
                 cmap=ListedColormap(colours), vmin=0, vmax=7, origin="lower")
    panel.set(title=f"{name}\nmean Dice {scores[name]:.3f}", xticks=[],
              yticks=[])
for number, name in enumerate(["background",
                               *(organ.name for organ in organseg.ORGANS)]):
    panels[0].plot([], "s", color=colours[number], label=f"{number} {name}")
figure.legend(loc="outside lower center", ncols=8, fontsize="small",
              handletextpad=0, columnspacing=1)
plt.show()

# %% [markdown]
# Numbers between labels mean nothing. From the background, 0, to the liver, 3, linear values pass 1 and 2: so a ring of
# artery and vein lies around the liver, and other organs have their rings, too. Nearest labels invent no organ, but
# their borders are the stairs of the coarse voxels. Probabilities have values between them that mean something. Where
# the liver falls from 0.9 in one voxel to 0.1 in the next, the border is half-way.
#
# (The black ring in the truth lies between gallbladder and liver. The network takes it for liver. That is its mistake,
# and no interpolation mends it.)

# %% tags=["nbval-ignore-output"]
print({name: f"{score:.3f}" for name, score in scores.items()
       if name != "truth"})
assert scores["probabilities, linear"] > scores["labels, nearest"] + 0.01
assert scores["labels, linear"] < 0.75
assert scores["probabilities, linear"] < 0.95

# %% [markdown]
# With labels read linearly, the mean Dice is below
# 0.75. From probabilities it is higher than from nearest labels by more than 0.01, and that with the same network. The
# last `assert` is a reminder of the network's own mistakes: the interpolation leaves them as they are.
#
# For a file as large as the paper's, the third way has a catch: eight interpolated volumes at once.

# %%
voxels = 512 * 512 * 1177
print(f"probabilities of 8 classes: {8 * 4 * voxels / 1e9:.1f} GB, labels: "
      f"{voxels / 1e9:.1f} GB")

# %% [markdown]
# `organseg.to_file_grid` gives the same labels, slab by slab, and interpolates a class only where it can win. It also
# turns them to the axes of the file. (In its Fig. 5 the paper {cite}`roth2018` shows its results up-sampled to half
# of the original resolution; `organseg.half_resolution` gives that grid.)

# %%
back = organseg.to_file_grid(probabilities, working.affine, fine.image.shape,
                             fine.affine)
assert np.mean(back == from_probabilities) > 0.9999
print("file", fine.image.shape, "labels", back.shape, back.dtype)

# %% [markdown]
# ## A minute per case
#
# All of this in one call is `organseg.predict`: to the working grid, normalised, through the network tile by tile,
# and back to the file's voxels. The paper {cite}`roth2018` needs less than 1 minute per case. We hold ourselves to
# it, on two CPU cores, but with a network that has a quarter of the filters, and a smaller case.

# %% tags=["nbval-ignore-output"]
import time
began = time.perf_counter()
prediction = organseg.predict(run, fine, precision="float32")
seconds = time.perf_counter() - began
print(f"{seconds:.1f} s, labels as above in {np.mean(prediction == back):.4%} "
      "of the voxels")
assert seconds < 60
assert np.mean(prediction == back) > 0.9999

# %% alt="The predicted organs in a coronal slice of the file, through the pancreas, in the colours of the legend above, and the seconds of the whole prediction in the title."
y = np.sum(prediction == 7, axis=(0, 2)).argmax()  # pancreas
figure, axes = plt.subplots(figsize=(4.4, 4.2), layout="constrained")
shown = prediction[:, y][::-1].T
axes.imshow(shown, cmap=ListedColormap(colours), vmin=0, vmax=7, origin="lower",
            aspect=3 / 2)
axes.set(title=f"labels for the file in {seconds:.1f} s", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The `assert` allows up to the paper's minute. And the labels are those that we got step by step, up to a voxel in ten
# thousand that is undecided.
#
# A patient takes the same way. This is a real abdomen of 3 mm voxels, with another network of the library, `drawn`,
# which has seen drawings only ([how](../book/patients.md)) and never this patient. The organs to compare with are those
# that TotalSegmentator {cite}`wasserthal2023` found, not an expert's. (Where no patient can be had, the cell says so and
# takes the phantom.)

# %% tags=["patient", "nbval-ignore-output"] alt="A coronal slice of a real abdomen twice. On the left the reference, on the right what was found, with the seconds in the title: liver, spleen and artery have the same places and nearly the same borders; stomach and pancreas differ."
patient, drawn = organseg.sample_patient() or fine, organseg.load_run("drawn")
began = time.perf_counter()
found = organseg.predict(drawn, patient)
title = f"found in {time.perf_counter() - began:.1f} s"

figure, panels = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
y = np.sum(patient.label > 0, axis=(0, 2)).argmax()
both = {"reference": patient.label, title: found}
for panel, (name, organs) in zip(panels, both.items()):
    panel.imshow(organseg.slice_picture(replace(patient, label=organs),
                                        "coronal", y))
    panel.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0.) A real file takes seconds too, and the labels lie on its own voxels. How
# good they are is the subject of the [next chapter](10_evaluation.ipynb).
#
# How hard is a minute for the network of the paper's size? Count its work. A convolution multiplies and adds once per
# weight and place, so per voxel of the input it is the number of weights, divided by 8 for each level further down. We
# take a scan of 640 slices, in one piece.

# %%
level, weights_per_voxel = 0, 0
for layer in unet.layers:
    if hasattr(layer, "kernel"):
        weights_per_voxel += np.prod(layer.kernel.shape) / 8**level
    level += isinstance(layer, keras.layers.MaxPooling3D)
    level -= isinstance(layer, keras.layers.Conv3DTranspose)
# every axis is down-sampled by 4
operations = 2 * weights_per_voxel * 128 * 128 * 640 / 4
print(f"{operations / 1e12:.1f} TFLOP for 128×128×{640 // 4} voxels")
print(f"in a minute: {operations / 60 / 1e9:.0f} GFLOP per second")

# %% [markdown]
# That is within reach of a few CPU cores, and little for a graphics card. What costs time in practice is around it:
# reading a file, resampling it, work done twice because the tiles are shallow, and the way back to hundreds of
# millions of voxels.
#
# ## Half precision
#
# A float32 number has 4 bytes. Two formats make do with 2: *float16* keeps more digits, *bfloat16* fewer digits, but
# the wide range of float32. This is what becomes of 0.1:

# %%
for kind in ("float32", "float16", "bfloat16"):
    stored = keras.ops.cast(keras.ops.cast(0.1, kind), "float32")
    print(f"{kind:9}{float(stored):.6f}")

# %% [markdown]
# Where the hardware multiplies such numbers, this is faster, and it saves memory. `in_precision` builds the network
# anew, with its weights. In a *mixed* policy the weights stay in float32 and the layers compute in half precision; the
# softmax, which makes the probabilities, stays in float32 too.

# %% tags=["nbval-ignore-output"]
half_network = run.in_precision("mixed_bfloat16").network
print("bytes per voxel:", bytes_per_voxel(network), "and",
      bytes_per_voxel(half_network))
part = image[:, :, 64:128]
in_full = organseg.predict_probabilities(network, part)
in_half = organseg.predict_probabilities(half_network, part)
same = np.mean(in_half.argmax(axis=-1) == in_full.argmax(axis=-1))
print(f"largest change of a probability {np.abs(in_half - in_full).max():.2f}, "
      f"same label in {same:.3%} of the voxels")
assert 0.01 < np.abs(in_half - in_full).max() < 0.6 and same > 0.999

# %% [markdown]
# It saves a third rather than a half, since half precision makes more copies. A probability may change by some tenths,
# which is far more than between tiles with the full margin and the whole scan, and still more than 99.9 % of the voxels
# keep their label. Which do not? For each voxel we take the gap in float32 between the two most probable classes.

# %% tags=["nbval-ignore-output"]
second, first = np.moveaxis(np.sort(in_full, axis=-1)[..., -2:], -1, 0)
gap = first - second
flipped = in_half.argmax(axis=-1) != in_full.argmax(axis=-1)
print(f"median gap {np.median(gap):.4f}, "
      f"where the label changes {np.median(gap[flipped]):.3f}")
assert np.median(gap) > 0.99 and np.median(gap[flipped]) < 0.1

# %% alt="A histogram on a logarithmic axis of the gap between the two most probable classes. Almost all voxels lie at a gap of 1. The few whose label changed lie at the left end, most of them below 0.1."
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
bins = np.linspace(0, 1, 41)
axes.hist(gap.ravel(), bins, color="0.8", label=f"all {gap.size} voxels")
axes.hist(gap[flipped], bins, color="#d55e00",
          label=f"label changed: {flipped.sum()} voxels")
axes.set(yscale="log", xlabel="gap between the two most probable classes",
         ylabel="voxels")
axes.set_title("Half precision changes a probability by at most "
               f"{np.abs(in_half - in_full).max():.2f}")
axes.legend(loc="upper center")
plt.show()

# %% [markdown]
# Most voxels are sure: the median of the gap is above 0.99. Most of those that change were nearly undecided: their
# median is below 0.1.
#
# `organseg.predict` takes half precision where the hardware has it. Training needs more care than prediction, because
# small gradients have to survive there.
#
# ## Exercises
#
# ### Exercise 9.1 ★ Computed twice
#
# How many slices are computed only to be thrown away? Write a function of the depth of the scan, the depth of a tile
# and the margin, all multiples of 8. Tiles start at 0, `tile_depth`, 2 · `tile_depth`, …; the last may be shallower.
# A tile's margin ends where the scan ends.

# %% tags=["exercise"]
from organseg.course import check


def wasted_slices(depth, tile_depth, margin):
    return ...


check("9.1", wasted_slices)

# %% tags=["solution"]
def wasted_slices(depth, tile_depth, margin):
    seen = 0
    for start in range(0, depth, tile_depth):
        stop = min(start + tile_depth + margin, depth)
        seen += stop - max(start - margin, 0)
    return seen - depth


check("9.1", wasted_slices)

# %% [markdown]
# ### Exercise 9.2 ★★ The margin of other networks
#
# A U-Net built like ours has `levels` levels: two convolutions of 3 on each level on the way down, two on each on the
# way up. Return the smallest margin that leaves no seam and keeps the sizes of the tiles to what the network takes: a
# multiple of 2 for two levels, of 4 for three, and so on. For four levels it is 48.

# %% tags=["exercise"]
def margin_for(levels):
    return ...


check("9.2", margin_for)

# %% tags=["solution"]
def margin_for(levels):
    first = 0  # the lowest slice that slice 0 needs
    for _ in range(levels - 1):
        first = (first - 2) // 2
    first -= 2
    for _ in range(levels - 1):
        first = 2 * first - 2
    multiple = 2 ** (levels - 1)
    return -(first // multiple) * multiple  # // rounds down, so the margin up


check("9.2", margin_for)

# %% [markdown]
# ### Exercise 9.3 ★★★ A scan from the other side
#
# `find` stands for a network that was trained on RAS images: it takes an image whose axes are RAS and whose sizes are
# multiples of 8, and returns the label of each voxel. You get an image that is normalised, on the right spacing, but
# its axes are LPS, and its sizes are anything. Return its labels, voxel for voxel. Pad with air, which is 0, at the
# *upper* end of each axis of what `find` sees.

# %% tags=["exercise"]
def labels_of(image, find):
    return ...


check("9.3", labels_of)

# %% tags=["solution"]
def labels_of(image, find):
    ras = image[::-1, ::-1]  # left becomes right, back becomes front
    padded = np.pad(ras, [(0, -size % 8) for size in ras.shape])
    x, y, z = ras.shape
    return find(padded)[:x, :y, :z][::-1, ::-1]  # first cut, then turn back


check("9.3", labels_of)

# %% [markdown]
# ## Summary
#
# - A fully convolutional network takes any size (ours: multiples of 8). Reshaping it to the whole xy plane
#   needs no new weights; what it costs is memory.
# - Where a tile ends, zero padding takes the place of the scan. The error comes in from there, as far as the network
#   reaches: 44 to 51 voxels to a side.
# - A margin of 46 slices, rounded up to 48, removes the seams apart from rounding, if tiles start at multiples of 8.
# - Blending makes seams smooth and, with weights that fade, small. It does not remove what causes them.
# - Memory grows with the tile, work with the number of tiles. Take the deepest tile that fits; the answer does not
#   depend on its depth.
# - On the way back interpolate probabilities, never labels.
# - On the precision the answer depends a little: half precision changes few labels, most of them nearly undecided.
#
# ## References
#
# The paper {cite}`roth2018`, end of Section II.A and Section II.D; the receptive field that matters {cite}`luo2016`;
# networks that are not the same everywhere {cite}`azulay2019`; tiles blended by a Gaussian {cite}`isensee2021`.
