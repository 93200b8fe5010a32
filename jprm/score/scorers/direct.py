"""The generative verifier without a rationale: P(Yes) at one verdict position."""

from __future__ import annotations

from typing import ClassVar

from jprm.records import ReadOut
from jprm.score.registry import scorer
from jprm.score.scorers.genprm import GenPRMScorer
from jprm.verify import Execution


@scorer("direct")
class DirectScorer(GenPRMScorer):
    """The verdict alone, under the published system prompt for it."""

    readout: ClassVar[ReadOut] = "prob_raw"
    style: ClassVar[str] = "direct"
    execute: ClassVar[Execution] = "none"
