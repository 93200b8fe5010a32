"""The command line: `python -m jprm score ...`, and the entry of `experiments/sweep.py`.

User mistakes end here, as one line on standard error and exit code 2.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from jprm.config import load
from jprm.errors import MISTAKE, PREEMPTED, Preempted, UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

data = typer.Typer(no_args_is_help=True, help="Files of solutions with step labels.")
app.add_typer(data, name="data")


@app.callback()
def _root() -> None:
    """Generative process reward models in JAX."""


@app.command()
def score(
    problem: Annotated[str, typer.Option(help="The problem's text.")],
    steps: Annotated[Path, typer.Option(help="A file with one step per line.")],
    run: Annotated[Path, typer.Option(help="Run directory of a finished sweep.")] = Path(
        "runs/embedded"
    ),
    votes: Annotated[int, typer.Option(min=1, help="Rationales per step.")] = 8,
) -> None:
    """Judge each step of a solution: P(Yes), the votes, the code that ran and its output."""
    from jprm.pipeline.score import print_score

    print_score(run, problem, steps, votes)


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="A file such as those of configs/train/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="As train.steps=200.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, envvar="JPRM_PROCESSES", help="How many run this command.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(envvar="JPRM_PROCESS_ID", help="Which of them this is, from 0.")
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(envvar="JPRM_COORDINATOR", help="host:port of process 0.")
    ] = None,
    heartbeat_s: Annotated[
        int, typer.Option("--heartbeat", min=1, help="Seconds until a silent process is dead.")
    ] = 100,
) -> None:
    """Fine-tune a model on conversations; the same command resumes. Exit code 75: preempted, saved.

    Slurm, MPI and TPU pods need none of the options about processes.
    """
    from jprm.train.config import RunConfig

    settings = load(RunConfig, config, overrides or [])
    from jprm.train.distributed import Processes
    from jprm.train.run import run_training

    given = None
    if processes is not None:
        given = Processes(processes, process_id, coordinator, heartbeat_s)
    raise typer.Exit(run_training(settings, given))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The new directory.")],
    run: Annotated[
        Path, typer.Option(help="Directory of a finished sweep or training run.")
    ] = Path("runs/embedded"),
    to: Annotated[str, typer.Option(help="The format: hf, which transformers opens.")] = "hf",
) -> None:
    """Write a trained model, or a sweep's main verifier with a card, as a Hugging Face checkpoint."""
    if to != "hf":
        raise UserError(f"--to {to}: no such format; the only one is hf")
    if (run / "weights.safetensors").is_file():  # of `train`; a sweep keeps its weights in stages
        from jprm.train.export import export_run as write
    else:
        from jprm.pipeline.export import export_verifier as write

    print(f"{out}: {write(run, out)}")


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Option(help="Rows of a benchmark: JSON, JSON lines, .gz, parquet.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value of the protocol, as budget.max_tokens=512."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory.")] = None,
    layout: Annotated[
        str, typer.Option("--format", help="auto, processbench, prmbench, socratic or mrmath.")
    ] = "auto",
    n: Annotated[int, typer.Option("--n", help="Votes; more can be added later.")] = 8,
    mode: Annotated[
        str, typer.Option(help="Votes have their own history (chain), or one (fork).")
    ] = ("chain"),
    limit: Annotated[int | None, typer.Option(help="Only the first rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the votes are kept.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The table as JSON.")] = None,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="From stored votes, no model.")
    ] = False,
    scorer: Annotated[str, typer.Option(help="See: python -m jprm list.")] = "genprm",
    plugin: Annotated[Path | None, typer.Option(help="A Python file with a @scorer.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Judge the steps behind an error too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the votes.")] = 0,
    readout: Annotated[
        str | None, typer.Option(help="vote, prob_raw or prob_tempered; default: the scorer's.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="sampling.temperature=...")] = None,
    protocol: Annotated[
        Path | None, typer.Option(help="A protocol file; default: the published GenPRM's.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of weights and caches.")] = None,
    lanes: Annotated[int | None, typer.Option(help="Conversations side by side.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of the longest conversation.")] = None,
    prefix_rows: Annotated[int | None, typer.Option(help="Rows of shared prompts.")] = None,
    tensor: Annotated[int | None, typer.Option(help="Devices that share the weights.")] = None,
    overflow: Annotated[
        str,
        typer.Option(help="Beyond the context: give_up, drop_code, drop_analysis, verdict_only."),
    ] = "give_up",
    place: Annotated[str, typer.Option(help="Where code runs: local, ray, or a URL.")] = "local",
    uncovered: Annotated[
        list[str] | None, typer.Option(help="Needs of the jail that may be uncovered (see doctor).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that run code.")] = None,
    backend: Annotated[str, typer.Option(help="own, or openai: a server of the model.")] = "own",
    base_url: Annotated[str, typer.Option(help="Such as http://localhost:8000/v1.")] = "",
    served_model: Annotated[str, typer.Option(help="Its name on the server.")] = "",
    concurrency: Annotated[int, typer.Option(help="Requests to the server at a time.")] = 64,
) -> None:
    """Score a benchmark with a checkpoint; stored votes are kept, and only missing ones sampled.

    Exit code 3: rows were rejected or solutions lost, the rest is in the table. 2: nothing ran.
    """
    from jprm.judge import Options, Sizes
    from jprm.judge import evaluate as run

    heat = [] if temperature is None else [f"sampling.temperature={temperature}"]
    options = Options(
        model=model,
        data=data,
        layout=layout,
        n=n,
        mode=mode,  # type: ignore[arg-type] - checked there
        limit=limit,
        out=out,
        json_file=json_file,
        regrade=regrade,
        scorer=scorer,
        plugin=plugin,
        full=full,
        seed=seed,
        readout=readout,  # type: ignore[arg-type]
        dtype=dtype,
        sizes=Sizes(lanes, context, prefix_rows, tensor),
        protocol=protocol,
        overrides=(*(overrides or ()), *heat),
        place=place,
        uncovered=tuple(uncovered or ()),
        workers=workers,
        overflow=overflow,  # type: ignore[arg-type]
        backend=backend,
        base_url=base_url,
        served_model=served_model,
        concurrency=concurrency,
    )
    raise typer.Exit(run(options))


@app.command("list")
def list_names(
    plugin: Annotated[Path | None, typer.Option(help="A Python file with a @scorer.")] = None,
) -> None:
    """Name everything that can be chosen: scorers, formats, worlds, models."""
    from jprm.catalogue import print_catalogue

    print_catalogue(plugin)


@app.command()
def choose(
    scores: Annotated[Path, typer.Option(help="Step scores of several candidates per problem.")],
    tie: Annotated[str, typer.Option(help="Who wins of equals: first, score or shared.")] = "first",
) -> None:
    """Choose among stored solutions: accuracy by every aggregation and choice, with intervals."""
    from jprm.search import print_grid

    print_grid(scores, tie)


@app.command()
def search(
    run: Annotated[Path, typer.Option(help="Run directory of a finished sweep.")],
    strategy: Annotated[str, typer.Option(help="See: python -m jprm list.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Of the strategy, as width=4.")
    ] = None,
    scorer: Annotated[str, typer.Option(help="Who rewards steps.")] = "genprm",
    votes: Annotated[int, typer.Option(min=1, help="Of the scorer on each step.")] = 2,
    problems: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    aggregation: Annotated[str, typer.Option(help="Rewards of steps to one score.")] = "min",
    choice: Annotated[str, typer.Option(help="Scores and answers to a winner.")] = "argmax",
    plugin: Annotated[
        Path | None, typer.Option(help="A Python file with a @strategy, @scorer, ...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the rows are kept.")] = None,
) -> None:
    """Search solutions with a sweep's policy and verifier; the same command resumes.

    Exit code 3: a strategy or scorer raised on some problems, which are rows with the reason.
    """
    from jprm.uses.one_search import SearchOptions, print_search

    options = SearchOptions(
        run,
        strategy,
        tuple(settings or ()),
        scorer,
        votes,
        problems,
        split,
        aggregation,
        choice,
        plugin,
        out,
    )
    raise typer.Exit(print_search(options))


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


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory of a finished sweep.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value of keys that are read last: evaluate.votes_shown=[1,8]."),
    ] = None,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Reduce the stored votes anew, as this does always.")
    ] = False,
) -> None:
    """Write report.html again from the votes that a sweep has stored; no model is loaded."""
    from jprm.pipeline.finished import rewrite_report

    changes = overrides or []
    command = shlex.join(["python", "-m", "jprm", "report", str(run), *changes])
    print(f"{run / 'report.html'}: {rewrite_report(run, changes, command)}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run directory A.")],
    second: Annotated[Path, typer.Argument(help="Run directory B.")],
    cells: Annotated[
        tuple[str, str],
        typer.Option(help="Parts of the names of one cell in each; without it all cells of both."),
    ] = ("", ""),
) -> None:
    """Compare two sweeps cell by cell, paired by problem, with intervals."""
    from jprm.pipeline.compare import compare as compared
    from jprm.pipeline.compare import print_comparison

    print_comparison(compared(first, second, cells if any(cells) else None), first, second)


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


