"""Texts of others inside of ours: what they spell of a control token is read as plain text.

A control token is one that a text may not spell by chance: a special token of the vocabulary, and
any other added token that looks like a tag (`<think>`, `[/INST]`, `<output>\\boxed{`). A text of
others is *quoted* before it is joined with ours: MARK stands before a character that may be no part
of a control token (and before MARK itself). Around the quoted texts a conversation stays one text,
and is tokenised at once; `Quoter.encode` takes the marks out again.

A text without marks has the ids that it always had.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a mistake in a path is told before anything heavy is loaded
    import tokenizers as hf

MARK = "\ufdd0"  # a noncharacter of Unicode: no text that is meant for others holds it
BREAK = "\u200b"  # a blank without width, for readers that know no marks
TAG = re.compile(r"<[^<>\s]+>|\[[/|]?\w[\w ]+")
OWN = re.compile(r"</?[a-z_]+>")  # of these, what a model writes inside of its own turn
THOUGHT = ("<think>", "</think>")

_MARKED = re.compile(f"{MARK}(.)", re.DOTALL)
Offsets = list[tuple[int, int]]


def unquote(text: str) -> str:
    """Returns the text without its marks."""
    return _MARKED.sub(r"\1", text) if MARK in text else text


def marks(text: str) -> int:
    """Returns how many spellings of control tokens are marked in a text."""
    return sum(found[1] != MARK for found in _MARKED.finditer(text)) if MARK in text else 0


def marked(quoted: str, spellings: Iterable[str]) -> str:
    """Puts marks into a quoted text until a search finds none of these spellings; it still means the same text."""
    for text in spellings:
        if len(text) > 1:
            quoted = quoted.replace(text, text[0] + MARK + text[1:])
    return quoted


def broken(text: str) -> str:
    """Prepares a quoted text for readers that know no marks: a zero-width blank breaks every spelling."""
    return _MARKED.sub(lambda m: m[1] if m[1] == MARK else BREAK + m[1], text)


def controls_of(backend: hf.Tokenizer, ends: Iterable[int] = ()) -> dict[str, int]:
    """Maps the text of each control token of a tokenizer to its id; the tokens `ends` always count as such."""
    added = backend.get_added_tokens_decoder()
    controls = {
        token.content: i for i, token in added.items() if token.content and (token.special or TAG.search(token.content))
    }
    if type(backend.model).__name__ == "WordLevel":  # its tags are words like all others
        controls |= {text: i for text, i in backend.get_vocab().items() if TAG.search(text)}
    return controls | {text: i for i in ends if (text := backend.id_to_token(i))}


class Quoter:
    """Marks and reads what spells a control token of one vocabulary."""

    def __init__(
        self,
        backend: hf.Tokenizer,
        controls: Mapping[str, int],
        plain: Callable[[str], tuple[list[int], Offsets]] | None = None,
    ):
        """controls: ids of the control tokens by their texts.

        plain: reads a text without any of them, as ids and the characters that each covers; None:
            the backend, from which they are taken away.
        """
        self.controls = dict(controls)
        self._backend = backend
        self._plain = plain or self._without_controls
        self._added = backend.get_added_tokens_decoder()
        self._spelled = _starts(controls)
        self._not_own = _starts([text for text in controls if not self._is_own(text)])
        self._tokens = re.compile(f"{MARK}.|{_any_of(controls) or '(?!)'}", re.DOTALL)

    def _is_own(self, text: str) -> bool:
        """Says whether a model writes this token inside its own turn; tokens that begin or end a turn are special."""
        token = self._added.get(self.controls[text])
        special = token is not None and token.special
        return text in THOUGHT or bool(OWN.fullmatch(text) and not special)

    def quote(self, text: str, own: bool = False) -> str:
        """Returns the text with marks in it, or unchanged if it spells no control token.

        own: it is what a model said, in which the marks of its thinking and of its tools
            (`<think>`, `<tool_call>`) are tokens.
        """
        pattern = self._not_own if own else self._spelled
        if text.isascii() and not self._tokens.search(text):
            return text
        at = {i for i, char in enumerate(text) if char == MARK} if MARK in text else set()
        for found in pattern.finditer(text):
            # Its second character, so that nobody who looks for the token in the text finds it.
            at.add(found.start() + (len(found[1]) > 1))
            if text[found.start()] in self.controls:
                at.add(found.start())
        if self._hides_one(text, pattern):
            at = set(range(len(text)))
        if not at:
            return text
        return "".join(MARK + char if i in at else char for i, char in enumerate(text))

    def _hides_one(self, text: str, pattern: re.Pattern[str]) -> bool:
        """Returns whether a control token comes up only in the normal form of the text."""
        normalizer = self._backend.normalizer
        if normalizer is None or text.isascii():
            return False
        found = len(pattern.findall(normalizer.normalize_str(text)))
        return found > len(pattern.findall(text))

    def encode(self, quoted: str) -> tuple[list[int], Offsets]:
        """Returns the token ids, and for each the characters [start, end) of the quoted text that it covers."""
        ids: list[int] = []
        offsets: Offsets = []
        at = 0
        for start, end, control in [*self._genuine(quoted), (len(quoted), len(quoted), None)]:
            places = _places(quoted, at, start)
            if places:
                plain, covered = self._plain("".join(quoted[i] for i in places))
                ids += plain
                offsets += [(places[a], places[b - 1] + 1) for a, b in covered]
            if control is not None:
                ids.append(control)
                offsets.append((start, end))
            at = end
        return ids, offsets

    def decode(self, ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> str:
        """Decodes ids with `decode`, and quotes what merely spells a control token without being one."""
        text, controls = decode(ids), set(self.controls.values())
        if self.quote(text) == text:
            return text
        parts = ((is_control, decode(list(part))) for is_control, part in itertools.groupby(ids, controls.__contains__))
        return "".join(part if is_control else self.quote(part) for is_control, part in parts)

    def _genuine(self, quoted: str) -> Iterator[tuple[int, int, int]]:
        """Yields (start, end, id) of each control token that is not quoted, with the blanks that it takes in.

        As the library finds them: the first of the text, and of those that begin there the longest.
        """
        at = 0
        for found in self._tokens.finditer(quoted):
            if found[0][0] == MARK:
                continue
            start, end, i = *found.span(), self.controls[found[0]]
            token = self._added.get(i)
            if token is not None and token.lstrip:
                start = at + len(quoted[at:start].rstrip())
            if token is not None and token.rstrip:
                end += len(quoted[end:]) - len(quoted[end:].lstrip())
            yield start, end, i
            at = end

    def _without_controls(self, text: str) -> tuple[list[int], Offsets]:
        encoding = self._backend_without_controls.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    @functools.cached_property
    def _backend_without_controls(self) -> hf.Tokenizer:
        """The tokenizer under which no text spells a control token; all ids stay what they were."""
        described = json.loads(self._backend.to_str())
        model = described["model"]
        hidden = {text: f"{MARK}{MARK}control {i}{MARK}" for text, i in self.controls.items()}
        for token in described["added_tokens"]:
            token["content"] = hidden.get(token["content"], token["content"])
        vocabulary = model.get("vocab")
        if isinstance(vocabulary, dict) and hidden.keys() & vocabulary.keys():
            model["vocab"] = {hidden.get(text, text): i for text, i in vocabulary.items()}
            if "merges" in model:
                pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
                model["merges"] = [list(pair) for pair in pairs if "".join(pair) not in hidden]
        if model.get("unk_token") in hidden:
            model["unk_token"] = hidden[model["unk_token"]]
        return type(self._backend).from_str(json.dumps(described))


class TextCodec(ABC):
    """Text to token ids and back: what all tokenizers share, and how they read texts of others.

    `encode(a) + encode(b) == encode(a + b)` has to hold wherever a rationale protocol joins texts, unless it
    tokenises the whole anew (`GenPRM.quirks.retokenize`). A subclass sets `_quoter`.
    """

    eos_id: int  # the token with which a model ends its text
    vocab_size: int  # ids below it have a text
    _quoter: Quoter

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text; the text of a special token becomes that token, and none is added."""

    @abstractmethod
    def encode_offsets(self, text: str) -> tuple[list[int], Sequence[tuple[int, int]]]:
        """Returns the ids of a text with quoted parts, and for each the characters [start, end) that it covers."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids, without padding and ends of a text."""

    @abstractmethod
    def token_id(self, token: str) -> int:
        """Returns the id of a text that is one token. Raises UserError where it is not."""

    @abstractmethod
    def accepts(self, text: str) -> bool:
        """Says whether the vocabulary can write this text at all."""

    @abstractmethod
    def shown(self, text: str) -> str:
        """Returns a text with quoted parts as `decode` gives it back."""

    def quote(self, text: str, own: bool = False) -> str:
        """Marks a text of others so that `encode_quoted` reads no control token in it; `own` as in `Quoter.quote`."""
        return self._quoter.quote(text, own)

    def encode_quoted(self, text: str) -> list[int]:
        """Returns the token ids of a text with quoted parts.

        A closed vocabulary has no other spelling of its tags: there quoted ones are left out.
        """
        return self.encode_offsets(text)[0]

    def decode_quoted(self, ids: Sequence[int]) -> str:
        """Decodes as `decode` does, and quotes the places where a model spelled a control token letter by letter."""
        return self._quoter.decode(ids, self.decode)

    def encode_spans(self, pieces: Sequence[str]) -> tuple[list[int], list[int]]:
        """Returns the ids of the joined pieces in ONE tokenisation, and for each the index of its piece.

        A token belongs to the piece in which it begins. Tokenising piece by piece could split words that the model
        always sees whole; asking for the piece of each token afterwards gives exact loss masks whatever the merges are.
        """
        ends = list(itertools.accumulate(map(len, pieces)))
        ids, offsets = self.encode_offsets("".join(pieces))
        return ids, [bisect_right(ends, start) for start, _ in offsets]


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


def _starts(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds every place where one of the texts begins, overlapping ones too; matches nothing of it."""
    return re.compile(f"(?=({_any_of(texts) or '(?!)'}))", re.DOTALL)


def _places(quoted: str, start: int, end: int) -> list[int]:
    """Returns the positions of the characters between `start` and `end`, leaving out the marks."""
    places, at = [], start
    while at < end:
        at += quoted[at] == MARK and at + 1 < end
        places.append(at)
        at += 1
    return places
