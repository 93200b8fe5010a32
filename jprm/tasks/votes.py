"""Votes on a set of solutions: N_max of them are sampled once and kept; every smaller N is computed from the store.

What a vote says depends on its sample id alone, so votes that one task has stored are those that another would draw.
Tasks that differ only in how many votes they ask for, or in how these are read, take one another's votes over.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.config import fingerprint
from jprm.errors import UserError
from jprm.execute import CodePlace
from jprm.jobs import Stage, Stages, Task, inputs_without, work_folder
from jprm.records import Rationale, ReadOut
from jprm.sampling import SamplingParams
from jprm.score import Ended, Heard, Known
from jprm.score import Item as ScorerItem
from jprm.tasks.base import load_weights
from jprm.tasks.benchmark import Item, SolutionSet, load_items
from jprm.tasks.model_source import SamplerSizes
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import ExecutionMode, VerifySection, VoteMode
from jprm.tasks.verifier import RUN_CODE, TrainedVerifier, code_inputs, protocol_inputs
from jprm.tasks.vote_progress import VoteProgress
from jprm.tasks.vote_store import RATIONALES, VOTES, VoteStore, counted, read_lost, stream_rationales, stream_votes
from jprm.verify import LOST, GenPRM, RationaleFormat, VerifySettings, verify

# Expected numbers, which only the plan and the ETA use.
TOKENS_SHARE = 0.5  # of the most tokens of a rationale
# What does not decide the votes themselves, only how many are drawn, on how many solutions, and how they are read.
CHOICES = ("n_votes", "stop_early", "readout", "limit")

Judging = Generator[Ended, None, None]  # solutions whose judgement has ended


@dataclass(frozen=True)
class Drawing:
    """What votes are drawn for and with.

    stage: what is being computed, the stage of `votes` or that of a part. told: is given the sampler's speed.
    """

    context: TaskContext
    stage: Stage
    votes: Votes
    told: VoteProgress


class Sampling(ABC):
    """Who judges, and how it is asked; all but the solutions and the number of votes."""

    readout: ReadOut  # the reward that decides where judging a solution stops

    @property
    @abstractmethod
    def label(self) -> str:
        """A short name."""

    @abstractmethod
    def parents(self) -> tuple[Task, ...]:
        """The tasks that made it."""

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Everything else that decides its votes."""

    @abstractmethod
    def judge(self, drawing: Drawing, items: Sequence[ScorerItem], known: Known, heard: Heard) -> Judging:
        """Judges some of the solutions of the votes that are drawn as `jprm.score.Scorer.judge` does."""

    @property
    def format(self) -> RationaleFormat | None:
        """The protocol that is spoken; None where no text is sampled."""
        return None

    @abstractmethod
    def pool(self, context: TaskContext) -> CodePlace | None:
        """The pool that runs its code; None where there is none."""

    @abstractmethod
    def decode_flops(self, rationales: float) -> float:
        """The expected FLOPs of writing so many rationales of a step; 0 where they are not known."""


