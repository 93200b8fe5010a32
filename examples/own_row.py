"""A row of your own, which turns judgements into credit: `python examples/own_row.py`.

It takes one problem's judged rollouts and gives each token an advantage. From the command line:
`python -m jprm rl credit RUN --rows last-step --plugin examples/own_row.py`.
"""

from pathlib import Path

import numpy as np

import jprm
from jprm.records import append_jsonl
from jprm.rl import Judged, Rollout, audit, by_step, judged_row, read_judged
from jprm.seeds import rng_of


@jprm.row("last-step", needs=("votes",))
def last_step(group, size=1.0):
    """The step that most votes call wrong loses, all others are neutral."""
    made = []
    for judged in group:
        advantages = np.zeros(judged.n_steps)
        if judged.first_wrong is not None:
            advantages[judged.first_wrong] = -size
        made.append(by_step(judged, advantages))
    return made


def rollout(problem, index, rng):
    """A rollout of three steps with two tokens each: its judgements, and the exact values of its states."""
    wrong = int(rng.integers(0, 6))  # no step, in half of them
    exact = np.where(np.arange(4) <= wrong, [0.5, 0.6, 0.8, 1.0], 0.0)
    truth = np.arange(3) != wrong
    votes = np.where(rng.random((4, 3)) < 0.85, truth, ~truth)
    drawn = Rollout(problem, index, 0, rng.integers(0, 50, 6), np.full(6, -0.7), np.repeat(np.arange(3), 2), "stop")
    return judged_row(Judged(drawn, bool(exact[-1]), votes, values=exact), exact)


if __name__ == "__main__":
    # 1. Judged rollouts, as a run stores them: here ones that are made up.
    rng, path = rng_of(0, "own row"), Path("judged.jsonl")
    path.unlink(missing_ok=True)
    append_jsonl(path, [rollout(f"problem {i}", j, rng) for i in range(40) for j in range(4)])

    # 2. How near the credit of a row is to the exact advantage of every step.
    for name in ("outcome", "prefix", "last-step"):
        found = audit(name, read_judged(path))
        print(name, "Spearman", round(found["spearman"], 2), "sign errors", round(found["sign_errors"], 3))
