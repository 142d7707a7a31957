"""Neuron splitting: branch and bound over the pre-activations, for wide inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxact.decide.decision import Clock, Status
from jaxact.decide.layers import Layers
from jaxact.decide.neuron_dual import Question
from jaxact.decide.neuron_lines import is_relu, places
from jaxact.decide.neuron_root import Root
from jaxact.decide.neuron_step import Batch, step
from jaxact.decide.problem import Pieces
from jaxact.tracing.graph import Network


@dataclasses.dataclass(frozen=True)
class NeuronSplit:
    batch: int = 64
    steps: int = 10
    root_steps: int = 10
    hope: float = 2.0
    goal: float = 0.5
    rebox: int = 1
    rebox_steps: int = 10
    candidates: int = 4
    block: int = 256
    allowance: float = 3e-7
    levels: int = 1
    debug: bool = False


@dataclasses.dataclass
class Domain:
    piece: int
    lower: np.ndarray
    upper: np.ndarray
    places: np.ndarray
    mu: np.ndarray
    weights: np.ndarray
    bound: float
    depth: int
    age: int = 99
    depth_retry: int = 0
    stride: float = 1.0


def _half(x):
    return np.clip(x, -6e4, 6e4).astype(np.float16)


def down16(x):
    h = x.astype(np.float16)
    bad = h.astype(np.float32) > x
    h[bad] = np.nextafter(h[bad], np.float16(-np.inf))
    return h


def up16(x):
    return -down16(-x)


def neuron_split(network: Network, layers: Layers, pieces: Pieces, method: NeuronSplit, clock: Clock, *,
                 progress=None, witness=None, state=None):
    relu = tuple(is_relu(f, t) for f, t in zip(layers.fns, layers.thetas))
    P = len(pieces)
    mid = (pieces.lower / 2 + pieces.upper / 2).astype(np.float32)
    half = np.maximum(pieces.upper - mid, mid - pieces.lower)
    half = np.nextafter(half.astype(np.float32), np.float32(np.inf))
    rows = pieces.rows.astype(np.float32)
    thresholds = pieces.thresholds.astype(np.float32)
    widths = layers.widths
    N = sum(widths)
    M = sum(places(r) * n for r, n in zip(relu, widths))
    H = rows.shape[1]
    root = Root(layers, relu, method.block, method.allowance)
    boxes, which = np.unique(np.concatenate([mid, half], 1), axis=0, return_inverse=True)
    lo, hi = root.boxes(*np.split(boxes, 2, axis=1), method.root_steps)
    lo, hi = lo[which], hi[which]
    if method.debug: print('root', clock.seconds, [int(root.open(lo[:1], hi[:1], k).sum()) for k in range(len(relu))])
    queue = [Domain(p, lo[p], hi[p], np.full(M, 0.5, np.float16), np.zeros(N, np.float16), np.full(H, 1/H, np.float32), -np.inf, 0) for p in range(P)]
    B = method.batch
    domains = 0; shown = clock.seconds; first = True
    scale = np.full(P, 1e-6, np.float32)
    it = 0; retries = 0; reboxed = 0; emptied = 0; spent = 0.
    while queue:
        if clock.late:
            return 'unknown', min(d.bound for d in queue), domains, None
        take = queue[-B:]; del queue[-B:]
        n = len(take)
        fill = [take[i % n] for i in range(B)]
        idx = np.array([d.piece for d in fill])
        L = np.maximum(np.stack([d.lower for d in fill]).astype(np.float32), lo[idx])
        U = np.minimum(np.stack([d.upper for d in fill]).astype(np.float32), hi[idx])
        batch = Batch(L, U, np.stack([d.places for d in fill]).astype(np.float32), np.stack([d.mu for d in fill]).astype(np.float32),
                      np.stack([d.weights for d in fill]), mid[idx], half[idx], rows[idx], thresholds[idx], np.arange(B) < n, method.goal * scale[idx], np.array([d.stride for d in fill], np.float32))
        steps = np.int32(5*method.steps if first else method.steps)
        out = step(layers, batch, steps, np.float32(method.allowance), relu=relu, candidates=method.candidates, first=first)
        out = type(out)(*[np.asarray(getattr(out, f)) for f in ('bound','places','mu','weights','neuron','point','children','x','margin','half','stride')])
        if method.debug and it==40:
            import pickle; pickle.dump((batch,), open('/tmp/batch.pkl','wb'))
        domains += n
        if witness is not None and (out.margin[:n] <= 0).any():
            x = witness(out.x[:n][out.margin[:n] <= 0])
            if x is not None:
                return 'falsified', float(out.margin[:n].min()), domains, x
        again = []
        left = [i for i in range(n) if not out.bound[i] > 0]
        if first and method.debug: print('first', clock.seconds, out.bound[:n])
        if first:
            for i in range(n): scale[take[i].piece] = abs(out.bound[i])
        if first: pend0 = len(left)
        first_ = first; first = False
        room = max(1, B // max(1, len(queue) + 2*len(left)))
        levels = int(np.clip(np.floor(np.log2(room)) + 1, 1, min(method.candidates, method.levels))) if len(queue) + 2*len(left) < B else 1
        kids = []; queue_retry = []
        for i in left:
            d = take[i]; stride = 1.0
            if not first_ and out.bound[i] + method.hope * (out.bound[i] - out.half[i]) > 0 and d.depth_retry < 4:
                queue_retry.append(Domain(d.piece, L[i], U[i], out.places[i].astype(np.float16), _half(out.mu[i]), out.weights[i], float(out.bound[i]), d.depth, d.age, d.depth_retry + 1, stride)); retries += 1
                continue
            pl, mu = out.places[i].astype(np.float16), _half(out.mu[i])
            lower, upper = L[i], U[i]
            if d.age >= method.rebox:
                again.append(i)
                continue
            if out.neuron[i, 0] < 0:
                if method.debug: print('nothing to split', out.bound[i], out.margin[i])
                return 'unknown', float(out.bound[i]), domains, None
            parts = [(lower, upper, 0.0)]
            for l in range(levels):
                j = out.neuron[i, l]
                if j < 0: break
                pt = np.float16(out.point[i, l])
                new = []
                for lw, up, _ in parts:
                    for side in (0, 1):
                        a, c = lw, up
                        if side == 0: c = up.copy(); c[j] = pt
                        else: a = lw.copy(); a[j] = pt
                        est = float(out.children[i, l, side]) if levels == 1 else float(out.bound[i])
                        new.append((a, c, est))
                parts = new
            for a, c, est in parts:
                if levels == 1 and est > 1e-4 * 1:  # FSB certified child
                    domains += 1
                    continue
                kids.append(Domain(d.piece, a, c, pl, mu, out.weights[i], max(est, float(out.bound[i])), d.depth+levels, d.age + 1, 0, stride))
        if again:
            t0 = clock.seconds
            lw, up = L[again], U[again]
            root.refine(lw, up, Question(mid[idx[again]], half[idx[again]], rows[idx[again]], thresholds[idx[again]]), method.rebox_steps)
            gap = (lw - up).max(1)
            reboxed += len(again); emptied += int((gap > 0).sum()); spent += clock.seconds - t0
            for j, i in enumerate(again):
                if gap[j] > 0: continue
                d = take[i]
                kids.append(Domain(d.piece, lw[j], up[j], out.places[i].astype(np.float16), _half(out.mu[i]), out.weights[i], float(out.bound[i]), d.depth, 0))
        kids.sort(key=lambda d: -d.bound)
        queue += kids + queue_retry
        it += 1
        if progress is not None and clock.seconds - shown > 1:
            shown = clock.seconds
            progress(Status(shown, domains, len(queue), min((d.bound for d in queue), default=0.0)))
            if method.debug: print('   closed %.5f of %d' % (pend0 - sum(2.0**-d.depth for d in queue), pend0), 'retries', retries, 'rebox %d %d %.1fs' % (reboxed, emptied, spent), ' depth', np.mean([d.depth for d in take]), out.bound[:n].mean(), n, len(left))
    return 'verified', 0.0, domains, None
