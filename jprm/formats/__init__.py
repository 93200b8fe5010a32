"""Files of judged solutions and of conversations: public benchmarks, and the layouts that training data is traded in.

Enter by `read_benchmark(path)` for a benchmark, by `convert` and `FORMATS` for training data, by `turns_of` for a
conversation, by `read_step_scores` for best-of-N, and by `read_rows` for plain rows. Whatever the layout, a row becomes
`JudgedSolution`s, or a rejection with its place and reason; what rejections mean is the caller's to decide.
"""

from jprm.formats.benchmarks import BenchmarkLayout, benchmark, read_benchmark
from jprm.formats.conversations import TrainingTurn, turns_of
from jprm.formats.convert import Conversion, convert, report
from jprm.formats.judged import JudgedFile, JudgedSolution, Text
from jprm.formats.rows import FileRow, read_rows, read_unpacked
from jprm.formats.scores import StepScores, read_step_scores
from jprm.formats.steps import FORMATS, StepFormat
