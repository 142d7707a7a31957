"""What must not be reached: unions of polyhedra of outputs, the verdict of a bound on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxact.bounds.crown import crown
from jaxact.bounds.problem import Bounds
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Unsafe:
    """Outputs that must not be reached: the union over k of { y : rows[k] y <= thresholds[k] }.

    The outputs are flattened. A polyhedron with fewer half-spaces than the others repeats one of
    its own, which changes nothing; `Unsafe.of` does it.

    Attributes:
        rows: shape (polyhedra, half-spaces, outputs).
        thresholds: shape (polyhedra, half-spaces).

    Example:
        >>> import numpy as np
        >>> two = Unsafe.of([(np.eye(2), np.zeros(2)), (np.array([[1.0, -1.0]]), np.array([-3.0]))])
        >>> two.rows.shape, float(two.margin(np.array([1.0, 2.0])))
        ((2, 2, 2), 2.0)
    """

    rows: Leaf
    thresholds: Leaf

    @classmethod
    def of(cls, polyhedra: Sequence[tuple[Any, Any]]) -> Unsafe:
        """From pairs (rows (half-spaces, outputs), thresholds (half-spaces,)).

        No half-space at all is every output: it becomes 0 . y <= 0.
        """
        if not polyhedra:
            raise ValueError("polyhedra must hold at least one pair (rows, thresholds)")
        pairs = [(np.asarray(a), np.asarray(b)) for a, b in polyhedra]
        pairs = [(a, b) if len(a) else (np.zeros((1, a.shape[1])), np.zeros(1)) for a, b in pairs]
        most = max(len(a) for a, _ in pairs)
        # the first half-space again and again, until every polyhedron has as many
        fill = [np.r_[np.arange(len(a)), np.zeros(most - len(a), int)] for a, _ in pairs]
        rows = np.stack([a[i] for (a, _), i in zip(pairs, fill, strict=True)])
        return cls(rows, np.stack([b[i] for (_, b), i in zip(pairs, fill, strict=True)]))

    def check(self, outputs: int) -> None:
        """Raise `ValueError` unless it fits a network with so many outputs; traced values pass."""
        checks.finite("unsafe.rows", self.rows)
        checks.finite("unsafe.thresholds", self.thresholds)
        checks.shape("unsafe.rows", self.rows, ("polyhedra", "half-spaces", outputs))
        checks.shape("unsafe.thresholds", self.thresholds, np.shape(self.rows)[:2])

    def margin(self, y: Float[Array, "..."]) -> Any:
        """The min over k of the max of rows[k] y - thresholds[k]: y is unsafe where it is <= 0."""
        return self.slacks(y).max(axis=1).min()

    def slacks(self, y: Any) -> Array:
        """Rows y - thresholds, shape (polyhedra, half-spaces)."""
        y = jnp.asarray(y).reshape(-1)
        rows, thresholds = (jnp.asarray(v, y.dtype) for v in (self.rows, self.thresholds))
        return jnp.matmul(rows, y, precision=lax.Precision.HIGHEST) - thresholds


@pytree()
class Verdict:
    """What a bound says about an unsafe set.

    Attributes:
        margin: a certified lower bound of `Unsafe.margin` over the region.
        verified: whether it is positive: no input of the region reaches the unsafe set.
        bounds: the bounds of all half-spaces' rows, shape (polyhedra * half-spaces,).
    """

    margin: Leaf
    verified: Leaf
    bounds: Bounds


def certify(
    f: Callable[..., Any],
    region: Any,
    unsafe: Unsafe,
    *,
    method: Callable[..., Bounds] = crown,
) -> Verdict:
    r"""Whether a bound keeps the outputs of a region away from an unsafe set.

    A polyhedron is avoided if one of its half-spaces is, so the certificate is
    min_k max_r (lower bound of rows[k, r] f(x) - thresholds[k, r]) > 0. That is sufficient and
    not necessary: an unverified set may still be unreachable.

    Args:
        f: a function of one sample, or a traced `Network`.
        region: a `Ball` or a `Box` of the input's shape.
        unsafe: the outputs that must not be reached.
        method: `ibp`, `crown` or anything else that is called (f, region, spec) and returns
            `Bounds`; `functools.partial` sets options.

    Returns:
        `Verdict`. Differentiates as the method does.

    Raises:
        ValueError: for a region or an unsafe set that does not fit.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxact.bounds import Box
        >>> f = lambda x: jnp.tanh(x) @ jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> unsafe = Unsafe.of([(np.array([[1.0, -1.0]]), np.array([-1.0]))])
        >>> found = certify(f, Box(jnp.zeros(2), jnp.ones(2)), unsafe)
        >>> bool(found.verified), round(float(found.margin), 2)
        (True, 1.0)

    Source: Zhang et al. 2018, corollary 3.3, row by row.
    """
    checks.instance("unsafe", unsafe, Unsafe)
    checks.function("method", method, "(f, region, spec)")
    checks.shape("unsafe.rows", unsafe.rows, ("polyhedra", "half-spaces", "outputs"))
    rows = jnp.asarray(unsafe.rows)
    unsafe.check(rows.shape[2])
    bounds = method(f, region, rows.reshape(-1, rows.shape[2]))
    margin = _margin(bounds.lower, unsafe)
    return Verdict(margin, margin > 0, bounds)


@jax.jit
def _margin(lower: Array, unsafe: Unsafe) -> Array:
    thresholds = jnp.asarray(unsafe.thresholds, lower.dtype)
    return (lower.reshape(thresholds.shape) - thresholds).max(axis=1).min()
