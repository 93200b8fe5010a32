"""Branches grown by a sampling engine.

The draws of a branch share one prompt, which the engine reads once. With `share`, what was drawn stays in the engine
until its problem asks again, and a branch goes on from there (`parent`), so that its prefix is not read again at all.

Invariant: a draw's sample id is `seed_of(seed, problem.id, *path)`, whoever else is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jprm.errors import UserError
from jprm.prompt import BARE, PolicyPrompt
from jprm.quoting import TextCodec
from jprm.records import Problem
from jprm.sampling import SampleEvent, Sampler, StopWhen
from jprm.search.budget import Cost, ModelCost
from jprm.search.ports import ROOT, Branch, Grow, Grown, Path, Steps
from jprm.seeds import seed_of
from jprm.verify.texts import ends_of_text, texts_of


@dataclass(frozen=True)
class Layout:
    """How solutions are written.

    boundary_ids: the tokens that end a step. stop_when: for boundaries of several tokens, as in
        `Sampler.submit`. split: a text's steps. max_tokens: of a whole solution. is_final: whether
        nothing can follow these steps; None waits for the end mark.
    """

    boundary_ids: tuple[int, ...]
    split: Callable[[str], Sequence[str]]
    max_tokens: int
    is_final: Callable[[Sequence[str]], bool] | None = None
    stop_when: StopWhen | None = None


def boundary_ids(codec: TextCodec, vocab_size: int, boundary: str = "\n") -> tuple[int, ...]:
    """Finds the tokens whose text ends with `boundary`. Raises UserError where there are none."""
    ids = tuple(i for i in range(vocab_size) if codec.decode([i]).endswith(boundary))
    if not ids:
        raise UserError(f"search: no token ends with {boundary!r}; steps could not be told apart")
    return ids


@dataclass(eq=False)
class _Draw:
    """One sample under way, behind the `given` tokens of the steps that it continues."""

    sampler: Sampler
    problem: Problem
    branch: Branch
    path: Path
    given: list[int]
    prompt_tokens: int
    steps_left: int | None  # None: to the end
    ended: bool  # before anything is drawn, where there is nothing to draw
    ids: list[int] = field(default_factory=list)


@dataclass(eq=False)
class _Job:
    """One request: the draws of each of its branches, what was read for them, or what failed."""

    groups: list[list[_Draw]] = field(default_factory=list)
    read: Cost = field(default_factory=Cost)
    error: UserError | None = None


@dataclass(eq=False)
class _Memory:
    """What is known of one problem: token ids by path, and the engine's handles by path."""

    ids: dict[Path, list[int]] = field(default_factory=dict)
    handles: dict[Path, int] = field(default_factory=dict)


Running = dict[tuple[int, int], _Draw]  # draws under way by sampler (its id) and handle


