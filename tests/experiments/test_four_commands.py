"""From a file of problems, a policy, a teacher and a base to a row: four commands with files between them, and a sweep.

Both give the same, to the bit, however often they are killed. The commands are those of the README.
"""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from jprm.config import load, toml
from jprm.data import render
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.jobs import Stages, write_rows
from jprm.label import Counts
from jprm.records import read_jsonl
from jprm.tasks.label_file import label_rows
from jprm.tasks.labels import VALUES
from jprm.tasks.teacher_rationales import KEPT
from jprm.tasks.vote_store import RATIONALES
from jprm.train.config import RunConfig
from jprm.train.start import start_of
from jprm.train.weights import load_params
from tests.experiments import by_heart, forked
from tests.experiments.benchmark import checkpoint

KILLS = 10
SEED, VOTES, SLOTS, CONTEXT = 3, 2, 8, 1024
SWEEP = ["sweep", "sweep.toml"]
LABEL = ["label", "sweep.toml", "name=steps", "--out", "labels.jsonl"]
SYNTHESIZE = ["synthesize", "sweep.toml", "name=steps", "labels.source=file", "labels.file=labels.jsonl"]
SYNTHESIZE += ["--out", "conversations.jsonl", "--training", "training"]
CELL = f"training/base-n8-full-rpe-s{SEED}"
TRAIN = ["train", "--config", f"{CELL}.toml"]
EVALUATE = ["evaluate", "--model", CELL, "--data", "judged.jsonl", "--out", "votes", "--json", "row.json"]
EVALUATE += ["--n", str(VOTES), "--seed", str(SEED), "--readout", "prob_raw"]
EVALUATE += ["--slots", str(SLOTS), "--context", str(CONTEXT)]
COMMANDS = [LABEL, SYNTHESIZE, TRAIN, EVALUATE]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return by_heart.make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module", autouse=True)
def processes():
    """The processes have one device each, as on a machine without the tests' virtual ones."""
    flags = os.environ["XLA_FLAGS"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{flags} --xla_force_host_platform_device_count=1")
        forked.start()
        yield


@pytest.fixture(scope="module")
def prepared(models):
    """Makes a folder in which the commands find what they start from."""

    def prepare(folder: Path) -> Path:
        folder.mkdir()
        write_rows(folder / "problems.jsonl", ({"problem": text, "answer": "4"} for text in by_heart.PROBLEMS))
        judged = [checkpoint.row(i, i % 3 - 1, steps=2) | {"problem": by_heart.PROBLEMS[i]} for i in range(4)]
        steps = [by_heart.STEPS[0].strip(), by_heart.STEPS[1].format(4)]
        checkpoint.write(folder / "judged.jsonl", [row | {"steps": steps} for row in judged])
        (folder / "sweep.toml").write_text(toml(settings(models)))
        return folder

    return prepare


def settings(models) -> dict:
    """The sweep's configuration, which the commands take, too."""
    return {
        "name": "sweep",
        "world": {"kind": "problems", "settings": {"train": "problems.jsonl", "dev_share": 0, "test_share": 0}},
        "model": {
            "policy": str(models["policy"]),
            "teacher": str(models["teacher"]),
            "slots": SLOTS,
            "prompt": {"style": "plain", "instruction": by_heart.POLICY},
        },
        "labels": {"problems": 6, "first_samples": 4, "rollout_divisor": 16, "max_tokens": 40, "context_tokens": 128},
        "teacher": by_heart.TEACHER.model_dump(include={"instruction", "system"})
        | {"max_tokens": 100, "attempt_tokens": 300, "context_tokens": 512},
        "train": {"steps": 16, "batch_rows": 4, "row_tokens": 512, "optimizer": "adamw", "learning_rate": 5e-3}
        | {"warmup_steps": 2, "checkpoint_every": 3},
        "verify": {"n_votes": VOTES, "temperature": 0.6, "max_tokens": 200, "context_tokens": CONTEXT, "workers": 1},
        "evaluate": {"benchmarks": ["./judged.jsonl"], "candidates_problems": 0},
        "grid": {"sizes": [str(models["base"])], "train_examples": [8], "seeds": [SEED], "ablations": []},
    }


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The folder of a sweep and of four commands that nobody disturbed, and the processor time of each."""
    folder = prepared(tmp_path_factory.mktemp("whole") / "run")
    costs = []
    for words in (SWEEP, *COMMANDS):
        code, cost = forked.run(words, folder)
        assert code == 0, (folder / "said").read_text()
        costs.append(cost)
    return folder, costs


def stage_of(run: Path, kind: str) -> Path:
    """The folder of the only finished stage of a kind in a run directory."""
    [found] = [path for path in (run / "stages").glob(f"{kind}-*") if (path / "DONE").exists()]
    return found


def row_of(folder: Path) -> dict:
    """What `evaluate` found but for its seconds."""
    row = json.loads((folder / "row.json").read_text())
    return {key: value for key, value in row.items() if key != "seconds"}


def rows_of(folder: Path) -> list[dict]:
    """The rows of the sweep but for their seconds."""
    rows = read_jsonl(folder / "runs" / "sweep" / "results.jsonl")
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture
def sweep(whole, monkeypatch):
    """The tasks of the sweep, in its folder."""
    monkeypatch.chdir(whole[0])
    return Sweep(load(SweepConfig, "sweep.toml"))


@pytest.mark.slow
def test_the_labels_are_the_sweeps(whole, sweep):
    folder, _ = whole
    values = read_jsonl(stage_of(folder / "runs/sweep", "labels") / VALUES)
    rows = sorted(label_rows(values, sweep.config.labels, SEED), key=lambda row: row["problem_id"])
    assert json.loads(json.dumps(rows)) == read_jsonl(folder / "labels.jsonl")
    assert {row["first_error"]["rpe"] for row in rows} >= {-1, 1}, "some are right, some err in the last step"


@pytest.mark.slow
def test_train_learns_the_sweeps_documents_to_its_weights(whole, sweep):
    folder, _ = whole
    kept = [(stage_of(folder / run, "rationales") / KEPT).read_bytes() for run in ("runs/sweep", "runs/steps")]
    assert kept[0] == kept[1] != b""
    [verifier] = sweep.verifiers
    stages = Stages(folder / "runs/sweep")
    taught = verifier.conversations_of(verifier.taught, stages, verifier.chosen(stages))
    lessons = verifier.lessons(taught, Counts())
    wrong = sum(conversation.first_error >= 0 for conversation in lessons)
    assert 2 * wrong == len(lessons) > len(taught), "the rarer ones are repeated"
    wanted = [render(pieces, verifier.base.tokenizer) for lesson in lessons for pieces in lesson.documents]
    read = start_of(load(RunConfig, f"{CELL}.toml")).corpus.documents
    assert len(read) == len(wanted)
    for document, other in zip(read, wanted, strict=True):
        np.testing.assert_array_equal(document.ids, other.ids)
        np.testing.assert_array_equal(document.weights, other.weights)
    by_sweep, by_train = (load_params(path)[0] for path in (stages[verifier].file("weights"), folder / CELL))
    for ours, theirs in zip(leaves(by_sweep), leaves(by_train), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def leaves(params: dict) -> list[np.ndarray]:
    import jax

    return jax.tree.leaves(params)


@pytest.mark.slow
def test_evaluate_draws_the_sweeps_votes_to_its_row(whole):
    folder, _ = whole
    votes = [(stage_of(folder / run, "votes") / RATIONALES).read_text() for run in ("runs/sweep", "votes")]
    assert votes[0] == votes[1]
    judged = [r for line in votes[0].splitlines() for r in json.loads(line)["rationales"]]
    assert any(r["executions"] for r in judged) and any(r["verdict"]["correct"] is not None for r in judged)
    found = {score["k"]: score for score in row_of(folder)["scores"] if score["group"] == "overall"}
    rows = rows_of(folder)
    assert [row["n_votes"] for row in rows] == [1, 2]
    for row in rows:
        score = found[row["n_votes"]]
        f1 = score["measures"]["f1"]
        assert (row["f1"], row["f1_low"], row["f1_high"]) == (f1["value"], f1["low"], f1["high"])
        assert row["missing_share"] == score["missing_share"] and row["n_items"] == score["n_items"]


def killed(commands, costs, folder: Path, rng: random.Random, each: int) -> int:
    """Runs commands to their ends, each killed up to `each` times at random moments; returns how often it hit."""
    hits = 0
    for words, cost in zip(commands, costs, strict=True):
        for _ in range(each):
            code, _ = forked.run(words, folder, rng.uniform(0.1, 0.9) * cost)
            if code != forked.KILLED:
                break
            hits += 1
        code, _ = forked.run(words, folder)
        assert code == 0, (folder / "said").read_text()
    return hits


@pytest.mark.slow
def test_four_commands_that_are_killed_end_in_the_same(whole, prepared, tmp_path):
    folder, costs = whole
    rng, hits = random.Random(0), 0
    while hits < KILLS:
        other = prepared(tmp_path / f"after-{hits}-kills")
        hits += killed(COMMANDS, costs[1:], other, rng, each=3)
        for name in ("labels.jsonl", "conversations.jsonl", f"{CELL}.jsonl", f"{CELL}/weights.safetensors"):
            assert (other / name).read_bytes() == (folder / name).read_bytes(), name
        votes = [stage_of(path / "votes", "votes") / RATIONALES for path in (other, folder)]
        assert votes[0].read_bytes() == votes[1].read_bytes()
        assert row_of(other) == row_of(folder)


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_in_the_same(whole, prepared, tmp_path):
    folder, costs = whole
    rng, hits = random.Random(1), 0
    while hits < KILLS:
        other = prepared(tmp_path / f"after-{hits}-kills")
        hits += killed([SWEEP], costs[:1], other, rng, each=KILLS)
        assert rows_of(other) == rows_of(folder)
        votes = [stage_of(path / "runs/sweep", "votes") / RATIONALES for path in (other, folder)]
        assert votes[0].read_bytes() == votes[1].read_bytes()
