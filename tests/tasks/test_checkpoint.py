"""A checkpoint's sampling as a task: what decides its votes, and which of them one task takes over from another."""

import io
import json

import pytest

from jprm.errors import UserError
from jprm.jobs import Graph, Progress, Runner, Stages
from jprm.score import StepScorer, find_scorer, scorer
from jprm.score.scorers.genprm import DirectScorer, GenPRMScorer
from jprm.score.scorers.head import HeadScorer
from jprm.tasks.benchmark import load_items
from jprm.tasks.benchmark_file import BenchmarkFile
from jprm.tasks.checkpoint import CheckpointSampling, recorded_engine
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.samplers import recorded_sizes
from jprm.tasks.settings import CheckpointSection
from jprm.tasks.votes import CHOICES, Votes, load_rationales
from tests.experiments.benchmark import checkpoint
from tests.verify.published import published


@scorer("half")
class Half(StepScorer):
    def scores(self, problem, steps, seed):
        return [0.5] * len(steps)


@pytest.fixture
def benchmark(tmp_path):
    path = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(5))
    with open(path, "a") as file:
        file.write("no row\n")
    return BenchmarkFile(path)


def sampling(**options):
    settings = CheckpointSection(**{"scorer": "half"} | options)
    return CheckpointSampling.of(None, settings, find_scorer(settings.scorer), published())


def computed(root, *tasks):
    graph = Graph(Stages(root), tasks)
    with Resources() as resources:
        runner = Runner(graph, resources, Progress(1.0, io.StringIO()), Speed())
        return [runner.ensure(task) for task in tasks]


def test_a_file_is_a_set_of_solutions(tmp_path, benchmark):
    [stage] = computed(tmp_path / "run", benchmark)
    assert stage.summary == {"items": 5, "rejected": 1}
    items = load_items(stage)
    assert [(i.problem, i.solution) for i in items] == [(r.problem, r.solution) for r in benchmark.contents.rows]
    names = [json.loads(line) for line in stage.file("rows.jsonl").read_text().splitlines()]
    assert [(n["solution_id"], n["id"]) for n in names] == [(r.solution.id, r.name) for r in benchmark.contents.rows]
    assert not benchmark.scores_solutions and BenchmarkFile(benchmark.path, full=True).scores_solutions
    assert BenchmarkFile(benchmark.path, full=True) == benchmark, "which steps are judged is no matter of the set"
    benchmark.path.write_text(benchmark.path.read_text() + "\n")
    assert BenchmarkFile(benchmark.path).key != benchmark.key


def test_tasks_of_one_sampling_are_related_and_no_others(tmp_path, benchmark):
    every = BenchmarkFile(benchmark.path, full=True)
    tasks = [Votes(sampling(), benchmark, 2), Votes(sampling(), every, 3, limit=2), Votes(sampling(seed=1), every, 3)]
    first, _, other = computed(tmp_path / "run", *tasks)
    stages = Stages(tmp_path / "run")
    assert {s.key for s in stages.alike(tasks[1], CHOICES)} == {first.key}
    assert not list(stages.alike(tasks[2], CHOICES)) and first.key != other.key
    assert {s.key for s in stages.alike(Votes(sampling(readout="vote"), benchmark, 9), CHOICES)} == {
        task.key for task in tasks[:2]
    }
    rationales = load_rationales(other)
    assert len(rationales) == 5 and all(len(r) == 3 * 3 for r in rationales.values())


def test_the_identity_names_all_that_decides_the_votes():
    base = sampling()
    assert base.identity["protocol"] is None, "a scorer that samples no model has no protocol"
    for change in ({"seed": 1}, {"mode": "fork"}, {"overflow": "drop_code"}):
        assert sampling(**change).identity != base.identity
    for change in ({"slots": 3}, {"workers": 2}, {"place": "ray"}, {"readout": "vote"}, {"dtype": "bfloat16"}):
        assert sampling(**change).identity == base.identity
    again = CheckpointSampling(find_scorer("half"), "prob_raw", json.loads(json.dumps(base.identity)))
    assert again.inputs() == base.inputs()
    with pytest.raises(UserError, match="--model DIR is missing"):
        sampling(scorer="genprm")


def test_greedy_sampling_has_one_vote():
    def votes(scorer, temperature, top_k=0, asked=4):
        values = {"temperature": temperature, "top_k": top_k}
        identity = {f"protocol.sampling.{key}": value for key, value in values.items()}
        return CheckpointSampling(scorer, "vote", identity).draws(asked)

    assert votes(GenPRMScorer, 0) == votes(DirectScorer, 0.0) == votes(GenPRMScorer, 1.0, 1) == 1
    assert votes(GenPRMScorer, 0.6) == votes(Half, 0) == 4, "of a scorer without a model it says nothing"
    assert votes(HeadScorer, 1.0) == 1, "a forward pass is the same every time"


def test_how_an_engine_was_opened_holds_for_votes_that_it_drew(tmp_path, benchmark):
    stages = Stages(tmp_path / "run")
    [stage] = computed(stages.root, Votes(sampling(), benchmark, 2))
    (stage.path / "engine.json").write_text('{"slots": 4}')
    more = Votes(sampling(), benchmark, 3)
    assert recorded_engine(stages, more) == {"slots": 4}
    assert recorded_engine(stages, Votes(sampling(seed=1), benchmark, 3)) == {}
    stage.file("rationales.jsonl").unlink()
    assert recorded_engine(stages, more) == {}, "sizes that were too large bind nobody"


def test_recorded_sizes_hold_and_what_is_asked_lies_over_them():
    recorded = {"backend": "own", "dtype": "float32", "slots": 4, "slot_groups": 2, "context_tokens": 768}
    sizes = recorded_sizes(recorded, CheckpointSection())
    assert (sizes.slots, sizes.slot_groups, sizes.context_tokens) == (4, 2, 768)
    assert recorded_sizes(recorded, CheckpointSection(), 256).first_entries == 0, "without spans it would change bits"
    assert recorded_sizes(recorded | {"attend_span": 128}, CheckpointSection(), 256).first_entries == 256
    assert recorded_sizes(recorded, CheckpointSection(slots=3)) == sizes, "in whole groups, as when it was chosen"
    assert recorded_sizes(recorded, CheckpointSection(slots=5)).slots == 6
    assert recorded_sizes(recorded, CheckpointSection(context=512)).context_tokens == 512
    for damage in ({"slots": 4}, {"slot_groups": 2, "slots": "4"}):
        with pytest.raises(UserError, match=r"engine\.json: not the sizes of an engine"):
            recorded_sizes(damage, CheckpointSection())
