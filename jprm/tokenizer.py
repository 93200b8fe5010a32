"""Text to token ids and back: one class over two kinds of vocabulary, both trained or built here.

A closed vocabulary (`word_tokenizer`) gives the embedded world one token per number, name and
phrase; a byte-level BPE (`bpe_tokenizer`) reads any text. Both are Hugging Face `tokenizers`
objects, so `tokenizer.json` loads in transformers too. The closed vocabulary is encoded here by a
regular expression instead, three times faster; the tests hold the two to identical ids.

Invariant: a tag of the rationale protocol is always one token, and no token crosses a newline. Hence `encode(a) +
encode(b) == encode(a + b)` wherever `a` ends with a newline or a tag, which is where the protocol joins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import tokenizers as hf
from tokenizers import decoders, models, pre_tokenizers, trainers

from jprm.errors import UserError
from jprm.quoting import MARK, Quoter, TextCodec, controls_of

PAD = "<pad>"
EOS = "<eos>"
FILE = "tokenizer.json"


class Tokenizer(TextCodec):
    """Encodes and decodes text. Built by `word_tokenizer`, `bpe_tokenizer` or `Tokenizer.load`."""

    def __init__(self, backend: hf.Tokenizer):
        """`backend` is a Hugging Face tokenizer that knows `<pad>` and `<eos>`."""
        self.backend = backend
        self.vocab_size: int = backend.get_vocab_size()
        self.pad_id = self.token_id(PAD)
        self.eos_id = self.token_id(EOS)
        closed = isinstance(backend.model, models.WordLevel)
        self._ids: dict[str, int] = backend.get_vocab()
        self._pieces = re.compile(_longest_first(self._ids)) if closed else None
        self._quoter = Quoter(backend, controls_of(backend), self._without_tags if closed else None)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of `text`. Raises UserError for a text outside of a closed vocabulary."""
        if self._pieces is None:
            return self.backend.encode(text, add_special_tokens=False).ids
        ids = self._ids
        return [ids[piece] for piece in _cut(self._pieces, text)]

    def encode_offsets(self, text: str) -> tuple[list[int], Sequence[tuple[int, int]]]:
        """Returns the ids of a text with quoted parts, and for each the characters [start, end) that it covers."""
        if MARK in text:
            return self._quoter.encode(text)
        if self._pieces is not None:
            return self._words(text)
        encoding = self.backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def _words(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of a text in a closed vocabulary, and the characters that each covers."""
        assert self._pieces is not None
        words = _cut(self._pieces, text)
        ends = list(accumulate(map(len, words)))
        return [self._ids[word] for word in words], list(zip([0, *ends], ends, strict=False))

    def _without_tags(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Reads a text as `_words` does, and leaves its tags out."""
        ids, offsets = self._words(text)
        tags = set(self._quoter.controls.values())
        kept = [pair for pair in zip(ids, offsets, strict=True) if pair[0] not in tags]
        return [i for i, _ in kept], [offset for _, offset in kept]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids; `<pad>` and `<eos>` are left out."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def shown(self, text: str) -> str:
        """A text with quoted parts, as `decode` gives it back."""
        if MARK in text:
            return self.decode(self.encode_quoted(text))
        return text.replace(EOS, "").replace(PAD, "")

    def token_id(self, token: str) -> int:
        """Returns the id of a text that is one token. Raises UserError where it is not."""
        found = self.backend.token_to_id(token)
        if found is None:
            raise UserError(f"{token!r} is not one token of this vocabulary of {self.vocab_size}")
        return found

    def accepts(self, text: str) -> bool:
        """Says whether `encode` can represent the text (always, for an open vocabulary)."""
        return self._pieces is None or sum(map(len, self._pieces.findall(text))) == len(text)

    def save(self, directory: Path) -> None:
        """Writes `tokenizer.json` and the small config with which transformers loads it."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(directory / FILE))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PAD,
            "eos_token": EOS,
            "clean_up_tokenization_spaces": False,
        }
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Reads what `save` wrote. Raises UserError where the file is absent or damaged."""
        path = Path(directory) / FILE
        if not path.is_file():
            raise UserError(f"{path}: no tokenizer there")
        try:
            backend = hf.Tokenizer.from_file(str(path))
        except Exception as error:  # Rust raises a bare Exception, nothing narrower
            raise UserError(f"{path}: not a tokenizer ({error})") from error
        return cls(backend)


def word_tokenizer(pieces: Sequence[str]) -> Tokenizer:
    """Makes a closed vocabulary: text is cut into the given pieces, the longest that fits first.

    Ids follow the order of `pieces`, after `<pad>` and `<eos>`. Any other text is refused with a UserError.
    """
    words = [PAD, EOS, *pieces]
    if len(set(words)) != len(words) or "" in words:
        raise UserError("pieces of a vocabulary must be different and not empty")
    vocabulary = {word: i for i, word in enumerate(words)}
    backend = hf.Tokenizer(models.WordLevel(vocabulary))
    pattern = hf.Regex("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))
    backend.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([PAD, EOS])
    return Tokenizer(backend)


def bpe_tokenizer(texts: Iterable[str], vocab_size: int, special: Sequence[str]) -> Tokenizer:
    """Trains a byte-level BPE of at most `vocab_size` tokens on `texts`; deterministic.

    Every piece of `special` is one atomic token (a piece of letters only as a whole word: "No", not
    "Noah"), every digit is a token of its own, and a newline always ends a token.
    """
    backend = hf.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_previous"),
            pre_tokenizers.Split(hf.Regex(r"\d"), "isolated"),
            pre_tokenizers.Split(hf.Regex(r" ?\p{L}+| ?[^\p{L}\s]+\s*|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special),
        special_tokens=[PAD, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens([hf.AddedToken(p, single_word=p.isalpha(), special=False, normalized=False) for p in special])
    return Tokenizer(backend)


def _longest_first(words: Iterable[str]) -> str:
    """Makes a regular expression for the longest of the words that fits.

    Words are grouped by first character: Python's `re` tries alternatives one after another, and
    this leaves a handful to try instead of hundreds.
    """
    groups: dict[str, list[str]] = {}
    for word in sorted(words, key=lambda w: (-len(w), w)):
        groups.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in groups.items())


def _cut(pieces: re.Pattern[str], text: str) -> list[str]:
    """Cuts the text into pieces of a closed vocabulary. Raises UserError naming where none fits."""
    found = pieces.findall(text)
    if sum(map(len, found)) == len(text):
        return found
    at = 0
    while (match := pieces.match(text, at)) is not None:
        at = match.end()
    raise UserError(f"the vocabulary has no token for {text[at : at + 20]!r} (character {at} of {len(text)})")
