"""Every compiled kernel of the package lowers for TPUs and for CUDA, without compiling it.

The examples of the docstrings are run while every module-level `jax.jit` function is replaced by
a stand-in that lowers it for both platforms and answers with ones. So a kernel is lowered with
arguments that it gets in use, nothing of it is compiled or run, and a kernel that no example
reaches is named.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import importlib
import pkgutil
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact

PLATFORMS = ("tpu", "cuda")
EXAMPLES = {
    "spectra": """
        covariance.kernel deep_ensemble.simulate_deep design.design distribution.cdf
        distribution.quantile ensemble.simulate ensemble.simulate_training_error fixed.fixed_data
        fixed_draw.simulate_fixed_data gaussian.hermite_coefficients gaussian.moments ntk.ntk_law
        ntk.simulate_ntk optimum.optimal_gamma outlier.outlier ridge.training_error
        ridge.test_error series.moment support.atom support.edges transform.companion
        transform.converged transform.density transform.stieltjes trial.simulate_test_error
    """,
    "bounds": """
        alpha.alpha_crown attack.attack attack.attack_radius crown.crown crown.ibp
        distortion.distortion falsify.falsify fastlin.fastlin forward.forward hybrid.crown_ibp
        lipschitz.lipschitz_bound quadratic.crown_quad radius.certified_radius unsafe.certify
    """,
    "memory": """
        classifier.class_fields continuous.update duality.duality dynamics.retrieve energy.energy
        energy.gaps energy.overlaps joint.epanechnikov packed.pack prototypes.answering_memories
        recall.measure_recall simulate.measure_capacity store.Store store.forget
    """,
    "inversion": """
        certificate.certificate expansion.expansion_report intermediate.invert_intermediate
        landscape.angle_map langevin.langevin laplace.laplace layerwise.invert_layerwise
        noise_bound.noise_bound priors.GaussianPrior surface.loss_surface surface.ray_profile
        surface.zero_slopes unique.uniqueness
    """,
    "geometry": """
        admissible.admissibility convexity.convexity deformed.exp_chi deformed.log_chi
        distance.activation_distance divergences.divergence_value family.density
        family.escort_mean family.metric fit.fit fit.natural_gradient generator.Generator
        identity.variational_identity identity.variational_value likelihood.fit_generator
        metrics.kde_log_likelihood play.play play.diverged_report ring.ring_coverage sample.sample
    """,
    "decide": "decide.decide neuron.neuron_split zoom.zoom",
}
"""Docstrings, of the modules of a package, whose examples reach its kernels."""
RUN = {
    "jaxact.spectra.gaussian._moments",
    "jaxact.geometry.admissible._value_and_slope",
    "jaxact.geometry.member.cumulant_kernel",
    "jaxact.geometry.member.finer_mass",
}
"""Kernels that are run, too: without their values the host refuses to go on."""
JITTED = type(jax.jit(abs))


class Standin:
    """In place of a kernel: lowers it once, and answers with ones of the right shapes."""

    def __init__(self, kernel, name, found):
        self.kernel, self.name, self.found = kernel, name, found
        functools.update_wrapper(self, kernel)

    def __call__(self, *args, **options):
        if any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves((args, options))):
            self.found.setdefault(self.name, None)  # lowered in the kernel that calls it
            return self.kernel(*args, **options)
        traced = self.kernel.trace(*args, **options)
        if self.found.get(self.name) is None:
            self.found[self.name] = _failure(traced)
        if self.name in RUN:
            return self.kernel(*args, **options)
        return jax.tree.map(_ones, traced.out_info)

    def __getattr__(self, name):
        return getattr(self.kernel, name)


def _failure(traced):
    for platform in PLATFORMS:
        try:
            traced.lower(lowering_platforms=(platform,))
        except Exception as error:
            return f"{platform}: {type(error).__name__}: {error}"[:500]
    return ""


def _ones(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), leaf.shape)
    return jnp.ones(leaf.shape, leaf.dtype)


def kernels(package):
    """Module-level jitted functions of a package, by their full names."""
    found = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if isinstance(value, JITTED) and value.__module__ == info.name:
                found[f"{info.name}.{name}"] = value
    return found


@contextlib.contextmanager
def replaced(standins):
    """Stand-ins, by the id of the kernel, wherever a module of the package holds the kernel."""
    kept = []
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "jaxact"]:
        for name, value in list(vars(module).items()):
            if id(value) in standins and isinstance(value, JITTED):
                kept.append((module, name, value))
                setattr(module, name, standins[id(value)])
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def examples(package, names):
    """The sources of the docstrings' examples of these names, and the globals that they see."""
    for name in names:
        module, *path = name.split(".")
        home = importlib.import_module(f"{package.__name__}.{module}")
        value = functools.reduce(getattr, path, home)
        for test in doctest.DocTestFinder(recurse=False).find(value, name, home):
            yield test.globs, [example.source for example in test.examples]


