"""The inversion section: a decoder of digits inverted from the upper half of an image."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import inversion as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value, attempt, number, pixels, share, standard_error
from jaxact.io import Images
from jaxact.nets import train_autoencoder
from jaxact.sweep import sweep

QUESTION = (
    "Can a decoder with this activation be inverted from half of its output, and is the answer "
    "unique?"
)
_LATENT = 8
_NOISE = 0.1
_SHOWN = 8
_PROVED = 12
_LEVELS = np.linspace(0.1, 0.99, 24)
_HALF = "upper half of the image seen"


def inversion(
    act: Activation, digits: Images, key: Any,
    *, count: int, restarts: int, epochs: int, mesh: Any = None,
) -> Section:  # fmt: skip
    """Train a decoder of 64 hidden units, invert it from the upper half: in range and held out."""
    keys = jax.random.split(key, 3)
    encoder, generator, fit = train_autoencoder(
        digits.x, latent=_LATENT, act=act, test=digits.test_x, epochs=epochs, key=keys[0]
    )
    known = number(fit.test_accuracy)
    explained = Value(
        "decoder",
        "variance of digits the decoder explains",
        known,
        f"with {_LATENT} latents: the network that is inverted here",
        "share of the variance of held-out digits",
        "measured",
        trust="one training run",
        better="higher",
        reason="" if known is not None else "the decoder's outputs are not finite",
    )
    high = digits.x.shape[1] // 2
    see = lens.mask(np.arange(digits.x.shape[1])[:, None] < high + np.zeros(digits.x.shape[2]))
    images = jnp.asarray(digits.test_x[:count])
    truth = jax.vmap(encoder)(images)
    found, why = attempt(_invert, generator, see, images, truth, restarts, keys[1], mesh)
    if found is None:
        return Section("inversion", QUESTION, (explained,), reason=f"no inversion: {why}")
    inside, outside = found
    posterior = jax.jit(
        jax.vmap(lambda z: lens.laplace(generator, z, noise=_NOISE, operator=see).variance)
    )
    deviation = np.sqrt(np.asarray(posterior(outside.latent), float))
    scores = _scores(np.asarray(images), np.asarray(outside.output), deviation, high)
    values = (
        *_recovered(inside, np.asarray(truth), restarts),
        _unique(generator, see, truth[:_PROVED]),
        *_held_out(np.asarray(images), np.asarray(outside.output), scores, high),
        explained,
    )
    drawn = _pictures(np.asarray(images), np.asarray(outside.output), deviation, high)
    bands = [NormalDist().inv_cdf((1 + level) / 2) for level in _LEVELS]
    covered = [float((scores <= band).mean()) for band in bands]
    data = {"level": _LEVELS, "covered": covered, "pictures": drawn}
    return Section("inversion", QUESTION, values, data)


def _invert(
    generator: Any, see: Any, images: Any, truth: Any, restarts: int, key: Any,
    mesh: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """One compiled batch: the decoder's own outputs first, then the held-out digits."""
    count = len(images)

    def solve(problem: tuple[Any, Any, Any]) -> Any:
        y, prior, key = problem
        return lens.invert(
            generator, y, latent=_LATENT, operator=see, restarts=restarts, prior=prior, key=key
        )

    y = jax.vmap(see)(jnp.concatenate([jax.vmap(generator)(truth), images]))
    prior = jnp.repeat(jnp.asarray([0.0, _NOISE**2], y.dtype), count)
    found = sweep(solve, (y, prior, jax.random.split(key, 2 * count)), mesh=mesh)
    found = jax.tree.map(np.asarray, found)
    first, second = (slice(0, count), slice(count, None))
    return tuple(jax.tree.map(lambda a, s=s: a[s], found) for s in (first, second))


