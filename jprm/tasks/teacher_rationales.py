"""A teacher's rationales of labelled solutions: its attempts one by one, and those that agree with the labels.

An attempt is named by its solution and its number, and draws on that name alone. Each is stored as soon as it has
ended, so a run that is killed goes on with those that it lacks and ends with the same rationales. The next attempt at
a solution begins where too few of the earlier ones were kept.
"""

from __future__ import annotations

import collections
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jprm.errors import UserError
from jprm.jobs import Stage, Task, write_rows
from jprm.label import JudgedStep, fault_of, read_attempt
from jprm.records import Rationale, append_jsonl, from_json, read_jsonl, stream_records, to_json
from jprm.sampling import SamplingParams
from jprm.seeds import seed_of
from jprm.tasks.labels import Example, LabelledSolutions, labelled_first_error, load_examples, rule_inputs
from jprm.tasks.model_source import ModelSource, SamplerSizes, opened
from jprm.tasks.policy import prompt_of
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import TeacherSection, VerifySection
from jprm.verify import LOST, Budget, GenPRM, Teacher, VerifySettings, as_paragraphs, protocol_for
from jprm.verify.driver import Driver
from jprm.verify.table import VoteTable

ATTEMPTS, LOST_ATTEMPTS, KEPT = "attempts.jsonl", "lost.jsonl", "kept.jsonl"
CONCLUSION_TOKENS = 8
TOKENS_PER_ATTEMPT = 2000  # expected, as is how many attempts a solution takes; only the plan and the ETA use them
ATTEMPTS_PER_SOLUTION = 2
# What decides which attempts are drawn and kept, and not what they say.
CHOICES = ("rule", "threshold", "filtered", "attempts", "keep")
# The form in which rationales are written for training: that of the published data.
TRAINING_FORM = ("quirks.first_user=training",)


class AttemptsLost(UserError):
    """A server has lost some attempts; all others are stored."""


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """An attempt that is learnt from: what it says of each step, up to and with its first wrong one.

    first_error: the 0-based first step that the teacher calls wrong, -1 for none.
    """

    solution_id: str
    attempt: int
    first_error: int
    steps: tuple[JudgedStep, ...]


