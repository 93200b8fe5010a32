"""Monte-Carlo values of solution states, by rollouts of the policy.

For each problem: a few samples from its bare text estimate pass@1, which sets K; these samples are
extended to K and are MC(s_1); a few of them, and solutions with planted errors, are chosen; then
K rollouts from the state after every step estimate its value, until a value is zero. The value
after the last step is exact, since nothing is left to sample.

Invariant: a rollout is named by its state and its index, and draws on that name alone. So a state
is sampled once however many solutions pass through it, and adding problems or interrupting the
work changes no number. The work is cut into chunks of problems that are always the same: what a
killed run did not store of a chunk is done again with the same companions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.label.progress import rollouts_needed
from jprm.records import Problem, Solution, stable_id
from jprm.seeds import rng_of, seed_of
from jprm.verify.ports import Sampler, TextCodec
from jprm.worlds.base import World, make_solution


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How much is sampled, and which solutions are valued.

    `first` samples per problem estimate pass@1; K is `rollouts_needed(pass@1) // divisor`, at
    least 1 (divisor 1 is the paper's schedule, more is for small machines and costs label noise);
    `max_tokens` bounds a solution, its given and its sampled steps together, so that every state
    fits a context of problem + max_tokens. Solutions have `min_steps` to `max_steps` steps.
    """

    first: int = 16
    divisor: int = 1
    max_tokens: int = 256
    correct_per_problem: int = 1
    wrong_per_problem: int = 1
    planted_per_problem: int = 1
    min_steps: int = 2
    max_steps: int = 12
    chunk_problems: int = 64

    def rollouts(self, pass_at_1: float) -> int:
        """Rollouts K per state of a problem with this success rate."""
        return max(1, rollouts_needed(pass_at_1) // self.divisor)


@dataclass(frozen=True, slots=True)
class Sample:
    """One solution as the policy wrote it; `finished` is False where it ran out of tokens."""

    steps: tuple[str, ...]
    correct: bool
    finished: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """All samples of one problem, in the order of their indices."""

    problem_id: str
    samples: tuple[Sample, ...]
    prompt_tokens: int

    @property
    def pass_at_1(self) -> float:
        """Share of correct samples."""
        return sum(s.correct for s in self.samples) / len(self.samples)


@dataclass(frozen=True, slots=True)
class ValuedSolution:
    """A solution of T steps with its values `mc` [T + 1]; zero after the first zero."""

    solution: Solution
    mc: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProblemValues:
    """What was measured on one problem.

    `n` samples from the bare problem, `correct` of them right; K `rollouts` per later state;
    `reason` says why there are no solutions: "unsolvable problem" (no sample was right) or
    "no usable solution". Tokens count what was sampled and what was read, over all its states.
    """

    problem_id: str
    n: int
    correct: int
    rollouts: int
    solutions: tuple[ValuedSolution, ...]
    generated_tokens: int
    prompt_tokens: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Request:
    """Rollouts number `first` to `last` - 1 from the state after `steps`."""

    problem: Problem
    steps: tuple[str, ...]
    first: int
    last: int


# A task asks for rollouts, is sent them in the order of its requests, and returns its record.
_Task = Generator[list[_Request], list[list[Sample]], "ProblemSamples | ProblemValues"]


def sample_solutions(
    problems: Sequence[Problem],
    n: int,
    world: World,
    sampler: Sampler,
    tokenizer: TextCodec,
    *,
    seed: int,
    max_tokens: int,
    chunk_problems: int = 64,
    done: Container[str] = (),
) -> Iterator[list[ProblemSamples]]:
    """`n` solutions of every problem, a chunk of problems at a time.

    For test items, best-of-N and pass@1. Yields the records whose problem id is not in `done`.
    The first samples of a larger `n` are the same.
    """

    def task(problem: Problem) -> _Task:
        [samples] = yield [_Request(problem, (), 0, n)]
        return ProblemSamples(problem.id, tuple(samples), len(tokenizer.encode(problem.text)))

    runner = _Runner(world, sampler, tokenizer, max_tokens, seed)
    return _chunks(problems, task, runner, chunk_problems, done)


def value_problems(
    problems: Sequence[Problem],
    world: World,
    sampler: Sampler,
    tokenizer: TextCodec,
    settings: RolloutSettings,
    *,
    seed: int,
    done: Container[str] = (),
) -> Iterator[list[ProblemValues]]:
    """Values of chosen solutions of every problem, a chunk of problems at a time.

    Append the records that a chunk yields to a file, and give the problem ids of that file as
    `done` when the work is taken up again: finished chunks are skipped, an unfinished one is
    repeated and yields what is missing.
    """

    def task(problem: Problem) -> _Task:
        return _value(problem, world, tokenizer, settings, seed)

    runner = _Runner(world, sampler, tokenizer, settings.max_tokens, seed)
    return _chunks(problems, task, runner, settings.chunk_problems, done)


def choose_solutions(
    problem: Problem,
    samples: Sequence[Sample],
    world: World,
    settings: RolloutSettings,
    rng: np.random.Generator,
) -> list[Solution]:
    """Different solutions to value: some right ones, some wrong ones, some with a planted error.

    A sample is usable when it ended by itself with an answer and has an admissible number of steps.
    """
    usable = {
        s.steps: s.correct
        for s in samples
        if s.finished
        and settings.min_steps <= len(s.steps) <= settings.max_steps
        and world.answer(s.steps) is not None
    }
    shuffled = [list(usable)[i] for i in rng.permutation(len(usable))]
    chosen: list[Solution] = []
    for correct, wanted in (
        (True, settings.correct_per_problem),
        (False, settings.wrong_per_problem),
    ):
        for steps in [s for s in shuffled if usable[s] == correct][:wanted]:
            first_error, kind = world.truth(problem, steps)
            chosen.append(make_solution(problem, steps, "policy", first_error, kind))
    for _ in range(settings.planted_per_problem):
        planted = world.planted(problem, rng)
        if planted is not None and all(planted.steps != other.steps for other in chosen):
            chosen.append(planted)
    return chosen


def state_id(problem: Problem, steps: Sequence[str]) -> str:
    """Name of a state: the problem's text and the steps so far."""
    return stable_id("state", problem.text, *steps)


def _value(
    problem: Problem, world: World, tokenizer: TextCodec, settings: RolloutSettings, seed: int
) -> _Task:
    generated = read = 0

    def ask(
        requests: list[_Request],
    ) -> Generator[list[_Request], list[list[Sample]], list[list[Sample]]]:
        nonlocal generated, read
        results = yield requests
        generated += sum(s.tokens for samples in results for s in samples)
        read += sum(len(tokenizer.encode(problem.text + "".join(r.steps))) for r in requests)
        return results

    [samples] = yield from ask([_Request(problem, (), 0, settings.first)])
    k = settings.rollouts(_share(samples))
    if k > settings.first:
        [more] = yield from ask([_Request(problem, (), settings.first, k)])
        samples = samples + more
    correct = sum(s.correct for s in samples)
    solutions, reason = [], "unsolvable problem"
    if correct:
        rng = rng_of(seed, "choose", problem.id)
        solutions = [
            s
            for s in choose_solutions(problem, samples, world, settings, rng)
            if len(tokenizer.encode("".join(s.steps))) < settings.max_tokens
        ]
        reason = "" if solutions else "no usable solution"
    value: dict[tuple[str, ...], float] = {
        (): correct / len(samples)
    }  # by the steps so far; each state is measured once
    for t in range(1, max((len(s.steps) for s in solutions), default=0)):
        alive = (
            s.steps for s in solutions if len(s.steps) > t and value.get(s.steps[: t - 1], 0.0)
        )
        states = sorted({steps[:t] for steps in alive})
        results = yield from ask([_Request(problem, state, 0, k) for state in states])
        value |= {state: _share(r) for state, r in zip(states, results, strict=True)}
    valued = tuple(
        ValuedSolution(s, _values(s.steps, value, world.is_correct(problem, s.steps)))
        for s in solutions
    )
    return ProblemValues(
        problem.id, len(samples), correct, k, valued, generated, read, reason=reason
    )


def _values(
    steps: tuple[str, ...], value: dict[tuple[str, ...], float], is_correct: bool
) -> tuple[float, ...]:
    """Values [T + 1] along a solution; states that were not reached alive are zero."""
    mc = [value.get(steps[:t], 0.0) for t in range(len(steps))] + [float(is_correct)]
    first_zero = mc.index(0.0) if 0.0 in mc else len(mc)
    return tuple(mc[:first_zero]) + (0.0,) * (len(mc) - first_zero)


def _share(samples: Sequence[Sample]) -> float:
    return sum(s.correct for s in samples) / len(samples)


def _chunks(
    problems: Sequence[Problem],
    task: Callable[[Problem], _Task],
    runner: _Runner,
    size: int,
    done: Container[str],
) -> Iterator[list]:
    for start in range(0, len(problems), size):
        chunk = problems[start : start + size]
        if all(p.id in done for p in chunk):
            continue
        records = runner.run([task(p) for p in chunk])
        yield [r for r in records if r.problem_id not in done]


class _Runner:
    """Runs tasks side by side over one sampler: whoever has its rollouts goes on at once."""

    def __init__(
        self, world: World, sampler: Sampler, tokenizer: TextCodec, max_tokens: int, seed: int
    ):
        self.world, self.sampler, self.tokenizer = world, sampler, tokenizer
        self.max_tokens, self.seed = max_tokens, seed
        self.owner: dict[int, tuple[int, int, int]] = {}  # handle -> task, request, index in it
        self.tokens: dict[int, list[int]] = {}
        self.asked: dict[int, list[_Request]] = {}
        self.rollouts: dict[int, list[list[Sample | None]]] = {}
        self.missing: dict[int, int] = {}

    def run(self, tasks: list[_Task]) -> list:
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

    def _advance(self, number: int, task: _Task, results: list | None, records: list) -> None:
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
            steps = self.tokenizer.encode("".join(request.steps))
            handles = self.sampler.submit(
                [*self.tokenizer.encode(request.problem.text), *steps],
                [
                    seed_of(self.seed, "rollout", name, i)
                    for i in range(request.first, request.last)
                ],
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
