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
# # 8. Training
#
# You will train a 3D U-Net, see from its curves what goes wrong and mend it, and know before a long training how long
# it will take.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Write Adam in a few lines, and say what its learning rate is a rate of.
# - Say what batch normalisation sees in a mini-batch of one patient, and why the paper mixes patients.
# - Recognise a network that learns in training and fails at inference, and cure it in two ways.
# - Compare learning rates, with and without batch normalisation, and say what "it does not learn" looks like.
# - Read curves: noise, plateau, over-fitting.
# - Say what float16 cannot add, and what loss scaling and bfloat16 do about small and large numbers.
# - Measure what a training will take on a machine, and go on with one that was cut off.
#
# **You need**: batch normalisation and its moving averages from [chapter 3](03_cnn.ipynb); the Dice loss, and the trap
# of an organ whose probability is 0 everywhere, from [chapter 5](05_dice.ipynb); the idea of a U-Net.
#
# **In class:** 75 minutes, exercises 40 minutes (our estimate).
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
# ## The recipe
#
# The paper {cite}`roth2018` says how its network was trained: mini-batches of 3 crops of 64×64×64 voxels, Adam with a
# learning rate of 0.01, 50,000 iterations. The library keeps such recipes as *profiles*. Here is the paper's, with a
# shorter one for the same network, and `lesson`, which two CPU cores finish while one waits.

# %%
import numpy as np
import organseg

for name in ("paper", "gpu", "lesson"):
    p = organseg.PROFILES[name]
    print(f"{name:7}{p.batch_size} crops of {p.crop_size}³, Adam at "
          f"{p.learning_rate}, {p.steps:,} steps, width {p.base_filters}")

# %% [markdown]
# The width is the number of filters of the first convolution. In this chapter we go smaller still: a U-Net of three
# levels, crops of 24×24×24 voxels, and phantoms with voxels of about 6 mm. Twelve patients are for training and three
# are held out.
#
# `to_scan` makes of a patient what the network is given: the image through the window of [chapter
# 1](01_ct_and_geometry.ipynb), the labels, and which organs they were drawn for. `CropSampler` draws mini-batches from
# such scans. Half of the crops (`organ_share`) are centred on an organ here, so that there is something to learn in
# each. For simplicity nothing is warped.

# %%
patients = [organseg.make_phantom(seed, (64, 64, 64)) for seed in range(12)]
held_out = [organseg.make_phantom(seed, (64, 64, 64))
            for seed in range(100, 103)]
scans = [organseg.to_scan(patient) for patient in patients]
sampler = organseg.CropSampler(scans, crop_size=24, batch_size=3,
                               organ_share=0.5, augment=False)
batches = [sampler.batch(step) for step in range(60)]
images, labels, annotated = batches[0]
print("images", images.shape, "labels", labels.shape, "which organs were drawn",
      annotated.shape)

# %% [markdown]
# The random numbers of a batch come from the seed and the number of its step alone. So `sampler.batch(7)` is the same
# batch whenever it is asked for. This will be useful when a training has to be taken up again.

# %%
np.testing.assert_array_equal(sampler.batch(7)[0], batches[7][0])

# %% [markdown]
# ## A step, and how far
#
# A training is a walk downhill: each step moves the weights against the gradient of the loss. The plainest way, *gradient
# descent*, moves them by the gradient times a number, the *learning rate*. *Momentum* keeps a share of the last move and
# adds it to the next one. Here are both in a few lines, in a landscape of two weights: a valley, 20 times as steep across as
# along, with its lowest place at (0, 0).

# %%
steepness = np.array([1, 20])  # along the valley, and across it


def height(place):
    return (steepness * place**2).sum(axis=-1) / 2


def descend(rate, momentum, steps=30):
    path, move = [np.array([-9.0, 1.5])], 0
    for _ in range(steps):
        gradient = steepness * path[-1]
        move = momentum * move - rate * gradient
        path.append(path[-1] + move)
    return np.array(path)


# %%
np.testing.assert_allclose(descend(0.01, 0)[-1],
                           [-9 * 0.99**30, 1.5 * 0.8**30])

# %% [markdown]
# Guess before you move the sliders. Without momentum, what happens as the rate grows: does the walk only get faster? Then
# take the best rate you have found, and add momentum.

# %%
import matplotlib.pyplot as plt

along, across = np.meshgrid(np.linspace(-11, 7, 90), np.linspace(-3, 3, 60))
valley = height(np.stack([along, across], axis=-1))


def draw_descent(rate, momentum):
    path = descend(rate, momentum)
    end = height(path[-1])
    diverges = end > height(path[0])
    figure, axes = plt.subplots(figsize=(5.2, 2.6), layout="constrained")
    axes.contour(along, across, valley, [2, 10, 30, 70], colors="0.8")
    axes.plot(*path.T, ".-", color="#d55e00" if diverges else "#0072b2",
              linewidth=1, markersize=4)
    axes.plot(0, 0, "k+", markersize=12)
    axes.set(xlim=(-11, 7), ylim=(-3, 3), xlabel="one weight",
             ylabel="the other weight")
    found = "it diverges" if diverges else f"height {end:.2g} after 30 steps"
    axes.set_title(f"rate {rate:g}, momentum {momentum:g}: {found}",
                   fontsize=11)
    return figure


# %%
organseg.explore(
    draw_descent, "The path of thirty steps in a long valley, from its left "
    "end towards the cross at its lowest place.", start={"rate": 0.03},
    rate=[0.01, 0.03, 0.06, 0.09, 0.11, 0.2], momentum=[0, 0.5, 0.9])

# %% [markdown]
# Across the valley each step multiplies the distance by $1 - 20 \cdot \text{rate}$. At a rate of 0.01 it shrinks safely, but
# along the valley hardly anything moves. At 0.09 the walk jumps from side to side and still comes down; beyond 0.1 every jump is
# larger than the last, and it *diverges*. So the steep direction sets the limit for the rate, and the flat one has to wait.
# Momentum helps both: moves that agree add up, and those that jump to and fro cancel in part, so that 0.11, too much
# before, works with a momentum of 0.5. With too much of it the walk runs past its goal, and turns in loops.
#
# A network has millions of directions, and nobody knows their steepness. It would be good if each weight had a rate of
# its own.
#
# ## Adam by hand
#
# A step moves each weight against its gradient. How far? *Adam* {cite}`kingma2015` keeps two moving averages for each
# weight: $m$ of its gradient $g$ and $v$ of $g^2$. Then it moves the weight by
#
# $$-\text{rate} \cdot \frac{m}{\sqrt{v}}.$$
#
# Both averages start at zero, and are divided by the share that they have already seen, $1 - \beta^t$ after $t$ steps.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("8a")


