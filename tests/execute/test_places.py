"""One contract for all places: the same texts, kinds and states wherever a snippet runs."""

import json
import os
import signal
import sys
import time
import types
import warnings

import pytest

from jprm.errors import UserError
from jprm.execute import Pool, PreloadLevel, fusion
from jprm.execute.fusion import FusionPool
from jprm.execute.outcome import DIED, NOT_REBUILT, TIMED_OUT
from jprm.execute.places import open_place
from tests.execute.fusion_service import serving
from tests.raw import OK, Raw

SETTINGS = {"timeout_s": 1.0, "grace_s": 0.5, "output_chars": 200}
FOREVER_IN_C = "sum(range(10**13))"


@pytest.fixture(scope="module")
def local():
    with Pool(workers=1, warm=PreloadLevel.PLAIN, **SETTINGS) as pool:
        yield pool


@pytest.fixture(scope="module")
def service():
    with serving() as service:
        yield service


@pytest.fixture(scope="module")
def ray_place():
    """Ray on this machine; only one at a time has room here."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            # Ray forks to start its programs; JAX, loaded by other tests, warns of any fork.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            place = open_place("ray", workers=2, **SETTINGS)
        with place:
            yield place


@pytest.fixture(scope="module", params=["fusion", pytest.param("ray", marks=pytest.mark.slow)])
def place(request):
    """Each place but the local one; Ray takes some ten seconds to start."""
    if request.param == "ray":
        yield request.getfixturevalue("ray_place")
        return
    with open_place(request.getfixturevalue("service").url, workers=2, **SETTINGS) as place:
        yield place


def outcomes(place, *codes):
    """(kind, text) of each snippet, run in one session."""
    session = place.session()
    results = [session.run(code) for code in codes]
    session.close()
    return [(outcome.kind, outcome.text) for outcome in results]


@pytest.mark.parametrize(
    "codes",
    [
        ["print()\nprint('  7  ')\nprint()", "print(__name__)\nclass P: pass\nprint(P)"],
        ["from math import sqrt\nK = 3\ndef f(r): return K * r", "K = 5\nprint(f(2), sqrt(9))"],
        ["print('lost')\na = 1\nboom", "print(a)\nb = 1/0", "x = (1 +\n", "raise ValueError"],
        ["print('\u2211 \U0001d538 \\ud800 \\x00')", "print({'x', 'y', 'z'}, hash('a'))"],
        ["import random\nprint(random.random())"],
        ["for i in range(1000): print(i)", "raise ValueError('v' * 10**4)"],
        ["import sys\nprint('done', file=sys.stderr)\nprint('val')\nsys.exit(3)", "input()"],
        ["import os\nos.write(1, b'noise')\nprint('val', 3)"],
        ["raise TimeoutError('mine')", "class E(Exception):\n  def __str__(s): 1/0\nraise E"],
    ],
    ids=lambda codes: codes[0][:20],
)
def test_texts_are_those_of_the_local_pool(place, local, codes):
    """Byte for byte, snippet after snippet."""
    assert outcomes(place, *codes) == outcomes(local, *codes)


def test_limits_and_deaths_are_outcomes_and_the_session_goes_on(place):
    endless = "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    exits = "import os\nprint('verified')\nos._exit(0)"
    assert outcomes(place, "v = 4", "while True: pass", endless, exits, "print(v)") == [
        ("ok", ""),
        ("timeout", TIMED_OUT),
        ("timeout", TIMED_OUT),
        ("died", DIED),
        ("ok", "4"),
    ]
    assert outcomes(place, FOREVER_IN_C) == [("timeout", TIMED_OUT)]


def test_memory_is_bounded():
    with serving() as service, FusionPool(service.url, memory_bytes=200 << 20) as pool:
        assert outcomes(pool, "a = bytearray(100 << 20)\nprint(len(a) >> 20)") == [("ok", "100")]
        assert outcomes(pool, "a = bytearray(300 << 20)") == [("error", "Code execute Error: MemoryError: ")]


def test_sessions_keep_apart_and_snippets_keep_their_order(place):
    sessions = [place.session() for _ in range(3)]
    for index, session in enumerate(sessions):
        session.submit(f"mine = [{index}]")
    futures = [[session.submit(f"mine.append({step})\nprint(mine)") for step in range(2)] for session in sessions]
    assert [[future.result().text for future in row] for row in futures] == [
        [f"[{index}, 0]", f"[{index}, 0, 1]"] for index in range(3)
    ]


def test_a_fork_shares_the_past_only(place):
    session = place.session()
    session.run("a = [1]")
    branch = session.fork()
    assert branch.run("a.append(2)\nprint(a)").text == "[1, 2]"
    assert session.run("print(a)").text == "[1]"


def test_counts(service):
    with FusionPool(service.url, **SETTINGS) as pool:
        outcomes(pool, "a = 1", "boom", "import os\nos._exit(1)", "while True: pass", "a")
        stats = pool.stats
    assert (stats.snippets, stats.errors, stats.died, stats.timeouts) == (5, 1, 1, 1)
    assert stats.replayed == 0 + 1 + 2 + 2 + 2


def test_equal_histories_are_asked_once(service):
    with FusionPool(service.url, memoize=True, **SETTINGS) as pool:
        asked = len(service.requests)
        codes = ["a = 1", "print(a)", "print(1/0)"]
        expected = outcomes(pool, *codes)
        assert outcomes(pool, *codes) == expected
        assert len(service.requests) - asked == 3 and pool.stats.memo_hits == 3
        assert outcomes(pool, "a = 1", "a += 1\nprint(a)") == [("ok", ""), ("ok", "2")]


def test_a_forged_answer_is_a_death(service):
    """The snippet looks for the descriptor that answers go to, and writes there first."""
    forge = (
        'import os\nfor d in range(3, 20):\n  try: os.write(d, b\'{"kind": "ok"}\\n\')\n'
        "  except OSError: pass\nprint(1)"
    )
    with FusionPool(service.url, **SETTINGS) as pool:
        assert outcomes(pool, forge, "print(2)") == [("died", DIED), ("ok", "2")]


def test_a_history_that_cannot_be_rebuilt_is_said(service, tmp_path):
    mark = tmp_path / "slow"
    with FusionPool(service.url, **SETTINGS) as pool:
        session = pool.session()
        code = f"import os, time\nif os.path.exists({str(mark)!r}): time.sleep(99)"
        assert session.run(code).kind == "ok"
        mark.touch()
        assert session.run("print(1)").text == NOT_REBUILT


def test_modules_are_loaded_off_the_clock_and_numpy_draws_the_same(service):
    with FusionPool(service.url, preload=["fractions"], timeout_s=20) as pool:
        assert outcomes(pool, "import sys\nprint('fractions' in sys.modules)") == [("ok", "True")]
        draw = "import numpy as np\nprint(np.random.rand())"
        assert outcomes(pool, draw) == outcomes(pool, draw)


def test_a_busy_service_is_asked_again(monkeypatch):
    monkeypatch.setattr(fusion, "FIRST_WAIT_S", 0.01)
    with serving() as service, FusionPool(service.url) as pool:
        service.failures = [503, 429, 500]
        assert outcomes(pool, "print(1)") == [("ok", "1")]
        service.failures = [503] * 5
        with pytest.raises(UserError, match="HTTP status 503.*after 5 tries"):
            pool.session().run("print(1)")
        service.failures = [405]
        with pytest.raises(UserError, match="HTTP status 405"):
            pool.session().run("print(1)")
        assert not service.failures
        assert outcomes(pool, "print(2)") == [("ok", "2")]


def test_another_python_there_is_told(service, monkeypatch):
    newer = types.SimpleNamespace(version_info=types.SimpleNamespace(major=3, minor=99))
    monkeypatch.setattr(fusion, "sys", newer)
    with pytest.warns(UserWarning, match=r"run_code runs Python 3.\d+, and this is 3.99"):
        FusionPool(service.url).close()


REPLY = {"status": "Success", "message": "", "run_result": {"status": "Finished", "stdout": ""}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"<html>hello</html>", "not SandboxFusion's: b'<html>"),
        (b"[" * 10**5, "not SandboxFusion's"),
        (b"[1, 2]", "not SandboxFusion's"),
        (json.dumps(REPLY).encode(), "not SandboxFusion's"),
        (b'{"status": "SandboxError", "message": "no room", "run_result": null}', "no room"),
        (
            json.dumps(REPLY | {"run_result": REPLY["run_result"] | {"stderr": "no python"}}).encode(),
            "did not run the program .Finished. no python",
        ),
    ],
    ids=["html", "deep", "list", "fields", "failed", "no python"],
)
def test_what_is_no_service_is_named_when_the_pool_opens(answer, said):
    with serving(answer) as service:
        with pytest.raises(UserError, match=said) as caught:
            open_place(service.url)
        assert f"{service.url}/run_code" in str(caught.value)


@pytest.mark.parametrize(
    ("begins", "piece", "said"),
    [
        (b"", b"H", "no answer .timed out"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", "no answer .timed out"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "no answer .timed out"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b" ", "no answer .timed out"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{}", b"", "bad Content-Length"),
        (b"HTTP/1.1 500 \x1b[31m\r\nContent-Length: 4\r\n\r\n\x1b[1m", b"", r"500 .x1b\[1m"),
    ],
)
def test_a_service_that_drips_or_lies_is_one_line(monkeypatch, begins, piece, said):
    monkeypatch.setattr(fusion, "START_S", 0.1)
    monkeypatch.setattr(fusion, "QUEUE_S", 0.1)
    with Raw(begins, piece) as server, pytest.raises(UserError, match=said) as error:
        FusionPool(server.url, timeout_s=0.1, grace_s=0.1)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_code_is_not_sent_on_to_another_host():
    with Raw(OK) as other:
        head = f"HTTP/1.1 307 Moved\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
        with Raw(head.encode()) as server, pytest.raises(UserError, match="redirects to"):
            FusionPool(server.url)
        assert not other.heads


def test_a_url_that_nobody_serves_or_that_is_another_s():
    with serving() as service:
        with pytest.raises(UserError, match="/other/run_code: HTTP status 404"):
            open_place(service.url + "/other")
    with pytest.raises(UserError, match=f"{service.url}/run_code: no answer .*refused"):
        open_place(service.url)


def test_closing_waits_for_nothing_and_answers_whoever_waits(service):
    pool = FusionPool(service.url, workers=1, timeout_s=5)
    session = pool.session()
    futures = [session.submit("while True: pass"), session.submit("print(2)")]
    time.sleep(0.1)
    pool.close()
    for future in futures:
        with pytest.raises(RuntimeError, match="closed"):
            future.result(timeout=1)
    with pytest.raises(RuntimeError, match="closed"):
        session.submit("print(3)")


def test_a_cancelled_snippet_is_left_out(service):
    with FusionPool(service.url, workers=1, **SETTINGS) as pool:
        session = pool.session()
        first, second, third = (session.submit(code) for code in ("a = 1", "a = 2", "print(a)"))
        assert second.cancel()
        assert first.result().kind == "ok" and third.result().text == "1"


def test_an_unknown_place_and_a_missing_package(monkeypatch):
    with pytest.raises(UserError, match="'docker' is no place .* local, ray, or a URL"):
        open_place("docker")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[ray\]'"):
        open_place("ray")


def test_local_is_the_pool_of_this_machine():
    with open_place("local", workers=1, warm=PreloadLevel.PLAIN) as place:
        assert isinstance(place, Pool) and outcomes(place, "print(1)") == [("ok", "1")]


@pytest.mark.slow
def test_a_lost_actor_is_replaced_and_its_sessions_rebuilt(ray_place):
    import ray

    session = ray_place.session()
    assert session.run("a = 7").kind == "ok"
    before = ray_place.stats.replayed
    [actor] = ray_place._actors
    os.kill(ray.get(actor.__ray_call__.remote(lambda node: os.getpid())), signal.SIGKILL)
    assert session.run("print(a)").text == "7"
    assert ray_place.stats.replayed == before + 1
