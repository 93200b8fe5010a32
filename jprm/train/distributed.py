"""Several processes as one run: how they meet, share devices, rows and weights, and stop together.

On Slurm, Open MPI and TPU pods JAX reads from the environment who they are; elsewhere the command is told.
"""

import contextlib
import ctypes
import dataclasses
import functools
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jprm.data import Rows
from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.train.config import MeshSection

HEARTBEAT_S = 100
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h


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
        """Raises UserError for options of the command that do not fit together."""
        if self.count > 1 and (self.index is None or self.coordinator is None):
            raise UserError(f"--processes {self.count}: give --process-id and --coordinator host:port as well")
        if not 0 <= (self.index or 0) < self.count:
            raise UserError(
                f"--process-id {self.index}: must be one of 0 to {self.count - 1} (--processes {self.count})"
            )


def launched_by(environment: Mapping[str, str]) -> str | None:
    """Returns the launcher that started several processes; None for a process on its own."""
    for variable, launcher in (("SLURM_STEP_NUM_TASKS", "Slurm"), ("OMPI_COMM_WORLD_SIZE", "MPI")):
        if (count := environment.get(variable, "1")).isdigit() and int(count) > 1:
            return launcher
    return "TPU pod" if "," in environment.get("TPU_WORKER_HOSTNAMES", "") else None


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


def first_process() -> bool:
    """Says whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def of_first_process(number: int) -> int:
    """Returns, on every process, the number that process 0 passes in."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """Gives a function that says after every step whether to stop there, alike on all processes.

    SIGTERM (what a scheduler sends before it takes a machine) to any process stops all of them after the same step.
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


def mesh_of(
    section: MeshSection, batch_rows: int, microbatches: int, given: Sequence[Any] = ()
) -> jax.sharding.Mesh | None:
    """Returns the mesh of a run; None for one device.

    given: the devices; those of this run if empty. Raises UserError where it does not divide the devices
    or the rows, and where it would leave devices of a run of several processes idle.
    """
    sizes = section.model_dump()
    devices = len(given) or jax.device_count()
    if -1 in sizes.values():
        taken = -math.prod(sizes.values())
        if devices % taken:
            raise UserError(
                f"mesh: {sizes} takes devices by {taken}, and {devices} are no multiple of it; "
                "choose axes that divide them"
            )
        sizes = {name: devices // taken if size < 0 else size for name, size in sizes.items()}
    count = sizes["data"] * sizes["fsdp"] * sizes["tensor"]
    if jax.process_count() > 1 and count != devices:
        raise UserError(
            f"mesh: {sizes} has {count} devices, but the {jax.process_count()} processes "
            f"have {devices}; a run of several processes takes all: set one axis to -1"
        )
    mesh = None if count == 1 else make_mesh(**sizes, devices=given)
    ways = sizes["data"] * sizes["fsdp"]
    if (batch_rows // microbatches) % ways:
        raise UserError(
            f"mesh: the {batch_rows // microbatches} rows of a microbatch (train.batch_rows / "
            f"train.microbatches) do not divide among data x fsdp = {sizes['data']} x {sizes['fsdp']} "
            f"devices; make train.batch_rows a multiple of {microbatches * ways}"
        )
    return mesh


def place_rows(rows: Rows, members: np.ndarray, layout: jax.sharding.NamedSharding | None) -> dict[str, jax.Array]:
    """Places the rows of these numbers on the devices as one global batch, each array (rows, capacity).

    `layout` None is one device. Otherwise each process builds only the rows that its devices hold.
    """
    if layout is None:
        return jax.device_put(rows.stacked(members.tolist()))
    built = functools.cache(lambda i: rows[int(members[i])])
    shape = (len(members), rows.packing.capacity)

    def part(name: str) -> jax.Array:
        def read(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # JAX asks without an index only for arrays without axes
            picked = range(len(members))[index[0]]
            return np.stack([built(i)[name][index[1]] for i in picked])

        return jax.make_array_from_callback(shape, layout, read)

    return {name: part(name) for name in rows.names}


def gathered(params: dict) -> dict:
    """Makes numpy copies of parameters whose parts lie with several processes; every process calls it."""

    def whole(leaf: jax.Array) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, params)


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc never to return memory to the system; False where the C library has no such option.

    XLA on CPU takes the temporaries of a step anew at every call. glibc gives blocks of that size back
    to the system as they are freed, so the system zeroes every page of them again, which costs a fifth
    of a step of a small model. The price of keeping them: the process stays as large as it ever was.
    One arena, because others cannot grow beyond 64 MB and would hand large blocks back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
