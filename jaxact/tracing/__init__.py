"""A JAX function as a small graph of affine steps and elementwise units."""

from __future__ import annotations

from jaxact.tracing.affine import Affine as Affine
from jaxact.tracing.elementwise import Elementwise as Elementwise
from jaxact.tracing.graph import Graph as Graph
from jaxact.tracing.graph import Network as Network
from jaxact.tracing.graph import Unit as Unit
from jaxact.tracing.graph import trace as trace
