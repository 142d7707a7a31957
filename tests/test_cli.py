"""The command line: `jaxact spectrum` prints the numbers of the lens."""

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxact
from jaxact import cli, spectra
from jaxact.numerics import double


def shown(*options):
    """The rows of the table that `jaxact spectrum` prints, as a dictionary."""
    result = CliRunner().invoke(cli.app, ["spectrum", *options])
    assert result.exit_code == 0, result.output
    rows = (line.strip("│ ").split("│") for line in result.output.splitlines() if "│" in line)
    return {label.strip(): value.strip() for label, value in rows}


def test_one_layer():
    rows = shown("relu", "--phi", "0.5", "--psi", "0.5")
    assert abs(float(rows["eta"]) - (0.5 - 0.5 / np.pi)) < 1e-8
    assert float(rows["zeta"]) == 0.25
    assert rows["support"].startswith("[0, ")  # n1 = m: a hard edge
    assert rows["atom at 0"] == "0"

    def best():
        law = spectra.law(jaxact.get("relu"), phi=0.5, psi=0.5)
        return spectra.optimal_gamma(law, noise=0.25).error

    assert rows["least test error, noise 0.25"].startswith(f"{float(double(best)()):.6g} ")


def test_depth_keeps_the_spectrum_without_a_linear_part():
    one, three = (shown("cos", "--phi", "1", "--psi", "1.5", "--depth", d) for d in ("1", "3"))
    name = "training error on noise, ridge 0.1 eta"
    assert one[name] == three[name]
    assert "support, layer 3" in three


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["relu", "--phi", "-1"], "phi must be positive, got -1"),
        (["relu", "--depth", "0"], "depth must be at least 1, got 0"),
        (["rulu"], "rulu"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["jaxact", "spectrum", *options])
    with pytest.raises(SystemExit) as error:
        cli.main()
    assert error.value.code == 2
    assert message in capsys.readouterr().err
