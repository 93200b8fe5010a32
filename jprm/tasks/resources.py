"""What tasks share that is expensive to open: the pools in which model-written code runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from jprm.config import fingerprint
from jprm.execute import CodePlace, PreloadLevel, open_place
from jprm.jobs import Context, Progress
from jprm.tasks.settings import VerifySection


@dataclass(frozen=True)
class Speed:
    """The FLOPs per second of training and of decoding. The defaults are those of two CPU cores and tiny models."""

    train: float = 4.0e10
    decode: float = 2.0e10


class Resources:
    """Opens each code pool at its first use. Use it as a context manager, which ends the pools."""

    def __init__(self) -> None:
        self._pools: dict[str, CodePlace] = {}

    def pool(self, verify: VerifySection, progress: Progress) -> CodePlace:
        """The pool for these settings; the progress is told where code runs when it is opened."""
        key = fingerprint(verify.model_dump(include={"place", "workers", "timeout_s", "uncovered", "code"}))
        if key not in self._pools:
            local = {"warm": PreloadLevel.PLAIN, "uncovered": verify.uncovered} if verify.place == "local" else {}
            pool = open_place(verify.place, workers=verify.workers, timeout_s=verify.timeout_s, memoize=True, **local)
            pool.options = verify.code.options
            self._pools[key] = pool
            progress.note(f"generated code runs {pool.description}")
        return self._pools[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.close()


TaskContext = Context[Resources]
