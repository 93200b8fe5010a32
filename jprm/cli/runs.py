"""Commands on the directory of a run: score, search, report, view, compare."""

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jprm.cli.app import app
from jprm.errors import UserError
from jprm.paths import present
from jprm.terminal import say, terminal

if TYPE_CHECKING:
    from jprm.api import ScoredSolution


@app.command()
def score(
    problem: Annotated[str, typer.Option(help="The problem's text.")],
    steps: Annotated[Path, typer.Option(help="A file with one step per line.")],
    run: Annotated[Path | None, typer.Option(help="Run directory of a finished sweep; default: runs/embedded.")] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory, in the place of a run.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Votes on each step.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge each step of a solution: P(Yes), the votes, the code that ran and its output."""
    if run and model:
        raise UserError("--run and --model exclude each other; give the one that has the verifier")
    if not model:
        _require_sweep(run := run or Path("runs/embedded"))
    present(steps, "--steps")
    texts = _steps(steps)
    from jprm.api import Verifier

    told = not as_json  # else standard output is the object alone
    opened = Verifier.from_checkpoint(model, progress=told) if model else Verifier.from_run(run or "", progress=told)
    with opened as verifier:
        scored = verifier.score(problem, texts, n)
    if as_json:
        print(json.dumps(scored.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        _print_scored(scored, n)


def _steps(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the steps ({error})") from None
    steps = [line for line in text.splitlines() if line.strip()]
    if not steps:
        raise UserError(f"{path}: no steps in it; write one step per line")
    return steps


def _print_scored(scored: "ScoredSolution", asked: int) -> None:
    """Prints each step with its votes, and each different rationale with how many votes wrote it."""
    from jprm.verify import ONE_VOTE

    console = terminal(soft_wrap=True)
    if scored.n_votes < asked:
        console.print(f"temperature 0: {ONE_VOTE}")
    for number, step in enumerate(scored.steps, 1):
        console.print(f"step {number}", f" {step}")
        for text, times in Counter(rationale.text for rationale in step.rationales).items():
            console.print(f"    {times} x {text.strip()}".replace("\n", "\n        "))
    console.print(scored.verdict)


@app.command()
def search(
    run: Annotated[Path, typer.Option(help="Run directory of a finished sweep.")],
    strategy: Annotated[str, typer.Option(help="How to search; python -m jprm list names the strategies.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of the strategy, such as width=4.")
    ] = None,
    scorer: Annotated[str, typer.Option(help="Who rewards the steps.")] = "genprm",
    n: Annotated[int, typer.Option("--n", min=1, help="The votes of the scorer on each step.")] = 2,
    problems: Annotated[int, typer.Option(min=1, help="How many problems are searched.")] = 100,
    split: Annotated[str, typer.Option(help="Where the problems come from: train, dev or test.")] = "dev",
    aggregation: Annotated[str, typer.Option(help="How the rewards of steps become one score.")] = "min",
    choice: Annotated[str, typer.Option(help="How scores and answers become a winner.")] = "argmax",
    missing: Annotated[
        str, typer.Option(help="A problem without a judged candidate is: wrong, or excluded.")
    ] = "wrong",
    plugin: Annotated[list[Path] | None, typer.Option(help="A Python file with a @strategy, @scorer, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="A file that gets a copy of the rows.")] = None,
) -> None:
    """Search solutions with a sweep's policy and verifier; the same command resumes.

    Exit code 3: a strategy or scorer raised on some problems, which are rows with the reason.
    """
    _require_sweep(run)
    from jprm.experiments.applications.search_command import print_search

    code = print_search(
        run,
        strategy,
        settings or (),
        scorer=scorer,
        votes=n,
        problems=problems,
        split=split,  # type: ignore[arg-type] - checked there
        aggregation=aggregation,
        choice=choice,
        missing=missing,  # type: ignore[arg-type] - checked there
        plugins=plugin or (),
        out=out,
    )
    raise typer.Exit(code)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished sweep.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value of keys that are read last: evaluate.votes_shown=[1,8].")
    ] = None,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Reduce the stored votes anew, as this does always.")
    ] = False,
    tables: Annotated[bool, typer.Option("--tables", help="Print all tables of the report, too.")] = False,
) -> None:
    """Write report.html again from the votes that a sweep has stored; no model is loaded."""
    _require_sweep(run)
    from jprm.experiments.sweep.finished import rewrite_report

    changes = overrides or []
    command = shlex.join(["python", "-m", "jprm", "report", str(run), *changes])
    say(f"{run / 'report.html'}: {rewrite_report(run, changes, command, tables)}")


@app.command()
def view(
    path: Annotated[Path, typer.Argument(help="A run directory, or a folder of runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it is served; 0: any free port.")] = 8008,
) -> None:
    """Serve the report of a run, also while it goes on, or an index over a folder of runs, on this machine."""
    present(path, "PATH")
    from jprm.experiments.view import view as serve

    serve(path, port)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run directory A.")],
    second: Annotated[Path, typer.Argument(help="Run directory B.")],
    cells: Annotated[
        tuple[str, str], typer.Option(help="Parts of the names of one cell in each; without it all cells of both.")
    ] = ("", ""),
    flips: Annotated[
        int, typer.Option(min=0, help="Solutions of each direction that are listed, of each pair of cells.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with all flips.")] = False,
) -> None:
    """Compare two sweeps cell by cell, paired by problem, with intervals, and list the solutions that flip.

    A solution flips where one run names its first error right and the other does not, with all of their votes.
    """
    for run in (first, second):
        _require_sweep(run)
    from jprm.experiments.sweep.compare import compare as compared
    from jprm.experiments.sweep.compare import comparison_json, print_comparison

    found = compared(first, second, cells if any(cells) else None)
    if as_json:
        print(json.dumps(comparison_json(found, first, second), ensure_ascii=False, allow_nan=False))
    else:
        print_comparison(found, first, second, flips)


def _require_sweep(run: Path) -> None:
    from jprm.experiments.sweep.config import require_sweep

    require_sweep(run)
