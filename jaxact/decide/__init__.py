"""Complete verification by branch and bound, on the floor above bounds."""

from __future__ import annotations

from jaxact.decide.decide import decide as decide
from jaxact.decide.decision import Decision as Decision
from jaxact.decide.decision import Status as Status
from jaxact.decide.input_split import InputSplit as InputSplit
from jaxact.decide.instances import decide_set as decide_set
from jaxact.decide.instances_files import Contradiction as Contradiction
from jaxact.decide.instances_files import Instance as Instance
from jaxact.decide.instances_files import SetRow as SetRow
from jaxact.decide.instances_files import read_instances as read_instances
from jaxact.decide.instances_files import read_rows as read_rows
from jaxact.decide.instances_property import decide_property as decide_property
from jaxact.decide.layers import Layers as Layers
from jaxact.decide.layers import layers_of as layers_of
from jaxact.decide.neuron import NeuronSplit as NeuronSplit
from jaxact.decide.neuron import neuron_split as neuron_split
from jaxact.decide.problem import Pieces as Pieces
from jaxact.decide.problem import pieces_of as pieces_of
