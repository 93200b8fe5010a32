"""A pool that runs model-written code, and the sessions that the code lives in.

A session is a namespace that persists from snippet to snippet and that no other session sees: one
per vote, as the training data was made. It lives in a process of its own, forked from a warm server,
confined to computing (see `jail`), and stopped between snippets. The process is a cache: whatever
happens to it, the session is rebuilt by running its finished snippets again.

Not covered: faults of the kernel in the calls that `seccomp` leaves, what can be learnt from timing,
and a snippet that spoils later snippets of its own session (as in the reference). A snippet stopped
softly at its time limit leaves the names it had bound (as in the reference); they are lost if its
process is. To run a history again may take four time limits, and is done for sixteen lost processes
of one session; after that its snippets have "died".
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from jprm.execute.dispatcher import Dispatcher
from jprm.execute.fork_server import Limits
from jprm.execute.ledger import Job, Track
from jprm.execute.outcome import Outcome
from jprm.execute.place import Place
from jprm.execute.probe import survey
from jprm.execute.processes import Settings
from jprm.execute.resources import Budget, open_files_limit
from jprm.execute.tiers import Tier

LARGEST_SESSION_BYTES = 16 << 20  # private memory of a session after some sympy, 99th percentile


class Pool(Place):
    """Runs snippets of many sessions, `workers` of them at a time; a context manager.

    workers: snippets that run at the same time.
    timeout_s: wall-clock limit of a snippet from its start; at `timeout_s + grace_s` it is killed.
    memory_bytes: what a session may take beyond the modules that it starts with.
    output_chars: longest text handed back; longer ones end with a mark.
    memoize: answer a snippet from the outcome of an identical history (see `ledger`).
    preload: modules that snippets may import besides the standard library, sympy, numpy and scipy;
        "name.*" is a package with all its parts.
    warm: the largest fork server that is loaded before the constructor returns (see `tiers`).
    queue_limit: snippets that may wait before `submit` does.
    live_sessions: processes kept; beyond it, idle ones are ended and rebuilt when needed. None: as
        many as half of the free memory and the limit of open files allow.
    memory_budget_bytes: what all sessions may take together; None: what the machine and the control
        groups of this process have free, less a reserve. Where it runs out, sessions wait, idle ones
        are ended, and the largest snippet runs again later or gets an outcome of kind "memory".
    layers: of the jail (see `jail.LAYERS`); None: all that work here.
    uncovered: needs (see `probe.NEEDS`) that may go without a layer that stops them.

    Raises UserError if a layer does not work or a need is uncovered, ServerStartError if modules
    cannot be loaded.
    """

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        grace_s: float = 1.0,
        memory_bytes: int = 512 << 20,
        output_chars: int = 16_384,
        memoize: bool = False,
        memo_capacity: int = 1_000_000,
        preload: Sequence[str] = (),
        warm: Tier = Tier.SYMBOLIC,
        queue_limit: int = 65_536,
        live_sessions: int | None = None,
        memory_budget_bytes: int | None = None,
        layers: Sequence[str] | None = None,
        uncovered: Sequence[str] = (),
    ):
        super().__init__(memoize, memo_capacity)
        self.confinement = survey().confine(None if layers is None else tuple(layers), tuple(uncovered))
        self._queue_limit = queue_limit
        self._unanswered: set[Job] = set()
        self._failure: Exception | None = None
        self._room = threading.Condition(self._ledger.lock)
        self._dispatcher = Dispatcher(
            self._ledger,
            Settings(
                Limits(timeout_s, grace_s, memory_bytes, output_chars),
                self.confinement,
                tuple(preload),
                workers,
                live_sessions or most_live_sessions(),
                Budget(memory_budget_bytes),
            ),
            tuple(tier for tier in Tier if tier <= warm),
            self._done,
            self._give_up,
        )
        self._dispatcher.start()
        try:
            self._dispatcher.running.fleet.warmed.result()
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Where code runs, and behind which layers of the jail."""
        found = survey().layers
        layers = [f"{name} {found[name].detail}".strip() for name in self.confinement.layers]
        return f"on this machine, behind {', '.join(layers) or 'nothing'}"

    def processes(self) -> list[int]:
        """Process ids of the live sessions."""
        return self._dispatcher.process_ids()

    def servers(self) -> list[int]:
        """Process ids of the programs that fork them."""
        return self._dispatcher.running.fleet.program_ids()

    def close(self) -> None:
        """End every process; snippets that wait or run fail with RuntimeError."""
        if not self.is_own:
            self.closed = True  # here; the owner goes on
            return
        with self._room:
            self.closed = True
            self._room.notify_all()
        self._dispatcher.stopping = True
        self._dispatcher.wake()
        # In a callback of a future, which the dispatcher's thread runs, it cannot wait for itself.
        if threading.current_thread() is not self._dispatcher:
            self._dispatcher.join()

    def _submit(self, track: Track, code: str) -> Future[Outcome]:
        job = Job(track, code, Future())
        if not track.pending and (outcome := self._ledger.recall(track, code)):
            job.future.set_result(outcome)
            return job.future
        with self._room:
            # A callback of a future runs in the dispatcher's thread, which alone makes room.
            while (
                len(self._unanswered) >= self._queue_limit
                and not self.closed
                and threading.current_thread() is not self._dispatcher
            ):
                self._room.wait()
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise RuntimeError("the pool is closed")
            self._unanswered.add(job)
            track.pending += 1
            track.jobs.append(job)
            self._dispatcher.look_at(track)
        return job.future

    def _done(self, job: Job, outcome: Outcome | Exception | None) -> None:
        """Called by the dispatcher for every snippet once; None if it was cancelled."""
        with self._room:
            self._unanswered.discard(job)
            job.track.pending -= 1
            self._room.notify()
        if isinstance(outcome, Outcome):
            job.future.set_result(outcome)
        elif outcome is not None:
            job.future.set_exception(outcome)

    def _give_up(self, why: Exception) -> None:
        """Called by the dispatcher at its end: nobody else would answer what still waits."""
        with self._room:
            if not self.closed:
                self._failure = why
            self.closed = True
            unanswered = list(self._unanswered)
            self._unanswered.clear()
            self._room.notify_all()
        for job in unanswered:
            if job.future.running() or job.future.set_running_or_notify_cancel():
                job.future.set_exception(why)

    def _forget(self, track: Track) -> None:
        track.closed = True
        self._dispatcher.look_at(track)


def most_live_sessions() -> int:
    """How many session processes this machine carries; raises the soft limit of open files."""
    free_bytes = Budget().left_bytes(0)
    # A live session takes two descriptors here; a quarter of them is left to everybody else.
    return max(8, min(open_files_limit() * 3 // 8, free_bytes // 2 // LARGEST_SESSION_BYTES))
