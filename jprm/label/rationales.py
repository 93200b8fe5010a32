"""Training conversations: the annotator's rationale for every step, with its code really run.

A conversation is the problem, then step and rationale in turn, up to and including the first step
labelled wrong. It is written by playing the annotator's text through the verifier's own state
machine, so that it equals, to the character, what the verifier will read and write at inference.

Invariant: the loss falls only on what the verifier writes itself. The problem, the steps, what the
template forces and what code printed are context.
"""

from dataclasses import dataclass

import numpy as np

from jprm.quoting import TextCodec
from jprm.records import Problem, Solution
from jprm.verify.compact import EMBEDDED, CompactDialogue, Template
from jprm.verify.pieces import Run, play
from jprm.verify.protocol import Pieces
from jprm.verify.texts import texts_of
from jprm.worlds.base import Annotation, Style, World


@dataclass(frozen=True, slots=True)
class Check:
    """The annotator's code for one step and what running it gave."""

    annotation: Annotation
    kind: str
    output: str

    @property
    def verdict(self) -> bool | None:
        """What the code says of the step; None where it printed neither True nor False."""
        return {"True": True, "False": False}.get(self.output) if self.kind == "ok" else None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Pieces of text with their part in the loss, and one check per judged step.

    `first_error` is the label it was written for; `too_long` says that a rationale did not fit the
    template's budget, in which case the pieces end there.
    """

    solution_id: str
    style: Style
    first_error: int
    pieces: tuple[tuple[str, bool], ...]
    checks: tuple[Check, ...]
    too_long: bool = False

    @property
    def text(self) -> str:
        """All pieces joined."""
        return "".join(text for text, _ in self.pieces)


def synthesize(
    problem: Problem,
    solution: Solution,
    first_error: int,
    world: World,
    style: Style,
    run: Run,
    tokenizer: TextCodec,
    *,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    template: Template = EMBEDDED,
) -> Conversation:
    """Writes the conversation about a solution whose first wrong step is labelled `first_error` (or -1).

    `noise` is the annotator's rate of bad rationales, drawn from `rng`; with equal `rng` the same
    steps are bad in every style. Code is run in every style, shown or not, for the consensus
    filter. The verdicts are the labels, whatever the code says: disagreement is for `consensus`.
    """
    quote = texts_of(tokenizer).quote
    execute = "executed" if style in ("full", "code") else "none"
    rationales: list[Pieces] = []
    checks: list[Check] = []
    too_long = False
    last = len(solution.steps) - 1 if first_error < 0 else first_error
    for t in range(last + 1):
        annotation = world.annotate(problem, solution.steps, t, style, rng, noise)
        kind, output = run(annotation.code)
        checks.append(Check(annotation, kind, output))
        is_right = t != first_error
        dialogue = CompactDialogue(template, tokenizer, style=style, execute=execute)
        turns = template.authored(annotation.analysis, [annotation.code], is_right, style)
        played = play(dialogue, turns, lambda code, outcome=(kind, output): outcome)
        if played is None:
            too_long = True
            break
        rationale, verdict = played
        assert verdict is is_right, annotation
        rationales.append(rationale)
    steps = [quote(step) for step in solution.steps]
    pieces = template.conversation(quote(problem.text), steps, rationales, style)
    return Conversation(solution.id, style, first_error, tuple(pieces), tuple(checks), too_long)
