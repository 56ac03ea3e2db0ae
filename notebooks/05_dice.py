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
# # 5. What to optimise: overlap
#
# You will turn the score by which segmentations are judged into a loss that a network can learn from, and say what
# that loss does with organs that are small, absent, or not drawn.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Show why the share of correct pixels says little about a segmentation, and compute Dice and Jaccard instead.
# - Derive the soft Dice loss, equation (1) of the paper, from Dice, and its gradient by the quotient rule.
# - Explain from the gradients why cross-entropy holds back where Dice dares, and see it in two trainings.
# - Write equation (2) in a few lines of numpy, with class weights, and say what it does with absent organs.
# - Keep a network from unlearning organs that nobody drew.
#
# **You need**: softmax and cross-entropy from [chapter 3](03_cnn.ipynb), and a network that answers for every pixel
# from [chapter 4](04_fcn.ipynb); derivatives, up to the quotient rule.
#
# **In class:** 60 minutes, exercises 45 minutes (our estimate).
#
# **Measured:** about one minute on two CPU cores (not measured on a GPU), 1.5 GB of memory, nothing to download.

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
# ## A score that misleads
#
# The networks of chapter 4 answer for every pixel, and were scored by Dice, without saying why. The first idea would
# be to count: which share of the voxels got the right class? This share is called the *accuracy*.
#
# Let us try it on the laziest answer there is: background everywhere.

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("5a")

# %%
import numpy as np
import organseg

case = organseg.make_phantom(6, (96, 96, 40))
nothing = np.zeros_like(case.label)
accuracy = np.mean(nothing == case.label)
print(f"accuracy of finding nothing: {100 * accuracy:.1f} %")

# %% [markdown]
# An answer without a single organ is right almost everywhere, because a CT is mostly air, fat, muscle and bowel.
# Asked for one organ alone, the same answer does even better:

# %%
for organ in organseg.ORGANS:
    share = np.mean(case.label == organ.id)
    print(f"{organ.name:12}{100 * share:6.2f} % of the voxels; without it: "
          f"accuracy {100 * (1 - share):.2f} %")

# %% [markdown]
# Here is the slice that we will use in most of this chapter, and how many of its pixels each organ has. All seven
# organs are there, and still most of the pixels are background.

# %% alt="Left: an axial slice of the phantom with the seven organs in colour; the liver is the largest, artery and vein are the smallest. Right: bars of the pixels per organ; all organs together are a small part of the 9216 pixels of the slice."
import matplotlib.pyplot as plt

z = 28
truth = case.label[:, :, z]
pixels = [np.sum(truth == organ.id) for organ in organseg.ORGANS]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4),
                                     layout="constrained")
left.imshow(organseg.slice_picture(case, "axial", z, opacity=0.9))
left.set(title="The slice and its organs", xticks=[], yticks=[])
bars = right.barh(organseg.ORGAN_NAMES, pixels,
                  color=[organ.colour for organ in organseg.ORGANS])
right.bar_label(bars, padding=3)
right.set(xlabel=f"pixels (of {truth.size} in the slice)",
          xlim=(0, 1.15 * max(pixels)))
right.invert_yaxis()

# %% [markdown]
# A useful score must not be won by the background. It should look only at the organ: at the voxels that are organ in
# the truth, in the prediction, or in both.
#
# ## Overlap by hand
#
# Take a small organ A, drawn by an expert, and a prediction B that is one pixel off and one row too short.

# %%
A = np.zeros((6, 7), bool)
B = np.zeros((6, 7), bool)
A[1:5, 1:5] = True
B[2:5, 2:6] = True
both, only_A, only_B = np.sum(A & B), np.sum(A & ~B), np.sum(B & ~A)
print(f"in both: {both}, only in A: {only_A}, only in B: {only_B}")

# %% alt="A grid of 6 by 7 pixels: 9 are in both masks, 7 only in A above and left of them, 3 only in B on their right."
from matplotlib.colors import ListedColormap

figure, axes = plt.subplots(figsize=(4.6, 3.2))
kind = A + 2 * B
colours = ListedColormap(["white", "#e69f00", "#56b4e9", "#009e73"])
axes.pcolormesh(kind, cmap=colours, edgecolors="0.8")
for (row, column), number in np.ndenumerate(kind):
    axes.text(column + 0.5, row + 0.5, ["", "A", "B", "A, B"][number],
              ha="center", va="center")
axes.set(title="The expert's organ A and the prediction B", aspect="equal",
         xticks=[], yticks=[])
axes.invert_yaxis()

# %% [markdown]
# *Jaccard*, also called intersection over union, is the share of the coloured pixels that are in both:
#
# $$J = \frac{|A \cap B|}{|A \cup B|}.$$
#
# *Dice* compares the overlap with the mean size of the two masks:
#
# $$D = \frac{|A \cap B|}{(|A| + |B|)/2} = \frac{2\,|A \cap B|}{|A| + |B|}.$$
#
# Both are 1 for equal masks. The pixels in neither mask do not enter, however many there are.

# %%
jaccard = both / (both + only_A + only_B)
dice = 2 * both / (np.sum(A) + np.sum(B))
print(f"Jaccard {jaccard:.3f}, Dice {dice:.3f}, "
      f"by the library {organseg.dice(A, B):.3f}")
np.testing.assert_allclose(organseg.dice(A, B), dice)

# %% [markdown]
# The two rank predictions alike. If we count A and then B, the pixels in both are counted twice, so
# $|A| + |B| = |A \cup B| + |A \cap B|$. Put this into the formula of Dice and divide above and below by $|A \cup B|$:
#
# $$D = \frac{2\,|A \cap B|}{|A \cup B| + |A \cap B|} = \frac{2J}{1 + J}.$$

# %%
print(f"2J / (1 + J) = {2 * jaccard / (1 + jaccard):.3f}")
np.testing.assert_allclose(2 * jaccard / (1 + jaccard), dice)

