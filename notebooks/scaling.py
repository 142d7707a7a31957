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
# # Scaling: families, batches, devices, runs that are killed
# A kernel of jaxact is a function of one sample or one activation. Many of them are a `vmap`, a
# sweep in chunks, a mesh of devices, a folder that survives a kill. Here four virtual devices of
# one CPU stand for the real ones; the calls are the same.

# %%
import os

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")  # before JAX starts

import pathlib
import subprocess
import sys
import tempfile
import textwrap

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxact as ja

QUICK = bool(os.environ.get("JAXACT_QUICK"))
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False})
print(jax.devices())

# %% [markdown]
# ## A family is a vmap
# `theta` are leaves of an activation, so one compiled kernel serves every member, and a derivative
# with respect to the member is ordinary.


# %%
def memorised(beta):
    return ja.spectra.training_error(ja.get("swish", beta), gamma=1e-2, phi=0.5, psi=0.75)


betas = jnp.linspace(0.1, 4.0, 50 if QUICK else 400)
curve = jax.jit(jax.vmap(jax.value_and_grad(memorised)))
error, slope = curve(betas)
fig, axis = plt.subplots(figsize=(5.5, 3.2))
axis.plot(betas, error, label="training error on noise")
axis.plot(betas, slope, "--", label="d / d beta")
axis.set(xlabel="beta of swish")
axis.legend(frameon=False)
plt.show()
print("compiled programs:", curve._cache_size())

# %% [markdown]
# ## A batch over the devices
# Every batch entry point takes `mesh=`. The number of samples need not divide by that of the
# devices, each device stops when its own samples are done, and the numbers are those of one.

# %%
digits = ja.io.load_digits()
net, _ = ja.nets.train_classifier(
    digits.x, digits.y, ja.get("tanh"), widths=(32,), epochs=5, key=jax.random.key(0)
)
mesh = jax.make_mesh((jax.device_count(),), ("n",))
count = 30 if QUICK else 203
images, labels = digits.test_x[:count], digits.test_y[:count]
one = ja.bounds.certified_radius(net, images, labels)
four = ja.bounds.certified_radius(net, images, labels, mesh=mesh)
one, four = np.asarray(one.radius), np.asarray(four.radius)
print(f"{count} radii on {jax.device_count()} devices; mean {four.mean():.4f};",
      f"largest difference {np.abs(one - four).max():.1e}")  # fmt: skip
assert np.allclose(one, four, rtol=2e-3)  # the tolerance of the search

# %% [markdown]
# ## Chunks, a folder, a kill
# `sweep` bounds the memory (`chunk` samples at once, one compiled program) and keeps every finished
# chunk in a folder. The next cell starts a run in a process of its own, kills it half way with
# SIGKILL, and finishes it.

# %%
code = textwrap.dedent(
    """
    import os, sys, signal
    import jax, numpy as np
    import jaxact as ja
    from jaxact.sweep import sweep

    def slow(beta):
        return ja.spectra.training_error(ja.get("swish", beta), gamma=1e-2, phi=0.5, psi=0.75)

    def progress(done, total):
        print(f"{done} of {total}", flush=True)
        if done >= 30 and len(sys.argv) > 2:
            os.kill(os.getpid(), signal.SIGKILL)

    out = sweep(slow, np.linspace(0.1, 4, 60, dtype=np.float32), chunk=10, folder=sys.argv[1],
                progress=progress)
    print("finished:", out.shape, float(out.sum()))
    """
)
with tempfile.TemporaryDirectory() as folder:
    run = pathlib.Path(folder) / "run"
    for argument in (("kill",), ()):
        done = subprocess.run(
            [sys.executable, "-c", code, str(run), *argument],
            capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        print(f"exit code {done.returncode}")
        print(done.stdout)

# %% [markdown]
# The second process read the three chunks that were there and computed the other three.
#
# ## What compiles once
# Compile time is a cost too: what changes between calls is a leaf. Other data of the same shape,
# another radius, another member of a family do not compile again.


# %%
@jax.jit
def margins(weights, x, eps, beta):
    act = ja.get("swish", beta)
    f = lambda v: weights[1] @ act(weights[0] @ v)
    return ja.bounds.ibp(f, ja.bounds.Ball(x, eps), ja.bounds.margin_spec(0, 3)).lower


for seed in range(5):
    keys = jax.random.split(jax.random.key(seed), 3)
    weights = (jax.random.normal(keys[0], (32, 8)), jax.random.normal(keys[1], (3, 32)))
    margins(weights, jax.random.normal(keys[2], (8,)), 0.01 * (seed + 1), 1.0 + seed)
print("programs compiled for five networks, radii and activations:", margins._cache_size())

# %% [markdown]
# Several processes, several machines, SLURM and TPU pods: the same call on every process after
# `jax.distributed.initialize`. The commands are in the [documentation](../docs/scaling.md). Virtual
# devices share the cores of one machine: nothing here says anything about speed.
