"""Runs many rollout tasks side by side over one sampler.

A task is a generator: it yields requests for rollouts from some states, is sent the finished
rollouts, and goes on as soon as it has them all, whatever the others wait for. So the measuring of
one problem reads from top to bottom, and the sampler's slots stay full.

Invariant: a rollout is named by its state and its index and draws on that name alone. So one that a
log knows stands for the one that would be drawn.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jprm.prompt import BARE, PolicyPrompt
from jprm.quoting import TextCodec
from jprm.records import Problem, stable_id
from jprm.sampling import SampleEvent, Sampler
from jprm.seeds import seed_of
from jprm.verify.texts import ends_of_text, texts_of
from jprm.worlds.base import World


@dataclass(frozen=True, slots=True)
class WrittenSolution:
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

    @property
    def state(self) -> str:
        """What names the state: hex digits over the problem's text and the steps."""
        return stable_id("state", self.problem.text, *self.steps)


class RolloutLog(Protocol):
    """What remembers rollouts, so that none is drawn twice."""

    def known(self, request: RolloutRequest) -> Mapping[int, WrittenSolution]:
        """Returns the rollouts of a state that are known already, by their index."""
        ...

    def add(self, request: RolloutRequest, index: int, rollout: WrittenSolution) -> None:
        """Is told of every rollout that was drawn."""
        ...


@dataclass(frozen=True, slots=True)
class LostProblem:
    """The record of a task that was not sent all of its rollouts, because the sampler lost some; `reason` says why."""

    problem_id: str
    reason: str


# Yields requests, is sent the rollouts in the order of the requests, returns its record.
RolloutTask = Generator[list[RolloutRequest], list[list[WrittenSolution]], Any]


@dataclass(eq=False)
class _Running:
    """A task, what it has asked for last, and its record in the end."""

    task: RolloutTask
    requests: Sequence[RolloutRequest] = ()
    rollouts: Any = None  # lists of `WrittenSolution` in the order of the requests, None where one is missing
    missing: int = 0
    faults: list[str] = field(default_factory=list)  # of rollouts that are lost
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
        log: RolloutLog | None = None,
        on_poll: Callable[[], None] = lambda: None,
        draw: int = 0,
    ):
        """log: knows rollouts, and is told of those that are drawn. on_poll: is called whenever the sampler was.

        draw: names the rollouts behind steps anew, so that those of two draws are independent of one another.
        """
        self.world, self.sampler, self.tokenizer, self.prompt = world, sampler, tokenizer, prompt
        self.texts = texts_of(tokenizer)
        self.max_tokens, self.seed = max_tokens, seed
        self.log, self.on_poll, self.draw = log, on_poll, draw
        self._asked: dict[int, tuple[_Running, int, int]] = {}  # by handle: task, request, place in its rollouts

    def run(self, tasks: Sequence[RolloutTask]) -> list:
        """Returns the tasks' records, in their order; a `LostProblem` for each that lost a rollout."""
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
                self.on_poll()
        finally:
            for handle in self._asked:  # the run was interrupted: leave no slot behind
                self.sampler.release(handle)
            self._asked.clear()
        return [one.record for one in running]

    def _advance(self, one: _Running) -> None:
        """Sends a task its rollouts, and submits what it asks for next, until it waits for the sampler or has ended."""
        while one.missing == 0:
            # 1. A task without all of its rollouts cannot go on.
            if one.faults:
                one.task.close()
                lost, asked = len(one.faults), sum(r.last - r.first for r in one.requests)
                reason = f"{lost} of {asked} rollouts lost: {one.faults[0]}"
                one.record = LostProblem(one.requests[0].problem.id, reason)
                return
            # 2. It takes them, and either ends or asks for others.
            try:
                one.requests = one.task.send(one.rollouts)
            except StopIteration as end:
                one.record = end.value
                return
            # 3. What is not known of these is drawn.
            one.rollouts = [self._known(request) for request in one.requests]
            for at, request in enumerate(one.requests):
                unknown = [place for place, rollout in enumerate(one.rollouts[at]) if rollout is None]
                one.missing += len(unknown)
                if unknown:
                    self._submit(one, at, request, unknown)

    def _known(self, request: RolloutRequest) -> list[WrittenSolution | None]:
        known = self.log.known(request) if self.log else {}
        return [known.get(i) for i in range(request.first, request.last)]

    def _submit(self, one: _Running, at: int, request: RolloutRequest, places: Sequence[int]) -> None:
        """Has the sampler draw the rollouts at some places of a request."""
        asked = self.texts.encode(self.prompt.text(request.problem, self.texts.quote))
        steps = self.texts.encode(self.texts.quote("".join(request.steps) or self.prompt.begin))
        state = request.state
        names = (state, self.draw) if self.draw and request.steps else (state,)
        handles = self.sampler.submit(
            [*asked, *steps],
            [seed_of(self.seed, "rollout", *names, request.first + place) for place in places],
            max_tokens=max(1, self.max_tokens - len(steps)),
            stops=ends_of_text(self.tokenizer),
        )
        self._asked |= {handle: (one, at, place) for handle, place in zip(handles, places, strict=True)}

    def _finish(self, event: SampleEvent) -> _Running:
        """Gives a finished rollout to its task, which is returned."""
        one, at, place = self._asked.pop(event.handle)
        self.sampler.release(event.handle)
        one.missing -= 1
        if event.finish == "lost":
            one.faults.append(event.fault)
            return one
        request = one.requests[at]
        begun = "" if request.steps else self.prompt.begin
        steps = request.steps + tuple(self.world.split_steps(begun + self.tokenizer.decode(event.tokens)))
        correct = self.world.is_correct(request.problem, steps)
        rollout = WrittenSolution(steps, correct, event.finish == "stop", len(event.tokens))
        one.rollouts[at][place] = rollout
        if self.log:
            self.log.add(request, request.first + place, rollout)
        return one
