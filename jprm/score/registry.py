"""Scorers by name: those of this package, of installed packages, and of a user's file."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jprm.errors import UserError
from jprm.score import scorers
from jprm.score.base import Scorer, StepScorer

GROUP = "jprm.scorers"
Made = TypeVar("Made", bound=Callable[..., Any])
_SCORERS: dict[str, type[Scorer]] = {}


def scorer(name: str) -> Callable[[Made], Made]:
    """Registers a `Scorer`, or a function `(problem, steps, seed) -> a number per step`, as `name`.

    Raises UserError where the name is taken by another.
    """

    def register(made: Made) -> Made:
        cls: Any = made if inspect.isclass(made) else _from_function(made)
        if not (inspect.isclass(cls) and issubclass(cls, Scorer)):
            raise UserError(f"scorer {name!r}: {made!r} is neither a Scorer nor a function")
        other = _SCORERS.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UserError(f"scorer {name!r} of {cls.__module__} is taken by {other.__module__}; rename one")
        _SCORERS[name] = cls
        return made  # pyright: ignore[reportReturnType] - inspect narrows what it cannot name

    return register


def known_scorers() -> dict[str, type[Scorer]]:
    """All scorers by name. Raises UserError, naming it, for a package whose scorer does not load."""
    for module in pkgutil.iter_modules(scorers.__path__, scorers.__name__ + "."):
        importlib.import_module(module.name)
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # other people's code, run when it is imported
            raise UserError(
                f"scorer {entry.name!r} of {entry.value}: {type(error).__name__}: {error}; "
                "repair or uninstall that package"
            ) from error
    return dict(sorted(_SCORERS.items()))


def find_scorer(name: str) -> type[Scorer]:
    """The scorer of that name. Raises UserError naming the nearest."""
    known = known_scorers()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UserError(
            f"no scorer {name!r}; nearest is {near[0]!r} (all: {', '.join(known)}); one of your own "
            "is registered by --plugin FILE.py"
        )
    return known[name]


def load_plugin(path: Path) -> None:
    """Runs a Python file that registers scorers. Raises UserError where it fails or registers none."""
    before = dict(_SCORERS)
    run_file(path)
    if before == _SCORERS:
        raise UserError(f'{path}: registers no scorer; decorate a class or function with @scorer("name")')


def run_file(path: Path) -> None:
    """Runs a user's Python file. Raises UserError, naming it, where it fails."""
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


def _from_function(made: Callable[[str, Sequence[str], int], Any]) -> type[Scorer]:
    def scores(self: StepScorer, problem: str, steps: Sequence[str], seed: int) -> Any:
        return made(problem, steps, seed)

    about = {"scores": scores, "__module__": made.__module__, "__doc__": made.__doc__}
    about["__qualname__"] = made.__qualname__
    return type(made.__name__, (StepScorer,), about)
