"""A JAX function as a graph of affine steps, units and products, and as what bounds a unit."""

from __future__ import annotations

from jaxact.tracing.affine import Affine as Affine
from jaxact.tracing.analysis import Shape as Shape
from jaxact.tracing.analysis import analyse as analyse
from jaxact.tracing.elementwise import Elementwise as Elementwise
from jaxact.tracing.graph import Graph as Graph
from jaxact.tracing.graph import Network as Network
from jaxact.tracing.graph import Unit as Unit
from jaxact.tracing.graph import trace as trace
from jaxact.tracing.jets import jets as jets
from jaxact.tracing.joint import Maximum as Maximum
from jaxact.tracing.joint import Product as Product
from jaxact.tracing.ranges import unit_range as unit_range
