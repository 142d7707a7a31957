"""Inversion: can a generator be inverted from partial measurements, and is the answer unique?

Ma, Ayaz & Karaman, "Invertibility of Convolutional Generative Networks from Partial
Measurements", NeurIPS 2018, and what followed it.
"""

from __future__ import annotations

from jaxact.inversion.certificate import Certificate as Certificate
from jaxact.inversion.certificate import certificate as certificate
from jaxact.inversion.certificate import pose as pose
from jaxact.inversion.composed import compose as compose
from jaxact.inversion.expansion import Expansion as Expansion
from jaxact.inversion.expansion import expansion_report as expansion_report
from jaxact.inversion.expansion import wdc_limit as wdc_limit
from jaxact.inversion.fallback import Fallback as Fallback
from jaxact.inversion.first_order import Adam as Adam
from jaxact.inversion.first_order import Optax as Optax
from jaxact.inversion.intermediate import IntermediateInversion as IntermediateInversion
from jaxact.inversion.intermediate import invert_intermediate as invert_intermediate
from jaxact.inversion.invert import ConvergenceWarning as ConvergenceWarning
from jaxact.inversion.invert import Inversion as Inversion
from jaxact.inversion.invert import invert as invert
from jaxact.inversion.invert import solve as solve
from jaxact.inversion.landscape import Neighbourhoods as Neighbourhoods
from jaxact.inversion.landscape import angle_map as angle_map
from jaxact.inversion.landscape import neighbourhoods as neighbourhoods
from jaxact.inversion.landscape import ray as ray
from jaxact.inversion.landscape import rho as rho
from jaxact.inversion.landscape import slope_at_zero as slope_at_zero
from jaxact.inversion.langevin import Samples as Samples
from jaxact.inversion.langevin import langevin as langevin
from jaxact.inversion.laplace import Laplace as Laplace
from jaxact.inversion.laplace import laplace as laplace
from jaxact.inversion.layerwise import LayerwiseInversion as LayerwiseInversion
from jaxact.inversion.layerwise import forward as forward
from jaxact.inversion.layerwise import invert_layerwise as invert_layerwise
from jaxact.inversion.lbfgs import LBFGS as LBFGS
from jaxact.inversion.least_squares import interval_least_squares as interval_least_squares
from jaxact.inversion.masks import Mask as Mask
from jaxact.inversion.masks import block_mask as block_mask
from jaxact.inversion.masks import checkerboard_mask as checkerboard_mask
from jaxact.inversion.masks import half_mask as half_mask
from jaxact.inversion.masks import mask as mask
from jaxact.inversion.masks import random_mask as random_mask
from jaxact.inversion.noise import GaussianNoise as GaussianNoise
from jaxact.inversion.noise import HuberNoise as HuberNoise
from jaxact.inversion.noise import L1Noise as L1Noise
from jaxact.inversion.noise import LogisticNoise as LogisticNoise
from jaxact.inversion.noise import Noise as Noise
from jaxact.inversion.noise import PoissonNoise as PoissonNoise
from jaxact.inversion.noise_bound import NoiseBound as NoiseBound
from jaxact.inversion.noise_bound import noise_bound as noise_bound
from jaxact.inversion.operators import blur as blur
from jaxact.inversion.operators import dense as dense
from jaxact.inversion.operators import downsample as downsample
from jaxact.inversion.operators import fourier_magnitude as fourier_magnitude
from jaxact.inversion.operators import gaussian as gaussian
from jaxact.inversion.operators import identity as identity
from jaxact.inversion.operators import sign as sign
from jaxact.inversion.plugin import PLUGIn as PLUGIn
from jaxact.inversion.priors import GaussianPrior as GaussianPrior
from jaxact.inversion.problem import Problem as Problem
from jaxact.inversion.projections import Ball as Ball
from jaxact.inversion.projections import Box as Box
from jaxact.inversion.projections import ProjectedGradient as ProjectedGradient
from jaxact.inversion.projections import Sphere as Sphere
from jaxact.inversion.projections import project_l1 as project_l1
from jaxact.inversion.projections import project_l2 as project_l2
from jaxact.inversion.second_order import GaussNewton as GaussNewton
from jaxact.inversion.second_order import LevenbergMarquardt as LevenbergMarquardt
from jaxact.inversion.surface import loss_surface as loss_surface
from jaxact.inversion.surface import ray_profile as ray_profile
from jaxact.inversion.surface import zero_slopes as zero_slopes
from jaxact.inversion.unique import Uniqueness as Uniqueness
from jaxact.inversion.unique import uniqueness as uniqueness
