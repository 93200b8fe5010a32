"""Gathers what there is on a machine. Nothing here needs a network, and nothing waits without a limit."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from jprm.compile_cache import find_compile_cache
from jprm.execute.resources import MemoryBudget, available_memory, memory_limit

JAX_QUESTION = """
import json, jax
devices = [(d.platform, d.device_kind, (d.memory_stats() or {}).get("bytes_limit"))
           for d in jax.local_devices()]
print(json.dumps(devices))
"""
JAX_VARIABLES = ("JAX_PLATFORMS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_DEVICES")
DEVICE_FILES = {"cuda": "nvidia[0-9]*", "tpu": "accel[0-9]*"}  # for each extra the pattern of its files in /dev


@dataclass(slots=True)
class MachineFacts:
    """What was found on a machine. Sizes are in bytes, None where it could not be learnt.

    packages: name -> (version or None, what jprm asks for).
    extras: name -> the packages that it lacks.
    devices: (platform, kind, memory) of each; `devices_error` says why there are none.
    accelerators: the extras ("cuda", "tpu") for whose devices the system has a driver.
    memory_limit: of the control group that this process is in.
    code_memory: what the sessions of generated code may take together.
    cache_directory: where compiled programs are kept, which take cache_bytes; cache_why says who chose it, or why
        there is none.
    """

    python: str
    system: str
    cpus: int
    load: float
    packages: dict[str, tuple[str | None, str]]
    extras: dict[str, list[str]]
    memory: int
    memory_available: int | None
    memory_limit: int | None
    directory: str
    disk_free: int
    writable: bool
    devices: list[tuple[str, str, int | None]] = field(default_factory=list)
    devices_error: str | None = None
    cache_directory: str | None = None
    cache_bytes: int = 0
    cache_why: str = ""
    accelerators: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    code_memory: int | None = None


def gather(wait_s: float) -> MachineFacts:
    """Gathers the facts of this machine; JAX has `wait_s` seconds to name its devices."""
    # This is another process, because JAX would wait for ever on a device that another program holds.
    asked = subprocess.Popen(
        [sys.executable, "-c", JAX_QUESTION],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )
    packages, extras = _requirements()
    cache = find_compile_cache()
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    directory = Path.cwd()
    facts = MachineFacts(
        python=platform.python_version(),
        system=platform.platform(),
        cpus=len(affinity(0)) if affinity else os.cpu_count() or 1,
        load=os.getloadavg()[0],
        packages=packages,
        extras=extras,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        memory_available=available_memory(),
        memory_limit=memory_limit(),
        code_memory=MemoryBudget().left_bytes(0),
        directory=str(directory),
        disk_free=shutil.disk_usage(directory).free,
        writable=os.access(directory, os.W_OK),
        accelerators=accelerators(),
        cache_directory=str(cache.folder) if cache.writable else None,
        cache_bytes=cache.bytes_used,
        cache_why=cache.why if cache.writable or cache.folder is None else f"{cache.folder} cannot be written to",
        environment={name: os.environ[name] for name in JAX_VARIABLES if name in os.environ},
    )
    try:
        answer, complaint = asked.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        facts.devices_error = f"JAX did not name its devices within {wait_s:g} s"
        return facts
    if asked.returncode:
        facts.devices_error = complaint.strip().splitlines()[-1] if complaint.strip() else "no reason"
    else:
        facts.devices = [tuple(device) for device in json.loads(answer.splitlines()[-1])]
    return facts


def accelerators(root: Path = Path("/")) -> tuple[str, ...]:
    """Returns the extras of DEVICE_FILES for whose devices the system has a driver."""
    return tuple(name for name, pattern in DEVICE_FILES.items() if [*root.glob(f"dev/{pattern}")])


def _requirements() -> tuple[dict[str, tuple[str | None, str]], dict[str, list[str]]]:
    """Returns the packages and extras of `MachineFacts`, from what pip knows; importing them would take seconds."""
    try:
        metadata = importlib.metadata.metadata("jprm")
    except importlib.metadata.PackageNotFoundError:
        return {"jprm": (None, "")}, {}
    packages: dict[str, tuple[str | None, str]] = {"jprm": (metadata["Version"], "")}
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist") or ()]
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            packages[requirement.name] = _version(requirement.name), str(requirement.specifier)
    packages["jaxlib"] = _version("jaxlib"), ""
    extras = {}
    for extra in metadata.get_all("Provides-Extra") or ():
        wanted = [r for r in needed if r.marker and _only_with(r, extra)]
        extras[extra] = sorted({name for r in wanted for name in _missing(r)})
    return packages, extras


def _only_with(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    assert marker is not None
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _missing(requirement: Requirement) -> list[str]:
    """Lists which packages a requirement lacks, those of its own extras (`jax[cuda13]`) among them."""
    version = _version(requirement.name)
    if version is None or not satisfies(version, str(requirement.specifier)):
        return [requirement.name]
    further = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or ()]
    return [
        name
        for extra in requirement.extras
        for other in further
        if other.marker and _only_with(other, extra)
        for name in _missing(other)
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def satisfies(version: str, wanted: str) -> bool:
    """Says whether a version is among those that a requirement allows."""
    return SpecifierSet(wanted).contains(version, prereleases=True)
