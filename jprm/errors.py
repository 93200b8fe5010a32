"""The one exception that is meant for the user."""


class UserError(ValueError):
    """A mistake that the user can mend: the message says what was wrong, where, and what to do.

    The command line prints it as one line, without a traceback, and exits with code 2.
    """