# %%
def adam(weights, gradients, rate=0.01, beta_1=0.9, beta_2=0.999, tiny=1e-7):
    m = v = np.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        seen_1, seen_2 = 1 - beta_1**step, 1 - beta_2**step
        weights = weights - rate * (m / seen_1) / (np.sqrt(v / seen_2) + tiny)
    return weights


first = np.array([1000.0, 1.0, -0.001])
print("one step:", adam(np.zeros(3), [first]).round(4))

# %% [markdown]
# The three gradients differ by a factor of a million, and the three weights move equally far: by the rate. Dividing by
# $\sqrt{v}$ takes the size out of the gradient and leaves its sign. So the learning rate of Adam is a *distance*: how
# far a weight moves in a step, as long as its gradients agree.
#
# Keras' Adam does the same, step after step. (With one difference: Keras adds its `tiny` to $\sqrt{v}$ before the share
# is divided out, the variant $\hat\epsilon$ of {cite}`kingma2015`. So a tiny gradient moves a weight less at first.)

# %%
from organseg.backend import keras

gradients = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
weights = keras.Variable(np.zeros(3, "float32"))
optimizer = keras.optimizers.Adam(0.01)
for gradient in gradients:
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weights])
by_keras = keras.ops.convert_to_numpy(weights)
np.testing.assert_allclose(by_keras, adam(np.zeros(3), gradients), atol=1e-5)

weight = keras.Variable(np.zeros(1, "float32"))
keras.optimizers.Adam(0.01).apply(
    [keras.ops.convert_to_tensor(np.array([1e-6], "float32"))], [weight])
by_formula = adam(np.zeros(1), [np.array([1e-6])])
print(f"first step at a gradient of 1e-6: {-by_formula[0]:.4f} by the formula, "
      f"{-float(weight[0]):.4f} by Keras")

# %% [markdown]
# Is a distance of 0.01 long or short? Compare it with the weights. Keras draws a kernel from the range
# $\pm\sqrt{6/(\text{in} + \text{out})}$, which has a standard deviation of $\sqrt{2/(\text{in} + \text{out})}$, where
# *in* and *out* are the numbers that come together in an output, and that an input goes to: 27 times the channels. In
# our network of the paper's size the convolutions lead from 1 to 32 channels at the top, and from 256 to 512 at the
# bottom.

# %%
for channels_in, channels_out in ((1, 32), (32, 64), (256, 512)):
    spread = np.sqrt(2 / (27 * channels_in + 27 * channels_out))
    print(f"{channels_in:3} to {channels_out:3} channels: "
          f"weights of about {spread:.4f}")

# %% [markdown]
# At the bottom of the network, a single step of 0.01 moves every weight by as much as the weight itself. By that
# measure the paper's rate is very large. What makes it possible is a layer that does not care how long a kernel is.
#
# ## Batch normalisation does not see the length of a kernel
#
# Chapter 3 showed what batch normalisation does: it subtracts the mean and divides by the standard deviation of a
# channel, over all voxels of the mini-batch. Multiply the kernel before it by ten. Mean and deviation become ten times
# as large, and the result is the same. (The convolution is used without padding here, so that each of its outputs sees
# image only.)

# %%
keras.utils.set_random_seed(0)
convolution = keras.layers.Conv3D(4, 3, padding="valid", use_bias=False)
norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-6)


def block(images, training):
    return keras.ops.convert_to_numpy(norm(convolution(images),
                                           training=training))


before = block(images, training=True)
convolution.kernel.assign(10 * convolution.kernel)
np.testing.assert_allclose(block(images, training=True), before, atol=0.01)

# %% [markdown]
# Only the direction of a kernel counts, as long as the variance of its outputs is far above `epsilon`, the small number
# that is added to it (for this check we made it smaller than the library has it). So the gradient has no part along
# the kernel: a step against it goes sideways, and by Pythagoras the kernel comes out longer (with Adam, roughly so).
# And a step of a given length turns a long kernel less than a short one. So a rate that is too large makes the kernels grow, until it is not too large any more
# {cite}`vanlaarhoven2017`. We will see this happen.
#
# ## Crops from different patients
#
# Batch normalisation also makes the crops of a mini-batch depend on each other: each is compared with the mean of all
# three. What if all three come from the same patient? Patients differ in brightness, for one
# got more contrast agent than another. To keep it simple, let everything in this patient be brighter by a tenth of
# the window (contrast agent brightens vessels and organs only). We add it to the three crops we have. By how much do the
# features change?

# %% tags=["quiz", "remove-input"]
quiz("8b")

# %%
convolution.kernel.assign(convolution.kernel / 10)
for _ in range(100):
    block(images, training=True)  # the moving averages settle


def change(brighter, training):
    brighter = np.array(brighter, "float32").reshape(3, 1, 1, 1, 1)
    difference = block(images + brighter, training) - block(images, training)
    return np.abs(difference).mean(axis=(1, 2, 3, 4))  # one number per crop


# %%
one_patient = change([0.1, 0.1, 0.1], training=True)
mixed = change([0.1, 0.0, 0.0], training=True)
in_use = change([0.1, 0.1, 0.1], training=False)
assert one_patient.max() < 0.01 and in_use.min() > 0.1
assert mixed[0] > 1.4 * mixed[1:].max()
print("all three crops from the bright patient, in training: change",
      one_patient.round(2))
print("one bright crop among three, in training: change         ",
      mixed.round(2))
print("all three bright, in use: change                         ",
      in_use.round(2))

# %% [markdown]
# Nothing. With three crops of one patient, brightness is what they have in common, and the layer subtracts it. In
# training the network never sees that patients differ in brightness. In use it does: there the moving averages are
# subtracted, not the patient's own mean, and the same patient arrives as something the later layers have never met.
# With crops of different patients the bright one stays bright among the others, and the network can learn to live with
# it. (The others change too, a good half as much as the bright one, since they are compared with a mean that has
# moved.)
#
# The second reason is a matter of counting. The mean over a batch is an estimate of the mean over all patients. If
# patients differ by a spread $\sigma$, the patient's part of the error is $\sigma$ with one patient and
# $\sigma/\sqrt{3}$ with three. We draw a brightness for each of 340 patients, as many as the paper {cite}`roth2018`
# trained on, and look at the means of the batches.

# %%
rng = np.random.default_rng(8)
brightness = rng.normal(0, 0.1, size=340)
of_one = rng.choice(brightness, size=5000)
of_three = [rng.choice(brightness, 3, replace=False).mean()
            for _ in range(5000)]
print(f"spread of the batch means: {np.std(of_one):.3f} with one patient, "
      f"{np.std(of_three):.3f} with three")
