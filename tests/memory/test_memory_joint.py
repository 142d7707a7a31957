"""Retrieval of real patterns: NumPy twins, energies, exact recall, bounds, derivatives."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.test_util import check_grads

import jaxact
from jaxact import memory
from jaxact.memory.continuous import _recall
from jaxact.memory.full_step import combine

RNG = np.random.default_rng(0)
PATTERNS = RNG.standard_normal((12, 6))
PROBES = PATTERNS[:5] + 0.2 * RNG.standard_normal((5, 6))


def softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


def mean_shift(patterns, q, beta):
    z = -beta * ((q - patterns) ** 2).sum(1) / 2
    active = z > -1
    return active / active.sum() if active.any() else softmax(z)


TWINS = {
    "softmax": (memory.softmax(1.3), lambda x, q: softmax(1.3 * x @ q)),
    "gaussian": (
        memory.softmax(0.9, similarity="distance"),
        lambda x, q: softmax(-0.45 * ((x - q) ** 2).sum(1)),
    ),
    "epanechnikov": (memory.epanechnikov(0.4), lambda x, q: mean_shift(x, q, 0.4)),
    "outside": (memory.epanechnikov(50.0), lambda x, q: mean_shift(x, q, 50.0)),
    "own": (
        memory.joint(lambda z: jax.nn.logsumexp(z, axis=-1), 1.3),
        lambda x, q: softmax(1.3 * x @ q),
    ),
    "own, gaussian": (
        memory.joint(lambda z: jnp.sum(jnp.exp(z), axis=-1), 0.9, similarity="distance"),
        lambda x, q: softmax(-0.45 * ((x - q) ** 2).sum(1)),
    ),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", TWINS)
def test_a_step_equals_the_numpy_twin(name, x64):
    F, twin = TWINS[name]
    wanted = [twin(PATTERNS, q) @ PATTERNS for q in PROBES]
    np.testing.assert_allclose(memory.update(PATTERNS, PROBES, F), wanted, rtol=1e-10)
    one = memory.retrieve(PATTERNS, PROBES, F, max_sweeps=1)
    np.testing.assert_allclose(one.state, wanted, rtol=1e-10)
    np.testing.assert_allclose(one.energies[:, 0], memory.energy(PATTERNS, PROBES, F), rtol=1e-10)
    np.testing.assert_allclose(one.energies[:, 1], memory.energy(PATTERNS, one.state, F), 1e-10)


@pytest.mark.fast
def test_energies_equal_the_papers_up_to_a_constant(x64):
    q = PROBES[0]
    square = ((q - PATTERNS) ** 2).sum(1)
    found = [float(memory.energy(PATTERNS, q, TWINS[n][0])) for n in ("softmax", "gaussian")]
    np.testing.assert_allclose(found[0], q @ q / 2 - np.log(np.exp(1.3 * PATTERNS @ q).sum()) / 1.3)
    np.testing.assert_allclose(found[1], -np.log(np.exp(-0.45 * square).sum()) / 0.9)
    ball = -np.log(1e-6 + np.maximum(1 - 0.2 * square, 0).sum()) / 0.4
    np.testing.assert_allclose(memory.energy(PATTERNS, q, memory.epanechnikov(0.4)), ball)


ENERGIES = {
    "softmax": memory.softmax, "sparsemax": memory.sparsemax,
    "entmax": lambda b: memory.entmax(1.3, b),
    "gaussian": lambda b: memory.softmax(b, similarity="distance"),
    "near": lambda b: memory.entmax(1.5, b, similarity="distance"),
    "epanechnikov": memory.epanechnikov,
}  # fmt: skip


@pytest.mark.parametrize("name", ENERGIES)
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
    seed=st.integers(0, 2**16), beta=st.sampled_from([0.03, 0.4, 3.0, 100.0]),
    step=st.sampled_from([0.1, 0.7, 1.0]), scale=st.sampled_from([0.1, 1.0, 10.0]),
)  # fmt: skip
def test_energies_never_rise(name, seed, beta, step, scale):
    rng = np.random.default_rng(seed)
    patterns, probes = scale * rng.standard_normal((12, 6)), scale * rng.standard_normal((5, 6))
    with jax.enable_x64(True):  # noqa: FBT003
        found = memory.retrieve(
            patterns, 2 * probes, ENERGIES[name](beta), mode="flow", step=step, max_sweeps=10
        )
    energies = np.asarray(found.energies)
    assert np.isfinite(energies).all()
    assert (np.diff(energies) <= 1e-12 * (1 + np.abs(energies).max())).all()


@pytest.mark.fast
@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0])
def test_recall_is_exact_in_one_step_from_the_fenchel_young_margin(alpha, x64):
    probe = PATTERNS[2] + 0.1
    overlaps = np.sort(PATTERNS @ probe)
    assert np.argmax(PATTERNS @ probe) == 2
    enough = 1 / (alpha - 1) / (overlaps[-1] - overlaps[-2])
    exact = memory.update(PATTERNS, probe, memory.entmax(alpha, 1.001 * enough))
    np.testing.assert_array_equal(exact, PATTERNS[2])
    short = memory.update(PATTERNS, probe, memory.entmax(alpha, 0.9 * enough))
    assert np.abs(short - PATTERNS[2]).max() > 1e-4


@pytest.mark.fast
def test_softmax_keeps_its_error_bound(x64):
    patterns = RNG.standard_normal((30, 40))
    probe = patterns[3] + 0.05 * RNG.standard_normal(40)
    radius = np.linalg.norm(patterns, axis=1).max()
    overlaps = patterns @ patterns[3]
    margin = overlaps[3] - np.delete(overlaps, 3).max()
    for beta in (0.2, 0.5, 2.0):
        reached = memory.update(patterns, probe, memory.softmax(beta))
        slack = margin - 2 * radius * np.linalg.norm(probe - patterns[3])
        bound = 2 * 29 * radius * np.exp(-beta * slack)
        assert np.linalg.norm(reached - patterns[3]) <= bound + 1e-13
    assert slack > 0
    assert bound < 1e-6


@pytest.mark.fast
def test_balls_recall_exactly_share_a_memory_and_fall_back():
    patterns = np.array([[0.0, 0.0], [1.5, 0.0], [9.0, 0.0]], np.float32)
    F = memory.epanechnikov(beta=2.0)  # radius 1: the first two balls overlap
    probes = np.array([[-0.3, 0.2], [0.75, 0.1], [8.5, 0.5], [6.0, 3.0]], np.float32)
    found = memory.retrieve(patterns, probes, F)
    wanted = [[0.0, 0.0], [0.75, 0.0], [9.0, 0.0], [9.0, 0.0]]
    np.testing.assert_array_equal(found.state, wanted)
    assert found.converged.all()
    assert found.sweeps[:3].tolist() == [1, 1, 1]
    outside = -np.log(1e-6) / 2
    assert found.energies[3, 0] == pytest.approx(outside, rel=1e-6)
    # Two far patterns pull equally from their middle: it is a fixed point outside all balls.
    stuck = memory.retrieve(patterns[[0, 2]], np.array([4.5, 0.0], np.float32), F)
    np.testing.assert_array_equal(stuck.state, [4.5, 0.0])
    assert stuck.energies[-1] == pytest.approx(outside, rel=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize("name", ENERGIES)
def test_large_beta_is_the_nearest_pattern_in_float32(name):
    patterns = np.float32(1e4 * PATTERNS)
    probes = np.float32(1e4 * PROBES)
    found = memory.retrieve(patterns, probes, ENERGIES[name](1e4), max_sweeps=10)
    # By overlap the pattern of largest norm may win; every answer is a pattern.
    overlaps = (
        PATTERNS @ PROBES.T
        if name in ("softmax", "sparsemax", "entmax")
        else -((PATTERNS[:, None] - PROBES[None]) ** 2).sum(-1)
    )
    one = memory.update(patterns, probes, ENERGIES[name](1e4))
    np.testing.assert_array_equal(one, patterns[np.argmax(overlaps, 0)])
    assert found.converged.all()
    assert np.isfinite(found.energies).all()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_steps_lower_for_accelerators(platform):
    def everything(x, q):
        return [memory.retrieve(x, q, F).state for F in (memory.softmax(), memory.entmax(1.5))]

    traced = jax.jit(everything).trace(np.float32(PATTERNS), np.float32(PROBES))
    traced.lower(lowering_platforms=(platform,))


def test_few_weights_give_the_product_of_all():
    patterns = RNG.standard_normal((1100, 8)).astype(np.float32)
    scores = RNG.standard_normal((6, 1100)).astype(np.float32)
    for scale in (1.0, 400.0):
        weights = np.asarray(jax.nn.softmax(scale * jnp.asarray(scores)))
        found = jax.jit(combine)(weights, patterns)
        np.testing.assert_allclose(found, weights.astype(float) @ patterns, atol=2e-6)
        slope = jax.grad(lambda w: combine(w, patterns).sum())(weights)
        np.testing.assert_allclose(slope, np.tile(patterns.sum(1), (6, 1)), atol=2e-6)


def test_a_stored_pattern_among_many_is_found_by_the_sparse_step():
    spins = RNG.choice([-1.0, 1.0], (1500, 64)).astype(np.float32)
    probes = np.where(RNG.random((20, 64)) < 0.1, -1, 1).astype(np.float32) * spins[:20]
    found = memory.retrieve(spins, probes, memory.softmax(1.0), chunk=8)
    np.testing.assert_allclose(found.state, spins[:20], atol=1e-4)
    assert found.converged.all()
    alone = memory.retrieve(spins, probes[9], memory.softmax(1.0))
    np.testing.assert_allclose(found.state[9], alone.state, atol=1e-6)
    assert alone.energies.shape == (51,)


DERIVATIVES = {
    "softmax": lambda x, b: (x, memory.softmax(b)),
    "entmax": lambda x, b: (x, memory.entmax(1 + b / 2, 0.4)),
    "gaussian": lambda x, b: (x, memory.softmax(b, similarity="distance")),
    "epanechnikov": lambda x, b: (x, memory.epanechnikov(b)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_the_state_has_the_derivatives_of_its_fixed_point(name, x64):
    def state(x, b):
        patterns, F = DERIVATIVES[name](x, b)
        found = memory.retrieve(patterns, PROBES[0], F, max_sweeps=2000)
        return found.state

    args = (jnp.asarray(PATTERNS[:4]), 0.5)
    check_grads(state, args, 1, modes=["rev"], atol=1e-5, rtol=1e-5)
    if name == "softmax":
        twice = jax.jvp(jax.jacfwd(lambda b: state(args[0], b)), (0.5,), (1.0,))[1]
        slope = jax.jacfwd(lambda b: state(args[0], b))
        wanted = (slope(0.5 + 1e-4) - slope(0.5 - 1e-4)) / 2e-4
        np.testing.assert_allclose(twice, wanted, rtol=1e-5)


def test_the_sphere_serves_interactions_and_joint_energies(x64):
    probes = np.vstack([PROBES, -PROBES[:1]])
    for F in (memory.rectified(30), memory.softmax(2.0)):
        found = memory.retrieve(PATTERNS, probes, F, mode="sphere", max_sweeps=400)
        np.testing.assert_allclose(np.linalg.norm(found.state, axis=1), 1, rtol=1e-12)
        assert (np.diff(found.energies) <= 1e-13).all()
        assert found.converged.all()

    def state(x, gain):
        F = SIGMOID.scaled(gain)
        return memory.retrieve(x, PROBES[0], F, mode="sphere", max_sweeps=900).state

    check_grads(state, (jnp.asarray(PATTERNS[:4]), 2.0), 1, modes=["rev"], atol=1e-5, rtol=1e-5)
    # n = 3 on the sphere is a tensor power step, in NumPy:
    q = PROBES[0] / np.linalg.norm(PROBES[0])
    pull = np.maximum(PATTERNS @ q, 0) ** 2 @ PATTERNS
    one = memory.retrieve(PATTERNS, PROBES[0], memory.rectified(3), mode="sphere", max_sweeps=1)
    np.testing.assert_allclose(one.state, pull / np.linalg.norm(pull), rtol=1e-12)


SIGMOID = memory.from_activation(jaxact.get("sigmoid")).scaled(5.0)


@pytest.mark.fast
def test_the_probe_of_a_fixed_point_has_no_derivative_and_a_step_has(x64):
    F = memory.softmax(0.5)
    through = jax.grad(lambda q: memory.retrieve(PATTERNS, q, F).state.sum())(PROBES[0])
    assert (through == 0).all()
    check_grads(lambda q: memory.update(PATTERNS, q, F), (PROBES[0],), 1, modes=["rev"])


@pytest.mark.fast
def test_leaves_and_data_compile_once():
    def calls(beta, sign):
        x, q = np.float32(sign * PATTERNS), np.float32(sign * PROBES)
        for F in (memory.softmax(beta), memory.entmax(1 + beta, beta), memory.epanechnikov(beta)):
            memory.retrieve(x, q, F)

    calls(0.5, 1)
    before = _recall._cache_size()
    calls(0.7, -1)
    assert _recall._cache_size() == before
    betas = jnp.array([0.5, 1.0], jnp.float32)
    x, q = np.float32(PATTERNS), np.float32(PROBES)
    states = jax.vmap(lambda b: memory.retrieve(x, q, memory.softmax(b)).state)(betas)
    np.testing.assert_allclose(
        states[1], memory.retrieve(x, q, memory.softmax(1.0)).state, atol=1e-5
    )


NAN = np.where(PATTERNS == PATTERNS.max(), np.nan, PATTERNS)
REFUSED = [
    (lambda: memory.softmax(0.0), "beta must be positive, got 0"),
    (lambda: memory.entmax(0.5), r"alpha must be in \[1.0, inf\], got 0.5"),
    (lambda: memory.sparsemax(-1.0), "beta must be positive, got -1"),
    (lambda: memory.epanechnikov(floor=0.0), "floor must be positive, got 0"),
    (lambda: memory.softmax(similarity="cosine"), "similarity must be one of 'dot', 'distance'"),
    (
        lambda: memory.retrieve(PATTERNS[:0], PROBES, memory.softmax()),
        r"patterns must not be empty, got shape \(0, 6\)",
    ),
    (lambda: memory.retrieve(NAN, PROBES, memory.softmax()), "patterns must be finite, got nan"),
    (
        lambda: memory.retrieve(PATTERNS, PROBES[:, :5], memory.softmax()),
        r"probe must have shape \(6,\) or \(B, 6\), got \(5, 5\)",
    ),
    (lambda: memory.update(PATTERNS, NAN, memory.softmax()), "state must be finite, got nan"),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, memory.softmax(), mode="async"),
        "mode must be one of 'cccp', 'flow', 'sphere', got 'async'",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, memory.softmax(), mode="flow", step=2.0),
        r"step must be in \[0.0, 1.0\], got 2",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, memory.polynomial(3), mode="sphere"),
        r"mode 'sphere' must have a convex F, got polynomial\(3\)",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, memory.exponential(), mode="sphere"),
        "mode 'sphere' must have a softmax in place of an exponential F",
    ),
]


@pytest.mark.fast
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.fast
def test_only_joint_energies_have_a_continuous_step():
    with pytest.raises(TypeError, match="F must be a joint energy"):
        memory.update(PATTERNS, PROBES, memory.rectified(3))
    with pytest.raises(TypeError, match="fn must be a function of the overlaps, got 3"):
        memory.joint(3)
    assert dataclasses.replace(memory.softmax(), beta=2.0) == memory.softmax(2.0)
