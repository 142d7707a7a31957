"""Complete verification by branch and bound, on the floor above bounds."""

from __future__ import annotations

from jaxact.decide.decision import Decision as Decision
from jaxact.decide.decision import Status as Status
from jaxact.decide.layers import Layers as Layers
from jaxact.decide.layers import layers_of as layers_of
from jaxact.decide.neuron import NeuronSplit as NeuronSplit
from jaxact.decide.neuron import neuron_split as neuron_split
from jaxact.decide.problem import Pieces as Pieces
from jaxact.decide.problem import pieces_of as pieces_of
