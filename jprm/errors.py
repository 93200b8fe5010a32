"""The exceptions that more than one room speaks of, and what a command's exit code says."""

MISTAKE = 2  # of the user: nothing was done, or what was done before is kept
INCOMPLETE = 3  # done, but rows were rejected or parts have failed, and the output says which
PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: asked to stop, saved; the same command goes on
INTERRUPTED = 130  # 128 + SIGINT, as shells count
READER_GONE = 141  # 128 + SIGPIPE


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


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its type where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def printable(text: str) -> str:
    """A text of others as a terminal may show it: control and invisible characters as their escapes.

    Newlines and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