def _bounds():
    from jaxact import bounds

    net, x = (lambda x: jnp.tanh(x) * 2.0), jnp.ones(4)
    bounds.crown(net, bounds.Ball(x, 0.1), sound=True)
    bounds.certified_radius(net, x, 0, target="random")


def _memory():
    from jaxact import memory

    patterns = jnp.ones((3, 4)) / 2
    memory.gaps(patterns, patterns[0], memory.rectified(3))
    memory.energy(patterns, patterns[0], memory.softmax())


def _decide():
    from jaxact.decide.decide import _call
    from jaxact.decide.layers import layers_of
    from jaxact.decide.neuron_attack import descend
    from jaxact.decide.neuron_dual import Question
    from jaxact.decide.neuron_sound import Certifier
    from jaxact.decide.sound import _planes, _weights
    from jaxact.tracing import trace

    network = trace(lambda x: jnp.tanh(x) @ jnp.ones((2, 1)), jnp.ones(2))
    x, rows = jnp.ones((1, 2)), jnp.ones((1, 1, 1))
    descend(layers_of(network), x, Question(x, x, rows, jnp.ones((1, 1))), steps=2)
    _planes(network, -x, x, rows)
    relu = layers_of(trace(lambda x: jax.nn.relu(x) @ jnp.ones((2, 1)), jnp.ones(2)))
    ones = np.ones((1, 2), np.float32)
    asked = Question(ones, ones, np.ones((1, 1, 1), np.float32), np.ones((1, 1), np.float32))
    Certifier(relu, (True,))(-ones, ones, (None,), asked, ones, ones, ones[:, :1])
    _call(jax.tree_util.Partial(jnp.sin), jnp.ones(2))
    with jax.enable_x64(True):
        _weights(np.ones((1, 1, 2)), np.ones((1, 1)), np.zeros((1, 2)), np.ones((1, 2)))


def _inversion():
    from jaxact import inversion
    from jaxact.inversion.invert import _flat
    from jaxact.inversion.priors import with_prior

    def linear(z):
        return jnp.ones((3, 2)) @ z

    inversion.noise_bound(linear, jnp.ones(2), level=0.1)
    problem = inversion.pose(linear, None, jnp.float32, (2,))
    _flat(problem, jnp.ones((1, 2)))
    with_prior(problem, lambda z: z @ z)


def _spectra():
    from jaxact import spectra
    from jaxact.spectra.transform import error_of

    half = jnp.float32(0.5)
    error_of(spectra.Law(eta=half, zeta=half / 2, phi=half, psi=half), half)


def _geometry():
    from jaxact import geometry
    from jaxact.geometry.member import information_kernel

    g = geometry.draw_generator(jax.random.key(0), 2, 1, jaxact.get("leaky_relu", 0.3))
    g.log_density(jnp.ones((4, 2)))
    geometry.fit_generator(g, jnp.ones((4, 2)), train=("act",), steps=2)
    segment = geometry.interval(-1.0, 1.0)
    # not one that another test has asked for: the host remembers
    geometry.admissibility(jaxact.activation(lambda x: x + 0.25 * jnp.sin(x)))
    family = geometry.DeformedFamily(geometry.tsallis(1.5), lambda x: x, segment)
    information_kernel(family, jnp.float32(0.1), jnp.float32(0.5))


CALLS = {
    "spectra": _spectra, "bounds": _bounds, "memory": _memory, "inversion": _inversion,
    "geometry": _geometry,
    "decide": _decide,
}  # fmt: skip
"""What the examples leave out; kernels are imported late, so that they are the stand-ins."""


def lowered(package, names):
    """Kernel -> "" or why it does not lower, None if within another; not reached: left out."""
    found = {}
    standins = {id(v): Standin(v, n, found) for n, v in kernels(package).items()}
    with replaced(standins):
        for globs, sources in examples(package, names):
            with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
                for source in sources:
                    exec(compile(source, "<example>", "exec"), globs)  # ones end some early
        CALLS.get(package.__name__.split(".")[1], lambda: None)()
    return found


@pytest.mark.parametrize("lens", EXAMPLES)
def test_every_kernel_lowers(lens):
    package = importlib.import_module(f"jaxact.{lens}")
    found = lowered(package, EXAMPLES[lens].split())
    assert not {name: why for name, why in found.items() if why}
    missing = {n.removeprefix("jaxact.") for n in kernels(package)} - {
        n.removeprefix("jaxact.") for n in found
    }
    assert not missing


def test_what_does_not_lower_is_seen():
    assert _failure(jax.jit(jnp.sin).trace(1.0)) == ""
    odd = jax.jit(lambda x: jax.lax.platform_dependent(x, cpu=jnp.sin))
    assert _failure(odd.trace(1.0)).startswith("tpu: NotImplementedError")
