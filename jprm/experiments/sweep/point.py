"""The tasks that one configuration asks for: the one place where values of a configuration become values of tasks."""

from __future__ import annotations

from jprm.errors import UserError
from jprm.experiments.sweep.config import SweepConfig
from jprm.tasks.base import Base
from jprm.tasks.benchmark import Benchmark, ProcessBench, SolutionSet
from jprm.tasks.labels import Labels
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.policy import Policy
from jprm.tasks.settings import ExecutionMode, VoteMode
from jprm.tasks.verifier import Verifier
from jprm.tasks.votes import VerifierSampling, Votes, execution_of


class PointTasks:
    """Makes the tasks of a configuration without axes, over its loaded world."""

    def __init__(self, config: SweepConfig, world: OpenWorld):
        self.config, self.world = config, world

    def base(self, size: str, seed: int) -> Base:
        """The base model that the verifiers of a size and seed start from."""
        return Base(self.world, self.config.base, size, seed)

    def policy(self, seed: int) -> Policy:
        """The policy of a seed."""
        model, labels = self.config.model, self.config.labels
        base = Base(self.world, self.config.base, model.policy, seed, "policy")
        return Policy(base, labels.temperature, labels.max_tokens, labels.context_tokens, model.slots)

    def labels(self, seed: int) -> Labels:
        """The labelled solutions of a seed."""
        labels = self.config.labels
        return Labels(self.world, labels, self.policy(seed) if labels.source == "rollouts" else None, seed)

    def benchmark(self, name: str, seed: int) -> SolutionSet:
        """A set of solutions by its name in `evaluate.benchmarks`."""
        evaluate = self.config.evaluate
        if name == "processbench":
            if self.config.data.root is None:
                raise UserError("data.root is not set; name the folder that holds processbench/")
            return ProcessBench(self.config.data.root, seed, evaluate.problems)
        policy = self.policy(seed) if name == "policy" else None
        return Benchmark(name, self.world, evaluate.split, evaluate.problems, policy, seed)

    def candidates(self, seed: int) -> Benchmark:
        """The solutions to choose among."""
        evaluate, policy = self.config.evaluate, self.policy(seed)
        n, each = evaluate.candidates_problems, evaluate.candidates
        return Benchmark("candidates", self.world, evaluate.split, n, policy, seed, each)

    def verifier(self, size: str, examples: int, seed: int) -> Verifier:
        """The verifier of a cell; its labelling rule, filter and style are those of `cell` and `grid`."""
        cell, grid = self.config.cell, self.config.grid
        return Verifier(
            base=self.base(size, seed),
            labels=self.labels(seed),
            examples=examples,
            rule=cell.labels or grid.labels,
            filtered=cell.filtered,
            style=cell.style,
            recipe=self.config.train,
            verify=self.config.verify,
        )

    def votes(
        self,
        verifier: Verifier,
        benchmark: SolutionSet,
        n_votes: int | None = None,
        execution: ExecutionMode | None = None,
        mode: VoteMode | None = None,
    ) -> Votes:
        """The votes of a verifier on a set; what is None is as configured."""
        verify = self.config.verify
        sampling = VerifierSampling(
            verifier,
            execution_of(verifier.style, execution or self.config.cell.code),
            mode or verify.mode,
            verify,
            self.config.model.slots,
        )
        n = verify.draws(verify.n_votes if n_votes is None else n_votes)
        return Votes(sampling, benchmark, n, chunk_solutions=self.config.launch.chunk_solutions)
