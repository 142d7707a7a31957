"""Neuron splitting against enumeration, linear programs and dense samples."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxact.bounds import Box, crown
from jaxact.decide import Pieces, layers_of
from jaxact.decide.decision import Clock, Status
from jaxact.decide.neuron import NeuronSplit, neuron_split
from jaxact.decide.neuron_climb import Rates, climb
from jaxact.decide.neuron_dual import Multipliers, Question, pull_back
from jaxact.decide.neuron_lines import families_of, knot_lines, relu_lines
from jaxact.decide.neuron_memory import Memory
from jaxact.decide.neuron_root import Root, cut
from jaxact.decide.neuron_step import step
from jaxact.decide.unit_lines import is_relu
from jaxact.tracing import trace

SMALL = NeuronSplit(batch=8, block=16, steps=8, rebox_batch=2, attacks=4)
WIDTHS = (2, 5, 4, 3)
SMOOTH = {
    "tanh": jnp.tanh,
    "swish": lambda x: x * jax.nn.sigmoid(x),
}


def weights_of(seed):
    draw = np.random.default_rng(seed)
    return [
        (draw.normal(size=(m, n)).astype(np.float32) * 1.3, draw.normal(size=m).astype(np.float32))
        for n, m in itertools.pairwise(WIDTHS)
    ]


def network_of(weights, act):
    def f(x):
        for k, (w, b) in enumerate(weights):
            x = (act(x) if k else x) @ w.T + b
        return x

    return trace(f, jax.ShapeDtypeStruct((WIDTHS[0],), jnp.float32))


def values(weights, x, act=lambda v: np.maximum(v, 0)):
    """The network in float64, samples along the first axis."""
    for k, (w, b) in enumerate(weights):
        x = (act(x) if k else np.asarray(x, np.float64)) @ w.T.astype(np.float64) + b
    return x


def least_by_enumeration(weights, row, lower, upper, threshold=None):
    """min of row . f over the box, by a linear program for every pattern of the relus."""
    best, at = np.inf, None
    for pattern in itertools.product((0, 1), repeat=sum(WIDTHS[1:-1])):
        matrix, shift = np.eye(WIDTHS[0]), np.zeros(WIDTHS[0])
        rows, ends, start = [], [], 0
        for k, (w, b) in enumerate(weights):
            matrix, shift = w.astype(np.float64) @ matrix, w.astype(np.float64) @ shift + b
            if k == len(weights) - 1:
                break
            on = np.array(pattern[start : start + len(b)])
            start += len(b)
            rows.append(np.where(on[:, None] == 1, -matrix, matrix))
            ends.append(np.where(on == 1, shift, -shift))
            matrix, shift = on[:, None] * matrix, on * shift
        if threshold is not None:
            rows.append(threshold[0] @ matrix)
            ends.append(threshold[1] - threshold[0] @ shift)
            rows[-1], ends[-1] = np.atleast_2d(rows[-1]), np.atleast_1d(ends[-1])
        found = linprog(
            row @ matrix, A_ub=np.vstack(rows), b_ub=np.concatenate(ends),
            bounds=list(zip(lower, upper, strict=True)),
        )  # fmt: skip
        if found.status == 0 and found.fun + row @ shift < best:
            best, at = found.fun + row @ shift, found.x
    return best, at


def witness_of(weights, pieces, act):
    def witness(points):
        for x in points:
            x = np.clip(x, pieces.lower[0], pieces.upper[0])
            if pieces.violated_by(x, values(weights, x, act)):
                return x
        return None

    return witness


def decide(weights, act, pieces, *, method=SMALL, exact=lambda v: np.maximum(v, 0), **more):
    network = network_of(weights, act)
    return neuron_split(
        layers_of(network), pieces, method, more.pop("clock", Clock(300.0)),
        witness=witness_of(weights, pieces, exact), **more,
    )  # fmt: skip


def one_piece(rows, thresholds, half=1.0):
    n = WIDTHS[0]
    rows, thresholds = np.atleast_2d(rows), np.atleast_1d(thresholds)
    return Pieces(-half * np.ones((1, n)), half * np.ones((1, n)), rows[None], thresholds[None])


@pytest.mark.parametrize("seed", range(4))
def test_relu_nets_are_decided_as_by_enumeration(seed):
    weights, row = weights_of(seed), np.array([1.0, -1.0, 0.5])
    least, at = least_by_enumeration(weights, row, -np.ones(2), np.ones(2))
    for gap in (0.02, -0.02):
        pieces = one_piece(row, least - gap)
        status, margin, domains, x = decide(weights, jax.nn.relu, pieces)
        assert status == ("verified" if gap > 0 else "falsified")
        assert domains >= 1
        if gap > 0:
            assert 0 < margin <= gap + 1e-5
        else:
            assert pieces.violated_by(x, values(weights, x))
    # the unsafe set touches the box in one point: float32 must not call it verified
    x = np.asarray(at)
    planted = one_piece(row, float(row @ values(weights, x)))
    assert decide(weights, jax.nn.relu, planted, clock=Clock(3.0))[0] != "verified"


class _Looks(Clock):
    """Time runs out after so many looks at it."""

    def __init__(self, looks):
        super().__init__(float("inf"))
        self.looks = looks

    @property
    def late(self):
        self.looks -= 1
        return self.looks < 0


def test_what_time_ran_out_for_stays_open():
    weights, row = weights_of(0), np.array([1.0, -1.0, 0.5])
    least, _ = least_by_enumeration(weights, row, -np.ones(2), np.ones(2))
    reached = one_piece(row, least + 0.1)
    layers = layers_of(network_of(weights, jax.nn.relu))
    for looks in range(12):
        clock = _Looks(looks)
        status = neuron_split(layers, reached, SMALL, clock, witness=lambda points: None)[0]
        assert status == "unknown"
    assert clock.looks < 0


@pytest.mark.parametrize("name", SMOOTH)
def test_other_activations_are_decided_as_by_samples(name):
    act = SMOOTH[name]
    exact = {
        "tanh": np.tanh,
        "swish": lambda v: v / (1 + np.exp(-v)),
    }[name]
    weights, row = weights_of(7), np.array([1.0, -1.0, 0.5])
    axis = np.linspace(-1, 1, 401)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    least = (values(weights, grid, exact) @ row).min()
    status, *_ = decide(weights, act, one_piece(row, least - 0.3), exact=exact)
    assert status == "verified"
    pieces = one_piece(row, least + 1e-3)
    status, _, _, x = decide(weights, act, pieces, exact=exact)
    assert status == "falsified"
    assert pieces.violated_by(x, values(weights, x, exact))


@pytest.mark.parametrize("seed", range(2))
def test_two_half_spaces_are_excluded_together(seed):
    """Neither is excluded alone; the oracle minimises the one over the other."""
    weights = weights_of(seed + 20)
    one, two = np.array([1.0, 0, 0.3]), np.array([-1.0, 0.4, 0])
    middle = float(values(weights, np.zeros((1, 2)))[0] @ one)
    least, _ = least_by_enumeration(weights, two, -np.ones(2), np.ones(2), (one, middle))
    for gap in (0.03, -0.03):
        pieces = one_piece(np.stack([one, two]), np.array([middle, least - gap]))
        status, _, _, _ = decide(weights, jax.nn.relu, pieces)
        assert status == ("verified" if gap > 0 else "falsified")


def test_a_dual_bound_is_below_every_value_for_any_multipliers(rng):
    """Random lines, multipliers and sub-intervals: the bound holds where they hold."""
    weights = weights_of(3)
    network = network_of(weights, jax.nn.relu)
    layers = layers_of(network)
    widths, count = layers.widths, 64
    x = rng.uniform(-1, 1, (4000, 2))
    z0 = x @ weights[0][0].T + weights[0][1]
    z1 = np.maximum(z0, 0) @ weights[1][0].T + weights[1][1]
    z, out = np.concatenate([z0, z1], 1), values(weights, x)
    lower, upper = (np.tile(v, (count, 1)) for v in (z.min(0) - 0.1, z.max(0) + 0.1))
    for row in range(count):  # splits at 0
        for j in rng.choice(sum(widths), 3, replace=False):
            if lower[row, j] < 0 < upper[row, j]:
                (lower if rng.random() < 0.5 else upper)[row, j] = 0
    lower, upper = lower.astype(np.float32), upper.astype(np.float32)
    boxes = tuple(zip(cut(lower, widths), cut(upper, widths), strict=True))
    families = families_of((None, None), boxes)
    rows = rng.normal(size=(count, 2, 3)).astype(np.float32)
    thresholds = rng.normal(size=(count, 2)).astype(np.float32)
    question = Question(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32), rows, thresholds)
    free = Multipliers(
        tuple(rng.uniform(size=(1, count, n)).astype(np.float32) for n in widths),
        tuple(rng.normal(size=(count, n)).astype(np.float32) for n in widths),
        rng.uniform(size=(count, 2)).astype(np.float32),
    )
    lines = tuple(f.at(p) for f, p in zip(families, free.places, strict=True))
    found = pull_back(layers, lines, boxes, question, free)
    met = 0
    for i in range(count):
        inside = ((z >= lower[i]) & (z <= upper[i])).all(1)
        value = (free.weights[i] * (out[inside] @ rows[i].T - thresholds[i])).sum(1)
        met += len(value)
        assert (value >= float(found.bound[i]) - 1e-4).all()
    assert met > 1000


def test_the_ascent_lies_between_crown_and_the_linear_program():
    weights, row = weights_of(5), np.array([1.0, -1.0, 0.5])
    network = network_of(weights, jax.nn.relu)
    layers = layers_of(network)
    box = Box(-jnp.ones(2), jnp.ones(2))
    plain = crown(network, box, jnp.asarray(row, jnp.float32)[None])
    boxes = tuple((low[None], high[None]) for low, high in plain.intermediate)
    families = families_of((None, None), boxes)
    question = Question(
        np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32),
        row.astype(np.float32)[None, None], np.zeros((1, 1), np.float32),
    )  # fmt: skip
    free = Multipliers(
        tuple(f.start() for f in families), tuple(jnp.zeros_like(b[0]) for b in boxes),
        jnp.ones((1, 1)),
    )  # fmt: skip
    f = np.float32
    rates = Rates(np.int32(300), f(0.05), np.full(2, 0.05, f), f(0.1), f(0.985))
    found = climb(layers, families, boxes, question, free, rates, lambda b: b > 1e9)
    optimum = triangle_optimum(weights, row, boxes)
    assert plain.lower[0] - 1e-4 <= found.bound[0] <= optimum + 1e-4
    assert found.bound[0] >= optimum - 0.05 * (1 + optimum - float(plain.lower[0]))


def triangle_optimum(weights, row, boxes):
    """The linear program of the triangle relaxation, over x and the activations."""
    n, (a, b) = WIDTHS[0], WIDTHS[1:-1]
    size = n + a + b
    rows, ends = [], []
    spans = [(-1.0, 1.0)] * n + [(0, None)] * (a + b)
    for k, (start, before, width) in enumerate([(n, slice(0, n), a), (n + a, slice(n, n + a), b)]):
        low, high = (np.asarray(v[0], np.float64) for v in boxes[k])
        z = np.zeros((width, size))
        z[:, before] = weights[k][0]
        shift = weights[k][1].astype(np.float64)
        y = np.zeros((width, size))
        y[np.arange(width), start + np.arange(width)] = 1
        slope = np.where(high <= 0, 0, np.where(low >= 0, 1, high / (high - low)))
        lift = np.where((low < 0) & (high > 0), -slope * low, 0)
        rows += [z - y, y - slope[:, None] * z, z, -z]
        ends += [-shift, slope * shift + lift, high - shift, shift - low]
    cost = np.zeros(size)
    cost[n + a :] = row @ weights[2][0]
    found = linprog(cost, A_ub=np.vstack(rows), b_ub=np.concatenate(ends), bounds=spans)
    return found.fun + row @ weights[2][1]


def test_tightened_boxes_hold_what_is_unsafe(rng):
    """Every sample that meets the half-space keeps its pre-activations inside."""
    weights, row = weights_of(11), np.array([1.0, -1.0, 0.5])
    layers = layers_of(network_of(weights, jax.nn.relu))
    x = rng.uniform(-1, 1, (20000, 2))
    out = values(weights, x) @ row
    threshold = np.quantile(out, 0.02)
    root = Root(layers, (True, True), 16, 1e-6, 1, 2, 2**20)
    middle, half = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    lower, upper = root.boxes(middle, half, 10)
    z0 = x @ weights[0][0].T + weights[0][1]
    z1 = np.maximum(z0, 0) @ weights[1][0].T + weights[1][1]
    z = np.concatenate([z0, z1], 1)
    assert (z >= lower - 1e-5).all()
    assert (z <= upper + 1e-5).all()
    question = Question(
        middle, half, row.astype(np.float32)[None, None], np.full((1, 1), threshold, np.float32)
    )
    low, high = lower.copy(), upper.copy()
    piece = np.zeros(1, int)
    root.refine(low, high, question, piece, 20)
    unsafe = z[out <= threshold]
    assert (unsafe >= low - 1e-5).all()
    assert (unsafe <= high + 1e-5).all()
    width = (high - low).sum()
    assert width < (upper - lower).sum() - 0.1
    # a second time it starts where the first ended: one step keeps what twenty found
    warm, cold = (lower.copy(), upper.copy()), (lower.copy(), upper.copy())
    root.refine(*warm, question, piece, 1)
    root.refine(*cold, question, piece + 1, 1)
    assert (unsafe >= warm[0] - 1e-5).all()
    assert (unsafe <= warm[1] + 1e-5).all()
    assert (warm[1] - warm[0]).sum() < width + 0.2 * ((cold[1] - cold[0]).sum() - width)


def test_the_memory_forgets_the_oldest_piece():
    size = 2 * 3 * (2 * 3 + 2 * 3 + 4)
    memory = Memory(3, 3, 1, 2 * size)
    side, neuron = np.array([0, 1]), np.array([2, 0])
    for piece in range(3):
        found = np.full((2, 3), piece / 4), np.full((2, 3), piece), np.full((2, 1), piece)
        memory.keep(np.full(2, piece), side, neuron, found)
    places, mu, weights = memory.recall(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 0]),
                                        np.array([2, 2, 0, 0]))  # fmt: skip
    assert places[:, 0].tolist() == [-1, 0.25, 0.5, -1]
    assert mu[:, 0].tolist() == [0, 1, 2, 0]
    assert weights[:, 0].tolist() == [0, 1, 2, 0]
    nothing = Memory(3, 3, 1, size - 1)
    nothing.keep(np.zeros(2, int), side, neuron, found)
    assert nothing.recall(np.zeros(2, int), side, neuron)[0].max() == -1


@pytest.mark.parametrize("act", [jnp.tanh, SMOOTH["swish"]])
def test_families_are_made_of_lines_that_hold(act, rng):
    middle = rng.normal(size=(1, 200)) * 2
    half = rng.uniform(0.01, 3, (1, 200))
    lower, upper = (middle - half).astype(np.float32), (middle + half).astype(np.float32)
    part = np.linspace(0, 1, 101)[:, None]
    x = lower + part * (upper - lower)
    y = np.asarray(act(jnp.asarray(x)))
    for family, value in [
        (knot_lines(act, (), lower, upper), y),
        (relu_lines(jnp.asarray(lower), jnp.asarray(upper)), np.maximum(x, 0)),
    ]:
        shape = family.start().shape
        for place in (np.zeros(shape), np.ones(shape), rng.uniform(size=shape), family.start()):
            low, low_shift, high, high_shift = family.at(jnp.asarray(place, jnp.float32))
            assert (low * x + low_shift <= value + 2e-6 * (1 + np.abs(x))).all()
            assert (high * x + high_shift >= value - 2e-6 * (1 + np.abs(x))).all()


def test_relu_is_known_by_its_pieces():
    assert is_relu(jax.nn.relu, ())
    assert is_relu(lambda x: jnp.maximum(x, 0), ())
    assert not is_relu(jax.nn.leaky_relu, ())
    assert not is_relu(lambda x: jnp.maximum(x, 0) * 2, ())
    assert not is_relu(lambda x: jnp.clip(x, 0, 6), ())


class Clockwork(Clock):
    """A clock that is late after so many looks."""

    def __init__(self, looks):
        super().__init__(60.0)
        self.looks = looks

    @property
    def late(self):
        self.looks -= 1
        return self.looks < 0


def test_a_stopped_search_goes_on_to_the_same_verdict(tmp_path):
    weights, row = weights_of(1), np.array([1.0, -1.0, 0.5])
    least, _ = least_by_enumeration(weights, row, -np.ones(2), np.ones(2))
    pieces = one_piece(row, least - 1e-3)
    method = NeuronSplit(batch=8, block=16, steps=1, tries=1, rebox=50, rebox_batch=2, attacks=4)
    whole = decide(weights, jax.nn.relu, pieces, method=method)
    first = decide(weights, jax.nn.relu, pieces, method=method, state=tmp_path, clock=Clockwork(2))
    assert first[0] == "unknown"
    assert first[1] <= 0
    then = decide(weights, jax.nn.relu, pieces, method=method, state=tmp_path)
    assert whole[0] == then[0] == "verified"
    assert then[2] > first[2]
    # another question finds nothing of its own there
    other = one_piece(row, least + 1e-2)
    assert decide(weights, jax.nn.relu, other, state=tmp_path)[0] == "falsified"


def test_no_pieces_are_verified_and_progress_is_told():
    none = Pieces(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 1, 3)), np.zeros((0, 1)))
    assert decide(weights_of(0), jax.nn.relu, none)[:3] == ("verified", np.inf, 0)
    told: list[Status] = []
    clock = Clock(60.0)
    clock.start -= 2  # a second has passed at every look

    class Fast(Clock):
        @property
        def seconds(self):
            self.start -= 1
            return super().seconds

    weights, row = weights_of(1), np.array([1.0, -1.0, 0.5])
    least, _ = least_by_enumeration(weights, row, -np.ones(2), np.ones(2))
    decide(
        weights, jax.nn.relu, one_piece(row, least - 0.02), clock=Fast(1e9), progress=told.append
    )
    assert told


def test_equal_architectures_compile_once():
    row = np.array([1.0, -1.0, 0.5])
    decide(weights_of(30), jax.nn.relu, one_piece(row, -30.0))
    count = step._cache_size()
    decide(weights_of(31), jax.nn.relu, one_piece(row, -30.0))
    assert step._cache_size() == count


def test_options_are_checked():
    with pytest.raises(ValueError, match="batch"):
        NeuronSplit(batch=0)
    with pytest.raises(ValueError, match="allowance"):
        NeuronSplit(allowance=-1.0)
