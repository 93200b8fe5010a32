"""The configuration of a sweep: one frozen model per section of its TOML file.

Read before JAX is imported, so that a mistake is answered at once. The defaults are the embedded
sweep that `python experiments/sweep.py` runs; files in `configs/sweep/` change only what differs.

Invariant: a section holds nothing that is not read by a task, and a task's identity
(`inputs` in `jprm.pipeline.base` and its siblings) holds every value that its result depends on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from jprm.config import Config
from jprm.errors import UserError
from jprm.paths import nearest_name
from jprm.train.config import TrainConfig
from jprm.verify import votes_drawn
from jprm.verify.snippets import CodeSettings

LabelRule = Literal["rpe", "hard", "difference", "exact"]
Style = Literal["full", "code", "analysis", "direct"]
ExecutionMode = Literal["executed", "invented", "none"]
VoteMode = Literal["chain", "fork"]
Need = Literal["reads", "writes", "network", "processes", "signals", "memory"]
ReadOut = Literal["prob_raw", "prob_tempered", "vote"]


class WorldSection(Config):
    """Where problems come from; `settings` are the world's own difficulty knobs."""

    kind: Literal["embedded", "gsm8k"] = "embedded"
    settings: dict[str, Any] = {}


class DataSection(Config):
    """Files of a world that reads them."""

    root: Path | None = None  # folder that holds gsm8k/ and processbench/


class ModelSection(Config):
    """Presets of `jprm.models` by role."""

    policy: str = "tiny-0.3m"
    lanes: int = Field(default=256, ge=8)  # sequences decoded side by side


class BaseSection(TrainConfig):
    """Pretraining from scratch, once per model size and seed."""

    documents: int = Field(default=30_000, ge=1)
    steps: int = Field(default=1000, ge=1)
    batch_rows: int = Field(default=10, ge=1)
    row_tokens: int = Field(default=208, ge=2)


class TrainSection(TrainConfig):
    """Fine-tuning of a base model into a verifier."""

    learning_rate: float = Field(default=0.01, gt=0)


class LabelSection(Config):
    """Monte-Carlo labels of solutions, and the annotator's rationales."""

    source: Literal["rollouts", "planted"] = "rollouts"
    problems: int = Field(default=290, ge=1)
    first_samples: int = Field(default=16, ge=1)  # per problem, to choose K
    rollout_divisor: int = Field(default=1, ge=1)  # 1: the paper's K of 128, 64, 32; 2 halves it
    right_solutions: int = Field(default=1, ge=0)  # of the policy, per problem, by final answer
    wrong_solutions: int = Field(default=1, ge=0)
    planted_solutions: int = Field(default=2, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=80, ge=1)  # of one rollout
    context_tokens: int = Field(default=128, ge=16)  # of problem and rollout together
    epsilon: float = Field(default=0.8, gt=0)  # threshold of relative progress
    difference_epsilon: float = Field(default=-0.3, ge=-1, le=1)
    annotator_noise: float = Field(default=0.1, ge=0, le=1)


class VerifySection(Config):
    """How a verifier is sampled."""

    n_votes: int = Field(default=8, ge=1)
    temperature: float = Field(default=1.1, ge=0)
    mode: VoteMode = "chain"
    readout: ReadOut = "prob_raw"
    max_tokens: int = Field(default=64, ge=1)  # of one step's rationale
    context_tokens: int = Field(default=304, ge=16)  # of a whole conversation; longer ones end without a verdict
    max_rounds: int = Field(default=2, ge=1)  # pieces of code per step
    workers: int = Field(default=2, ge=1)  # programs that run code
    timeout_s: float = Field(default=5.0, gt=0)  # of one piece of code
    place: str = "local"  # where code runs: local, ray, or the URL of a SandboxFusion service
    uncovered: tuple[Need, ...] = ()  # run code although nothing keeps it from these
    code: CodeSettings = CodeSettings()  # how it is read and its output shown

    def draws(self, votes: int) -> int:
        """The votes that are drawn where some are asked for: one at temperature 0."""
        return votes_drawn(votes, self.temperature)


class EvaluateSection(Config):
    """The solutions that verifiers are measured on, and the statistics."""

    split: Literal["dev", "test"] = "test"
    benchmarks: tuple[Literal["policy", "planted", "processbench"], ...] = ("policy",)
    problems: int = Field(default=560, ge=2)  # solutions per benchmark, half of them wrong
    votes_shown: tuple[int, ...] = Field(default=(1, 2, 4, 8), min_length=1)
    candidates_problems: int = Field(default=150, ge=0)  # best-of-N; 0 turns it off
    candidates: int = Field(default=8, ge=1)  # solutions per problem
    candidate_votes: int = Field(default=4, ge=1)
    missing: Literal["wrong", "excluded"] = "wrong"  # what a solution without a verdict counts


