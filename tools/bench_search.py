"""What branches of a search save by sharing what they have in common, on a finished run's models.

    python tools/bench_search.py RUN [--problems 64] [--strategy beam] [--votes 1] [--json FILE] [KEY=VALUE ...]

RUN is the directory of a sweep or of `experiments/uses.py`; KEY=VALUE are settings of the strategy.

shared      as searches run: the children of a branch share its prompt, and a branch is judged by going
            on from its beginning
prompts     each child has a prompt of its own: the same draws, so the same table, which is checked
anew        each branch is judged from its first step, by votes of its own: other draws, another table

The three take turns, `--rounds` times, after one round that is not counted. Time is the processor
time of this process (code runs in others), the median over rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jprm.cli import guarded
from jprm.experiments.applications.search_command import run_config, settings_of
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.finished import trained_policy, trained_verifier
from jprm.jobs import Progress, Stages
from jprm.records import Problem
from jprm.score import Ended, Heard, Item, Known, Scorer
from jprm.search import (
    Choosing,
    Cost,
    Grow,
    Grown,
    Redraw,
    RewardModel,
    StepGenerator,
    VoteRewards,
    budget_of,
    make_strategy,
    run_search,
    summary,
)
from jprm.seeds import seed_of
from jprm.tasks.resources import Resources, TaskContext
from jprm.tasks.reward_models import model_cost, verifier_rewards, whole_steps
from jprm.tasks.search import policy_steps
from jprm.tasks.votes import VerifierSampling
from jprm.verify import verify

COUNTS = ("prompt_tokens", "reread_tokens", "generated_tokens")


class Apart:
    """A `StepGenerator` whose continuations each have a prompt of their own."""

    def __init__(self, generator: StepGenerator):
        self.generator, self.forget = generator, generator.forget

    def grow(self, requests: Sequence[tuple[Problem, Grow]]) -> list[Grown | Exception]:
        """As `StepGenerator`; draws are named by their paths, so they are the same."""
        alone = [
            (problem, dataclasses.replace(asked, branches=(b,), n=1, first=asked.first + i))
            for problem, asked in requests
            for b in asked.branches
            for i in range(asked.n)
        ]
        replies = iter(self.generator.grow(alone))
        return [
            self._joined(asked, [next(replies) for _ in range(len(asked.branches) * asked.n)]) for _, asked in requests
        ]

    @staticmethod
    def _joined(asked: Grow, replies: Sequence[Grown | Exception]) -> Grown | Exception:
        good = []
        for reply in replies:
            if isinstance(reply, Exception):
                return reply
            good.append(reply)
        drawn = [reply.branches[0][0] for reply in good]
        groups = (tuple(drawn[at : at + asked.n]) for at in range(0, len(drawn), asked.n))
        return Grown(tuple(groups), sum((reply.cost for reply in good), Cost()))


class Anew(Scorer):
    """The verifier as a scorer that judges every branch from its first step."""

    def __init__(self, context: TaskContext, sampling: VerifierSampling):
        engine, tokenizer = sampling.engine(context.stages), sampling.verifier.world.tokenizer
        seed = seed_of(sampling.verifier.seed, "search votes")
        self._model = engine, sampling.pool(context), tokenizer, sampling.settings, seed

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Whole solutions, all conversations side by side."""
        for rationales in verify(items, votes, *self._model, heard=heard):
            yield Ended(rationales[0].solution_id)


def rewards_anew(context: TaskContext, sampling: VerifierSampling, votes: int) -> RewardModel:
    """The rewards of such a scorer."""
    base = sampling.verifier.base
    model = VoteRewards(Anew(context, sampling), votes, sampling.readout, base.tokenizer, model_cost(base))
    return whole_steps(sampling, model)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All arms by turns; a row per arm."""
    settings = settings_of(args.settings)
    make_strategy(args.strategy, **settings)
    config = run_config(args.run)
    sweep, stages = Sweep(config), Stages(args.run)
    main, sampling = trained_verifier(args.run, sweep, stages), sweep.main.sampling
    policy = trained_policy(args.run, sweep, stages)
    with Resources() as resources:
        context = TaskContext(stages, Progress(1.0), resources)
        problems = main.world.world.problems("dev", args.problems, seed_of(main.seed, "benchmark", "candidates"))
        generator = policy_steps(stages, policy)

        def shared() -> RewardModel:
            return verifier_rewards(context, sampling, args.votes)  # what it remembers would be free in the next round

        arms = {
            "shared": (generator, shared),
            "prompts": (Apart(generator), shared),
            "anew": (generator, lambda: rewards_anew(context, sampling, args.votes)),
        }
        times: dict[str, list[float]] = {name: [] for name in arms}
        rows: dict[str, list[dict]] = {}
        for round_ in range(args.rounds + 1):
            for name, (grows, scores) in arms.items():
                scorer = scores()
                with tempfile.TemporaryDirectory() as folder:
                    strategy = make_strategy(args.strategy, **settings)
                    store, refiner = Path(folder) / "rows.jsonl", Redraw(grows)
                    began = time.process_time()
                    asked = strategy, grows, scorer, main.world.world, store
                    rows[name] = run_search(problems, *asked, refiner=refiner)
                    if round_:
                        times[name].append(time.process_time() - began)
    if [r["candidates"] for r in rows["prompts"]] != [r["candidates"] for r in rows["shared"]]:
        raise AssertionError("with prompts of their own the branches are others")
    return {
        "strategy": args.strategy,
        "settings": settings,
        "votes": args.votes,
        "problems": args.problems,
        "rows": [{"arm": name, "cpu_s": statistics.median(times[name]), **_counted(rows[name])} for name in arms],
    }


def _counted(rows: Sequence[dict]) -> dict[str, float]:
    """Tokens and FLOPs a problem, and the accuracy, by which nothing is compared here."""
    budgets = [budget_of(row) for row in rows]
    found: dict[str, float] = {"accuracy": summary(rows, Choosing())["accuracy"]}
    for side in ("generator", "verifier"):
        for count in COUNTS:
            total = sum(getattr(getattr(budget, side), count) for budget in budgets)
            found[f"{side}_{count}"] = total / len(rows)
    return found | {
        "flops": sum(budget.flops for budget in budgets) / len(rows),
        "cached_flops": sum(budget.cached_flops for budget in budgets) / len(rows),
    }


def show(found: dict[str, Any]) -> None:
    """A line per arm, and what sharing saves."""
    shared, prompts, anew = found["rows"]
    for row in found["rows"]:
        print(
            f"{row['arm']:8} {row['cpu_s']:7.1f} CPU-s   policy reads {row['generator_prompt_tokens']:7.0f}, "
            f"verifier reads {row['verifier_prompt_tokens']:7.0f} and writes "
            f"{row['verifier_generated_tokens']:6.0f} tokens a problem; {row['flops']:.3g} FLOPs, "
            f"{row['cached_flops']:.3g} with cached prefixes"
        )
    read = prompts["generator_prompt_tokens"] / shared["generator_prompt_tokens"]
    written = anew["verifier_generated_tokens"] / max(1, shared["verifier_generated_tokens"])
    for what, ratio, other in (
        ("shared prompts", f"{read:.1f}x fewer tokens of the policy's prompts", prompts),
        ("shared beginnings", f"{written:.1f}x fewer tokens written by the verifier", anew),
    ):
        print(f"{what}: {ratio}, {other['cpu_s'] / shared['cpu_s']:.2f}x less time")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="what branches save by sharing")
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--strategy", default="beam")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--votes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_intermixed_args()

    def work() -> None:
        found = measure(args)
        show(found)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
