"""Monte-Carlo values of solution states, by rollouts of the policy.

For each problem: a few samples from its bare text estimate pass@1, which sets K; these samples are extended to K and
are MC(s_1); a few of them, and solutions with planted errors, are chosen; then K rollouts from the state after every
step estimate its value, until a value is zero. The value after the last step is exact, since nothing is left to sample.

Invariant: a rollout is named by its state and its index, and draws on that name alone. So a state
is sampled once however many solutions pass through it, and adding problems or interrupting the
work changes no number. The work is cut into chunks of problems, so that memory has a bound.
"""

import itertools
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.label.progress import rollouts_needed
from jprm.label.runner import LostProblem, RolloutLog, RolloutRequest, RolloutRunner, RolloutTask, WrittenSolution
from jprm.prompt import BARE, PolicyPrompt
from jprm.quoting import TextCodec
from jprm.records import Problem, Solution
from jprm.sampling import Sampler
from jprm.seeds import rng_of
from jprm.worlds.base import World, make_solution

Asking = Generator[list[RolloutRequest], list[list[WrittenSolution]], list[list[WrittenSolution]]]
TOO_LONG, UNSOLVABLE, UNUSABLE = "problem too long", "unsolvable problem", "no usable solution"
MALFORMED = ("format", "noanswer")  # kinds of `World.truth` for text that is not a solution


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How much is sampled, and which solutions are valued.

    first: samples per problem that estimate pass@1.
    divisor: K is `rollouts_needed(pass@1) // divisor`, at least 1. A divisor of 1 is the paper's
        schedule; a larger one is for small machines and costs label noise.
    max_tokens: bounds a solution, its given and its sampled steps together, so that every state fits
        a context of problem + max_tokens.
    context_tokens: of problem and solution together; longer problems are left. None: there is no bound.
    min_steps, max_steps: solutions with fewer or more steps are not valued.
    draw: another number values the same solutions by rollouts of their own.
    """

    first: int = 16
    divisor: int = 1
    max_tokens: int = 256
    context_tokens: int | None = None
    correct_per_problem: int = 1
    wrong_per_problem: int = 1
    planted_per_problem: int = 1
    min_steps: int = 2
    max_steps: int = 12
    draw: int = 0
    chunk_problems: int = 64

    def rollouts(self, pass_at_1: float) -> int:
        """Returns the rollouts K per state of a problem with this success rate."""
        return max(1, rollouts_needed(pass_at_1) // self.divisor)


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """All samples of one problem, in the order of their indices."""

    problem_id: str
    samples: tuple[WrittenSolution, ...]
    prompt_tokens: int

    @property
    def pass_at_1(self) -> float:
        """The share of correct samples."""
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
    `reason` says why there are no solutions: TOO_LONG (nothing was sampled), UNSOLVABLE (no sample was
    right) or UNUSABLE. Tokens count what was sampled and what was read, over all its states.
    """

    problem_id: str
    n: int
    correct: int
    rollouts: int
    solutions: tuple[ValuedSolution, ...]
    generated_tokens: int
    prompt_tokens: int
    reason: str = ""


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
    prompt: PolicyPrompt = BARE,
) -> Iterator[list[ProblemSamples | LostProblem]]:
    """Samples `n` solutions of every problem, for test items, best-of-N and pass@1.

    Yields the records whose problem id is not in `done`, a chunk of problems at a time. The first
    samples of a larger `n` are the same.
    """

    def task(problem: Problem) -> RolloutTask:
        [samples] = yield [RolloutRequest(problem, (), 0, n)]
        return ProblemSamples(problem.id, tuple(samples), len(tokenizer.encode(prompt.text(problem, str))))

    runner = RolloutRunner(world, sampler, tokenizer, max_tokens, seed, prompt)
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
    prompt: PolicyPrompt = BARE,
    log: RolloutLog | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> Iterator[list[ProblemValues | LostProblem]]:
    """Measures the values of chosen solutions of every problem, a chunk of problems at a time.

    Append the values that a chunk yields to a file, and give the problem ids of that file as
    `done` when the work is taken up again, as well as a `log` that knows the rollouts of the others:
    what is in either is not drawn again. on_poll: is called whenever the sampler was asked for news.
    """

    def task(problem: Problem) -> RolloutTask:
        return _value(problem, world, tokenizer, settings, seed, prompt)

    runner = RolloutRunner(
        world, sampler, tokenizer, settings.max_tokens, seed, prompt, log, on_poll, draw=settings.draw
    )
    return _chunks(problems, task, runner, settings.chunk_problems, done)


