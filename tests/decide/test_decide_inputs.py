"""Input splitting: exact answers of tiny networks, edges, resume, memory, one compilation."""

from __future__ import annotations

import functools
import importlib
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxact import bounds
from jaxact.bounds import Ball, Box, Unsafe
from jaxact.decide import InputSplit, decide, layers_of, neuron, pieces_of
from jaxact.decide.decision import Clock
from jaxact.decide.input_bounds import planes
from jaxact.decide.input_split import input_split
from jaxact.decide.input_step import clip, joint_margin, lowered, step
from jaxact.decide.sound import sound_margins
from jaxact.decide.zoom import zoom
from jaxact.numerics.pytrees import pytree
from jaxact.tracing import trace

SIZES = (2, 6, 6, 2)
SMALL = InputSplit(batch=16)


@pytree(static=("fn",))
class Net:
    """A dense network whose weights are leaves."""

    weights: object
    fn: object = jax.nn.relu

    def __call__(self, x):
        for k, (w, b) in enumerate(self.weights):
            x = jnp.matmul(x if k == 0 else self.fn(x), w.astype(x.dtype)) + b.astype(x.dtype)
        return x


def net(seed, fn=jax.nn.relu, sizes=SIZES):
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(sizes)
    return Net(
        tuple(
            (rng.normal(size=p).astype("f"), rng.normal(size=p[1]).astype("f") / 2) for p in pairs
        ),
        fn,
    )


def least(f, row, low, high):
    """Min of row . f over a box: every pattern of the relus is one linear program."""
    from scipy.optimize import linprog

    (w0, b0), (w1, b1), (w2, b2) = [(np.float64(w), np.float64(b)) for w, b in f.weights]
    best = np.inf
    for first in itertools.product([0.0, 1.0], repeat=len(b0)):
        on = np.array(first)
        side = (1 - 2 * on)[:, None] * w0.T, (2 * on - 1) * b0  # on: w x + b >= 0
        outer = w0 * on
        if linprog(np.zeros(2), side[0], side[1], bounds=list(zip(low, high, strict=True))).status:
            continue
        for second in itertools.product([0.0, 1.0], repeat=len(b1)):
            act = np.array(second)
            inner, shift = outer @ w1, (on * b0) @ w1 + b1
            more = (1 - 2 * act)[:, None] * inner.T, (2 * act - 1) * shift
            slope, level = (inner * act) @ w2 @ row, ((shift * act) @ w2 + b2) @ row
            found = linprog(
                slope, np.vstack([side[0], more[0]]), np.r_[side[1], more[1]],
                bounds=list(zip(low, high, strict=True)),
            )  # fmt: skip
            if not found.status:
                best = min(best, found.fun + level)
    return best


def value(f, x):
    with jax.enable_x64(True):
        return np.asarray(f(jnp.asarray(np.asarray(x, np.float64))))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_exact_minimum_of_a_relu_network_is_where_the_answer_changes(seed):
    f, box = net(seed), Box(-np.ones(2), np.ones(2))
    row = np.array([1.0, -1.0])
    exact = least(f, row, -np.ones(2), np.ones(2))
    gap = 1e-4 * (1 + abs(exact))
    safe = decide(f, (box, Unsafe.of([(row[None], [exact - gap])])), method=SMALL)
    assert (safe.status, safe.method, safe.x) == ("verified", "input splitting", None)
    assert 0 < safe.margin
    reached = decide(f, (box, Unsafe.of([(row[None], [exact + gap])])), method=SMALL)
    assert reached.status == "falsified"
    assert (abs(reached.x) <= 1).all()
    assert np.allclose(reached.y, value(f, reached.x), rtol=1e-13)
    assert row @ reached.y <= exact + gap
    assert reached.margin <= 0


