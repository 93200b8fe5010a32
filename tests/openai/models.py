"""One tiny model behind two samplers: the engine here, and a server that draws with an engine of its own."""

import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np

from jprm.chat import ChatCodec
from jprm.mesh import Rules
from jprm.models import bind
from jprm.sample import Engine, EngineConfig, SamplingParams
from jprm.tokenizer import bpe_tokenizer
from jprm.verify.texts import trigger_ids
from tests.sample.tiny import QWEN2
from tests.verify.published import BRIEF, published

PUBLISHED = published("chat.end_of_turn=<eos>", *BRIEF, "budget.max_tokens=120", "budget.verdict_tokens=6")
TEXTS = ["Step 1: 8+3=11\n", "Step 2: so 12\n", "The answer is 12, or so.\n"]
SIZES = EngineConfig(slots=4, slot_groups=1, context_tokens=768, decode_steps=8, block_tokens=64, max_stops=4)
GREEDY = SamplingParams(0)


def make(directory):
    """(codec, model, parameters)."""
    chat, tags = PUBLISHED.chat, PUBLISHED.tags
    special = [chat.bos, chat.user, chat.assistant, tags.yes, tags.no]
    tokenizer = bpe_tokenizer([*tags.model_dump().values(), *TEXTS] * 5, 420, special)
    tokenizer.save(directory)
    codec = ChatCodec.load(directory)
    config = dataclasses.replace(QWEN2, vocab_size=codec.vocab_size, tied=False)
    model = bind(config, Rules())
    params = model.init(5)
    # Half a letter has no text of its own, so a server that tells texts cannot name it: a token like
    # that is given half the logit of another, which makes it no greedy choice.
    halves = np.array([codec.encode(codec.spell([i])) != [i] for i in range(codec.vocab_size)])
    head = np.array(params["head"])
    head[:, halves] = head[:, [codec.token_id("Yes")]] / 2
    return codec, model, params | {"head": jnp.asarray(head)}


def engine(codec, model, params, stops=PUBLISHED.stops, **sizes):
    triggers = trigger_ids(codec, codec.vocab_size, stops)
    sizes = dataclasses.replace(SIZES, **sizes)
    return Engine(model, params, sizes, GREEDY, 0, triggers=triggers, devices=jax.devices()[:1])


def drawer(codec, model, params):
    """A server's `draw`: greedy, with its own notion of stops. One request at a time."""
    vocab = range(codec.vocab_size)
    sizes = dataclasses.replace(SIZES, slots=1, max_logprob_ids=len(vocab))
    everything = Engine(model, params, sizes, GREEDY, 0, triggers=vocab, devices=jax.devices()[:1])
    lock = threading.Lock()

    def draw(ids, body):
        texts, ends = body.get("stop", []), body.get("stop_token_ids", [codec.eos_id])

        def found(drawn):
            text = codec.decode(drawn)
            return next((stop for stop in texts if stop in text), "")

        with lock:
            [handle] = everything.submit(
                ids,
                [0],
                max_tokens=body["max_tokens"],
                stops=ends,
                logprob_ids=vocab,
                stop_when=lambda drawn: bool(found(drawn)),
            )
            events = []
            while not events:
                events = everything.poll()
            everything.release(handle)
        [event] = events
        token = event.tokens[-1] if event.tokens[-1] in ends else ""
        return event.tokens, event.logprobs, found(event.tokens) or token

    return draw
