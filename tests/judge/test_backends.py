"""The same checkpoint behind a server: the same votes, and one line where there is no server."""

import json

import pytest

from jprm import cli
from jprm.models.hf_export import to_hf
from tests.judge import checkpoint
from tests.served.models import drawer, make
from tests.served.stub import MODEL, Stub
from tests.verify.published import BRIEF

PROTOCOL = (
    "chat.end_of_turn=<eos>",
    *BRIEF,
    "budget.max_tokens=60",
    "budget.verdict_tokens=6",
    "sampling.temperature=0",
    "sampling.top_k=0",
    "sampling.top_p=1",
)


def run(monkeypatch, *words):
    defaults = ("--context", "768", "--lanes", "4", *PROTOCOL)
    monkeypatch.setattr("sys.argv", ["jprm", "evaluate", *map(str, (*words, *defaults))])
    return cli.main()


def votes(directory):
    rows = (json.loads(line) for line in (directory / "votes.jsonl").read_text().splitlines())
    return {(row["item"], row["step"], row["vote"]): row for row in rows}


@pytest.mark.slow
def test_a_server_gives_the_votes_of_the_engine(monkeypatch, capsys, tmp_path):
    codec, model, params = make(tmp_path / "tokenizer")
    to_hf(tmp_path / "model", model, params, source=tmp_path / "tokenizer")
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(3, steps=2))
    asked = ("--model", tmp_path / "model", "--data", data, "--n", 2)
    assert run(monkeypatch, *asked, "--out", tmp_path / "own") == 0
    served = ("--out", tmp_path / "served", "--backend", "openai", "--concurrency", 2)
    with Stub(drawer(codec, model, params), codec) as stub:
        url = ("--base-url", stub.url)
        assert run(monkeypatch, *asked, *served, *url) == 0
        requests = len(stub.bodies)
        assert requests and {body["model"] for body in stub.bodies} == {MODEL}
        assert run(monkeypatch, *asked, *served, *url) == 0
        assert len(stub.bodies) == requests, "nothing was missing"
    found, expected = votes(tmp_path / "served"), votes(tmp_path / "own")
    assert found.keys() == expected.keys() and len(found) == 3 * 2, "greedy votes: one of two"
    for key, row in found.items():
        for name in ("text", "executions", "generated_tokens", "reason"):
            assert row[name] == expected[key][name]
        assert row["verdict"]["correct"] == expected[key]["verdict"]["correct"]
    capsys.readouterr()
    other = (*asked, "--out", tmp_path / "new", "--backend", "openai")
    assert run(monkeypatch, *other, "--base-url", "nowhere:no") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: 'nowhere:no' is not a URL")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backend", "vllm"], "--backend vllm: known: own, openai"),
        (["--backend", "openai"], "--backend openai and --base-url URL belong together"),
        (["--base-url", "http://x/v1"], "--backend openai and --base-url URL belong together"),
    ],
)
def test_a_backend_that_cannot_be_meant(monkeypatch, capsys, words, said):
    assert run(monkeypatch, "--data", "x.jsonl", "--model", "y", *words) == 2
    assert said in capsys.readouterr().err
