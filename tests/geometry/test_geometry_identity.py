"""The f-GAN identity on deformed families against the sheet's values and its inequalities."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import geometry


def line(x):
    return x


def without_closed(chi):
    return dataclasses.replace(chi, log=None, exp=None)


def signature(name, softplus_two):
    if isinstance(name, float):
        return geometry.tsallis(name)
    if name == "gan":
        return geometry.gan()
    return geometry.signature(softplus_two if name == "softplus2" else ja.get(name, 0.4))


# chi, theta, vt, D_C, sup, J: section F of the sheet. Its rows with phi = x are those with
# phi = (x, x^2) and 0 for x^2, so that the rows of one chi share one compilation.
ROWS = [
    (0.5, (0.3, 0.0), (-0.2, 0.0), 0.0295739379, 0.0283981517, -0.0011757861),
    (1.0, (0.3, 0.0), (-0.2, 0.0), 0.0415422369, 0.0415422369, 0.0),
    (1.5, (0.3, 0.0), (-0.2, 0.0), 0.0440704357, 0.0423120143, -0.0017584214),
    (2.0, (0.3, 0.0), (-0.2, 0.0), 0.0416042740, 0.0349509195, -0.0066533545),
    (1.5, (0.3, -0.2), (-0.2, 0.1), 0.0490969337, 0.0470553119, -0.0020416218),
    ("softplus2", (0.8, 0.0), (-0.5, 0.0), 0.1969327263, 0.1961646566, -0.0007680697),
    ("softplus2", (0.8, -0.6), (-0.5, 0.4), 0.2308539863, 0.2295935898, -0.0012603965),
    ("mu_relu", (0.8, -0.6), (-0.5, 0.4), 0.2626813195, 0.2539773764, -0.0087039431),
    ("gan", (0.4, 0.0), (-0.3, 0.0), 0.0900995580, 0.0875616941, -0.0025378639),
]


def row_family(name, parabola, softplus_two):
    base = geometry.interval(-1.0, 1.0, panels=1, nodes=64)
    return geometry.DeformedFamily(signature(name, softplus_two), parabola, base)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_sheet(row, parabola, softplus_two, x64):
    name, theta, vt, divergence, supremum, offset = row
    theta, vt = jnp.asarray(theta), jnp.asarray(vt)
    family = row_family(name, parabola, softplus_two)
    both = geometry.variational_identity(family, theta, vt)
    assert float(both.bregman) == pytest.approx(divergence, abs=1e-9)
    assert float(both.supremum) == pytest.approx(supremum, abs=1e-9)
    assert float(both.offset) == pytest.approx(offset, abs=1e-9)
    assert abs(float(both.supremum - both.bregman - both.offset)) <= 1e-12
    assert abs(float(both.bregman - both.escort_gap)) <= 1e-12
    assert float(both.offset) <= 1e-14


def test_the_numeric_signature(parabola, x64):
    family = row_family("gan", parabola, None)
    family = dataclasses.replace(family, chi=without_closed(geometry.gan()))
    both = geometry.variational_identity(family, jnp.array([0.4, 0.0]), jnp.array([-0.3, 0.0]))
    assert float(both.bregman) == pytest.approx(0.0900995580, abs=1e-9)
    assert abs(float(both.supremum - both.bregman - both.offset)) <= 1e-12
    assert abs(float(both.bregman - both.escort_gap)) <= 1e-12


def test_the_witness(parabola, rng, x64):
    family = row_family(1.5, parabola, None)
    theta, vt = jnp.array([0.3, 0.0]), jnp.array([-0.2, 0.0])
    both = geometry.variational_identity(family, theta, vt)
    p, q = (np.asarray(geometry.density(family, t, both.points)) for t in (theta, vt))
    weights = np.asarray(both.weights)
    normaliser = weights @ p**1.5
    ratio = (q**1.5 / (weights @ q**1.5)) / (p**1.5 / normaliser)
    np.testing.assert_allclose(both.witness, -ratio / normaliser, rtol=1e-12)
    at = geometry.variational_value(family, both, theta, vt, both.witness)
    assert float(at) == pytest.approx(float(both.supremum), abs=1e-14)
    for _ in range(5):
        factor = np.exp(0.2 * rng.standard_normal(len(weights)))
        lower = geometry.variational_value(family, both, theta, vt, both.witness * factor)
        assert float(lower) < float(both.supremum) - 1e-4


def test_the_offset_is_never_positive(rng, x64):
    family = geometry.DeformedFamily(
        geometry.tsallis(1.0), line, geometry.interval(-1.0, 1.0, panels=1, nodes=64)
    )
    # From q = 1/2 on the support is all of [-1, 1], so that Q's lies in P's.
    q, theta, vt = (jnp.asarray(rng.uniform(a, b, 60)) for a, b in ((0.5, 2.5), (-1, 1), (-1, 1)))

    def gaps(q, theta, vt):
        member = dataclasses.replace(family, chi=geometry.tsallis(q))
        both = geometry.variational_identity(member, theta, vt)
        return both.offset, both.supremum - both.bregman - both.offset

    offset, gap = jax.jit(jax.vmap(gaps))(q, theta, vt)
    assert float(jnp.max(offset)) <= 1e-14
    assert float(jnp.min(offset)) < -1e-4
    np.testing.assert_allclose(gap, 0, atol=1e-11)


def test_a_support_beyond_the_others_is_refused(parabola, x64):
    # q = 1/2 on [-1, 1]: at theta = 3 the support ends inside, at 0 it does not.
    family = row_family(0.5, parabola, None)
    wide, narrow = jnp.zeros(2), jnp.array([3.0, 0.0])
    assert float(geometry.density(family, narrow, -0.9)) == 0
    with pytest.raises(ValueError, match="must have its support in that of theta"):
        geometry.variational_identity(family, narrow, wide)
    both = geometry.variational_identity(family, wide, narrow)
    assert abs(float(both.supremum - both.bregman - both.offset)) <= 1e-12
