"""Things that are chosen by name: scorers, strategies, worlds, label rules and the like.

One decorator registers an entry, in this package, in an installed one (an entry point of the group
"jprm.plugins" names its module), in a user's plugin file, or in the program that is running:

    @aggregation("median")
    def median(rewards): ...

Invariant: results that depend on an entry from outside of this package are named by the content of
the file that defines it (`Registry.digest`), so another content is never taken for the same.
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from jprm.digests import file_digest
from jprm.errors import UserError

T = TypeVar("T")
Entry = TypeVar("Entry")
UNKNOWN = "unknown {kind} {name!r}: did you mean {near!r}? known: {known}"
GROUP = "jprm.plugins"  # of the entry points by which installed packages name the modules that register entries
DECORATORS = ("scorer", "strategy", "aggregation", "choice", "world", "label_rule", "benchmark", "protocol", "row")
_added: list[tuple[str, str]] = []  # (kind, name) of all that was registered from outside of this package
_ran: dict[Path, str] = {}  # plugin files that have run in this process, with the digests that they had


class Registry(Generic[T]):
    """Entries of one kind by name, in the order in which they were registered.

    kind: what a message calls an entry, in the singular.
    package: a package each of whose modules registers entries; its modules are imported at the first lookup.
    adapt: turns what is decorated into the entry, with what the decorator says about it besides the name; raises
        UserError for what cannot be one.
    unknown: the message for a name that is not there, over {kind}, {name}, {near} and {known}.
    """

    def __init__(
        self, kind: str, *, package: str = "", adapt: Callable[..., T] = lambda made, name: made, unknown: str = UNKNOWN
    ):
        self.kind, self._package = kind, package
        self._adapt, self._unknown = adapt, unknown
        self._entries: dict[str, T] = {}
        self._origins: dict[str, tuple[str, str]] = {}
        self._digests: dict[str, str] = {}
        self._loaded = False

    def __call__(self, name: str, **about: Any) -> Callable[[Entry], Entry]:
        """The decorator that registers under `name`; what it decorates is left as it is.

        about: what the kind of entry asks for besides, such as the `keys` of a benchmark's layout.
        Raises UserError for a name that another entry has. The same definition may register again, so that a
        file can be run twice in one process.
        """

        def register(made: Entry) -> Entry:
            entry, mine = self._adapt(made, name, **about), _origin(made)
            theirs = self._origins.setdefault(name, mine)
            if mine != theirs:
                raise UserError(f"{self.kind} {name!r} of {mine[0]} is taken by {theirs[0]}; rename one")
            self._entries[name] = entry
            if _is_foreign(made):
                self._digests[name] = _digest(made)
                _added.append((self.kind, name))
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

    def digest(self, name: str) -> str:
        """16 hex digits over the file that defines an entry, as a part of the identity of what depends on it.

        "" for this package's own entries, whose tasks have versions, and where no file is known, as in a notebook.
        Raises UserError for a name that is not there.
        """
        self[name]
        return self._digests.get(name, "")

    def _load(self) -> None:
        """Imports whatever registers entries, once. Raises UserError, naming it, for an entry point that fails."""
        if self._loaded:
            return
        if self._package:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
                importlib.import_module(module.name)
        for point in importlib.metadata.entry_points(group=GROUP):
            try:
                point.load()
            except Exception as error:  # other people's code, run when it is imported
                raise UserError(
                    f"plugin {point.name!r} of {point.value}: {type(error).__name__}: {error}; "
                    "repair or uninstall that package"
                ) from error
        self._loaded = True


def added(kind: str) -> frozenset[str]:
    """The names of a kind that were registered from outside of this package, and are loaded."""
    return frozenset(name for of, name in _added if of == kind)


def load_plugins(files: Iterable[Path]) -> None:
    """Runs plugin files, each once in a process for each of its contents. Raises UserError as `load_plugin`."""
    for file in files:
        path = file.resolve()
        if not path.is_file() or _ran.get(path) != file_digest(path):
            load_plugin(file)
            _ran[path] = file_digest(path)


def load_plugin(path: Path) -> frozenset[tuple[str, str]]:
    """Runs a user's Python file; returns the (kind, name) of what it registers, such as ("scorer", "mine").

    Raises UserError, naming the file, where it fails or registers nothing.
    """
    before = len(_added)
    _run_file(path)
    if not (added := frozenset(_added[before:])):
        raise UserError(
            f"{path}: registers nothing; decorate a class or function with one of {', '.join(DECORATORS)}, as in "
            f'@{DECORATORS[0]}("name")'
        )
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


def _is_foreign(made: Any) -> bool:
    """Whether something is defined outside of this package."""
    return getattr(made, "__module__", "").partition(".")[0] != __name__.partition(".")[0]


def _digest(made: Any) -> str:
    file = getattr(sys.modules.get(getattr(made, "__module__", "")), "__file__", None)
    return file_digest(Path(file)) if file and Path(file).is_file() else ""


def _origin(entry: Any) -> tuple[str, str]:
    """Where a class or function is defined."""
    return getattr(entry, "__module__", ""), getattr(entry, "__qualname__", repr(entry))
