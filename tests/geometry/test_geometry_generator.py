"""Invertible generators: inverse, exact density, escort factors, maximum likelihood."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import geometry
from jaxact.activation import ClosedForms

FALLING = ja.activation(lambda x, a: -x - a * jnp.tanh(x), theta=(0.7,), name="falling")


def make(act, depth=4, seed=3, sign=1.0, **options):
    """Weights near the identity, well conditioned; `sign` turns those of the later layers."""
    rng = np.random.default_rng(seed)
    weights = np.eye(2) + 0.35 * rng.normal(size=(depth, 2, 2))
    weights[1:] *= sign
    biases = 0.5 + 0.3 * rng.normal(size=(depth, 2))
    gamma = np.eye(2) + 0.3 * rng.normal(size=(2, 2))
    return geometry.generator(weights, biases, act=act, gamma=gamma, beta=[0.1, -0.2], **options)


def numpy_forward(g, fn, z):
    """A NumPy twin of one point."""
    for w, b in zip(np.asarray(g.weights), np.asarray(g.biases), strict=True):
        z = fn(w @ z + b)
    return np.asarray(g.gamma) @ z + np.asarray(g.beta)


CASES = [
    (ja.get("softplus"), "identity"),
    (ja.get("mu_relu", 0.4), "identity"),
    (ja.get("elu", 1.3, 0.7), "sigmoid"),  # not convex: no signature, but a density
    (FALLING, "tanh"),
]


@pytest.mark.parametrize(("act", "output"), CASES, ids=lambda c: getattr(c, "name", c))
def test_inverse_and_density_against_autodiff(act, output, x64):
    g = make(act, output=ja.get(output))
    z = np.random.default_rng(1).normal(size=(40, 2)) * 0.6
    x = g(z)
    found = g.inverse(x)
    assert bool(found.inside.all())
    # Where v_out is within 1e-5 of its end the inverse is as good as x is.
    kept = (np.abs(np.asarray(x)).max(1) < 1 - 1e-5) | (output == "identity")
    assert kept.sum() > 10
    np.testing.assert_allclose(found.latent[kept], z[kept], rtol=0, atol=1e-10)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(g)))(z)
    base = -(z**2).sum(1) / 2 - np.log(2 * np.pi)
    want = base - np.linalg.slogdet(np.asarray(jacobian))[1]
    np.testing.assert_allclose(g.log_density(x)[kept], want[kept], rtol=0, atol=1e-10)


@pytest.mark.fast
def test_forward_is_its_numpy_twin(x64):
    g = make(FALLING, depth=2)
    z = np.array([0.3, -1.2])
    want = numpy_forward(g, lambda u: -u - 0.7 * np.tanh(u), z)
    np.testing.assert_allclose(g(z), want, rtol=1e-14)


def mass(g, size=400):
    """The integral of the density over a box around its samples, by the midpoint rule."""
    x = np.asarray(g.sample(jax.random.key(0), 20000))
    low, high = x.min(0), x.max(0)
    pad = 0.3 * (high - low)
    low, high = low - pad, high + pad
    step = (high - low) / size
    axes = [low[i] + step[i] * (np.arange(size) + 0.5) for i in range(2)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    log_q = np.asarray(g.log_density(points))
    return np.exp(log_q).sum() * step.prod(), np.isfinite(log_q).mean()


@pytest.mark.parametrize("act", [ja.get("softplus"), ja.get("mu_relu", 0.4)], ids=lambda a: a.name)
def test_the_density_integrates_to_one(act, x64):
    total, share = mass(make(act, depth=2))
    assert total == pytest.approx(1, abs=0.005)
    assert 0.05 < share < 0.6  # the box reaches outside the image


def test_outside_the_image_there_is_no_density(x64):
    g = geometry.generator(np.eye(2)[None], np.zeros((1, 2)), act=ja.get("mu_relu", 0.4))
    points = jnp.array([[0.3, 0.3], [-0.3, 0.3], [1.0, -1e-9], [-40.0, -2.0]])
    log_q = np.asarray(g.log_density(points))
    assert np.isfinite(log_q[0])
    assert (log_q[1:] == -np.inf).all()
    found = g.inverse(points)
    assert found.inside.tolist() == [True, False, False, False]
    assert np.isposinf(np.asarray(found.latent[1:])).all()
    # The rational inverse, unmasked, gives points outside a density: so it is not to be used.
    z = np.asarray(points[3] - 0.36 / (4 * points[3]))
    assert np.isfinite(-(z @ z) / 2)

    def total(x, g):
        log_q = g.log_density(x)
        return jnp.sum(jnp.where(jnp.isfinite(log_q), log_q, 0))

    by_x, by_g = jax.jit(jax.grad(total, (0, 1)))(points, g)
    assert np.abs(by_x[0]).min() > 0
    assert (np.asarray(by_x[1:]) == 0).all()
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((by_x, by_g)))


def test_an_unmasked_declared_inverse_is_refused(x64):
    rational = ClosedForms(inverse=lambda y: y - 0.09 / y)
    act = ja.activation(lambda x: (x + jnp.sqrt(0.36 + x**2)) / 2, name="rational", closed=rational)
    with pytest.raises(ValueError, match="must declare an inverse that is infinite outside"):
        geometry.generator(np.eye(2)[None], np.zeros((1, 2)), act=act)


WEAK = ja.get("elu", 0.7, 1.3)
CONVEX = ja.activation(lambda x: x + jnp.sqrt(2 + x**2), name="convex")


@pytest.mark.parametrize("act", [WEAK, CONVEX], ids=lambda a: a.name)
def test_the_escorts_are_the_density(act, x64):
    g = make(act, depth=3)
    x = np.asarray(g(np.random.default_rng(4).normal(size=(30, 2)) * 0.7))
    x = np.concatenate([x, x - 50.0])
    found = geometry.escort_factors(g, x)
    assert found.log_escort.shape == (60, 3, 2)
    np.testing.assert_allclose(found.log_density[:30], g.log_density(x)[:30], rtol=0, atol=1e-12)
    assert (np.asarray(found.log_density[30:]) == -np.inf).all()
    # Each factor is log v' at its own pre-activation, from a forward pass.
    z = np.asarray(g.inverse(x[:30]).latent)
    u = z @ np.asarray(g.weights[0]).T + np.asarray(g.biases[0])
    slope = jax.vmap(jax.vmap(jax.grad(act)))(jnp.asarray(u))
    np.testing.assert_allclose(found.log_escort[:30, 0], np.log(slope), rtol=0, atol=1e-9)


def test_the_first_layers_normalisers_are_gaussian_integrals(x64):
    g = make(ja.get("softplus"), depth=1)
    found = geometry.escort_normalisers(g, jax.random.key(2), 40000)
    xi, weight = np.polynomial.hermite_e.hermegauss(40)
    scale = np.linalg.norm(np.asarray(g.weights[0]), axis=1)
    u = np.asarray(g.biases[0])[:, None] + scale[:, None] * xi
    want = (1 / (1 + np.exp(-u))) @ weight / weight.sum()
    np.testing.assert_allclose(found[0], want, rtol=0, atol=0.005)


def test_mu_is_recovered_and_the_support_is_a_wall(x64):
    true = make(ja.get("mu_relu", 0.3), depth=2, seed=5, sign=-1.0)
    x = true.sample(jax.random.key(8), 4000)
    at = lambda mu: dataclasses.replace(true, act=true.act.replace(jnp.asarray(mu)))  # noqa: E731
    nll = jax.jit(lambda mu: geometry.negative_log_likelihood(at(mu), x))
    assert float(nll(0.4)) == np.inf  # beyond the true mu some samples leave the image
    h = 1e-5
    slope = (nll(0.2 + h) - nll(0.2 - h)) / (2 * h)
    assert float(jax.jit(jax.grad(nll))(0.2)) == pytest.approx(float(slope), rel=1e-7)
    fit = geometry.fit_generator(at(0.0), x, train=("act",))
    assert float(fit.generator.act.theta[0]) == pytest.approx(0.3, abs=0.02)
    assert bool(fit.converged)
    assert float(fit.halvings.sum()) > 0  # the way there met the wall
    assert np.isfinite(np.asarray(fit.nll)).all()
    np.testing.assert_array_equal(fit.generator.weights, true.weights)
    with pytest.raises(ValueError, match="in the image of the generator at the start"):
        geometry.fit_generator(at(0.5), x, train=("act",))


def test_every_parameter_has_its_gradient(x64):
    g = make(FALLING, depth=2, output=ja.get("leaky_relu", 0.3))
    x = g.sample(jax.random.key(3), 20)
    nll = jax.jit(geometry.negative_log_likelihood)
    gradient = jax.jit(jax.grad(geometry.negative_log_likelihood))(g, x)
    leaves, tree = jax.tree.flatten(g)
    assert len(leaves) == 6
    for i, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        step = np.zeros(np.shape(leaf))
        step.flat[0] = 1e-5
        ends = []
        for sign in (1, -1):
            moved = [*leaves[:i], leaf + sign * jnp.asarray(step), *leaves[i + 1 :]]
            ends.append(nll(jax.tree.unflatten(tree, moved), x))
        want = float(ends[0] - ends[1]) / 2e-5
        assert np.asarray(slope).flat[0] == pytest.approx(want, rel=1e-5, abs=1e-7), i


def test_laws_of_the_latent(x64):
    act = ja.get("leaky_relu", 0.3)
    uniform = make(act, depth=1, base="uniform")
    z = np.array([[0.5, 0.2], [1.2, 0.5]])
    log_q = np.asarray(uniform.log_density(uniform(z)))
    assert np.isfinite(log_q[0])
    assert log_q[1] == -np.inf
    scaled = geometry.latent(
        jax.tree_util.Partial(lambda s, z: -jnp.sum(jnp.abs(z) / s + jnp.log(2 * s)), 2.0),
        lambda key, shape, dtype: 2 * jax.random.laplace(key, shape, dtype),
    )
    laplace = make(act, depth=1, base=scaled)
    gap = np.asarray(laplace.log_density(laplace(z)) - make(act, depth=1).log_density(laplace(z)))
    want = (-np.abs(z) / 2 - np.log(4)).sum(1) + (z**2).sum(1) / 2 + np.log(2 * np.pi)
    np.testing.assert_allclose(gap, want, rtol=1e-12)
    spread = np.asarray(laplace.inverse(laplace.sample(jax.random.key(5), 20000)).latent).std(0)
    np.testing.assert_allclose(spread, 2 * np.sqrt(2), rtol=0.03)


def test_one_compilation_serves_every_value():
    traces = []

    def counted(x, a):
        traces.append(1)
        return x + a * jnp.tanh(x)

    act = ja.activation(counted, theta=(0.5,), kinks=(), name="counted")
    x = jnp.ones((4, 2))
    counts = []
    for seed, a in ((0, 0.5), (1, 0.8), (2, 1.3)):
        g = geometry.draw_generator(jax.random.key(seed), 2, 2, act.replace(a))
        before = len(traces)
        log_q = g.log_density(x * a)
        counts.append(len(traces) - before)
        assert log_q.dtype == jnp.float32
        assert bool(jnp.isfinite(log_q).all())
    assert counts[0] > 0
    assert counts[1:] == [0, 0]


@pytest.mark.fast
def test_bad_input_is_refused():
    eye, zero = np.eye(2, dtype=np.float32)[None], np.zeros((1, 2), np.float32)
    act = ja.get("softplus")
    refusals = [
        ("relu is flat on an interval", lambda: geometry.generator(eye, zero, act=ja.get("relu"))),
        ("decreases at x = ", lambda: geometry.generator(eye, zero, act=ja.get("gelu"))),
        ("jumps at x = 0", lambda: geometry.generator(eye, zero, act=lambda x: x + jnp.sign(x))),
        ("output must be strictly", lambda: geometry.generator(
            eye, zero, act=act, output=ja.get("relu6"))),
        (r"weights\[0\] must be invertible", lambda: geometry.generator(0 * eye, zero, act=act)),
        ("gamma must be invertible", lambda: geometry.generator(
            eye, zero, act=act, gamma=np.ones((2, 2), np.float32))),
        (r"weights must have shape \(L, d, d\)", lambda: geometry.generator(
            np.ones((1, 2, 3), np.float32), zero, act=act)),
        (r"biases must have shape \(1, 2\)", lambda: geometry.generator(
            eye, np.zeros((1, 3), np.float32), act=act)),
        ("must be finite", lambda: geometry.generator(eye * np.float32(np.nan), zero, act=act)),
        ("latent must be one of", lambda: geometry.generator(eye, zero, act=act, base="cauchy")),
        ("needs both", lambda: geometry.latent(lambda z: -z @ z)),
    ]  # fmt: skip
    for message, refused in refusals:
        with pytest.raises(ValueError, match=message):
            refused()
    g = geometry.generator(eye, zero, act=ja.get("tanh"))
    more = [
        (r"x must have shape \(..., 2\)", lambda: g.log_density(np.ones(3, np.float32))),
        ("x must be finite", lambda: g.inverse(np.array([np.nan, 0], np.float32))),
        ("count", lambda: g.sample(jax.random.key(0), 0)),
        ("tanh is not convex", lambda: geometry.escort_factors(g, np.zeros(2, np.float32))),
        ("train must name fields", lambda: geometry.fit_generator(g, zero, train=("mu",))),
        ("nothing to fit", lambda: geometry.fit_generator(g, zero, train=("act",))),
    ]
    for message, refused in more:
        with pytest.raises(ValueError, match=message):
            refused()
