"""A teacher's attempts as a task: none is drawn twice, and wherever a run ends the next one has the same result."""

import dataclasses
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jprm.chat import ChatCodec
from jprm.jobs import StageFailed, Stages, open_run
from jprm.label.consensus import ACCEPTS_WRONG
from jprm.records import Rationale, read_jsonl
from jprm.tasks.labels import load_examples
from jprm.tasks.resources import Speed
from jprm.tasks.settings import TrainSection
from jprm.tasks.teacher_rationales import ATTEMPTS, KEPT, load_kept, read_lost, stream_attempts
from jprm.tasks.verifier import TrainedVerifier
from jprm.verify.teacher import NO_CONCLUSION, UNCLOSED
from tests.chat.checkpoints import make
from tests.tasks.scripted_teacher import FakeResources, KilledSampler, ScriptedTeacher, compute, solutions, task

ROOT = Path(__file__).resolve().parents[2]


class Interrupted(Exception):
    """A run that ends."""


def interrupt():
    raise Interrupted


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tokenizer") / "qwen", "qwen")


@pytest.fixture(scope="module")
def codec(tokenizer):
    return ChatCodec.load(tokenizer)


@pytest.fixture(scope="module")
def undisturbed(codec, tmp_path_factory):
    """The stage of a run that nothing has interrupted, and how many polls it took."""
    samplers = []

    def watched(codec):
        samplers.append(KilledSampler(codec))
        return samplers[-1]

    [stage] = compute(tmp_path_factory.mktemp("run"), task(codec, watched))
    assert not samplers[0].conversations
    return stage, next(samplers[0].polls)


def attempts(stage) -> dict[tuple[str, int], Rationale]:
    return {(r.solution_id, r.vote): r for r in stream_attempts(stage.file(ATTEMPTS))}


def same(stage, other):
    assert attempts(stage) == attempts(other)
    assert stage.file(KEPT).read_bytes() == other.file(KEPT).read_bytes() and stage.summary == other.summary


def test_attempts_are_drawn_until_one_is_kept(undisturbed):
    stage, _ = undisturbed
    losses = {(row["solution_id"], row["vote"]): row["loss"] for row in read_jsonl(stage.file(ATTEMPTS))}
    kept = [(kept.solution_id, kept.attempt) for kept in load_kept(stage)]
    assert kept == [key for key in kept if not losses[key]] and len(kept) == stage.summary["kept"] > 3
    for _, solution in solutions():
        drawn = [attempt for name, attempt in losses if name == solution.id]
        assert drawn == list(range(len(drawn)))
        ends = [losses[solution.id, attempt] for attempt in drawn]
        assert all(ends[:-1]) and (not ends[-1] or len(ends) == 3)
    assert set(stage.summary["losses"]) == {NO_CONCLUSION, UNCLOSED, ACCEPTS_WRONG}
    assert stage.summary["attempts"] == len(losses) == stage.summary["kept"] + sum(stage.summary["losses"].values())
    order = [solution.id for _, solution in solutions()]
    assert [name for name, _ in kept] == sorted([name for name, _ in kept], key=order.index)


def test_kept_attempts_have_analysis_code_output_and_verdict(undisturbed):
    truth = {solution.id: solution for _, solution in solutions()}
    for kept in load_kept(undisturbed[0]):
        solution = truth[kept.solution_id]
        judged = len(solution.steps) if kept.first_error < 0 else kept.first_error + 1
        assert kept.first_error == solution.first_error and len(kept.steps) == judged
        assert [step.verdict for step in kept.steps] == [t != kept.first_error for t in range(judged)]
        assert [e.code for step in kept.steps for e in step.executions] == ["print(1 + 1)", "print(1)", "print(2)"][
            :judged
        ]
        assert all(step.analysis == "Let us see." for step in kept.steps)