@dataclass(frozen=True)
class VerifierSampling(Sampling):
    """A trained verifier and how it is asked.

    execution: whether code is executed, its output is invented by the model, or there is none. slots: see
    `ModelSection`.
    """

    verifier: TrainedVerifier
    execution: ExecutionMode
    mode: VoteMode
    verify: VerifySection
    slots: int

    @property
    def label(self) -> str:
        return f"{self.verifier.label} ({self.execution}, {self.mode})"

    @property
    def readout(self) -> ReadOut:  # pyright: ignore[reportIncompatibleVariableOverride] - it is one of the settings
        return self.verify.readout

    def parents(self) -> tuple[Task, ...]:
        return (self.verifier,)

    def inputs(self) -> dict[str, Any]:
        fields = {"temperature", "max_tokens", "max_rounds", "timeout_s", "context_tokens"}
        return (
            self.verify.model_dump(include=fields)
            | code_inputs(self.verify)
            | protocol_inputs(self.verifier.verify, self.verifier.template)
            | {"execution": self.execution, "mode": self.mode, "slots": self.slots}
        )

    def judge(self, drawing: Drawing, items: Sequence[ScorerItem], known: Known, heard: Heard) -> Judging:
        """Judges all solutions side by side on an engine of its own."""
        context, votes = drawing.context, drawing.votes
        with context.progress.doing(f"{votes.label}: loading and compiling {self.verifier.base.size}"):
            engine = self.engine(context.stages)
        drawing.told.speed = lambda: str(engine.progress)
        model = engine, self.pool(context), self.verifier.base.tokenizer, self.settings
        seed = self.verifier.seed_for("votes")
        for rationales in verify(items, range(votes.n_votes), *model, seed, votes.stop_early, known, heard):
            lost = (r.reason for r in rationales if r.reason.startswith(LOST))
            yield Ended(rationales[0].solution_id, next(lost, ""))

    @property
    def format(self) -> RationaleFormat:
        return self.verifier.template

    def pool(self, context: TaskContext) -> CodePlace:
        return context.resources.pool(self.verify, context.progress)

    def engine(self, stages: Stages):
        """An engine that writes this verifier's rationales."""
        sampling = sampling_params(self.verify.temperature, self.verifier.template)
        forks, stops = self.mode == "fork", self.verifier.template.all_stops
        sizes = SamplerSizes(self.verify.context_tokens, self.slots, stops, shared_prompts=forks)
        return self.verifier.base.engine(load_weights(stages, self.verifier), sampling, sizes)

    @property
    def settings(self) -> VerifySettings:
        """The driver's settings."""
        return VerifySettings(
            context_tokens=self.verify.context_tokens,
            mode=self.mode,
            style=self.verifier.style,
            execute=self.execution,
            temperature=self.verify.temperature,
            max_in_flight=2 * self.slots,
            readout=self.verify.readout,
            template=self.verifier.template,
        )

    def decode_flops(self, rationales: float) -> float:
        tokens = rationales * TOKENS_SHARE * self.verify.max_tokens
        return self.verifier.base.decode_flops(self.verify.context_tokens, tokens)


def sampling_params(temperature: float, protocol: RationaleFormat) -> SamplingParams:
    """How tokens are drawn: at the configured temperature, and as the published protocol cuts the rest."""
    if isinstance(protocol, GenPRM):
        return SamplingParams(temperature, protocol.sampling.top_k, protocol.sampling.top_p)
    return SamplingParams(temperature)


def execution_of(style: str, wanted: ExecutionMode = "executed") -> ExecutionMode:
    """How code is treated for a style: as wanted where its rationales hold code, else there is none."""
    return wanted if style in RUN_CODE else "none"


@dataclass(frozen=True, eq=False)
class Votes(Task):
    """`n_votes` votes on each step of each solution; `load_rationales(stage)` reads them.

    limit: judges only the first solutions of the set, where it is not None. chunk_solutions: how many solutions a
    worker judges under one lease; 0 for all. It decides nothing.
    """

    kind: ClassVar[str] = "votes"
    sampling: Sampling
    benchmark: SolutionSet
    n_votes: int
    limit: int | None = None
    chunk_solutions: int = 0

    @property
    def label(self) -> str:
        return f"votes of {self.sampling.label} on {self.benchmark.name}"

    def parents(self) -> tuple[Task, ...]:
        return *self.sampling.parents(), self.benchmark

    def inputs(self) -> dict[str, Any]:
        inputs = self.sampling.inputs() | {"n_votes": self.n_votes, "stop_early": self.stop_early}
        # The read-out decides which votes call a step wrong, and so where a solution ends. It is left out where it is
        # the default, as in keys from before it could be chosen for a cell.
        if self.stop_early and self.sampling.readout != "prob_raw":
            inputs["readout"] = self.sampling.readout
        return inputs if self.limit is None else inputs | {"limit": self.limit}

    @property
    def stop_early(self) -> bool:
        """Whether steps after a unanimous No are left out: not where every step's reward is wanted."""
        return not self.benchmark.scores_solutions

    def items(self, stages: Stages) -> list[Item]:
        """The solutions that are judged."""
        return load_items(stages[self.benchmark])[: self.limit]

    def counted(self, item: Item, stored: Sequence[Rationale]) -> tuple[Rationale, ...] | None:
        """The stored rationales of a solution that count; None where some are missing."""
        readout = self.sampling.readout if self.stop_early else None
        return counted(stored, len(item.solution.steps), self.n_votes, readout)

    def parts(self, stages: Stages) -> tuple[Task, ...]:
        """Chunks of the solutions; none where there are too few to share."""
        size = self.chunk_solutions
        n = stages[self.benchmark].summary["items"] if size else 0
        n = n if self.limit is None else min(n, self.limit)
        return tuple(VotesPart(self, start, min(start + size, n)) for start in range(0, n, size)) if n > size else ()

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        return draw_votes(stage, context, self, self.items(context.stages))

    def flops(self) -> float:
        steps = min(self.benchmark.size, self.limit or self.benchmark.size) * self.benchmark.steps_each
        return self.sampling.decode_flops(steps * self.n_votes)

    def seconds(self, speed: Speed) -> float:
        return 2 + self.flops() / speed.decode


