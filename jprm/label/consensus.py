"""The consensus filter, and the count of everything that was dropped on the way.

Two judges look at a solution: the policy's success rates (the labels) and the annotator's executed
code (the checks). Where they disagree about any step, the whole solution goes (GenPRM, section
3.3): one of them is wrong there, and a rationale that argues against its verdict teaches noise.

Invariant: kept + dropped = seen, and every drop has a reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jprm.label.rationales import Conversation

TOO_LONG = "rationale beyond the token budget"
REJECTS_RIGHT = "check rejects a step labelled right"
ACCEPTS_WRONG = "check accepts the step labelled wrong"
NO_CHECK = "check without a result"


class Judgement(Protocol):
    """What somebody's code says of a step."""

    @property
    def verdict(self) -> bool | None:
        """Whether the step is right; None where that cannot be read."""
        ...

    @property
    def kind(self) -> str:
        """The kind of the code's outcome."""
        ...


@dataclass
class Counts:
    """How many were kept, and how many dropped for each reason."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        """How many were counted."""
        return self.kept + self.dropped.total()

    def add(self, reason: str) -> bool:
        """Counts one: kept where `reason` is "", else dropped for it. Returns whether it is kept."""
        if reason:
            self.dropped[reason] += 1
        else:
            self.kept += 1
        return not reason

    def to_json(self) -> dict:
        """Returns `{"kept": n, "dropped": {reason: n}}`, with the reasons by falling count."""
        return {"kept": self.kept, "dropped": dict(self.dropped.most_common())}


def disagreement(checks: Sequence[Judgement], first_error: int) -> str:
    """Returns why checks and labels do not agree, or "" when they do on every judged step."""
    for t, check in enumerate(checks):
        if check.verdict is None:
            return f"{NO_CHECK} ({check.kind})"
        if check.verdict != (t != first_error):
            return ACCEPTS_WRONG if t == first_error else REJECTS_RIGHT
    return ""


def filter_conversations(
    conversations: Iterable[Conversation], counts: Counts, *, consensus: bool = True
) -> list[Conversation]:
    """Returns the conversations to train on; the rest is counted in `counts`.

    With `consensus` off only those that did not fit the budget are dropped.
    """
    kept = []
    for conversation in conversations:
        reason = TOO_LONG if conversation.too_long else ""
        if not reason and consensus:
            reason = disagreement(conversation.checks, conversation.first_error)
        if counts.add(reason):
            kept.append(conversation)
    return kept
