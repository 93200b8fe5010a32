"""A server that is busy, breaks off, refuses or is gone: tries and waits, and one clear line in the end."""

import json
import re
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.openai import OpenAISampler
from jprm.openai.completions import read_completion
from jprm.sample import SamplingParams
from tests.chat.checkpoints import make
from tests.openai.stub import MODEL, Stub

QUICK = dict(timeout_s=5.0, tries=4, first_wait_s=0.01, total_s=20.0)
WARM = SamplingParams(0.6, 20, 0.95)
PROMPT = "The sum is right."


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return ChatCodec.load(make(tmp_path_factory.mktemp("faults") / "a"))


@pytest.fixture
def stub(codec):
    """Says "Yes, it is. No" whatever it is asked."""
    words = codec.encode("Yes, it is. No")

    def draw(ids, body):
        n = min(body["max_tokens"], len(words))
        flat = np.full((n, codec.vocab_size), -5.0)
        flat[np.arange(n), words[:n]] = -0.5
        return words[:n], flat, "" if n < len(words) else codec.eos_id

    with Stub(draw, codec) as stub:
        yield stub


def sampler(stub, codec, **keywords):
    return OpenAISampler(stub.url, codec, WARM, **(QUICK | keywords))


def ask(one, codec, **keywords):
    """The event of one request."""
    keywords = dict(max_tokens=4) | keywords
    [handle] = one.submit(codec.encode(PROMPT), [3], **keywords)
    events = []
    while not events:
        assert one.busy
        events = one.poll()
    one.release(handle)
    return events[0]


def chosen(**fields):
    """An answer that is right but for these fields."""
    choice = {"text": "Yes", "finish_reason": "length"} | fields
    return (200, {"choices": [choice]})


def obedient(draw, codec):
    """The same `draw`, which stops at texts."""

    def stopped(ids, body):
        tokens, table, matched = draw(ids, body)
        for end in range(1, len(tokens) + 1):
            for stop in body.get("stop", []):
                if stop in codec.decode(tokens[:end]):
                    return tokens[:end], table[:end], stop
        return tokens, table, matched

    return stopped


@pytest.mark.parametrize(
    "fault",
    [
        (500, {"error": {"message": "worker died"}}),
        (503, b"starting"),
        (429, {"message": "slow down"}, ("Retry-After", "0.02")),
        (429, {"message": "slow down"}, ("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")),
        *("drop", "nothing", "garbage", "empty"),
        (200, {"choices": [{"finish_reason": "abort", "text": ""}]}),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(stub, codec, fault):
    with sampler(stub, codec) as one:
        stub.faults.extend([fault, fault])
        stub.bodies.clear()
        assert codec.decode(ask(one, codec).tokens) == codec.decode(codec.encode("Yes, it is. No")[:4])
        assert (one.retried, one.stats.requests, len(stub.bodies)) == (2, 1, 3)
        assert stub.bodies[0] == stub.bodies[2], "the seed is that of the position"


def test_a_wait_that_is_asked_for_is_kept(stub, codec, monkeypatch):
    waits, wait = [], threading.Event.wait
    monkeypatch.setattr(threading.Event, "wait", lambda event, s=None: waits.append(s) or wait(event, s))
    with sampler(stub, codec) as one:
        stub.faults.append((429, {"message": "slow down"}, ("Retry-After", "0.4")))
        ask(one, codec)
    assert 0.4 in waits


@pytest.mark.parametrize(
    "fault, words",
    [
        ((500, {"error": {"message": "worker died"}}), "HTTP status 500 worker died"),
        ("drop", "no answer"),
        ("garbage", "not a server's of models: b'<html>bad gateway"),
    ],
    ids=["500", "drop", "garbage"],
)
def test_what_does_not_pass_ends_with_the_url_and_what_was_kept(stub, codec, fault, words):
    """Nor does it for a request that is surely right."""
    with sampler(stub, codec) as one:
        ask(one, codec)
        stub.faults.extend([fault] * 5)
        with pytest.raises(UserError, match=f"{stub.url}: .*{words}.* after 4 tries") as error:
            ask(one, codec)
        assert "Before that it answered 1 requests; 1 conversations are unfinished" in str(error.value)


@pytest.mark.parametrize(
    "fault, words",
    [
        ((401, {"error": "invalid api key"}), "HTTP status 401 invalid api key; give the key"),
        ((404, {"message": "no such model"}), "HTTP status 404 no such model; check the URL"),
        (
            (400, {"message": "This model's maximum context length is 8 tokens."}),
            "maximum context length is 8 tokens.; set the context of this run",
        ),
        ((405, b""), "HTTP status 405; is it a server of the OpenAI kind?"),
    ],
    ids=["401", "404", "context", "405"],
)
def test_refusals_are_said_at_once(stub, codec, fault, words):
    with sampler(stub, codec) as one:
        stub.faults.append(fault)
        stub.bodies.clear()
        with pytest.raises(UserError, match=words):
            ask(one, codec)
        assert len(stub.bodies) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((422, {"message": "cannot read this"}), "HTTP status 422 cannot read this"),
        ((500, {"error": "no memory"}), "HTTP status 500 no memory; given up after 4 tries"),
        ("hang", "no answer .timed out.*after 4 tries"),
        ("drop", "no answer .*complete message body"),
        (chosen(token_ids=[-5]), "choices.0.token_ids.0: Input should be greater than or equal"),
        (chosen(token_ids=[10**12]), "choices.0.token_ids.0: Input should be less than"),
        (chosen(token_ids=[900_000]), "token 900000 is not among the"),
        (chosen(logprobs={"tokens": ["token_id:-7"]}), "token -7 is not among the"),
        (chosen(text=7), "choices.0.text: Input should be a valid string"),
        (chosen(finish_reason="content_filter"), "choices.0.finish_reason: Input should be 'stop'"),
        (chosen(logprobs={"top_logprobs": [{"a": float("nan")}]}), "top_logprobs.0.a: Input"),
        ((200, b'{"choices": [{"text": 1e400' + b"[" * 10**5), "Invalid JSON: expected"),
        ((200, b"[" * 10**5), "Invalid JSON: recursion limit"),
        (chosen(logprobs={"top_logprobs": [{"a": float("inf")}]}), "top_logprobs.0.a: Input"),
        ((200, {"choices": [], "usage": 3}), "choices: List should have at least 1"),
    ],
    ids=range(15),
)
def test_a_request_that_alone_fails_is_lost_with_its_reason(stub, codec, fault, words):
    with sampler(stub, codec, timeout_s=0.5) as one:
        stub.faults.extend([fault] * (1 if fault[0] == 422 else 4))
        event = ask(one, codec)
        assert event.finish == "lost" and re.search(words, event.fault), event.fault
        assert event.tokens == [] and "\n" not in event.fault
        assert ask(one, codec).finish == "length", "others are not"