@given(
    seed=st.integers(0, 10**6),
    corner=st.lists(st.sampled_from([-1.0, 1.0]), min_size=2, max_size=2),
    inside=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_counterexample_at_the_edge_is_never_verified_away(seed, corner, inside):
    f = net(seed)
    center = np.random.default_rng(seed).normal(size=2)
    at = np.array(corner) * (0.5 if inside else 1.0)
    box = Box(center - 0.3, center + 0.3)
    x = np.clip(center + 0.3 * at, box.lower, box.upper)
    rows = np.array([[1.0, 0.0], [-1.0, 0.5]])
    # both half-spaces touch the output there, and nothing more is promised
    unsafe = Unsafe.of([(rows, rows @ value(f, x))])
    found = decide(f, (box, unsafe), method=SMALL, timeout=0.3)
    assert found.status != "verified"


def test_half_spaces_that_can_be_met_one_by_one_and_not_together_are_excluded():
    f = Net(((np.eye(2, 6, dtype="f"), np.ones(6, "f")), (np.eye(6, dtype="f"), np.zeros(6, "f")),
             (np.eye(6, 2, dtype="f"), np.zeros(2, "f"))))  # fmt: skip
    box = Box(-np.ones(2), np.ones(2))  # outputs x + 1
    rows = np.array([[1.0, 1.0], [-1.0, -1.0]])
    one = [decide(f, (box, Unsafe.of([(rows[k : k + 1], [t])])), method=SMALL).status
           for k, t in ((0, 1.5), (1, -1.6))]  # fmt: skip
    assert one == ["falsified", "falsified"]
    both = decide(f, (box, Unsafe.of([(rows, [1.5, -1.6])])), method=SMALL)
    assert both.status == "verified"
    assert both.domains < 10


ACTS = {"own": lambda x: x * jax.nn.sigmoid(1.5 * x) - 0.1 * jnp.abs(x)}


@functools.partial(jax.jit, static_argnames="capacity")
def jitted(layers, low, high, rows, real, *, capacity):
    return planes(layers, low, high, real, capacity)(rows)


@pytest.mark.parametrize("name", ["relu", *ACTS])
def test_planes_and_cuts_hold_at_sampled_points(name):
    fn = ACTS.get(name, jax.nn.relu)
    layers = layers_of(trace(net(3, fn), jnp.zeros(2)))
    rng = np.random.default_rng(1)
    middle, half = rng.normal(size=(16, 2)), rng.uniform(0.01, 1.5, size=(16, 2))
    low, high = (v.astype("f") for v in (middle - half, middle + half))
    rows = rng.normal(size=(16, 4, 2)).astype("f")
    x = low[:, None] + (high - low)[:, None] * rng.uniform(size=(16, 400, 2)).astype("f")
    with jax.enable_x64(True):
        y = np.asarray(jax.vmap(jax.vmap(net(3, fn)))(x.astype(np.float64)))
    values = np.einsum("bho,bso->bsh", rows.astype(np.float64), y)
    none = np.zeros((16, 4), "f")
    for capacity in (1, 12):
        found = jitted(layers, low, high, rows, np.ones(16, bool), capacity=capacity)
        level = np.asarray(lowered(found, low, high, none), np.float64)
        under = np.einsum("bhi,bsi->bsh", np.asarray(found.slopes, np.float64), x)
        assert (under + level[:, None] <= values).all()
    thresholds = np.quantile(values, 0.4, axis=1).astype("f")
    out = step(layers, low, high, rows, thresholds, np.ones(16, bool), capacity=12, joint_steps=20)
    slack = (values - thresholds[:, None]).max(2)
    finite = np.isfinite(out.margin)
    assert (np.asarray(out.margin)[finite, None] <= slack[finite]).all()
    assert (slack[~finite] > 0).all()  # nothing is left there
    kept = ((x >= out.lower[:, None]) & (x <= out.upper[:, None])).all(2)
    assert kept[slack <= 0].all()
    crown = jax.vmap(lambda *ends, r: bounds.crown(net(3, fn), Box(*ends), r).lower)
    tight = crown(low, high, r=rows)
    whole = np.asarray(found.whole)
    ours = found.constants + jnp.einsum("bhi,bi->bh", found.slopes, middle.astype("f"))
    ours = ours - jnp.einsum("bhi,bi->bh", jnp.abs(found.slopes), half.astype("f"))
    assert np.median(np.asarray(ours - tight)[whole]) > -0.05  # as tight as CROWN, nearly


def test_joint_margins_and_cuts_of_given_planes():
    slopes = jnp.array([[[1.0, 0.0], [-1.0, 0.0]]])
    low, high = -jnp.ones((1, 2)), jnp.ones((1, 2))
    level = jnp.array([[-0.2, 0.5]])  # x <= 0.2 and x >= 0.5
    margin, weights = joint_margin(slopes, level, low, high, 20)
    assert abs(float(margin[0]) - 0.15) < 1e-3
    assert jnp.allclose(weights, 0.5, atol=0.01)
    level = jnp.array([[-0.5, 0.2]])  # 0.2 <= x <= 0.5
    left, right, empty = clip(slopes, level, low, high)
    assert not bool(empty[0])
    assert np.allclose([left[0], right[0]], [[0.2, -1], [0.5, 1]], atol=1e-4)
    assert left[0, 0] <= 0.2
    assert right[0, 0] >= 0.5
    assert bool(clip(slopes, jnp.array([[2.0, 0.0]]), low, high)[2][0])


def test_any_network_of_few_inputs():
    def f(x):  # a skip connection and a product: no layers
        return x + jnp.stack([jnp.tanh(x[0]) * x[1], jax.nn.softplus(x).sum()])

    assert layers_of(trace(f, jnp.zeros(2))) is None
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2), -1).reshape(-1, 2)
    lowest = float(jax.vmap(f)(grid.astype("f"))[:, 0].min())
    box, row = Ball(jnp.zeros(2), 1.0), np.array([[1.0, 0.0]])
    assert decide(f, (box, Unsafe.of([(row, [lowest - 0.02])])), method=SMALL).status == "verified"
    found = decide(f, (box, Unsafe.of([(row, [lowest + 0.01])])), method=SMALL)
    assert found.status == "falsified"
    assert found.y[0] <= lowest + 0.01


