"""The cells of a sweep: at every point a grid over size, examples and seed, and variants of its main cell.

`PointTasks` is the one place where values of a configuration become values of tasks.
"""

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.config import fingerprint
from jprm.errors import UserError
from jprm.experiments.sweep.axes import Point, points
from jprm.experiments.sweep.config import SETS, SweepConfig, name_of_set
from jprm.jobs import Task
from jprm.paths import present
from jprm.tasks.base import Base
from jprm.tasks.benchmark import BY_ANSWER, Benchmark, ProcessBench, SolutionSet
from jprm.tasks.benchmark_file import BenchmarkFile
from jprm.tasks.label_file import LabelFile
from jprm.tasks.labels import LabelledSolutions, Labels
from jprm.tasks.model_source import ModelWeights
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.policy import Policy
from jprm.tasks.roles import model_source, model_weights
from jprm.tasks.settings import ExecutionMode, VoteMode
from jprm.tasks.teacher_rationales import TeacherRationales
from jprm.tasks.verifier import TrainedVerifier
from jprm.tasks.votes import VerifierSampling, Votes, execution_of, leaders_of


class PointTasks:
    """Makes the tasks of a configuration without axes, over its loaded world."""

    def __init__(self, config: SweepConfig, world: OpenWorld):
        self.config, self.world = config, world

    def base(self, size: str, seed: int) -> ModelWeights:
        """The model that the verifiers of a size and seed start from."""
        return model_weights(size, "grid.sizes", self.world, self.config.base, seed, "verifier")

    def policy(self, seed: int) -> Policy:
        """The policy of a seed."""
        model, labels = self.config.model, self.config.labels
        source = model_source(model.policy, "model.policy", self.world, self.config.base, seed, "policy")
        sizes = labels.max_tokens, labels.context_tokens, model.slots
        asking = None if isinstance(source, Base) else model.prompt
        return Policy(self.world, source, seed, labels.temperature, *sizes, asking)

    def labels(self, seed: int) -> LabelledSolutions:
        """The labelled solutions of a seed."""
        labels = self.config.labels
        if labels.file is not None:
            return LabelFile(self.world, labels, labels.file, seed)
        policy = self.policy(seed) if labels.source == "rollouts" else None
        return Labels(self.world, labels, policy, seed, self.config.launch.chunk_problems)

    def benchmark(self, name: str, seed: int) -> SolutionSet:
        """A set of solutions by its name in `evaluate.benchmarks`."""
        evaluate = self.config.evaluate
        if name == "processbench":
            if self.config.data.root is None:
                raise UserError("data.root is not set; name the folder that holds processbench/")
            return ProcessBench(self.config.data.root, seed, evaluate.problems)
        if name not in SETS:
            present(Path(name), "evaluate.benchmarks")
            return BenchmarkFile(Path(name), seed=seed, called=name_of_set(name), most=evaluate.file_rows)
        policy = self.policy(seed) if name in ("policy", BY_ANSWER) else None
        return Benchmark(name, self.world, evaluate.split, evaluate.problems, policy, seed)

    def candidates(self, seed: int) -> Benchmark:
        """The solutions to choose among."""
        evaluate, policy = self.config.evaluate, self.policy(seed)
        n, each = evaluate.candidates_problems, evaluate.candidates
        return Benchmark("candidates", self.world, evaluate.split, n, policy, seed, each)

    def verifier(self, size: str, examples: int, seed: int) -> TrainedVerifier:
        """The verifier of a cell; its labelling rule, filter and style are those of `cell` and `grid`."""
        cell, grid = self.config.cell, self.config.grid
        return TrainedVerifier(
            base=self.base(size, seed),
            labels=self.labels(seed),
            examples=examples,
            rule=cell.labels or grid.labels,
            filtered=cell.filtered,
            style=cell.style,
            recipe=self.config.train,
            verify=self.config.verify,
            rationales=self.rationales(seed),
        )

    def rationales(self, seed: int) -> TeacherRationales | None:
        """The rationales of the teacher on the solutions of a seed; None where the world's annotator writes them."""
        model, cell = self.config.model, self.config.cell
        if model.teacher is None:
            return None
        source = model_source(model.teacher, "model.teacher", self.world, self.config.base, seed, "verifier")
        if isinstance(source, Base):
            raise UserError(f'model.teacher = "{source.size}": a preset writes no rationales; name a directory')
        rule, settings = cell.labels or self.config.grid.labels, self.config.teacher
        return TeacherRationales(
            source, self.labels(seed), settings, rule, cell.filtered, self.config.verify, model.slots
        )

    def votes(
        self,
        verifier: TrainedVerifier,
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


@dataclass(frozen=True)
class Cell:
    """One row group of the table: the votes of a verifier, under the configuration of its point.

    variant: "" in the grid, else what was changed against the main cell. values: what the axes set.
    """

    votes: Votes
    config: SweepConfig = dataclasses.field(compare=False)
    variant: str = ""
    values: tuple[tuple[str, Any], ...] = ()

    @property
    def sampling(self) -> VerifierSampling:
        """The verifier and how it is asked."""
        sampling = self.votes.sampling
        assert isinstance(sampling, VerifierSampling)
        return sampling

    @property
    def verifier(self) -> TrainedVerifier:
        """The verifier."""
        return self.sampling.verifier

    @property
    def set_key(self) -> tuple[str, int]:
        """The name and the seed of the solutions that it judges."""
        return self.votes.benchmark.name, self.votes.benchmark.seed

    @property
    def votes_asked(self) -> int:
        """The number of votes that was asked for: the largest that has a row."""
        verify = self.config.verify
        return min(self.votes.n_votes, max(map(verify.draws, self.config.votes_shown)))

    @property
    def name(self) -> str:
        """A name that no other cell has, such as "tiny-0.3m n=1000 full rpe s=0 executed chain policy"."""
        sampling = self.sampling
        parts = [sampling.verifier.label, sampling.execution, sampling.mode, self.votes.benchmark.name]
        named = (f"{key}={value}" for key, value in self.values if not key.startswith("cell."))
        return " ".join([*parts, *named])


class Sweep:
    """The cells of a configuration, and the tasks below them. Loads the worlds that they need."""

    def __init__(self, config: SweepConfig):
        """Raises UserError for axes that do not fit, and for a world whose files are not there."""
        self.config = config
        self.points = points(config)
        self._worlds: dict[str, OpenWorld] = {}

    def tasks_of(self, config: SweepConfig) -> PointTasks:
        """The tasks of one point. Points with the same world share it."""
        key = fingerprint([config.world, config.data.root])
        if key not in self._worlds:
            self._worlds[key] = OpenWorld(config.world, config.data.root)
        return PointTasks(config, self._worlds[key])

    @functools.cached_property
    def grid(self) -> list[Cell]:
        """Sizes x training examples x seeds, the main cell of each seed first, so that the first row comes early."""
        return [cell for point in self.points for cell in self._grid(point)]

    @functools.cached_property
    def ablations(self) -> list[Cell]:
        """The main cell of the first seed with one thing changed, at every point."""
        return [cell for point in self.points for cell in self._ablations(point)]

    @property
    def cells(self) -> list[Cell]:
        """All cells in the order of the table: the grids of all points, then their variants."""
        return [*self.grid, *self.ablations]

    @property
    def main(self) -> Cell:
        """The main cell of the first point, seed and set of solutions."""
        return self.grid[0]

    def main_cells(self, config: SweepConfig) -> list[Cell]:
        """The main cell of the first seed of one point, on each set of solutions: what variants are compared with."""
        return self._grid(Point(config))[: len(config.evaluate.benchmarks)]

    @property
    def candidates(self) -> Cell | None:
        """The votes of the main verifier that choose among the policy's candidates; None where there are none."""
        return next(iter(self.choosing), None)

    @functools.cached_property
    def choosing(self) -> list[Cell]:
        """The votes that choose among the policy's candidates, of each cell that does; the main verifier's first."""
        if not self.config.evaluate.candidates_problems:
            return []
        cells = self.grid if self.config.evaluate.candidate_cells == "grid" else [self.main]
        return [self._choosing(cell) for cell in {cell.verifier: cell for cell in reversed(cells)}.values()][::-1]

    def _choosing(self, cell: Cell) -> Cell:
        tasks = self.tasks_of(cell.config)
        candidates = tasks.candidates(cell.verifier.seed)
        votes = tasks.votes(cell.verifier, candidates, cell.config.evaluate.candidate_votes)
        return dataclasses.replace(cell, votes=votes)

    @property
    def asked(self) -> list[Votes]:
        """The votes of all cells, and those on candidates."""
        return [cell.votes for cell in (*self.cells, *self.choosing)]

    @property
    def labels(self) -> list[LabelledSolutions]:
        """The labelled solutions that its verifiers learn from. Finds no verifier's model."""
        tasks = [self.tasks_of(point.config).labels(seed) for point in self.points for seed in point.config.seeds]
        return list(dict.fromkeys(tasks))

    @property
    def leaders(self) -> dict[Task, Task]:
        """The votes that others can take over, by those others."""
        return leaders_of(self.asked)

    @property
    def verifiers(self) -> list[TrainedVerifier]:
        """The verifiers of the grids of all points. Finds no set of solutions."""
        return list(dict.fromkeys(verifier for point in self.points for verifier in self._verifiers(point)))

    def _verifiers(self, point: Point) -> list[TrainedVerifier]:
        config = point.config
        grid, cell, tasks = config.grid, config.cell, self.tasks_of(config)
        main_size, main_examples = grid.main if cell.size is None or cell.train_examples is None else ("", 0)
        sizes = (cell.size,) if cell.size else _first(main_size, reversed(grid.sizes))
        counts = grid.train_examples if cell.train_examples is None else (cell.train_examples,)
        each = _first(main_examples, reversed(counts))
        return [tasks.verifier(size, n, seed) for seed in config.seeds for size in sizes for n in each]

    def _grid(self, point: Point) -> list[Cell]:
        sets = point.config.evaluate.benchmarks
        return [self._cell(point, verifier, name) for verifier in self._verifiers(point) for name in sets]

    def _ablations(self, point: Point) -> list[Cell]:
        grid = point.config.grid
        if not grid.ablations:
            return []
        main = self._grid(point)[0].verifier
        cells = []
        for variant in grid.ablations:
            changes: dict[str, dict[str, Any]] = {
                **{style: {"style": style} for style in ("code", "analysis", "direct")},
                **{rule: {"rule": rule} for rule in ("hard", "difference")},
                "unfiltered": {"filtered": False},
            }
            verifier = dataclasses.replace(main, **changes.get(variant, {}))
            asked = {"invented": {"execution": "invented"}, "fork": {"mode": "fork"}}.get(variant, {})
            for name in point.config.evaluate.benchmarks:
                cells.append(dataclasses.replace(self._cell(point, verifier, name, **asked), variant=variant))
        return cells

    def _cell(self, point: Point, verifier: TrainedVerifier, benchmark: str, **asked: Any) -> Cell:
        tasks = self.tasks_of(point.config)
        votes = tasks.votes(verifier, tasks.benchmark(benchmark, verifier.seed), **asked)
        return Cell(votes, point.config, values=point.values)


def _first(main: Any, values: Iterable[Any]) -> list[Any]:
    """The values with the main one in front."""
    return sorted(values, key=lambda value: value != main)
