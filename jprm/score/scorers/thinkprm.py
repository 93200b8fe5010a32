"""ThinkPRM: one chain of thought over the whole solution, with a word on each step and a verdict in the end."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

from jprm.records import Rationale, ReadOut, Verdict
from jprm.score import scorer
from jprm.score.base import Ended, Heard, Item, Known
from jprm.score.scorers.genprm import GenPRMScorer
from jprm.verify import Execution, GenPRM, ThinkPRM, step_verdicts, whole


@scorer("thinkprm")
class ThinkPRMScorer(GenPRMScorer):
    """What a chain says of a step is its last boxed word on it, and that is the vote.

    P(Yes) belongs to the whole solution, about which the chain is asked once: with `prob_raw` every
    step that the chain judges has this number, which scores solutions but finds no first error.
    """

    readout: ClassVar[ReadOut] = "vote"
    style: ClassVar[str] = "analysis"
    execute: ClassVar[Execution] = "none"
    protocol: ClassVar[type[GenPRM] | type[ThinkPRM]] = ThinkPRM

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges whole solutions, and tells `heard` for each step what the chain says of it."""
        n_steps = {solution.id: len(solution.steps) for _, solution in items}
        stored = {name: {(r.step, r.vote): r for r in known.get(name, ())} for name in n_steps}
        chains = {
            name: [rows[0, vote] for vote in votes if all((step, vote) in rows for step in range(n_steps[name]))]
            for name, rows in stored.items()
        }

        def hear(chain: Rationale) -> None:
            for rationale in by_step(chain, n_steps[chain.solution_id]):
                if (rationale.step, rationale.vote) not in stored[rationale.solution_id]:
                    heard(rationale)

        yield from super().judge([(p, whole(s)) for p, s in items], votes, chains, hear)


def by_step(chain: Rationale, steps: int) -> list[Rationale]:
    """Returns what a chain says of each step [steps]; its text and its tokens are those of the first one."""
    found = []
    for step, word in enumerate(step_verdicts(chain.text, steps)):
        first = chain if step == 0 else dataclasses.replace(chain, text="", generated_tokens=0, forced_tokens=0)
        verdict = Verdict(word, chain.verdict.p_yes_raw, chain.verdict.p_yes_tempered)
        reason, unread = ("", "") if word is not None else (chain.reason or "no_verdict", chain.unread or "no box")
        found.append(dataclasses.replace(first, step=step, verdict=verdict, reason=reason, unread=unread))
    return found
