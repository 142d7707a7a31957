"""VNN-LIB files in normal form, and what is said of files that are not."""

from __future__ import annotations

import gzip
import itertools
import time

import numpy as np
import pytest

from jaxact.io import load_vnnlib

HEAD = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "Y_0", "Y_1", "Y_2"))
BOX = "(assert (>= X_0 -1)) (assert (<= X_0 1.5e0))\n(assert (>= X_1 .25)) (assert (<= X_1 +2.))\n"


def read(tmp_path, text, name="p.vnnlib"):
    path = tmp_path / name
    path.write_text(text)
    return load_vnnlib(path)


def test_a_box_and_half_spaces(tmp_path):
    prop = read(tmp_path, HEAD + BOX + "(assert (<= Y_0 Y_2)) ; c\n(assert (>= Y_1 -3))")
    assert (prop.inputs, prop.outputs) == (2, 3)
    (case,) = prop.cases
    np.testing.assert_array_equal(case.box.lower, [-1, 0.25])
    np.testing.assert_array_equal(case.box.upper, [1.5, 2])
    np.testing.assert_array_equal(case.unsafe.rows, [[[1, 0, -1], [0, -1, 0]]])
    np.testing.assert_array_equal(case.unsafe.thresholds, [[0, 3]])


def test_linear_arithmetic(tmp_path):
    text = "(assert (<= (+ (* 2 Y_0) (- Y_1) (* Y_2 0.5 2) 1) (- 4 Y_2 (* 3 Y_0))))"
    (case,) = read(tmp_path, HEAD + BOX + text).cases
    np.testing.assert_array_equal(case.unsafe.rows, [[[5, -1, 2]]])
    np.testing.assert_array_equal(case.unsafe.thresholds, [[3]])


def test_a_bound_of_an_input_may_be_scaled_or_reversed(tmp_path):
    text = "(assert (>= 1 X_0)) (assert (<= -3 (* -2 X_1))) (assert (<= Y_0 0))"
    (case,) = read(tmp_path, HEAD + BOX + text).cases
    np.testing.assert_array_equal(case.box.upper, [1, 1.5])


FORMULAS = [
    "(assert (or (<= Y_0 0) (and (>= Y_1 1) (<= Y_2 Y_0)) (>= Y_2 2)))",
    "(assert (or (<= Y_0 0) (>= Y_0 1))) (assert (or (<= Y_1 0) (>= Y_1 1)))",
    "(assert (or (and (<= X_0 0) (<= Y_0 0)) (and (>= X_0 .5) (>= Y_0 1))))",
    "(assert (and (or (<= X_0 0) (>= X_1 1)) (or (<= Y_0 Y_1) (and (>= Y_2 1) (<= Y_2 2)))))",
    "(assert (or (and (or (<= Y_0 0) (>= Y_1 0)) (>= X_0 0) (>= Y_2 0)) (<= Y_2 -1)))",
]


def holds(formula, x, y):
    """The oracle: the file's own text, evaluated by Python at a point."""
    words = formula.replace("(", " ( ").replace(")", " ) ").split()

    def evaluate():
        word = words.pop(0)
        if word != "(":
            kind, _, index = word.partition("_")
            return {"X": x, "Y": y}[kind][int(index)] if index else float(word)
        operator, values = words.pop(0), []
        while words[0] != ")":
            values.append(evaluate())
        words.pop(0)
        if operator in ("and", "or", "assert"):
            return any(values) if operator == "or" else all(values)
        return values[0] <= values[1] if operator == "<=" else values[0] >= values[1]

    truth = True
    while words:
        truth &= evaluate()
    return truth


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_normal_form_means_what_the_file_says(tmp_path, formula):
    prop = read(tmp_path, HEAD + BOX + formula)
    grid = [-1.0, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0]
    outputs = list(itertools.product([-1.5, 0.0, 0.5, 1.0, 2.0], repeat=3))
    found = set()
    for x in itertools.product(grid, repeat=2):
        for y in outputs:
            expected = holds(BOX + formula, x, y)
            assert prop.violated_by(x, y) == expected, (x, y)
            found.add(expected)
    assert found == {True, False}


def test_an_empty_box_is_no_case(tmp_path):
    text = "(assert (or (and (>= X_0 3) (<= Y_0 0)) (and (<= X_0 0) (<= Y_0 1))))"
    prop = read(tmp_path, HEAD + BOX + text)
    assert len(prop.cases) == 1
    assert read(tmp_path, HEAD + BOX + "(assert (>= X_0 3)) (assert (<= Y_0 1))").cases == ()


