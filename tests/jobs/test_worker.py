"""Workers on one run directory: each stage is done once, whoever is killed, and what fails is known to all."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jprm.jobs import RunDirectory, Worker, open_run

ROOT = Path(__file__).resolve().parents[2]
# A diamond of tasks: sources, their sums, and a total; one of the sums fails when it is told to.
PROGRAM = """
import json, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from jprm.cli import guarded
from jprm.jobs import Task, Worker, open_run
from jprm.records import append_jsonl, read_jsonl

@dataclass(frozen=True, eq=False)
class Adds(Task):
    kind = "adds"
    name: str
    below: tuple = ()
    def parents(self): return self.below
    def inputs(self): return {"name": self.name, "below": [b.key for b in self.below]}
    def compute(self, stage, context):
        path = stage.file("rows.jsonl")
        for i in range(len(read_jsonl(path)), 4):
            if os.environ.get("FAIL") == self.name and i == 2:
                raise ZeroDivisionError("told to")
            append_jsonl(path, [{"i": i + sum(context.stages[b].summary["sum"] for b in self.below)}])
            time.sleep(0.03)
            context.progress.show(f"{self.name} {i}")
        with open(context.resources, "a") as file:
            file.write(self.name + "\\n")
        return {"sum": sum(row["i"] for row in read_jsonl(path))}

def tasks():
    sources = [Adds(f"source{i}") for i in range(5)]
    sums = [Adds(f"sum{i}", (sources[i], sources[i + 1])) for i in range(4)]
    return [*sources, *sums, Adds("total", tuple(sums))]

def work(folder):
    run = Path(folder) / "run"
    with open_run(run, tasks(), run / "ends", shared=True) as runner:
        Worker(runner, expiry_s=1.5, poll_s=0.05).work()
        failures = [(task.name, runner.failures[task.key].reason) for task in tasks() if task.key in runner.failures]
        print(json.dumps({"computed": runner.computed, "failures": sorted(failures)}))

if __name__ == "__main__":
    sys.exit(guarded(lambda: work(sys.argv[1])))
"""


def start(folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    out, errors = process.communicate(timeout=120)
    return process.returncode, (json.loads(out) if out else None), errors


def results(folder):
    """The rows of every stage, by its name."""
    stages = sorted((folder / "run" / "stages").iterdir())
    assert all((stage / "DONE").exists() and "@" not in stage.name for stage in stages)
    return {json.loads((s / "inputs.json").read_text())["name"]: (s / "rows.jsonl").read_text() for s in stages}


def summaries(folder):
    stages = sorted((folder / "run" / "stages").iterdir())
    return [json.loads((s / "DONE").read_text())["summary"] for s in stages]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one undisturbed worker leaves."""
    folder = tmp_path_factory.mktemp("alone")
    code, told, _ = end(start(folder))
    assert code == 0 and told == {"computed": 10, "failures": []}
    return results(folder), summaries(folder)


def test_two_workers_share_the_stages(tmp_path, alone):
    told = [end(process) for process in [start(tmp_path), start(tmp_path)]]
    assert [code for code, _, _ in told] == [0, 0]
    assert sum(t["computed"] for _, t, _ in told) == 10 and all(t["computed"] for _, t, _ in told)
    assert (results(tmp_path), summaries(tmp_path)) == alone
    assert len((tmp_path / "run" / "ends").read_text().split()) == 10


@pytest.mark.parametrize("seed", range(2))
def test_one_of_two_is_killed_and_every_stage_is_done_once(tmp_path, alone, seed):
    victim, survivor = start(tmp_path), start(tmp_path)
    while not (tmp_path / "run" / "ends").exists():
        time.sleep(0.005)
    time.sleep(random.Random(seed).random() * 0.4)
    victim.kill()
    end(victim)
    code, told, _ = end(survivor)
    assert code == 0 and told["computed"] <= 10
    assert (results(tmp_path), summaries(tmp_path)) == alone


def test_a_worker_that_sleeps_too_long_finds_its_stage_taken(tmp_path, alone):
    sleeper = start(tmp_path)
    stages = tmp_path / "run" / "stages"
    while not list(stages.glob("*@*/rows.jsonl")):
        time.sleep(0.005)
    sleeper.send_signal(signal.SIGSTOP)
    code, told, _ = end(start(tmp_path))
    assert code == 0
    sleeper.send_signal(signal.SIGCONT)
    woken, late, errors = end(sleeper)
    assert woken == 0 and told["computed"] + late["computed"] == 10
    assert "taken over by another worker" in errors
    assert (results(tmp_path), summaries(tmp_path)) == alone


def test_sigterm_stops_a_worker_at_a_safe_point_and_frees_its_stage(tmp_path, alone):
    process = start(tmp_path)
    while not list((tmp_path / "run" / "stages").glob("*@*/rows.jsonl")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    code, _, errors = end(process)
    assert code == 75 and "stopped (SIGTERM); the same command goes on from here" in errors
    code, _, _ = end(start(tmp_path))
    assert code == 0 and (results(tmp_path), summaries(tmp_path)) == alone


def test_a_failure_stops_what_builds_on_it_and_nothing_else(tmp_path, alone):
    told = [end(process) for process in [start(tmp_path, FAIL="sum2"), start(tmp_path, FAIL="sum2")]]
    for code, said, _ in told:
        assert code == 0 and said["failures"] == [["sum2", "ZeroDivisionError: told to"]]
    assert sum(said["computed"] for _, said, _ in told) == 8
    [record] = (tmp_path / "run" / "stages").glob("*/failure.json")
    assert "told to" in json.loads(record.read_text())["traceback"]
    code, said, _ = end(start(tmp_path))  # the cause is gone: a new worker tries again, from there
    assert code == 0 and said == {"computed": 2, "failures": []}
    assert (results(tmp_path), summaries(tmp_path)) == alone


def test_one_process_alone_and_workers_exclude_each_other(tmp_path):
    with RunDirectory(tmp_path / "run"):
        code, _, errors = end(start(tmp_path))
        assert code == 2 and "in use by process" in errors


def test_nothing_to_do_ends_at_once(tmp_path):
    with open_run(tmp_path / "run", [], None, shared=True) as runner:
        Worker(runner).work()
        assert runner.computed == runner.reused == 0 and not list((tmp_path / "run" / "stages").iterdir())
