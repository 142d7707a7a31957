"""alpha-CROWN: never worse than CROWN, never beaten by an attack, for any activation and norm."""

import bounds_reference_nets as nets
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Ball, Box, alpha_crown, crown, margin_spec
from jaxact.tracing import trace

RNG = np.random.default_rng(0)
W1, W2, W3 = (jnp.asarray(RNG.standard_normal(s), jnp.float32) for s in ((4, 8), (8, 8), (8, 3)))
X = jnp.full(4, 0.1, jnp.float32)


def mlp(act):
    return lambda x: act(act(x @ W1) @ W2) @ W3


def points(region):
    """1e4 points of a region, many near its border."""
    if isinstance(region, Box):
        u = jax.random.uniform(jax.random.key(1), (10000, 4))
        return region.lower[None] + (region.upper - region.lower)[None] * jnp.round(u * 4) / 4
    d = jax.random.normal(jax.random.key(1), (10000, 4))
    size = jnp.linalg.norm(d, ord=region.norm, axis=1, keepdims=True)
    reach = jnp.minimum(jax.random.uniform(jax.random.key(2), (10000, 1)) * 2, 1) * 0.999999
    return region.center[None] + d / size * reach * region.eps


@pytest.mark.parametrize(
    ("act", "region"),
    [
        (jax.nn.relu, Ball(X, 0.3)),
        (jax.nn.relu, Ball(X, 0.5, 2)),
        (jnp.tanh, Ball(X, 0.6, 1)),
        (lambda x: x * jax.nn.sigmoid(x), Box(X - 0.2, X + 0.3)),
    ],
    ids=["relu", "relu 2", "tanh 1", "lambda box"],
)
def test_between_crown_and_points(act, region):
    f = mlp(act)
    loose, tight = crown(f, region), alpha_crown(f, region, steps=8)
    assert (tight.lower >= loose.lower).all()
    assert (tight.upper <= loose.upper).all()
    assert (tight.upper - tight.lower).sum() < 0.99 * (loose.upper - loose.lower).sum()
    x = points(region)
    values = jax.vmap(f)(x)
    assert (values >= tight.lower[None] - 1e-5).all()
    assert (values <= tight.upper[None] + 1e-5).all()
    low = x @ tight.lines.lower_slope.T + tight.lines.lower_intercept[None]
    high = x @ tight.lines.upper_slope.T + tight.lines.upper_intercept[None]
    assert (values >= low - 1e-5).all()
    assert (values <= high + 1e-5).all()


def test_reference_value_of_the_wide_net():
    """auto_LiRPA's mean after 20 steps at rate 0.5 with the intermediate bounds of CROWN."""
    f, x = nets.make("mlp1024_relu")
    spec = margin_spec(int(jnp.argmax(f(x[0]))), 10)
    got = alpha_crown(f, Ball(x[0], 0.01), spec, steps=20)
    assert abs(got.lower.mean() + 29.60055) < 1e-3


def test_intermediate_slopes_tighten_further():
    f, region = mlp(jax.nn.relu), Ball(X, 0.3)
    final = alpha_crown(f, region, steps=8)
    both = alpha_crown(f, region, steps=8, intermediate=True)
    assert (both.upper - both.lower).sum() < 0.99 * (final.upper - final.lower).sum()
    values = jax.vmap(f)(points(region))
    assert (values >= both.lower[None] - 1e-5).all()
    assert (values <= both.upper[None] + 1e-5).all()


def test_compiles_once_and_differentiates_and_vmaps():
    net = trace(mlp(jax.nn.relu), X)
    seen = []

    def total(x, eps):
        seen.append(None)
        return alpha_crown(net, Ball(x, eps), steps=8).lower.sum()

    run = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1)), (0, 0)))
    x, eps = jnp.stack([X, -X]), jnp.array([0.3, 0.1])
    values, grads = run(x, eps)
    run(x + 0.1, eps / 2)
    assert len(seen) == 1
    assert all(np.isfinite(g).all() for g in grads)
    assert (grads[1] < 0).all()
    alone = alpha_crown(net, Ball(X, 0.3), steps=8).lower.sum()
    np.testing.assert_allclose(values[0], alone, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": 0.0}, {"decay": 1.5}, {"intermediate_steps": 0}]
)
def test_refuses_wrong_numbers(wrong):
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        alpha_crown(mlp(jax.nn.relu), Ball(X, 0.1), **wrong)


def test_ends_are_ordered_where_the_region_is_a_point():
    """The optimised lower and upper ends are found apart, so rounding alone could cross them."""
    f = mlp(jax.nn.relu)
    for x in jax.random.normal(jax.random.key(3), (8, 4)):
        for eps in (0.0, 1e-8):
            found = alpha_crown(f, Ball(x, eps), steps=2, intermediate=True)
            for low, high in [(found.lower, found.upper), *found.intermediate]:
                assert (low <= high).all()
