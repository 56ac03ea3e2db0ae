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
# # 7. Data that isn't there: augmentation
#
# You will make new patients out of old ones: bend, turn and move a scan together with its labels, in one step, and see
# what a network gains from it and what it does not.

# %% [markdown] tags=["head"]
# ## Objectives
#
# - Say why image and label must move together, and why one pulls voxels rather than pushes them.
# - Write a rotation, a translation and a smooth B-spline deformation as coordinates at which a scan is read.
# - Build a cubic B-spline from its basis function, in one dimension and in three.
# - Compute how far such a field moves voxels, and when it folds.
# - Measure what a second and a third resampling cost, and say how labels are read.
# - Train a network with and without augmentation, and read the difference honestly.
#
# **You need**: voxels, spacing and linear interpolation from [chapter 1](01_ct_and_geometry.ipynb); convolution from
# [chapter 2](02_convolution.ipynb); Dice and its loss from [chapter 5](05_dice.ipynb); the U-Net from
# [chapter 6](06_unet.ipynb).
#
# **In class:** 75 minutes, exercises 40 minutes (our estimate).
#
# **Measured:** about 1.5 minutes on two CPU cores (not measured on a GPU), 1.5 GB of memory, 2 MB to download, once (a patient).

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
# ## Few patients
#
# The network of the paper {cite}`roth2018` has about 19 million weights, and 340 patients to learn them from. Nobody
# draws seven organs in a million scans. But from each scan one can make others that are as plausible: the same
# patient lying a little turned, a little to the side, with slightly different organs. The paper does that anew at every
# iteration. It is called *augmentation*.
#
# We take a phantom on voxels of almost 3 mm, about those of the paper, and its axial slice with the most organs.

# %%
import numpy as np
import organseg

case = organseg.make_phantom(3, (128, 128, 144))
image, label = organseg.normalise(case.image), case.label
z = max(range(144), key=lambda z: len(np.unique(label[:, :, z])))
print("mm per voxel:", np.round(case.spacing, 1), "organs in the slice:",
      len(np.unique(label[:, :, z])) - 1)

# %% [markdown]
# ## Image and label move together
#
# The simplest new scan is the old one moved to the side, here by 8 voxels. What if we forget to move its label?

# %% tags=["quiz", "remove-input"]
from organseg.course.quizzes import quiz

quiz("7a")

# %%
moved_image, moved_label = np.roll(image, 8, axis=0), np.roll(label, 8, axis=0)
for organ in organseg.ORGANS:
    overlap = organseg.dice(label == organ.id, moved_label == organ.id)
    print(f"{organ.name:12} Dice of the label left behind: {overlap:.2f}")

# %% alt="The same slice three times with organs in colour. Original: colours lie on the organs. Both moved: they still do. Only the image moved: the colours lie to one side of their organs."
from dataclasses import replace

import matplotlib.pyplot as plt

slices = {
    "original": case,
    "image and label moved": replace(case, image=np.roll(case.image, 8, axis=0),
                                     label=moved_label),
    "only the image moved": replace(case, image=np.roll(case.image, 8, axis=0)),
}
figure, panels = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for panel, (name, one) in zip(panels, slices.items(), strict=True):
    picture = organseg.slice_picture(one, "axial", z, opacity=0.8)
    panel.imshow(picture[20:90, 20:110])
    panel.set(title=name, xticks=[], yticks=[])
handles = [plt.Rectangle((0, 0), 1, 1, color=organ.colour, label=organ.name)
           for organ in organseg.ORGANS]
figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize=8,
              handlelength=1)
plt.show()

# %% [markdown]
# On the right, the label calls fat, bowel and liver by wrong names. Artery and gallbladder have next to nothing in
# common with their labels any more, and the vein hardly more. A network trained on it would learn these names. So
# whatever is done to the image is done to the label too, with the same numbers. The surest way: compute *where to read*
# once, and read both there.

# %% [markdown]
# ## Pull, not push
#
# Let us turn the slice by 20°, the most that the paper {cite}`roth2018` turns. A rotation about the centre $c$ takes a
# pixel at $x$ to
#
# $$x' = c + R\,(x - c), \qquad R = \begin{pmatrix} \cos\alpha & -\sin\alpha \\ \sin\alpha & \cos\alpha \end{pmatrix}.$$
#
# The idea that comes first is to *push*: take every pixel, compute where it goes, and put it there, at the nearest
# pixel.

# %%
picture = image[:, :, z]
alpha = np.deg2rad(20)
R = np.array([[np.cos(alpha), -np.sin(alpha)], [np.sin(alpha), np.cos(alpha)]])
# the places of all pixels, a column each
old = np.indices(picture.shape).reshape(2, -1)
centre = (np.array([[128], [128]]) - 1) / 2
goes_to = np.rint(centre + R @ (old - centre)).astype(int)
inside = np.all((goes_to >= 0) & (goes_to < 128), axis=0)
pushed = np.full(picture.shape, np.nan)
pushed[tuple(goes_to[:, inside])] = picture.ravel()[inside]

# %% tags=["quiz", "remove-input"]
quiz("7b")

# %% [markdown]
# The other way round is to *pull*: take every pixel of the *new* picture, and ask from where in the old one it comes.
# That is the rotation backwards, and the inverse of a rotation is its transpose. The answer has decimals, so the old
# picture is interpolated there, linearly as in chapter 1. `map_coordinates` does it; `cval=0` puts air where nothing
# can be read.

# %%
from scipy import ndimage

new = old
comes_from = centre + R.T @ (new - centre)
pulled = ndimage.map_coordinates(picture, comes_from, order=1,
                                 mode="grid-constant", cval=0).reshape(128, 128)
near_the_centre = np.hypot(*(new - centre)).reshape(128, 128) < 60
print("pixels that nobody was pushed to: "
      f"{np.isnan(pushed[near_the_centre]).mean():.0%}")
assert not np.isnan(pulled).any()

