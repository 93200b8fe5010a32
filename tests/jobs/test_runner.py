"""Tasks as values, their order, what is computed once, what fails, and whose results a directory holds."""

import dataclasses
import json
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.jobs import Graph, RunDirectory, StageFailed, Stages, Task, Worker, claim_directory, open_run
from jprm.jobs.directory import check_writable
from jprm.records import append_jsonl, read_jsonl


@dataclasses.dataclass(frozen=True, eq=False)
class Sums(Task):
    """The sum of its parents and a number; `calls` counts how often any of them was computed."""

    kind = "sums"
    calls: ClassVar[list[str]] = []
    number: int
    below: tuple[Task, ...] = ()
    fails: str = ""  # decides no key

    def parents(self):
        return self.below

    def inputs(self):
        return {"number": self.number, "parents": [task.key for task in self.below]}

    def compute(self, stage, context):
        self.calls.append(self.key)
        if self.fails == "mistake":
            raise UserError("choose another number")
        if self.fails:
            raise ZeroDivisionError(self.fails)
        return {"sum": self.number + sum(context.stages[task].summary["sum"] for task in self.below)}


@pytest.fixture(autouse=True)
def forget_calls():
    Sums.calls.clear()


def test_tasks_are_equal_if_their_keys_are():
    one, same = Sums(1, (Sums(2),)), Sums(1, (Sums(2),))
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    assert one != Sums(1, (Sums(3),)) and one != Sums(1) and one != 1
    assert dataclasses.replace(one, number=5).key != one.key, "a changed copy has a key of its own"


@given(st.data())
def test_a_graph_has_every_task_once_and_parents_first(data):
    tasks: list[Task] = []
    for number in range(data.draw(st.integers(1, 8))):
        below = data.draw(st.lists(st.sampled_from(tasks), max_size=3, unique=True)) if tasks else []
        tasks.append(Sums(number, tuple(below)))
    asked = data.draw(st.lists(st.sampled_from(tasks), min_size=1))
    graph = Graph(Stages("nowhere"), asked)  # type: ignore[arg-type]
    place = {task: i for i, task in enumerate(graph.tasks)}
    assert len(place) == len(graph.tasks) and set(asked) <= place.keys()
    assert all(place[parent] < place[task] for task in graph.tasks for parent in task.parents())


def test_each_task_is_computed_once_whoever_asks(tmp_path):
    shared = Sums(1)
    left, right = Sums(10, (shared,)), Sums(20, (Sums(1),))
    top = Sums(100, (left, right))
    with open_run(tmp_path, [top], None) as runner:
        assert runner.ensure(top).summary == {"sum": 132}
        assert runner.ensure(left).summary == {"sum": 11} and (runner.computed, runner.reused) == (4, 0)
    assert len(Sums.calls) == 4
    with open_run(tmp_path, [top], None) as runner:
        assert runner.ensure(top).done and len(Sums.calls) == 4
        runner.count_reused()
        assert (runner.computed, runner.reused) == (0, 4)


def test_a_leader_comes_first_and_its_failure_harms_nobody(tmp_path):
    for name, fails in (("good", ""), ("bad", "no")):
        leader, follower = Sums(1, fails=fails), Sums(2)
        with open_run(tmp_path / name, [follower, leader], None, leaders={follower: leader}) as runner:
            assert runner.ensure(follower).summary == {"sum": 2}
            assert Sums.calls[-2:] == [leader.key, follower.key] and (leader.key in runner.failures) == bool(fails)


def test_a_failure_is_told_where_it_is_asked_for_and_nowhere_else(tmp_path):
    broken, sound = Sums(1, fails="by zero"), Sums(2)
    above, mistaken = Sums(3, (broken,)), Sums(4, fails="mistake")
    with open_run(tmp_path, [above, sound, mistaken], None) as runner:
        for _ in range(2):
            with pytest.raises(StageFailed, match="ZeroDivisionError: by zero"):
                runner.ensure(above)
        assert runner.ensure(sound).done and Sums.calls.count(broken.key) == 1, "it is not tried twice"
        with pytest.raises(StageFailed):
            runner.ensure(mistaken)
        assert runner.failure_below(above).reason == "ZeroDivisionError: by zero"
        assert runner.failure_below(mistaken).user_error and runner.failure_below(sound) is None
        assert runner.failure_below(Sums(99)).status == "missing"
        record = json.loads((runner.stages[broken].path / "failure.json").read_text())
        assert record["status"] == "failed" and "Traceback" in record["traceback"]
    with open_run(tmp_path, [Sums(3, (Sums(1),))], None) as runner:
        assert runner.ensure(Sums(3, (Sums(1),))).summary == {"sum": 4}, "the cause is gone"


@dataclasses.dataclass(frozen=True, eq=False)
class Parted(Task):
    """Rows that may be made in parts, which the whole takes over."""

    kind = "parted"
    n: int

    def inputs(self):
        return {"n": self.n}

    def parts(self, stages):
        return tuple(Part(self, i) for i in range(self.n))

    def compute(self, stage, context):
        parts = [context.stages[part] for part in self.parts(context.stages)]
        taken = [row for part in parts if part.look() for row in read_jsonl(part.file("rows.jsonl"))]
        append_jsonl(stage.file("rows.jsonl"), taken)
        return {"taken": len(taken)}


@dataclasses.dataclass(frozen=True, eq=False)
class Part(Task):
    """One row."""

    kind = "part"
    whole: Parted
    i: int

    def inputs(self):
        return {"whole": self.whole.key, "i": self.i}

    def compute(self, stage, context):
        append_jsonl(stage.file("rows.jsonl"), [{"i": self.i}])
        return {}


def test_a_worker_does_the_parts_and_the_whole_takes_them_over(tmp_path):
    with open_run(tmp_path, [Parted(3)], None, shared=True) as runner:
        worker = Worker(runner, poll_s=0.01)
        worker.work()
        stage = runner.stages[Parted(3)]
        assert stage.look() and stage.summary == {"taken": 3} and runner.computed == 1
        assert [path.name for path in (tmp_path / "stages").iterdir()] == [stage.path.name], "no part is left"
        assert worker.conclude_once(lambda: 7) == 7 and not (tmp_path / "table").exists()


def test_a_directory_belongs_to_its_configuration(tmp_path):
    file = tmp_path / "config.json"
    mine = {"name": "a", "train": {"steps": 5, "rate": 0.1}, "launch": {"workers": 2}}
    claim_directory(file, mine, "give another")
    claim_directory(file, mine | {"launch": {"workers": 9}, "name": "b"}, "give another", free=("launch", "name"))
    other = mine | {"train": {"steps": 6, "rate": 0.1}}
    with pytest.raises(UserError) as caught:
        claim_directory(file, other, "give another", free=("launch", "name"))
    assert str(caught.value) == (
        f"{tmp_path}: holds another run; it differs in train.steps (5 there, 6 now); give another"
    )
    claim_directory(file, other, "give another", replace=True)
    assert json.loads(file.read_text()) == other
    file.write_text("{broken")
    with pytest.raises(UserError, match="give another"):
        claim_directory(file, mine, "give another")


def test_where_a_directory_could_be_made_is_said_without_making_it(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_writable(tmp_path / "file" / "b")
    with RunDirectory(tmp_path / "run"):
        assert (tmp_path / "run" / "stages").is_dir()
