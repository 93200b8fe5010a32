"""Runs a strategy on many problems side by side, into a file that can be taken up again.

Every round, the requests of all searches are put into one batch for the generator, one for the reward
model and one for the refiner. A row is written when its problem is done; a killed run goes on with the
problems that have no row. A problem whose strategy, or whose own item in a batch, raises is lost alone:
its row says why. Equal texts of one problem are scored once.

Invariant: a row is a function of the strategy, the problem and what the ports return for it; never
of the other problems, of `in_flight`, or of interruptions.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jprm.config import fingerprint
from jprm.errors import UserError
from jprm.records import Problem, append_jsonl, read_jsonl
from jprm.search.base import Asking, Found, JudgedBranch, JudgeRequest, Request, Revise, Strategy
from jprm.search.budget import SearchCost
from jprm.search.ports import Grow, Refiner, RewardModel, StepGenerator, StepRewards, Steps
from jprm.worlds import World

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
    reward_model: RewardModel,
    world: World,
    store: Path | str,
    *,
    refiner: Refiner | None = None,
    inputs: Mapping[str, Any] | None = None,
    in_flight: int = 64,
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Searches the problems that have no row in the file `store`; returns one row per problem, in their order.

    world: tells the strategies the answer that a solution states, and the rows whether it is right.
    inputs: what decides the replies of the ports (weights, seeds, templates), as JSON values. It is
        kept in the rows with the strategy's settings, and a store of another search is refused.
    in_flight: problems that are searched at the same time.

    A row is `run, problem_id, error ("" or the reason), candidates [{steps, rewards, answer, correct}], pools, notes,
    budget {generator, verifier: {prompt_tokens, generated_tokens, flops, reread_tokens, reread_flops}}`.
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
    waiting = [p for p in reversed(problems) if p.id not in rows]
    running: list[_Search] = []
    ports = _Ports(generator, reward_model, refiner)
    try:
        while waiting or running:
            # 1. See what the running searches ask for.
            asked = {kind: [s for s in running if isinstance(s.request, kind)] for kind in (Grow, JudgeRequest, Revise)}
            # 2. Start further searches, up to their first request, which waits for the next round.
            while waiting and len(running) < max(1, in_flight):
                problem = waiting.pop()
                running.append(_Search(problem, strategy.search(problem, world.answer)))
                running[-1].advance(None)
            # 3. Answer the requests, those of a kind together.
            ports.grow(asked[Grow])
            ports.judge(asked[JudgeRequest])
            ports.revise(asked[Revise])
            # 4. Write the rows of the searches that are done.
            done = [search for search in running if search.request is None]
            running = [search for search in running if search.request is not None]
            for search in done:
                ports.forget(search.problem)
                rows[search.problem.id] = search.row(identity, world)
            append_jsonl(store, [rows[search.problem.id] for search in done])
            progress(f"{len(rows)} of {len(problems)} problems searched")
    finally:
        for search in running:  # interrupted: these problems are searched anew from their start
            ports.forget(search.problem)
    return [rows[p.id] for p in problems]


def run_identity(strategy: Strategy, inputs: Mapping[str, Any] | None = None) -> str:
    """Returns a fingerprint of what a search's rows depend on, apart from the problem."""
    name = type(strategy).__qualname__
    if not dataclasses.is_dataclass(strategy):
        raise UserError(f"search: {name} must be a dataclass; its fields are its settings")
    settings = dataclasses.asdict(strategy)  # type: ignore[call-overload]
    return fingerprint({"strategy": name, "settings": settings, "inputs": dict(inputs or {})})


