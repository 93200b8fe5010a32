"""Commands on files, and about this installation: choose, grade, laws, data convert, list, doctor."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from jprm.cli.app import app, data


@app.command()
def choose(
    scores: Annotated[Path, typer.Option(help="Step scores of several candidates per problem.")],
    tie: Annotated[str, typer.Option(help="Who wins of equals: first, score or shared.")] = "first",
    transform: Annotated[
        str, typer.Option(help="What is done to every step score: none, sigmoid (logits), exp (log-probabilities).")
    ] = "none",
    missing: Annotated[
        str, typer.Option(help="A problem without a judged candidate is: wrong, or excluded.")
    ] = "wrong",
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the rows, as JSON lines.")] = None,
    answers: Annotated[
        str, typer.Option(help="Votes are for equivalent answers, or for exact spellings.")
    ] = "equivalent",
) -> None:
    """Choose among stored solutions: accuracy by every aggregation and choice, with intervals.

    Exit code 3: rows were left out, or candidates kept without a judgement; the output says which.
    """
    from jprm.search import print_grid

    code = print_grid(scores, tie, answers=answers, transform=transform, missing=missing, json_file=json_file)
    raise typer.Exit(code)


@app.command()
def grade(
    pairs: Annotated[Path, typer.Option(help="JSON lines of gold and answer, also as .gz.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output without it.")] = None,
    percent: Annotated[str, typer.Option(help="strict: 50% is 0.5; either: it may be 50 as well.")] = "strict",
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds of one comparison.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, help="Comparisons at a time.")] = 2,
) -> None:
    """Compare answers with the right ones: every line comes back with its verdict.

    A verdict is equal, different, unparsed, timeout or error. Exit code 3: lines were left out.
    """
    from jprm.grade import grade_pairs

    raise typer.Exit(grade_pairs(pairs, out, percent, timeout_s, workers))  # type: ignore[arg-type]


@app.command()
def laws(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, JSON lines, or directories of runs.")],
    params: Annotated[str | None, typer.Option(help="Column of the parameters.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Column of the training tokens.")] = None,
    flops: Annotated[str | None, typer.Option(help="Column of the training FLOPs.")] = None,
    loss: Annotated[str | None, typer.Option(help="Column of the loss.")] = None,
    run: Annotated[str | None, typer.Option(help="Column that names the run, where rows are training curves.")] = None,
    tokens_from_flops: Annotated[
        bool, typer.Option("--tokens-from-flops", help="Tokens are FLOPs / (6 parameters).")
    ] = False,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Use only the rows that have this value.")
    ] = None,
    drop_highest: Annotated[int, typer.Option(min=0, help="Leave out that many runs of the highest loss.")] = 0,
    budget: Annotated[list[float] | None, typer.Option(help="Training FLOPs to decide on, such as 1e21.")] = None,
    bootstrap: Annotated[str, typer.Option(help="What approach 3 resamples: points or residuals.")] = "points",
    resamples: Annotated[int, typer.Option(min=20, help="The resamples of every bootstrap.")] = 500,
    seed: Annotated[int, typer.Option(help="The seed of the bootstraps.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where results.jsonl and report.html are written.")] = None,
) -> None:
    """Fit scaling laws to a table of runs, by every approach of Chinchilla, and decide on sizes.

    Exit code 2: no approach could be fitted, or the table could not be read.
    """
    from jprm.experiments.laws import run_laws
    from jprm.scaling.laws import Columns

    code = run_laws(
        files,
        Columns(params, tokens, flops, loss, run),
        where=where or (),
        drop_highest=drop_highest,
        derive_tokens=tokens_from_flops,
        budgets=budget or (),
        bootstrap=bootstrap,  # type: ignore[arg-type] - checked there
        resamples=resamples,
        seed=seed,
        out=out,
        command=shlex.join(["python", "-m", "jprm", *sys.argv[1:]]),
    )
    raise typer.Exit(code)


@data.command("convert")
def convert_data(
    out: Annotated[Path, typer.Argument(help="The file to write: JSON lines, gzipped as .gz.")],
    path: Annotated[Path, typer.Option("--in", help="The file to read.")],
    source: Annotated[str, typer.Option("--from", help="The format of that file.")],
    target: Annotated[str, typer.Option("--to", help="The format to write.")],
) -> None:
    """Rewrite solutions in another format, or conversations as messages; exit code 3 says that rows were rejected."""
    from jprm.formats import convert, report
    from jprm.terminal import say

    done = convert(path, source, target, out)
    say(report(done))
    raise typer.Exit(done.exit_code)


@app.command("list")
def list_names(
    kind: Annotated[
        list[str] | None, typer.Argument(metavar="KIND", help="One kind alone, such as scorers or label rules.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A Python file with a @scorer, @world, ...")] = None,
) -> None:
    """Name everything that can be chosen: scorers, strategies, worlds, label rules, rows, formats, models."""
    from jprm.catalogue import print_catalogue

    print_catalogue(plugin or (), " ".join(kind or ()))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", min=0.1, help="Seconds that JAX has to name its devices.")] = 4.0,
) -> None:
    """Say whether the main command can run here: versions, devices, memory, disk, the jail.

    Exit code 1: it cannot, and the lines that begin with "bad" say why.
    """
    from jprm.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json, wait_s))
