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
# # 2. Convolution by hand
#
# You work out a convolution, a pooling, a ReLU and a softmax by hand, and get the same numbers from Keras.

# %% [markdown] tags=["head"]
# ## Objectives
# - Compute a convolution on paper, in six lines of loops, and with a Keras layer.
# - Say what padding does at the border of an image, and predict the size and the number of parameters of a layer.
# - Explain what the ReLU is for: without it, many convolutions are no more than one.
# - Pool by hand, and measure what a shift of the image by one pixel does to the result.
# - Compute how much of the image one output sees, and check it.
# - Turn scores into probabilities with a softmax that does not overflow.
#
# **You need**: Python and NumPy; HU and voxel sizes from [chapter 1](01_ct_and_geometry.ipynb). No Keras.
#
# **In class:** 60 minutes, exercises 40 minutes (our estimate).
#
# **Measured:** about half a minute on two CPU cores (not measured on a GPU), 1 GB of memory, nothing to download.

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
# ## One sum
#
# A *convolution* looks at an image through a small window. The window has weights, and together they are called the
# *kernel*. At each place the pixels under the window are multiplied by the weights, and the products are added up.
# The sum is one pixel of the result.
#
# Here is an image of five by five pixels, dark on the left and bright on the right, and a kernel of three by three.

# %%
import numpy as np

image = np.array([[1, 1, 2, 7, 8], [1, 2, 2, 8, 7], [0, 1, 1, 7, 8],
                  [1, 1, 2, 8, 9], [2, 1, 1, 7, 8]])
kernel = np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]])
print(image)
print(kernel)

# %% [markdown]
# Put the kernel on the image so that its middle lies on the image's middle. It covers nine pixels. The three on its
# left count negative, the three on its right positive, those between not at all.

# %%
window = image[1:4, 1:4]
print(window * kernel)
print("sum:", np.sum(window * kernel))

# %% [markdown]
# The sum is (8 − 2) + (7 − 1) + (8 − 1) = 19. It is large because the right side of the window is brighter than the
# left: this kernel measures how much brighter it gets from left to right.
#
# Nine such windows fit into the image, three across and three down, so the result has three by three pixels. The next
# picture starts at the window that we worked out, the fifth. Work out the sixth on paper; then move the slider on.

# %%
import matplotlib.pyplot as plt


def draw_grid(axes, numbers, title, frame=None, most=3):
    """Numbers in squares; frame: row, column and size of an orange square."""
    cmap, low, high = (("RdBu_r", -most, most) if numbers.min() < 0
                       else ("Blues", -10, 40))
    axes.imshow(numbers, cmap=cmap, vmin=low, vmax=high)
    for (row, column), number in np.ndenumerate(numbers):
        known = np.isfinite(number)
        axes.text(column, row, f"{number:g}" if known else "", ha="center",
                  va="center")
    if frame:
        row, column, size = frame
        axes.add_patch(plt.Rectangle((column - 0.5, row - 0.5), size, size,
                                     fill=False, ec="darkorange", lw=3))
    axes.set(title=title, xticks=[], yticks=[])


# %%
def draw_step(window):
    """The result as far as this window, counted from 1."""
    places = list(np.ndindex(3, 3))[:window]
    result = np.full((3, 3), np.nan)
    for i, j in places:
        products = image[i : i + 3, j : j + 3] * kernel
        result[i, j] = products.sum()
    figure, axes = plt.subplots(1, 4, figsize=(7.5, 3), layout="constrained",
                                width_ratios=(5, 3, 3, 3))
    draw_grid(axes[0], image, "image", frame=(i, j, 3))
    draw_grid(axes[1], kernel, "kernel")
    draw_grid(axes[2], products, "products", frame=(0, 0, 3), most=16)
    draw_grid(axes[3], result, "result", frame=(i, j, 1))
    words = " + ".join(f"({right} − {-left})" for left, _, right in products)
    figure.suptitle(f"{words} = {products.sum()}")


# %%
import organseg

organseg.explore(
    draw_step, "A 5 by 5 image with a frame around the window, the kernel, "
    "their products, and the 3 by 3 result, filled in as far as the window "
    "has come.", start={"window": 5}, window=range(1, 10))

# %% [markdown]
# Each window overlaps the one before. In the left column of the result the sums are small: there the window lies over
# dark pixels alone, or nearly so.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("2a")

# %% [markdown]
# ## Six lines of loops
#
# The same as a function, for images and kernels of any size. `i` and `j` are the window's first row and column.


# %%
def convolve(image, kernel):
    rows, columns = np.subtract(image.shape, kernel.shape) + 1
    result = np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        window = image[i : i + kernel.shape[0], j : j + kernel.shape[1]]
        result[i, j] = np.sum(window * kernel)
    return result


print(convolve(image, kernel))

# %% [markdown]
# ## The same from Keras
#
# Keras has convolution as a *layer*: an object that holds weights and computes. The word `Conv2D` says that the
# window moves in two directions. Keras wants to know the number of kernels, here one, and their size.
#
# Arrays in Keras have more axes than our image. An image is `(batch, x, y, channel)`: several images at once, and
# several numbers per pixel, the channels. Ours is one image with one number per pixel. The weights of a layer are
# `(x, y, channel, filter)`: the last axis counts the kernels, which Keras calls filters; more on both below. The
# weights of a new layer are random; we put in ours. In the shape that `build` is told, `None` stands for a size that
# is left open. Keras computes with numbers of the type `float32`.

# %%
from organseg.backend import keras

layer = keras.layers.Conv2D(filters=1, kernel_size=3, use_bias=False)
layer.build((None, None, None, 1))
layer.set_weights([kernel[:, :, np.newaxis, np.newaxis]])
batch = image[np.newaxis, :, :, np.newaxis].astype("float32")
from_keras = np.asarray(layer(batch))
print("into the layer", batch.shape, "out of it", from_keras.shape)
np.testing.assert_allclose(from_keras[0, :, :, 0], convolve(image, kernel))

