"""A sweep by several workers: started here, on Slurm or on Ray, watched until they have ended, then the table."""

from __future__ import annotations

import sys
from pathlib import Path

from jprm.errors import INCOMPLETE
from jprm.launch import Trial, open_launcher, reason_of, run_all
from jprm.leases import doing, holders
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.jobs import jobs_of
from jprm.pipeline.lab import Lab
from jprm.pipeline.sweep import progress_of, write_config
from jprm.pipeline.worker import Worker, conclude_once
from jprm.preemption import stop_on_sigterm
from jprm.runs import RunDirectory


def launch(config: SweepConfig, name: str, parallel: int, sweep: list[str], command: str) -> int:
    """Runs `parallel` workers of the sweep that the arguments `sweep` name, and prints its table.

    3 where cells have no result, else 0. Raises UserError for the user's mistakes, Preempted on SIGTERM.
    """
    path = config.directory / config.name
    settings = {"slurm": config.launch.slurm, "ray": config.launch.ray}.get(name, {})
    with RunDirectory(path, shared=True) as run, Lab(config, run) as lab:
        write_config(path, config)
        cells, candidates, jobs = jobs_of(lab, config)
        lab.progress = progress_of(jobs, len(cells))
        script = str(Path(sys.argv[0]).resolve())
        trials = [
            Trial(
                f"{name}-{i}",
                (sys.executable, script, *sweep, "--worker"),
                path.resolve() / "workers" / f"{name}-{i}",
                Path.cwd(),
            )
            for i in range(parallel)
        ]
        watched = [(view, task) for view, task in jobs if not view.stage(task).done]
        missing = len(watched)

        def look() -> None:
            for view, task in list(watched):
                if view.stage(task).look():
                    watched.remove((view, task))
                    view.mark_finished(task)
            lab.progress.cells_done = sum(lab.at(cell.config).stage(cell.votes).done for cell in cells)
            lab.progress.show(_at_work(path / "stages") or "waiting for the workers to begin")

        lab.progress.note(f"{parallel} workers ({name}); their logs: {path / 'workers'}")
        with stop_on_sigterm(lab.progress):
            launcher = open_launcher(name, settings, path.resolve() / "workers" / "submitit")
            codes = run_all(launcher, trials, look)
        for trial, code in codes.items():
            if code not in (0, INCOMPLETE):
                log = path / "workers" / trial / "log.txt"
                lab.progress.note(f"worker {trial}: {reason_of(code)}; see {log}")
        look()
        run.computed, run.reused = missing - len(watched), len(jobs) - missing
        lab.progress.close()
        worker = Worker(lab, jobs)
        worker.accept_failures()
        return conclude_once(worker, cells, candidates, command)


def _at_work(stages: Path) -> str:
    """What the workers say they do."""
    told = []
    for name in holders(stages):
        if owner := doing(stages / name):
            told.append(f"{owner.get('host')}: {owner.get('doing') or name}")
    return "; ".join(told)
