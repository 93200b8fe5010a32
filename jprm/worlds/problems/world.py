"""Files of problems as a `World`, without an oracle: final answers are graded, steps are not.

The splits are shares of all problems by their keys, so a problem stays in its split when rows are added or reordered.
With a test file the test split is that file, and whatever stands in it, with a usable answer or not, is in no other.

Invariant: splits share no problem. Only `reference` depends on more than the problem's own record.
"""

from __future__ import annotations

import heapq
import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from jprm.config import Config
from jprm.digests import content_digest
from jprm.errors import UserError
from jprm.grade import Equivalence, final_answer
from jprm.records import Problem, Solution
from jprm.seeds import seed_of
from jprm.worlds import base
from jprm.worlds.base import SPLITS, World
from jprm.worlds.problems.rows import FieldNames, ProblemRow, key_of, read_files
from jprm.worlds.problems.steps import SEPARATORS, STEP_ENDS, Layout, split

TEST_SHARE = 0.1


class ProblemsSettings(Config):
    """What a configuration may say about this world."""

    train: tuple[Path, ...] = Field(min_length=1)
    """The file of problems, or a list of them: JSON lines, a JSON list, both also as .gz, or parquet."""
    test: Path | None = None
    """The file of the test problems; by default a share of `train` is held out."""
    root: Path | None = None
    """The folder in which relative paths begin; in a sweep `data.root`, and without that the working directory."""
    problem_field: str | None = None
    """The field that holds the problem; by default problem, question or prompt."""
    answer_field: str | None = None
    """The field that holds the answer; by default answer or final_answer, or else the solution's last box."""
    solution_field: str | None = None
    """The field that holds a worked solution; by default solution."""
    dev_share: float = Field(default=0.1, ge=0, lt=1)
    """The share of the problems of `train` that are development problems."""
    test_share: float | None = Field(default=None, ge=0, lt=1)
    """The share that are test problems where there is no test file; by default 0.1."""
    steps: Layout = "paragraphs"
    """The steps of a solution: its paragraphs, which blank lines end, or its lines."""
    steps_pattern: str | None = None
    """A regular expression, instead of `steps`: a step ends where a match of it does."""
    grade_timeout_s: float = Field(default=5.0, gt=0)
    """The seconds that the comparison of two answers may take; those that take longer are not equal."""

    @field_validator("train", mode="before")
    @classmethod
    def _one_file_is_a_list(cls, train: Any) -> Any:
        return (train,) if isinstance(train, str | Path) else train

    @field_validator("steps_pattern")
    @classmethod
    def _a_pattern(cls, pattern: str | None) -> str | None:
        try:
            everywhere = pattern is not None and re.compile(pattern).match("") is not None
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if everywhere:
            raise ValueError("it matches where nothing stands, so every character would be a step")
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> ProblemsSettings:
        if self.test is not None and self.test_share is not None:
            raise ValueError("test_share is for a world without a test file; leave out test_share or test")
        if self.dev_share + self.held_out >= 1:
            raise ValueError("dev_share and test_share leave nothing for train")
        if self.steps_pattern is not None and "steps" in self.model_fields_set:
            raise ValueError("steps_pattern stands instead of steps; leave out one of them")
        return self

    @property
    def held_out(self) -> float:
        """The share of the problems of `train` that are test problems."""
        if self.test is not None:
            return 0.0
        return TEST_SHARE if self.test_share is None else self.test_share

    @property
    def separator(self) -> re.Pattern[str]:
        """What ends a step."""
        return re.compile(self.steps_pattern or SEPARATORS[self.steps])

    def path(self, file: Path) -> Path:
        """Where a file of `train` or `test` is."""
        return file if self.root is None else self.root / file


class ProblemsWorld(World):
    """Problems of any file with right answers; of their solutions only the final answer can be checked.

    Answers are the same where `jprm.grade.Equivalence` says so, which starts a pool with the first two that their
    spelling does not settle. The pool ends with the world.
    """

    name = "problems"
    version = "1"
    has_oracle = False
    path_settings = frozenset(("train", "test", "root"))

    def __init__(self, settings: ProblemsSettings):
        """Reads the files. Raises UserError where one cannot be read or holds no usable row."""
        self._separator = settings.separator
        self.step_end = "" if settings.steps_pattern else STEP_ENDS[settings.steps]
        names = FieldNames(settings.problem_field, settings.answer_field, settings.solution_field)
        train_files = [settings.path(file) for file in settings.train]
        test_files = [] if settings.test is None else [settings.path(settings.test)]
        train, test = read_files(train_files, names), read_files(test_files, names)
        self.digest = "-".join("+".join(map(content_digest, files)) for files in (train_files, test_files) if files)
        both = [row for key, row in train.usable.items() if key in test.keys]
        shared = [f"{row.place}: its problem stands in {settings.test}, too" for row in both]
        self.rejected = (*train.rejected, *shared, *test.rejected)
        self._splits: dict[str, list[ProblemRow]] = {split: [] for split in SPLITS}
        self._splits["test"] += test.usable.values()
        for key, row in train.usable.items():
            if key not in test.keys:
                self._splits[split_of(key, settings.dev_share, settings.held_out)].append(row)
        self._rows = {row.key: row for rows in self._splits.values() for row in rows}
        self.equivalence = Equivalence(workers=1, timeout_s=settings.grade_timeout_s)
        weakref.finalize(self, self.equivalence.close)

    def problems(self, split: base.Split, n: int, seed: int) -> list[Problem]:
        """Returns the `n` problems that come first in an order by seed and key, which added rows do not change.

        Raises UserError where there are fewer.
        """
        base.check_split(split)
        rows = self._splits[split]
        if n > len(rows):
            left_out = f" ({len(self.rejected)} rows were left out)" if self.rejected else ""
            raise UserError(f"problems has {len(rows)} {split} problems in these files{left_out}, {n} were asked")
        first = heapq.nsmallest(n, rows, key=lambda row: seed_of(seed, self.name, "problems", row.key))
        return [base.make_problem(self.name, row.text, row.answer, "", split) for row in first]

    def reference(self, problem: Problem, rng: np.random.Generator | None = None) -> Solution:
        """Returns the worked solution of the problem's row, of whose steps nobody knows the truth; `rng` is not used.

        Raises UserError where its row has none.
        """
        row = self._rows.get(key_of(problem.text))
        if row is None or not row.solution:
            raise UserError(
                f"problem {problem.id} has no worked solution in the files that were read; name the field of "
                "solutions with world.settings.solution_field"
            )
        return base.make_solution(problem, self.split_steps(row.solution), "reference", None)

    def split_steps(self, text: str) -> tuple[str, ...]:
        """Returns the steps of a text, which joined are the text; see `steps`."""
        return split(text, self._separator)

    def answer(self, steps: Sequence[str]) -> str | None:
        r"""Returns the last answer that is stated anywhere: `\boxed{..}`, `#### ..`, "the answer is ..."."""
        return final_answer("".join(steps))

    def is_correct(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Returns whether the final answer is known to equal the right one, after `grade_timeout_s` at the latest."""
        stated = self.answer(steps)
        return stated is not None and (stated == problem.answer or self.equivalence([(problem.answer, stated)])[0])


def split_of(key: str, dev_share: float, test_share: float) -> base.Split:
    """Returns the split of a problem of the train files: the lowest keys are for dev, the highest for test."""
    place = int(key[:12], 16) / 16**12
    return "dev" if place < dev_share else "test" if place >= 1 - test_share else "train"
