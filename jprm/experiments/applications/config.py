"""The configuration of the applications: that of a sweep, and what is tried with its verifier.

The world, the policy, the labels and the verifier are a sweep's, with the same keys, so that stages of a sweep in the
same run directory are used where they fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from jprm.config import Config
from jprm.experiments.sweep.config import RUN_NAME, EvaluateSection, SweepConfig
from jprm.tasks.settings import VerifySection


class LearningRateSection(Config):
    """The learning rates of the verifiers without rationales; all else is as in `train`.

    Each was the best of .01, .003 and .001 on 560 solutions of the dev split (docs/results.md); that of rationales
    overfits such short targets.
    """

    steps: float = Field(default=0.003, gt=0)
    """The rate of the head that judges every step (the discriminative PRM)."""
    outcome: float = Field(default=0.001, gt=0)
    """The rate of the head that judges the whole solution (the discriminative ORM)."""
    verdict: float = Field(default=0.003, gt=0)
    """The rate of the generative outcome model (the generative ORM)."""
    direct: float = Field(default=0.003, gt=0)
    """The rate of the verifier that says Yes or No without a rationale."""


class RefineSection(Config):
    """The critic: solutions of the policy, of which doubted steps are drawn anew."""

    problems: int = Field(default=500, ge=1)
    """The problems whose solutions are refined."""
    solutions: int = Field(default=4, ge=1)
    """The solutions of each problem."""
    turns: int = Field(default=3, ge=1)
    """The turns of refinement."""
    votes: int = Field(default=2, ge=1)
    """The verifier's votes on each step."""
    gate_problems: int = Field(default=200, ge=0)
    """The problems of the dev split from which a gate is chosen; 0 for no gate."""


class SearchSection(Config):
    """Guided search against best-of-N with the same scorer: each strategy with each scorer."""

    problems: int = Field(default=500, ge=1)
    """The problems that are searched."""
    strategies: tuple[str, ...] = ("beam", "dvts", "mcts")
    """The strategies, by names of `python -m jprm list`, those of `plugins` included."""
    scorers: tuple[str, ...] = Field(default=("genprm",), min_length=1)
    """The scorers, by names of the same list."""
    models: dict[str, Path] = {}
    """By scorer, the directory of the checkpoint that it judges with, such as that of qwen-prm; by default the run's
    own verifier judges."""
    width: int = Field(default=2, ge=1)
    """The solutions that a strategy keeps."""
    expand: int = Field(default=2, ge=1)
    """The steps that it draws to go on from each."""
    settings: dict[str, dict[str, Any]] = {}
    """Further settings by strategy; a list there stands for each of its values."""
    votes: int = Field(default=1, ge=1)
    """The scorer's votes on each step."""


class FastSlowSection(Config):
    """Direct verdicts first, and rationales where these lie in a band."""

    bands: tuple[tuple[float, float], ...] = ((0.4, 0.6), (0.2, 0.8), (0.1, 0.9), (0.02, 0.98))
    """The bands of the direct P(Yes)."""


class DelayedEvidenceSection(Config):
    """Faults that only a later step shows, for BiPRM; on the embedded world alone."""

    problems: int = Field(default=500, ge=0)
    """The problems of each kind with a withheld fact that are judged; 0 for none."""
    train_problems: int = Field(default=500, ge=1)
    """The problems of each kind that the heads are taught with."""


class ApplicationsVerifySection(VerifySection):
    """How a verifier is sampled, as in a sweep, with votes for a few points of a figure."""

    n_votes: int = Field(default=4, ge=1)
    """N: the votes on each step of the balanced solutions."""


class ApplicationsEvaluateSection(EvaluateSection):
    """What is judged, as in a sweep, with enough candidates to choose among."""

    candidates_problems: int = Field(default=500, ge=1)
    """The problems of best-of-N."""
    candidates: int = Field(default=16, ge=1)
    """The solutions of each problem to choose among."""
    candidate_votes: int = Field(default=2, ge=1)
    """The votes on each step of a candidate."""


class ApplicationsConfig(SweepConfig):
    """Everything that `python experiments/uses.py` can be told."""

    name: str = Field(default="applications", pattern=RUN_NAME)
    """The name of the run; its directory is `<directory>/<name>`."""
    verify: ApplicationsVerifySection = ApplicationsVerifySection()
    evaluate: ApplicationsEvaluateSection = ApplicationsEvaluateSection()
    learning_rate: LearningRateSection = LearningRateSection()
    refine: RefineSection = RefineSection()
    search: SearchSection = SearchSection()
    fast_slow: FastSlowSection = FastSlowSection()
    bidirectional: bool = True
    """Whether solutions are also judged backwards (BiPRM)."""
    delayed_evidence: DelayedEvidenceSection = DelayedEvidenceSection()
    in_flight: int = Field(default=128, ge=1)
    """The problems that are searched side by side."""

    @model_validator(mode="after")
    def _usable(self) -> ApplicationsConfig:
        for name, votes in (("search", self.search.votes), ("refine", self.refine.votes)):
            if votes > self.evaluate.candidate_votes:
                raise ValueError(f"{name}.votes is above evaluate.candidate_votes: no best-of-N to set beside it")
        if len(self.grid.seeds) != 1:
            raise ValueError("grid.seeds: one seed at a time; give each a name of its own")
        return self