# %% [markdown]
# Between 0 and 1, Dice is always the larger number. Whoever compares two publications should look first which of the
# two they print. The formula holds case by case; for means over cases, the mean Dice does not give the mean Jaccard,
# and the two may rank networks differently. The paper {cite}`roth2018` prints Dice, and so do we.
#
# Get a feeling for the numbers: move the prediction B over the organ A, and change its size. A is thirteen pixels
# wide. Guess first: how far may a B of the same size be off, so that Dice is still above one half? And what is the
# best Dice of a B that has half of A's pixels?

# %%
def disc(centre, radius):
    y, x = np.ogrid[-9:10, -9:19]
    return (x - centre) ** 2 + y**2 <= radius * (radius + 1)


def draw_overlap(shift, radius):
    A, B = disc(0, 6), disc(shift, radius)
    figure, axes = plt.subplots(figsize=(4.8, 4), layout="constrained")
    axes.imshow(A + 2 * B, cmap=colours, vmin=0, vmax=3,
                extent=(-9, 19, -9, 10))
    both, either = np.sum(A & B), np.sum(A | B)
    for x, colour, words in ((-8, "#e69f00", f"only A {A.sum() - both}"),
                             (2.5, "#009e73", f"both {both}"),
                             (10, "#56b4e9", f"only B {B.sum() - both}")):
        axes.text(x, -10.3, words, color=colour, weight="bold")
    axes.set(title=f"Dice {2 * both / (A.sum() + B.sum()):.2f}, "
             f"Jaccard {both / either:.2f}", ylim=(-11, 10), xticks=[],
             yticks=[])


# more than a third of its 13 pixels off, and half as large
assert organseg.dice(disc(0, 6), disc(5, 6)) > 0.5
assert organseg.dice(disc(0, 6), disc(0, 4)) < 0.68

# %%
organseg.explore(
    draw_overlap, "A disc A, a disc B, and in a third colour their overlap.",
    start={"shift": 3, "radius": 6}, shift=[0, 1, 2, 3, 4, 5, 7, 10],
    radius=[4, 6, 8])

# %% [markdown]
# A B of the same size may be off by more than a third of its width, and still have a Dice of one half: that is no good
# mask. A B with half of A's pixels gets two thirds at most. Too small or too large, it forgives small shifts: as long
# as one of the discs lies within the other, nothing changes.

# %% tags=["quiz", "remove-input"]
quiz("5b")

# %% [markdown]
# And the lazy answer? It gets what it deserves:

# %%
print([float(organseg.dice(case.label == organ.id, nothing == organ.id))
       for organ in organseg.ORGANS])

# %% [markdown]
# ## What Dice punishes
#
# Dice divides by the size of the organ, so the same mistake costs more where the organ is small. To see how much, we
# push the true mask of each organ sideways and score the pushed copy against the original.

# %% alt="Dice falls with the shift of a mask, from 1 at no shift: slowly for the liver, faster for the gallbladder and the artery, fastest for the vein."
shifts = np.arange(6)
scores = {}
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name in ("liver", "gallbladder", "artery", "vein"):
    organ = organseg.ORGANS[organseg.ORGAN_NAMES.index(name)]
    mask = case.label == organ.id
    scores[name] = [organseg.dice(mask, np.roll(mask, shift, axis=0))
                    for shift in shifts]
    axes.plot(shifts * case.spacing[0], scores[name], marker="o",
              color=organ.colour, label=name)
axes.set(xlabel="shift to the side (mm)", ylabel="Dice", ylim=(0, 1.03),
         title="The same mistake, four organs")
axes.legend()
print({name: f"{score[1]:.2f}" for name, score in scores.items()},
      f"after {case.spacing[0]:.1f} mm")

# %% [markdown]
# A shift by a single voxel costs the liver little, the gallbladder more, and the vein most. It is not the volume alone
# that counts: the artery has twice the voxels of the gallbladder, and still loses more. What counts is how much of the
# organ is border, and artery and vein are thin tubes, nearly all border. Keep this in mind when you read tables such
# as the paper's: its network reached a mean Dice of 97.1 % for the liver and 80.5 % for the portal vein
# {cite}`roth2018`, and that alone does not say that its borders are further off at the vein.
#
# ## An organ that is not there
#
# Where neither the truth nor the prediction has a single voxel, Dice is 0/0. Some patients have no gallbladder, so
# this is no rare case, and every convention that fills the gap moves the averages. The library takes the one that
# claims least.

# %%
empty = np.zeros_like(A)
print("absent, and not predicted:", organseg.dice(empty, empty))
print("absent, but predicted:    ", organseg.dice(empty, B))
print("there, but missed:        ", organseg.dice(A, empty))

# %% [markdown]
# `nan` means *not a number*: the organ is left out of the mean, since there was nothing to find. Inventing an organ,
# or missing one, scores 0.
#
# ## From the score to a loss
#
# A network learns by following the slope of its loss. Does Dice have a slope? Let us try it in one dimension. The
# organ takes up a third of a row of 30 pixels. The prediction is a row of probabilities: high around a centre, low
# elsewhere. We move the centre along and score the *mask* of the pixels with a probability above 0.5.

# %%
row = np.arange(30)
r = ((row >= 10) & (row < 20)).astype(float)


def bump(centre):
    # near 1 within 5 pixels of the centre, near 0 far away
    return 1 / (1 + np.exp(abs(row - centre) - 5))


centres = np.linspace(0, 14.5, 200)
hard = np.array([organseg.dice(r == 1, bump(centre) > 0.5)
                 for centre in centres])
print(f"{np.mean(np.diff(hard) == 0):.0%} of the small moves change nothing")

