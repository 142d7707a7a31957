"""What a game carries and reports: its state, what a step saw, and why it stopped."""

from __future__ import annotations

from jaxact.numerics.pytrees import Leaf, pytree

TERMS = (
    "", "T(v_real)", "f*(T(v_fake))", "the discriminator's gradient", "the generator's loss",
    "the generator's gradient",
)  # fmt: skip


@pytree()
class Diverged:
    """Where a game stopped, or that it did not: data, as it is made inside compiled code.

    Attributes:
        step: the step that was not taken; -1 if none.
        term: the first term that left its domain or the limit, an index of `TERMS`; 0 if none.
        real_output: mean T(v_real) in that step.
        fake_conjugate: mean f*(T(v_fake)).
        discriminator_gradient: norm.
        generator_gradient: norm.
    """

    step: Leaf
    term: Leaf
    real_output: Leaf
    fake_conjugate: Leaf
    discriminator_gradient: Leaf
    generator_gradient: Leaf


@pytree()
class GameState:
    """All that a game needs to go on: a pytree of arrays, made for a checkpoint.

    Attributes:
        generator: its params.
        discriminator: its params.
        optimizers: the optimizers' states of (generator, discriminator).
        vectors: of the spectral norm's power iteration; empty without it.
        which: index of the composite that is played, int32 ().
        step: finished steps, int32 ().
        diverged: where it stopped.
    """

    generator: Leaf
    discriminator: Leaf
    optimizers: Leaf
    vectors: Leaf
    which: Leaf
    step: Leaf
    diverged: Diverged


@pytree()
class Moves:
    """What one step saw, before its updates.

    Attributes:
        estimate: mean T(v_real) - mean f*(T(v_fake)), the variational estimate of I_f(P || Q).
        generator_loss: against the discriminator of after its update.
        discriminator_gradient: norm, with the penalty's part.
        generator_gradient: norm.
    """

    estimate: Leaf
    generator_loss: Leaf
    discriminator_gradient: Leaf
    generator_gradient: Leaf