# %% alt="Two pictures of the slice turned by 20 degrees. Pushed: red dots, pixels without a value, lie over it in a regular pattern. Pulled: a smooth picture without gaps."
figure, panels = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
grey = plt.get_cmap("gray").with_extremes(bad="red")
for panel, name, one in zip(panels, ("pushed: holes in red", "pulled"),
                            (pushed, pulled), strict=True):
    panel.imshow(one[24:104, 24:104][::-1, ::-1].T, cmap=grey,
                 interpolation="nearest")
    panel.set(title=name, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Pushing leaves holes, and elsewhere two pixels land on one. Pulling gives each new pixel exactly one value. So every
# warp in this course is a list of places to read, one for each voxel of the result.
#
# Pulling turns the direction around, which is worth one small example: if every voxel reads two to the right, the
# picture moves two to the *left*.

# %%
row = np.array([0, 0, 0, 9, 0, 0, 0])
print(row, "→", ndimage.map_coordinates(row, [np.arange(7) + 2], order=0,
                                        mode="constant"))

# %% [markdown]
# For augmentation the sign does not matter, since the ranges are symmetric. For anyone who compares two programs it
# does.
#
# ## Turning and moving a crop
#
# The network is trained on crops of 64×64×64 voxels. In three dimensions there are three angles, one for each axis. The
# matrices are multiplied, and their order matters: here first about x, then y, then z.

# %%
from organseg import augmentation

angles = (10.0, -15.0, 20.0)
cx, cy, cz = np.cos(np.deg2rad(angles))
sx, sy, sz = np.sin(np.deg2rad(angles))
about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
R = about_z @ about_y @ about_x
np.testing.assert_allclose(augmentation.rotation(angles), R, atol=1e-12)

# %% [markdown]
# A crop begins at a voxel of the scan, its *corner*. Each voxel $x$ of the crop is turned about the crop's centre,
# moved by the translation $t$, and read at
#
# $$p(x) = \text{corner} + c + R\,(x - c) + t.$$
#
# The places turn by $R$, so the picture turns the other way.

# %%
corner, shape = np.array([20, 32, 40]), (64, 64, 64)
translation = np.array([12.0, -7.5, 3.0])
x = np.indices(shape).astype(float)  # (3, 64, 64, 64)
c = np.full((3, 1, 1, 1), 63 / 2)
turned = np.einsum("ab,bxyz->axyz", R, x - c)
by_hand = turned + c + (corner + translation).reshape(3, 1, 1, 1)
print(by_hand.shape)

# %% [markdown]
# In the library, a `Warp` holds the numbers (angles, translation, and the control points that we come to next), and
# `warp_coordinates` turns them into places. `no_warp` gives control points that change nothing.

# %%
no_bend = organseg.no_warp(shape).control_points
rigid = organseg.Warp(no_bend, (24.0, 24.0, 24.0), angles, tuple(translation))
places = augmentation.warp_coordinates(rigid, corner, shape)
np.testing.assert_allclose(places, by_hand, atol=1e-9)

# %% [markdown]
# `apply_warp` reads image and label there: the image linearly, the label at the nearest voxel (why, we will see).
# Beyond the scan there is air, with label 0.

# %%
crop, crop_label = organseg.apply_warp(rigid, image, label, corner, shape)
read_by_hand = ndimage.map_coordinates(image, by_hand, order=1,
                                       mode="grid-constant", cval=0)
np.testing.assert_allclose(crop, read_by_hand, atol=1e-5)
far_away = (500, 0, 0)
beyond, beyond_label = organseg.apply_warp(rigid, image, label, far_away, shape)
assert beyond.max() == 0 and beyond_label.max() == 0

# %% [markdown]
# ### Voxels are not always cubes
#
# Many scans have slices 5 mm apart and pixels of 1 mm. A rotation by 20° about x, applied to *indices*, would then
# change lengths. Look at a line of 10 voxels along z, which is 50 mm long:

# %%
size = np.array([1.0, 1.0, 5.0])  # mm
line = np.array([0, 0, 10])
about_x = augmentation.rotation((20, 0, 0))
in_voxels = about_x @ line
in_mm = (about_x @ (line * size)) / size  # to mm, turn, back to voxels
for name, end in (("before", line), ("turned in voxels", in_voxels),
                  ("turned in mm", in_mm)):
    print(f"{name:17}{np.linalg.norm(end * size):5.1f} mm long, "
          f"{np.abs(end[1] * size[1]):4.1f} mm to the side")

# %% [markdown]
# Turned in voxels, the line shrinks and hardly tilts: the patient is sheared rather than turned. `apply_warp` takes the
# voxel size and turns in mm.

# %%
tilted = organseg.Warp(no_bend, (24.0, 24.0, 24.0), (20.0, 0.0, 0.0),
                       (0.0, 0.0, 0.0))
places = augmentation.warp_coordinates(tilted, (0, 0, 0), shape,
                                       voxel_size=size)
np.testing.assert_allclose(places[:, 0, 0, 10] - places[:, 0, 0, 0], in_mm,
                           atol=1e-9)

# %% [markdown]
# ## Bending: a B-spline from the basis up
#
# Turned and moved, the patient still has the same organs. To change their shapes a little, neighbouring voxels must
# move differently, but smoothly, or tissue would be torn. The paper {cite}`roth2018` draws random displacements on a
# coarse grid of *control points*, 24 voxels apart, and lets a B-spline carry them to all voxels, similar to the first
# 3D U-Net {cite}`cicek2016`. It does not say of which degree; we take the usual one, a *cubic B-spline*.
#
# Where does a B-spline come from? From a box. Smooth a box of width 1 with itself, which is a convolution as in chapter
# 2, and it becomes a tent. Do it again and again: each time the curve is wider and smoother.

# %%
step = 0.01
box = np.ones(100)
curves = [box]
for _ in range(3):
    curves.append(np.convolve(curves[-1], box) * step)
print("width of each curve:", [round(len(curve) * step) for curve in curves])

# %% [markdown]
# The last one is the *cubic B-spline basis function* $B$. Carrying out the three integrals gives its formula:
#
# $$B(t) = \begin{cases} \frac{2}{3} - t^2 + \frac{1}{2}|t|^3 & |t| < 1 \\
# \frac{1}{6}\,(2 - |t|)^3 & 1 \le |t| < 2 \\ 0 & \text{elsewhere} \end{cases}$$

# %%
def B(t):
    t = np.abs(t)
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2,
                    np.maximum(2 - t, 0) ** 3 / 6)


def centred(curve):
    return (np.arange(len(curve)) - (len(curve) - 1) / 2) * step


np.testing.assert_allclose(curves[3], B(centred(curves[3])), atol=1e-4)

# %% alt="Four curves around zero: a box of width one, a tent of width two, a rounded hill of width three, and the cubic B-spline of width four, with a dotted line of the formula exactly on it."
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for curve, name in zip(curves, ("box", "once", "twice", "three times: cubic"),
                       strict=True):
    axes.plot(np.pad(centred(curve), 1, mode="edge"), np.pad(curve, 1),
              label=name)
