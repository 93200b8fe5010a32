"""What is to be computed: tasks as values, the stages in which their results lie, and their order.

Invariant: a task's result is a function of its inputs and of its parents' results, so its key names the result.
"""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from jprm.config import plain
from jprm.jobs.progress import Progress
from jprm.jobs.stage import Stage, stage_key
from jprm.strict_json import read_object

R = TypeVar("R")


class Task(ABC):
    """One unit of work. Derived classes are frozen dataclasses with `eq=False`: tasks are equal if their keys are.

    kind: names the stage's folder. version: is raised whenever the same inputs would give another result.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def label(self) -> str:
        """A short name for the plan and for the progress line."""
        return self.kind

    def parents(self) -> tuple[Task, ...]:
        """The tasks whose results this one reads."""
        return ()

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Everything but the parents that the result depends on, as plain JSON values."""

    @abstractmethod
    def compute(self, stage: Stage, context: Context) -> dict[str, Any]:
        """Writes the result into the stage's folder and returns its summary as JSON values.

        The folder may hold what an earlier attempt left; work that is there need not be done again.
        """

    def flops(self) -> float:
        """The FLOPs that the task is expected to take."""
        return 0.0

    def seconds(self, speed: Any) -> float:
        """The seconds that the task is expected to take; the experiment says what `speed` is."""
        return 1.0

    def parts(self, stages: Stages) -> tuple[Task, ...]:
        """The tasks into which several workers may divide this one, once its parents are done; none by default.

        The whole is computed after its parts and takes over their results.
        """
        return ()

    @functools.cached_property
    def all_inputs(self) -> dict[str, Any]:
        """The inputs, the version, and the keys of the parents: all that decides the result."""
        return self.inputs() | {"version": self.version} | {f"from {p.kind}": p.key for p in self.parents()}

    @functools.cached_property
    def key(self) -> str:
        """The fingerprint that names the result."""
        return stage_key(self.kind, self.all_inputs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and (self.kind, self.key) == (other.kind, other.key)

    def __hash__(self) -> int:
        return hash((self.kind, self.key))


class Stages:
    """The stages of one run directory, by task: `stages[task]`. Looking one up writes nothing."""

    def __init__(self, root: Path):
        self.root = root
        self._by_task: dict[Task, Stage] = {}

    def __getitem__(self, task: Task) -> Stage:
        if task not in self._by_task:
            self._by_task[task] = Stage(task.kind, task.all_inputs, self.root)
        return self._by_task[task]

    def alike(self, task: Task, free: Collection[str]) -> Iterator[Stage]:
        """The other stages of the task's kind whose inputs differ from its own in `free` keys alone, finished or not.

        Raises UserError for a damaged file of inputs.
        """
        own = self[task]
        wanted = inputs_without(json.loads(json.dumps(own.inputs, default=plain)), free)
        for path in sorted((self.root / "stages").glob(f"{task.kind}-*/inputs.json")):
            inputs = read_object(path, f"delete the folder {path.parent}")
            if path.parent.name != f"{own.name}-{own.key}" and inputs_without(inputs, free) == wanted:
                yield Stage(task.kind, inputs, self.root)


def inputs_without(inputs: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    """The inputs but for the `free` keys."""
    return {key: value for key, value in inputs.items() if key not in free}


@dataclass(frozen=True)
class Context(Generic[R]):
    """What a task is computed with: the results of its parents, where it tells its progress, and shared resources."""

    stages: Stages
    progress: Progress
    resources: R


class Graph:
    """Tasks that are asked for and all that they build on, each once, parents first.

    `leaders` maps a task to another one that should be computed before it, because it can take over that one's results;
    the result must not depend on that.
    """

    def __init__(self, stages: Stages, asked: Iterable[Task], leaders: Mapping[Task, Task] | None = None):
        self.stages = stages
        self.leaders = dict(leaders or {})
        found: dict[Task, None] = {}

        def visit(task: Task) -> None:
            if task not in found:
                for parent in task.parents():
                    visit(parent)
                found.setdefault(task)

        for task in asked:
            visit(task)
        self.tasks = list(found)

    def unfinished(self) -> list[Task]:
        """The tasks that are not done."""
        return [task for task in self.tasks if not self.stages[task].done]

    def seconds(self, task: Task, speed: Any) -> float:
        """The seconds that a task is expected to take; one that takes over a leader's results takes next to none."""
        return 1.0 if task in self.leaders else task.seconds(speed)

    def flops(self, task: Task) -> float:
        """The FLOPs that a task is expected to take; none if it takes over a leader's results."""
        return 0.0 if task in self.leaders else task.flops()
