"""The laboratory: what all tasks of a sweep share, and the rule that each task is done once.

A task (`base`, `labels`, `benchmark`, `verifier`, `votes`) says what it depends on and how to compute it; the
laboratory keeps the run directory, the world, the models, the sampling engines and the code pool, and finishes tasks in
the order of their needs.

Invariant: a task's result is a function of its inputs, so a finished stage is never computed again and an unfinished
one goes on from what an earlier sitting left.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from jprm.config import fingerprint
from jprm.errors import Diverged, Unwritable, UserError
from jprm.execute import Place, Tier, open_place
from jprm.leases import LeaseLost, adopt
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

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs of the models; for the plan."""
        ...

    def work(self, lab: Lab) -> float:
        """Expected seconds at the rates of `lab`; for the plan and the progress."""
        ...


@dataclass(frozen=True)
class Rates:
    """FLOPs per second that a machine makes of training and of decoding. The defaults: two CPU cores, tiny models."""

    train: float = 4.0e10
    decode: float = 2.0e10


@dataclass
class Failure:
    """Why a stage has no result: "diverged", "failed" or "missing", and the reason in one line."""

    status: str
    reason: str
    user_error: bool = False


class StageFailed(Exception):
    """Raised for whatever needs a stage that failed."""

    def __init__(self, failure: Failure):
        super().__init__(failure.reason)
        self.failure = failure


@dataclass
class _Shared:
    """What the views of one laboratory have in common. Keys: of stages; of worlds, models, pools their settings."""

    progress: Progress
    rates: Rates = Rates()
    worlds: dict[str, World] = field(default_factory=dict)
    models: dict[Any, Model] = field(default_factory=dict)
    pools: dict[str, Place] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    leaders: dict[str, tuple[Lab, Task]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)


