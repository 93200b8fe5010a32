"""Stored rationales: read one solution at a time, as votes or as rewards, and completed to other numbers of votes.

What a vote says depends on its sample id alone, so votes that one stage has stored are those that another would draw.
Two stages differ in where they stop: a solution is judged up to the first step that every vote calls wrong, and more
votes agree later or never. `cut` is that rule, applied to votes that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.records import Rationale, ReadOut, from_json, row_of, stream_jsonl, stream_records
from jprm.runs import Stage
from jprm.ties import below

RATIONALES = "rationales.jsonl"
FIELDS = {"solution_id": str, "rationales": list}


def stream_rationales(path: Path) -> Iterator[list[Rationale]]:
    """The rationales of one solution after another, by step and then vote."""

    def rationales(row: dict[str, Any]) -> list[Rationale]:
        return [from_json(Rationale, rationale) for rationale in row["rationales"]]

    return stream_records(path, rationales, FIELDS)


def stream_rewards(path: Path, n_votes: int, readout: ReadOut) -> Iterator[tuple[str, np.ndarray]]:
    """Solution ids with rewards [steps, n_votes], nan where a vote gave none; nothing but numbers is kept.

    Raises UserError naming the file for a row that is no solution's.
    """
    field = {"prob_raw": "p_yes_raw", "prob_tempered": "p_yes_tempered"}.get(readout)
    for row in stream_jsonl(path):
        try:
            judged = row["rationales"]
            table = np.full((1 + max(r["step"] for r in judged), n_votes), np.nan)
            for rationale in judged:
                verdict = rationale["verdict"]
                if verdict["correct"] is not None:
                    reward = verdict[field] if field else float(verdict["correct"])
                    place = rationale["step"], rationale["vote"]
                    if min(place) < 0:
                        raise IndexError(f"step and vote {place}")
                    table[place] = np.nan if reward is None else reward
                    if reward is not None and not 0 <= reward <= 1:
                        raise ValueError(f"a reward of {reward!r:.40}")
            yield row["solution_id"], table
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise UserError(
                f"{path}: not the rationales of a solution ({type(error).__name__}: {error}); delete the stage's folder"
            ) from None


@dataclass(frozen=True)
class Known:
    """The votes that a finished stage has stored: `n_votes` of each solution, and the seconds that they took."""

    path: Path
    n_votes: int
    seconds: float
    _offsets: dict[str, int]

    @classmethod
    def of(cls, stage: Stage, n_votes: int) -> Known:
        """Those of a finished stage."""
        path, offsets, at = stage.file(RATIONALES), {}, 0
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    offsets[row_of(line, f"{path}:{number}", FIELDS)["solution_id"]] = at
                at += len(line)
        return cls(path, n_votes, stage.seconds, offsets)

    def __contains__(self, solution_id: str) -> bool:
        return solution_id in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def rationales(self, solution_id: str) -> list[Rationale]:
        """Of one solution, by step and then vote."""
        with open(self.path, "rb") as file:
            file.seek(self._offsets[solution_id])
            row = row_of(file.readline(), f"{self.path}: {solution_id}", FIELDS)
        return [from_json(Rationale, rationale) for rationale in row["rationales"]]


def cut(rationales: list[Rationale], n_votes: int, n_steps: int, readout: ReadOut | None) -> int | None:
    """Up to which step (exclusive) `n_votes` votes at once would have been reported, from some that are there.

    `n_steps` are those of the solution; `readout` None says that nothing is left out. The rationales may be of fewer or
    more votes. None: it depends on steps that they do not reach. With fewer votes than wanted it is the last step that
    could be asked for, since the others can only postpone the end.
    """
    reached = 1 + max(r.step for r in rationales)
    if readout is not None:
        agree = [True] * reached
        for r in rationales:
            if r.vote < n_votes:
                reward = r.verdict.reward(readout)
                agree[r.step] &= reward is not None and bool(below(reward, 0.5))
        if any(agree):
            return agree.index(True) + 1
    return reached if reached == n_steps else None
