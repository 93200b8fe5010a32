"""`--scorer thinkprm`: one chain per vote, its words on the steps, and a checkpoint from end to end."""

import json

import pytest

from jprm import cli
from jprm.records import Problem, Solution
from jprm.score import Generator, Setup, find_scorer
from jprm.verify import VerifySettings
from tests.experiments.benchmark import checkpoint, stored
from tests.verify.fakes import FakeTokenizer, ScriptedSampler
from tests.verify.published import thinkprm

PROBLEM = Problem("p", "Ann has 8.\n", "19")
SOLUTIONS = [Solution(f"s{n}", "p", ("8+3=11\n", "11+8=20\n", "So 20.\n")[:n], "planted") for n in (3, 1)]
CHAIN = r"Step 1: \boxed{correct} Step 2: \boxed{incorrect}</think>"
SIZES = ("--slots", "1", "--n", "2", "--json")
SHORT = ("budget.max_tokens=40", "yes=Yes", "no=No", r'question="\nIs the solution correct? "')


def judged(known, votes=(0, 1), killed_after=None):
    """(what was heard, by solution, step and vote; the conversations that were begun)."""
    tokenizer = FakeTokenizer(pieces=("<think>", "</think>", "Yes", "No"))
    sampler = ScriptedSampler(tokenizer, lambda _, text: "No" if text.endswith("? ") else CHAIN)
    settings = VerifySettings(context_tokens=10_000, style="analysis", execute="none", template=thinkprm())
    generator = Generator(sampler, None, tokenizer, settings)
    scorer = find_scorer("thinkprm")(Setup(None, "chain", "vote", 0, False, lambda style, execute: generator))
    heard = {}

    def hear(rationale):
        if len(heard) == killed_after:
            raise KeyboardInterrupt
        assert heard.setdefault((rationale.solution_id, rationale.step, rationale.vote), rationale) is rationale

    ended = scorer.judge([(PROBLEM, solution) for solution in SOLUTIONS], votes, known, hear)
    if killed_after is None:
        assert {e.solution_id: e.lost for e in ended} == {"s3": "", "s1": ""}
    else:
        with pytest.raises(KeyboardInterrupt):
            list(ended)
    return heard, sum(n for _, n in sampler.prompts)


def test_a_chain_is_a_vote_on_every_step():
    heard, conversations = judged({})
    assert conversations == 4 and len(heard) == 2 * (3 + 1)
    rows = [heard["s3", step, 1] for step in range(3)]
    assert [r.verdict.correct for r in rows] == [True, False, None]
    assert [(r.reason, r.unread) for r in rows] == [("", ""), ("", ""), ("no_verdict", "no box")]
    assert rows[0].verdict.p_yes_raw == rows[1].verdict.p_yes_raw < 0.5, "of the whole solution"
    assert [bool(r.text) for r in rows] == [bool(r.generated_tokens) for r in rows] == [True, False, False]


def test_what_an_earlier_run_heard_is_not_asked_again():
    whole, _ = judged({})
    killed, _ = judged({}, killed_after=4)
    known = {name: [r for r in killed.values() if r.solution_id == name] for name in ("s3", "s1")}
    rest, conversations = judged(known)
    assert killed | rest == whole and not killed.keys() & rest.keys()
    assert conversations < 4
    more, conversations = judged(
        {s.id: [r for r in whole.values() if r.solution_id == s.id] for s in SOLUTIONS}, (0, 1, 2)
    )
    assert conversations == 2 and {vote for _, _, vote in more} == {2}


def test_a_checkpoint_from_end_to_end(monkeypatch, capsys, tmp_path):
    """A random model says nothing of its steps; the chain, the forced verdict and the resumption are real."""
    model = checkpoint.make(tmp_path / "tiny")
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(2))
    words = ["jprm", "evaluate", "--scorer", "thinkprm", "--model", model, "--data", data, "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", [str(word) for word in (*words, *SIZES, tmp_path / "table.json", *SHORT)])
    assert cli.main() == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert (table["scorer"], table["readout"]) == ("thinkprm", "vote") and set(table["none"]) <= {
        "no_verdict",
        "budget",
    }
    first = next(iter(stored.votes(tmp_path / "out").values()))
    assert (
        first["text"].startswith("<think>\nLet's verify step by step:")
        and "\nIs the solution correct? " in first["text"]
    )
    before = stored.contents(tmp_path / "out")
    assert cli.main() == 0 and stored.contents(tmp_path / "out") == before
    monkeypatch.setattr("sys.argv", [*map(str, words), "chat.bos=x"])
    assert cli.main() == 2 and 'unknown key "chat.bos"' in capsys.readouterr().err
