"""Worlds by name: the one place that knows them all. They are loaded when they are asked for.

Invariant: settings are plain values as a config file has them; a wrong one is a UserError that
names it.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from jprm.errors import UserError
from jprm.worlds.base import World

WORLDS = ("embedded", "gsm8k")


def load_world(name: str, **settings: Any) -> World:
    """The world of that name. Raises UserError for an unknown name, setting or value.

    embedded: `difficulty`, `mix` (a `Difficulty`, a `Mix`, or a dict of some of their fields).
    gsm8k: `root` (the folder of the files), `vocab_size`, `mix`.
    """
    if name == "embedded":
        from jprm.worlds.embedded import Difficulty, EmbeddedWorld, Mix

        _known(settings, ("difficulty", "mix"), "embedded")
        return EmbeddedWorld(
            difficulty=_fill(Difficulty, settings.get("difficulty"), "difficulty"),
            mix=_fill(Mix, settings.get("mix"), "mix"),
        )
    if name == "gsm8k":
        from jprm.worlds import gsm8k

        _known(settings, ("root", "vocab_size", "mix"), "gsm8k")
        if not settings.get("root"):
            raise UserError("gsm8k needs root: the folder that holds train.jsonl and test.jsonl (or .jsonl.gz)")
        mix = _fill(gsm8k.Mix, settings.get("mix"), "mix")
        return gsm8k.Gsm8kWorld(settings["root"], settings.get("vocab_size", 2048), mix)
    raise UserError(f"no world is called {name!r}: choose one of {', '.join(WORLDS)}")


def _fill(cls: type, value: Any, key: str) -> Any:
    """An instance of a settings class from a dict of some of its fields, itself, or None for the
    defaults.
    """
    if isinstance(value, cls):
        return value
    fields = [field.name for field in dataclasses.fields(cls)]
    given = dict(value or {})
    _known(given, fields, key)
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def _known(given: dict[str, Any], allowed: Any, where: str) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, list(allowed), 1, 0)
            raise UserError(f"{where} has no setting {key!r}: did you mean {near[0]!r}?")
