"""Branches on the engine and the published protocol: going on is judging from scratch, to the bit."""

import jax
import pytest

from jprm.execute import Pool, PreloadLevel
from jprm.sample import Engine, SamplingParams
from jprm.verify import Branches, Settings, trigger_ids
from tests.verify.test_chat_engine import ITEMS, PUBLISHED, SIZES, parts  # noqa: F401 - a fixture

(PROBLEM, SOLUTION), (OTHER, _), _ = ITEMS
A, B, C = SOLUTION.steps
CALLS = ([(A,)], [(A, B), (A, C)], [(A, B, C), (B,)])


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_going_on_is_judging_from_scratch(parts, mode):  # noqa: F811 - the fixture
    tokenizer, model, params = parts
    engine = Engine(
        *(model, params, SIZES, SamplingParams(1.0), 3),
        triggers=trigger_ids(tokenizer, tokenizer.vocab_size, PUBLISHED.stops),
        devices=jax.devices()[:1],
    )
    settings = Settings(SIZES.context_tokens, mode, template=PUBLISHED)
    with Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:

        def judged(*calls, company=()):
            branches = Branches(2, engine, pool, tokenizer, settings, 7)
            found = {}
            for call in calls:
                items = [(PROBLEM, steps) for steps in call]
                replies = branches.judge([*items, *company])
                found |= dict(zip(call, replies, strict=False))
            for problem, _ in [(PROBLEM, ()), *company]:
                branches.forget(problem)
            return found

        grown = judged(*CALLS, company=[(OTHER, (A, C))])
        for steps, rationales in grown.items():
            assert judged([steps]) == {steps: rationales}
    assert len(grown) == 5 and not engine.busy
    assert any(r.executions for r in grown[A, B, C]), "code ran on the way"
    assert [r.text for r in grown[A, B] if r.step] != [r.text for r in grown[A, C] if r.step]