def choose_solutions(
    problem: Problem,
    samples: Sequence[WrittenSolution],
    world: World,
    tokenizer: TextCodec,
    settings: RolloutSettings,
    rng: np.random.Generator,
) -> list[Solution]:
    """Returns different solutions to value: some right ones, some wrong ones, some with a planted error.

    A sample is usable when it ended by itself with an answer, has an admissible number of steps,
    and every step has the form of one.
    """
    ended = {s.steps: s.correct for s in samples if s.finished}
    shuffled = [list(ended)[i] for i in rng.permutation(len(ended))]
    chosen: list[Solution] = []
    for correct, wanted in ((True, settings.correct_per_problem), (False, settings.wrong_per_problem)):
        candidates = (_policy_solution(problem, s, world) for s in shuffled if ended[s] == correct)
        usable = (s for s in candidates if s is not None and _fits(s, tokenizer, settings))
        chosen += itertools.islice(usable, wanted)
    for _ in range(settings.planted_per_problem):
        planted = world.planted(problem, rng)
        if planted is not None and _fits(planted, tokenizer, settings):
            chosen += [planted] * all(planted.steps != other.steps for other in chosen)
    return chosen


def _policy_solution(problem: Problem, steps: tuple[str, ...], world: World) -> Solution | None:
    first_error, kind = world.truth(problem, steps)
    if world.answer(steps) is None or kind in MALFORMED:
        return None
    return make_solution(problem, steps, "policy", first_error, kind)


def _fits(solution: Solution, tokenizer: TextCodec, settings: RolloutSettings) -> bool:
    """Says whether the solution can be valued: its states can be written and leave room to go on."""
    text = "".join(solution.steps)
    if not settings.min_steps <= len(solution.steps) <= settings.max_steps:
        return False
    return tokenizer.accepts(text) and len(tokenizer.encode(text)) < settings.max_tokens


def _value(
    problem: Problem, world: World, tokenizer: TextCodec, settings: RolloutSettings, seed: int, prompt: PolicyPrompt
) -> RolloutTask:
    generated = read = 0
    asked = prompt.text(problem, str)
    if settings.context_tokens and len(tokenizer.encode(asked)) + settings.max_tokens > settings.context_tokens:
        return ProblemValues(problem.id, 0, 0, 0, (), 0, 0, reason=TOO_LONG)

    def ask(requests: list[RolloutRequest]) -> Asking:
        nonlocal generated, read
        results = yield requests
        generated += sum(rollout.tokens for rollouts in results for rollout in rollouts)
        read += sum(len(tokenizer.encode(asked + "".join(r.steps))) for r in requests)
        return results

    # 1. A few samples from the bare problem estimate pass@1, which sets K; they are extended to K.
    [samples] = yield from ask([RolloutRequest(problem, (), 0, settings.first)])
    k = settings.rollouts(_share(samples))
    if k > settings.first:
        [more] = yield from ask([RolloutRequest(problem, (), settings.first, k)])
        samples = samples + more
    # 2. Choose solutions to value, where the problem is solvable at all.
    correct = sum(s.correct for s in samples)
    solutions, reason = [], UNSOLVABLE
    if correct:
        rng = rng_of(seed, "choose", problem.id)
        solutions = choose_solutions(problem, samples, world, tokenizer, settings, rng)
        reason = "" if solutions else UNUSABLE
    # 3. Roll out the states after step 1, 2, ... as long as they are alive. Values are kept by the
    #    steps so far, so that a state which several solutions share is measured once.
    value: dict[tuple[str, ...], float] = {(): correct / len(samples)}
    for t in range(1, max((len(s.steps) for s in solutions), default=0)):
        alive = (s.steps for s in solutions if len(s.steps) > t and value.get(s.steps[: t - 1], 0.0))
        states = sorted({steps[:t] for steps in alive})
        results = yield from ask([RolloutRequest(problem, state, 0, k) for state in states])
        value |= {state: _share(r) for state, r in zip(states, results, strict=True)}
    # 4. The value after the last step is exact.
    valued = tuple(ValuedSolution(s, _values(s.steps, value, world.is_correct(problem, s.steps))) for s in solutions)
    return ProblemValues(problem.id, len(samples), correct, k, valued, generated, read, reason=reason)


def _values(steps: tuple[str, ...], value: dict[tuple[str, ...], float], is_correct: bool) -> tuple[float, ...]:
    """Returns the values [T + 1] along a solution; states that were not reached alive are zero."""
    mc = [value.get(steps[:t], 0.0) for t in range(len(steps))] + [float(is_correct)]
    first_zero = mc.index(0.0) if 0.0 in mc else len(mc)
    return tuple(mc[:first_zero]) + (0.0,) * (len(mc) - first_zero)


def _share(samples: Sequence[WrittenSolution]) -> float:
    return sum(s.correct for s in samples) / len(samples)


def _chunks(
    problems: Sequence[Problem],
    task: Callable[[Problem], RolloutTask],
    runner: RolloutRunner,
    size: int,
    done: Container[str],
) -> Iterator[list]:
    for start in range(0, len(problems), size):
        if left := [p for p in problems[start : start + size] if p.id not in done]:
            yield runner.run([task(p) for p in left])
