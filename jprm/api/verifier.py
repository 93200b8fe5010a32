"""A verifier that is open, and what it says of a solution.

Nothing heavy is imported here before it is used: `from jprm import Verifier` takes a fraction of a second.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jprm.api.quiet import heard
from jprm.errors import UserError

if TYPE_CHECKING:
    from jprm.api.judges import Judge
    from jprm.evaluate import Interval
    from jprm.records import Rationale, ReadOut


@dataclass(frozen=True)
class ScoredStep:
    """What the votes say of one step.

    text: the step. rationales: one for each vote, with `.text`, `.verdict` and, for each piece of code, `.executions`
    (its `.code`, how it ended, what it printed). readout: what the reward of a vote is (see `jprm.records.Verdict`).
    """

    text: str
    rationales: tuple[Rationale, ...]
    readout: ReadOut

    @property
    def rewards(self) -> list[float | None]:
        """The reward of each vote, from 0 to 1; None where a vote has no verdict."""
        return [rationale.verdict.reward(self.readout) for rationale in self.rationales]

    @functools.cached_property
    def reward(self) -> Interval | None:
        """The mean reward with its 95 % interval over votes; None where no vote has a verdict.

        The interval has no ends (nan) where there is one vote only.
        """
        from jprm.evaluate import Interval, Resamples, mean_interval
        from jprm.verify import mean_reward

        mean = mean_reward(self.rewards)
        if mean is None:
            return None
        known = [reward for reward in self.rewards if reward is not None]
        around = mean_interval(known, Resamples.of(range(len(known)), seed=0))
        return Interval(mean, around.low, around.high)

    @property
    def votes(self) -> str:
        """The verdicts in a row: Y, N, and - for a vote without one."""
        return "".join({True: "Y", False: "N", None: "-"}[r.verdict.correct] for r in self.rationales)

    def __str__(self) -> str:
        reward = "no judgement" if self.reward is None else f"P(Yes) {self.reward}"
        return f"{reward}  votes {self.votes}  {self.text.strip()}"


@dataclass(frozen=True)
class ScoredSolution:
    """What a verifier says of a solution, step by step.

    n_votes: the votes on each step: one where all would be the same, as at temperature 0, whatever was asked for.
    """

    problem: str
    steps: tuple[ScoredStep, ...]
    n_votes: int

    @property
    def rewards(self) -> list[float | None]:
        """The mean reward of each step; None where no vote judged it."""
        return [None if step.reward is None else step.reward.value for step in self.steps]

    @property
    def first_error(self) -> int | None:
        """The 0-based first step whose reward lies below 1/2, -1 where there is none.

        None where a step that this needs was judged by no vote.
        """
        from jprm.verify import first_error

        return first_error(self.rewards)

    def __str__(self) -> str:
        """A line for each step, and one for the verdict."""
        lines = [f"step {number}  {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, self.verdict])

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, which `python -m jprm score --json` prints; docs/files.md names the keys."""
        from jprm.evaluate import interval_row
        from jprm.records import to_json

        steps = [
            {
                "text": step.text,
                **interval_row("reward", step.reward),
                "votes": step.votes,
                "rewards": step.rewards,
                "rationales": [to_json(rationale) for rationale in step.rationales],
            }
            for step in self.steps
        ]
        judged = {"n_votes": self.n_votes, "first_error": self.first_error, "verdict": self.verdict}
        return {"problem": self.problem, "steps": steps, **judged}

    @property
    def verdict(self) -> str:
        """The verdict in words, with steps counted from 1."""
        error = self.first_error
        if error is None:
            return f"no verdict: no vote judged step {self.rewards.index(None) + 1}, which the verdict needs"
        return "no step is judged wrong" if error < 0 else f"first wrong step: {error + 1}"


class Verifier:
    """A verifier that is ready to judge solutions. Use it as a context manager, or close it.

    The model is loaded when the first solution comes, and stays loaded until the verifier is closed.

        with Verifier.from_checkpoint("DIR") as verifier:
            print(verifier.score("What is 2 + 3 * 4?", ["3 * 4 = 12.", "2 + 12 = 15."], n=8))
    """

    def __init__(self, judge: Judge, progress: bool = False):
        """`from_checkpoint` and `from_run` make the judge. progress: whether it says what it is doing."""
        self._judge: Judge | None = judge
        self._progress = progress

    @classmethod
    def from_checkpoint(cls, model: str | Path, *, progress: bool = False, **options: Any) -> Self:
        """A verifier from a Hugging Face directory, or a name of the hub that is in the local cache.

        It is asked as it was trained, where its `jprm.json` says how, else as the published GenPRM. options: what
        `python -m jprm evaluate` takes, under the names of its keys: scorer, chat, overrides (such as
        ["sampling.temperature=0.7"]), protocol, readout, mode, seed, dtype, slots, context, backend and base_url for a
        model that is served, place, plugins. Raises UserError for a checkpoint that is not there, and for options
        that are unknown or do not fit.
        """
        from jprm.api.judges import CheckpointJudge

        with heard(progress):
            return cls(CheckpointJudge({"model": model, **options}), progress)

    @classmethod
    def from_run(cls, run: str | Path, *, progress: bool = False) -> Self:
        """The main verifier of a sweep, from its run directory. Raises UserError where it is not trained yet."""
        from jprm.api.judges import RunJudge

        with heard(progress):
            return cls(RunJudge(Path(run)), progress)

    def score(self, problem: str, steps: Sequence[str], n: int = 8) -> ScoredSolution:
        """Judges every step of a solution with n votes. The same text gets the same votes every time.

        Raises UserError for a solution without steps, a text that the model's vocabulary cannot write, a closed
        verifier, and whatever keeps the model from running.
        """
        if self._judge is None:
            raise UserError("this verifier is closed; open another one")
        if isinstance(steps, str) or not steps or not all(step.strip() for step in steps):
            raise UserError("steps: a list of texts is needed, one for each step, none of them empty")
        if n < 1:
            raise UserError(f"n = {n}: at least one vote is needed")
        judge = self._judge
        with heard(self._progress):
            drawn = judge.draws(n)
            rationales = judge.judge(problem, tuple(steps), drawn)
        scored = (
            ScoredStep(text, tuple(r for r in rationales if r.step == t), judge.readout) for t, text in enumerate(steps)
        )
        return ScoredSolution(problem, tuple(scored), drawn)

    def close(self) -> None:
        """Frees the model and ends the processes in which code runs. Calling it twice does no harm."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
