"""The exceptions that more than one room speaks of."""

PREEMPTED = 75  # exit code, EX_TEMPFAIL of sysexits.h: try again


class UserError(ValueError):
    """A mistake that the user can mend: the message says what was wrong, where, and what to do.

    The command line prints it as one line, without a traceback, and exits with code 2.
    """


class Diverged(UserError):
    """A training run whose loss stopped being a number."""


class Preempted(BaseException):
    """The machine is wanted back: stop at a safe point; the same command goes on from there.

    No error, like KeyboardInterrupt: the command line exits with code 75.
    """
