"""A worker: one of several processes, here or elsewhere, that do the tasks of one run directory between them.

It takes the first task whose parents are done and on which nobody works. Where all are taken it waits for their end, or
for the death of whoever took them. Large tasks are taken in parts. In the end one worker concludes for all.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from jprm.errors import Unwritable
from jprm.jobs.leases import Lease, LeaseLost, Leases, holder, holders, remove_stale
from jprm.jobs.runner import Failure, Runner, StageFailed
from jprm.jobs.stage import Stage
from jprm.jobs.task import Task

R = TypeVar("R")
_TAKEN = "{}: taken over by another worker"


class Worker(Generic[R]):
    """Chooses the next task and does it under a lease."""

    def __init__(self, runner: Runner[R], expiry_s: float = 60.0, poll_s: float = 2.0):
        """A worker whom others count as dead after `expiry_s` of silence, and which looks every `poll_s` while idle."""
        self.runner, self.stages, self.progress = runner, runner.stages, runner.progress
        self.poll_s = poll_s
        self.leases = Leases(expiry_s, lambda: self.progress.label)
        # what had failed before this worker started is tried again: the cause may be gone
        self._old_failures = {key: text for key, (_, text) in self._recorded().items()}

    def work(self) -> None:
        """Does tasks, its own and those that others leave, until all are done or cannot be."""
        while pending := self._pending():
            for task in self._ready(pending):
                if lease := self.leases.claim(self.stages[task].path):
                    self._do(task, lease)
                    break
            else:
                self._wait(f"waiting for {len(pending)} stages of other workers")

    def accept_failures(self) -> None:
        """Takes every failure that is on record for final."""
        self.runner.failures.update({key: failure for key, (failure, _) in self._recorded().items()})

    def conclude_once(self, conclude: Callable[[], int]) -> int | None:
        """Runs `conclude`, one worker at a time, and returns its code; None where another one did it meanwhile."""
        home: Path = self.stages.root / "table"
        while (lease := self.leases.claim(home)) is None:
            if holder(home) is None:
                continue
            self._wait("waiting for the table")
            if holder(home) is None:
                return None
        try:
            return conclude()
        finally:
            lease.discard()

    def _pending(self) -> list[Task]:
        """The tasks that are neither done nor failed, nor build on one that has failed."""
        for key, (failure, text) in self._recorded().items():
            if self._old_failures.get(key) != text:
                self.runner.failures[key] = failure
        hopeless: set[Task] = set()
        pending = []
        for task in self.runner.graph.tasks:  # parents first
            stage = self.stages[task]
            if stage.done:
                continue
            if stage.look():  # another worker has finished it
                self.runner.mark_finished(task)
            elif task.key in self.runner.failures or hopeless.intersection(task.parents()):
                hopeless.add(task)
            else:
                pending.append(task)
        return pending

    def _ready(self, pending: list[Task]) -> Iterator[Task]:
        """The tasks that can be done now, or the parts of them that are missing."""
        waiting = set(pending)
        for task in pending:
            leader = self.runner.graph.leaders.get(task)
            if waiting.intersection(task.parents()) or leader in waiting:
                continue
            missing = [part for part in task.parts(self.stages) if not self.stages[part].look()]
            if missing and not any(part.key in self.runner.failures for part in missing):
                yield from missing
            else:  # after a part has failed the whole tells the reason
                yield task

    def _do(self, task: Task, lease: Lease) -> None:
        stage, whole = self.stages[task], task in self.runner.graph.tasks

        def stop_if_lost() -> None:
            if lease.lost:
                raise LeaseLost

        self.progress.safe_points.append(stop_if_lost)
        try:
            with stage.inside(lease.path):
                if not stage.look():  # else its last worker died between the end and the publication
                    self.progress.show(stage.name, force=True)
                    self.runner.compute(task)
                lease.publish()
        except LeaseLost:
            self.progress.note(_TAKEN.format(stage.path.name))
        except (StageFailed, Unwritable) as error:
            self._give_up(stage, lease, error)
        except BaseException:
            lease.release()
            raise
        else:
            remove_stale(stage.path)
            if whole:
                self.runner.computed += 1
                self.runner.mark_finished(task)
            else:
                self.progress.advance(self.runner.graph.seconds(task, self.runner.speed), task.kind)
            for part in task.parts(self.stages):  # the whole has taken them over
                shutil.rmtree(self.stages[part].path, ignore_errors=True)
        finally:
            self.progress.safe_points.remove(stop_if_lost)

    def _give_up(self, stage: Stage, lease: Lease, error: StageFailed | Unwritable) -> None:
        """Leaves a stage that failed to others. Raises Unwritable again, unless the folder was another's."""
        try:
            lease.check()
        except LeaseLost:  # then whatever went wrong did so because the folder was gone
            self.runner.failures.pop(stage.key, None)
            self.progress.note(_TAKEN.format(stage.path.name))
        else:
            if isinstance(error, StageFailed):
                self.progress.note(f"{error.failure.status}: {stage.path.name}: {error.failure.reason}")
            lease.release()
            if isinstance(error, Unwritable):
                raise error

    def _recorded(self) -> dict[str, tuple[Failure, str]]:
        """The stages that are left with a failure, by key, with the text of its record."""
        failures = {}
        leased = holders(self.stages.root / "stages")
        for stage in (self.stages[task] for task in self.runner.graph.tasks):
            for folder in () if stage.done else (leased.get(stage.path.name), stage.path):
                with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                    text = (folder / "failure.json").read_text() if folder else ""
                    told = json.loads(text)
                    failures[stage.key] = Failure(told["status"], told["reason"], told["user_error"]), text
        return failures

    def _wait(self, why: str) -> None:
        end = time.monotonic() + self.poll_s
        while (left := end - time.monotonic()) > 0:
            self.progress.show(why)
            time.sleep(min(0.2, left))