@dataclass(frozen=True, eq=False)
class TeacherRationales(Task):
    """The attempts of a teacher at all labelled solutions of a seed; `load_kept(stage)` reads those that were kept.

    rule: turns values into labels. filtered: whether labels and teacher have to agree. verify: where its code runs.
    slots: see `ModelSection`.
    """

    kind: ClassVar[str] = "rationales"
    model: ModelSource
    labels: LabelledSolutions
    settings: TeacherSection
    rule: str
    filtered: bool
    verify: VerifySection
    slots: int

    @property
    def label(self) -> str:
        return f"rationales of {self.model.size} for {self.rule} labels s={self.labels.seed}"

    def parents(self) -> tuple[Task, ...]:
        return self.model, self.labels

    def inputs(self) -> dict[str, Any]:
        """How the teacher is asked, how its code runs, and which of its attempts are wanted."""
        wanted = {"attempts": self.settings.attempts, "keep": self.settings.keep}
        rule = rule_inputs(self.rule, self.labels.settings)
        asked = {"teacher": self.settings.model_dump(mode="json", exclude=set(wanted))}
        code = {"timeout_s": self.verify.timeout_s, "code": self.verify.code.model_dump()}
        return {"seed": self.labels.seed, "slots": self.slots, "filtered": self.filtered} | wanted | rule | asked | code

    def flops(self) -> float:
        labels = self.labels.settings
        tokens = labels.problems * labels.solutions * ATTEMPTS_PER_SOLUTION * TOKENS_PER_ATTEMPT
        return self.model.decode_flops(self.settings.context_tokens, tokens)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.decode

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Draws what is missing and writes what is kept.

        Raises AttemptsLost for those that a server has lost: the next run asks for them again.
        """
        # 1. What an earlier run has stored, and other tasks with the same teacher, need not be drawn.
        examples = load_examples(context.stages[self.labels])
        if not examples:
            raise UserError(f"{self.labels.label}: no solution is labelled; raise labels.problems")
        stage.file(LOST_ATTEMPTS).unlink(missing_ok=True)
        store = AttemptStore(stage.path, self, examples)
        for other in context.stages.alike(self, CHOICES):
            store.take_over(other.path)
        # 2. The rest is drawn, one attempt of each solution at a time.
        lost: dict[tuple[str, int], str] = {}
        if waiting := deque(self._tables(store, examples)):
            by_id = {example.solution.id: example for example in examples}
            for rationale in self._drawn(context, waiting):
                solution_id, attempt = rationale.solution_id, rationale.vote
                if rationale.reason.startswith(LOST):
                    lost[solution_id, attempt] = rationale.reason.removeprefix(LOST)
                    continue
                store.add(rationale)
                waiting.extend(self._tables(store, [by_id[solution_id]]))
                context.progress.show(f"{self.label}: {store.settled} of {len(examples)} solutions, {store.kept} kept")
        # 3. What is kept is written in the order of the solutions.
        write_rows(stage.file(KEPT), store.kept_rows())
        if lost:
            rows = [{"solution_id": s, "attempt": a, "reason": reason} for (s, a), reason in sorted(lost.items())]
            write_rows(stage.file(LOST_ATTEMPTS), rows)
            reason = f"{len(lost)} attempts of the teacher were lost ({rows[0]['reason']})"
            raise AttemptsLost(f"{reason}; run the command again")
        return counts(stage)

    @property
    def format(self) -> Teacher:
        """How the teacher is asked. Raises UserError for a chat template that cannot be used so."""
        from jprm.chat import ChatCodec  # it loads tokenizers

        settings, codec = self.settings, self.model.tokenizer
        assert isinstance(codec, ChatCodec), "a preset is no teacher"
        budget = Budget(
            max_tokens=settings.attempt_tokens, max_rounds=settings.max_rounds, verdict_tokens=CONCLUSION_TOKENS
        )
        return Teacher(prompt_of(settings, codec), budget, settings.max_tokens, codec.spell([codec.eos_id]))

    @property
    def protocol(self) -> GenPRM:
        """The protocol in whose budget a rationale has to fit, by the teacher's tokens."""
        protocol = protocol_for("genprm", "published", self.model.tokenizer, TRAINING_FORM)
        assert isinstance(protocol, GenPRM)
        return protocol

    def loss(self, example: Example, attempt: Rationale) -> tuple[list[JudgedStep], str]:
        """What an attempt says of each step, and why it is not learnt from; "" where it is."""
        first_error = labelled_first_error(self.rule, example, self.labels.settings) if self.filtered else None
        return read_attempt(attempt, len(example.solution.steps), first_error)

    def _tables(self, store: AttemptStore, examples: Sequence[Example]) -> Iterator[VoteTable]:
        """The next attempt at each solution, where one is wanted."""
        for example in examples:
            if (attempt := store.next_attempt(example.solution.id)) is not None:
                whole = as_paragraphs(example.solution)
                yield VoteTable(example.problem, whole, [attempt], "chain", (), lambda rationale: None)

    def _drawn(self, context: TaskContext, waiting: deque[VoteTable]) -> Iterator[Rationale]:
        """The attempts that wait, as they end; the caller may queue others meanwhile."""
        asked, format = self.settings, self.format
        sampling = SamplingParams(asked.temperature, asked.top_k, asked.top_p)
        sizes = SamplerSizes(asked.context_tokens, self.slots, format.all_stops)
        settings = VerifySettings(
            context_tokens=asked.context_tokens,
            temperature=asked.temperature,
            max_in_flight=2 * self.slots,
            template=format,
        )
        pool = context.resources.pool(self.verify, context.progress)
        with opened(self.model.sampler(context.stages, sampling, sizes)) as sampler:
            seed = seed_of(self.labels.seed, "teacher")
            driver = Driver([0], sampler, pool, self.model.tokenizer, settings, seed)
            for table in driver.run(waiting):
                [rationale] = table.rows()
                yield rationale


