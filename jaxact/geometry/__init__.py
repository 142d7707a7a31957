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
from jaxact.geometry.composite import ProperComposite as ProperComposite
from jaxact.geometry.continuous import Estimate as Estimate
from jaxact.geometry.continuous import divergence_integral as divergence_integral
from jaxact.geometry.continuous import divergence_sample as divergence_sample
from jaxact.geometry.continuous import variational_bound as variational_bound
from jaxact.geometry.convexity import Convexity as Convexity
from jaxact.geometry.convexity import convexity as convexity
from jaxact.geometry.deformed import exp_chi as exp_chi
from jaxact.geometry.deformed import log_chi as log_chi
from jaxact.geometry.dictionary import activation_from_divergence as activation_from_divergence
from jaxact.geometry.dictionary import signature_of_divergence as signature_of_divergence
from jaxact.geometry.distance import Distance as Distance
from jaxact.geometry.distance import activation_distance as activation_distance
from jaxact.geometry.divergences import Divergence as Divergence
from jaxact.geometry.divergences import divergence as divergence
from jaxact.geometry.divergences import divergence_value as divergence_value
from jaxact.geometry.divergences import matched_divergence as matched_divergence
from jaxact.geometry.escort import escort as escort
from jaxact.geometry.escort import rescale as rescale
from jaxact.geometry.escort_factors import EscortFactors as EscortFactors
from jaxact.geometry.escort_factors import escort_factors as escort_factors
from jaxact.geometry.escort_factors import escort_normalisers as escort_normalisers
from jaxact.geometry.family import DeformedFamily as DeformedFamily
from jaxact.geometry.family import bregman as bregman
from jaxact.geometry.family import cumulant as cumulant
from jaxact.geometry.family import density as density
from jaxact.geometry.family import escort_expectation as escort_expectation
from jaxact.geometry.family import escort_mean as escort_mean
from jaxact.geometry.family import metric as metric
from jaxact.geometry.fit import Fit as Fit
from jaxact.geometry.fit import fit as fit
from jaxact.geometry.fit import natural_gradient as natural_gradient
from jaxact.geometry.game import Game as Game
from jaxact.geometry.game import game as game
from jaxact.geometry.game_state import Diverged as Diverged
from jaxact.geometry.game_state import GameState as GameState
from jaxact.geometry.game_state import Moves as Moves
from jaxact.geometry.generator import Generator as Generator
from jaxact.geometry.generator import Preimage as Preimage
from jaxact.geometry.generator import draw_generator as draw_generator
from jaxact.geometry.generator import generator as generator
from jaxact.geometry.identity import VariationalIdentity as VariationalIdentity
from jaxact.geometry.identity import variational_identity as variational_identity
from jaxact.geometry.identity import variational_value as variational_value
from jaxact.geometry.latent import Latent as Latent
from jaxact.geometry.latent import latent as latent
from jaxact.geometry.likelihood import LikelihoodFit as LikelihoodFit
from jaxact.geometry.likelihood import fit_generator as fit_generator
from jaxact.geometry.likelihood import negative_log_likelihood as negative_log_likelihood
from jaxact.geometry.links import Link as Link
from jaxact.geometry.links import matsushita as matsushita
from jaxact.geometry.metrics import Bandwidth as Bandwidth
from jaxact.geometry.metrics import kde_bandwidth as kde_bandwidth
from jaxact.geometry.metrics import kde_log_likelihood as kde_log_likelihood
from jaxact.geometry.play import DivergedWarning as DivergedWarning
from jaxact.geometry.play import Match as Match
from jaxact.geometry.play import Trace as Trace
from jaxact.geometry.play import diverged_report as diverged_report
from jaxact.geometry.play import play as play
from jaxact.geometry.ring import Coverage as Coverage
from jaxact.geometry.ring import Ring as Ring
from jaxact.geometry.ring import ring as ring
from jaxact.geometry.ring import ring_coverage as ring_coverage
from jaxact.geometry.sample import sample as sample
from jaxact.geometry.signature import Signature as Signature
from jaxact.geometry.signature import gan as gan
from jaxact.geometry.signature import parametric_curve as parametric_curve
from jaxact.geometry.signature import signature as signature
from jaxact.geometry.signature import tsallis as tsallis