def main() -> int:
    """`python -m jprm`."""
    return _guarded(lambda: app(standalone_mode=False))


def sweep_main(arguments: Sequence[str]) -> int:
    """`python experiments/sweep.py`: the exit code."""
    from jprm.pipeline.command import sweep_command

    return _guarded(lambda: sweep_command(list(arguments)))


def uses_main(arguments: Sequence[str]) -> int:
    """`python experiments/uses.py`: the exit code."""
    from jprm.uses.command import uses_command

    return _guarded(lambda: uses_command(list(arguments)))


def ask_for_huge_pages() -> None:
    """Starts this program again with huge pages for large allocations; does nothing where that is not to be had.

    XLA on a CPU takes its scratch memory anew at every call, and the kernel clears it in pages of 4 KiB: a third of
    the processor time of a small model's training. glibc reads the setting only when a process starts.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _guarded(work: Callable[[], int | None]) -> int:
    try:
        return work() or 0  # typer hands the code of an early exit back
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except Preempted as reason:
        print(f"stopped ({reason}); the same command goes on from here", file=sys.stderr)
        return PREEMPTED
    except typer.Exit as end:
        return end.exit_code
    except Exception as error:
        import click

        if isinstance(error, click.ClickException):
            error.show()
            return error.exit_code
        raise
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
