"""Descriptors, processes, disk or the pool's own thread fail: everybody who waits is answered."""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future

import pytest

from jprm.errors import UserError
from jprm.execute import Pool, PoolFailure, PreloadLevel, ServerStartError, fork_servers, on_ray, probe, running, server
from jprm.execute.jail import Jail
from jprm.execute.outcome import CONTROL, ENDED, FAILED, NOT_STARTED, OPEN, OPENED
from jprm.execute.resources import SHORTAGES, in_words, is_shortage
from tests.execute.pools import eventually, is_running, plain_pool


@contextlib.contextmanager
def descriptors_left(count):
    """Only so many more files can be opened in this process; gives a function that ends that."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, before[1]))

    def release():
        while held:
            os.close(held.pop())

    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield release
    finally:
        release()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(running, "RETRIES_AFTER_S", (0.02,) * 3)


def lose_servers(pool):
    """What comes next needs a new one."""
    for program in pool.servers():
        os.kill(program, signal.SIGKILL)
    while pool.servers():
        time.sleep(0.001)


@pytest.mark.parametrize("needs", ["a fork", "a server"])
def test_a_snippet_waits_for_descriptors(needs):
    with plain_pool() as pool:
        pool.session().run("1")
        if needs == "a server":
            lose_servers(pool)
        with descriptors_left(0) as release:
            future = pool.session().submit("print(7)")
            time.sleep(0.2)
            assert not future.done()
            release()
            assert future.result(timeout=30).text == "7"
        assert pool.stats.sandbox == 0


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("needs", ["a fork", "a server"])
def test_however_few_descriptors_are_left_every_snippet_ends(impatient, needs, left):
    with plain_pool() as pool:
        pool.session().run("1")
        if needs == "a server":
            lose_servers(pool)
        with descriptors_left(left):
            outcome = pool.session().submit("print(7)").result(timeout=30)
            assert (outcome.kind, outcome.text) in (("ok", "7"), ("sandbox", NOT_STARTED))
            assert outcome.kind == "sandbox" or left
        assert pool.session().run("print(7)").text == "7"
        assert pool.stats.died == 0


def test_sessions_at_rest_give_their_descriptors_away(impatient):
    with plain_pool() as pool:
        sessions = [pool.session() for _ in range(4)]
        for index, session in enumerate(sessions):
            session.run(f"mine = {index}")
        with descriptors_left(0):
            assert pool.session().submit("print(7)").result(timeout=30).text == "7"
            assert [s.run("print(mine)").text for s in sessions] == list("0123")
        assert pool.stats.evicted > 0 and pool.stats.sandbox == 0


@pytest.mark.parametrize("left", range(3))
def test_a_fork_server_without_descriptors_goes_on(impatient, left):
    with plain_pool(layers=("limits", "seccomp")) as pool:
        pool.session().run("1")
        [program] = pool.servers()
        number = max(map(int, os.listdir(f"/proc/{program}/fd"))) + 1 + left
        before = resource.prlimit(program, resource.RLIMIT_NOFILE)
        resource.prlimit(program, resource.RLIMIT_NOFILE, (number, before[1]))
        outcome = pool.session().submit("print(7)").result(timeout=30)
        assert (outcome.kind, outcome.text) in (("ok", "7"), ("sandbox", NOT_STARTED))
        resource.prlimit(program, resource.RLIMIT_NOFILE, before)
        assert pool.session().run("print(7)").text == "7"
        assert pool.servers() == [program] and pool.stats.died == 0


@pytest.fixture
def engine_and_server():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(10)
        yield ours, server.Server(theirs, Jail([]), 100, True)


def ask(engine, descriptor=True):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        packet = CONTROL.pack(OPEN, 5, 1 << 40)
        socket.send_fds(engine, [packet], [theirs.fileno()] if descriptor else [])


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_server_that_cannot_fork_says_so(engine_and_server, monkeypatch, number):
    def refuse():
        raise OSError(number, os.strerror(number))

    engine, its_server = engine_and_server
    monkeypatch.setattr(os, "fork", refuse)
    ask(engine)
    assert its_server._obey()
    assert CONTROL.unpack(engine.recv(99)) == (FAILED, 5, number)
    assert not its_server.sessions


def test_a_server_that_gets_no_channel_says_so(engine_and_server):
    engine, its_server = engine_and_server
    ask(engine, descriptor=False)
    assert its_server._obey()
    assert CONTROL.unpack(engine.recv(99)) == (FAILED, 5, errno.EMFILE)


@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")
def test_a_server_ends_a_process_that_it_cannot_watch(engine_and_server, monkeypatch):
    def refuse(process_id):
        found.append(process_id)
        raise OSError(errno.EMFILE, "too many")

    engine, its_server = engine_and_server
    found = []
    monkeypatch.setattr(os, "pidfd_open", refuse)
    ask(engine)
    assert its_server._obey()
    assert CONTROL.unpack(engine.recv(99)) == (FAILED, 5, errno.EMFILE)
    assert not its_server.sessions and not is_running(found[0])


FAULTS = {"of the machine": OSError(errno.EIO, "Input/output error"), "of this program": KeyError("an invariant")}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("where", ["begin", "keep_time", "_hear", "session_opened", "session_ended", "_answer"])
def test_a_dead_pool_answers_everybody(monkeypatch, where, fault):
    def fail(*_):
        raise fault

    with plain_pool(workers=1, timeout_s=30) as pool:
        session = pool.session()
        session.run("1")
        monkeypatch.setattr(running.Running, where, fail)
        code = "print(1)" if where == "_answer" else "import os\nos._exit(0)"
        errors = []
        for _ in range(3):
            try:
                errors.append(pool.session().submit(code))
            except PoolFailure as error:  # dead already
                errors.append(error)
        for error in errors:
            error = error.exception(timeout=10) if isinstance(error, Future) else error
            assert isinstance(error, PoolFailure) and isinstance(error, UserError)
            assert "\n" not in str(error) and type(fault).__name__ in str(error)
        with pytest.raises(PoolFailure, match="has failed: "):
            session.submit("print(1)")
        pool._dispatcher.join(10)
        assert not any(map(is_running, [*pool.processes(), *pool.servers()]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (OSError(errno.EMFILE, "many"), ServerStartError, "raise the limit"),
        (OSError(errno.EAGAIN, "many"), ServerStartError, "ulimit -u"),
        (KeyError("an invariant"), PoolFailure, "KeyError"),
    ],
)
def test_a_pool_that_cannot_start_a_server_does_not_open(monkeypatch, fault, kind, said):
    def fail(*_):
        raise fault

    monkeypatch.setattr(fork_servers, "ForkServer", fail)
    with pytest.raises(kind, match=said):
        plain_pool()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_actor_ends_with_its_pool(monkeypatch):
    def end(status):
        raise SystemExit(status)

    node = on_ray._Node(1, 5.0, {"warm": PreloadLevel.PLAIN})
    assert node.run(3, ["a = 1"], "print(a)") == ("ok", "1", 1)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(running.Running, "begin", lambda *_: 1 / 0)
    with pytest.raises(SystemExit):
        node.run(3, ["a = 1", "print(a)"], "print(a)")
    with pytest.raises(SystemExit):  # another session, of the dead pool
        node.run(4, [], "print(1)")
    node._pool.close()


def test_a_submitter_that_waits_for_room_hears_of_the_failure(monkeypatch):
    with plain_pool(workers=1, queue_limit=1, timeout_s=30) as pool:
        session, errors = pool.session(), []
        session.submit("while True: pass")

        def submit():
            try:
                session.submit("print(1)")
            except PoolFailure as error:
                errors.append(error)

        waiting = threading.Thread(target=submit)
        waiting.start()
        time.sleep(0.1)
        monkeypatch.setattr(running.Running, "keep_time", lambda _: 1 / 0)
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        pool._dispatcher.wake()
        waiting.join(10)
        assert not waiting.is_alive() and len(errors) == 1


def test_a_full_disk_stops_no_pool(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with plain_pool() as pool:  # its layers have been tried
        pass
    for name in ("TemporaryFile", "TemporaryDirectory", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, full)
    with plain_pool() as pool:
        assert pool.session().run("print(7)").text == "7"
    with pytest.raises(UserError, match="could not be tried: the disk is full") as caught:
        probe.survey.__wrapped__()
    assert "uncovered" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EAGAIN])
def test_what_could_not_be_tried_is_not_said_to_be_missing(monkeypatch, number):
    error = f"[Errno {number}] {os.strerror(number)}"
    real = probe._run

    def short(variant, layers, attempts):
        answers = real(variant, layers, attempts) | {"seccomp": {"error": error}}
        monkeypatch.setattr(probe.json, "loads", lambda _: answers)
        return real(variant, layers, attempts)

    monkeypatch.setattr(probe, "_run", short)
    with pytest.raises(UserError, match="could not be tried: ") as caught:
        probe.survey.__wrapped__()
    assert "uncovered" not in str(caught.value)


OPENING = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from jprm.errors import UserError
from jprm.execute import Pool, PreloadLevel
try:
    with Pool(warm=PreloadLevel.PLAIN) as pool:
        sessions = [pool.session() for _ in range(40)]
        for index, session in enumerate(sessions):
            session.run(f"mine = {index}")
        print(sum(int(session.run("print(mine)").text) for session in sessions))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "said"), [(20, "only 20 files may be open"), (63, "only 63"), (64, str(40 * 39 // 2))]
)
def test_few_descriptors_are_said_or_enough(limit, said):
    done = subprocess.run([sys.executable, "-c", OPENING, str(limit)], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(said) and "uncovered" not in done.stdout, done
    assert done.stdout.count("\n") == 1 and not done.stderr


def test_shortages_are_told_in_words():
    for number, words in SHORTAGES.items():
        error = OSError(number, os.strerror(number))
        assert is_shortage(error) and is_shortage(f"OSError: {error}") and in_words(error) == words
    other = OSError(errno.EPERM, "no")
    assert not is_shortage(other) and in_words(other) == "PermissionError: [Errno 1] no"


def test_handles_are_not_given_up_for_want_of_descriptors():
    """Without them the server would have to deliver signals, and be a bottleneck for ever."""
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        fork_servers.has_pidfds()
    assert fork_servers.has_pidfds()


def test_a_stricter_host_does_not_make_the_limits_fail():
    """As a plain user no limit can be raised again."""
    program = (
        "import os, resource\nfrom jprm.execute.jail import Jail\n"
        "os.getuid() or os.setresuid(65534, 65534, 65534)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "Jail(['limits']).enter(1 << 40)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"(24, 24) ({1 << 30}, {1 << 30})\n", done.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_pool_whose_servers_hang_or_are_gone_closes(signal_number):
    pool = plain_pool(timeout_s=60)
    future = pool.session().submit("while True: pass")
    while not pool.processes():
        time.sleep(0.01)
    programs = [*pool.processes(), *pool.servers()]
    os.kill(programs[-1], signal_number)
    pool.close()
    assert isinstance(future.exception(timeout=0), RuntimeError)
    # Whom nobody buries any more dies when the kernel gets to it.
    assert eventually(lambda: not any(map(is_running, programs)))


def test_closing_does_not_wait_for_modules_to_be_loaded(monkeypatch):
    monkeypatch.setattr(fork_servers, "ENDS_BY_ITSELF_WITHIN_S", 600.0)
    pool = Pool(warm=PreloadLevel.PLAIN)
    future = pool.session().submit("import scipy\nprint(1)")
    while len(pool.servers()) < 2:
        time.sleep(0.01)
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert isinstance(future.exception(timeout=20), RuntimeError)
    closing.join(20)
    assert not closing.is_alive() and not any(map(is_running, pool.servers()))


def test_messages_of_the_wire_have_letters_of_their_own():
    assert len({OPEN, OPENED, FAILED, ENDED}) == 4
