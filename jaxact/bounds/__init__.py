"""Certified bounds of any network with any activation (CROWN, Zhang et al. 2018)."""

from __future__ import annotations

from jaxact.bounds.alpha import alpha_crown as alpha_crown
from jaxact.bounds.attack import Attack as Attack
from jaxact.bounds.attack import AttackRadius as AttackRadius
from jaxact.bounds.attack import attack as attack
from jaxact.bounds.attack import attack_radius as attack_radius
from jaxact.bounds.crown import crown as crown
from jaxact.bounds.crown import ibp as ibp
from jaxact.bounds.distortion import Distortion as Distortion
from jaxact.bounds.distortion import distortion as distortion
from jaxact.bounds.falsify import Counterexample as Counterexample
from jaxact.bounds.falsify import falsify as falsify
from jaxact.bounds.fastlin import fastlin as fastlin
from jaxact.bounds.forward import forward as forward
from jaxact.bounds.hybrid import crown_ibp as crown_ibp
from jaxact.bounds.hybrid import intersect as intersect
from jaxact.bounds.lipschitz import Lipschitz as Lipschitz
from jaxact.bounds.lipschitz import lipschitz_bound as lipschitz_bound
from jaxact.bounds.lipschitz import mean_value as mean_value
from jaxact.bounds.problem import Bounds as Bounds
from jaxact.bounds.quadratic import crown_quad as crown_quad
from jaxact.bounds.radius import Radius as Radius
from jaxact.bounds.radius import certified_radius as certified_radius
from jaxact.bounds.regions import Ball as Ball
from jaxact.bounds.regions import Box as Box
from jaxact.bounds.relax import relax as relax
from jaxact.bounds.relax import relax_unit as relax_unit
from jaxact.bounds.relax_lines import Lines as Lines
from jaxact.bounds.spec import margin_spec as margin_spec
from jaxact.bounds.training import certified_loss as certified_loss
from jaxact.bounds.training import certified_margins as certified_margins
from jaxact.bounds.training import ramp as ramp
from jaxact.bounds.unsafe import Unsafe as Unsafe
from jaxact.bounds.unsafe import Verdict as Verdict
from jaxact.bounds.unsafe import certify as certify
