"""Quadrature, roots, kinks, precision and input checks: the ground floor."""

from __future__ import annotations

from jaxact.numerics.kinks import find_kinks as find_kinks
from jaxact.numerics.precision import double as double
from jaxact.numerics.quadrature import gaussian_rule as gaussian_rule
from jaxact.numerics.quadrature import integral_from_zero as integral_from_zero
from jaxact.numerics.quadrature import panel_rule as panel_rule
from jaxact.numerics.roots import bracketed_root as bracketed_root
from jaxact.numerics.roots import increasing_root as increasing_root
