"""How fast and how light the pool runs model-written code, beside three other ways to run it.

    python tools/bench_execute.py [--quick] [--json FILE] [--workers N]

pool        jprm's pool, six snippets per session
fresh       a new `python -c` for each snippet: as isolated, and the base of `vs_fresh_process`
pebble      pebble's process pool (extra `peers`): warm workers, no isolation, so that what a snippet
            leaves in sympy's caches speeds up the next
spawn       multiprocessing's pool, spawned: the same

All run the same snippets in the same order, as many at a time as there are workers, in slices of
equal length that take turns, so that a noisy machine is noisy to all. Every text is compared with
what the other ways give. A start, and the first run of each snippet, are not counted.

Then the pool alone: sessions of one snippet; and snippets that arrive at random times for sessions
that are alive, where overhead is the time from arrival to answer, less the time inside `exec`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from jprm.execute import Pool
from jprm.execute.runner import Clock, run_snippet

CORPUS = Path(__file__).with_name("bench_execute_corpus.txt")
PER_SESSION = 6
TIMEOUT_S = 20.0  # nothing in the corpus comes near
OUTPUT_CHARS = 16_384
TIMED = """\
import time as _time
_began = _time.perf_counter()
exec({code!r})
print("@", _time.perf_counter() - _began)"""

Run = Callable[[str], str]  # a snippet -> its text
Open = Callable[[], tuple[Run, Callable[[], None]]]  # a session -> (run, close)


@dataclass(frozen=True)
class Sizes:
    """How much is measured: seconds of a slice, of the arrivals, and their rate in 1/s."""

    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    rounds: int = 6
    slice_s: float = 6.0
    sessions: int = 60
    warm_snippets: int = 4
    arrivals_s: float = 60.0
    arrivals_per_s: float = 30.0


QUICK = Sizes(rounds=3, slice_s=2.5, arrivals_s=15.0)


def corpus() -> list[str]:
    """The snippets."""
    snippets = CORPUS.read_text().split("\n=\n")
    snippets[0] = snippets[0].split("\n", 1)[1]  # the first line is about the file
    return [snippet.strip() for snippet in snippets]


def run_alone(code: str) -> str:
    """Run a snippet in this process; what the peers' workers do."""
    return run_snippet(code, {}, Clock(TIMEOUT_S), OUTPUT_CHARS)[1]