print(f"ratio {np.std(of_one) / np.std(of_three):.2f}, "
      f"square root of three {np.sqrt(3):.2f}")

# %% [markdown]
# Three patients make a calmer mean. (We had to draw the brightness, because our phantoms hardly differ in it; patients
# do.) The paper {cite}`roth2018` says it in one sentence: with batch normalisation, a mini-batch of more than one crop can make a
# training converge better, when its crops come from different patients. `CropSampler` draws each crop of a batch from another patient, and refuses to work with fewer patients than
# crops:

# %%
try:
    organseg.CropSampler(scans[:2], crop_size=24, batch_size=3)
except organseg.OrgansegError as error:
    print(error)

# %% [markdown]
# ## The momentum trap
#
# Now we train. `compile_for_training` gives a network its loss, the Dice loss of chapter 5, and Adam; our loop does one step per
# batch. The learning rate falls from 0.01 to zero along half a cosine over the 60 steps. (The paper calls 0.01 the
# *initial* rate and does not say whether or how it fell; the profile `paper` keeps it. `replace` gives a profile with the
# settings changed that we name.)
#
# One thing we change on purpose. The library's batch normalisation has momentum 0.9; we put it back to Keras' default
# of 0.99. (Numbers that come from a training may differ a little on your machine, here and below; what the `assert`
# lines say holds on all.)

# %%
from organseg.training import compile_for_training

lesson = organseg.PROFILES["lesson"]


def norms_of(network):
    return [layer for layer in network.layers
            if isinstance(layer, keras.layers.BatchNormalization)]


def new_segmenter(momentum=0.9, schedule=True):
    keras.utils.set_random_seed(0)
    network = organseg.unet(base_filters=4, levels=3)
    for layer in norms_of(network):
        layer.momentum = momentum
    return network, compile_for_training(
        network, lesson.replace(steps=60, schedule=schedule))


# %% tags=["nbval-ignore-output"]
def fit(segmenter, batches):
    return np.array([segmenter.step(*batch) for batch in batches])


trapped, segmenter = new_segmenter(momentum=0.99)
losses_trapped = fit(segmenter, batches)
print(f"mean loss: first five steps {losses_trapped[:5].mean():.3f}, "
      f"last ten {losses_trapped[-10:].mean():.3f}")
assert losses_trapped[-10:].mean() < losses_trapped[:5].mean() - 0.08

# %% [markdown]
# The mean loss has fallen (single steps jump, most visibly the last three, where the rate is almost zero: that is the
# batches, as we shall see). Now we use the network, as one does after training, and
# compute the same loss on *the very crops it was trained on*. (`batch_sum` as in the profile `lesson`: the sums of
# equation (1) run over the whole mini-batch, [chapter 5](05_dice.ipynb).)

# %% tags=["nbval-ignore-output"]
def loss_in_use(network, batches):
    losses = []
    for images, labels, _ in batches:
        probabilities = network.predict_on_batch(images)
        loss = organseg.dice_loss(labels, probabilities, batch_sum=True)
        losses.append(float(loss))
    return np.mean(losses)


in_training = losses_trapped[-10:].mean()
trapped_loss = loss_in_use(trapped, batches[-10:])
print(f"last ten batches: {in_training:.3f} in training, "
      f"{trapped_loss:.3f} in use")
assert trapped_loss > in_training + 0.015

# %% [markdown]
# The loss is clearly worse, and it cannot be over-fitting: these are the same crops. What differs is the batch
# normalisation, which uses its moving averages now. After 60 steps they still hold this much of their arbitrary start:

# %%
for momentum in (0.99, 0.9):
    print(f"momentum {momentum}: {momentum**60:.3f} of the start is left, "
          f"memory of about {1 / (1 - momentum):.0f} steps")

# %% [markdown]
# More than half. Besides, what the averages have seen is old: the features have changed since then, because the
# weights have.
#
# ### First cure: compute the statistics anew
#
# The weights are fine. So leave them alone, and compute only the statistics again: run some batches through the
# network in training mode, without a step, and take the plain mean over them. A trick spares us a function for the
# mean. If the momentum is 0 at the first batch, 1/2 at the second, 2/3 at the third and so on, the moving average *is*
# the mean of all batches so far. (It has the name *precise* batch normalisation {cite}`wu2021`.)

# %% tags=["nbval-ignore-output"]
def recompute_statistics(network, batches):
    for number, (images, _, _) in enumerate(batches):
        for layer in norms_of(network):
            layer.momentum = number / (number + 1)
        network(images, training=True)


recompute_statistics(trapped, batches[-20:])
cured_loss = loss_in_use(trapped, batches[-10:])
print(f"in use, with statistics computed anew: {cured_loss:.3f}")
assert abs(cured_loss - in_training) < 0.03
assert cured_loss < trapped_loss - 0.015

# %% [markdown]
# Without a single step of training, the loss in use is what it was in training.
#
# ### Second cure: a shorter memory
#
# The library's networks have momentum 0.9. We train such a network from the same start on the same batches.

# %% tags=["quiz", "remove-input"]
quiz("8c")

# %% tags=["nbval-ignore-output"]
healthy, segmenter_09 = new_segmenter(momentum=0.9)
at_start = [keras.ops.convert_to_numpy(v)
            for v in [*segmenter_09.weights, *segmenter_09.optimizer.variables]]
losses = fit(segmenter_09, batches)
loss_09 = loss_in_use(healthy, batches[-10:])
print(f"momentum 0.9, in use: {loss_09:.3f}")
print("in training, largest difference to momentum 0.99: "
      f"{np.abs(losses - losses_trapped).max():.4f}")
norms = norms_of(organseg.unet(base_filters=4))
assert {layer.momentum for layer in norms} == {0.9}
assert abs(loss_09 - in_training) < 0.03 and loss_09 < trapped_loss - 0.015
assert np.abs(losses - losses_trapped).max() < 0.05

# %% [markdown]
# The last line says something worth a thought: the two *trainings* do not differ. Momentum plays no part in a
# training step, which uses the statistics of its own batch. It decides only what is kept for use afterwards. So no
# training curve, however closely one looks, can show this trap; only an evaluation as in use does.

# %% alt="Left: two training curves that lie on each other and fall. Right: bars of the loss in use on the same crops; with momentum 0.99 it stays above the line of the training loss, after recomputing and with momentum 0.9 it reaches the line."
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2),
                                     layout="constrained", width_ratios=(3, 2))
left.plot(losses_trapped, color="#d55e00", linewidth=4, alpha=0.5,
          label="momentum 0.99")
