"""Lines of given slopes against dense sampling in float64, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds.relax_slopes import lines_with_slopes, slope_ranges

# one of every label pattern, and one of many pieces
SHAPES = {
    "softplus +": (jax.nn.softplus, lambda x: np.logaddexp(x, 0)),
    "relu ll": (jax.nn.relu, lambda x: np.maximum(x, 0)),
    "tanh +-": (jnp.tanh, np.tanh),
    "-tanh -+": (lambda x: -jnp.tanh(x), lambda x: -np.tanh(x)),
    "silu -+-": (lambda x: x * jax.nn.sigmoid(x), lambda x: x / (1 + np.exp(-x))),
    "hardtanh lll": (lambda x: jnp.clip(x, -1, 1), lambda x: np.clip(x, -1, 1)),
    "x + sin^2": (lambda x: x + jnp.sin(x) ** 2, lambda x: x + np.sin(x) ** 2),
    "step": (lambda x: jnp.where(x > 0.5, 1.0, 0.25 * x), lambda x: np.where(x > 0.5, 1, x / 4)),
}
ROWS, COUNT = 4, 300


def cases(dtype):
    rng = np.random.default_rng(2)
    centre = rng.standard_normal(COUNT) * 2
    half = 10 ** rng.uniform(-3, 1, COUNT)
    ends = (centre - half).astype(dtype), (centre + half).astype(dtype)
    slopes = rng.uniform(-0.5, 1.5, (2, ROWS, COUNT)).astype(dtype)
    return [jnp.asarray(v) for v in (*ends, *slopes)]


@pytest.mark.parametrize("name", SHAPES)
def test_below_and_close_to_the_dense_minimum(name):
    fn, twin = SHAPES[name]
    given = cases(np.float32)
    lines = jax.jit(lambda *a: lines_with_slopes(fn, *a))(*given)
    l, u = (np.asarray(v, np.float64) for v in given[:2])  # noqa: E741
    kinks = [np.clip(np.full((1, COUNT), k), l, u) for k in (-1.0, 0.0, 0.5, 0.5 + 1e-7, 1.0)]
    x = np.minimum(l + (u - l) * np.linspace(0, 1, 4001)[:, None], u)
    x = np.concatenate([x, *kinks])
    f = twin(x)
    for side, s, t in (
        (1, lines.lower_slope, lines.lower_intercept),
        (-1, lines.upper_slope, lines.upper_intercept),
    ):
        s, t = side * np.asarray(s, np.float64), side * np.asarray(t, np.float64)
        for row in range(ROWS):
            least = (side * f - s[row] * x).min(0)
            assert (t[row] <= least + 1e-15 * (1 + np.abs(least))).all()
            gap = (least - t[row]) / (1 + np.abs(least))
            assert np.median(gap) < 2e-6
            assert gap.max() < 1e-4
    if name != "x + sin^2":
        assert (lines.lower_slope == given[2]).all()
        assert (lines.upper_slope == given[3]).all()


@pytest.mark.parametrize("name", ["tanh +-", "relu ll", "silu -+-"])
def test_derivatives_are_those_of_differences(name, x64):
    fn = SHAPES[name][0]
    args = [v[..., :8] for v in cases(np.float64)]
    args[2], args[3] = args[2][0], args[3][0]

    def total(*a):
        lines = lines_with_slopes(fn, *a)
        return lines.lower_intercept.sum() - 2 * lines.upper_intercept.sum()

    total = jax.jit(total)
    got = jax.jit(jax.grad(total, (0, 1, 2, 3)))(*args)
    h = 1e-6
    for k in range(4):
        for n in range(8):
            up, down = (
                total(*(v.at[n].add(d) if j == k else v for j, v in enumerate(args)))
                for d in (h, -h)
            )
            np.testing.assert_allclose(got[k][n], (up - down) / (2 * h), atol=2e-5, rtol=1e-5)


def test_traced_theta():
    def fn(x, beta):
        return x * jax.nn.sigmoid(beta * x)

    given = cases(np.float32)
    lines, grads = jax.jit(
        jax.value_and_grad(
            lambda b: (
                lambda v: (v.lower_intercept.sum(), v)
            )(lines_with_slopes(fn, *given, (b,))),
            has_aux=True,
        )
    )(jnp.float32(1.5))  # fmt: skip
    lines = lines[1]
    assert np.isfinite(grads)
    l, u = (np.asarray(v, np.float64) for v in given[:2])  # noqa: E741
    x = l + (u - l) * np.linspace(0, 1, 1001)[:, None]
    f = x / (1 + np.exp(-1.5 * x))
    for row in range(ROWS):
        low = (f - np.asarray(lines.lower_slope, np.float64)[row] * x).min(0)
        high = (f - np.asarray(lines.upper_slope, np.float64)[row] * x).max(0)
        assert (lines.lower_intercept[row] <= low + 1e-14).all()
        assert (lines.upper_intercept[row] >= high - 1e-14).all()


def test_slopes_worth_trying():
    """The supporting lines' slopes: all of relu's lower ones, one upper one; a convex function's
    derivatives at the ends."""
    l, u = jnp.array([-1.0, 0.5, -3.0]), jnp.array([3.0, 2.0, -1.0])  # noqa: E741
    low, high = slope_ranges(jax.nn.relu, l, u)
    np.testing.assert_allclose(low, [[0, 1, 0], [1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(high, [[0.75, 1, 0], [0.75, 1, 0]], atol=1e-6)
    low, high = slope_ranges(jax.nn.softplus, l, u)
    np.testing.assert_allclose(low, [jax.nn.sigmoid(l), jax.nn.sigmoid(u)], atol=1e-6)
    np.testing.assert_allclose(high[0], high[1], atol=1e-6)


@pytest.mark.parametrize("ends", [(0.3, 0.3), (-1e4, 1e4), (-np.inf, np.inf), (1e30, 1e31)])
def test_extreme_intervals_are_never_nan(ends):
    l, u = (jnp.full(2, e) for e in ends)  # noqa: E741
    s = jnp.array([0.0, 0.7])
    for fn in (jnp.tanh, jax.nn.relu):

        def total(v, fn=fn):
            lines = lines_with_slopes(fn, l, u, v, v)
            return lines.lower_intercept.sum(), lines

        grad, lines = jax.jit(jax.grad(total, has_aux=True))(s)
        assert not any(np.isnan(v).any() for v in jax.tree.leaves(lines))
        assert np.isfinite(grad).all()
