"""The benchmark of the pool, at a tiny size: its results are there, and a wrong text stops it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jprm.execute import Pool
from tools import bench_execute
from tools.bench_execute import Sizes, Slices, corpus, measure, own_mib, run_alone, table

TINY = Sizes(workers=2, rounds=2, slice_s=0.3, sessions=3, warm_snippets=1, arrivals_s=1.5)


def test_the_corpus_is_mixed():
    snippets = corpus()
    assert len(snippets) == len(set(snippets)) == 24
    assert not any(line == "=" for snippet in snippets for line in snippet.splitlines())
    for word, least in {"sympy": 8, "numpy": 2, "itertools": 2, "fractions": 1}.items():
        assert sum(word in snippet for snippet in snippets) >= least


def test_all_results_are_there_and_agree(monkeypatch):
    pytest.importorskip("pebble", reason="the extra `peers` is not installed")
    monkeypatch.setattr(bench_execute, "corpus", lambda: corpus()[:4])
    result = measure(TINY)
    for key in ("snippets_per_s", "sessions_per_s", "vs_fresh_process", "overhead_p99_ms"):
        assert result[key] > 0, key
    assert 0 < result["overhead_p50_ms"] <= result["overhead_p99_ms"]
    memory = result["session_mib_p99"]
    assert memory is None if not hasattr(Pool, "processes") else 0 < memory < 1000
    ways = result["ways"]
    assert ways.keys() == {"pool", "fresh", "pebble", "spawn", "pool, 1 per session"}
    assert result["snippets_per_s"] == ways["pool"]["snippets_per_s"]
    assert all(len(way["rounds"]) == 2 and way["snippets"] > 0 for way in ways.values())
    assert result["arrivals"] > 10 and 0 < result["busy_share"] < 2
    for way in ways:
        assert f"\n{way} " in table(result)


def test_a_wrong_text_stops_it():
    slices = Slices(lambda: (lambda code: "5", lambda: None), {"print(4)": "4"}, 6)
    with pytest.raises(RuntimeError, match="got '5', not '4'"):
        slices.run(2, 0.1)


def test_slices_go_on_where_the_last_one_stopped():
    """Each way runs every snippet equally often, however short its slices are."""
    seen: list[str] = []
    expected = {str(n): str(n) for n in range(5)}
    slices = Slices(lambda: (lambda code: seen.append(code) or code, lambda: None), expected, 2)
    while len(seen) < 50:
        slices.run(1, 0.0005)
    assert all(abs(seen.count(code) - len(seen) / 5) <= 1 for code in expected)
    assert slices.snippets == len(seen) and slices.rate > 0


def test_the_peers_worker_gives_the_pool_s_texts():
    assert run_alone("print(1)\n") == "1"
    assert run_alone("1/0") == "Code execute Error: ZeroDivisionError: division by zero"


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells it")
def test_own_memory_is_what_is_taken():
    """In a process of its own: this one may give memory back to the system meanwhile."""
    program = (
        "import os\nfrom tools.bench_execute import own_mib\nbefore = own_mib(os.getpid())\n"
        "block = bytearray(os.urandom(1 << 20) * 64)\nprint(own_mib(os.getpid()) - before)"
    )
    root = Path(__file__).resolve().parents[2]
    taken = subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True)
    assert 60 < float(taken) < 80 and own_mib(2**22 + 1) is None
