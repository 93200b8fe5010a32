"""Writes docs/commands.md, the reference of every command, from the command line itself.

    python -m tools.command_reference            writes the page
    python -m tools.command_reference --check    exit code 1 where the page is not what this would write

An argument or option without a help text is an error that names it.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

from jprm.cli import app
from jprm.errors import UserError
from tools.pages import cell, prose, written

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "commands.md"
KINDS = {int: "integer", float: "number", str: "text", Path: "path"}

INTRODUCTION = """# Commands

Every command with its arguments and options. `python -m tools.command_reference` writes this page from the command
line itself, and a test holds it current; `python -m jprm COMMAND --help` says the same. An installed package has the
program `jprm`, which is `python -m jprm`.

`python experiments/sweep.py` is `python -m jprm sweep`, and `python experiments/uses.py` is `python -m jprm uses`. What
the exit codes mean is in [exit codes](exit-codes.md), and the keys of `KEY=VALUE` are in
[configuration](configuration.md)."""


def commands(group: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the name and the command of everything that can be run, in alphabetical order."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def page() -> str:
    """The whole page. Raises UserError where arguments or options have no help text."""
    missing = [f"{name}: {p.name}" for name, command in commands() for p in command.params if not p.help]
    if missing:
        raise UserError(f"without a help text: {', '.join(missing)}")
    parts = [INTRODUCTION]
    for name, command in commands():
        parts += [f"## {name}", _usage(name, command), prose(inspect.cleandoc(command.help)), _table(command)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the page, or with `--check` compares it."""
    return written(page, PAGE, "tools.command_reference", "--check" in arguments)


def _usage(name: str, command: Any) -> str:
    words = [f"python -m jprm {name}"]
    options = [p for p in command.params if _is_option(p)]
    arguments = [p for p in command.params if not _is_option(p)]
    words += [f"{p.opts[0]} {_metavar(p)}" for p in options if p.required]
    words += ["[OPTIONS]"] if any(not p.required for p in options) else []
    words += [_metavar(p) if p.required or _metavar(p).startswith("[") else f"[{_metavar(p)}]" for p in arguments]
    return f"    {' '.join(words)}"


def _table(command: Any) -> str:
    hints = get_type_hints(command.callback)
    lines = ["| argument or option | value | default | meaning |", "|---|---|---|---|"]
    for p in command.params:
        name = f"`{', '.join(p.opts)}`" if _is_option(p) else f"`{_metavar(p)}`"
        meaning = p.help + (f" Also by the environment variable `{p.envvar}`." if p.envvar else "")
        kind = "" if getattr(p, "is_flag", False) else _kind(hints[p.name])
        lines.append(f"| {' | '.join(map(cell, (name, kind, _default(p), prose(meaning))))} |")
    return "\n".join(lines)


def _is_option(parameter: Any) -> bool:
    return parameter.opts[0].startswith("-")


def _metavar(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if getattr(parameter, "is_flag", False) or value is None or not any(_texts(value)):
        return "-"
    return f"`{json.dumps(value, default=str) if not isinstance(value, str | Path) else value}`"


def _texts(value: Any) -> list[str]:
    return [str(part) for part in value] if isinstance(value, tuple | list) else [str(value)]


def _kind(hint: Any) -> str:
    """The type of a value in words."""
    arguments, origin = get_args(hint), get_origin(hint)
    if origin in (Union, types.UnionType):
        return _kind(next(part for part in arguments if part is not types.NoneType))
    if origin is list:
        return f"{_kind(arguments[0])}, any number of times"
    if origin is tuple:
        return f"{len(arguments)} {_kind(arguments[0])}s"
    return KINDS[hint]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
