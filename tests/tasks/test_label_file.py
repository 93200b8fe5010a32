"""A file of labels gives the solutions that were labelled, and refuses by place and reason what is no such row."""

import json
import re
import sys

import pytest

from jprm.jobs import StageFailed, Stages, open_run
from jprm.records import read_jsonl
from jprm.tasks.label_file import LabelFile, label_rows
from jprm.tasks.labels import VALUES, load_examples, step_labels
from jprm.tasks.resources import Speed
from jprm.tasks.settings import LabelSection
from tests.label.chain import ChainSampler
from tests.tasks.pretend_labels import SETTINGS, FileWorld, compute, labels


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A finished stage of labels of the seed 0."""
    directory = tmp_path_factory.mktemp("labels")
    compute(directory, labels(ChainSampler()))
    return Stages(directory)[labels(None)]


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def from_file(path, seed=0):
    """(the finished stage of a file, what was told)."""
    task = LabelFile(FileWorld(), LabelSection(source="file", file=path), path, seed)
    told = []
    with open_run(path.parent / "run", [task], None, speed=Speed()) as runner:
        runner.progress.note = told.append
        return runner.ensure(task), told


def test_the_solutions_of_a_file_are_those_of_the_stage(stage, tmp_path):
    rows = list(label_rows(read_jsonl(stage.file(VALUES)), SETTINGS, 0))
    path = write(tmp_path / "labels.jsonl", [*rows, *(row | {"seed": 1} for row in rows[:3])])
    found, told = from_file(path)
    assert load_examples(found) == load_examples(stage) and len(rows) > 100 and told == []
    assert found.summary == {"problems": len({row["problem_id"] for row in rows}), "solutions": len(rows)}
    assert len(load_examples(from_file(path, seed=1)[0])) == 3


def test_rows_tell_what_every_rule_makes_of_the_values(stage):
    for row, values in zip(
        label_rows(read_jsonl(stage.file(VALUES)), SETTINGS, 4), sorted_examples(stage), strict=True
    ):
        assert (row["seed"], row["mc"], row["truth"]) == (4, values.mc, values.solution.first_error)
        assert row["k"] in (4, 8, 16) and row["n"] == 16
        for rule, of_steps in row["labels"].items():
            assert of_steps == step_labels(rule, values.mc, SETTINGS) and len(of_steps) == len(row["steps"])
            assert row["first_error"][rule] == (of_steps.index(0) if 0 in of_steps else -1)


def sorted_examples(stage):
    order = {row["problem_id"]: i for i, row in enumerate(read_jsonl(stage.file(VALUES)))}
    return sorted(load_examples(stage), key=lambda example: order[example.problem.id])


def test_another_threshold_is_applied_to_the_same_file(stage):
    values = read_jsonl(stage.file(VALUES))
    mild, strict = (
        sum(sum(row["labels"]["rpe"]) for row in label_rows(values, SETTINGS.model_copy(update={"epsilon": e}), 0))
        for e in (0.1, 0.999)
    )
    assert mild > strict


GOOD = {"problem": "1 + 1 = ?", "steps": ["1 + 1 = 2.", "So it is 2."], "mc": [0.5, 1, 1.0]}


def test_a_file_made_by_hand_needs_three_fields(tmp_path):
    path = write(tmp_path / "hand.jsonl", [GOOD, GOOD | {"steps": ["It is 3.\n"], "mc": [0.5, 0]}])
    found, told = from_file(path, seed=sys.maxsize)
    first, second = load_examples(found)
    assert first.problem == second.problem and first.problem.text == "1 + 1 = ?\n" and told == []
    assert first.solution.steps == ("1 + 1 = 2.\n", "So it is 2.\n") and first.mc == (0.5, 1.0, 1.0)
    assert second.solution.steps == ("It is 3.\n",)
    assert (first.solution.source, first.solution.first_error) == ("file", None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ([1], "must be an object"),
        ({"problem": "p", "steps": ["s"]}, "the field 'mc' is missing"),
        (GOOD | {"mc": [0.5, 1]}, "'mc' has 2 values for 2 steps; one more is needed"),
        (GOOD | {"mc": [0.5, 1.5, 1]}, "'mc.1' must be"),
        (GOOD | {"mc": [0.5, None, 1]}, "'mc.1' must be a number"),
        (GOOD | {"mc": [True, 1, 1]}, "'mc.0' must be a number"),
        (GOOD | {"steps": [], "mc": [1.0]}, "'steps' must be a list of texts that are not empty"),
        (GOOD | {"steps": ["a", " "]}, "'steps' must be a list of texts that are not empty"),
        (GOOD | {"problem": " \n"}, "'problem' is empty"),
        (GOOD | {"truth": 2}, "'truth' is 2; it must be the index of a step, or -1"),
        (GOOD, "it is the solution of .*hand.jsonl:1 again"),
        (GOOD | {"problem_id": "x", "solution_id": "y", "seed": "0"}, "'seed' must be"),
    ],
)
def test_a_bad_row_is_told_and_counted_and_the_rest_goes_on(tmp_path, row, reason):
    path = write(tmp_path / "hand.jsonl", [GOOD, row, GOOD | {"problem": "another"}])
    found, told = from_file(path)
    assert found.summary == {"problems": 2, "solutions": 2, "rejected": 1}
    [line] = told
    assert re.match(rf"rejected: .*hand.jsonl:2: {reason}", line)


def test_one_problem_is_told_in_one_way(tmp_path):
    ids = {"problem_id": "p", "solution_id": "s"}
    path = write(tmp_path / "hand.jsonl", [GOOD | ids, GOOD | ids | {"answer": "3", "solution_id": "t"}])
    found, [told] = from_file(path)
    assert found.summary["solutions"] == 1 and "another row tells the problem 'p' in another way" in told


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "it is empty"),
        ([GOOD | {"seed": 3}, GOOD | {"seed": 1}], r"its rows are of the seeds \[1, 3\]; set grid.seeds"),
        (["{"], "1 rows were rejected: .*:1: not JSON"),
    ],
)
def test_a_file_without_a_row_for_the_seed_is_a_mistake(tmp_path, rows, reason):
    path = write(tmp_path / "hand.jsonl", rows)
    with pytest.raises(StageFailed, match=rf"hand.jsonl: no usable row for the seed 0 \({reason}"):
        from_file(path)


def test_source_and_file_belong_together(tmp_path):
    for wrong in ({"source": "file"}, {"file": tmp_path}):
        with pytest.raises(ValueError, match="belong together"):
            LabelSection(**wrong)
