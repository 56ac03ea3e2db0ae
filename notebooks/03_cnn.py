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
# # 3. A CNN that knows where it is in the body
#
# You build a network that looks at one CT slice and says which part of the trunk it shows, and you learn to tell how
# far its answers can be trusted.

# %% [markdown] tags=["head"]
# ## Objectives
# - Build a convolutional neural network (CNN) from convolutions, pooling, dense layers and a softmax.
# - Compute the cross-entropy by hand, and say what it rewards.
# - Split data by patient, and show what happens if you do not.
# - Read a confusion matrix, and find out which slices are wrong and why.
# - See over-fitting in the curves, and reduce it.
#
# **You need**: convolution, padding, ReLU and pooling from [chapter 2](02_convolution.ipynb); HU and voxel sizes from
# [chapter 1](01_ct_and_geometry.ipynb). You need not know Keras: every layer is explained when it first comes.
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
# ## The task
#
# A CT scan of the trunk is a stack of slices. Someone who knows anatomy sees at once whether a slice shows lung,
# liver, bowel or hips. We want a network that does the same: a slice goes in, one of four *body levels* comes out.
# Naming the part of the body that a slice shows was an early use of CNNs on CT {cite}`roth2015anatomy`, and it is the
# example in Fig. 1 of the paper {cite}`roth2018`.
#
# A task like this is called *classification*: the levels are the *classes*, and the right class of a slice is its
# *label*. Learning from examples with labels is *supervised* learning.

# %%
import organseg

cases = [organseg.make_phantom(seed, (64, 64, 32)) for seed in range(24)]
print(len(cases), "patients, slices:", cases[0].image.shape,
      organseg.BODY_LEVELS)

# %% [markdown]
# The patients are phantoms: drawn, not scanned, so that we know the level of every slice. `case.body_levels` holds it as
# an index into `BODY_LEVELS`. Where one level ends and the next begins is a rule. The phantom's borders are fixed heights
# on its spine: about the top of the diaphragm (the muscle under the lungs), about the lower end of the right kidney,
# and the top of the sacrum, the bone at the back of the pelvis. Organs differ from patient to patient, so the first
# two landmarks may lie up to two slices from their border.
#
# Here is one patient from the front, with the three borders.

# %% alt="A coronal view of a phantom with three horizontal lines. Above the first line are lungs, between the lines liver and bowel, around and below the last line the hip bones."
import matplotlib.pyplot as plt
import numpy as np

case = cases[0]
width, _, slice_distance = case.spacing
# the first slice above each border
borders = np.flatnonzero(np.diff(case.body_levels.astype(int))) + 1
figure, axes = plt.subplots(figsize=(6, 5))
extent = (0, 64 * width, 0, 32 * slice_distance)
axes.imshow(case.image[::-1, 30].T, cmap="gray", origin="lower", vmin=-160,
            vmax=240, extent=extent)
for border in borders:
    axes.axhline(border * slice_distance, color="orange")
for level, name in enumerate(organseg.BODY_LEVELS):
    middle = (np.flatnonzero(case.body_levels == level).mean()
              + 0.5) * slice_distance
    axes.text(66 * width, middle, name, va="center")
axes.set(xlabel="mm, patient's right on the left",
         ylabel="mm above the lowest slice")
_ = axes.set_title("Coronal view and the borders of the levels")

# %% [markdown]
# Each slice becomes one image of the data set. `organseg.normalise` maps HU to the range from 0 to 1, as in [chapter
# 1](01_ct_and_geometry.ipynb). `np.moveaxis` brings the slices to the front, and the last axis, of length one, is the
# *channel*: a CT has one number per pixel, a colour photograph would have three.


# %%
def slices_of(cases):
    images = [np.moveaxis(organseg.normalise(case.image), 2, 0)
              for case in cases]
    levels = [case.body_levels for case in cases]
    return (np.concatenate(images)[..., np.newaxis],
            np.concatenate(levels).astype(int))


images, levels = slices_of(cases)
print(images.shape, "slices of each level:", np.bincount(levels))

# %% [markdown]
# The levels are not equally frequent. Slice 0 is the lowest, and the scans end near the top of the diaphragm: there
# are few slices of the thorax, and some patients have none. We shall have to remember that.