left.plot(losses, color="#0072b2", label="momentum 0.9")
left.set(xlabel="step", ylabel="Dice loss", title="in training: the same curve")
left.legend()
bars = {"0.99": trapped_loss, "0.99,\nrecomputed": cured_loss, "0.9": loss_09}
right.bar(list(bars), list(bars.values()),
          color=["#d55e00", "#e69f00", "#0072b2"])
right.axhline(in_training, color="black", linestyle=":",
              label="in training, last ten steps")
right.set(xlabel="momentum", ylabel="Dice loss", ylim=(-0.21, 0),
          title="in use: the same crops")
right.legend(loc="lower center", fontsize=8)
plt.show()

# %% [markdown]
# The loss is negative, so the longer bar is the better one. Only the network whose averages lag falls short of the
# dotted line.
#
# For a training of 50,000 steps whose learning rate falls at the end, 0.99 would do as well, since a hundred steps are
# nothing there. But one starts with short trainings.
#
# ## Learning rates
#
# We start again, without a schedule: the rate stays what it is. Three rates, a factor of a hundred apart, with the
# paper's in the middle. To compare them fairly, the batches are the same, and the weights of network and
# optimiser are put back to their start each time.

# %%
def variables_of(segmenter):
    return [*segmenter.weights, *segmenter.optimizer.variables]


def put_back(segmenter, start):
    for variable, value in zip(variables_of(segmenter), start, strict=True):
        variable.assign(value)


# %%
rates = (1e-4, 1e-2, 1.0)


def try_rates(segmenter):
    start = [keras.ops.convert_to_numpy(variable)
             for variable in variables_of(segmenter)]
    curves = {}
    for rate in rates:
        put_back(segmenter, start)
        segmenter.optimizer.learning_rate.assign(rate)
        curves[rate] = fit(segmenter, batches[:40])
    return curves


network, segmenter = new_segmenter(schedule=False)
kernel = network.layers[4].kernel
length_before = np.linalg.norm(keras.ops.convert_to_numpy(kernel))
with_norm = try_rates(segmenter)
length_after = np.linalg.norm(keras.ops.convert_to_numpy(kernel))

# %% [markdown]
# And once more without batch normalisation. A layer that is not trainable keeps its first statistics, mean 0 and
# variance 1, and changes next to nothing.

# %%
keras.utils.set_random_seed(0)
plain = organseg.unet(base_filters=4, levels=3)
for layer in norms_of(plain):
    layer.trainable = False
at_one_rate = lesson.replace(schedule=False)
without_norm = try_rates(compile_for_training(plain, at_one_rate))

# %% alt="Two panels of loss curves for three learning rates. With batch normalisation the smallest rate falls slowly and the two larger ones fall well. Without it, the smallest falls slowly; the middle one runs into the dotted line of background everywhere; the largest may end after a few steps, before its mean gets there."
import pandas


def smooth(values):
    means = pandas.Series(values).rolling(10, min_periods=1).mean()
    return means.where(np.isfinite(values))


def lazy_loss(labels):
    p = np.eye(8, dtype="float32")[np.zeros_like(labels)]
    return float(organseg.dice_loss(labels, p, batch_sum=True))


lazy = np.array([lazy_loss(labels) for _, labels, _ in batches[:40]])
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True,
                              layout="constrained")
named = {"with batch normalisation": with_norm, "without": without_norm}
for panel, (title, curves) in zip(panels, named.items(), strict=True):
    for rate, colour in zip(rates, ("#56b4e9", "#0072b2", "#d55e00")):
        panel.plot(smooth(curves[rate]), color=colour, label=f"rate {rate:g}")
    panel.plot(smooth(lazy), "k:", label="background everywhere")
    panel.set(xlabel="step", title=title)
panels[0].set(ylabel="Dice loss, mean of 10 steps")
panels[1].legend(fontsize=8, loc="lower right")
plt.show()

# %% tags=["nbval-ignore-output"]
end = {rate: with_norm[rate][-10:].mean() for rate in rates}
print("last ten steps:",
      {f"rate {rate:g}": f"{loss:.3f}" for rate, loss in end.items()})
print(f"background everywhere: {lazy[-10:].mean():.3f}")
print("the kernel after 40 steps at rate 1: "
      f"{length_after / length_before:.0f} times as long")
assert end[1e-4] > end[1e-2] + 0.04
assert end[1e-2] < lazy[-10:].mean() - 0.025 and end[1.0] < end[1e-4] - 0.02
assert length_after > 10 * length_before

# %% [markdown]
# With batch normalisation the smallest rate is too slow for so few steps. The paper's rate learns. And even a rate
# of 1, at which one would expect an explosion, does not stop the network from learning: the kernel we measured is more than
# 10 times as long as at the start, and with its length the turn per step has fallen. Which of the two larger rates is
# better in the end, 40 steps do not tell.

# %% tags=["nbval-ignore-output"]
for rate, first in {1e-2: 30, 1.0: 3}.items():
    stuck = without_norm[rate][first:]
    finite = np.isfinite(stuck)
    background = lazy[first:][finite].mean()
    print(f"rate {rate:g}, from step {first} on: {stuck[finite].mean():.4f}; "
          f"background everywhere: {background:.4f}")
    np.testing.assert_allclose(stuck[finite], lazy[first:][finite], atol=0.005)
    assert finite.any()
assert without_norm[1e-4][-10:].mean() > lazy[-10:].mean() + 0.02

# %% [markdown]
# Without batch normalisation the two larger rates end at a loss that we can compute without any network: the loss of
# *background everywhere*. That is what a training with this loss looks like when it *diverges*. The Dice loss lies
# between −1 and 0, so it cannot shoot up as others do. The weights have jumped to a place where every organ has
# probability 0, where the softmax passes no gradient on (the trap of chapter 5), and more steps do not help. With a
# rate of 1 they are so large there that on some processors a product overflows a few steps later: then the loss is
# `nan`, and the curve ends. (The picture's means of ten steps still hold the first three, so a curve that ends early
# has not come down to the dotted line. The loss printed above, the mean from step 3 on, lies on it.)
#
# So, when a Dice loss stands still from early on:
#
# 1. Compute the loss of background everywhere. If this is where it stands, the network has given up all organs.
# 2. Begin anew with a tenth of the rate. Going on from here does not help.
# 3. If the loss becomes `nan` after a stretch of background everywhere, it is the rate again. If it does so at once, look
#    at the precision (below) and at the images.
#
# ## Reading curves
#
# The paper's Fig. 4 shows the Dice loss of training and testing over the iterations, and so do the
# `history.csv` of a run folder and the `curves.png` that the command line draws from it. What can one see in them?
#
# ### Noise
#
# The loss of a single step jumps up and down. Is that the training? Take the network as it was trained with momentum
# 0.99 and cured, leave its weights alone, and compute its loss on 40 batches it has not seen.

