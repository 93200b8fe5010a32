"""Training conversations: the annotator's rationale for every step, with its code really run.

A conversation is the problem, then step and rationale in turn, up to and including the first step
labelled wrong. It is written by playing the annotator's text through the verifier's own state
machine, so that it equals, to the character, what the verifier will read and write at inference.

Invariant: the loss falls only on what the verifier writes itself. The problem, the steps, what the
template forces and what code printed are context.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jprm.quoting import TextCodec
from jprm.records import Problem, Solution
from jprm.verify.compact import EMBEDDED, CompactDialogue, Template
from jprm.verify.protocol import Done, Execute, Generate
from jprm.verify.texts import texts_of
from jprm.worlds.base import Annotation, Style, World

# Runs a piece of code in the conversation's namespace: (kind of outcome, text to read).
Run = Callable[[str], tuple[str, str]]


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
    pieces: list[tuple[str, bool]] = [(quote(problem.text), False)]
    checks: list[Check] = []
    last = len(solution.steps) - 1 if first_error < 0 else first_error
    for t in range(last + 1):
        annotation = world.annotate(problem, solution.steps, t, style, rng, noise)
        kind, output = run(annotation.code)
        checks.append(Check(annotation, kind, output))
        pieces.append((quote(solution.steps[t]), False))
        rationale = _play(annotation, kind, output, t != first_error, style, tokenizer, template)
        if rationale is None:
            return Conversation(solution.id, style, first_error, tuple(pieces), tuple(checks), too_long=True)
        pieces += rationale
    return Conversation(solution.id, style, first_error, tuple(pieces), tuple(checks))


def _play(
    annotation: Annotation,
    kind: str,
    output: str,
    is_right: bool,
    style: Style,
    tokenizer: TextCodec,
    template: Template,
) -> list[tuple[str, bool]] | None:
    """Returns one rationale as (text, trained) pieces; None where the dialogue would run out of budget."""
    mode = "executed" if style in ("full", "code") else "none"
    dialogue = CompactDialogue(template, tokenizer, style=style, execute=mode)
    turns = _turns(annotation, is_right, style, template)
    pieces: list[tuple[str, bool]] = []
    while not isinstance(action := dialogue.next_action(), Done):
        match action:
            case Generate(forced, max_tokens):
                turn = next(turns, None)
                if turn is None:
                    return None
                tokens = len(dialogue.texts.encode(turn))
                cut_short = template.verdict_opening in forced and style != "direct"
                if tokens > max_tokens or cut_short:
                    return None
                pieces += [(forced, False), (turn, True)]
                dialogue.feed(turn, tokens)
            case Execute():
                dialogue.feed_outcome(output, kind)
    pieces.append((action.closing, False))
    pieces = [(text, trained) for text, trained in pieces if text]
    assert "".join(text for text, _ in pieces) == dialogue.text
    assert action.correct is is_right, (action, annotation)
    return pieces


def _turns(annotation: Annotation, is_right: bool, style: Style, template: Template):
    """Returns the verifier's turns: up to the end of its code, where it has some, and up to the verdict.

    The opening of the style is forced by the template; all later tags the verifier writes itself.
    """
    word = template.yes if is_right else template.no
    analysis_close = template.sections[0][1]
    code = annotation.code + template.code_close
    verdict = template.verdict_opening + word
    return iter(
        {
            "full": [annotation.analysis + analysis_close + template.code_open + code, verdict],
            "code": [code, verdict],
            "analysis": [annotation.analysis + analysis_close + verdict],
            "direct": [word],
        }[style]
    )