# %% [markdown]
# The score moves only when a pixel crosses 0.5. Everywhere else its slope is zero, and the slope is all that training
# has.
#
# The remedy is to count with the probabilities themselves. Let $r_i$ be 1 where voxel $i$ belongs to the organ, and 0
# elsewhere, and $p_i$ the probability that the network gives to the organ there. For masks, where $p$ is 0 or 1 as
# well, the counts are sums:
#
# $$|A \cap B| = \sum_i p_i r_i, \qquad |A| = \sum_i r_i, \qquad |B| = \sum_i p_i.$$
#
# The sums make sense for every $p_i$ between 0 and 1. With them Dice becomes the *soft Dice*, and with a minus sign,
# so that less is better, the loss of one class, equation (1) of the paper {cite}`roth2018`, who took it from V-Net
# {cite}`milletari2016` (V-Net squares the terms below the line):
#
# $$\mathcal{L}_l = -\frac{2 \sum_i p_i r_i}{\sum_i p_i + \sum_i r_i}.$$

# %%
def soft_dice_loss(p, r):
    return -2 * np.sum(p * r) / (np.sum(p) + np.sum(r))


print(f"perfect {soft_dice_loss(r, r):.2f}, "
      f"0.5 everywhere {soft_dice_loss(np.full(30, 0.5), r):.2f}")
assert soft_dice_loss(1 - r, r) == 0
soft = np.array([-soft_dice_loss(bump(centre), r) for centre in centres])
print(f"{np.mean(np.diff(soft) > 0):.0%} of the small moves towards the organ "
      "are rewarded")

# %% [markdown]
# The loss lies between −1 and 0. Neither $p$ nor $r$ is above 1, so $pr$ exceeds neither of them, and $2pr \le p + r$
# at every voxel, with equality only for $p = r = 0$ and $p = r = 1$. So −1 is reached only where prediction and truth
# are the same mask. In the next picture the soft Dice stays below 1 even at the right place: the probabilities near
# the border are neither 0 nor 1.

# %% alt="Left: the organ as a block from pixel 10 to 19 and a predicted bump of probabilities left of it. Right: Dice against the centre of the bump; the score of the mask rises in steps, the soft Dice rises smoothly along them."
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2),
                                     layout="constrained")
left.step(row, r, where="mid", color="0.6", label="organ r")
left.plot(row, bump(9), marker=".", color="#0072b2",
          label="prediction p, centre 9")
left.set(xlabel="pixel", ylabel="probability", title="A prediction that is off",
         ylim=(0, 1.5))
left.legend(loc="upper right")
right.plot(centres, hard, color="0.6", label="Dice of the mask p > 0.5")
right.plot(centres, soft, color="#0072b2", label="soft Dice")
right.set(xlabel="centre of the prediction (pixel)", ylabel="Dice",
          title="Stairs and a slope")
right.legend()
plt.show()

# %% [markdown]
# ## The gradient
#
# In which direction does this loss push the probability of one voxel $j$? Write $I = \sum_i p_i r_i$ and
# $S = \sum_i p_i + \sum_i r_i$, so that $\mathcal{L} = -2I/S$. If $p_j$ grows, $I$ grows $r_j$ times as fast and $S$
# just as fast: $\partial I/\partial p_j = r_j$ and $\partial S/\partial p_j = 1$. The quotient rule gives
#
# $$\frac{\partial \mathcal{L}}{\partial p_j} = -\frac{2\,(r_j S - I)}{S^2}
# = -\frac{2}{S}\left(r_j - \frac{D}{2}\right), \qquad D = \frac{2I}{S}.$$
#
# In the organ ($r_j = 1$) this is negative: descent raises $p_j$. Outside it is $2I/S^2$, positive wherever there is
# some overlap, and descent lowers $p_j$. (Without overlap, $I = 0$, it is zero. We will meet this with absent organs.)
# We compare the formula with numerical differentiation: move one $p_j$ a little up and a little down.

# %%
def dice_gradient(p, r):
    I, S = np.sum(p * r), np.sum(p) + np.sum(r)
    return -2 * (r * S - I) / S**2


p, step = bump(9), 1e-5
numerical = [(soft_dice_loss(p + e, r) - soft_dice_loss(p - e, r)) / (2 * step)
             for e in step * np.eye(30)]
np.testing.assert_allclose(dice_gradient(p, r), numerical, atol=1e-8)
print(f"in the organ {dice_gradient(p, r)[15]:.3f}, "
      f"outside {dice_gradient(p, r)[2]:+.3f}")

# %% [markdown]
# The second form of the formula says more. Suppose that of all pixels that look like pixel $j$ a share $\pi$ is organ,
# and that one pixel hardly changes $S$ and $D$. Over them $r_j$ averages to $\pi$, and the mean gradient is negative
# as soon as $\pi > D/2$. So Dice wants a pixel in the mask as soon as its chance of being organ exceeds *half of the
# present Dice*. That can be far below 0.5. Keep it in mind.
#
# ## Pull and push
#
# Cross-entropy, the loss of the chapters before, is the mean of $-\log p$ of the true class. For one organ against the
# rest, and $N$ pixels,
#
# $$C = -\frac{1}{N}\sum_i \bigl(r_i \log p_i + (1 - r_i) \log(1 - p_i)\bigr), \qquad
# \frac{\partial C}{\partial p_j} = \frac{1}{N}\left(\frac{1 - r_j}{1 - p_j} - \frac{r_j}{p_j}\right).$$
#
# Put both losses at the start of a training: the network knows nothing and gives the gallbladder a probability of 0.5
# at every pixel of our slice. Which way is each pixel sent?

# %%
def cross_entropy_gradient(p, r):
    return ((1 - r) / (1 - p) - r / p) / r.size


gallbladder = (truth == 6).astype(float)
unsure = np.full_like(gallbladder, 0.5)
gradients = {
    "cross-entropy": cross_entropy_gradient(unsure, gallbladder),
    "Dice": dice_gradient(unsure, gallbladder),
}

