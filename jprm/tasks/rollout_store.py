"""The rollouts of one task on disk: a line for each, appended as they come, so that a killed run draws none again.

A line names its problem, its state (the problem and the first `given` steps of a solution, see `RolloutRequest.state`)
and its index there, and holds the steps that were written behind that state. The file stays when the task is finished,
for whoever wants to know what a value is made of.

In memory are only the places in the file of rollouts of unfinished problems, and the rollouts of problems that are
being measured, however large the file is.
"""

import time
from array import array
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jprm.label import RolloutRequest, WrittenSolution
from jprm.records import append_jsonl, row_of, stream_jsonl

ROLLOUTS = "rollouts.jsonl"
FIELDS = {
    "problem_id": str,
    "state": str,
    "given": int,
    "index": int,
    "steps": list[str],
    "correct": bool,
    "finished": bool,
    "tokens": int,
}
FLUSH_S = 1.0


class RolloutStore:
    """A `RolloutLog` in the folder of a task. count: the rollouts that are stored or about to be."""

    def __init__(self, directory: Path, done: Container[str]):
        """Finds what an earlier attempt left of the problems that are not `done`.

        Raises UserError for a damaged file, naming the line.
        """
        self.path = directory / ROLLOUTS
        self.count = 0
        self._places: dict[str, array[int]] = {}  # by problem: where its lines begin
        self._read: dict[str, dict[tuple[str, int], WrittenSolution]] = {}  # by problem: what these lines say
        self._waiting: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        self._find(done)

    def known(self, request: RolloutRequest) -> Mapping[int, WrittenSolution]:
        """Returns the stored rollouts of a state by their index; they are read when its problem is asked for first."""
        problem_id, state = request.problem.id, request.state
        if problem_id in self._places:
            self._read[problem_id] = self._rollouts(problem_id)
        stored = self._read.get(problem_id, {})
        known = ((i, stored.get((state, i))) for i in range(request.first, request.last))
        return {i: replace(r, steps=request.steps + r.steps) for i, r in known if r is not None}

    def add(self, request: RolloutRequest, index: int, rollout: WrittenSolution) -> None:
        """Stores a rollout; it is on disk after `flush`."""
        given = len(request.steps)
        self.count += 1
        self._waiting.append(
            {
                "problem_id": request.problem.id,
                "state": request.state,
                "given": given,
                "index": index,
                "steps": rollout.steps[given:],
                "correct": rollout.correct,
                "finished": rollout.finished,
                "tokens": rollout.tokens,
            }
        )

    def forget(self, problem_id: str) -> None:
        """Frees the memory of a problem that will not be asked for again."""
        self._read.pop(problem_id, None)

    @property
    def is_due(self) -> bool:
        """Whether the last `flush` was a while ago."""
        return time.monotonic() - self._flushed > FLUSH_S

    def flush(self) -> None:
        """Writes what is not on disk yet, and waits until it is."""
        append_jsonl(self.path, self._waiting)
        self._waiting = []
        self._flushed = time.monotonic()

    def _find(self, done: Container[str]) -> None:
        try:
            file = open(self.path, "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return
        with file:
            place = 0
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):  # what follows the last newline was never finished
                    problem_id = row_of(line, f"{self.path}:{number}", FIELDS)["problem_id"]
                    self.count += 1
                    if problem_id not in done:
                        self._places.setdefault(problem_id, array("Q")).append(place)
                place += len(line)

    def _rollouts(self, problem_id: str) -> dict[tuple[str, int], WrittenSolution]:
        found = {}
        with open(self.path, "rb") as file:
            for place in self._places.pop(problem_id):
                file.seek(place)
                row = row_of(file.readline(), f"{self.path} at byte {place}", FIELDS)
                key = row["state"], row["index"]
                found[key] = WrittenSolution(tuple(row["steps"]), row["correct"], row["finished"], row["tokens"])
        return found


def stream_rollouts(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file of rollouts; none where there is no file. Raises UserError for damage."""
    return stream_jsonl(path, FIELDS)


def rollout_key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """What names a rollout."""
    return row["problem_id"], row["state"], row["index"]


def state_counts(directory: Path) -> dict[str, tuple[int, int]]:
    """The right and all rollouts of every state behind at least one step, by its name. Raises UserError for damage."""
    drawn: dict[str, dict[int, bool]] = {}
    for row in stream_rollouts(directory / ROLLOUTS):
        if row["given"]:
            drawn.setdefault(row["state"], {})[row["index"]] = row["correct"]
    return {state: (sum(of_state.values()), len(of_state)) for state, of_state in drawn.items()}


def count_rollouts(directory: Path) -> int | None:
    """The rollouts that a task has stored; None where it stores none."""
    try:
        with open(directory / ROLLOUTS, "rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return None
