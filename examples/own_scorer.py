"""A scorer of your own: a function of a solution, or a class where it needs a model. `python examples/own_scorer.py`.

From the command line: `python -m jprm evaluate --plugin examples/own_scorer.py --scorer arithmetic --data FILE`.
"""

import json
import re
from pathlib import Path

import jprm

EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")
OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


@jprm.scorer("arithmetic")
def arithmetic(problem, steps, seed):
    """Recomputes the equations of a step; a step without one has no judgement."""
    for step in steps:
        found = EQUATION.findall(step)
        right = [OPERATIONS[sign](int(a), int(b)) == int(c) for a, sign, b, c in found]
        yield (0.95 if all(right) else 0.05) if right else None


if __name__ == "__main__":
    rows = [
        {"id": f"math-{i}", "problem": f"What is {i} + 3 * 4?", "steps": [f"3 * 4 = {p}.", f"{i} + {p} = {i + p}."]}
        | {"label": -1 if p == 12 else 0}
        for i, p in enumerate([12, 11, 12, 12, 7])
    ]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = jprm.evaluate_checkpoint(None, "sums.jsonl", scorer="arithmetic", n=1, out="arithmetic-votes")
    for name, measure in result.overall.measures.items():
        print(f"{name:>20} {measure}")
