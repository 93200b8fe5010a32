"""The laboratory: what all tasks of a sweep share, and the rule that each task is done once.

A task (`base`, `labels`, `benchmark`, `verifier`, `votes`) says what it depends on and how to compute it; the
laboratory keeps the run directory, the world, the models, the sampling engines and the code pool, and finishes tasks in
the order of their needs.

Invariant: a task's result is a function of its inputs, so a finished stage is never computed again and an unfinished
one goes on from what an earlier sitting left.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from jprm.execute import Place, Tier, open_place
from jprm.pipeline.config import SweepConfig
from jprm.progress import Progress
from jprm.runs import RunDirectory, Stage
from jprm.tokenizer import Tokenizer
from jprm.verify import EMBEDDED, Budget, Template
from jprm.worlds import World, load_world

if TYPE_CHECKING:  # JAX is imported when the first model is needed, not before
    from jprm.models import Model
    from jprm.sample import Engine


class Task(Protocol):
    """One unit of the sweep: a frozen dataclass, equal to another that would compute the same."""

    kind: ClassVar[str]  # names the stage's folder
    version: ClassVar[int]  # raised whenever the same inputs would give another result

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The tasks whose results this one reads."""
        ...

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """Everything but the parents that the result depends on."""
        ...

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Writes the result into the stage's folder; returns its summary (JSON)."""
        ...

    def work(self, lab: Lab) -> float:
        """Expected seconds on two CPU cores; for the plan and the progress line."""
        ...


class Lab:
    """The shared parts of one sweep. Use as a context manager: it ends the code pool."""

    def __init__(
        self, config: SweepConfig, run: RunDirectory | None, progress: Progress | None = None
    ):
        """`run` None is for planning: nothing is written."""
        self.config = config
        self.run = run
        self.progress = progress or Progress(1.0)
        self._stages: dict[Task, Stage] = {}
        self._finished: set[Task] = set()
        self._pool: Place | None = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    @functools.cached_property
    def world(self) -> World:
        """The world of this sweep."""
        settings = dict(self.config.world.settings)
        if self.config.data.root is not None:
            settings["root"] = self.config.data.root
        return load_world(self.config.world.kind, **settings)

    @functools.cached_property
    def world_identity(self) -> dict[str, Any]:
        """What decides the texts of the world."""
        world = self.config.world
        digest = getattr(self.world, "digest", "")
        return {
            "kind": world.kind,
            "settings": world.settings,
            "version": self.world.version,
            "data": digest,
        }

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The world's vocabulary."""
        return self.world.tokenizer()

    @functools.cached_property
    def template(self) -> Template:
        """The rationale format, with this sweep's budget: the same in training and in use."""
        verify = self.config.verify
        return replace(
            EMBEDDED, budget=Budget(verify.max_tokens, verify.max_rounds, verdict_tokens=1)
        )

    @property
    def pool(self) -> Place:
        """Where model-written code runs, started at the first use."""
        if self._pool is None:
            verify = self.config.verify
            local = {"warm": Tier.PLAIN, "uncovered": verify.uncovered}
            self._pool = open_place(
                verify.place,
                workers=verify.workers,
                timeout_s=verify.timeout_s,
                memoize=True,
                **(local if verify.place == "local" else {}),
            )
            self.progress.note(f"generated code runs {self._pool.description}")
        return self._pool

    @functools.cached_property
    def _models(self) -> dict[str, Model]:
        return {}

    def model(self, size: str) -> Model:
        """The model of a preset with this world's vocabulary."""
        from jprm.mesh import TRAIN_RULES
        from jprm.models import bind

        if size not in self._models:
            self._models[size] = bind(self.model_config(size), TRAIN_RULES)
        return self._models[size]

    def model_config(self, size: str):
        """The shapes of a preset with this world's vocabulary, rounded up to a multiple of 8."""
        from jprm.models import preset

        return preset(size, -(-self.tokenizer.vocab_size // 8) * 8)

    def engine(self, size: str, params: dict, temperature: float, context_tokens: int) -> Engine:
        """A sampling engine for these weights. A shorter context is faster: attention reads all of it."""
        from jprm.sample import Engine, EngineConfig, SamplingParams

        return Engine(
            self.model(size),
            params,
            EngineConfig(lanes=self.config.model.lanes, context_tokens=context_tokens),
            SamplingParams(temperature=temperature),
            seed=0,
        )

    def stage(self, task: Task) -> Stage:
        """The stage of a task; its key covers the task's inputs and those of all that it builds on."""
        if task not in self._stages:
            inputs = task.inputs(self) | {"version": task.version}
            for parent in task.parents(self):
                inputs[f"from {parent.kind}"] = self.stage(parent).key
            root = self.config.directory / self.config.name
            self._stages[task] = Stage(task.kind, inputs, root)
        return self._stages[task]

    def ensure(self, task: Task) -> Stage:
        """The finished stage of a task, computed first where it is not there yet."""
        stage = self.stage(task)
        if task in self._finished:
            return stage
        assert self.run is not None, "a plan computes nothing"
        if stage.done:
            self.run.reused += 1
        else:
            for parent in task.parents(self):
                self.ensure(parent)
            self.progress.show(stage.name, force=True)
            before, started = stage.seconds, time.monotonic()
            with stage.sitting():
                summary = task.compute(self, stage)
                stage.finish(summary, before + time.monotonic() - started)
            self.run.computed += 1
        self._finished.add(task)
        self.progress.advance(task.work(self), stage.name)
        return stage

    def count_reused(self, tasks: Iterable[Task]) -> None:
        """Counts the finished stages that nobody had to ask for, because what they lead to was finished too."""
        assert self.run is not None
        self.run.reused += sum(
            task not in self._finished and self.stage(task).done for task in tasks
        )