# %% [markdown]
# `assert_allclose` says nothing if two arrays agree up to rounding (`rtol` and `atol` say how much is allowed), and
# stops if they do not. From here on, silence means agreement.
#
# We shall often want a layer with given weights, so this becomes a function.


# %%
def layer_with(weights, **options):
    """A Keras convolution with these weights (x, y, channel, filter)."""
    *size, channels, filters = weights.shape
    layer = keras.layers.Conv2D(filters, size, use_bias=False, **options)
    layer.build((None, None, None, channels))
    layer.set_weights([weights])
    return layer


# %% [markdown]
# ### A word about the word
#
# In mathematics, convolution turns the kernel by half a turn before it is laid on the image: the last row comes
# first, and in each row the last weight. Without the turn the operation is called *cross-correlation*. Networks
# compute the cross-correlation and call it convolution. SciPy keeps the two apart.

# %%
from scipy import signal

print(signal.convolve2d(image, kernel, mode="valid"))
turned = kernel[::-1, ::-1]
np.testing.assert_allclose(signal.convolve2d(image, turned, mode="valid"),
                           convolve(image, kernel))
np.testing.assert_allclose(signal.correlate2d(image, kernel, mode="valid"),
                           convolve(image, kernel))

# %% [markdown]
# With this kernel SciPy's convolution gives the opposite signs, and with the turned one our numbers. For a network it
# makes no difference: its weights are learned, and it would learn them turned.
#
# ## Edges in a CT slice
#
# Now a real size: one axial slice of a phantom, a synthetic patient. The first axis of the array is $x$ and grows to
# the patient's right, the second is $y$ and grows to the front. Pictures in radiology have the patient's right on the
# left, so $x$ runs from right to left here.

# %% alt="An axial CT slice in grey: the large liver on the left of the picture, the bright spine and two kidneys below the middle, the spleen on the right, black air around." slide="An axial slice of a phantom. The patient's right is on the left, as radiologists look at it."
case = organseg.make_phantom(1, (128, 128, 40))
ct_slice = case.image[:, :, 26]
spacing = case.spacing[0]


def show(axes, picture, title, **options):
    shown = axes.imshow(picture.T,
                        **{"origin": "lower", "cmap": "gray", **options})
    axes.invert_xaxis()
    axes.set(title=title, xlabel="x (pixels)", ylabel="y (pixels)")
    return shown


print(ct_slice.shape, f"pixels of {spacing:.2f} mm")
figure, axes = plt.subplots(figsize=(4.5, 4))
figure.colorbar(show(axes, ct_slice, "An axial slice", vmin=-160, vmax=240),
                label="HU")
plt.show()

# %% [markdown]
# How fast does the intensity change along $x$? Take the pixel that follows, subtract the pixel before, and divide by
# the two steps between them: weights −½, 0, ½. The kernel is three pixels long in $x$ and one in $y$. In the small
# image above, left to right was the second axis; here $x$ is the first, so the kernel is written as a column. It is
# in HU per pixel. Divided by the pixel's size it is in HU per mm, which is what NumPy calls the gradient.

# %%
along_x = np.array([[-0.5], [0], [0.5]])
slope = convolve(ct_slice, along_x) / spacing
print(slope.shape, f"from {slope.min():.0f} to {slope.max():.0f} HU per mm")
i, j = np.unravel_index(np.abs(slope).argmax(), slope.shape)
print(f"the steepest lies between {ct_slice[i, j]:.0f} and "
      f"{ct_slice[i + 2, j]:.0f} HU")
np.testing.assert_allclose(slope, np.gradient(ct_slice, spacing, axis=0)[1:-1],
                           rtol=1e-3, atol=1e-3)

# %% alt="Left: the CT slice. Right: its slope along x; each organ has a red rim on one side and a blue rim on the other, flat regions are white; the skin's rims are the strongest."
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
show(axes[0], ct_slice, "Slice", vmin=-160, vmax=240)
shown = show(axes[1], slope, "Slope along x", cmap="RdBu_r", vmin=-60, vmax=60)
figure.colorbar(shown, label="HU per mm")
plt.show()

# %% [markdown]
# Where the tissue is uniform the result is near zero, and white. Borders come out, red where the intensity grows with
# $x$ and blue where it falls. The steepest, about 157 HU per mm, leads from −40 to −1001 HU, from skin to air. The two
# arcs below are the table that the patient lies on. Borders that run along $x$ do not show: the kernel does not look
# that way.
#
# ## Blur
#
# Nine weights of one ninth give the mean of each window. They add up to 1, so uniform tissue keeps its value (those of
# the slope add up to 0). Neighbouring windows share most of their pixels, so the picture blurs, and the noise becomes
# less: compare the spread of the values in a piece of liver before and after.

# %%
mean = np.full((3, 3), 1 / 9)
blurred = convolve(ct_slice, mean)
liver = ct_slice[92:102, 74:84]
# the same places: the result begins one pixel later
liver_blurred = blurred[91:101, 73:83]
print(f"liver: mean {liver.mean():.0f} HU, "
      f"standard deviation {liver.std():.1f} HU")
print(f"blurred: mean {liver_blurred.mean():.0f} HU, "
      f"standard deviation {liver_blurred.std():.1f} HU")
print(f"a third of the noise: {liver.std() / 3:.1f} HU")

# %% [markdown]
# The mean stays, the noise falls from 7.8 to 3.1 HU. The mean of $n$ independent numbers spreads $\sqrt{n}$ times less
# than one of them, so with independent noise nine pixels would leave a third, 2.6 HU. In a CT neighbours have part of
# their noise in common, and the phantom imitates this: averaging then helps less.
#
# A kernel can measure and blur at once: blur along $y$ and take the slope along $x$. With weights ¼, ½, ¼ for the
# blur this is the *Sobel* kernel. SciPy has it too, eight times as large.

