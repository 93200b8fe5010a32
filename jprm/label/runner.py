"""Runs many rollout tasks side by side over one sampler.

A task is a generator: it yields requests for rollouts from some states, is sent the finished
rollouts, and goes on as soon as it has them all, whatever the others wait for. So the measuring of
one problem reads from top to bottom, and the sampler's slots stay full.

Invariant: a rollout is named by its state and its index and draws on that name alone.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from jprm.prompt import BARE, PolicyPrompt
from jprm.quoting import TextCodec
from jprm.records import Problem, stable_id
from jprm.sampling import SampleEvent, Sampler
from jprm.seeds import seed_of
from jprm.verify.texts import ends_of_text, texts_of
from jprm.worlds.base import World


@dataclass(frozen=True, slots=True)
class Rollout:
    """One solution as the policy wrote it; `finished` is False where it ran out of tokens."""

    steps: tuple[str, ...]
    correct: bool
    finished: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """Asks for the rollouts number `first` to `last` - 1 from the state after `steps`."""

    problem: Problem
    steps: tuple[str, ...]
    first: int
    last: int


# Yields requests, is sent the rollouts in the order of the requests, returns its record.
RolloutTask = Generator[list[RolloutRequest], list[list[Rollout]], Any]


@dataclass(eq=False)
class _Running:
    """A task, what it has asked for last, and its record in the end."""

    task: RolloutTask
    requests: Sequence[RolloutRequest] = ()
    rollouts: Any = None  # lists of `Rollout` in the order of the requests, None where one is missing
    missing: int = 0
    record: Any = None


class RolloutRunner:
    """Runs tasks side by side over one sampler: whoever has its rollouts goes on at once."""

    def __init__(
        self,
        world: World,
        sampler: Sampler,
        tokenizer: TextCodec,
        max_tokens: int,
        seed: int,
        prompt: PolicyPrompt = BARE,
    ):
        self.world, self.sampler, self.tokenizer, self.prompt = world, sampler, tokenizer, prompt
        self.texts = texts_of(tokenizer)
        self.max_tokens, self.seed = max_tokens, seed
        self._asked: dict[int, tuple[_Running, int, int]] = {}  # by handle: task, request, index in it

    def run(self, tasks: Sequence[RolloutTask]) -> list:
        """Returns the tasks' records, in their order."""
        running = [_Running(task) for task in tasks]
        for one in running:
            self._advance(one)
        try:
            while self._asked:
                events = self.sampler.poll()
                if not events and not self.sampler.busy:
                    raise RuntimeError(f"the sampler is idle, but {len(self._asked)} rollouts wait")
                for event in events:
                    one = self._finish(event)
                    if one.missing == 0:
                        self._advance(one)
        finally:
            for handle in self._asked:  # the run was interrupted: leave no slot behind
                self.sampler.release(handle)
            self._asked.clear()
        return [one.record for one in running]

    def _advance(self, one: _Running) -> None:
        """Sends a task its rollouts, and submits what it asks for next."""
        try:
            requests = one.task.send(one.rollouts)
            while not requests:
                requests = one.task.send([])
        except StopIteration as end:
            one.record = end.value
            return
        one.requests = requests
        one.rollouts = [[None] * (r.last - r.first) for r in requests]
        one.missing = sum(map(len, one.rollouts))
        for at, request in enumerate(requests):
            state = stable_id("state", request.problem.text, *request.steps)
            asked = self.texts.encode(self.prompt.text(request.problem, self.texts.quote))
            steps = self.texts.encode(self.texts.quote("".join(request.steps) or self.prompt.begin))
            handles = self.sampler.submit(
                [*asked, *steps],
                [seed_of(self.seed, "rollout", state, i) for i in range(request.first, request.last)],
                max_tokens=max(1, self.max_tokens - len(steps)),
                stops=ends_of_text(self.tokenizer),
            )
            self._asked |= {handle: (one, at, i) for i, handle in enumerate(handles)}

    def _finish(self, event: SampleEvent) -> _Running:
        """Gives a finished rollout to its task, which is returned."""
        one, at, i = self._asked.pop(event.handle)
        self.sampler.release(event.handle)
        request = one.requests[at]
        begun = "" if request.steps else self.prompt.begin
        steps = request.steps + tuple(self.world.split_steps(begun + self.tokenizer.decode(event.tokens)))
        correct = self.world.is_correct(request.problem, steps)
        one.rollouts[at][i] = Rollout(steps, correct, event.finish == "stop", len(event.tokens))
        one.missing -= 1
        return one