# %% tags=["nbval-ignore-output"]
unseen = [sampler.batch(step) for step in range(1000, 1040)]
assert len(unseen) == 40
frozen = np.array([loss_in_use(trapped, [batch]) for batch in unseen])
of_four = frozen.reshape(10, 4).mean(axis=1)
print(f"standard deviation: {frozen.std():.3f} of single batches, "
      f"{of_four.std():.3f} of means of four")
assert frozen.std() > 0.02 and of_four.std() < 0.8 * frozen.std()

# %% [markdown]
# Nothing was trained here, and the loss jumps all the same: some batches have large organs and are easy, some have
# little to find. A mean over four steps is calmer (for independent batches the noise falls with the square root of
# their number). So never compare two single steps. The library writes the mean over all steps since the last
# validation.

# %% alt="The loss on forty batches with fixed weights, grey dots that jump up and down, and the means of four of them, blue, which jump less."
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(frozen, ".-", color="0.7", label="one batch")
axes.plot(np.arange(10) * 4 + 1.5, of_four, "o-", color="#0072b2",
          label="mean of four")
axes.set(xlabel="batch", ylabel="Dice loss",
         title="Weights fixed: all of this is noise")
axes.legend()
plt.show()

# %% [markdown]
# ### Over-fitting
#
# To see it at once, we go to the extreme: we train on a single mini-batch, again and again, from the same start as
# before. Now and then we look at held-out patients, whose crops are drawn in the same way.

# %% tags=["nbval-ignore-output"]
held_out_scans = [organseg.to_scan(patient) for patient in held_out]
held_out_sampler = organseg.CropSampler(
    held_out_scans, crop_size=24, batch_size=3, organ_share=0.5, augment=False)
held_out_batches = [held_out_sampler.batch(step) for step in range(6)]
put_back(segmenter_09, at_start)
one_batch, new_patients = [], []
for _ in range(6):
    fit(segmenter_09, [batches[3]] * 10)
    one_batch.append(loss_in_use(healthy, [batches[3]]))
    new_patients.append(loss_in_use(healthy, held_out_batches))
print(f"after 60 steps: {one_batch[-1]:.2f} on its one batch, "
      f"{new_patients[-1]:.2f} on other patients")
assert one_batch[-1] < new_patients[-1] - 0.07

# %% [markdown]
# On its one batch the network is soon far better than on other patients. Training on one batch is also a good *test of
# the program*, before any long run: a network that cannot learn even three crops by heart has a mistake in its loss,
# its labels or its rate. (Sixty steps are too few for "by heart": for this test go on until the loss no longer falls:
# near −1 if all eight classes occur in the batch, near −k/8 if only k of them do.)
#
# A less extreme case takes longer. The right panel below holds two runs of 600 steps of the profile `lesson`, without
# augmentation: one on three patients, one on thirty. (They are stored here, because they take some minutes; `python
# benchmarks/figures_check.py over_fitting` makes them again.)

# %%
stored_runs = {
    "3 patients": (
        # training crops, held-out patients
        [-0.17, -0.31, -0.49, -0.63, -0.65, -0.69, -0.70, -0.72, -0.74, -0.74,
         -0.73, -0.74],
        [-0.21, -0.35, -0.52, -0.61, -0.63, -0.65, -0.69, -0.68, -0.71, -0.70,
         -0.71, -0.70],
    ),
    "30 patients": (
        [-0.17, -0.34, -0.47, -0.53, -0.62, -0.66, -0.64, -0.65, -0.67, -0.69,
         -0.69, -0.69],
        [-0.22, -0.31, -0.53, -0.58, -0.67, -0.66, -0.71, -0.71, -0.73, -0.73,
         -0.73, -0.73],
    ),
}

# %% alt="Left: trained on one mini-batch, the loss of that batch falls far below that of held-out patients. Right: two runs of 600 steps. With three patients the training loss ends lower than with thirty, and the held-out loss ends higher."
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3),
                                     layout="constrained")
left.plot(range(10, 70, 10), one_batch, "--", color="#d55e00", label="training")
left.plot(range(10, 70, 10), new_patients, color="#d55e00",
          label="held-out patients")
left.set(xlabel="step", ylabel="Dice loss", title="one mini-batch")
for (name, curves), colour in zip(stored_runs.items(), ("#d55e00", "#0072b2"),
                                  strict=True):
    for curve, style, of in zip(curves, ("--", "-"), ("training", "held-out"),
                                strict=True):
        right.plot(range(50, 650, 50), curve, style, color=colour,
                   label=f"{name}, {of}")
right.set(xlabel="step", ylabel="Dice loss", ylim=(-0.76, -0.5),
          title="three and thirty patients (stored)")
for panel in (left, right):
    panel.legend(fontsize=8)
plt.show()

# %%
for name, (training, new) in stored_runs.items():
    print(f"{name}, step {50 * len(new)}: training {training[-1]:.2f}, "
          f"held-out {new[-1]:.2f} (step 350: {training[6]:.2f}, {new[6]:.2f})")

# %% [markdown]
# With three patients the training loss is the lower one, and the held-out loss the higher one. That is the sign of
# over-fitting: what is gained on the training patients is not gained on others. In the paper {cite}`roth2018`, with 340
# patients and augmentation, the mean Dice was 89.4 % in training and 89.3 % in the test.
#
# Take care what the distance between two curves means. In the library's history the training loss is that of crops,
# half of them around organs, with the statistics of the mini-batch; the held-out loss is that of whole scans, in use. With thirty patients the
# held-out curve even lies *below* the training curve. So do not read a distance at one time, but how it changes, and
# compare runs.
#
# ### Plateau
#
# A curve that lies still is on a *plateau*. Where it lies, and since when, tells more:
#
# - From the first steps on, at the loss of background everywhere: the network has given up. A smaller rate, from the
#   start.
# - Held-out nearly still, training falling, as with three patients after step 350 (the numbers printed above): there is nothing more to learn from these
#   patients that helps others.
# - Both still at the very end of a schedule: of course, for the rate is zero. Whether there was
#   something left to learn, only a longer schedule would tell.

# %% [markdown]
# ## Half precision
#
# A number in float32 takes four bytes, one in float16 or bfloat16 takes two. That saves memory, and GPUs have special
# circuits that multiply such numbers many times faster. What does one lose?

# %%
import ml_dtypes

for name in ("float32", "float16", "bfloat16"):
    about = ml_dtypes.finfo(name)
    largest, smallest, next_ = (
        float(about.max), float(about.smallest_subnormal), float(about.eps))
    print(f"{name:9} largest {largest:<12.5g} smallest {smallest:.0e}   "
          f"after 1 comes 1 + {next_:.1g}")

