"""Runs a sweep from Python: does a lower temperature judge better? `python examples/run_sweep.py [key=value ...]`.

The sweep takes the quick configuration of this folder and adds an axis. It can be killed at any time: the same
call goes on from there, and a second one computes nothing.
"""

import sys
from pathlib import Path

import jprm

QUICK = Path(__file__).with_name("quick.toml")
AXES = 'axes=[{key = "verify.temperature", values = [0.7, 1.1]}]'

run = jprm.sweep(QUICK, "name=temperatures", "grid.train_examples=[16]", AXES, *sys.argv[1:], progress=True)

for cell in run.cells:
    last = cell.rows[-1]
    print(cell.values["verify.temperature"], last.n_votes, "votes: F1", last.f1)
for name, reason in run.failures.items():
    print(name, "failed:", reason)

# The same rows as a table, where pandas or polars is installed.
try:
    print(run.frame())
except jprm.UserError as error:
    print(error)
