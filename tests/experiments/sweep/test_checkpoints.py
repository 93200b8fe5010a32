"""A sweep over a preset and a checkpoint: one grid, one table, and files of judged solutions among its sets."""

import json

import pytest

from jprm.config import replaced
from jprm.errors import UserError
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig, name_of_set
from jprm.experiments.sweep.plan import print_plan
from jprm.experiments.sweep.run import run_sweep
from jprm.jobs import Stages
from jprm.tasks.base import Base
from jprm.tasks.benchmark import load_known
from jprm.tasks.pretrained import Pretrained
from jprm.verify import GenPRM, Template, published
from tests.experiments.benchmark import checkpoint

ROWS = 6


def judged(i):
    """A row in the words of the embedded world, so that presets can read it."""
    problem = f"Ann has {i}. Joe gets 3 more than Ann. How many does Joe get?"
    step = f"Step 1: Joe = Ann + 3 = {i} + 3 = {i + 3}, so Joe has {i + 3}. Answer: {i + 3}."
    return checkpoint.row(i, i % 2 - 1) | {"problem": problem, "steps": [step]}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    model = checkpoint.make(root / "tiny-qwen", "qwen")
    file = checkpoint.write(root / "few.jsonl", [judged(i) for i in range(ROWS)])
    train = {"steps": 1, "batch_rows": 1, "row_tokens": 1024, "optimizer": "adamw", "learning_rate": 1e-3}
    verify = {"n_votes": 2, "max_tokens": 400, "context_tokens": 1024, "workers": 1, "readout": "vote"}
    return SweepConfig.model_validate(
        {
            "directory": root / "runs",
            "base": {"steps": 1, "documents": 60, "batch_rows": 2, "row_tokens": 256},
            "train": train | {"lora": {"rank": 2}},
            "labels": {"source": "planted", "problems": 4, "planted_solutions": 1},
            "verify": verify,
            "model": {"slots": 8},
            "evaluate": {"benchmarks": ["planted", str(file)], "problems": 2, "file_rows": 3, "candidates_problems": 0},
            "grid": {"sizes": ["tiny-0.1m", str(model)], "train_examples": [6], "labels": "exact", "ablations": []},
        }
    )


@pytest.fixture(scope="module")
def finished(config):
    code = run_sweep(config, "sweep")
    rows = [json.loads(line) for line in (config.path / "results.jsonl").read_text().splitlines()]
    return code, rows


def test_each_size_is_asked_in_a_protocol_that_it_can_write(config):
    by_size = {cell.verifier.size: cell.verifier for cell in Sweep(config).grid}
    preset, pretrained = by_size["tiny-0.1m"], by_size["tiny-qwen"]
    assert isinstance(preset.base, Base) and isinstance(preset.template, Template)
    assert isinstance(pretrained.base, Pretrained) and isinstance(pretrained.template, GenPRM)
    assert pretrained.template.chat.turns == "template" and pretrained.template.end_of_turn == "<|im_end|>"
    assert pretrained.template.budget.max_tokens == 400
    # how a rationale is written is part of what a checkpoint's verifier is; the tags are part of the code
    assert "protocol" in pretrained.inputs() and "protocol" not in preset.inputs()


def test_a_protocol_that_ends_behind_its_code_is_refused_by_the_plan(config):
    verify = config.verify.model_copy(update={"max_rounds": 1})
    with pytest.raises(UserError, match=r"verify.max_rounds = 1: .* take 2 or more"):
        print_plan(config.model_copy(update={"verify": verify}))
    brief = config.cell.model_copy(update={"style": "analysis"})
    print_plan(config.model_copy(update={"verify": verify, "cell": brief}))


def test_evaluate_asks_in_the_protocol_that_the_weights_remember(config):
    code, overrides = {"main": True, "output_chars": 9}, ("sampling.top_k=7", "budget.verdict_tokens=5")
    changed = {"verify.code": code, "verify.timeout_s": 3.5, "verify.temperature": 0.7, "verify.overrides": overrides}
    [verifier] = [v for v in Sweep(replaced(config, changed, "here")).verifiers if v.size == "tiny-qwen"]
    told, own = verifier.remembered, verifier.template
    read = published(GenPRM, (f"chat.turns={told.chat}", *told.overrides))
    assert isinstance(own, GenPRM) and (own.sampling.top_k, own.code.main) == (7, True)
    for part in ("chat", "tags", "budget", "code", "quirks"):
        assert getattr(read, part) == getattr(own, part)
    assert read.sampling == own.sampling.model_copy(update={"temperature": 0.7, "code_timeout_s": 3.5})


@pytest.mark.slow
def test_both_stand_in_one_table(config, finished):
    code, rows = finished
    assert code == 0 and {(row["model"], row["benchmark"]) for row in rows} == {
        (model, benchmark) for model in ("tiny-0.1m", "tiny-qwen") for benchmark in ("planted", "few")
    }
    assert {row["n_items"] for row in rows if row["benchmark"] == "few"} == {3}
    assert all(row["model_params"] > 0 and row["held_out_loss"] > 0 for row in rows)
    assert (config.path / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_rows_of_a_file_are_chosen_by_their_hash(config, finished):
    stages = Stages(config.path)
    [few] = {cell.votes.benchmark for cell in Sweep(config).cells if cell.votes.benchmark.name == "few"}
    items, labels = load_known(stages[few])
    whole = few.contents.rows
    assert [item.solution.id for item in items] == [row.solution.id for row in whole] and len(labels) == 3
    more = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"file_rows": ROWS - 1})})
    [larger] = {cell.votes.benchmark for cell in Sweep(more).cells if cell.votes.benchmark.name == "few"}
    assert {row.solution.id for row in whole} < {row.solution.id for row in larger.contents.rows}


@pytest.mark.parametrize(
    ("benchmarks", "said"),
    [
        (["polcy"], "'polcy' is no set of solutions"),
        (["a/gsm8k.jsonl", "b/gsm8k.jsonl.gz"], "two sets are called 'gsm8k'"),
        ([], "at least 1 item"),
    ],
)
def test_mistakes_in_the_sets_are_named(benchmarks, said):
    with pytest.raises(ValueError, match=said):
        SweepConfig.model_validate({"evaluate": {"benchmarks": benchmarks}})


def test_a_file_is_called_by_its_name():
    assert name_of_set("x/gsm8k.jsonl.gz") == "gsm8k" and name_of_set("policy") == "policy"