# %% alt="Two maps over the slice in grey. With cross-entropy a small red spot, the gallbladder, lies in an area of equally strong blue. With Dice the spot is as red, and the blue of the area around it is pale."
from matplotlib.colors import SymLogNorm

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for panel, (name, gradient) in zip(axes, gradients.items(), strict=True):
    relative = -gradient / np.abs(gradient).max()
    panel.imshow(organseg.normalise(case.image[::-1, ::-1, z]).T, cmap="gray")
    scale = SymLogNorm(linthresh=1e-3, vmin=-1, vmax=1)
    shown = panel.imshow(relative[::-1, ::-1].T, cmap="RdBu_r", norm=scale,
                         alpha=0.7)
    panel.set(title=name, xticks=[], yticks=[])
figure.colorbar(
    shown, ax=axes,
    label="red: raise p, blue: lower p\n(1: the strongest pixel; logarithmic)")
plt.show()

# %% [markdown]
# The pixels share their weights: what the network learns at one, it does at all that look alike. So what matters is
# the sum of all pulls (red) against the sum of all pushes (blue).

# %% tags=["quiz", "remove-input"]
quiz("5c")

# %%
balance = {}
for name, gradient in gradients.items():
    pull, push = (-gradient[gallbladder == 1].sum(),
                  gradient[gallbladder == 0].sum())
    balance[name] = pull / push
    print(f"{name:14} pull {pull:.4f}, push {push:.4f}, "
          f"ratio {pull / push:.4f}")

# %% [markdown]
# With cross-entropy every pixel has the same say, and the few of the gallbladder are outvoted by all the others. With
# Dice pull and push are nearly in balance: in the right map the blue is weak, but it is at all the pixels around. At
# such a start the pull of an organ is never the weaker side, however small the organ. To see this, let $V$ of the $N$
# pixels be organ and give every pixel the probability $q$. Then $I = qV$ and $S = qN + V$, and by the formula above
#
# $$\frac{\text{pull}}{\text{push}} = \frac{V\,(S - I)}{(N - V)\,I} = \frac{q(N - V) + V}{q(N - V)} > 1,$$
#
# while for cross-entropy it is $V(1-q) \,/\, (N-V)\,q$. This is how Dice deals with the *imbalance of classes*. It
# needs no weights for that.

# %%
V, N, q = gallbladder.sum(), gallbladder.size, 0.5
np.testing.assert_allclose(balance["Dice"], (q * (N - V) + V) / (q * (N - V)))
np.testing.assert_allclose(balance["cross-entropy"],
                           V * (1 - q) / ((N - V) * q))

# %% [markdown]
# Where does each loss go from here, if the network has still learned nothing and can only change $q$? We draw both
# losses against $q$.

# %% alt="Cross-entropy against the probability q given to every pixel: its lowest point is close to zero. The Dice loss falls all the way to q equal to one."
q = np.linspace(0.001, 0.999, 999)
cross_entropy = -(V * np.log(q) + (N - V) * np.log(1 - q)) / N
dice_loss = -2 * q * V / (q * N + V)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for panel, name, loss in zip(axes, ("cross-entropy", "Dice loss"),
                             (cross_entropy, dice_loss), strict=True):
    panel.plot(q, loss, color="0.3")
    panel.plot(q[loss.argmin()], loss.min(), "o", color="#d55e00",
               clip_on=False)
    panel.set(xlabel="q, the same at every pixel", ylabel=name,
              title=f"lowest at q = {q[loss.argmin()]:.3f}")
print(f"share of the gallbladder: {V / N:.4f}")

# %% [markdown]
# Cross-entropy comes to rest at the gallbladder's share of the pixels. That is honest: $q$ is then the chance that a
# pixel taken at random is gallbladder. But turned into a mask, a probability below 0.5 is background everywhere, and
# Dice is 0. The Dice loss errs the other way: it falls all the way to the end of the axis, though very little after
# the first steep part. It would rather call everything gallbladder than miss it, and leaves it to the next steps to
# take away what is wrong.
#
# This has a price. At its lowest point, cross-entropy makes $p$ the share of organ among pixels that look alike, so
# after enough training $p$ can be read as a chance. Dice does not: its mean gradient $-\frac{2}{S}(\pi - \frac{D}{2})$
# does not contain the $p_j$ of the pixel itself (other than through the sums), so it does not stop at a value in
# between, but goes on to 0 or 1. And there is a trap. Before the softmax the network has scores (also called
# *logits*), and the slope of $p$ along its own score is $p(1 - p)$. By the chain rule the gradient is multiplied by
# it, so an organ whose $p$ has fallen to 0 everywhere feels hardly any pull and is hard to win back. (With
# cross-entropy the $1/p$ in the gradient cancels the $p$.)
#
# ## All organs at once
#
# Equation (2) of the paper {cite}`roth2018` takes the mean of the classes' losses, each with a weight $w_l$:
#
# $$\mathcal{L}_\text{total} = \frac{1}{L} \sum_{l=1}^{L} w_l\,\mathcal{L}_l.$$
#
# $L$ counts the background as a class of its own, so here $L = 8$ (in the code the classes are 0 to 7, background 0),
# and the paper keeps $w_l = 1$. We need labels and probabilities for a batch of two slices: ours, and one nearer to
# the head that two organs do not reach. The probabilities are made up: random logits, raised at the true class,
# through a softmax.

# %%
# (image, x, y)
labels = np.moveaxis(case.label[:, :, [28, 32]], 2, 0).astype(int)
r = np.eye(8)[labels]  # (image, x, y, class)
logits = np.random.default_rng(5).normal(size=r.shape) + 6 * r
p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
names = ("background", *organseg.ORGAN_NAMES)
absent = [names[l] for l in range(8) if l not in labels[1]]
print(r.shape, "absent from the second slice:", absent)

