"""The layout of your own file of judged solutions: `python examples/own_benchmark.py`.

A layout turns a row into solutions with the truth of their steps; rows that do not fit are rejected with their place.
From the command line: `python -m jprm evaluate --plugin examples/own_benchmark.py --data exam.jsonl ...`.
"""

import json
from pathlib import Path

import jprm
from jprm.formats.judged import JudgedSolution, until_first_error


@jprm.benchmark("exam", keys=("task", "lines", "first_wrong_line"), first_error_only=True)
def exam(row, place, notes):
    """Exams that a teacher has marked; the first wrong line counts from 1, 0 for none."""
    first = row["first_wrong_line"] - 1
    if not -1 <= first < len(row["lines"]):
        raise jprm.UserError(f"'first_wrong_line' is {first + 1}, but there are {len(row['lines'])} lines")
    labels = until_first_error(first, len(row["lines"]))
    return [JudgedSolution("exam", str(row["number"]), row["task"], tuple(row["lines"]), labels)]


@jprm.scorer("by-length")
def by_length(problem, steps, seed):
    """Distrusts long lines."""
    return [0.9 if len(step) < 12 else 0.1 for step in steps]


if __name__ == "__main__":
    rows = [
        {"number": 1, "task": "What is 2 + 2 + 2?", "lines": ["2 + 2 = 4", "4 + 2 = 6"], "first_wrong_line": 0},
        {"number": 2, "task": "What is 3 * 5?", "lines": ["3 * 5 = 3 + 5 = 8"], "first_wrong_line": 1},
        {"number": 3, "task": "What is 9 - 4?", "lines": ["9 - 4 = 5"], "first_wrong_line": 7},
    ]
    Path("exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = jprm.evaluate_checkpoint(None, "exam.jsonl", scorer="by-length", n=1, out="exam-votes")
    print(result.about["benchmark"], "F1", result.overall.measures["f1"])
    print("rejected:", *result.rejected)
