"""Solvers against linear algebra, ridge regression and SciPy's least squares."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import jaxact as ja
from jaxact import inversion

M, K = 20, 4
EXACT = {
    "lm": inversion.LevenbergMarquardt(damping=0.0, steps=1),
    "gn": inversion.GaussNewton(damping=0.0, steps=1, cg_tol=0.0),
}


def linear(matrix, z):
    return matrix @ z


def two_layers(weights, z):
    return jax.nn.softplus(weights[1] @ jnp.tanh(weights[0] @ z))


@pytest.fixture
def nonlinear(x64, rng):
    weights = (jnp.asarray(rng.normal(size=(9, K))), jnp.asarray(rng.normal(size=(M, 9)) / 3))
    z = jnp.asarray(rng.normal(size=K))
    y = two_layers(weights, z) + 0.05 * jnp.asarray(rng.normal(size=M))
    return jax.tree_util.Partial(two_layers, weights), z, y


@pytest.mark.fast
@pytest.mark.parametrize("name", ["lm", "gn"])
def test_one_step_on_a_linear_generator_is_least_squares(name, x64, rng):
    matrix, y = rng.normal(size=(M, K)), rng.normal(size=M)
    generator = jax.tree_util.Partial(linear, jnp.asarray(matrix))
    with pytest.warns(inversion.ConvergenceWarning, match="after 1 steps"):
        found = inversion.invert(
            generator, y, latent=K, solver=EXACT[name], restarts=3, key=jax.random.key(0)
        )
    expected = np.linalg.lstsq(matrix, y)[0]
    np.testing.assert_allclose(found.latents, np.tile(expected, (3, 1)), rtol=1e-11)
    np.testing.assert_array_equal(found.iterations, 1)
    assert float(found.loss) == pytest.approx(0.5 * np.sum((matrix @ expected - y) ** 2))


@pytest.mark.parametrize("solver", [None, inversion.GaussNewton()])
def test_the_prior_is_ridge_regression(solver, x64, rng):
    matrix, y = rng.normal(size=(M, K)), rng.normal(size=M)
    generator = jax.tree_util.Partial(linear, jnp.asarray(matrix))
    found = inversion.invert(
        generator, y, latent=K, solver=solver, restarts=2, prior=0.7, key=jax.random.key(0)
    )
    expected = np.linalg.solve(matrix.T @ matrix + 0.7 * np.eye(K), matrix.T @ y)
    np.testing.assert_allclose(found.latent, expected, rtol=1e-10)
    loss = 0.5 * np.sum((matrix @ expected - y) ** 2) + 0.35 * expected @ expected
    assert float(found.loss) == pytest.approx(loss)


@pytest.mark.parametrize(
    "solver",
    [
        inversion.LevenbergMarquardt(),
        inversion.GaussNewton(),
        inversion.Adam(steps=1500),
        inversion.Optax(optax.lbfgs(), steps=200),
        inversion.LBFGS(),
    ],
    ids=["lm", "gn", "adam", "optax-lbfgs", "lbfgs"],
)
def test_noisy_nonlinear_problem_agrees_with_scipy(solver, nonlinear):
    generator, z, y = nonlinear
    found = inversion.invert(
        generator, y, latent=K, solver=solver, restarts=2, key=jax.random.key(3)
    )
    w1, w2 = (np.asarray(w) for w in generator.args[0])
    peer = scipy.optimize.least_squares(
        lambda v: np.logaddexp(0, w2 @ np.tanh(w1 @ v)) - np.asarray(y),
        np.asarray(found.latent) + 0.1,
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    second = isinstance(solver, inversion.LevenbergMarquardt | inversion.GaussNewton)
    np.testing.assert_allclose(found.latent, peer.x, atol=1e-7 if second else 1e-4)
    assert float(found.loss) == pytest.approx(peer.cost, rel=1e-8)
    assert bool(found.converged)


@pytest.mark.fast
def test_sign_flip_leaves_a_dead_half_space():
    # relu(w z) with w > 0 has zero gradient for z < 0: only the flip gets away
    rising = jnp.array([1.0, 2.0, 0.5])

    def generator(z):
        return jax.nn.relu(rising * z[0])

    start = jnp.array([-0.4])
    with pytest.warns(inversion.ConvergenceWarning):
        stuck = inversion.invert(generator, rising, latent=start)
    assert float(stuck.latent[0]) == pytest.approx(-0.4)
    assert not bool(stuck.identifiable)
    for solver in (None, inversion.Adam(steps=1000)):
        free = inversion.invert(generator, rising, latent=start, solver=solver, sign_flip=True)
        assert float(free.latent[0]) == pytest.approx(1.0, abs=1e-4)


def test_a_start_at_the_flat_region_is_left_by_the_flip(rng):
    w1 = jnp.asarray(rng.normal(size=(96, K)), jnp.float32)
    w2 = jnp.asarray(rng.normal(size=(400, 96)) / 10, jnp.float32)
    z = jnp.asarray(rng.normal(size=K), jnp.float32)

    def generator(v):
        return jax.nn.relu(w2 @ jax.nn.relu(w1 @ v))

    start = -inversion.rho(2) * z
    found = inversion.invert(generator, generator(z), latent=start, sign_flip=True)
    np.testing.assert_allclose(found.latent, z, rtol=1e-4)


def test_starts_may_be_given_and_latents_may_have_any_shape(rng):
    matrix = jnp.asarray(rng.normal(size=(M, 2, 3)), jnp.float32)

    def generator(z):
        return jnp.tensordot(matrix, z, 2).reshape(4, 5)

    z = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    starts = jnp.stack([z + 1, z - 1])
    found = inversion.invert(generator, generator(z), latent=starts)
    assert found.latents.shape == (2, 2, 3)
    assert found.output.shape == (4, 5)
    np.testing.assert_allclose(found.latent, z, atol=1e-4)
    drawn = inversion.invert(generator, generator(z), latent=(2, 3), key=jax.random.key(0))
    np.testing.assert_allclose(drawn.latent, z, atol=1e-4)
    already = inversion.invert(generator, generator(z), latent=z[None])
    np.testing.assert_array_equal(already.iterations, 0)
    assert bool(already.converged)


def test_complex_measurements(rng):
    matrix = jnp.asarray(rng.normal(size=(16, K)), jnp.float32)
    z = jnp.asarray(rng.normal(size=K), jnp.float32)

    def see(x):
        return jnp.fft.fft(x)[:5]

    def generator(v):
        return jnp.tanh(matrix @ v / 2)

    found = inversion.invert(
        generator, see(generator(z)), latent=K, operator=see, key=jax.random.key(1)
    )
    np.testing.assert_allclose(found.latent, z, atol=1e-4)


def test_two_answers_show_as_disagreement(rng):
    matrix = jnp.asarray(rng.normal(size=(M, K)), jnp.float32)
    z = jnp.asarray(rng.normal(size=K), jnp.float32)

    def generator(v):
        return ja.get("abs")(matrix @ v)

    found = inversion.invert(generator, generator(z), latent=K, restarts=16, key=jax.random.key(5))
    explained = np.asarray(found.losses) < 1e-6
    signs = np.sign(np.asarray(found.latents) @ np.asarray(z))[explained]
    assert set(signs) == {-1.0, 1.0}
    same = explained & (np.sign(np.asarray(found.latents) @ np.asarray(found.latent)) > 0)
    assert float(found.agreement) == pytest.approx(same.mean())


def test_a_nonzero_residual_stops_before_the_last_step_in_float32(nonlinear):
    generator, _, y = nonlinear
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32), (generator, y))
    for solver in (inversion.LevenbergMarquardt(), inversion.GaussNewton()):
        found = inversion.invert(
            narrow[0], narrow[1], latent=K, solver=solver, restarts=2, key=jax.random.key(3)
        )
        assert found.latent.dtype == jnp.float32
        assert bool(found.converged)
        assert (np.asarray(found.iterations) < 40).all()


def test_gauss_newton_on_four_tanh_layers(x64, rng):
    shapes = ((8, 2, 2, 16), (16, 2, 2, 12), (12, 2, 2, 8), (8, 2, 2, 3))
    layers = [(jnp.asarray(rng.normal(size=s)) / s[0] ** 0.5, None, jnp.tanh) for s in shapes]

    def generator(z):
        return inversion.forward(layers, z)

    z = jnp.asarray(rng.normal(size=8))
    starts = jnp.asarray(rng.normal(size=(3, 8)))
    y = generator(z)
    assert y.shape == (16, 16, 3)
    newton = inversion.invert(generator, y, latent=starts, solver=inversion.GaussNewton(tol=1e-7))
    assert float(jnp.linalg.norm(newton.latent - z) / jnp.linalg.norm(z)) < 1e-6
    assert int(newton.iterations[jnp.argmin(newton.losses)]) <= 12
