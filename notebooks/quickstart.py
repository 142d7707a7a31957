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
# # jaxact in ten minutes
# An activation is a value, and every theory about it is a pure, differentiable, compiled function
# of that value. Here one custom activation goes through all five lenses, on real digits.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxact as ja

jax.config.update("jax_enable_x64", True)  # your session, your choice: jaxact itself never does it

# %% [markdown]
# ## One noun
# Any scalar JAX function. Its derivative, primitive, inverse, kinks and Gaussian moments follow.

# %%
act = ja.activation(
    lambda x, b: x * jax.nn.sigmoid(b * x) + 0.1 * x, theta=(1.5,), name="leaky swish"
)
print("kinks:", act.kinks, "  f(1) =", float(act(1.0)), "  F(1) =", float(act.primitive(1.0)))
ja.testing.check(act)

# %% [markdown]
# ## spectra: random features (Pennington & Worah 2017)
# The spectrum of $M = f(WX) f(WX)^T / m$ is algebraic: no sampling, no smoothing. The histogram is
# one simulated matrix.

# %%
law = ja.spectra.law(act, phi=0.5, psi=0.75)
n0 = 300
eigenvalues = ja.spectra.simulate(jax.random.key(0), act, n0=n0, n1=400, m=600)
x = jnp.linspace(0, 1.05 * eigenvalues.max(), 600)
plt.hist(np.asarray(eigenvalues), bins=40, density=True, alpha=0.4, label="simulated")
plt.plot(x, ja.spectra.density(law, x), label="predicted")
plt.xlabel("eigenvalue")
plt.legend()
plt.show()

# %% [markdown]
# The training error on noise, and its derivative with respect to the activation's own parameter:


# %%
def memorisation(a):
    return ja.spectra.training_error(a, gamma=1e-2, phi=0.5, psi=0.75)


print("training error:", float(memorisation(act)))
print("d/d theta     :", float(jax.grad(memorisation)(act).theta[0]))

# %% [markdown]
# ## bounds: certified robustness (CROWN 2018)
# A network is any JAX function. The elementwise unit is found and relaxed without registration.

# %%
digits = ja.io.load_digits()
model, fit = ja.nets.train_classifier(
    digits.x, digits.y, act, widths=(32,), epochs=10, key=jax.random.key(1)
)
image, label = jnp.asarray(digits.test_x[0]), int(digits.test_y[0])
spec = ja.bounds.margin_spec(label, 10)
for eps in (0.01, 0.03, 0.1):
    region = ja.bounds.Ball(image, eps=eps, clip=(0.0, 1.0))
    ibp, crown = (f(model, region, spec).lower.min() for f in (ja.bounds.ibp, ja.bounds.crown))
    print(f"eps {eps:4}: worst margin at least {float(ibp):7.3f} (IBP) {float(crown):7.3f} (CROWN)")
print("certified radius:", float(ja.bounds.certified_radius(model, image, label).radius))

# %% [markdown]
# ## memory: dense associative memory (Krotov & Hopfield 2016)
# The interaction function is the primitive of the activation.

# %%
patterns = jnp.where(jnp.asarray(digits.x[:30]).reshape(30, -1) > 0.5, 1.0, -1.0)
probe = patterns[3].at[:10].multiply(-1)
recalled = ja.memory.retrieve(patterns, probe, ja.memory.rectified(20))
print("recalled exactly:", bool((recalled.state == patterns[3]).all()))
print("capacity, N = 64: relu", round(ja.memory.finite_capacity(64, ja.get("relu"))),
      " ours", round(ja.memory.finite_capacity(64, act)))  # fmt: skip

# %% [markdown]
# ## inversion: latent recovery (Ma, Ayaz & Karaman 2018)
# A decoder, seen through the upper half of its image.

# %%
encoder, generator, _ = ja.nets.train_autoencoder(
    digits.x, latent=6, act=act, epochs=10, key=jax.random.key(2)
)
z = encoder(image)
see = ja.inversion.mask(np.arange(32))
found = ja.inversion.invert(
    generator, see(generator(z)), latent=6, operator=see, restarts=4, key=jax.random.key(3)
)
print("latent error:", float(jnp.linalg.norm(found.latent - z)), " sigma_min:",
      float(found.sigma_min), " starts that agree:", float(found.agreement))  # fmt: skip

# %% [markdown]
# ## geometry: deformed families (Nock et al. 2017)
# Which divergence belongs to an activation? For exp it is Kullback-Leibler; a non-monotone one has
# none, and says why.

# %%
p, q = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.2, 0.5, 0.3])
for name in ("exp", "softplus", "mu_relu", "gelu"):
    report = ja.geometry.admissibility(ja.get(name))
    if report.status == "none":
        print(f"{name:9} none: {report.reason}")
    else:
        value = float(ja.geometry.matched_divergence(ja.get(name), p, q))
        print(f"{name:9} {report.status}: matched divergence {value:.6f}")