# %%
from scipy import ndimage

sobel = along_x * np.array([0.25, 0.5, 0.25])
print(sobel)
np.testing.assert_allclose(convolve(ct_slice, sobel),
                           ndimage.sobel(ct_slice, axis=0)[1:-1, 1:-1] / 8,
                           atol=0.01)

# %% [markdown]
# ## Choose the weights yourself
#
# Three weights along $x$: for the pixel before, the pixel itself, and the pixel after. First guess what each of these
# does to the slice, and to the noise in the liver: (−1, 0, 1), (1, 1, 1) and (−1, 3, −1). Then set the sliders. The
# title says the sum of the weights, and mean and standard deviation in the piece of liver from above; white and black
# are moved along with the sum.

# %%
def draw_filtered(before, centre, after):
    weights = np.array([[before], [centre], [after]])
    total = weights.sum()
    filtered = convolve(ct_slice, weights)
    low, high = sorted((-160 * total, 240 * total)) if total else (-400, 400)
    figure, axes = plt.subplots(figsize=(3.4, 2.6), layout="constrained")
    show(axes, filtered, "", vmin=low, vmax=high, extent=(1, 127, 0, 128))
    piece = filtered[91:101, 74:84]
    axes.set(xlim=(114, 10), ylim=(41, 113), xticks=[], yticks=[],
             xlabel="", ylabel="", title=f"sum {total}, liver "
             f"{round(piece.mean())}, spread {piece.std():.1f}")


def spread(before, centre, after):
    weights = np.array([[before], [centre], [after]])
    return convolve(ct_slice, weights)[91:101, 74:84].std()


assert spread(1, 1, 1) / 3 < 0.7 * spread(0, 1, 0)
assert spread(-1, 3, -1) > 2 * spread(0, 1, 0)

# %%
organseg.explore(
    draw_filtered, "The slice, filtered with three weights along x.",
    start={"before": -1, "centre": 0, "after": 1}, before=[-1, 0, 1],
    centre=[0, 1, 3], after=[-1, 0, 1])

# %% [markdown]
# (−1, 0, 1) is twice the slope: what is uniform has nothing left, and borders stand out. (1, 1, 1) blurs; its spread
# has to be divided by 3, like its mean, and then it is smaller than before. (−1, 3, −1) makes the image sharper, and
# the noise much stronger: what blurring gains, sharpening pays for. (1, 0, 0) only moves the slice by a pixel.

# %% [markdown]
# In a network nobody moves sliders. The weights are *learned*: training changes them so that the network's answers
# become better. What trained networks have in their first layer is often not far from what you just made: many of
# these kernels are edges, in all directions {cite}`krizhevsky2012`.
#
# ## The border: padding
#
# Our result is smaller than the image, because the window has to fit in. Keras calls this `padding="valid"`. With
# `padding="same"` zeros are put around the image first, one row and one column on each side for a kernel of three,
# and the result has the image's size. The paper uses this throughout, "same size convolutions with zero padding"
# {cite}`roth2018`.

# %%
padded = np.pad(ct_slice, 1)  # a frame of zeros
same_by_hand = convolve(padded, sobel)
same = layer_with(sobel[:, :, np.newaxis, np.newaxis], padding="same")
from_keras = np.asarray(
    same(ct_slice[np.newaxis, :, :, np.newaxis]))[0, :, :, 0]
print("valid:", convolve(ct_slice, sobel).shape, "same:", same_by_hand.shape)
np.testing.assert_allclose(from_keras, same_by_hand, atol=0.01)

# %% [markdown]
# But what does a zero mean? In HU, zero is water. Zero padding puts a frame of water around a patient who lies in air
# at about −1000 HU, and the kernel finds an edge that is not there. (At the border itself the value is −1024: a
# scanner measures inside a circle, and this number stands for “no measurement” outside it. The faint circle in the
# pictures above is its edge.)
#
# `organseg.normalise` maps the HU of a wide window ([chapter 1](01_ct_and_geometry.ipynb)) to the range from 0 to 1
# before a network sees them. All that is below the window becomes exactly 0, air too, so the frame continues the air
# around the patient. The edge of the skin becomes weaker as well: the step no longer begins at the HU of air, but at
# the lower end of the window.

# %%
air = organseg.normalise(np.array([-1024.0, -1000.0]))
normalised = organseg.normalise(ct_slice)
edges = convolve(np.pad(normalised, 1), sobel)
print("air after normalise:", air)
print(f"HU: largest at the border {np.abs(same_by_hand[0]).max():.0f}, "
      f"inside {np.abs(same_by_hand[1:-1]).max():.0f}")
print(f"normalised: largest at the border {np.abs(edges[0]).max():.2f}, "
      f"inside {np.abs(edges[1:-1]).max():.2f}")
assert np.all(edges[[0, -1]] == 0) and np.all(air == 0)

# %% alt="Two enlarged pictures of the slope along x, at the border x = 0. Left, computed from HU: a dark blue stripe runs along the border of the image, and a red curve is the skin. Right, from the normalised slice: the stripe is gone."
figure, axes = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
part, place = (slice(0, 30), slice(60, 100)), (-0.5, 29.5, 59.5, 99.5)
show(axes[0], same_by_hand[part], "From HU: a false edge at x = 0",
     cmap="RdBu_r", vmin=-500, vmax=500, extent=place)
show(axes[1], edges[part], "From the normalised slice", cmap="RdBu_r",
     vmin=-0.5, vmax=0.5, extent=place)
plt.show()

