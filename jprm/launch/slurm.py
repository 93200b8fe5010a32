"""Trials as Slurm jobs, through submitit. Its local executor serves where there is no Slurm, as in tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.launch.trial import LOST, Trial, run_trial


class SlurmLauncher:
    """`settings`: parameters of submitit (`slurm_partition`, `timeout_min`, `gpus_per_node`, ...), and `cluster`.

    `cluster` is "slurm" by default, or "local". Files of submitit go to `folder`, which all nodes must see.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """Raises UserError where submitit is not installed, there is no Slurm, or a setting is unknown."""
        try:
            import submitit
        except ImportError:
            raise UserError("--launcher slurm needs submitit; install it: pip install -e '.[slurm]'") from None
        parameters = dict(settings)
        cluster = parameters.pop("cluster", "slurm")
        try:
            executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            executor.update_parameters(**parameters)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise UserError(f"--launcher slurm: {error}; see [launch.slurm]") from None
        self._executor = executor

    def start(self, trial: Trial) -> Any:
        """Submits a job."""
        return self._executor.submit(Job(trial))

    def poll(self, handle: Any) -> int | None:
        """A job that ended without an answer is lost: killed, cancelled, or its node is gone."""
        if not handle.done():
            return None
        return LOST if handle.exception() is not None else handle.result()

    def stop(self, handle: Any) -> None:
        """SIGTERM first, as a scheduler does."""
        handle.cancel(check=False)

    def close(self) -> None:
        """Jobs are Slurm's."""


class Job:
    """What submitit carries to the node. `checkpoint` is its protocol: the job to queue when this one must leave."""

    def __init__(self, trial: Trial):
        self.trial = trial

    def __call__(self) -> int:
        """Runs the trial, in this process's stead."""
        return run_trial(self.trial)

    def checkpoint(self) -> Any:
        """On SIGUSR2, before the time is up or the node is taken. The trial loses what no file holds yet."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.trial))
