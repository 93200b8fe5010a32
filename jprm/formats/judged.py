"""The one record that benchmarks and training files are read into: a solution judged by step.

Invariant: texts are exactly the file's (nothing stripped), because prompts and positions of a published protocol depend
on every character.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from jprm.errors import UserError
from jprm.formats.rows import FileRow
from jprm.records import Problem, Solution, stable_id

SHOWN = 400  # characters of a reason


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Input should be a text that is not empty")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Steps = Annotated[tuple[Text, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class JudgedSolution:
    """A solution with the truth of its steps.

    `labels[i]` is True where step i is right, False where it has the flaw that the file is about
    (an error; in MR-MATH's redundant part, redundancy), None where nobody knows. `pieces[i]` counts
    the parts of step i that published score files score separately; () where each step is one.
    """

    benchmark: str
    id: str
    problem: str
    steps: tuple[str, ...]
    labels: tuple[bool | None, ...]
    subset: str = ""
    category: str = ""
    generator: str = ""
    pieces: tuple[int, ...] = ()

    @property
    def first_error(self) -> int | None:
        """The 0-based first flawed step, -1 for none, None where an unknown label comes before."""
        for index, label in enumerate(self.labels):
            if label is not True:
                return index if label is False else None
        return -1

    def records(self) -> tuple[Problem, Solution]:
        """Returns the records of this package: every text is stripped and ended by a newline; no answer is known."""
        text = self.problem.strip() + "\n"
        problem = Problem(id=stable_id(self.benchmark, text), text=text, answer="", tier=self.subset, split="test")
        return problem, Solution(
            id=stable_id(self.benchmark, self.id, text),
            problem_id=problem.id,
            steps=tuple(step.strip() + "\n" for step in self.steps),
            source=self.generator or self.benchmark,
            first_error=self.first_error,
            error_kind="" if self.first_error == -1 else "unknown",
        )


@dataclass(frozen=True)
class JudgedFile:
    """The usable solutions of a file in their order, and "place: reason" of all other rows.

    `notes` are peculiarities of rows that were kept, "place: what".
    """

    items: tuple[JudgedSolution, ...]
    rejected: tuple[str, ...]
    notes: tuple[str, ...] = ()


Parse = Callable[[dict[str, Any], str, list[str]], list[JudgedSolution]]
"""Solutions of a row `(row, place, notes)`; raises UserError, appends peculiarities to `notes`."""


def parse_rows(rows: Iterable[FileRow], parse: Parse) -> JudgedFile:
    """Reads rows; a row with a fault, or with an id that came before, is rejected."""
    items: list[JudgedSolution] = []
    rejected: list[str] = []
    notes: list[str] = []
    seen: set[tuple[str, str]] = set()
    for row in rows:
        try:
            if row.fault:
                raise UserError(row.fault)
            if not isinstance(row.value, dict):
                raise UserError("not an object")
            found = parse(row.value, row.place, notes)
            for item in found:
                if (item.subset, item.id) in seen:
                    raise UserError(f"the id {item.id!r} stands in the file twice")
        except UserError as fault:
            rejected.append(f"{row.place}: {str(fault):.{SHOWN}}")  # it may quote the row
            continue
        seen.update((item.subset, item.id) for item in found)
        items += found
    return JudgedFile(tuple(items), tuple(rejected), tuple(notes))


def until_first_error(first_error: int, steps: int) -> tuple[bool | None, ...]:
    """Labels that a 0-based first error (-1: none) gives: what follows an error is unknown."""
    if first_error < 0:
        return (True,) * steps
    return (True,) * first_error + (False,) + (None,) * (steps - first_error - 1)
