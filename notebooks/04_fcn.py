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
# # 4. From CNN to FCN
#
# You will turn a network that names a whole slice into one that names every pixel of it.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Show that a dense layer is a convolution, and move trained weights from the one into the other.
# - Say what the network then answers for an image larger than those it was trained on, and what it does not.
# - Compute a transposed convolution by hand, and say what is transposed in it.
# - Predict from two numbers whether the stamps of a transposed convolution overlap evenly.
# - Build a fully convolutional network (FCN), and measure what its skip connections add.
#
# **You need**: convolution, padding, stride and pooling from [chapter 2](02_convolution.ipynb); the network that
# names a slice's body level, its softmax and its cross-entropy from [chapter 3](03_cnn.ipynb).
#
# **In class:** 60 minutes, exercises 40 minutes (our estimate).
#
# **Measured:** about 1.5 minutes on two CPU cores (not measured on a GPU), 1.5 GB of memory, nothing to download.

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
# ## One answer per image
#
# The network of chapter 3 looks at a slice of 64×64 pixels and says which body level it shows. Its trained weights
# come with the library. For a patient it was not trained on, we take the middle slice of each level. `answers_of` gives
# images to a network and returns its answers as a numpy array.

# %%
import numpy as np
import organseg
from organseg.backend import keras


def answers_of(network, images):
    return keras.ops.convert_to_numpy(network(images))


cnn = organseg.load_body_level_cnn()
patient = organseg.make_phantom(1004, (64, 64, 40))
middles = [int(np.median(np.flatnonzero(patient.body_levels == level)))
           for level in range(4)]
slices = np.stack([organseg.normalise(patient.image[:, :, z]) for z in middles])
answers = answers_of(cnn, slices[..., np.newaxis])
print([organseg.BODY_LEVELS[level] for level in answers.argmax(axis=1)])

# %% [markdown]
# All four are right, from top to bottom. But the answer is a word for the whole picture. To see where the places go,
# we list what comes out of the last layers.

# %%
for layer in cnn.layers[-5:]:
    print(f"{type(layer).__name__:8} {layer.output.shape[1:]}")

# %% [markdown]
# The last convolution still has places: 8×8 of them, with 64 features each. `Flatten` writes them in one row of 4096
# numbers, and from there on nothing in the network knows which of them lay side by side. This is the downside of CNNs
# that the paper {cite}`roth2018` names before it turns to FCNs.
#
# ## A dense layer is a convolution
#
# Take the features of one slice, and the weights of the first dense layer.

# %%
features_of = keras.Model(cnn.input, cnn.layers[-5].output)
features = answers_of(features_of, slices[:1, ..., np.newaxis])[0]
weights, bias = cnn.layers[-3].get_weights()
print(features.shape, weights.shape)

# %% [markdown]
# Each of the 16 outputs multiplies all 4096 features by weights of its own and adds them up. That is what a
# convolution does at one position. Nothing is lost if we leave the features at their 8×8 places and bring the weights
# to them instead: each column of weights becomes a kernel of 8×8 pixels and 64 channels.

# %%
kernel = weights.reshape(8, 8, 64, 16)
dense = features.reshape(4096) @ weights + bias
one_position = np.sum(features[..., np.newaxis] * kernel, axis=(0, 1, 2)) + bias
np.testing.assert_allclose(one_position, dense, rtol=1e-4, atol=1e-4)

# %% [markdown]
# The kernel is as large as its input, so without padding (`padding="valid"`) there is only one position where it
# fits.
#
# The second dense layer sees no places any more, only the 16 numbers of that position. It becomes a convolution with
# a kernel of one pixel: a *1×1 convolution*, which does to the channels of each pixel what a dense layer does to a
# row of numbers. In numpy it is a matrix product, at however many pixels at once.

# %%
pixels = np.random.default_rng(0).normal(size=(5, 7, 16)).astype("float32")
weights_2, bias_2 = cnn.layers[-2].get_weights()
one_by_one = keras.layers.Conv2D(4, 1)
one_by_one.build((None, 5, 7, 16))
one_by_one.set_weights([weights_2.reshape(1, 1, 16, 4), bias_2])
by_layer = answers_of(one_by_one, pixels[np.newaxis])[0]
np.testing.assert_allclose(by_layer, pixels @ weights_2 + bias_2, rtol=1e-4,
                           atol=1e-4)

# %% [markdown]
# Now we rebuild the network. The layers up to the last ReLU are used as they are; the dense layers give way to the
# two convolutions. The input has no fixed size any more (`None`).

# %%
inputs = keras.Input((None, None, 1))
x = inputs
for layer in cnn.layers[1:-4]:
    x = layer(x)
