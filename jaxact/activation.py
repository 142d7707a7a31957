"""The one noun: an activation is a value, and what follows from it is derived on demand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.numerics.kinks import SCAN_RANGE, find_kinks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.quadrature import gaussian_rule, integral_from_zero
from jaxact.numerics.roots import increasing_root


@pytree()
class Moments:
    """Gaussian moments of an activation f at scale s (Pennington & Worah 2017, eq. 5).

    Attributes:
        mean: E f(s xi), xi ~ N(0, 1).
        eta: Var f(s xi) = E (f - mean)^2.
        zeta: (E xi f(s xi))^2 = (s E f'(s xi))^2; 0 <= zeta <= eta.
    """

    mean: Leaf
    eta: Leaf
    zeta: Leaf


@pytree(static=("moments", "primitive", "inverse", "signature"))
class ClosedForms:
    """Closed forms that an activation may carry; each is an optimisation of a derived value.

    Attributes:
        moments: (scale, *theta) -> (mean, eta, zeta).
        primitive: (x, *theta) -> integral of f from 0 to x.
        inverse: (y, *theta) -> x, with -inf below and +inf above the image.
        signature: (y, *theta) -> chi(y) = f'(f^-1(y - k)), k = -inf f (Nock et al. 2017).
    """

    moments: Callable[..., Any] | None = None
    primitive: Callable[..., Any] | None = None
    inverse: Callable[..., Any] | None = None
    signature: Callable[..., Any] | None = None


@pytree(static=("fn", "name", "kinks", "closed"))
class Activation:
    """A scalar function with its parameters, as a pytree.

    theta are the leaves: one compiled kernel serves every value of them, `jax.vmap` over them
    is a sweep over activations, and `jax.grad` with respect to an activation is ordinary.
    Calling an activation applies it, so it drops into any Flax module.

    Attributes:
        fn: fn(x, *theta), elementwise and traceable.
        theta: the learnable parameters, a tuple of pytrees of arrays.
        name: what tables and plots call it.
        kinks: points where fn is not smooth, ascending; or a function theta -> such points,
            where they move with theta.
        closed: closed forms where they are known.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact import activation
        >>> act = activation(lambda x, b: x * jax.nn.sigmoid(b * x), theta=(1.5,), name="swish")
        >>> round(float(act(2.0)), 4)
        1.9051
        >>> g = jax.grad(lambda a: a(2.0))(act)
        >>> round(float(g.theta[0]), 4)
        0.1807
    """

    fn: Callable[..., Any]
    theta: Leaf = ()
    name: str = "activation"
    kinks: tuple[float, ...] | Callable[..., Any] = ()
    closed: ClosedForms = ClosedForms()

    def __call__(self, x: Any) -> Any:
        """Apply elementwise: fn(x, *theta)."""
        return self.fn(x, *self.theta)

    def replace(self, *theta: Any) -> Activation:
        """The same activation with other parameters.

        Example:
            >>> import jaxact
            >>> float(jaxact.get("leaky_relu").replace(0.2)(-1.0))
            -0.20000000298023224
        """
        if len(theta) != len(self.theta):
            raise ValueError(f"theta must have {len(self.theta)} entries, got {len(theta)}")
        return Activation(self.fn, tuple(theta), self.name, self.kinks, self.closed)

    def kink_points(self) -> Any:
        """The kinks at the present theta, shape (k,); traced where theta is and moves them."""
        return self.kinks(*self.theta) if callable(self.kinks) else self.kinks

    @property
    def derivative(self) -> Activation:
        """f', as an activation with the same theta and kinks (at a kink: JAX's convention)."""
        return Activation(_Derivative(self.fn), self.theta, f"{self.name}'", self.kinks)

    @property
    def primitive(self) -> Activation:
        """F(x), the integral of f from 0 to x, as an activation; F' = f exactly.

        By the closed form where there is one, else by quadrature split at the kinks (|x| up to
        about 256 at full accuracy), differentiable in x and theta any number of times.

        Example:
            >>> import jaxact
            >>> float(jaxact.get("relu").primitive(3.0))
            4.5
        """
        fn = self.closed.primitive or _Primitive(self.fn, self.kinks)
        return Activation(fn, self.theta, f"primitive of {self.name}", self.kinks)

    @property
    def inverse(self) -> Activation:
        """f^-1 of a strictly monotone activation, as an activation of y.

        Below the image the inverse is the limit at that end (-inf for increasing f), above it
        the other. By the closed form where there is one, else by a bracketed root with implicit
        derivatives in y and theta.

        Raises:
            ValueError: if f is not strictly monotone on [-16, 16].

        Example:
            >>> import jaxact
            >>> round(float(jaxact.get("tanh").inverse(0.5)), 4)
            0.5493
        """
        if checks.is_concrete(self.theta) and self.monotone() == 0:
            raise ValueError(
                f"{self.name} has no inverse: it is not strictly monotone on "
                f"[-{SCAN_RANGE:g}, {SCAN_RANGE:g}]"
            )
        if self.closed.inverse is not None:
            return Activation(self.closed.inverse, self.theta, f"inverse of {self.name}")
        return Activation(_Inverse(self.fn), self.theta, f"inverse of {self.name}")

    def monotone(self) -> int:
        """+1 if f increases strictly on a grid of [-16, 16], -1 if it decreases, else 0.

        Flat tails that are equal to rounding (tanh beyond 19) count as monotone.
        """
        grid = np.linspace(-SCAN_RANGE, SCAN_RANGE, 1025) + 1e-3
        values = _evaluate(self, grid)
        steps = np.diff(values)
        for sign in (1, -1):
            rising = sign * steps
            core = rising[np.abs(grid[:-1]) < 4]
            if (rising >= 0).all() and (core > 0).all():
                return sign
        return 0

    def moments(self, scale: Any = 1.0) -> Moments:
        """Mean, eta and zeta of f(scale * xi), xi ~ N(0, 1); see `jaxact.spectra.moments`."""
        if self.closed.moments is not None:
            return Moments(*self.closed.moments(scale, *self.theta))
        return derived_moments(self, scale)


def derived_moments(act: Activation, scale: Any = 1.0) -> Moments:
    """The Gaussian moments by quadrature, whether or not a closed form exists.

    Example:
        >>> import jaxact
        >>> round(float(derived_moments(jaxact.get("relu")).zeta), 4)
        0.25
    """
    checks.instance("act", act, Activation)
    checks.finite("scale", scale)
    xi, weight = gaussian_rule(act.kink_points(), scale)
    value = act(scale * xi)
    mean = weight @ value
    first = weight @ (xi * value)
    return Moments(mean, weight @ (value - mean) ** 2, first**2)


def activation(
    fn: Any,
    *,
    name: str | None = None,
    theta: tuple[Any, ...] | Any = (),
    kinks: tuple[float, ...] | Callable[..., Any] | None = None,
    closed: ClosedForms | None = None,
) -> Activation:
    """Make an activation from any scalar JAX function.

    Args:
        fn: fn(x, *theta), elementwise (it acts on arrays of any shape) and traceable.
        name: what to call it; the function's own name by default.
        theta: learnable parameters, a tuple (one parameter may be given bare).
        kinks: points where fn is not smooth. None: they are found by a scan of [-16, 16] and
            confirmed. A function theta -> points if they move with theta.
        closed: closed forms, if you know some.

    Returns:
        An `Activation`.

    Raises:
        TypeError: if fn is not callable, or cannot be traced by JAX.
        ValueError: if fn is not elementwise, is not finite on [-8, 8], or has kinks that move
            with theta and were not declared as a function of theta.

    Example:
        >>> import jax.numpy as jnp
        >>> swoosh = activation(lambda x: jnp.logaddexp(0.0, x - 4) - 0.08 * x, name="swoosh")
        >>> swoosh.kinks
        ()
        >>> activation(lambda x: jnp.maximum(x, 0) - jnp.maximum(x - 1, 0)).kinks
        (0.0, 1.0)
    """
    if isinstance(fn, Activation):
        checks.finite(f"theta of {fn.name}", fn.theta)
        return fn
    if not callable(fn):
        raise TypeError(f"an activation must be a function of one array, got {fn!r}")
    theta = theta if isinstance(theta, tuple) else (theta,)
    own = getattr(fn, "__name__", "activation")
    label = name or ("custom" if own == "<lambda>" else own)
    checks.finite("theta", theta)
    if kinks is not None and not callable(kinks):
        checks.finite("kinks", checks.sequence("kinks", kinks))
        kinks = tuple(kinks)
    made = Activation(fn, theta, label, kinks if kinks is not None else (), closed or ClosedForms())
    if checks.is_concrete(theta):
        check_elementwise(made)
        if kinks is None:
            made = Activation(fn, theta, label, _scan(fn, theta, label), made.closed)
    return made


@functools.lru_cache(maxsize=256)
def _scan_fixed(fn: Callable[..., Any]) -> tuple[float, ...]:
    return find_kinks(fn)


def _scan(fn: Callable[..., Any], theta: tuple[Any, ...], label: str) -> tuple[float, ...]:
    if not jax.tree.leaves(theta):
        return _scan_fixed(fn)
    found = find_kinks(fn, theta)
    if found:
        moved = find_kinks(fn, jax.tree.map(lambda t: 1.0625 * np.asarray(t) + 0.03, theta))
        if len(moved) != len(found) or not np.allclose(moved, found, rtol=0, atol=1e-6):
            raise ValueError(
                f"the kinks of {label} move with theta (found {found} and, at a nearby theta, "
                f"{moved}): declare them as a function, kinks=lambda *theta: (...)"
            )
    return found


def _evaluate(act: Activation, grid: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        theta = jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), act.theta)
        return np.asarray(jax.jit(act.fn)(jnp.asarray(grid, jnp.float64), *theta))


_UNTRACEABLE = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


def check_elementwise(act: Activation) -> None:
    """Raise unless the function is elementwise, traceable, and finite on [-8, 8].

    Example:
        >>> check_elementwise(Activation(jax.nn.softmax, name="softmax"))
        Traceback (most recent call last):
        ...
        ValueError: softmax must be elementwise: an output changed with the other inputs ...
    """
    grid = np.linspace(-8, 8, 12) + 0.0137
    try:
        whole = _evaluate(act, grid)
    except (TypeError, ValueError) as error:
        if not isinstance(error, _UNTRACEABLE) and "truth value" not in str(error):
            raise
        raise TypeError(
            f"{act.name} cannot be traced by JAX: use jax.numpy and jnp.where instead of NumPy "
            f"calls and Python branches on values ({str(error).splitlines()[0]})"
        ) from error
    if whole.shape != grid.shape:
        raise ValueError(
            f"{act.name} must be elementwise: an input of shape {grid.shape} gave {whole.shape}"
        )
    if not np.issubdtype(whole.dtype, np.floating):
        raise ValueError(f"{act.name} must return real floating values, got {whole.dtype}")
    reordered = _evaluate(act, grid[::-1])[::-1]
    halves = np.concatenate([_evaluate(act, grid[:6]), _evaluate(act, grid[6:])])
    if not np.isfinite(whole).all():
        bad = grid[~np.isfinite(whole)][0]
        raise ValueError(f"{act.name} must be finite on [-8, 8], got a NaN or inf at {bad:.4g}")
    for other in (reordered, halves):
        if not np.allclose(whole, other, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"{act.name} must be elementwise: an output changed with the other inputs "
                "(softmax and normalisations are not activations)"
            )


class _Wrapped:
    """A derived function, equal to another made from the same parts: compiled code is shared."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.parts == other.parts  # pyright: ignore[reportAttributeAccessIssue]

    def __hash__(self) -> int:
        return hash((type(self), self.parts))


