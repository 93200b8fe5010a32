"""A rule of your own that turns Monte-Carlo values into labels: `python examples/own_label_rule.py`.

It takes the values of one solution, from that of the bare problem to that of the last step, and gives 1 for every right
step and 0 for every wrong one. From the command line: `plugins=examples/own_label_rule.py grid.labels=halved`.
"""

import json
from pathlib import Path

import jprm
from jprm.seeds import rng_of
from jprm.worlds import load_world


@jprm.label_rule("halved")
def halved(mc):
    """A step is wrong if it halves the best value that the solution has had."""
    return [int(value > max(mc[:t]) / 2) for t, value in enumerate(mc[1:], 1)]


if __name__ == "__main__":
    # 1. Labelled solutions, as `python -m jprm label` writes them: here with values that are made up.
    world, rng, rows = load_world("embedded"), rng_of(0, "example"), []
    for problem in world.problems("train", 24, 0):
        for solution in (world.reference(problem), world.planted(problem, rng)):
            if solution is not None:
                wrong = solution.first_error if solution.first_error >= 0 else len(solution.steps)
                mc = [0.8 if t <= wrong else 0.2 for t in range(len(solution.steps) + 1)]
                rows.append({"problem": problem.text, "answer": problem.answer, "steps": solution.steps, "mc": mc})
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    # 2. A verifier learns from them under the rule.
    words = ["name=halved", "labels.source=file", "labels.file=labels.jsonl", "grid.labels=halved", "grid.ablations=[]"]
    run = jprm.sweep(Path(__file__).with_name("quick.toml"), *words)
    print(run.main.name, "F1", run.main.rows[-1].f1)