x = keras.layers.Conv2D(16, 8, activation="relu", name="first_dense")(x)
x = keras.layers.Conv2D(4, 1, activation="softmax", name="second_dense")(x)
mapper = keras.Model(inputs, x)

mapper.get_layer("first_dense").set_weights([kernel, bias])
kernel_2 = weights_2.reshape(1, 1, 16, 4)
mapper.get_layer("second_dense").set_weights([kernel_2, bias_2])

# %% [markdown]
# No weight was changed. On slices of 64×64 the two networks say the same.

# %%
maps = answers_of(mapper, slices[..., np.newaxis])
print(answers.shape, maps.shape)
np.testing.assert_allclose(maps[:, 0, 0], answers, rtol=1e-3, atol=1e-5)
assert mapper.count_params() == cnn.count_params()

# %% [markdown]
# The second shape has two more axes, of length one: the answer is an image of a single pixel. On a larger input,
# there are more positions.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("4a")

# %% [markdown]
# ## The same network on a larger image
#
# To be able to check the result, we make a larger image of which we know what is where: the four slices side by side,
# 128×128 pixels.

# %%
thorax, upper, lower, pelvis = slices
mosaic = np.block([[thorax, upper], [lower, pelvis]])
coarse = answers_of(mapper, mosaic[np.newaxis, ..., np.newaxis])[0]
print(mosaic.shape, coarse.shape)

# %% [markdown]
# Three poolings make 16×16 features of 128×128 pixels. A kernel of 8×8 fits into them at 16 − 8 + 1 = 9 positions
# along each axis. So the answer is a *coarse map*: 9×9 places with four probabilities each. Neighbours in the map are
# one feature apart, which is 8 pixels of the image: the entry at (0, 0) looks at the window of 64×64 pixels in one
# corner, the next one at the window 8 pixels further on, and the four corners of the map look at the four slices. (In
# the picture below, the first index runs to the left and the second one up.)

# %%
for i, j in ((0, 0), (0, 8), (8, 0), (8, 8)):
    print((i, j), organseg.BODY_LEVELS[coarse[i, j].argmax()])

# %% alt="Left: four axial slices in one image, two by two: thorax, upper abdomen, lower abdomen and pelvis. Right: a map of nine by nine coloured squares; its four corners have the colours of the four levels, each in the corner where that slice lies."
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6),
                                     layout="constrained")
left.imshow(mosaic.T, cmap="gray", origin="lower")
for level, (i, j) in enumerate(((0, 0), (0, 64), (64, 0), (64, 64))):
    left.text(i + 32, j + 3, organseg.BODY_LEVELS[level], color="white",
              ha="center")
left.set(title="four slices in one image", xlabel="x (pixels)",
         ylabel="y (pixels)")
levels = ListedColormap(["#56b4e9", "#e69f00", "#009e73", "#cc79a7"])
shown = right.imshow(coarse.argmax(axis=-1).T, cmap=levels, vmin=-0.5, vmax=3.5,
                     origin="lower")
right.set(title="coarse map: what each window is called", xlabel="i",
          ylabel="j")
figure.colorbar(shown, ticks=range(4),
                shrink=0.7).ax.set_yticklabels(organseg.BODY_LEVELS)
for panel in (left, right):
    panel.invert_xaxis()  # the patient's right is on the left

# %% [markdown]
# The corners are right. Read the rest with care. A window between the corners contains parts of two or four slices.
# No such picture was in the training, and none of the four answers would be true; but a softmax always gives one.
#
# ### Is it the same as cutting out the windows?
#
# Before there were FCNs, one got such a map by a *sliding window*, for example to find cell membranes
# {cite}`ciresan2012`: cut out all windows, here 81, and ask the CNN about each.

# %% tags=["quiz", "remove-input"]
quiz("4b")

# %%
windows = np.stack([mosaic[8 * i : 8 * i + 64, 8 * j : 8 * j + 64]
                    for i in range(9) for j in range(9)])
sliding = answers_of(cnn, windows[..., np.newaxis]).reshape(9, 9, 4)
difference = np.abs(sliding - coarse).max()
same = np.mean(sliding.argmax(axis=-1) == coarse.argmax(axis=-1))
print(f"passes over 64×64 pixels: {len(windows)} for the windows, "
      f"{mosaic.size // 64**2} for the map")
print(f"largest difference of a probability: {difference:.2f}, "
      f"the same answer: {same:.0%} of the windows")
assert difference > 0.01 and same > 0.7

