"""Several processes share an evaluation. Whichever is killed, the table is the one that a single process makes."""

import json
import signal
import subprocess
import sys
import time

import pytest

from jprm.errors import UserError
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.benchmark.run import run_benchmark
from tests.experiments.benchmark import checkpoint, stored

PLUGIN = """
import pathlib
import time

from jprm.score import StepScorer, scorer
from jprm.seeds import rng_of

LOST = pathlib.Path(__file__).with_name("lost.txt")


@scorer("unhurried")
class Unhurried(StepScorer):
    def scores(self, problem, steps, seed):
        time.sleep(0.05)
        if LOST.exists() and LOST.read_text() in problem:
            raise ZeroDivisionError("no such number")
        return [float(rng_of(seed, step).random()) for step in range(len(steps))]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return checkpoint.write(tmp_path_factory.mktemp("data") / "pb.jsonl", checkpoint.rows(12))


def options(data, folder, out, **more):
    (folder / "unhurried.py").write_text(PLUGIN)
    found = dict(data=data, scorer="unhurried", plugins=(folder / "unhurried.py",), out=folder / out, n=3)
    return found | dict(json_file=folder / f"{out}.json") | more


def start(data, folder, name):
    """A worker as a process, on the run directory `shared`; its table goes to a file of its own."""
    given = options(data, folder, "shared", json=folder / f"{name}.json", chunk=2)
    del given["json_file"]
    [given["plugin"]] = given.pop("plugins")
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "jprm", "evaluate", "--worker", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def table(path):
    found = json.loads(path.read_text())
    del found["seconds"]
    return found


def test_two_workers_and_a_killed_one_make_the_table_of_one_process(data, tmp_path):
    assert run_benchmark(read_config(**options(data, tmp_path, "alone"))) == 0
    killed = start(data, tmp_path, "killed")
    while not list(tmp_path.glob("shared/stages/part-*/DONE")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list(tmp_path.glob("shared/stages/part-*/DONE"))) < 6, "it was killed in the middle"
    workers = [start(data, tmp_path, name) for name in ("a", "b")]
    for worker in workers:
        _, said = worker.communicate()
        assert worker.returncode == 0, said
    alone = table(tmp_path / "alone.json")
    assert table(tmp_path / "a.json") == table(tmp_path / "b.json") == alone
    assert stored.votes(tmp_path / "shared") == stored.votes(tmp_path / "alone")
    assert not list(tmp_path.glob("shared/stages/part-*")), "the whole has taken them over"
    again = options(data, tmp_path, "shared", json_file=tmp_path / "again.json", regrade=True)
    assert run_benchmark(read_config(**again)) == 0 and table(tmp_path / "again.json") == alone


def test_a_worker_tells_what_was_lost_and_another_tries_again(data, tmp_path):
    (tmp_path / "lost.txt").write_text("Ann has 3.")
    asked = options(data, tmp_path, "shared", worker=True, chunk=2)
    assert run_benchmark(read_config(**asked)) == 3
    found = table(tmp_path / "shared.json")
    assert [row["id"] for row in found["lost"]] == ["gsm8k-3"] and found["missing"] == 0
    (tmp_path / "lost.txt").unlink()
    assert run_benchmark(read_config(**asked)) == 0
    assert run_benchmark(read_config(**options(data, tmp_path, "alone"))) == 0
    assert table(tmp_path / "shared.json") == table(tmp_path / "alone.json")


def test_a_worker_draws_votes(data, tmp_path):
    with pytest.raises(UserError, match="--worker and --regrade exclude each other"):
        read_config(**options(data, tmp_path, "shared", worker=True, regrade=True))