def test_no_constraint_on_the_outputs_makes_every_output_unsafe(tmp_path):
    prop = read(tmp_path, HEAD + BOX)
    assert prop.violated_by([0, 1], [5, 5, 5])
    assert not prop.violated_by([9, 1], [5, 5, 5])


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("\n\n(assert (<= Y_0 ", 10, "the file ends inside the bracket opened in line 10"),
        ("(assert (<= Y_0 0)))", 8, "a closing bracket without an opening one"),
        ("\n(assert (<= Y_7 0))", 9, "Y_7 is not declared"),
        ("(assert (<= Y_0 1.2.3))", 8, "expected a number or a variable, got '1.2.3'"),
        ("(assert (<= (* Y_0 Y_1) 0))", 8, "a product of variables is not linear"),
        ("(assert (<= (+ X_0 X_1) 0))", 8, "one at a time"),
        ("(assert (<= X_0 Y_1))", 8, "one at a time"),
        ("(assert (<= 1 2))", 8, "a comparison without a variable"),
        ("(assert (xor (<= Y_0 1) (<= Y_1 1)))", 8, "'xor' is not one of"),
        ("(assert (= Y_0 1))", 8, "'=' is not one of"),
        ("(assert (<= Y_0 1 2))", 8, "must compare two expressions"),
        ("(assert)", 8, "'assert' must hold one comparison"),
        ("(assert (or))", 8, "'or' must hold comparisons"),
        ("(assert (and (<= Y_0 1) Y_0))", 8, "'and' must hold comparisons"),
        ("(and (<= Y_0 1) (<= Y_0 2)", 8, "the file ends inside"),
        ("word", 8, "expected a bracket, got 'word'"),
        ("()", 8, "a bracket must begin with an operator"),
        ("(declare-const X_5 Real)", 8, "X_5 is declared where X_2 was expected"),
        ("(declare-const X_2 Int)", 8, "expected (declare-const X_i Real)"),
    ],
)
def test_a_malformed_file_gets_an_error_with_the_line(tmp_path, text, line, what):
    with pytest.raises(ValueError, match=rf"^p\.vnnlib, line {line}: ") as caught:
        read(tmp_path, HEAD + BOX + text)
    assert what in str(caught.value)


def test_an_unbounded_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="X_1 has no lower or no upper bound"):
        read(tmp_path, HEAD + "(assert (<= X_0 1)) (assert (>= X_0 0)) (assert (<= Y_0 1))")


def test_too_many_disjuncts_are_refused(tmp_path):
    text = "(assert (or (<= Y_0 0) (>= Y_0 1) (<= Y_1 0) (>= Y_1 1)))\n" * 9
    with pytest.raises(ValueError, match="more than 100000 disjuncts"):
        read(tmp_path, HEAD + BOX + text)


def test_gzipped_files_whole_and_truncated(tmp_path):
    text = HEAD + BOX + "(assert (<= Y_0 1))\n" + "; padding 0123456789\n" * 2000
    data = gzip.compress(text.encode())
    (tmp_path / "p.vnnlib.gz").write_bytes(data)
    assert len(load_vnnlib(tmp_path / "p.vnnlib.gz").cases) == 1
    (tmp_path / "p.vnnlib.gz").write_bytes(data[:-30])
    with pytest.raises(ValueError, match=r"line \d+: the gzip file is truncated here"):
        load_vnnlib(tmp_path / "p.vnnlib.gz")


def test_five_megabytes_take_less_than_a_second(tmp_path):
    count = 50_000
    lines = [f"(declare-const X_{i} Real)\n" for i in range(count)] + ["(declare-const Y_0 Real)\n"]
    lines += [
        f"(assert (<= X_{i} 0.{i}123456789))\n(assert (>= X_{i} -0.12345))\n" for i in range(count)
    ]
    lines.append("(assert (>= Y_0 3.0))\n")
    path = tmp_path / "large.vnnlib"
    path.write_text("".join(lines))
    assert path.stat().st_size > 4.9e6
    seconds = []
    for _ in range(2):  # the better of two: the machine may be busy
        began = time.process_time()
        prop = load_vnnlib(path)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1
    assert prop.cases[0].box.upper[-1] == 0.49999123456789


def test_every_public_property_is_read(shared):
    files = sorted((shared / "vnncomp").glob("**/*.vnnlib*"))
    assert len(files) >= 480
    for file in files[::7]:
        prop = load_vnnlib(file)
        assert prop.cases
        for case in prop.cases:
            assert (case.box.lower <= case.box.upper).all()
            assert np.abs(case.unsafe.rows).sum(axis=2).min() > 0