t = np.linspace(-2.5, 2.5, 51)
axes.plot(t, B(t), "k.", markersize=3, label="formula B(t)")
axes.set(xlabel="t (control spacings)", ylabel="weight",
         title="A box, smoothed with itself")
axes.legend()
plt.show()

# %% [markdown]
# $B$ joins its pieces so well that value, slope and curvature have no jump. SciPy knows the same function.

# %%
from scipy.interpolate import BSpline

scipy_basis = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
np.testing.assert_allclose(B(t), np.nan_to_num(scipy_basis(t)), atol=1e-12)
print("B at -2, -1, 0, 1, 2:", B(np.arange(-2, 3)).round(4))

# %% [markdown]
# Now put a $B$ at every control point. Any place lies within reach of four of them. How much do the four weigh
# together?

# %%
for place in (0.0, 0.3, 0.5):
    weights = B(place - np.arange(-1, 3))
    print(f"at {place}: {weights.round(3)}, sum {weights.sum():.3f}")

# %% [markdown]
# Always 1. This is called a *partition of unity*: if all control points move by the same amount, so does every voxel.
# And as no weight is negative, a displacement is a *weighted mean* of the four: it never exceeds the largest of them.
#
# ### In one dimension
#
# The displacement at voxel $x$, with control points $c_0, c_1, \dots$ and spacing $s$, is
#
# $$d(x) = \sum_i c_i\, B\!\left(\frac{x}{s} - (i - 1)\right).$$
#
# Control point 0 lies one spacing *before* the first voxel, because the first voxel is within its reach. For 64 voxels
# and $s = 24$ the points lie at:

# %%
s = 24
points = s * (np.arange(6) - 1)
print("control points at voxels", points, "for voxels 0 to 63")
print("for a crop of 64:", augmentation.control_counts((64,), (s,)))

# %% [markdown]
# The last voxel, 63, lies between the points at 48 and 72. It needs these two, and one more on either side: six in all.
# We draw six displacements and compute the sum by hand, then with the library's `spline_basis`, which gives the weights
# as a matrix of voxels × control points, then with SciPy.

# %%
control = np.random.default_rng(2).uniform(-4, 4, 6)
d = np.zeros(64)
for i in range(6):
    d += control[i] * B(np.arange(64) / s - (i - 1))
weights = augmentation.spline_basis(np.arange(64) / s, 6)
np.testing.assert_allclose(weights @ control, d, atol=1e-12)
np.testing.assert_allclose(
    BSpline(np.arange(10) - 3, control, 3)(np.arange(64) / s), d, atol=1e-12)
print("weights:", weights.shape)

# %% alt="Six weighted basis functions in pale colours over the voxels, six control points, and the black displacement curve, the sum. The curve is smooth and much flatter than the control points."
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
long = np.linspace(-48, 120, 400)
for i in range(6):
    axes.fill_between(long, control[i] * B(long / s - (i - 1)), alpha=0.3)
axes.plot(points, control, "o", color="#d55e00", label="control points")
axes.plot(np.arange(64), d, color="black", label="displacement d(x)")
axes.axhline(0, color="0.7", linewidth=0.8)
axes.set(xlabel="voxel", ylabel="displacement (voxels)",
         title="The displacement is a sum of six bumps")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# The curve does not go through the control points. It is pulled towards them, and averages their ups and downs.
#
# ### In three dimensions
#
# Nothing new is needed: the weight of a control point is the product of three weights, one along each axis. And there
# are three displacements, along x, y and z, so the control points are an array `(3, 6, 6, 6)`. At one voxel, by hand:

# %%
control = np.random.default_rng(3).uniform(-4, 4, (3, 6, 6, 6))
voxel = (10, 40, 63)
wx, wy, wz = (B(v / s - (np.arange(6) - 1)) for v in voxel)
one = np.zeros(3)
for i, j, k in np.ndindex(6, 6, 6):
    one += control[:, i, j, k] * wx[i] * wy[j] * wz[k]
print("displacement at the voxel:", one.round(3))

# %% [markdown]
# For all voxels of a crop, this loop would be slow. But a product of weights can be taken one axis at a time: first all
# sums along z, then along y, then along x. Such a sum is called *separable*. Each step is a multiplication with the
# matrix `weights` from above.

# %%
along_z = np.einsum("aijk,zk->aijz", control, weights)
along_y = np.einsum("aijz,yj->aiyz", along_z, weights)
field = np.einsum("aiyz,xi->axyz", along_y, weights)
np.testing.assert_allclose(field[:, 10, 40, 63], one, atol=1e-12)

lattice = [np.arange(64.0)] * 3
by_library = augmentation.displacement(control, (s, s, s), lattice)
np.testing.assert_allclose(by_library, field, atol=1e-12)

# %%
# each number is a sum over the 4×4×4 points within reach
direct = field.size * 4**3
separable = 6 * (along_z.size + along_y.size + field.size)
print(f"multiplications: {direct:,} directly, {separable:,} axis by axis, "
      f"{direct / separable:.0f} times fewer")

# %% [markdown]
# ## How far does it move?
#
# `draw_warp` draws everything at random within the ranges of the paper {cite}`roth2018`: control points up to ±4
# voxels, angles up to ±20°, translations up to ±20 voxels.

# %%
warps = [organseg.draw_warp(np.random.default_rng([7, n]), shape)
         for n in range(40)]
print("control points of one warp:", warps[0].control_points.shape)
for attribute, limit in (("control_points", 4), ("angles", 20),
                         ("translation", 20)):
    drawn = np.abs([getattr(one, attribute) for one in warps])
    assert 0.9 * limit < drawn.max() <= limit
    assert abs(np.mean(drawn) - limit / 2) < 0.1 * limit

# %% tags=["quiz", "remove-input"]
quiz("7c")

# %% [markdown]
# "A maximum displacement of 4" voxels sounds like much. But that is at the control points (as we read the paper), and a
# voxel gets a mean of many of them, which point in different directions. For independent control points of variance
# $\sigma^2$, a sum with weights $w$ has the variance $\sigma^2 \sum w^2$. Uniform in ±4, $\sigma$ is $4/\sqrt{3}$. In
# three dimensions the sum of squares is the product of three:

# %%
sum_of_squares = np.mean(np.sum(weights**2, axis=1))
expected = 4 / np.sqrt(3) * sum_of_squares**1.5
print(f"sum of squared weights along one axis: {sum_of_squares:.2f}, in three: "
      f"{sum_of_squares**3:.2f}")
print(f"root mean square of a displacement's component: {expected:.2f} voxels")

# %%
def field_of(control, places=lattice):
    return augmentation.displacement(control, (s, s, s), places)


