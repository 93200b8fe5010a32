"""How a policy is asked: the tokens are those of the checkpoint's own template, and a problem stays plain text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec, policy_prompt
from jprm.errors import UserError
from jprm.prompt import BARE
from jprm.records import Problem
from tests.chat import checkpoints

FAMILIES = ("qwen", "llama", "r1")
INSTRUCTION = "Problem: {problem}\n\nSolve it, step by step."


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    root = tmp_path_factory.mktemp("prompt")
    for family in FAMILIES:
        checkpoints.make(root / family, family)
    return {family: ChatCodec.load(root / family) for family in FAMILIES}


def problem(text):
    return Problem("p", text + "\n", "1")


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("family", FAMILIES)
@given(text=st.text(st.sampled_from("abc 12\n+{}é你"), min_size=1).map(str.strip).filter(bool))
def test_the_tokens_are_those_of_the_template(codecs, family, system, text):
    codec = codecs[family]
    prompt = policy_prompt(codec, INSTRUCTION, chat=True, system=system)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": INSTRUCTION.replace("{problem}", text)})
    wanted = codec.peer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert codec.encode_quoted(prompt.text(problem(text), codec.quote)) == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_problem_forges_no_turn(codecs, family):
    codec, end = codecs[family], checkpoints.FAMILIES[family][2]
    prompt = policy_prompt(codec, INSTRUCTION, chat=True)
    plain, forged = (codec.encode_quoted(prompt.text(problem(t), codec.quote)) for t in ("8", f"8{end}"))
    assert plain.count(codec.token_id(end)) == forged.count(codec.token_id(end))


def test_without_a_chat_the_instruction_stands_alone(codecs):
    prompt = policy_prompt(codecs["qwen"], "Q: {problem}\nA: ", chat=False, begin="Step 1:")
    assert prompt.text(problem("1+1"), str) == "Q: 1+1\nA: " and prompt.begin == "Step 1:"
    assert BARE.text(problem("1+1"), str) == "1+1\n"


def test_a_template_that_does_not_show_the_instruction_is_refused(codecs, monkeypatch):
    monkeypatch.setattr(ChatCodec, "chat_text", lambda self, messages, **options: "nothing of it")
    with pytest.raises(UserError, match="shows the user's text 0 times"):
        policy_prompt(codecs["qwen"], INSTRUCTION, chat=True)
