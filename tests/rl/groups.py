"""Judged rollouts for tests: by hand from a few words, and any that hypothesis thinks of."""

import numpy as np
from hypothesis import strategies as st

from jprm.rl import Judged, Rollout


def rollout(tokens, index=0, ids=None, problem="p", forced=()):
    """A rollout with so many tokens in each step; those at `forced` were not drawn."""
    step_of = np.repeat(np.arange(len(tokens)), tokens)
    logp = np.full(len(step_of), -0.5)
    logp[list(forced)] = np.nan
    ids = np.arange(len(step_of)) + 100 * index if ids is None else ids
    return Rollout(problem, index, 0, ids, logp, step_of, "stop")


def judged(tokens, outcome=None, votes=(), index=0, p_yes=None, forced=(), ids=None, **known):
    """A judged rollout; without `p_yes` each vote is as sure as its word."""
    votes = np.array(votes, np.int8).reshape(-1, len(tokens)) if len(votes) else np.zeros((0, len(tokens)))
    p_yes = np.where(votes < 0, np.nan, votes) if p_yes is None else np.array(p_yes, float).reshape(votes.shape)
    return Judged(rollout(tokens, index, ids, forced=forced), outcome, votes, p_yes, **known)


shares = st.floats(0, 1, width=16)


@st.composite
def groups(draw, least=2, most=4):
    """A group of one problem in which anything may be unknown, and rollouts may share beginnings."""
    found = []
    n_votes = draw(st.integers(0, 3))
    for index in range(draw(st.integers(least, most))):
        tokens = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        length, steps = sum(tokens), len(tokens)
        votes = np.array(
            draw(st.lists(st.sampled_from((-1, 0, 1)), min_size=n_votes * steps, max_size=n_votes * steps)), np.int8
        ).reshape(n_votes, steps)
        p_yes = np.array(draw(st.lists(shares, min_size=votes.size, max_size=votes.size))).reshape(votes.shape)
        found.append(
            Judged(
                rollout(
                    tokens,
                    index,
                    np.array(draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))),
                    forced=draw(st.sets(st.integers(0, length - 1), max_size=2)),
                ),
                draw(st.sampled_from((True, False, None))),
                votes,
                np.where(votes < 0, np.nan, p_yes),
                np.array(draw(st.lists(shares, min_size=steps + 1, max_size=steps + 1))),
                np.array(draw(st.lists(shares, min_size=steps + 1, max_size=steps + 1))),
                draw(st.sampled_from(((), (), (), ("answer",)))),
            )
        )
    return found