# %% [markdown]
# The sums run over the pixels of one image, the paper's "voxels in the current image volume". Images are then
# averaged.

# %%
# each (image, class)
intersection, predicted, true = (np.sum(v, axis=(1, 2)) for v in (p * r, p, r))
per_class = -2 * intersection / (predicted + true)  # equation (1)
per_image = np.mean(per_class, axis=1)  # equation (2)
by_hand = np.mean(per_image)
print(f"by hand {by_hand:.6f}, "
      f"by the library {float(organseg.dice_loss(labels, p)):.6f}")
np.testing.assert_allclose(organseg.dice_loss(labels, p), by_hand, atol=1e-6)

# %% [markdown]
# ## Absent organs
#
# Two organs are absent from the second slice, so their intersection there is zero, and so is their loss, whatever the
# network says. Even a perfect answer therefore gets only

# %% tags=["quiz", "remove-input"]
quiz("5d")

# %%
perfect = organseg.dice_loss(labels[1:], r[1:])
print("perfect on the second slice: "
      f"{float(perfect):.3f} = -{len(np.unique(labels[1]))}/8")
np.testing.assert_allclose(perfect, -len(np.unique(labels[1])) / 8, atol=1e-6)

# %% [markdown]
# The lost eighths do no harm: a constant has no gradient. But a term that stays at zero *whatever the network says*
# does not protect against inventions either. Let the network invent a gallbladder of 100 pixels in the second slice,
# in the air in a corner, and look at the soft Dice of the gallbladder, slice by slice and summed over both slices.

# %%
invented = p.copy()
invented[1, :10, :10] = np.eye(8)[6]  # 6: gallbladder
for name, prediction in (("before", p), ("invented", invented)):
    I, P, R = (np.sum(v[..., 6], axis=(1, 2))
               for v in (prediction * r, prediction, r))
    each, summed = 2 * I / (P + R), 2 * I.sum() / (P.sum() + R.sum())
    print(f"{name:9} slices {each[0]:.3f} and {each[1]:.3f}, "
          f"summed over both {summed:.3f}")

# %% [markdown]
# Slice by slice, the invented gallbladder costs nothing in its own term (only the background's term loses a little).
# If the sums run over both slices before the division, the gallbladder of the first slice brings the organ into the
# count, and the invention is noticed. This matters for training on crops, most of which lack most organs. The
# library's `batch_sum=True` does it:

# %%
# each (class,)
intersection, predicted, true = (np.sum(v, axis=(0, 1, 2))
                                 for v in (p * r, p, r))
by_hand = np.mean(-2 * intersection / (predicted + true))
np.testing.assert_allclose(organseg.dice_loss(labels, p, batch_sum=True),
                           by_hand, atol=1e-6)
print(f"per image {float(organseg.dice_loss(labels, p)):.3f}, "
      f"over the batch {by_hand:.3f}")

# %% [markdown]
# The paper's formula, read to the letter, is per image. Over the batch is a variant for small crops and small
# batches, and the library's quick training profiles use it. An organ that is absent from the whole batch still
# contributes 0, and the loss stays finite, even if the network gives that organ no probability at all (0/0 in the
# formula):

# %%
without = labels * (labels != 6)
certain = np.eye(8)[without]
print(f"{float(organseg.dice_loss(without, certain, batch_sum=True)):.3f}")
assert np.isfinite(organseg.dice_loss(without, certain))

# %% [markdown]
# ## Two trainings that differ in the loss
#
# Now we let two networks learn, from the same slices, from the same start and for the same time. Only the loss
# differs. The slices come from twelve phantoms, on a coarse grid and without the air around the body; four more are
# for the test.

# %%
from organseg.backend import keras


def slices_of(seeds):
    cases = [organseg.make_phantom(seed, (64, 64, 40)) for seed in seeds]
    images = np.concatenate([np.moveaxis(organseg.normalise(case.image), 2, 0)
                             for case in cases])
    labels = np.concatenate([np.moveaxis(case.label, 2, 0) for case in cases])
    images, labels = (images[:, 8:56, 8:56, np.newaxis],
                      labels[:, 8:56, 8:56].astype("int32"))
    with_organs = labels.any(axis=(1, 2))
    return images[with_organs], labels[with_organs]


train_images, train_labels = slices_of(range(12))
test_images, test_labels = slices_of(range(100, 104))
print(train_images.shape, test_images.shape)

# %% [markdown]
# The network is a small 2-D *U-Net*, the kind of FCN that the paper uses in 3-D {cite}`roth2018`. It is made of what
# chapter 4 used; only its skip connections join features where those of chapter 4 add scores. It gives eight
# probabilities per pixel. The learning rate starts at the paper's 0.01 and falls to zero, so that both trainings end
# quietly.

# %%
def train(loss, epochs=8, seed=0):
    keras.utils.set_random_seed(seed)
    network = organseg.unet(spatial_dims=2, base_filters=8, levels=3)
    steps = epochs * int(np.ceil(len(train_images) / 16))
    learning_rate = keras.optimizers.schedules.CosineDecay(0.01, steps)
    network.compile(keras.optimizers.Adam(learning_rate), loss=loss)
    network.fit(train_images, train_labels, batch_size=16, epochs=epochs,
                verbose=0)
    return network.predict(test_images, verbose=0)


def dice_over_batch(labels, probabilities):
    return organseg.dice_loss(labels, probabilities, batch_sum=True)


# %%
by_cross_entropy = train("sparse_categorical_crossentropy")

# %%
by_dice = train(dice_over_batch)

# %% [markdown]
# We turn the probabilities into labels by taking the most probable class, and score each organ over all test slices.
# The right panel holds the scores after five times as many epochs. They come from these same cells with
# `epochs=40` (`benchmarks/figures_check.py longer_training`), and are stored here, because that takes some minutes.

