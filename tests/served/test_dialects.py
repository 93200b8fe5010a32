"""Every dialect that can be served at all gives the same texts, code and verdicts; others are refused."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.execute import Pool, PreloadLevel
from jprm.sample import SamplingParams
from jprm.served import ServedSampler, turn
from jprm.served.completions import read_completion
from jprm.tokenizer import bpe_tokenizer
from jprm.verify import LOST, Settings, trigger_ids, verify
from tests.served.scripted import REPLIES, drawer
from tests.served.stub import DIALECTS, MODEL, Stub
from tests.verify.published import item, published

PUBLISHED = published("chat.end_of_turn=<eos>", "chat.system=Review.", "budget.max_tokens=400")
ITEMS = [item("a", "Step 1: 8+3=11\n", "Step 2: so 12\n"), item("b", "Step 1: 8-3=5\n")]
SAID = {
    "vllm": "takes token ids; answers with token ids; names the stop text; log-probabilities of named",
    "vllm-old": "takes token ids; answers with token ids; names the stop text; up to 20 log-probabilities",
    "sglang": "takes token ids; answers with texts of tokens; names the stop text; up to 20 log-prob",
    "text": "answers with a text alone (tokenised again here); names the stop text; no log-prob",
    "kept": "takes token ids; answers with token ids; keeps the stop text; up to 20 log-probabilities",
    "llama.cpp": "answers with token ids; removes the stop text without a word (cut here, 7 tokens at a "
    "time); up to 20 log-probabilities a token",
    "openai": "up to 5 log-probabilities a token; refuses top_k (no top-k), stop_token_ids, add_spec",
    "transformers": "no log-probabilities a token; verdicts are read without probabilities; refuses",
    "no stops": "ignores or refuses stop texts (cut here, 7 tokens at a time)",
    "strict": "names the stop text; up to 1 log-probabilities a token; verdicts are read without",
}


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """U+FFFD is a token, too: many vocabularies have it."""
    directory = tmp_path_factory.mktemp("dialects")
    chat, tags = PUBLISHED.chat, PUBLISHED.tags
    special = [chat.bos, chat.user, chat.assistant, tags.yes, tags.no, "\ufffd"]
    texts = [*REPLIES, *REPLIES.values(), *tags.model_dump().values()]
    bpe_tokenizer(texts * 5, 420, special).save(directory)
    return ChatCodec.load(directory)


def served(codec, stub, sampling=None, **keywords):
    triggers = trigger_ids(codec, codec.vocab_size, PUBLISHED.stops)
    patience = dict(first_wait_s=0.01, tries=3, timeout_s=5.0, concurrency=2)
    return ServedSampler(
        stub.url,
        codec,
        sampling or SamplingParams(0.6, 20, 0.95),
        model=MODEL,
        stop_texts=PUBLISHED.stops,
        triggers=triggers,
        **patience | keywords,
    )


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:
        yield pool


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_dialects_tell_the_same(codec, pool, dialect, monkeypatch):
    """The code runs, and what it prints is read, whatever the server makes of a stop."""
    monkeypatch.setattr(turn, "PIECE_TOKENS", 7)
    monkeypatch.setattr("jprm.served.dialect.PIECE_TOKENS", 7)
    with Stub(drawer(codec), codec, dialect) as stub, served(codec, stub) as sampler:
        assert SAID[dialect] in str(sampler.dialect)
        probes = len(stub.bodies)
        settings = Settings(768, template=PUBLISHED)
        rows = [r for some in verify(ITEMS, (0, 1), sampler, pool, codec, settings, 7) for r in some]
        asked = stub.bodies[probes:]
    assert probes == 2 or DIALECTS[dialect].fields and probes < 25
    assert len(rows) == 6
    for row in rows:
        assert [(e.code, e.text, e.kind) for e in row.executions] == [("print(8 + 3)", "11", "ok")]
        assert "8 and 3 make 11 \u2705 or so." in row.text and row.text.endswith("</output>\n")
        assert row.verdict.correct is True and row.reason == ""
        assert (row.verdict.p_yes_raw is None) == (not sampler.dialect.probabilities)
    assert {len(body.get("stop", ())) for body in asked} == {3 * sampler.dialect.stops_at_texts}
    assert max(body["max_tokens"] for body in asked) > 10 or not sampler.dialect.stops_at_texts


def test_a_server_of_chats_alone_is_refused_in_one_line(codec):
    with Stub(drawer(codec), codec) as stub:
        stub.faults.append((404, {"error": "no such path"}))
        with pytest.raises(UserError, match="HTTP status 404 no such path; check the URL"):
            served(codec, stub)
        stub.faults.extend([(400, {"error": "messages are missing"})] * 3)
        with pytest.raises(UserError, match="completes no text, not even with model.*missing") as e:
            served(codec, stub)
    assert "\n" not in str(e.value)


def test_a_server_that_refuses_stops_is_sent_none(codec):
    with Stub(drawer(codec), codec) as stub:
        answer = stub.answer
        stub.answer = lambda b: (400, {"message": "no stops"}) if "stop" in b else answer(b)
        with served(codec, stub) as sampler:
            assert sampler.dialect.stops == "ignored"


def test_a_server_that_dies_during_the_probe_is_no_dialect(codec):
    with Stub(drawer(codec), codec) as stub:
        stub.faults.extend([None, "nothing", "nothing"])
        with pytest.raises(UserError, match="no answer .*after 2 tries"):
            served(codec, stub)


def test_a_server_that_says_the_prompt_again_is_refused(codec):
    draw = drawer(codec)

    def echo(ids, body):
        drawn, table, matched = draw(ids, body)
        return [*ids, *drawn], [*table[:1]] * len(ids) + [*table], matched

    with Stub(echo, codec) as stub, pytest.raises(UserError, match="serve it without echo"):
        served(codec, stub)


def test_a_request_that_alone_fails_loses_its_solution_and_no_other(codec, pool):
    draw, heard = drawer(codec), []

    def sour(ids, body):
        if "8-3" in codec.spell(ids):
            raise ConnectionError
        return draw(ids, body)

    with Stub(sour, codec) as stub, served(codec, stub) as sampler:
        stub.server.handle_error = lambda *_: None
        settings = Settings(768, template=PUBLISHED)
        asked = (ITEMS, (0, 1), sampler, pool, codec, settings, 7)
        found = list(verify(*asked, heard=heard.append))
        assert not sampler.busy
    by_name = {rows[0].solution_id: rows for rows in found}
    lost = [rows for rows in by_name.values() if any(r.reason.startswith(LOST) for r in rows)]
    [rows] = lost
    assert len(found) == 2 and {r.solution_id for r in rows} == {ITEMS[1][1].id}
    assert "no answer" in rows[0].reason and {r.solution_id for r in heard} == {ITEMS[0][1].id}
    assert len(heard) == 4


def answer(**choice):
    return json.dumps({"choices": [{"finish_reason": "length"} | choice]}).encode()


@given(text=st.text(alphabet="a\ufffd\u2705\u00e9 \U0001f600\n", max_size=12))
def test_letters_of_several_tokens_keep_their_tokens(codec, text):
    """As sglang tells them: each token by its text, which for a part of a letter is U+FFFD."""
    ids = codec.encode(text)
    told = {"tokens": [codec.spell([i]) for i in ids], "top_logprobs": [{"Yes": -1.0}] * len(ids)}
    data = answer(text=text, logprobs=told, finish_reason="stop", matched_stop=codec.eos_id)
    done = read_completion(data, codec, [codec.token_id("Yes")])
    assert done.tokens == [*ids, codec.eos_id]
    assert done.told == ("texts" if ids else "text")
    assert done.watched[: len(ids), 0].tolist() == [-1.0] * len(ids)


def test_a_letter_that_is_not_finished_is_left_to_the_next_request(codec):
    ids = codec.encode("7 \u2705")
    half = ids[:-1]
    told = {"tokens": [codec.spell([i]) for i in half]}
    for logprobs in (told, None):
        done = read_completion(answer(text=codec.spell(half), logprobs=logprobs), codec, [])
        assert done.tokens and codec.decode(done.tokens) in ("7", "7 ")


def test_tokens_of_one_text_are_not_merged(codec):
    """What was drawn is kept, though the tokenizer would have written it in other tokens."""
    pieces = [codec.encode(c)[0] for c in "print"]
    assert pieces != codec.encode("print")
    told = {"tokens": list("print")}
    assert read_completion(answer(text="print", logprobs=told), codec, []).tokens == pieces


def test_a_half_stop_that_was_cut_off_is_put_back(codec):
    for told in ({"token_ids": codec.encode("ab")}, {"logprobs": {"tokens": ["a", "b"]}}, {}):
        data = answer(text="ab", finish_reason="stop", stop_reason="</analyze>\n", **told)
        assert codec.decode(read_completion(data, codec, []).tokens) == "ab</analyze>\n"


@pytest.mark.parametrize("counting", ["13, 14", "\u2705", "7", ""])
@pytest.mark.parametrize("dialect", ["vllm", "kept", "llama.cpp", "transformers", "no stops"])
def test_a_model_that_soon_ends_its_text_deceives_nobody(codec, dialect, counting):
    """Where the server's stops cannot be seen, they are not relied on."""
    with Stub(drawer(codec, counting), codec, dialect) as stub, served(codec, stub) as sampler:
        found = sampler.dialect.stops
    assert found in (DIALECTS[dialect].stops, "ignored", "unknown")
    assert counting != "13, 14" or found == DIALECTS[dialect].stops