class AttemptStore:
    """The attempts of an unfinished task: which are stored, which are kept, and which comes next."""

    def __init__(self, directory: Path, task: TeacherRationales, examples: Sequence[Example]):
        """Reads what an earlier run left. Raises UserError for a damaged file, naming the line."""
        self._path, self._task = directory / ATTEMPTS, task
        self._protocol, self._codec = task.protocol, task.model.tokenizer
        self._examples = {example.solution.id: example for example in examples}
        self._losses: dict[str, dict[int, str]] = collections.defaultdict(dict)
        self._kept: dict[tuple[str, int], KeptAttempt] = {}
        self.settled = 0  # the solutions that need no further attempt
        for rationale in stream_attempts(self._path):
            self._judge(rationale)

    @property
    def kept(self) -> int:
        """How many attempts are kept so far."""
        return len(self._kept)

    def next_attempt(self, solution_id: str) -> int | None:
        """The number of the attempt that is drawn next; None where enough are kept, or none is left."""
        losses, kept = self._losses[solution_id], 0
        for attempt in range(self._task.settings.attempts):
            if attempt not in losses:
                return attempt
            kept += not losses[attempt]
            if kept == self._task.settings.keep:
                return None
        return None

    def add(self, rationale: Rationale) -> None:
        """Stores an attempt that has ended; it is on disk when this returns."""
        append_jsonl(self._path, [to_json(rationale) | {"loss": self._judge(rationale)}])

    def take_over(self, directory: Path) -> None:
        """Stores those of another task's attempts that are wanted here."""
        for rationale in stream_attempts(directory / ATTEMPTS):
            known = rationale.solution_id in self._examples
            if known and rationale.vote == self.next_attempt(rationale.solution_id):
                self.add(rationale)

    def kept_rows(self) -> list[dict[str, Any]]:
        """The attempts that are kept, in the order of the solutions."""
        order = {solution_id: n for n, solution_id in enumerate(self._examples)}
        return [to_json(self._kept[key]) for key in sorted(self._kept, key=lambda key: (order[key[0]], key[1]))]

    def _judge(self, rationale: Rationale) -> str:
        """Takes note of an attempt, and returns why it is lost."""
        example = self._examples.get(rationale.solution_id)
        if example is None:
            raise UserError(f"{self._path}: an attempt at {rationale.solution_id!r:.40}, which is no labelled solution")
        steps, loss = self._task.loss(example, rationale)
        loss = loss or fault_of(steps, self._protocol, self._codec)
        self._losses[rationale.solution_id][rationale.vote] = loss
        if not loss:
            first_error = next((t for t, step in enumerate(steps) if not step.verdict), -1)
            kept = KeptAttempt(rationale.solution_id, rationale.vote, first_error, tuple(steps))
            self._kept[rationale.solution_id, rationale.vote] = kept
        self.settled += self.next_attempt(rationale.solution_id) is None
        return loss


def stream_attempts(path: Path) -> Iterator[Rationale]:
    """The attempts in a file, in the order in which they ended; those at one solution in the order of their numbers."""
    return stream_records(path, lambda row: from_json(Rationale, {k: v for k, v in row.items() if k != "loss"}))


def load_kept(stage: Stage) -> list[KeptAttempt]:
    """The attempts that are kept, in the order of the solutions and of their numbers."""
    return list(stream_records(stage.file(KEPT), lambda row: from_json(KeptAttempt, row)))


def read_lost(stage: Stage) -> list[dict[str, Any]]:
    """The attempts that a server has lost in the last run, with the reasons."""
    return read_jsonl(stage.file(LOST_ATTEMPTS), {"solution_id": str, "attempt": int, "reason": str})


def counts(stage: Stage) -> dict[str, Any]:
    """What became of the attempts: how many there are, are kept, and are lost by reason, and what they cost."""
    losses: Counter[str] = Counter()
    solutions, totals = set(), Counter(dict.fromkeys(("generated_tokens", "forced_tokens", "executions"), 0))
    for row in stream_records(stage.file(ATTEMPTS), dict, {"solution_id": str, "loss": str, "executions": list}):
        losses[row["loss"]] += 1
        solutions.add(row["solution_id"])
        totals += Counter({"executions": len(row["executions"])})
        totals += Counter({name: row[name] for name in ("generated_tokens", "forced_tokens")})
    kept = losses.pop("", 0)
    attempts = kept + losses.total()
    return {
        "solutions": len(solutions),
        "attempts": attempts,
        "kept": kept,
        "losses": dict(losses.most_common()),
        **{name: totals[name] for name in ("generated_tokens", "forced_tokens", "executions")},
    }
