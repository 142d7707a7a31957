"""Shared members of the geometry tests."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja


def softplus2(z):
    """log2(1 + e^z), the paper's softplus: no closed form is declared."""
    return jnp.logaddexp(0.0, z) / np.log(2).item()


@pytest.fixture(scope="session")
def softplus_two():
    return ja.activation(softplus2, name="softplus2")


@pytest.fixture(scope="session")
def parabola():
    """One statistic for all families, so that they share compilations."""
    return lambda x: jnp.stack([x, x * x])


@pytest.fixture(scope="session")
def pair():
    return np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
