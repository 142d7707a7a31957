"""The comparison with the catalogue and the held-out check, on small sizes."""

import jax
import numpy as np
import pytest

import jaxact
from jaxact.card.design import Spline, draw, heldout, pareto
from jaxact.card.design.heldout import METRICS, Sizes, held_out
from jaxact.card.design.pareto import undominated
from jaxact.card.design.verdicts import compare, holm, paired
from jaxact.io import load_digits

TINY = Sizes(
    widths=(6,), epochs=40, certified=10, latent=2, inversions=2, restarts=1, stored=4, probes=4
)


@pytest.fixture(scope="module")
def front():
    found = [Spline((-1.0, 1.0)).start(jaxact.get("gelu"))]
    return pareto(found, ["zeta", "memorisation"], catalogue=["relu", "tanh", "cos", "exp"])


def test_values_of_the_catalogue(front):
    assert front.names == ("monotone_spline", "relu", "tanh", "cos", "exp")
    assert front.values.shape == (5, 2)
    zeta = front.values[:, 0]
    assert zeta[1] == pytest.approx(0.25 / (0.5 - 0.5 / np.pi), rel=1e-9)
    assert zeta[3] == pytest.approx(0, abs=1e-12)
    assert front.front.tolist() == [False, False, False, True, False]
    assert front.found == 1


def test_a_value_that_is_not_there_has_a_reason():
    made = pareto([], ["zeta"], catalogue=["relu"], known={"zeta": lambda act: np.inf})
    assert np.isnan(made.values).all()
    assert made.reasons == ("relu, zeta: is inf",)
    assert not made.front.any()
    with pytest.raises(ValueError, match="terms must be one of"):
        pareto([], ["zetta"])


def test_domination_against_its_definition(rng):
    values = rng.integers(0, 4, size=(40, 3)).astype(float)
    values[3] = np.nan
    for i, row in enumerate(values):
        beaten = any((v <= row).all() and (v < row).any() for v in values)
        assert undominated(values)[i] == (not beaten and np.isfinite(row).all())


def test_the_picture(front, tmp_path):
    file = draw(front, tmp_path / "front.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    assert 5_000 < file.stat().st_size < 200_000
    single = pareto([], ["zeta"], catalogue=["relu"])
    with pytest.raises(ValueError, match="at least two terms"):
        draw(single, tmp_path / "x.png")


def test_paired_tests_against_published_tables():
    # two-sided 5 % points of Student's t: 2.776 with 4 degrees of freedom, 2.262 with 9
    for n, t in ((5, 2.776445), (10, 2.262157)):
        gap = np.linspace(-1, 1, n)
        gap = gap / (gap.std(ddof=1) / n**0.5) + t
        assert paired(gap)[1] == pytest.approx(0.05, abs=1e-6)
    assert paired(np.zeros(5)) == (0.0, 1.0)
    assert paired(np.ones(5)) == (0.0, 0.0)
    assert holm(np.array([0.02, 0.001, 0.9])).tolist() == pytest.approx([0.04, 0.003, 0.9])


def test_verdicts_know_which_way_is_better(rng):
    noise = 0.01 * rng.normal(size=(3, 2, 5))
    level = np.array([[0.9, 0.2], [0.5, 0.5], [0.9, 0.2]])
    found = compare(
        ["mine", "relu", "twin"], {"accuracy": "higher", "error": "lower"}, noise + level[..., None]
    )
    verdicts = {(c.metric, c.other): c.verdict for c in found}
    assert verdicts["accuracy", "relu"] == verdicts["error", "relu"] == "wins"
    assert verdicts["accuracy", "twin"] == verdicts["error", "twin"] == "no difference"
    worse = compare(["relu", "mine"], {"error": "lower"}, (noise + level[..., None])[1::-1, 1:])
    assert worse[0].verdict == "loses"
    assert "loses to mine" in str(worse[0])
    assert "shows no difference from twin" in str(found[1])


def test_the_held_out_check_pairs_its_seeds(monkeypatch):
    def measure(act, images, sizes, key):
        # as if only the split and the key mattered, and relu were better
        luck = float(images.x[0].mean()) + float(jax.random.uniform(key))
        return [luck + 0.1 * (act.name == "relu"), luck, luck, luck]

    monkeypatch.setattr(heldout, "measure_one", measure)
    load = lambda seed: load_digits(train=200, seed=seed)  # noqa: E731
    words = []
    found = held_out(jaxact.get("tanh"), load, against=["relu", "gelu"], progress=words.append)
    assert found.names == ("tanh", "relu", "gelu")
    assert found.values.shape == (3, len(METRICS), 5)
    assert np.ptp(found.values[0, 0]) > 0.1
    verdicts = {(c.metric, c.other): c.verdict for c in found.comparisons}
    assert verdicts.pop(("accuracy", "relu")) == "loses"
    assert set(verdicts.values()) == {"no difference"}
    assert len(words) == 15
    assert words[0] == "digits, seed 1 of 5: tanh"
    np.testing.assert_allclose(found.error[1], found.values[1].std(-1, ddof=1) / 5**0.5)
    with pytest.raises(ValueError, match="seeds must be at least 2"):
        held_out(jaxact.get("tanh"), load, seeds=1)


def test_one_network_is_measured_on_real_digits():
    act, images = jaxact.get("relu"), load_digits(train=200)
    accuracy, certified, error, overlap = heldout.measure_one(act, images, TINY, jax.random.key(0))
    assert 0.15 < accuracy <= 1  # chance is 0.1
    assert 0 <= certified <= 1
    assert 0 < error < 0.6
    assert -1 <= overlap <= 1
