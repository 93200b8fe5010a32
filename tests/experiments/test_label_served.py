"""Problems of a file, labelled by a served policy: what fails is a row with its reason, and the next run fills it."""

import json

import numpy as np
import pytest

from jprm.chat import ChatCodec
from jprm.cli import app, guarded
from jprm.records import read_jsonl
from jprm.tasks import served
from tests.experiments.benchmark import checkpoint
from tests.openai.stub import Stub

PROBLEMS = [{"question": f"What is {i} and 1?", "answer": str(i + 1)} for i in range(8)]
BAD = [{"question": "What is it?"}, {"question": "What is 9 and 1?", "answer": "."}, "no JSON"]
UNSOLVED, REFUSED = 2, 5  # by the policy, by the server


def label(*words) -> int:
    return guarded(lambda: app(["label", *map(str, words)], standalone_mode=False))


def policy(codec, refuses=()):
    """A server's `draw`: of every problem but one three of four solutions are right."""

    def draw(ids, body):
        text = codec.spell(ids)
        number = next(i for i, row in enumerate(PROBLEMS) if row["question"] in text)
        if number in refuses:
            raise Refuses
        right = number != UNSOLVED and body["seed"] % 4
        steps = ("First we add.\n\n", f"So it is \\boxed{{{number + 1 if right else 99}}}.")
        told = "".join(steps[1:] if steps[0] in text else steps)
        drawn = [*codec.encode(told), codec.eos_id][: body["max_tokens"]]
        return drawn, np.zeros((len(drawn), codec.vocab_size)), drawn[-1] == codec.eos_id and codec.eos_id

    return draw


class Refuses(Exception):
    """The server does not take a prompt."""


class Server(Stub):
    """Answers 413 where `draw` refuses, and no probe."""

    def answer(self, body):
        try:
            return super().answer(body)
        except Refuses:
            return 413, {"message": "too large"}
        except StopIteration:  # a text without one of the problems
            return 200, {"choices": [{"text": "a", "token_ids": [5], "finish_reason": "length", "logprobs": None}]}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The configuration but for the server: three rows of its file are bad. Nobody waits for a server here."""
    monkeypatch.setattr(served, "TRIES", 2)
    monkeypatch.setattr("jprm.http.LARGEST_WAIT_S", 0.01)
    rows = [row if isinstance(row, str) else json.dumps(row) for row in (*PROBLEMS[:3], *BAD, *PROBLEMS[3:])]
    (tmp_path / "problems.jsonl").write_text("\n".join(rows) + "\n")
    model = checkpoint.make(tmp_path / "model")
    return model, [
        f"directory={tmp_path / 'runs'}",
        "name=served",
        "world.kind=problems",
        f"world.settings={{train='{tmp_path / 'problems.jsonl'}', dev_share=0, test_share=0}}",
        "evaluate.benchmarks=['processbench']",
        "evaluate.candidates_problems=0",
        "grid.sizes=['/no/such/base']",
        "labels.problems=8",
        "labels.planted_solutions=0",
        "labels.rollout_divisor=16",
        "labels.first_samples=8",
        "labels.max_tokens=200",
        "labels.context_tokens=1000",
        "model.prompt.style=plain",
    ]


def test_what_fails_is_a_row_and_the_rest_goes_on(words, tmp_path, capsys):
    model, words = words
    codec = ChatCodec.load(model)
    run = tmp_path / "runs" / "served"
    with Server(policy(codec, refuses=(REFUSED,)), codec) as server:
        there = f"model.policy={{model='{model}', base_url='{server.url}'}}"
        assert label(*words, there) == 3
        told = capsys.readouterr()
        assert "unused: 1 problems: rollouts lost" in told.out and "unused: 1 problems: unsolvable" in told.out
        assert "rejected in reading: 3 rows" in told.out and "Traceback" not in told.err
        reasons = [row["reason"] for row in read_jsonl(run / "unused.jsonl")]
        assert sum("rollouts lost: HTTP status 413" in reason for reason in reasons) == 1
        assert sum("problems.jsonl:" in reason for reason in reasons) == 3 and len(reasons) == 5
        first = read_jsonl(run / "labels.jsonl")
        asked = len(server.bodies)
    with Server(policy(codec), codec) as server:
        there = f"model.policy={{model='{model}', base_url='{server.url}'}}"
        assert label(*words, there) == 3, "rows of the file are still bad"
        assert len(server.bodies) < asked / 3, "only what was lost is asked for"
    rows = read_jsonl(run / "labels.jsonl")
    assert {row["problem_id"] for row in rows} > {row["problem_id"] for row in first}
    assert len({row["problem_id"] for row in rows}) == 7
    for row in rows:
        assert len(row["steps"]) == 2 and len(row["mc"]) == 3 and 0 < row["mc"][0] <= 1
        assert row["first_error"]["hard"] == (row["mc"].index(0) - 1 if 0 in row["mc"] else -1)


def test_a_server_that_dies_ends_the_command_and_nothing_is_lost(words, tmp_path, capsys):
    model, words = words
    codec = ChatCodec.load(model)
    with Server(policy(codec), codec) as server:
        draw, left = server.draw, [40]

        def dying(ids, body):
            left[0] -= 1
            if left[0] < 0:
                server.server.drop()
                raise ConnectionResetError
            return draw(ids, body)

        server.draw = dying
        there = f"model.policy={{model='{model}', base_url='{server.url}'}}"
        assert label(*words, there) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"error: {server.url}: ") and "no answer" in error
    [log] = (tmp_path / "runs" / "served" / "stages").glob("labels-*/rollouts.jsonl")
    stored = len(read_jsonl(log))
    assert stored > 20
    with Server(policy(codec), codec) as server:
        there = f"model.policy={{model='{model}', base_url='{server.url}'}}"
        assert label(*words, there) == 3
        drawn = sum("What is" in codec.spell(b["prompt"]) for b in server.bodies if isinstance(b["prompt"], list))
        assert len(read_jsonl(log)) == stored + drawn
