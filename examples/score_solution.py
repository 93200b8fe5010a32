"""Judges one solution, as in a notebook: `python examples/score_solution.py [CHECKPOINT]`.

With a checkpoint it is one call less: `jprm.Verifier.from_checkpoint(DIR)`.
"""

import sys
from pathlib import Path

import jprm

PROBLEM = "Ann has 8. Joe gets 3 more than Ann. How many does Joe get?"
STEPS = ["Step 1: Joe = Ann + 3 = 8 + 3 = 12, so Joe has 12. Answer: 12."]

if sys.argv[1:]:
    verifier = jprm.Verifier.from_checkpoint(sys.argv[1])
else:
    verifier = jprm.Verifier.from_run(jprm.sweep(Path(__file__).with_name("quick.toml")).path)
with verifier:
    scored = verifier.score(PROBLEM, STEPS, n=4)

print(scored)  # a line for each step, then the verdict
print("first wrong step, from 0:", scored.first_error)
for rationale in scored.steps[0].rationales:
    print(rationale.vote, rationale.verdict.correct, rationale.text.strip())