def run_fresh(code: str) -> str:
    """Run a snippet in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode == 0:
        return done.stdout.strip()
    return f"Code execute Error: {done.stderr.strip().splitlines()[-1]}"


class Ways:
    """The ways to run snippets that there are here, by name; a context manager that ends them."""

    def __init__(self, workers: int):
        self.pool = Pool(workers=workers, timeout_s=TIMEOUT_S, output_chars=OUTPUT_CHARS)
        self.open: dict[str, Open] = {"pool": self._open_session, "fresh": lambda: (run_fresh, _nothing)}
        spawn = multiprocessing.get_context("spawn")
        try:
            self._pebble = importlib.import_module("pebble").ProcessPool(workers, context=spawn)
        except ImportError:
            self._pebble = None
            print("pebble is left out; in jprm's folder: pip install -e '.[peers]'")
        else:
            schedule = self._pebble.schedule
            self.open["pebble"] = lambda: (
                lambda code: schedule(run_alone, [code], timeout=TIMEOUT_S).result(),
                _nothing,
            )
        self._spawned = spawn.Pool(workers)
        self.open["spawn"] = lambda: (lambda code: self._spawned.apply(run_alone, (code,)), _nothing)

    def _open_session(self) -> tuple[Run, Callable[[], None]]:
        session = self.pool.session()
        return lambda code: session.run(code).text, session.close

    def __enter__(self) -> Ways:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()
        if self._pebble is not None:
            self._pebble.stop()
            self._pebble.join()
        self._spawned.terminate()
        self._spawned.join()


class Slices:
    """What one way has done in its slices: each goes on in the corpus where the last one stopped."""

    def __init__(self, open_session: Open, expected: dict[str, str], per_session: int):
        self.open_session = open_session
        self.expected = expected
        self.per_session = per_session
        self.rates: list[float] = []
        self.snippets = 0
        self.seconds = 0.0
        self._order = self._shuffled()
        self._lock = threading.Lock()

    def _shuffled(self) -> Iterator[str]:
        rng = random.Random(0)
        snippets = list(self.expected)
        while True:
            rng.shuffle(snippets)
            yield from snippets

    def run(self, threads: int, slice_s: float) -> None:
        """One slice: `threads` sessions at a time until the time is up. Raises on a wrong text."""
        failures: list[BaseException] = []
        counts = [0] * threads
        began = time.perf_counter()
        workers = [
            threading.Thread(target=self._keep_on, args=(began + slice_s, counts, index, failures))
            for index in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]
        seconds = time.perf_counter() - began
        self.rates.append(sum(counts) / seconds)
        self.snippets += sum(counts)
        self.seconds += seconds

    def _keep_on(self, until: float, counts: list[int], index: int, failures: list) -> None:
        try:
            while time.perf_counter() < until and not failures:
                run, close = self.open_session()
                for _ in range(self.per_session):
                    if time.perf_counter() >= until:
                        break
                    with self._lock:
                        code = next(self._order)
                    check(code, run(code), self.expected)
                    counts[index] += 1
                close()
        except Exception as failure:
            failures.append(failure)

    @property
    def rate(self) -> float:
        """Snippets per second over all slices."""
        return self.snippets / self.seconds


def check(code: str, text: str, expected: dict[str, str]) -> None:
    """Raise RuntimeError unless a snippet's text is the expected one."""
    if text != expected[code]:
        raise RuntimeError(f"got {text!r}, not {expected[code]!r}, from:\n{code}")


def warm(open_session: Open, expected: dict[str, str]) -> None:
    """Run the corpus once, in one session."""
    run, close = open_session()
    for code in expected:
        check(code, run(code), expected)
    close()


@dataclass(frozen=True)
class Arrivals:
    """Of each snippet, milliseconds of overhead and inside `exec`; of each session, its own MiB
    after its first `warm_snippets`.

    own_mib: None where the pool or the kernel does not tell.
    """

    overheads_ms: list[float]
    inside_ms: list[float]
    own_mib: list[float] | None


def arrivals(pool: Pool, codes: list[str], sizes: Sizes) -> Arrivals:
    """Snippets at random times for random sessions that are alive."""
    rng = random.Random(0)
    sessions = [pool.session() for _ in range(sizes.sessions)]
    for session in sessions:
        for code in rng.sample(codes, sizes.warm_snippets):
            session.run(code)
    own = [own_mib(process) for process in pool.processes()]
    answers: list[tuple[float, float, Future]] = []
    lock = threading.Lock()

    def note(arrived: float, future: Future) -> None:
        with lock:
            answers.append((arrived, time.perf_counter(), future))

    due = time.perf_counter()
    end = due + sizes.arrivals_s
    waiting = []
    while (due := due + rng.expovariate(sizes.arrivals_per_s)) < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        session, code = rng.choice(sessions), TIMED.format(code=rng.choice(codes))
        arrived = time.perf_counter()
        future = session.submit(code)
        future.add_done_callback(lambda future, arrived=arrived: note(arrived, future))
        waiting.append(future)
    for future in waiting:
        future.result()
    while len(answers) < len(waiting):  # the last callback may still be on its way
        time.sleep(0.001)
    inside_ms = [1000 * float(f.result().text.rsplit("@", 1)[1]) for _, _, f in answers]
    overheads_ms = [
        1000 * (answered - arrived) - inside for (arrived, answered, _), inside in zip(answers, inside_ms, strict=True)
    ]
    for session in sessions:
        session.close()
    known = [mib for mib in own if mib is not None]
    own_known = known if len(known) == sizes.sessions else None
    return Arrivals(overheads_ms, inside_ms, own_known)


