"""The exceptions that more than one room speaks of, and what a command's exit code says."""

UNFIT = 1  # what `doctor` says of a machine on which the main command cannot run
MISTAKE = 2  # of the user: nothing was done, or what was done before is kept
INCOMPLETE = 3  # done, but rows were rejected or parts have failed, and the output says which
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: asked to stop, saved; the same command goes on
INTERRUPTED = 130  # 128 + SIGINT, as shells count
READER_GONE = 141  # 128 + SIGPIPE
EXIT_CODES = {  # as `python -m jprm --help` and docs/exit-codes.md say them
    0: "done",
    UNFIT: "doctor: the main command cannot run here",
    MISTAKE: "a mistake in the command, the configuration or a file, or a machine that cannot go on",
    INCOMPLETE: "done, but rows were rejected or parts failed, and the output says which",
    PREEMPTED: "preempted: stopped by SIGTERM at a safe point, and saved",
    INTERRUPTED: "interrupted (Ctrl-C)",
    READER_GONE: "nobody reads the output any longer, as behind `head`",
}


class UserError(ValueError):
    """A mistake that the user can mend: the message says what was wrong, where, and what to do.

    The command line prints it as one line, without a traceback, and exits with code 2.
    """


class Unwritable(UserError):
    """A file that could not be written, because the disk is full or read-only: no other stage would fare better."""


class Diverged(UserError):
    """A training run whose loss stopped being a number."""


class Preempted(BaseException):
    """The machine is wanted back: stop at a safe point; the same command goes on from there.

    No error, like KeyboardInterrupt: the command line exits with code 75.
    """


def lacking(what: str, package: str, extra: str, otherwise: str = "") -> UserError:
    """The error to raise where an optional package is not installed. otherwise: what else helps."""
    install = f"pip install 'jprm[{extra}]', or in jprm's folder pip install -e '.[{extra}]'"
    other = f"; {otherwise}" if otherwise else ""
    return UserError(
        f"{what} needs {package}, which is not installed: {install}{other} (python -m jprm doctor lists the extras)"
    )


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its type where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def printable(text: str) -> str:
    """Returns a text of others as a terminal may show it: control and invisible characters as their escapes.

    Newlines and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
