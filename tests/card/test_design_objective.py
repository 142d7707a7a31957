"""The terms of a design: gradients, invariances, and what they say of known functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact.card.design import TERMS, objective
from jaxact.card.design.terms import (
    CertifiedWidth,
    Conditioning,
    Inadmissibility,
    MemoryLoad,
    RelaxationArea,
)

SMALL = dict(TERMS) | {
    "relaxation": RelaxationArea(radii=(0.5,), nodes=3),
    "certified": CertifiedWidth(widths=(3, 4, 2), inputs=1),
    "memory": MemoryLoad(pixels=16),
    "inversion": Conditioning(widths=(2, 4, 5), latents=2),
    "inadmissible": Inadmissibility(margin=0.1, points=33),
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients_agree_with_finite_differences(name, x64):
    # sqrt(1 + (x - a)^2) + a x: few operations, so that lines for a traced theta compile soon
    act = jaxact.activation(
        lambda x, a: jnp.sqrt(1 + (x - a) ** 2) + a * x, theta=(jnp.asarray(0.3),), kinks=()
    )
    both = jax.jit(jax.value_and_grad(SMALL[name]))
    value, slope = both(act)
    assert np.isfinite(value)
    assert value > 0

    def difference(step):
        above, below = (both(act.replace(act.theta[0] + s))[0] for s in (step, -step))
        return float(above - below) / (2 * step)

    # a median: the slack of the certified lines jumps where a cell's bound is another one's
    near = np.median([difference(step) for step in np.geomspace(1e-6, 1e-4, 21)])
    # the certified intercepts carry a slack of the cells, which the derivative leaves out
    rel = 5e-3 if name in ("relaxation", "certified") else 2e-4
    assert float(slope.theta[0]) == pytest.approx(near, rel=rel, abs=1e-8)
    assert abs(near) > 1e-6  # a term that does not move would pass anything


def test_terms_do_not_see_the_scale(x64):
    for name in ("memorisation", "zeta", "relaxation", "memory", "inversion"):
        one, two = (
            float(SMALL[name](jaxact.activation(lambda x, c=c: c * jnp.tanh(x), kinks=())))
            for c in (1.0, 3.0)
        )
        assert two == pytest.approx(one, rel=1e-6), name


def test_what_terms_say_of_known_activations(x64):
    assert float(TERMS["zeta"](jaxact.get("identity"))) == pytest.approx(1)
    assert float(TERMS["zeta"](jaxact.get("cos"))) == pytest.approx(0, abs=1e-12)
    assert float(SMALL["relaxation"](jaxact.get("identity"))) == pytest.approx(0, abs=1e-9)
    constraint = TERMS["inadmissible"]
    assert float(constraint(jaxact.get("relu"))) == 0
    assert float(constraint(jaxact.get("softplus"))) == pytest.approx(0, abs=1e-12)
    for broken in ("tanh", "gelu", "identity"):
        assert float(constraint(jaxact.get(broken))) > 1e-4


def test_weights_count_in_units_of_the_reference(x64):
    relu, tanh = jaxact.get("relu"), jaxact.get("tanh")
    aim = objective({"zeta": 2.0, "inadmissible": 5.0}, reference="relu")
    size = lambda act: float(jnp.log(act.moments().eta + act.moments().mean ** 2) ** 2)  # noqa: E731
    assert float(aim(relu)) == pytest.approx(2 + 0.01 * size(relu))
    zeta = float(TERMS["zeta"](tanh) / TERMS["zeta"](relu))
    expected = 2 * zeta + 5 * float(TERMS["inadmissible"](tanh)) + 0.01 * size(tanh)
    assert float(aim(tanh)) == pytest.approx(expected)


def test_bad_objectives_say_why():
    with pytest.raises(ValueError, match="weights must name at least one term"):
        objective({})
    with pytest.raises(ValueError, match="weights must be one of .*'zeta'"):
        objective({"zetta": 1.0})
    with pytest.raises(ValueError, match="the weight of zeta must be finite"):
        objective({"zeta": float("nan")})
    with pytest.raises(ValueError, match="reference must have a positive, finite zeta"):
        objective({"zeta": 1.0}, reference="square")
