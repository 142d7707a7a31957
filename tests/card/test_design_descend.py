"""The descent: it finds known optima, compiles once, and goes on bit by bit after a kill."""

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from jaxact import cli
from jaxact.card.design import Hermite, Rational, descend, load_activation, objective
from jaxact.card.design.descend import _step
from jaxact.cli_design import read_weights

OPTIONS = {"steps": 40, "restarts": 3, "starts": ["tanh", "gelu"], "every": 10}
AIM = {"zeta": 1.0}


class Killed(Exception):
    """Stands for a kill."""


def test_zeta_is_brought_to_zero_and_the_step_compiles_once():
    before = _step._cache_size()
    seen = []
    found = descend(
        Hermite(4), objective(AIM), steps=150, restarts=2, rate=0.1,
        progress=lambda *now: seen.append(now),
    )  # fmt: skip
    assert _step._cache_size() == before + 1
    descend(Hermite(4), objective({"zeta": 3.0}), steps=150, restarts=2, rate=0.1, seed=1)
    assert _step._cache_size() == before + 1  # other weights, other starts: the same kernel
    assert float(found.value) < 0.05
    assert float(found.value) == found.best.min()
    assert found.histories.shape == (2, 150)
    assert found.act.theta[1].dtype == np.float64
    assert [n for n, *_ in seen] == list(range(1, 151))
    assert seen[-1][2] == float(found.value)
    assert bool(found.converged)
    short = descend(Hermite(4), objective(AIM), steps=3, restarts=2, rate=0.1)
    assert not bool(short.converged)


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    whole = descend(Rational(1), objective(AIM), checkpoint=tmp_path / "whole.npz", **OPTIONS)

    def kill(step, steps, best):
        if step == 25:
            raise Killed

    file = tmp_path / "part.npz"
    with pytest.raises(Killed):
        descend(Rational(1), objective(AIM), checkpoint=file, progress=kill, **OPTIONS)
    steps = []
    again = descend(
        Rational(1), objective(AIM), checkpoint=file,
        progress=lambda n, *_: steps.append(n), **OPTIONS,
    )  # fmt: skip
    assert steps == list(range(21, 41))  # from the last checkpoint, not from the start
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(two), equal_nan=True)
    assert list(tmp_path.glob(".*")) == []
    finished = descend(Rational(1), objective(AIM), checkpoint=file, **OPTIONS)
    assert finished.value == whole.value


def test_a_checkpoint_of_another_run_or_a_broken_one_is_refused(tmp_path):
    file = tmp_path / "run.npz"
    descend(Rational(1), objective(AIM), checkpoint=file, **OPTIONS)
    with pytest.raises(ValueError, match="belongs to another run, with another objective"):
        descend(Rational(1), objective({"zeta": 2.0}), checkpoint=file, **OPTIONS)
    with pytest.raises(ValueError, match="with another family, starts"):
        descend(Rational(2), objective(AIM), checkpoint=file, **OPTIONS)
    content = file.read_bytes()
    for size in (0, 30, len(content) // 2, len(content) - 30):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="is no checkpoint, or is broken"):
            descend(Rational(1), objective(AIM), checkpoint=file, **OPTIONS)


def test_steps_that_are_not_finite_are_left_out():
    def broken_above_zero(act):
        slope = act.derivative(0.0)
        return jax.numpy.where(slope > 0.5, jax.numpy.nan, slope)

    found = descend(Rational(1), broken_above_zero, steps=5, starts=["identity", "cos"], restarts=2)
    assert np.isnan(found.histories[0]).all()
    assert np.isfinite(found.histories[1]).all()
    assert found.best[0] == np.inf
    with pytest.raises(ValueError, match="objective must be finite, with a finite gradient"):
        descend(Rational(1), broken_above_zero, steps=5, starts=["identity"], restarts=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"spread": -1.0}, "spread must be non-negative"),
        ({"starts": []}, "starts must name at least one"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_settings_say_why(options, message):
    with pytest.raises(ValueError, match=message):
        descend(Rational(1), objective(AIM), **options)


def test_the_command_line_designs_saves_and_goes_on(tmp_path):
    out = tmp_path / "design"
    command = ["design", "--weight", "zeta=1", "--steps", "5", "--family", "small_rational"]
    command += ["--restarts", "1", "--no-catalogue", "--no-check", "--out", str(out)]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert "admissible: small_rational is" in result.output
    content = (out / "found.json").read_bytes()
    assert load_activation(out / "found.json").name == "small_rational"
    (out / "found.json").unlink()
    again = CliRunner().invoke(cli.app, command)  # all steps are in the checkpoint
    assert again.exit_code == 0
    assert (out / "found.json").read_bytes() == content
    other = CliRunner().invoke(cli.app, [*command, "--seed", "1"])
    assert "belongs to another run, with another settings" in str(other.exception)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["zeta"], "weight must have the form TERM=W, got 'zeta'"),
        (["zeta=x"], "weight must have the form TERM=W, got 'zeta=x'"),
        (["zeta=1", "zeta=2"], "weight must name a term once, got zeta twice"),
    ],
)
def test_weights_of_another_form_say_so(texts, message):
    with pytest.raises(ValueError, match=message):
        read_weights(texts)
