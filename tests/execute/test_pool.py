"""The pool against what model-written code does: values, state, limits, and accidents."""

import contextlib
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from jprm.execute import running
from jprm.execute.outcome import DIED, NOT_REBUILT, TIMED_OUT
from jprm.execute.runner import TRUNCATED
from tests.execute.pools import FOREVER_IN_C, LIMIT_S, outcomes, plain_pool


def reference(namespace, code):
    """The reference's executor (GenPRM, CodeExecutor), for code that cannot harm this process."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        return ("ok", printed.getvalue().strip())
    except Exception as error:
        return ("error", f"Code execute Error: {type(error).__name__}: {error}")


BENIGN = [
    ["print(8 + 3 == 11)"],
    ["print()\nprint('  7  ')\nprint()", "x = 1", ""],
    ["print(__name__)\nif __name__ == '__main__':\n    print('main')"],
    ["class P:\n    pass\nprint(P)"],
    ["print('before')\nprint(1/0)", "a = 11\nb = 1/0", "print(a)", "print(b)"],
    ["x = (1 + 2\n", "a\0b", "  x = 1", "print('\\u2211 \u2211 \U0001d538')"],
    ["def f(n): return f(n + 1)\nf(0)", "raise ValueError", "raise KeyError('k')", "assert 1 == 2"],
    ["def area(r):\n    return K * r**2", "K = 3", "print(area(2))", "K = 5\nprint(area(2))"],
    ["from fractions import Fraction as F\nprint(F(1, 3) + 1)", "print(F(2, 4), 0.1 + 0.2, 10**30)"],
    ["import decimal, math\nprint(math.comb(9, 4), decimal.Decimal('1.10') * 3)", "nope"],
]


@pytest.mark.parametrize("codes", BENIGN, ids=lambda codes: codes[0][:20])
def test_text_is_the_reference_s(pool, codes):
    """Byte for byte, snippet after snippet."""
    namespace = {}
    assert outcomes(pool, *codes) == [reference(namespace, code) for code in codes]


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("input('n? ')", "error", "Code execute Error: EOFError: EOF when reading a line"),
        ("raise KeyboardInterrupt", "error", "Code execute Error: KeyboardInterrupt: "),
        ("import sys\nprint('warn', file=sys.stderr)\nprint('val', 3)", "ok", "val 3"),
        ("import sys\nprint('done')\nsys.exit(3)", "ok", "done"),
        ("exit()", "ok", ""),
        ("print('a\\ud800b \\u2211')", "ok", "a?b \u2211"),
    ],
)
def test_text_where_the_reference_would_have_suffered(pool, code, kind, text):
    assert outcomes(pool, code, "print(1)") == [(kind, text), ("ok", "1")]


def test_order_of_a_set_is_the_same_in_every_worker():
    code = "print({'x', 'y', 'z', 'w'})"
    with plain_pool() as one, plain_pool() as other:
        assert len({pool.session().run(code).text for pool in (one, other) for _ in range(4)}) == 1


def test_state_persists_within_a_session_only(pool):
    ours, theirs = pool.session(), pool.session()
    assert ours.run("from math import sqrt\nK = 3\ndef area(r): return K * r").kind == "ok"
    assert theirs.run("print('K' in globals())").text == "False"
    assert ours.run("K = 5\nprint(area(2), sqrt(9))").text == "10 3.0"
    assert ours.run("kept = 1\nboom").text.startswith("Code execute Error: NameError")
    assert ours.run("print(kept)").text == "1"


def test_submitted_snippets_run_in_order(pool):
    session = pool.session()
    futures = [session.submit("a = 1")] + [session.submit("a *= 2\nprint(a)") for _ in range(5)]
    assert [future.result().text for future in futures] == ["", "2", "4", "8", "16", "32"]


def test_soft_time_limit_keeps_the_state(pool):
    before = pool.stats.run_s
    results = outcomes(pool, "kept = 5\nwhile True: pass", "print(kept)")
    assert results == [("timeout", TIMED_OUT), ("ok", "5")]
    assert LIMIT_S <= pool.stats.run_s - before
    assert outcomes(pool, "raise TimeoutError('mine')") == [("timeout", "Code execute time out: mine")]
    endless_text = "class E(Exception):\n  def __str__(self):\n    while True: pass\nraise E()"
    assert outcomes(pool, endless_text, "print(1)") == [("timeout", TIMED_OUT), ("ok", "1")]


@pytest.mark.parametrize(
    "code",
    [
        FOREVER_IN_C,
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_hard_time_limit_kills_and_rebuilds(pool, code):
    """What swallows the alarm is killed; this session and its neighbours are rebuilt by replay."""
    neighbour = [pool.session() for _ in range(2)]
    for index, session in enumerate(neighbour):
        session.run(f"secret = {index}")
    before = pool.stats.run_s
    assert outcomes(pool, "v = 1", code, "print(v)") == [("ok", ""), ("timeout", TIMED_OUT), ("ok", "1")]
    assert LIMIT_S <= pool.stats.run_s - before
    assert [session.run("print(secret)").text for session in neighbour] == ["0", "1"]


@pytest.mark.parametrize("code", ["import os\nprint('verified')\nos._exit(0)", "import ctypes\nctypes.string_at(0)"])
def test_death_is_an_outcome(pool, code):
    results = outcomes(pool, "u = 4\nprint(u)", code, "print(u)")
    assert results == [("ok", "4"), ("died", DIED), ("ok", "4")]


def test_a_forged_reply_ends_the_worker_only(pool):
    write = "try: os.write(d, b'\\0\\0\\0\\2{}')"
    forged = f"import os\nfor d in range(3, 20):\n  {write}\n  except OSError: pass"
    results = outcomes(pool, forged, "print(1)")
    assert results[0] == ("died", DIED) and results[1] == ("ok", "1")


def test_output_is_bounded(pool):
    for code in ("print('x' * 10**6)", "for i in range(1000): print(i)", "raise ValueError('v' * 10**6)"):
        [(kind, text)] = outcomes(pool, code)
        assert text.endswith(TRUNCATED) and len(text) <= 200 + len(TRUNCATED)
        assert kind == ("error" if "raise" in code else "ok")
    assert outcomes(pool, "while True: print('spam ' * 200)") == [("timeout", TIMED_OUT)]


def test_output_is_bounded_for_one_that_knows_how_to_answer(pool):
    """It reads the nonce from the frames below it, and answers in place of the runner."""
    code = """import os, struct, sys
