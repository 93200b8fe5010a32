"""Sampled verdicts of one verifier on one set of solutions: N_max votes stored once, every smaller N computed later."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from jprm.config import plain
from jprm.pipeline.benchmark import Benchmark, Item, load_items
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.stored import FIELDS, RATIONALES, Known, cut, stream_rationales
from jprm.pipeline.verifier import Verifier
from jprm.records import Rationale, ReadOut, append_jsonl, stream_jsonl, to_json
from jprm.runs import Stage
from jprm.seeds import seed_of
from jprm.strict_json import read_object
from jprm.verify import VerifySettings, verify

SAVE_EVERY_SOLUTIONS = 32
STEPS_PER_SOLUTION = 2.5  # expected, and the tokens of one vote on one; only the plan and the ETA use them
TOKENS_PER_VOTE = 30


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
        """All sampling settings."""
        verify = lab.config.verify
        # it decides which votes call a step wrong, and so where a solution ends; left out where it is the default,
        # which keys had before it could be chosen for a cell
        readout = {"readout": verify.readout} if self.stop_early and verify.readout != "prob_raw" else {}
        return (
            readout
            | lab.code_inputs
            | {
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
        )

    @property
    def stop_early(self) -> bool:
        """Whether steps after a unanimous No are left out: not where every step's reward is wanted."""
        return not self.benchmark.scores_solutions

    def parts(self, lab: Lab) -> tuple[VotesPart, ...]:
        """What workers share among them, once the benchmark is there; nothing where it is too little to share."""
        n, size = lab.stage(self.benchmark).summary["items"], lab.config.launch.chunk_solutions
        if n <= size:
            return ()
        return tuple(VotesPart(self, start, min(start + size, n)) for start in range(0, n, size))

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Samples what is not stored yet, in this stage or another, solution by solution."""
        return judge(lab, stage, self, load_items(lab.stage(self.benchmark)))

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        return f"votes of {self.verifier.label} on {self.benchmark.name} ({self.execution}, {self.mode})"

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs of the votes that no other stage of the plan draws."""
        n_votes = 0 if lab.leader(self) else self.n_votes
        tokens = self.benchmark.size(lab) * n_votes * STEPS_PER_SOLUTION * TOKENS_PER_VOTE
        return lab.decode_flops(self.verifier.size, lab.config.verify.context_tokens, tokens)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 2 + self.flops(lab) / lab.rates.decode


@dataclass(frozen=True)
class VotesPart:
    """The votes on the solutions from `start` to `stop` of the benchmark: what one worker leases at a time."""

    kind: ClassVar[str] = "part"
    version: ClassVar[int] = 1
    votes: Votes
    start: int
    stop: int

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """Those of the whole."""
        return self.votes.parents(lab)

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """The whole, and which part of it."""
        return {"votes": lab.stage(self.votes).key, "start": self.start, "stop": self.stop}

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """As the whole."""
        items = load_items(lab.stage(self.votes.benchmark))[self.start : self.stop]
        return judge(lab, stage, self.votes, items)

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        return f"{self.votes.label}, solutions {self.start} to {self.stop}"

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        share = (self.stop - self.start) / max(1, self.votes.benchmark.size(lab))
        return self.votes.flops(lab) * share

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 2 + self.flops(lab) / lab.rates.decode


def judge(lab: Lab, stage: Stage, votes: Votes, items: list[Item]) -> dict[str, Any]:
    """Stores the votes on these solutions: what other stages know is taken over, the rest is drawn.

    Raises whatever stops the work, with what was done until then on disk.
    """
    path = stage.file(RATIONALES)
    stored = {row["solution_id"] for row in stream_jsonl(path, FIELDS)}
    todo = [item for item in items if item.solution.id not in stored]
    before = lab.pool.stats
    sources = known_votes(lab, votes)
    reused: collections.Counter[Path] = collections.Counter()
    rows: list[dict[str, Any]] = []
    done = len(stored)
    try:
        for rationales, how in complete(lab, votes, todo, sources, reused):
            rows.append({"solution_id": rationales[0].solution_id, "rationales": [to_json(r) for r in rationales]})
            done += 1
            if len(rows) >= SAVE_EVERY_SOLUTIONS:
                append_jsonl(path, rows)
                rows = []
            lab.progress.show(f"{votes.label}: {done} of {len(items)} solutions judged, {how}")
    finally:
        if stage.path.exists():  # not after another worker took the stage over
            append_jsonl(path, rows)
    seconds = sum(s.seconds * min(1, votes.n_votes / s.n_votes) * reused[s.path] / len(s) for s in sources if len(s))
    return _counts(path) | {
        "code_ran": lab.pool.description,
        "pool": lab.pool.stats.since(before),
        **({"reused_seconds": seconds} if seconds else {}),
    }


