"""Runs many rollout tasks side by side over one sampler.

A task is a generator: it yields requests for rollouts from some states, is sent the finished
rollouts, and goes on as soon as it has them all, whatever the others wait for. So the measuring of
one problem reads from top to bottom, and the sampler's lanes stay full.

Invariant: a rollout is named by its state and its index and draws on that name alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from jprm.records import Problem, stable_id
from jprm.seeds import seed_of
from jprm.verify.ports import Sampler, TextCodec
from jprm.verify.texts import texts_of
from jprm.worlds.base import World


@dataclass(frozen=True, slots=True)
class Sample:
    """One solution as the policy wrote it; `finished` is False where it ran out of tokens."""

    steps: tuple[str, ...]
    correct: bool
    finished: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Request:
    """Rollouts number `first` to `last` - 1 from the state after `steps`."""

    problem: Problem
    steps: tuple[str, ...]
    first: int
    last: int


# Yields requests, is sent the rollouts in the order of the requests, returns its record.
Task = Generator[list[Request], list[list[Sample]], Any]


def state_id(problem: Problem, steps: Sequence[str]) -> str:
    """Name of a state: the problem's text and the steps so far."""
    return stable_id("state", problem.text, *steps)


class Runner:
    """Runs tasks side by side over one sampler: whoever has its rollouts goes on at once."""

    def __init__(self, world: World, sampler: Sampler, tokenizer: TextCodec, max_tokens: int, seed: int):
        self.world, self.sampler, self.tokenizer = world, sampler, tokenizer
        self.texts = texts_of(tokenizer)
        self.max_tokens, self.seed = max_tokens, seed
        self.owner: dict[int, tuple[int, int, int]] = {}  # handle -> task, request, index in it
        self.tokens: dict[int, list[int]] = {}
        self.asked: dict[int, list[Request]] = {}
        self.rollouts: dict[int, list[list[Sample | None]]] = {}
        self.missing: dict[int, int] = {}

    def run(self, tasks: list[Task]) -> list:
        """The tasks' records, in their order."""
        records: list = [None] * len(tasks)
        for number, task in enumerate(tasks):
            self._advance(number, task, None, records)
        try:
            while self.owner:
                events = self.sampler.poll()
                if not events and not self.sampler.busy:
                    raise RuntimeError(f"the sampler is idle, but {len(self.owner)} rollouts wait")
                for event in events:
                    self.tokens[event.handle] += event.tokens
                    if event.finish is not None:
                        number = self._finish(event.handle, event.finish)
                        if self.missing[number] == 0:
                            self._advance(number, tasks[number], self.rollouts[number], records)
        finally:
            for handle in list(self.owner):  # interrupted: leave no lane behind
                self.sampler.release(handle)
            self.owner.clear()
        return records

    def _advance(self, number: int, task: Task, results: list | None, records: list) -> None:
        try:
            requests = next(task) if results is None else task.send(results)
            while not requests:
                requests = task.send([])
        except StopIteration as end:
            records[number] = end.value
            return
        self.asked[number] = requests
        self.rollouts[number] = [[None] * (r.last - r.first) for r in requests]
        self.missing[number] = sum(r.last - r.first for r in requests)
        for at, request in enumerate(requests):
            name = state_id(request.problem, request.steps)
            steps = self.texts.encode(self.texts.quote("".join(request.steps)))
            handles = self.sampler.submit(
                [*self.texts.encode(self.texts.quote(request.problem.text)), *steps],
                [seed_of(self.seed, "rollout", name, i) for i in range(request.first, request.last)],
                max_tokens=max(1, self.max_tokens - len(steps)),
                stops=(self.tokenizer.eos_id,),
            )
            for i, handle in enumerate(handles):
                self.owner[handle] = (number, at, i)
                self.tokens[handle] = []

    def _finish(self, handle: int, finish: str) -> int:
        number, at, i = self.owner.pop(handle)
        tokens = self.tokens.pop(handle)
        self.sampler.release(handle)
        request = self.asked[number][at]
        steps = request.steps + tuple(self.world.split_steps(self.tokenizer.decode(tokens)))
        self.rollouts[number][at][i] = Sample(
            steps=steps,
            correct=self.world.is_correct(request.problem, steps),
            finished=finish == "stop",
            tokens=len(tokens),
        )
        self.missing[number] -= 1
        return number
