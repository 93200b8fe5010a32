"""`python -m jprm label`: rows and counts of a sweep's labels, and a sweep that starts from the file."""

import json
from pathlib import Path

import pytest

from jprm.cli import app, guarded, sweep_main
from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.jobs import Stages, write_rows
from jprm.records import read_jsonl, to_json
from jprm.seeds import rng_of
from jprm.tasks.labels import LOST, VALUES, ProblemsLost, load_examples
from jprm.tasks.rollout_store import ROLLOUTS
from tests.experiments.sweep.tiny_sweep import TINY, table
from tests.pages import documented

# Rollouts are made up: a model this little trained writes no solutions.
ROLLED = [*TINY, "labels.source=rollouts", "grid.labels=rpe", "grid.ablations=['hard']"]
REASONS = {1: "unsolvable problem", 2: "no usable solution"}


def label(*words) -> int:
    return guarded(lambda: app(["label", *map(str, words)], standalone_mode=False))


def made_up(directory: Path, lost=(), *words):
    """A run directory whose labels are made up: (their task, their stage)."""
    config = load(SweepConfig, None, [f"directory={directory}", *ROLLED, *words])
    sweep = Sweep(config)
    [task] = sweep.labels
    stages, world, rows = Stages(config.path), task.world.world, []
    for i, problem in enumerate(world.problems("train", 12, 5)):
        rng = rng_of(i, "made up")
        planted = [world.planted(problem, rng) for _ in range(2)]
        kept = [] if i in REASONS else [world.reference(problem), *(p for p in planted if p)]
        valued = []
        for solution in {s.id: s for s in kept}.values():
            error, steps = solution.first_error, len(solution.steps)
            mc = [0.5] + [0.6 if error < 0 or t < error else 0.25 for t in range(steps - 1)] + [float(error < 0)]
            valued.append({"solution": to_json(solution), "mc": mc})
        about = {"problem_id": problem.id, "n": 64, "correct": 0 if i == 1 else 32, "rollouts": 64}
        about |= {"solutions": valued, "generated_tokens": 100, "prompt_tokens": 9, "reason": REASONS.get(i, "")}
        rows.append(about | {"problem": to_json(problem)})
    base, stage = stages[task.parents()[0]], stages[task]
    for one in (base, stage):
        with one.attempt():
            pass
    base.finish({}, 1.0)
    write_rows(stage.path / VALUES, (row for i, row in enumerate(rows) if i not in lost))
    if lost:
        missing = [{"problem_id": rows[i]["problem_id"], "reason": "1 of 64 rollouts lost: gone"} for i in lost]
        write_rows(stage.path / LOST, missing)
    else:
        stage.finish({"problems": 12}, 1.0)
    return task, stage


def test_a_row_for_each_solution_and_a_count_for_each_reason(tmp_path, capsys):
    _, stage = made_up(tmp_path)
    assert label(f"directory={tmp_path}", *ROLLED) == 0
    rows, examples = read_jsonl(tmp_path / "embedded" / "labels.jsonl"), load_examples(stage)
    assert [(r["problem"], r["steps"], r["mc"]) for r in rows] == [
        (e.problem.text, list(e.solution.steps), list(e.mc)) for e in examples
    ]
    assert [row["first_error"]["rpe"] for row in rows] == [e.solution.first_error for e in examples]
    assert {(row["k"], row["n"], row["seed"]) for row in rows} == {(64, 64, 0)}
    unused = read_jsonl(tmp_path / "embedded" / "unused.jsonl")
    assert [row["reason"] for row in unused] == ["unsolvable problem", "no usable solution"]
    assert all(row.keys() == documented("labels.jsonl")["fields"] for row in rows)
    assert all(row.keys() == documented("unused.jsonl")["fields"] for row in unused)
    out = capsys.readouterr().out
    told = " ".join(out.split())
    assert "unused: 1 problems: unsolvable problem" in out and "computed 0, reused 2" in out
    wrong = sum(row["first_error"]["rpe"] >= 0 for row in rows)
    right = len(rows) - wrong
    assert f"rpe {right} {100 * wrong / len(rows):.1f} [" in told and f"0 12 {100 * 11 / 24:.1f} [" in told


def roll_out(stage, rate):
    """Made-up rollouts of eight states of two steps, right at the given rate."""
    rng = rng_of(round(100 * rate), "rollouts")
    about = {"problem_id": "p", "given": 2, "steps": ["a"], "finished": True, "tokens": 1}
    rows = [{"state": f"s{s}", "index": i, "correct": bool(rng.random() < rate)} for s in range(8) for i in range(32)]
    write_rows(stage.path / ROLLOUTS, [row | about for row in rows])


@pytest.mark.parametrize(("rate", "agrees"), [(0.51, True), (0.8, False)])
def test_another_draw_is_compared_with_the_first(rate, agrees, tmp_path, capsys):
    roll_out(made_up(tmp_path)[1], 0.5)
    roll_out(made_up(tmp_path, (), "labels.draw=1")[1], rate)
    assert label(f"directory={tmp_path}", *ROLLED) == 0
    assert label(f"directory={tmp_path}", *ROLLED, "labels.draw=1", "--out", tmp_path / "second.jsonl") == 0
    first, second = [line for line in capsys.readouterr().out.splitlines() if "chi-square" in line]
    assert "seed 0, draw 0 against draw 1: 8 states, 8 of them neither" in first
    assert "draw 1 against draw 0" in second and first.rpartition("chi-square")[2] == second.rpartition("chi-square")[2]
    assert (float(second.rpartition("p = ")[2]) > 0.05) == agrees


