"""The configuration of a sweep: one frozen model per section of its TOML file.

The defaults are the embedded sweep that `python experiments/sweep.py` runs; files in `configs/sweep/` change only what
differs. Each field says what it is; the reference page of the configuration is made from these sentences.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jprm.config import Config
from jprm.errors import UserError
from jprm.models.locate import names_checkpoint
from jprm.paths import nearest_name
from jprm.tasks.settings import (
    BaseSection,
    DataSection,
    LabelSection,
    ModelSection,
    PluginSection,
    Style,
    TeacherSection,
    TrainSection,
    VerifySection,
    WorldSection,
    check_label_rule,
    with_plugins,
)
from jprm.worlds import has_oracle, world

SETS = ("policy", "answers", "planted", "processbench")  # of solutions, in `evaluate.benchmarks`
Ablation = Literal["invented", "code", "analysis", "direct", "hard", "difference", "unfiltered", "fork"]


class EvaluateSection(Config):
    """The solutions that verifiers are measured on, and the statistics."""

    split: Literal["dev", "test"] = "test"
    """The split of the world whose problems are used."""
    benchmarks: tuple[str, ...] = Field(default=("policy",), min_length=1)
    """The sets of solutions: "policy", its natural errors; "answers", its solutions by their final answers; "planted",
    planted errors; "processbench", the file below `data.root`; or files of judged solutions, in the layouts of
    `evaluate`."""
    file_rows: int | None = Field(default=None, ge=1)
    """How many solutions of each file are judged; by default all."""
    problems: int = Field(default=560, ge=2)
    """The solutions of each set, half of them wrong."""
    votes_shown: tuple[int, ...] | None = Field(default=None, min_length=1)
    """The numbers of votes that have a row; by default the powers of two up to `verify.n_votes`, and that itself."""
    candidates_problems: int = Field(default=150, ge=0)
    """The problems of best-of-N; 0 turns it off."""
    candidates: int = Field(default=8, ge=1)
    """The solutions of each problem to choose among."""
    candidate_votes: int = Field(default=4, ge=1)
    """The votes on each step of a candidate."""
    candidate_cells: Literal["main", "grid"] = "main"
    """The cells that choose among candidates: the main one, or all of the grid."""
    missing: Literal["wrong", "excluded"] = "wrong"
    """What a solution without a verdict counts as."""

    @field_validator("benchmarks")
    @classmethod
    def _known_or_a_file(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SETS and Path(name).name == name and not Path(name).suffix:
                raise ValueError(f"{name!r} is no set of solutions; choose of {', '.join(SETS)}, or name a file")
        called = [name_of_set(name) for name in names]
        if twice := next((name for name in called if called.count(name) > 1), None):
            raise ValueError(f"two sets are called {twice!r}; rename one of the files")
        return names


def name_of_set(name: str) -> str:
    """What a set of `evaluate.benchmarks` is called in tables: a file by its name without endings."""
    return name if name in SETS else Path(name).name.split(".")[0]


class GridSection(Config):
    """The cells: sizes x training examples x seeds, and one-change variants of the main cell."""

    sizes: tuple[str, ...] = Field(default=("tiny-0.1m", "tiny-0.3m"), min_length=1)
    """The models of the verifiers: presets, or directories of checkpoints."""
    train_examples: tuple[int, ...] = Field(default=(250, 1000), min_length=1)
    """The numbers of labelled solutions, before the filter."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """The seeds; each has base models, labels and solutions of its own."""
    labels: str = "rpe"
    """The rule that turns Monte-Carlo values into labels: "rpe", "hard", "difference", or one of a plugin;
    "exact" takes the truth."""
    main_size: str | None = None
    """The size of the main cell; by default the largest."""
    main_train_examples: int | None = None
    """The training examples of the main cell; by default the most."""
    ablations: tuple[Ablation, ...] = ("invented", "code", "analysis", "direct", "hard", "unfiltered")
    """The variants of the main cell of the first seed, each with one thing changed."""

    _a_rule = field_validator("labels")(check_label_rule)

    @property
    def main(self) -> tuple[str, int]:
        """The size and the training examples of the main cell."""
        size = self.main_size or max(self.sizes, key=_matrix_parameters)
        examples = self.main_train_examples
        return size, max(self.train_examples) if examples is None else examples

    @property
    def other_end(self) -> tuple[str, int]:
        """The size and the training examples that the main cell is compared with: the least, or else the most."""
        size, examples = self.main
        sizes = sorted(self.sizes, key=_matrix_parameters)
        counts = sorted(self.train_examples)
        return sizes[-(sizes[0] == size)], counts[-(counts[0] == examples)]

    @model_validator(mode="after")
    def _main_is_in_the_grid(self) -> GridSection:
        if self.main_size is not None and self.main_size not in self.sizes:
            raise ValueError(f"main_size {self.main_size!r} is not among grid.sizes")
        if self.main_train_examples is not None and self.main_train_examples not in self.train_examples:
            raise ValueError(f"main_train_examples {self.main_train_examples} is not among grid.train_examples")
        return self


def _matrix_parameters(size: str) -> int:
    """A number that grows with the parameters of a preset or a checkpoint. Raises UserError for an unknown one."""
    from jprm.models.config import preset
    from jprm.models.hf_config import read_config
    from jprm.models.locate import find_checkpoint, names_checkpoint

    checkpoint = find_checkpoint(size, "grid.sizes").directory if names_checkpoint(size) else None
    shapes = preset(size, vocab_size=8) if checkpoint is None else read_config(checkpoint)
    return shapes.n_layers * shapes.embed**2


class CellSection(Config):
    """What makes a cell, as keys of axes. Where a value is not set, the lists of `grid` hold."""

    size: str | None = None
    """The model of the verifier: a preset, or a directory."""
    train_examples: int | None = Field(default=None, ge=1)
    """The labelled solutions that it learns from, before the filter."""
    seed: int | None = None
    """The seed of the base model, the labels and the solutions."""
    labels: str | None = None
    """The labelling rule."""
    filtered: bool = True
    """Whether the consensus filter is on."""
    style: Style = "full"
    """What a rationale consists of."""
    code: Literal["executed", "invented"] = "executed"
    """Whether code is executed, or the model invents its output."""

    _a_rule = field_validator("labels")(check_label_rule)


class Axis(Config):
    """One key and the values that it takes. Axes multiply; those with one `zip` name are walked together."""

    key: str
    """The dotted key, such as `verify.temperature`."""
    values: tuple[Any, ...] = Field(min_length=1)
    """The values that the key takes."""
    zip: str | None = None
    """The name of the axes that are walked together with this one."""


class LaunchSection(Config):
    """How the work is spread over processes; no result depends on it."""

    chunk_solutions: int = Field(default=128, ge=1)
    """The solutions that a worker judges under one lease."""
    chunk_problems: int = Field(default=64, ge=1)
    """The problems that a worker rolls out under one lease."""
    expiry_s: float = Field(default=60, gt=0)
    """The seconds after which a silent worker counts as dead."""
    poll_s: float = Field(default=2, gt=0)
    """The seconds between two looks of a worker that found nothing to do."""
    slurm: dict[str, Any] = {}
    """Parameters of submitit: partition, gpus_per_node, timeout_min, ..."""
    ray: dict[str, Any] = {}
    """What each worker asks Ray for: num_cpus, num_gpus, resources."""


RUN_NAME = r"^\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # names a folder, never one above it


class SweepConfig(PluginSection):
    """Everything that `python experiments/sweep.py` can be told."""

    name: str = Field(default="embedded", pattern=RUN_NAME)
    """The name of the run; its directory is `<directory>/<name>`."""
    directory: Path = Path("runs")
    """The folder of all runs."""
    world: WorldSection = WorldSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    base: BaseSection = BaseSection()
    labels: LabelSection = LabelSection()
    teacher: TeacherSection = TeacherSection()
    train: TrainSection = TrainSection()
    verify: VerifySection = VerifySection()
    evaluate: EvaluateSection = EvaluateSection()
    grid: GridSection = GridSection()
    cell: CellSection = CellSection()
    axes: tuple[Axis, ...] = ()
    """A grid over any keys, which multiplies the cells."""
    only: tuple[dict[str, Any], ...] = ()
    """A point of the axes stays if it fits one of these tables; without any, all stay."""
    skip: tuple[dict[str, Any], ...] = ()
    """A point of the axes goes if it fits one of these tables."""
    launch: LaunchSection = LaunchSection()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory / self.name

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the cells."""
        return self.grid.seeds if self.cell.seed is None else (self.cell.seed,)

    @property
    def votes_shown(self) -> tuple[int, ...]:
        """The numbers of votes that have a row, ascending."""
        n = self.verify.n_votes
        powers = (2**i for i in range(n.bit_length()))
        return tuple(sorted({*(self.evaluate.votes_shown or (*powers, n))}))

    @model_validator(mode="before")
    @classmethod
    def _axes_start_from_one_cell(cls, table: Any) -> Any:
        """With axes, a list of the grid that is not given is its main cell alone: axes say what varies."""
        if not isinstance(table, dict) or not table.get("axes"):
            return table
        size, examples = GridSection().main
        single = {"sizes": (size,), "train_examples": (examples,), "seeds": GridSection().seeds[:1], "ablations": ()}
        given = table.get("grid", {})
        return table | {"grid": single | given if isinstance(given, dict) else given}

    @model_validator(mode="before")
    @classmethod
    def _worlds_without_an_oracle_plant_nothing(cls, table: Any) -> Any:
        """There the defaults of these two keys would be refused."""
        section = with_plugins(table).get("world") if isinstance(table, dict) else None
        kind = section.get("kind") if isinstance(section, dict) else None
        if kind not in world.names() or has_oracle(kind):  # an unknown name is told where the section is checked
            return table
        for name, default in (("labels", {"planted_solutions": 0}), ("evaluate", {"benchmarks": ("answers",)})):
            given = table.get(name, {})
            table = table | {name: default | given if isinstance(given, dict) else given}
        return table

    @model_validator(mode="after")
    def _asks_what_the_world_knows(self) -> SweepConfig:
        if has_oracle(self.world.kind):
            return self
        planted, sizes = self.labels.planted_solutions, self.grid.sizes if self.cell.size is None else (self.cell.size,)
        sets = [name for name in self.evaluate.benchmarks if name in ("policy", "planted")]
        asked = (
            (self.labels.source == "planted", 'labels.source = "planted"', 'take "rollouts"'),
            (planted > 0, f"labels.planted_solutions = {planted}", "take 0"),
            (bool(sets), f"evaluate.benchmarks = {json.dumps(sets)}", 'take "answers", or files of judged solutions'),
            (self.grid.labels == "exact", 'grid.labels = "exact"', 'take "rpe", "hard" or "difference"'),
            (self.cell.labels == "exact", 'cell.labels = "exact"', 'take "rpe", "hard" or "difference"'),
        )
        for is_asked, what, instead in asked:
            if is_asked:
                raise ValueError(f"{what}: the world {self.world.kind} does not know the truth of steps; {instead}")
        named = [("model.policy", self.model.policy), *(("grid.sizes", size) for size in sizes)]
        for key, model in named:
            if isinstance(model, str) and not names_checkpoint(model):
                raise ValueError(
                    f"{key} = {model!r}: presets are trained from scratch on documents of a world, and the world "
                    f"{self.world.kind} has none; name the directory of a checkpoint"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        if self.votes_shown[-1] > self.verify.n_votes:
            raise ValueError(
                f"evaluate.votes_shown asks for {self.votes_shown[-1]} votes but verify.n_votes is "
                f"{self.verify.n_votes}"
            )
        if self.world.kind == "gsm8k" and self.data.root is None:
            raise ValueError("data.root is not set; name the folder that holds gsm8k/")
        if self.labels.source == "planted" and (self.cell.labels or self.grid.labels) != "exact":
            raise ValueError('grid.labels must be "exact" when labels.source is "planted"')
        return self


# What decides no result, and so may differ between two runs in one directory.
FREE_KEYS = (
    *("name", "directory", "plugins", "launch", "in_flight", "verify.workers", "verify.place", "verify.uncovered"),
    *("model.policy.base_url", "model.policy.concurrency", "model.teacher.base_url", "model.teacher.concurrency"),
)


def require_sweep(run: Path) -> None:
    """Raises UserError where a directory holds no sweep."""
    if not (run / "config.json").is_file():
        raise UserError(
            f"{run}: no finished sweep there{nearest_name(run) if not run.exists() else ''}; run: "
            "python experiments/sweep.py, or give --run DIR"
        )