# %% [markdown]
# Neighbouring windows share most of their pixels. The sliding window computes the features of these pixels again and
# again, 81 times 64×64 pixels in all; the map computes them once, for the price of four such windows. (The former
# dense layers work at 81 places either way.) This saving is one of the points of Long et al. {cite}`long2015`.
#
# Most windows get the same answer both ways, but not all, and some probabilities differ a lot. The reason is padding.
# Compute the receptive field of an output, as in [chapter 2](02_convolution.ipynb): every kernel widens it by its size
# less one, times the jump, and every pooling doubles the jump.

# %%
reach, jump = 1, 1
for layer in mapper.layers:
    if isinstance(layer, keras.layers.Conv2D | keras.layers.MaxPooling2D):
        size = (layer.kernel_size if isinstance(layer, keras.layers.Conv2D)
                else layer.pool_size)
        reach += (size[0] - 1) * jump
        jump *= layer.strides[0]
print(f"receptive field {reach}, jump {jump}, "
      f"beyond the window on each side {(reach - 64) // 2}")

# %% [markdown]
# An output of the map looks at 124×124 pixels: its window of 64×64, and 30 pixels more on each side. In the CNN these
# 30 pixels do not exist; each convolution puts zeros around its own input instead. In the larger image they do exist,
# and the features see them. So the map is the answer of the same weights to a slightly different question: about the
# same window *with its surroundings*. With convolutions that do not pad, the two maps are equal. A small network with
# random weights shows it; its answers are 2 pixels apart, so every fourth of them belongs to one of our windows.

# %%
anything = keras.Input((None, None, 1))
x = keras.layers.Conv2D(4, 3, activation="relu")(anything)  # without padding
x = keras.layers.MaxPooling2D(2)(x)
# one answer for 64×64 pixels
unpadded = keras.Model(anything, keras.layers.Conv2D(4, 31)(x))
by_map = answers_of(unpadded, mosaic[np.newaxis, ..., np.newaxis])[0, ::4, ::4]
by_window = answers_of(unpadded, windows[..., np.newaxis]).reshape(9, 9, 4)
np.testing.assert_allclose(by_map, by_window, atol=1e-4)

# %% [markdown]
# What we have now is a network without dense layers, for images of many sizes, whose answer has places. But it has
# one answer for every 8 pixels. To name every pixel, the map must grow again.

# %% [markdown]
# ## Up-sampling: the transposed convolution
#
# A convolution with stride gathers: many input pixels become one output pixel. The *transposed convolution* goes the
# other way and scatters. Each pixel of the input stamps the kernel, multiplied by the pixel's value, on a larger
# output. The stamps are one stride apart, and where they overlap they add up.

# %% tags=["quiz", "remove-input"]
quiz("4c")


# %%
def transposed_convolution(image, kernel, stride):
    size = len(kernel)
    rows, columns = image.shape
    result = np.zeros(((rows - 1) * stride + size,
                       (columns - 1) * stride + size))
    for i in range(rows):
        for j in range(columns):
            here = np.s_[stride * i : stride * i + size,
                         stride * j : stride * j + size]
            result[here] += image[i, j] * kernel
    return result


image = np.array([[1, 10], [100, 1000]])
kernel = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
stamped = transposed_convolution(image, kernel, stride=2)
print(stamped.astype(int))

# %% [markdown]
# The corner of the first stamp lies at the corner, the next ones two pixels further on. The digits show which stamps
# have been there: 13 is 3 × 1 from the first stamp plus 1 × 10 from its neighbour, and in the middle, at 1379, all four
# meet. The size follows too: from the first to the last of n stamps there are n − 1 strides, and then one whole kernel:
#
# $$(n - 1) \cdot \text{stride} + \text{kernel} = (2 - 1) \cdot 2 + 3 = 5$$
#
# Watch it happen, stamp by stamp. The darker a pixel, the more stamps have reached it. Before you move the second
# slider: how large will the output be with stride 1, and with stride 3? How many stamps will reach its middle?

# %%
def draw_stamps(stamps, stride):
    so_far = np.where(np.arange(4).reshape(2, 2) < stamps, image, 0)
    size = 3 + stride
    output = transposed_convolution(so_far, kernel, stride).astype(int)
    reached = transposed_convolution(so_far > 0, np.ones((3, 3)), stride)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6, 3.6), width_ratios=(1, 3), layout="constrained")
    for axes, numbers, shade in ((left, image, so_far > 0),
                                 (right, output, reached)):
        axes.imshow(shade, cmap="Blues", vmin=0, vmax=7)
        for (i, j), number in np.ndenumerate(numbers):
            axes.text(j, i, number or "", ha="center", va="center")
        axes.set(xticks=[], yticks=[])
    i, j = divmod(max(stamps - 1, 0), 2)
    for axes, step, side in ((left, 1, 1), (right, stride, 3)):
        if stamps:
            axes.add_patch(plt.Rectangle((step * j - 0.5, step * i - 0.5), side,
                                         side, fill=False, ec="C1", lw=3))
    left.set_title("input")
    right.set(title=f"output {size}×{size}", xlim=(-0.6, 5.6), ylim=(5.6, -0.6))