# %% alt="Four columns of three axial slices each: thorax with lungs and heart, upper abdomen with liver, lower abdomen with bowel, pelvis with hip bones."
figure, axes = plt.subplots(3, 4, figsize=(7, 5.5), layout="constrained")
for column, name in enumerate(organseg.BODY_LEVELS):
    axes[0, column].set_title(name)
    for row, patient in enumerate((0, 1, 2)):
        own = np.flatnonzero(cases[patient].body_levels == column)
        picture = images[32 * patient + own[len(own) // 2], :, :, 0]
        axes[row, column].imshow(picture[::-1].T, cmap="gray", origin="lower",
                                 vmin=0, vmax=1)
        axes[row, column].axis("off")
_ = figure.suptitle("One slice of each level, of three patients")

# %% [markdown]
# ## First set patients aside
#
# A network is judged on data that it has not seen. Before anything else, some patients are put away as the *test* set:
# they are kept for judging, and nothing is chosen or changed because of them. A few more are the *validation* set, to
# watch the training with. The rest is the *training* set. The draw is random, and it is by patient. Further down you
# see what happens if it is not.

# %%
names = sorted(case.name for case in cases)
held_out = set(np.random.default_rng(0).permutation(names)[:6].tolist())
test_by_hand = [case.name for case in cases if case.name in held_out]
print(test_by_hand)

# %% [markdown]
# `organseg.split` does the same. It also keeps together several scans of one patient, and refuses to leave nothing to
# train on. We use it twice.

# %%
others, test_cases = organseg.split(cases, test=6)
training_cases, validation_cases = organseg.split(others, test=4)
assert [case.name for case in test_cases] == test_by_hand

training, validation, test = (
    slices_of(part) for part in (training_cases, validation_cases, test_cases))
for name, part in zip(("training", "validation", "test"),
                      (training, validation, test), strict=True):
    print(f"{name:10} {len(part[1]):3} slices of {len(part[1]) // 32} patients")

# %% [markdown]
# ## How far one gets without a network
#
# An accuracy means nothing by itself. Two simple rules tell what is easy here. The first always says the level that
# is most frequent in training. The second measures the mean brightness of a slice, and says the level whose mean
# brightness in training is nearest.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("3a")

# %%
most_frequent = np.bincount(training[1]).argmax()
constant_accuracy = np.mean(test[1] == most_frequent)

brightness = training[0].mean(axis=(1, 2, 3))
level_brightness = np.array([brightness[training[1] == level].mean()
                             for level in range(4)])
nearest = np.abs(test[0].mean(axis=(1, 2, 3))[:, np.newaxis]
                 - level_brightness).argmin(axis=1)
brightness_accuracy = np.mean(nearest == test[1])
print(f"always '{organseg.BODY_LEVELS[most_frequent]}': "
      f"{constant_accuracy:.2f}, brightness: {brightness_accuracy:.2f}")

# %% [markdown]
# *Accuracy* is the share of slices that are named correctly. Whatever we build must be clearly better than both.
#
# ## The network, layer by layer
#
# Chapter 2 chose the numbers of a kernel by hand. A CNN has many kernels, and their numbers are learned. We write it
# with Keras: a layer is a function, and applying one after the other to `x` builds the network like a ladder.
#
# One rung has three layers. The *convolution* slides several 3×3 kernels over its input, and each gives a picture of
# its own, a *feature map*. `padding="same"` pads with zeros, so that the size stays. *Batch normalisation* brings the
# feature maps to a common scale; we come back to it (it adds a shift of its own, so the convolution needs no bias).
# The *ReLU* replaces negative numbers by zero. Without such a non-linear step, many convolutions in a row would be no
# more than a single one.

# %%
from organseg.backend import keras

layers = keras.layers


def convolution(x, filters):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x)


# %% [markdown]
# Two such rungs, then a *max pooling*: of each 2×2 pixels only the largest number stays, so the picture has half the
# size in both directions. The next kernel of 3×3 then covers twice the distance in the body. A pattern that moves by
# a pixel often leaves the same maximum: pooling makes the network a little insensitive to shifts, as the paper
# {cite}`roth2018` says ([chapter 2](02_convolution.ipynb) has it in loops).
#
# While the pictures shrink, their number grows: each picture size has two convolutions, the second with twice as many
# kernels, and the next size begins with that number. After three poolings, 64×64 pixels have become 8×8.

# %%
inputs = keras.Input((64, 64, 1))
x = convolution(convolution(inputs, 4), 8)
for filters in (8, 16, 32):
    x = layers.MaxPooling2D(2)(x)
    x = convolution(convolution(x, filters), 2 * filters)
print(x.shape)

# %% [markdown]
# `None` stands for the number of images, which may be any. Up to here the network knows *what is where*. Now it has
# to decide. `Flatten` writes all numbers into one row. A *dense* layer multiplies this row by a matrix of weights and
# adds a bias, so that each output depends on all inputs. The last layer gives four *scores*, one per level.

# %%
x = layers.Flatten()(x)
print("numbers in a row:", x.shape[1])
x = layers.Dense(16, activation="relu")(x)
scores = layers.Dense(4)(x)

# %% [markdown]
# Scores may be any numbers. The *softmax* makes probabilities of them: each is positive, and their sum is one.
#
# $$p_k = \frac{e^{s_k}}{\sum_j e^{s_j}}$$

# %%
network_by_hand = keras.Model(inputs, layers.Softmax()(scores))


def softmax(scores):
    powers = np.exp(scores - scores.max())  # the largest first, as in chapter 2
    return powers / powers.sum()


print(softmax(np.array([2.0, 0.0, -1.0, 1.0])).round(3))

# %% [markdown]
# That is all of Fig. 1. `organseg.cnn` builds the same network: the same kinds of layers in the same order, with the
# same number of parameters. With the same weights it gives the same answers. `base_filters` is the number of kernels
# of the first convolution; `levels` here is the number of picture sizes (64, 32, 16, 8: four), with one pooling
# between two of them.

# %%
network = organseg.cnn(num_classes=4, input_size=64, base_filters=4, levels=4)
kinds = [[type(layer).__name__ for layer in one.layers]
         for one in (network_by_hand, network)]
print(len(kinds[0]), "layers,", network.count_params(), "parameters, sizes",
      [64 // 2**level for level in range(4)])
assert kinds[0] == kinds[1]
assert network_by_hand.count_params() == network.count_params()

network_by_hand.set_weights(network.get_weights())
answers = [one.predict(images[:5], verbose=0)
           for one in (network_by_hand, network)]
np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-6)

# %% alt="The CNN drawn as a staircase of four cards, from 64×64 pixels down to 8×8, followed by the dense layers and the softmax." slide="Each level halves the image and doubles the channels; the dense layers give one answer for the whole slice."
organseg.draw_network(network)

# %% [markdown]
# Where do the parameters sit? A convolution with 3×3 kernels from $a$ to $b$ feature maps has $3\cdot3\cdot a\cdot b$
# weights, at any image size. (The drawing's 44 for the first are these 36 and two numbers per feature map for batch
# normalisation.) The first dense layer has one weight per input and output, and one bias per output.

# %%
convolutions = sum(layer.count_params() for layer in network.layers
                   if isinstance(layer, layers.Conv2D))
first = 3 * 3 * 1 * 4
dense = 8 * 8 * 64 * 16 + 16
assert dense == network.layers[-3].count_params()
print(f"the first convolution: {first}, with its batch normalisation: "
      f"{first + 2 * 4}")
print(f"all convolutions: {convolutions}, the first dense layer: {dense}")

# %% [markdown]
# More than half of all parameters are in one dense layer, and it works for one image size only. Keep this in mind for
# [chapter 4](04_fcn.ipynb).
#
# ## What to reward: the cross-entropy
#
# Training changes the weights so that a number, the *loss*, becomes small. Which number? Suppose the network gives
# the right levels of all slices the probabilities $p_1, p_2, \dots, p_N$. If slices count as independent, the
# probability of getting every one of them right is the product $p_1 \cdot p_2 \cdots p_N$. We want it to be large.
# Products of many small numbers are awkward, so we take the logarithm, which turns the product into a sum; we change
# its sign, since a loss should be small; and we divide by the number of slices.
#
# $$L = -\frac{1}{N} \sum_{n=1}^{N} \log p_n$$
#
# This is the *cross-entropy*. For one slice it is easy to follow. These are its four scores, and it shows the upper
# abdomen, level 1.

# %% tags=["quiz", "remove-input"]
quiz("3b")

# %%
slice_scores = np.array([2.0, 0.0, -1.0, 1.0])
probabilities = softmax(slice_scores)
print(f"right level: probability {probabilities[1]:.3f}, "
      f"loss {-np.log(probabilities[1]):.3f}")
print(f"a guess among four: probability {1 / 4}, loss {-np.log(1 / 4):.3f}")

# %% [markdown]
# A network that is sure and right has a loss near 0. One that knows nothing and gives each level a quarter has 1.386.
# One that is sure and wrong is punished more, without limit: the slice above was called thorax, and costs more than a
# guess.
#
# In which direction does the loss push the scores? For right level $r$ the loss is $-\log p_r = -s_r + \log \sum_j
# e^{s_j}$. The derivative of the second term with respect to $s_k$ is $e^{s_k} / \sum_j e^{s_j} = p_k$; the first adds
# $-1$ for $k = r$. Together: $p - y$, where $y$ is 1 for the right level and 0 for the others. We check it by moving
# each score a little.

# %%
right = np.array([0, 1, 0, 0])
step = 1e-6 * np.eye(4)
change = [-np.log(softmax(slice_scores + h)[1])
          + np.log(softmax(slice_scores - h)[1]) for h in step]
print((np.array(change) / 2e-6).round(3), (probabilities - right).round(3))
np.testing.assert_allclose(np.array(change) / 2e-6, probabilities - right,
                           atol=1e-6)

# %% [markdown]
# Training goes against the derivative: the right score goes up, and the wrong ones go down in proportion to how much
# was believed in them. When the answer is right and sure, nothing is left to push.
#
# Change the score of the right level, and leave the other three as they are. Before you move the slider: at which
# score are the right level and the thorax equally likely? Does the loss fall by as much from 4 to 8 as from −4 to 0?

# %%
def draw_softmax(score):
    moved = np.array([2.0, score, -1.0, 1.0])
    p = softmax(moved)
    figure, panels = plt.subplots(1, 3, figsize=(7.6, 2.6),
                                  layout="constrained")
    colours = ["0.6", "tab:orange", "0.6", "0.6"]
    names = [name.replace(" ", "\n") for name in organseg.BODY_LEVELS]
    for axes, values, title in zip(panels, (moved, p, right - p), (
            "scores", f"probability {p[1]:.3f}", "pushes on the scores")):
        axes.bar(range(4), values, color=colours)
        axes.set_title(title)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_xticks(range(4), names, fontsize=7)
    for axes, limits in zip(panels, ((-5, 9), (0, 1), (-1, 1))):
        axes.set_ylim(limits)
    figure.suptitle(f"loss {-np.log(p[1]):.3f}")


log_p = {score: np.log(softmax(np.array([2.0, score, -1.0, 1.0]))[1])
         for score in (-4, 0, 4, 8)}
assert log_p[0] - log_p[-4] > 3.9 and log_p[8] - log_p[4] < 0.2

# %%
organseg.explore(
    draw_softmax, "Bars for the four levels: their scores, their "
    "probabilities, and how training pushes their scores.",
    start={"score": 0}, score=[-4, -2, -1, 0, 1, 2, 3, 4, 6, 8])

# %% [markdown]
# Where the right level is believed least, the loss is steepest: from −4 to 0 it falls by almost four, from 4 to 8 by
# less than a fifth. The pushes always add up to zero, and most of what pushes down hits the level that was believed by
# mistake.
#
# Keras computes the same from all slices. The levels are given as integers, hence the word *sparse* in its name.

# %%
predicted = network.predict(training[0], verbose=0)
of_the_right_level = predicted[np.arange(len(predicted)), training[1]]
loss_by_hand = -np.log(of_the_right_level).mean()
cross_entropy = keras.losses.SparseCategoricalCrossentropy()
loss_by_keras = cross_entropy(training[1], predicted)
np.testing.assert_allclose(loss_by_hand, float(loss_by_keras), rtol=1e-4)

# %% [markdown]
# ## Batch normalisation, and a trap
#
# For each feature map, a batch normalisation layer computes mean and variance over all pixels of all images in the
# mini-batch (the few slices of one training step), subtracts the mean and divides by the standard deviation
# {cite}`ioffe2015`. Then it scales by $\gamma$ and shifts by $\beta$, which are learned; $\varepsilon$ is a small
# number that prevents division by zero. Training becomes faster and depends less on how the weights began.
#
# $$\hat x = \gamma\,\frac{x - \text{mean}}{\sqrt{\text{variance} + \varepsilon}} + \beta$$

# %%
norm = layers.BatchNormalization(momentum=0.9)
batch = np.random.default_rng(0).normal(5, 3, (8, 6, 6, 2)).astype("float32")
result = keras.ops.convert_to_numpy(norm(batch, training=True))
mean, variance = batch.mean(axis=(0, 1, 2)), batch.var(axis=(0, 1, 2))
expected = (batch - mean) / np.sqrt(variance + norm.epsilon)
np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)

# %% [markdown]
# In use, there may be a single image, and its answer should not depend on what else is in the batch. So the layer
# keeps *moving averages* of mean and variance while it trains, and uses these afterwards. At each step, the average
# keeps the share `momentum` of its old value and takes the rest from the mini-batch; it starts at mean 0 and variance
# 1. Here is the trap: Keras' default momentum is 0.99. We are about to train for 14 steps per epoch, that is, per pass
# through all training slices; how much of the averages' arbitrary starting value is left after five epochs?

# %% tags=["quiz", "remove-input"]
quiz("3c")

# %%
for momentum in (0.99, 0.9):
    print(f"momentum {momentum}: "
          f"{momentum**70:.4f} of the start is left after 70 steps")
momenta = {layer.momentum for layer in network.layers
           if isinstance(layer, layers.BatchNormalization)}
print("organseg uses", momenta)
assert momenta == {0.9}

# %% [markdown]
# With 0.99, half of what the layer uses would still be its starting value, and a network that does well in training
# could fail in use. In short trainings like ours, 0.9 is safer.
#
# ## Training
#
# The weights begin as small random numbers. A step takes a *mini-batch* of 32 slices, computes the loss, and moves
# every weight a little in the direction that lowers it; *Adam* is a rule for how far, and its *learning rate*, here
# 0.001, sets the scale ([chapter 8](08_training.ipynb) writes it out). When every slice has been used once, an *epoch*
# is over.

# %%
keras.utils.set_random_seed(1)
network = organseg.cnn(num_classes=4, input_size=64, base_filters=4, levels=4)
network.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy",
                metrics=["accuracy"])
