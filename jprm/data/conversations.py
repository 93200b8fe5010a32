"""Training files: rows of conversations or of text pieces, every mistake named by its line.

A row is a conversation in one of the layouts of `jprm.formats.turns_of`, or `{"pieces": [[text, trained], ...]}`
(`pieces_of` and `steps_of` say how probabilities are given); other keys are left alone. What an
assistant says is trained unless its `train` is false. What code printed is never trained: neither a
message of a tool, nor the part of an assistant's text between two output markers.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jprm.chat import ChatCodec, quote_messages, render_chat
from jprm.data.documents import Document, Soft
from jprm.errors import UserError
from jprm.formats.conversations import TRAINED_ROLE, layout_of, text_pair_of, turns_of
from jprm.formats.rows import FileRow
from jprm.formats.rows import read_rows as rows_of

TURN_OPEN, TURN_CLOSE = "<|im_start|>", "<|im_end|>"
SHOWN = 400  # how many characters of a reason an error shows
NAMED = 10  # how many lines an error names; the first ones are enough to find the cause

S = TypeVar("S")
T = TypeVar("T")
Pieces = list[tuple[str, bool | Soft]]
Markers = Sequence[tuple[str, str]]
Quote = Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The documents of a file. `lines[i]`, from 1, is the line of `documents[i]`.

    `untrained` are the lines that are left out because nothing in them is trained.
    """

    path: Path
    documents: tuple[Document, ...]
    lines: tuple[int, ...]
    untrained: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn of a conversation: its role, and the pieces of its text, each with whether it is trained."""

    role: str
    pieces: Pieces

    @property
    def text(self) -> str:
        """The whole text of the turn."""
        return "".join(text for text, _ in self.pieces)


def read_rows(path: Path, of_row: Callable[[dict[str, Any]], T]) -> list[tuple[int, T]]:
    """Reads a file as `jprm.formats` does: for each row its line, from 1, and what `of_row` makes of its object.

    Raises UserError naming every line that is no object or that `of_row` refuses.
    """
    rows = ((row.line, row) for row in rows_of(path))
    return by_line(path, rows, lambda row: of_row(_object(row)))


def read_pieces(path: Path, markers: Markers) -> list[tuple[int, Callable[[Quote], Pieces]]]:
    """Reads a file: for each row its line, and a function from how messages are quoted to the row's pieces.

    Conversations become pieces as `chatml` writes them. Pieces that a row gives are our own text: the
    control tokens that they spell are meant. Raises UserError naming bad lines.
    """

    def pieces(row: dict[str, Any]) -> Callable[[Quote], Pieces]:
        given = pieces_of(row)
        if given is not None:
            return lambda quote: given
        return partial(chatml, messages_of(row, markers))

    return read_rows(path, pieces)


def by_line(path: Path, numbered: Iterable[tuple[int, S]], make: Callable[[S], T]) -> list[tuple[int, T]]:
    """Applies `make` to every numbered item. Raises one UserError for all lines that it refuses."""
    made, bad = [], []
    for number, item in numbered:
        try:
            made.append((number, make(item)))
        except UserError as error:
            reason = str(error).removeprefix("data: ")
            bad.append(f"line {number}: {reason:.{SHOWN}}")  # a reason may quote the row
    if bad:
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise UserError(f"{path}: bad rows: {'; '.join(bad[:NAMED])}{more}")
    return made


def corpus_of(path: Path, documents: Sequence[tuple[int, Document]]) -> Corpus:
    """Keeps the documents that have something to learn. Raises UserError where none has."""
    kept = [(line, d) for line, d in documents if d.weights[1:].any()]
    untrained = tuple(line for line, d in documents if not d.weights[1:].any())
    if not kept:
        why = f"none of {len(untrained)} rows has a token to train on" if untrained else "no rows"
        raise UserError(f"{path}: {why}; trained is what an assistant says, and pieces [text, true]")
    lines, trained = zip(*kept, strict=True)
    return Corpus(Path(path), trained, lines, untrained)


def pieces_of(row: dict[str, Any], beginning: str = "", end: str = TURN_CLOSE) -> Pieces | None:
    """Returns the pieces of a row that gives them, or that is a prompt and a completion; None for a conversation.

    A piece is [text, trained], or [text, other, probability] for a token with a soft label. A prompt is not trained,
    and `beginning` and `end`, the tokens around a text, are added to it and to its completion where they do not stand
    there, as TRL's SFTTrainer does. Raises UserError for pieces of another form, and for a row that has no layout.
    """
    if (pair := text_pair_of(row)) is not None:
        prompt, completion = pair
        prompt = prompt if prompt.startswith(beginning) else beginning + prompt
        return [(prompt, False), (completion if completion.endswith(end) else completion + end, True)]
    if layout_of(row) != "pieces":
        return None
    pieces: Pieces = []
    for i, piece in _listed(row):
        match piece:
            case [str(text), bool(trained)]:
                pieces.append((text, trained))
            case [str(text), str(other), p] if _is_probability(p):
                pieces.append((text, Soft(other, float(p))))
            case _:
                raise UserError(f"data: pieces[{i}] must be [text, true or false] or [text, other, probability]")
    return pieces


def steps_of(row: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Returns the [text, probability or null] pieces of a row for a step head. Raises UserError for others."""
    if layout_of(row) != "pieces":
        raise UserError(
            "data: a step head is trained on 'pieces' of [text, probability or null]; "
            "`python -m jprm data convert --to pieces` writes them from step labels"
        )
    steps = []
    for i, piece in _listed(row):
        match piece:
            case [str(text), p] if p is None or _is_probability(p):
                steps.append((text, None if p is None else float(p)))
            case _:
                raise UserError(f"data: pieces[{i}] must be [text, probability or null]")
    return steps


