"""The battery passes every named activation and plain functions, and fails wrong ones."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

import jaxact as ja
from jaxact import testing
from jaxact.activation import ClosedForms


@pytest.mark.parametrize("name", ja.names())
def test_catalogue(name):
    report = testing.check(ja.get(name))
    assert report.activation.startswith(name)
    assert len(report.checks) >= 17


@pytest.mark.parametrize(
    ("name", "theta"),
    [("swish", (30.0,)), ("elu", (0.7, 1.3)), ("leaky_relu", (-0.5,)), ("mu_relu", (0.9,))],
)
def test_other_theta(name, theta):
    testing.check(ja.get(name).replace(*theta))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.maximum(x, 0) - jnp.maximum(x - 1.3, 0),
        lambda x: -jnp.arcsinh(x),
        lambda x: x * jnp.cos(x),
    ],
    ids=["ramp", "decreasing", "waves"],
)
def test_plain_functions(fn):
    testing.check(fn)


def test_kinks_that_move_with_theta():
    clip = ja.activation(
        lambda x, a: jnp.clip(x, -a, a), theta=(1.5,), kinks=lambda a: (-a, a), name="clip"
    )
    testing.check(clip)


WRONG = {
    "moments": (ClosedForms(moments=lambda s: (0.0 * s, 0.39 + 0.0 * s, 0.36 + 0.0 * s)),
                "closed moments = derived"),
    "primitive": (ClosedForms(primitive=jnp.cosh), "closed primitive = derived"),
    "inverse": (ClosedForms(inverse=jnp.arcsinh), "inverse, closed: round trip"),
    "signature": (ClosedForms(signature=lambda y: y), "closed signature = f'"),
}  # fmt: skip


@pytest.mark.parametrize("form", WRONG)
def test_a_wrong_closed_form_fails(form):
    closed, message = WRONG[form]
    bad = dataclasses.replace(ja.get("tanh"), closed=closed, name="bad")
    with pytest.raises(AssertionError, match="bad failed") as caught:
        testing.check(bad)
    assert message in str(caught.value)


@functools.lru_cache
def _failed(kind):
    made = {
        "undeclared": dataclasses.replace(ja.get("relu"), kinks=(), closed=ClosedForms()),
        "elsewhere": ja.activation(lambda x: jnp.abs(x - 2), kinks=(1.0,)),
        "unsorted": ja.activation(lambda x: jnp.abs(x - 2) + jnp.abs(x), kinks=(2.0, 0.0)),
        "nan slope": ja.activation(lambda x: jnp.where(x > 0, jnp.sqrt(x) * x, 0.0), kinks=(0.0,)),
        "wrong slope": ja.activation(_straight, kinks=()),
    }[kind]  # fmt: skip
    return {c.name: c.detail for c in testing.battery(made).failures}


@jax.custom_jvp
def _straight(x):
    return jnp.tanh(x)


_straight.defjvp(lambda p, t: (jnp.tanh(p[0]), t[0]))


@pytest.mark.parametrize(
    ("kind", "name", "detail"),
    [
        ("undeclared", "kinks on [-16, 16]", "not smooth at 0, which is not declared"),
        ("elsewhere", "kinks on [-16, 16]", "not smooth at 2"),
        ("unsorted", "kinks on [-16, 16]", "kinks must ascend, got [2.0, 0.0]"),
        ("nan slope", "finite derivatives", "at 0"),
        ("wrong slope", "derivative", "at "),
    ],
)
def test_a_defect_is_named(kind, name, detail):
    failures = _failed(kind)
    assert name in failures
    assert detail in failures[name]


@pytest.mark.fast
def test_the_report_reads_as_a_table():
    report = testing.check(jnp.tanh)
    text = str(report)
    assert text.startswith("activation tanh")
    assert "FAIL" not in text
    assert text.count("\n") == len(report.checks)
    failing = testing.Report("x", (testing.Check("a", 2.0, 1.0, "at 3"),))
    assert "FAIL a" in str(failing)
    assert failing.failures[0].detail == "at 3"
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.activation = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_bad_input():
    with pytest.raises(TypeError, match="an activation must be a function"):
        testing.check(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="softmax and normalisations are not activations"):
        testing.check(jax.nn.softmax)
