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
# # From features to prototypes
# A dense associative memory stores patterns $\xi^\mu$ and has the energy
# $E = -\sum_\mu F(\xi^\mu \cdot \sigma)$. With $F = x^n$, small $n$ makes a memory a feature of many
# inputs, large $n$ a prototype of one (Krotov & Hopfield 2016). Real digits: the 8x8 ones that
# scikit-learn carries, or MNIST from a file named in `JAXACT_MNIST`.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxact import io, memory, nets

QUICK = "JAXACT_QUICK" in os.environ
digits = io.load_mnist(os.environ["JAXACT_MNIST"]) if "JAXACT_MNIST" in os.environ else io.load_digits()
side = digits.x.shape[1]
N = side**2
print(len(digits.x), "training digits,", len(digits.test_x), "test digits,", N, "pixels")

# %% [markdown]
# ## Recall of corrupted and half-hidden digits
# Thresholded digits are stored as they are. A fifth of the bits flipped, or the lower half made
# background; then the paper's asynchronous energy-difference updates.

# %%
binary = np.where(digits.x.reshape(len(digits.x), -1) > 0.5, 1.0, -1.0).astype(np.float32)
stored = np.concatenate([binary[digits.y == c][:3] for c in range(10)])
shown = stored[::3]
flipped = shown * np.where(np.random.default_rng(0).uniform(size=shown.shape) < 0.2, -1, 1)
halved = shown.copy()
halved[:, N // 2 :] = -1
probes = np.concatenate([flipped, halved]).astype(np.float32)
recalled = {n: memory.retrieve(stored, probes, memory.rectified(n)) for n in (2, 20)}
target = np.concatenate([shown, shown])
for n, found in recalled.items():
    right = (np.asarray(found.state) == target).all(axis=1)
    print(f"n = {n:2}: {len(stored)} digits stored, recalled exactly: {right[:10].sum()} of 10 "
          f"flipped, {right[10:].sum()} of 10 half hidden")  # fmt: skip


# %%
def strip(axis, images, title):
    """Images side by side in one picture."""
    tiles = np.asarray(images).reshape(-1, side, side)
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    axis.imshow(np.concatenate(framed, axis=1), cmap="gray_r", vmin=-1, vmax=1)
    axis.set_title(title, loc="left", fontsize=9)
    axis.axis("off")


rows = [(shown, "stored")]
for name, part in (("a fifth flipped", slice(0, 10)), ("lower half hidden", slice(10, 20))):
    rows.append((probes[part], name))
    rows += [(found.state[part], f"recalled, n = {n}") for n, found in recalled.items()]
figure, axes = plt.subplots(len(rows), 1, figsize=(8, 7), layout="constrained")
for axis, row in zip(axes, rows, strict=True):
    strip(axis, *row)
plt.show()

# %% [markdown]
# ## The classifier
# Visible units clamped to the image, class units off, one update: class $a$ gets
# $c_a = \tanh \sum_\mu F((u_\mu + 2\xi^\mu_a)/T) - F(u_\mu/T)$. The training rule is the paper's:
# momentum, every memory's step divided by its largest entry, a box, a falling temperature for
# small n.

# %%
small = {"mean": 0.0, "spread": 0.1, "m": 2, "rate": 0.02, "decay": 0.95, "ramp": 20}
large = {"m": 30, "rate": 0.01, "decay": 0.97}
rules = {
    2: nets.PaperRule(temperature=(0.1 * N, 0.03 * N), **small),
    3: nets.PaperRule(temperature=(0.1 * N, 0.04 * N), **small),
    20: nets.PaperRule(temperature=(0.7 * N, 0.7 * N), **large),
    30: nets.PaperRule(temperature=(0.7 * N, 0.7 * N), **large),
}
test = (digits.test_x, digits.test_y)
fits = {}
for n, rule in rules.items():
    fits[n] = nets.train_memory(
        digits.x, digits.y, memory.rectified(n), rule=rule, memories=40 if QUICK else 100,
        epochs=10 if QUICK else 80, batch=50 if n < 20 else 200, test=test, key=jax.random.key(0),
    )  # fmt: skip

# %% [markdown]
# ## Who answers?
# For each test digit: is there a single memory above 0.9 of the largest term, and how many take part
# effectively? For each memory: does it vote for exactly one class?

# %%
print(" n   error  one strong  mean strong  participation  one-class memories")
for n, (f, fit) in fits.items():
    seen = jax.vmap(f.encode)(jnp.asarray(digits.test_x))
    r = memory.measure_regime(f.memories, seen, f.F, temperature=f.temperature)
    print(f"{n:2} {100 * (1 - float(fit.test_accuracy)):6.1f}% {float(r.single):10.2f} "
          f"{float(r.strong):12.2f} {float(r.participation):13.1f} {float(r.one_class):14.2f}")  # fmt: skip

# %%
figure, axes = plt.subplots(2, 2, figsize=(8, 8.4), layout="constrained")
for axis, (n, (f, _)) in zip(axes.flat, fits.items(), strict=True):
    # The memories that answer most often, each in its own frame.
    tiles = np.full((6, 6, side + 1, side + 1), np.nan, np.float32)
    strength = np.asarray(jnp.abs(f.memories[:, N:]).sum(1))
    best = np.argsort(-strength)[:36]
    tiles[:, :, :side, :side] = np.asarray(f.memories[best, :N]).reshape(6, 6, side, side)
    picture = tiles.transpose(0, 2, 1, 3).reshape(6 * (side + 1), -1)
    axis.imshow(picture, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(f"n = {n}")
    axis.axis("off")
plt.show()

# %% [markdown]
# ## The dual network
# Start the class units at $-\epsilon$ instead of $-1$ and let $\epsilon \to 0$: the memory becomes a
# net with one hidden layer of units $f = F'$. For $F = x^2$ a start at 0 makes that exact.

# %%
f, _ = fits[3]
seen = jax.vmap(f.encode)(jnp.asarray(digits.test_x[:100]))
eps = np.logspace(0, -4, 9)
for F in (memory.polynomial(2), memory.rectified(3), memory.rectified(20)):
    found = memory.duality(f.memories, seen, F, eps=eps, temperature=float(N))
    plt.loglog(eps, found.one_sided, "-o", label=f"{F.name}, from -eps")
    plt.loglog(eps, np.maximum(found.symmetric, 1e-16), "--s", label=f"{F.name}, from 0")
plt.xlabel("eps")
plt.ylabel("relative difference from the feed-forward dual")
plt.legend(fontsize=8)
plt.show()
