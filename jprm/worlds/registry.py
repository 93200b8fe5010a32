"""Worlds by name: the one place that knows them all. They are loaded when they are asked for."""

from collections.abc import Callable
from typing import Any

from jprm.config import checked
from jprm.errors import UserError
from jprm.worlds.base import World


def load_world(name: str, **settings: Any) -> World:
    """Builds the world of that name. Raises UserError for an unknown name, setting or value.

    Settings are plain values as a config file has them. embedded: `difficulty`, `mix` (a `Difficulty`, an
    `EmbeddedMix`, or a dict of some of their fields). gsm8k: `root` (the folder of the files), `vocab_size`, `mix`.
    problems: `train` and `test` (files), and more; see `ProblemsSettings`.
    """
    if name not in WORLDS:
        raise UserError(f"no world is called {name!r}: choose one of {', '.join(WORLDS)}")
    return WORLDS[name](settings)


def _embedded(settings: dict[str, Any]) -> World:
    from jprm.worlds.embedded import EmbeddedSettings, EmbeddedWorld

    found = checked(EmbeddedSettings, settings, "the world embedded")
    return EmbeddedWorld(found.difficulty, found.mix)


def _gsm8k(settings: dict[str, Any]) -> World:
    from jprm.worlds.gsm8k import Gsm8kSettings, Gsm8kWorld

    found = checked(Gsm8kSettings, settings, "the world gsm8k")
    if found.root is None:
        raise UserError("gsm8k needs root: the folder that holds train.jsonl and test.jsonl (or .jsonl.gz)")
    return Gsm8kWorld(found.root, found.vocab_size, found.mix)


def _problems(settings: dict[str, Any]) -> World:
    from jprm.worlds.problems import ProblemsSettings, ProblemsWorld

    if "train" not in settings:
        raise UserError("problems needs train: a file of problems, or a list of them (world.settings.train)")
    return ProblemsWorld(checked(ProblemsSettings, settings, "the world problems"))


WORLDS: dict[str, Callable[[dict[str, Any]], World]] = {"embedded": _embedded, "gsm8k": _gsm8k, "problems": _problems}
WITHOUT_ORACLE = frozenset(("problems",))  # what `World.has_oracle` says, known before a world is loaded
