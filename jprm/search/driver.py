"""Runs a strategy on many problems side by side, into a file that can be taken up again.

Every round, the plans' requests are put into one batch for the generator, one for the scorer and
one for the refiner. A row is written when its problem is done; a killed run goes on with the
problems that have no row. A problem whose plan, or whose own item in a batch, raises is lost alone:
its row says why. Equal texts of one problem are scored once.

Invariant: a row is a function of the strategy, the problem and what the ports return for it; never
of the other problems, of `in_flight`, or of interruptions.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jprm.config import fingerprint
from jprm.errors import UserError
from jprm.records import Problem, append_jsonl, read_jsonl
from jprm.search.budget import Budget
from jprm.search.plan import Found, Judge, Judged, Request, Revise, Strategy, Talk
from jprm.search.ports import Grading, Grow, Refiner, StepGenerator, StepRewards, StepScorer, forget

ROW = {  # what the readers of a search's rows need
    "run": str,
    "problem_id": str,
    "error": str,
    "candidates": list,
    "pools": list,
    "notes": dict,
    "budget": dict,
}
Item = TypeVar("Item")
Reply = TypeVar("Reply")


def run_search(
    problems: Sequence[Problem],
    strategy: Strategy,
    generator: StepGenerator,
    scorer: StepScorer,
    grading: Grading,
    store: Path | str,
    *,
    refiner: Refiner | None = None,
    inputs: Mapping[str, Any] | None = None,
    in_flight: int = 64,
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """One row per problem, in the order of `problems`; those in the file `store` are not redone.

    inputs: what decides the replies of the ports (weights, seeds, templates), as JSON values. It is
        kept in the rows with the strategy's settings, and a store of another search is refused.
    in_flight: problems that are searched at the same time.

    A row is `run, problem_id, error ("" or the reason), candidates [{steps, rewards, answer,
    correct}], pools, notes, budget {generator, verifier: {prompt_tokens, generated_tokens, flops,
    reread_tokens, reread_flops}}`.
    Raises UserError for equal problem ids, a store of another search, or a missing refiner.
    """
    if len({p.id for p in problems}) != len(problems):
        raise UserError("search: two problems have the same id; ids must differ")
    identity = run_identity(strategy, inputs)
    rows = {row["problem_id"]: row for row in read_jsonl(store, ROW)}
    if any(row.get("run") != identity for row in rows.values()):
        raise UserError(
            f"{store}: holds rows of another search (strategy, settings or inputs differ); "
            "give another file, or delete it"
        )
    todo = [p for p in problems if p.id not in rows]
    waiting = [_Search(p, strategy.search(p, grading.answer)) for p in reversed(todo)]
    running: list[_Search] = []
    ports = _Ports(generator, scorer, refiner)
    try:
        while waiting or running:
            while waiting and len(running) < max(1, in_flight):
                running.append(waiting.pop())
            ports.answer(running)
            done = [search for search in running if search.request is None]
            running = [search for search in running if search.request is not None]
            for search in done:
                ports.forget(search.problem)
                rows[search.problem.id] = search.row(identity, grading)
            append_jsonl(store, [rows[search.problem.id] for search in done])
            progress(f"{len(rows)} of {len(problems)} problems searched")
    finally:
        for search in running:  # interrupted: these problems are searched anew from their start
            ports.forget(search.problem)
    return [rows[p.id] for p in problems]


def run_identity(strategy: Strategy, inputs: Mapping[str, Any] | None = None) -> str:
    """What a search's rows depend on, apart from the problem."""
    name = type(strategy).__qualname__
    if not dataclasses.is_dataclass(strategy):
        raise UserError(f"search: {name} must be a dataclass; its fields are its settings")
    settings = dataclasses.asdict(strategy)  # type: ignore[call-overload]
    return fingerprint({"strategy": name, "settings": settings, "inputs": dict(inputs or {})})


@dataclass(eq=False)
class _Search:
    """One problem's plan: what it asks for now (None at its end) and what it has spent."""

    problem: Problem
    plan: Talk[Found]
    request: Request | None = None
    started: bool = False
    found: Found | None = None
    error: str = ""
    budget: Budget = field(default_factory=Budget)
    judged: dict[tuple[str, ...], StepRewards] = field(default_factory=dict)

    def advance(self, reply: Any = None) -> None:
        """Let the plan go on to its next request or to its end."""
        try:
            self.request = self.plan.send(reply if self.started else None)
        except StopIteration as end:
            self.request, self.found = None, end.value
        except Exception as error:  # a strategy may be anybody's code
            self.lose(error)
        if not isinstance(self.request, Request | None):
            self.lose(UserError(f"the strategy asked for {self.request!r}, which is no request"))
        self.started = True

    def lose(self, error: Exception) -> None:
        """End without a result; what was spent until now stays in the books."""
        self.request, self.error = None, f"{type(error).__name__}: {error}"
        self.plan.close()

    def row(self, identity: str, grading: Grading) -> dict[str, Any]:
        """The record; grading that raises, or notes that JSON lacks, lose the problem, too."""
        result: dict[str, Any] = {"candidates": [], "pools": [], "notes": {}}
        if self.found is not None:
            try:
                found = {
                    "candidates": [self._candidate(j, grading) for j in self.found.candidates],
                    "pools": [list(pool) for pool in self.found.pools],
                    "notes": self.found.notes,
                }
                json.dumps(found, allow_nan=False)
                result = found
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
        key = {"run": identity, "problem_id": self.problem.id, "error": self.error}
        return key | result | {"budget": dataclasses.asdict(self.budget)}

    def _candidate(self, judged: Judged, grading: Grading) -> dict[str, Any]:
        steps = judged.branch.steps
        return {
            "steps": list(steps),
            "rewards": list(judged.rewards),
            "answer": grading.answer(steps),
            "correct": bool(grading.is_correct(self.problem, steps)),
        }


