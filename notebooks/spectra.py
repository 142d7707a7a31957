# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Spectra: what a random layer does, and how well it memorises
# Nonlinear random matrix theory (Pennington & Worah, NIPS 2017) with the numbers of this library
# beside what the paper states, and ridge regression of random features on real digits (Louart,
# Liao & Couillet 2018). Curves are computed, dots are simulated.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxact as ja

jax.config.update("jax_enable_x64", True)  # your session, your choice: jaxact itself never does it
QUICK = bool(os.environ.get("JAXACT_QUICK"))
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False})
COLOURS = plt.get_cmap("viridis")(np.linspace(0, 0.9, 7))

# %% [markdown]
# ## The density, its edges and its atom
# $M = f(WX) f(WX)^T / m$ with $\phi = n_0/m$ and $\psi = n_0/n_1$. One simulated matrix in grey,
# the predicted density in colour (of $\log x$, to show every scale), its edges dashed. Nothing is
# smoothed: the density is exactly zero outside its support. Two bands, a hard edge at 0 ($n_1 = m$) and an atom at 0
# ($n_1 > m$) are all cases of one curve.


# %%
def family_member(share):
    """The f_alpha of the paper whose zeta / eta is this share, by bisection in alpha."""
    low, high = -1.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        found = ja.spectra.moments(ja.get("f_alpha", middle))
        low, high = (middle, high) if found.zeta > share * found.eta else (low, middle)
    return ja.get("f_alpha", middle)


m = 600 if QUICK else 1200
cases = [
    ("relu", ja.get("relu"), 0.5, 0.75),
    ("gelu", ja.get("gelu"), 1.0, 1.5),
    ("|x|: Marchenko-Pastur", ja.get("abs"), 0.5, 0.75),
    ("two bands: f_alpha with zeta = 0.8 eta", family_member(0.8), 0.05, 0.2),
    ("hard edge at 0: tanh, n1 = m", ja.get("tanh"), 0.5, 0.5),
    ("atom at 0: silu, n1 = 2 m", ja.get("silu"), 1.0, 0.5),
]
fig, axes = plt.subplots(2, 3, figsize=(12, 6))
for axis, (title, act, phi, psi) in zip(axes.flat, cases, strict=True):
    law = ja.spectra.law(act, phi=phi, psi=psi)
    samples = 3 * m if phi < 0.1 else m  # so that n0 is not too small
    n0, n1 = round(phi * samples), round(phi * samples / psi)
    found = ja.spectra.simulate(jax.random.key(0), act, n0=n0, n1=n1, m=samples)
    support = ja.spectra.edges(law)
    edges = np.asarray(support.edges)[: int(support.count)]
    atom = float(ja.spectra.atom(law))
    low = edges[0] / 1.5 if edges[0] > 1e-6 else edges[-1] / 1e4
    bins = np.geomspace(low, 1.5 * edges[-1], 50)
    counts, _ = np.histogram(found, bins)
    axis.stairs(counts / len(found) / np.diff(np.log(bins)), bins, fill=True, color="0.8")
    x = np.geomspace(bins[0], bins[-1], 1500)
    axis.plot(x, x * ja.spectra.density(law, x), color=COLOURS[2])
    for edge in edges[edges > 0]:
        axis.axvline(edge, color=COLOURS[5], ls="--", lw=0.8)
    axis.set(title=title, xscale="log", ylim=(0, 1.15 * axis.get_ylim()[1]))
    note = f"phi = {phi:g}, psi = {psi:g}" + (f"\natom {atom:g} at 0" if atom > 0 else "")
    axis.text(0.03, 0.97, note, va="top", transform=axis.transAxes, fontsize=9)
    print(f"{title:40} edges {np.round(edges, 4)}  atom {atom:.2f}")
for axis in axes[-1]:
    axis.set_xlabel("eigenvalue x")
axes[0, 0].set_ylabel("density of log x")
axes[1, 0].set_ylabel("density of log x")
fig.tight_layout()
plt.show()