# %% [markdown]
# float16 has a narrow range: nothing above 65,504, and nothing between zero and $6\cdot 10^{-8}$. bfloat16 has the
# range of float32, and pays with digits: about two decimals. Both limits matter in training.
#
# ### Too large: 64³ ones
#
# The Dice loss sums over the voxels of a crop. Let us add one for each voxel of the paper's crop.

# %% tags=["quiz", "remove-input"]
quiz("8d")

# %%
ones = np.ones(64**3, dtype="float16")
with np.errstate(over="ignore"):
    print(f"{64**3:,} ones in float16: {ones.sum()}, in float32: "
          f"{ones.sum(dtype='float32'):,.0f}")

# %%
def count_in(kind):
    count = kind(0)
    while count + kind(1) != count:
        count = count + kind(1)
    return int(count)


print("counting one by one ends at", count_in(np.float16), "in float16, at",
      count_in(ml_dtypes.bfloat16), "in bfloat16")

# %% [markdown]
# The sum is above the largest number, so it is infinite (NumPy adds in blocks, and then the blocks' sums). And whoever counts one by one does not even get there: from
# 2048 on, float16 knows only every second whole number, and 2048 + 1 is rounded back to 2048. bfloat16 does not
# overflow, but stops at 256 already. So a sum over many voxels belongs in float32, whatever computed its terms.
#
# *Mixed* precision {cite}`micikevicius2018` does this: convolutions in 16 bits; weights, statistics, softmax and loss
# in 32. In Keras it is a *policy* of a layer. The library's network ends in a float32 softmax under every policy.

# %%
mixed = organseg.unet(base_filters=4, dtype="mixed_float16")
for layer in (mixed.layers[1], mixed.layers[-1]):
    weights_in = layer.weights[0].dtype if layer.weights else "none"
    print(f"{type(layer).__name__:8} computes in {layer.compute_dtype}, "
          f"weights in {weights_in}")

# %% [markdown]
# Why are the weights kept in float32? Because a step is small. 1 + 0.0001 is 1 in float16, and the step would be lost.
#
# And the loss? Here are a label and probabilities of a crop of 64³ voxels in float16, once with sums in float16 by
# hand, once by the library.

# %%
truth = np.zeros((1, 64, 64, 64), int)
truth[:, 16:48, 16:48, 16:48] = 3  # a cube of liver
p = np.full((*truth.shape, 8), 0.125, dtype="float16")
r = np.eye(8, dtype="float16")[truth]
with np.errstate(over="ignore", invalid="ignore"):
    I, S = (p * r).sum(axis=(1, 2, 3)), (p + r).sum(axis=(1, 2, 3))
    by_hand = np.mean(-2 * I / S)
by_library = float(organseg.dice_loss(truth, p))
assert abs(by_library - by_hand) > 0.005
print(f"by the library {by_library:.4f}; the same from sums in float16:",
      bool(abs(by_library - by_hand) < 0.005))

# %% [markdown]
# They differ. In float16 some sums become infinite, and others stop growing; how far they get depends on the order of
# adding. Nothing warns, the result is a number like any other. Which one is right?

# %%
I, S = (v.sum(axis=(1, 2, 3), dtype="float64") for v in (p * r, p + r))
np.testing.assert_allclose(by_library, np.mean(-2 * I / S), atol=1e-5)

# %% [markdown]
# ### Too small: loss scaling
#
# Gradients are often tiny. What lies below $3\cdot 10^{-8}$, half of float16's smallest number, is rounded to zero, and
# a weight with such gradients stands still. The remedy is a multiplication. Scale the loss by a large number, and by
# the chain rule all gradients are scaled with it; after the backward pass divide in float32.

# %%
gradient = 1e-8
scale = 2.0**15
print("as it is:", np.float16(gradient))
scaled = np.float16(gradient * scale)
print(f"scaled: {scaled:.3g}, and divided again in float32: "
      f"{np.float32(scaled) / scale:.3g}")

# %% [markdown]
# A scale that is too large overflows instead. Keras' `LossScaleOptimizer` looks for it while it trains: where a gradient
# is not finite, it leaves the weights alone and halves the scale; after 2000 good steps in a row it doubles it.

# %%
weights = keras.Variable(np.ones(2, "float32"))
scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))
scaling.build([weights])
assert scaling.dynamic_growth_steps == 2000
report = []
for gradient in ([np.inf, 1.0], [1.0, 1.0]):
    scale_before = float(scaling.dynamic_scale)
    scaling.apply([keras.ops.convert_to_tensor(np.array(gradient, "float32"))])
    after = keras.ops.convert_to_numpy(weights).round(2)
    report.append(f"gradients {gradient}: scale {scale_before:g}, "
                  f"then {float(scaling.dynamic_scale):g}; weights {after}")
print(*report, sep="\n")

# %% [markdown]
# The library puts it around Adam where a network computes in float16. With bfloat16, whose small numbers reach almost as
# far down as those of float32, no scale is needed.

# %%
def optimizer_for(policy):
    network = organseg.unet(base_filters=1, dtype=policy)
    return type(compile_for_training(network, lesson).optimizer).__name__


print({policy: optimizer_for(policy)
       for policy in ("float32", "mixed_bfloat16", "mixed_float16")})

# %% [markdown]
# ### Is there a GPU?
#
# On Google Colab: *Runtime*, *Change runtime type*, a GPU. Then ask. Where a profile's precision is `auto`, as in `gpu`
# (the others compute in float32), training takes bfloat16 on GPUs that compute in it (NVIDIA's compute capability 8.0
# and above: A100, L4, H100), float16 with a scaled loss on older ones such as Colab's T4, and float32 on a CPU.

# %% tags=["nbval-ignore-output"]
from organseg.backend import has_gpu
from organseg.device.precision import resolve_precision

found = "a GPU" if has_gpu() else "no GPU"
policy = resolve_precision("auto", training=True)
print(f"{found}, so with `auto` training takes {policy}")
assert policy in (("mixed_bfloat16", "mixed_float16")
                  if has_gpu() else ("float32",))
assert organseg.choose_profile() in organseg.PROFILES

# %% [markdown]
# ## Before a long training: measure
#
# The paper's training took about one week, on a Quadro P6000, a GPU with 24 GB. How long would yours take? Do not guess. Take a few steps,
# with a watch. Here with this chapter's small network, on crops that are ready:

# %% tags=["nbval-ignore-output"]
import time
seconds = []
for images, labels, annotated in batches[:8]:
    began = time.perf_counter()
    float(segmenter_09.train_on_batch(images, (labels, annotated)))
    seconds.append(time.perf_counter() - began)