def _counts(path: Path) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(
        ("solutions", "rationales", "generated_tokens", "forced_tokens") + ("executions", "failed_executions", "none"),
        0,
    )
    for rationales in stream_rationales(path):
        counts["solutions"] += 1
        for r in rationales:
            counts["rationales"] += 1
            counts["generated_tokens"] += r.generated_tokens
            counts["forced_tokens"] += r.forced_tokens
            counts["executions"] += len(r.executions)
            counts["failed_executions"] += sum(e.kind != "ok" for e in r.executions)
            counts["none"] += r.verdict.correct is None
    return counts


def complete(
    lab: Lab, votes: Votes, items: list[Item], sources: list[Known], reused: collections.Counter[Path] | None = None
) -> Iterator[tuple[list[Rationale], str]]:
    """Rationales of one solution after another, as if all votes were drawn at once, and how that is going.

    Each comes from the best of the sources: more votes than wanted are left out, missing ones drawn for the steps that
    the stored ones reach. Where the new votes do not agree to stop there, the solution is judged anew.
    """
    readout = lab.config.verify.readout if votes.stop_early else None
    fresh: list[Item] = []
    short: dict[int, list[tuple[Item, list[Rationale], int]]] = {}
    for item in items:
        source = max((s for s in sources if item.solution.id in s), key=lambda s: s.n_votes, default=None)
        if source is None:
            fresh.append(item)
            continue
        known = source.rationales(item.solution.id)
        end = cut(known, votes.n_votes, len(item.solution.steps), readout)
        if end is None:
            fresh.append(item)
            continue
        if reused is not None:
            reused[source.path] += 1
        known = [r for r in known if r.vote < votes.n_votes and r.step < end]
        if source.n_votes >= votes.n_votes:
            yield known, "taken over"
        else:
            short.setdefault(source.n_votes, []).append((item, known, end))
    for n_known, group in short.items():
        yield from _extend(lab, votes, n_known, group, readout, fresh)
    yield from _sample(lab, votes, fresh, range(votes.n_votes), votes.stop_early)


def _extend(
    lab: Lab,
    votes: Votes,
    n_known: int,
    group: list[tuple[Item, list[Rationale], int]],
    readout: ReadOut | None,
    fresh: list[Item],
) -> Iterator[tuple[list[Rationale], str]]:
    """Draws the votes from `n_known` on; solutions for which that is not enough are added to `fresh`."""
    known = {item.solution.id: (item, rationales) for item, rationales, _ in group}
    begun = [replace(item, solution=replace(item.solution, steps=item.solution.steps[:end])) for item, _, end in group]
    for new, how in _sample(lab, votes, begun, range(n_known, votes.n_votes), False):
        item, rationales = known[new[0].solution_id]
        both = sorted([*rationales, *new], key=lambda r: (r.step, r.vote))
        end = cut(both, votes.n_votes, len(item.solution.steps), readout)
        if end is None:
            fresh.append(item)
        else:
            yield [r for r in both if r.step < end], how


def _sample(
    lab: Lab, votes: Votes, items: list[Item], indices: range, stop_early: bool
) -> Iterator[tuple[list[Rationale], str]]:
    if not items:
        return
    engine = verifier_engine(lab, votes.verifier)
    for rationales in verify(
        [(item.problem, item.solution) for item in items],
        indices,
        engine,
        lab.pool,
        lab.tokenizer,
        verify_settings(lab, votes.verifier.style, votes.execution, votes.mode),
        seed_of(votes.verifier.seed, "votes"),
        stop_early,
    ):
        yield rationales, str(engine.progress)


def known_votes(lab: Lab, votes: Votes) -> list[Known]:
    """Finished stages of this run whose votes are those of `votes`, or some of them, or more."""
    stage, known = lab.stage(votes), []
    for part in votes.parts(lab):
        done = lab.stage(part)
        if done.look():
            known.append(Known.of(done, votes.n_votes))
    wanted = sampling_of(json.loads(json.dumps(stage.inputs, default=plain)))
    for inputs_path in sorted((lab.root / "stages").glob(f"{votes.kind}-*/inputs.json")):
        inputs = read_object(inputs_path, f"delete the folder {inputs_path.parent}")
        if inputs_path.parent == stage.path or sampling_of(inputs) != wanted:
            continue
        other = Stage(votes.kind, inputs, lab.root)
        if other.done:
            known.append(Known.of(other, inputs["n_votes"]))
    return known


def sampling_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the votes themselves depend on: neither how many are drawn nor how they are read."""
    return {key: value for key, value in inputs.items() if key not in ("n_votes", "readout")}


def verifier_engine(lab: Lab, verifier: Verifier):
    """An engine that writes this verifier's rationales."""
    config = lab.config.verify
    return lab.engine(verifier.size, verifier.params(lab), config.temperature, config.context_tokens)


def verify_settings(lab: Lab, style: str, execution: str, mode: str) -> VerifySettings:
    """The driver's settings of a sweep."""
    config = lab.config.verify
    return VerifySettings(
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
    return {r[0].solution_id: r for r in stream_rationales(stage.file(RATIONALES))}