class GridSection(Config):
    """The cells: sizes x training examples x seeds, and one-change variants of the main cell."""

    # Both from the least to the most: the last of each is the main cell.
    sizes: tuple[str, ...] = Field(default=("tiny-0.1m", "tiny-0.3m"), min_length=1)
    train_examples: tuple[int, ...] = Field(default=(250, 1000), min_length=1)  # labelled solutions, before the filter
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    labels: LabelRule = "rpe"
    ablations: tuple[
        Literal["invented", "code", "analysis", "direct", "hard", "difference", "unfiltered", "fork"], ...
    ] = ("invented", "code", "analysis", "direct", "hard", "unfiltered")


class CellSection(Config):
    """What makes a cell; where a value is None, the lists of `grid` hold. Meant as keys of axes."""

    size: str | None = None
    train_examples: int | None = Field(default=None, ge=1)
    seed: int | None = None
    labels: LabelRule | None = None
    filtered: bool = True  # the consensus filter
    style: Style = "full"
    code: Literal["executed", "invented"] = "executed"


class Axis(Config):
    """One key and the values that it takes. Axes multiply; those with one `zip` name are walked together."""

    key: str
    values: tuple[Any, ...] = Field(min_length=1)
    zip: str | None = None


class LaunchSection(Config):
    """How the work is spread over processes; no result depends on it."""

    chunk_solutions: int = Field(default=128, ge=1)  # that a worker judges under one lease
    expiry_s: float = Field(default=60, gt=0)  # of a lease whose worker gives no sign of life
    poll_s: float = Field(default=2, gt=0)  # between two looks of a worker that found nothing to do
    slurm: dict[str, Any] = {}  # for submitit: partition, gpus_per_node, timeout_min, ...
    ray: dict[str, Any] = {}  # of each worker: num_cpus, num_gpus, resources


class SweepConfig(Config):
    """Everything that `python experiments/sweep.py` can be told."""

    name: str = Field(default="embedded", pattern=r"^\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    directory: Path = Path("runs")
    world: WorldSection = WorldSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    base: BaseSection = BaseSection()
    labels: LabelSection = LabelSection()
    train: TrainSection = TrainSection()
    verify: VerifySection = VerifySection()
    evaluate: EvaluateSection = EvaluateSection()
    grid: GridSection = GridSection()
    cell: CellSection = CellSection()
    axes: tuple[Axis, ...] = ()
    only: tuple[dict[str, Any], ...] = ()  # a point stays if it fits one of them; none: all stay
    skip: tuple[dict[str, Any], ...] = ()  # and goes if it fits one of these
    launch: LaunchSection = LaunchSection()

    @model_validator(mode="before")
    @classmethod
    def _axes_start_from_one_cell(cls, table: Any) -> Any:
        """With axes, a list of the grid that is not given is its main cell alone: axes say what varies."""
        if not isinstance(table, dict) or not table.get("axes"):
            return table
        grid = GridSection()
        single = {
            "sizes": grid.sizes[-1:],
            "train_examples": grid.train_examples[-1:],
            "seeds": grid.seeds[:1],
            "ablations": (),
        }
        given = table.get("grid", {})
        return table | {"grid": single | given if isinstance(given, dict) else given}

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        if max(self.evaluate.votes_shown) > self.verify.n_votes:
            raise ValueError(
                f"evaluate.votes_shown asks for {max(self.evaluate.votes_shown)} votes but "
                f"verify.n_votes is {self.verify.n_votes}"
            )
        if self.world.kind == "gsm8k" and self.data.root is None:
            raise ValueError("data.root is not set; name the folder that holds gsm8k/")
        if self.labels.source == "planted" and (self.cell.labels or self.grid.labels) != "exact":
            raise ValueError('grid.labels must be "exact" when labels.source is "planted"')
        return self


def require_sweep(run: Path) -> None:
    """Raises UserError where a directory holds no sweep."""
    if not (run / "config.json").is_file():
        raise UserError(
            f"{run}: no finished sweep there{nearest_name(run) if not run.exists() else ''}; run: "
            "python experiments/sweep.py, or give --run DIR"
        )
