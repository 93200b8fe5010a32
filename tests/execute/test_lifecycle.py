"""Processes that are killed, forgotten, evicted, in time, and gone in the end."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest

from jprm.errors import UserError
from jprm.execute import Pool, PoolFailure, PreloadLevel, ServerStartError, bubblewrap, fork_servers, probe
from tests.execute.pools import FOREVER_IN_C, eventually, is_running, outcomes, plain_pool


def test_modules_that_cannot_be_loaded_are_said():
    with pytest.raises(ServerStartError, match="No module named 'no_such_module'"):
        Pool(warm=PreloadLevel.SYMBOLIC, preload=["no_such_module"])


def test_lost_idle_process_is_rebuilt(pool):
    session = pool.session()
    session.run("kept = 3")
    before = set(pool.processes())
    session.run("print(kept)")
    for process_id in before:
        os.kill(process_id, signal.SIGKILL)
    while any(map(is_running, before)):
        time.sleep(0.001)
    assert session.run("print(kept)").text == "3"


def test_fork_server_killed_under_load():
    """No text is lost, none is wrong; its sessions go on under a new server."""
    with plain_pool() as pool:
        sessions = [pool.session() for _ in range(20)]
        futures = []
        for step in range(10):
            for index, session in enumerate(sessions):
                code = f"a = {index}" if step == 0 else "a += 100\nprint(a)"
                futures.append(session.submit(code))
        for kills in range(1, 4):
            while pool.stats.snippets < 50 * kills or not pool.servers():  # a new one takes a while
                time.sleep(0.001)
            [server] = pool.servers()
            os.kill(server, signal.SIGKILL)
            while server in pool.servers():
                time.sleep(0.001)
        texts = [future.result().text for future in futures]
        assert texts[20:] == [str(i + 100 * step) for step in range(1, 10) for i in range(20)]
        assert pool.stats.restarts == 3


def test_without_process_handles(monkeypatch):
    """Kernels before 5.3: the fork server delivers the signals."""
    monkeypatch.setattr(fork_servers, "has_pidfds", lambda: False)
    with plain_pool(timeout_s=0.3, grace_s=0.2) as pool:
        codes = ["v = 1", "while True: pass", FOREVER_IN_C, "import os\nos._exit(0)", "print(v)"]
        kinds = [kind for kind, _ in outcomes(pool, *codes)]
        assert kinds == ["ok", "timeout", "timeout", "died", "ok"]
        assert eventually(lambda: not pool.processes())


def test_idle_sessions_make_room_and_come_back():
    with plain_pool(live_sessions=3) as pool:
        sessions = [pool.session() for _ in range(10)]
        for index, session in enumerate(sessions):
            session.run(f"mine = {index}")
        assert [session.run("print(mine)").text for session in sessions] == list("0123456789")
        assert len(pool.processes()) <= 3 and pool.stats.evicted >= 7


def test_submit_waits_while_the_queue_is_full():
    with plain_pool(workers=1, queue_limit=3) as pool:
        session = pool.session()
        futures = []
        for _ in range(10):
            futures.append(session.submit("import time\ntime.sleep(0.05)\nprint(1)"))
            assert sum(not future.done() for future in futures) <= 3 + 1  # one may be about to be told
        assert [future.result().text for future in futures] == ["1"] * 10


def test_callbacks_may_submit():
    """They run in the pool's own thread, which must never wait for itself."""
    with plain_pool(workers=1, queue_limit=1) as pool:
        session, later = pool.session(), Future()
        first = session.submit("a = 5")
        first.add_done_callback(lambda _: session.submit("print(a)").add_done_callback(later.set_result))
        assert later.result(timeout=10).result().text == "5"


def test_cancelled_snippets_are_left_out():
    with plain_pool(workers=1) as pool:
        session = pool.session()
        slow = session.submit("import time\na = 1\ntime.sleep(0.2)")
        unwanted = session.submit("a = 2")
        wanted = session.submit("print(a)")
        assert unwanted.cancel()
        assert (slow.result().kind, wanted.result().text) == ("ok", "1")


def test_forgotten_sessions_leave_no_process():
    with plain_pool() as pool:
        for _ in range(20):
            assert pool.session().run("print(1)").text == "1"
        assert eventually(lambda: not pool.processes())


@pytest.mark.slow
def test_results_arrive_in_time():
    with plain_pool(timeout_s=0.5, grace_s=0.3) as pool:
        session = pool.session()
        session.run("")
        started = time.monotonic()
        assert session.run("while True: pass").kind == "timeout"
        assert 0.5 <= time.monotonic() - started <= 0.5 + 0.1
        started = time.monotonic()
        assert session.run(FOREVER_IN_C).kind == "timeout"
        assert 0.8 <= time.monotonic() - started <= 0.8 + 0.2


def test_stats_tell_times():
    with plain_pool(workers=1) as pool:
        sessions, started = [pool.session() for _ in range(3)], time.monotonic()
        for future in [s.submit("import time\ntime.sleep(0.1)") for s in sessions]:
            future.result()
        stats, elapsed_s = pool.stats, time.monotonic() - started
        assert 0.3 <= stats.run_s <= elapsed_s and 0.3 <= stats.queue_s <= 3 * elapsed_s
        assert 0.2 <= stats.longest_queue_s <= stats.queue_s and stats.forks == 3


