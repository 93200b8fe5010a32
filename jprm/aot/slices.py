"""A slice of TPUs as the compiler knows it. No chip of it has to be here."""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from jprm.chips import CHIPS, Chip
from jprm.errors import UserError, lacking

NAME = re.compile(r"(v[0-9]+[a-z]*):([0-9]+(?:x[0-9]+)*)")
TPUS = {name: chip for name, chip in CHIPS.items() if chip.slice_axes}

# The compiler must neither ask a cloud's server who this machine is nor hold a lock: no TPU is taken.
SETTINGS = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
SETTINGS |= {"TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3"}  # errors alone


@dataclass(frozen=True)
class Slice:
    """A slice has a name, such as v5e:4x4, one kind of chip, and JAX's devices. Nothing can be run on these devices."""

    name: str
    chip: Chip
    devices: tuple[Any, ...]


def open_slice(name: str) -> Slice:
    """Returns the slice of that name, as the compiler describes it.

    Raises UserError for a name that is none, a slice that the compiler does not know, and where libtpu is missing.
    """
    # 1. Read the name.
    match = NAME.fullmatch(name)
    if match is None or match[1] not in TPUS:
        raise UserError(f"--topology {name}: write a chip and its shape, such as v5e:4x4 (chips: {', '.join(TPUS)})")
    chip = TPUS[match[1]]
    if match[2].count("x") + 1 != chip.slice_axes:
        shape = "x".join(["2"] * chip.slice_axes)
        axes = f"a slice of {match[1]} has {chip.slice_axes} axes, such as {match[1]}:{shape}"
        raise UserError(f"--topology {name}: {axes}")
    # 2. Ask the compiler.
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    if importlib.util.find_spec("libtpu") is None:  # JAX's own message does not name the package
        raise lacking("compile", "libtpu, the compiler for TPUs", "tpu")
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(f"--topology {name}: the compiler does not take it ({_first_line(error)})") from None
    return Slice(name, chip, tuple(topology.devices))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