def _listed(row: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    if not isinstance(row.get("pieces"), list):
        raise UserError("data: 'pieces' must be a list")
    return enumerate(row["pieces"])


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def messages_of(row: dict[str, Any], markers: Markers) -> list[Message]:
    """Returns the turns of a conversation; text between a pair of `markers`, both included, is not trained.

    Raises UserError for anything that is not a conversation.
    """
    return [
        Message(turn.role, without_output(turn.text, markers) if turn.trained else [(turn.text, False)])
        for turn in turns_of(row)
    ]


def chatml(messages: Sequence[Message], quote: Quote = str) -> Pieces:
    """Writes a conversation as the models trained here read it; the end of a turn is trained with the turn.

    quote: marks the contents, so that none spells the header or the end of a turn.
    """
    pieces: Pieces = []
    for message in messages:
        pieces.append((f"{TURN_OPEN}{message.role}\n", False))
        pieces += [(quote(text), trained) for text, trained in message.pieces]
        pieces.append((TURN_CLOSE, any(trained for _, trained in message.pieces)))
        pieces.append(("\n", False))
    return pieces


def chat_document(
    messages: Sequence[Message], codec: ChatCodec, markers: Markers, control_tokens: bool = False
) -> Document:
    """Makes the document of a conversation as a checkpoint's own chat template writes it.

    `render_chat` says which tokens an assistant wrote; the turns that are not to be trained, and what
    code printed between a pair of `markers`, with every token that touches it, are taken out of that
    again. control_tokens: see `jprm.chat.render_chat`. Raises UserError for what the template refuses or rewrites.
    """
    raw = [{"role": message.role, "content": message.text} for message in messages]
    if not control_tokens:
        raw = quote_messages(raw, codec)
    ids, learnt = render_chat(raw, codec, control_tokens=True)  # whatever still spells one is meant
    weights = learnt.astype(np.float32)
    turns = [message for message in messages if message.role == TRAINED_ROLE]
    if all(trained for message in turns for _, trained in message.pieces):
        return Document(ids, weights)
    text = codec.chat_text(raw)
    _, offsets = codec.encode_offsets(text)
    starts, ends = np.asarray(offsets, np.int64).reshape(-1, 2).T
    runs = _stretches(learnt)
    if len(runs) != len(turns):
        raise UserError(
            f"data: the chat template trains {len(runs)} stretches of {len(turns)} assistant turns, so "
            "none can be left out; give the row as 'pieces'"
        )
    for (first, last), turn in zip(runs, turns, strict=True):
        if not any(trained for _, trained in turn.pieces):
            weights[first:last] = 0
            continue
        at = starts[first]
        for piece, trained in without_output(text[at : ends[last - 1]], markers):
            if not trained:
                weights[first:last][(starts[first:last] < at + len(piece)) & (ends[first:last] > at)] = 0
            at += len(piece)
    return Document(ids, weights)


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """Finds [first, last) of every stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def without_output(text: str, markers: Markers) -> Pieces:
    """Cuts an assistant's text into trained pieces, and untrained ones from an opening marker to its close.

    A span that is not closed goes on to the end.
    """
    pieces: Pieces = []
    while text:
        starts = [(text.find(opening), opening, close) for opening, close in markers]
        starts = [found for found in starts if found[0] >= 0]
        if not starts:
            return [*pieces, (text, True)]
        start, opening, close = min(starts)
        end = text.find(close, start + len(opening))
        end = len(text) if end < 0 else end + len(close)
        pieces += [(text[:start], True)] if start else []
        pieces.append((text[start:end], False))
        text = text[end:]
    return pieces


def _object(row: FileRow) -> dict[str, Any]:
    if row.fault:
        raise UserError(row.fault)
    if not isinstance(row.value, dict):
        raise UserError(f"expected a JSON object, found {type(row.value).__name__}")
    return row.value
