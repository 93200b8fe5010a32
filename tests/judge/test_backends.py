"""The same checkpoint behind a server: the same votes, and one line where there is no server."""

import json

import numpy as np
import pytest

from jprm import cli
from jprm.models.hf_export import to_hf
from tests.judge import checkpoint
from tests.openai.models import drawer, make
from tests.openai.scripted import drawer as script
from tests.openai.stub import MODEL, Stub
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


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """(arguments, codec) of an evaluation whose model is a script; only its tokenizer is there."""
    directory = tmp_path_factory.mktemp("scripted")
    model, _, _ = make(directory / "model")
    data = checkpoint.write(directory / "pb.jsonl", checkpoint.rows(3, steps=1))
    asked = ("--model", directory / "model", "--data", data, "--n", 1, "--workers", 1)
    return (*asked, "--concurrency", 1, "--backend", "openai", "chat.end_of_turn=<eos>"), model


def evaluate(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["jprm", "evaluate", *map(str, words)])
    return cli.main()


@pytest.mark.parametrize("dialect", ["transformers", "openai"])
def test_what_a_server_cannot_do_is_said_and_stands_in_the_table(monkeypatch, capsys, tmp_path, scripted, dialect):
    """Code runs; without probabilities the vote is read, and is what the results name."""
    asked, codec = scripted
    out = ("--out", tmp_path / "out", "--json", tmp_path / "table.json")
    with Stub(script(codec), codec, dialect) as stub:
        to = ("--base-url", stub.url)
        assert evaluate(monkeypatch, *asked, *out, *to) == 0
        said = capsys.readouterr()
        assert f"{stub.url} serves tiny: takes texts (a blank without width" in said.err
        assert said.out.count("code: ok 3") == 1
        table = json.loads((tmp_path / "table.json").read_text())
        assert table["readout"] == "vote" and table["code"] == {"ok": 3}
        if dialect == "openai":
            return
        demanded = (*asked, *to, "--readout", "prob_raw")
        assert evaluate(monkeypatch, *demanded, "--out", tmp_path / "new") == 2
        assert "--readout prob_raw: http" in capsys.readouterr().err
        assert evaluate(monkeypatch, *demanded, *out) == 2
        assert "have no probabilities; use --readout vote" in capsys.readouterr().err
        direct = (*asked, *to, "--out", tmp_path / "direct", "--scorer", "direct", *out[2:])
        assert evaluate(monkeypatch, *direct) == 0
        assert evaluate(monkeypatch, *direct) == 0, "nothing is missing, and nothing is asked"
        assert json.loads((tmp_path / "table.json").read_text())["readout"] == "vote"


def test_a_row_that_the_server_cannot_answer_is_lost_and_drawn_later(monkeypatch, capsys, tmp_path, scripted):
    """Its reason is safe to read; the others are in the table; a healthy server gives it, too."""
    asked, codec = scripted
    monkeypatch.setenv("OPENAI_API_KEY", "sesame-open")
    out = ("--out", tmp_path / "out", "--json", tmp_path / "table.json")
    draw, sick = script(codec), [True]

    def sour(ids, body):
        if sick and "Ann has 1." in codec.spell(ids):
            return [10**12], np.zeros((1, codec.vocab_size)), "\x1b]0;sesame-open\x07"
        return draw(ids, body)

    monkeypatch.setattr("jprm.http.client.LARGEST_WAIT_S", 0.01)
    with Stub(sour, codec) as stub:
        stub.codec = Telling(codec)
        to = ("--base-url", stub.url)
        assert evaluate(monkeypatch, *asked, *out, *to) == 3
        printed = capsys.readouterr()
        table = json.loads((tmp_path / "table.json").read_text())
        [lost] = table["lost"]
        assert "token_ids.0: Input should be less than" in lost["reason"]
        assert table["rationales"] == 2 and "solutions lost" in printed.out
        for text in (printed.out, printed.err, (tmp_path / "out" / "lost.jsonl").read_text()):
            assert "\x1b" not in text and "sesame-open" not in text
        sick.clear()
        assert evaluate(monkeypatch, *asked, *out, *to) == 0
        assert json.loads((tmp_path / "table.json").read_text())["rationales"] == 3


def test_a_server_that_dies_ends_the_run_in_one_line_and_another_goes_on(monkeypatch, capsys, tmp_path, scripted):
    asked, codec = scripted
    monkeypatch.setattr("jprm.http.client.LARGEST_WAIT_S", 0.01)
    out, draw, answered = ("--out", tmp_path / "out"), script(codec), []

    def dying(ids, body):
        answered.append(ids)
        if len(answered) > 7:  # two of the probe, four of the first solution
            stub.server.socket.close()
            stub.server.drop()
        return draw(ids, body)

    with Stub(dying, codec) as stub:
        stub.server.handle_error = lambda *_: None
        assert evaluate(monkeypatch, *asked, *out, "--base-url", stub.url) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {stub.url}: no answer") and "given up after 8 tries" in said
    stored = votes(tmp_path / "out")
    assert 0 < len(stored) < 3
    with Stub(draw, codec) as stub:
        assert evaluate(monkeypatch, *asked, *out, "--base-url", stub.url) == 0
    found = votes(tmp_path / "out")
    assert len(found) == 3 and stored.items() <= found.items()


class Telling:
    """A codec that spells what is no token."""

    def __init__(self, codec):
        self.codec = codec

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def spell(self, ids):
        return "?" if max(ids, default=0) > self.codec.vocab_size else self.codec.spell(ids)
