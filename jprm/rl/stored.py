"""Judged rollouts as JSON lines (`judged.jsonl`): whatever credit is to be computed from, now or later.

docs/files.md describes the fields. Rollouts of one problem under one version of the parameters, in one file, are a
group. `exact` is what the judges and rows must not see: the values of the states under the policy, by enumeration or by
many rollouts, against which an audit holds the credit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from jprm.errors import UserError
from jprm.paths import present
from jprm.records import Count, Probability, from_json, stream_records, to_json
from jprm.rl.records import Judged, Rollout

FILE = "judged.jsonl"
Place = Annotated[int, Field(ge=-1)]
Vote = Annotated[int, Field(ge=-1, le=1)]


@dataclass(frozen=True, slots=True)
class StoredRollout:
    """A line of the file; null is "unknown" everywhere, in `logp` a token that the policy did not draw."""

    problem_id: str
    index: Count
    version: Count
    ids: tuple[Count, ...]
    logp: tuple[float | None, ...]
    step_of: tuple[Place, ...]
    finish: Literal["stop", "length"]
    outcome: bool | None
    votes: tuple[tuple[Vote, ...], ...]
    p_yes: tuple[tuple[Probability | None, ...], ...]
    values: tuple[Probability, ...] | None = None
    prefix: tuple[Probability, ...] | None = None
    nodes: tuple[Count, ...] | None = None
    guard: tuple[str, ...] = ()
    exact: tuple[Probability, ...] | None = None

    def judged(self) -> Judged:
        """The record that rows take. Raises UserError where lengths do not fit together."""
        logp = np.array([np.nan if value is None else value for value in self.logp])
        ids, step_of = np.array(self.ids), np.array(self.step_of)
        rollout = Rollout(self.problem_id, self.index, self.version, ids, logp, step_of, self.finish)
        if len({len(votes) for votes in (*self.votes, *self.p_yes)}) > 1:
            raise UserError("'votes' and 'p_yes' must have a number for every step in each vote")
        found = Judged(
            rollout,
            self.outcome,
            np.array(self.votes, np.int8),
            np.array([[np.nan if p is None else p for p in votes] for votes in self.p_yes]),
            *(None if values is None else np.array(values) for values in (self.values, self.prefix)),
            guard=self.guard,
            nodes=None if self.nodes is None else np.array(self.nodes),
        )
        if self.exact is not None and len(self.exact) != found.n_steps + 1:
            raise UserError(f"'exact' has {len(self.exact)} numbers for {found.n_steps} steps")
        return found

    @classmethod
    def of(cls, judged: Judged, exact: np.ndarray | None = None) -> "StoredRollout":
        """The line of a judged rollout, which `read_judged` reads back the same."""
        r = judged.rollout

        def numbers(values: np.ndarray | None) -> tuple | None:
            return None if values is None else tuple(None if np.isnan(v) else v for v in values.tolist())

        return cls(
            problem_id=r.problem_id,
            index=r.index,
            version=r.version,
            ids=tuple(r.ids.tolist()),
            logp=numbers(r.logp) or (),
            step_of=tuple(r.step_of.tolist()),
            finish=r.finish,
            outcome=judged.outcome,
            votes=tuple(map(tuple, judged.votes.tolist())),
            p_yes=tuple(numbers(votes) or () for votes in judged.p_yes),
            values=numbers(judged.values),
            prefix=numbers(judged.prefix),
            nodes=numbers(judged.nodes),
            guard=judged.guard,
            exact=numbers(exact),
        )


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """The rollouts of one problem in the order of the file, and of each the exact values [T + 1] if they are known."""

    problem_id: str
    judged: tuple[Judged, ...]
    exact: tuple[np.ndarray | None, ...]


def read_judged(path: Path) -> list[StoredGroup]:
    """Reads a file of judged rollouts, or all files of that name (judged.jsonl) in a directory.

    Raises UserError where there is none, and naming the line of a row that is not as docs/files.md says.
    """
    present(path, "RUN")
    files = sorted(path.rglob(FILE)) if path.is_dir() else [path]
    groups: dict[tuple[Path, str, int], dict[int, tuple[Judged, np.ndarray | None]]] = {}

    def add(file: Path, row: dict) -> None:
        stored = from_json(StoredRollout, row)
        group = groups.setdefault((file, stored.problem_id, stored.version), {})
        if stored.index in group:
            raise UserError(f"rollout {stored.index} of the problem {stored.problem_id!r} came before")
        group[stored.index] = stored.judged(), None if stored.exact is None else np.array(stored.exact)

    for file in files:
        for _ in stream_records(file, lambda row, file=file: add(file, row)):
            pass
    if not groups:
        raise UserError(f"{path}: no judged rollouts ({FILE}) in it")
    return [StoredGroup(key[1], *map(tuple, zip(*group.values(), strict=True))) for key, group in groups.items()]


def judged_row(judged: Judged, exact: np.ndarray | None = None) -> dict:
    """Returns the row of a judged rollout for `jprm.records.append_jsonl`."""
    return to_json(StoredRollout.of(judged, exact))
