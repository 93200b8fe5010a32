"""Computes the tasks of a run directory, each once, in the order of their needs."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jprm.errors import Diverged, Unwritable, UserError
from jprm.jobs.directory import RunDirectory
from jprm.jobs.leases import LeaseLost, adopt
from jprm.jobs.preemption import stop_on_sigterm
from jprm.jobs.progress import Progress
from jprm.jobs.stage import Stage, provenance
from jprm.jobs.task import Context, Graph, Stages, Task

R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why a stage has no result: "diverged", "failed" or "missing", and the reason in one line."""

    status: str
    reason: str
    user_error: bool = False

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an exception means."""
        user_error = isinstance(error, UserError)
        text = " ".join(str(error).split()) or "no message"
        reason = text if user_error else f"{type(error).__name__}: {text}"
        return cls("diverged" if isinstance(error, Diverged) else "failed", reason, user_error)


class StageFailed(Exception):
    """Raised for whatever needs a stage that failed."""

    def __init__(self, failure: Failure):
        super().__init__(failure.reason)
        self.failure = failure


class Runner(Generic[R]):
    """Computes the tasks of a graph and counts them; `failures` has those that failed now, by key.

    `resources` is handed to every task in its context.
    """

    def __init__(self, graph: Graph, resources: R, progress: Progress, speed: Any = None):
        self.graph, self.stages = graph, graph.stages
        self.progress, self.speed = progress, speed
        self.context = Context(graph.stages, progress, resources)
        self.failures: dict[str, Failure] = {}
        self.computed = self.reused = 0
        self._finished: set[Task] = set()
        self._expected = set(graph.unfinished())  # what the progress counts

    def ensure(self, task: Task) -> Stage:
        """Returns the finished stage of a task, and computes it first where it is not there yet.

        Raises StageFailed when it, or one that it needs, failed now or earlier in this process.
        """
        stage = self.stages[task]
        if task in self._finished:
            return stage
        if stage.done:
            self.reused += 1
        else:
            if task.key in self.failures:
                raise StageFailed(self.failures[task.key])
            if leader := self.graph.leaders.get(task):
                with contextlib.suppress(StageFailed):
                    self.ensure(leader)
            for parent in task.parents():
                self.ensure(parent)
            self.progress.show(stage.name, force=True)
            adopt(stage.path)
            self.compute(task)
            self.computed += 1
        self.mark_finished(task)
        return stage

    def compute(self, task: Task) -> None:
        """Computes a task whose parents are done. Raises StageFailed, once the failure is recorded, if it cannot."""
        stage = self.stages[task]
        before, started = stage.seconds, time.monotonic()
        self.progress.begin(self.graph.seconds(task, self.speed))
        try:
            with stage.attempt():
                summary = task.compute(stage, self.context)
                taken_over = summary.get("reused_seconds", 0.0)
                stage.finish(summary, before + taken_over + time.monotonic() - started)
        except (LeaseLost, Unwritable):  # on a full disk no other stage would fare better
            raise
        except Exception as error:
            self.progress.check()  # what ends this process may have ended another one that the stage needs
            failure = self.failures[task.key] = Failure.of(error)
            with contextlib.suppress(UserError):  # the disk may be what failed
                stage.record_failure(asdict(failure) | {"traceback": traceback.format_exc()})
            raise StageFailed(failure) from error

    def mark_finished(self, task: Task) -> None:
        """Counts a finished task into the progress, once."""
        if task not in self._finished:
            self._finished.add(task)
            seconds = self.graph.seconds(task, self.speed) if task in self._expected else 0.0
            self.progress.advance(seconds, task.kind)

    def count_reused(self) -> None:
        """Counts the finished stages that nobody had to ask for, because what they lead to was finished too."""
        self.reused += len({task for task in self.graph.tasks if self.stages[task].done} - self._finished)

    def failure_below(self, task: Task) -> Failure | None:
        """Returns why a task has no result: its own failure or one of those below it; None where it has a result."""
        if self.stages[task].look():
            return None

        def search(below: Task) -> Failure | None:
            if self.stages[below].look():
                return None
            found = (failure for parent in below.parents() if (failure := search(parent)))
            return next(found, None) or self.failures.get(below.key)

        return search(task) or Failure("missing", "not computed yet; run the command again")


@contextlib.contextmanager
def open_run(
    path: Path,
    asked: Iterable[Task],
    resources: R,
    *,
    speed: Any = None,
    leaders: Mapping[Task, Task] | None = None,
    cells: int = 0,
    shared: bool = False,
    mix_versions: bool = False,
    directory: RunDirectory | None = None,
) -> Iterator[Runner[R]]:
    """Holds a run directory and gives a runner of the tasks that are asked for. SIGTERM stops it at a safe point.

    shared: other workers may hold the directory, too. cells: what the progress counts beside the work. directory: it
    is held already, by the caller. Raises UserError where the directory is not to be had, and where its stages were
    computed by other versions of the packages, unless `mix_versions`.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            stack.enter_context(RunDirectory(path, shared))
        graph = Graph(Stages(path), asked, leaders)
        check_versions(graph, mix_versions)
        progress = Progress(sum(graph.seconds(task, speed) for task in graph.unfinished()), cells=cells)
        stack.callback(progress.close)
        stack.enter_context(stop_on_sigterm(progress))
        yield Runner(graph, resources, progress, speed)


def check_versions(graph: Graph, mix: bool) -> None:
    """Raises UserError where finished stages, or what is still to be computed, differ in the packages' versions."""
    finished = [stage for task in graph.tasks if (stage := graph.stages[task]).done]
    computed = {tuple(sorted(stage.versions.items())): None for stage in finished if stage.versions}
    if len(finished) < len(graph.tasks):
        computed.setdefault(tuple(sorted(provenance()["packages"].items())))
    if mix or len(computed) < 2:
        return
    first, other = (dict(versions) for versions in list(computed)[:2])
    name = next(n for n in sorted({*first, *other}) if first.get(n) != other.get(n))
    told = " and ".join(f"{name} {versions.get(name, 'absent')}" for versions in (first, other))
    raise UserError(
        f"{graph.stages.root}: its {len(finished)} finished stages and this program differ in their versions ({told}); "
        "set name=OTHER to compute all anew, or give --mix-versions for one table of both"
    )