history = network.fit(*training, validation_data=validation, batch_size=32,
                      epochs=12, verbose=0).history

# %% alt="Two pictures over twelve epochs. Left: the training and the validation loss fall far below the dotted line of a guess. Right: both accuracies rise towards one."
epochs = range(1, 13)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for key, name in (("", "training"), ("val_", "validation")):
    left.plot(epochs, history[f"{key}loss"], label=name)
    right.plot(epochs, history[f"{key}accuracy"], label=name)
left.axhline(np.log(4), color="gray", linestyle=":", label="a guess")
left.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, 2))
right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
_ = left.legend()

# %% [markdown]
# Both losses fall far below that of a guess. In the first epochs validation lags: it uses the moving averages, which
# are still on their way. At the end a gap remains; we come back to it under over-fitting. Now the test patients. From
# here on the network is not changed any more. (A training ends a little differently on another machine, so the numbers
# that come from it, here and below, may differ from yours in the last digits. What the `assert` lines say holds on
# all.)

# %% tags=["nbval-ignore-output"]
test_loss, test_accuracy = network.evaluate(*test, verbose=0)
print("better than the rule:", test_accuracy > brightness_accuracy)
print(f"accuracy on the test patients: {test_accuracy:.2f}")
assert test_accuracy > 0.85
assert test_accuracy > brightness_accuracy + 0.1

