"""Several processes as one run: who they are, how they find each other, and when all stop together.

On Slurm, Open MPI and TPU pods JAX reads from the environment who they are; elsewhere the command is told.
"""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from jprm.errors import UserError

HEARTBEAT_S = 100


@dataclasses.dataclass(frozen=True)
class Processes:
    """`count` processes, of which this is number `index`; they meet at `coordinator`, host:port.

    When one dies, the others end with SIGABRT after `heartbeat_s` without a sign of life from it.
    """

    count: int
    index: int | None = None
    coordinator: str | None = None
    heartbeat_s: int = HEARTBEAT_S

    def __post_init__(self):
        """Raise UserError for numbers that do not fit together."""
        if self.count > 1 and (self.index is None or self.coordinator is None):
            raise UserError(f"--processes {self.count}: give --process-id and --coordinator host:port as well")
        if not 0 <= (self.index or 0) < self.count:
            raise UserError(
                f"--process-id {self.index}: must be one of 0 to {self.count - 1} (--processes {self.count})"
            )


def launched_by(environment: Mapping[str, str]) -> str | None:
    """The launcher that started several processes; None for a process on its own."""
    for variable, launcher in (("SLURM_STEP_NUM_TASKS", "Slurm"), ("OMPI_COMM_WORLD_SIZE", "MPI")):
        if environment.get(variable, "1").isdigit() and int(environment.get(variable, "1")) > 1:
            return launcher
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return "TPU pod"
    return None


def join(processes: Processes | None) -> None:
    """Meets the other processes, if there are any. Call before JAX looks at its devices.

    Raises UserError where they cannot be reached.
    """
    heartbeat_s = processes.heartbeat_s if processes else HEARTBEAT_S
    alone = processes.count == 1 if processes else launched_by(os.environ) is None
    if alone:
        return
    try:
        jax.distributed.initialize(  # without an address JAX asks the launcher
            coordinator_address=processes.coordinator if processes else None,
            num_processes=processes.count if processes else None,
            process_id=processes.index if processes else None,
            heartbeat_timeout_seconds=heartbeat_s,
            shutdown_timeout_seconds=heartbeat_s,
            initialization_timeout=max(60, heartbeat_s),
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this run did not meet ({error})") from None


def of_first_process(number: int) -> int:
    """Returns, on every process, the number that process 0 passes in."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """A function to be asked after every step: whether to stop there, alike on all processes.

    SIGTERM (what a scheduler sends before it takes a machine) to any process stops all of them after
    the same step.
    """
    if jax.process_count() > 1:  # JAX holds the signal then, and agrees on the step
        yield multihost_utils.reached_preemption_sync_point
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda step: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)