# %%
organseg.explore(
    draw_stamps, "The 2 by 2 input and the output: each pixel of the input "
    "adds the kernel times its value, in an orange frame.",
    start={"stamps": 2, "stride": 2}, stamps=range(5), stride=[1, 2, 3])

# %% [markdown]
# With stride 1 the four stamps share a middle of two by two pixels. With stride 3, as large as the kernel, they lie
# side by side, and no pixel gets more than one.
#
# Keras has a layer for it.

# %%
layer = keras.layers.Conv2DTranspose(1, 3, strides=2, use_bias=False)
layer.build((None, 2, 2, 1))
layer.set_weights([kernel[..., np.newaxis, np.newaxis]])
by_keras = answers_of(layer,
                      image[np.newaxis, ..., np.newaxis].astype("float32"))
np.testing.assert_array_equal(by_keras[0, ..., 0], stamped)

# %% [markdown]
# ### What is transposed
#
# A convolution is linear: each output is a sum of inputs times fixed numbers. So it can be written as a matrix. We
# find the matrix of a small one, with a kernel of three numbers and stride 2, by feeding it one pixel at a time.

# %%
def convolution(row):
    return np.array([row[0:3] @ [1, 2, 3], row[2:5] @ [1, 2, 3]])


matrix = np.stack([convolution(pixel) for pixel in np.eye(5, dtype=int)],
                  axis=1)
print(matrix, matrix.T, sep="\n\n")

# %% [markdown]
# Each row of the matrix is the kernel at one of its two positions: five pixels come in, two go out. The transposed
# matrix turns two pixels into five, and its *columns* are the kernel, one moved by two against the other: these are
# the stamps. Multiplying it by a row of pixels adds the stamps up. Our function does so in two dimensions; row 0 of
# its result uses only row 0 of the kernel, so there we can compare.

# %%
print(matrix.T @ [1, 10])
row = transposed_convolution(np.array([[1, 10]]), kernel, stride=2)[0]
np.testing.assert_array_equal(matrix.T @ [1, 10], row)

# %% [markdown]
# A matrix $A$ and its transpose belong together by a rule. For all $x$ and $y$,
#
# $$\langle A x, y \rangle = \langle x, A^\mathsf{T} y \rangle,$$
#
# where $\langle a, b \rangle$ multiplies $a$ and $b$ entry by entry and adds up. That gives a test which needs no
# matrix, so it works for images of any size.

# %%
rng = np.random.default_rng(4)
x, y = rng.normal(size=(31, 31)), rng.normal(size=(15, 15))
windows_of_x = np.lib.stride_tricks.sliding_window_view(x, (3, 3))[::2, ::2]
convolved = np.sum(windows_of_x * kernel, axis=(2, 3))
left = np.sum(convolved * y)
right = np.sum(x * transposed_convolution(y, kernel, stride=2))
np.testing.assert_allclose(left, right)

# %% [markdown]
# Transposed does not mean inverse. What a convolution with stride has thrown away does not come back: shapes fit
# again, values do not. The word *deconvolution*, which one meets for this layer, promises too much.
#
# ### It can interpolate
#
# With the right numbers in its kernel, a transposed convolution is ordinary linear interpolation. Twice the size
# needs a kernel of four pixels and stride 2: a new pixel lies at a quarter of the way between two old ones, and gets
# three quarters of the nearer one and one quarter of the other.

# %%
quarters = np.array([0.25, 0.75, 0.75, 0.25])
bilinear = np.outer(quarters, quarters)
small = rng.normal(size=(6, 6))
stamped = transposed_convolution(small, bilinear, stride=2)
doubled = stamped[1:-1, 1:-1]
print(small.shape, stamped.shape, doubled.shape)
keras_layer = keras.layers.UpSampling2D(2, interpolation="bilinear")
expected = answers_of(keras_layer,
                      small[np.newaxis, ..., np.newaxis])[0, ..., 0]
