"""The game against hand-written gradients, exact divergences and itself in other arrangements."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxact as ja
from jaxact import nets
from jaxact.geometry import (
    DivergedWarning,
    ProperComposite,
    diverged_report,
    game,
    play,
    ring,
    ring_coverage,
)  # fmt: skip
from jaxact.geometry.spectral_norm import normalized, start_vectors

RATE = 0.1
SGD = (optax.sgd(RATE), optax.sgd(RATE))
GRID = (
    ProperComposite("kl"),
    ProperComposite("reverse_kl", "matsushita"),
    ProperComposite("pearson", "logistic"),
    ProperComposite("squared_hellinger"),
    ProperComposite("jensen_shannon", "matsushita"),
    ProperComposite("gan", "logistic"),
)
DRAWN = np.random.default_rng(3).normal(size=(8, 2)).astype(np.float32)
REAL = (np.random.default_rng(4).normal(size=(8, 2)) + 1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The same latents in every step."""

    def __call__(self, key, count):
        return jnp.asarray(DRAWN[:count])


def shift(p, z):
    return p + z


def linear(p, x):
    return jnp.dot(p, x)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


@pytest.mark.parametrize(("loss", "penalty"), [("theory", None), ("non-saturating", 0.7)])
def test_step_is_the_hand_written_one(loss, penalty):
    rules = game(
        shift, linear, ProperComposite("gan"), latent=Drawn(), optimizers=SGD, loss=loss,
        penalty=penalty,
    )  # fmt: skip
    g, d = np.array([0.3, -0.2], np.float32), np.array([0.5, 0.4], np.float32)
    state, moves = rules.step(
        rules.init(jnp.asarray(g), jnp.asarray(d)), jnp.asarray(REAL), jax.random.key(0)
    )
    fake = g + DRAWN
    up = (sigmoid(-(REAL @ d))[:, None] * REAL - sigmoid(fake @ d)[:, None] * fake).mean(0)
    up = up - (penalty or 0) * d
    d_new = d + RATE * up
    v = fake @ d_new
    # -E log sigmoid(v), or -E softplus(v).
    push = -(sigmoid(-v) if loss == "non-saturating" else sigmoid(v)).mean() * d_new
    estimate = np.log(sigmoid(REAL @ d)).mean() - np.log(1 + np.exp(fake @ d)).mean()
    np.testing.assert_allclose(state.discriminator, d_new, rtol=1e-5)
    np.testing.assert_allclose(state.generator, g - RATE * push, rtol=1e-5)
    np.testing.assert_allclose(moves.estimate, estimate, rtol=1e-5)
    np.testing.assert_allclose(moves.discriminator_gradient, np.linalg.norm(up), rtol=1e-5)
    np.testing.assert_allclose(moves.generator_gradient, np.linalg.norm(push), rtol=1e-5)


def test_gradient_is_that_of_the_written_loss_for_every_composite(x64):
    g, d = jnp.array([0.3, -0.2]), jnp.array([0.5, 0.4])
    real, drawn = jnp.asarray(REAL, float), jnp.asarray(DRAWN, float)
    fixed = lambda key, count: drawn[:count]  # noqa: E731
    rules = game(shift, linear, GRID, latent=fixed, optimizers=SGD)
    step = jax.jit(
        jax.vmap(lambda which: rules.step(rules.init(g, d, which), real, jax.random.key(0))[0])
    )
    got = step(jnp.arange(len(GRID)))
    for i, composite in enumerate(GRID):
        value = lambda p, c=composite: c.value(real @ p, (g[None] + drawn) @ p)  # noqa: E731
        moved = d + RATE * jax.grad(value)(d)
        gain = lambda p, c=composite, m=moved: jnp.mean(c.output((p[None] + drawn) @ m))  # noqa: E731
        np.testing.assert_allclose(got.discriminator[i], moved, rtol=1e-10)
        np.testing.assert_allclose(got.generator[i], g + RATE * jax.grad(gain)(g), rtol=1e-10)


def test_one_compilation_serves_every_composite_and_number():
    traced = []

    def judge(p, x):
        traced.append(0)
        return jnp.dot(p, x)

    rules = game(shift, judge, GRID, latent=2, penalty=0.1)
    fit = {"steps": 2, "batch": 4, "check": 4, "key": jax.random.key(0)}
    start = jnp.zeros(2), jnp.full(2, 0.1)
    play(rules, rules.init(*start, 0), REAL, **fit)
    first = len(traced)
    found = [play(rules, rules.init(*start, i), REAL, **fit).trace.estimate for i in range(1, 6)]
    again = game(shift, judge, GRID, latent=2, penalty=0.2)
    play(again, again.init(*start, 1), REAL[::-1], **fit)
    assert len(traced) == first
    assert len({float(v[0]) for v in found}) >= 4


