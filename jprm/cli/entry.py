"""Where programs begin, and where a user's mistake ends: as one line on standard error and exit code 2."""

import errno
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import typer

from jprm.cli.app import app
from jprm.compile_cache import use_compile_cache
from jprm.errors import INTERRUPTED, MISTAKE, PREEMPTED, READER_GONE, Preempted, UserError, printable
from jprm.signals import INTERRUPTED_LINE, STOPPED_LINE, signals_taken

# What typer raises for mistyped words; its releases carry a click of their own.
CLICK_ERROR = cast(type[Exception], next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"))
# What a machine lacks or forbids. Of any other OSError the program is the cause, and its traceback is needed.
OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG, errno.ENAMETOOLONG),
}


def main() -> int:
    """Runs `python -m jprm` and returns its exit code."""
    return guarded(lambda: app(standalone_mode=False))


def sweep_main(arguments: Sequence[str]) -> int:
    """Runs `python experiments/sweep.py` and returns its exit code."""
    return _script("sweep", "experiments/sweep.py", arguments)


def uses_main(arguments: Sequence[str]) -> int:
    """Runs `python experiments/uses.py` and returns its exit code."""
    return _script("uses", "experiments/uses.py", arguments)


def _script(name: str, file: str, arguments: Sequence[str]) -> int:
    """Runs one command of the command line under the name of a script."""
    command: Any = typer.main.get_command(app)
    return guarded(
        lambda: command.commands[name].main(list(arguments), prog_name=f"python {file}", standalone_mode=False)
    )


def ask_for_huge_pages() -> None:
    """Starts this program again with huge pages for large allocations; does nothing where that is not to be had.

    XLA on a CPU takes its scratch memory anew at every call, and the kernel clears it in pages of 4 KiB: a third of
    the processor time of a small model's training. glibc reads the setting only when a process starts.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def guarded(work: Callable[[], int | None]) -> int:
    """The exit code of `work`; mistakes, interrupts, preemptions and a machine that fails become a line each.

    SIGTERM ends any command with exit code 75. Whatever a command prints is handed over before its code is known, so
    that a full disk behind standard output is told, too.
    """
    _open_streams()
    use_compile_cache()
    try:
        with signals_taken():
            code = work() or 0  # typer hands the code of an early exit back
        if code == INTERRUPTED:  # and that of Ctrl-C, without a word
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code
    except UserError as error:
        return _told(f"error: {error}", MISTAKE)
    except Preempted as reason:
        return _told(STOPPED_LINE.format(reason), PREEMPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _told(INTERRUPTED_LINE, INTERRUPTED)
    except typer.Exit as end:
        return end.exit_code
    except CLICK_ERROR as error:
        from jprm.cli.mistakes import mistake_line

        return _told(f"error: {mistake_line(error)}", MISTAKE)
    except ModuleNotFoundError as error:
        if not _is_missing(error.name):
            raise
        doctor = "python -m jprm doctor names all that is missing, and how to get it"
        return _told(f"error: the package {error.name} is not installed; {doctor}", MISTAKE)
    except (BrokenPipeError, SystemExit):  # the second is click's, which has met the first
        _drop_output()
        return READER_GONE
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = "standard output" if error.filename is None else error.filename
        _drop_output()
        return _told(f"error: {where}: {error.strerror}; mend this, and the same command goes on from here", MISTAKE)


def _is_missing(module: str | None) -> bool:
    """Whether a module is of a package that is not installed. Where another one cannot be found, we are to blame."""
    package = (module or "").partition(".")[0]
    return package not in ("", "jprm") and importlib.util.find_spec(package) is None


def _open_streams() -> None:
    """Makes the standard streams such that printing is never an error of the program.

    One that is closed (`>&-`) is /dev/null: else the next file that is opened would have its number. A character that
    a terminal's encoding lacks is shown as its escape.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number: that of the closed one
            setattr(sys, name, open(null, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _told(line: str, code: int) -> int:
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except OSError:  # nobody can be told, but by the code
        _drop_output(2)
    return code


def _drop_output(number: int = 1) -> None:
    """Discards what is left of the output: nobody takes it, and Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