def test_an_affine_network_of_many_inputs_is_decided_by_planes():
    weights = np.random.default_rng(0).normal(size=(2, 40)).astype("f")
    box, f = Box(-np.ones(40), np.ones(40)), (lambda x: weights @ x)
    low = -float(np.abs(weights[0].astype(np.float64)).sum())
    rows = weights[:1] @ np.linalg.pinv(weights)  # the first output
    for gap, status in ((1e-2, "verified"), (-1e-2, "falsified")):
        assert decide(f, (box, Unsafe.of([(rows, [low - gap])])), method=None).status == status


class Steps(Clock):
    """Late after so many looks."""

    left = 4

    @property
    def late(self):
        self.left -= 1
        return self.left < 0


def hard(seed=11):
    """A question of some dozens of boxes, verified."""
    f, row = net(seed), np.array([0.5, 1.0])
    low, high = np.full(2, -2.0), np.full(2, 2.0)
    return f, (Box(low, high), Unsafe.of([(row[None], [least(f, row, low, high) - 1e-3])]))


def test_time_runs_out_and_the_search_goes_on_where_it_was(tmp_path):
    f, case = hard()
    whole = decide(f, case, method=InputSplit(batch=2))
    assert whole.status == "verified"
    assert whole.domains > 20
    late = decide(f, case, method=InputSplit(batch=2), timeout=0, state=tmp_path)
    assert (late.status, late.timed_out, late.method, late.domains) == ("unknown", True, "", 0)

    layers = layers_of(trace(f, jnp.zeros(2)))
    pieces = pieces_of(case, 2, 2)
    options = {"witness": lambda points: None, "state": tmp_path}
    counts = []
    for _ in range(40):
        method = InputSplit(batch=2, memory=4)  # so that there is something on disk
        found = input_split(layers, pieces, method, Steps(1e9), **options)
        counts.append(found.domains)
        if found.status != "unknown":
            break
        assert found.margin <= 0
    assert found.status == "verified"
    assert len(counts) > 2
    assert counts[-1] == whole.domains
    assert sorted(counts) == counts
    assert [p.name for p in tmp_path.iterdir()] == ["problem.txt"]
    with pytest.raises(ValueError, match="state must be the folder of this problem"):
        decide(net(8), case, method=InputSplit(batch=2), state=tmp_path)