# %% [markdown]
# Far better than what brightness alone can do. But there is one more rule without a network, and it is
# a strong one: say the level that slices with the *same number* in their scan mostly had in training.

# %%
by_number = np.zeros((32, 4), dtype=int)
for case in training_cases:
    np.add.at(by_number, (np.arange(32), case.body_levels), 1)
number_answer = by_number.argmax(axis=1)
number_accuracy = np.mean(np.tile(number_answer, 6) == test[1])
print(f"by the number of the slice: {number_accuracy:.2f}")

# %% [markdown]
# All our scans cover about the same part of the body, so the number of a slice says much. The rule does not look at
# the image at all, and it breaks as soon as a scan covers something else. Suppose the lowest ten slices of each test
# scan had not been taken: slice 10 is then the first.

# %%
shorter = [case.body_levels[10:] for case in test_cases]
shorter_accuracy = np.mean(
    np.tile(number_answer[:22], 6) == np.concatenate(shorter))
print(f"by the number of the slice, in shorter scans: {shorter_accuracy:.2f}")

# %% tags=["nbval-ignore-output"]
guesses = network.predict(test[0], verbose=0).argmax(axis=1)
kept = np.tile(np.arange(32) >= 10, 6)
in_whole = np.mean(guesses == test[1])
in_shorter = np.mean(guesses[kept] == test[1][kept])
print(f"by the network: {in_whole:.2f} in whole scans, "
      f"{in_shorter:.2f} in shorter ones")
assert in_shorter > 0.75

# %% [markdown]
# The network sees one slice at a time and never knew the number, so its answers for the slices that remain are the
# same as before. Ask of every method that does well what it does well *with*.
#
# ## Which slices are wrong?
#
# One number hides much. A *confusion matrix* counts, for each true level (row), what was said (column). Each slice
# adds one to one place, and the diagonal holds what is right.

