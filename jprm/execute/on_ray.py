"""The nodes of a Ray cluster as the place where snippets run: each holds a local pool in an actor.

A session lives in one actor. Every call tells the whole history, so an actor that knows nothing of
the session (the first call, a fork, or an actor that Ray has started anew) runs the history first.
"""

import importlib
import itertools
import os
import time
from typing import Any

from jprm.errors import UserError, lacking
from jprm.execute.outcome import FINISHED, NOT_REBUILT, OutcomeKind
from jprm.execute.place import PoolFailure, RemotePool, Reply, Session
from jprm.execute.pool import Pool
from jprm.execute.sessions import SessionRecord

START_LIMIT_S = 120.0  # for Ray to find room for an actor and to start it
WAITS_S = (0.5, 1, 2, 4, 8, 16, 0)  # after each loss of an actor; Ray takes seconds to renew it
POOL_FAILED = 70  # exit status of an actor: EX_SOFTWARE of sysexits.h


class RayPool(RemotePool):
    """Sessions spread over the nodes of a cluster.

    workers: snippets that run at the same time on each node; as many CPUs are asked of Ray.
    settings: the other arguments of `Pool`, for the pool on each node.
    The cluster is the one that this program is connected to already, else the one that Ray finds
    (RAY_ADDRESS), else a new one on this machine, which `close` ends. jprm must be installed on every
    node. Raises UserError where Ray is not installed or has no room.
    """

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        memoize: bool = False,
        memo_capacity: int = 1_000_000,
        **settings: Any,
    ):
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise lacking("running code on Ray", "ray", "ray") from None
        self._began_ray = not self._ray.is_initialized()
        if self._began_ray:
            self._ray.init(log_to_driver=False, logging_level="ERROR")
        try:
            self._actors = self._start_actors(workers, (workers, timeout_s, settings))
        except BaseException:
            if self._began_ray:
                self._ray.shutdown()
            raise
        self._turns = itertools.cycle(self._actors)
        self._homes: dict[int, Any] = {}  # session -> actor
        super().__init__(workers * len(self._actors), memoize, memo_capacity)

    @property
    def description(self) -> str:
        """Says where code runs; each node's jail is its own."""
        return f"in a pool on each of {len(self._actors)} Ray nodes"

    def close(self) -> None:
        """Ends the actors, and the cluster if it was begun here."""
        super().close()
        if self._began_ray:
            self._ray.shutdown()
            return
        for actor in self._actors:
            self._ray.kill(actor)

    def _start_actors(self, workers: int, arguments: tuple) -> list[Any]:
        """Starts one actor for each node and waits until they are ready."""
        node = self._ray.remote(_Node)
        cpus = [entry["Resources"].get("CPU", 0) for entry in self._ray.nodes() if entry["Alive"]]
        actors = [
            node.options(
                num_cpus=min(workers, count),
                scheduling_strategy="SPREAD",
                max_restarts=-1,
                max_concurrency=workers + 1,  # one more for what runs nothing
            ).remote(*arguments)
            for count in cpus
            if count
        ]
        try:
            self._ray.get([actor.ready.remote() for actor in actors], timeout=START_LIMIT_S)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(
                f"Ray found no room for the code pools within {START_LIMIT_S:.0f} s; "
                "free CPUs (see `ray status`) or ask for fewer workers"
            ) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(f"Ray could not start a code pool on a node: {error}") from error
        return actors

    def _ask(self, record: SessionRecord, code: str) -> Reply:
        for wait_s in WAITS_S:
            home = self._homes.get(record.identity) or next(self._turns)
            self._homes[record.identity] = home
            try:
                kind, text, replayed = self._ray.get(home.run.remote(record.identity, record.history, code))
                return Reply(kind, text, replayed, left_traces=kind == "timeout")
            except self._ray.exceptions.RayTaskError:
                raise  # a fault of the pool there
            except self._ray.exceptions.RayError:
                del self._homes[record.identity]
            time.sleep(wait_s)
        raise UserError("Ray lost the actors of one snippet again and again; see `ray status`")

    def _forget(self, record: SessionRecord) -> None:
        home = self._homes.pop(record.identity, None)
        if home is not None and not self.closed:
            home.forget.remote(record.identity)


class _Node:
    """The actor: a pool, and the sessions that live in it with the length of their history."""

    def __init__(self, workers: int, timeout_s: float, settings: dict[str, Any]):
        self._pool = Pool(workers, timeout_s, **settings)
        self._sessions: dict[int, tuple[Session, int]] = {}

    def ready(self) -> None:
        """Returns once the pool is there."""

    def run(self, identity: int, history: list[str], code: str) -> tuple[OutcomeKind, str, int]:
        """Returns kind, text, and how many snippets of the history had to be run first.

        A pool that has failed stays so. The actor ends with it, and Ray starts another.
        """
        try:
            session, finished = self._sessions.get(identity, (None, 0))
            replayed = 0
            if session is None or finished != len(history):  # unknown, or left behind at another node
                self.forget(identity)
                session = self._pool.session()
                for earlier in history:
                    if session.run(earlier).kind not in FINISHED:
                        session.close()
                        return "died", NOT_REBUILT, replayed
                    replayed += 1
            outcome = session.run(code)
        except PoolFailure:
            os._exit(POOL_FAILED)
        self._sessions[identity] = (session, len(history) + (outcome.kind in FINISHED))
        return outcome.kind, outcome.text, replayed

    def forget(self, identity: int) -> None:
        """Closes a session that nobody wants any more."""
        session, _ = self._sessions.pop(identity, (None, 0))
        if session is not None:
            session.close()
