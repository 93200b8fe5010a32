"""Several workers of one run directory, started by a launcher and watched until they have ended."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, PREEMPTED
from jprm.jobs.launchers import Launcher, open_launcher
from jprm.jobs.leases import doing, holders
from jprm.jobs.runner import Runner
from jprm.jobs.task import Task
from jprm.jobs.trial import Trial, reason_of

MAX_LOSSES = 3  # of one trial: what is killed more often is killed for a reason
POLL_S = 0.5


def run_workers(
    runner: Runner,
    launcher: str,
    settings: Mapping[str, Any],
    parallel: int,
    arguments: Sequence[str],
    cells: Sequence[Task] = (),
) -> None:
    """Runs `parallel` workers: this program's script with these arguments. Their logs lie in `<run>/workers/`.

    The runner's counts are those of all workers together; `cells` are what the progress counts. Raises UserError for a
    launcher that cannot be had, Preempted on SIGTERM, after the workers have ended.
    """
    root, progress = runner.stages.root, runner.progress
    folder = root.resolve() / "workers"
    script = str(Path(sys.argv[0]).resolve())
    trials = [
        Trial(name, (sys.executable, script, *arguments), folder / name, Path.cwd())
        for name in (f"{launcher}-{i}" for i in range(parallel))
    ]
    missing = runner.graph.unfinished()
    watched = list(missing)

    def look() -> None:
        for task in list(watched):
            if runner.stages[task].look():
                watched.remove(task)
                runner.mark_finished(task)
        progress.cells_done = sum(runner.stages[task].done for task in cells)
        progress.show(_at_work(root / "stages") or "waiting for the workers to begin")

    progress.note(f"{parallel} workers ({launcher}); their logs: {root / 'workers'}")
    codes = run_all(open_launcher(launcher, settings, folder / "submitit"), trials, look)
    for trial, code in codes.items():
        if code not in (0, INCOMPLETE):
            progress.note(f"worker {trial}: {reason_of(code)}; see {root / 'workers' / trial / 'log.txt'}")
    look()
    runner.computed, runner.reused = len(missing) - len(watched), len(runner.graph.tasks) - len(missing)


def run_all(launcher: Launcher, trials: Sequence[Trial], look: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Returns the exit code of each trial by its name, once all have ended.

    A preempted trial is started again, always; one that was killed or lost, a few times. `look` is called between
    polls. If it raises, or a trial cannot be started, the others are preempted, and the exception goes on when they
    have ended.
    """
    codes: dict[str, int] = {}
    losses = dict.fromkeys((trial.name for trial in trials), 0)
    running: dict[str, tuple[Trial, Any]] = {}
    try:
        for trial in trials:
            running[trial.name] = trial, launcher.start(trial)
        while running:
            for name, (trial, handle) in list(running.items()):
                code = launcher.poll(handle)
                if code is None:
                    continue
                losses[name] += code < 0
                if code == PREEMPTED or (code < 0 and losses[name] <= MAX_LOSSES):
                    running[name] = trial, launcher.start(trial)
                else:
                    codes[name] = code
                    del running[name]
            if running:
                look()
                time.sleep(POLL_S)
    except BaseException:
        for _, handle in running.values():
            launcher.stop(handle)
        while any(launcher.poll(handle) is None for _, handle in running.values()):
            time.sleep(POLL_S)
        raise
    finally:
        launcher.close()
    return codes


def _at_work(stages: Path) -> str:
    """Says what the workers are doing."""
    owners = [(name, doing(stages / name)) for name in holders(stages)]
    return "; ".join(f"{owner.get('host')}: {owner.get('doing') or name}" for name, owner in owners if owner)