@pytest.mark.parametrize(
    "models",
    [
        {"data": {"id": MODEL}},
        {"data": [{"id": 7}]},
        {"data": [{"id": MODEL, "max_model_len": -5}]},
        {"data": [{"id": MODEL, "max_model_len": "4096"}]},
        {"data": [MODEL]},
        [],
        "\x1b[31m",
    ],
)
def test_a_list_of_models_that_is_none_is_said_in_one_line(codec, models):
    with Stub(drawer(codec), codec) as stub:
        stub.models = models
        with pytest.raises(UserError, match="an answer that is not a server's of models") as error:
            served(codec, stub)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_names_of_models_are_shown_without_escapes(codec):
    with Stub(drawer(codec), codec) as stub:
        stub.models = {"data": [{"id": "\x1b[31mred"}, {"id": "x" * 10**6}]}
        with pytest.raises(UserError, match="does not serve 'tiny'; it serves .x1b.31mred, x") as error:
            served(codec, stub)
    assert len(str(error.value)) < 1000


def test_the_probe_asks_the_same_of_every_user(codec):
    """No name of a user, no text of a row: only counting."""
    with Stub(drawer(codec), codec) as stub, served(codec, stub, api_key=os.urandom(4).hex()):
        assert {codec.spell(body["prompt"]) for body in stub.bodies} == {"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, "}
