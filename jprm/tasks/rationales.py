"""Rationales as training text: those that a verifier learns from, and a held-out set that measures its loss."""

from collections.abc import Iterator

import numpy as np

from jprm.execute import CodePlace
from jprm.label import Conversation, synthesize
from jprm.quoting import TextCodec
from jprm.records import Problem, Solution
from jprm.seeds import rng_of, seed_of
from jprm.tasks.open_world import OpenWorld
from jprm.verify.protocol import RationaleFormat

HELD_OUT_PROBLEMS = 100
HELD_OUT_SEED = 0  # the same set for all cells of a world


def write_conversation(
    world: OpenWorld,
    tokenizer: TextCodec,
    pool: CodePlace,
    template: RationaleFormat,
    problem: Problem,
    solution: Solution,
    first_error: int,
    style: str,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Conversation:
    """The annotator's rationales of one solution for a given label, with the code really run.

    first_error: the 0-based first step labelled wrong, -1 for none. noise: the probability of a bad rationale, drawn
    from `rng`.
    """
    session = pool.session()

    def run(code: str) -> tuple[str, str]:
        outcome = session.run(code)
        return outcome.kind, outcome.text

    try:
        return synthesize(
            problem,
            solution,
            first_error,
            world.world,
            style,  # type: ignore[arg-type]
            run,
            tokenizer,
            template=template,
            noise=noise,
            rng=rng,
        )
    finally:
        session.close()


def held_out_conversations(
    world: OpenWorld, tokenizer: TextCodec, pool: CodePlace, template: RationaleFormat, style: str
) -> Iterator[Conversation]:
    """Right rationales of development problems: of a reference and of a planted error each, labelled by truth.

    Training loss falls with fewer examples, which are learnt by heart; only the loss on these can be compared.
    """
    rng = rng_of(HELD_OUT_SEED, "held-out")
    problems = world.world.problems("dev", HELD_OUT_PROBLEMS, seed_of(HELD_OUT_SEED, "held-out"))
    for problem in problems:
        for solution in (world.world.reference(problem), world.world.planted(problem, rng)):
            if solution is not None and solution.first_error is not None:
                asked = problem, solution, solution.first_error, style
                yield write_conversation(world, tokenizer, pool, template, *asked)