every_fourth = [axis[::4] for axis in lattice]
sampled = np.stack([field_of(one.control_points, every_fourth)
                    for one in warps])
rms = np.sqrt(np.mean(sampled**2))
print(f"measured over 40 fields: {rms:.2f} voxels; one value in a hundred is "
      f"above {np.quantile(np.abs(sampled), 0.99):.1f}")
np.testing.assert_allclose(rms, expected, rtol=0.05)

# %% [markdown]
# Under one voxel in each direction: about 2 mm. The paper's bending is gentle, and most of the movement in a warped
# crop comes from rotation and translation. (20° at the face of a crop, 32 voxels from its centre, are 11 voxels.)

# %%
print("20° at 32 voxels from the centre: "
      f"{32 * np.deg2rad(20):.0f} voxels along the arc")

# %% [markdown]
# ## When does a field fold?
#
# With larger displacements something breaks. A voxel may be read from *beyond* its neighbour: the order is reversed,
# and a piece of tissue appears three times, the middle one mirrored. The field has *folded*, and no real patient looks
# like that.
#
# We look at the bending alone, without the rotation. The test is the *Jacobian determinant*. Near a voxel,
# $p(x) = x + d(x)$ acts like the matrix $I + \partial d/\partial x$, and the determinant of that matrix says how many
# voxels of the scan one voxel of the crop covers: 1 as before, more where the picture shrinks, less where it grows. At 0
# the small cube is flat, and below 0 it is turned inside out: a fold.

# %%
def jacobian(field):
    # (by x, y or z; of d_x, d_y, d_z; then the voxels)
    change = np.stack(np.gradient(field, axis=(1, 2, 3)))
    return np.linalg.det(np.moveaxis(change, (0, 1), (-1, -2)) + np.eye(3))


every_axis_a_tenth_longer = 0.1 * x
print(f"{jacobian(every_axis_a_tenth_longer).min():.3f} = 1.1³ = {1.1**3:.3f}")
fields = [field_of(one.control_points) for one in warps[:10]]
print("the smallest in ten fields of the paper's range: "
      f"{min(jacobian(field).min() for field in fields):.2f}")

# %% [markdown]
# Far from 0. And with larger displacements? Below is one of these fields, multiplied: on the left a layer of it, in which
# each line joins the places that a row of voxels reads; on the right what a crop with its labels looks like, when it reads
# there. Move the slider from 0 on. A guess first: at which size does a radiologist begin to doubt the patient, and at which
# does the field fold? Where it has folded there are red dots.

# %%
def draw_bent(largest):
    factor = largest / 4
    det = jacobian(factor * example)
    folded = det[:, :, layer] < 0
    # where the voxels of the layer read, along x and y
    bent = (x + factor * example)[:2, :, :, layer]
    warp = organseg.Warp(factor * warps[9].control_points, (24.0, 24.0, 24.0),
                         (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    crop, found = organseg.apply_warp(warp, image, label, place, shape)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.7),
                                         layout="constrained")
    for lines in (bent[:, ::3, ::3], bent[:, ::3, ::3].transpose(0, 2, 1)):
        left.plot(*lines, color="0.3", linewidth=0.8)
    left.plot(*bent[:, folded], "r.", markersize=2)
    right.imshow(crop[:, :, layer].T, cmap="gray", vmin=0, vmax=1,
                 interpolation="nearest")
    for organ in organseg.ORGANS:
        outline = found[:, :, layer] == organ.id
        right.contour(outline.T, [0.5], colors=organ.colour)
    right.plot(*np.nonzero(folded), "r.", markersize=2)
    left.set(xlim=(75, -12), ylim=(-12, 75), aspect="equal",
             title=f"control points within ±{largest}", xlabel="x (voxels)")
    right.set(xlim=(63.5, -0.5), ylim=(-0.5, 63.5), xticks=[], yticks=[],
              title=f"smallest Jacobian {det.min():.2f}")
    return figure


# %%
example = fields[9]
# where most of it folds, put onto the slice with the most organs
layer = (jacobian(10 * example) < 0).sum(axis=(0, 1)).argmax()
place = (30, 56, z - layer)
organseg.explore(
    draw_bent, "Left a lattice of lines, right a slice of a crop with the "
    "outlines of its organs. Both bend more and more; red dots mark folds.",
    start={"largest": 4}, largest=[0, 4, 8, 12, 20, 30, 40])

# %% [markdown]
# The paper's 4 can hardly be seen. Up to 12 this could still be another patient. At 20 the aorta (in front of the bright
# vertebra) is no round tube any more, and at 30 the organs are drawn out as in nobody, and the field has still not folded.
# So "it does not fold" is the least that one asks for, and a look at the crops says more. At 40 tissue is turned inside out
# where the dots are. (Whether lines cross there is not sure to show it, because the drawing leaves out the movement along z.)
#
# ### How large is too large?
#
# In one dimension the slope of $d$ is a sum of the slopes of the six bumps, $\frac{1}{s} \sum_i c_i B'$. It is steepest
# when every $c_i$ has its largest size $A$ and the sign that adds up, so it is at most $\frac{A}{s} \sum_i |B'|$. The
# field folds where the slope of $x + d(x)$ falls below 0.

# %%
def slope(t):  # the derivative of B
    size = np.abs(t)
    return np.sign(t) * np.where(size < 1, 1.5 * size**2 - 2 * size,
                                 -np.maximum(2 - size, 0) ** 2 / 2)


# the voxels of one interval, and its four points
t = np.arange(25)[:, np.newaxis] / 24 - np.arange(-1, 3)
np.testing.assert_allclose(slope(t), (B(t + 1e-6) - B(t - 1e-6)) / 2e-6,
                           atol=1e-5)
steepest = np.abs(slope(t)).sum(axis=1).max()
print(f"steepest slope: {steepest:.2f} A/s, "
      f"so it can fold from A = {1 / steepest:.2f} s on")

# %% [markdown]
# In three dimensions $\partial d/\partial x$ is a matrix of nine slopes. As long as the sizes of the three in each row
# add up to less than 1, the determinant of $I + \partial d/\partial x$ cannot reach 0. The largest sum that a row can
# have is that of the derivatives along x, y and z together, all with the signs that add up.

# %%
by_x = np.einsum("xi,yj,zk->xyzijk", slope(t), B(t), B(t))
by_y = np.einsum("xi,yj,zk->xyzijk", B(t), slope(t), B(t))
by_z = np.einsum("xi,yj,zk->xyzijk", B(t), B(t), slope(t))
together = by_x + by_y + by_z  # (voxel x, y, z; control point i, j, k)
steepest = np.abs(together).sum(axis=(3, 4, 5)).max()
print(f"steepest row: {steepest:.2f} A/s, so it can fold from A = "
      f"{1 / steepest:.2f} s = {24 / steepest:.1f} voxels on")

