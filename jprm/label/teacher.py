"""From a teacher's attempts to rationales that a verifier learns from: what is kept, and why the rest is lost.

Two judges look at a solution, as with an annotator (`jprm.label.consensus`): the policy's success rates (the labels)
and the teacher, whose verdict its code has informed. An attempt is kept where they agree on every step that the teacher
judges, which are all of them up to its first wrong one, and where code with a result stands behind each.

What is kept is laid out in the verifier's own protocol, by playing it through that protocol's state machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jprm.label.consensus import TOO_LONG, disagreement
from jprm.label.rationales import Conversation
from jprm.quoting import TextCodec, unquote
from jprm.records import Execution, Problem, Rationale, Solution
from jprm.verify import GenPRM, Pieces, RationaleFormat, conversation_pieces, play
from jprm.verify.sections import NONE_WRONG, Written, closes_itself
from jprm.verify.settings import begin_dialogue
from jprm.verify.teacher import NO_CONCLUSION
from jprm.worlds.base import Style

SKIPPED = "the teacher judged a step that it did not analyse"
NO_CODE = "a step without code"
NO_RESULT = "code without output"
CLOSES_ITSELF = "code whose output ends its own block"
NO_OUTCOME = ("error", "")  # of a block that a protocol sees in what the teacher did not mean as one


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """What an attempt says of one step: analysis, code with its outputs, verdict."""

    analysis: str
    executions: tuple[Execution, ...]
    verdict: bool

    @property
    def kind(self) -> str:
        """The kind of outcome of the code that ran last."""
        return self.executions[-1].kind if self.executions else "no code"


def read_attempt(attempt: Rationale, n_steps: int, first_error: int | None) -> tuple[list[JudgedStep], str]:
    """Returns what an attempt says of the steps up to its first wrong one, and why it is lost; "" where it is kept.

    n_steps: of the solution. first_error: by the labels, the 0-based first wrong step or -1; None leaves them out.
    Raises UserError for an attempt whose text and outputs do not fit.
    """
    if attempt.reason:
        return [], attempt.reason
    written = Written.of(attempt.text, attempt.executions)
    first_wrong = written.first_wrong
    if first_wrong is None:
        return [], NO_CONCLUSION
    # 1. A verdict on the whole needs a section on every step up to the first wrong one.
    judged = n_steps if first_wrong == NONE_WRONG else first_wrong
    sections = written.sections(attempt.executions)[:judged]
    if judged > n_steps or [section.number for section in sections] != list(range(1, judged + 1)):
        return [], SKIPPED
    steps = [JudgedStep(s.analysis, s.executions, s.number != first_wrong) for s in sections]
    # 2. The labels agree, and code bears every verdict out.
    if first_error is not None and (reason := disagreement(steps, first_error)):
        return steps, reason
    return steps, next((reason for step in steps if (reason := _flaw(step))), "")


def _flaw(step: JudgedStep) -> str:
    """Returns why the code of a step supports nothing, or cannot be shown; "" where it does and can."""
    if not step.executions:
        return NO_CODE
    if step.kind != "ok" or not step.executions[-1].text:
        return f"{NO_RESULT} ({step.kind})"
    return CLOSES_ITSELF if any(closes_itself(execution.text) for execution in step.executions) else ""


def write_rationales(
    steps: Sequence[JudgedStep], protocol: RationaleFormat, codec: TextCodec, style: str
) -> list[Pieces] | None:
    """Returns the rationales of the first steps in a verifier's protocol, as pieces; None where one does not fit it.

    A rationale does not fit that outgrows the budget of the protocol, or holds its tags in a place where they mislead.
    """
    execute = "executed" if style in ("full", "code") else "none"
    rationales = []
    for t, step in enumerate(steps):
        analysis, *codes = (codec.quote(text, own=True) for text in (step.analysis, *(e.code for e in step.executions)))
        outcomes = iter([(e.kind, e.text) for e in step.executions])
        dialogue = begin_dialogue(protocol, codec, t, style, execute)
        turns = protocol.authored(analysis, codes, step.verdict, style)
        played = play(dialogue, turns, lambda code, outcomes=outcomes: next(outcomes, NO_OUTCOME))
        ran = list(step.executions) if execute == "executed" else []
        if played is None or played[1] is not step.verdict or dialogue.executions != ran:
            return None
        rationales.append(played[0])
    return rationales


def write_messages(
    problem: Problem, solution: Solution, rationales: Sequence[Pieces], protocol: GenPRM, style: str
) -> list[dict[str, Any]]:
    """Returns the conversation of these rationales as messages: a system prompt, then step and rationale in turn."""
    chat = protocol.chat
    first = getattr(chat.first_user, protocol.quirks.first_user)
    messages = [{"role": "system", "content": chat.system_direct if style == "direct" else chat.system}]
    for t, (step, rationale) in enumerate(zip(solution.steps, rationales, strict=False)):
        asked = step.removesuffix("\n")
        user = chat.later_user.format(step=asked)
        if t == 0:
            user = first.format(problem=problem.text.removesuffix("\n"), step=asked)
        said = unquote("".join(text for text, _ in rationale))
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": said}]
    return messages


def taught_conversation(
    problem: Problem,
    solution: Solution,
    steps: Sequence[JudgedStep],
    protocol: RationaleFormat,
    codec: TextCodec,
    style: Style,
) -> Conversation:
    """Returns what teaches a verifier to judge these first steps of a solution, as its protocol has them.

    Where the steps do not fit the protocol's budget it is too long, and holds nothing.
    """
    first_error = next((t for t, step in enumerate(steps) if not step.verdict), -1)
    rationales = write_rationales(steps, protocol, codec, style)
    if rationales is None:
        return Conversation(solution.id, style, first_error, (), (), too_long=True)
    documents = conversation_pieces(protocol, codec, problem.text, solution.steps, rationales, style)
    return Conversation(solution.id, style, first_error, tuple(map(tuple, documents)), ())


def fault_of(steps: Sequence[JudgedStep], protocol: GenPRM, codec: TextCodec) -> str:
    """Returns TOO_LONG where these steps do not fit the budget of a protocol; "" where they do."""
    return "" if write_rationales(steps, protocol, codec, "full") is not None else TOO_LONG