# %%
confusion = np.zeros((4, 4), dtype=int)
np.add.at(confusion, (test[1], guesses), 1)
assert confusion.sum() == len(guesses)
assert confusion.trace() / confusion.sum() == np.mean(guesses == test[1])

# %% alt="A four by four confusion matrix. Nearly all slices are on the diagonal, the others right beside it."
figure, axes = plt.subplots(figsize=(4.5, 4))
axes.imshow(confusion, cmap="Blues")
for row, column in np.ndindex(4, 4):
    shade = "white" if confusion[row, column] > confusion.max() / 2 else "black"
    axes.text(column, row, confusion[row, column], color=shade, ha="center",
              va="center")
names = [name.replace(" ", "\n") for name in organseg.BODY_LEVELS]
axes.set(xticks=range(4), yticks=range(4), xticklabels=names, yticklabels=names)
_ = axes.set(xlabel="the network says", ylabel="true level")

# %% [markdown]
# From a row one reads the *recall* of a level: of the slices that show the thorax, which share was found? From a
# column one reads its *precision*: of the slices that were called thorax, which share was right?

# %% tags=["nbval-ignore-output"]
thorax_recall = confusion[0, 0] / confusion[0].sum()
thorax_precision = confusion[0, 0] / confusion[:, 0].sum()
assert thorax_recall > 0.5 and thorax_precision > 0.5
print(f"thorax: recall {thorax_recall:.2f}, precision {thorax_precision:.2f}")
print(f"share of the thorax among the slices: {np.mean(test[1] == 0):.2f}")

# %% [markdown]
# Always look at the rare classes. A network that never says "thorax" can lose no more than this share of the
# accuracy, and its thorax recall is 0.
#
# The mistakes lie beside the diagonal: what is confused are neighbouring levels, not thorax and pelvis. How far from
# the border are the slices that were named wrongly? The border lies halfway between the centres of two slices.


# %% tags=["nbval-ignore-output"]
def distance_to_border(case):
    # in slices
    borders = np.flatnonzero(np.diff(case.body_levels.astype(int))) + 0.5
    return np.abs(np.arange(len(case.body_levels))[:, np.newaxis]
                  - borders).min(axis=1) * case.spacing[2]


distance = np.concatenate([distance_to_border(case) for case in test_cases])
wrong = guesses != test[1]
near = distance < 25
print(f"within 25 mm of a border: {near.mean():.0%} of all slices, "
      f"{near[wrong].mean():.0%} of the wrong ones")
assert near[wrong].mean() > 0.5
assert np.mean(np.abs(guesses - test[1])[wrong] == 1) > 0.75

# %% alt="Two histograms of the distance to the nearest border, of all slices and of those that are wrong. Most of the wrong ones are within 25 mm of a border."
edges = np.arange(0, 200, 12.5)
figure, axes = plt.subplots(figsize=(6, 3))
axes.hist(distance, edges, color="lightgray", label="all slices")
axes.hist(distance[wrong], edges, color="tab:red", label="wrong slices")
axes.set(xlabel="distance to the nearest border between levels (mm)",
         ylabel="number of slices")
_ = axes.legend()

# %% [markdown]
# Most of the wrong slices are within 25 mm of a border, which is about two slices. There, neighbouring slices look
# nearly the same, and only a rule gives them different names. One test scan ends just under the diaphragm and shows no
# thorax, so that border lies outside the scan and is not counted: its top slice can appear far to the right, although
# it lies right below the rule's border. A mistake far from any border would be another matter: look at the slice
# before you blame the rule.
#
# ## What the first kernels look for
#
# Nobody chose the kernels of the first layer. They can be looked at, and so can the feature maps they make. So that
# you see the same picture as we do, we take weights that come with the library: the same network, trained on more
# than a hundred other phantoms.

# %% tags=["nbval-ignore-output"]
shipped = organseg.load_body_level_cnn()
shipped_guesses = shipped.predict(test[0], verbose=0).argmax(axis=1)
assert shipped.count_params() == network.count_params()
print("its accuracy on our test patients: "
      f"{np.mean(shipped_guesses == test[1]):.2f}")
assert np.mean(shipped_guesses == test[1]) > 0.95

# %% alt="Top row: four kernels of 3×3 weights, red where positive and blue where negative; the third has the strongest positive weights. Bottom row: their feature maps of a slice of the upper abdomen. The third shows the organs and bones, the other three are black inside the body and grey outside." slide="Four learned kernels and their maps: one shows the brighter tissue, three show the outline of the patient."
first_maps = keras.Model(shipped.input, shipped.layers[3].output)
shown = np.flatnonzero(test[1] == 1)[6]
maps = first_maps.predict(test[0][shown : shown + 1], verbose=0)[0]
kernels = shipped.layers[1].get_weights()[0][:, :, 0]  # (x, y, feature map)
figure, axes = plt.subplots(2, 4, figsize=(7, 4), layout="constrained")
largest = np.abs(kernels).max()
for number in range(4):
    kernel = kernels[::-1, :, number].T
    axes[0, number].imshow(kernel, cmap="RdBu_r", origin="lower", vmin=-largest,
                           vmax=largest)
    axes[1, number].imshow(maps[::-1, :, number].T, cmap="gray", origin="lower")
    axes[0, number].set_title(f"kernel {number}")
for axis in axes.flat:
    axis.axis("off")

# %% [markdown]
# Red weights are positive, blue ones negative, as in chapter 2. Four patches of nine weights look like noise, and no
# edge kernel is among them; but two numbers say what each does. Where the image is even, a kernel gives the brightness
# times the sum of its weights, and then batch normalisation scales that and adds a shift.

