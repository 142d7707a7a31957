"""VNN-LIB 1.0 properties in one pass: what inputs, and which outputs they must not reach."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import zlib
from typing import Any

from jaxact.io.properties import Property
from jaxact.io.vnnlib_forms import LIMIT, Linear, Term, normal_form, product
from jaxact.numerics import checks

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_INDEX = r"(\d{1,9})"
_ATOM = rf"\(\s*([<>]=)\s+([XY])_{_INDEX}\s+(?:([XY])_{_INDEX}|({_NUMBER}))\s*\)"
# the three shapes that make up nearly the whole of a large file are one token each
_TOKEN = re.compile(
    rf"\s+|;[^\n]*|\(\s*assert\s*{_ATOM}\s*\)|{_ATOM}|"
    r"\(\s*declare-const\s+([XY])_(\d{1,9})\s+Real\s*\)|(\()|(\))|([^\s();]+)"
)
_ASSERTED, _PLAIN, _DECLARED, _OPEN, _CLOSE, _WORD = 6, 12, 14, 15, 16, 17
_VARIABLE = re.compile(r"([XY])_(\d{1,9})\Z")


def load_vnnlib(path: str | os.PathLike[str]) -> Property:
    """Read a VNN-LIB 1.0 property (.vnnlib or .vnnlib.gz).

    Read are `declare-const` of X_i and Y_j and `assert` of `<=` and `>=` between linear
    expressions (`+`, `-`, `*` with constants), joined by `and` and `or` at any depth. The
    conjunction of the asserts describes a counterexample. Inputs may be bounded one by one only.

    Args:
        path: the file; gzipped if it begins like one, whatever its name.

    Returns:
        A `Property`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with the line, for a file that is malformed, truncated, leaves an input
            unbounded or has more than 100,000 disjuncts.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/p.vnnlib"
        >>> with open(file, "w") as out:
        ...     _ = out.write('''(declare-const X_0 Real) (declare-const Y_0 Real)
        ... (assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (or (<= Y_0 2) (>= Y_0 5)))''')
        >>> (case,) = load_vnnlib(file).cases
        >>> case.box.lower.tolist(), case.unsafe.rows.tolist(), case.unsafe.thresholds.tolist()
        ([-1.0], [[[1.0]], [[-1.0]]], [[2.0], [-5.0]])

    Source: VNN-LIB 1.0 (vnnlib.org); VNN-COMP 2022 report, section 2.
    """
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"path must be a VNN-LIB file, got {file}")
    return _Parser(_text(file), file.name).property()


def _text(file: pathlib.Path) -> str:
    data = file.read_bytes()
    if data[:2] == b"\x1f\x8b":
        unpack = zlib.decompressobj(31)
        try:
            data = unpack.decompress(data)
        except zlib.error as error:
            raise ValueError(f"{file.name}, line 1: not a whole gzip file: {error}") from error
        if not unpack.eof:
            line = data.count(b"\n") + 1
            raise ValueError(f"{file.name}, line {line}: the gzip file is truncated here")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file.name}, line {line}: not a text file") from error


class _Parser:
    """One pass over the tokens with a stack of open brackets."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.counts = {"X": 0, "Y": 0}
        self.asserted = Term()
        self.disjunctions: list[list[Term]] = []
        self.stack: list[tuple[list[Any], int]] = []

    def property(self) -> Property:
        for match in _TOKEN.finditer(self.text):
            kind = match.lastindex
            if kind is None:
                continue
            if kind == _ASSERTED or kind == _ASSERTED - 1:
                if self.stack:
                    raise self.error(match.start(), "'assert' inside another expression")
                self.atom(self.asserted, match.groups()[:6], match.start())
            elif kind == _PLAIN or kind == _PLAIN - 1:
                self.atom(self.conjunct(match.start()), match.groups()[6:12], match.start())
            elif kind == _DECLARED:
                self.declare(match.group(13), int(match.group(14)), match.start())
            elif kind == _OPEN:
                self.stack.append(([], match.start()))
            elif kind == _CLOSE:
                self.close(match.start())
            else:
                self.append(match.group(_WORD), match.start())
        if self.stack:
            start = self.stack[0][1]
            raise self.error(
                len(self.text),
                f"the file ends inside the bracket opened in line {self.line(start)}",
            )
        return self.normal_form()

    def line(self, place: int) -> int:
        return self.text.count("\n", 0, place) + 1

    def error(self, place: int, what: str) -> ValueError:
        return ValueError(f"{self.name}, line {self.line(place)}: {what}")

    def declare(self, kind: str, index: int, place: int) -> None:
        if self.stack:
            raise self.error(place, "'declare-const' inside another expression")
        if index != self.counts[kind]:
            raise self.error(
                place, f"{kind}_{index} is declared where {kind}_{self.counts[kind]} was expected"
            )
        self.counts[kind] += 1

    def known(self, kind: str, index: int, place: int) -> tuple[str, int]:
        if index >= self.counts[kind]:
            raise self.error(place, f"{kind}_{index} is not declared")
        return kind, index

    def atom(self, term: Term, groups: tuple[Any, ...], place: int) -> None:
        """A comparison of a variable with a number or a variable."""
        relation, kind, index, other, other_index, number = groups
        left = self.known(kind, int(index), place)
        if number is not None and kind == "X":
            term.bound(left[1], float(number), above=relation == "<=")
            return
        right = (
            Linear((), float(number))
            if number is not None
            else Linear(((self.known(other, int(other_index), place), 1.0),), 0.0)
        )
        self.compare(term, relation, Linear(((left, 1.0),), 0.0), right, place)

    def compare(self, term: Term, relation: str, left: Linear, right: Linear, place: int) -> None:
        if relation == ">=":
            left, right = right, left
        coefficients: dict[tuple[str, int], float] = {}
        for side, sign in ((left, 1.0), (right, -1.0)):
            for variable, factor in side.terms:
                coefficients[variable] = coefficients.get(variable, 0.0) + sign * factor
        threshold = right.constant - left.constant
        kinds = {kind for kind, _ in coefficients}
        if kinds == {"Y"}:
            row = tuple((i, c) for (_, i), c in coefficients.items())
            term.rows.append((row, threshold))
        elif len(coefficients) == 1 and next(iter(coefficients.values())) != 0:
            ((_, index), factor) = next(iter(coefficients.items()))
            term.bound(index, threshold / factor, above=factor > 0)
        elif kinds:
            raise self.error(place, "inputs can only be compared with numbers, one at a time")
        else:
            raise self.error(place, "a comparison without a variable")

    def conjunct(self, place: int) -> Term:
        """The term that a comparison belongs to: the one before it in an 'and', or a new one."""
        if self.stack:
            items = self.stack[-1][0]
            if len(items) > 1 and items[0] == "and" and _is_term(items[-1]):
                return items[-1][0]
        term = Term()
        self.append([term], place)
        return term

    def append(self, item: Any, place: int) -> None:
        if not self.stack:
            raise self.error(place, f"expected a bracket, got {_show(item)}")
        self.stack[-1][0].append(item)

    def close(self, place: int) -> None:
        if not self.stack:
            raise self.error(place, "a closing bracket without an opening one")
        items, start = self.stack.pop()
        if not items or not isinstance(items[0], str):
            raise self.error(start, "a bracket must begin with an operator")
        operator, operands = items[0], items[1:]
        if operator in ("assert", "declare-const", "set-logic", "set-info", "set-option"):
            if self.stack:
                raise self.error(start, f"{operator!r} inside another expression")
            self.command(operator, operands, start)
        else:
            self.append(self.value(operator, operands, start), start)

    def command(self, operator: str, operands: list[Any], place: int) -> None:
        if operator.startswith("set-"):
            return
        if operator == "declare-const":
            found = _VARIABLE.match(operands[0]) if _is_words(operands, 2) else None
            if found is None or operands[1] != "Real":
                raise self.error(place, "expected (declare-const X_i Real) or (... Y_j Real)")
            self.declare(found.group(1), int(found.group(2)), place)
            return
        if len(operands) != 1 or not isinstance(operands[0], list):
            raise self.error(place, "'assert' must hold one comparison, 'and' or 'or'")
        (terms,) = operands
        if len(terms) == 1:
            self.asserted.join(terms[0])
        else:
            self.disjunctions.append(terms)

    def value(self, operator: str, operands: list[Any], place: int) -> Any:
        """Terms of a formula, or a linear expression."""
        if operator in ("and", "or"):
            if not operands or not all(isinstance(o, list) for o in operands):
                raise self.error(place, f"{operator!r} must hold comparisons, 'and' or 'or'")
            if operator == "or":
                return self.few(list(itertools.chain.from_iterable(operands)), place)
            return self.product(operands, place)
        if operator not in ("<=", ">=", "+", "-", "*"):
            raise self.error(place, f"{operator!r} is not one of <= >= and or + - * assert")
        sides = [self.linear(o, place) for o in operands]
        if operator in ("<=", ">="):
            if len(sides) != 2:
                raise self.error(place, f"{operator!r} must compare two expressions")
            term = Term()
            self.compare(term, operator, sides[0], sides[1], place)
            return [term]
        if not sides:
            raise self.error(place, f"{operator!r} must have operands")
        if operator == "*":
            return self.multiply(sides, place)
        if operator == "-" and len(sides) == 1:
            return sides[0].times(-1.0)
        rest = sides[1:] if operator == "+" else [s.times(-1.0) for s in sides[1:]]
        everything = [sides[0], *rest]
        return Linear(
            tuple(t for s in everything for t in s.terms), sum(s.constant for s in everything)
        )

    def linear(self, item: Any, place: int) -> Linear:
        if isinstance(item, Linear):
            return item
        if isinstance(item, str):
            found = _VARIABLE.match(item)
            if found:
                variable = self.known(found.group(1), int(found.group(2)), place)
                return Linear(((variable, 1.0),), 0.0)
            if re.fullmatch(_NUMBER, item):
                return Linear((), float(item))
        raise self.error(place, f"expected a number or a variable, got {_show(item)}")

    def multiply(self, sides: list[Linear], place: int) -> Linear:
        result = sides[0]
        for side in sides[1:]:
            if side.terms and result.terms:
                raise self.error(place, "a product of variables is not linear")
            result = result.times(side.constant) if result.terms else side.times(result.constant)
        return result

    def product(self, factors: list[list[Term]], place: int) -> list[Term]:
        try:
            return product(factors)
        except ValueError as error:
            raise self.error(place, str(error)) from error

    def few(self, terms: list[Term], place: int) -> list[Term]:
        if len(terms) > LIMIT:
            raise self.error(place, f"more than {LIMIT} disjuncts")
        return terms

    def normal_form(self) -> Property:
        end = len(self.text)
        if not self.counts["X"] or not self.counts["Y"]:
            raise self.error(end, "no input X_0 or no output Y_0 is declared")
        try:
            return normal_form(self.asserted, self.disjunctions, self.counts["X"], self.counts["Y"])
        except ValueError as error:
            raise self.error(end, str(error)) from error


def _is_term(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 1


def _is_words(items: list[Any], count: int) -> bool:
    return len(items) == count and all(isinstance(i, str) for i in items)


def _show(item: Any) -> str:
    return repr(item) if isinstance(item, str) else "an expression"
