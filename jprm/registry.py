"""Things that are chosen by name: scorers, strategies, aggregations, choices.

One decorator registers an entry, in this package, in an installed one (an entry point of the
registry's group names its module), or in a user's own file:

    @aggregation("median")
    def median(rewards): ...
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from jprm.errors import UserError

T = TypeVar("T")
Entry = TypeVar("Entry")
UNKNOWN = "unknown {kind} {name!r}: did you mean {near!r}? known: {known}"


class Registry(Generic[T]):
    """Entries of one kind by name, in the order in which they were registered.

    kind: what a message calls an entry, in the singular.
    group: the entry points by which installed packages name the modules that register entries.
    package: a package each of whose modules registers entries; its modules are imported at the first lookup.
    adapt: turns what is decorated into the entry; raises UserError for what cannot be one.
    unknown: the message for a name that is not there, over {kind}, {name}, {near} and {known}.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        *,
        package: str = "",
        adapt: Callable[[Any, str], T] = lambda made, name: made,
        unknown: str = UNKNOWN,
    ):
        self.kind, self._group, self._package = kind, group, package
        self._adapt, self._unknown = adapt, unknown
        self._entries: dict[str, T] = {}
        self._loaded = False

    def __call__(self, name: str) -> Callable[[Entry], Entry]:
        """The decorator that registers under `name`; what it decorates is left as it is.

        Raises UserError for a name that another entry has. The same definition may register again, so that a
        file can be run twice in one process.
        """

        def register(made: Entry) -> Entry:
            entry, other = self._adapt(made, name), self._entries.get(name)
            if other is not None and _origin(other) != _origin(entry):
                mine, theirs = _origin(entry)[0], _origin(other)[0]
                raise UserError(f"{self.kind} {name!r} of {mine} is taken by {theirs}; rename one")
            self._entries[name] = entry
            return made

        return register

    def __getitem__(self, name: str) -> T:
        """The entry of that name. Raises UserError, naming the nearest, where there is none."""
        self._load()
        if name not in self._entries:
            near = difflib.get_close_matches(str(name), self._entries, n=1, cutoff=0.0)
            known = ", ".join(self._entries)
            raise UserError(self._unknown.format(kind=self.kind, name=name, near=near[0], known=known))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self)

    def entries(self) -> dict[str, T]:
        """All entries by name."""
        self._load()
        return dict(self._entries)

    def _load(self) -> None:
        """Imports whatever registers entries, once. Raises UserError, naming it, for an entry point that fails."""
        if self._loaded:
            return
        if self._package:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        for point in importlib.metadata.entry_points(group=self._group):
            try:
                point.load()
            except Exception as error:  # other people's code, run when it is imported
                raise UserError(
                    f"{self.kind} {point.name!r} of {point.value}: {type(error).__name__}: {error}; "
                    "repair or uninstall that package"
                ) from error
        self._loaded = True


def load_plugin(path: Path, *registries: Registry[Any]) -> frozenset[tuple[str, str]]:
    """Runs a user's Python file; returns the (kind, name) of what it registers, such as ("scorer", "mine").

    Raises UserError, naming the file, where it fails or registers nothing in these registries.
    """
    before = {registry.kind: registry.entries() for registry in registries}
    _run_file(path)
    added = frozenset(
        (registry.kind, name)
        for registry in registries
        for name, entry in registry.entries().items()
        if before[registry.kind].get(name) is not entry
    )
    if not added:
        kinds = [registry.kind for registry in registries]
        what = f"no {kinds[0]}" if len(kinds) == 1 else "nothing"
        decorators = ", ".join(f'@{kind}("name")' for kind in kinds)
        raise UserError(f"{path}: registers {what}; decorate a class or function with {decorators}")
    return added


def _run_file(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"jprm_plugin_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{path}: not a Python file that is there")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # the user's code
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error


def _origin(entry: Any) -> tuple[str, str]:
    """Where a class or function is defined."""
    return getattr(entry, "__module__", ""), getattr(entry, "__qualname__", repr(entry))