np.testing.assert_allclose(doubled[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)

# %% [markdown]
# Six pixels become (6 − 1) · 2 + 4 = 14. One pixel is cut off at each end, and twelve remain: exactly double. In
# Keras this cut is `padding="same"`. The outermost pixels are left out of the comparison: beyond the border our
# stamps see nothing, while `UpSampling2D` repeats the last pixel.
#
# ### It can learn to do better
#
# In a network nobody prescribes these sixteen numbers; interpolation is only a good place to begin. What can be
# learned in their place? We shrink the slices of one patient to half their size, and train a single transposed
# convolution to bring them back. The loss `"mse"` is the mean of the squared differences.

# %%
def half(images):
    return answers_of(keras.layers.AveragePooling2D(2), images)


def slices_of(seed):
    image = organseg.make_phantom(seed, (96, 96, 40)).image
    return np.moveaxis(organseg.normalise(image), 2, 0)[..., np.newaxis]


seen, unseen = slices_of(20), slices_of(1020)
layer = keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same",
                                     use_bias=False)
up = keras.Sequential([layer])
up.build((None, None, None, 1))
up.set_weights([bilinear[..., np.newaxis, np.newaxis]])
up.compile(keras.optimizers.Adam(0.01), "mse")
interpolated = up.evaluate(half(unseen), unseen, verbose=0)
up.fit(half(seen), seen, epochs=10, batch_size=8, verbose=0)
learned = up.evaluate(half(unseen), unseen, verbose=0)
middle_weights = up.get_weights()[0][1:3, 1:3, 0, 0]
print("interpolation's weights in the middle:", bilinear[1, 1])
assert learned < 0.96 * interpolated and np.all(middle_weights > 0.65)

# %% [markdown]
# On a patient it has never seen, the learned kernel comes a little closer to the true slices than interpolation does.
# (Noise is a part of the slices, and no kernel can bring it back.) It gives the nearest pixel more than the 0.5625 of
# the interpolation, and so blurs edges less. An up-sampling layer is a layer like any other: the loss decides what it
# does.
#
# ### Checkerboards
#
# One thing must be watched. Stamp a kernel of ones for an image of ones, and the result counts how many stamps reach
# each pixel.

# %% alt="Three maps of overlap counts. Kernel 2, stride 2: one everywhere. Kernel 3, stride 2: a checkerboard of ones, twos and fours. Kernel 4, stride 2: four everywhere but at the edges."
figure, panels = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
for panel, size in zip(panels, (2, 3, 4), strict=True):
    counts = transposed_convolution(np.ones((4, 4)), np.ones((size, size)),
                                    stride=2).astype(int)
    panel.imshow(counts, cmap="Blues", vmin=0, vmax=6)
    for (i, j), count in np.ndenumerate(counts):
        panel.text(j, i, count, ha="center", va="center")
    panel.set(title=f"kernel {size}, stride 2", xticks=[], yticks=[])
figure.suptitle("how many stamps reach each pixel")
plt.show()

# %% [markdown]
# Where the stride divides the kernel's size, all pixels away from the edges get the same number of stamps: one for
# kernel 2, four for kernel 4. With kernel 3 it is one, two or four, and until training has learned to balance that
# out, a pattern of squares lies over the output. Odena, Dumoulin and Olah {cite}`odena2016` traced the checkerboards
# in generated pictures to this. Equal counts take away this cause, but they are no guarantee: neighbouring pixels
# still get different weights of the kernel, and training must bring these into balance.

# %%
for size in (2, 3, 4, 5, 6):
    counts = transposed_convolution(np.ones((8, 8)), np.ones((size, size)),
                                    stride=2)
    print(f"kernel {size}: {np.unique(counts[6:-6, 6:-6]).astype(int)}")

# %% [markdown]
# So the networks of this course use kernel 4 (`organseg.fcn`) or kernel 2 (`organseg.unet`) with stride 2.
#
# ## The fully convolutional network
#
# Now everything is at hand. The convolutions and poolings of the CNN stay; they are called the *analysis path*. The
# first dense layer, as a convolution of 8×8, would ask about a whole window of 64×64 pixels. Now every place shall get
# an answer of its own, so a 1×1 convolution takes over: it gives every place of the deepest features a score for each
# class. Its weights are new, and the whole network is trained from the start. Transposed convolutions bring these
# scores back to full size, a factor of two at a time. A softmax per pixel ends it.
#
# One piece is missing. The deepest features know *what* is there, but pooling has merged the pixels that would say
# exactly *where*. The features before each pooling still have them. A *skip connection* hands these on: their own
# scores, by another 1×1 convolution, are added to those that come up from below. Transposed convolutions and skip
# connections are what the paper {cite}`roth2018` describes as an FCN, with its Fig. 2.
#
# As in chapter 3, each level has two convolutions, each with batch normalisation and a ReLU. With three levels the
# whole network is:

# %%
layers = keras.layers