@pytest.mark.parametrize("part", range(10))
def test_a_run_that_ends_anywhere_goes_on_to_the_same(part, codec, undisturbed, tmp_path):
    stage, polls = undisturbed
    drawn = []

    def drawing(codec, at=None):
        sampler = KilledSampler(codec, at, interrupt)
        drawn.append(sampler)
        return sampler

    with pytest.raises(StageFailed):
        compute(tmp_path, task(codec, lambda codec: drawing(codec, part * polls // 10)))
    stored = attempts_so_far(tmp_path)
    [again] = compute(tmp_path, task(codec, drawing))
    same(again, stage)
    assert set(stored) <= set(attempts(again)) and (stored or part < 5)
    assert sum(n for _, n in drawn[1].prompts) == len(attempts(again)) - len(stored)  # nothing is drawn twice


def attempts_so_far(run):
    [path] = (run / "stages").glob("rationales-*")
    return [(r.solution_id, r.vote) for r in stream_attempts(path / ATTEMPTS)]


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_torn(tokenizer, codec, undisturbed, tmp_path):
    stage, polls = undisturbed
    for at in (polls // 2, polls // 4, 1):
        command = [sys.executable, "-m", "tests.tasks.scripted_teacher", str(tmp_path), str(tokenizer), str(at)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with open(next((tmp_path / "stages").glob("rationales-*")) / ATTEMPTS, "ab") as file:
            file.write(b'{"solution_id": "s0-ri')  # as a kill in the middle of a write leaves it
    [again] = compute(tmp_path, task(codec))
    same(again, stage)


def test_lost_attempts_are_counted_and_asked_for_again(codec, undisturbed, tmp_path):
    stage, _ = undisturbed
    with pytest.raises(StageFailed, match=r"2 attempts of the teacher were lost \(the server said 500\); run"):
        compute(tmp_path, task(codec, lambda codec: KilledSampler(codec, lost=(4, 9))))
    [path] = (tmp_path / "stages").glob("rationales-*")
    lost = read_jsonl(path / "lost.jsonl")
    assert len(lost) == 2 and {row["reason"] for row in lost} == {"the server said 500"}
    stored = attempts_so_far(tmp_path)
    assert not {(row["solution_id"], row["attempt"]) for row in lost} & set(stored)
    assert stored and read_jsonl(path / KEPT)
    [again] = compute(tmp_path, task(codec))
    same(again, stage)
    assert not read_lost(again) and not again.file("lost.jsonl").exists()


def test_another_rule_takes_over_what_it_can(codec, undisturbed, tmp_path):
    """Labels decide which attempts are wanted, and not what they say."""
    drawn = []

    def drawing(codec):
        drawn.append(KilledSampler(codec))
        return drawn[-1]

    first, free = task(codec, drawing), task(codec, drawing, filtered=False)
    strict, loose = compute(tmp_path, first, free)
    assert len(drawn) == 1  # without the filter no further attempt is needed
    assert attempts(loose).items() <= attempts(strict).items()
    assert ACCEPTS_WRONG not in loose.summary["losses"] and loose.summary["kept"] >= strict.summary["kept"]
    [more] = compute(tmp_path, task(codec, drawing, keep=2))
    kept = [k.solution_id for k in load_kept(more)]
    assert max(kept.count(name) for name in kept) == 2 and len(drawn) == 2
    assert {(k.solution_id, k.attempt) for k in load_kept(strict)} <= {
        (k.solution_id, k.attempt) for k in load_kept(more)
    }
    assert sum(n for _, n in drawn[1].prompts) == len(attempts(more)) - len(attempts(strict))


def test_an_attempt_at_no_labelled_solution_is_named(codec, tmp_path):
    one = task(codec)
    path = Stages(tmp_path)[one].path
    path.mkdir(parents=True)
    (path / ATTEMPTS).write_text(
        '{"solution_id": "other", "step": 0, "vote": 0, "mode": "chain", "text": "", "executions": [], "verdict": '
        '{"correct": null, "p_yes_raw": null, "p_yes_tempered": null}, "generated_tokens": 0, "forced_tokens": 0}\n'
    )
    with pytest.raises(StageFailed, match="an attempt at 'other', which is no labelled solution"):
        compute(tmp_path, one)


def test_a_verifier_learns_what_was_kept(codec, tmp_path):
    """In its own protocol and style, under its own labels; without a teacher its key is what it was."""

    @dataclass(frozen=True, eq=False)
    class Model(ScriptedTeacher):
        params = config = engine = save_tokenizer = None

    teacher, base = task(codec, keep=2), Model(codec, None)
    verifier = TrainedVerifier(base, teacher.labels, 18, "exact", False, "analysis", TrainSection(), teacher.verify)
    taught = dataclasses.replace(verifier, rationales=task(codec, keep=2))
    assert taught.taught == task(codec, keep=2, filtered=False) != teacher
    assert verifier.all_inputs == {k: v for k, v in taught.all_inputs.items() if k != "from rationales"}
    with open_run(tmp_path, [taught.taught, taught.labels], FakeResources(), speed=Speed()) as runner:
        stage = runner.ensure(taught.taught)
        examples = load_examples(runner.stages[taught.labels])[:10]
        conversations = taught.conversations(runner.context, examples)
    known = {example.solution.id for example in examples}
    kept = [k for k in load_kept(stage) if k.solution_id in known]
    assert [(c.solution_id, c.first_error) for c in conversations] == [(k.solution_id, k.first_error) for k in kept]
    for conversation in conversations:
        assert "Let us see.</analyze>" in conversation.text and "print" not in conversation.text
        learnt = "".join(text for pieces in conversation.documents for text, trained in pieces if trained)
        assert learnt.count("Let us see.") == learnt.count("{Yes}") + learnt.count("{No}") >= 1
