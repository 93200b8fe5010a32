"""The votes of a run on disk: every rationale a line, appended as it comes, never rewritten.

Keyed by (solution, step, vote). A line that comes twice (a vote that was drawn again from its first
step) says the same; the last one counts. A run that is killed loses what came in the last second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jprm.errors import UserError
from jprm.records import Rationale, append_jsonl, from_json, read_jsonl, stream_records, to_json

VOTES, LOST, SITTINGS = "votes.jsonl", "lost.jsonl", "sittings.jsonl"
FLUSH_S = 1.0
NOTE_S = 10.0


class VoteStore:
    """Rationales by solution, and why a solution was lost."""

    def __init__(self, directory: Path, names: Mapping[str, str]):
        """names: the row's own id of every solution, for readers of the file.

        Raises UserError for a damaged file, naming the line.
        """
        self._directory, self._names = directory, names
        self._waiting: list[dict] = []
        self._started = self._flushed = self._noted = time.monotonic()
        self._sitting = f"{time.time():.6f}-{os.getpid()}"
        self._rows: dict[str, dict[tuple[int, int], Rationale]] = {}
        for rationale in stream_records(directory / VOTES, self._of_row):
            self._keep(rationale)
        lost = read_jsonl(directory / LOST, {"solution_id": str, "reason": str})
        self.lost = {row["solution_id"]: row["reason"] for row in lost}
        self._sittings()  # now, for damage must not be found when all is sampled

    def rationales(self, solution_id: str) -> Sequence[Rationale]:
        """What is stored of a solution, in the order of steps, then votes."""
        rows = self._rows.get(solution_id, {})
        return [rows[key] for key in sorted(rows)]

    def known(self) -> dict[str, Sequence[Rationale]]:
        """All of it, by solution."""
        return {name: self.rationales(name) for name in self._rows}

    def add(self, rationale: Rationale) -> None:
        """Stores a rationale; it is on disk a second later, or after `flush`."""
        self._keep(rationale)
        name = self._names.get(rationale.solution_id, "")
        self._waiting.append({"item": name} | to_json(rationale))
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def lose(self, solution_id: str, reason: str) -> None:
        """Stores that a solution has no judgement, and why; "" takes that back."""
        if self.lost.get(solution_id, "") != reason:
            self.lost[solution_id] = reason
            row = {"item": self._names.get(solution_id, ""), "solution_id": solution_id}
            append_jsonl(self._directory / LOST, [row | {"reason": reason}])

    def flush(self) -> None:
        """Waits until everything is on disk."""
        append_jsonl(self._directory / VOTES, self._waiting)
        self._waiting = []
        self._flushed = time.monotonic()
        if self._flushed - self._noted > NOTE_S:
            self._note()

    def close(self, **about: object) -> None:
        """Flushes, and records the sitting that ends, with what is to be known about it."""
        self.flush()
        self._note(**about)

    @property
    def seconds(self) -> float:
        """Seconds of all sittings; of one that was killed, those up to its last note."""
        return sum(self._sittings().values())

    def _sittings(self) -> dict[str, float]:
        notes = read_jsonl(self._directory / SITTINGS, {"sitting": str, "seconds": float | int})
        return {row["sitting"]: row["seconds"] for row in notes}

    def _note(self, **about: object) -> None:
        self._noted = time.monotonic()
        row = {"sitting": self._sitting, "seconds": self._noted - self._started}
        append_jsonl(self._directory / SITTINGS, [row | about])

    def _of_row(self, row: dict) -> Rationale:
        row.pop("item", None)
        rationale = from_json(Rationale, row)
        if rationale.solution_id not in self._names:
            raise UserError(f"a vote on {rationale.solution_id!r:.40}, which is no row of the data")
        return rationale

    def _keep(self, rationale: Rationale) -> None:
        rows = self._rows.setdefault(rationale.solution_id, {})
        rows[rationale.step, rationale.vote] = rationale