# %%
scale, beta, mean, variance = shipped.layers[2].get_weights()
factor = scale / np.sqrt(variance + shipped.layers[2].epsilon)
print("slope with brightness:", (factor * kernels.sum(axis=(0, 1))).round(1))
print("shift:                ", (beta - factor * mean).round(1))

# %% [markdown]
# Kernel 2 has a positive slope and a negative shift: its map is
# bright where the tissue is bright, and air and fat fall below zero. The others have negative slopes and positive
# shifts. In air, which is 0, only the shift is left, hence the grey; the brighter the tissue, the lower the number,
# and the ReLU cuts off nearly all of the body. So one map shows the brighter tissue, and three show the outline of the
# patient, with different edges. The specks below are the table. What later layers make of it has no such simple
# picture.
#
# ## The leak: one patient on both sides
#
# Why so much care with patients? Neighbouring slices of one patient look alike. Suppose we split the *slices* at
# random, not the patients. Take eight patients, and put a quarter of their slices aside.

# %%
eight_images, eight_levels = slices_of(training_cases[:8])
patient_of = np.repeat(np.arange(8), 32)
order = np.random.default_rng(0).permutation(256)
left_out, kept = order[:64], order[64:]

# %% [markdown]
# To see what that does, no network is needed. For each slice that was left out, we look for its *twin*: the training
# slice that resembles it most, with the smallest sum of squared differences.


# %%
def most_similar(images, among):
    return np.array([((among - image) ** 2).sum(axis=(1, 2, 3)).argmin()
                     for image in images])


twin = kept[most_similar(eight_images[left_out], eight_images[kept])]
print("twins from the same patient: "
      f"{np.mean(patient_of[twin] == patient_of[left_out]):.0%}")

# %% alt="Three pairs of slices. Above a slice that was left out, below its twin from the training slices: they look alike."
_, examples = np.unique(patient_of[left_out], return_index=True)
figure, axes = plt.subplots(2, 3, figsize=(6, 4.2), layout="constrained")
for column in range(3):
    for row, index in enumerate((left_out[examples[column]],
                                 twin[examples[column]])):
        axes[row, column].imshow(eight_images[index, ::-1, :, 0].T, cmap="gray",
                                 origin="lower")
        axes[row, column].set_title(f"patient {patient_of[index]}, "
                                    f"slice {index % 32}", fontsize=9)
        axes[row, column].axis("off")
_ = figure.suptitle("Slices that were left out (top) "
                    "and their twins in training (bottom)")

# %% [markdown]
# Nearly every slice that was left out has a twin of the same patient among those we train on. Now a test without
# mercy: for each patient we toss a coin, and what it shows becomes the label of all the patient's slices. Nothing in
# an image can tell it. The answer for a slice is the label of its twin.

# %% tags=["quiz", "remove-input"]
quiz("3d")

# %%
coin = np.array([0, 1, 1, 0, 1, 0, 0, 1])
new_coin = np.array([1, 0, 0, 1, 0, 1, 0, 1, 1, 0])
new_images, _ = slices_of(training_cases[8:] + validation_cases)
twin_of_new = kept[most_similar(new_images, eight_images[kept])]
print("left-out slices of the same patients: "
      f"{np.mean(coin[patient_of[twin]] == coin[patient_of[left_out]]):.2f}")
print(
    "slices of new patients: "
    f"{np.mean(coin[patient_of[twin_of_new]] == np.repeat(new_coin, 32)):.2f}")

# %% [markdown]
# An almost perfect score for predicting a coin! And about one half, as expected, for patients who were not there
# before (with only ten coins, chance moves it up or down). The first number says only that patients are recognised.
# Does a CNN fall for it too? We train one on the coin, and watch it on three sets: the slices it is trained on, the
# left-out slices of the same patients, and the slices of new patients.


# %%
def train_and_watch(network, sets, epochs):
    network.compile(keras.optimizers.Adam(0.001),
                    "sparse_categorical_crossentropy", metrics=["accuracy"])
    curves = []
    for _ in range(epochs):
        network.fit(*sets[0], batch_size=16, verbose=0)
        curves.append([network.evaluate(*part, batch_size=128, verbose=0)
                       for part in sets])
    return np.array(curves)  # (epoch, set, loss and accuracy)


keras.utils.set_random_seed(1)
coin_network = organseg.cnn(num_classes=2, input_size=64, base_filters=4,
                            levels=4)
parts = [(eight_images[part], coin[patient_of[part]])
         for part in (kept, left_out)]
coin_curves = train_and_watch(
    coin_network, [*parts, (new_images, np.repeat(new_coin, 32))], epochs=10)

# %% alt="Accuracy over ten epochs of training on the coin. The curves of the training slices and of the left-out slices of the same patients rise towards one, the curve of new patients stays near one half."
figure, axes = plt.subplots(figsize=(6, 3))
for number, name in enumerate(("trained on", "left-out slices, same patients",
                               "new patients")):
    axes.plot(range(1, 11), coin_curves[:, number, 1], label=name)
axes.axhline(0.5, color="gray", linestyle=":", label="a guess")
axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02),
         title="Predicting a coin")
_ = axes.legend()

# %% tags=["nbval-ignore-output"]
trained, same_patients, new_patients = coin_curves[-1, :, 1]
print(f"accuracy: trained on {trained:.2f}, left out {same_patients:.2f}, "
      f"new patients {new_patients:.2f}")
assert trained > 0.9 and same_patients > 0.75
assert same_patients > new_patients + 0.15

