"""The command line, thin: it reads arguments, calls the library and prints."""

from __future__ import annotations

import json
import math
import os
import pathlib
import shutil
import sys
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jaxact import cli_design
from jaxact import doctor as _doctor

app = typer.Typer(
    help="The mathematics of activation functions in JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an error the user can mend is one line, not a traceback."""
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError, NotImplementedError) as error:
        if os.environ.get("JAXACT_TRACEBACK"):
            raise
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(2)


def cache_compilations() -> pathlib.Path:
    """Keep compiled code in the user's cache folder, so a second run starts warm."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = pathlib.Path(base) / "jaxact" / "xla"
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def spinner() -> Progress:
    """Progress on stderr where that is a terminal, gone when it ends."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@app.command()
def card(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ACT ...",
            help="A name (gelu), a name with parameters ('elu(0.7, 1.3)') or your own "
            "package.module:name. Names after the first are compared with it.",
        ),
    ],
    against: Annotated[
        list[str] | None, typer.Option(metavar="ACT", help="Activations to put beside it.")
    ] = None,
    out: Annotated[
        pathlib.Path,
        typer.Option(help="Folder for card.json and card.html; a killed command goes on there."),
    ] = pathlib.Path("card"),
    data: Annotated[
        str, typer.Option(help="digits (embedded), mnist, or an npz file of images and labels.")
    ] = "digits",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    quick: Annotated[
        bool,
        typer.Option("--quick", envvar="JAXACT_QUICK", help="Smaller sizes, fewer samples."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print card.json instead of the table.")
    ] = False,
) -> None:
    """What five theories say about an activation, from real digits and real computation."""
    from jaxact.card import dump, measure_all, resolve, write_html
    from jaxact.card.terminal import print_cards
    from jaxact.numerics import files

    if quick:  # most of a quick card is compilation, which this halves; read when a backend starts
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
    cache_compilations()
    chosen = [resolve(text) for text in (*names, *(against or ()))]
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("samples",), devices=devices) if devices[1:] else None
    console = Console()
    with spinner() as progress:
        task = progress.add_task("", total=None)

        def report(i: int, stage: str) -> None:
            place = f" ({i + 1} of {len(chosen)})" if len(chosen) > 1 else ""
            progress.update(task, description=escape(f"{chosen[i].name}{place}: {stage}"))

        parts = out / ".jaxact-parts"
        cards = measure_all(
            chosen, folder=parts, data=data, seed=seed, quick=quick, mesh=mesh, report=report
        )
        progress.update(task, description="drawing the page")
        payload = dump(cards)
        files.write_text(out / "card.json", json.dumps(payload, indent=1, allow_nan=False))
        files.write_text(out / "card.html", write_html(cards))
        shutil.rmtree(parts)
    if as_json:
        sys.stdout.write(json.dumps(payload) + "\n")
        return
    print_cards(cards, console)
    console.print(f"written: {out / 'card.html'}, {out / 'card.json'}", highlight=False)


@app.command()
def certify(
    network: Annotated[
        pathlib.Path | None, typer.Argument(metavar="NET", help="An ONNX file (.gz too).")
    ] = None,
    prop: Annotated[
        pathlib.Path | None, typer.Argument(metavar="PROPERTY", help="A VNN-LIB file (.gz too).")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="auto: attack, bounds, branch and bound; attack, ibp, crown, alpha or sound "
            "(crown, its rounding allowed for): that alone."
        ),
    ] = "auto",
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds an instance, 300 by default; with --set at most this and the list's. "
            "Looked at between steps, compilations are not cut."
        ),
    ] = None,
    counterexample: Annotated[
        pathlib.Path | None, typer.Option(metavar="FILE", help="Write it here, as VNN-COMP does.")
    ] = None,
    restarts: Annotated[
        int, typer.Option(help="Starts of the attack before a single bound; 0 for none.")
    ] = 32,
    sound: Annotated[
        bool, typer.Option("--sound", help="Certificates must allow for their own rounding.")
    ] = False,
    instances: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--set", metavar="CSV", help="A list network,property,timeout instead of NET PROPERTY."
        ),
    ] = None,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Results of the set; the same command goes on there."),
    ] = None,
    verdicts: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="CSV", help="Known verdicts of the set; a contradiction stops it."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Only every N-th instance of the set from the K-th on: one process each, the "
            "same DIR; the command without it then merges.",
        ),
    ] = None,
) -> None:
    """Does a network keep a property? Bounds, attack and branch and bound; one or a whole set.

    Exit codes: 0 verified, 10 falsified, 20 unknown, 2 an error in the files or options. With
    --set: 0 all decided, 20 some unknown or in error, 1 a contradiction with the verdicts.
    """
    from jaxact import cli_certify
    from jaxact.decide.instances_property import check_options

    single = {"NET": network, "PROPERTY": prop}
    if instances is None:
        foreign = {"--out": out, "--verdicts": verdicts, "--shard": shard}
        cli_certify.check_usage(single, foreign, "without --set")
    else:
        foreign = single | {"--counterexample": counterexample}
        cli_certify.check_usage({"--out": out}, foreign, "with --set")
    check_options(method, 300.0 if timeout is None else timeout, sound=sound)
    options: dict[str, Any] = {"method": method, "restarts": restarts, "sound": sound}
    cache_compilations()
    with spinner() as progress:
        if instances is None:
            options["timeout"] = 300.0 if timeout is None else timeout
            code = cli_certify.one(network, prop, counterexample, progress, options)
        else:
            options["timeout"] = math.inf if timeout is None else timeout
            code = cli_certify.several(instances, out, verdicts, shard, progress, options)
    raise typer.Exit(code)


