"""A sweep of two hundred finished cells is planned and reported while one waits."""

import random
import shutil
import time

import pytest

from jprm.cli import sweep_main
from jprm.config import load
from jprm.experiments.sweep.config import SweepConfig
from jprm.records import Problem, Rationale, Solution, Verdict, append_jsonl, to_json
from jprm.tasks.benchmark import Item
from tests.experiments.sweep.pretend import finish_all

SWEEP = """
name = "many"
[evaluate]
candidates_problems = 0
[[axes]]
key = "cell.seed"
values = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
[[axes]]
key = "train.steps"
values = [100, 200, 300, 400]
[[axes]]
key = "verify.temperature"
values = [0.6, 0.8, 1.0, 1.2, 1.4]
"""
ITEMS, STEPS, VOTES = 60, 3, 8
COUNTS = 30  # so many times the CPU seconds in which the machine counts to ten million: some 13; 21 are needed
TRAINED = {"params": 1000, "loss": 1.0, "flops": 1e9, "filter": {"kept": 10, "dropped": {}}}
SAMPLED = {"rationales": 1, "generated_tokens": 100, "forced_tokens": 10, "none": 0}


def pretend_to_have_computed(config):
    """Finished stages with made-up contents, a set of votes shared by all cells."""
    rng, drawn = random.Random(0), []

    def make(task, stage):
        if task.kind == "benchmark":
            append_jsonl(stage.file("items.jsonl"), [to_json(item(i)) for i in range(ITEMS)])
        if task.kind == "votes" and not drawn:
            drawn.append(stage.file("rationales.jsonl"))
            append_jsonl(drawn[0], [row(i, rng) for i in range(ITEMS)])
        elif task.kind == "votes":
            shutil.copy(drawn[0], stage.file("rationales.jsonl"))
        summaries = {"verifier": TRAINED | {"held_out_loss": 1 + rng.random()}, "votes": SAMPLED}
        return summaries.get(task.kind, {"items": ITEMS})

    finish_all(config, make)


def counted():
    """CPU seconds in which this machine counts to ten million."""
    start, number = time.process_time(), 0
    while number < 10_000_000:
        number += 1
    return time.process_time() - start


def item(i):
    first_error = -1 if i % 2 else i % STEPS
    steps = tuple(f"step {t}\n" for t in range(STEPS))
    return Item(Problem(f"p{i}", "text\n", "1"), Solution(f"s{i}", f"p{i}", steps, "policy", first_error))


def row(i, rng):
    rationales = []
    for t in range(STEPS):
        for vote in range(VOTES):
            p = rng.random()
            verdict = Verdict(p > 0.5, p, p)
            rationales.append(Rationale(f"s{i}", t, vote, "chain", "some text", (), verdict, 9, 1))
    return {"solution_id": f"s{i}", "rationales": [to_json(r) for r in rationales]}


@pytest.mark.slow
@pytest.mark.alone
def test_two_hundred_finished_cells_are_planned_and_reported_in_seconds(tmp_path, capsys):
    path = tmp_path / "many.toml"
    path.write_text(SWEEP)
    arguments = [str(path), f"directory={tmp_path}"]
    pretend_to_have_computed(load(SweepConfig, path, arguments[1:]))
    assert sweep_main(arguments) == 0, "the first time the curves are made"
    results = (tmp_path / "many" / "results.jsonl").read_text()
    assert len(results.splitlines()) == 200 * 4
    allowed = counted()
    spent = time.process_time()
    assert sweep_main([*arguments, "--plan"]) == 0
    assert "200 cells, 200 of them ready" in capsys.readouterr().out
    assert sweep_main(arguments) == 0
    spent = time.process_time() - spent
    allowed = COUNTS * (allowed + counted()) / 2
    assert spent < allowed, "of one core, whatever its speed and whatever else the machine does"
    assert (tmp_path / "many" / "results.jsonl").read_text() == results
