"""The command line: `python -m jprm score ...`, and the entry of `experiments/sweep.py`.

User mistakes end here, as one line on standard error and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from jprm.errors import PREEMPTED, Preempted, UserError

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
def export(
    out: Annotated[Path, typer.Option(help="The new directory.")],
    run: Annotated[Path, typer.Option(help="Run directory of a finished sweep.")] = Path(
        "runs/embedded"
    ),
    to: Annotated[str, typer.Option(help="The format: hf, which transformers opens.")] = "hf",
) -> None:
    """Write the sweep's main verifier as a Hugging Face checkpoint with tokenizer and card."""
    if to != "hf":
        raise UserError(f"--to {to}: no such format; the only one is hf")
    from jprm.pipeline.export import export_verifier

    print(f"{out}: {export_verifier(run, out)}")


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
        return 2
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
