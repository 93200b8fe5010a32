"""Labels whose policy is the simulated one of `tests.label.chain`, computed as a stage of a real run directory."""

import dataclasses
import time
from pathlib import Path

from jprm.jobs import Task, open_run
from jprm.prompt import BARE
from jprm.records import Problem
from jprm.tasks import rollout_store
from jprm.tasks.labels import Labels
from jprm.tasks.resources import Speed
from jprm.tasks.settings import LabelSection
from tests.label.chain import ChainSampler, Letters, LineWorld

SETTINGS = LabelSection(problems=70, max_tokens=20, context_tokens=128, planted_solutions=1, rollout_divisor=8)


class FileWorld(LineWorld):
    """A world of as many problems as are asked for, of which the first is long."""

    rejected = ()
    kind = "lines"
    identity = {"kind": "lines"}

    @property
    def world(self):
        return self

    def problems(self, split, n, seed):
        texts = ("x" * 200 + "\n" if i == 0 else f"problem {i}\n" for i in range(n))
        return [Problem(f"p{i}", text, "g") for i, text in enumerate(texts)]


@dataclasses.dataclass(frozen=True, eq=False)
class Model(Task):
    """A model that is there."""

    kind = "pretended"
    tokenizer = Letters()

    def inputs(self):
        return {}

    def compute(self, stage, context):
        return {}


class Policy:
    """Hands out one sampler."""

    model, prompt = Model(), BARE

    def __init__(self, sampler):
        self.samples = sampler

    def inputs(self):
        return {}

    def sampler(self, stages):
        return self.samples

    def flops(self, tokens):
        return 0.0


class SlowSampler(ChainSampler):
    """Takes its time, so that it can be killed while it draws."""

    def poll(self):
        time.sleep(0.03)
        return super().poll()


def labels(sampler, settings=SETTINGS, seed=0, chunk_problems=0) -> Labels:
    return Labels(FileWorld(), settings, Policy(sampler), seed, chunk_problems)


def compute(directory: Path, task: Task) -> Path:
    """Computes the labels as far as they are missing; returns the folder of the stage."""
    with open_run(directory, [task], None, speed=Speed()) as runner:
        return runner.ensure(task).path


if __name__ == "__main__":
    import sys

    rollout_store.FLUSH_S = 0.05
    compute(Path(sys.argv[1]), labels(SlowSampler()))
