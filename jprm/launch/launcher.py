"""What the launchers have in common, and the loop that starts trials again until each has ended for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from jprm.errors import PREEMPTED, UserError
from jprm.launch.trial import Trial

MAX_LOSSES = 3  # of one trial: what is killed more often is killed for a reason
POLL_S = 0.5


class Launcher(Protocol):
    """A place that runs trials."""

    def start(self, trial: Trial) -> Any:
        """Hands a trial over; what `poll` is asked with."""
        ...

    def poll(self, handle: Any) -> int | None:
        """None while it waits or runs; then its exit code, negative where it was killed or lost."""
        ...

    def stop(self, handle: Any) -> None:
        """Has it preempted."""
        ...

    def close(self) -> None:
        """Gives back what the launcher holds."""
        ...


def open_launcher(name: str, settings: Mapping[str, Any], folder: Any) -> Launcher:
    """`local`, `slurm` or `ray`; `settings` are the engine's own, and its files go to `folder`.

    Raises UserError where the engine's package is not installed.
    """
    if name == "local":
        from jprm.launch.local import LocalLauncher

        return LocalLauncher()
    if name == "slurm":
        from jprm.launch.slurm import SlurmLauncher

        return SlurmLauncher(folder, settings)
    if name == "ray":
        from jprm.launch.on_ray import RayLauncher

        return RayLauncher(settings)
    raise UserError(f"{name!r} is no launcher: local, slurm or ray")


def run_all(launcher: Launcher, trials: Sequence[Trial], look: Callable[[], None] = lambda: None) -> dict[str, int]:
    """The exit code of each trial by its name, once all have ended.

    A preempted trial is started again, always; one that was killed or lost, a few times. `look` is called between
    polls. If it raises, the trials are preempted, and the exception goes on when they have ended.
    """
    codes: dict[str, int] = {}
    losses = dict.fromkeys((trial.name for trial in trials), 0)
    running = {trial.name: (trial, launcher.start(trial)) for trial in trials}
    try:
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