# %% [markdown]
# ## Figure 1 of the paper: depth
# The distance of the empirical law of layer 1 and of layer 10 to the predicted law of layer 1,
# against width, for the piecewise linear $f_\alpha$ ($\alpha = -1$ linear, $0$ shifted relu, $1$
# shifted absolute value), $\phi = 1$, $\psi = 3/2$. The paper states: layer 1 converges for every
# $\alpha$; layer 10 converges to the law of layer 1 for $\alpha = 1$ ($\zeta = 0$), and for no
# other. The distance here is Kolmogorov's, the largest difference of distribution functions.


# %%
def kolmogorov(eigenvalues, law):
    at = np.asarray(ja.spectra.cdf(law, np.asarray(eigenvalues)))
    rank = np.arange(len(eigenvalues) + 1) / len(eigenvalues)
    return max(abs(at - rank[1:]).max(), abs(at - rank[:-1]).max())


def layers(key, act, width, depth):
    """Eigenvalues of Y Y^T / m of the first and the last layer of a random network."""
    n1, m = round(width / 1.5), width
    keys = jax.random.split(key, depth + 1)
    y = jax.random.normal(keys[0], (width, m))
    found = []
    for layer in range(depth):
        w = jax.random.normal(keys[layer + 1], (n1, y.shape[0])) / np.sqrt(y.shape[0])
        y = act(w @ y)
        if layer in (0, depth - 1):
            found.append(np.linalg.eigvalsh(np.asarray(y @ y.T / m)))
    return found


alphas = (-1.0, 0.0, 1.0) if QUICK else (-1.0, -0.5, 0.0, 0.5, 1.0)
widths = (60, 120) if QUICK else (75, 150, 300, 600)
draws = 1 if QUICK else 3
distance = np.zeros((len(alphas), len(widths), 2))
for i, alpha in enumerate(alphas):
    act = ja.get("f_alpha", alpha)
    law = ja.spectra.law(act, phi=1.0, psi=1.5)
    for j, width in enumerate(widths):
        for key in jax.random.split(jax.random.key(j), draws):
            distance[i, j] += [kolmogorov(v, law) / draws for v in layers(key, act, width, 10)]

fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
for panel, (axis, title) in enumerate(zip(axes, ("layer 1", "layer 10"), strict=True)):
    for i, alpha in enumerate(alphas):
        axis.loglog(widths, distance[i, :, panel], "o-", color=COLOURS[i], label=f"{alpha:g}")
    axis.set(title=title, xlabel="width n0", xticks=widths)
    axis.set_xticklabels(map(str, widths))
    axis.minorticks_off()
