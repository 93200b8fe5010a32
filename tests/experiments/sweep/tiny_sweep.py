"""A sweep of seconds, made once for all tests that read it."""

import json
from pathlib import Path

# Labels by construction and planted errors: a model this little trained writes no solutions to roll out.
TINY = [
    "base.steps=12",
    "base.documents=400",
    "base.batch_rows=4",
    "base.checkpoint_every=4",
    "train.steps=8",
    "train.batch_rows=4",
    "train.checkpoint_every=3",
    "labels.source=planted",
    "labels.problems=12",
    "model.slots=16",
    "evaluate.benchmarks=['planted']",
    "evaluate.problems=12",
    "evaluate.candidates_problems=0",
    "verify.n_votes=2",
    "verify.workers=1",
    "grid.labels=exact",
    "grid.sizes=['tiny-0.1m']",
    "grid.train_examples=[8, 16]",
    "grid.ablations=['invented', 'unfiltered']",
]


def table(directory: Path) -> list[dict]:
    """The rows without what may differ: the time it took."""
    rows = [json.loads(line) for line in (directory / "embedded" / "results.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
