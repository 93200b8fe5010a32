"""Sampled verdicts of one verifier on one set of solutions: N_max votes stored once, every smaller N computed later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.pipeline.benchmark import Benchmark, Item, load_items
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.verifier import Verifier
from jprm.records import Rationale, append_jsonl, from_json, read_jsonl, to_json
from jprm.runs import Stage
from jprm.seeds import seed_of
from jprm.verify import Settings, verify

SAVE_EVERY_SOLUTIONS = 32
DECODE_TOKENS_PER_SECOND = (
    2.0e4  # of the 0.3M preset on two CPU cores; only the plan and the ETA use it
)


@dataclass(frozen=True)
class Votes:
    """Rationales of `n_votes` votes for each step of each solution; `load_rationales(stage)` reads them."""

    kind: ClassVar[str] = "votes"
    version: ClassVar[int] = 1
    verifier: Verifier
    benchmark: Benchmark
    execution: str
    mode: str
    n_votes: int

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The verifier and what it judges."""
        return self.verifier, self.benchmark

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """All sampling settings; not the read-out, which is chosen when votes are reduced."""
        verify = lab.config.verify
        return {
            "execution": self.execution,
            "mode": self.mode,
            "n_votes": self.n_votes,
            "temperature": verify.temperature,
            "max_tokens": verify.max_tokens,
            "max_rounds": verify.max_rounds,
            "timeout_s": verify.timeout_s,
            "stop_early": self.stop_early,
            "context_tokens": verify.context_tokens,
            "lanes": lab.config.model.lanes,
        }

    @property
    def stop_early(self) -> bool:
        """Whether steps after a unanimous No are left out: not where every step's reward is wanted."""
        return not self.benchmark.scores_solutions

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Samples what is not stored yet, solution by solution."""
        items = load_items(lab.stage(self.benchmark))
        path = stage.file("rationales.jsonl")
        stored = {row["solution_id"] for row in read_jsonl(path)}
        todo = [item for item in items if item.solution.id not in stored]
        before = lab.pool.stats
        rows: list[dict[str, Any]] = []
        done = len(stored)
        for rationales, progress in self._sample(lab, todo):
            rows.append(
                {
                    "solution_id": rationales[0].solution_id,
                    "rationales": [to_json(r) for r in rationales],
                }
            )
            done += 1
            if len(rows) >= SAVE_EVERY_SOLUTIONS:
                append_jsonl(path, rows)
                rows = []
            lab.progress.show(f"{self.label}: {done} of {len(items)} solutions judged, {progress}")
        append_jsonl(path, rows)
        flat = [r for rationales in load_rationales(stage).values() for r in rationales]
        return {
            "solutions": len(items),
            "rationales": len(flat),
            "generated_tokens": sum(r.generated_tokens for r in flat),
            "forced_tokens": sum(r.forced_tokens for r in flat),
            "executions": sum(len(r.executions) for r in flat),
            "failed_executions": sum(e.kind != "ok" for r in flat for e in r.executions),
            "none": sum(r.verdict.correct is None for r in flat),
            "code_ran": lab.pool.description,
            "pool": lab.pool.stats.since(before),
        }

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        return f"votes of {self.verifier.label} on {self.benchmark.name} ({self.execution}, {self.mode})"

    def _sample(self, lab: Lab, items: list[Item]) -> Iterator[tuple[list[Rationale], str]]:
        """Rationales of one solution after another, and how the engine is doing."""
        if not items:
            return
        engine = verifier_engine(lab, self.verifier)
        for rationales in verify(
            [(item.problem, item.solution) for item in items],
            range(self.n_votes),
            engine,
            lab.pool,
            lab.tokenizer,
            verify_settings(lab, self.verifier.style, self.execution, self.mode),
            seed_of(self.verifier.seed, "votes"),
            self.stop_early,
        ):
            yield rationales, str(engine.progress)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        tokens = self.benchmark.size(lab) * self.n_votes * 2.5 * 30
        return 2 + tokens / DECODE_TOKENS_PER_SECOND


def verifier_engine(lab: Lab, verifier: Verifier):
    """An engine that writes this verifier's rationales."""
    config = lab.config.verify
    return lab.engine(
        verifier.size, verifier.params(lab), config.temperature, config.context_tokens
    )


def verify_settings(lab: Lab, style: str, execution: str, mode: str) -> Settings:
    """The driver's settings of a sweep."""
    config = lab.config.verify
    return Settings(
        context_tokens=config.context_tokens,
        mode=mode,  # type: ignore[arg-type]
        style=style,
        execute=execution,  # type: ignore[arg-type]
        temperature=config.temperature,
        max_in_flight=2 * lab.config.model.lanes,
        readout=config.readout,
        template=lab.template,
    )


def load_rationales(stage: Stage) -> dict[str, list[Rationale]]:
    """Rationales by solution id, by step and then vote."""
    rows = read_jsonl(stage.file("rationales.jsonl"))
    return {
        row["solution_id"]: [from_json(Rationale, r) for r in row["rationales"]] for row in rows
    }
