"""Who judges for a `Verifier`: a checkpoint as `evaluate` asks it, or the main verifier of a sweep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jprm.chat import ChatCodec
from jprm.compile_cache import use_compile_cache
from jprm.config import checked
from jprm.errors import UserError
from jprm.experiments.benchmark.config import JudgeConfig
from jprm.experiments.benchmark.remembered import as_trained
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.finished import read_sweep_config, trained_verifier
from jprm.jobs import Context, Progress, Stages
from jprm.records import Problem, Rationale, ReadOut, Solution, stable_id
from jprm.score import Generator, Setup, find_scorer
from jprm.seeds import seed_of
from jprm.tasks.benchmark import Item
from jprm.tasks.checkpoint import CheckpointSampling
from jprm.tasks.resources import Resources, TaskContext
from jprm.verify import Execution, verify
from jprm.worlds.base import make_problem

GIVEN = "given"  # where the solutions come from


class Judge(ABC):
    """An open model with what it needs; it judges one solution at a time."""

    readout: ReadOut

    def __init__(self) -> None:
        use_compile_cache()
        self._open = ExitStack()
        self._resources = self._open.enter_context(Resources())

    @abstractmethod
    def draws(self, votes: int) -> int:
        """The votes that are drawn where `votes` are asked for."""

    @abstractmethod
    def judge(self, problem: str, steps: tuple[str, ...], votes: int) -> list[Rationale]:
        """The rationales of every step and vote. Raises UserError where the solution has no judgement."""

    def close(self) -> None:
        """Closes whatever was opened."""
        self._open.close()


class CheckpointJudge(Judge):
    """A scorer on a checkpoint; the model is loaded when the scorer asks for it."""

    def __init__(self, options: dict[str, Any]):
        """options: of `JudgeConfig`. Raises UserError for those that are wrong, and where there is no checkpoint."""
        config = as_trained(checked(JudgeConfig, options, "the arguments of Verifier"))
        scorer = find_scorer(config.scorer)
        self._sampling = CheckpointSampling.of(config.model, config, scorer, config.read_protocol(scorer.protocol))
        self.readout = self._sampling.readout
        self._models = ExitStack()
        self._loaded: dict[tuple[str, Execution], tuple[Generator, int]] = {}  # with the tokens that were asked for
        super().__init__()
        self._open.push(self._models)

    def draws(self, votes: int) -> int:  # noqa: D102 - the base class says it
        return self._sampling.draws(votes)

    def judge(self, problem: str, steps: tuple[str, ...], votes: int) -> list[Rationale]:  # noqa: D102
        # As in a benchmark's file: the newlines that records end with are taken off where a protocol joins its texts.
        text = problem + "\n"
        asked = Problem(stable_id(GIVEN, text), text, answer="")
        lines = tuple(step + "\n" for step in steps)
        solution = Solution(stable_id(asked.id, *lines), asked.id, lines, GIVEN)
        sampling, found = self._sampling, list[Rationale]()
        setup = Setup(
            model=sampling.checkpoint.directory if sampling.checkpoint else None,
            mode=sampling.settings.mode,
            readout=self.readout,
            seed=sampling.settings.seed,
            stop_early=False,
            generator=lambda style, execute: self._generator(style, execute, Item(asked, solution)),
        )
        for ended in sampling.scorer(setup).judge([(asked, solution)], range(votes), {}, found.append):
            if ended.lost:
                raise UserError(f"the solution has no judgement: {ended.lost}")
        return sorted(found, key=lambda rationale: (rationale.step, rationale.vote))

    def _generator(self, style: str, execute: Execution, item: Item) -> Generator:
        """The loaded model; it is loaded again for a solution that is longer than all that came before."""
        key = style, execute
        if key in self._loaded:
            generator, asked = self._loaded[key]
            if self._tokens(generator, style, item) <= max(asked, generator.settings.context_tokens):
                return generator
            self._models.close()
            self._loaded.clear()
        context: TaskContext = Context(Stages(Path()), Progress(1.0), self._resources)  # no stage is read
        generator, _ = self._sampling.open(style, execute, [item], context, self._models)
        self._loaded[key] = generator, self._tokens(generator, style, item)
        return generator

    def _tokens(self, generator: Generator, style: str, item: Item) -> int:
        assert self._sampling.protocol is not None, "a scorer that samples has a protocol"
        assert isinstance(generator.codec, ChatCodec), "a checkpoint brings its tokenizer"
        protocol = self._sampling.protocol.for_codec(generator.codec)  # with the turns of the checkpoint's own template
        texts = item.problem.text, item.solution.steps
        return protocol.expected_tokens(*texts, style, lambda text: len(generator.codec.encode(text)))


class RunJudge(Judge):
    """The main verifier of a sweep, asked as the sweep asks it."""

    def __init__(self, run: Path):
        """Raises UserError where there is no trained verifier."""
        config = read_sweep_config(run)
        sweep, self._stages = Sweep(config), Stages(run)
        self._verifier = trained_verifier(run, sweep, self._stages)
        self._sampling, self._engine = sweep.main.sampling, None
        self.readout = self._sampling.readout
        super().__init__()

    def draws(self, votes: int) -> int:  # noqa: D102 - the base class says it
        return self._sampling.verify.draws(votes)

    def judge(self, problem: str, steps: tuple[str, ...], votes: int) -> list[Rationale]:  # noqa: D102
        verifier, tokenizer = self._verifier, self._verifier.base.tokenizer
        kind = verifier.world.kind
        asked = make_problem(kind, problem.strip() + "\n", "", "", "")
        lines = tuple(step.strip("\n") + "\n" for step in steps)
        named = ((f"step {number}", line) for number, line in enumerate(lines, 1))
        for name, text in (("the problem", asked.text), *named):
            if not tokenizer.accepts(text):
                raise UserError(f"{name}: the {kind} world has no words for {text.strip()!r}")
        solution = Solution(f"{seed_of(0, GIVEN, problem, *lines):016x}", asked.id, lines, GIVEN)
        if self._engine is None:
            self._engine = self._sampling.engine(self._stages)
        pool = self._resources.pool(verifier.verify, Progress(1.0))
        model = self._engine, pool, tokenizer, self._sampling.settings
        [rationales] = verify([(asked, solution)], range(votes), *model, seed_of(verifier.seed, "score"))
        return rationales
