"""The descent: it finds known optima, compiles once, and goes on bit by bit after a kill."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxact.card.design import Hermite, Rational, descend, load_activation, objective
from jaxact.card.design import descend as descent_function
from jaxact.card.design.descend import _step

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
        descent_function(Rational(1), objective(AIM), **options)


def test_the_command_line_designs_saves_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "jaxact", "design", "--weight", "zeta=1", "--steps", "5"]
    command += ["--family", "small_rational", "--restarts", "1", "--no-catalogue", "--no-check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "admissible: " in done.stdout
    assert (tmp_path / "design" / "checkpoint.npz").is_file()
    assert load_activation(tmp_path / "design" / "found.json").name == "small_rational"
    # with a checkpoint of all steps nothing is descended, so this finds the same
    text = (tmp_path / "design" / "found.json").read_bytes()
    again = [*command, "--weight", "zeta=1"]
    failed = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "weight must name a term once, got zeta twice" in " ".join(failed.stderr.split())
    assert (tmp_path / "design" / "found.json").read_bytes() == text
