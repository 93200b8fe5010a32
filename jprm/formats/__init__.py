"""Files of judged solutions: public benchmarks, and the layouts that step labels are traded in.

Enter by `read_benchmark(path)` for a benchmark and by `read_judged(path, format)` and
`write_judged` for training data. Both give `JudgedSolution`s, and for every row that cannot be
used its place and the reason; what rejections mean is the caller's to decide.
"""

from jprm.formats.benchmarks import BENCHMARKS, read_benchmark
from jprm.formats.judged import JudgedFile, JudgedSolution
from jprm.formats.scores import StepScores, read_step_scores

__all__ = [
    "BENCHMARKS",
    "JudgedFile",
    "JudgedSolution",
    "StepScores",
    "read_benchmark",
    "read_step_scores",
]
