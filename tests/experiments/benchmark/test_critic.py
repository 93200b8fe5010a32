"""`--scorer critic`: a reply is a vote on every step, the majority's number counts, and a checkpoint end to end."""

import json

import pytest

from jprm.errors import UserError
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.benchmark.run import run_benchmark
from jprm.records import Problem, Solution
from jprm.score import Generator, Setup, find_scorer
from jprm.verify import VerifySettings, paragraph_verdicts
from tests.experiments.benchmark import checkpoint, stored
from tests.verify.fakes import FakeTokenizer, ScriptedSampler
from tests.verify.test_critique import critique

SOLUTION = Solution("s", "p", ("8+3=11\n", "11+8=20\n", "So 20.\n"), "planted")
REPLIES = iter([r"\boxed{1}", r"\boxed{-1}", "nothing", r"\boxed{7}"])
SHORT = ("prompt='{problem} {solution}'", "max_tokens=40", "sampling.temperature=1.0", "sampling.top_k=0")


def test_a_reply_is_a_vote_on_every_step():
    tokenizer, replies = FakeTokenizer(), {}
    sampler = ScriptedSampler(tokenizer, lambda sample_id, _: replies.setdefault(sample_id, next(REPLIES)))
    settings = VerifySettings(context_tokens=10_000, style="analysis", execute="none", template=critique())
    generator = Generator(sampler, None, tokenizer, settings)  # type: ignore[arg-type]
    scorer = find_scorer("critic")(Setup(None, "chain", "vote", 0, False, lambda style, execute: generator))
    heard: dict = {}
    items = [(Problem("p", "Ann has 8.\n", "19"), SOLUTION)]
    ended = list(scorer.judge(items, range(4), {}, lambda r: heard.setdefault(r.vote, []).append(r)))
    assert [e.lost for e in ended] == [""]
    by_text = {rows[0].text: rows for rows in heard.values()}
    words = {text: [r.verdict.correct for r in rows] for text, rows in by_text.items()}
    assert words == {
        r"\boxed{1}": [True, False, False],
        r"\boxed{-1}": [True] * 3,
        "nothing": [None] * 3,
        r"\boxed{7}": [None] * 3,
    }
    assert {r.unread for r in by_text["nothing"]} == {"no box"}
    assert {(r.reason, r.unread) for r in by_text[r"\boxed{7}"]} == {("no_verdict", "box holds another number")}
    assert [bool(r.text) for r in by_text[r"\boxed{1}"]] == [True, False, False]


def test_the_majority_s_number_counts(tmp_path, monkeypatch):
    """Of five votes 0 is named twice, every other number once; the mean reward falls below 1/2 at step 1 only."""
    numbers = iter([0, 0, 1, 2, -1])
    words = lambda self, text, steps: paragraph_verdicts(rf"\boxed{{{next(numbers)}}}", steps)  # noqa: E731
    monkeypatch.setattr(find_scorer("critic"), "words", words)
    model, data = checkpoint.make(tmp_path / "tiny"), checkpoint.write(tmp_path / "pb.jsonl", [checkpoint.row(1, 0)])
    options = dict(scorer="critic", model=model, data=data, n=5, slots=1, out=tmp_path / "out", full=True)
    assert run_benchmark(read_config(**options, overrides=SHORT, json_file=tmp_path / "found.json")) == 0
    scores = json.loads((tmp_path / "found.json").read_text())["scores"]
    [row] = [row for row in scores if row["group"] == "overall" and row["k"] == 5]
    assert row["measures"]["error_acc"]["value"] == 1.0


def test_a_checkpoint_from_end_to_end(tmp_path):
    model = checkpoint.make(tmp_path / "tiny")
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(2))
    options = dict(scorer="critic", model=model, data=data, slots=1, n=2, out=tmp_path / "out", overrides=SHORT)
    assert run_benchmark(read_config(**options)) == 0
    votes = stored.votes(tmp_path / "out")
    assert votes and {r["verdict"]["p_yes_raw"] for r in votes.values()} == {None}
    before = stored.contents(tmp_path / "out")
    assert run_benchmark(read_config(**options)) == 0 and stored.contents(tmp_path / "out") == before
    with pytest.raises(UserError, match="has no P.Yes.; use --readout vote"):
        run_benchmark(read_config(**options | {"out": tmp_path / "other", "readout": "prob_raw"}))


def test_a_base_model_has_no_chat(tmp_path):
    model = checkpoint.make(tmp_path / "tiny")
    (model / "chat_template.jinja").unlink()
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(2))
    with pytest.raises(UserError, match="no chat template"):
        run_benchmark(read_config(scorer="critic", model=model, data=data, n=1, out=tmp_path / "out"))
