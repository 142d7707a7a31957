"""Design an activation by gradient: families, objectives over the lenses, descent, checks."""

from __future__ import annotations

from jaxact.card.design.descend import Found as Found
from jaxact.card.design.descend import descend as descend
from jaxact.card.design.families import FAMILIES as FAMILIES
from jaxact.card.design.families import Family as Family
from jaxact.card.design.families import Hermite as Hermite
from jaxact.card.design.families import Rational as Rational
from jaxact.card.design.families import Spline as Spline
from jaxact.card.design.families import family as family
from jaxact.card.design.files import load_activation as load_activation
from jaxact.card.design.files import save_activation as save_activation
from jaxact.card.design.frozen import frozen as frozen
from jaxact.card.design.heldout import HeldOut as HeldOut
from jaxact.card.design.heldout import Sizes as Sizes
from jaxact.card.design.heldout import held_out as held_out
from jaxact.card.design.objective import Objective as Objective
from jaxact.card.design.objective import objective as objective
from jaxact.card.design.pareto import Pareto as Pareto
from jaxact.card.design.pareto import draw as draw
from jaxact.card.design.pareto import pareto as pareto
from jaxact.card.design.terms import TERMS as TERMS
from jaxact.card.design.verdicts import Comparison as Comparison
