"""Certified bounds of networks with any activation."""

from jaxact.bounds.relax import relax as relax
from jaxact.bounds.relax import relax_unit as relax_unit
from jaxact.bounds.relax_lines import Lines as Lines
