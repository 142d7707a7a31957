"""Certified bounds of any network with any activation (CROWN, Zhang et al. 2018)."""

from __future__ import annotations

from jaxact.bounds.crown import crown as crown
from jaxact.bounds.crown import ibp as ibp
from jaxact.bounds.problem import Bounds as Bounds
from jaxact.bounds.regions import Ball as Ball
from jaxact.bounds.regions import Box as Box
from jaxact.bounds.spec import margin_spec as margin_spec
