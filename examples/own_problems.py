"""Problems of your own as a world: `python examples/own_problems.py`.

A row needs a problem and an answer; the names of its fields are guessed or told. With the same settings below
`world.settings` a sweep labels, teaches and judges on them (configs/sweep/math-qwen.toml).
"""

import json
from pathlib import Path

from jprm.worlds import load_world

rows = [
    {"question": f"A box holds {n} rows of {n + 2} eggs. How many eggs?", "answer": f"\\boxed{{{n * (n + 2)}}}"}
    for n in range(2, 40)
]
Path("eggs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

# [world]
# kind = "problems"
# settings = { train = "eggs.jsonl", steps = "lines" }
world = load_world("problems", train="eggs.jsonl", steps="lines")

for split in ("train", "dev", "test"):
    [problem] = world.problems(split, 1, seed=0)
    print(split, problem.text.strip(), "->", problem.answer)

# Solutions are cut into steps, and their final answers graded: by spelling, or as mathematics.
[problem] = world.problems("train", 1, seed=0)
steps = world.split_steps(f"Multiply the two.\nSo the answer is $\\boxed{{{problem.answer}}}$.")
print(steps, world.is_correct(problem, steps), world.is_correct(problem, ["It is \\boxed{1}."]))
