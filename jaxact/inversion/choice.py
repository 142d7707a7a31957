"""Which solver: the default for a latent's size, and the checks of one that is given."""

from __future__ import annotations

from typing import Any

from jaxact.inversion.fallback import Fallback
from jaxact.inversion.first_order import Adam, Optax
from jaxact.inversion.lbfgs import LBFGS
from jaxact.inversion.plugin import PLUGIn, checked
from jaxact.inversion.second_order import GaussNewton, LevenbergMarquardt
from jaxact.numerics import checks

_EXPLICIT_UP_TO = 24  # a dense decoder of 20: LM 1.4 times faster; a convolutional of 32: GN 10
_EXPLICIT_AT_MOST = 64


def choose(solver: Any, size: int, *, prior: Any = 0.0) -> Any:
    """The solver, checked; None is the default for a latent of this size.

    Raises:
        TypeError: if it is no solver, or a count is no integer.
        ValueError: if one of its numbers is out of range.
    """
    if solver is None:
        return _default(size)
    if isinstance(solver, Fallback):
        return Fallback(*(choose(s, size, prior=prior) for s in (solver.first, solver.then)))
    if isinstance(solver, type) or not _is_solver(solver):
        raise TypeError(
            "solver must be a LevenbergMarquardt(...), GaussNewton(...), LBFGS(...), Adam(...), "
            f"Optax(transform), PLUGIn(layers) or Fallback(first, then), got {solver!r}"
        )
    checks.integer("solver.steps", solver.steps, 1)
    if solver.tol is not None:
        checks.non_negative("solver.tol", solver.tol)
    if isinstance(solver, GaussNewton | LevenbergMarquardt):
        checks.non_negative("solver.damping", solver.damping)
    if isinstance(solver, GaussNewton):
        checks.integer("solver.cg_steps", solver.cg_steps, 1)
        checks.non_negative("solver.cg_tol", solver.cg_tol)
    if isinstance(solver, LBFGS):
        checks.integer("solver.memory", solver.memory, 1)
    if isinstance(solver, Adam):
        checks.positive("solver.learning_rate", solver.learning_rate)
    if isinstance(solver, Optax) and not hasattr(solver.transform, "update"):
        raise TypeError(f"solver.transform must be an optax transformation, got {solver!r}")
    return checked(solver, size, prior) if isinstance(solver, PLUGIn) else solver


def _default(size: int) -> Any:
    if size <= _EXPLICIT_UP_TO:
        return LevenbergMarquardt()
    if size <= _EXPLICIT_AT_MOST:
        return Fallback(GaussNewton(), LevenbergMarquardt())
    return GaussNewton()


def _is_solver(solver: Any) -> bool:
    return all(callable(getattr(solver, method, None)) for method in ("init", "step"))
