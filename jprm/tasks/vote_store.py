"""The votes of one task on disk: a line per vote while they are drawn, a line per solution once all are there.

While a task is unfinished every rationale is appended to `votes.jsonl` as it comes, keyed by (solution, step, vote), so
a run that is killed loses what came in the last second. A vote that was drawn again says the same, and the last line
counts. When a task ends, the rationales that count are written to `rationales.jsonl`, solution by solution, for readers
that hold one solution at a time.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.jobs import write_rows
from jprm.records import Rationale, ReadOut, append_jsonl, from_json, read_jsonl, stream_jsonl, stream_records, to_json
from jprm.ties import below
from jprm.verify import mean_reward

VOTES, LOST, RATIONALES = "votes.jsonl", "lost.jsonl", "rationales.jsonl"
FIELDS = {"solution_id": str, "rationales": list}
FLUSH_S = 1.0


class VoteStore:
    """The rationales of an unfinished task by solution, and why a solution was lost."""

    def __init__(self, directory: Path, solutions: Collection[str]):
        """Reads what an earlier attempt left; `solutions` are the ids that the task judges.

        Raises UserError for a damaged file, naming the line.
        """
        self._directory, self._solutions = directory, set(solutions)
        self._waiting: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        self._rows: dict[str, dict[tuple[int, int], Rationale]] = {}
        for rationale in stream_records(directory / VOTES, self._of_row):
            self._keep(rationale)
        self.lost = read_lost(directory)

    def rationales(self, solution_id: str) -> Sequence[Rationale]:
        """The rationales of a solution by step, then vote."""
        rows = self._rows.get(solution_id, {})
        return [rows[key] for key in sorted(rows)]

    def add(self, rationale: Rationale) -> None:
        """Stores a rationale; it is on disk a second later, or after `flush`."""
        self._keep(rationale)
        self._waiting.append(to_json(rationale))
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def take_over(self, rationales: Iterable[Rationale]) -> None:
        """Counts rationales that another task has stored. They are not written: they can be taken over again."""
        for rationale in rationales:
            rows = self._rows.setdefault(rationale.solution_id, {})
            rows.setdefault((rationale.step, rationale.vote), rationale)

    def lose(self, solution_id: str, reason: str) -> None:
        """Stores that a solution has no judgement, and why; "" takes that back."""
        if self.lost.get(solution_id, "") != reason:
            self.lost[solution_id] = reason
            append_jsonl(self._directory / LOST, [{"solution_id": solution_id, "reason": reason}])

    def flush(self) -> None:
        """Writes what is not on disk yet, and waits until it is."""
        append_jsonl(self._directory / VOTES, self._waiting)
        self._waiting = []
        self._flushed = time.monotonic()

    def finish(self, counted: Iterable[Sequence[Rationale]]) -> None:
        """Writes the rationales that count, one solution after another, in place of the log."""
        rows = ({"solution_id": r[0].solution_id, "rationales": [to_json(x) for x in r]} for r in counted)
        write_rows(self._directory / RATIONALES, rows)
        for name in (VOTES, LOST):
            (self._directory / name).unlink(missing_ok=True)

    def _of_row(self, row: dict[str, Any]) -> Rationale:
        rationale = from_json(Rationale, row)
        if rationale.solution_id not in self._solutions:
            raise UserError(f"a vote on {rationale.solution_id!r:.40}, which is no solution of the set")
        return rationale

    def _keep(self, rationale: Rationale) -> None:
        rows = self._rows.setdefault(rationale.solution_id, {})
        rows[rationale.step, rationale.vote] = rationale


def holds_votes(directory: Path) -> bool:
    """Whether the folder of a task holds votes, be it finished or not."""
    return any(path.exists() and path.stat().st_size for path in (directory / VOTES, directory / RATIONALES))


def read_lost(directory: Path) -> dict[str, str]:
    """Why solutions of an unfinished task were lost, by id; "" where they were not, after all."""
    rows = read_jsonl(directory / LOST, {"solution_id": str, "reason": str})
    return {row["solution_id"]: row["reason"] for row in rows}


def counted(
    stored: Sequence[Rationale], n_steps: int, n_votes: int, readout: ReadOut | None
) -> tuple[Rationale, ...] | None:
    """The rationales of a solution that count, by step and then vote; None where some are missing.

    What counts is a function of the stored votes alone: the first `n_votes` votes on every step, up to the first step
    that all of them call wrong under `readout`; all steps where that is None. What was stored beyond (more votes, steps
    that a faster vote had come to) has no say, so a table does not depend on how often or where a run was killed.
    """
    rows = {(r.step, r.vote): r for r in stored}
    kept: list[Rationale] = []
    for step in range(n_steps):
        here = [r for vote in range(n_votes) if (r := rows.get((step, vote))) is not None]
        if len(here) < n_votes:
            return None
        kept += here
        if readout is not None:
            rewards = [r.verdict.reward(readout) for r in here]
            if all(reward is not None and below(reward, 0.5) for reward in rewards):
                break
    return tuple(kept)


def step_rewards(rationales: Sequence[Rationale], n_votes: int, readout: ReadOut) -> list[float | None]:
    """The mean reward of each step of one solution; None where no vote gave one."""
    votes: list[list[float | None]] = [[None] * n_votes for _ in range(1 + max(r.step for r in rationales))]
    for r in rationales:
        votes[r.step][r.vote] = r.verdict.reward(readout)
    return [mean_reward(of_step) for of_step in votes]


def stream_votes(path: Path) -> Iterator[Rationale]:
    """The rationales of an unfinished task, in the order in which they were stored."""
    return stream_records(path, lambda row: from_json(Rationale, row))


def stream_rationales(path: Path) -> Iterator[list[Rationale]]:
    """The rationales of one solution after another, by step and then vote."""

    def rationales(row: dict[str, Any]) -> list[Rationale]:
        return [from_json(Rationale, rationale) for rationale in row["rationales"]]

    return stream_records(path, rationales, FIELDS)


def stream_rewards(path: Path, n_votes: int, readout: ReadOut) -> Iterator[tuple[str, np.ndarray]]:
    """Solution ids with their rewards [steps, n_votes], nan where a vote gave none; nothing but numbers is kept.

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
