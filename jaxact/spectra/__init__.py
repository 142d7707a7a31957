"""Spectra: what a random layer with an activation does to eigenvalues, and how it memorises.

Nonlinear random matrix theory (Pennington & Worah, NIPS 2017), exact and differentiable: Gaussian
moments, the limiting law of Y Y^T / m for Y = f(W X), its density, edges and moments, the training
error of random features, and the simulation beside them. Edges, atoms and small ridges deserve
float64: `jaxact.numerics.double` or `jax.enable_x64`.
"""

from __future__ import annotations

from jaxact.spectra.covariance import kernel as kernel
from jaxact.spectra.deep import deep_law as deep_law
from jaxact.spectra.deep import second_moments as second_moments
from jaxact.spectra.deep_ensemble import simulate_deep as simulate_deep
from jaxact.spectra.deep_support import DeepLaw as DeepLaw
from jaxact.spectra.descent import double_descent as double_descent
from jaxact.spectra.design import Design as Design
from jaxact.spectra.design import design as design
from jaxact.spectra.distribution import cdf as cdf
from jaxact.spectra.distribution import quantile as quantile
from jaxact.spectra.distribution import sample as sample
from jaxact.spectra.ensemble import simulate as simulate
from jaxact.spectra.ensemble import simulate_training_error as simulate_training_error
from jaxact.spectra.fixed import FixedData as FixedData
from jaxact.spectra.fixed import fixed_data as fixed_data
from jaxact.spectra.fixed_draw import simulate_fixed_data as simulate_fixed_data
from jaxact.spectra.gaussian import hermite_coefficients as hermite_coefficients
from jaxact.spectra.gaussian import moments as moments
from jaxact.spectra.limit import Law as Law
from jaxact.spectra.limit import SpectralLaw as SpectralLaw
from jaxact.spectra.limit import law as law
from jaxact.spectra.mixture import mixture_law as mixture_law
from jaxact.spectra.mixture_support import MixtureLaw as MixtureLaw
from jaxact.spectra.ntk import TangentLaw as TangentLaw
from jaxact.spectra.ntk import ntk_law as ntk_law
from jaxact.spectra.ntk import simulate_ntk as simulate_ntk
from jaxact.spectra.objectives import MinimiseTestError as MinimiseTestError
from jaxact.spectra.objectives import MinimiseTrainingError as MinimiseTrainingError
from jaxact.spectra.objectives import TargetMoments as TargetMoments
from jaxact.spectra.optimum import OptimalRidge as OptimalRidge
from jaxact.spectra.optimum import optimal_gamma as optimal_gamma
from jaxact.spectra.outlier import Outlier as Outlier
from jaxact.spectra.outlier import centred as centred
from jaxact.spectra.outlier import outlier as outlier
from jaxact.spectra.ridge import RidgeErrors as RidgeErrors
from jaxact.spectra.ridge import test_error as test_error
from jaxact.spectra.ridge import training_error as training_error
from jaxact.spectra.series import moment as moment
from jaxact.spectra.spline import spline as spline
from jaxact.spectra.spline import standard as standard
from jaxact.spectra.support import Support as Support
from jaxact.spectra.support import atom as atom
from jaxact.spectra.support import edges as edges
from jaxact.spectra.transform import companion as companion
from jaxact.spectra.transform import converged as converged
from jaxact.spectra.transform import density as density
from jaxact.spectra.transform import stieltjes as stieltjes
from jaxact.spectra.trial import simulate_test_error as simulate_test_error
