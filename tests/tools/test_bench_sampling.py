"""What the benchmark makes of its rows. (That it runs at all is a matter of minutes: see its `--quick`.)"""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "bench_sampling.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_sampling", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(engine, workload, tokens_per_cpu_s):
    return dict(engine=engine, workload=workload, tokens_per_cpu_s=tokens_per_cpu_s)


def test_the_fastest_way_of_a_peer_counts_and_missing_peers_have_no_ratio(bench):
    rows = [
        row("jprm", "decode_p256", 600.0),
        row("jprm", "decode_p1024_n1", 50.0),
        row("jprm", "decode_p1024", 500.0),
        row("ctranslate2 equal prompts", "decode_p256", 100.0),
        row("ctranslate2 static prompt", "decode_p256", 200.0),
        row("hf one at a time", "decode_p256", 20.0),
        row("hf generate", "decode_p1024", 40.0),
    ]
    assert bench.ratios(rows) == {
        "decode_p256_vs_ctranslate2": 3.0,
        "decode_p1024_vs_hf": 12.5,
        "vote_cost_n64_over_n1": 0.1,
    }


def test_the_table_shows_floors_and_the_share_of_the_core(bench):
    rows = [row("jprm", "decode_p256", 1e3) | dict(tokens_per_s=900.0, cpu_s_per_vote=0.1)]
    found = dict(
        rows=rows,
        ratios={"decode_p256_vs_hf": 4.5},
        missing=["transformers: none"],
        ceilings={"matmul_gflops": 20.0},
        flops_per_token={"decode_p256": 1e7},
    )
    text = bench.table(found)
    assert "decode_p256: 50% of the core's 20 GFLOP/s" in text
    assert "4.50   (floor 4)" in text and "transformers: none" in text


def test_short_runs_are_repeated_and_the_median_counts(monkeypatch):
    monkeypatch.syspath_prepend(str(FILE.parent))
    workloads = importlib.import_module("sampling_workloads")
    clock, lengths = iter(range(1000)), iter([5, 1, 3, 100, 100])
    cpu_s = 0.0

    def run() -> int:
        nonlocal cpu_s
        cpu_s += next(lengths)
        return 10

    monkeypatch.setattr(workloads.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(workloads.time, "process_time", lambda: cpu_s)
    assert workloads.timed("jprm", "short", 1, run).cpu_s == 5  # of all five
    monkeypatch.setattr(workloads, "ENOUGH_S", 0.5)
    lengths = iter([7, 9])
    assert workloads.timed("jprm", "long", 1, run).cpu_s == 7  # one run of a second was enough
