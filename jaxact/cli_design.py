"""`jaxact design`: descend an objective in a family, show where it stands, check it on digits."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_DEFAULT = ("memorisation=1", "relaxation=1", "memory=1", "inversion=1")


def design(
    *,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TERM=W",
            help="A term and its weight, several times: memorisation, prediction, zeta, "
            "relaxation, certified, memory, inversion, inadmissible (a constraint: give it a "
            "large weight). Default: memorisation, relaxation, memory and inversion, 1 each.",
        ),
    ] = None,
    family: Annotated[
        str, typer.Option(help="monotone_spline, hermite_bump or small_rational.")
    ] = "monotone_spline",
    reference: Annotated[
        str, typer.Option(metavar="ACT", help="Terms count in units of theirs at this one.")
    ] = "gelu",
    steps: Annotated[int, typer.Option(help="Of each restart.")] = 200,
    restarts: Annotated[int, typer.Option(help="Starts of the descent.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the starts.")] = 0,
    out: Annotated[
        pathlib.Path,
        typer.Option(metavar="DIR", help="For all files; the same command goes on there."),
    ] = pathlib.Path("design"),
    catalogue: Annotated[
        bool, typer.Option(help="Compare with the whole catalogue, and draw it.")
    ] = True,
    check: Annotated[
        bool, typer.Option(help="Train fresh networks on digits against relu, gelu and tanh.")
    ] = True,
    mnist: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="NPZ", help="Check on MNIST too: images and labels in an npz file."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Of the check, at least 2.")] = 5,
) -> None:
    """Design an activation by gradient, and say honestly what it wins."""
    from jaxact.card import design as lib
    from jaxact.card import resolve
    from jaxact.cli import cache_compilations, spinner

    cache_compilations()
    if check and seeds < 2:
        raise ValueError(f"seeds must be at least 2, got {seeds}")
    chosen = lib.family(family)
    weights = read_weights(weight or _DEFAULT)
    console = Console()
    with spinner() as progress:
        task = progress.add_task("the reference", total=None)

        def say(words: str) -> None:
            progress.update(task, description=escape(words))

        aim = lib.objective(weights, reference=resolve(reference))
        found = lib.descend(
            chosen, aim, steps=steps, restarts=restarts, seed=seed,
            checkpoint=out / "checkpoint.npz",
            progress=lambda n, of, best: say(f"step {n} of {of}, best {best:.5g}"),
        )  # fmt: skip
        about = _about(weights, reference, found, steps, restarts, seed)
        file = lib.save_activation(out / "found.json", found.act, about=about)
        progress.stop()
        _print_found(console, found, file)
        progress.start()
        if catalogue:
            front = lib.pareto([found.act], aim.names, progress=lambda n: say(f"values of {n}"))
            progress.stop()
            _print_front(console, front)
            if len(front.terms) > 1:
                drawn = lib.draw(front, out / "pareto.png")
                console.print(f"written: {drawn}", highlight=False)
            progress.start()
        if check:
            _check(console, progress, say, found.act, mnist, seeds, out)


def read_weights(texts: Any) -> dict[str, float]:
    """TERM=W, several of them, as a dictionary.

    Raises:
        ValueError: for a text of another form, or a term that is given twice.

    Example:
        >>> read_weights(["zeta=2", "memory=0.5"])
        {'zeta': 2.0, 'memory': 0.5}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError as error:
            raise ValueError(f"weight must have the form TERM=W, got {text!r}") from error
        if name in found:
            raise ValueError(f"weight must name a term once, got {name} twice")
        found[name] = value
    return found


def _about(
    weights: Any, reference: str, found: Any, steps: int, restarts: int, seed: int
) -> dict[str, Any]:
    return {
        "weights": weights,
        "reference": reference,
        "steps": steps,
        "restarts": restarts,
        "seed": seed,
        "objective": float(found.value),
        "converged": bool(found.converged),
    }


def _print_found(console: Console, found: Any, file: pathlib.Path) -> None:
    from jaxact.geometry import admissibility

    plateau = "converged" if found.converged else "[yellow]not converged: give more steps[/yellow]"
    each = ", ".join(f"{v:.5g}" for v in found.best)
    console.print(f"objective {float(found.value):.6g} ({plateau}); restarts: {each}",
                  highlight=False)  # fmt: skip
    console.print(f"admissible: {escape(admissibility(found.act).reason)}", highlight=False)
    console.print(f"written: {file}   (jaxact card {file})", highlight=False)


def _print_front(console: Console, front: Any) -> None:
    """A line an activation of the front, and the found one."""
    table = Table(title="not dominated in all terms together (less is better)")
    table.add_column("activation")
    for term in front.terms:
        table.add_column(term, justify="right")
    for i, name in enumerate(front.names):
        if i < front.found or front.front[i]:
            mark = "" if front.front[i] else " (dominated)"
            numbers = [f"{v:.4g}" for v in front.values[i]]
            table.add_row(escape(name) + mark, *numbers, style="bold" if i < front.found else "")
    console.print(table)
    if front.reasons:
        console.print(f"without a value: {escape('; '.join(front.reasons))}", highlight=False)


def _check(
    console: Console, progress: Any, say: Any, act: Any, mnist: Any, seeds: int, out: pathlib.Path
) -> None:
    """The held-out check on each data set, printed and written."""
    from jaxact import io
    from jaxact.card import design as lib
    from jaxact.numerics import files

    sets: list[Any] = [("digits", lambda s: io.load_digits(seed=s), lib.Sizes())]
    if mnist is not None:
        sizes = lib.Sizes(epochs=10)
        sets.append(("mnist", lambda s: io.load_mnist(mnist, seed=s), sizes))
    results = []
    for data, load, sizes in sets:
        found = lib.held_out(act, load, data=data, seeds=seeds, sizes=sizes, progress=say)
        progress.stop()
        _print_held_out(console, found)
        progress.start()
        results.append(
            {
                "data": data,
                "activations": list(found.names),
                "metrics": list(found.metrics),
                "values": np.asarray(found.values).tolist(),
                "verdicts": [str(c) for c in found.comparisons],
            }
        )
    text = json.dumps({"schema": 1, "seeds": seeds, "sets": results}, indent=1, allow_nan=False)
    file = out / "heldout.json"
    files.write_text(file, text + "\n")
    progress.stop()
    console.print(f"written: {file}", highlight=False)


def _print_held_out(console: Console, found: Any) -> None:
    table = Table(title=f"fresh networks on {found.data}: mean +- standard error of "
                        f"{found.values.shape[-1]} seeds")  # fmt: skip
    table.add_column("activation")
    for metric in found.metrics:
        table.add_column(metric, justify="right")
    for name, mean, error in zip(found.names, found.mean, found.error, strict=True):
        cells = [f"{m:.4f} +- {e:.4f}" for m, e in zip(mean, error, strict=True)]
        table.add_row(escape(name), *cells)
    console.print(table)
    for comparison in found.comparisons:
        console.print(escape(str(comparison)), highlight=False)
