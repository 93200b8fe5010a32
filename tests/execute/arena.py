"""A host worth attacking, and the referee: runs snippet cases in it and says what went wrong.

A case is `{"name", "code", "expect"}`. `code` is a snippet, a list of them for one session, or a list
of `{"session", "code"}`. `expect` has a check for `each` snippet or for the `last`; a check may ask
for `status`, `status_in`, `equals`, `contains`, `contains_any`, `not_contains`, `in`, `max_chars`,
`valid_utf8`. Text in braces is filled in: {SCRATCH} a folder, {CANARY_FILE} a file whose text is
{CANARY}, which is also in this program's environment, {PORT} a listener, {ABSTRACT} a socket's name,
{EPID} this process, {NPID} a neighbour session whose variable holds {NSECRET}.

As a program, so that another user can run it:
    python -m tests.execute.arena CASES.json LAYER[,LAYER...]
prints a JSON object of the names and faults of the cases that failed.
"""

import json
import os
import resource
import secrets
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from jprm.execute import Pool

LIMIT_S, GRACE_S = 1.5, 0.5
# The cases are written for limits of 5 + 1 seconds.
SAVED_PER_TIMEOUT_S = 5.0 + 1.0 - LIMIT_S - GRACE_S
SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
BUSY_MACHINE_S = 1.0  # on top of every limit on time


