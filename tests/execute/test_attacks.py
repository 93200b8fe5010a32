"""Attacks on the machine: each must fail in the jail, and succeed where the jail is off.

The second half is what keeps the first honest: an attack that cannot succeed proves nothing. What
would do harm when it succeeds is asked in a harmless form (signal 0 instead of SIGKILL).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jprm.errors import UserError
from jprm.execute import survey
from jprm.execute.jail import LAYERS
from jprm.execute.probe import NEEDS, Layer, Survey
from tests.execute.arena import Arena

DONE = "BROKEN OUT"
LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
ATTACKS = {
    "read a file": "assert 'CANARY' in open('{CANARY_FILE}').read()",
    "read by way of proc": "assert 'CANARY' in open('/proc/self/root{CANARY_FILE}').read()",
    "read in C": LIBC + "assert libc.open(b'{CANARY_FILE}', 0) >= 0",
    "read in numpy": "import numpy\nassert len(numpy.fromfile('{CANARY_FILE}', dtype='u1'))",
    "list a folder": "import os\nassert os.listdir('{SCRATCH}')",
    "list files by glob": "import glob\nassert glob.glob('{SCRATCH}/*')",
    "ask whether a file is there": "import os\nassert os.path.exists('{CANARY_FILE}')",
    "read another's memory map": "assert open('/proc/{NPID}/maps').read(10)",
    "read another's command line": "assert open('/proc/{EPID}/cmdline').read(10)",
    "write a file": "open('{SCRATCH}/new', 'w').write('x')",
    "write in C": LIBC + "assert libc.creat(b'{SCRATCH}/new', 0o600) >= 0",
    "make a folder": "import os\nos.mkdir('{SCRATCH}/new')",
    "make a database": "import sqlite3\nsqlite3.connect('{SCRATCH}/new').execute('create table t (a)')",
    "make a temporary file": "import tempfile\ntempfile.TemporaryFile()",
    "share memory": "from multiprocessing import shared_memory\n"
    "shared_memory.SharedMemory(create=True, size=9).unlink()",
    "memory in a file": "import os\nos.memfd_create('m')",
    "move a file": "import os\nos.rename('{CANARY_FILE}', '{SCRATCH}/new')",
    "delete a file": "import os\nos.remove('{CANARY_FILE}')",
    "change rights": "import os\nos.chmod('{CANARY_FILE}', 0o600)",
    "connect": "import socket\nsocket.create_connection(('127.0.0.1', {PORT}), 1)",
    "send a datagram": "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {PORT}))",
    "connect to a name": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(chr(0) + '{ABSTRACT}')",
    "listen": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "socket in C": LIBC + "assert libc.socket(2, 1, 0) >= 0",
    "fork": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
    "run a program": "import subprocess\nsubprocess.run(['true'], check=True)",
    "run a shell": "import os\nassert os.system('true') == 0",
    "spawn": "import os\nos.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "start a thread": "import threading\nthreading.Thread(target=print).start()",
    "signal the engine": "import os\nos.kill({EPID}, 0)",
    "signal the server": "import os\nos.kill(os.getppid(), 0)",
    "signal a neighbour": "import os\nos.kill({NPID}, 0)",
    "hold a neighbour": "import os\nos.pidfd_open({NPID})",
    "limit a neighbour": "import resource\nresource.prlimit({NPID}, resource.RLIMIT_NOFILE)",
    "slow a neighbour": "import os\nos.setpriority(os.PRIO_PROCESS, {NPID}, 5)",
    "move a neighbour": "import os\nos.sched_setaffinity({NPID}, {0})",
    "take memory": "import mmap\nmmap.mmap(-1, 3 << 30)",
    "raise a limit": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (60, 60))",
}
SETS = {
    "seccomp": ("limits", "seccomp"),
    "landlock": ("limits", "landlock", "seccomp"),
    "bwrap": ("limits", "seccomp", "bwrap"),
    "all": None,
}
OTHER_USER = 65_534
CASES = Path(__file__).parents[3] / "shared" / "research" / "sandbox_cases.json"


def arena_of(layers):
    for layer in layers or ():
        if not survey().layers[layer].works:
            pytest.skip(f"{layer} does not work here: {survey().layers[layer].detail}")
    return Arena(layers=layers, uncovered=() if layers != () else tuple(NEEDS))


def attempt(arena, name):
    """What the attack printed; the folder is as before afterwards."""
    arena.canary_file.write_text(arena.canary)
    code = arena.fill(ATTACKS[name]) + f"\nprint({DONE!r})"
    session = arena.pool.session()
    outcome = session.run(code)
    for path in arena.scratch.iterdir():
        if path.name != "canary_dir":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return outcome


@pytest.fixture(scope="module")
def open_arena():
    with arena_of(()) as arena:
        yield arena


@pytest.fixture(scope="module", params=list(SETS.values()), ids=list(SETS))
def arena(request):
    with arena_of(request.param) as arena:
        yield arena


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_succeeds_without_the_jail(open_arena, name):
    outcome = attempt(open_arena, name)
    assert (outcome.kind, outcome.text) == ("ok", DONE)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails(arena, name):
    outcome = attempt(arena, name)
    assert outcome.kind == "error" and DONE not in outcome.text
    assert arena.canary not in outcome.text
    assert arena.canary_file.read_text() == arena.canary
    assert arena.neighbour.run("print(nsecret_var)").text == arena.secret


def test_environment_is_empty(arena):
    [text] = [o.text for o in arena.play({"code": "import os\nprint(sorted(os.environ))"})]
    assert set(json.loads(text.replace("'", '"'))) <= {
        "LC_CTYPE",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "PWD",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "PYTHONUTF8",
    }


def test_a_layer_that_is_off_leaves_its_needs_open():
    with pytest.raises(UserError, match=r'the network.*verify\.uncovered=\["reads", "writes"'):
        survey().confine(("limits",))
    for need in NEEDS:
        others = tuple(other for other in NEEDS if other != need)
        with pytest.raises(UserError, match=NEEDS[need]):
            survey().confine((), others)
    assert survey().confine((), tuple(NEEDS)).layers == ()
    with pytest.raises(UserError, match="unknown layer 'gvisor'; known: limits"):
        survey().confine(("gvisor",))
    with pytest.raises(UserError, match="unknown need 'files'; known: reads"):
        survey().confine(None, ("files",))


def test_a_system_without_layers_is_refused():
    layers = {name: Layer(name, False, "it needs Linux", "Use Linux.") for name in LAYERS}
    elsewhere = Survey("Darwin 25.0", layers, {need: () for need in NEEDS})
    with pytest.raises(UserError, match="it needs Linux. Use Linux."):
        elsewhere.confine()
    with pytest.raises(UserError, match="seccomp does not work here: it needs Linux"):
        elsewhere.confine(("seccomp",))


def test_the_survey_believes_only_what_it_saw():
    found = survey()
    assert found.needs["network"] == tuple(layer for layer in ("seccomp", "bwrap") if found.layers[layer].works)
    assert "limits" in found.needs["memory"] and "limits" not in found.needs["reads"]
    assert "bwrap" not in found.needs["signals"]  # neighbours share its process namespace
    assert "landlock" not in found.needs["network"]  # it knows no datagrams


@pytest.mark.slow
@pytest.mark.skipif(not CASES.exists(), reason="the collection of cases is not beside the project")
@pytest.mark.parametrize("user", ["root", "other"])
@pytest.mark.parametrize("layers", list(SETS.values())[:3], ids=list(SETS)[:3])
def test_collected_cases(layers, user, tmp_path):
    """Every case of the collection, in a program of its own, so that another user can run it."""
    command = [sys.executable, "-B", "-m", "tests.execute.arena"]
    if user == "other":
        if os.geteuid() != 0:
            pytest.skip("only the superuser can become another")
        command = ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"] + command
        reach = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)"
        if subprocess.run([*command[:5], "-c", reach], capture_output=True).returncode:
            pytest.skip("another user cannot reach this interpreter")
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps(json.loads(CASES.read_text())["shared"]))
    for path in (cases, *cases.parents):
        if path.is_relative_to(tmp_path.parents[1]):
            path.chmod(0o755)
    finished = subprocess.run(
        [*command, str(cases), ",".join(layers)],
        env=os.environ | {"JPRM_CANARY": "CANARY-of-this-test"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {}
