"""Reads a sweep and draws F1 against the number of votes: `python examples/open_run.py [RUN]`.

Without a run directory it first computes the quick sweep of this folder, which takes a minute.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import jprm

run = jprm.open_run(sys.argv[1]) if sys.argv[1:] else jprm.sweep(Path(__file__).with_name("quick.toml"))

# 1. Cells are typed; a row is a cell at a number of votes.
for cell in run.cells:
    print(cell.name, cell.size, cell.train_examples, cell.variant or "(grid)")
    for row in cell.rows:
        print(f"  {row.n_votes} votes: F1 {row.f1}")

# 2. The whole vote curve, at every k, with intervals over problems.
figure, axes = plt.subplots()
for cell in run.cells:
    curve = cell.curve()
    points = [curve.f1(k) for k in curve.ks]
    axes.plot(curve.ks, [p.value for p in points], label=cell.variant or cell.code)
    axes.fill_between(curve.ks, [p.low for p in points], [p.high for p in points], alpha=0.2)
axes.set(xlabel="votes", ylabel="first-error F1")
axes.legend()
figure.savefig("votes.png")

# 3. What a vote wrote, and what its code printed.
name, rationales = next(iter(run.main.rationales().items()))
print(run.main.solutions()[name].problem.text, rationales[0].text)
for execution in rationales[0].executions:
    print(execution.code, "->", execution.text)
