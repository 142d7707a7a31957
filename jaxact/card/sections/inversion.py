"""The inversion section: a decoder of digits inverted from the upper half of an image."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import inversion as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value
from jaxact.io import Images
from jaxact.nets import train_autoencoder
from jaxact.sweep import sweep

QUESTION = (
    "Can a decoder with this activation be inverted from half of its output, and is the answer "
    "unique?"
)
_LATENT = 8


def inversion(
    act: Activation, digits: Images, key: Any,
    *, count: int, restarts: int, epochs: int, mesh: Any = None,
) -> Section:  # fmt: skip
    """Train a decoder 8-64-64 on digits; invert it from the upper half, in range and held out."""
    keys = jax.random.split(key, 3)
    encoder, generator, fit = train_autoencoder(
        digits.x, latent=_LATENT, act=act, test=digits.test_x, epochs=epochs, key=keys[0]
    )
    see = lens.mask(np.repeat(np.arange(8) < 4, 8).reshape(8, 8))
    images = jnp.asarray(digits.test_x[:count])
    truth = jax.vmap(encoder)(images)

    def solve(problem: tuple[Any, Any, Any]) -> Any:
        y, prior, key = problem
        return lens.invert(
            generator, y, latent=_LATENT, operator=see, restarts=restarts, prior=prior, key=key
        )

    made = jax.vmap(generator)(truth)
    # one compiled batch: the decoder's own outputs first, then the held-out digits
    y = jax.vmap(see)(jnp.concatenate([made, images]))
    prior = jnp.repeat(jnp.asarray([0.0, 1e-2], y.dtype), count)
    found = sweep(solve, (y, prior, jax.random.split(keys[1], 2 * count)), mesh=mesh)
    inside, outside = (
        jax.tree.map(lambda a, s=s: np.asarray(a[s]), found)
        for s in (slice(0, count), slice(count, None))
    )
    error = np.linalg.norm(inside.latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
    hidden = np.asarray(images)[:, 4:] - outside.output[:, 4:]
    values = (
        Value(
            "decoder",
            "variance of digits the decoder explains",
            float(fit.test_accuracy),
            "held-out digits, 8 latents",
            "higher",
        ),
        Value(
            "success",
            "latents recovered from half an image",
            float((error < 1e-2).mean()),
            f"relative error below 1 %; {count} decoder outputs, best of {restarts} starts",
            "higher",
        ),
        Value(
            "identifiable",
            "problems with an identifiable latent",
            float(np.mean(inside.identifiable)),
            "sigma_min > 1e-4 sigma_max",
            "higher",
        ),
        Value(
            "sigma_min",
            "sigma_min of the Jacobian, median",
            float(np.median(inside.sigma_min)),
            "noise e moves the latent by at most |e| / sigma_min",
            "higher",
        ),
        Value(
            "agreement",
            "starts that agree with the best",
            float(np.mean(inside.agreement)),
            "",
            "higher",
        ),
        Value(
            "hidden_error",
            "held-out digits, error of the hidden half",
            float(np.sqrt((hidden**2).mean())),
            "root mean square, pixels in [0, 1]",
            "lower",
        ),
    )
    seen = np.where(np.arange(8)[None, :, None] < 4, np.asarray(images), 0.5)
    pictures = {"digit": np.asarray(images)[:8], "seen": seen[:8], "recovered": outside.output[:8]}
    return Section("inversion", QUESTION, values, {"images": pictures})