def _recovered(inside: Any, truth: np.ndarray, restarts: int) -> list[Value]:
    error = np.linalg.norm(inside.latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
    hit, spread = share(error < 1e-2)
    known, spread_known = share(inside.identifiable)
    least = np.asarray(inside.sigma_min, float)
    return [
        Value(
            "success",
            "latents recovered from half an image",
            hit,
            f"to a relative error below 1 %; the decoder's own outputs, {_HALF}",
            f"share of {len(truth)} problems",
            "measured",
            spread,
            f"the solver converged for {np.mean(inside.converged):.0%}; best of {restarts} starts, "
            f"of which {np.mean(inside.agreement):.0%} agree with it",
            "higher",
        ),
        Value(
            "identifiable",
            "problems with an identifiable latent",
            known,
            "sigma_min > 1e-4 sigma_max: nothing else nearby explains the measurements",
            f"share of {len(truth)} problems",
            "measured",
            spread_known,
            "to first order; the certified box says it for a neighbourhood",
            "higher",
        ),
        Value(
            "sigma_min",
            "sigma_min of the Jacobian, median",
            number(np.median(least)),
            "an error e of the measurements moves the latent by at most |e| / sigma_min, to "
            "first order",
            "pixels per unit of latent",
            "measured",
            standard_error(least),
            f"from {least.min():.3g} to {least.max():.3g}",
            "higher",
        ),
    ]


def _unique(generator: Any, see: Any, latents: Any) -> Value:
    """The box in which no second latent has the same measurements, by interval arithmetic."""

    def prove() -> list[float]:
        return [
            float(found.radius) if bool(found.injective) else 0.0
            for found in (lens.uniqueness(generator, z, operator=see) for z in latents)
        ]

    radii, why = attempt(prove)
    return Value(
        "unique_radius",
        "certified box of uniqueness, median",
        None if radii is None else float(np.median(radii)),
        "half its side: no two latents in the box have the same upper half",
        "latents, which have deviation 1",
        "" if radii is None else "certified",
        None if radii is None else standard_error(radii),
        ""
        if radii is None
        else f"a proof, rounding included, for {np.mean(np.asarray(radii) > 0):.0%} of "
        f"{len(radii)} problems",
        "higher",
        why,
    )


def _scores(images: np.ndarray, output: np.ndarray, deviation: np.ndarray, high: int) -> np.ndarray:
    """Errors of the hidden pixels in units of their predicted deviation, (n, rows, columns)."""
    wrong = np.abs(images[:, high:] - output[:, high:])
    return wrong / np.sqrt(deviation[:, high:] ** 2 + _NOISE**2)


def _held_out(images: np.ndarray, output: np.ndarray, scores: np.ndarray, high: int) -> list[Value]:
    wrong = images[:, high:] - output[:, high:]
    each = np.sqrt((wrong**2).mean((1, 2)))
    covered = (scores <= 1.96).mean((1, 2))
    return [
        Value(
            "hidden_error",
            "error of the hidden half of a new digit",
            float(np.sqrt((wrong**2).mean())),
            f"root mean square, {_HALF}",
            "pixels, which lie in [0, 1]",
            "measured",
            standard_error(each),
            f"{len(images)} held-out digits",
            "lower",
        ),
        Value(
            "coverage",
            "hidden pixels inside their 95 % band",
            number(covered.mean()),
            f"of the Laplace posterior with noise {_NOISE:g}: below 0.95 it is too sure of itself",
            "share of the hidden pixels",
            "measured",
            standard_error(covered),
            "the posterior knows the latent's uncertainty, not what the decoder cannot draw",
        ),
    ]


def _pictures(
    images: np.ndarray, output: np.ndarray, deviation: np.ndarray, high: int
) -> list[dict[str, Any]]:
    images, output, deviation = images[:_SHOWN], output[:_SHOWN], deviation[:_SHOWN]
    seen = np.where(np.arange(images.shape[1])[None, :, None] < high, images, 0.5)
    top = max(float(deviation.max()), 1e-6)
    worst = np.sqrt(((images - output)[:, high:] ** 2).mean())
    return [
        _strip("digit", f"{len(images)} digits that the decoder has never seen", images),
        _strip("seen", "their upper halves; the lower halves are grey", seen),
        _strip("recovered", f"the whole digits, lower halves off by {worst:.2g} rms", output),
        _strip("uncertainty", f"posterior deviation, white is {top:.2g}", deviation / top, "heat"),
    ]


def _strip(label: str, alt: str, batch: np.ndarray, colours: str = "gray") -> dict[str, Any]:
    return {"label": label, "alt": alt, "map": colours, "pixels": pixels(batch)}
