"""Conversations that outgrow the context: what is shortened, how much of it, and what the model then reads."""

import pytest

from jprm.verify import EMBEDDED
from tests.verify import test_driver
from tests.verify.fakes import FakeTokenizer, ScriptedSampler, within
from tests.verify.published import A0, EOS, O0, V0, YES, codec, item, published, run
from tests.verify.test_chat_driver import CODE_1, OUTPUT, WORD, scripted

STEPS = tuple(f"Step {n}: 8+3=11\n" for n in range(1, 6))
ITEM = item("a", *STEPS)
TURNS = [WORD, CODE_1, "</verify>\n" + O0 + YES]
SCRIPT = scripted(*[TURNS] * len(STEPS))
BUDGET = 330
FULL = A0 + WORD + V0 + CODE_1 + OUTPUT.format(11) + "</verify>\n" + O0 + YES
SHORT = {
    "drop_code": A0 + WORD + O0 + YES,
    "drop_analysis": A0 + "....." + "</analyze>\n" + FULL.partition(WORD)[2],
    "verdict_only": O0 + YES,
}


def conversation(step, overflow, shortened):
    """All before the rationale of a step, 1-based, with so many short ones."""
    chat = published().chat
    text = chat.bos * 2 + chat.system + chat.user + "Ann has 8 (a).\n" + STEPS[0].rstrip("\n")
    for n in range(1, step):
        past = SHORT[overflow] if n <= shortened else FULL
        text += chat.assistant + past.replace("{}", str(n)) + EOS
        text += chat.user + STEPS[n].rstrip("\n")
    return text


def tokens(text):
    return len(codec().encode(text))


def judged(overflow, context, mode="chain", votes=(0,)):
    overrides = (f"budget.max_tokens={BUDGET}",)
    return run(*([ITEM], SCRIPT, *overrides), votes=votes, context_tokens=context, mode=mode, overflow=overflow)


@pytest.mark.parametrize("mode", ["chain", "fork"])
@pytest.mark.parametrize("overflow", SHORT)
def test_as_little_is_shortened_as_need_be(overflow, mode):
    most = tokens(conversation(5, overflow, 0)) + BUDGET + tokens(A0.format(5))
    least = tokens(conversation(5, overflow, 4)) + BUDGET + tokens(A0.format(5))
    counts = set()
    for context in (most, most - 1, (most + least) // 2, least):
        found, sampler = judged(overflow, context, mode)
        shown = iter(sampler.shown)
        for step in range(1, 6):
            row = found["s-a", step - 1, 0]
            before = conversation(step, overflow, row.shortened)
            opening = A0.format(step)
            assert row.verdict.correct is True and row.reason == ""
            assert next(shown) == before + opening
            assert next(shown) == before + opening + WORD + V0
            assert next(shown) == before + opening + WORD + V0 + CODE_1 + OUTPUT.format(11)
            assert row.text == FULL.replace("{}", str(step)), "what was written is kept"
            more = conversation(step, overflow, row.shortened - 1) if row.shortened else ""
            assert not more or tokens(more + opening) + BUDGET > context
        counts.add(found["s-a", 4, 0].shortened)
    assert counts >= {0, 1, 4}


@pytest.mark.parametrize("overflow", ["give_up", *SHORT])
def test_what_still_does_not_fit_has_no_verdict(overflow):
    """And a policy never loses a verdict that giving up would have had."""
    context = tokens(conversation(3, "drop_code", 0)) + BUDGET
    kept, _ = judged("give_up", context)
    found, _ = judged(overflow, context)
    assert 0 < len([row for row in kept.values() if row.reason == ""]) < 5
    for key, row in kept.items():
        assert row.reason or found[key] == row
    lost = {step for (_, step, _), row in found.items() if row.reason == "context"}
    assert all(found["s-a", step, 0].verdict.correct is None for step in lost)

    def fits(step):
        shortest = conversation(step, overflow, 0 if overflow == "give_up" else step - 1)
        return tokens(shortest + A0.format(step)) + BUDGET <= context

    assert lost == {step - 1 for step in range(1, 6) if not fits(step)}
    nothing, _ = judged(overflow, 100)
    assert {row.reason for row in nothing.values()} == {"context"} and len(nothing) == 5


def test_votes_share_a_shortened_history():
    context = tokens(conversation(4, "drop_code", 1)) + BUDGET + tokens(A0.format(4))
    found, sampler = judged("drop_code", context, "fork", votes=(0, 1, 2))
    for step in range(5):
        assert len({found["s-a", step, vote].shortened for vote in (0, 1, 2)}) == 1
        assert len({found["s-a", step, vote].text for vote in (0, 1, 2)}) == 1
    assert found["s-a", 4, 2].shortened > found["s-a", 2, 2].shortened == 0


@pytest.mark.parametrize("overflow", ["drop_code", "drop_analysis", "verdict_only"])
@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_the_plain_format(mode, overflow):
    """Its conversations only grow, until one is shortened: then all of it is read anew."""
    items = [test_driver.solution("a"), test_driver.solution("b", test_driver.STEPS[:1])]
    keywords = dict(mode=mode, template=within(60, 2, 1))
    model = test_driver.model

    def sampler(context=150):
        return ScriptedSampler(FakeTokenizer(), model, context_tokens=context)

    given_up, _ = test_driver.run(items, (0, 1), sampler(), **keywords)
    found, _ = test_driver.run(items, (0, 1), sampler(), **keywords, overflow=overflow)
    again, _ = test_driver.run(items[::-1], (1, 0), sampler(), **keywords, overflow=overflow)
    assert again == found, "not a function of the order"
    lost = {key for key, row in given_up.items() if row.reason == "context"}
    assert {key for key, row in found.items() if row.reason == "context"} < lost
    for key in given_up.keys() - lost:
        assert found[key] == given_up[key] and not found[key].shortened
    assert any(row.shortened and row.reason == "" for row in found.values())


def test_the_parts_of_a_rationale():
    plain, chat = EMBEDDED, published()
    ends = EMBEDDED.verdict_opening + "Yes" + EMBEDDED.verdict_closing
    code = "<verify>1+1</verify>\n[Code output: 2]\n"
    analysis = "<analyze>fine</analyze>\n"
    assert plain.parts(analysis + code + ends) == (analysis, code, ends)
    assert plain.parts(ends) == ("", "", ends)
    assert plain.parts(analysis) == (analysis, "", "")
    whole = FULL.replace("{}", "3")
    analysis, code, verdict = chat.parts(whole)
    assert analysis + code + verdict == whole and verdict == O0 + YES
    assert analysis == A0.format(3) + WORD and code.startswith(V0)
    assert chat.parts(code + verdict) == ("", code, verdict)
    assert chat.parts("hm") == ("", "hm", "")
    assert chat.without_analysis("") == "" == chat.without_analysis("other words")
