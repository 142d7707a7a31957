"""Inversion: can a generator be inverted from partial measurements, and is the answer unique?

Ma, Ayaz & Karaman, "Invertibility of Convolutional Generative Networks from Partial
Measurements", NeurIPS 2018, and what followed it.
"""

from __future__ import annotations

from jaxact.inversion.certificate import Certificate as Certificate
from jaxact.inversion.certificate import certificate as certificate
from jaxact.inversion.certificate import pose as pose
from jaxact.inversion.fallback import Fallback as Fallback
from jaxact.inversion.first_order import Adam as Adam
from jaxact.inversion.first_order import Optax as Optax
from jaxact.inversion.invert import ConvergenceWarning as ConvergenceWarning
from jaxact.inversion.invert import Inversion as Inversion
from jaxact.inversion.invert import invert as invert
from jaxact.inversion.invert import solve as solve
from jaxact.inversion.landscape import angle_map as angle_map
from jaxact.inversion.landscape import ray as ray
from jaxact.inversion.landscape import rho as rho
from jaxact.inversion.lbfgs import LBFGS as LBFGS
from jaxact.inversion.noise import GaussianNoise as GaussianNoise
from jaxact.inversion.noise import HuberNoise as HuberNoise
from jaxact.inversion.noise import L1Noise as L1Noise
from jaxact.inversion.noise import LogisticNoise as LogisticNoise
from jaxact.inversion.noise import Noise as Noise
from jaxact.inversion.noise import PoissonNoise as PoissonNoise
from jaxact.inversion.operators import Mask as Mask
from jaxact.inversion.operators import identity as identity
from jaxact.inversion.operators import mask as mask
from jaxact.inversion.problem import Problem as Problem
from jaxact.inversion.second_order import GaussNewton as GaussNewton
from jaxact.inversion.second_order import LevenbergMarquardt as LevenbergMarquardt