def test_a_server_without_an_answer_is_given_up(stub, codec):
    with sampler(stub, codec, timeout_s=0.1, tries=3) as one:
        stub.faults.extend(["hang"] * 4)
        with pytest.raises(UserError, match="no answer .timed out.*after 3 tries"):
            ask(one, codec)


def test_the_total_is_bounded(stub, codec):
    """Twenty tries of 0.2 s do not fit into 0.5 s."""
    with sampler(stub, codec, timeout_s=0.2, tries=20, total_s=0.5) as one:
        stub.faults.extend(["hang"] * 20)
        with pytest.raises(UserError, match=r"after [2-4] tries in [01] s"):
            ask(one, codec)


def test_a_server_that_is_gone_for_good(stub, codec):
    with sampler(stub, codec) as one:
        ask(one, codec)
        stub.close()
        with pytest.raises(UserError, match=f"{stub.url}: no answer .*refused.*answered 1 requests"):
            ask(one, codec)


def test_release_drops_the_line(stub, codec):
    """The server sees it, and the thread is free for others."""
    with sampler(stub, codec, concurrency=1) as one:
        stub.faults.append("hang")
        stub.bodies.clear()
        [first] = one.submit(codec.encode(PROMPT), [1], max_tokens=4)
        [second] = one.submit(codec.encode(PROMPT), [2], max_tokens=4)
        while not stub.bodies:
            assert one.poll() == []
        one.release(first)
        assert stub.dropped.wait(5)
        events = []
        while one.busy:
            events += one.poll()
        assert [event.handle for event in events] == [second]


def test_close_ends_the_threads(stub, codec):
    before = threading.active_count()
    one = sampler(stub, codec)
    stub.faults.extend(["hang"] * 3)
    stub.bodies.clear()
    one.submit(codec.encode(PROMPT), range(3), max_tokens=4)
    while len(stub.bodies) < 3:
        one.poll()
    one.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)  # the stub's own follow
    assert threading.active_count() <= before, "a thread is left"


def test_concurrency_is_a_limit(codec):
    now, most, lock = 0, 0, threading.Lock()

    def draw(ids, body):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return [5], np.zeros((1, codec.vocab_size)), ""

    with Stub(draw, codec) as stub, sampler(stub, codec, concurrency=3) as one:
        one.submit([1, 2], range(12), max_tokens=1)
        events = []
        while one.busy:
            events += one.poll()
        assert len(events) == 12 and most == 3


def test_the_model_and_its_context_are_asked_for(stub, codec):
    with sampler(stub, codec) as one:
        assert (one.model, one.context_tokens) == (MODEL, 4096)
    with pytest.raises(UserError, match=f"{stub.url} does not serve 'other'; it serves {MODEL}"):
        sampler(stub, codec, model="other")
    with Stub(stub.draw, codec, key="secret") as locked:
        with pytest.raises(UserError, match="401 invalid api key; give the key"):
            sampler(locked, codec, api_key="wrong")
        with sampler(locked, codec, api_key="secret") as one:
            assert one.model == MODEL
    with pytest.raises(UserError, match="'ftp://x' is not a URL"):
        OpenAISampler("ftp://x", codec, WARM, **QUICK)
    with pytest.raises(UserError, match="http://127.0.0.1:9/v1: no answer"):
        OpenAISampler("127.0.0.1:9", codec, WARM, **QUICK)


