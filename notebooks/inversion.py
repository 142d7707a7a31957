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
# # Inverting a generator
# Which latent made this image, when only a part of it is seen, and is it the only one (Ma, Ayaz &
# Karaman 2018)? First the landscape of the loss, then real digits with hidden pixels and the
# uncertainty of each pixel that was filled in.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import jaxact as ja
from jaxact import inversion, io, nets

QUICK = "JAXACT_QUICK" in os.environ

# %% [markdown]
# ## The landscape over two latents
# $J(z) = \frac12 \|G(z) - G(z^*)\|^2$ for a random generator with two layers. The star is $z^*$, the
# cross $-\rho_2 z^*$ with $\rho_2 = 1/\pi$: for ReLU the only other place where the loss may be flat,
# beside the origin, which is a local maximum.

# %%
truth = jnp.array([1.5, 1.0])
other = -inversion.rho(2) * truth
grid = jnp.linspace(-4, 4, 33 if QUICK else 129)
acts = [ja.get("relu"), ja.get("leaky_relu", 0.2), ja.get("sigmoid"), ja.get("tanh")]
figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
generators = {}
for axis, act in zip(axes, acts, strict=True):
    model = nets.ConvGenerator(2, (64, 16), act, kernels=((4, 4), (4, 4)), rngs=nnx.Rngs(0))
    generators[act.name] = generator = nets.as_function(model)
    values = inversion.loss_surface(generator, truth, grid, grid)
    axis.contourf(grid, grid, np.log10(np.asarray(values) + 1e-2 * float(values.max())), levels=24)
    axis.plot(*truth, "w*", markersize=12)
    axis.plot(*other, "wx", markersize=9)
    axis.set_title(act.name)
    axis.set_aspect("equal")
plt.show()

# %% [markdown]
# Along the negative ray, and the slopes at the origin: the closed forms hold for wide ReLU layers.

# %%
t = jnp.linspace(0, 1, 21)
relu = generators["relu"]
plt.plot(t, inversion.ray(t, 2), "k--", label="theory, wide ReLU")
for name, generator in generators.items():
    plt.plot(t, inversion.ray_profile(generator, truth, t), label=name)
plt.axvline(inversion.rho(2), color="0.8")
plt.xlabel("distance t along -z*")
plt.ylabel("J(-t z*) / J(0)")
plt.legend(fontsize=8)
plt.show()

angle = jnp.linspace(0, np.pi, 9)
turned = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
rotation = jnp.stack([truth, jnp.array([-truth[1], truth[0]])])
measured = inversion.zero_slopes(relu, truth, turned @ rotation)
print("slope at 0, theory  ", np.round(inversion.slope_at_zero(angle, 2), 2))
print("slope at 0, measured", np.round(measured, 2))

# %% [markdown]
# ## Held-out digits with hidden pixels
# A decoder trained on the 8x8 digits; the digits below were not in its training set. The last rows
# are the deviation of each pixel by the Laplace approximation, with the residual of the training
# set's reconstructions as the noise, and the true error.

# %%
digits = io.load_digits()
encoder, decoder, fit = nets.train_autoencoder(
    digits.x, latent=8, act=ja.get("softplus"), epochs=10 if QUICK else 100, key=jax.random.key(0)
)
shown = jax.vmap(lambda x: decoder(encoder(x)))(jnp.asarray(digits.x))
level = float(jnp.sqrt(jnp.mean((shown - digits.x) ** 2)))
print(f"variance explained {float(fit.accuracy):.2f}, residual a pixel {level:.3f}")
where = {
    "lower half hidden": inversion.half_mask((8, 8)),
    "centre hidden": inversion.block_mask((8, 8), (4, 4)),
    "half of the pixels": inversion.random_mask(jax.random.key(1), (8, 8), share=0.5),
}
images = jnp.asarray(digits.test_x[: 4 if QUICK else 10])


# %%
def fill(seen, image, key):
    """The image filled in and the deviation of every pixel."""
    see = inversion.mask(seen)
    start = jax.random.normal(key, (4, 8))
    found = inversion.invert(decoder, see(image), latent=start, operator=see, prior=level**2)
    posterior = inversion.laplace(decoder, found.latent, noise=level, operator=see)
    return found.output, jnp.sqrt(posterior.variance + level**2)


def strip(axis, tiles, title, vmax=1.0):
    """Images side by side."""
    framed = np.pad(np.asarray(tiles), ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    axis.imshow(np.concatenate(framed, axis=1), cmap="gray_r", vmin=0, vmax=vmax)
    axis.set_title(title, loc="left", fontsize=9)
    axis.axis("off")


keys = jax.random.split(jax.random.key(2), len(images))
for name, seen in where.items():
    filled, deviation = jax.jit(jax.vmap(lambda x, k, s=seen: fill(s, x, k)))(images, keys)
    error = np.abs(np.asarray(filled - images))
    hidden = ~np.asarray(seen)
    inside = (error < 2 * np.asarray(deviation))[:, hidden].mean()
    print(f"{name}: MSE {np.mean(error**2):.3f}, of hidden pixels {np.mean(error[:, hidden] ** 2):.3f}; "
          f"{100 * inside:.0f} % of them within two deviations")  # fmt: skip
    figure, axes = plt.subplots(5, 1, figsize=(8, 5), layout="constrained")
    strip(axes[0], images, "held-out digits")
    strip(axes[1], np.where(seen, np.asarray(images), np.nan), name)
    strip(axes[2], filled, "filled in")
    strip(axes[3], deviation, "deviation", vmax=0.5)
    strip(axes[4], error, "true error", vmax=0.5)
    plt.show()

# %% [markdown]
# ## Layer by layer
# With the whole output observed no descent is needed, at any latent dimension.

# %%
model = nets.ConvGenerator(100, (32, 8), ja.get("relu"), kernels=((4, 4), (4, 4)), rngs=nnx.Rngs(1))
z = jax.random.normal(jax.random.key(3), (100,))
found = inversion.invert_layerwise(nets.layers(model), model(z))
off = float(jnp.linalg.norm(found.latent - z) / jnp.linalg.norm(z))
print(f"error {off:.1e}, exact {bool(found.exact)}")
