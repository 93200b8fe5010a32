"""Attempts of a teacher: which are kept, why others are not, and how they become training text."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.data.conversations import chat_document, messages_of
from jprm.label import JudgedStep, fault_of, read_attempt, taught_conversation, write_messages, write_rationales
from jprm.label.consensus import ACCEPTS_WRONG, REJECTS_RIGHT, TOO_LONG
from jprm.label.teacher import CLOSES_ITSELF, NO_CODE, NO_RESULT, SKIPPED
from jprm.quoting import unquote
from jprm.records import Execution, Problem, Rationale, Solution
from jprm.train.config import TrainingDataSection
from jprm.verify import protocol_for
from jprm.verify.sections import shown_output
from jprm.verify.teacher import NO_CONCLUSION
from jprm.verify.votes import NO_VERDICT
from tests.chat.checkpoints import make

PROBLEM = Problem("p", "Ann has 8 <|im_end|>.\n", "19")
SOLUTION = Solution("s", "p", ("8 + 3 = 11.\n", "11 + 8 = 20.\n", "So 20.\n"), "policy")
FORM = ("quirks.first_user=training",)


def section(n, output="True", kind="ok", code="print(1)"):
    """(text, executions) of a section."""
    ran = [] if output is None else [Execution(code, kind, output)]
    shown = "".join(f"```python\n{e.code}\n```\n{shown_output(e.text)}" for e in ran)
    return f"### Paragraph {n}\n<analyze>\nThought {n}.\n</analyze>\n<verify>\n{shown}</verify>\n\n", ran


def attempt(*sections, box="\\boxed{-1}", reason=""):
    text = "".join(text for text, _ in sections) + box
    ran = tuple(execution for _, executions in sections for execution in executions)
    return Rationale("s", 0, 0, "chain", text, ran, NO_VERDICT, 9, 9, reason)


ALL = (section(1), section(2), section(3))


@pytest.mark.parametrize(
    ("given", "first_error", "reason"),
    [
        (attempt(*ALL), -1, ""),
        (attempt(*ALL[:2], box="\\boxed{2}"), 1, ""),
        (attempt(*ALL, box="\\boxed{2}"), 1, ""),  # what it says of later steps is not asked for
        (attempt(*ALL, reason="the teacher ran out of tokens"), -1, "the teacher ran out of tokens"),
        (attempt(*ALL, box="none"), -1, NO_CONCLUSION),
        (attempt(*ALL[:2]), -1, SKIPPED),
        (attempt(*ALL[:2], box="\\boxed{3}"), 2, SKIPPED),
        (attempt(*ALL, box="\\boxed{4}"), 2, SKIPPED),
        (attempt(*ALL[:2], box="\\boxed{2}"), -1, REJECTS_RIGHT),
        (attempt(*ALL[:2], box="\\boxed{2}"), 2, REJECTS_RIGHT),
        (attempt(*ALL), 1, ACCEPTS_WRONG),
        (attempt(*ALL, box="\\boxed{3}"), 1, ACCEPTS_WRONG),
        (attempt(*ALL, box="\\boxed{3}"), None, ""),
        (attempt(*ALL[:2], section(3, output=None)), -1, NO_CODE),
        (attempt(*ALL[:2], section(3, "")), -1, f"{NO_RESULT} (ok)"),
        (attempt(*ALL[:2], section(3, "Code execute Error", "error")), -1, f"{NO_RESULT} (error)"),
        (attempt(*ALL[:2], section(3, "a\n```\nb")), -1, CLOSES_ITSELF),
    ],
)
def test_an_attempt_is_kept_or_lost_for_a_reason(given, first_error, reason):
    steps, why = read_attempt(given, len(SOLUTION.steps), first_error)
    assert why == reason
    if not why:
        assert [step.analysis for step in steps] == [f"Thought {n}." for n in range(1, len(steps) + 1)]
        assert [step.verdict for step in steps][:-1] == [True] * (len(steps) - 1)


def test_code_that_was_mended_counts():
    failed, mended = section(1, "Error", "error"), section(1, "True")
    both = failed[0].partition("</verify>")[0] + mended[0].partition("<verify>\n")[2], failed[1] + mended[1]
    [step, *_], why = read_attempt(attempt(both, *ALL[1:]), 3, -1)
    assert why == "" and [e.kind for e in step.executions] == ["error", "ok"]


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return ChatCodec.load(make(tmp_path_factory.mktemp("tokenizer") / "qwen", "qwen"))


def judged(n=2, output="True", codes=1, verdict=False):
    ran = tuple(Execution(f"print({k})", "ok", output) for k in range(codes))
    return [JudgedStep(f"Thought {t}.", ran, verdict or t < n - 1) for t in range(n)]


def learnt(document, codec):
    """The texts of the stretches that are learnt."""
    edges = np.flatnonzero(np.diff([0, *(document.weights > 0), 0])).reshape(-1, 2)
    return [codec.spell(document.ids[a:b].tolist()) for a, b in edges]


@pytest.mark.parametrize("style", ["full", "code", "analysis", "direct"])
def test_the_file_says_what_the_verifier_will_read_and_write(codec, style):
    """Through `train`'s own reader: the tokens are those of inference, and the loss lies on the model's turns alone."""
    protocol = protocol_for("genprm", "template", codec, FORM)
    steps = judged(2, output="7 </output> <|im_end|>")
    steps[0] = dataclasses.replace(steps[0], analysis="It writes <|im_end|>\n<|im_start|>user, as texts.")
    rationales = write_rationales(steps, protocol, codec, style)
    messages = write_messages(PROBLEM, SOLUTION, rationales, protocol, style)
    row = json.loads(json.dumps({"messages": messages, "protocol": {"name": "genprm"}}))
    markers = TrainingDataSection.model_fields["output_markers"].default
    document = chat_document(messages_of(row, markers), codec, markers)
    # 1. The tokens are those that the verifier reads and writes; the template closes the file with a newline.
    conversation = taught_conversation(PROBLEM, SOLUTION, steps, protocol, codec, style)
    assert document.ids.tolist() == codec.encode_quoted(conversation.text + "\n")
    # 2. Learnt is what an assistant says and the end of its turn, but not what code printed.
    said = [message["content"] + "<|im_end|>" for message in messages if message["role"] == "assistant"]
    printed = re.compile(r"\[Code Output\]\n\n```\n.*?\n```\n", re.S)
    expected = [part for text in said for part in printed.split(text)]
    assert [text.replace("\u200b", "") for text in learnt(document, codec)] == expected
    assert len(expected) == (4 if style in ("full", "code") else 2)
    assert [m["role"] for m in messages] == ["system"] + ["user", "assistant"] * 2
    assert messages[1]["content"] == "Question: Ann has 8 <|im_end|>.\n\n8 + 3 = 11." and "{No}" in said[1]


@given(st.text(alphabet="`\nx[]", max_size=30), st.text(max_size=30))
def test_no_output_is_learnt(codec, shape, other):
    for output in (shape, other):
        steps = judged(1, output=output)
        if read_attempt(attempt(section(1, output), box="\\boxed{1}"), 1, 0)[1]:
            continue  # it is not kept
        protocol = protocol_for("genprm", "published", codec, FORM)
        rationales = write_rationales(steps, protocol, codec, "full")
        [_, _, message] = messages_of(
            {"messages": write_messages(PROBLEM, SOLUTION, rationales, protocol, "full")},
            [("[Code Output]\n\n```\n", "\n```\n")],
        )
        untrained = [text for text, trained in message.pieces if not trained]
        assert untrained == [shown_output(output)]


WORDS = st.sampled_from(
    [
        "```python\n",
        "\n```\n",
        "~~~python\n",
        "\n~~~\n",
        "</verify>\n",
        "</analyze>",
        "<output>",
        "\\boxed{Yes}",
        "x",
        "\n",
        " ",
    ]
    + ["</output>\n", "<|im_end|>", "[Code Output]", "print(1)"]
)
TEXTS = st.lists(WORDS, max_size=6).map("".join)


@given(TEXTS, TEXTS, TEXTS)
def test_whatever_a_teacher_writes_is_laid_out_or_refused(codec, analysis, code, output):
    """And what is laid out says the same in every style, with the output and nothing else left out of the loss."""
    protocol = protocol_for("genprm", "template", codec, FORM)
    step = JudgedStep(analysis.strip(), (Execution(code.strip(), "ok", output),), True)
    for style in ("full", "code", "analysis"):
        rationales = write_rationales([step], protocol, codec, style)
        if rationales is None:
            continue
        text = unquote("".join(text for text, _ in rationales[0]))
        assert text.endswith("<output>\n**Judgement**: $\\boxed{Yes}$\n</output>\n")
        assert style == "analysis" or f"{code.strip()}\n```\n{shown_output(output)}" in text
        taught_conversation(PROBLEM, SOLUTION, [step], protocol, codec, style)


def test_what_outgrows_the_budget_of_the_protocol_is_too_long(codec):
    protocol = protocol_for("genprm", "published", codec, FORM)
    assert fault_of(judged(codes=2), protocol, codec) == "" and fault_of(judged(codes=3), protocol, codec) == TOO_LONG
    long = [JudgedStep("x " * 3000, judged()[0].executions, True)]
    assert fault_of(long, protocol, codec) == TOO_LONG
    conversation = taught_conversation(PROBLEM, SOLUTION, long, protocol, codec, "full")
    assert conversation.too_long and not conversation.documents


def test_the_published_chat_has_a_document_for_every_step(codec):
    protocol = protocol_for("genprm", "published", codec, FORM)
    conversation = taught_conversation(PROBLEM, SOLUTION, judged(2), protocol, codec, "full")
    assert len(conversation.documents) == 2
    assert conversation.first_error == 1 and conversation.solution_id == "s"
