"""Neuron splitting in real arithmetic: a proof that forgets a rounding is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_decide_neuron import (
    decide,
    least_by_enumeration,
    network_of,
    one_piece,
    values,
    weights_of,
)

import jaxact
from jaxact.bounds import Box, Unsafe
from jaxact.decide import Layers, NeuronSplit, Pieces, layers_of, neuron_search
from jaxact.decide.layers import written_exactly
from jaxact.decide.neuron_dual import Multipliers, Question, pull_back
from jaxact.decide.neuron_leaf import leaf_margin
from jaxact.decide.neuron_lines import cut, host_lines
from jaxact.decide.neuron_root import Root
from jaxact.decide.neuron_sound import Certifier
from jaxact.decide.neuron_state import Domain
from jaxact.tracing import trace

ROW = np.array([1.0, -1.0, 0.5])


@pytest.mark.parametrize("seed", range(2))
def test_relu_nets_are_decided_as_by_enumeration(seed):
    weights = weights_of(seed)
    least, at = least_by_enumeration(weights, ROW, -np.ones(2), np.ones(2))
    for gap in (0.01, 1e-5, -0.01):
        pieces = one_piece(ROW, least - gap)
        status, margin, *_ = decide(weights, jax.nn.relu, pieces, sound=True)
        assert status == ("verified" if gap > 0 else "falsified")
        assert gap < 0 or 0 < margin <= gap * 1.01
    touched = one_piece(ROW, float(ROW @ values(weights, np.asarray(at))))
    assert decide(weights, jax.nn.relu, touched, sound=True)[0] != "verified"


def test_any_activation():
    weights = weights_of(7)
    axis = np.linspace(-1, 1, 401)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    least = (values(weights, grid, np.tanh) @ ROW).min()
    for gap, status in ((0.1, "verified"), (-0.05, "falsified")):
        pieces = one_piece(ROW, least - gap)
        assert decide(weights, jnp.tanh, pieces, exact=np.tanh, sound=True)[0] == status


def towers(seed):
    """d relu(c relu(b relu(a (x + 4)))) - a relu(b relu(c relu(d (x + 4)))): 0, in 96 bits."""
    a, b, c, d = np.random.default_rng(seed).uniform(1e9, 2e9, 4).astype(np.float32)
    matrices = np.array([[a], [d]]), np.diag([b, c]), np.diag([c, b]), np.array([[d, -a]])
    offsets = np.array([4 * a, 4 * d]), np.zeros(2, "f"), np.zeros(2, "f"), np.zeros(1, "f")
    return Layers(matrices, offsets, ((), (), ()), (jax.nn.relu,) * 3)


def test_rounding_of_the_certificate_itself_is_counted():
    missed, kinds = 0, (True,) * 3
    for seed in range(12):
        layers = towers(seed)
        ends, low = [], np.array([-1.0], "f")
        for matrix, offset in zip(layers.matrices[:-1], layers.offsets[:-1], strict=True):
            low = matrix @ low + offset
            ends.append(low / 2)  # what is read is at most twice as large as at x = -1
        lower = np.concatenate(ends)[None]
        one, upper = np.ones((1, 1), np.float32), 6 * lower
        question = Question(0 * one, one, one[None], 0 * one)
        free = np.zeros((1, 6)), np.zeros((1, 6)), np.ones((1, 1))
        sure = Certifier(layers, kinds)(lower, upper, (None,) * 3, question, *free)
        assert sure[0] <= 0  # the output is 0 everywhere
        with jax.enable_x64(True):
            wide, asked, boxes = jax.tree.map(
                lambda v: jnp.asarray(v, jnp.float64),
                (
                    layers,
                    question,
                    list(zip(cut(lower, (2,) * 3), cut(upper, (2,) * 3), strict=True)),
                ),
            )
            zero, slope = jnp.zeros((1, 2), jnp.float64), jnp.ones((1, 2), jnp.float64)
            plain = Multipliers((), (zero,) * 3, jnp.ones((1, 1), jnp.float64))
            lines = ((slope, zero, slope, zero),) * 3
            missed += float(pull_back(wide, lines, boxes, asked, plain).bound[0]) > 0
    assert missed > 0  # float64 alone would have proved that it is above 0


def test_boxes_hold_and_are_hardly_wider():
    weights = weights_of(5)
    layers = layers_of(network_of(weights, jax.nn.relu))
    middle, half = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    plain = Root(layers, (True, True), 16, 1e-6, 1, 2, 2**20)
    sure = Root(layers, (True, True), 16, 1e-6, 1, 2, 2**20, Certifier(layers, (True, True)))
    ends = [root.boxes(middle, half, 10) for root in (plain, sure)]
    x = np.random.default_rng(0).uniform(-1, 1, (20000, 2))
    z0 = x @ weights[0][0].T.astype(float) + weights[0][1]
    z1 = np.maximum(z0, 0) @ weights[1][0].T.astype(float) + weights[1][1]
    z = np.concatenate([z0, z1], 1)
    lower, upper = ends[1]
    assert (z >= lower).all()
    assert (z <= upper).all()
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-3)  # half precision multipliers


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_certificates_are_near_what_they_certify(act):
    fn, name = jaxact.get(act), act == "relu"
    layers = layers_of(network_of(weights_of(3), fn))
    rng, kinds = np.random.default_rng(1), (name, name)
    lower = rng.uniform(-2, -0.1, (6, 9)).astype(np.float32)
    upper = rng.uniform(0.1, 2, (6, 9)).astype(np.float32)
    boxes = tuple(zip(cut(lower, (5, 4)), cut(upper, (5, 4)), strict=True))
    known = host_lines(layers, kinds, boxes)
    question = Question(
        np.zeros((6, 2), "f"), np.ones((6, 2), "f"),
        np.tile(ROW.astype("f"), (6, 1, 1)), np.zeros((6, 1), "f"),
    )  # fmt: skip
    count = 9 if name else 18
    free = rng.uniform(0, 1, (6, count)), rng.normal(size=(6, 9)), np.ones((6, 1))
    sure = Certifier(layers, kinds)(lower, upper, known, question, *free)
    # samples that lie in the boxes cannot be below it
    x = rng.uniform(-1, 1, (4000, 2))
    exact = (lambda v: np.maximum(v, 0)) if name else np.tanh
    w = weights_of(3)
    z0 = x @ w[0][0].T.astype(float) + w[0][1]
    z1 = exact(z0) @ w[1][0].T.astype(float) + w[1][1]
    z, y = np.concatenate([z0, z1], 1), values(w, x, exact) @ ROW
    for row in range(6):
        inside = ((z >= lower[row]) & (z <= upper[row])).all(1)
        assert (y[inside] >= sure[row]).all()
    assert np.isfinite(sure).all()
    bad = np.full((6, 9), np.nan)
    assert (Certifier(layers, kinds)(lower, upper, known, question, free[0], bad, free[2])
            == -np.inf).all()  # fmt: skip


def test_a_leaf_is_closed_by_the_multipliers_of_its_program():
    weights = weights_of(2)
    layers = layers_of(network_of(weights, jax.nn.relu))
    x = np.array([0.3, -0.2])
    z0 = weights[0][0].astype(float) @ x + weights[0][1]
    z1 = weights[1][0].astype(float) @ np.maximum(z0, 0) + weights[1][1]
    z = np.concatenate([z0, z1])
    lower, upper = np.where(z > 0, 0, -50).astype("f"), np.where(z > 0, 50, 0).astype("f")
    domain = Domain(0, lower, upper, np.zeros(9), np.zeros(9), np.ones(1))
    goal = float(ROW @ values(weights, x)) - 3.0
    middle, half = np.zeros(2), np.ones(2)
    least, _, mu, share = leaf_margin(layers, domain, middle, half, ROW[None], np.array([goal]))
    question = Question(
        np.zeros((1, 2), "f"), np.ones((1, 2), "f"), ROW.astype("f")[None, None],
        np.array([[goal]], "f"),
    )  # fmt: skip
    sure = Certifier(layers, (True, True))(
        lower[None], upper[None], (None, None), question, np.zeros((1, 9)), mu[None], share[None]
    )
    assert least > 0
    np.testing.assert_allclose(sure, least, rtol=1e-5)


def test_only_layers_that_are_the_network_are_split():
    w, v = (jnp.asarray(part) for part in weights_of(0)[0])
    for f, exact in (
        (lambda x: jax.nn.relu(w @ x + v), True),
        (lambda x: jax.nn.relu(w @ x) - v, True),
        (lambda x: jax.nn.relu(v * x[0] + v).sum()[None], True),
        (lambda x: jax.nn.relu(w @ (x - v[:2])), False),
        (lambda x: jax.nn.relu(v * (w @ x)), False),
        (lambda x: jax.nn.relu((w @ x + v) - v), False),
        (lambda x: jax.nn.relu(w @ x / v), False),
        (lambda x: jax.nn.relu(w @ jnp.broadcast_to(x[:1], (2,))), False),  # w_0 + w_1 is rounded
    ):
        assert written_exactly(trace(f, jnp.zeros(2))) == exact


def test_nothing_is_closed_without_a_certificate(monkeypatch):
    class Doubtful(Certifier):
        def __call__(self, lower, upper, known, question, *free):
            found = super().__call__(lower, upper, known, question, *free)
            return found if question.extra is not None else found - 1e9  # boxes as they are

    monkeypatch.setattr(neuron_search, "Certifier", Doubtful)
    # few steps and no tighter boxes: splits close some children at once
    method = NeuronSplit(batch=8, block=16, steps=1, tries=1, rebox=50, rebox_batch=2, attacks=4)
    for seed in (1, 3):
        weights = weights_of(seed)
        least, _ = least_by_enumeration(weights, ROW, -np.ones(2), np.ones(2))
        pieces = one_piece(ROW, least - 0.3)
        assert decide(weights, jax.nn.relu, pieces, method=method, sound=True)[0] == "unknown"
        assert decide(weights, jax.nn.relu, pieces, method=method)[0] == "verified"


def test_decide_splits_neurons_soundly():
    weights = [(w.astype(np.float32), b) for w, b in weights_of(4)]
    wide = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32) * 0.2
    weights[0] = ((weights[0][0] @ wide).astype(np.float32), weights[0][1])

    def f(x):
        for k, (w, b) in enumerate(weights):
            x = (jax.nn.relu(x) if k else x) @ w.T + b
        return x

    box = Box(-jnp.ones(20), jnp.ones(20))
    x = np.random.default_rng(1).uniform(-1, 1, (20000, 20))
    least = (values(weights, x) @ ROW).min()
    found = jaxact.decide.decide(f, (box, Unsafe.of([(ROW[None], [least - 0.8])])), sound=True)
    assert (found.status, found.method) == ("verified", "neuron splitting")
    divided = jaxact.decide.decide(
        lambda x: f(x / 3 * 3), (box, Unsafe.of([(ROW[None], [least - 0.8])])), sound=True
    )
    assert divided.status == "unknown"
    third = Pieces(-np.ones((1, 2)), np.ones((1, 2)), np.array([[[1 / 3, 0, 0]]]), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="exact in float32"):
        decide(weights_of(0), jax.nn.relu, third, sound=True)
