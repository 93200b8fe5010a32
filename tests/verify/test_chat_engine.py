"""The published protocol end to end: a tiny Qwen2, a byte-level BPE, the engine and the pool.

The model is random, so the stops are made common: single letters, which lie inside of longer
tokens and at their ends. What they stop must be what the specification says, to the letter.
"""

import dataclasses

import jax
import pytest

from jprm.execute import Pool, Tier
from jprm.mesh import Rules
from jprm.models import bind
from jprm.sample import Engine, EngineConfig, SamplingParams
from jprm.tokenizer import bpe_tokenizer
from jprm.verify import Settings, trigger_ids, verify
from tests.sample.tiny import QWEN2
from tests.verify.published import BRIEF, item, published

OVERRIDES = ("chat.end_of_turn=<eos>", *BRIEF, "budget.max_tokens=120", "budget.verdict_tokens=6")
PUBLISHED = published(*OVERRIDES)
ITEMS = [
    item("a", "Step 1: 8+3=11\n", "Step 2: so 12\n", "The answer is 12.\n"),
    item("b", "Step 1: 8-3=5\n"),
    item("c", "Let's add.\n", "8+8=16\n"),
]
SIZES = EngineConfig(slots=4, slot_groups=1, context_tokens=768, decode_steps=8, block_tokens=64)


@pytest.fixture(scope="module")
def parts():
    chat, tags = PUBLISHED.chat, PUBLISHED.tags
    texts = [*tags.model_dump().values(), *(s for _, one in ITEMS for s in one.steps)] * 5
    special = [chat.bos, chat.user, chat.assistant, tags.yes, tags.no]
    tokenizer = bpe_tokenizer(texts, 420, special)
    model = bind(dataclasses.replace(QWEN2, vocab_size=tokenizer.vocab_size), Rules())
    return tokenizer, model, model.init(5)


def run(parts, items, votes, mode, sizes=SIZES):
    tokenizer, model, params = parts
    triggers = trigger_ids(tokenizer, tokenizer.vocab_size, PUBLISHED.stops)
    engine = Engine(*(model, params, sizes, SamplingParams(1.0), 3), triggers=triggers, devices=jax.devices()[:1])
    with Pool(workers=1, warm=Tier.PLAIN) as pool:
        settings = Settings(sizes.context_tokens, mode, template=PUBLISHED)
        rows = verify(items, votes, engine, pool, tokenizer, settings, 7)
        found = {(r.solution_id, r.step, r.vote): r for some in rows for r in some}
    assert not engine.busy
    return found


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_three_solutions(parts, mode):
    found = run(parts, ITEMS, (0, 1), mode)
    assert len(found) == 12
    again = run(parts, ITEMS[::-1], (1, 0), mode)
    assert again == found, "not a function of the order"
    tags, opened = PUBLISHED.tags, 0
    for (_, step, _), row in found.items():
        opening = tags.analyze_open.format(paragraph=step + 1)
        assert row.text.startswith(opening) and row.text.endswith("o")
        analysis, verified, rest = row.text.removeprefix(opening).partition(tags.verify_open)
        opened += bool(verified)
        if verified:  # else the analysis was all that a forced verdict was shown
            assert analysis.find("a") == len(analysis) - 1
            code, ran, _ = rest.partition("[Code Output]")
            assert bool(ran) == bool(row.executions)
            assert not ran or code.find("e") == len(code) - 1
            assert not ran or row.executions[0].code == f"print(1)\n{code[:-1]}".strip()
        assert (row.verdict.correct is None) == (row.reason != "")
    assert opened and any(row.executions for row in found.values())
    kinds = {e.kind for row in found.values() for e in row.executions}
    assert {"error"} <= kinds <= {"ok", "error", "no_code"}


@pytest.mark.slow
def test_prefix_rows_change_nothing(parts):
    shared = dataclasses.replace(SIZES, prefix_rows=4, row_slots=2, prefix_tokens=640, own_tokens=256)
    assert run(parts, ITEMS[:2], (0, 1), "fork", shared) == run(parts, ITEMS[:2], (0, 1), "fork")