def test_keys_and_hosts_that_cannot_be_sent(stub, codec):
    with Stub(stub.draw, codec, key="secret") as locked:
        with sampler(locked, codec, api_key=" secret\n"):
            pass
    with pytest.raises(UserError, match="its key holds characters") as error:
        sampler(stub, codec, api_key="ge\u00e4heim")
    assert "heim" not in str(error.value)
    with pytest.raises(UserError, match="no answer"):
        OpenAISampler("http://a..b", codec, WARM, **QUICK)


def test_a_server_that_draws_less_than_asked_is_asked_for_the_rest(codec):
    """The tokens of all answers are one turn; each answer has a seed of its own."""
    script = codec.encode("Yes, it is. No") * 2

    def draw(ids, body):
        at = len(ids) - 2
        tokens = script[at : at + min(2, body["max_tokens"])]
        return tokens, np.zeros((len(tokens), codec.vocab_size)), ""

    with Stub(draw, codec) as stub, sampler(stub, codec) as one:
        [handle] = one.submit([5, 6], [1], max_tokens=7)
        events = []
        while one.busy:
            events += one.poll()
        assert [(event.tokens, event.finish) for event in events] == [(script[:7], "length")]
        asked = stub.bodies[1:]
        assert [body["max_tokens"] for body in asked] == [7, 5, 3, 1]
        assert len({body["seed"] for body in asked}) == 4
        one.extend(handle, [4] * (len(script) - 7), max_tokens=1)
        events = []
        while one.busy:
            events += one.poll()
        assert events[0].finish == "lost"
        assert f"draws nothing behind {2 + len(script)} tokens" in events[0].fault


def test_a_server_that_takes_no_ids_is_sent_texts(stub, codec):
    stub.takes_ids = False
    with sampler(stub, codec) as one:
        assert str(one.dialect).startswith("takes texts (a blank without width")
        stub.bodies.clear()
        assert ask(one, codec).tokens == codec.encode("Yes, it is. No")[:4]
    [body] = stub.bodies
    assert body["prompt"] == PROMPT and body["add_special_tokens"] is False


def test_the_request(stub, codec):
    """What is sent: the sampling, stops, and a seed for every sample and position."""
    stub.draw = obedient(stub.draw, codec)
    with sampler(stub, codec, stop_texts=["</a>\n"], seed=1) as one:
        stub.bodies.clear()
        [a, b] = one.submit([5, 6], [1, 2], max_tokens=2, stops=[7], logprob_ids=[8, 9])
        while one.busy:
            one.poll()
        one.extend(a, [4], max_tokens=3)
        while one.busy:
            one.poll()
    first, second, third = sorted(stub.bodies, key=lambda body: len(body["prompt"]))
    expected = dict(temperature=0.6, top_k=20, top_p=0.95, max_tokens=2, stop=["</a>\n"])
    expected |= dict(stop_token_ids=[7], logprob_token_ids=[8, 9], logprobs=20, prompt=[5, 6])
    for body in (first, second):
        assert {name: body[name] for name in expected} == expected
    drawn = codec.encode("Yes, it is. No")[:2]
    assert third["prompt"] == [5, 6, *drawn, 4] and third["max_tokens"] == 3
    seeds = {body["seed"] for body in stub.bodies}
    assert len(seeds) == 3 and all(0 <= seed < 2**31 for seed in seeds)


def test_log_probabilities_that_are_not_told_are_nan(stub, codec):
    words = codec.encode("Yes, it is. No")
    yes, no = words[0], codec.token_id("<|im_start|>")
    for dialect, told in (("vllm", True), ("vllm-old", False), ("sglang", False), ("text", None)):
        stub.dialect = dialect
        with sampler(stub, codec) as one:
            event = ask(one, codec, max_tokens=len(words), logprob_ids=[yes, no])
        assert event.tokens[: len(words)] == words
        if told is None:
            assert not one.dialect.probabilities
            assert np.isnan(event.logprobs).all()
            continue
        assert event.logprobs[0, 0] == -0.5
        # Both lie among the 20 most probable only by chance, if the server is not asked for them.
        assert not told or (event.logprobs[0, 1] == -5.0 and not np.isnan(event.logprobs).any())


@given(text=st.text(max_size=8), matched=st.sampled_from([None, "</a>\n", 0]), cut=st.booleans())
def test_a_text_alone_becomes_tokens(codec, text, matched, cut):
    """With what it stopped at, whether the server shows it or not."""
    if matched == 0:
        matched = codec.token_id("<|im_start|>")
    stop = matched if isinstance(matched, str) else ""
    choice = {"text": text + stop * (not cut), "finish_reason": "stop", "stop_reason": matched}
    done = read_completion(json.dumps({"choices": [choice]}).encode(), codec, [1, 2])
    end = [] if stop else [codec.eos_id if matched is None else matched]
    assert done.tokens == codec.encode(text + stop) + end
    assert done.logprobs.shape == (len(done.tokens), 2) and np.isnan(done.logprobs).all()