class SampledSteps:
    """A `StepGenerator` over a `jprm.sampling.Sampler`.

    prompt: how the model is asked. greedy: a sampler of temperature 0, for requests without randomness. cost: the
        model's FLOPs.
    share: keep drawn branches in the engine. Useful where it has prefix rows; each problem in
        flight then holds up to width x expand slots, also while it is judged. Of the draws from one
        branch the first that is continued goes on in place, others are read again.
    """

    def __init__(
        self,
        sampler: Sampler,
        codec: TextCodec,
        layout: Layout,
        seed: int,
        *,
        prompt: PolicyPrompt = BARE,
        greedy: Sampler | None = None,
        cost: ModelCost | None = None,
        share: bool = False,
    ):
        self.sampler, self.greedy, self.codec, self.layout = sampler, greedy, codec, layout
        self.texts, self.prompt, self.ends = texts_of(codec), prompt, ends_of_text(codec)
        self.seed, self.cost, self.share = seed, cost or ModelCost(), share
        self._known: dict[str, _Memory] = {}

    def grow(self, requests: Sequence[tuple[Problem, Grow]]) -> list[Grown | Exception]:
        """Draws for all requests together; one that does not fit the sampler is answered by its UserError."""
        running: Running = {}
        try:
            jobs = [self._submit(problem, request, running) for problem, request in requests]
            self._run(running)
        finally:
            for (_, handle), draw in running.items():  # interrupted: leave no slot behind
                draw.sampler.release(handle)
        return [job.error or self._grown(job) for job in jobs]

    def forget(self, problem: Problem) -> None:
        """Gives up the branches of this problem that the engine holds."""
        self._release(self._known.pop(problem.id, _Memory()))

    # One request: submit its draws.

    def _submit(self, problem: Problem, request: Grow, running: Running) -> _Job:
        sampler = self.greedy if request.greedy else self.sampler
        if sampler is None:
            raise UserError("search: greedy continuations need a sampler of temperature 0")
        memory, job = self._known.setdefault(problem.id, _Memory()), _Job()
        mine: Running = {}
        continued: set[Path] = set()  # whose draws go on in place; the first of them only
        try:
            asked = self.texts.encode(self.prompt.text(problem, self.texts.quote))
            for branch in request.branches:
                # 1. The tokens of the branch, as they were drawn here or as its text has them.
                given = memory.ids.get(branch.path)
                if given is None:
                    given = list(self.texts.encode(self.texts.quote("".join(branch.steps))))
                prompt, left = [*asked, *given], self._left(given)
                group = [
                    _Draw(sampler, problem, branch, path, given, len(prompt), request.steps, branch.ended or left < 1)
                    for path in request.paths(branch)
                ]
                job.groups.append(group)
                if group[0].ended:
                    continue
                # 2. Go on from what the engine holds, or read the prompt.
                siblings, parent = branch.path[:-1], memory.handles.get(branch.path)
                if request.greedy or siblings in continued:
                    parent = None
                handles = sampler.submit(
                    prompt,
                    [seed_of(self.seed, problem.id, *draw.path) for draw in group],
                    max_tokens=left,
                    stops=(*self.ends, *(() if request.steps is None else self.layout.boundary_ids)),
                    stop_when=None if request.steps is None else self.layout.stop_when,
                    parent=parent,
                )
                if parent is not None:
                    continued.add(siblings)
                elif branch == ROOT:
                    job.read += self.cost.cost(0, len(prompt))
                else:
                    job.read += self.cost.reread(len(prompt))
                mine |= {(id(sampler), h): d for h, d in zip(handles, group, strict=True)}
        except UserError as error:
            for _, handle in mine:
                sampler.release(handle)
            return _Job(error=error)
        if not request.greedy:
            self._release(memory)
        running |= mine
        return job

    def _left(self, ids: Sequence[int]) -> int:
        """Counts the tokens that may follow these of a solution."""
        return self.layout.max_tokens - len(ids)

    def _release(self, memory: _Memory) -> None:
        for handle in memory.handles.values():
            self.sampler.release(handle)
        memory.handles.clear()

    # All requests together: draw.

    def _run(self, running: Running) -> None:
        while running:
            samplers = {id(draw.sampler): draw.sampler for draw in running.values()}
            news = [(key, sampler.poll()) for key, sampler in samplers.items()]
            if not any(events for _, events in news) and not any(sampler.busy for sampler in samplers.values()):
                raise UserError(
                    f"search: {len(running)} draws wait and branches hold all slots; give "
                    "the engine more slots, lower in_flight, or turn share off"
                )
            for key, events in news:
                for event in events:
                    if (key, event.handle) in running:
                        self._hear(event, (key, event.handle), running)

    def _hear(self, event: SampleEvent, key: tuple[int, int], running: Running) -> None:
        draw = running[key]
        draw.ids += event.tokens
        # 1. What the draw says now, and whether anything can follow.
        text_ids = [*draw.given, *self._text_ids(draw)]
        left, steps = self._left(text_ids), self._steps(draw)
        final = self.layout.is_final is not None and self.layout.is_final(steps)
        draw.ended = event.finish != "stop" or self._at_end(draw) or final or left < 1
        # 2. Go on to the next step, if several were asked for.
        if draw.steps_left is not None:
            draw.steps_left -= 1
        if not draw.ended and draw.steps_left:
            draw.sampler.extend(event.handle, (), max_tokens=left)
            return
        # 3. Keep its tokens, and with `share` its slot.
        del running[key]
        memory = self._known[draw.problem.id]
        memory.ids[draw.path] = text_ids
        if self.share and draw.sampler is self.sampler and not draw.ended:
            memory.handles[draw.path] = event.handle
        else:
            draw.sampler.release(event.handle)

    def _at_end(self, draw: _Draw) -> bool:
        return bool(draw.ids) and draw.ids[-1] in self.ends

    def _text_ids(self, draw: _Draw) -> list[int]:
        return draw.ids[:-1] if self._at_end(draw) else draw.ids

    def _steps(self, draw: _Draw) -> Steps:
        """Returns the steps of the branch and those that were drawn behind them."""
        return (*draw.branch.steps, *self.layout.split(self.codec.decode(self._text_ids(draw))))

    def _grown(self, job: _Job) -> Grown:
        written = (self.cost.cost(d.prompt_tokens, 0, len(d.ids)) for group in job.groups for d in group)
        branches = tuple(tuple(Branch(self._steps(d), d.path, d.ended) for d in group) for group in job.groups)
        return Grown(branches, sum(written, job.read))