@dataclass(frozen=True, eq=False)
class VotesPart(Task):
    """The votes on the solutions from `start` to `stop`: what one worker leases at a time."""

    kind: ClassVar[str] = "part"
    votes: Votes
    start: int
    stop: int

    @property
    def label(self) -> str:
        return f"{self.votes.label}, solutions {self.start} to {self.stop}"

    def parents(self) -> tuple[Task, ...]:
        return self.votes.parents()

    def inputs(self) -> dict[str, Any]:
        return {"votes": self.votes.key, "start": self.start, "stop": self.stop}

    def seconds(self, speed: Speed) -> float:
        size = self.votes.benchmark.size
        judged = min(size, self.votes.limit or size)
        return self.votes.seconds(speed) * (self.stop - self.start) / judged

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """What is lost is left to the whole, which asks again."""
        items = self.votes.items(context.stages)[self.start : self.stop]
        return draw_votes(stage, context, self.votes, items, may_lack=True)


def draw_votes(
    stage: Stage, context: TaskContext, votes: Votes, items: list[Item], may_lack: bool = False
) -> dict[str, Any]:
    """Stores the votes on these solutions and returns the summary of the stage.

    Raises UserError where solutions were lost, unless the result `may_lack` some, and whatever else stops the work;
    what was drawn until then is on disk.
    """
    # 1. What an earlier attempt and other tasks have stored need not be drawn.
    store, taken_over_s = stored_votes(context.stages, votes, [item.solution.id for item in items], stage)
    missing = [item for item in items if votes.counted(item, store.rationales(item.solution.id)) is None]
    # 2. The rest is drawn; each vote is stored as it comes.
    about: dict[str, Any] = {}
    if missing:
        with context.progress.doing("starting what runs code"):
            pool = votes.sampling.pool(context)
        before = pool.stats if pool else None
        known = {item.solution.id: store.rationales(item.solution.id) for item in missing}
        expected = {
            item.solution.id: max(0, len(item.solution.steps) * votes.n_votes - len(known[item.solution.id]))
            for item in missing
        }
        told = VoteProgress(votes.label, context.progress, expected, len(items), pool, votes.sampling.format)

        def heard(rationale: Rationale) -> None:
            store.add(rationale)
            told.heard(rationale)

        asked = [(item.problem, item.solution) for item in missing]
        ends = votes.sampling.judge(Drawing(context, stage, votes, told), asked, known, heard)
        try:
            # Whatever judging has opened ends with it.
            with context.progress.watching(told.line), contextlib.closing(ends):
                for ended in ends:
                    store.lose(ended.solution_id, ended.lost)
                    told.ended(ended.solution_id)
        finally:
            if stage.path.exists():  # not after another worker took the stage over
                store.flush()
        if pool and before:
            about = {"code_ran": pool.description, "pool": pool.stats.since(before)}
    # 3. What counts is written solution by solution, for readers.
    complete = [votes.counted(item, store.rationales(item.solution.id)) for item in items]
    lost = [item.solution.id for item, kept in zip(items, complete, strict=True) if kept is None]
    if lost and not may_lack:
        reason = store.lost.get(lost[0], "") or "no reason was given"
        raise SolutionsLost(f"{len(lost)} of {len(items)} solutions were lost ({reason}); run the command again")
    kept = [rationales for rationales in complete if rationales is not None]
    store.finish(kept)
    if taken_over_s:
        about["reused_seconds"] = taken_over_s
    return _counts(kept) | about