# %% [markdown]
# This is the bound of Choi and Lee {cite}`choi2000` for three dimensions: up to 0.4 of the spacing, no field can fold.
# The paper's 4 at 24 are well below. Is the bound sharp? We build the worst field: all control points at the full size,
# with the signs that make the row sum as negative as it can be, and the same along x, y and z. Three equal rows add to
# the determinant just what one of them sums to, so at the worst voxel it is 1 minus the steepest row.

# %%
worst = np.unravel_index(np.abs(together).sum(axis=(3, 4, 5)).argmax(),
                         (25, 25, 25))
signs = np.sign(together[worst])
for largest in (4, 9, 10):
    control = np.stack([-largest * signs] * 3)  # the same along x, y and z
    det = jacobian(field_of(control, [np.arange(25.0)] * 3))[worst]
    print(f"A = {largest:2}: {det:+.2f}, "
          f"by the bound {1 - largest / s * steepest:+.2f}")
    assert abs(det - (1 - largest / s * steepest)) < 0.02

# %% [markdown]
# It is sharp: this one folds between 9 and 10. But a field drawn at random is hardly ever the worst.

# %%
limits = (4, 10, 20, 32, 40)
folded = [sum(bool(jacobian(largest / 4 * field).min() < 0) for field in fields)
          for largest in limits]
print("control points within ±", limits)
print("of ten drawn fields fold", folded)

# %% [markdown]
# ## One resampling, not three
#
# A warp has three parts, and one could carry them out one after the other: move the scan, turn the result, bend that.
# Each time it would be interpolated. What does that do? A linearly interpolated value is a mean of neighbours, so each
# time the picture is smoothed a little. To measure it alone, we warp pure noise, which has only fine detail.
#
# The three steps end at the same places of the scan as our warp, which the last line checks. (The library adds $d$
# after the turning. Here the result is bent, so places are first bent and then turned, and the displacements must be
# turned back: $R^\mathsf{T} d$.)

# %% tags=["quiz", "remove-input"]
quiz("7d")


# %%
def read(volume, places, outside=0.0):
    return ndimage.map_coordinates(volume, places, order=1,
                                   mode="grid-constant", cval=outside)


corner, warp = np.array([32, 56, 68]), warps[17]
R, d = augmentation.rotation(warp.angles), field_of(warp.control_points)
start, move = (np.reshape(v, (3, 1, 1, 1)) for v in (corner, warp.translation))
everywhere = np.indices(image.shape).astype(float)
turned_places = start + c + np.einsum("ab,bxyz->axyz", R,
                                      everywhere - start - c)
bent_places = start + x + np.einsum("ba,bxyz->axyz", R, d)
all_three = start + c + np.einsum("ab,bxyz->axyz", R,
                                  bent_places - start - c) + move
np.testing.assert_allclose(
    all_three, augmentation.warp_coordinates(warp, corner, shape), atol=1e-9)


def in_three_steps(volume, outside=0.0):
    for places in (everywhere + move, turned_places, bent_places):
        volume = read(volume, places, outside)
    return volume


# %%
noise = np.random.default_rng(0).normal(size=image.shape).astype("float32")
once, _ = organseg.apply_warp(warp, noise, None, corner, shape)
thrice = in_three_steps(noise)
print(f"standard deviation: {noise.std():.2f} before, "
      f"{once.std():.2f} in one step, {thrice.std():.2f} in three")

# %% [markdown]
# The first number can be understood. Between two voxels of independent noise, at a fraction $f$ of the way, the
# variance is $(1-f)^2 + f^2$ of what it was, and if all $f$ are equally frequent that is $2/3$ on average. In three
# dimensions:

# %%
print(f"one step, by the formula: {np.sqrt((2 / 3) ** 3):.2f}")
np.testing.assert_allclose(once.std(), np.sqrt((2 / 3) ** 3), rtol=0.02)
assert thrice.std() < 0.5 * once.std()

# %% [markdown]
# Even one resampling costs fine detail; three cost far more. (Not 0.54³: after the first reading neighbours have noise
# in common, so the next means take less of it away.) In a CT it is not only noise that goes, but small vessels too, and
# a network trained on smoothed crops would meet sharp scans later.

# %% alt="The same slice of a crop three times. Not warped: grainy. Warped in one step: turned and a little smoother. Warped in three steps: clearly blurred, small structures gone."
scan = np.maximum(case.image, -1000)
plain, _ = organseg.apply_warp(organseg.no_warp(shape), scan, None, corner,
                               shape, outside=-1000)
once, warped_label = organseg.apply_warp(warp, scan, label, corner, shape,
                                         outside=-1000)
thrice = in_three_steps(scan, -1000)
figure, panels = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for panel, name, one in zip(panels, ("not warped", "one step", "three steps"),
                            (plain, once, thrice), strict=True):
    panel.imshow(one[::-1, ::-1, 32].T, cmap="gray", vmin=-160, vmax=240)
    panel.set(title=name, xticks=[], yticks=[])
plt.show()

# %%
for name, one in (("not warped", plain), ("one step", once),
                  ("three steps", thrice)):
    print(f"{name:12} mean difference of neighbours along x: "
          f"{np.abs(np.diff(one, axis=0)).mean():.0f} HU")
rough_once, rough_thrice = (np.abs(np.diff(one, axis=0)).mean()
                            for one in (once, thrice))
assert rough_thrice < 0.85 * rough_once

# %% [markdown]
# So all displacements are added up first, and the scan is read once. (The first panel shows other anatomy than the
# other two, since the warp has turned and moved the crop.)
#
# ## Labels at the nearest voxel
#
# A label is a name, and names have no values between them: half-way between background (0) and liver (3), linear
# interpolation finds 1.5. We saw in chapter 1 what becomes of it. In our crop:

# %%
places = augmentation.warp_coordinates(warp, corner, shape)
linear = np.rint(read(label.astype("float32"), places))
for name in ("artery", "vein", "liver"):
    organ = organseg.ORGAN_NAMES.index(name) + 1
    ratio = np.sum(linear == organ) / np.sum(warped_label == organ)
    print(f"{name:7} read linearly: {ratio:.1f} times its voxels")
assert set(np.unique(warped_label)) <= set(np.unique(label))

