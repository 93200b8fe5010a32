"""Grading: the final answer of a text, and whether two answers are the same.

`same_answer` is exact, cheap and says yes or no; the worlds, whose answers are plain numbers, use it. `Grader` serves
benchmarks: it also knows LaTeX and symbols, compares in a program of the execution pool that may hang or die without
harm, and says so when it cannot tell.

`representatives` and `united` group a problem's answers that are the same, for votes.
"""

from jprm.grade.answers import final_answer, last_box
from jprm.grade.classes import Equivalence, Grouping, representatives, spelled_alike, united
from jprm.grade.exact import Grade, Graded, as_number, same_answer
from jprm.grade.grader import PRELOAD, Grader
from jprm.grade.pairs import grade_pairs
from jprm.grade.readable import unreadable
