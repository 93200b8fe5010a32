"""What reinforcement learning with process rewards speaks of: rollouts, what was judged of them, and token credits.

All arrays are numpy. L is the number of a rollout's tokens, T that of its steps, N that of the votes.

Invariant: a token is trained where the policy drew it (it has a log-probability) as a part of a step. Prompts, padding
and forced tokens are not, and no row can change that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jprm.errors import UserError


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """A solution that the policy drew, token by token.

    version: of the parameters that drew it. ids [L], i32. logp [L], f32: of each drawn token under the distribution
    that it was drawn from; nan for a forced one. step_of [L], i32: the step (from 0) whose text holds the token's first
    character, -1 for a token of no step. The separator ends its own step, and the last step has the stop token. A text
    without steps is one step. Raises UserError for arrays that do not fit together.
    """

    problem_id: str
    index: int
    version: int
    ids: np.ndarray
    logp: np.ndarray
    step_of: np.ndarray
    finish: Literal["stop", "length"]

    def __post_init__(self):
        for name, dtype in (("ids", np.int32), ("logp", np.float32), ("step_of", np.int32)):
            object.__setattr__(self, name, _array(getattr(self, name), dtype, 1, name))
        lengths = {len(self.ids), len(self.logp), len(self.step_of)}
        if len(lengths) != 1:
            raise UserError(f"'ids', 'logp' and 'step_of' have different lengths: {sorted(lengths)}")
        steps = self.step_of[self.step_of >= 0]
        if (self.step_of < -1).any() or (np.diff(steps) < 0).any():
            raise UserError("'step_of' must be -1 or a step's index, and steps come in their order")

    @property
    def trained(self) -> np.ndarray:
        """Whether each token is trained [L]: it was drawn, and belongs to a step."""
        return np.isfinite(self.logp) & (self.step_of >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A rollout and what is known of it. `None` and -1 are "unknown", never "wrong".

    outcome: whether the final answer is right. votes [N, T], i8: 1 right, 0 wrong, -1 unreadable. p_yes [N, T]: P(Yes)
    of each vote, nan without one. values [T + 1]: the Monte-Carlo value of each state under a named policy, from that
    of the bare problem to that of the end. prefix [T + 1]: the share of short forced answers that are right after each
    beginning (VSRM). They are f64, so that identities hold to rounding. nodes [T], i32: the node of the group's tree in
    which each step ends, where the rollouts were drawn as a tree. guard: reasons of `jprm.rl.guard` against the text.
    Raises UserError for arrays that do not fit together, and for votes and P(Yes) that are none.
    """

    rollout: Rollout
    outcome: bool | None = None
    votes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    p_yes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    values: np.ndarray | None = None
    prefix: np.ndarray | None = None
    guard: tuple[str, ...] = ()
    nodes: np.ndarray | None = None

    def __post_init__(self):
        least = int(self.rollout.step_of.max(initial=-1)) + 1
        votes = np.asarray(self.votes)
        unjudged = not votes.size and votes.shape[1:] in ((), (0,))  # it says nothing of the number of steps
        votes = _array(np.zeros((0, least)) if unjudged else votes, np.int8, 2, "votes")
        p_yes = np.asarray(self.p_yes, np.float64)
        p_yes = _array(p_yes if p_yes.size else np.full(votes.shape, np.nan), np.float64, 2, "p_yes")
        if p_yes.shape != votes.shape:
            raise UserError(f"'p_yes' has the shape {p_yes.shape}, but 'votes' {votes.shape}")
        if not np.isin(votes, (-1, 0, 1)).all():
            raise UserError("'votes' must be 1 (right), 0 (wrong) or -1 (unreadable)")
        if votes.shape[1] < least:
            raise UserError(f"'step_of' has {least} steps, but 'votes' judge {votes.shape[1]}")
        known = {"votes": votes, "p_yes": p_yes, "guard": tuple(self.guard)}
        for name in ("values", "prefix"):
            if (given := getattr(self, name)) is not None:
                known[name] = _array(given, np.float64, 1, name)
                if len(known[name]) != votes.shape[1] + 1:
                    raise UserError(f"'{name}' has {len(known[name])} numbers for {votes.shape[1]} steps")
                if not np.isfinite(known[name]).all():
                    raise UserError(f"'{name}' holds a number that is not finite")
        if self.nodes is not None:
            known["nodes"] = _array(self.nodes, np.int32, 1, "nodes")
            if len(known["nodes"]) != votes.shape[1]:
                raise UserError(f"'nodes' has {len(known['nodes'])} numbers for {votes.shape[1]} steps")
        if (p_yes < 0).any() or (p_yes > 1).any():
            raise UserError("'p_yes' must lie between 0 and 1")
        for name, value in known.items():
            object.__setattr__(self, name, value)

    @property
    def n_steps(self) -> int:
        """T, the steps of the rollout."""
        return self.votes.shape[1]

    @property
    def right_share(self) -> np.ndarray:
        """The share of readable votes that call each step right [T]; nan where none is readable."""
        readable = (self.votes >= 0).sum(axis=0)
        right = (self.votes == 1).sum(axis=0)
        return np.where(readable > 0, right / np.maximum(readable, 1), np.nan)

    @property
    def verdicts(self) -> np.ndarray:
        """What most of the readable votes say of each step [T]: 1 right, 0 wrong, nan where nothing is known.

        A tie does not accuse: right steps would be lost at every even N (SPARK's pins, `docs/rl.md`).
        """
        share = self.right_share
        return np.where(np.isnan(share), np.nan, share >= 0.5)

    @property
    def first_wrong(self) -> int | None:
        """The first step that `verdicts` call wrong, from 0; None where they call none so."""
        wrong = np.flatnonzero(self.verdicts == 0)
        return int(wrong[0]) if len(wrong) else None

    @property
    def vote_scores(self) -> np.ndarray:
        """P(Yes) of each vote on each step [N, T], the word itself where P(Yes) is not known; nan without a vote."""
        readable = np.where(self.votes >= 0, self.votes.astype(np.float64), np.nan)
        return np.where(np.isnan(self.p_yes) | np.isnan(readable), readable, self.p_yes)

    @property
    def scores(self) -> np.ndarray:
        """The mean of the readable `vote_scores` on each step [T]; nan where there are none."""
        scores = self.vote_scores
        known = ~np.isnan(scores)
        return np.where(known.any(axis=0), np.nansum(scores, axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)

    def guarded(self) -> Judged:
        """What a row is shown of it: where the guard has a reason, a wrong outcome and steps that nobody judged."""
        if not self.guard:
            return self
        flat = {name: np.zeros(self.n_steps + 1) for name in ("values", "prefix") if getattr(self, name) is not None}
        unread = {"votes": np.full_like(self.votes, -1), "p_yes": np.full_like(self.p_yes, np.nan)}
        return dataclasses.replace(self, outcome=False, **unread, **flat)


@dataclass(frozen=True, slots=True, eq=False)
class Credit:
    """What a row makes of a rollout: advantage [L] and weight [L], f64, and numbers worth a look.

    A weight of 0 keeps a token out of the loss.
    """

    advantage: np.ndarray
    weight: np.ndarray
    facts: Mapping[str, float] = field(default_factory=dict)


def _array(value: Any, dtype: Any, dimensions: int, name: str) -> np.ndarray:
    found = np.asarray(value, dtype)
    if found.ndim != dimensions:
        raise UserError(f"'{name}' must have {dimensions} dimensions, it has {found.ndim}")
    return found
