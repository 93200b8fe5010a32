"""Where programs begin, and where a user's mistake ends: as one line on standard error and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import typer

from jprm.cli.app import app
from jprm.errors import MISTAKE, PREEMPTED, Preempted, UserError

# What typer raises for mistyped words; releases since 0.29 at the latest carry a click of their own.
CLICK_ERROR = cast(
    type[Exception], next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
)


def main() -> int:
    """`python -m jprm`."""
    return guarded(lambda: app(standalone_mode=False))


def sweep_main(arguments: Sequence[str]) -> int:
    """`python experiments/sweep.py`: the exit code."""
    from jprm.pipeline.command import sweep_command

    return guarded(lambda: sweep_command(list(arguments)))


def uses_main(arguments: Sequence[str]) -> int:
    """`python experiments/uses.py`: the exit code."""
    from jprm.uses.command import uses_command

    return guarded(lambda: uses_command(list(arguments)))


def ask_for_huge_pages() -> None:
    """Starts this program again with huge pages for large allocations; does nothing where that is not to be had.

    XLA on a CPU takes its scratch memory anew at every call, and the kernel clears it in pages of 4 KiB: a third of
    the processor time of a small model's training. glibc reads the setting only when a process starts.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def guarded(work: Callable[[], int | None]) -> int:
    """The exit code of `work`; mistakes, interrupts and preemptions become a line on standard error."""
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
    except CLICK_ERROR as error:
        mistake: Any = error
        mistake.show()
        return mistake.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
