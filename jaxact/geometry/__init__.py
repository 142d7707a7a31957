"""Information geometry: the deformed exponential family and divergence of an activation.

Nock, Cranko, Menon, Qu & Williamson, "f-GANs in an information geometric nutshell" (NIPS 2017).
The stated accuracies are those of float64 (`jax.enable_x64`); dtypes follow the inputs.
"""

from __future__ import annotations

from jaxact.geometry.admissible import Admissibility as Admissibility
from jaxact.geometry.admissible import admissibility as admissibility
from jaxact.geometry.base import Base as Base
from jaxact.geometry.base import box as box
from jaxact.geometry.base import finite_set as finite_set
from jaxact.geometry.base import interval as interval
from jaxact.geometry.base import line as line
from jaxact.geometry.deformed import exp_chi as exp_chi
from jaxact.geometry.deformed import log_chi as log_chi
from jaxact.geometry.divergences import Divergence as Divergence
from jaxact.geometry.divergences import divergence as divergence
from jaxact.geometry.divergences import divergence_value as divergence_value
from jaxact.geometry.divergences import matched_divergence as matched_divergence
from jaxact.geometry.escort import escort as escort
from jaxact.geometry.escort import rescale as rescale
from jaxact.geometry.family import DeformedFamily as DeformedFamily
from jaxact.geometry.family import bregman as bregman
from jaxact.geometry.family import cumulant as cumulant
from jaxact.geometry.family import density as density
from jaxact.geometry.family import escort_mean as escort_mean
from jaxact.geometry.family import metric as metric
from jaxact.geometry.fit import Fit as Fit
from jaxact.geometry.fit import fit as fit
from jaxact.geometry.fit import natural_gradient as natural_gradient
from jaxact.geometry.identity import VariationalIdentity as VariationalIdentity
from jaxact.geometry.identity import variational_identity as variational_identity
from jaxact.geometry.identity import variational_value as variational_value
from jaxact.geometry.signature import Signature as Signature
from jaxact.geometry.signature import gan as gan
from jaxact.geometry.signature import parametric_curve as parametric_curve
from jaxact.geometry.signature import signature as signature
from jaxact.geometry.signature import tsallis as tsallis