class SolutionsLost(UserError):
    """Some solutions have no judgement, because the sampler failed on them; the votes on all others are stored."""


def _counts(kept: Sequence[Sequence[Rationale]]) -> dict[str, int]:
    rationales = [r for of_solution in kept for r in of_solution]
    executions = [execution for r in rationales for execution in r.executions]
    return {
        "solutions": len(kept),
        "rationales": len(rationales),
        "generated_tokens": sum(r.generated_tokens for r in rationales),
        "forced_tokens": sum(r.forced_tokens for r in rationales),
        "executions": len(executions),
        "failed_executions": sum(e.kind != "ok" for e in executions),
        "none": sum(r.verdict.correct is None for r in rationales),
    }


def stored_votes(
    stages: Stages, votes: Votes, solutions: Collection[str], stage: Stage | None = None
) -> tuple[VoteStore, float]:
    """Reads what a run directory holds of the votes on these solutions, and the seconds that other stages took for it.

    stage: the unfinished stage to which votes can be added; by default that of `votes`. Where `votes` is not finished,
    its parts and the stages of votes that are drawn in the same way count as well.
    """
    whole = stages[votes]
    wanted = set(solutions)
    store, seconds = VoteStore(work_folder((stage or whole).path), wanted), 0.0
    # Other workers' parts may change under way; nobody is at work on one where the whole is computed or looked at.
    alone = stage is None or stage is whole
    parts = (part for task in votes.parts(stages) if (part := stages[task]).look() or alone)
    for other in [whole] if whole.look() else [*parts, *stages.alike(votes, CHOICES)]:
        used: Counter[bool] = Counter()
        for rationales in _stored(other):
            if rationales[0].solution_id in wanted:
                store.take_over(r for r in rationales if r.vote < votes.n_votes)
            used[rationales[0].solution_id in wanted] += 1
        store.lost = read_lost(work_folder(other.path)) | store.lost
        asked = other.inputs.get("n_votes", votes.n_votes)
        seconds += other.seconds * min(1, votes.n_votes / asked) * used[True] / max(1, used.total())
    return store, seconds


def _stored(stage: Stage) -> Iterator[Sequence[Rationale]]:
    """The rationales of a stage by solution, whether it is finished or not."""
    if stage.done:
        yield from stream_rationales(stage.file(RATIONALES))
    elif (log := work_folder(stage.path) / VOTES).exists():
        by_solution: dict[str, list[Rationale]] = {}
        for rationale in stream_votes(log):
            by_solution.setdefault(rationale.solution_id, []).append(rationale)
        yield from by_solution.values()


def leaders_of(votes: Sequence[Votes]) -> dict[Task, Task]:
    """Of votes that are drawn in the same way those that ask for most come first; the others can take theirs over."""
    groups: dict[str, list[Votes]] = {}
    for task in votes:
        groups.setdefault(fingerprint(inputs_without(task.all_inputs, CHOICES)), []).append(task)
    most = {name: max(members, key=lambda member: member.n_votes) for name, members in groups.items()}
    return {member: most[name] for name, members in groups.items() for member in members if member != most[name]}


def load_rationales(stage: Stage) -> dict[str, list[Rationale]]:
    """The rationales of a finished stage by solution id, by step and then vote."""
    return {r[0].solution_id: r for r in stream_rationales(stage.file(RATIONALES))}
