"""The critic's protocol: numbered paragraphs, the last box of a reply, and what it says of each step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.config import load
from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.verify import Critique, Done, VerifySettings, in_paragraphs, paragraph_verdicts, verify
from jprm.verify.critique import CritiqueDialogue, first_wrong
from tests.chat import checkpoints
from tests.verify.fakes import FakeTokenizer, ScriptedSampler
from tests.verify.published import FILE

PROBLEM = Problem("p", "Ann has {8}.\n", "19")
SOLUTION = Solution("s", "p", ("8+3=11\n", "11+8=20\n"), "planted")
SHOWN = "<paragraph_0>\n8+3=11\n</paragraph_0>\n\n<paragraph_1>\n11+8=20\n</paragraph_1>"


def critique(*overrides):
    return load(Critique, FILE.with_name("critique.toml"), overrides)


def judged(script, template, votes=(0,)):
    tokenizer = FakeTokenizer()
    sampler = ScriptedSampler(tokenizer, script, context_tokens=20_000)
    settings = VerifySettings(context_tokens=20_000, style="analysis", execute="none", template=template)
    [found] = verify([(PROBLEM, in_paragraphs(SOLUTION))], votes, sampler, None, tokenizer, settings, 0)
    assert not sampler.conversations
    return found, sampler


def test_one_question_and_one_reply():
    template = critique("prompt='{problem} | {solution} | \\boxed{{-1}}'", 'chat=["<u>", "<a>"]')
    [rationale], sampler = judged(lambda *_: r"Let me see. \boxed{1}", template)
    assert sampler.prompts == [(f"<u>Ann has {{8}}. | {SHOWN} | \\boxed{{-1}}<a>", 1)]
    assert rationale.text == r"Let me see. \boxed{1}" and rationale.verdict.correct is False
    assert (rationale.verdict.p_yes_raw, rationale.generated_tokens) == (None, len(rationale.text) + 1)
    [right], _ = judged(lambda *_: r"\boxed{-1}", template)
    assert right.verdict.correct is True


def test_a_reply_that_is_cut_off_has_no_verdict():
    [rationale], _ = judged(lambda *_: "hm" * 50, critique("max_tokens=20"))
    assert (rationale.verdict.correct, rationale.reason, rationale.unread) == (None, "budget", "no box")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{2}", (2, "")),
        (r"it was \boxed{0}, no: \boxed{ $-1$ }.", (-1, "")),
        (r"\boxed{\text{paragraph_3}}", (3, "")),
        (r"\boxed{<paragraph_3>}", (3, "")),
        ("\\boxed{\u22121}", (-1, "")),
        (r"<think>\boxed{1}</think> so \boxed{2}", (2, "")),
        (r"<think>\boxed{1}</think> so 2", (None, "no box")),
        (r"\boxed{none}", (None, "box holds another text")),
        (r"\boxed{}", (None, "box is empty")),
        (r"\boxed{-2}", (None, "box holds another number")),
        (r"\boxed{1.5}", (None, "box holds another text")),
        (r"\boxed{1", (None, "no box")),
        (rf"\boxed{{{'9' * 5000}}}", (None, "box holds another text")),
    ],
)
def test_the_number_of_the_last_box_behind_the_thinking(text, found):
    assert first_wrong(text) == found


def test_what_a_number_says_of_the_steps():
    assert paragraph_verdicts(r"\boxed{-1}", 3) == ([True] * 3, "")
    assert paragraph_verdicts(r"\boxed{1}", 3) == ([True, False, False], "")
    assert paragraph_verdicts(r"\boxed{3}", 3) == ([None] * 3, "box holds another number")
    assert paragraph_verdicts("none", 2) == ([None] * 2, "no box")


@given(st.text(r"\boxed{}-12 </think>a", max_size=40), st.integers(1, 3))
def test_any_text_is_a_verdict_or_none_and_why(text, steps):
    dialogue = CritiqueDialogue(critique(), FakeTokenizer())
    dialogue.feed(text, len(text))
    done = dialogue.next_action()
    assert isinstance(done, Done)
    verdicts, unread = paragraph_verdicts(text, steps)
    assert (verdicts[0] is None) == bool(unread)
    if verdicts[0] is not None:
        assert done.correct == all(verdicts)
    else:
        assert done.correct is not True


@pytest.mark.parametrize("family", ["qwen", "llama", "r1"])
def test_the_question_stands_in_the_checkpoint_s_chat(tmp_path, family):
    codec = ChatCodec.load(checkpoints.make(tmp_path / family, family))
    template = critique()
    bound = template.for_codec(codec)
    assert bound.for_codec(codec) is bound and template.chat is None
    text = bound.opening(PROBLEM.text, SHOWN, "analysis")
    question = template.prompt.format(problem="Ann has {8}.", solution=SHOWN)
    expected = codec.peer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
    )
    assert codec.encode(text) == expected
    tokens = bound.expected_tokens(PROBLEM.text, SOLUTION.steps, "analysis", lambda text: len(codec.encode(text)))
    assert tokens == len(expected) + template.max_tokens


def test_mistakes_are_named(tmp_path):
    base = ChatCodec.load(checkpoints.make(tmp_path / "base", chat_template=""))
    with pytest.raises(UserError, match="no chat template"):
        critique().for_codec(base)
    twice = checkpoints.make(tmp_path / "twice", chat_template="{{ messages[0].content }}{{ messages[0].content }}")
    with pytest.raises(UserError, match="does not show a user's question as it is; give chat="):
        critique().for_codec(ChatCodec.load(twice))
    with pytest.raises(UserError, match="names a paragraph and has no P.Yes.; use --readout vote"):
        critique().verdict_ids(base)
    with pytest.raises(UserError, match="must hold {problem} and {solution}"):
        critique("prompt='{problem}'")
    with pytest.raises(UserError, match="no style 'full'"):
        CritiqueDialogue(critique(), FakeTokenizer(), style="full", execute="executed")
