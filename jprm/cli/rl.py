"""Commands on reinforcement learning: rl credit, rl hacks."""

from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import rl

Rows = Annotated[str, typer.Option(help="all, or names with commas between them; python -m jprm list names the rows.")]
Plugin = Annotated[list[Path] | None, typer.Option(help="A Python file with a @row.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="A file for the rows, as JSON lines.")]


@rl.command()
def credit(
    run: Annotated[Path, typer.Argument(help="A file of judged rollouts, or a directory with judged.jsonl in it.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of the row, where one is named: alpha=5.")
    ] = None,
    rows: Rows = "all",
    plugin: Plugin = None,
    json_file: JsonFile = None,
) -> None:
    """Compute the credit of rows on stored rollouts, and hold it against the exact advantage of every step.

    Exit code 3: a row raised on some groups, which are lost with the reason; 2: on 5 % of them, or another mistake.
    """
    from jprm.config import settings_of
    from jprm.experiments.credit import run_credit

    raise typer.Exit(run_credit(run, rows, settings_of(settings or ()), plugins=plugin or (), json_file=json_file))


@rl.command()
def hacks(
    rows: Rows = "all",
    problems: Annotated[int, typer.Option(min=1, help="How many problems are tried.")] = 20,
    seed: Annotated[int, typer.Option(help="The seed of the problems and their errors.")] = 0,
    plugin: Plugin = None,
    json_file: JsonFile = None,
) -> None:
    """Show what rows pay for ten hacks of wrong solutions, with and without the guard, under a judge that is fooled.

    Exit code 3: a hack is paid more than the honest wrong solution although the guard is there.
    """
    from jprm.experiments.credit import run_hacks

    raise typer.Exit(run_hacks(rows, problems, seed, plugins=plugin or (), json_file=json_file))
