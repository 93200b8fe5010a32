"""The published protocol over the driver: what the model is shown, byte for byte, and every ending."""

import re

import pytest

from jprm.execute import Pool, PreloadLevel
from jprm.verify import Settings, trigger_ids, verify
from jprm.verify.stops import stop_when
from tests.verify.fakes import FakeExecutor, FakeTokenizer
from tests.verify.published import A0, EOS, NO, O0, PIECES, V0, YES, Watched, codec, item, published, run

BOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
SYSTEM = "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step."
TWO = item("a", "Step 1: 8+3=11\n", "Step 2: so 12\n")
OUTPUT = "[Code Output]\n\n```\n{}\n```\n"
WORD = "The sum is right.\n</analyze>\n"
# Per step: analysis, code, verdict. The model writes on behind each stop, and is cut there.
CODE_1, CODE_2 = "print(8+3)\n```\n", "print(3*4)\n```\n"
FIRST = [WORD, CODE_1, "</verify>\n" + O0 + YES]
SECOND = [WORD, CODE_2, "</verify>\n" + O0 + NO]
RATIONALE = A0.format(1) + WORD + V0 + CODE_1 + OUTPUT.format(11) + FIRST[2]


FORCED = re.compile(r"step by step: |error:\n```python\n|\[Code Output\]\n\n```\n.*?\n```\n", re.DOTALL)


def scripted(*steps):
    """A model that answers by what it was shown last: one list of turns per step."""

    def script(_, text):
        active = text.rpartition("<analyze>\n")[2]
        turns = steps[text.count("<analyze>\n") - 1]
        n = active.count("```python") + active.count("[Code Output]")
        turn = turns[min(n, len(turns) - 1)]
        written = FORCED.split(active)[-1]  # before a false alarm
        return turn[len(written) :] if turn.startswith(written) else turn

    return script


def test_the_golden_conversation():
    """Every text from which the reference would generate, of two steps with code."""
    found, sampler = run([TWO], scripted(FIRST, SECOND))
    start = f"{BOS}{BOS}{SYSTEM}{USER}Ann has 8 (a).\nStep 1: 8+3=11"
    one = start + A0.format(1)
    past = f"{start}{ASSISTANT}{RATIONALE}{EOS}{USER}Step 2: so 12"
    two = past + A0.format(2)
    assert sampler.shown == [
        one,
        one + WORD + V0,
        one + WORD + V0 + CODE_1 + OUTPUT.format(11),
        two,
        two + WORD + V0,
        two + WORD + V0 + CODE_2 + OUTPUT.format(12),
    ]
    assert found["s-a", 0, 0].text == RATIONALE
    assert [found["s-a", step, 0].verdict.correct for step in (0, 1)] == [True, False]
    assert [e.text for e in found["s-a", 1, 0].executions] == ["12"]


def test_the_tokens_are_those_of_the_whole_text():
    """As the reference's, which tokenises every text anew; without the quirk the model's own stay."""
    for overrides, whole in ((), True), (("quirks.retokenize=false",), False):
        _, sampler = run([TWO], scripted(FIRST, SECOND), *overrides)
        tokenizer = sampler.tokenizer
        ids = [turns for c in sampler.released.values() for turns in c.turns[::2]]
        flat = [c.ids for c in sampler.released.values()]
        the = tokenizer.token_id(" The")
        # The blank that ends the opening and the word behind it are one token of the whole text.
        assert all((the in turn) for turn in ids if "right" in tokenizer.decode(turn)) or not whole
        assert len(flat) == (4 if whole else 2)  # conversations: after the analysis, per step
        assert all(tokenizer.encode(tokenizer.show(one)) == one for one in flat[1::2]) or not whole


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("quirks.first_user=training", f"{BOS}{BOS}{SYSTEM}{USER}Question: Ann has 8 (a).\n\nStep"),
        ("quirks.double_bos=false", f"{BOS}{SYSTEM}{USER}Ann has 8 (a).\nStep"),
    ],
)
def test_quirks_of_the_beginning(override, start):
    _, sampler = run([TWO], scripted(FIRST, SECOND), override)
    assert all(text.startswith(start) for text in sampler.shown)
    assert not any(text.startswith(BOS + start) for text in sampler.shown)


