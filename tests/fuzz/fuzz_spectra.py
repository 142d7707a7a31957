"""Entry points of `jaxact.spectra`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_table import Entry

import jaxact as ja
from jaxact import spectra

ACT = ja.get("tanh")
KEY = jax.random.key(0)
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
LABELS = np.linspace(0, 1, 4, dtype=np.float32)
LAW = spectra.Law(jnp.float32(0.4), jnp.float32(0.3), jnp.float32(0.5), jnp.float32(0.75))
DEEP = spectra.DeepLaw(
    jnp.array([0.4, 0.4]), jnp.array([0.3, 0.3]), jnp.float32(0.5), jnp.array([0.75, 0.75])
)
SIZES = {"n0": 4, "n1": 5, "m": 6}
LAWS = {"phi": 0.5, "psi": 0.75, "scale": 1.0}
PARAMETRIC = ja.get("swish", 1.0)
POINT = np.array([0.5, 1.0], np.float32)
UPPER = np.array([0.5 + 0.1j], np.complex64)

ENTRIES = (
    Entry(spectra.kernel, lambda: {"act": ACT, "x": X, "y": X, "scale": 1.0}),
    Entry(spectra.deep_law, lambda: {"acts": ACT, "phi": 0.5, "psi": POINT, "scale": 1.0}),
    Entry(spectra.second_moments, lambda: {"law": DEEP}),
    Entry(
        spectra.simulate_deep,
        lambda: {"key": KEY, "acts": ACT, "n0": 4, "widths": (3, 3), "m": 5, "scale": 1.0},
    ),
    Entry(
        spectra.double_descent,
        lambda: {"act": ACT, "widths": POINT, "phi": 0.5, "gamma": 0.1, "noise": 0.1, "scale": 1.0},
    ),
    Entry(
        spectra.design,
        lambda: {"act": PARAMETRIC, "objective": lambda a: a(1.0), "steps": 2, "tolerance": 0.1},
    ),
    Entry(spectra.cdf, lambda: {"law": LAW, "x": POINT}),
    Entry(spectra.quantile, lambda: {"law": LAW, "q": np.array([0.5], np.float32)}),
    Entry(spectra.sample, lambda: {"key": KEY, "law": LAW, "shape": (2,)}),
    Entry(
        spectra.simulate,
        lambda: {
            "key": KEY,
            "act": ACT,
            **SIZES,
            "scale": 1.0,
            "entries": "normal",
            "center": "gaussian",
        },
    ),
    Entry(
        spectra.simulate_training_error,
        lambda: {"key": KEY, "act": ACT, **SIZES, "gamma": 0.1, "scale": 1.0},
    ),
    Entry(
        spectra.simulate_test_error,
        lambda: {
            "key": KEY,
            "act": ACT,
            **SIZES,
            "gamma": 0.1,
            "noise": 0.1,
            "scale": 1.0,
            "tests": 4,
        },
    ),
    Entry(
        spectra.fixed_data,
        lambda: {
            "act": ACT,
            "x": X,
            "labels": LABELS,
            "n1": 5.0,
            "gamma": 0.1,
            "test": (X, LABELS),
            "scale": 1.0,
        },
    ),
    Entry(
        spectra.simulate_fixed_data,
        lambda: {
            "key": KEY,
            "act": ACT,
            "x": X,
            "labels": LABELS,
            "n1": 5,
            "gamma": 0.1,
            "test": (X, LABELS),
            "scale": 1.0,
        },
    ),
    Entry(spectra.hermite_coefficients, lambda: {"act": ACT, "order": 3, "scale": 1.0}),
    Entry(spectra.moments, lambda: {"act": ACT, "scale": 1.0}),
    Entry(spectra.law, lambda: {"act": ACT, **LAWS}),
    Entry(
        spectra.mixture_law,
        lambda: {
            "acts": (ACT, ja.get("relu")),
            "weights": np.array([0.5, 0.5], np.float32),
            **LAWS,
            "bias_std": 0.1,
        },
    ),
    Entry(spectra.ntk_law, lambda: {"act": ACT, **LAWS, "output_scale": 1.0}),
    Entry(
        spectra.simulate_ntk,
        lambda: {"key": KEY, "act": ACT, **SIZES, "scale": 1.0, "output_scale": 1.0},
    ),
    Entry(spectra.optimal_gamma, lambda: {"law": LAW, "noise": 0.1}),
    Entry(spectra.outlier, lambda: {"act": ja.get("relu"), **SIZES, "scale": 1.0}),
    Entry(spectra.centred, lambda: {"act": ACT, "scale": 1.0}),
    Entry(spectra.standard, lambda: {"act": ACT, "scale": 1.0}),
    Entry(spectra.test_error, lambda: {"law": LAW, "gamma": 0.1, "noise": 0.1}),
    Entry(spectra.training_error, lambda: {"subject": LAW, "gamma": 0.1, "noise": 0.1}),
    Entry(spectra.moment, lambda: {"law": LAW, "k": 2}),
    Entry(
        spectra.spline,
        lambda: {"knots": (-1.0, 0.0, 1.0), "values": np.array([0.0, 0.5, 1.0], np.float32)},
    ),
    Entry(spectra.atom, lambda: {"law": LAW}),
    Entry(spectra.edges, lambda: {"law": LAW}),
    Entry(spectra.companion, lambda: {"law": LAW, "z": UPPER}),
    Entry(spectra.converged, lambda: {"law": LAW, "z": UPPER}),
    Entry(spectra.density, lambda: {"law": LAW, "x": POINT}),
    Entry(spectra.stieltjes, lambda: {"law": LAW, "z": UPPER}),
)