def test_the_queue_keeps_to_its_memory(monkeypatch):
    from jaxact.decide import queue

    most = []
    push = queue.Stack.push
    monkeypatch.setattr(
        queue.Stack, "push", lambda s, b: (push(s, b), most.append((s.in_memory, len(s))))[0]
    )
    f, case = hard()
    free = decide(f, case, method=InputSplit(batch=2))
    assert max(kept for kept, _ in most) > 4
    most.clear()
    tight = decide(f, case, method=InputSplit(batch=2, memory=4))
    assert max(kept for kept, _ in most) <= 4 < max(all_ for _, all_ in most)
    assert (tight.status, tight.domains) == (free.status, free.domains)


def test_one_compilation_for_an_architecture():
    box = Box(-np.ones(2), np.ones(2))
    compiled = set()
    for seed in range(3):
        for rows in (np.eye(2)[:1], -np.eye(2)):
            decide(net(seed), (box, Unsafe.of([(rows, np.zeros(len(rows)))])), method=SMALL)
            compiled.add(step._cache_size())
    assert len(compiled) == 1


def test_sound_certificates():
    f, case = hard(2)
    found = decide(f, case, method=SMALL, sound=True)
    assert (found.status, found.method) == ("verified", "input splitting")
    network, pieces = trace(f, jnp.zeros(2)), pieces_of(case, 2, 2)
    rng = np.random.default_rng(0)
    middle = rng.uniform(-1.5, 1.5, (8, 2))
    low, high = ((middle + s).astype("f") for s in (-0.2, 0.2))
    margins = sound_margins(network, pieces, low, high, np.zeros(8, int))
    x = low[:, None] + (high - low)[:, None] * rng.uniform(size=(8, 200, 2))
    slacks = np.array([[pieces.margins(value(f, p))[0] for p in points[:50]] for points in x])
    assert (margins[:, None] <= slacks).all()
    assert np.isfinite(margins).all()

    def never(lower, upper, piece):
        return np.zeros(len(piece), bool)

    layers = layers_of(network)
    options = {"witness": lambda points: None, "certify": never}
    unsure = input_split(layers, pieces, SMALL, Steps(1e9), **options)
    assert unsure.status == "unknown"
    third = Unsafe.of([(np.array([[1 / 3, 0.0]]), np.array([-9.0]))])
    with pytest.raises(ValueError, match="rows that are exact in float32"):
        decide(f, (case[0], third), method=SMALL, sound=True)


def test_a_thin_counterexample_is_found():
    layers = layers_of(trace(net(4), jnp.zeros(2)))
    low, high = -np.ones(2, "f"), np.ones(2, "f")
    rows, target = np.eye(2, dtype="f"), value(net(4), [0.37, -0.61])
    both = np.concatenate([rows, -rows])
    thresholds = np.concatenate([target, -target]).astype("f") + 2e-4  # a square around the output
    starts = np.zeros((1, 2), "f")
    points, slacks = zoom(layers, low, high, both, thresholds, starts, jax.random.key(0))
    assert slacks[0] <= 0
    assert np.abs(layers(points[0]) - target).max() <= 3e-4
    found = decide(net(4), (Box(low, high), Unsafe.of([(both, thresholds)])), method=SMALL)
    assert found.status == "falsified"


def test_what_is_refused_and_what_is_trivial():
    f, box = net(0), Box(-np.ones(2), np.ones(2))
    unsafe = Unsafe.of([(np.eye(2)[:1], [0.0])])
    for call, error, message in (
        (lambda: decide(f, box), TypeError, "cases must be a pair"),
        (lambda: decide(f, [(box, 3)]), TypeError, "must hold an Unsafe set"),
        (lambda: decide(f, [3]), TypeError, "must be a pair"),
        (lambda: decide(3, (box, unsafe)), TypeError, "f must be a function"),
        (lambda: decide(f, []), ValueError, "at least one region"),
        (lambda: decide(f, (Ball(jnp.zeros(2), 1.0, norm=2), unsafe)), ValueError, "norm inf"),
        (
            lambda: decide(f, (box, unsafe), timeout=-1),
            ValueError,
            "timeout must be at least 0, got -1",
        ),
        (lambda: decide(f, (box, unsafe), timeout=float("nan")), ValueError, "timeout"),
        (lambda: InputSplit(batch=0), ValueError, "batch"),
        (
            lambda: decide(
                f, (box, Unsafe.of([([[1.0, 0.0]], [99.0])])), reference=lambda x: x + 1
            ),
            ValueError,
            "the reference must agree",
        ),
        (
            lambda: decide(f, [(box, unsafe), (Box(-np.ones(3), np.ones(3)), unsafe)]),
            ValueError,
            "a case's region",
        ),
    ):
        with pytest.raises(error, match=message):
            call()