# %% [markdown]
# The picture shows the border of the image at $x = 0$, enlarged. On the left the strongest edge of all runs along it;
# on the right it is gone. It does not always go so well: where an image ends in the middle of the body, its border is
# not air, and zero padding invents edges again.
#
# ## Stride
#
# A *stride* of two moves the window two pixels at a time. The result is every second row and column of the one with a
# stride of one.

# %%
strided = layer_with(sobel[:, :, np.newaxis, np.newaxis], strides=2)
from_keras = np.asarray(
    strided(ct_slice[np.newaxis, :, :, np.newaxis]))[0, :, :, 0]
print(from_keras.shape)
np.testing.assert_allclose(from_keras, convolve(ct_slice, sobel)[::2, ::2],
                           atol=0.01)

# %% [markdown]
# From 126 places every second is kept, from the first on: 63.
#
# Size of the kernel, stride and padding together decide where a window stands. Here is an image of six by six in blue,
# with its padding in grey around it. Each pixel says how many windows see it. The first window has an orange frame,
# and the next one, a stride further on, a broken one. Before you move a slider, guess: how large is the result of a
# kernel of 3 with stride 2? Which pixels does it never see? Which padding keeps the size, for a kernel of 3 and for
# one of 5?

# %%
def draw_windows(kernel, stride, padding):
    first, size = 2 - padding, 6 + 2 * padding  # two pixels around the image
    starts = range(first, first + size - kernel + 1, stride)
    seen = np.zeros((10, 10), dtype=int)
    figure, axes = plt.subplots(figsize=(3.8, 4), layout="constrained")
    for i in starts:
        for j in starts:
            seen[i : i + kernel, j : j + kernel] += 1
    around = np.pad(np.full((6, 6), np.nan), padding, constant_values=1)
    axes.imshow(seen, cmap="Blues", vmin=-4, vmax=35)
    axes.imshow(np.pad(around, 2 - padding, constant_values=0), cmap="Greys",
                vmin=0, vmax=6)
    for i, j in np.ndindex(size, size):
        axes.text(first + j, first + i, seen[first + i, first + j],
                  ha="center", va="center", fontsize=9)
    for column, style in zip(starts[:2], ("-", "--")):
        axes.add_patch(plt.Rectangle((column - 0.5, first - 0.5), kernel,
                                     kernel, fill=False, ec="darkorange",
                                     ls=style, lw=3))
    axes.set(title=f"{len(starts)} × {len(starts)} results", xlim=(-0.7, 9.7),
             ylim=(9.7, -0.7), xticks=[], yticks=[])


# %%
organseg.explore(
    draw_windows, "An image of 6 by 6 pixels with padding around it, on each "
    "pixel the number of windows that see it; frames around two windows.",
    start={"kernel": 3, "padding": 0}, kernel=[2, 3, 5], stride=[1, 2],
    padding=[0, 1, 2])

# %% [markdown]
# With stride 2 and no padding a kernel of 3 gives two by two results, and never sees the last row and column. Padding
# of 1 keeps the size for a kernel of 3, padding of 2 for one of 5. With that, the pixels at the border are seen more
# often than without padding, but still not as often as those in the middle. Exercise 2.1 asks for a formula that fits
# all these pictures.
#
# ## Several kernels, several channels
#
# One kernel finds one thing. So a layer has many *filters*, and each makes an image of its own, a *feature map*. While
# the input has one channel, a filter is one kernel. Here are two: the slope along $x$ and the slope along $y$.

# %%
# (x, y, channel, filter)
filters = np.stack([sobel, sobel.T], axis=-1)[:, :, np.newaxis, :]
feature_maps = np.asarray(
    layer_with(filters)(normalised[np.newaxis, :, :, np.newaxis]))
print("weights:", filters.shape, "feature maps:", feature_maps.shape)

# %% [markdown]
# The two maps are the two *channels* of the result. The next layer gets an image with two numbers per pixel, so each
# of its filters needs a kernel for each channel. It convolves every channel with its kernel, and adds the results up.
# Let us do that by hand, for three filters with random weights.

# %%
rng = np.random.default_rng(0)
weights = rng.normal(size=(3, 3, 2, 3))  # (x, y, channel, filter)
by_hand = np.zeros((124, 124, 3))
for channel in range(2):
    for filter_ in range(3):
        by_hand[..., filter_] += convolve(feature_maps[0, :, :, channel],
                                          weights[:, :, channel, filter_])

second = np.asarray(layer_with(weights)(feature_maps))
print(second.shape)
np.testing.assert_allclose(second[0], by_hand, atol=1e-4)

# %% [markdown]
# ## Counting parameters
#
# The numbers that training changes are the *parameters*. A filter has 3 × 3 weights for each channel of its input. To
# the sum it adds one more number, the *bias*, unless `use_bias=False`. So a layer with $c$ channels in and $f$
# filters has $3 \cdot 3 \cdot c \cdot f + f$ parameters. The size of the image does not come in: every place uses the
# same weights.

# %% tags=["quiz", "remove-input"]
quiz("2b")


# %%
def count_parameters(channels, filters, kernel_size=3, spatial_dims=2,
                     bias=True):
    return (kernel_size**spatial_dims * channels * filters
            + (filters if bias else 0))


layer = keras.layers.Conv2D(filters=8, kernel_size=3)
layer.build((None, 128, 128, 1))
print("by hand", count_parameters(1, 8), "Keras", layer.count_params())

# %% [markdown]
# What if every output could have weights of its own, for every pixel of the image? Such a layer is called *dense*, or
# fully connected. From one image of 128 × 128 to 8 maps of that size it would need this many:

# %%
pixels = 128 * 128
print("every pixel to every output: "
      f"{pixels * (8 * pixels) + 8 * pixels:,} parameters")
print(f"windows without sharing: {10 * 8 * pixels:,}; convolution: "
      f"{count_parameters(1, 8)}")

