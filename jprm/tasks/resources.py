"""What tasks share that is expensive to open: the pools in which model-written code runs, and a worker's sampler."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from jprm.execute import CodePlace, PreloadLevel, open_place
from jprm.jobs import Context, Progress
from jprm.tasks.settings import VerifySection

T = TypeVar("T")


@dataclass(frozen=True)
class Speed:
    """The FLOPs per second of training and of decoding. The defaults are those of two CPU cores and tiny models."""

    train: float = 4.0e10
    decode: float = 2.0e10


class Resources:
    """Opens each code pool at its first use. Use it as a context manager, which ends the pools and what is kept."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], CodePlace] = {}
        self._kept: tuple[object, Any, ExitStack] | None = None

    def pool(self, verify: VerifySection, progress: Progress) -> CodePlace:
        """The pool for the settings of a configuration; the progress is told where code runs when it is opened."""
        return self.code_place(
            verify.place,
            progress,
            workers=verify.workers,
            timeout_s=verify.timeout_s,
            options=verify.code.options,
            uncovered=verify.uncovered,
            warm=PreloadLevel.PLAIN,
        )

    def code_place(
        self, name: str, progress: Progress, *, workers: int, timeout_s: float, options: str, **local: Any
    ) -> CodePlace:
        """The place of this name (see `jprm.execute.open_place`); `local` are settings of the local pool alone.

        options: the last line of every piece of code (see `jprm.execute.CodePlace`).
        """
        key = (name, workers, timeout_s, options, *sorted(local.items()))
        if key not in self._pools:
            local = local if name == "local" else {}
            pool = open_place(name, workers=workers, timeout_s=timeout_s, memoize=True, **local)
            pool.options = options
            self._pools[key] = pool
            progress.note(f"generated code runs {pool.description}")
        return self._pools[key]

    def kept(self, key: object, open: Callable[[ExitStack], T]) -> T:
        """What was opened last, if it was for this key; else closes it and opens another, which ends with the stack."""
        if self._kept is None or self._kept[0] != key:
            self._close_kept()
            stack = ExitStack()
            with stack:  # what was opened by half is closed again
                self._kept = key, open(stack), stack.pop_all()
        return self._kept[1]

    def _close_kept(self) -> None:
        if self._kept is not None:
            *_, stack = self._kept
            self._kept = None
            stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_kept()
        for pool in self._pools.values():
            pool.close()


TaskContext = Context[Resources]
