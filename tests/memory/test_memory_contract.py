"""What every public entry point promises: transformations, dtypes, compile counts, errors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory
from jaxact.memory.dynamics import run
from jaxact.memory.energy import _energy, _gaps_direct, _gaps_matmul
from jaxact.memory.recall import _averages, _draw

GENERATOR = np.random.default_rng(0)
PATTERNS = GENERATOR.choice([-1.0, 1.0], (12, 16)).astype(np.float32)
PROBES = GENERATOR.choice([-1.0, 1.0], (3, 16)).astype(np.float32)
CUBIC = memory.rectified(3)
SWISH = memory.from_activation(jaxact.get("swish", 1.2))


def swish(beta):
    return memory.from_activation(jaxact.get("swish", beta))


@pytest.mark.fast
def test_dtypes_follow_the_inputs():
    found = memory.retrieve(PATTERNS, PROBES, CUBIC)
    assert {found.state.dtype, found.energies.dtype} == {jnp.dtype("float32")}
    assert memory.energy(PATTERNS.astype(np.int8), PROBES, CUBIC).dtype == jnp.float32
    with jax.enable_x64(True):  # noqa: FBT003
        assert memory.gaps(PATTERNS.astype(np.float64), PROBES, CUBIC).dtype == jnp.float64
        assert memory.retrieve(PATTERNS.astype(int), PROBES[0].astype(int), CUBIC).state.dtype == (
            jnp.float64
        )
        assert memory.retrieve(PATTERNS, PROBES, CUBIC).state.dtype == jnp.float32
        wide = memory.energy(PATTERNS.astype(np.float64), PROBES, SWISH)
    np.testing.assert_allclose(memory.energy(PATTERNS, PROBES, SWISH), wide, rtol=1e-4)


@pytest.mark.fast
def test_jit_and_vmap_change_nothing():
    def everything(patterns, probe):
        return (
            memory.energy(patterns, probe, SWISH),
            memory.gaps(patterns, probe, CUBIC),
            memory.retrieve(patterns, probe, CUBIC, max_sweeps=4),
        )

    plain = everything(PATTERNS, PROBES)
    chex.assert_trees_all_close(jax.jit(everything)(PATTERNS, PROBES), plain, rtol=1e-5)
    mapped = jax.vmap(everything, in_axes=(None, 0))(PATTERNS, jnp.asarray(PROBES))
    chex.assert_trees_all_close(mapped, plain, rtol=1e-5)


@pytest.mark.fast
def test_a_sweep_over_activations_is_a_vmap():
    betas = jnp.array([0.5, 1.0, 2.0])
    values = jax.vmap(lambda b: memory.energy(PATTERNS, PROBES[0], swish(b)))(betas)
    alone = [memory.energy(PATTERNS, PROBES[0], swish(b)) for b in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(values, alone, rtol=1e-4)
    states = jax.vmap(lambda b: memory.retrieve(PATTERNS, PROBES, swish(b)).state)(betas)
    assert states.shape == (3, *PROBES.shape)


def test_the_derivatives_of_what_is_piecewise_constant_are_zero():
    def final(beta):
        return memory.retrieve(PATTERNS, PROBES, swish(beta), max_sweeps=4).energies.sum()

    assert jax.grad(final)(1.2) == 0


@pytest.mark.fast
def test_data_and_theta_of_one_shape_compile_once():
    kernels = (_energy, _gaps_matmul, _gaps_direct, run, _draw, _averages)

    def calls(beta, sign, seed):
        patterns, probes = sign * PATTERNS, -sign * PROBES
        for F in (memory.exponential(beta), swish(beta)):
            memory.energy(patterns, probes, F)
            memory.gaps(patterns, probes, F)
            memory.gaps(0.5 * patterns, probes, F)
            memory.retrieve(patterns, probes, F, max_sweeps=4)
            memory.measure_recall(
                jax.random.key(seed), patterns, F, flips=0.1 * beta, probes=4, max_sweeps=4
            )

    calls(1.2, 1, 0)
    before = [kernel._cache_size() for kernel in kernels]
    calls(0.7, -1, 1)
    assert [kernel._cache_size() for kernel in kernels] == before


LOWERED = {
    "energy": lambda p, s: memory.energy(p, s, SWISH),
    "gaps": lambda p, s: memory.gaps(p, s, CUBIC),
    "gaps by matmul": lambda p, s: memory.gaps(p, s, memory.exponential(), method="matmul"),
    "async": lambda p, s: memory.retrieve(p, s, memory.rectified(30)),
    "random": lambda p, s: memory.retrieve(p, s, CUBIC, order="random", key=jax.random.key(0)),
    "tabulated": lambda p, s: memory.retrieve(
        p, s, memory.from_activation(jaxact.get("softplus")), mode="cccp+async"
    ),
    "sync": lambda p, s: memory.retrieve(p, s, CUBIC, mode="sync"),
    "recall": lambda p, s: memory.measure_recall(jax.random.key(0), p, CUBIC, probes=4),
    "bit error": lambda p, s: memory.bit_error(16, SWISH, 2 + s.sum() ** 2),
    "capacity": lambda p, s: memory.capacity(16, 3, jax.nn.sigmoid(s.sum()) / 2),
    "finite capacity": lambda p, s: memory.finite_capacity(16, 3, jax.nn.sigmoid(s.sum()) / 2),
}


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", LOWERED)
def test_every_kernel_lowers_for_accelerators(name, platform):
    jax.jit(LOWERED[name]).trace(PATTERNS, PROBES).lower(lowering_platforms=(platform,))


REFUSED = [
    (lambda: memory.energy(PATTERNS[0], PROBES, CUBIC), r"patterns must have shape \(K, N\), got"),
    (lambda: memory.energy(PATTERNS[:0], PROBES, CUBIC), r"patterns must not be empty, got shape"),
    (
        lambda: memory.gaps(PATTERNS, PROBES[:, :5], CUBIC),
        r"state must have shape \(..., 16\), got \(3, 5\)",
    ),
    (
        lambda: memory.energy(PATTERNS, np.where(PROBES > 0, np.nan, 1), CUBIC),
        "state must be finite, got nan at index",
    ),
    (lambda: memory.gaps(PATTERNS, PROBES, CUBIC, method="x"), "method must be one of 'auto'"),
    (
        lambda: memory.gaps(PATTERNS, 0.5 * PROBES, CUBIC, method="matmul"),
        r"state must be -1 or \+1, got",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES[None], CUBIC),
        r"probe must have shape \(16,\) or \(B, 16\), got \(1, 3, 16\)",
    ),
    (
        lambda: memory.retrieve(PATTERNS, 0 * PROBES, CUBIC),
        r"probe must be -1 or \+1, got -?0 at index \(0, 0\)",
    ),
    (lambda: memory.retrieve(2 * PATTERNS, PROBES, CUBIC), r"patterns must be -1 or \+1, got"),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, CUBIC, mode="fast"),
        "mode must be one of 'async', 'sync', 'cccp', 'cccp\\+async', got 'fast'",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, CUBIC, order="up"),
        "order must be one of 'sequential', 'random', got 'up'",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, memory.polynomial(3), mode="cccp"),
        r"mode 'cccp' must have a convex F, .* got polynomial\(3\)",
    ),
    (
        lambda: memory.retrieve(PATTERNS, PROBES, CUBIC, max_sweeps=0),
        "max_sweeps must be at least 1, got 0",
    ),
]


@pytest.mark.fast
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.fast
def test_random_order_needs_a_key():
    with pytest.raises(TypeError, match=r"key must be a typed key .* got None"):
        memory.retrieve(PATTERNS, PROBES, CUBIC, order="random")


@pytest.mark.fast
def test_an_activation_stands_for_its_interaction():
    for name, n in (("relu", 2), ("repu", 3)):
        act = jaxact.get(name)
        mine, paper = (memory.retrieve(PATTERNS, PROBES, F) for F in (act, memory.rectified(n)))
        np.testing.assert_array_equal(mine.state, paper.state)
        np.testing.assert_allclose(n * mine.energies, paper.energies, rtol=1e-6)
        assert memory.finite_capacity(50, act) == pytest.approx(
            memory.finite_capacity(50, n, rectified=True), rel=1e-9
        )
