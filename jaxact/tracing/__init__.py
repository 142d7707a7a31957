"""A JAX function as something that can be bounded: intervals, jets, shapes, ranges."""

from jaxact.tracing.analysis import Shape as Shape
from jaxact.tracing.analysis import analyse as analyse
from jaxact.tracing.jets import jets as jets
from jaxact.tracing.ranges import unit_range as unit_range
