"""A user's Flax generator, nnx or linen, new or from a checkpoint, is a generator for `invert`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxact as ja
from jaxact import inversion, nets


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(3, 20, rngs=rngs), nnx.Linear(20, 40, rngs=rngs)

    def __call__(self, z):
        return nnx.sigmoid(self.second(nnx.gelu(self.first(z))))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.sigmoid(nn.Dense(40)(nn.gelu(nn.Dense(20)(z))))


def _made(kind, seed):
    if kind == "nnx":
        return nets.as_function(Nnx(nnx.Rngs(seed)))
    module = Linen()
    return jax.tree_util.Partial(module.apply, module.init(jax.random.key(seed), jnp.ones(3)))


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_inverted_from_a_checkpoint(kind, tmp_path):
    generator = _made(kind, 0)
    path = ja.io.save_checkpoint(tmp_path / kind, generator)
    loaded = ja.io.load_checkpoint(path, _made(kind, 1))
    z = jnp.array([0.5, -1.0, 0.3])
    see = inversion.mask(np.arange(0, 40, 2))
    found = inversion.invert(
        loaded, see(generator(z)), latent=3, operator=see, key=jax.random.key(2)
    )
    assert bool(found.identifiable)
    np.testing.assert_allclose(found.latent, z, atol=1e-3)
