"""The ground floor: quadrature, roots, kinks, precision, checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.numerics import (
    checks,
    double,
    find_kinks,
    gaussian_rule,
    increasing_root,
    integral_from_zero,
    panel_rule,
)
from jaxact.numerics.pytrees import pytree


@pytest.mark.fast
def test_panel_rule_is_exact_for_polynomials(x64):
    x, w = panel_rule(jnp.array([-1.0, 0.5, 0.5, 2.0]), nodes=8)
    np.testing.assert_allclose((w * x**15).sum(), (2.0**16 - 1) / 16, rtol=1e-13)
    np.testing.assert_allclose(w.sum(), 3.0, rtol=1e-14)


def test_gaussian_rule_beats_what_hermite_cannot(x64):
    xi, w = gaussian_rule((0.0,))
    np.testing.assert_allclose(w @ jnp.maximum(xi, 0), (2 * np.pi) ** -0.5, rtol=1e-14)
    np.testing.assert_allclose(w @ jnp.exp(3 * xi), np.exp(4.5), rtol=1e-12)
    nodes, weight = np.polynomial.hermite_e.hermegauss(256)
    hermite = weight @ np.maximum(nodes, 0) / np.sqrt(2 * np.pi)
    assert abs(hermite - (2 * np.pi) ** -0.5) > 1e-4


@pytest.mark.fast
def test_integral_from_zero_across_a_kink(x64):
    x = jnp.array([-7.0, -0.2, 0.0, 0.4, 90.0])
    got = integral_from_zero(lambda v: jnp.abs(v - 0.3), (0.3,), x)

    def exact(v):
        return np.where(v > 0.3, (v - 0.3) ** 2 + 0.09, 0.09 - (v - 0.3) ** 2) / 2

    np.testing.assert_allclose(got, exact(np.asarray(x)), rtol=1e-13, atol=1e-15)


@pytest.mark.fast
def test_increasing_root_and_its_derivatives(x64):
    y = jnp.array([-30.0, 0.1, 1e5])

    def solve(a, y):
        return increasing_root(lambda x, a: x**3 + a * x, y, (a,))

    x = solve(2.0, y)
    np.testing.assert_allclose(x**3 + 2 * x, y, rtol=1e-12)
    first = jax.grad(solve)(2.0, 5.0)
    h = 1e-5
    np.testing.assert_allclose(first, (solve(2 + h, 5.0) - solve(2 - h, 5.0)) / (2 * h), rtol=1e-8)
    second = jax.grad(jax.grad(solve))(2.0, 5.0)
    change = (jax.grad(solve)(2 + h, 5.0) - jax.grad(solve)(2 - h, 5.0)) / (2 * h)
    np.testing.assert_allclose(second, change, rtol=1e-7)
    np.testing.assert_array_equal(
        increasing_root(jnp.tanh, jnp.array([-2.0, 2.0])), [-np.inf, np.inf]
    )


@pytest.mark.fast
def test_increasing_root_in_float32():
    x = increasing_root(jnp.tanh, jnp.array([0.5], jnp.float32))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, np.arctanh(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("fn", "kinks"),
    [
        (jnp.tanh, ()),
        (lambda x: jnp.sin(20 * x), ()),
        (lambda x: jnp.maximum(x - 1 / 3, 0) ** 3, (1 / 3,)),
        (lambda x: jnp.floor(jnp.clip(x, -1.5, 1.5)), (-1.0, 0.0, 1.0)),
        (lambda x: jnp.exp(-jnp.abs(x + 2)), (-2.0,)),
    ],
)
def test_find_kinks(fn, kinks):
    np.testing.assert_allclose(find_kinks(fn), kinks, atol=1e-9)


@pytest.mark.fast
def test_double_widens_and_leaves_no_trace():
    assert not jax.config.jax_enable_x64
    wide = double(lambda a, b: a + b)(jnp.float32(1) / 3, b=np.float32(1))
    assert wide.dtype == jnp.float64
    assert not jax.config.jax_enable_x64
    with pytest.raises(ValueError, match="call it outside jit"):
        jax.jit(double(jnp.exp))(jnp.float32(1))


@pytest.mark.fast
def test_compiled_functions_tell_classes_of_equal_fields_apart():
    # Registered with `jax.tree_util.register_dataclass`, about 30 of 200 were taken for another.
    kinds = [pytree()(type("Kind", (), {"__annotations__": {"a": float}})) for _ in range(200)]
    number = {kind: i for i, kind in enumerate(kinds)}
    numbered = jax.jit(lambda x: number[type(x)] + 0 * x.a)
    assert [int(numbered(kind(1.0))) for kind in kinds] == list(range(200))
    assert jax.tree.structure(kinds[0](1.0)) != jax.tree.structure(kinds[1](1.0))


@pytest.mark.fast
def test_pytree_static_fields_are_structure():
    @pytree(static=("kind",))
    class Thing:
        value: float
        kind: str

    one, two = Thing(1.0, "a"), Thing(2.0, "a")
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert jax.tree.structure(one) != jax.tree.structure(Thing(1.0, "b"))
    with pytest.raises(AttributeError):
        one.value = 3.0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("check", "args", "error", "message"),
    [
        (checks.positive, ("gamma", -0.1), ValueError, "gamma must be positive, got -0.1"),
        (checks.positive, ("gamma", np.nan), ValueError, "gamma must be positive, got nan"),
        (checks.non_negative, ("eps", [0.0, -1.0]), ValueError, r"got -1 at index \(1,\)"),
        (checks.between, ("flips", 1.5, 0, 1), ValueError, r"flips must be in \[0, 1\], got 1.5"),
        (checks.finite, ("y", np.array([1, np.inf])), ValueError, r"y must be finite, got inf at"),
        (checks.spins, ("probe", np.array([1, 0.5])), ValueError, "probe must be -1 or "),
        (checks.integer, ("n", 2.0, 1), TypeError, "n must be an integer, got 2.0"),
        (checks.integer, ("n", 0, 1), ValueError, "n must be at least 1, got 0"),
        (checks.choice, ("mode", "x", ("a", "b")), ValueError, "mode must be one of 'a', 'b'"),
        (checks.shape, ("x", np.zeros(3), (4,)), ValueError, r"x must have shape \(4,\), got \(3,"),
        (checks.key, ("key", 0), TypeError, r"typed key from jax.random.key\(seed\), got 0"),
        (checks.positive, ("gamma", "a"), TypeError, "gamma must be a real number or array"),
    ],
)
def test_checks_speak_in_the_users_terms(check, args, error, message):
    with pytest.raises(error, match=message):
        check(*args)


@pytest.mark.fast
def test_checks_let_tracers_and_good_values_pass():
    @jax.jit
    def f(x):
        checks.positive("x", x)
        checks.finite("x", x)
        return x

    f(-1.0)
    checks.positive("x", jnp.ones(3))
    checks.shape("x", np.zeros((2, 3)), ("batch", 3))
    checks.key("key", jax.random.key(0))
    checks.spins("s", np.array([1, -1]))
