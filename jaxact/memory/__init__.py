"""Dense associative memory: what an activation can store, and how it recalls it.

Krotov & Hopfield 2016, "Dense Associative Memory for Pattern Recognition".
"""

from __future__ import annotations

from jaxact.memory.basin import basin_radius as basin_radius
from jaxact.memory.capacity import alpha as alpha
from jaxact.memory.capacity import bit_error as bit_error
from jaxact.memory.capacity import capacity as capacity
from jaxact.memory.capacity import finite_capacity as finite_capacity
from jaxact.memory.capacity import no_error_capacity as no_error_capacity
from jaxact.memory.classifier import class_fields as class_fields
from jaxact.memory.classifier import class_outputs as class_outputs
from jaxact.memory.classifier import init_memories as init_memories
from jaxact.memory.classifier import power_loss as power_loss
from jaxact.memory.continuous import update as update
from jaxact.memory.duality import Duality as Duality
from jaxact.memory.duality import duality as duality
from jaxact.memory.duality import feed_forward as feed_forward
from jaxact.memory.dynamics import Retrieval as Retrieval
from jaxact.memory.dynamics import retrieve as retrieve
from jaxact.memory.energy import energy as energy
from jaxact.memory.energy import gaps as gaps
from jaxact.memory.energy import overlaps as overlaps
from jaxact.memory.exponential import exponential_alpha as exponential_alpha
from jaxact.memory.exponential import exponential_basin as exponential_basin
from jaxact.memory.exponential import exponential_capacity as exponential_capacity
from jaxact.memory.interaction import Interaction as Interaction
from jaxact.memory.interaction import exponential as exponential
from jaxact.memory.interaction import from_activation as from_activation
from jaxact.memory.interaction import polynomial as polynomial
from jaxact.memory.interaction import rectified as rectified
from jaxact.memory.joint import JointEnergy as JointEnergy
from jaxact.memory.joint import entmax as entmax
from jaxact.memory.joint import epanechnikov as epanechnikov
from jaxact.memory.joint import joint as joint
from jaxact.memory.joint import softmax as softmax
from jaxact.memory.joint import sparsemax as sparsemax
from jaxact.memory.packed import Packed as Packed
from jaxact.memory.packed import pack as pack
from jaxact.memory.packed import unpack as unpack
from jaxact.memory.prototypes import Answering as Answering
from jaxact.memory.prototypes import Regime as Regime
from jaxact.memory.prototypes import answering_memories as answering_memories
from jaxact.memory.prototypes import class_votes as class_votes
from jaxact.memory.prototypes import measure_regime as measure_regime
from jaxact.memory.recall import Recall as Recall
from jaxact.memory.recall import measure_recall as measure_recall
from jaxact.memory.simulate import MeasuredCapacity as MeasuredCapacity
from jaxact.memory.simulate import measure_capacity as measure_capacity
from jaxact.memory.store import Store as Store
from jaxact.memory.store import forget as forget
from jaxact.memory.store import open_store as open_store
from jaxact.memory.store import store as store
from jaxact.memory.training_rule import memory_rule as memory_rule
from jaxact.memory.training_rule import project_to_box as project_to_box
from jaxact.memory.training_rule import scale_by_row_maximum as scale_by_row_maximum
from jaxact.memory.xor import Xor as Xor
from jaxact.memory.xor import xor as xor
