"""The configuration of `python experiments/uses.py`: that of a sweep, and what is tried with its verifier.

Read before JAX is imported. The world, the policy, the labels and the verifier are a sweep's, with
the same keys, so that stages of a sweep in the same run directory are used where they fit.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jprm.config import Config
from jprm.pipeline.config import EvaluateSection, SweepConfig, VerifySection

StrategyName = Literal["beam", "dvts", "mcts", "lookahead"]


class RefineSection(Config):
    """The critic: solutions of the policy, doubted steps drawn anew."""

    problems: int = Field(default=500, ge=1)
    solutions: int = Field(default=4, ge=1)  # per problem
    turns: int = Field(default=3, ge=1)
    votes: int = Field(default=2, ge=1)
    gate_problems: int = Field(default=100, ge=0)  # of the dev split, to fit the gate; 0: no gate
    # The paper's 1/2. Above 1 the votes of a problem do not matter: the gate opens wherever the
    # majority scores low.
    gate_confidences: tuple[float, ...] = (0.5,)


class SearchSection(Config):
    """Guided search against best-of-N with the same verifier."""

    problems: int = Field(default=500, ge=1)
    strategies: tuple[StrategyName, ...] = ("beam", "dvts", "mcts")
    width: int = Field(default=2, ge=1)
    expand: int = Field(default=2, ge=1)
    votes: int = Field(default=1, ge=1)


class FastSlowSection(Config):
    """Direct verdicts first, rationales where they lie in the band."""

    bands: tuple[tuple[float, float], ...] = ((0.4, 0.6), (0.2, 0.8), (0.1, 0.9), (0.02, 0.98))


class HindsightSection(Config):
    """Faults that only a later step shows, for BiPRM; on the embedded world alone."""

    problems: int = Field(default=500, ge=0)  # judged, with a withheld fact; 0 turns it off
    train_problems: int = Field(default=500, ge=1)


class UsesVerifySection(VerifySection):
    """As in a sweep, with votes for a few points of a figure."""

    n_votes: int = Field(default=4, ge=1)


class UsesEvaluateSection(EvaluateSection):
    """As in a sweep, with enough candidates to choose among."""

    votes_shown: tuple[int, ...] = Field(default=(1,), min_length=1)  # of a sweep; not used here
    candidates_problems: int = Field(default=500, ge=1)
    candidates: int = Field(default=16, ge=1)
    candidate_votes: int = Field(default=2, ge=1)


class UsesConfig(SweepConfig):
    """Everything that `python experiments/uses.py` can be told."""

    name: str = Field(default="uses", pattern=r"^[A-Za-z0-9._-]+$")
    verify: UsesVerifySection = UsesVerifySection()
    evaluate: UsesEvaluateSection = UsesEvaluateSection()
    refine: RefineSection = RefineSection()
    search: SearchSection = SearchSection()
    fast_slow: FastSlowSection = FastSlowSection()
    bidirectional: bool = True
    hindsight: HindsightSection = HindsightSection()
    in_flight: int = Field(default=128, ge=1)  # problems that are searched side by side

    @model_validator(mode="after")
    def _usable(self) -> UsesConfig:
        if self.search.votes > self.evaluate.candidate_votes:
            raise ValueError(
                "search.votes is above evaluate.candidate_votes: no best-of-N to set beside it"
            )
        if len(self.grid.seeds) != 1:
            raise ValueError("grid.seeds: one seed at a time; give each a name of its own")
        return self