class Arena:
    """One pool with a neighbour session, a secret file, a listener; a context manager."""

    def __init__(self, **options):
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="arena-"))
        self.scratch = Path(folder)
        (self.scratch / "canary_dir").mkdir()
        self.canary = os.environ.get("JPRM_CANARY") or f"CANARY-{secrets.token_hex(8)}"
        self.canary_file = self.scratch / "canary_dir" / "canary.txt"
        self.canary_file.write_text(self.canary)
        self.secret = f"NSECRET_{secrets.token_hex(8)}"
        self.listener = self._stack.enter_context(socket.socket())
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.listener.setblocking(False)
        self.datagrams = self._stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self.datagrams.bind(self.listener.getsockname())
        self.datagrams.setblocking(False)
        self.abstract = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind("\0" + secrets.token_hex(8))
        self.abstract.listen()
        self.abstract.setblocking(False)
        self.pool = self._stack.enter_context(
            Pool(**{"workers": 2, "timeout_s": LIMIT_S, "grace_s": GRACE_S} | options)
        )
        self.neighbour = self.pool.session()
        self.neighbour.run(f"nsecret_var = {self.secret!r}")
        [self.neighbour_id] = self.pool.processes()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()

    def fill(self, text):
        """A case's text with this arena's names in it."""
        for name, value in {
            "SCRATCH": self.scratch,
            "CANARY_FILE": self.canary_file,
            "CANARY": self.canary,
            "PORT": self.listener.getsockname()[1],
            "ABSTRACT": self.abstract.getsockname()[1:].decode(),
            "EPID": os.getpid(),
            "NPID": self.neighbour_id,
            "NSECRET": self.secret,
        }.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    def play(self, case):
        """Run a case; returns the outcomes in order, after closing its sessions."""
        code = case["code"]
        steps = [code] if isinstance(code, str) else code
        steps = [{"session": "A", "code": s} if isinstance(s, str) else s for s in steps]
        sessions = {step["session"]: self.pool.session() for step in steps}
        outcomes = [sessions[step["session"]].run(self.fill(step["code"])) for step in steps]
        for session in sessions.values():
            session.close()
        return outcomes

    def judge(self, case):
        """Play a case and return its faults, in words; [] if there are none."""
        expect = json.loads(self.fill(json.dumps(case["expect"])))
        before = self._state()
        started = time.monotonic()
        outcomes = self.play(case)
        elapsed_s = time.monotonic() - started
        faults = []
        checks = expect.get("each") or [{}] * (len(outcomes) - 1) + [expect["last"]]
        for index, (check, outcome) in enumerate(zip(checks, outcomes, strict=True)):
            faults += [f"snippet {index}: {fault}" for fault in _compare(check, outcome)]
            for secret in (self.canary, self.secret):
                if secret in outcome.text:
                    faults.append(f"snippet {index} saw a secret")
        timeouts = sum(outcome.kind == "timeout" for outcome in outcomes)
        limit_s = expect.get("max_wall_s", 60) - timeouts * SAVED_PER_TIMEOUT_S + BUSY_MACHINE_S
        if elapsed_s > limit_s:
            faults.append(f"took {elapsed_s:.1f} s")
        return faults + self._always(before)

    def _state(self):
        return {
            "files": {folder: sorted(os.listdir(folder)) for folder in (self.scratch, *SHARED_FOLDERS)},
            "descriptors": len(os.listdir("/proc/self/fd")),
            "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }

    def _always(self, before):
        faults = []
        if (answer := self.pool.session().run("print(6 * 7)")).text != "42":
            faults.append(f"the engine answers {answer}")
        if self.neighbour.run("print(nsecret_var)").text != self.secret:
            faults.append("the neighbour has lost its variable")
        [self.neighbour_id] = self._processes_left_after(1.0, 1, faults)
        for server in (self.listener, self.abstract):
            try:
                server.accept()
                faults.append("somebody connected")
            except BlockingIOError:
                pass
        try:
            self.datagrams.recv(100)
            faults.append("somebody sent a datagram")
        except BlockingIOError:
            pass
        if self.canary_file.read_text() != self.canary:
            faults.append("the canary file has changed")
        after = self._state()
        for folder, names in before["files"].items():
            new = set(after["files"][folder]) - set(names)
            if folder == self.scratch or any("fill" in name or "made" in name for name in new):
                faults += [f"{name} appeared in {folder}" for name in new]
        if after["descriptors"] > before["descriptors"] + 2:  # the neighbour may have been rebuilt
            faults.append(f"descriptors {before['descriptors']} -> {after['descriptors']}")
        if after["rss_kib"] - before["rss_kib"] > 64 << 10:
            faults.append("the engine has grown by more than 64 MB")
        return faults

    def _processes_left_after(self, limit_s, expected, faults):
        """The live sessions; a fault if a session's end leaves a process for longer."""
        deadline = time.monotonic() + limit_s
        servers = self.pool.servers()
        while time.monotonic() < deadline:
            live, all_of_them = self.pool.processes(), _descendants(servers)
            if len(live) == expected and len(all_of_them & set(live)) == expected:
                extra = [p for p in all_of_them - set(live) if _is_guest(p)]
                if not extra:
                    return live
            time.sleep(0.01)
        faults.append(f"processes left: {_descendants(servers)}, sessions {live}")
        return live[:expected]


def _descendants(roots):
    """Process ids below some processes, zombies included."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(Path("/proc", name, "stat").read_text().rsplit(") ", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = set(), list(roots)
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def _is_guest(process_id):
    """Whether a process was forked by a fork server, and is no server or bubblewrap itself."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(") ", 1)[1].split()
        parent = Path(f"/proc/{fields[1]}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"execute.server" in parent and not parent.split(b"\0")[0].endswith(b"bwrap")


def _compare(check, outcome):
    text = outcome.text
    faults = {
        "status": lambda wanted: outcome.kind == wanted,
        "status_in": lambda wanted: outcome.kind in wanted,
        "equals": lambda wanted: text == wanted,
        "contains": lambda wanted: all(part in text for part in wanted),
        "contains_any": lambda wanted: any(part in text for part in wanted),
        "not_contains": lambda wanted: not any(part in text for part in wanted),
        "in": lambda wanted: text in wanted,
        "max_chars": lambda wanted: len(text) <= wanted,
        "valid_utf8": lambda _: bool(text.encode("utf-8")),
    }
    return [
        f"{key} should be {wanted!r}, is {outcome.kind} {text[:200]!r}"
        for key, wanted in check.items()
        if not faults[key](wanted)
    ]


def main():
    """Run the cases of a file; print what failed."""
    path, layers = sys.argv[1:]
    cases = json.loads(Path(path).read_text())
    with Arena(layers=tuple(layers.split(","))) as arena:
        failed = {case["name"]: faults for case in cases if (faults := arena.judge(case))}
    print(json.dumps(failed, indent=1))


if __name__ == "__main__":
    main()
