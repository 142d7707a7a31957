"""Information geometry: the deformed exponential family and divergence of an activation.

Nock, Cranko, Menon, Qu & Williamson, "f-GANs in an information geometric nutshell" (NIPS 2017).
The stated accuracies are those of float64 (`jax.enable_x64`); dtypes follow the inputs.
"""

from __future__ import annotations

from jaxact.geometry.admissible import Admissibility as Admissibility
from jaxact.geometry.admissible import admissibility as admissibility
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
from jaxact.geometry.game import Game as Game
from jaxact.geometry.game import game as game
from jaxact.geometry.game_state import Diverged as Diverged
from jaxact.geometry.game_state import GameState as GameState
from jaxact.geometry.game_state import Moves as Moves
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
from jaxact.geometry.signature import Signature as Signature
from jaxact.geometry.signature import gan as gan
from jaxact.geometry.signature import parametric_curve as parametric_curve
from jaxact.geometry.signature import signature as signature
from jaxact.geometry.signature import tsallis as tsallis
