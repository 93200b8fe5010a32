"""The tasks of the applications: who judges which solutions, and what searches for them."""

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.applications.judgements import Judgements, scored, voted
from jprm.experiments.applications.search_choices import settings_of
from jprm.experiments.sweep.cells import Sweep
from jprm.jobs import Stages, Task
from jprm.models.locate import find_directory
from jprm.tasks.baseline import Baseline, Target
from jprm.tasks.benchmark import SolutionSet
from jprm.tasks.delayed_evidence import DelayedEvidence
from jprm.tasks.scores import Scores
from jprm.tasks.search import Control, Search
from jprm.tasks.verifier import TrainedVerifier
from jprm.tasks.votes import VerifierSampling, Votes, execution_of

# The names of the generative verifiers; the first is what all others are compared with.
STYLES = {"full": "GenPRM", "analysis": "GenPRM without code", "direct": "direct generative PRM"}
HEADS: dict[Target, str] = {"steps": "discriminative PRM", "outcome": "discriminative ORM", "verdict": "generative ORM"}
STYLE_OF = {"genprm": "full", "direct": "direct"}  # the scorers that are verifiers of the grid
CONTROLS: dict[str, Control] = {"critic": "none", "shuffled": "place", "blind": "score"}  # the critic itself first
REFERENCE = "best_of_n"


