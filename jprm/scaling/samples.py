"""Sampled rationales, ready to be read: problem, steps, votes, and one vote's text with its code.

Invariant: model-written text is data. It reaches the page escaped, whatever it holds, and cutting
it into pieces loses no character.
"""

from __future__ import annotations

import builtins
import html
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jprm.records import Problem, Rationale, ReadOut, Solution
from jprm.ties import mean

# The formats of the embedded template and of the published GenPRM checkpoints.
_PIECE = re.compile(
    r"\[Code output: (?P<output>.*?)\]\n"
    r"|\[Code Output\]\s*```\n(?P<block>.*?)\n?```\n?"
    r"|```python\n(?P<fenced>.*?)\n?```\n?"
    r"|<verify>(?P<code>(?:(?!</verify>|```).)*)</verify>\n?"
    r"|\\boxed\{(?P<verdict>Yes|No)\}"
    r"|(?P<tag></?(?:analyze|verify|output)>\n?)",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)|(?P<string>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<number>\b\d[\d_.]*\b)|(?P<name>\b[A-Za-z_]\w*\b)"
)
_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class SampleStep:
    """A judged step: `truth` (None unknown), all its votes' rewards, and one vote's rationale."""

    text: str
    truth: bool | None
    rewards: tuple[float | None, ...]
    rationale: str
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """A judged solution; `label` and `prediction` are 0-based first errors, -1 for none, None unknown."""

    problem: str
    steps: tuple[SampleStep, ...]
    label: int | None
    prediction: int | None
    origin: str = ""


def sample_of(
    problem: Problem,
    solution: Solution,
    rationales: Sequence[Rationale],
    prediction: int | None,
    *,
    vote: int = 0,
    readout: ReadOut = "vote",
) -> Sample:
    """A sample from stored records: every vote's reward, and the text of vote number `vote`."""
    steps = []
    for t, text in enumerate(solution.steps):
        here = sorted((r for r in rationales if r.step == t), key=lambda r: r.vote)
        shown = next((r for r in here if r.vote == vote), None)
        # Nothing is said about the steps after the first error: they were built upon it.
        error = solution.first_error
        truth = None if error is None or 0 <= error < t else t != error
        steps.append(
            SampleStep(
                text=text,
                truth=truth,
                rewards=tuple(r.verdict.reward(readout) for r in here),
                rationale=shown.text if shown else "",
                note=shown.reason if shown else "",
            )
        )
    origin = " ".join(filter(None, (solution.source, solution.error_kind)))
    return Sample(problem.text, tuple(steps), solution.first_error, prediction, origin)


def pieces(text: str) -> list[tuple[str, str, str]]:
    """Cut a rationale into (kind, shown, raw); the raw parts joined are `text` again.

    Kinds: "text", "tag", "code", "output", "verdict".
    """
    kinds = {"output": "output", "block": "output", "fenced": "code", "code": "code"}
    found, end = [], 0
    for match in _PIECE.finditer(text):
        if match.start() > end:
            found.append(("text", text[end : match.start()], text[end : match.start()]))
        name = match.lastgroup or "tag"
        found.append((kinds.get(name, name), match[name], match[0]))
        end = match.end()
    if end < len(text):
        found.append(("text", text[end:], text[end:]))
    return found


def highlight(code: str) -> str:
    """Python code as escaped HTML with keywords, names of builtins, numbers and strings marked."""
    out, end = [], 0
    for match in _TOKEN.finditer(code):
        kind, word = match.lastgroup or "", match[0]
        if kind == "name":
            kind = "kw" if keyword.iskeyword(word) else "fn" if word in _BUILTINS else ""
        out.append(html.escape(code[end : match.start()]))
        shown = html.escape(word)
        out.append(f'<i class="{kind[:3]}">{shown}</i>' if kind else shown)
        end = match.end()
    out.append(html.escape(code[end:]))
    return "".join(out)


def rationale_html(text: str) -> str:
    """A rationale as HTML: analysis as prose, code and its output set apart, the verdict marked."""
    out = []
    for kind, shown, _ in pieces(text):
        escaped = html.escape(shown.strip("\n"))
        if kind == "code":
            out.append(f'<pre class="code">{highlight(shown.strip(chr(10)))}</pre>')
        elif kind == "output":
            out.append(f'<pre class="out">{escaped or "(no output)"}</pre>')
        elif kind == "verdict":
            out.append(f'<span class="verdict {escaped.lower()}">{escaped}</span>')
        elif kind == "text" and any(map(str.isalnum, shown)):
            out.append(f"<p>{escaped}</p>")
    return "".join(out)


def sample_html(sample: Sample) -> str:
    """One sample as a card to open: what it is, and whether the verifier was right about it."""
    hit = sample.label is not None and sample.label == sample.prediction
    state = ("unknown", "no label") if sample.label is None else ("hit", "found") if hit else None
    css, word = state or ("miss", "missed")
    if hit and sample.label == -1:
        word = "passed"
    elif not hit and sample.label == -1 and sample.prediction is not None:
        word = "false alarm"
    first = html.escape(sample.problem.strip().split("\n")[0])
    facts = f"label {_position(sample.label)}, {_said(sample.prediction)}"
    if sample.origin:
        facts = f"{html.escape(sample.origin)}; {facts}"
    steps = "".join(_step_html(t, step) for t, step in enumerate(sample.steps))
    return (
        f'<details class="sample"><summary><span class="chip {css}">{word}</span>'
        f'<span class="what">{first}</span><span class="facts">{facts}</span></summary>'
        f'<p class="problem">{html.escape(sample.problem.strip())}</p><ol>{steps}</ol></details>'
    )


def _step_html(t: int, step: SampleStep) -> str:
    judged = [r for r in step.rewards if r is not None]
    reward = mean(judged) if judged else None
    votes = "".join(f'<b class="{_shade(r)}"></b>' for r in step.rewards)
    truth = "" if step.truth is None else "right" if step.truth else "wrong"
    score = "no judgement" if reward is None else f"P(Yes) {reward:.2f}"
    note = f'<p class="note">{html.escape(step.note)}</p>' if step.note else ""
    return (
        f'<li><p class="step {truth}">{html.escape(step.text.strip())}</p>'
        f'<p class="votes" title="one mark per vote: Yes, No, no judgement">{votes}'
        f"<span>{score}{', is ' + truth if truth else ''}</span></p>"
        f'<div class="rationale">{rationale_html(step.rationale)}{note}</div></li>'
    )


def _shade(reward: float | None) -> str:
    return "none" if reward is None else "yes" if reward >= 0.5 else "no"


def _said(prediction: int | None) -> str:
    return "no verdict" if prediction is None else f"predicted {_position(prediction)}"


def _position(first_error: int | None) -> str:
    if first_error is None:
        return "unknown"
    return "no error" if first_error < 0 else f"step {first_error + 1}"
