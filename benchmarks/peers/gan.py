"""The f-GAN step as one writes it in PyTorch: two small networks, Adam, non-saturating loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

HIDDEN = 64


def torch_steps(
    weights: list[np.ndarray], real: np.ndarray, latents: np.ndarray, names: list[str]
) -> Callable[[], np.ndarray]:
    """One run of len(real) steps for each name, from the same weights; the final generators' sums.

    weights: of the generator's three layers, kernel (in, out) and bias, then the discriminator's.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    data, noise = torch.from_numpy(real), torch.from_numpy(latents)
    heads: dict[str, tuple[Any, Any]] = {
        "kl": (lambda v: v, lambda v: torch.exp(v - 1)),
        "reverse_kl": (lambda v: -torch.exp(-v), lambda v: v - 1),
        "pearson": (lambda v: v, lambda v: torch.where(v < -2, -1.0, v**2 / 4 + v)),
        "squared_hellinger": (lambda v: 1 - torch.exp(-v), lambda v: torch.exp(v) - 1),
        "jensen_shannon": (
            lambda v: functional.logsigmoid(v) + np.log(2),
            lambda v: functional.softplus(v) - np.log(2),
        ),
        "gan": (functional.logsigmoid, functional.softplus),
    }  # fmt: skip

    def network(parts: list[np.ndarray]) -> Any:
        layers: list[Any] = []
        for kernel, bias in zip(parts[::2], parts[1::2], strict=True):
            layer = torch.nn.Linear(*kernel.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
                layer.bias.copy_(torch.from_numpy(bias.copy()))
            layers += [layer, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def play(name: str) -> Any:
        output, conjugate = heads[name]
        generator, judge = network(weights[:6]), network(weights[6:])
        makers = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
        critics = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
        for x, z in zip(data, noise, strict=True):
            fake = generator(z)
            v = judge(torch.cat([x, fake.detach()]))
            loss = conjugate(v[len(x) :]).mean() - output(v[: len(x)]).mean()
            critics.zero_grad(set_to_none=True)
            loss.backward()
            critics.step()
            judge.requires_grad_(False)  # noqa: FBT003
            makers.zero_grad(set_to_none=True)
            (-output(judge(fake)).mean()).backward()
            makers.step()
            judge.requires_grad_(True)  # noqa: FBT003
        with torch.no_grad():
            return generator(noise[0]).numpy().ravel()

    return lambda: np.stack([play(name) for name in names])
