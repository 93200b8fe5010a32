"""The configuration of `python experiments/uses.py`: that of a sweep, and what is tried with its verifier.

Read before JAX is imported. The world, the policy, the labels and the verifier are a sweep's, with
the same keys, so that stages of a sweep in the same run directory are used where they fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from jprm.config import Config
from jprm.pipeline.config import EvaluateSection, SweepConfig, VerifySection


class LearningRateSection(Config):
    """Learning rates of the verifiers without rationales; all else is as in `train`.

    Each was the best of .01, .003 and .001 on 560 solutions of the dev split (docs/results.md); that of
    rationales overfits such short targets.
    """

    steps: float = Field(default=0.003, gt=0)
    outcome: float = Field(default=0.001, gt=0)
    verdict: float = Field(default=0.003, gt=0)
    direct: float = Field(default=0.003, gt=0)


class RefineSection(Config):
    """The critic: solutions of the policy, doubted steps drawn anew."""

    problems: int = Field(default=500, ge=1)
    solutions: int = Field(default=4, ge=1)  # per problem
    turns: int = Field(default=3, ge=1)
    votes: int = Field(default=2, ge=1)
    gate_problems: int = Field(default=200, ge=0)  # of the dev split, to choose a gate; 0: none


class SearchSection(Config):
    """Guided search against best-of-N with the same scorer: each strategy with each scorer.

    Names are those of `python -m jprm list` and of the file `plugin`. `settings.<strategy>` has
    further settings of one strategy; a list there stands for each of its values.
    """

    problems: int = Field(default=500, ge=1)
    strategies: tuple[str, ...] = ("beam", "dvts", "mcts")
    scorers: tuple[str, ...] = Field(default=("genprm",), min_length=1)
    plugin: Path | None = None
    width: int = Field(default=2, ge=1)
    expand: int = Field(default=2, ge=1)
    settings: dict[str, dict[str, Any]] = {}
    votes: int = Field(default=1, ge=1)


class FastSlowSection(Config):
    """Direct verdicts first, rationales where they lie in the band."""

    bands: tuple[tuple[float, float], ...] = ((0.4, 0.6), (0.2, 0.8), (0.1, 0.9), (0.02, 0.98))


class HindsightSection(Config):
    """Faults that only a later step shows, for BiPRM; on the embedded world alone."""

    problems: int = Field(default=500, ge=0)  # judged, of each kind with a withheld fact; 0: none
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

    name: str = Field(default="uses", pattern=r"^\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    verify: UsesVerifySection = UsesVerifySection()
    evaluate: UsesEvaluateSection = UsesEvaluateSection()
    learning_rate: LearningRateSection = LearningRateSection()
    refine: RefineSection = RefineSection()
    search: SearchSection = SearchSection()
    fast_slow: FastSlowSection = FastSlowSection()
    bidirectional: bool = True
    hindsight: HindsightSection = HindsightSection()
    in_flight: int = Field(default=128, ge=1)  # problems that are searched side by side

    @model_validator(mode="after")
    def _usable(self) -> UsesConfig:
        for name, votes in (("search", self.search.votes), ("refine", self.refine.votes)):
            if votes > self.evaluate.candidate_votes:
                raise ValueError(f"{name}.votes is above evaluate.candidate_votes: no best-of-N to set beside it")
        if len(self.grid.seeds) != 1:
            raise ValueError("grid.seeds: one seed at a time; give each a name of its own")
        return self
