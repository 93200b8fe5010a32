"""A search that is to be killed: python killed.py STORE STRATEGY [SECONDS per call]."""

import sys
import time

from jprm.search import make_strategy, run_search
from tests.search.toys import Answers, ToyPolicy, ToyRefiner, flipping, problems

SETTINGS = {
    "best_of_n": {"n": 3},
    "beam": {"width": 2, "expand": 2},
    "dvts": {"width": 2, "expand": 2},
    "lookahead": {"width": 2, "expand": 2, "greedy": False},
    "mcts": {"walks": 2, "expand": 2, "rollouts": 1},
    "critic": {"n": 2, "turns": 2},
}


class SlowPolicy(ToyPolicy):
    """Takes its time, so that a kill finds it at work."""

    pause_s = 0.0

    def grow(self, requests):
        time.sleep(self.pause_s)
        return super().grow(requests)


def search(store, name, pause_s=0.0, in_flight=4):
    """The rows of 24 problems."""
    policy = SlowPolicy()
    policy.pause_s = pause_s
    return run_search(
        problems(24, steps=4),
        make_strategy(name, **SETTINGS[name]),
        policy,
        flipping(0.1),
        Answers(),
        store,
        refiner=ToyRefiner(),
        in_flight=in_flight,
    )


if __name__ == "__main__":
    search(sys.argv[1], sys.argv[2], float(sys.argv[3]))
