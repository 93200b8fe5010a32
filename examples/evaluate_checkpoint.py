"""Scores judged solutions with a checkpoint: `python examples/evaluate_checkpoint.py DIR [key=value ...]`.

DIR is a Hugging Face directory, or a name of the hub that is in the local cache. More votes later are drawn on top of
those that are stored.
"""

import json
import sys
from pathlib import Path

import jprm

# 1. Three rows in the layout of ProcessBench; `label` is the first wrong step from 0, or -1.
ROWS = [
    {"id": f"math-{i}", "problem": f"What is {i} + 3 * 4?", "steps": [f"3 * 4 = {p}.", f"{i} + {p} = {i + p}."]}
    | {"label": -1 if p == 12 else 0, "generator": "example"}
    for i, p in ((2, 12), (3, 11), (5, 12))
]
Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

# 2. Votes are stored in `out` one by one; the same call goes on where it was stopped.
model, *overrides = sys.argv[1:]
result = jprm.evaluate_checkpoint(model, "rows.jsonl", n=2, out="votes", overrides=overrides)

# 3. Every number has an interval over problems.
print("F1", result.overall.measures["f1"], "without a verdict", result.overall.missing_share)
for solution in result.solutions:
    print(solution.item.name, solution.item.truth.first_error, solution.rewards)