# %% [markdown]
# Two things bring 2,147,614,720 parameters down to 80. Each output looks at its own window only: with nine weights and
# a bias of its own that would be 1,310,720. And all places share their weights. Behind both is an assumption: what
# belongs together lies close together, and what is worth looking for in one place is worth looking for everywhere.
#
# ### In three dimensions
#
# A CT is a volume. A 3-D kernel of 3 × 3 × 3 has 27 weights per channel, and the rest stays the same. Here are the
# convolutions of the library's 3D U-Net on its way down, by hand and as Keras counts them.

# %%
assert count_parameters(1, 1, spatial_dims=3, bias=False) == 27
unet = organseg.unet()
convolutions = [layer for layer in unet.layers
                if isinstance(layer, keras.layers.Conv3D)]
channels = (1, 32, 64, 64, 128, 128, 256, 256, 512)
for c, f, layer in zip(channels, channels[1:], convolutions, strict=False):
    by_hand = count_parameters(c, f, spatial_dims=3, bias=False)
    print(f"{c:4} channels, {f:3} filters: {by_hand:9,} parameters")
    assert layer.count_params() == by_hand

# %%
trainable = sum(int(np.prod(weight.shape)) for weight in unet.trainable_weights)
on_the_way_down = sum(layer.count_params() for layer in convolutions[:8])
print(f"these eight: {on_the_way_down:,}; the whole network: {trainable:,}")

# %% [markdown]
# The first layer has fewer than a thousand parameters, the last of these eight more than three million. The network
# as a whole has 19,071,784, the "~19M" of the paper {cite}`roth2018`. Most of the others are on its way back up to
# full size, which [chapter 4](04_fcn.ipynb) begins with.

# %% tags=["quiz", "remove-input"]
quiz("2c")

# %% [markdown]
# ## ReLU: why a network is not one convolution
#
# Take two convolutions, one after the other. Is that more than one? Each weight of the second kernel takes a shifted
# copy of what the first has made. So both together are one kernel: copies of the first, shifted, weighted and added.
# It has five by five weights.

# %%
first, second = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
combined = np.zeros((5, 5))
for (i, j), weight in np.ndenumerate(second):
    combined[i : i + 3, j : j + 3] += weight * first

in_two_steps = convolve(convolve(normalised, first), second)
np.testing.assert_allclose(convolve(normalised, combined), in_two_steps,
                           atol=1e-9)
print("two steps and one step give the same", in_two_steps.shape)

# %% [markdown]
# Two convolutions have collapsed into one, and so would any number of them: however deep, such a network could do no
# more than a single layer with a larger kernel. (With zero padding that is so except near the border.) Biases do not
# help, they add up to a single one. Something has to stand between them that is not a weighted sum. The usual choice
# is the *rectified linear unit* (ReLU): it keeps what is positive and sets the rest to zero.

# %%
def relu(x):
    return np.maximum(x, 0)


print(relu(np.array([-2.0, -0.5, 0.0, 1.5])))
np.testing.assert_array_equal(keras.layers.ReLU()(slope),
                              relu(slope).astype("float32"))
with_relu = convolve(relu(convolve(normalised, first)), second)
print("the same with a ReLU between them:",
      np.allclose(with_relu, in_two_steps))

# %% [markdown]
# That one kernel fails proves little: another might do. Here is a task that no kernel can do. We want the *strength*
# of an edge, whether it goes from dark to bright or from bright to dark. The negative of an image has edges of the
# same strength. But a weighted sum of the negative is the negative of the weighted sum: it always changes its sign.
#
# With a ReLU it is easy. One filter finds the edges that rise, its negative those that fall. The ReLU keeps what each
# has found. The next layer, a kernel of one pixel with the weights 1 and 1, adds them up.


# %%
def edge_strength(image):
    rising = relu(convolve(image, sobel))
    falling = relu(convolve(image, -sobel))
    return rising + falling


np.testing.assert_allclose(edge_strength(-normalised),
                           edge_strength(normalised))
np.testing.assert_allclose(convolve(-normalised, sobel),
                           -convolve(normalised, sobel))

# %% alt="Three pictures: the edges along x that rise, bright on one side of every organ; those that fall, bright on the other side; and their sum, in which both sides are bright."
figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
show(axes[0], relu(convolve(normalised, sobel)), "rising, ReLU", vmin=0,
     vmax=0.25)
show(axes[1], relu(convolve(normalised, -sobel)), "falling, ReLU", vmin=0,
     vmax=0.25)
show(axes[2], edge_strength(normalised), "their sum", vmin=0, vmax=0.25)
for panel in axes[1:]:
    panel.set(ylabel="", yticks=[])

# %% [markdown]
# ## Pooling
#
# A network that is to see whole organs usually makes its images smaller on the way. *Pooling* does it: each block of
# two by two pixels becomes one. *Max pooling* keeps the largest of the four values, *average pooling* their mean.