# %% alt="Two panels of bars, Dice per organ, for cross-entropy and Dice loss. After 8 epochs both networks have the liver; artery and pancreas have high bars with the Dice loss and nearly none with cross-entropy. After 40 epochs the bars are almost equal."
def scores_of(probabilities):
    predicted = probabilities.argmax(axis=-1)
    return np.array([organseg.dice(test_labels == organ, predicted == organ)
                     for organ in organseg.ORGAN_IDS])


panels = {
    "8 epochs": (scores_of(by_cross_entropy), scores_of(by_dice)),
    "40 epochs (stored)": ([0.90, 0.79, 0.97, 0.95, 0.90, 0.68, 0.81],
                           [0.92, 0.80, 0.96, 0.95, 0.92, 0.77, 0.82]),
}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True,
                            layout="constrained")
for panel, (title, (of_cross_entropy, of_dice)) in zip(axes, panels.items(),
                                                       strict=True):
    panel.bar(np.arange(7) - 0.2, of_cross_entropy, width=0.4, color="0.6",
              label="cross-entropy")
    panel.bar(np.arange(7) + 0.2, of_dice, width=0.4, color="#0072b2",
              label="Dice loss")
    panel.set_xticks(range(7), organseg.ORGAN_NAMES, rotation=45)
    panel.set(title=title, ylim=(0, 1))
axes[0].set(ylabel="Dice on the test slices")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center",
              ncols=2)
plt.show()

# %% tags=["nbval-ignore-output"]
of_cross_entropy, of_dice = (dict(zip(organseg.ORGAN_NAMES, s, strict=True))
                             for s in panels["8 epochs"])
assert of_cross_entropy["liver"] > 0.75 and of_dice["liver"] > 0.75
assert of_cross_entropy["pancreas"] < 0.25 and of_dice["pancreas"] > 0.3
assert of_dice["artery"] > of_cross_entropy["artery"] + 0.1
assert min(np.mean(p.argmax(axis=-1) == test_labels)
           for p in (by_cross_entropy, by_dice)) > 0.93
for name, score in of_cross_entropy.items():
    print(f"{name:12}cross-entropy {score:.2f}, Dice loss {of_dice[name]:.2f}")
print("accuracy of finding nothing in these slices: "
      f"{np.mean(test_labels == 0):.3f}")

# %% [markdown]
# After the short training both networks have the liver. Artery, gallbladder and pancreas are there only with the Dice
# loss. The accuracy hides that: it is above 0.93 for both, and not far below for finding nothing.
#
# The long training shows the other half of the truth. Cross-entropy is not blind to small organs. It gets to them
# later, when the large ones no longer dominate its mean, and then the two losses end closer together.
#
# How much of this is the start? Here are five short trainings with each loss, with seeds from 0 to 4 (stored as well;
# `benchmarks/figures_check.py five_starts`).

# %%
five_starts = {  # Dice after 8 epochs
    "cross-entropy": {"vein": [0.00, 0.00, 0.00, 0.00, 0.00],
                      "pancreas": [0.00, 0.00, 0.00, 0.00, 0.00]},
    "Dice loss": {"vein": [0.00, 0.66, 0.69, 0.66, 0.00],
                  "pancreas": [0.64, 0.71, 0.70, 0.74, 0.00]},
}
for name, organs in five_starts.items():
    for organ, scores in organs.items():
        print(f"{name:14} {organ:9} {scores}, mean {np.mean(scores):.2f}")

# %% [markdown]
# With cross-entropy neither organ is found from any start; with the Dice loss the pancreas from four, the vein from three.
# Where the Dice loss leaves an organ at 0, as it may in your picture, it has fallen into the trap from above: its
# probability fell to 0 everywhere, and there it stays for a while.
#
# ### What cross-entropy knew
#
# Was there nothing of the artery in the network trained with cross-entropy for a short time? Let us not take the most
# probable class, but call a pixel artery where its probability exceeds a threshold, and move the threshold.

# %%
is_artery, p_artery = test_labels == 1, by_cross_entropy[..., 1]
thresholds = np.linspace(0.02, 0.6, 59)
dice_at = np.array([organseg.dice(is_artery, p_artery > t) for t in thresholds])
accuracy_at = np.array([np.mean(is_artery == (p_artery > t))
                        for t in thresholds])
best = thresholds[dice_at.argmax()]
assert best < 0.45
assert dice_at.max() > organseg.dice(is_artery, p_artery > 0.5) + 0.1

# %% slide="At a threshold of 0.5 little or nothing is left of the artery; far below there is a mask that overlaps with it."
def draw_threshold(threshold):
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3),
                                         layout="constrained")
    left.plot(thresholds, accuracy_at, color="0.6", label="accuracy")
    left.plot(thresholds, dice_at, color="#d55e00", label="Dice")
    left.axvline(threshold, color="black", linestyle=":")
    left.set(xlabel="threshold", ylabel="score of the artery", ylim=(0, 1.03))
    left.legend(loc="center right")
    shown = is_artery.sum(axis=(1, 2)).argmax()
    of_all = test_images[..., 0], p_artery > threshold, is_artery
    slice_, mask, true = (v[shown][::-1, ::-1].T for v in of_all)
    right.imshow(slice_, cmap="gray")
    right.imshow(np.where(mask, 1.0, np.nan), cmap="autumn", vmin=0, vmax=2,
                 alpha=0.7)
    right.contour(true, levels=[0.5], colors="cyan", linewidths=1)
    dice = organseg.dice(is_artery, p_artery > threshold)
    right.set(title=f"p > {threshold}: Dice {dice:.2f}", xticks=[], yticks=[])


organseg.explore(
    draw_threshold, "Left: Dice and accuracy of the artery against the "
    "threshold. Right: a slice with the pixels above it in colour, and the "
    "outline of the true artery.", start={"threshold": 0.5}, threshold=[
        0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6])