def test_draws_without_a_common_state_are_written_without_a_comparison(tmp_path, capsys):
    made_up(tmp_path)
    made_up(tmp_path, (), "labels.draw=1")
    second = tmp_path / "second.jsonl"
    assert label(f"directory={tmp_path}", *ROLLED, "labels.draw=1", "--out", second) == 0
    assert second.exists() and "chi-square" not in capsys.readouterr().out


def test_labels_from_before_there_were_draws_are_known_again(tmp_path, capsys):
    made_up(tmp_path)
    assert label(f"directory={tmp_path}", *ROLLED) == 0
    path = tmp_path / "embedded" / "labels.json"
    identity = json.loads(path.read_text())
    del identity["labels"]["draw"]
    path.write_text(json.dumps(identity))
    assert label(f"directory={tmp_path}", *ROLLED) == 0
    assert label(f"directory={tmp_path}", *ROLLED, "labels.draw=1") == 2
    assert "labels.draw" in capsys.readouterr().err


def test_lost_problems_are_rows_that_the_next_run_fills(tmp_path, monkeypatch, capsys):
    task, stage = made_up(tmp_path, lost=(4,))

    def lose(*_):
        raise ProblemsLost("1 of 12 problems have no values; run the command again")

    monkeypatch.setattr(type(task), "compute", lose)
    assert label(f"directory={tmp_path}", *ROLLED) == 3
    told = capsys.readouterr()
    assert "unused: 1 problems: rollouts lost" in told.out and "run the command again" in told.err
    assert len(read_jsonl(tmp_path / "embedded" / "unused.jsonl")) == 3
    monkeypatch.setattr(type(task), "compute", lambda *_: stage.file(LOST).unlink() or {"problems": 12})
    assert label(f"directory={tmp_path}", *ROLLED) == 0


def test_a_server_that_is_gone_is_a_line(tmp_path, monkeypatch, capsys):
    task, _ = made_up(tmp_path, lost=(4,))

    def gone(*_):
        raise UserError("http://there/v1: no answer (Connection refused); given up after 20 tries in 300 s")

    monkeypatch.setattr(type(task), "compute", gone)
    assert label(f"directory={tmp_path}", *ROLLED) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: http://there/v1: no answer")
    assert not (tmp_path / "embedded" / "labels.jsonl").exists()


def test_labels_of_other_settings_are_not_replaced_in_silence(tmp_path, capsys):
    made_up(tmp_path)
    assert label(f"directory={tmp_path}", *ROLLED) == 0
    other = (f"directory={tmp_path}", *ROLLED, "labels.epsilon=0.01")
    assert label(*other) == 2
    assert "holds other labels; it differs in labels.epsilon (0.8 there, 0.01 now)" in capsys.readouterr().err
    assert label(*other, "--out", tmp_path / "others.jsonl") == 0
    assert label(*other, "--replace") == 0
    assert read_jsonl(tmp_path / "others.jsonl") == read_jsonl(tmp_path / "embedded" / "labels.jsonl")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (TINY, "there is nothing to roll out"),
        ([*ROLLED, 'axes=[{key="labels.temperature", values=[1.0, 2.0]}]'], "several sets of labels for one seed"),
        (["sweep.toml"], "sweep.toml"),
        (["labels.source=file"], "belong together"),
    ],
)
def test_what_cannot_be_labelled_is_said_before_anything_runs(words, said, tmp_path, capsys):
    assert label(f"directory={tmp_path}", *words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def chosen(config: SweepConfig):
    """What the verifiers of a sweep learn from, with its labels."""
    stages, found = Stages(config.path), []
    for cell in Sweep(config).grid:
        [examples] = [cell.verifier.chosen(stages)]
        found.append([(to_json(example), cell.verifier.first_error(example)) for example in examples])
    return found


@pytest.mark.slow
def test_a_sweep_from_the_file_gives_the_same_rows(tmp_path):
    made_up(tmp_path / "rolled")
    assert sweep_main([f"directory={tmp_path / 'rolled'}", *ROLLED]) == 0
    assert label(f"directory={tmp_path / 'rolled'}", *ROLLED, "--out", tmp_path / "labels.jsonl") == 0
    words = [w for w in ROLLED if not w.startswith("labels.source")]
    words += ["labels.source=file", f"labels.file={tmp_path / 'labels.jsonl'}"]
    assert sweep_main([f"directory={tmp_path / 'file'}", *words]) == 0
    assert table(tmp_path / "file") == table(tmp_path / "rolled")
    configs = (load(SweepConfig, None, [f"directory={tmp_path / 'file'}", *words]),)
    configs += (load(SweepConfig, None, [f"directory={tmp_path / 'rolled'}", *ROLLED]),)
    assert chosen(configs[0]) == chosen(configs[1])


@pytest.mark.slow
def test_a_policy_that_solves_nothing_is_counted(tmp_path, capsys):
    words = [f"directory={tmp_path}", *ROLLED, "labels.problems=3", "labels.rollout_divisor=8", "base.steps=1"]
    assert label(*words) == 3
    assert "unused: 3 problems: unsolvable problem" in capsys.readouterr().out
    assert (tmp_path / "embedded" / "labels.jsonl").read_text() == ""
    stored = next((tmp_path / "embedded" / "stages").glob("labels-*/rollouts.jsonl")).read_text().splitlines()
    assert len(stored) == 3 * 16 and all(json.loads(line)["correct"] is False for line in stored)
