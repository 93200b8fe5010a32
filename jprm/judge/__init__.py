"""A benchmark's table for a checkpoint: `python -m jprm evaluate`.

Enter by `evaluate(Options(...))`. Votes are stored one by one under their (solution, step, vote);
the table is a function of what is stored, so it can be had again without the model (`regrade`), with
more votes later, and after any number of interruptions.

    options    what is asked
    items      the rows of the file, to the letter
    identity   what decides the votes, and the check that a directory holds no others
    store      the votes on disk
    sizes      the engine's sizes from texts and memory
    machine    model, tokenizer and code pool, opened when the first vote is to be drawn
    backends   what samples: the own engine, or a server
    judged     which of the stored votes count
    measures   every number, with its interval
    report     the table, and the same as JSON
"""

from jprm.judge.evaluate import evaluate
from jprm.judge.options import Options
from jprm.judge.sizes import Sizes

__all__ = ["Options", "Sizes", "evaluate"]
