"""Things that are chosen by name: strategies, aggregations, choices.

A registration is one decorator, and a user's own module may register, too:

    @aggregation("median")
    def median(rewards): ...
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from jprm.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name, in the order of their registration."""

    def __init__(self, kind: str):
        """`kind` is what an error message calls them, in the singular."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def __call__(self, name: str) -> Callable[[T], T]:
        """The decorator that registers under `name`. Raises UserError for a name that is taken."""

        def register(entry: T) -> T:
            if name in self._entries:
                raise UserError(f"{self.kind} {name!r} is registered already; choose another name")
            self._entries[name] = entry
            return entry

        return register

    def __getitem__(self, name: str) -> T:
        """The entry of that name. Raises UserError naming the nearest one that there is."""
        if name not in self._entries:
            near = difflib.get_close_matches(str(name), self._entries, 1, 0)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"unknown {self.kind} {name!r}: {hint}known: {', '.join(self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def names(self) -> tuple[str, ...]:
        """All names, for listings and error messages."""
        return tuple(self._entries)
