"""A weighted sum of terms, each over its value at a reference activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.card.design.terms import CONSTRAINTS, TERMS
from jaxact.catalog import get
from jaxact.numerics import checks, double
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra import moments


@pytree(static=("names",))
class Objective:
    """sum_i w_i t_i(f) / t_i(reference) + gauge (log E f(xi)^2)^2: a function of an activation.

    Every term is blind to the scale of f, so the last part only chooses one.

    Attributes:
        names: of the terms.
        terms: functions of an activation, one a name.
        weights: w, (terms,).
        references: t_i(reference), (terms,); 1 for a constraint.
        gauge: weight of the scale.
    """

    names: tuple[str, ...]
    terms: Leaf
    weights: Leaf
    references: Leaf
    gauge: Leaf = 1e-2

    def values(self, act: Activation) -> Array:
        """The terms themselves, (terms,)."""
        found = [jnp.asarray(term(act)) for term in self.terms]
        return jnp.stack([value.astype(found[0].dtype) for value in found])

    def __call__(self, act: Activation) -> Array:
        """The objective."""
        values = self.values(act)
        found = moments(act)
        size = jnp.log(found.eta + found.mean**2).astype(values.dtype)
        weights, references = (
            jnp.asarray(v).astype(values.dtype) for v in (self.weights, self.references)
        )
        gauge = jnp.asarray(self.gauge).astype(values.dtype)
        return weights @ (values / references) + gauge * size**2


def objective(
    weights: Mapping[str, float],
    *,
    reference: Activation | str = "gelu",
    terms: Mapping[str, Callable[[Activation], Any]] = TERMS,
) -> Objective:
    """The objective with these weights.

    Args:
        weights: name of a term -> its weight; a weight of 1 counts a term as much as it is at
            the reference. A negative one asks for more of it.
        reference: an activation, or a name in the catalogue.
        terms: name -> function of an activation that is traceable and differentiable in theta.

    Returns:
        An `Objective`.

    Raises:
        ValueError: if there is no weight, a name is unknown, a weight is not finite, or a term
            of the reference is not positive and finite.

    Example:
        >>> import jaxact
        >>> aim = objective({"zeta": 1.0})
        >>> round(float(aim.values(jaxact.get("relu"))[0]), 4), float(aim.weights[0])
        (0.7335, 1.0)
    """
    if not weights:
        raise ValueError("weights must name at least one term, got none")
    for name, weight in weights.items():
        checks.choice("weights", name, sorted(terms))
        checks.finite(f"the weight of {name}", weight)
    known = get(reference) if isinstance(reference, str) else reference
    found = []
    for name in weights:
        value = 1.0 if name in CONSTRAINTS else float(double(terms[name])(known))
        if not (np.isfinite(value) and value > 0):
            raise ValueError(
                f"reference must have a positive, finite {name}, got {value:g} for {known.name}"
            )
        found.append(value)
    names = tuple(weights)
    return Objective(
        names,
        tuple(terms[n] for n in names),
        np.asarray([weights[n] for n in names], np.float64),
        np.asarray(found),
    )