# %% [markdown]
# Had we split by slice, we would have announced a CNN that reads coins from CTs. This *leak* from the test into the
# training is a real and frequent mistake: a study of brain scans made it on purpose, and got high scores even for
# labels drawn at random {cite}`yagis2021`.
#
# We chose the coin because it shows the leak alone. The body level can be told without recognising the patient, so
# there the leak adds less, and how much it adds cannot be known without the right split. It costs nothing to split by
# patient.
#
# ## Over-fitting
#
# The right split also shows another failure. We train on two patients only, for many epochs, and watch the training
# slices and the validation patients.

# %%
keras.utils.set_random_seed(1)
two_patients = slices_of(training_cases[:2])
network_of_two = organseg.cnn(num_classes=4, input_size=64, base_filters=4,
                              levels=4)
curves = train_and_watch(network_of_two, [two_patients, validation], epochs=30)

# %% alt="Cross-entropy and accuracy over thirty epochs on two patients. On the training slices the loss falls to zero and the accuracy reaches one; on the validation patients the loss stays clearly higher and the accuracy lower."
figure, both = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axes, number, name, top in zip(both, (0, 1), ("cross-entropy", "accuracy"),
                                   (3, 1.02), strict=True):
    axes.plot(range(1, 31), curves[:, 0, number], label="two training patients")
    axes.plot(range(1, 31), curves[:, 1, number], label="validation patients")
    axes.set(xlabel="epoch", ylabel=name, ylim=(0, top))
_ = both[1].legend()

# %% tags=["nbval-ignore-output"]
loss, accuracy = curves[-1].T
for name, row in zip(("two training patients", "validation patients"),
                     curves[-1], strict=True):
    print(f"{name:22} loss {row[0]:.2f}, accuracy {row[1]:.2f}")
assert accuracy[0] > 0.97 and accuracy[1] < accuracy[0] - 0.08
assert loss[1] > loss[0] + 0.15

# %% [markdown]
# The network names every training slice correctly and goes on becoming surer of itself. On other patients it stays
# clearly worse: it has learned these two patients by heart. This is *over-fitting*, and the sign of it is that the
# two curves part. (That both are poor in the first epochs has to do with batch normalisation, too: with four steps
# per epoch, the moving averages are still on their way.)
#
# What helps? First, *more patients*: the first network had the same layers, but 14 patients. (It also saw more slices
# in all, and took 168 steps instead of 120.)

# %% tags=["nbval-ignore-output"]
print(f"2 patients: {30 * 64 // 16} steps of 16 slices, 14 patients: "
      f"{12 * 448 // 32} steps of 32 slices")
print(f"14 patients: validation loss {history['val_loss'][-1]:.2f}, "
      f"accuracy {history['val_accuracy'][-1]:.2f}")
assert history["val_accuracy"][-1] > accuracy[1]
assert history["val_loss"][-1] < loss[1]

# %% [markdown]
# Second, with the same two patients, *augmentation*: before each step every slice is moved by up to a twentieth of
# its size in each direction, about three pixels, so the network never sees quite the same image twice. The layer does
# so in training only.

# %%
keras.utils.set_random_seed(1)
shift = layers.RandomTranslation(0.05, 0.05, fill_mode="constant")
shifted_network = organseg.cnn(num_classes=4, input_size=64, base_filters=4,
                               levels=4)
shifted_network = keras.Sequential([shift, shifted_network])
shifted = train_and_watch(shifted_network, [two_patients, validation],
                          epochs=30)

# %% alt="Cross-entropy on the validation patients over thirty epochs. With shifts it gets clearly lower than without."
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(range(1, 31), curves[:, 1, 0], label="two patients")
axes.plot(range(1, 31), shifted[:, 1, 0], label="two patients, shifted")
axes.axhline(history["val_loss"][-1], color="gray", linestyle=":",
             label="14 patients, at the end")
axes.set(xlabel="epoch", ylabel="cross-entropy, validation patients",
         ylim=(0, 3))
_ = axes.legend()

# %% tags=["nbval-ignore-output"]
print(f"lowest validation loss: {curves[:, 1, 0].min():.2f}, "
      f"with shifts {shifted[:, 1, 0].min():.2f}")
assert shifted[:, 1, 0].min() < curves[:, 1, 0].min()

# %% [markdown]
# We compare the loss at the best epochs. The curve with shifts is rougher, but its lowest point is clearly lower, and
# nothing was added but shifts. A likely reason: where these two patients lay in the picture was one of the things the
# network had learned by heart. This is one run; a claim would need several seeds.
#
# Other remedies are a smaller network; *dropout*, which sets random features to zero in training; and *early
# stopping*, which keeps the weights of the epoch with the best validation score. Above, even the best epoch without
# shifts was not good. None of them replaces patients: what was never seen cannot be learned. The paper
# {cite}`roth2018` used 340 patients and an augmentation that deforms them.
#
# ## Real images: OrganAMNIST (optional)
#
# Phantoms are easier than people. *OrganAMNIST* {cite}`yang2023` has small pictures of 28×28 pixels, cut out of real
# CT slices, and asks which of eleven organs each one shows. It is another task for the same network.
#
# This experiment needs one file of about 38 MB, which the chapter does without. In the project's folder, the command
# `python data_scripts/prepare.py organmnist-axial --out data/organmnist` fetches it and checks it; on Colab, first
# bring the folder with `!git clone` and the project's address. Then put the file's path here, and run the cells.

# %%
organamnist = None  # for example "../data/organmnist/organamnist.npz"
if organamnist is None:
    print("Set organamnist to the path of the file and run this cell again; "
          "the chapter goes on without it.")

# %% [markdown]
# The file has three parts: pictures to train on, to watch the training with, and to test on. Whose pictures are in
# which part was decided by patient, so the test is honest.

