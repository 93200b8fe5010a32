"""A worker: one of several processes, here or elsewhere, that do the stages of one run directory between them.

It takes the first stage whose parents are done and that nobody works on. Where all are taken it waits for their end, or
for the death of who took them. Large sets of votes are taken in parts. In the end one worker writes the table.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, Unwritable
from jprm.leases import Lease, LeaseLost, Leases, holder, holders, sweep_up
from jprm.pipeline.cells import Cell
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.jobs import Job, check_versions, jobs_of
from jprm.pipeline.lab import Failure, Lab, StageFailed
from jprm.pipeline.sweep import conclude, failure_below, progress_of, write_config
from jprm.pipeline.votes import Votes, VotesPart
from jprm.preemption import stop_on_sigterm
from jprm.runs import RunDirectory, Stage

_TAKEN = "{}: taken over by another worker"


def run_worker(config: SweepConfig, command: str, mix_versions: bool = False) -> int:
    """Works until every stage is done or has failed; 3 where cells have no result, else 0.

    Raises UserError for the user's mistakes, Preempted on SIGTERM.
    """
    path = config.directory / config.name
    with RunDirectory(path, shared=True) as run, Lab(config, run) as lab:
        write_config(path, config)
        cells, candidates, jobs = jobs_of(lab, config)
        check_versions(jobs, mix_versions)
        lab.progress = progress_of(jobs, len(cells))
        with stop_on_sigterm(lab.progress):
            worker = Worker(lab, jobs)
            worker.work()
            lab.count_reused(jobs)
            lab.progress.close()
            return conclude_once(worker, cells, candidates, command)


class Worker:
    """The choice of the next stage, and its work under a lease."""

    def __init__(self, lab: Lab, jobs: list[Job]):
        self.lab = lab
        self.jobs = jobs
        launch = lab.config.launch
        self.poll_s = launch.poll_s
        self.leases = Leases(launch.expiry_s, lambda: lab.progress.label)
        # what had failed before this worker started is tried again: the cause may be gone
        self._old_failures = {key: text for key, (_, text) in self._failures().items()}

    def work(self) -> None:
        """Does stages, its own and those that others leave, until all are done or cannot be."""
        while True:
            pending = self._pending()
            if not pending:
                return
            for view, task in self._ready(pending):
                if lease := self.leases.claim(view.stage(task).path):
                    self._do(view, task, lease)
                    break
            else:
                self._wait(f"waiting for {len(pending)} stages of other workers")

    def accept_failures(self) -> None:
        """Takes every failure that is on record for final."""
        self.lab.failures.update({key: failure for key, (failure, _) in self._failures().items()})

    def _pending(self) -> list[Job]:
        """The jobs that are neither done nor failed, nor build on one that has failed."""
        for key, (failure, text) in self._failures().items():
            if self._old_failures.get(key) != text:
                self.lab.failures[key] = failure
        hopeless: set[str] = set()
        pending = []
        for view, task in self.jobs:  # parents first
            stage = view.stage(task)
            if stage.done:
                continue
            if stage.look():
                view.mark_finished(task)  # by another worker
                continue
            parents = {view.stage(parent).key for parent in task.parents(view)}
            if stage.key in self.lab.failures or parents & hopeless:
                hopeless.add(stage.key)
            else:
                pending.append((view, task))
        return pending

    def _ready(self, pending: list[Job]) -> Iterator[Job]:
        waiting = {view.stage(task).key for view, task in pending}
        for view, task in pending:
            leader = view.leader(task)
            before = [(view, parent) for parent in task.parents(view)]
            before += [leader] if leader else []
            if any(v.stage(t).key in waiting for v, t in before):
                continue
            parts = task.parts(view) if isinstance(task, Votes) else ()
            missing = [part for part in parts if not view.stage(part).look()]
            failed = [p for p in missing if view.stage(p).key in self.lab.failures]
            if missing and not failed:
                yield from ((view, part) for part in missing)
            else:  # after a part has failed the whole tells the reason
                yield view, task

    def _do(self, view: Lab, task, lease: Lease) -> None:
        lab, stage = self.lab, view.stage(task)
        assert lab.run is not None

        def stop_if_lost() -> None:
            if lease.lost:
                raise LeaseLost

        lab.progress.safe_points.append(stop_if_lost)
        try:
            with stage.inside(lease.path):
                if not stage.look():  # else its last worker died between the end and the publication
                    lab.progress.show(stage.name, force=True)
                    view.compute(task)
                lease.publish()
        except LeaseLost:
            lab.progress.note(_TAKEN.format(stage.path.name))
        except (StageFailed, Unwritable) as error:
            self._give_up(stage, lease, error)
        except BaseException:
            lease.release()
            raise
        else:
            sweep_up(stage.path)
            if not isinstance(task, VotesPart):
                lab.run.computed += 1
                view.mark_finished(task)
            if isinstance(task, Votes):
                for part in task.parts(view):
                    shutil.rmtree(view.stage(part).path, ignore_errors=True)  # merged into the whole
        finally:
            lab.progress.safe_points.remove(stop_if_lost)

    def _give_up(self, stage: Stage, lease: Lease, error: StageFailed | Unwritable) -> None:
        """Leaves a stage that failed to others. Raises Unwritable again, unless the folder was another's."""
        try:
            lease.check()
        except LeaseLost:  # then whatever went wrong did so because the folder was gone
            self.lab.failures.pop(stage.key, None)
            self.lab.progress.note(_TAKEN.format(stage.path.name))
        else:
            if isinstance(error, StageFailed):
                told = error.failure
                self.lab.progress.note(f"{told.status}: {stage.path.name}: {told.reason}")
            lease.release()
            if isinstance(error, Unwritable):
                raise error

    def _failures(self) -> dict[str, tuple[Failure, str]]:
        """The stages that are left with a failure, by key, with the text of its record."""
        failures = {}
        leased = holders(self.lab.root / "stages")
        stages = [view.stage(task) for view, task in self.jobs]
        for stage in (stage for stage in stages if not stage.done):
            for folder in (leased.get(stage.path.name), stage.path):
                with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                    text = (folder / "failure.json").read_text() if folder else ""
                    told = json.loads(text)
                    failures[stage.key] = _failure(told), text
        return failures

    def _wait(self, why: str) -> None:
        end = time.monotonic() + self.poll_s
        while (left := end - time.monotonic()) > 0:
            self.lab.progress.show(why)
            time.sleep(min(0.2, left))


def _failure(told: dict[str, Any]) -> Failure:
    return Failure(told["status"], told["reason"], told["user_error"])


def conclude_once(worker: Worker, cells: list[Cell], candidates: Cell | None, command: str) -> int:
    """The table and the report, by one worker at a time; the others wait for it."""
    lab = worker.lab
    home: Path = lab.root / "table"
    while (lease := worker.leases.claim(home)) is None:
        if holder(home) is None:
            continue
        worker._wait("waiting for the table")
        if holder(home) is None:
            failed = any(failure_below(lab.at(cell.config), cell) for cell in cells)
            return INCOMPLETE if failed else 0
    try:
        return conclude(lab, cells, candidates, command)
    finally:
        lease.discard()