axes[0].set_ylabel("distance to the law of layer 1")
axes[1].legend(title="alpha", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
fig.tight_layout()
plt.show()
for i, alpha in enumerate(alphas):
    first, last = distance[i, :, 0], distance[i, :, 1]
    print(f"alpha {alpha:4}: layer 1 {np.round(first, 3)}, layer 10 {np.round(last, 3)}")

# %% [markdown]
# Layer 1 shrinks like 1 / width for every $\alpha$, as the paper states. In layer 10 the linear
# network and $\alpha = -1/2$ stay where they are, the relu ($\alpha = 0$) levels off, and
# $\alpha = 1$ keeps falling, as the paper states too. $\alpha = 1/2$ is not told apart from it at
# these widths: its limit is close to the law of layer 1, and at finite width even $\zeta = 0$
# drifts with depth.
#
# ## Depth, exactly
# The law of layer $l$ is the free multiplicative convolution of Marchenko-Pastur with
# $(1 - b^2) + b^2 \mu_{l-1}$, $b^2 = \zeta / \eta$ (Fan & Wang 2020), so the drift of figure 1 has
# a limit that can be computed. Mixed populations of neurons with random biases have a law too.

# %%
n0 = 300 if QUICK else 900
n1, m = round(n0 / 1.5), n0
depths = (1, 3) if QUICK else (1, 3, 10)
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
for axis, alpha in zip(axes, (-0.5, 0.0), strict=False):
    act = ja.get("f_alpha", alpha)
    for depth, colour in zip(depths, COLOURS[::2], strict=False):
        law = ja.spectra.deep_law(act, phi=n0 / m, psi=np.full(depth, n0 / n1))
        found = ja.spectra.simulate_deep(
            jax.random.key(depth), act, n0=n0, widths=(n1,) * depth, m=m
        )
        edges = ja.spectra.edges(law)
        top = float(edges.edges[-1])
        x = np.geomspace(max(float(edges.edges[0]) / 1.5, top / 1e4), 1.3 * top, 400)
        axis.plot(x, x * ja.spectra.density(law, x), color=colour, label=f"layer {depth}")
        bins = np.geomspace(x[0], x[-1], 40)
        counts, _ = np.histogram(found, bins)
        axis.stairs(counts / n1 / np.diff(np.log(bins)), bins, color=colour, alpha=0.5)
        off = kolmogorov(found, law)
        print(f"f_alpha, alpha = {alpha}, layer {depth}: distance of one draw {off:.3f}")
    axis.set(title=rf"$\alpha = {alpha:g}$", xscale="log", xlabel="eigenvalue x")
    axis.legend(frameon=False)
axes[0].set_ylabel("density of log x")
acts, weights, bias = (ja.get("relu"), ja.activation(lambda x: jnp.tanh(3 * x))), (0.5, 0.5), 0.7
law = ja.spectra.mixture_law(acts, weights, phi=1.0, psi=1.5, bias_std=bias)
keys = jax.random.split(jax.random.key(7), 3)
y = jax.random.normal(keys[0], (n1, n0)) / n0**0.5 @ jax.random.normal(keys[1], (n0, m))
y = y + bias * jax.random.normal(keys[2], (n1, 1))
half = n1 // 2
y = jnp.concatenate([acts[0](y[:half]), acts[1](y[half:])])
y = y - y.mean(axis=1, keepdims=True)
found = np.linalg.eigvalsh(np.asarray(y @ y.T / m))
x = np.geomspace(found[0] / 1.5, 1.3 * found[-1], 400)
bins = np.geomspace(x[0], x[-1], 40)
counts, _ = np.histogram(found, bins)
axes[2].stairs(counts / n1 / np.diff(np.log(bins)), bins, fill=True, color="0.8")
axes[2].plot(x, x * ja.spectra.density(law, x), color=COLOURS[2])
axes[2].set(title="relu and tanh(3x), random biases", xscale="log", xlabel="eigenvalue x")
fig.tight_layout()
plt.show()

# %% [markdown]
# ## Figure 2 of the paper: memorisation
# The training error of ridge regression on random features with noise labels, against the ridge
# parameter, for $\beta = \log_{10}(\eta / \zeta - 1)$; $\beta = -\infty$ is a linear network.
# Every row of dots is another random activation with that $\beta$. The paper states: for
# $n_1 = m$ (left) every nonlinear activation memorises in the limit and the linear network stays
# at $1/2$; for $n_1 < m$ (right) the floors are $1/3$ and $1/2$; and at fixed $\gamma$ the error
# falls as $\beta$ rises.

# %%
betas = (-np.inf, -8.0, -6.0, -4.0, -2.0, 0.0, 2.0)
gammas = np.logspace(-8, 2, 201)
dots = np.logspace(-7, 2, 10)


def even(x, a, b):
    return a * jnp.abs(x) + b * jnp.cos(2 * x)


def mixed(x, linear, rest, mean, a, b):
    return linear * x + rest * (even(x, a, b) - mean)


def random_activation(beta, rng):
    """sqrt(zeta) x + sqrt(eta - zeta) g(x), eta = 1, with a random even g of variance one."""
    share = 1 / (1 + 10.0**beta)
    a, b = rng.normal(size=2)
    moments = ja.spectra.moments(ja.activation(even, theta=(a, b), kinks=(0.0,)))
    weights = (share**0.5, ((1 - share) / moments.eta) ** 0.5, moments.mean)
    return ja.activation(mixed, theta=(*weights, a, b), kinks=(0.0,))


rng = np.random.default_rng(0)
n0 = 150 if QUICK else 400
fig, axes = plt.subplots(1, 2, figsize=(10.5, 4), sharey=True)
gap = []
for axis, (phi, psi) in zip(axes, ((0.5, 0.5), (0.5, 0.75)), strict=True):
    n1, m = round(n0 / psi), round(n0 / phi)
    for beta, colour in zip(betas, COLOURS, strict=True):
        law = ja.spectra.Law(eta=1.0, zeta=1 / (1 + 10.0**beta), phi=n0 / m, psi=n0 / n1)
        label = r"$-\infty$" if np.isinf(beta) else f"{beta:g}"
        curve = ja.spectra.training_error(law, gammas)
        axis.semilogx(gammas, curve, color=colour, label=label)
        found = ja.spectra.simulate_training_error(
            jax.random.key(1), random_activation(beta, rng), n0=n0, n1=n1, m=m, gamma=dots
        )
        axis.plot(dots, found, "o", ms=3.5, color=colour)
        gap.append(np.abs(found - ja.spectra.training_error(law, dots)).max())
    axis.set(title=rf"$\phi = 1/2$, $\psi = {psi:g}$", xlabel=r"$\gamma / \eta$", ylim=(0, 1))
axes[0].set_ylabel("training error")
axes[1].legend(title=r"$\beta$", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
fig.tight_layout()
plt.show()
print(f"largest |dot - curve|: n1 = m {max(gap[:7]):.3f}, n1 < m {max(gap[7:]):.3f}")
for zeta in (1.0, 0.5):
    floors = [
        float(ja.spectra.training_error(ja.spectra.Law(1.0, zeta, 0.5, psi), 1e-12))
        for psi in (0.5, 0.75)
    ]
    print(f"zeta = {zeta}: error at gamma = 1e-12", np.round(floors, 5), "for psi = 0.5, 0.75")

# %% [markdown]
# ## Real digits
# The theory above is for Gaussian data and noise labels. For data as they are there is a
# deterministic equivalent: it needs the kernel $K(x, y) = E f(w \cdot x) f(w \cdot y)$ of the
# activation on the samples, and one eigendecomposition serves every ridge parameter and every
# number of neurons. Here: scikit-learn's digits, one-hot labels, an activation of our own.

# %%
digits = ja.io.load_digits()
m = 150 if QUICK else 600
mean = digits.x.reshape(len(digits.x), -1).mean(0)


def prepare(images, labels):
    """Centred, scaled to norm sqrt(n0); one-hot labels."""
    x = images.reshape(len(images), -1).astype(np.float64) - mean
    return x / np.linalg.norm(x, axis=1, keepdims=True) * 8, np.eye(10)[labels]


x, y = prepare(digits.x[:m], digits.y[:m])
test = prepare(digits.test_x, digits.test_y)
ours = ja.activation(lambda v: jnp.sin(2 * v) + 0.3 * v**2, name="sin 2x + 0.3 x^2")
acts = (ja.get("relu"), ours) if QUICK else (ja.get("relu"), ja.get("tanh"), ours)
keys = jax.random.split(jax.random.key(0), 1 if QUICK else 2)


def draw(act, n1, gamma):
    """The mean over a few draws of the training and the test error."""
    found = [
        ja.spectra.simulate_fixed_data(key, act, x, y, n1=n1, gamma=gamma, test=test)
        for key in keys
    ]
    return np.mean(found, axis=0)


# %% [markdown]
# Training error (dashed) and test error (solid) against the ridge parameter, at $n_1 = m / 2$ and
# $n_1 = 3 m$ neurons:

# %%
gammas = np.logspace(-5, 2, 57)
dots = gammas[8::8]
sizes = np.array([m // 2, 3 * m])
fig, axes = plt.subplots(1, len(acts), figsize=(4 * len(acts), 3.8), sharey=True)
for axis, act in zip(axes, acts, strict=True):
    curve = ja.spectra.fixed_data(act, x, y, n1=sizes[:, None], gamma=gammas, test=test)
    assert bool(curve.converged.all())
    for i, n1 in enumerate(sizes):
        colour = COLOURS[(1, 5)[i]]
        axis.loglog(gammas, curve.training_error[i], "--", color=colour)
        axis.loglog(gammas, curve.test_error[i], color=colour, label=f"n1 = {n1}")
        training, error = draw(act, int(n1), dots)
        axis.plot(dots, training, "o", ms=4, color=colour, fillstyle="none")
        axis.plot(dots, error, "o", ms=4, color=colour)
        off = np.abs(error / np.asarray(curve.test_error[i])[8::8] - 1).max()
        print(f"{act.name:18} n1 = {n1:5}: test error of the draws within {off:.1%} of the curve")
    axis.set(title=act.name, xlabel=r"$\gamma$", ylim=(1e-3, 3))
axes[0].set_ylabel("squared error")
axes[0].legend(frameon=False, loc="lower right")
fig.tight_layout()
plt.show()

# %% [markdown]
# Against the number of neurons: double descent on real digits. The test error peaks where
# $n_1 = m$ unless the ridge parameter is large, and more neurons than samples help again.

# %%
sizes = m * np.logspace(-1.2, 1.2, 61)
few = [round(m * r) for r in (0.2, 0.5, 1.0, 2.0, 6.0)][:: 2 if QUICK else 1]
ridges = np.array([1e-5, 1e-3, 1e-1])
fig, axes = plt.subplots(1, len(acts), figsize=(4 * len(acts), 3.8), sharey=True)
for axis, act in zip(axes, acts, strict=True):
    curve = ja.spectra.fixed_data(act, x, y, n1=sizes[:, None], gamma=ridges, test=test)
    draws = np.array([draw(act, n1, ridges)[1] for n1 in few])
    for i, gamma in enumerate(ridges):
        colour = COLOURS[(0, 3, 5)[i]]
        axis.loglog(sizes / m, curve.test_error[:, i], color=colour, label=f"{gamma:g}")
        axis.plot(np.array(few) / m, draws[:, i], "o", ms=4, color=colour)
    axis.axvline(1, color="0.8", lw=0.8, zorder=0)
    axis.set(title=act.name, xlabel=r"$n_1 / m$")
axes[0].set_ylabel("test error")
axes[-1].legend(title=r"$\gamma$", frameon=False)
fig.tight_layout()
plt.show()

# %% [markdown]
# The best ridge parameter needs no search over draws: the prediction is differentiable.

# %%
log_gamma = jnp.log(0.1)


@jax.value_and_grad
def error(log_gamma):
    gamma = jnp.exp(log_gamma)
    return ja.spectra.fixed_data(
        ja.get("relu"), x, y, n1=2.0 * m, gamma=gamma, test=test
    ).test_error


for _ in range(4 if QUICK else 15):
    value, slope = error(log_gamma)
    log_gamma = log_gamma - 2 * slope / value
best = float(jnp.exp(log_gamma))
print(f"relu, n1 = 2 m: test error {float(value):.4f} at gamma = {best:.4f}")

# %% [markdown]
# ## Designing an activation
#
# The limiting law knows an activation through `eta` and `zeta` only, and everything built on it
# is differentiable. So an activation can be chosen: take a family, an objective, and descend.

# %% [markdown]
# ### A spline without a linear part
#
# `zeta = 0` under `eta = 1`, from a piecewise linear start that looks like a relu. The knots are
# kinks, so the Gaussian moments are exact. The spectrum of the designed layer should then be that
# of a plain Marchenko-Pastur matrix, and its features should memorise best.

# %%
SIZE, DRAWS = (120, 2) if QUICK else (800, 16)
knots = np.linspace(-2.5, 2.5, 9)
start = ja.spectra.spline(knots, np.maximum(knots, 0) + 0.1 * np.sin(2 * knots))
found = ja.spectra.design(start, ja.spectra.TargetMoments(zeta=0.0, eta=1.0))
designed = ja.spectra.standard(found.act)
reached = ja.spectra.moments(designed)
print(
    f"converged {bool(found.converged)} in {int(found.steps)} steps:",
    f"eta = {float(reached.eta):.6f}, zeta = {float(reached.zeta):.1e}",
)

# %%
n0, n1, m = SIZE // 2, round(SIZE / 1.5), SIZE
key = jax.random.key(0)
first, second = jax.random.split(key)
eigenvalues = np.asarray(ja.spectra.simulate(first, designed, n0=n0, n1=n1, m=m))
law = ja.spectra.Law(eta=1.0, zeta=0.0, phi=n0 / m, psi=n0 / n1)
top = float(ja.spectra.edges(law).edges[-1])
x = np.linspace(1e-3, 1.1 * top, 400)
gammas = np.logspace(-3, 1, 9)

fig, axes = plt.subplots(1, 3, figsize=(12, 3.4))
grid = np.linspace(-3.5, 3.5, 200)
axes[0].plot(grid, start(grid), "--", label="start")
axes[0].plot(grid, designed(grid), label="designed")
axes[0].set_title("the activation")
axes[1].hist(eigenvalues, 40, density=True, alpha=0.4, label="one simulated layer")
axes[1].plot(x, ja.spectra.density(law, x), label="zeta = 0")
axes[1].set_title("the spectrum of its features")
for act, name in ((designed, "designed"), (ja.spectra.standard(ja.get("relu")), "relu")):
    at = ja.spectra.law(act, phi=n0 / m, psi=n0 / n1)
    line = axes[2].semilogx(gammas, ja.spectra.training_error(at, gammas), label=name)[0]
    dots = ja.spectra.simulate_training_error(second, act, n0=n0, n1=n1, m=m, gamma=gammas)
    axes[2].plot(gammas, dots, "o", color=line.get_color())
axes[2].set_title("training error on noise (dots: simulated)")
axes[2].set_xlabel("gamma / eta")
for ax in axes:
    ax.legend(frameon=False)
fig.tight_layout()
plt.show()

# %% [markdown]
# ### The activation that predicts best
#
# A linear teacher with noise, `n0 = m`, twice as many neurons, and a ridge that is too small.
# A linear layer overfits (its own peak is at `n0 = m`), a layer without a linear part cannot see
# the teacher. In between lies an optimum: the nonlinear part of the features acts as a ridge.

# %%
sizes = {"phi": 1.0, "psi": 0.5, "noise": 0.25}
aim = ja.spectra.MinimiseTestError(gamma=1e-3, **sizes)
best = ja.spectra.design(ja.get("hermite", (0.0, 0.5, 0.6, 0.3)), aim)
contenders = {
    name: ja.get(name) for name in (("relu",) if QUICK else ("identity", "tanh", "relu", "abs"))
}
contenders["designed"] = best.act

shares = np.linspace(0, 1, 101)
laws = ja.spectra.Law(np.ones(101), shares, np.full(101, 1.0), np.full(101, 0.5))
curve = jax.vmap(lambda at: ja.spectra.test_error(at, 1e-3, noise=0.25))(laws)
tuned = jax.vmap(lambda at: ja.spectra.optimal_gamma(at, noise=0.25).error)(laws)
fig, ax = plt.subplots(figsize=(5.5, 3.6))
ax.semilogy(shares, curve, label="gamma = 0.001 eta")
ax.semilogy(shares, tuned, "--", label="the best ridge")
for name, act in contenders.items():
    at = ja.spectra.moments(act)
    ax.plot(float(at.zeta / at.eta), float(aim(act)), "o", label=name)
ax.set_xlabel("zeta / eta")
ax.set_ylabel("test error")
ax.legend(frameon=False)
print({name: round(float(aim(act)), 4) for name, act in contenders.items()})

# %% [markdown]
# ### Double descent
#
# The same activations over the number of neurons, with simulated layers as dots. Without enough
# ridge the error peaks where the features just interpolate, at `n1 = m`.

# %%
widths = np.geomspace(0.1, 10, 121)
m, n0 = SIZE, SIZE // 2
some = (0.5, 1.0, 2.0) if QUICK else (0.3, 0.6, 1.0, 1.6, 3.0)
fig, axes = plt.subplots(1, 2, figsize=(10, 3.6))
for name in ("tanh",) if QUICK else ("tanh", "relu"):
    act = ja.spectra.standard(ja.get(name))
    theory = ja.spectra.double_descent(act, widths, phi=n0 / m, gamma=1e-3, noise=0.25)

    def draws(width, act=act):
        keys = jax.random.split(jax.random.key(1), DRAWS)
        draw = lambda key: ja.spectra.simulate_test_error(
            key, act, n0=n0, n1=round(width * m), m=m, gamma=1e-3, noise=0.25
        )
        return jax.tree.map(lambda e: float(jnp.mean(e)), jax.lax.map(draw, keys))

    simulated = [draws(width) for width in some]
    for ax, part in zip(axes, ("test", "train")):
        line = ax.loglog(widths, getattr(theory, part), label=name)[0]
        ax.plot(some, [getattr(e, part) for e in simulated], "o", color=line.get_color())
        ax.set_title(f"{part} error")
        ax.set_xlabel("n1 / m")
        ax.legend(frameon=False)
fig.tight_layout()
plt.show()
