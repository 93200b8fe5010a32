"""The layouts in which step labels are traded: readers and writers of one row.

ProcessBench, PRM800K (openai/prm800k), Math-Shepherd (OpenRLHF, vLLM), TRL's stepwise supervision, RLHFlow's chat
turns, and the pieces on which `python -m jprm train` trains a step head. Math-Shepherd and RLHFlow run the problem and
a numbered first step together, so the number "Step 1:" is their only border and belongs to the layout, not to the step.

Invariant: what a writer writes its reader reads back the same; a solution for which that does not hold (it contains the
layout's own marks) is refused.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from pydantic import Field

from jprm.errors import UserError
from jprm.formats.benchmarks import parse_processbench
from jprm.formats.judged import JudgedSolution, Parse, Steps, Text, until_first_error
from jprm.records import fields_of

TAG = "ки"  # Math-Shepherd's end of a step
BORDER = re.compile(r"\sStep 1:")
SIGNS = {"+": True, "-": False}
SIGN = {True: "+", False: "-"}
SOLUTION = {"problem": Text, "steps": Steps}
TRL = {"prompt": Text, "completions": Steps, "labels": list[bool]}
SHEPHERD = {"input": Text, "label": Text}
RLHFLOW = {"conversations": Annotated[list[dict], Field(min_length=1)]}
TURN = {"role": str, "content": Text}
PRM800K = {"question": dict, "label": dict}
STAGES = {"steps": Annotated[list[dict], Field(min_length=1)]}
STAGE = {"completions": list[dict] | None, "chosen_completion": int | None, "human_completion": dict | None}
PIECES = {"pieces": Annotated[list[tuple[Text, float | None]], Field(min_length=2)]}
COMPLETION = {"text": str, "rating": Optional[Annotated[int, Field(ge=-1, le=1)]]}  # noqa: UP045


@dataclass(frozen=True)
class StepFormat:
    """A layout; `holds` says which labels it can state: of every step (and must), of any, or one.

    strips: blank edges of a text are the layout's own, and not kept.
    """

    name: str
    holds: Literal["every", "any", "first error"]
    parse: Parse
    row: Callable[[JudgedSolution], dict[str, Any]]
    strips: bool = False

    def dump(self, solution: JudgedSolution) -> tuple[dict[str, Any], bool]:
        """Returns the row of a solution, and whether labels or steps had to be left out for it.

        Raises UserError where nothing is left, or the row would be read back as something else.
        """
        fitted = self._fit(solution)
        row = self.row(fitted)
        try:
            (again,) = self.parse(row, "", [])
        except UserError as fault:
            raise UserError(f"cannot be written as {self.name}: {fault}") from None
        except ValueError:
            raise UserError(f"cannot be written as {self.name}: it would be several solutions") from None
        if _content(again) != _content(fitted):
            raise UserError(f"cannot be written as {self.name}: the text holds the layout's own marks")
        return row, fitted.labels != solution.labels

    def _fit(self, solution: JudgedSolution) -> JudgedSolution:
        if self.strips:
            texts = {"problem": solution.problem.strip(), "steps": tuple(step.strip() for step in solution.steps)}
            solution = dataclasses.replace(solution, **texts)
        first, count = solution.first_error, len(solution.steps)
        if self.holds == "any":
            return solution
        if self.holds == "first error" and first is not None:
            return dataclasses.replace(solution, labels=until_first_error(first, count))
        known = next((i for i, label in enumerate(solution.labels) if label is None), count)
        if not known:
            raise UserError("the first step has no label")
        return dataclasses.replace(solution, steps=solution.steps[:known], labels=solution.labels[:known], pieces=())


def _content(solution: JudgedSolution) -> tuple[Any, ...]:
    return solution.problem, solution.steps, solution.labels


def _solution(
    name: str, place: str, problem: str, steps: Sequence[str], labels: Sequence[bool | None]
) -> JudgedSolution:
    """Returns a checked solution; layouts without ids are named by their line."""
    given = fields_of({"problem": problem, "steps": list(steps)}, SOLUTION)
    return JudgedSolution(name, place.rsplit(":", 1)[-1], given["problem"], given["steps"], tuple(labels))


def _processbench_row(solution: JudgedSolution) -> dict[str, Any]:
    # Ids are unique within a subset (PRMBench flaws one solution in several ways), and ProcessBench
    # has no field for that but the id's own beginning.
    apart = not solution.subset or solution.id.startswith(solution.subset)
    return {
        "id": solution.id if apart else f"{solution.subset}-{solution.id}",
        "generator": solution.generator,
        "problem": solution.problem,
        "steps": list(solution.steps),
        "label": solution.first_error,
    }


def _parse_trl(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    given = fields_of(row, TRL)
    steps, labels = given["completions"], given["labels"]
    if len(labels) != len(steps):
        raise UserError(f"{len(steps)} completions but {len(labels)} labels")
    return [_solution("trl", place, given["prompt"], steps, labels)]


def _trl_row(solution: JudgedSolution) -> dict[str, Any]:
    return {"prompt": solution.problem, "completions": list(solution.steps), "labels": list(solution.labels)}


def _parse_shepherd(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    given = fields_of(row, SHEPHERD)
    *segments, rest = given["input"].split(TAG)
    if not segments or rest.strip():
        raise UserError(f"'input' must end with {TAG!r}, as every step does")
    marked, at, labels = given["label"], 0, []
    for segment in segments:
        at += len(segment)
        sign = marked[at : at + 1]
        if marked[at - len(segment) : at] != segment or sign not in SIGNS:
            raise UserError(f"'label' is not 'input' with + or - for {TAG!r}: step {len(labels)}")
        labels.append(SIGNS[sign])
        at += 1
    if marked[at:].strip():
        raise UserError("'label' goes on after the last step")
    problem, first = _border(segments[0])
    texts = [first, *(segment.removeprefix("\n") for segment in segments[1:])]
    steps = [_unnumbered(text.removesuffix(" "), i) for i, text in enumerate(texts, 1)]
    return [_solution("math-shepherd", place, problem, steps, labels)]


def _shepherd_row(solution: JudgedSolution) -> dict[str, Any]:
    def text(marks: Sequence[str]) -> str:
        steps = _numbered(solution.steps)
        return f"{solution.problem} " + "\n".join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))

    signs = [SIGN[bool(label)] for label in solution.labels]
    return {"input": text([TAG] * len(signs)), "label": text(signs), "task": solution.subset}


def _parse_rlhflow(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    turns = [fields_of(turn, TURN) for turn in fields_of(row, RLHFLOW)["conversations"]]
    if len(turns) % 2:
        raise UserError("'conversations' must be pairs of a user's and an assistant's turn")
    for index, turn in enumerate(turns):
        if turn["role"] != (role := "assistant" if index % 2 else "user"):
            raise UserError(f"turn {index} must be the {role}'s")
    said = [turn["content"] for turn in turns]
    if odd := [sign for sign in said[1::2] if sign not in SIGNS]:
        raise UserError(f"an assistant's turn must be + or -, not {odd[0]!r}")
    problem, first = _border(said[0])
    steps = [_unnumbered(text, i) for i, text in enumerate([first, *said[2::2]], 1)]
    return [_solution("rlhflow", place, problem, steps, [SIGNS[sign] for sign in said[1::2]])]


def _rlhflow_row(solution: JudgedSolution) -> dict[str, Any]:
    first, *others = _numbered(solution.steps)
    turns = []
    labelled = zip([f"{solution.problem} {first}", *others], solution.labels, strict=True)
    for text, label in labelled:
        turns.append({"role": "user", "content": text})
        turns.append({"role": "assistant", "content": SIGN[bool(label)]})
    return {"conversations": turns}


def _border(text: str) -> tuple[str, str]:
    """Returns the problem, and the first step with its number."""
    found = list(BORDER.finditer(text))
    if not found:
        raise UserError("no 'Step 1:' tells the problem from the first step")
    at = found[-1].start()  # a problem may speak of steps, a first step hardly of itself
    return text[:at], text[at + 1 :]


def _numbered(steps: Sequence[str]) -> list[str]:
    return [f"Step {i}: {step}" for i, step in enumerate(steps, 1)]


def _unnumbered(text: str, number: int) -> str:
    head = f"Step {number}:"
    return text.removeprefix(head).removeprefix(" ") if text.startswith(head) else text


def _parse_prm800k(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """Returns the path that the labeller went, and for each other completion the path up to it.

    Rating 1 is right, -1 wrong, 0 (right, but no progress) right as well; null is unknown.
    """
    given = fields_of(row, PRM800K)
    problem = fields_of(given["question"], {"problem": Text})["problem"]
    path: list[tuple[str, bool | None]] = []
    paths, neutral = [], 0
    for index, row_of_stage in enumerate(fields_of(given["label"], STAGES)["steps"]):
        stage = fields_of(row_of_stage, STAGE)
        offered = [_completion(c, index) for c in stage.get("completions") or []]
        neutral += sum(rating == 0 for _, rating in offered)
        judged = [(text, None if rating is None else rating >= 0) for text, rating in offered]
        chosen, human = stage.get("chosen_completion"), stage.get("human_completion")
        if chosen is not None and not 0 <= chosen < len(judged):
            raise UserError(f"step {index}: 'chosen_completion' {chosen!r} is none of {len(judged)}")
        paths += [[*path, judgement] for i, judgement in enumerate(judged) if i != chosen]
        if chosen is not None:
            path = [*path, judged[chosen]]
        elif human is not None:  # written by the labeller because nothing offered was right
            path = [*path, (_completion(human, index)[0], True)]
        else:
            if offered:  # each of them ends a branch, and nothing else goes on
                path = []
            break
    if path:
        paths.insert(0, path)
    if not paths:
        raise UserError("no step has a completion")
    if neutral:
        notes.append(f"{place}: {neutral} neutral ratings (0), read as right")
    found = [_solution("prm800k", place, problem, *zip(*path, strict=True)) for path in paths]
    return [dataclasses.replace(s, id=f"{s.id}.{i}") for i, s in enumerate(found)]


def _completion(value: dict[str, Any], step: int) -> tuple[str, int | None]:
    try:
        given = fields_of(value, COMPLETION)
    except UserError as error:
        raise UserError(f"step {step}: {error}") from None
    return given["text"], given.get("rating")


def _prm800k_row(solution: JudgedSolution) -> dict[str, Any]:
    rating = {True: 1, False: -1, None: None}
    steps = [
        {
            "completions": [{"text": text, "rating": rating[label], "flagged": False}],
            "human_completion": None,
            "chosen_completion": 0,
        }
        for text, label in zip(solution.steps, solution.labels, strict=True)
    ]
    finish = "found_error" if False in solution.labels else "solution"
    return {"question": {"problem": solution.problem}, "label": {"steps": steps, "finish_reason": finish}}


def _parse_pieces(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    (problem, of_problem), *judged = fields_of(row, PIECES)["pieces"]
    if of_problem is not None:
        raise UserError("pieces[0] must be the problem, without a probability")
    if soft := [p for _, p in judged if p not in (0, 1, None)]:
        raise UserError(f"the probability {soft[0]} is no label, as 0 and 1 are")
    labels = [None if p is None else p == 1 for _, p in judged]
    return [_solution("pieces", place, problem.strip(), [step.strip() for step, _ in judged], labels)]


def _pieces_row(solution: JudgedSolution) -> dict[str, Any]:
    """Writes what the scorer `head` reads: problem and steps, each with a newline behind it."""
    labels = [None if label is None else float(label) for label in solution.labels]
    steps = ([f"{step}\n", label] for step, label in zip(solution.steps, labels, strict=True))
    return {"pieces": [[f"{solution.problem}\n", None], *steps]}


FORMATS = {
    layout.name: layout
    for layout in (
        StepFormat("processbench", "first error", parse_processbench, _processbench_row),
        StepFormat("prm800k", "any", _parse_prm800k, _prm800k_row),
        StepFormat("math-shepherd", "every", _parse_shepherd, _shepherd_row),
        StepFormat("trl", "every", _parse_trl, _trl_row),
        StepFormat("rlhflow", "every", _parse_rlhflow, _rlhflow_row),
        StepFormat("pieces", "any", _parse_pieces, _pieces_row, strips=True),
    )
}
