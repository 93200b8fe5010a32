"""The places that run trials: processes of this machine, Slurm jobs, tasks of a Ray cluster."""

import importlib
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jprm.errors import UserError, lacking
from jprm.jobs.trial import LOST, Trial, run_trial

LAUNCHERS = ("local", "slurm", "ray")


class Launcher(ABC):
    """A place that runs trials."""

    @abstractmethod
    def start(self, trial: Trial) -> Any:
        """Hands a trial over and returns what `poll` is asked with. Raises UserError where the place refuses it."""

    @abstractmethod
    def poll(self, handle: Any) -> int | None:
        """Returns None while a trial waits or runs; then its exit code, negative where it was killed or lost."""

    @abstractmethod
    def stop(self, handle: Any) -> None:
        """Has a trial preempted."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Gives back what the launcher holds."""


def open_launcher(name: str, settings: Mapping[str, Any], folder: Path) -> Launcher:
    """Opens the launcher `local`, `slurm` or `ray`; `settings` are its own, and its files go to `folder`.

    Raises UserError where the package that it needs is not installed.
    """
    if name == "local":
        return LocalLauncher()
    if name == "slurm":
        return SlurmLauncher(folder, settings)
    if name == "ray":
        return RayLauncher(settings)
    raise UserError(f"{name!r} is no launcher; the launchers are {', '.join(LAUNCHERS)}")


_RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from pathlib import Path
from jprm.jobs.trial import Trial, run_trial
name, folder, cwd, *command = sys.argv[1:]
code = run_trial(Trial(name, tuple(command), Path(folder), Path(cwd)))
sys.exit(code if code >= 0 else 128 - code)
"""


class LocalLauncher(Launcher):
    """Runs each trial below a process of its own, which keeps its log.

    Both ignore Ctrl-C: the launcher, which gets it too, stops them by SIGTERM.
    """

    def start(self, trial: Trial) -> subprocess.Popen[bytes]:
        """Starts the trial at once."""
        names = (trial.name, str(trial.folder), str(trial.cwd))
        return subprocess.Popen([sys.executable, "-c", _RUN, *names, *trial.command])

    def poll(self, handle: subprocess.Popen[bytes]) -> int | None:
        """Returns the trial's code, where the process above it could still say so."""
        code = handle.poll()
        return code if code is None or code <= 128 or code == 130 else 128 - code

    def stop(self, handle: subprocess.Popen[bytes]) -> None:
        """Sends SIGTERM, which is handed on."""
        handle.terminate()


class SlurmLauncher(Launcher):
    """Runs trials as Slurm jobs through submitit, whose local executor serves where there is no Slurm, as in tests.

    `settings` are parameters of submitit (`slurm_partition`, `timeout_min`, `gpus_per_node`, ...), and `cluster`, which
    is "slurm" by default, or "local". Files of submitit go to `folder`, which all nodes must see.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """Raises UserError where submitit is not installed, there is no Slurm, or a setting is unknown."""
        try:
            import submitit
        except ImportError:
            raise lacking("--launcher slurm", "submitit", "slurm") from None
        parameters = dict(settings)
        cluster = parameters.pop("cluster", "slurm")
        try:
            executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            executor.update_parameters(**parameters)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise UserError(f"--launcher slurm: {error}; see [launch.slurm]") from None
        self._executor = executor

    def start(self, trial: Trial) -> Any:
        """Submits a job. Raises UserError with the words of Slurm where it takes none."""
        try:
            return self._executor.submit(SlurmJob(trial))
        except RuntimeError as error:  # submitit's, for what sbatch says of a partition, an account, a limit
            said = " ".join(str(error).split())
            raise UserError(f"--launcher slurm: the job was not taken ({said}); see [launch.slurm]") from None

    def poll(self, handle: Any) -> int | None:
        """Returns the code; a job that ended without an answer is lost: killed, cancelled, or its node is gone."""
        if not handle.done():
            return None
        return LOST if handle.exception() is not None else handle.result()

    def stop(self, handle: Any) -> None:
        """Cancels the job, which begins with a SIGTERM, as a scheduler does."""
        handle.cancel(check=False)


class SlurmJob:
    """What submitit carries to the node. `checkpoint` is its protocol: the job to queue when this one must leave."""

    def __init__(self, trial: Trial):
        self.trial = trial

    def __call__(self) -> int:
        """Runs the trial in this process's stead."""
        return run_trial(self.trial)

    def checkpoint(self) -> Any:
        """Is called on SIGUSR2, before the time is up or the node is taken. The trial loses what no file holds yet."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(SlurmJob(self.trial))


class RayLauncher(Launcher):
    """Runs trials as tasks of a Ray cluster, whose nodes must share the file system and have jprm installed.

    `settings`: `address` of a cluster, and what a trial asks for (`num_cpus`, `num_gpus`, `resources`). Without an
    address it uses the cluster that this program is connected to, else the one that Ray finds (RAY_ADDRESS), else a new
    one on this machine.
    """

    def __init__(self, settings: Mapping[str, Any]):
        """Raises UserError where Ray is not installed, or the cluster does not answer."""
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise lacking("--launcher ray", "ray", "ray") from None
        wanted = {"num_cpus": 1} | dict(settings)
        address = wanted.pop("address", None)
        self._ray = ray
        self._began = not ray.is_initialized()
        if self._began:
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UserError(f"--launcher ray: {error}; see [launch.ray]") from None
        # Ray would start a lost task again by itself; the loop of `run_all` counts, so it does
        options = {"max_retries": 0, "scheduling_strategy": "SPREAD"} | wanted
        self._run = ray.remote(**options)(run_trial)

    def start(self, trial: Trial) -> Any:
        """Submits a task."""
        return self._run.remote(trial)

    def poll(self, handle: Any) -> int | None:
        """Returns the code; a task whose node or process died is lost."""
        ray = self._ray
        ready, _ = ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return ray.get(handle)
        except (ray.exceptions.RayError, ray.exceptions.RayTaskError):
            return LOST

    def stop(self, handle: Any) -> None:
        """Ends the process above the trial, which sees that and stops at its next safe point."""
        self._ray.cancel(handle, force=True)

    def close(self) -> None:
        """Leaves the cluster, where this launcher had joined it."""
        if self._began:
            self._ray.shutdown()