def own_mib(process: int) -> float | None:
    """Memory that only this process maps, in MiB; None where the kernel does not say."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(kib) / 1024


def measure(sizes: Sizes) -> dict:
    """Everything; the keys at the top are the results that are watched."""
    began = time.perf_counter()
    codes = corpus()
    with Ways(sizes.workers) as ways:
        expected = {code: run_fresh(code) for code in codes}
        slices = {name: Slices(open_session, expected, PER_SESSION) for name, open_session in ways.open.items()}
        slices["pool, 1 per session"] = Slices(ways.open["pool"], expected, 1)
        for name, open_session in ways.open.items():
            if name != "fresh":  # so that each worker has imported what it needs
                with ThreadPoolExecutor(sizes.workers) as threads:
                    list(threads.map(warm, sizes.workers * [open_session], repeat(expected)))
        turns = list(slices.values())
        for round_ in range(sizes.rounds):
            for turn in turns if round_ % 2 == 0 else reversed(turns):
                turn.run(sizes.workers, sizes.slice_s)
        finishing = [code for code in codes if not expected[code].startswith("Code execute")]
    # A place for everyone who comes: overhead is what the pool adds, not the waiting for others.
    with Pool(4 * sizes.workers, TIMEOUT_S, output_chars=OUTPUT_CHARS) as pool:
        live = arrivals(pool, finishing, sizes)
    rates = {name: turn.rate for name, turn in slices.items()}
    p50, p99 = np.percentile(live.overheads_ms, [50, 99])
    own = live.own_mib
    return {
        "snippets_per_s": round(rates["pool"], 1),
        "sessions_per_s": round(rates["pool, 1 per session"], 1),
        "vs_fresh_process": round(rates["pool"] / rates["fresh"], 2),
        "overhead_p50_ms": round(float(p50), 3),
        "overhead_p99_ms": round(float(p99), 3),
        "session_mib_p99": round(float(np.percentile(own, 99)), 2) if own else None,
        "session_mib_p50": round(float(np.percentile(own, 50)), 2) if own else None,
        "arrivals": len(live.inside_ms),
        "busy_share": round(sum(live.inside_ms) / 1000 / sizes.arrivals_s / sizes.workers, 3),
        "ways": {
            name: {
                "snippets_per_s": round(turn.rate, 1),
                "rounds": [round(rate, 1) for rate in turn.rates],
                "snippets": turn.snippets,
            }
            for name, turn in slices.items()
        },
        "sizes": asdict(sizes),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(result: dict) -> str:
    """The result for people."""
    rows = [f"{'way':21} {'snippets/s':>10}   slowest and fastest round"]
    for name, way in result["ways"].items():
        low, high = min(way["rounds"]), max(way["rounds"])
        rows.append(f"{name:21} {way['snippets_per_s']:10.1f}   {low:.1f} - {high:.1f}")
    memory = result["session_mib_p99"]
    rows += [
        "",
        f"pool over fresh processes  {result['vs_fresh_process']:.1f} x",
        f"overhead, live session     {result['overhead_p50_ms']:.2f} ms p50, "
        f"{result['overhead_p99_ms']:.2f} ms p99 ({result['arrivals']} arrivals, "
        f"workers busy {result['busy_share']:.0%})",
        "own memory of a session    "
        + ("not known" if memory is None else f"{memory:.1f} MiB p99")
        + f"   (load {result['load_average']}, {result['cpus']} processors, "
        f"{result['seconds']:.0f} s)",
    ]
    return "\n".join(rows)


def _nothing() -> None:
    """Closes what needs no closing."""


def main() -> None:
    """Measure, print the table, write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute instead of five")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--workers", type=int, default=Sizes.workers, help="at the same time")
    args = parser.parse_args()
    sizes = Sizes(**(asdict(QUICK if args.quick else Sizes()) | {"workers": args.workers}))
    result = measure(sizes)
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