@app.command()
def spectrum(
    name: Annotated[str, typer.Argument(metavar="ACT", help="As for `jaxact card`.")],
    phi: Annotated[float, typer.Option(help="n0 / m, inputs per sample.")] = 0.5,
    psi: Annotated[float, typer.Option(help="n0 / n1, inputs per neuron.")] = 0.75,
    scale: Annotated[float, typer.Option(help="Standard deviation of the pre-activations.")] = 1.0,
    depth: Annotated[int, typer.Option(help="Layers, all with this psi.")] = 1,
    noise: Annotated[
        float, typer.Option(help="Label noise of the linear teacher, a variance.")
    ] = 0.25,
) -> None:
    """What a random layer with this activation does to eigenvalues, and how it memorises."""
    from jaxact.card import resolve
    from jaxact.numerics import double

    cache_compilations()
    act = resolve(name)
    table = Table(title=f"{act.name}, phi = {phi:g}, psi = {psi:g}", show_header=False)
    for label, value in double(_spectrum)(act, phi, psi, scale, depth, noise):
        table.add_row(label, value)
    Console().print(table)


def _spectrum(
    act: Any, phi: float, psi: float, scale: float, depth: int, noise: float
) -> list[tuple[str, str]]:
    from jaxact import spectra
    from jaxact.numerics import checks

    checks.integer("depth", depth, 1)
    moments = spectra.moments(act, scale)
    law = spectra.law(act, phi=phi, psi=psi, scale=scale)
    eta = float(law.eta)
    rows = [(label, f"{float(getattr(moments, label)):.8g}") for label in ("mean", "eta", "zeta")]
    if depth > 1:
        last: Any = spectra.deep_law(act, phi=phi, psi=np.full(depth, psi), scale=scale)
        eta = float(last.eta[-1])
    else:
        last = law
    support = spectra.edges(last)
    edges = np.asarray(support.edges)[: int(support.count)].reshape(-1, 2)
    bands = " and ".join(f"[{low:.6g}, {high:.6g}]" for low, high in edges)
    rows += [
        ("support" if depth == 1 else f"support, layer {depth}", bands),
        ("atom at 0", f"{float(spectra.atom(last)):.6g}"),
        *(
            (
                f"training error on noise, ridge {g:g} eta",
                f"{float(spectra.training_error(last, g * eta)):.6g}",
            )
            for g in (1e-3, 1e-1)
        ),
    ]
    if depth == 1:
        best = spectra.optimal_gamma(law, noise=noise)
        rows.append(
            (
                f"least test error, noise {noise:g}",
                f"{float(best.error):.6g} at ridge {float(best.gamma) / eta:.4g} eta",
            )
        )
    return rows


app.command()(cli_design.design)


@app.command()
def doctor() -> None:
    """Is this backend computing right numbers? Which devices, which precision?"""
    found = _doctor.diagnose()
    console = Console()
    table = Table(show_header=False, pad_edge=False)
    for name, version in found.versions:
        table.add_row(name, version)
    table.add_section()
    for line in found.devices:
        table.add_row("device", line)
    table.add_section()
    for what, measured, right in found.checks:
        table.add_row(what, f"[green]{measured}[/green]" if right else f"[red]{measured}[/red]")
    console.print(table)
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)
    if not found.healthy:
        raise typer.Exit(1)
    console.print("this backend computes right numbers", highlight=False)


@app.command()
def names() -> None:
    """List the catalogue."""
    from jaxact.catalog import names as catalogue

    Console().print("\n".join(catalogue()), highlight=False)
