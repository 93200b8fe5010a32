"""Finds out which layers of the jail hold on this machine, by trying to break out of each.

A layer is believed only if an attempt that succeeds without it fails with it. What a session must
not be able to do is a short list of needs; each needs a layer that was seen to stop it, or execution
is refused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import mmap
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from jprm.errors import UserError
from jprm.execute import outer
from jprm.execute.fork_server import Confinement, environment, program_of, python
from jprm.execute.jail import LAYERS, Jail, landlock_version
from jprm.execute.resources import in_words, is_shortage, open_files_limit

NEEDS = {
    "reads": "reading the files of this machine",
    "writes": "writing files",
    "network": "the network",
    "processes": "starting processes",
    "signals": "signalling other processes",
    "memory": "taking memory without limit",
}
PROBE = "from jprm.execute.probe import main; main()"
PROBE_LIMIT_S = 20.0
CANARY = "canary"
INNER = [layer for layer in LAYERS if layer != "bwrap"]
NO_REFUSAL = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
ADDRESS_SPACE_BYTES = 2 << 30  # far above what a bare interpreter maps


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer on this machine; `remedy` says how to get it where it does not work."""

    name: str
    works: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    needs: for each of NEEDS, the layers that were seen to stop it; "host" if nobody could do it
        here to begin with.
    """

    kernel: str
    layers: dict[str, Layer]
    needs: dict[str, tuple[str, ...]]
    bwrap_variant: str = "own network"

    def confine(self, wanted: tuple[str, ...] | None = None, uncovered: tuple[str, ...] = ()) -> Confinement:
        """The layers to use: all that work, or those wanted.

        Raises UserError if a wanted layer does not work here, or if a need that is not in
        `uncovered` would be stopped by none of them.
        """
        _known(uncovered, NEEDS, "need")
        if wanted is None:
            layers = tuple(name for name in LAYERS if self.layers[name].works)
            if "bwrap" in layers:  # its superuser has no powers to give up, nor the one to do so
                layers = tuple(name for name in layers if name != "user")
        else:
            _known(wanted, LAYERS, "layer")
            layers = wanted
        for layer in (self.layers[name] for name in layers):
            if not layer.works:
                raise UserError(f"{layer.name} does not work here: {layer.detail}. {layer.remedy}")
        open_needs = [
            need
            for need, stopped_by in self.needs.items()
            if need not in uncovered and not {*layers, "host"} & {*stopped_by}
        ]
        if open_needs:
            missing = "; ".join(
                f"{layer.name}: {layer.detail}. {layer.remedy}".rstrip()
                for layer in self.layers.values()
                if not layer.works and layer.remedy
            )
            raise UserError(
                "generated code would not be kept from "
                + ", ".join(NEEDS[need] for need in open_needs)
                + (f" ({missing})" if missing else "")
                + f". To run it all the same: verify.uncovered={json.dumps(open_needs)}"
            )
        return Confinement(layers, self.bwrap_variant)


def _known(names: Iterable[str], among: Collection[str], noun: str) -> None:
    for name in names:
        if name not in among:
            raise UserError(f"unknown {noun} {name!r}; known: {', '.join(among)}")


@functools.cache
def survey() -> Survey:
    """Try every layer on this machine, in child processes; some 0.5 s, once per process.

    Raises UserError if no child can be started at all, or if the machine lacks something for the
    moment: what could not be tried is not known to be missing.
    """
    open_files_limit()
    try:
        return _survey()
    except OSError as error:
        advice = "" if is_shortage(error) else f"; does this start: {' '.join(python('-c', 'pass'))}"
        raise UserError(
            f"what keeps generated code from doing harm could not be tried: {in_words(error)}{advice}"
        ) from error


def _survey() -> Survey:
    release = f"{platform.system()} {platform.release()}"
    if sys.platform != "linux":
        absent = Layer("", False, "it needs Linux", "Use a Linux machine or container.")
        layers = {name: Layer(name, False, absent.detail, absent.remedy) for name in LAYERS}
        return Survey(release, layers, {need: () for need in NEEDS})
    with (
        tempfile.TemporaryDirectory(prefix="jprm-probe-") as folder,
        socket.socket() as connections,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
    ):
        os.chmod(folder, 0o777)  # so that a layer, and not ownership, is what stops anyone
        Path(folder, CANARY).write_text("a file of this machine")
        with contextlib.suppress(OSError):  # a machine without loopback has no network to refuse
            connections.bind(("127.0.0.1", 0))
            connections.listen()
            datagrams.bind(("127.0.0.1", 0))
        ports = [connections.getsockname()[1], datagrams.getsockname()[1]]
        attempts = {"folder": folder, "ports": ports}
        inside = _run(None, ["none", *INNER], attempts)
        variant, wrapped, why_not = _try_bubblewrap(attempts)
    done_by_nobody = inside["none"]["done"]
    layers, needs = {}, {need: [] for need in NEEDS}
    for name in LAYERS:
        found = wrapped if name == "bwrap" else inside[name]
        error = why_not if name == "bwrap" else found.get("error")
        if error is None:
            for need in NEEDS:
                if need in done_by_nobody and need not in found["done"]:
                    needs[need].append(name)
        layers[name] = Layer(name, error is None, error or found["detail"], _remedy(name, error))
    for need in NEEDS:
        if need not in done_by_nobody:
            needs[need].append("host")
    return Survey(release, layers, {n: tuple(by) for n, by in needs.items()}, variant)


def _remedy(name: str, error: str | None) -> str:
    if error is None:
        return ""
    return {
        "seccomp": "Install libseccomp (Debian, Ubuntu: apt-get install libseccomp2).",
        "bwrap": "Optional. Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap); "
        "most containers forbid it.",
        "landlock": "Optional. Needs Linux 5.13 with Landlock among its security modules.",
        "user": "",  # only of use to the superuser
        "limits": "",
    }[name]


def _try_bubblewrap(attempts: dict) -> tuple[str, dict, str | None]:
    """(variant, result, None) of the first that works, or why none does."""
    if outer.bubblewrap() is None:
        return "", {}, "bwrap is not installed"
    why_not = ""
    for variant in outer.VARIANTS:
        try:
            results = _run(variant, ["none"], attempts)
        except OSError as error:
            if is_shortage(error):
                raise
            why_not = why_not or str(error)
        else:
            return variant, {**results["none"], "detail": variant}, None
    return "", {}, why_not


def _run(variant: str | None, layers: list[str], attempts: dict) -> dict:
    """What the probe program reports, by layer; inside bubblewrap if a variant is given."""
    command = python("-c", PROBE, json.dumps({**attempts, "layers": layers}))
    if variant is not None:
        command = outer.wrap(command, variant)
    try:
        finished = subprocess.run(
            command,
            executable=program_of(command),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no answer within {PROBE_LIMIT_S:.0f} s") from error
    try:
        results = json.loads(finished.stdout)
    except ValueError as error:
        reason = (finished.stderr.strip().splitlines() or ["no answer"])[-1]
        raise OSError(reason) from error
    for result in results.values():
        if is_shortage(result.get("error", "")):
            raise OSError(result["error"])
    return results


# The program.


def main() -> None:
    """Try each layer alone, each in a child; print `{layer: {"done": [need], "detail": text}}`."""
    settings = json.loads(sys.argv[1])
    print(json.dumps({name: _in_child(name, settings) for name in settings["layers"]}))


def _in_child(layer: str, settings: dict) -> dict:
    """Try everything in a child that wears one layer, beside a neighbour that wears the same."""
    try:
        jail = Jail([] if layer == "none" else [layer])
    except OSError as error:
        return {"error": str(error)}
    neighbour, _ = _forked(lambda: jail.enter(ADDRESS_SPACE_BYTES), linger=True)
    child, report = _forked(lambda: _attempts(jail, settings, neighbour), linger=False)
    os.kill(neighbour, signal.SIGKILL)
    for process_id in (neighbour, child):
        os.waitpid(process_id, 0)
    return {**report, "detail": _detail(layer)} if "done" in report else report


def _forked(work: Callable[[], object], linger: bool) -> tuple[int, dict]:
    """(process id, report) of a child that does some work; it lingers until it is killed, or ends."""
    reader, writer = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            report = {"done": work()}
        except BaseException as error:
            report = {"error": f"{type(error).__name__}: {error}"}
        os.write(writer, json.dumps(report).encode() + b"\n")
        while linger:
            time.sleep(PROBE_LIMIT_S)
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        line = stream.readline()
    return process_id, json.loads(line) if line else {"error": "it was killed"}


def _attempts(jail: Jail, settings: dict, neighbour: int) -> list[str]:
    jail.enter(ADDRESS_SPACE_BYTES)
    lacking = not jail.layers
    return [need for need in NEEDS if _succeeds(need, settings, neighbour, lacking)]


def _detail(layer: str) -> str:
    return f"version {landlock_version()}" if layer == "landlock" else ""


def _succeeds(need: str, settings: dict, neighbour: int, lacking: bool) -> bool:
    """Whether this process can still do what it must not.

    lacking: whether a lack of descriptors or of room is no answer (a layer may cause one).
    """
    folder = Path(settings["folder"])
    try:
        if need == "reads":
            (folder / CANARY).read_bytes()
        elif need == "writes":
            os.open(folder / secrets.token_hex(8), os.O_CREAT | os.O_WRONLY)
        elif need == "network":
            _reach(*settings["ports"])
        elif need == "processes":
            _start_process()
        elif need == "signals":
            os.kill(neighbour, 0)
        else:
            mmap.mmap(-1, 2 * ADDRESS_SPACE_BYTES, prot=mmap.PROT_READ).close()
    except (OSError, MemoryError) as error:
        if lacking and getattr(error, "errno", None) in NO_REFUSAL:
            raise  # nobody has refused it
        return False
    return True


def _reach(connections: int, datagrams: int) -> None:
    """Raise OSError if neither a connection nor a datagram gets to those who wait for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(("127.0.0.1", datagrams))
            sender.send(b"jprm")
            time.sleep(0.02)
            sender.send(b"jprm")  # fails if nobody was there for the first
        except OSError:
            with socket.create_connection(("127.0.0.1", connections), timeout=1):
                pass


def _start_process() -> None:
    process_id = os.fork()
    if process_id == 0:
        os._exit(0)
    os.waitpid(process_id, 0)
