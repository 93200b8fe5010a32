"""Finds out which layers of the jail hold on this machine, by trying to break out of each.

A layer is believed only if an attempt that succeeds without it fails with it. What a session must not be able to do is
a short list of needs; each needs a layer that was seen to stop it, or execution is refused.
"""

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
from jprm.execute import bubblewrap
from jprm.execute.bubblewrap import Confinement
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
REMEDIES = {  # how to get a layer where it does not work
    "limits": "",
    "user": "",  # only of use to the superuser
    "landlock": "Optional. Needs Linux 5.13 with Landlock among its security modules.",
    "seccomp": "Install libseccomp (Debian, Ubuntu: apt-get install libseccomp2).",
    "bwrap": "Optional. Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap); most containers forbid it.",
}
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
    """What was found out about this machine.

    needs: for each of NEEDS, the layers that were seen to stop it; "host" if nobody could do it here to begin with.
    """

    kernel: str
    layers: dict[str, Layer]
    needs: dict[str, tuple[str, ...]]
    bwrap_variant: str = "own network"

    def confine(self, wanted: tuple[str, ...] | None = None, uncovered: tuple[str, ...] = ()) -> Confinement:
        """Returns the layers to use: all that work, or those wanted.

        Raises UserError if a wanted layer does not work here, or if a need that is not in
        `uncovered` would be stopped by none of them.
        """
        _check_known(uncovered, NEEDS, "need")
        if wanted is None:
            layers = tuple(name for name in LAYERS if self.layers[name].works)
            if "bwrap" in layers:  # its superuser has no powers to give up, nor the one to do so
                layers = tuple(name for name in layers if name != "user")
        else:
            _check_known(wanted, LAYERS, "layer")
            layers = wanted
        for layer in (self.layers[name] for name in layers):
            if not layer.works:
                raise UserError(f"{layer.name} does not work here: {layer.detail}. {layer.remedy}")
        trusted = {*layers, *uncovered, "host"}
        open_needs = [need for need, stopped_by in self.needs.items() if not trusted & {need, *stopped_by}]
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


def _check_known(names: Iterable[str], among: Collection[str], noun: str) -> None:
    for name in names:
        if name not in among:
            raise UserError(f"unknown {noun} {name!r}; known: {', '.join(among)}")


@functools.cache
def survey() -> Survey:
    """Tries every layer on this machine, in child processes; takes some 0.5 s, once per process.

    Raises UserError if no child can be started at all, or if the machine lacks something for the
    moment: what could not be tried is not known to be missing.
    """
    open_files_limit()
    release = f"{platform.system()} {platform.release()}"
    if sys.platform != "linux":
        layers = {name: Layer(name, False, "it needs Linux", "Use a Linux machine or container.") for name in LAYERS}
        return Survey(release, layers, {need: () for need in NEEDS})
    try:
        found, variant = _try_all()
    except OSError as error:
        start = " ".join(bubblewrap.python("-c", "pass"))
        advice = "" if is_shortage(error) else f"; does this start: {start}"
        raise UserError(
            f"what keeps generated code from doing harm could not be tried: {in_words(error)}{advice}"
        ) from error
    # A need that nobody could do here to begin with is stopped by the host.
    done_by_nobody = found.pop("none")["done"]
    needs = {
        need: tuple(name for name in LAYERS if "done" in found[name] and need not in found[name]["done"])
        if need in done_by_nobody
        else ("host",)
        for need in NEEDS
    }
    layers = {
        name: Layer(name, True, result["detail"])
        if "done" in result
        else Layer(name, False, result["error"], REMEDIES[name])
        for name, result in found.items()
    }
    return Survey(release, layers, needs, variant)


def _try_all() -> tuple[dict[str, dict], str]:
    """Returns what was done with no layer and with each, or its error, and the variant of bubblewrap that works."""
    with (
        tempfile.TemporaryDirectory(prefix="jprm-probe-") as folder,
        socket.socket() as connections,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
    ):
        # 1. Lay out what an attempt is made at.
        os.chmod(folder, 0o777)  # so that a layer, and not ownership, is what stops anyone
        Path(folder, CANARY).write_text("a file of this machine")
        with contextlib.suppress(OSError):  # a machine without loopback has no network to refuse
            connections.bind(("127.0.0.1", 0))
            connections.listen()
            datagrams.bind(("127.0.0.1", 0))
        settings = {"folder": folder, "ports": [connections.getsockname()[1], datagrams.getsockname()[1]]}
        # 2. Try the layers that a session puts on.
        found = _run(None, ["none", *INNER], settings)
        # 3. Try bubblewrap, in the best variant that works here.
        found["bwrap"] = {"error": "bwrap is not installed"}
        if bubblewrap.bubblewrap() is None:
            return found, ""
        for variant in bubblewrap.VARIANTS:
            try:
                found["bwrap"] = _run(variant, ["none"], settings)["none"] | {"detail": variant}
                return found, variant
            except OSError as error:
                if is_shortage(error):
                    raise
                if variant == next(iter(bubblewrap.VARIANTS)):  # the reason that a user can act on
                    found["bwrap"] = {"error": str(error)}
        return found, ""


def _run(variant: str | None, layers: list[str], settings: dict) -> dict[str, dict]:
    """Returns what the probe program reports, by layer; it runs inside bubblewrap if a variant is given."""
    try:
        finished = subprocess.run(
            **bubblewrap.program("jprm.execute.probe", {**settings, "layers": layers}, variant),
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
    """Tries each layer alone, each in a child; prints `{layer: {"done": [need], "detail": text}}`."""
    settings = json.loads(sys.argv[1])
    print(json.dumps({name: _in_child(name, settings) for name in settings["layers"]}))


def _in_child(layer: str, settings: dict) -> dict:
    """Tries everything in a child that wears one layer, beside a neighbour that wears the same."""
    try:
        jail = Jail([] if layer == "none" else [layer])
    except OSError as error:
        return {"error": str(error)}

    def attempts() -> list[str]:
        jail.enter(ADDRESS_SPACE_BYTES)
        return [need for need in NEEDS if _succeeds(need, settings, neighbour, lacking=layer == "none")]

    neighbour, _ = _forked(lambda: jail.enter(ADDRESS_SPACE_BYTES), linger=True)
    child, report = _forked(attempts, linger=False)
    os.kill(neighbour, signal.SIGKILL)
    for process_id in (neighbour, child):
        os.waitpid(process_id, 0)
    return report | {"detail": f"version {landlock_version()}" if layer == "landlock" and "done" in report else ""}


def _forked(work: Callable[[], object], linger: bool) -> tuple[int, dict]:
    """Returns process id and report of a child that does some work; it lingers until it is killed, or ends."""
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
            process_id = os.fork()
            if process_id == 0:
                os._exit(0)
            os.waitpid(process_id, 0)
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
    """Raises OSError if neither a connection nor a datagram gets to those who wait for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(("127.0.0.1", datagrams))
            sender.send(b"jprm")
            time.sleep(0.02)
            sender.send(b"jprm")  # fails if nobody was there for the first
        except OSError:
            with socket.create_connection(("127.0.0.1", connections), timeout=1):
                pass