def two_convolutions(x, filters):
    for number in (filters, 2 * filters):
        x = layers.Conv2D(number, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return x


# %%
image = keras.Input((None, None, 1))
fine = two_convolutions(image, 4)
middle = two_convolutions(layers.MaxPooling2D(2)(fine), 8)
deep = two_convolutions(layers.MaxPooling2D(2)(middle), 16)

scores = layers.Conv2D(8, 1)(deep)
scores = layers.Conv2DTranspose(8, 4, strides=2, padding="same")(scores)
scores = layers.Add()([scores, layers.Conv2D(8, 1)(middle)])
scores = layers.Conv2DTranspose(8, 4, strides=2, padding="same")(scores)
scores = layers.Add()([scores, layers.Conv2D(8, 1)(fine)])
by_hand = keras.Model(image, layers.Softmax()(scores))

# %% [markdown]
# `organseg.fcn` builds the same for any number of levels. With the same weights, it gives the same probabilities.

# %%
library = organseg.fcn(num_classes=8, base_filters=4, levels=3)
by_hand.set_weights(library.get_weights())
for network in (by_hand, library):
    print("trainable parameters:",
          sum(int(np.prod(w.shape)) for w in network.trainable_weights))
examples = seen[18:20]
np.testing.assert_allclose(answers_of(by_hand, examples),
                           answers_of(library, examples), rtol=1e-4, atol=1e-5)

# %% alt="The fully convolutional network drawn layer by layer: three levels down, two transposed convolutions up, and two skip connections across."
organseg.draw_network(library)

# %% [markdown]
# The skips add scores, as those of Long et al. {cite}`long2015` do. The U-Net of the paper, later in this course,
# joins the features instead.
#
# ### Any size, nearly
#
# Without dense layers, no size is built in: what comes in as an image goes out as one of the same size.

# %%
for shape in ((96, 96), (64, 128)):
    print(shape, "to", answers_of(library, np.zeros((1, *shape, 1))).shape)

# %% tags=["quiz", "remove-input"]
quiz("4d")

# %% [markdown]
# Two poolings halve the image twice, so each side must be a multiple of four. What if not? 50 pixels become 25, then
# 12, since pooling drops the odd one. On the way up 12 become 24, and 24 scores cannot be added to 25.

# %%
print("sizes on the way down:", [50 // 2**level for level in range(3)])
try:
    library(np.zeros((1, 50, 50, 1)))
except Exception as error:
    print("error that names 24 and 25:",
          "24" in str(error) and "25" in str(error))
without = organseg.fcn(num_classes=8, base_filters=4, levels=3, skips=False)
print("without skips:", without(np.zeros((1, 50, 50, 1))).shape)

# %% [markdown]
# The network without skips raises no error. It returns an image without the last two pixels of each axis, which is
# worse: nobody is told. Whoever then stretches the answer to the size of the image shifts all organs.
#
# The remedy is to fill up with air at the far ends to the next multiple, and to cut the answer back.

# %%
odd = organseg.normalise(np.full((50, 50), -1000.0))
missing = [-size % 4 for size in odd.shape]
padded = np.pad(odd, [(0, more) for more in missing])
whole = answers_of(library, padded[np.newaxis, ..., np.newaxis])[0]
print(padded.shape, whole[: odd.shape[0], : odd.shape[1]].shape)
assert padded.max() == 0

# %% [markdown]
# `np.pad` fills with zeros, and zero is what `organseg.normalise` makes of air, which has −1000 HU.
#
# ## What the skip connections add
#
# We train the network twice, once with skips and once without, and change nothing else: the same slices, the same
# number of steps, the same random seed. We take twelve patients, and of their slices those that show an organ.

# %%
def organ_slices(seeds):
    cases = [organseg.make_phantom(seed, (96, 96, 40)) for seed in seeds]
    images = np.concatenate([np.moveaxis(organseg.normalise(case.image), 2, 0)
                             for case in cases])
    labels = np.concatenate([np.moveaxis(case.label, 2, 0) for case in cases])
    with_organs = labels.any(axis=(1, 2))
    return images[with_organs][..., np.newaxis], labels[with_organs]


images, labels = organ_slices(range(12))
test_images, truth = organ_slices(range(1000, 1003))
centre = np.s_[:, 12:84, 24:88]
print("for training:", images[centre].shape, "for the test:", test_images.shape)

# %% [markdown]
# The loss is the cross-entropy of chapter 3. There it was −log of the probability of a slice's true level; here it is
# −log of the probability of a pixel's true class, averaged over all pixels. Keras has the same name for both. The
# learning rate falls from 0.01 to zero along half a cosine, so that the training ends quietly.
#
# To save half of the time, we train on the middle of the slices, where the organs are. Whole slices come when the
# network is used. A network with dense layers could not do that.

# %%
def trained(skips):
    keras.utils.set_random_seed(4)
    network = organseg.fcn(num_classes=8, base_filters=4, levels=4, skips=skips)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 8 * len(images) // 4)
    network.compile(keras.optimizers.Adam(rate),
                    "sparse_categorical_crossentropy")
    network.fit(images[centre], labels[centre], epochs=8, batch_size=4,
                verbose=0)
    return network


without_skips = trained(skips=False)

# %%
with_skips = trained(skips=True)

# %% [markdown]
# At every pixel, the class with the highest probability is the answer. We ask both
# networks about three patients that neither has seen, and look at the slice that shows most of artery, vein and
# pancreas.

# %%
plain = without_skips.predict(test_images, verbose=0).argmax(axis=-1)
skipping = with_skips.predict(test_images, verbose=0).argmax(axis=-1)

# %% alt="One axial slice three times with organs in colour. Truth: all organs with their outlines. Without skips: a coarse liver, the artery misplaced, small organs missing or misplaced. With skips: outlines closer to the truth, the artery in place, more of the small organs found; much is missing in both."
# artery, vein, pancreas
example = np.isin(truth, [1, 2, 7]).sum(axis=(1, 2)).argmax()
organ_colours = ListedColormap([organ.colour for organ in organseg.ORGANS])
figure, panels = plt.subplots(1, 3, figsize=(8, 3.1), layout="constrained")
named = {"truth": truth, "without skips": plain, "with skips": skipping}
for panel, (name, label) in zip(panels, named.items(), strict=True):
    panel.imshow(test_images[centre][example, ::-1, :, 0].T, cmap="gray",
                 origin="lower")
    organs = np.ma.masked_equal(label[centre][example, ::-1].T, 0)
    panel.imshow(organs, cmap=organ_colours, vmin=1, vmax=7, origin="lower",
                 interpolation="nearest")
    panel.set(title=name, xticks=[], yticks=[])
handles = [plt.Rectangle((0, 0), 1, 1, color=organ.colour)
           for organ in organseg.ORGANS]
figure.legend(handles, organseg.ORGAN_NAMES, loc="outside lower center",
              ncols=7, fontsize=8, handlelength=1)
plt.show()

# %% [markdown]
# Without skips the liver is there, with a coarse outline, and small organs are lost or misplaced. With skips more
# organs are found, and where one is found, its outline follows the image more closely. But compare with the truth:
# much is still missing.
#
# To put a number on it, we use the *Dice* overlap of two masks: twice the pixels they share, divided by the pixels of
# both together. It is 1 where they are equal and 0 where they do not meet; chapter 5 is about it.

# %% tags=["nbval-ignore-output"]
def dice_of(prediction):
    return np.array([organseg.dice(truth == organ.id, prediction == organ.id)
                     for organ in organseg.ORGANS])


dice_plain, dice_skipping = dice_of(plain), dice_of(skipping)
vessels, liver = [0, 1], 2
for name, one, other in zip(organseg.ORGAN_NAMES, dice_plain, dice_skipping):
    print(f"{name:12}{one:.2f} without skips, {other:.2f} with skips")
assert dice_plain[liver] > 0.7 and dice_skipping[liver] > 0.7
assert dice_skipping[vessels].mean() > dice_plain[vessels].mean() + 0.15
assert dice_skipping.mean() > dice_plain.mean() + 0.08
assert dice_skipping.min() < 0.6

# %% alt="Pairs of bars, the Dice of each organ without and with skips. For the liver both are high and nearly equal; for artery and vein the bars with skips are far higher."
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
places = np.arange(len(organseg.ORGANS))
axes.bar(places - 0.2, dice_plain, width=0.4, color="silver",
         label="without skips")
axes.bar(places + 0.2, dice_skipping, width=0.4, color="tab:blue",
         label="with skips")
axes.set(xticks=places, xticklabels=organseg.ORGAN_NAMES, ylabel="Dice",
         ylim=(0, 1), title="three unseen patients")
axes.legend()
plt.show()

# %% [markdown]
# The liver, the largest organ, is found about equally well by both: well above 0.7. Artery and vein, which are only a
# few pixels wide, gain far more. Look at the pancreas and the gallbladder, too.
#
# Detail is at the borders. A pixel is at a border if one of its eight neighbours has another label. Which network gets
# fewer of these pixels wrong?

# %%
from scipy import ndimage

highest = ndimage.maximum_filter(truth, (1, 3, 3))
border = highest != ndimage.minimum_filter(truth, (1, 3, 3))
wrong_plain = np.mean(plain[border] != truth[border])
wrong_skipping = np.mean(skipping[border] != truth[border])
print(f"share of pixels at a border: {border.mean():.3f}")
print("fewer wrong with skips:", bool(wrong_skipping < wrong_plain))
assert wrong_skipping < wrong_plain - 0.04

# %% [markdown]
# The one with skips. (Some of its lead are organs that the other misses altogether, with their borders.) This fits
# what the paper {cite}`roth2018` says of them: they bring in features that are closer to the original image, and so
# help towards a more detailed result. It also says that they can speed up training. Both networks had the same few
# steps, so a part of the difference may be only that the one without skips learns more slowly.
#
# ## What is still missing
#
# Look again at the bars. Even with skips, some organs score low. The network is small and its training short. But two
# reasons would remain in a longer one.
#
# **What the loss asks for.** Count the pixels of each class in what the network was trained on.

# %%
shares = np.bincount(labels[centre].ravel(), minlength=8) / labels[centre].size
for name, share in zip(("background", *organseg.ORGAN_NAMES), shares,
                       strict=True):
    print(f"{name:12} {100 * share:5.2f} %")

# %% [markdown]
# Nearly nine pixels in ten are background, and the gallbladder has less than one in a thousand. The mean over all
# pixels hardly notices an organ so small: a network that misses all of it is right nearly everywhere. What should the
# training reward instead? That is [chapter 5](05_dice.ipynb).
#
# **What the network sees.** It looks at one slice at a time. A round bright spot may be a vessel that runs through
# many slices, or the top of something that only begins here; a person would scroll up and down and know. A network
# for slices cannot. The convolutions of a *3-D* network reach into the neighbouring slices too, and nothing in this
# chapter was special to two dimensions: `organseg.fcn(spatial_dims=3)` is the same network with kernels in 3-D. The
# 3D U-Net of the paper goes this way.
#
# ## Exercises
#
# ### Exercise 4.1 ★ How large is the output?
#
# A transposed convolution is given by the size of its kernel and its stride. Afterwards `crop` pixels are cut off at
# *each* end, as we did with the interpolation. Write the function that says how many pixels come out along one axis.
# (The kernel is at least as large as the stride.)

# %% tags=["exercise"]
from organseg.course import check


def output_size(size, kernel, stride, crop):
    return ...


check("4.1", output_size)

# %% tags=["solution"]
def output_size(size, kernel, stride, crop):
    return (size - 1) * stride + kernel - 2 * crop


check("4.1", output_size)

# %% [markdown]
# ### Exercise 4.2 ★★ How many positions?
#
# The network of the coarse map gets an image of any size from 64×64 pixels up, square or not. `shape` is the
# size of the image along both axes. A pooling drops an odd last pixel. Return the size of the map along both axes.

# %% tags=["exercise"]
def positions(shape):
    return ...


check("4.2", positions)

# %% tags=["solution"]
def positions(shape):
    return tuple(size // 8 - 8 + 1 for size in shape)


check("4.2", positions)

# %% [markdown]
# ### Exercise 4.3 ★★★ Weights from another program
#
# Keras keeps the channel last, so `Flatten` writes the features of one pixel side by side. Other programs, PyTorch for
# one, keep the channel *first*: their features have the shape (channels, height, width), and flattening them writes
# one whole channel after the other. Somebody gives you the weights of such a dense layer, with one row per feature in
# that order and one column per output (PyTorch itself stores the transpose; that is already undone). Make the Keras
# kernel of the shape (height, width, channels, outputs) from them.

# %% tags=["exercise"]
def kernel_of(weights, height, width, channels):
    return ...


check("4.3", kernel_of)

# %% tags=["solution"]
def kernel_of(weights, height, width, channels):
    as_stored = weights.reshape(channels, height, width, -1)
    return as_stored.transpose(1, 2, 0, 3)


check("4.3", kernel_of)

# %% [markdown]
# ## Summary
#
# - A dense layer after `Flatten` is a convolution whose kernel is as large as the features; a dense layer after that is
#   a 1×1 convolution. Only the shape of the weights changes.
# - Without dense layers, a network takes images of many sizes and answers with a map.
# - A transposed convolution stamps its kernel for every pixel; its matrix is the transpose of a convolution's. It can
#   interpolate, and it can learn something better. Its stride should divide its kernel's size.
# - An FCN brings class scores back to full size by transposed convolutions, and skip connections add what only the
#   finer levels know: where exactly.
# - Sizes must be multiples of 2 to the number of poolings; otherwise pad, and cut back.
#
# ## References
#
# {cite}`roth2018` describes CNN and FCN in its section I and draws the FCN in its Fig. 2. {cite}`long2015` introduced
# the FCN, with the dense layers as convolutions and the sum of scores. {cite}`odena2016` is about checkerboards.