@dataclass(eq=False)
class _Search:
    """The search of one problem: what it asks for now (None at its end) and what it has spent."""

    problem: Problem
    asking: Asking[Found]
    request: Request | None = None
    found: Found | None = None
    error: str = ""
    cost: SearchCost = field(default_factory=SearchCost)
    judged: dict[Steps, StepRewards] = field(default_factory=dict)

    def advance(self, reply: Any) -> None:
        """Lets the strategy go on to its next request or to its end; the first reply is None."""
        try:
            self.request = self.asking.send(reply)
        except StopIteration as end:
            self.request, self.found = None, end.value
        except Exception as error:  # a strategy may be anybody's code
            self.lose(error)
        if not isinstance(self.request, Request | None):
            self.lose(UserError(f"the strategy asked for {self.request!r}, which is no request"))

    def lose(self, error: Exception) -> None:
        """Ends the search without a result; what was spent until now still counts."""
        self.request, self.error = None, f"{type(error).__name__}: {error}"
        self.asking.close()

    def note(self, steps: Steps, reply: StepRewards) -> None:
        """Keeps the rewards of a text. Raises UserError for what are no rewards."""
        self.cost += SearchCost(verifier=reply.cost)
        if len(reply.rewards) != len(steps):
            raise UserError(f"the scorer gave {len(reply.rewards)} rewards for {len(steps)} steps")
        if not all(r is None or math.isfinite(r) for r in reply.rewards):
            raise UserError(f"the scorer gave {reply.rewards}; a reward is a number or None")
        self.judged[steps] = reply

    def row(self, identity: str, world: World) -> dict[str, Any]:
        """Returns the record; grading that raises, or notes that JSON lacks, lose the problem, too."""
        result: dict[str, Any] = {"candidates": [], "pools": [], "notes": {}}
        if self.found is not None:
            try:
                found = {
                    "candidates": [self._candidate(j, world) for j in self.found.candidates],
                    "pools": [list(pool) for pool in self.found.pools],
                    "notes": self.found.notes,
                }
                json.dumps(found, allow_nan=False)
                result = found
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
        key = {"run": identity, "problem_id": self.problem.id, "error": self.error}
        return key | result | {"budget": dataclasses.asdict(self.cost)}

    def _candidate(self, judged: JudgedBranch, world: World) -> dict[str, Any]:
        steps = judged.branch.steps
        return {
            "steps": list(steps),
            "rewards": list(judged.rewards),
            "answer": world.answer(steps),
            "correct": bool(world.is_correct(self.problem, steps)),
        }


class _Ports:
    """Answers requests of one kind for many searches, and counts what the answers cost."""

    def __init__(self, generator: StepGenerator, reward_model: RewardModel, refiner: Refiner | None):
        self._generator, self._reward_model, self._refiner = generator, reward_model, refiner

    def forget(self, problem: Problem) -> None:
        """Tells all that the search of this problem is over."""
        self._generator.forget(problem)
        self._reward_model.forget(problem)

    def grow(self, searches: Sequence[_Search]) -> None:
        """Continues branches."""
        items = {s: [(s.problem, s.request)] for s in searches if isinstance(s.request, Grow)}
        for search, [grown] in _each(items, self._generator.grow):
            search.cost += SearchCost(generator=grown.cost)
            search.advance(grown.branches)

    def judge(self, searches: Sequence[_Search]) -> None:
        """Rewards branches; a search whose texts are all known asks nobody."""
        items: dict[_Search, list[tuple[Problem, Steps]]] = {}
        for search in searches:
            assert isinstance(search.request, JudgeRequest)
            texts = dict.fromkeys(branch.steps for branch in search.request.branches)
            if new := [(search.problem, steps) for steps in texts if steps not in search.judged]:
                items[search] = new
        for search, replies in _each(items, self._reward_model.score):
            try:
                for (_, steps), reply in zip(items[search], replies, strict=True):
                    search.note(steps, reply)
            except UserError as error:
                search.lose(error)
        for search in searches:
            if isinstance(search.request, JudgeRequest):
                known = [(b, search.judged[b.steps]) for b in search.request.branches]
                search.advance([JudgedBranch(b, r.rewards, r.analyses) for b, r in known])

    def revise(self, searches: Sequence[_Search]) -> None:
        """Rewrites solutions. Raises UserError where nothing can."""
        if not searches:
            return
        if self._refiner is None:
            raise UserError("this strategy rewrites solutions: give run_search a refiner")
        items = {s: [(s.problem, r) for r in s.request.revisions] for s in searches if isinstance(s.request, Revise)}
        for search, replies in _each(items, self._refiner.revise):
            for reply in replies:
                search.cost += SearchCost(generator=reply.cost)
            search.advance([reply.branch for reply in replies])


def _each(
    items: Mapping[_Search, Sequence[Item]], call: Callable[[Sequence[Item]], Sequence[Reply | Exception]]
) -> list[tuple[_Search, list[Reply]]]:
    """Asks for the replies to each search's items, in one batch; search by search if the batch raises.

    A search whose own items fail is lost and not among the results. Interrupts are not caught.
    """
    batch = [item for own in items.values() for item in own]
    if not batch:
        return []
    try:
        replies = list(call(batch))
        if len(replies) != len(batch):
            raise UserError(f"{len(replies)} replies to {len(batch)} items")
    except Exception as error:  # a reward model may be anybody's code
        if len(items) > 1:
            return [pair for search, own in items.items() for pair in _each({search: own}, call)]
        replies = [error] * len(batch)
    good, left = [], iter(replies)
    for search, own in items.items():
        mine = [next(left) for _ in own]
        failed = next((reply for reply in mine if isinstance(reply, Exception)), None)
        if failed is None:
            good.append((search, mine))
        else:
            search.lose(failed)
    return good
