"""A teacher that is a script, labels that are given, and a run of both; as a program it kills itself on the way.

A paragraph that holds WRONG is wrong. The script follows the sample id: it judges as it should, or calls everything
right, or analyses nothing, or leaves its code open.
"""

import itertools
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jprm.chat import ChatCodec
from jprm.jobs import Stage, Task, open_run, write_rows
from jprm.records import Problem, Solution, to_json
from jprm.sampling import SampleEvent
from jprm.tasks.labels import VALUES
from jprm.tasks.model_source import ModelSource
from jprm.tasks.resources import Speed
from jprm.tasks.settings import LabelSection, TeacherSection, VerifySection
from jprm.tasks.teacher_rationales import TeacherRationales
from tests.verify.fakes import FakeExecutor, ScriptedSampler


def solutions(n=9):
    """Problems with a right and a wrong solution each."""
    for i in range(n):
        problem = Problem(f"p{i}", f"Ann has {i}. Joe has 3 more. How many does Joe have?\n", str(i + 3))
        good = f"Joe has {i} + 3.\n", f"That is {i + 3}.\n"
        for name, steps, wrong in (("right", good, -1), ("wrong", (good[0], f"WRONG: {i + 4}.\n", "So.\n"), 1)):
            yield problem, Solution(f"s{i}-{name}", problem.id, steps, "planted", wrong)


@dataclass(frozen=True, eq=False)
class GivenLabels(Task):
    """Labels as they are given; the rule is "exact"."""

    kind = "labels"
    n: int = 9
    settings: LabelSection = LabelSection()
    seed: int = 0

    def inputs(self) -> dict[str, Any]:
        return {"n": self.n}

    def compute(self, stage: Stage, context) -> dict[str, Any]:
        rows = [
            {"problem": to_json(p), "solutions": [{"solution": to_json(s), "mc": None}]} for p, s in solutions(self.n)
        ]
        write_rows(stage.file(VALUES), rows)
        return {}


def section(n: int, code: str) -> str:
    return f"### Paragraph {n}\n<analyze>\nLet us see.\n</analyze>\n<verify>\n```python\n{code}\n```\n"


def marked(problem: str, paragraphs: list[str]) -> int:
    """The number of the first paragraph that is marked as wrong; -1 for none."""
    return next((n for n, paragraph in enumerate(paragraphs, 1) if "WRONG" in paragraph), -1)


def write(sample_id: int, text: str, judge: Callable[[str, list[str]], int] = marked) -> str:
    """What the teacher writes behind this text: the first section begins within it."""
    asked = text.partition("### Paragraph 1\n<an")[0]
    paragraphs = re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", asked, re.S)
    [problem] = re.findall(r"Problem:\n(.*?)\n\nSolution:\n", asked, re.S)
    wrong = judge(problem, paragraphs)
    attempt = text.rpartition("Paragraph 1\n<analyze>\n")[2]
    done = attempt.count("[Code Output]")
    match sample_id % 6:
        case 0 | 1:
            wrong = -1
        case 2:
            return "No idea."
        case 3 if done:
            return "```python\nprint(1)"
    last = wrong if wrong > 0 else len(paragraphs)
    if done == 0:
        return section(1, "print(1 + 1)").partition("<analyze>\n")[2]
    if done < last:
        return "Yes.\n</verify>\n" + section(done + 1, f"print({done})")
    return f"Yes.\n</verify>\n\\boxed{{{wrong}}}"


class KilledSampler(ScriptedSampler):
    """Calls `interrupt` at the poll of this number; loses the samples of these numbers."""

    def __init__(self, codec, at=None, interrupt=lambda: None, lost=(), script=write):
        super().__init__(codec, script, slots=3, context_tokens=100_000)
        self.polls, self.at, self.interrupt, self.lost, self.told = itertools.count(), at, interrupt, lost, 0

    def poll(self):
        if next(self.polls) == self.at:
            self.interrupt()
        return super().poll()

    def _finish(self, handle, conversation):
        event = super()._finish(handle, conversation)
        self.told += 1
        if self.told in self.lost:
            return SampleEvent(handle, event.sample_id, [], "lost", event.logprobs, "the server said 500")
        return SampleEvent(handle, event.sample_id, event.tokens, event.finish, event.logprobs)


@dataclass(frozen=True, eq=False)
class ScriptedTeacher(ModelSource):
    """A model whose sampler is made by the test."""

    kind = "scripted"
    codec: ChatCodec
    make: Any
    size: str = "scripted"

    def inputs(self) -> dict[str, Any]:
        return {}

    def compute(self, stage, context) -> dict[str, Any]:
        return {}

    @property
    def tokenizer(self) -> ChatCodec:
        return self.codec

    def sampler(self, stages, sampling, sizes):
        return self.make(self.codec)

    def decode_flops(self, context_tokens: int, tokens: float) -> float:
        return 0.0


@dataclass
class FakeResources:
    """A pool that evaluates."""

    executor: FakeExecutor = field(default_factory=FakeExecutor)

    def pool(self, verify, progress):
        return self.executor


def task(codec, make=KilledSampler, rule="exact", filtered=True, **teacher) -> TeacherRationales:
    """The rationales of a scripted teacher."""
    settings = TeacherSection(**{"context_tokens": 100_000, "attempts": 3} | teacher)
    return TeacherRationales(
        ScriptedTeacher(codec, make), GivenLabels(), settings, rule, filtered, VerifySection(max_tokens=2048), slots=8
    )


def compute(path: Path, *tasks: TeacherRationales) -> list[Stage]:
    """Runs them in a run directory, and returns their stages."""
    with open_run(path, tasks, FakeResources(), speed=Speed()) as runner:
        return [runner.ensure(task) for task in tasks]


if __name__ == "__main__":
    run, tokenizer, at = sys.argv[1:]
    codec = ChatCodec.load(Path(tokenizer))
    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    compute(Path(run), task(codec, lambda codec: KilledSampler(codec, int(at), kill)))
