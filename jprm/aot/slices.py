"""Slices of TPUs as the compiler knows them, and what one of their chips can do."""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from jprm.errors import UserError

NAME = re.compile(r"(v[0-9]+[a-z]*):([0-9]+(?:x[0-9]+)*)")


@dataclass(frozen=True)
class Chip:
    """What a chip has, after docs.cloud.google.com/tpu/docs (v4, v5e, v5p, v6e).

    hbm_bytes: its memory. hbm_bytes_per_s: how fast it is read. link_bytes_per_s: between chips, over all links of a
    chip together. flops_per_s: of dense products in bf16. axes: numbers in the name of a slice.
    """

    hbm_bytes: int
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    flops_per_s: float
    axes: int


CHIPS = {
    "v4": Chip(32 << 30, 1228e9, 300e9, 275e12, 3),
    "v5e": Chip(16 << 30, 819e9, 200e9, 197e12, 2),
    "v5p": Chip(95 << 30, 2765e9, 600e9, 459e12, 3),
    "v6e": Chip(32 << 30, 1640e9, 448e9, 918e12, 2),
}


# The compiler must neither ask a cloud's server who this machine is nor hold a lock: no TPU is taken.
SETTINGS = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
SETTINGS |= {"TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3"}  # errors alone


@dataclass(frozen=True)
class Slice:
    """A slice: its name, such as v5e:4x4, its chip, and JAX's devices, which nothing can be run on."""

    name: str
    chip: Chip
    devices: tuple[Any, ...]


def open_slice(name: str) -> Slice:
    """Asks the compiler for a slice.

    Raises UserError for a name that is none, a slice that the compiler does not know, and where libtpu is missing.
    """
    # 1. Read the name.
    match = NAME.fullmatch(name)
    if match is None or match[1] not in CHIPS:
        raise UserError(f"--topology {name}: write a chip and its shape, such as v5e:4x4 (chips: {', '.join(CHIPS)})")
    chip = CHIPS[match[1]]
    if match[2].count("x") + 1 != chip.axes:
        shape = "x".join(["2"] * chip.axes)
        raise UserError(f"--topology {name}: a slice of {match[1]} has {chip.axes} axes, such as {match[1]}:{shape}")
    # 2. Ask the compiler.
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    if importlib.util.find_spec("libtpu") is None:  # JAX's own message does not name the package
        raise UserError("compile: libtpu is missing, the compiler for TPUs; run: pip install 'jprm[tpu]'")
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
