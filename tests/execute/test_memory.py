"""Memory for all sessions together: who waits, who is ended, and who is never touched: the engine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jprm.execute import survey
from jprm.execute.outcome import NO_MEMORY
from jprm.execute.resources import (
    SERVER_OFFER,
    SESSION_OFFER,
    MemoryBudget,
    available_memory,
    control_groups,
    memory_limit,
)
from tests.execute.pools import FOREVER_IN_C, is_running, plain_pool

MIB = 1 << 20


def hold(mib, then="time.sleep(0.2)"):
    """A snippet that takes so much memory, and prints how much it has."""
    return f"import time\na = b'x' * ({mib} << 20)\n{then}\nprint(len(a) >> 20)"


def machine(root, files):
    """A made-up root of a file system."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1024 kB\nMemAvailable: 8388608 kB\n"
VERSION_2 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/pod/box\n",
    "sys/fs/cgroup/pod/memory.max": f"{2048 * MIB}\n",
    "sys/fs/cgroup/pod/memory.high": "max\n",
    "sys/fs/cgroup/pod/memory.current": f"{1024 * MIB}\n",
    "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {200 * MIB}\nactive_file {56 * MIB}\n",
    "sys/fs/cgroup/pod/box/memory.max": "max\n",
    "sys/fs/cgroup/pod/box/memory.current": f"{900 * MIB}\n",
}
VERSION_1 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "4:memory:/docker/1\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2048 * MIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{1024 * MIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"cache 9\ntotal_inactive_file {200 * MIB}\ntotal_active_file {56 * MIB}\n",
}


