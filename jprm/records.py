"""The vocabulary that all rooms share, and the JSON lines that it is stored in.

Records are small, frozen and plain. Files of them only ever grow, by whole lines; a process that is killed while it
writes leaves at most one torn last line, which readers ignore and the next writer removes.

Invariant: `None` is "no judgement" or "unknown" everywhere, never "wrong".
"""

import dataclasses
import functools
import hashlib
import json
import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema

from jprm.errors import Unwritable, UserError
from jprm.strict_json import NotJson, parse

ReadOut = Literal["vote", "prob_raw", "prob_tempered"]
T = TypeVar("T")
# The bounds hold for what is read from a file.
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
_ANY: Mapping[str, Any] = types.MappingProxyType({})
_EXPECTED = {  # by pydantic's type of an error
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "dataclass_type"), "an object"),
    "too_short": "a list that is not empty",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A problem as the policy is given it. `text` ends with a newline."""

    id: str
    text: str
    answer: str
    tier: str = ""
    split: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """A solution in steps, each ending with a newline, or with all that separates it from the next.

    `first_error` is the exact truth: the 0-based index of the first wrong step, -1 for none, None when unknown.
    """

    id: str
    problem_id: str
    steps: tuple[str, ...]
    source: str
    first_error: int | None = None
    error_kind: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
    """Code that a verifier wrote: what ran, how it ended, and what the model read of it."""

    code: str
    kind: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement of one step: the sampled word, and P(Yes) before and after the temperature."""

    correct: bool | None
    p_yes_raw: Probability | None
    p_yes_tempered: Probability | None

    def reward(self, readout: ReadOut) -> float | None:
        """Returns the step reward in [0, 1] under a read-out; None where there was no judgement."""
        if self.correct is None:
            return None
        if readout == "vote":
            return float(self.correct)
        return self.p_yes_raw if readout == "prob_raw" else self.p_yes_tempered


@dataclasses.dataclass(frozen=True, slots=True)
class Rationale:
    """What one vote wrote about one step, its verdict, and the reason where there is none.

    shortened: earlier rationales that had lost a part when it was written, for the context's sake.
    unread: where there is no verdict, the kind of what stands in its place.
    quoted: control tokens that the step (and with the first one the problem), the outputs of code and
        the rationale spell, and tags of sections that outputs do; they were read as plain text.
    """

    solution_id: str
    step: Count
    vote: Count
    mode: str
    text: str
    executions: tuple[Execution, ...]
    verdict: Verdict
    generated_tokens: Count
    forced_tokens: Count
    reason: str = ""
    shortened: int = 0
    unread: str = ""
    quoted: int = 0


def as_judged(steps: Sequence[str]) -> tuple[str, ...]:
    """Returns steps as verifiers are shown them: each ends with one newline, whatever parts it from the next one.

    Paragraphs of a policy end with the empty line behind them, steps of a benchmark's file with nothing.
    """
    return tuple(step.rstrip("\n") + "\n" for step in steps)