def test_rows_of_nowozin_and_logistic_coincide():
    kinds = [
        (n, k) for n in ("reverse_kl", "jensen_shannon", "gan") for k in ("nowozin", "logistic")
    ]
    rules = game(shift, linear, [ProperComposite(*kind) for kind in kinds], latent=2)
    start = jax.vmap(lambda i: rules.init(jnp.zeros(2), jnp.full(2, 0.3), i))(jnp.arange(6))
    step = jax.jit(
        jax.vmap(lambda s, n: rules.step(s, jnp.asarray(REAL), jax.random.key(n))[0], (0, None))
    )
    state = start
    for number in range(5):
        state = step(state, number)
    for leaf in (state.generator, state.discriminator):
        np.testing.assert_allclose(leaf[0::2], leaf[1::2], rtol=1e-5)
    assert not np.allclose(state.generator[0], state.generator[4], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("kl", 0.5), ("reverse_kl", 0.5), ("squared_hellinger", 2 * (1 - np.exp(-1 / 8)))],
)
def test_estimate_of_the_optimal_discriminator_is_the_divergence(name, value):
    # P = N(0, 1) and Q = N(1, 1): log p / q = 1/2 - x.
    still = (optax.sgd(0.0), optax.sgd(0.0))
    rules = game(
        shift, lambda p, x: p[0] + p[1] * x[0], ProperComposite(name, "logistic"), latent=1,
        optimizers=still,
    )  # fmt: skip
    log_p = lambda x: -jnp.sum(x**2) / 2  # noqa: E731
    log_q = lambda p, x: -jnp.sum((x - p) ** 2) / 2  # noqa: E731
    normal = lambda key, count: jax.random.normal(key, (count, 1))  # noqa: E731
    match = play(
        rules, rules.init(jnp.ones(1), jnp.array([0.5, -1.0])), normal, steps=1, batch=2,
        densities=(log_p, log_q), check=40000, key=jax.random.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(match.trace.true, match.trace.estimate, rtol=1e-4)
    np.testing.assert_allclose(match.trace.true, value, atol=0.03)


def test_true_divergence_is_above_the_estimate_of_a_blind_discriminator():
    rules = game(shift, linear, (ProperComposite("gan"), ProperComposite("kl")), latent=1)
    match = play(
        rules, rules.init(jnp.full(1, 2.0), jnp.zeros(1), 1), np.zeros((4, 1), np.float32),
        steps=1, batch=2, key=jax.random.key(0), check=64,
        densities=(lambda x: -jnp.sum(x**2), lambda p, x: jnp.where(x[0] > 0.1, x[0], -jnp.inf)),
    )  # fmt: skip
    assert float(match.trace.true[0]) == np.inf  # the generator cannot make a sample of P


def test_critic_steps_are_steps_of_the_discriminator():
    frozen = (optax.sgd(0.0), optax.sgd(RATE))
    rules = [
        game(shift, linear, ProperComposite("kl"), latent=Drawn(), optimizers=frozen,
             critic_steps=n) for n in (1, 2)
    ]  # fmt: skip
    start = jnp.zeros(2), jnp.full(2, 0.1)
    both, _ = rules[1].step(rules[1].init(*start), jnp.asarray(REAL), jax.random.key(0))
    d = start[1]
    for part in (slice(0, 4), slice(4, 8)):
        value = lambda p, s=part: ProperComposite("kl").value(REAL[s] @ p, DRAWN[s] @ p)  # noqa: E731
        d = d + RATE * jax.grad(value)(d)
    np.testing.assert_allclose(both.discriminator, d, rtol=1e-5)


def test_clip_bounds_the_update():
    rules = game(shift, linear, ProperComposite("kl"), latent=2, optimizers=SGD, clip=1e-3)
    start = rules.init(jnp.zeros(2), jnp.full(2, 0.5))
    state, moves = rules.step(start, jnp.asarray(REAL), jax.random.key(0))
    assert float(moves.discriminator_gradient) > 1e-2
    length = np.linalg.norm(state.discriminator - start.discriminator)
    np.testing.assert_allclose(length, RATE * 1e-3, rtol=1e-3)


def test_spectral_norm_is_the_largest_singular_value(x64, rng):
    params = {"w": jnp.asarray(rng.normal(size=(5, 3))), "b": jnp.ones(3),
              "k": jnp.asarray(rng.normal(size=(2, 2, 3, 4)))}  # fmt: skip
    vectors = start_vectors(params)
    scaled, moved = normalized(params, vectors, steps=100)
    sigma = np.linalg.svd(np.asarray(params["w"]))[1][0]
    np.testing.assert_allclose(scaled["w"], params["w"] / sigma, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.svd(np.asarray(scaled["k"]).reshape(12, 4))[1][0], 1)
    np.testing.assert_array_equal(scaled["b"], params["b"])
    once, _ = normalized(params, moved, steps=0)
    np.testing.assert_allclose(once["w"], scaled["w"], rtol=1e-9)
    # One power iteration a call, with its vectors carried, gets there too.
    for _ in range(100):
        _, vectors = normalized(params, vectors)
    np.testing.assert_allclose(np.abs(vectors[1]), np.abs(moved[1]), rtol=1e-8)


def test_spectral_game_sees_a_discriminator_of_norm_one():
    judge = lambda p, x: x @ p  # noqa: E731
    rules = game(shift, judge, ProperComposite("kl"), latent=Drawn(), spectral=True)
    weights = jnp.array([[30.0], [40.0]])
    start = rules.init(jnp.zeros(2), weights)
    state, moves = rules.step(start, jnp.asarray(REAL), jax.random.key(0))
    unit = np.array([0.6, 0.8])
    want = ProperComposite("kl").value(jnp.asarray(REAL @ unit), jnp.asarray(DRAWN @ unit))
    np.testing.assert_allclose(moves.estimate, want, rtol=1e-4)
    assert len(state.vectors) == 1


def test_a_diverged_game_stops_with_a_report_and_the_others_go_on():
    rules = game(
        shift, linear, (ProperComposite("pearson", "logistic"), ProperComposite("gan")), latent=2
    )
    start = jax.vmap(lambda i: rules.init(jnp.zeros(2), jnp.full(2, 60.0), i))(jnp.arange(2))
    fit = {"steps": 4, "batch": 8, "check": 8, "every": 2}
    with pytest.warns(DivergedWarning, match=r"game 0 diverged at step 0 \(pearson x logistic"):
        match = play(rules, start, REAL, key=jax.random.key(0), **fit)
    state = match.state
    np.testing.assert_array_equal(state.step, [0, 4])
    np.testing.assert_array_equal(state.diverged.term > 0, [True, False])
    np.testing.assert_array_equal(state.diverged.step, [0, -1])
    np.testing.assert_array_equal(state.discriminator[0], start.discriminator[0])
    for leaf in jax.tree.leaves((state.generator, state.discriminator, state.optimizers)):
        assert np.isfinite(leaf).all()
    report = diverged_report(rules, state)
    assert "T(v_real) left its domain" in report
    assert report.count("\n") == 0


def test_a_small_game_on_the_ring_learns():
    law = ring()
    key = jax.random.key(1)
    duo = nets.mlp_players(4, 2, ja.get("relu"), hidden=(32, 32), key=key)
    rules = game(
        duo.generator[0], duo.discriminator[0], ProperComposite("gan"), latent=4,
        optimizers=(optax.adam(1e-3, b1=0.5), optax.adam(1e-3, b1=0.5)),
    )  # fmt: skip
    start = rules.init(duo.generator[1], duo.discriminator[1])
    match = play(rules, start, law, steps=600, batch=64, every=200, key=key)
    z = rules.latent(jax.random.key(2), 1000)
    before, after = (
        ring_coverage(jax.vmap(lambda one, p=p: rules.generator(p, one))(z), law)
        for p in (start.generator, match.state.generator)
    )
    assert not diverged_report(rules, match.state)
    assert float(after.quality) > max(0.15, 2 * float(before.quality))
    assert int(after.modes) >= 3
    assert np.all(match.trace.estimate > -2 * np.log(2))


def test_a_resumed_game_gives_the_same_numbers(tmp_path):
    rules = game(shift, linear, ProperComposite("gan"), latent=2)
    start = rules.init(jnp.zeros(2), jnp.full(2, 0.1))
    fit = {"steps": 6, "batch": 4, "every": 2, "check": 8, "key": jax.random.key(0)}
    kept = []
    whole = play(rules, start, REAL, save=kept.append, **fit)
    path = ja.io.save_checkpoint(tmp_path / "match", kept[0])
    again = play(rules, start, REAL, restore=lambda like: ja.io.load_checkpoint(path, like), **fit)
    assert [int(m.parts) for m in kept] == [1, 2, 3]
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    with pytest.raises(ValueError, match="restore must give a match of 2 parts"):
        play(rules, start, REAL, restore=lambda _: kept[0], **(fit | {"steps": 4}))


GAN = ProperComposite("gan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: game(shift, linear, (), latent=2), "at least one composite"),
        (lambda: game(shift, linear, GAN, latent=0), "latent must be at least 1"),
        (lambda: game(shift, linear, GAN, latent=2, loss="wasserstein"), "loss must be one of"),
        (lambda: game(shift, linear, GAN, latent=2, penalty=-1.0), "penalty must be non-negative"),
        (lambda: game(shift, linear, GAN, latent=2, clip=0.0), "clip must be positive"),
        (lambda: game(shift, linear, GAN, latent=2, limit=0.0), "limit must be positive"),
        (lambda: game(shift, linear, GAN, latent=2).init(jnp.ones(2), jnp.ones(2), 1), "which"),
        (lambda: _play(steps=5, every=2), "multiple of every=2"),
        (lambda: _play(batch=0), "batch must be at least 1"),
        (lambda: _play(data=np.zeros((0, 2))), "at least one sample"),
        (lambda: _play(data=np.full((3, 2), np.inf)), "data must be finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match=r"output\(v\) and conjugate\(v\)"):
        game(shift, linear, abs, latent=2)


def _play(data=REAL, **fit):
    rules = game(shift, linear, GAN, latent=2)
    return play(
        rules,
        rules.init(jnp.zeros(2), jnp.zeros(2)),
        data,
        key=jax.random.key(0),
        **{"steps": 2} | fit,
    )