# %% alt="Two label pictures of the same slice of the warped crop. Read linearly, organs have rims in the colours of other organs. Read at the nearest voxel, they do not."
from matplotlib.colors import ListedColormap

# the slice with the most organs
k = max(range(64), key=lambda k: len(np.unique(warped_label[:, :, k])))
colours = ListedColormap(
    ["black", *(organ.colour for organ in organseg.ORGANS)])
figure, panels = plt.subplots(1, 2, figsize=(6.5, 3.3), layout="constrained")
for panel, name, one in zip(panels, ("linear", "nearest"),
                            (linear, warped_label), strict=True):
    panel.imshow(one[::-1, ::-1, k].T, cmap=colours, vmin=-0.5, vmax=7.5,
                 interpolation="nearest")
    panel.set(title=f"labels read: {name}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The orange liver (3) gets a rim of blue vein (2) and red artery (1), which lie between it and the background (0) as
# numbers only. So `apply_warp` reads the label at the nearest voxel: no name appears that was not there.
#
# ## Crop first
#
# One could warp the whole scan and cut the crop out of it afterwards. For a turn about the middle, without bending, the
# crop would be the same:

# %%
small = tuple((np.array(image.shape) - 64) // 2)
whole = replace(rigid,
                control_points=organseg.no_warp(image.shape).control_points)
whole_image, _ = organseg.apply_warp(whole, image, label, (0, 0, 0),
                                     image.shape)
crop, _ = organseg.apply_warp(rigid, image, label, small, shape)
cut = tuple(slice(first, first + 64) for first in small)
np.testing.assert_allclose(whole_image[cut], crop, atol=1e-5)
print(f"voxels warped: {whole_image.size:,} or {crop.size:,}, "
      f"{whole_image.size / crop.size:.0f} times as many")

# %% [markdown]
# Time grows with the voxels. We take the best of three trials each, because a busy machine can only make a trial slower.
# (What is measured or trained may differ on your machine, here and below; the `assert` lines hold on every machine.)

# %% tags=["nbval-ignore-output"]
import time


def seconds(size):
    one = organseg.draw_warp(np.random.default_rng(1), size)
    trials = []
    for _ in range(3):
        began = time.perf_counter()
        organseg.apply_warp(one, image, label, (0, 0, 0), size)
        trials.append(time.perf_counter() - began)
    return min(trials)


whole_scan, one_crop = seconds(image.shape), seconds(shape)
print(f"the whole scan {1000 * whole_scan:.0f} ms, "
      f"the crop {1000 * one_crop:.0f} ms")
assert whole_scan > one_crop

# %% [markdown]
# A training step needs three crops, 50,000 times over in the paper {cite}`roth2018`. So in `organseg.CropSampler`,
# which makes the mini-batches, a crop's place is chosen first; then its warp is drawn, and only the places of its own
# voxels are computed. These are six of the crops that it could make at our corner:

# %% alt="Six crops with organs in colour, two rows of three. Each shows another part of the same abdomen, turned, moved and slightly bent in its own way; the colours always lie on the organs." slide="Six crops of one patient: each shows another part, bent, turned and moved in another way."
figure, panels = plt.subplots(2, 3, figsize=(7, 4.8), layout="constrained")
for number, panel in enumerate(panels.flat):
    one = organseg.draw_warp(np.random.default_rng([1, number]), shape)
    crop, crop_label = organseg.apply_warp(one, scan, label, corner, shape,
                                           outside=-1000)
    warped = replace(case, image=crop, label=crop_label)
    panel.imshow(organseg.slice_picture(warped, "axial", 32, opacity=0.4))
    panel.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The warp knows nothing of phantoms. Here is a real abdomen (without contrast agent, voxels of 3 mm; its organs are what
# another network, TotalSegmentator {cite}`wasserthal2023`, found). First its middle crop as it is, then three warped
# ones. Where no patient can be had, the cell says so and takes the phantom.

# %% tags=["patient"] alt="Four crops of a real CT with organs in colour. The first as scanned; in the others the crop is turned, moved and slightly bent, and the colours stay on their organs."
from organseg.show.slices import best_slice

patient = organseg.sample_patient() or case
middle = (*((np.array(patient.image.shape[:2]) - 64) // 2),
          best_slice(patient.label, "axial") - 32)
figure, panels = plt.subplots(1, 4, figsize=(8, 2.4), layout="constrained")
for number, panel in enumerate(panels):
    rng = np.random.default_rng([6, number])
    one = organseg.draw_warp(rng, shape) if number else organseg.no_warp(shape)
    crop, crop_label = organseg.apply_warp(one, patient.image, patient.label,
                                           middle, shape, outside=-1000)
    warped = replace(patient, image=crop, label=crop_label)
    panel.imshow(organseg.slice_picture(warped, "axial", 32, opacity=0.4))
    panel.set(title=f"warp {number}" if number else "as scanned", xticks=[],
              yticks=[])
plt.show()

# %% [markdown]
# (CT: the TotalSegmentator project, Apache-2.0.) A warped patient still looks like a patient. It is the same one all the
# same: what no warp brings is another scanner, another contrast agent, another disease. What else can be varied, for a
# network that is to work on any scan, [the page about real scans](../book/patients.md) shows.
#
# ### Where the network computes
#
# SciPy makes a crop on the CPU, in tens of milliseconds. A large GPU needs about as long for a whole training step of
# the full network (by arithmetic: [chapter 11](11_whole_paper.ipynb)). It would stand still and wait for its three
# crops. So `organseg.train` brings the scans to the GPU once, if they fit, the image in 16 bits a voxel and the label in
# 8, and crops are made there. The CPU only draws patient, place and warp of each crop. What this chapter did with NumPy
# and SciPy is written a second time, in Keras' own operations, and compiled together with the training step: the three
# small matrices of the B-spline, the turn, the eight neighbours of a linear reading, the nearest voxel for the labels.
#
# Two ways to do one thing must agree, so here are both. (Without a GPU, "there" is the CPU again; the arithmetic is the
# same.)

# %%
from organseg.device.crops import DeviceCrops

sampler = organseg.CropSampler([organseg.to_scan(case)], batch_size=1)
on_device = DeviceCrops(sampler)
numbers, (voxels, organs) = on_device.draw([0])
images, labels, _ = map(np.asarray, on_device.batch(0))
by_scipy, labels_by_scipy, _ = sampler.batch(0)
np.testing.assert_allclose(images, by_scipy, atol=1e-5)
assert np.mean(labels != labels_by_scipy) < 1e-4
print(f"bits a voxel: {8 * np.asarray(voxels).itemsize} of the image, "
      f"{8 * np.asarray(organs).itemsize} of the label")
print("numbers sent for a crop: "
      f"{sum(np.size(each) for each in numbers.values())}; "
      f"voxels made of them: {images.size:,}")

# %% tags=["nbval-ignore-output"]
print(f"largest difference of an image: {np.abs(images - by_scipy).max():.1e}, "
      "where 0 is black and 1 is white")
print("voxels with another label: "
      f"{np.count_nonzero(labels != labels_by_scipy)} of {labels.size:,}")

# %% [markdown]
# The images differ by the rounding of 16 bits and of float32. A label could differ only where a voxel is read almost
# exactly half-way between two others, and rounding decides which of them is nearer.
#
# ## What a network gains
#
# Now we train two networks that differ in nothing but augmentation. We choose conditions in which it matters: only
# *two* patients to learn from. To be quick, the crops are single slices, 48×48×1 voxels of about 6 mm in the slice, and
# the network is a small 2-D U-Net. The warps are the three-dimensional ones of the library: a turned crop of one slice
# reads an oblique cut through the patient.

# %%
SHAPE = (48, 48, 1)


def patients_of(seeds):
    cases = [organseg.make_phantom(seed, (64, 64, 40)) for seed in seeds]
    return [replace(one, image=organseg.normalise(one.image)) for one in cases]


def slice_of(patient, z, warp):
    crop, label = organseg.apply_warp(warp, patient.image, patient.label,
                                      (8, 8, z), SHAPE, patient.spacing)
    return crop, label[..., 0].astype("int32")


training, unseen = patients_of((0, 1)), patients_of(range(1000, 1004))
print("mm per voxel:", np.round(training[0].spacing, 1))

# %% [markdown]
# Displacements and translations are meant in the paper's voxels of about 3 mm. `draw_warp` is told how long such a
# voxel is on this grid. A mini-batch has eight slices, each from one of the two patients and at a height where there
# are organs.

# %%
def organ_slices(patient):
    return np.flatnonzero(patient.label.any(axis=(0, 1)))


def mini_batch(rng, augment):
    chosen = []
    for _ in range(8):
        patient = training[rng.integers(2)]
        z = rng.choice(organ_slices(patient))
        paper_voxels = 3 / np.array(patient.spacing)
        warp = (organseg.draw_warp(rng, SHAPE, paper_voxels)
                if augment else organseg.no_warp(SHAPE))
        chosen.append(slice_of(patient, z, warp))
    return [np.stack(part) for part in zip(*chosen, strict=True)]


# %%
from organseg.backend import keras


def dice_over_batch(labels, probabilities):
    return organseg.dice_loss(labels, probabilities, batch_sum=True)


def train(augment, steps=300, seed=0):
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    network = organseg.unet(spatial_dims=2, base_filters=4, levels=3)
    rate = keras.optimizers.schedules.CosineDecay(0.01, steps)
    network.compile(keras.optimizers.Adam(rate), dice_over_batch)
    for _ in range(steps):
        network.train_on_batch(*mini_batch(rng, augment))
    return network


without = train(augment=False)

# %%
with_augmentation = train(augment=True)

# %% [markdown]
# The test has a twist. Patients do not always lie straight. We ask the networks about four patients that they have
# never seen, as they lie, and turned about the long axis of the body by up to 40°. For the turned ones we score the
# three largest organs: after so short a training, small ones come and go with the random start.

# %%
def turned(patients, angle):
    pose = organseg.Warp(organseg.no_warp(SHAPE).control_points, (24.0,) * 3,
                         (0.0, 0.0, angle), (0.0,) * 3)
    slices = [slice_of(patient, z, pose) for patient in patients
              for z in organ_slices(patient)]
    return [np.stack(part) for part in zip(*slices, strict=True)]


def mean_dice(network, patients, angle=0.0, organs=organseg.ORGAN_IDS):
    images, truth = turned(patients, angle)
    found = network.predict(images, verbose=0).argmax(axis=-1)
    return np.mean([organseg.dice(truth == organ, found == organ)
                    for organ in organs])


# %%
# liver, spleen, stomach
turns, largest_organs = (-40.0, -20.0, 0.0, 20.0, 40.0), (3, 4, 5)


def scores_of(network):
    return {
        "turned": [mean_dice(network, unseen, angle, largest_organs)
                   for angle in turns],
        "training patients": mean_dice(network, training),
        "unseen patients": mean_dice(network, unseen),
    }


scores = {"without": scores_of(without), "with": scores_of(with_augmentation)}

# %% [markdown]
# Beside these scores we put those of the same two trainings with 2000 steps. They come from these same cells with
# `steps=2000` (`benchmarks/figures_check.py longer_augmentation`), and are stored here, because they take some minutes.

# %% alt="Two panels, Dice of the three largest organs against the angle by which unseen patients are turned, without and with augmentation. Without, the curve is a steep hill with its top at 0 degrees. With, it is much flatter. After 300 steps both are about equally high at 0 degrees; after 2000 steps the flat curve is on top everywhere."
stored = {  # the scores with steps=2000
    "without": {"turned": [0.40, 0.65, 0.85, 0.67, 0.37],
                "training patients": 0.99, "unseen patients": 0.62},
    "with": {"turned": [0.70, 0.85, 0.87, 0.84, 0.63],
             "training patients": 0.87, "unseen patients": 0.72},
}
panels = {"300 steps": scores, "2000 steps (stored)": stored}
colours = {"without": "0.6", "with": "#0072b2"}
figure, axes = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True,
                            layout="constrained")
for panel, (title, both) in zip(axes, panels.items(), strict=True):
    for name, colour in colours.items():
        panel.plot(turns, both[name]["turned"], marker="o", color=colour,
                   label=f"{name} augmentation")
    panel.set(title=title, xlabel="unseen patients turned by (degrees)",
              ylim=(0, 1), xticks=turns)
axes[0].set(ylabel="Dice (liver, spleen, stomach)")
axes[0].legend(loc="lower center")
plt.show()

# %% tags=["nbval-ignore-output"]
gain = dict(zip(turns, np.subtract(scores["with"]["turned"],
                                   scores["without"]["turned"]), strict=True))
print("turned by so many degrees:", list(turns))
for name, score in scores.items():
    print(f"300 steps, {name:7}: Dice {np.round(score['turned'], 2).tolist()}")
assert gain[-20.0] + gain[20.0] > 0.08 and gain[-40.0] + gain[40.0] > 0.2
assert abs(gain[0.0]) < 0.15
assert scores["without"]["turned"][2] > 0.6

# %% [markdown]
# The network that saw its patients in one pose fails in another, although the organs are the same: a convolution comes
# with shifts built in, but not with rotations. With augmentation the curve is much flatter. At 40° it falls, too, in
# both panels: that is beyond the 20° that the warps have shown.
#
# For patients that lie straight, the short training gains little or nothing from augmentation: the task has become
# harder, and the network is not yet done with it. What does it do for over-fitting? We compare the scores on the
# training patients and on the unseen ones, as they lie, over all seven organs.

# %% alt="Two panels of bars, mean Dice of seven organs on the training and on the unseen patients. After 2000 steps without augmentation the bar of the training patients is close to one and that of the unseen ones far lower. With augmentation the two bars are closer together, and that of the unseen patients is higher than without."
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True,
                            layout="constrained")
for panel, (title, both) in zip(axes, panels.items(), strict=True):
    for place, (name, colour) in zip((-0.2, 0.2), colours.items(), strict=True):
        heights = [both[name][patients]
                   for patients in ("training patients", "unseen patients")]
        panel.bar(np.arange(2) + place, heights, width=0.4, color=colour,
                  label=f"{name} augmentation")
    panel.set_xticks(range(2), ("training patients", "unseen patients"))
    panel.set(title=title, ylim=(0, 1))
axes[0].set(ylabel="Dice (all seven organs)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center",
              ncols=2)
plt.show()

# %% tags=["nbval-ignore-output"]
gap = {name: scores[name]["training patients"] - scores[name]["unseen patients"]
       for name in scores}
assert gap["without"] > 0.1 and gap["with"] < gap["without"]
for steps, both in ((300, scores), (2000, stored)):
    for name, score in both.items():
        print(f"{steps} steps, {name:7}: "
              f"training {score['training patients']:.2f}, "
              f"unseen {score['unseen patients']:.2f}")

# %% [markdown]
# Without augmentation, the longer training has learned its two patients by heart: 0.99 for them, 0.62 for others. This
# is over-fitting. With augmentation the network hardly sees the same crop twice. It is less perfect on the training
# patients, 0.87, and better on the others, 0.72. This is what the paper {cite}`roth2018` means by "reducing
# overfitting to the training data".
#
# So for patients that lie like those of the training, augmentation does not pay at once. It costs steps, and the paper
# takes 50,000. And do not read more out of these scores than is in them: two phantoms to learn from, one training each,
# a small network. Nor was each part of the warp tried alone, so they do not say how much the bending adds.

# %% [markdown]
# ## Exercises
#
# ### Exercise 7.1 ★ How many control points
#
# Write the function that says how many control points one axis of a crop needs, from its size in voxels and the spacing
# of the points. Control point 0 lies one spacing before voxel 0, and the last voxel must have all the points within its
# reach: the two that it lies between, and one more on either side. (A voxel that lies exactly on a point counts as the
# first of the interval that begins there.)

# %% tags=["exercise"]
from organseg.course import check


def points_needed(size, spacing):
    return ...


check("7.1", points_needed)

# %% tags=["solution"]
def points_needed(size, spacing):
    # of the last voxel; it begins at control point interval + 1
    interval = (size - 1) // spacing
    return interval + 4


check("7.1", points_needed)

# %% [markdown]
# ### Exercise 7.2 ★★ In order
#
# In one dimension, $x + d(x)$ can be written as the B-spline of the *moved* control points $s\,(i - 1) + c_i$, and it
# rises everywhere if these are in order, each beyond the one before. (Its slope is a weighted mean of their distances,
# divided by $s$.) Write the function that says whether they are, from the displacements `control` and the spacing. Then
# compare with the bound from above, 0.67 of the spacing in one dimension: which fields does this criterion pass that
# the bound does not, and which the other way round?

# %% tags=["exercise"]
def in_order(control, spacing):
    return ...


check("7.2", in_order)

# %% tags=["solution"]
def in_order(control, spacing):
    moved = spacing * np.arange(len(control)) + control
    return bool(np.all(np.diff(moved) > 0))


check("7.2", in_order)
# The bound looks at the size of the displacements alone. If all points move
# far, but together, nothing folds:
print(in_order(np.full(6, 100.0), 24))
# The other way round, ±13 in turn is below 0.67 · 24 = 16, so this does not
# fold, and yet it is out of order. Either criterion is enough to be safe;
# neither is needed.
print(in_order(np.array([13, -13, 13, -13, 13, -13]), 24))

# %% [markdown]
# ### Exercise 7.3 ★★ A mirror
#
# Write the places at which a crop of the given shape is read to be mirrored along x, so that its first voxel becomes
# its last: an array `(3, x, y, z)` for `map_coordinates`. Then think about it: x runs from the patient's left to the
# right. Mirroring is a popular augmentation, free and without any loss from interpolation. Why is it not a good one for
# this course?

# %% tags=["exercise"]
def mirrored_places(shape):
    return ...


check("7.3", mirrored_places)

# %% tags=["solution"]
def mirrored_places(shape):
    places = np.indices(shape)
    places[0] = shape[0] - 1 - places[0]
    return places


check("7.3", mirrored_places)
# A mirrored abdomen has its liver on the left and its spleen on the right,
# and hardly any patient is built like that. A network trained with it is told
# that the side of the body says nothing, where the side is a useful sign.
# With labels such as "left kidney" and "right kidney" the mirrored label
# would even be wrong.

# %% [markdown]
# ## Summary
#
# - Augmentation makes new crops from old ones. Image and label are read at the same places.
# - Warps pull: for each voxel of the result, a place in the scan. Pushing leaves holes.
# - A crop is turned about its centre, in mm, and moved; a cubic B-spline on coarse control points adds a smooth
#   displacement. Its weights are a partition of unity, and in three dimensions a product of three.
# - Control points within ±4 move voxels by less than one in each direction (root mean square). No field folds whose
#   control points move by less than 0.4 of the spacing. The Jacobian determinant shows folds.
# - All parts are added up first, and the scan is read once: each interpolation takes fine detail away. Labels are read
#   at the nearest voxel.
# - Crop first: only the crop's own places are computed. In training that happens where the network is, on the GPU if
#   there is one, with the same result up to rounding.
# - Augmentation pays where variety was missing, and after enough steps: less perfect on the training patients, better on
#   others.
#
# ## References
#
# The paper {cite}`roth2018`, Section II.B; the 3D U-Net, whose deformations it follows {cite}`cicek2016`; how large the
# displacements of a cubic B-spline may be before it folds {cite}`choi2000`.
