"""Where snippets run: here, on the nodes of a Ray cluster, or behind a SandboxFusion URL.

A place hands out sessions; a session is a persistent namespace, defined by the snippets that it has
finished. Code that runs snippets knows these two interfaces only.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self

from jprm.errors import UserError
from jprm.execute.ledger import Stats
from jprm.execute.outcome import Outcome
from jprm.execute.pool import Pool


class PlaceSession(Protocol):
    """A persistent namespace; its snippets run in the order of submission."""

    def submit(self, code: str) -> Future[Outcome]:
        """Queue a snippet. The future fails only if the place itself does, never by the code."""
        ...

    def run(self, code: str) -> Outcome:
        """Run a snippet and wait for its outcome."""
        ...

    def fork(self) -> PlaceSession:
        """A new session with the same finished history and, from here on, a life of its own."""
        ...

    def close(self) -> None:
        """Give the namespace up."""
        ...


class Place(Protocol):
    """A context manager that hands out sessions."""

    @property
    def description(self) -> str:
        """Where code runs, and what keeps it from doing harm; for the record of a run."""
        ...

    @property
    def stats(self) -> Stats:
        """A copy of the counts so far."""
        ...

    def session(self) -> PlaceSession:
        """Open an empty session."""
        ...

    def close(self) -> None:
        """End whatever still runs; snippets still waiting fail with RuntimeError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...


def open_place(spec: str, **settings: Any) -> Place:
    """Open the place that `spec` names: "local", "ray", or the URL of a SandboxFusion service.

    settings: keyword arguments of `Pool` (`workers`, `timeout_s`, `memoize`, ...). On Ray, `workers`
    counts per node; at a URL it is the number of requests at the same time.
    Raises UserError for another `spec`, and where the place cannot be reached.
    """
    if spec == "local":
        return Pool(**settings)
    if spec == "ray":
        from jprm.execute.on_ray import RayPool

        return RayPool(**settings)
    if spec.startswith(("http://", "https://")):
        from jprm.execute.fusion import FusionPool

        return FusionPool(spec, **settings)
    raise UserError(
        f"{spec!r} is no place to run code; choose local, ray, or a URL such as http://host:8080"
    )