print(f"median of eight steps: {1000 * np.median(seconds):.0f} ms")
assert 0 < np.median(seconds) < 20

# %% [markdown]
# `float` makes sure that the step has ended, because a GPU still works while Python has gone ahead. We take the median,
# which does not mind an interruption. The very first step of a new network must not count like the others: there the
# framework builds and compiles its graph.

# %%
def hours(first, step, steps=50_000):
    return (first + (steps - 1) * step) / 3600


print(f"the paper: {7 * 24 * 3600 / 50_000:.1f} seconds per step in one week, "
      "all included")
print(f"half a second per step: {hours(5, 0.5):.1f} hours")

# %% [markdown]
# `organseg.measure_pace` does this with the network and the crops of a profile, for as long as it is allowed, and for
# three *calls* at least. A call is one step on a CPU and 25 steps on a GPU, which would otherwise stand still whenever
# Python looks at a loss. Here it gets one second (the first call takes longer than that, so only two more follow); on
# the command line, `organseg preflight --profile paper` stops after about a minute, but not before three calls. Each
# step includes its crops: they are cut and warped where the network is ([chapter 7](07_augmentation.ipynb)), from scans
# that lie there already.

# %%
pace = organseg.measure_pace("lesson", seconds=1)
median = np.median(pace.step_seconds)
np.testing.assert_allclose(pace.hours(), hours(pace.first_seconds, median))
assert pace.first_seconds > 2 * median
print(f"{pace.parameters:,} parameters, "
      f"{pace.profile.steps} steps in the profile")

# %% tags=["nbval-ignore-output"]
print(pace)
assert 0.001 < pace.seconds_per_step < 20 and 0.1 < pace.memory_gb < 8

# %% [markdown]
# It is slower than above: the crops are larger and made in the step, and the network is one level deeper. The hours are
# without validation. The memory is the most that was held: the GPU's, or on a CPU that of the whole process.
#
# And the hours that another pace would take:

# %% alt="Hours for fifty thousand steps against the seconds of one step, a straight line on two logarithmic axes, with the paper's week as one point and this machine, with the small network of the lesson profile, as another."
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
step_seconds = np.geomspace(0.01, 30, 50)
axes.loglog(step_seconds, step_seconds * 50_000 / 3600, color="0.7")
axes.plot(12.1, 7 * 24, "o", color="black",
          label="the paper, the full network, 2018")
axes.plot(pace.seconds_per_step, pace.hours(), "o", color="#d55e00",
          label="here, profile lesson")
axes.set(xlabel="seconds per step", ylabel="hours for 50,000 steps")
axes.legend()
plt.show()

# %% [markdown]
# The small network of `lesson` is no measure of the large one: on your machine, run `organseg preflight --profile paper`
# (or `gpu`) before you plan. If the hours do not fit, look first for a GPU, then take fewer steps with a schedule (`gpu`
# has 4000), and only then a smaller network.
#
# ## When the runtime is lost
#
# Hours of training on a machine that somebody else may switch off need *checkpoints*: from time to time, all that the
# training needs to go on is written to a file. What is all? Not the weights alone. Adam's averages $m$ and $v$, its
# count of steps and the learning rate belong to it too. With our own Adam we can see what happens without them. We cut
# the 20 gradients from above in half.

# %%
weights_at_10 = adam(np.zeros(3), gradients[:10])
without_averages = adam(weights_at_10, gradients[10:])
unbroken = adam(np.zeros(3), gradients)
print("unbroken                 ", unbroken.round(3))
print("gone on with weights only", without_averages.round(3))

# %% [markdown]
# The second half starts like a new training: Adam has forgotten what it knew of its gradients, and moves each weight
# by the full rate at once.
#
# `organseg.train` is the whole training in one function: cases to the working grid, mini-batches, steps, and at every
# `validate_every` steps a validation and a checkpoint into a *run folder*. First an unbroken run of 12 steps, with a
# network as small as possible.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
tiny = lesson.replace(levels=2, base_filters=2, crop_size=16, steps=12,
                      validate_every=6)
unbroken, history = organseg.train(patients[:4], folder / "unbroken", tiny,
                                   progress=False)
print("steps on record:", [row["step"] for row in history])
print(sorted(path.name for path in (folder / "unbroken").iterdir()))

# %% [markdown]
# Does it do what our own loop does? The same seed, the same crops (the library brings the cases to its grid of 6 mm
# first), the same optimiser:

# %%
grid = unbroken.grid
own_scans = [organseg.to_scan(organseg.to_working(case, grid))
             for case in patients[:4]]
own_sampler = organseg.CropSampler(own_scans, 16, 3, tiny.organ_share, True,
                                   grid.paper_voxels, seed=0)
keras.utils.set_random_seed(0)
tiny_network = organseg.unet(levels=2, base_filters=2)
own_losses = fit(compile_for_training(tiny_network, tiny),
                 [own_sampler.batch(step) for step in range(12)])
expected = [own_losses[:6].mean(), own_losses[6:].mean()]
np.testing.assert_allclose([row["loss"] for row in history], expected,
                           atol=0.002)

# %% [markdown]
# Now the accident: the second run is lost right after its checkpoint of step 6. (The function that is given as
# `after_validation` is called there.)

# %%
def lose_the_runtime(history):
    raise RuntimeError(f"the runtime is lost after step {history[-1]['step']}")


try:
    organseg.train(patients[:4], folder / "broken", tiny, progress=False,
                   after_validation=lose_the_runtime)
except RuntimeError as error:
    print(error)
with np.load(folder / "broken" / "checkpoint.npz") as stored:
    print("checkpoint of step", stored["step"])
    assert len(stored.files) > 3 * len(unbroken.network.trainable_weights)

# %% [markdown]
# The checkpoint holds each weight and its two averages. With `resume=True` (`--resume` on the command line) the run
# goes on from step 6. Steps after the last checkpoint, if there were any, are done again with the same crops, because a
# batch depends on the number of its step alone.

# %%
resumed, history_resumed = organseg.train(patients[:4], folder / "broken", tiny,
                                          resume=True, progress=False)
print("steps on record:", [row["step"] for row in history_resumed])
np.testing.assert_allclose(history_resumed[-1]["loss"], history[-1]["loss"],
                           atol=0.002)
for one, other in zip(resumed.network.get_weights(),
                      unbroken.network.get_weights(), strict=True):
    np.testing.assert_allclose(one, other, atol=0.005)

# %% [markdown]
# The resumed run ends where the unbroken one does: the same loss and the same weights, up to the rounding of sums that
# two cores add in another order. And it refuses to go on with something else, so that no run is a mixture of two:

# %%
try:
    organseg.train(patients[:4], folder / "broken", tiny, seed=1, resume=True,
                   progress=False)
except organseg.OrgansegError as error:
    print(str(error).split(": ", 1)[1])

# %% [markdown]
# On Colab, put the run folder on your Google Drive: what lies on the machine itself goes with it.
#
# ## If you do not want to wait
#
# The library comes with the run folder of a finished training. `load_run` reads it as it would read yours,
# and its settings say how it came about.

# %% tags=["nbval-ignore-output"]
run = organseg.load_run("phantoms")
profile = run.settings["profile"]
print(f"{profile['steps']} steps on {len(run.settings['trained_on'])} "
      f"phantoms, voxels of {run.grid.spacing[0]:g} mm")
patient = organseg.make_phantom(3003, (96, 96, 112))
predicted = organseg.predict(run, patient)
scores = [organseg.dice(patient.label == organ, predicted == organ)
          for organ in organseg.ORGAN_IDS]
print(f"mean Dice on a new phantom: {np.nanmean(scores):.2f}")
assert np.nanmean(scores) > 0.7
assert round(19_071_784 / run.network.count_params()) == 16

# %% [markdown]
# This network, of the same family as ours and with a sixteenth of the paper's parameters, gets a mean Dice above 0.7
# on a phantom it was not trained on. What our few steps cannot do, 1600 can. For scans of your own, begin with another
# network of the library, `pretrained`, which has seen patients ([real scans](../book/patients.md)):
# `organseg train DATA --out RUN --start-from pretrained --profile fast --spacing 4`, since it has the width of the profile
# `fast` and learned on voxels of 4 mm.

# %% [markdown]
# ## Exercises
#
# ### Exercise 8.1 ★ Until everybody was seen
#
# Each step draws `crops` different patients, fewer than all `patients`, anew each time. How many steps does it take
# until one expects fewer than one patient who was never drawn? (The chance that a given patient is not drawn in one
# step is 1 − crops/patients. The expected number of patients unseen is the number of patients times the chance that a given
# one was missed in all steps.) Return the smallest such number of steps.

# %% tags=["exercise"]
from organseg.course import check


def steps_until_seen(patients, crops):
    return ...


check("8.1", steps_until_seen)

# %% tags=["solution"]
def steps_until_seen(patients, crops):
    steps, unseen = 0, patients
    while unseen >= 1:
        steps, unseen = steps + 1, unseen * (1 - crops / patients)
    return steps


check("8.1", steps_until_seen)

# %% [markdown]
# ### Exercise 8.2 ★ How long a memory is
#
# At each step a moving average keeps the share `momentum` of its old value and takes the rest from the present batch.
# Write the function that gives the share of the average that comes from the last `steps` batches together. Try 10
# steps with 0.9 and with 0.99.

# %% tags=["exercise"]
def share_of_the_last(momentum, steps):
    return ...


check("8.2", share_of_the_last)

# %% tags=["solution"]
def share_of_the_last(momentum, steps):
    return 1 - momentum**steps


check("8.2", share_of_the_last)
print([f"{share_of_the_last(momentum, 10):.2f}" for momentum in (0.9, 0.99)])

# %% [markdown]
# ### Exercise 8.3 ★★ Three patients of another kind
#
# Three trainings, drawn below, made by formula. One of them over-fits (`"over-fitting"`), one stands on a plateau from
# the first steps on (`"plateau"`), and one has batch normalisation whose averages are not those of its features
# (`"statistics"`). The held-out losses are computed in use, with the moving averages. Which is which? What would you do with each?

# %% alt="Three panels, A, B and C, each with a training curve and a held-out curve of the Dice loss over two thousand steps, to be diagnosed in the exercise." slide="Over-fitting, a plateau, or statistics that are not those of the features: which is which?"
from organseg.course.chapter_8 import CURVE_STEPS, mystery_curves

figure, panels = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True,
                              layout="constrained")
for panel, (name, (training, held_out_curve)) in zip(
    panels, mystery_curves().items(), strict=True):
    panel.plot(CURVE_STEPS, training, color="0.3", label="training")
    panel.plot(CURVE_STEPS, held_out_curve, color="#e69f00",
               label="held-out patients")
    panel.set(title=name, xlabel="step")
panels[0].set(ylabel="Dice loss")
panels[0].legend(fontsize=8)
plt.show()

# %% tags=["exercise"]
# a dict: {"A": "over-fitting" or "plateau" or "statistics", "B": and so on}
diagnosis = ...
check("8.3", diagnosis)

# %% tags=["solution"]
diagnosis = {"A": "over-fitting", "B": "plateau", "C": "statistics"}
check("8.3", diagnosis)
# A: more patients, more augmentation, or stop where the held-out curve is
# lowest. B: a smaller rate, from the start. C: compute the statistics anew;
# nothing is lost.

# %% [markdown]
# ### Exercise 8.4 ★★★ The largest scale
#
# Given the float32 gradients of a step (an array with at least one that is not zero), return the largest power of two
# by which they can be multiplied so that all stay finite in float16, whose largest number is 65,504.

# %% tags=["exercise"]
def largest_scale(gradients):
    return ...


check("8.4", largest_scale)

# %% tags=["solution"]
def largest_scale(gradients):
    return 2.0 ** np.floor(np.log2(65504 / np.abs(gradients).max()))


check("8.4", largest_scale)

# %% [markdown]
# ## Summary
#
# - Adam's learning rate is a distance. Batch normalisation, which sees only the direction of a kernel, is what lets a
#   rate of 0.01 work; without it the network fell into *background everywhere*, a loss that can be computed.
# - In a mini-batch from one patient, batch normalisation removes what is special about the patient. So each crop comes
#   from another one.
# - Momentum changes nothing in training and everything in use. If the loss falls and the network fails on its own
#   training crops, the moving averages lag: compute them anew, or shorten their memory.
# - One step is noise; compare means. Over-fitting is a gap that grows: the training loss goes on falling, and the
#   held-out loss falls far less, stands, or turns. A loss that stands from the start is a plateau, and one that a
#   network reaches by being lazy.
# - Sums belong in float32. float16 needs loss scaling, bfloat16 does not.
# - Measure before you train. A checkpoint holds the weights *and* the optimiser.
#
# ## References
#
# The paper {cite}`roth2018`, its sections II.C and II.D and its Fig. 4; Adam {cite}`kingma2015`; batch normalisation
# {cite}`ioffe2015`, its effect on the learning rate {cite}`vanlaarhoven2017`, and its statistics {cite}`wu2021`; mixed
# precision {cite}`micikevicius2018`, and bfloat16 in training {cite}`kalamkar2019`.