def test_closing_waits_for_nothing_and_leaves_nothing():
    pool = plain_pool(timeout_s=3600)
    session = pool.session()
    assert session.run("print(1)").text == "1"
    process_ids = [*pool.processes(), *pool.servers()]
    assert len(process_ids) == 2
    hanging = session.submit("while True: pass")
    queued = session.submit("print(2)")
    time.sleep(0.05)
    pool.close()
    for future in (hanging, queued):
        with pytest.raises(RuntimeError, match="closed"):
            future.result(timeout=1)
    assert not any(map(is_running, process_ids))
    with pytest.raises(RuntimeError, match="closed"):
        session.submit("print(3)")
    assert not pool._dispatcher.is_alive()


@pytest.mark.parametrize("then", ["os._exit(0)", "while True: pass", "pass"])
def test_a_channel_that_somebody_else_holds_stops_nobody(then):
    """A process that the guest has left behind keeps its channel open: no end can be read from it."""
    layers: dict = {"layers": (), "uncovered": tuple(probe.NEEDS)}
    with plain_pool(workers=1, timeout_s=0.3, grace_s=0.2, **layers) as pool:
        session = pool.session()
        leak = "import os, time\nif os.fork() == 0:\n    time.sleep(5)\n    os._exit(0)\n"
        assert session.run("a = 1").kind == "ok"
        assert session.run(leak + then).kind in ("ok", "timeout", "died")
        [process_id] = pool.processes() or [0]
        if process_id:
            os.kill(process_id, signal.SIGKILL)
        assert session.run("print(a)").text == "1"
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.15  # of one processor: nothing spins


def test_a_pool_may_be_closed_by_who_hears_of_an_outcome():
    pool, told = plain_pool(workers=1), []

    def close(_):
        pool.close()
        told.append("closed")

    future = pool.session().submit("print(1)")
    future.add_done_callback(close)
    assert future.result().text == "1"
    pool.close()
    assert told == ["closed"] and not pool._dispatcher.is_alive()


# Another test may have loaded JAX, whose threads these children do not need.
FORKED = r"ignore:os.fork\(\) was called:RuntimeWarning"


def in_a_fork(work):
    """What `work` returns, a text, in a process that is forked from this one."""
    reader, writer = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        text = stream.read()
    os.waitpid(process_id, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded", FORKED)
def test_use_after_a_fork_is_an_error():
    """Its thread stayed behind, so nobody would ever answer."""
    with plain_pool() as pool:
        session = pool.session()
        session.run("a = 1")

        def use(how):
            try:
                how()
            except PoolFailure as error:
                return str(error)
            return "no error"

        for how in (
            lambda: session.submit("print(a)"),
            lambda: session.run("print(a)"),
            lambda: session.fork(),
            lambda: pool.session(),
        ):
            text = in_a_fork(lambda how=how: use(how))
            assert f"opened by process {os.getpid()}" in text and "\n" not in text
        # Its ends there leave the owner's alone.
        assert in_a_fork(lambda: use(session.close) + use(pool.close)) == "no error" * 2
        with pool._sessions.lock:  # as if another thread had held it
            assert "opened by process" in in_a_fork(lambda: use(lambda: session.run("1")))
        assert session.run("print(a)").text == "1"


@pytest.mark.parametrize("layers", [("limits", "seccomp"), None], ids=["seccomp", "all"])
def test_nothing_outlives_a_killed_engine(layers):
    engine = (
        "import time\nfrom jprm.execute import Pool\n"
        f"pool = Pool(workers=2, layers={layers!r})\n"
        "sessions = [pool.session() for _ in range(3)]\n"
        "for s in sessions: s.run('1')\n"
        f"sessions[0].submit({FOREVER_IN_C!r}); sessions[1].submit('while True: pass')\n"
        "print(*pool.servers(), *pool.processes(), flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", engine], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process_ids = [int(word) for word in process.stdout.readline().split()]
        assert len(process_ids) == 5 and all(map(is_running, process_ids))
        time.sleep(0.1)
        process.kill()
        assert eventually(lambda: not any(map(is_running, process_ids)))


def test_session_process_is_lean(pool):
    """It must fork fast, and hold nothing of the engine."""
    code = """import sys
loaded = vars(sys)['mod' + 'ules']  # not named, since naming it asks for the larger server
print([m for m in ('jax', 'numpy', 'sympy', 'jprm.experiments', 'pydantic') if m in loaded])"""
    assert outcomes(pool, code) == [("ok", "[]")]


def test_closing_answers_those_behind_a_cancelled_snippet():
    pool = plain_pool(workers=1, timeout_s=30)
    session = pool.session()
    futures = [session.submit(code) for code in ("while True: pass", "1", "2", "3")]
    assert futures[1].cancel() and futures[2].cancel()
    pool.close()
    assert futures[1].cancelled() and futures[2].cancelled()
    for future in (futures[0], futures[3]):
        with pytest.raises(RuntimeError, match="closed"):
            future.result(timeout=1)


def test_a_machine_on_which_nothing_starts_is_told(monkeypatch):
    monkeypatch.setattr(bubblewrap, "python", lambda *arguments: ["/nowhere/python", *arguments])
    with pytest.raises(UserError, match="could not be tried: .*/nowhere/python"):
        probe.survey.__wrapped__()


def test_an_interpreter_out_of_reach_is_started_as_itself(monkeypatch):
    """As for a user who runs it, but may not enter the folder that it is in."""
    monkeypatch.setattr(bubblewrap.os, "access", lambda *_: False)
    with plain_pool(layers=("limits", "seccomp")) as pool:
        assert pool.session().run("print(6 * 7)").text == "42"