# %% [markdown]
# Move the slider down, and look for the best mask in colour, with the outline of the true artery around it. At 0.5
# little or nothing is left of the artery, while far below there is a mask that overlaps with it. So cross-entropy had
# learned where the artery may be, but gave it a small chance, and a small chance does not make a mask. The accuracy
# sees no reason to complain: it hardly moves, except where the threshold is so low that false artery appears in many
# places. That Dice is gained far below 0.5 is what the second form of the gradient said. The best threshold here can
# be lower still than half of the Dice reached: after so short a training the probabilities are not yet true chances.
# (We looked for it on the test slices, to understand; as a method that would be cheating.)

# %% [markdown]
# ## Weights
#
# In equation (2) every class has one part in $L$, whatever its size. Weights $w_l$ change the parts. Reference
# {cite}`shen2017` of the paper compares equal weights with weights that fall with the volume of the class, or with
# its square. We compute them for our first slice, and scale them to a mean of 1 as the library does.

# %%
volumes = r[0].sum(axis=(0, 1))
weights = [volumes**-power / np.mean(volumes**-power)
           for power in (0.0, 1.0, 2.0)]
for power, by_hand in enumerate(weights):
    by_library = organseg.volume_weights(labels[:1], 8, power=power)
    np.testing.assert_allclose(by_library[0], by_hand, rtol=1e-4)

# %% alt="Bars of the weight of each class on a logarithmic axis. With power 0 all are 1. With power 1 the background's is about a hundredth and the artery's the largest; with power 2 the differences are far greater."
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for power, name in enumerate(("equal", "1/V", "1/V²")):
    shade = str(0.75 - 0.3 * power)
    axes.bar(np.arange(8) + 0.27 * (power - 1), weights[power], width=0.25,
             color=shade, label=name)
axes.set_xticks(range(8), names, rotation=20)
axes.set(yscale="log", ylabel="weight (mean 1)",
         title="Who counts how much, on our slice")
figure.legend(loc="outside right upper", title="$w_l$")
plt.show()

# %%
by_hand = np.mean(weights[1] * per_class[0])
by_library = organseg.dice_loss(labels[:1], p[:1],
                                weights=organseg.volume_weights(labels[:1], 8))
print(f"unweighted {np.mean(per_class[0]):.4f}, weighted {by_hand:.4f}")
np.testing.assert_allclose(by_library, by_hand, atol=1e-6)

# %% [markdown]
# More weight for the small organs is less for the others: with $1/V^2$ it hardly moves the loss whether a pixel of
# the liver is called liver or background. How well each weighting did depended, in the trials of the reference,
# strongly on the learning rate. The paper {cite}`roth2018` keeps $w_l = 1$.
#
# ### Generalised Dice
#
# Reference {cite}`sudre2017` puts the weights at another place. It does not take the mean of the classes' fractions,
# but one fraction of sums over the classes:
#
# $$\mathcal{L}_\text{GD} = -\frac{2 \sum_l w_l \sum_i p_{li} r_{li}}{\sum_l w_l \sum_i (p_{li} + r_{li})},
# \qquad w_l = \frac{1}{\left(\sum_i r_{li}\right)^2}.$$
#
# (For an absent class the library takes the largest weight of the classes present. Inventing it then costs something,
# because its $p$ counts below the line.) Here the weights cannot be left out. With $w_l = 1$ the sum below the line is
# twice the number of pixels, and what is left is the mean probability of the true class. That is a soft form of the
# accuracy, with which this chapter began.

# %%
I, P, R = (np.sum(v[0], axis=(0, 1)) for v in (p * r, p, r))
without_weights = -2 * I.sum() / (P + R).sum()
probability_of_truth = np.sum(p[0] * r[0], axis=-1)
np.testing.assert_allclose(without_weights, -probability_of_truth.mean())

w = 1 / R**2
by_hand = -2 * np.sum(w * I) / np.sum(w * (P + R))
print(f"without weights {without_weights:.4f}, generalised Dice {by_hand:.4f}")
np.testing.assert_allclose(organseg.generalised_dice_loss(labels[:1], p[:1]),
                           by_hand, atol=1e-5)

# %% [markdown]
# ## Organs that nobody drew
#
# Data sets differ in the organs that were drawn. Suppose that ours came without the pancreas: it is in the image, but
# its pixels have label 0.

# %%
pancreas = 7
drawn = labels * (labels != pancreas)
print("pixels of pancreas that now count as background:",
      np.sum(labels[0] == pancreas))

# %% [markdown]
# What does the loss tell the network at these pixels? There are two answers that it might give, pancreas and
# background. We move a little probability from background to pancreas, at all pixels that *are* pancreas, and ask for
# the slope: does the loss fall or rise?

# %%
def total_loss(labels, p):
    r = np.eye(p.shape[-1])[labels]
    I, P, R = (np.sum(v, axis=(1, 2)) for v in (p * r, p, r))
    return np.mean(-2 * I / (P + R))


def slope(loss, labels, step=1e-4):
    direction = np.eye(8)[pancreas] - np.eye(8)[0]
    change = step * (truth == pancreas)[..., np.newaxis] * direction
    higher, lower = loss(labels, p[:1] + change), loss(labels, p[:1] - change)
    return (higher - lower) / (2 * step)


print(f"pancreas drawn:     {slope(total_loss, labels[:1]):+.4f}")
print(f"pancreas not drawn: {slope(total_loss, drawn[:1]):+.4f}")

# %% [markdown]
# With the pancreas drawn, the slope is negative: the loss falls, and descent moves probability to the pancreas. Not
# drawn, it is positive: descent takes the probability away from the pancreas, exactly where the pancreas is. The push
# is weak here, because the pancreas is absent from these labels, its own term is 0, and only the background's term
# pushes. (With sums over a batch in which another image has its pancreas drawn, its own term pushes too.) But it comes
# with every such image, and makes the network unlearn what others have taught it.
#
# The remedy is to take label 0 at its word: *none of the organs that were drawn* (the *marginal loss* of
# {cite}`shi2021`). The probability of that is the sum
#
# $$p'_0 = p_0 + \sum_{l \text{ not drawn}} p_l.$$
#
# It takes the place of $p_0$. The organs that were not drawn lose their own term, and $L$ counts the others only.