class _Derivative(_Wrapped):
    def __call__(self, x: Any, *theta: Any) -> Any:
        x = jnp.asarray(x, jnp.result_type(x, float))
        return jax.jvp(lambda v: self.parts[0](v, *theta), (x,), (jnp.ones_like(x),))[1]


class _Inverse(_Wrapped):
    def __call__(self, y: Any, *theta: Any) -> Any:
        fn = self.parts[0]
        y = jnp.asarray(y, jnp.result_type(y, float))
        ends = fn(jnp.asarray([-1.0, 1.0], y.dtype), *theta)
        sign = jax.lax.stop_gradient(jnp.sign(ends[1] - ends[0]))
        return increasing_root(_Signed(fn), sign * y, (sign, *theta))


class _Signed(_Wrapped):
    """sign * fn, which increases when fn is monotone and sign is its direction."""

    def __call__(self, x: Any, sign: Any, *theta: Any) -> Any:
        return sign * self.parts[0](x, *theta)


class _Primitive(_Wrapped):
    def __call__(self, x: Any, *theta: Any) -> Any:
        fn, kinks = self.parts
        return _integral(fn, kinks, jnp.asarray(x, jnp.result_type(x, float)), theta)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _integral(fn: Any, kinks: Any, x: Any, theta: Any) -> Any:
    points = kinks(*theta) if callable(kinks) else kinks
    return integral_from_zero(fn, points, x, theta)


@_integral.defjvp
def _integral_jvp(fn: Any, kinks: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x, theta), (dx, dtheta) = primals, tangents
    tangent = fn(x, *theta) * dx
    if jax.tree.leaves(theta):
        points = (lambda t: kinks(*t)) if callable(kinks) else (lambda t: kinks)
        by_theta = functools.partial(_integral_of_theta, fn, points, x)
        tangent += jax.jvp(by_theta, (theta,), (dtheta,))[1]
    return _integral(fn, kinks, x, theta), tangent


def _integral_of_theta(fn: Any, points: Any, x: Any, theta: Any) -> Any:
    return integral_from_zero(fn, points(theta), x, theta)