class _Ports:
    """Answers the requests of one round, kind by kind."""

    def __init__(self, generator: StepGenerator, scorer: StepScorer, refiner: Refiner | None):
        self.generator, self.scorer, self.refiner = generator, scorer, refiner

    def answer(self, running: Iterable[_Search]) -> None:
        """Give every plan its reply; new plans their start."""
        asked: dict[type, list[_Search]] = {Grow: [], Judge: [], Revise: []}
        for search in running:
            if not search.started:
                search.advance()
            elif search.request is not None:
                asked[type(search.request)].append(search)
        self._grow(asked[Grow])
        self._judge(asked[Judge])
        self._revise(asked[Revise])

    def forget(self, problem: Problem) -> None:
        """The search of this problem is over."""
        self.generator.forget(problem)
        forget(self.scorer, problem)

    def _grow(self, searches: list[_Search]) -> None:
        requests = ((search, search.request) for search in searches)
        items = [(s, (s.problem, request)) for s, request in requests if isinstance(request, Grow)]
        for search, [grown] in _each(items, self.generator.grow):
            search.budget += Budget(generator=grown.cost)
            search.advance(grown.branches)

    def _judge(self, searches: list[_Search]) -> None:
        asked: dict[_Search, list[tuple[str, ...]]] = {}
        for search in searches:
            assert isinstance(search.request, Judge)
            texts = dict.fromkeys(branch.steps for branch in search.request.branches)
            asked[search] = [steps for steps in texts if steps not in search.judged]
        items = [(s, (s.problem, steps)) for s, texts in asked.items() for steps in texts]
        for search, replies in _each(items, self.scorer.score):
            try:
                self._note(search, asked[search], replies)
            except UserError as error:
                search.lose(error)
        for search in searches:
            if isinstance(search.request, Judge):
                known = [(b, search.judged[b.steps]) for b in search.request.branches]
                search.advance([Judged(b, r.rewards, r.analyses) for b, r in known])

    @staticmethod
    def _note(search: _Search, texts: list[tuple[str, ...]], replies: Sequence[StepRewards]) -> None:
        for steps, reply in zip(texts, replies, strict=True):
            search.budget += Budget(verifier=reply.cost)
            if len(reply.rewards) != len(steps):
                raise UserError(f"the scorer gave {len(reply.rewards)} rewards for {len(steps)} steps")
            if not all(r is None or math.isfinite(r) for r in reply.rewards):
                raise UserError(f"the scorer gave {reply.rewards}; a reward is a number or None")
            search.judged[steps] = reply

    def _revise(self, searches: list[_Search]) -> None:
        if searches and self.refiner is None:
            raise UserError("this strategy rewrites solutions: give run_search a refiner")
        items = []
        for search in searches:
            assert isinstance(search.request, Revise)
            items += [(search, (search.problem, r)) for r in search.request.revisions]
        for search, replies in _each(items, self.refiner.revise if self.refiner else None):
            for reply in replies:
                search.budget += Budget(generator=reply.cost)
            search.advance([reply.branch for reply in replies])


def _each(
    items: Sequence[tuple[_Search, Item]], call: Callable[[Sequence[Item]], Sequence[Reply | Exception]] | None
) -> list[tuple[_Search, list[Reply]]]:
    """The replies to each search's items, in one batch; search by search if the batch raises.

    A search whose own items fail is lost and not among the results. Interrupts are not caught.
    """
    if not items or call is None:
        return []
    mine: dict[_Search, list[Item]] = {}
    for search, item in items:
        mine.setdefault(search, []).append(item)
    try:
        replies = iter(_replies(call, [item for own in mine.values() for item in own]))
        answered = [(search, [next(replies) for _ in own]) for search, own in mine.items()]
    except Exception as error:  # a scorer may be anybody's code
        if len(mine) == 1:
            answered = [(search, [error]) for search in mine]
        else:
            answered = [pair for s, own in mine.items() for pair in _each([(s, i) for i in own], call)]
    good = []
    for search, own in answered:
        if failed := [reply for reply in own if isinstance(reply, Exception)]:
            search.lose(failed[0])
        else:
            good.append((search, own))
    return good


def _replies(
    call: Callable[[Sequence[Item]], Sequence[Reply | Exception]], items: list[Item]
) -> list[Reply | Exception]:
    replies = list(call(items))
    if len(replies) != len(items):
        raise UserError(f"{len(replies)} replies to {len(items)} items")
    return replies
