"""Worlds by name: the one place that knows them all. They are loaded when they are asked for.

A world of one's own is a class, or a function that makes one, behind a decorator; its parameters are what
`world.settings` may hold:

    @world("sums")
    class Sums(World):
        def __init__(self, largest: int = 9): ...
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jprm.config import checked
from jprm.errors import UserError
from jprm.registry import Registry
from jprm.worlds.base import World

WITHOUT_ORACLE = frozenset(("problems",))  # what `World.has_oracle` says of those of this package

world: Registry[Callable[..., World]] = Registry("world")
"""Worlds by name: subclasses of `World`, made from the settings of `world.settings`."""


def load_world(name: str, **settings: Any) -> World:
    """Builds the world of that name. Raises UserError for an unknown name, setting or value.

    Settings are plain values as a config file has them. embedded: `difficulty`, `mix` (a `Difficulty`, an
    `EmbeddedMix`, or a dict of some of their fields). gsm8k: `root` (the folder of the files), `vocab_size`, `mix`.
    problems: `train` and `test` (files), and more; see `ProblemsSettings`.
    """
    make = world[name]
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        raise UserError(f"the world {name}: {error} (world.settings)") from None
    return make(**settings)


def reads_root(name: str) -> bool:
    """Whether a world takes the folder of its files, `data.root`, as its setting `root`. Raises UserError."""
    return "root" in inspect.signature(world[name]).parameters


def has_oracle(name: str) -> bool:
    """Whether a world knows the truth of steps; told without loading it. Raises UserError for an unknown name."""
    return name not in WITHOUT_ORACLE and getattr(world[name], "has_oracle", True)


@world("embedded")
def _embedded(**settings: Any) -> World:
    """Word problems over a graph of quantities, with the exact truth of every step."""
    from jprm.worlds.embedded import EmbeddedSettings, EmbeddedWorld

    found = checked(EmbeddedSettings, settings, "the world embedded")
    return EmbeddedWorld(found.difficulty, found.mix)


@world("gsm8k")
def _gsm8k(root: Path | str | None = None, **settings: Any) -> World:
    """The text of GSM8K, whose calculator marks tell the truth of steps."""
    from jprm.worlds.gsm8k import Gsm8kSettings, Gsm8kWorld

    found = checked(Gsm8kSettings, {"root": root} | settings, "the world gsm8k")
    if found.root is None:
        raise UserError("gsm8k needs root: the folder that holds train.jsonl and test.jsonl (or .jsonl.gz)")
    return Gsm8kWorld(found.root, found.vocab_size, found.mix)


@world("problems")
def _problems(root: Path | str | None = None, **settings: Any) -> World:
    """Problems with answers from any file; the truth of steps is unknown."""
    from jprm.worlds.problems import ProblemsSettings, ProblemsWorld

    if "train" not in settings:
        raise UserError("problems needs train: a file of problems, or a list of them (world.settings.train)")
    return ProblemsWorld(checked(ProblemsSettings, {"root": root} | settings, "the world problems"))
