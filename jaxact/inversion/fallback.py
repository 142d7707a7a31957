"""One solver after another: a cheap one first, a robust one where it fails."""

from __future__ import annotations

from typing import Any

from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Fallback:
    """A second solver goes on, from where the first one got, for the starts it leaves unsolved.

    The first gives up on a start when its steps are spent, or when it calls itself stalled
    (`GaussNewton`: five steps in a row that were rejected, or whose CG hit its cap). A start
    that the first one solved costs nothing more. `Inversion.finished_by` says which it was.

    Attributes:
        first: a solver, `GaussNewton()` by default choice.
        then: the solver of what is left, `LevenbergMarquardt()` by default choice.

    Example:
        >>> from jaxact.inversion import GaussNewton, LevenbergMarquardt
        >>> Fallback(GaussNewton(cg_steps=8), LevenbergMarquardt()).steps
        80
    """

    first: Any
    then: Any

    @property
    def steps(self) -> Leaf:
        """The most iterations of both."""
        return self.first.steps + self.then.steps

    @property
    def tol(self) -> Leaf:
        """The first solver's tolerance."""
        return self.first.tol