# %%
def partial_loss(labels, p):
    p_0 = p[..., :1] + p[..., pancreas:]  # the pancreas is the last class
    merged = np.concatenate([p_0, p[..., 1:pancreas]], axis=-1)
    return total_loss(labels, merged)


# artery to gallbladder, not the pancreas
annotated = np.array([[1, 1, 1, 1, 1, 1, 0]])
by_hand = partial_loss(drawn[:1], p[:1])
by_library = organseg.dice_loss(drawn[:1], p[:1], annotated=annotated)
np.testing.assert_allclose(by_library, by_hand, atol=1e-6)
np.testing.assert_allclose(slope(partial_loss, drawn[:1]), 0, atol=1e-9)

# %% [markdown]
# Now the slope is zero. Pancreas is as good an answer there as background, and both are better than liver or stomach.
# The loss cannot teach the pancreas from this image, but it leaves what the network knows of it alone. In the same
# way `organseg.score_case` leaves organs that were not annotated out of its tables.

# %% [markdown]
# ## Exercises
#
# ### Exercise 5.1 ★ From Dice to Jaccard
#
# A publication gives its results as Jaccard, the paper as Dice. Write the function that turns the Dice score of one
# case into its Jaccard score.

# %% tags=["exercise"]
from organseg.course import check


def jaccard_from_dice(dice):
    return ...


check("5.1", jaccard_from_dice)

# %% tags=["solution"]
def jaccard_from_dice(dice):
    return dice / (2 - dice)


check("5.1", jaccard_from_dice)

# %% [markdown]
# ### Exercise 5.2 ★★ The score of a case
#
# Write the function that scores a whole case by the mean Dice of its organs. `truth` and `prediction` are arrays of
# organ ids, and `annotated` is a list of the ids of the organs that were drawn. Organs that were not drawn do not
# count, nor do those that are absent from both truth and prediction. Use `organseg.dice`; `np.nanmean` is a mean that
# leaves out `nan`.

# %% tags=["exercise"]
def mean_dice(truth, prediction, annotated):
    return ...


check("5.2", mean_dice)

# %% tags=["solution"]
def mean_dice(truth, prediction, annotated):
    return np.nanmean([organseg.dice(truth == organ, prediction == organ)
                       for organ in annotated])


check("5.2", mean_dice)

# %% [markdown]
# ### Exercise 5.3 ★★ Weights with an absent organ
#
# Write the weights $1/V$ of the classes from their volumes (an array of voxel counts), scaled to a mean of 1. An
# absent class has volume 0 and no reciprocal. Give it the largest weight of the classes that are present, before you
# scale.

# %% tags=["exercise"]
def weights_from_volumes(volumes):
    return ...


check("5.3", weights_from_volumes)

# %% tags=["solution"]
def weights_from_volumes(volumes):
    # 1/V is largest for the smallest class present
    smallest = volumes[volumes > 0].min()
    weights = 1 / np.where(volumes > 0, volumes, smallest)
    return weights / weights.mean()


check("5.3", weights_from_volumes)

# %% [markdown]
# ### Exercise 5.4 ★★★ An edge that nobody is sure of
#
# A network knows that `core` voxels are organ. About `rim` voxels around them it is unsure: a share `chance` of them
# is organ, and it cannot tell which. It can leave the rim out of its mask, or put all of it in. Return the Dice of
# both masks, in this order. Then try a core of 20 voxels and a rim of 80 with a chance of 0.4: what would
# cross-entropy do with the rim, and what Dice?

# %% tags=["exercise"]
def dice_of_both(core, rim, chance):
    return ...  # without the rim, with the rim


check("5.4", dice_of_both)

# %% tags=["solution"]
def dice_of_both(core, rim, chance):
    organ = core + chance * rim
    without = 2 * core / (core + organ)
    with_rim = 2 * organ / (core + rim + organ)
    return without, with_rim


check("5.4", dice_of_both)
# Cross-entropy learns a probability of 0.4 at the rim, which turns into
# background. Dice puts the rim in, because 0.4 is more than half of the Dice
# without it (and then of the Dice with it, too: one holds where the other
# does):
print([f"{dice:.2f}" for dice in dice_of_both(core=20, rim=80, chance=0.4)])

# %% [markdown]
# ## Summary
#
# - The accuracy counts the background. Dice and Jaccard look at the organ alone, and rank alike: $D = 2J/(1+J)$.
# - The same shift costs a small or thin organ more Dice than a large one. An organ absent from truth and prediction
#   has no Dice; one that is invented or missed has 0.
# - With probabilities in the place of counts, Dice becomes a loss with a slope, equation (1), between −1 and 0.
# - At the start of a training its gradient pulls at an organ at least as hard as it pushes elsewhere, whatever the organ's
#   size. Cross-entropy gives each pixel the same say, so small organs have to wait.
# - Dice raises a voxel whose chance is above half of the present Dice; its probabilities are not chances.
# - Equation (2) is the mean over the classes with the background, per image. An absent organ contributes 0 and does
#   not stop inventions; sums over the batch do.
# - Where an organ was not drawn, its probability belongs to the background's, or the network unlearns it.
#
# ## References
#
# The paper {cite}`roth2018`, Section II.C; the soft Dice loss of V-Net {cite}`milletari2016`; weights by volume
# {cite}`shen2017`; generalised Dice {cite}`sudre2017`; the marginal loss {cite}`shi2021`; Dice's measure
# {cite}`dice1945`, made to say how often two species live in the same places.