SHARED = pathlib.Path(__file__).parents[3] / "shared" / "vnncomp" / "acasxu"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/vnncomp")
def test_public_problems():
    pytest.importorskip("onnx")
    from jaxact import io

    for network, prop, status in (
        ("1_1", 3, "verified"), ("1_9", 7, "falsified"), ("4_5", 2, "falsified"),
        ("2_8", 1, "verified"),
    ):  # fmt: skip
        path = SHARED / f"ACASXU_run2a_{network}_batch_2000.onnx"
        f = io.load_onnx(path)
        found = decide(
            f, io.load_vnnlib(SHARED / f"prop_{prop}.vnnlib").cases, timeout=200,
            reference=io.onnxruntime_evaluation(path, f),
        )  # fmt: skip
        assert found.status == status, (network, prop)


def test_what_waits_is_left_to_neurons(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxact.decide.input_split._PIECES", 4)
    f, (box, unsafe) = hard()
    for patience in (1, 12):
        method = InputSplit(batch=4, patience=patience)
        found = decide(f, (box, unsafe), method=method)
        assert (found.status, found.margin > 0) == ("verified", True)
    far = Unsafe(unsafe.rows, np.asarray(unsafe.thresholds) + 0.05)
    found = decide(f, (box, far), method=method)
    assert found.status == "falsified"
    assert decide(f, (box, unsafe), method=method, sound=True).status == "verified"
    # a search that runs out of time among the neurons goes on there
    calls, split = [], neuron.neuron_split

    def late(layers, pieces, *, clock, state, **options):
        calls.append(len(pieces))
        if len(calls) == 3:
            return split(layers, pieces, clock=clock, state=state, **options)
        found = split(layers, pieces, clock=Steps(1e9), state=state, **options)
        clock.start -= 1e10
        return found

    # the package's attribute of that name is the function
    monkeypatch.setattr(importlib.import_module("jaxact.decide.decide"), "neuron_split", late)
    options = {"method": method, "state": tmp_path, "timeout": 1e9}
    found = [decide(f, (box, unsafe), **options).status for _ in range(3)]
    assert found == ["unknown", "unknown", "verified"]
    assert calls == [calls[0]] * 3
    assert [p.name for p in tmp_path.iterdir()] == ["problem.txt"]


def test_no_box_is_lost_on_the_way_to_the_neurons(monkeypatch):
    monkeypatch.setattr("jaxact.decide.input_split._PIECES", 40)
    f, case = hard()
    layers, pieces = layers_of(trace(f, jnp.zeros(2))), pieces_of(case, 2, 2)
    given = []

    def finish(pieces):
        given.append(pieces)
        return "verified", 1.0, 7, None

    def never(lower, upper, piece):
        return np.zeros(len(piece), bool)

    method = InputSplit(batch=4, memory=4, patience=12)  # most boxes are on disk
    found = input_split(
        layers, pieces, method, Clock(1e9), witness=lambda points: None, certify=never,
        finish=finish,
    )  # fmt: skip
    (left,) = given
    assert found.status == "verified"
    assert len(left) >= 40
    assert np.prod(left.upper - left.lower, axis=1).sum() == pytest.approx(16.0)
    size = np.prod(left.upper - left.lower, axis=1)
    assert size.max() <= 4 * size.min()  # the largest were split first
    # boxes go on where neurons give up
    give_up = input_split(
        layers, pieces, method, Clock(1e9), witness=lambda points: None,
        finish=lambda pieces: ("unknown", -1.0, 7, None),
    )  # fmt: skip
    assert give_up.status == "verified"