# %%
if organamnist is not None:
    with np.load(organamnist, allow_pickle=False) as file:
        pictures = {part: file[f"{part}_images"][..., np.newaxis] / 255.0
                    for part in ("train", "val", "test")}
        organs = {part: file[f"{part}_labels"][:, 0]
                  for part in ("train", "val", "test")}
    print({part: len(images) for part, images in pictures.items()})

# %% [markdown]
# The network is the chapter's, with eleven answers instead of four. Three epochs take about a minute on two CPU
# cores.

# %%
if organamnist is not None:
    organ_network = organseg.cnn(num_classes=11, input_size=28, base_filters=8,
                                 levels=3)
    organ_network.compile("adam", "sparse_categorical_crossentropy",
                          metrics=["accuracy"])
    watched = (pictures["val"], organs["val"])
    organ_network.fit(pictures["train"], organs["train"],
                      validation_data=watched, batch_size=128, epochs=3)
    answers = organ_network.predict(pictures["test"], verbose=0).argmax(axis=-1)
    print(f"test accuracy: {np.mean(answers == organs['test']):.2f}")

# %% [markdown]
# The authors of the data report an accuracy of 0.935 for a ResNet-18, which has many more parameters and trained for
# 100 epochs {cite}`yang2023`. Which organs does yours take for each other? The picture has a row for each true organ
# and a column for each answer; a perfect network would fill the diagonal only. Look at the two kidneys, and at the two
# lungs: what would the network need to see to tell left from right in a picture that shows the organ alone?

# %% alt="Without the file, nothing is drawn; with it, a square of eleven rows and columns, dark where answers gather."
if organamnist is not None:
    eleven = ("bladder,femur left,femur right,heart,kidney left,kidney right,"
              "liver,lung left,lung right,pancreas,spleen")
    counts = np.zeros((11, 11))
    np.add.at(counts, (organs["test"], answers), 1)
    plt.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0,
               vmax=1)
    plt.xticks(range(11), eleven.split(","), rotation=90)
    plt.yticks(range(11), eleven.split(","))
    plt.xlabel("the network's answer")
    plt.ylabel("true organ")
    plt.colorbar(label="share of the row")
    plt.show()

# %% [markdown]
# ## What it cannot say
#
# The network says *that* a slice shows the upper abdomen. It cannot say *where* the liver is. `Flatten` and the dense
# layers made one answer out of all places, and the places are gone. [Chapter 4](04_fcn.ipynb) replaces the dense
# layers, and gets an answer for every pixel.
#
# ## Exercises
#
# ### Exercise 3.1 ★ The dense layer
#
# How many parameters has the first dense layer of `organseg.cnn`, for any `input_size`, `base_filters` and `levels`?
# Its row has as many numbers as come out of the last convolution, which has `base_filters * 2**levels` feature maps,
# and the layer has `4 * base_filters` outputs. Write a formula; do not build the network.

# %% tags=["exercise"]
from organseg.course import check


def dense_parameters(input_size, base_filters, levels):
    return ...


check("3.1", dense_parameters)

# %% tags=["solution"]
def dense_parameters(input_size, base_filters, levels):
    side = input_size // 2 ** (levels - 1)
    features = side * side * base_filters * 2**levels
    return (features + 1) * 4 * base_filters


check("3.1", dense_parameters)

# %% [markdown]
# ### Exercise 3.2 ★★ Precision and recall
#
# From a confusion matrix as above (rows: true, columns: said), compute the precision of each class and the recall of
# each class, and return both arrays in this order. A class that was never said has no precision; any value will do
# there, but do not divide by zero.

# %% tags=["exercise"]
def precision_and_recall(confusion):
    return ...


check("3.2", precision_and_recall)

# %% tags=["solution"]
def precision_and_recall(confusion):
    right = np.diag(confusion)
    return (right / np.maximum(confusion.sum(axis=0), 1),
            right / confusion.sum(axis=1))


check("3.2", precision_and_recall)

# %% [markdown]
# ### Exercise 3.3 ★★ A split without a leak
#
# `patient_of` holds the patient of each slice, as a number or a name. Draw patients (`held_out` is how many; above it
# was a set of names) with `np.random.default_rng(seed)`, and return two arrays: the indices of the slices to train on,
# and the indices of those to test on.

# %% tags=["exercise"]
def split_slices(patient_of, held_out, seed):
    return ...


check("3.3", split_slices)

# %% tags=["solution"]
def split_slices(patient_of, held_out, seed):
    chosen = np.random.default_rng(seed).permutation(
        np.unique(patient_of))[:held_out]
    in_test = np.isin(patient_of, chosen)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


check("3.3", split_slices)

# %% [markdown]
# ## Summary
#
# - A CNN is a ladder of convolutions, ReLU and pooling, then dense layers and a softmax. It says one thing per image.
# - The cross-entropy is the mean of $-\log p$ of the right classes. Its derivative is what was believed minus what is
#   true.
# - An accuracy needs something to compare with: the most frequent class, a simple rule, whatever the data give away.
# - A confusion matrix shows which classes are confused. Here the mistakes lie mostly at the borders, where a rule decides.
# - Split by patient. Otherwise the test measures how well patients are recognised.
# - Over-fitting shows where the curves of training and validation part. More patients help most.
# - Batch normalisation uses moving averages after training; in short trainings their momentum matters.
#
# ## References
#
# The paper {cite}`roth2018`; CNNs that made this kind of network known {cite}`krizhevsky2012`; anatomy classification
# of CT slices {cite}`roth2015anatomy`; batch normalisation {cite}`ioffe2015`; the leak {cite}`yagis2021`; OrganAMNIST
# {cite}`yang2023`.