class Applications:
    """All tasks of a run. `main` is the main verifier of the configured grid."""

    def __init__(self, config: ApplicationsConfig):
        self.config = config
        sweep = Sweep(config)
        self.point, self.main = sweep.tasks_of(config), sweep.main.verifier
        self.policy = self.point.policy(self.main.seed)

    @functools.cached_property
    def sets(self) -> tuple[SolutionSet, SolutionSet]:
        """The balanced solutions for F1, and the candidates."""
        seed = self.main.seed
        return self.point.benchmark(self.config.evaluate.benchmarks[0], seed), self.point.candidates(seed)

    def styled(self, style: str) -> TrainedVerifier:
        """The verifier that is like the main one but for its style."""
        return self.main.of_style(style, self.config.learning_rate.direct if style == "direct" else None)

    def votes(self, style: str) -> tuple[Votes, Votes]:
        """The votes of the verifier trained in this style, on both sets."""
        verifier, asked = self.styled(style), (self.config.verify.n_votes, self.config.evaluate.candidate_votes)
        first, second = (self.point.votes(verifier, of, n) for of, n in zip(self.sets, asked, strict=True))
        return first, second

    def scores(self, baseline: Baseline, backward: bool = False) -> tuple[Scores, Scores]:
        """The scores of a baseline on both sets."""
        first, second = (Scores(baseline, of, backward) for of in self.sets)
        return first, second

    def heads(self) -> list[tuple[str, Baseline]]:
        """The baselines by name."""
        return [(name, self.baseline(target)) for target, name in HEADS.items()]

    def baseline(self, target: Target, **other: Any) -> Baseline:
        """A baseline that learns what the main verifier learns from."""
        return Baseline(self.main, target, learning_rate=getattr(self.config.learning_rate, target), **other)

    def passes(self) -> list[tuple[Scores, ...]]:
        """The passes that BiPRM is made of, on both sets: forward, both ways of one that learnt both, forward again."""
        return self._passes(self.sets) if self.config.bidirectional else []

    @functools.cached_property
    def delayed_evidence_sets(self) -> tuple[DelayedEvidence, DelayedEvidence]:
        """Whole solutions, and the same ones up to the judged step."""
        whole = self._delayed_evidence(self.config.evaluate.split, self.config.delayed_evidence.problems)
        return whole, dataclasses.replace(whole, cut=True)

    def delayed_evidence_passes(self) -> list[tuple[Scores, ...]]:
        """The same passes, of heads that were taught by faults which show later and at once."""
        wanted = self.config.delayed_evidence
        if not (self.config.bidirectional and wanted.problems):
            return []
        return self._passes(self.delayed_evidence_sets, self._delayed_evidence("train", wanted.train_problems))

    def _delayed_evidence(self, split: Any, problems: int) -> DelayedEvidence:
        return DelayedEvidence(self.main.world, split, problems, self.main.seed)

    def _passes(self, sets: Sequence[SolutionSet], taught: DelayedEvidence | None = None) -> list[tuple[Scores, ...]]:
        forward = self.baseline("steps", taught=taught)
        both = dataclasses.replace(forward, both_ways=True)
        again = dataclasses.replace(forward, replica=1)
        ways = (forward, False), (both, False), (both, True), (again, False)
        return [tuple(Scores(head, of, backward) for of in sets) for head, backward in ways]

    def critic(self, control: Control = "none", split: Any = None) -> Search:
        """The refinement of the main verifier; of the dev split it is what a gate is chosen from."""
        refine = self.config.refine
        return self._search(
            "critic",
            {"n": refine.solutions, "turns": refine.turns},
            refine.votes,
            refine.gate_problems if split else refine.problems,
            split=split or self.config.evaluate.split,
            control=control,
            candidates=self.votes("full")[1],
        )

    def guided(self) -> Iterator[tuple[str, Search]]:
        """Every guided search, with the name of its scorer."""
        search = self.config.search
        for scorer in search.scorers:
            for strategy in search.strategies:
                for settings in settings_of(search, strategy):
                    yield scorer, self._scored_by(scorer, strategy, settings)

    def references(self) -> dict[str, Search]:
        """Best-of-N as a search of its own, for the scorers that have not judged the stored candidates."""
        own = (name for name in self.config.search.scorers if name not in (*STYLE_OF, "head"))
        return {name: self._scored_by(name, REFERENCE, {"n": self.config.evaluate.candidates}) for name in own}

    def _scored_by(self, scorer: str, strategy: str, settings: dict[str, Any]) -> Search:
        search = self.config.search
        style, model = STYLE_OF.get(scorer), search.models.get(scorer)
        return self._search(
            strategy,
            settings,
            search.votes,
            search.problems,
            verifier=self.styled(style) if style else self.main,
            head=self.baseline("steps") if scorer == "head" else None,
            scorer="" if style or scorer == "head" else scorer,
            scorer_model=find_directory(model, f"search.models.{scorer}") if model else None,
        )

    def _search(
        self,
        strategy: str,
        settings: dict[str, Any],
        votes: int,
        problems: int,
        *,
        verifier: TrainedVerifier | None = None,
        split: Any = None,
        **other: Any,
    ) -> Search:
        verify, verifier = self.config.verify, verifier or self.main
        execution = execution_of(verifier.style)
        sampling = VerifierSampling(verifier, execution, verify.mode, verify, self.config.model.slots)
        return Search(
            strategy,
            json.dumps(settings, sort_keys=True),
            self.policy,
            sampling,
            verify.draws(votes),
            problems,
            split or self.config.evaluate.split,
            direct_learning_rate=self.config.learning_rate.direct,
            in_flight=self.config.in_flight,
            **other,
        )

    def judging(self) -> list[Task]:
        """Everything that judges stored solutions."""
        tasks: list[Task] = [v for style in STYLES for v in self.votes(style)]
        tasks += [s for _, baseline in self.heads() for s in self.scores(baseline)]
        return tasks + [s for way in self.passes() + self.delayed_evidence_passes() for s in way]

    def searches(self) -> list[Task]:
        """Everything that searches."""
        gate = [self.critic(split="dev")] if self.config.refine.gate_problems else []
        critics = [self.critic(control) for control in CONTROLS.values()]
        return [*gate, *critics, *(task for _, task in self.guided()), *self.references().values()]

    def stored(self, stages: Stages, name: str, n_votes: int) -> Judgements:
        """What a scorer of the grid said of the candidates, in its first votes."""
        if name == "head":
            return scored(stages, name, self.scores(self.baseline("steps"))[1:], self.config.evaluate.missing)
        return voted(stages, name, [self.votes(STYLE_OF[name])[1]], n_votes, self.config.evaluate.missing)