def stable_id(*parts: str | int) -> str:
    """Returns 16 hex digits of a SHA-256 over the parts; they are the same in every process."""
    # a numpy integer counts as the Python integer of the same value
    named = (f"str:{p}" if isinstance(p, str) else f"int:{operator.index(p)}" for p in parts)
    return hashlib.sha256("\x00".join(named).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def to_json(record: Any) -> dict[str, Any]:
    """Returns a record as plain JSON values; tuples become lists."""
    return dataclasses.asdict(record)


def from_json(cls: type[T], row: Any) -> T:
    """Returns the record that `to_json` wrote.

    Raises UserError naming a field that is missing, unknown, of another type or out of its bounds.
    """
    try:
        return _record_validator(cls).validate_python(row)
    except ValidationError as error:
        raise UserError(f"{cls.__name__}: {_complaint(error)}") from None


def fields_of(row: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of others in which these fields have these types; what it has besides is kept.

    A type is what pydantic understands; a field that may be None may be absent. Raises UserError naming the first field
    that is missing or of another type.
    """
    try:
        return _row_validator(tuple(fields.items())).validate_python(row)
    except ValidationError as error:
        raise UserError(_complaint(error)) from None


@functools.cache  # building a validator takes milliseconds, checking a row microseconds
def _record_validator(cls: type[Any]) -> SchemaValidator:
    return SchemaValidator(_strict(TypeAdapter(cls).core_schema))


@functools.cache
def _row_validator(fields: tuple[tuple[str, Any], ...]) -> SchemaValidator:
    known = {}
    for name, kind in fields:
        may_be_absent = types.NoneType in typing.get_args(kind)
        known[name] = core_schema.typed_dict_field(TypeAdapter(kind).core_schema, required=not may_be_absent)
    return SchemaValidator(_strict(core_schema.typed_dict_schema(known, extra_behavior="allow")))


def _strict(schema: Any) -> Any:
    """Returns the schema under which no value passes for one of another type, and no record has unknown fields.

    Its own strict mode would refuse JSON's lists and objects for tuples and dataclasses, too.
    """
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(part) for name, part in schema.items()}
    if schema.get("type") in ("bool", "int", "float"):
        strict["strict"] = True
    elif schema.get("type") == "dataclass-args":
        strict["extra_behavior"] = "forbid"
    return strict


def _complaint(error: ValidationError) -> str:
    """Says in one line what pydantic complains of first, or of an unknown field, since that tells a foreign file."""
    errors = [(_name(e["loc"]), e) for e in error.errors(include_url=False, include_context=False)]
    unknown = [name for name, e in errors if e["type"] == "unexpected_keyword_argument"]
    name, first = errors[0]
    if unknown:
        return f"has no field {unknown[0]!r}"
    if first["type"] == "missing":
        return f"the field {name!r} is missing"
    asked = (_EXPECTED.get(e["type"], e["msg"].removeprefix("Input should be ")) for n, e in errors if n == name)
    return f"{repr(name) + ' ' if name else ''}must be {' or '.join(asked)}, it is {first['input']!r:.40}"


def _name(place: Sequence[str | int]) -> str:
    """Returns a field's dotted name without the member of a union that pydantic tried, the `str` in `id.str`."""
    return ".".join(str(part) for part in place if part not in ("str", "int", "float"))


def append_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    """Appends rows and waits until they are on disk; a torn last line is removed first.

    Raises Unwritable where the file cannot be written, ValueError for a number that JSON lacks.
    """
    # ASCII with escapes: any text survives, lone surrogates of a model's output included
    data = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode("ascii")
    if not data:
        return
    try:
        with open(path, "ab") as file:
            _cut_torn_line(Path(path))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = "free the space or choose another directory"
        raise Unwritable(f"{path}: cannot write ({error.strerror}); {advice}") from None


def read_jsonl(path: Path | str, fields: Mapping[str, Any] = _ANY) -> list[dict[str, Any]]:
    """Reads the rows of a file; there are none where there is no file. A torn last line is not a row.

    fields: the types of those that every row must have; it may have others.
    Raises UserError naming the line of any other damage.
    """
    return list(stream_jsonl(path, fields))


def stream_jsonl(path: Path | str, fields: Mapping[str, Any] = _ANY) -> Iterator[dict[str, Any]]:
    """Yields what `read_jsonl` returns, one row after another, so that memory does not grow with the file."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):  # what follows the last newline was never finished
                    yield row_of(line, f"{path}:{number}", fields)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from None


def stream_records(
    path: Path | str, make: Callable[[dict[str, Any]], T], fields: Mapping[str, Any] = _ANY
) -> Iterator[T]:
    """Yields `make(row)` for one row after another. Raises UserError naming the line of a row that it refuses."""
    for number, row in enumerate(stream_jsonl(path, fields), 1):
        try:
            yield make(row)
        except UserError as error:
            raise UserError(f"{path}:{number}: {error}; delete the line or the file") from None


def row_of(line: bytes, where: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row in a line with these fields. Raises UserError beginning with `where`."""
    try:
        row = parse(line)
        if not isinstance(row, dict):
            raise NotJson(f"expected a JSON object, found {type(row).__name__}")
        return fields_of(row, fields) if fields else row
    except (NotJson, UserError) as error:
        raise UserError(f"{where}: {error}; delete the line or the file") from None


def _cut_torn_line(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        return
    with open(path, "rb+") as file:
        end, newline = size, -1
        while newline < 0 < end:  # backwards in blocks: result files grow to gigabytes
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            end = start + newline + 1
        if end < size:
            file.truncate(end)