def test_with_a_generation_prompt_the_conversation_only_grows():
    switches = ("quirks.generation_prompt=true", "quirks.retokenize=false")
    _, sampler = run([TWO], scripted(FIRST, SECOND), *switches)
    assert len(sampler.released) == 1
    assert sampler.shown[0].endswith(f"8+3=11{ASSISTANT}{A0.format(1)}")
    assert sampler.shown[3].endswith(f"8+3=11{ASSISTANT}{RATIONALE}{EOS}{USER}Step 2: so 12{ASSISTANT}{A0.format(2)}")


def test_the_direct_style_has_a_system_prompt_of_its_own():
    _, sampler = run([TWO], lambda *_: YES, style="direct", execute="none")
    system = published().chat.system_direct
    assert system.endswith("or `\\boxed{No}` if the paragraph is incorrect.")
    start = f"{BOS}{BOS}{system}{USER}Ann has 8 (a).\nStep 1: 8+3=11"
    assert sampler.shown == [start + O0, f"{start}{ASSISTANT}{O0}{YES}{EOS}{USER}Step 2: so 12{O0}"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_forced_verdict_with_and_without_the_evidence(keep):
    """Three turns of code: the reference then shows the analysis alone, so two results count."""
    again = "```python\nprint(2*2)\n```\n"

    def script(_, text):
        if text.endswith(O0):
            return YES
        return (
            WORD
            if text.endswith("step by step: ")
            else again.removeprefix("```python\n") * (text.endswith("```python\n")) or again
        )

    override = f"quirks.keep_evidence={str(keep).lower()}"
    found, sampler = run([item("a", "S1\n")], script, override)
    row = found["s-a", 0, 0]
    analysis = A0.format(1) + WORD
    block = "print(2*2)\n```\n" + OUTPUT.format(4)
    evidence = V0 + block + ("```python\n" + block) * 2
    shown = sampler.shown[-1].partition("S1")[2]
    assert shown == analysis + (evidence + "</verify>\n" if keep else "") + O0
    assert sampler.shown[-2].endswith(evidence.removesuffix("```python\n" + block))  # two results
    assert len(row.executions) == 3 and row.verdict.correct is True
    assert row.text == shown + YES


ENDINGS = {
    # name: (turns of the model by what it is shown; verdict; reason)
    "truncated code": ([WORD, "x = 1\n" * 200], True, ""),
    "no verdict": ([WORD, CODE_1, "</verify>\nI cannot say.</output>\n"], None, "no_verdict"),
    "nothing at all": ([""], True, ""),
    "Yes} inside the analysis": (["{Yes} or Yes}.\n</analyze>\n", *SECOND[1:]], False, ""),
    "another verdict before": ([WORD, CODE_1, f"</verify>\n{O0}{{Yes}}? {NO}"], True, ""),
    "lower case": ([WORD, CODE_1, "</verify>\n" + O0 + "{no}$\n</output>\n"], False, ""),
    "end without newline": ([WORD, CODE_1, "</verify>\n" + O0 + "{No}$\n</output>"], False, ""),
    "code without newline": ([WORD, CODE_1.removesuffix("\n"), FIRST[2]], True, ""),
    "two blocks": ([WORD, "print(1)\n``` \n```python\n" + CODE_2, FIRST[2]], True, ""),
    "empty code": ([WORD, "\n```\n", SECOND[2]], False, ""),
    "no block": ([WORD, CODE_1, "```\n7\n```\n"], True, ""),
    "other stops inside": (["a\n```\n</output>\n```\n" + WORD, *FIRST[1:]], True, ""),
    "stop inside a token": (["The sum.\n</analyze>\n\n", *FIRST[1:]], True, ""),
}


@pytest.mark.parametrize("mode", ["chain", "fork"])
@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_is_an_end_and_costs_no_other_item(name, mode):
    turns, correct, reason = ENDINGS[name]
    others = [item("b", "Step 1: 8+3=11\n", "Step 2: so 12\n"), item("c", "Step 1: 8+3=11\n")]
    usual = scripted(FIRST, SECOND)

    def script(sample_id, text):
        if "(a)" not in text:
            return usual(sample_id, text)
        if text.endswith(O0):
            return YES
        return scripted(turns, turns)(sample_id, text)

    votes = (0, 1)
    options = {"votes": votes, "mode": mode}
    alone, _ = run(others, usual, **options)
    found, _ = run([others[0], TWO, others[1]], script, "budget.max_tokens=600", **options)
    assert {key: row for key, row in found.items() if key[0] != "s-a"} == alone
    for step in (0, 1):
        for vote in votes:
            row = found["s-a", step, vote]
            assert (row.verdict.correct, row.reason) == (correct, reason)
            assert row.text.endswith("</output>\n")


def test_the_model_that_never_judges_is_a_counted_none():
    found, _ = run([TWO], lambda _, text: "The sum " * 1000, "budget.max_tokens=300")
    assert {(r.verdict.correct, r.reason) for r in found.values()} == {(None, "budget")}


def test_code_that_kills_its_process():
    turns = [WORD, "import os\nos._exit(1)\n```\n", SECOND[2]]
    with Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:
        found, sampler = run([TWO], scripted(FIRST, turns), executor=pool)
    assert [found["s-a", step, 0].verdict.correct for step in (0, 1)] == [True, False]
    assert [found["s-a", step, 0].executions[0].kind for step in (0, 1)] == ["ok", "died"]
    died = found["s-a", 1, 0].executions[0].text
    assert died and sampler.shown[-1].endswith(OUTPUT.format(died))


def test_the_second_block_alone_runs_and_stale_code_never():
    executor = FakeExecutor()
    run([item("a", "S\n")], scripted(ENDINGS["two blocks"][0]), executor=executor)
    assert executor.histories == [("print(3*4)",)]
    executor = FakeExecutor()
    found, _ = run([item("a", "S\n")], scripted(ENDINGS["no block"][0]), executor=executor)
    assert executor.histories == [("print(8+3)",)]
    assert [e.kind for e in found["s-a", 0, 0].executions] == ["ok", "no_code", "no_code"]


def test_the_probability_is_read_at_the_verdict():
    """The scripted model holds the word that it writes for 2 nats likelier than the other."""
    found, _ = run([TWO], scripted(FIRST, SECOND), temperature=0.5)
    yes, no = (found["s-a", step, 0].verdict for step in (0, 1))
    assert yes.p_yes_raw == pytest.approx(0.8807970779778823)
    assert yes.p_yes_tempered == pytest.approx(0.9820137900379085)
    assert no.p_yes_raw == pytest.approx(0.1192029220221176)
    found, _ = run([item("a", "S\n")], scripted(ENDINGS["lower case"][0]))
    assert found["s-a", 0, 0].verdict.p_yes_raw is None  # no token there is the word


def test_stops_are_found_across_tokens():
    tokenizer, stops = codec(), published().stops
    asked = stop_when(tokenizer, stops)
    for text in ("hm</analyze>\n", "x\n```\n", "</output>\n", "a</analyze>\n\n", "```\n"):
        assert asked(tokenizer.encode(text)), text  # the last might end a stop begun before
    for text in ("", "hm\n", "</analyze>", "```python\n", "x```\n"):
        assert not asked(tokenizer.encode(text)), text
    tokenizer.encode("</analyze>\n`")
    triggers = trigger_ids(tokenizer, len(tokenizer._texts), stops)
    assert sorted(tokenizer.decode([i]) for i in triggers) == ["\n", ">\n\n"]


class TwoEnds(FakeTokenizer):
    """As a checkpoint whose generation config names a second end of a text."""

    def __init__(self):
        super().__init__(pieces=(*PIECES, "<end>"), eos=EOS)
        self.eos_ids = (0, self.token_id("<end>"))

    def decode(self, ids):
        return super().decode([i for i in ids if i not in self.eos_ids])

    def show(self, ids):
        return "".join("<end>" if i == self.eos_ids[1] else super(TwoEnds, self).show([i]) for i in ids)


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_another_end_of_a_text_is_taken_back(mode):
    """It ends the turn like the format's own, and the conversation goes on with that."""
    switches = ("quirks.generation_prompt=true", "quirks.retokenize=false")
    shown = []
    for end in ("", "<end>"):
        unfinished = [WORD, CODE_1, f"</verify>\n{O0}" + YES.removesuffix("\n") + end]
        tokenizer = TwoEnds()
        sampler = Watched(tokenizer, scripted(unfinished, SECOND))
        settings = Settings(10_000, mode, template=published(*switches))
        [rows] = verify([TWO], (0,), sampler, FakeExecutor(), tokenizer, settings, 7)
        assert [row.verdict.correct for row in rows] == [True, False]
        assert rows[0].text == RATIONALE
        shown.append(sampler.shown)
    assert shown[0] == shown[1] and not any("<end>" in text for text in shown[1])
