"""What a sampler promises to `verify`, asked of the engine and of a server with the same model."""

from functools import partial

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.execute import Pool, PreloadLevel
from jprm.openai import OpenAISampler
from jprm.verify import VerifySettings, trigger_ids, verify
from jprm.verify.texts import stop_when
from tests.openai.models import GREEDY, PUBLISHED, SIZES, drawer, engine, make
from tests.openai.stub import MODEL, Stub
from tests.verify.published import item

PROMPT = "Review.<｜User｜>Ann has 8. Step 1: 8+3=11"
EXACT = ("vllm", "sglang", "llama.cpp")  # tell tokens, in three ways


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return make(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def codec(parts):
    return parts[0]


@pytest.fixture(scope="module")
def stub(parts):
    with Stub(drawer(*parts), parts[0]) as stub:
        yield stub


def served(parts, stub, **keywords):
    codec = parts[0]
    keywords = {"stop_texts": PUBLISHED.stops, "concurrency": 4} | keywords
    triggers = trigger_ids(codec, codec.vocab_size, PUBLISHED.stops)
    return OpenAISampler(stub.url, codec, GREEDY, model=MODEL, triggers=triggers, **keywords)


@pytest.fixture(scope="module", params=["engine", *EXACT, "cut here"])
def sampler(request, parts, stub):
    """Any of the samplers, with the model behind it."""
    if request.param == "engine":
        yield engine(*parts)
    elif request.param == "cut here":  # a server that is told of no texts to stop at
        stub.dialect = "vllm"
        with served(parts, stub, stop_texts=()) as sampler:
            yield sampler
            assert sampler.stats.discarded
    else:
        stub.dialect = request.param
        with served(parts, stub) as sampler:
            yield sampler


def events_of(sampler, n=1):
    found = []
    while len(found) < n:
        assert sampler.busy
        found += sampler.poll()
    assert sampler.poll() == [] or sampler.busy
    return {event.handle: event for event in found}


def turn(sampler, handle):
    return events_of(sampler)[handle]


@pytest.fixture(scope="module")
def reference(parts):
    return engine(*parts)


def test_a_stop_token_ends_a_turn_and_is_told(sampler, reference, codec):
    ids = codec.encode(PROMPT)
    for end in (codec.eos_id, None):
        stops = [codec.eos_id] if end is not None else [third(reference, ids)]
        events = []
        for one in (sampler, reference):
            [handle] = one.submit(ids, [1], max_tokens=30, stops=stops)
            event = turn(one, handle)
            events.append((event.tokens, event.finish))
            one.release(handle)
        assert events[0] == events[1]
        assert events[0][1] == ("stop" if events[0][0][-1] in stops else "length")


def third(sampler, ids):
    """The third token that is drawn, for a stop that is not at the end of the text."""
    [handle] = sampler.submit(ids, [1], max_tokens=3)
    token = turn(sampler, handle).tokens[2]
    sampler.release(handle)
    return token


@pytest.mark.parametrize("stops", [("a", "e", "o"), ("e", "}$o", " so 12"), ("never\n",)])
def test_texts_and_lengths_over_several_turns(sampler, reference, codec, stops):
    """The same tokens, ends and log-probabilities, whatever is forced in between."""
    logprob_ids = (codec.token_id("Yes"), codec.token_id("No"))
    forced = [codec.encode(t) for t in ("", "[Code Output]\n", "}", "<v>\n```python\n", "Yes")]
    transcripts = []
    for one in (sampler, reference):
        asked = dict(stops=[codec.eos_id], logprob_ids=logprob_ids, stop_when=stop_when(codec, stops))
        [handle] = one.submit(codec.encode(PROMPT), [1], max_tokens=20, **asked)
        events = [turn(one, handle)]
        for n, tokens in enumerate(forced):
            one.extend(handle, tokens, max_tokens=7 + n)
            events.append(turn(one, handle))
        one.release(handle)
        assert all(event.logprobs.shape == (len(event.tokens), 2) for event in events)
        transcripts.append(events)
    ends = {event.finish for event in transcripts[1]}
    assert ends == ({"length"} if "never\n" in stops else {"stop", "length"})
    for mine, theirs in zip(*transcripts, strict=True):
        assert (mine.tokens, mine.finish) == (theirs.tokens, theirs.finish)
        told = ~np.isnan(mine.logprobs)
        np.testing.assert_allclose(mine.logprobs[told], theirs.logprobs[told], atol=1e-4)


def test_samples_of_one_prompt(sampler, codec):
    handles = sampler.submit(codec.encode(PROMPT), [5, 6, 7], max_tokens=4)
    events = events_of(sampler, 3)
    assert sorted(events) == sorted(handles) and len(set(handles)) == 3
    assert {events[h].sample_id for h in handles} == {5, 6, 7}
    assert len({tuple(event.tokens) for event in events.values()}) == 1  # greedy
    for handle in handles:
        sampler.release(handle)
    assert not sampler.busy and sampler.poll() == []


def test_nothing_to_draw_is_an_empty_event(sampler, reference, codec):
    """Splitting a forced text over several calls changes nothing."""
    transcripts = []
    for one, texts in ((sampler, ("Yes", "}$")), (reference, ("Yes}$", ""))):
        [handle] = one.submit(codec.encode(PROMPT), [1], max_tokens=3)
        turn(one, handle)
        for text in texts:
            one.extend(handle, codec.encode(text), max_tokens=0)
            event = turn(one, handle)
            assert (event.tokens, event.finish, event.logprobs.shape) == ([], "length", (0, 0))
        one.extend(handle, [], max_tokens=5)
        transcripts.append(turn(one, handle).tokens)
        one.release(handle)
    assert transcripts[0] == transcripts[1]


def test_a_prompt_may_go_on_from_a_stopped_conversation(sampler, codec):
    ids = codec.encode(PROMPT)
    [parent] = sampler.submit(ids, [1], max_tokens=4)
    drawn = turn(sampler, parent).tokens
    longer = [*ids, *drawn, *codec.encode("Yes")]
    with pytest.raises(UserError, match="does not begin with the .* tokens of its parent"):
        sampler.submit(longer[1:], [2], max_tokens=4, parent=parent)
    [child] = sampler.submit(longer, [2], max_tokens=4, parent=parent)
    sampler.release(parent)
    [alone] = sampler.submit(longer, [3], max_tokens=4)
    events = events_of(sampler, 2)
    assert events[child].tokens == events[alone].tokens
    for handle in (child, alone):
        sampler.release(handle)


def test_released_conversations_are_not_heard_of(sampler, codec):
    ids = codec.encode(PROMPT)
    handles = sampler.submit(ids, range(6), max_tokens=30)
    for handle in handles[1:]:
        sampler.release(handle)
    assert list(events_of(sampler)) == handles[:1]
    sampler.release(handles[0])
    while sampler.busy:
        assert sampler.poll() == []


def test_wrong_requests_are_named(sampler, codec):
    ids = codec.encode(PROMPT)
    [handle] = sampler.submit(ids, [1], max_tokens=30)
    for words, call in (
        ("empty", partial(sampler.submit, [], [1], max_tokens=3)),
        ("no sample ids", partial(sampler.submit, ids, [], max_tokens=3)),
        ("max_tokens = 0 must be", partial(sampler.submit, ids, [1], max_tokens=0)),
        ("handle 999999 is unknown", partial(sampler.submit, ids, [1], max_tokens=1, parent=999999)),
        ("has not stopped", partial(sampler.submit, ids, [1], max_tokens=1, parent=handle)),
        ("has not stopped", partial(sampler.extend, handle, [], max_tokens=1)),
        ("handle 999999 is unknown", partial(sampler.release, 999999)),
    ):
        with pytest.raises(UserError, match=words):
            call()
    turn(sampler, handle)
    with pytest.raises(UserError, match="max_tokens = -1 must be at least 0"):
        sampler.extend(handle, [], max_tokens=-1)
    sampler.release(handle)


ITEMS = [item("a", "Step 1: 8+3=11\n", "Step 2: so 12\n"), item("b", "Step 1: 8-3=5\n")]


@pytest.mark.parametrize("mode", ["chain", pytest.param("fork", marks=pytest.mark.slow)])
def test_verify_tells_the_same(parts, stub, reference, mode):
    """The published protocol with code, end to end: equal texts, verdicts, code and counts."""
    stub.dialect, stub.bodies, found = "vllm", [], []
    with served(parts, stub) as sampler, Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:
        for one in (sampler, reference):
            settings = VerifySettings(context_tokens=SIZES.context_tokens, mode=mode, template=PUBLISHED)
            rows = verify(ITEMS, (0, 1), one, pool, parts[0], settings, 7)
            found.append({(r.solution_id, r.step, r.vote): r for some in rows for r in some})
            assert not one.busy
        probes = 2
        assert sampler.stats.requests == len(stub.bodies) - probes and sampler.retried == 0
    mine, theirs = found
    assert mine.keys() == theirs.keys() and len(mine) == 6
    for key, row in theirs.items():
        assert (mine[key].text, mine[key].executions) == (row.text, row.executions)
        assert mine[key].verdict.correct == row.verdict.correct and mine[key].reason == row.reason
        assert mine[key].generated_tokens == row.generated_tokens
        if row.verdict.p_yes_raw is not None:
            assert mine[key].verdict.p_yes_raw == pytest.approx(row.verdict.p_yes_raw, abs=1e-4)
    assert any(row.executions for row in theirs.values())


def test_a_server_that_fails_now_and_then_changes_nothing(parts, stub):
    stub.dialect, found = "vllm", []
    for faults in ((), ("drop", None, (500, b""), None, None, "garbage", (503, b""), "nothing")):
        settings = VerifySettings(context_tokens=SIZES.context_tokens, template=PUBLISHED)
        with served(parts, stub, first_wait_s=0.01) as sampler, Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:
            stub.faults.extend(faults)
            rows = verify(ITEMS, (0, 1), sampler, pool, parts[0], settings, 7)
            found.append({(r.solution_id, r.step, r.vote): r for some in rows for r in some})
            assert sampler.retried == len([fault for fault in faults if fault])
    assert found[0] == found[1]
