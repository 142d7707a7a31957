"""`jaxact certify`: verdicts, exit codes, messages, and the counterexample's file."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from typer.testing import CliRunner

from jaxact import cli, io
from jaxact.bounds import Box, Unsafe
from jaxact.io import verdicts
from tests.io.onnx_nets import mlp, runtime, save

HEAD = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "X_2", "Y_0", "Y_1"))
BOX = "".join(f"(assert (>= X_{i} -0.1)) (assert (<= X_{i} 0.2))\n" for i in range(3))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A small net, its file and the range of its outputs over the box, by sampling."""
    folder = tmp_path_factory.mktemp("net")
    model = mlp((3, 8, 8, 2), rng=np.random.default_rng(5))
    path = save(model, folder / "net.onnx")
    x = np.random.default_rng(0).uniform(-0.1, 0.2, (4000, 3)).astype(np.float32)
    network = io.load_onnx(path)
    y = np.array([runtime(model, {"x": v[None]})[0] for v in x[:500]])
    return path, network, y


def certify(path, prop, *options):
    return CliRunner().invoke(cli.app, ["certify", str(path), str(prop), *options])


def property_of(folder, text, name="p.vnnlib"):
    path = folder / name
    path.write_text(HEAD + BOX + text)
    return path


def test_verified(net, tmp_path):
    path, _, y = net
    far = float(y[:, 0].max()) + 5
    prop = property_of(tmp_path, f"(assert (or (>= Y_0 {far}) (and (>= Y_1 99) (<= Y_0 0))))")
    result = certify(path, prop)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("verified\n")
    assert "certified margin: " in result.output


def test_falsified_with_a_counterexample_that_reads_back(net, tmp_path):
    path, network, y = net
    level = float(np.median(y[:, 0]))
    prop = property_of(tmp_path, f"(assert (>= Y_0 {level}))")
    file = tmp_path / "c.txt"
    result = certify(path, prop, "--counterexample", str(file), "--method", "ibp")
    assert result.exit_code == 10, result.output
    assert result.output.startswith("falsified\n")
    assert "checked by float64 and onnxruntime" in result.output
    point, output = io.read_counterexample(file)
    assert io.load_vnnlib(prop).violated_by(point, output)
    evaluated = io.onnxruntime_evaluation(path, network)(point)
    np.testing.assert_allclose(evaluated, output, rtol=1e-5, atol=1e-6)
    assert file.read_text().startswith("sat\n((X_0 ")


def test_unknown(net, tmp_path):
    path, network, _ = net
    box = io.load_vnnlib(property_of(tmp_path, "")).cases[0].box
    found = io.METHODS["ibp"](network, Box(*(v.astype(np.float32) for v in box.box())))
    # between what is reached and what interval arithmetic can exclude
    between = property_of(tmp_path, f"(assert (<= Y_0 {float(found.lower[0]) + 1e-3}))")
    result = certify(path, between, "--method", "ibp")
    assert result.exit_code == 20, result.output
    assert result.output.startswith("unknown\n")
    assert "certified margin: -0.00" in result.output
    late = certify(path, between, "--timeout", "0")
    assert late.exit_code == 20
    assert "out of time" in late.output


def test_errors_are_one_line_and_exit_code_two(net, tmp_path, monkeypatch, capsys):
    path, *_ = net
    broken = property_of(tmp_path, "(assert (<= Y_0 1)")
    for arguments, message in (
        ([str(path), str(broken)], "line 9: the file ends inside"),
        ([str(broken), str(broken)], "p.vnnlib is not an ONNX file"),
        ([str(path), str(property_of(tmp_path, "", "q")), "--method", "magic"], "method must be"),
    ):
        monkeypatch.setattr(sys, "argv", ["jaxact", "certify", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err.replace("\n", " ")


def case(low, high, polyhedra):
    return io.Case(Box(np.full(3, low), np.full(3, high)), Unsafe.of(polyhedra))


def test_every_case_must_hold(net):
    _, network, _ = net
    eye = np.eye(2)[:1]
    safe = case(-0.1, 0.2, [(eye, np.array([-50.0]))])
    reached = case(0.3, 0.4, [(eye, np.array([-50.0])), (eye, np.array([50.0]))])
    assert io.check_property(network, io.Property(3, 2, (safe, safe))).status == "verified"
    found = io.check_property(network, io.Property(3, 2, (safe, reached)))
    assert found.status == "falsified"
    assert 0.3 <= found.x.min() <= found.x.max() <= 0.4
    without = io.check_property(network, io.Property(3, 2, (safe, reached)), restarts=0)
    assert without.status == "unknown"
    assert io.check_property(network, io.Property(3, 2, ())).status == "verified"


def test_a_counterexample_on_the_edge_of_the_box_stays_inside(net):
    _, network, _ = net
    # 0.1 and 0.2 are not float32 numbers, and the first box holds none at all
    for low, high in ((0.1, 0.1), (-0.1, 0.2)):
        prop = io.Property(3, 2, (case(low, high, [(np.zeros((1, 2)), np.zeros(1))]),))
        found = io.check_property(network, prop, method="attack")
        assert found.status == "falsified"
        assert low <= found.x.min() <= found.x.max() <= high


def test_what_float64_does_not_confirm_is_unknown(net, monkeypatch):
    _, network, _ = net
    prop = io.Property(3, 2, (case(0.0, 0.1, [(np.eye(2)[:1], np.array([50.0]))]),))
    assert io.check_property(network, prop, method="attack").status == "falsified"
    monkeypatch.setattr(verdicts, "evaluate", lambda network, x: np.full(2, 50.001))
    assert io.check_property(network, prop, method="attack").status == "unknown"


def test_a_reference_that_disagrees_is_an_error(net):
    _, network, _ = net
    prop = io.Property(3, 2, (case(0.0, 0.1, [(np.zeros((1, 2)), np.zeros(1))]),))
    with pytest.raises(ValueError, match="the reference must agree"):
        io.check_property(network, prop, reference=lambda x: np.full(2, 7.0))


def test_sizes_that_do_not_fit_are_refused(net):
    _, network, _ = net
    with pytest.raises(ValueError, match=r"the network's inputs, shape \(3,\), got 4"):
        io.check_property(network, io.Property(4, 2, ()))


def test_a_counterexample_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "c").write_text("unsat\n")
    with pytest.raises(ValueError, match="must hold sat and every X_i and Y_j"):
        io.read_counterexample(tmp_path / "c")