@pytest.mark.parametrize(
    ("files", "limit_mib", "left_mib"),
    [
        (VERSION_2, 2048, 1280 - 128),
        (VERSION_1, 2048, 1280 - 128),
        (VERSION_2 | {"sys/fs/cgroup/pod/memory.high": f"{1536 * MIB}\n"}, 1536, 768 - 96),
        (VERSION_2 | {"sys/fs/cgroup/pod/box/memory.max": f"{960 * MIB}\n"}, 960, 60 - 64),
        (VERSION_2 | {"sys/fs/cgroup/pod/memory.stat": "damaged"}, 2048, 1024 - 128),
        ({"proc/meminfo": MEMINFO}, None, 8192 - 512),
        (VERSION_1 | {"proc/meminfo": MEMINFO.replace("8388608", "512000")}, 2048, 500 - 128),
    ],
    ids=["version 2", "version 1", "high", "own group", "damaged", "none", "whole machine"],
)
def test_the_budget_is_what_the_tightest_group_has_free(tmp_path, files, limit_mib, left_mib):
    root = machine(tmp_path, files)
    limit = memory_limit(root)
    assert (limit and limit // MIB) == limit_mib
    assert MemoryBudget(root=root).left_bytes(0) == left_mib * MIB
    given = MemoryBudget(100 * MIB, root)
    assert given.left_bytes(30 * MIB) == min(left_mib, 70) * MIB
    assert given.left_bytes(130 * MIB) == min(left_mib, -30) * MIB


def test_the_budget_follows_what_others_take(tmp_path):
    root = machine(tmp_path, VERSION_2)
    budget = MemoryBudget(root=root)
    before = budget.left_bytes(0)
    machine(tmp_path, {"sys/fs/cgroup/pod/memory.current": f"{1500 * MIB}\n"})
    assert budget.left_bytes(0) == before - 476 * MIB


def test_a_machine_that_tells_nothing_limits_nothing(tmp_path):
    assert available_memory(tmp_path) is None and control_groups(tmp_path) == []
    assert MemoryBudget(root=tmp_path).left_bytes(10**12) > 1 << 50


def test_sessions_that_do_not_fit_together_run_after_one_another():
    """Each of them is legal. Those at rest are ended and rebuilt, those at work begin again."""
    with plain_pool(workers=4, timeout_s=30, memory_budget_bytes=260 * MIB) as pool:
        sessions = [pool.session() for _ in range(5)]
        futures = [session.submit(hold(100)) for session in sessions]
        assert [future.result(timeout=60).text for future in futures] == ["100"] * 5
        assert [session.run("print(len(a) >> 20)").text for session in sessions] == ["100"] * 5
        assert pool.stats.memory == 0 and pool.stats.forks > 5


def test_one_that_fits_in_no_case_gets_its_own_kind():
    with plain_pool(workers=2, timeout_s=30, memory_budget_bytes=150 * MIB) as pool:
        small, large = pool.session(), pool.session()
        assert small.run("kept = 7").kind == "ok"
        assert large.run("mine = 1").kind == "ok"
        busy = small.submit("import time\ntime.sleep(1)\nprint(kept)")
        outcome = large.submit(hold(300, "time.sleep(20)")).result(timeout=25)
        assert (outcome.kind, outcome.text) == ("memory", NO_MEMORY)
        assert pool.stats.memory == 1 and pool.stats.died == 0
        assert busy.result().text == "7" and large.run("print(mine)").text == "1"


def test_a_session_s_own_limit_is_an_error_of_the_code():
    with plain_pool(memory_bytes=64 * MIB, memory_budget_bytes=1 << 40) as pool:
        outcome = pool.session().run(hold(100))
        assert outcome.kind == "error" and "MemoryError" in outcome.text


def test_a_small_one_is_not_to_blame_for_a_machine_that_has_nothing_left():
    """Somebody else has taken all of it: sessions run one after another, and none is refused."""
    with plain_pool(workers=3, timeout_s=30, memory_budget_bytes=-(1 << 30)) as pool:
        sessions = [pool.session() for _ in range(4)]
        futures = [session.submit(hold(20)) for session in sessions]
        assert [future.result(timeout=60).text for future in futures] == ["20"] * 4
        assert [session.run("print(len(a) >> 20)").text for session in sessions] == ["20"] * 4


def test_what_rests_makes_room_the_largest_first():
    with plain_pool(workers=1, timeout_s=30, memory_budget_bytes=260 * MIB) as pool:
        sessions = {mib: pool.session() for mib in (1, 120, 40)}
        for mib, session in sessions.items():
            assert session.run(hold(mib, "")).text == str(mib)
        assert pool.stats.evicted == 0
        assert pool.session().run(hold(150)).text == "150"
        assert pool.stats.evicted == 1 and pool.stats.memory == 0
        replayed = pool.stats.replayed
        assert [sessions[mib].run("print(len(a))").text for mib in (1, 40)] == [str(MIB), str(40 * MIB)]
        assert pool.stats.replayed == replayed  # they were still there
        assert sessions[120].run("print(len(a) >> 20)").text == "120"
        assert pool.stats.replayed > replayed


def test_one_that_is_killed_from_outside_runs_again():
    """As the kernel does where memory runs out: the code is not to blame."""
    with plain_pool(timeout_s=30) as pool:
        session = pool.session()
        session.run("kept = 5")
        [process_id] = pool.processes()
        future = session.submit("import time\ntime.sleep(0.5)\nprint(kept)")
        time.sleep(0.2)
        os.kill(process_id, signal.SIGKILL)
        assert future.result(timeout=20).text == "5"
        assert pool.stats.died == pool.stats.memory == 0


def test_one_that_is_killed_again_and_again_is_given_up():
    with plain_pool(timeout_s=30) as pool:
        future, killed = pool.session().submit(FOREVER_IN_C), set[int]()
        while not future.done():
            for process_id in set(pool.processes()) - killed:
                time.sleep(0.05)
                if is_running(process_id):
                    os.kill(process_id, signal.SIGKILL)
                killed.add(process_id)
            time.sleep(0.01)
        assert future.result().kind == "memory" and len(killed) == 2
        assert pool.session().run("print(1)").text == "1"


@pytest.mark.parametrize("layers", [("limits", "seccomp"), ("limits", "seccomp", "bwrap"), None], ids=str)
def test_sessions_die_before_servers_and_servers_before_the_engine(layers):
    for layer in layers or ():
        if not survey().layers[layer].works:
            pytest.skip(f"{layer} does not work here: {survey().layers[layer].detail}")
    with plain_pool(layers=layers) as pool:
        kept = pool.session()
        kept.run("1")
        [session], [server] = pool.processes(), pool.servers()

        def offer(process):
            return int(Path(f"/proc/{process}/oom_score_adj").read_text())

        assert offer(session) == SESSION_OFFER or "no /proc" in survey().bwrap_variant
        assert SESSION_OFFER >= offer(session) >= offer(server) == SERVER_OFFER > offer("self")


ENGINE = """
import os
from jprm.execute import Pool, PreloadLevel
held = os.urandom(1 << 20) * 60
with Pool(workers=5, timeout_s=60, warm=PreloadLevel.PLAIN) as pool:
    sessions = [pool.session() for _ in range(5)]
    futures = [s.submit("a = b'x' * (80 << 20)\\nprint(len(a) >> 20)") for s in sessions]
    print(*[future.result().text for future in futures])
    print(*[session.run("print(len(a) >> 20)").text for session in sessions])
    print(len(held) >> 20, pool.stats.died + pool.stats.memory)
"""


@pytest.fixture
def group():
    """A control group of 384 MiB, if one can be made here."""
    for parent, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(parent, f"jprm-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(384 * MIB))
            yield folder
            return
        except OSError:
            continue
        finally:
            deadline = time.monotonic() + 5
            while (folder / "cgroup.procs").read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            folder.rmdir()
    pytest.skip("no control group with a limit of memory can be made here")


@pytest.mark.slow
def test_an_engine_in_a_small_container_outlives_its_sessions(group):
    """Five sessions of 80 MB and an engine of 60 do not fit in 384; nobody is killed for that."""
    shell = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", ENGINE], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["80 80 80 80 80", "80 80 80 80 80", "60 0"]
