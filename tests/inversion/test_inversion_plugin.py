"""PLUGIn on the nets its theory is about: random, Gaussian, expansive, relu."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion

K, WIDTHS = 4, (4, 120, 400)


@pytest.fixture
def net(rng):
    """The layers with weights N(0, 1 / n_i), the generator, and a latent."""
    layers = [
        (jnp.asarray(rng.normal(size=(n, m)) / n**0.5, jnp.float32), None, jax.nn.relu)
        for m, n in itertools.pairwise(WIDTHS)
    ]

    def generator(z):
        return inversion.forward(layers, z)

    return layers, generator, jnp.asarray(rng.normal(size=K), jnp.float32)


def test_it_converges_geometrically_to_the_latent_from_anywhere(net):
    layers, generator, z = net
    see = inversion.mask(jnp.arange(0, WIDTHS[-1], 2))
    y = see(generator(z))
    solver = inversion.PLUGIn(layers)
    posed = inversion.pose(generator, see, z.dtype, (K,)).replace(y)
    eta = float(solver.init(posed, z)[1])
    assert 0.4 * 2**3 < eta < 1.2 * 2**3  # 2^d, and 2 more for the half that is seen

    # the far side, the flat region there, and 0, where relu has no derivative at all
    starts = jnp.stack([-z, -inversion.rho(2) * z, 0 * z])
    found = inversion.invert(generator, y, latent=starts, operator=see, solver=solver)
    assert bool(found.converged)
    np.testing.assert_allclose(found.latents, jnp.tile(z, (3, 1)), atol=1e-4)
    newton = inversion.invert(
        generator, y, latent=z[None] + 0.1, operator=see, solver=inversion.GaussNewton()
    )
    np.testing.assert_allclose(found.latent, newton.latent, atol=1e-4)

    state, errors = solver.init(posed, -z), []
    step = jax.jit(lambda state: solver.step(posed, z, jnp.inf, state)[2])
    for _ in range(16):
        state = step(state)
        errors.append(float(jnp.linalg.norm(state[0] - z) / jnp.linalg.norm(z)))
    rates = np.asarray(errors[1:]) / np.asarray(errors[:-1])
    assert (rates < 0.9).all(), rates


@pytest.mark.fast
def test_one_linear_layer_is_gradient_descent(x64, rng):
    matrix = jnp.asarray(rng.normal(size=(9, K)))
    layers = [(matrix, None, lambda u: u)]
    y, z = jnp.asarray(rng.normal(size=9)), jnp.asarray(rng.normal(size=K))
    solver = inversion.PLUGIn(layers)
    posed = inversion.pose(lambda z: matrix @ z, None, z.dtype, (K,)).replace(y)
    moved, eta = solver.step(posed, z, jnp.inf, solver.init(posed, z))[2]
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    assert float(eta) == pytest.approx(largest**-2, rel=1e-2)
    np.testing.assert_allclose(moved, z - eta * matrix.T @ (matrix @ z - y), rtol=1e-12)


def test_a_convolutional_net_and_gauss_newton_to_end_it(rng):
    shapes = ((K, 3, 3, 40), (40, 2, 2, 30))
    layers = [
        (jnp.asarray(rng.normal(size=s) / np.prod(s[1:]) ** 0.5, jnp.float32), None, jax.nn.relu)
        for s in shapes
    ]

    def generator(z):
        return inversion.forward(layers, z)

    z = jnp.asarray(rng.normal(size=K), jnp.float32)
    solver = inversion.Fallback(inversion.PLUGIn(layers, steps=3), inversion.GaussNewton())
    found = inversion.invert(generator, generator(z), latent=-z[None], solver=solver)
    np.testing.assert_allclose(found.latent, z, atol=1e-5)
    assert int(found.finished_by[0]) == 1
    assert bool(found.converged)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (lambda n: n[:1], {}, ValueError, "as many outputs as the generator, 400, got 120"),
        (lambda n: n[1:], {}, ValueError, r"layers\[0\] weights .* take 4 entries"),
        (lambda n: [w for w, _, _ in n], {}, TypeError, r"layers\[0\] must be \(weights"),
        (lambda n: (), {}, TypeError, "got tuple"),
        (lambda n: n, {"prior": 0.1}, ValueError, "prior must be 0 for the solver PLUGIn"),
    ],
)
def test_what_does_not_fit_is_refused(net, change, options, error, match):
    layers, generator, z = net
    solver = inversion.PLUGIn(change(layers))
    with pytest.raises(error, match=match):
        inversion.invert(generator, generator(z), latent=z[None], solver=solver, **options)