# %%
small = np.array([[1, 3, 0, 2], [2, 8, 1, 1], [0, 1, 5, 4], [2, 1, 6, 9]])
largest, average = np.zeros((2, 2)), np.zeros((2, 2))
for i, j in np.ndindex(2, 2):
    block = small[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
    largest[i, j] = block.max()
    average[i, j] = block.mean()

# %% alt="Three grids of numbers: a 4 by 4 image with an orange frame around its upper left 2 by 2 block 1, 3, 2, 8; the 2 by 2 result of max pooling with 8 framed; the result of average pooling with 3.5 framed."
figure, axes = plt.subplots(1, 3, figsize=(6.5, 2.8), width_ratios=(4, 2, 2))
draw_grid(axes[0], small, "image", frame=(0, 0, 2))
draw_grid(axes[1], largest, "largest", frame=(0, 0, 1))
draw_grid(axes[2], average, "average", frame=(0, 0, 1))


# %%
def pool(image, kind):
    layer = {"max": keras.layers.MaxPooling2D,
             "average": keras.layers.AveragePooling2D}[kind](2)
    return np.asarray(layer(image[np.newaxis, :, :, np.newaxis]))[0, :, :, 0]


np.testing.assert_array_equal(pool(small.astype(float), "max"), largest)
np.testing.assert_array_equal(pool(small.astype(float), "average"), average)
print(largest)
print(average)

# %% [markdown]
# Pooling has no parameters, and each channel is pooled on its own.
#
# ## What a shift does
#
# Patients do not lie in the scanner to the pixel. If the patient lies one pixel further to the side, what happens to
# the result of a convolution? Away from the borders of the image it moves by one pixel, and does not change
# otherwise. This is called *equivariance*.

# %%
# one pixel along x; only air comes in at the border
shifted = np.roll(normalised, 1, axis=0)
moved = convolve(shifted, sobel)
np.testing.assert_array_equal(moved[1:], convolve(normalised, sobel)[:-1])
print("the result has moved by one pixel, and is the same in all",
      moved[1:].size, "places")

# %% [markdown]
# *Invariance* is something else: the result stays where it is. The paper says that max pooling "can also add some
# invariance to local shifting" {cite}`roth2018`. Look at a row with one bright pixel, which moves to the right step
# by step.

# %% tags=["quiz", "remove-input"]
quiz("2d")

# %%
for place in (2, 3, 4):
    row = np.zeros((2, 8))
    row[:, place] = 1
    print(f"bright pixel at {place}: {row[0].astype(int)} pooled: "
          f"{pool(row, 'max')[0].astype(int)}")

# %% [markdown]
# From place 2 to 3 the pooled row stays as it is: both lie in the same block. From 3 to 4 it jumps. So there is
# invariance as long as nothing crosses the border of a block, and with a shift of one pixel half of the places do.
#
# How much is it worth on the slice? Shift it by one pixel, and compare the results with those of the slice itself,
# pixel by pixel. As a yardstick, take every second pixel without pooling.

# %%
results = {
    "every second pixel": lambda image: image[::2, ::2],
    "max pooling": lambda image: pool(image, "max"),
    "average pooling": lambda image: pool(image, "average"),
}
change = {name: np.abs(f(shifted) - f(normalised)).mean()
          for name, f in results.items()}
for name in results:
    print(f"{name:20} mean change {change[name]:.4f}, "
          f"relative {change[name] / change['every second pixel']:.2f}")

# %% [markdown]
# Max pooling takes away about a tenth of the change, average pooling about a fifth. That is *some* invariance at most:
# a pooled image is also smoother, and a smooth image changes less when it moves. Pooling with a stride of two is not
# even equivariant: only after a shift by a whole block is the result the same, moved by one. So deep networks can
# change their answer when the image moves by a single pixel {cite}`azulay2019,zhang2019`.

# %%
by_two = np.roll(normalised, 2, axis=0)
np.testing.assert_array_equal(pool(by_two, "max")[1:],
                              pool(normalised, "max")[:-1])
assert not np.allclose(pool(shifted, "max")[1:], pool(normalised, "max")[:-1],
                       atol=0.1)
assert not np.allclose(pool(shifted, "max"), pool(normalised, "max"), atol=0.1)

# %% [markdown]
# Two things help, neither of them completely: to blur before every second pixel is dropped {cite}`zhang2019`, and to
# train with shifted images, which helps for images like those of the training {cite}`azulay2019`. The paper trains
# with translations of up to 20 voxels {cite}`roth2018`.
#
# ## How much one output sees
#
# The *receptive field* of an output is the part of the image that it depends on. After one convolution of three it is
# three pixels wide. After a second it is five: the outermost of its three inputs each look one pixel further.
#
# After a pooling with stride two, neighbours are two pixels of the image apart. We call this distance the *jump*. A
# layer with a kernel of $k$ makes the field wider by $k - 1$ jumps, and a stride of $s$ then multiplies the jump by
# $s$ {cite}`araujo2019`.

# %%
stack = [("convolution", 3, 1), ("convolution", 3, 1), ("pooling", 2, 2),
         ("convolution", 3, 1), ("convolution", 3, 1)]
field, jump = 1, 1
for name, kernel_size, stride in stack:
    field = field + (kernel_size - 1) * jump
    jump = jump * stride
    print(f"{name:11} of {kernel_size}, stride {stride}: field {field:2}, "
          f"jump {jump}")

# %% [markdown]
# Fourteen pixels. Is it true? `organseg.cnn` with two levels has these five layers at its beginning, and its
# convolutions are "same". We cut it off after them and set all weights of a layer to the same positive number, so that
# nothing is hidden by a weight that happens to be small.

# %%
network = organseg.cnn(num_classes=4, input_size=32, base_filters=2, levels=2)
for layer in network.layers:
    if isinstance(layer, keras.layers.Conv2D):
        layer.set_weights(
            [np.full(layer.kernel.shape, 1 / np.prod(layer.kernel.shape[:3]))])
last = [layer for layer in network.layers
        if isinstance(layer, keras.layers.ReLU)][-1]
beginning = keras.Model(network.input, last.output)
print(beginning.output.shape)

# %% [markdown]
# Now ask the network. Make one pixel brighter, and see if the output in the middle changes. Do it for each of the
# 1,024 pixels: 1,024 images, plus one in which nothing is brighter.

# %%
images = np.ones((1 + 1024, 32, 32, 1), "float32")
for k in range(1024):
    images[1 + k, k // 32, k % 32] += 1
outputs = beginning.predict(images, verbose=0)[:, 8, 8, 0]
influence = (outputs[1:] - outputs[0]).reshape(32, 32)
seen = influence > 1e-5
print("pixels that matter, along x:", np.flatnonzero(seen.any(axis=1)))
assert seen.any(axis=1).sum() == seen.any(axis=0).sum() == field
assert seen.sum() == field**2

# %% alt="A square of 32 by 32 pixels with a bright spot near its middle that fades on all sides; an orange frame of 14 by 14 pixels encloses all that is not black."
figure, axes = plt.subplots(figsize=(4.4, 3.6))
shown = axes.imshow(influence.T, origin="lower", cmap="gray")
begin = np.flatnonzero(seen.any(axis=1))[0] - 0.5
axes.add_patch(plt.Rectangle((begin, begin), field, field, fill=False,
                             ec="darkorange", lw=2))
axes.set(title="Which pixels move output (8, 8)?", xlabel="x (pixels)",
         ylabel="y (pixels)")
figure.colorbar(shown, label="change of the output")
plt.show()

# %% [markdown]
# The pixels that matter fill a square of fourteen by fourteen: formula and network agree. The picture shows more. The
# middle counts far more than the rim, because more paths lead from it to the output. With equal weights this has to
# be so, and training can widen the part that really counts, but it stays smaller than the computed field
# {cite}`luo2016`.
#
# The paper's network has four levels, with three poolings between them. How far does its deepest layer see, in the
# pixels of our slice?

# %%
field, jump = 1, 1
for level in range(1, 5):
    if level > 1:
        field, jump = field + jump, jump * 2  # pooling
    field = field + 2 * 2 * jump  # two convolutions
    print(f"level {level}: {field} pixels, {field * spacing:.0f} mm")

# %% [markdown]
# With one level it sees 15 mm, too little to tell an organ by. With four it sees 208 mm, more than half of the slice.
# That is what pooling is for.
#
# ## One block of the library
#
# From `organseg.cnn` to `organseg.unet`, the library's networks are made of one kind of block: a convolution of three
# with zero padding and without bias, then *batch normalisation*, then a ReLU. Here is the first block of
# `organseg.cnn`, by hand. Batch normalisation divides by a spread, $\sqrt{\text{variance} + 0.001}$; the 0.001 keeps it
# from dividing by zero. Before training it takes the variance for 1 and the mean for 0, so it changes next to nothing;
# what it does in training is told in [chapter 3](03_cnn.ipynb).

# %%
network = organseg.cnn(num_classes=4, input_size=128, base_filters=4, levels=2)
weights = network.layers[1].get_weights()[0]
by_hand = np.stack([convolve(np.pad(normalised, 1), weights[:, :, 0, f])
                    for f in range(4)], axis=-1)
by_hand = relu(by_hand / np.sqrt(1 + 0.001))
block = keras.Model(network.input, network.layers[3].output)
from_library = np.asarray(block(normalised[np.newaxis, :, :, np.newaxis]))[0]
print([layer.__class__.__name__ for layer in network.layers[1:4]],
      from_library.shape)
np.testing.assert_allclose(from_library, by_hand, atol=1e-4)

# %% [markdown]
# Why no bias? Batch normalisation, while it is trained, subtracts from each channel its mean over all pixels of all
# images in the batch. A bias adds the same
# number to all pixels of a channel, so it raises the mean by that number, and the subtraction takes it away again. It
# would be a parameter without effect. Instead, batch normalisation adds a number of its own, after the subtraction.

# %%
# the random kernel of the section on ReLU
channel = convolve(normalised, first)
with_bias = channel + 0.7
np.testing.assert_allclose(with_bias - with_bias.mean(),
                           channel - channel.mean(), atol=1e-9)

# %% [markdown]
# ## From features to probabilities
#
# At the end of a *convolutional neural network* (CNN) like that of chapter 3 stands a decision: which of four parts of
# the body does the slice show? The four possible answers are the *classes*. By then the image has become *features*,
# for example the strengths of edges, pooled. They are written in a row, and a dense layer makes one *score* for each
# class: a sum of all features with weights, plus a bias.

# %%
features = pool(edge_strength(normalised), "average").ravel().astype("float32")
dense = keras.layers.Dense(4)
dense.build((None, features.size))
weights, bias = dense.get_weights()
print("features", features.shape, "weights", weights.shape, "bias", bias.shape)
np.testing.assert_allclose(dense(features[np.newaxis])[0],
                           features @ weights + bias, atol=1e-4)

# %% [markdown]
# The larger a score, the more speaks for its class. Scores can be any numbers. The *softmax* makes probabilities of
# them: take $e$ to the power of each score, so that all are positive, and divide by the sum of all.

# %%
scores = np.array([2.0, 1.0, 0.0, -1.0])
powers = np.exp(scores)
probabilities = powers / powers.sum()
print("powers", powers.round(2), "probabilities", probabilities.round(3),
      f"sum {probabilities.sum():.1f}")
np.testing.assert_allclose(keras.ops.softmax(scores), probabilities, atol=1e-6)

# %% [markdown]
# All are between 0 and 1, they add up to 1, and the largest score has the largest probability. That makes them fit to
# be read as the probabilities of the classes. Whether the network is right in 64 % of the cases in which it says 0.64
# is another question, which only data can answer.
#
# Only differences between scores count. Add the same number to all, and each power is multiplied by the same factor,
# which the division takes away.

# %%
raised = np.exp(scores + 5)
np.testing.assert_allclose(raised / raised.sum(), probabilities)

# %% [markdown]
# This is of use when scores are large. The power of 1000 is too large for a computer's number, and becomes infinite.

# %%
large = np.array([1000.0, 999.0])
with np.errstate(over="ignore", invalid="ignore"):
    powers = np.exp(large)
    print("powers", powers, "divided", powers / powers.sum())
powers = np.exp(large - large.max())
print("largest score subtracted first:", (powers / powers.sum()).round(3))
np.testing.assert_allclose(keras.ops.softmax(large), powers / powers.sum(),
                           atol=1e-6)

# %% [markdown]
# Infinite divided by infinite is "not a number", `nan`. With the largest score subtracted the largest power is 1, and
# nothing overflows. Keras does the same.
#
# ## All together
#
# Fig. 1 of the paper {cite}`roth2018` shows a CNN in a few words: convolution, pooling, ReLU, dense layers, softmax.
# You have computed each of them. In Keras they are put in a row.

# %%
layers = keras.layers
ladder = [
    keras.Input((128, 128, 1)),
    *(layers.Conv2D(8, 3, padding="same"), layers.ReLU(),
      layers.MaxPooling2D(2)),
    *(layers.Conv2D(16, 3, padding="same"), layers.ReLU(),
      layers.MaxPooling2D(2)),
    *(layers.Flatten(), layers.Dense(4), layers.Softmax()),
]
model = keras.Sequential(ladder, name="small_cnn")
by_hand = (count_parameters(1, 8) + count_parameters(8, 16)
           + (32 * 32 * 16) * 4 + 4)
print(f"parameters by hand {by_hand:,}, Keras {model.count_params():,}")
print(f"in the dense layer {model.layers[-2].count_params():,}")

# %% alt="A diagram of the network: an input of 128 by 128, a convolution with 8 channels, a pooling to 64 by 64, a convolution with 16 channels, a pooling to 32 by 32, then flattening, a dense layer and a softmax with 4 outputs."
organseg.draw_network(model)

# %%
probabilities = np.asarray(model(normalised[np.newaxis, :, :, np.newaxis]))
print(probabilities.shape, f"sum {probabilities.sum():.1f}")
assert abs(probabilities.sum() - 1) < 1e-5 and probabilities.min() > 0

# %% [markdown]
# A slice goes in, four probabilities come out. They mean nothing yet, because the weights are random. Nearly all
# parameters are in the dense layer, 65,540 of 66,788: there, each score has a weight of its own for every feature.
# [Chapter 3](03_cnn.ipynb) trains such a network, and [chapter 4](04_fcn.ipynb) does away with the dense layer.
#
# ## Exercises
#
# ### Exercise 2.1 ★ The size of the result
#
# A row of `size` pixels gets `padding` zeros on each side, and a kernel of `kernel` pixels moves along it with the
# given `stride`. How many results are there? Write a formula that holds wherever the kernel fits.

# %% tags=["exercise"]
from organseg.course import check


def output_size(size, kernel, padding, stride):
    return ...


check("2.1", output_size)

# %% tags=["solution"]
def output_size(size, kernel, padding, stride):
    return (size + 2 * padding - kernel) // stride + 1


check("2.1", output_size)

# %% [markdown]
# ### Exercise 2.2 ★★ A kernel for thin lines
#
# A vessel in a slice can be a bright line, one pixel wide. Find a kernel of 3 × 3 that gives 0 on every image of one
# value, 0 on every ramp (an image that grows steadily along $x$ or along $y$), 1 in the middle of a line of ones that
# runs along $y$ through zeros, and 0 in the middle of such a line along $x$. The first axis of the kernel is $x$.

# %% tags=["exercise"]
line_kernel = ...

check("2.2", line_kernel)

# %% tags=["solution"]
line_kernel = np.array([[0, -0.5, 0], [0, 1, 0], [0, -0.5, 0]])

check("2.2", line_kernel)

# %% [markdown]
# ### Exercise 2.3 ★★ Max pooling for any window
#
# Pool an image with windows of `size` by `size` pixels and a stride of `size`, in NumPy. Where the last window would
# not fit, leave the rest of the image out, as Keras does.

# %% tags=["exercise"]
def max_pool(image, size):
    return ...


check("2.3", max_pool)

# %% tags=["solution"]
def max_pool(image, size):
    rows, columns = image.shape[0] // size, image.shape[1] // size
    result = np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        result[i, j] = (
            image[i * size : (i + 1) * size, j * size : (j + 1) * size].max())
    return result


check("2.3", max_pool)

# %% [markdown]
# ### Exercise 2.4 ★★ How deep must it be?
#
# A network has, on each level, two convolutions of three, and between two levels a pooling of two with stride two.
# How many levels does it need so that the receptive field of its deepest layer is at least `pixels` wide?

# %% tags=["exercise"]
def levels_needed(pixels):
    return ...


check("2.4", levels_needed)

# %% tags=["solution"]
def levels_needed(pixels):
    field, jump, levels = 5, 1, 1
    while field < pixels:
        field, jump = field + jump, jump * 2
        field, levels = field + 4 * jump, levels + 1
    return levels


check("2.4", levels_needed)

# %% [markdown]
# ## Summary
#
# - A convolution multiplies the pixels under a window by weights and adds the products, everywhere with the same weights.
# - With a stride of one, `padding="same"` keeps the size. Zero should then mean air: normalise first.
# - A layer has $k^d \cdot c \cdot f$ weights for $c$ channels, $f$ filters and kernels of size $k$ in $d$ dimensions,
#   and $f$ biases if it has any.
# - Without a ReLU between them, any number of convolutions is one convolution.
# - A convolution's result moves with the image. Pooling makes it smaller, and is invariant to some small shifts.
# - The receptive field grows by $k - 1$ jumps per layer; every stride multiplies the jump.
# - The softmax turns scores into probabilities. Subtract the largest score first.
#
# ## References
#
# The paper {cite}`roth2018`; convolution in networks in general {cite}`goodfellow2016`; the arithmetic of sizes,
# padding and strides, with drawings {cite}`dumoulin2016`; receptive fields, computed {cite}`araujo2019` and measured
# {cite}`luo2016`; what shifts do to deep networks {cite}`azulay2019,zhang2019`.