class Lab:
    """The shared parts of one sweep, seen under one configuration. A context manager: it ends the code pools."""

    def __init__(self, config: SweepConfig, run: RunDirectory | None, progress: Progress | None = None):
        """`run` None is for planning: nothing is written."""
        self.config = config
        self.run = run
        self._shared = _Shared(progress or Progress(1.0))
        self._views: dict[int, tuple[SweepConfig, Lab]] = {}
        self._stages: dict[Task, Stage] = {}

    def at(self, config: SweepConfig) -> Lab:
        """This laboratory under the configuration of one point of the sweep."""
        if config is self.config:
            return self
        if id(config) not in self._views:
            view = Lab(config, self.run)
            view._shared = self._shared
            self._views[id(config)] = config, view
        return self._views[id(config)][1]

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.close()
        for pool in self._shared.pools.values():
            pool.close()

    @property
    def progress(self) -> Progress:
        """Where the work is told."""
        return self._shared.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self._shared.progress = progress

    @property
    def rates(self) -> Rates:
        """The speeds that expectations assume."""
        return self._shared.rates

    @rates.setter
    def rates(self, rates: Rates) -> None:
        self._shared.rates = rates

    @property
    def root(self) -> Path:
        """The run directory."""
        return self.config.directory / self.config.name

    @property
    def failures(self) -> dict[str, Failure]:
        """The stages that failed in this sitting, by key."""
        return self._shared.failures

    @functools.cached_property
    def world(self) -> World:
        """The world of this sweep."""
        settings = dict(self.config.world.settings)
        kind = self.config.world.kind
        if kind == "gsm8k":  # the only one that reads files
            settings["root"] = self.config.data.root
        key = fingerprint({"kind": kind, "settings": settings})
        if key not in self._shared.worlds:
            self._shared.worlds[key] = load_world(kind, **settings)
        return self._shared.worlds[key]

    @functools.cached_property
    def world_identity(self) -> dict[str, Any]:
        """What decides the texts of the world."""
        world = self.config.world
        return {
            "kind": world.kind,
            "settings": world.settings,
            "version": self.world.version,
            "data": self.world.digest,
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
            EMBEDDED, budget=Budget(verify.max_tokens, verify.max_rounds, verdict_tokens=1), code=verify.code
        )

    @property
    def code_inputs(self) -> dict[str, Any]:
        """The settings of code as inputs of a stage; left out where nothing is set, as in keys before them."""
        code = self.config.verify.code
        return {"code": code.model_dump()} if code != type(code)() else {}

    @property
    def pool(self) -> Place:
        """Where model-written code runs, started at the first use."""
        verify = self.config.verify
        key = fingerprint(verify.model_dump(include={"place", "workers", "timeout_s", "uncovered", "code"}))
        if key not in self._shared.pools:
            local = {"warm": Tier.PLAIN, "uncovered": verify.uncovered}
            pool = open_place(
                verify.place,
                workers=verify.workers,
                timeout_s=verify.timeout_s,
                memoize=True,
                **(local if verify.place == "local" else {}),
            )
            pool.options = verify.code.options
            self._shared.pools[key] = pool
            self.progress.note(f"generated code runs {pool.description}")
        return self._shared.pools[key]

    def model(self, size: str) -> Model:
        """The model of a preset with this world's vocabulary."""
        from jprm.mesh import TRAIN_RULES
        from jprm.models import bind

        config = self.model_config(size)
        if config not in self._shared.models:
            self._shared.models[config] = bind(config, TRAIN_RULES)
        return self._shared.models[config]

    def model_config(self, size: str):
        """The shapes of a preset with this world's vocabulary, rounded up to a multiple of 8."""
        from jprm.models import preset

        return preset(size, -(-self.tokenizer.vocab_size // 8) * 8)

    def decode_flops(self, size: str, context_tokens: int, tokens: float) -> float:
        """Expected FLOPs of drawing this many tokens, each behind half of a context."""
        from jprm.models.costs import decode_flops

        return decode_flops(self.model_config(size), context_tokens // 2, 1) * tokens

    def engine(self, size: str, params: dict, temperature: float, context_tokens: int) -> Engine:
        """A sampling engine for these weights. A shorter context is faster: attention reads all of it."""
        from jprm.sample import Engine, EngineConfig, SamplingParams

        return Engine(
            self.model(size),
            params,
            EngineConfig(slots=self.config.model.lanes, context_tokens=context_tokens),
            SamplingParams(temperature=temperature),
            seed=0,
        )

    def stage(self, task: Task) -> Stage:
        """The stage of a task; its key covers the task's inputs and those of all that it builds on."""
        if task not in self._stages:
            inputs = task.inputs(self) | {"version": task.version}
            for parent in task.parents(self):
                inputs[f"from {parent.kind}"] = self.stage(parent).key
            stage = Stage(task.kind, inputs, self.root)
            # two points that agree in what a task reads share its stage
            self._stages[task] = self._shared.stages.setdefault(stage.key, stage)
        return self._stages[task]

    def leader(self, task: Task) -> tuple[Lab, Task] | None:
        """The task that should be done before, because this one can take over its results."""
        return self._shared.leaders.get(self.stage(task).key)

    def follow(self, task: Task, leader: tuple[Lab, Task]) -> None:
        """Has `task` done after `leader`; it is no parent, so the result must not depend on it."""
        self._shared.leaders[self.stage(task).key] = leader

    def ensure(self, task: Task) -> Stage:
        """The finished stage of a task, computed first where it is not there yet.

        Raises StageFailed when it, or one that it needs, failed now or earlier in this sitting.
        """
        stage = self.stage(task)
        if stage.key in self._shared.finished:
            return stage
        assert self.run is not None, "a plan computes nothing"
        if stage.done:
            self.run.reused += 1
        else:
            if stage.key in self.failures:
                raise StageFailed(self.failures[stage.key])
            if leader := self.leader(task):
                with contextlib.suppress(StageFailed):
                    leader[0].ensure(leader[1])
            for parent in task.parents(self):
                self.ensure(parent)
            self.progress.show(stage.name, force=True)
            adopt(stage.path)
            self.compute(task)
            self.run.computed += 1
        self.mark_finished(task)
        return stage

    def mark_finished(self, task: Task) -> None:
        """Counts a finished task into the progress, once."""
        key = self.stage(task).key
        if key not in self._shared.finished:
            self._shared.finished.add(key)
            self.progress.advance(task.work(self), task.kind)

    def compute(self, task: Task) -> None:
        """Does a task whose parents are done. Raises StageFailed, which is noted, when it cannot be done."""
        stage = self.stage(task)
        before, started = stage.seconds, time.monotonic()
        try:
            with stage.sitting():
                summary = task.compute(self, stage)
                reused = summary.get("reused_seconds", 0.0)
                stage.finish(summary, before + reused + time.monotonic() - started)
        except (LeaseLost, Unwritable):  # on a full disk no other stage would fare better
            raise
        except Exception as error:
            self.progress.check()  # what ends us may have ended a process that the stage needs
            failure = self.failures[stage.key] = failure_of(error)
            with contextlib.suppress(UserError):  # the disk may be what failed
                stage.record_failure(asdict(failure) | {"traceback": traceback.format_exc()})
            raise StageFailed(failure) from error

    def count_reused(self, tasks: Iterable[tuple[Lab, Task]]) -> None:
        """Counts the finished stages that nobody had to ask for, because what they lead to was finished too."""
        assert self.run is not None
        keys = {lab.stage(task).key for lab, task in tasks if lab.stage(task).done}
        self.run.reused += len(keys - self._shared.finished)


def failure_of(error: Exception) -> Failure:
    """What the table says of an exception."""
    user_error = isinstance(error, UserError)
    text = " ".join(str(error).split()) or "no message"
    reason = text if user_error else f"{type(error).__name__}: {text}"
    return Failure("diverged" if isinstance(error, Diverged) else "failed", reason, user_error)
