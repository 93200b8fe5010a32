"""Commands on files, and about this installation: choose, data convert, list, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import app, data


@app.command()
def choose(
    scores: Annotated[Path, typer.Option(help="Step scores of several candidates per problem.")],
    tie: Annotated[str, typer.Option(help="Who wins of equals: first, score or shared.")] = "first",
) -> None:
    """Choose among stored solutions: accuracy by every aggregation and choice, with intervals."""
    from jprm.search import print_grid

    print_grid(scores, tie)


@data.command("convert")
def convert_data(
    out: Annotated[Path, typer.Argument(help="The file to write: JSON lines, gzipped as .gz.")],
    path: Annotated[Path, typer.Option("--in", help="The file to read.")],
    source: Annotated[str, typer.Option("--from", help="Its format.")],
    target: Annotated[str, typer.Option("--to", help="The format to write.")],
) -> None:
    """Rewrite solutions in another format; exit code 3 says that rows were rejected."""
    from jprm.formats import convert, report

    done = convert(path, source, target, out)
    print(report(done))
    raise typer.Exit(done.exit_code)


@app.command("list")
def list_names(
    plugin: Annotated[Path | None, typer.Option(help="A Python file with a @scorer.")] = None,
) -> None:
    """Name everything that can be chosen: scorers, formats, worlds, models."""
    from jprm.catalogue import print_catalogue

    print_catalogue(plugin)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.1, help="Seconds that JAX has to name its devices.")
    ] = 4.0,
) -> None:
    """Say whether the main command can run here: versions, devices, memory, disk, the jail."""
    from jprm.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json, wait_s))
