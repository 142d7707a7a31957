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
# # From an activation to a density
# A convex increasing activation $v$ has a signature $\chi = v' \circ (v + k)^{-1}$, and with it a
# deformed exponential $\exp_\chi$, a divergence and, stacked into an invertible generator, an exact
# density whose factors are escort densities, one a neuron (Nock et al. 2017).

# %%
import dataclasses
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxact as ja
from jaxact import geometry

jax.config.update("jax_enable_x64", True)
QUICK = "JAXACT_QUICK" in os.environ
acts = [ja.get("softplus"), ja.get("mu_relu", 0.4), ja.get("elu"), ja.get("exp")]
mine = ja.activation(lambda x: jnp.logaddexp(jnp.logaddexp(0.0, x), 2 * x) / 2, name="mine")

# %% [markdown]
# ## Who has a signature?

# %%
for act in [*acts, mine, ja.get("relu"), ja.get("selu"), ja.get("tanh"), ja.get("gelu")]:
    report = geometry.admissibility(act)
    print(f"{report.status:7} {report.reason}")

# %% [markdown]
# ## Signature, deformed exponential, divergence
# The activation is its own deformed exponential, shifted, and minus its inverse generates the
# divergence that belongs to it: $f(u) = -\log_\chi u$.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
t, y, u = jnp.linspace(0.01, 3, 300), jnp.linspace(-3, 1.5, 300), jnp.linspace(0.05, 3, 300)
for act in [*acts, mine]:
    chi = geometry.signature(act)
    axes[0].plot(t, chi(t), label=act.name)
    axes[1].plot(y, geometry.exp_chi(chi, y))
    axes[2].plot(u, -geometry.log_chi(chi, u))
axes[0].set(title=r"signature $\chi(t)$", xlabel="t", ylim=(0, 3))
axes[1].set(title=r"$\exp_\chi(y)$", xlabel="y", ylim=(0, 5))
axes[2].set(title=r"divergence $f(u) = -\log_\chi u$", xlabel="u", ylim=(-2, 4))
axes[0].legend(fontsize=8)
plt.show()

p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
print("matched divergences of p = (.5, .3, .2) from q = (.2, .5, .3)")
for act in [*acts, mine]:
    print(f"{act.name:10} {float(geometry.matched_divergence(act, p, q)):.12f}")
for name in ("reverse_kl", "neyman"):
    print(f"{name:10} {float(geometry.divergence_value(name, p, q)):.12f}")

# %% [markdown]
# `exp` gives the Kullback-Leibler divergence of q from p, and mu-ReLU $(1-\mu)^2/4$ times
# Neyman's: 0.09 of it here.

# %% [markdown]
# ## The density of a generator
# Three layers, two units each. An activation that is bounded below fills a part of the plane only:
# outside it the density is zero, and the log density is minus infinity.


# %%
def stacked(act, depth=3, seed=3):
    """A generator with weights near the identity."""
    rng = np.random.default_rng(seed)
    return geometry.generator(
        np.eye(2) + 0.35 * rng.normal(size=(depth, 2, 2)),
        0.5 + 0.3 * rng.normal(size=(depth, 2)),
        act=act,
        gamma=np.eye(2) + 0.3 * rng.normal(size=(2, 2)),
    )


def picture(axis, g, low, high, size):
    """The density on a grid, and its integral over that box."""
    step = (high - low) / size
    a, b = (low[i] + step[i] * (np.arange(size) + 0.5) for i in range(2))
    points = np.stack(np.meshgrid(a, b, indexing="xy"), -1)
    log_q = np.asarray(g.log_density(points))
    density = np.exp(log_q)
    shown = np.where(np.isfinite(log_q), density, np.nan)
    axis.pcolormesh(a, b, shown**0.5, cmap="magma", rasterized=True)
    axis.set_facecolor("0.85")
    return density.sum() * step.prod()


figure, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
shown = [ja.get("softplus"), ja.get("mu_relu", 0.4), mine, ja.get("leaky_relu", 0.3)]
for column, act in zip(axes.T, shown, strict=True):
    g = stacked(act)
    x = np.asarray(g.sample(jax.random.key(0), 4000))
    low, high = np.quantile(x, 0.002, axis=0), np.quantile(x, 0.998, axis=0)
    low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    column[0].plot(*x.T, ".", markersize=1)
    column[0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=act.name)
    total = picture(column[1], g, low, high, 250 if QUICK else 500)
    held = np.mean(np.all((x > low) & (x < high), axis=1))
    column[1].set_title(f"mass {total:.3f}, samples {held:.3f}", fontsize=9)
axes[0, 0].set_ylabel("samples")
axes[1, 0].set_ylabel("exact density (root)")
plt.show()

# %% [markdown]
# The factorisation: with a signature, the same number is a product of $L \times d$ escorts.

# %%
g = stacked(ja.get("softplus"))
x = g.sample(jax.random.key(1), 1000)
found = geometry.escort_factors(g, x)
print("escorts", found.log_escort.shape[1:], "largest difference from the direct formula",
      f"{float(jnp.abs(found.log_density - g.log_density(x)).max()):.1e}")  # fmt: skip
inverse = lambda point: g.inverse(point).latent  # noqa: E731
jacobian = jax.vmap(jax.jacfwd(inverse))(x)
by_autodiff = jax.vmap(g.latent.log_density)(g.inverse(x).latent) + jnp.linalg.slogdet(jacobian)[1]
print(
    f"and from an automatic log determinant {float(jnp.abs(by_autodiff - g.log_density(x)).max()):.1e}"
)

# %% [markdown]
# ## Exact maximum likelihood of an activation
# The density is exact and differentiable in the activation's own parameter. Samples come from
# mu-ReLU at 0.3; the fit starts at 0. Beyond the true value some samples leave the generator's
# image and the likelihood has a wall.

# %%
rng = np.random.default_rng(5)
weights = np.eye(2) + 0.35 * rng.normal(size=(2, 2, 2))
weights[1] *= -1
true = geometry.generator(
    weights, 0.5 + 0.3 * rng.normal(size=(2, 2)), act=ja.get("mu_relu", 0.3)
)  # fmt: skip
x = true.sample(jax.random.key(8), 4000)


def at(mu):
    """The generator with another mu."""
    return dataclasses.replace(true, act=true.act.replace(mu))


fit = geometry.fit_generator(at(0.0), x, train=("act",), steps=300)
print(f"mu = {float(fit.generator.act.theta[0]):.4f}, converged: {bool(fit.converged)}")
mus = np.linspace(0, 0.5, 101)
nll = jax.vmap(lambda mu: geometry.negative_log_likelihood(at(mu), x))(jnp.asarray(mus))
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(mus, nll)
axes[0].axvline(0.3, color="0.6", linestyle=":")
axes[0].axvspan(mus[np.isfinite(nll)].max(), 0.5, color="0.85")
axes[0].set(xlabel="mu", ylabel="nats a sample", title="negative log likelihood")
axes[1].plot(fit.nll)
axes[1].set(xlabel="step", title="the fit")
plt.show()