frame = sys._getframe()
while "nonce" not in frame.f_locals:
    frame = frame.f_back
os.write(3, struct.pack("!I16sc", 800, frame.f_locals["nonce"], b"o") + b"x" * 800)
while True: pass"""
    results = outcomes(pool, code, "print(1)")  # it is still at work, and speaks out of turn
    assert results == [("ok", "x" * 200 + TRUNCATED), ("died", DIED)]
    assert outcomes(pool, "print(2)") == [("ok", "2")]


def test_a_history_has_a_limit_in_time(monkeypatch):
    monkeypatch.setattr(running, "REBUILDING_TIMEOUTS", 1)
    with plain_pool(timeout_s=0.5) as pool:
        session = pool.session()
        for _ in range(4):
            assert session.run("import time\ntime.sleep(0.3)").kind == "ok"
        assert session.run("import os\nos._exit(1)").kind == "died"
        assert session.run("print(1)").text == NOT_REBUILT
        forks = pool.stats.forks
        assert session.run("print(1)").text == NOT_REBUILT
        assert pool.stats.forks == forks and pool.stats.replayed < 4
        assert pool.session().run("print(1)").text == "1"


def test_a_history_has_a_limit_in_number(monkeypatch):
    monkeypatch.setattr(running, "REBUILDINGS", 2)
    with plain_pool(timeout_s=0.5, grace_s=0.2) as pool:
        session = pool.session()
        session.run("a = 1")
        for code in ("import os\nos._exit(1)", FOREVER_IN_C):
            session.run(code)
            assert session.run("print(a)").text == "1"
        assert session.run("import os\nos._exit(1)").text == DIED
        assert session.run("print(a)").text == NOT_REBUILT
        empty = pool.session()  # has nothing to rebuild
        for _ in range(5):
            assert empty.run("import os\nos._exit(1)").text == DIED


def test_memory_is_each_session_s_own():
    with plain_pool(memory_bytes=100 << 20) as pool:
        hungry, modest = pool.session(), pool.session()
        assert hungry.run("a = bytearray(80 << 20)").kind == "ok"
        assert modest.run("b = bytearray(80 << 20)\nprint(len(b) >> 20)").text == "80"
        assert hungry.run("c = bytearray(80 << 20)").text == "Code execute Error: MemoryError: "
        assert hungry.run("print(len(a) >> 20)").text == "80"


def test_memo_answers_equal_histories_without_running():
    with plain_pool(memoize=True) as pool:
        first, second = pool.session(), pool.session()
        codes = ["a = 1", "a += 1\nprint(a)", "print(1 / 0)", "a *= 10\nprint(a)"]
        expected = [first.run(code) for code in codes]
        assert [second.run(code) for code in codes] == expected
        assert pool.stats.memo_hits == len(codes) and pool.stats.snippets == 2 * len(codes)
        # The second session lives in no worker yet: something new brings it to life by replay.
        assert second.run("print(a, 'new')").text == "20 new"
        assert pool.stats.replayed == len(codes)
        # A memo hit in the middle of a live session must reach its worker before the next miss.
        assert first.run("print(a, 'new')").text == "20 new"
        assert first.run("b = a\nprint(b)").text == "20"
        third = pool.session()
        assert third.run("a *= 10\nprint(a)").text.startswith("Code execute Error: NameError")


def test_memo_leaves_out_what_is_no_function_of_the_history():
    with plain_pool(workers=1, timeout_s=0.2, memoize=True) as pool:
        session = pool.session()
        assert session.run("z = 1\nwhile True: pass").kind == "timeout"
        assert session.run("print('z' in globals())").text == "True"  # as in the reference
        assert pool.session().run("print('z' in globals())").text == "False"
        assert pool.session().run("z = 1\nwhile True: pass").kind == "timeout"
        assert pool.stats.memo_hits == 0


def test_memoised_equals_run(pool):
    """The fast path against the slow one, over random programs with common prefixes."""
    rng = random.Random(0)
    snippets = ["x = 1", "x = x + 1", "print(x)", "x = [x]", "print(len(x))", "import random\nprint(random.random())"]
    programs = [[rng.choice(snippets) for _ in range(4)] for _ in range(100)]
    with plain_pool(memoize=True, memo_capacity=40) as memoised:
        for program in programs:
            assert outcomes(memoised, *program) == outcomes(pool, *program)
        assert memoised.stats.memo_hits > 50


def test_fork_shares_the_past_only():
    with plain_pool(memoize=True) as pool:
        session = pool.session()
        session.run("a = [1]")
        branch = session.fork()
        assert branch.run("a.append(2)\nprint(a)").text == "[1, 2]"
        assert session.run("print(a)").text == "[1]"


def test_random_is_a_function_of_the_history(pool):
    code = "import random\nprint(random.random(), hash('a'))"
    assert outcomes(pool, "x = 1", code) == outcomes(pool, "y = 2", code)


def test_many_sessions_do_not_mix(pool):
    sessions = [pool.session() for _ in range(300)]
    for index, session in enumerate(sessions):
        session.submit(f"mine = {index}")
    futures = [session.submit("print(mine)") for session in sessions]
    assert [future.result().text for future in futures] == [str(index) for index in range(300)]


def test_history_that_cannot_be_rebuilt_is_said(pool):
    """A snippet that was fast and is slow when run again: here the process id makes it so."""
    session = pool.session()
    code = "import os\nfirst = os.getpid()\nwhile os.getpid() != {}: pass"
    assert session.run("import os\nprint(os.getpid())").kind == "ok"
    [process_id] = [session.run("import os\nprint(os.getpid())").text]
    assert session.run(code.format(process_id)).kind == "ok"
    assert session.run("os._exit(1)").kind == "died"
    assert session.run("print(1)").text == NOT_REBUILT


def test_sympy_numpy_and_scipy_are_there(pool):
    """A session moves to a larger server when a snippet asks for more, and keeps its names."""
    session = pool.session()
    session.run("kept = 7")
    session.run("from sympy import *\nimport numpy as np\nx = symbols('x')\nf = x**3 - 2*x")
    assert session.run("print(solve(diff(f, x)))").text == "[-sqrt(6)/3, sqrt(6)/3]"
    assert session.run("print(np.arange(3) @ np.ones(3), kept)").text == "3.0 7"
    code = "from scipy.optimize import brentq\nprint(round(brentq(lambda t: t * t - 2, 0, 2), 6))"
    assert session.run(code).text == "1.414214"
    assert session.run("print(kept, f)").text == "7 x**3 - 2*x"


def test_preloaded_modules_can_be_imported():
    with plain_pool(preload=["jprm.grade"]) as pool:
        assert pool.session().run("import jprm.grade\nprint('there')").text == "there"
    with plain_pool() as pool:
        code = "import jprm.grade"
        assert "ModuleNotFoundError" in pool.session().run(code).text


def test_texts_of_sympy_are_those_of_a_fresh_interpreter():
    """Larger servers, filled caches, huge pages and moved sessions against one program that has none."""
    corpus = Path(__file__).parents[2] / "tools" / "bench_execute_corpus.txt"
    codes = corpus.read_text().split("\n=\n")
    assert len(codes) == 24
    program = (
        "import json, sys\nfrom jprm.execute.runner import Clock, new_namespace, run_snippet\n"
        "print(json.dumps([run_snippet(code, new_namespace(), Clock(60), 16_384)"
        " for code in json.load(sys.stdin)]))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(codes), capture_output=True, text=True, check=True
    )
    with plain_pool(timeout_s=60) as pool:
        ours = [outcomes(pool, code)[0] for code in codes]
    assert ours == [tuple(result) for result in json.loads(fresh.stdout)]
    assert sum(kind == "ok" for kind, _ in ours) >= 20
