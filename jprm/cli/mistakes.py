"""A mistyped command line is answered by the nearest name, an old name's new one, or the command with that option."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from jprm.cli.app import app

RENAMED = {"--votes": "--n", "applications": "uses"}  # old spellings of options and commands
NO_COMMAND = re.compile(r"No such command '([^']*)'")


def mistake_line(error: Any) -> str:
    """Returns the line for an error that typer raises.

    error: a ClickException, whose `ctx`, where it has one, knows the command that was called.
    """
    said = error.format_message()
    name = getattr(error, "option_name", "") or (NO_COMMAND.findall(said) or [""])[0]
    if new := RENAMED.get(name):
        return f"{said.partition(' (')[0].rstrip('.')}; it is called {new} now (see --help)"
    if name.startswith("--") and (owners := list(_commands_with(name))):
        return f"{said.partition(' (')[0]}; it is an option of {', '.join(owners)} (see --help)"
    return f"{said} (see --help)"


def _commands_with(option: str) -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    for name, one in command.commands.items():
        if any(option in parameter.opts for parameter in getattr(one, "params", ())):
            yield f"`{name}`"
