"""The tokenizer of a Hugging Face directory: token ids and texts, special tokens by their texts.

`jprm.tokenizer.Tokenizer` is for vocabularies that are made here; this one takes what a checkpoint was trained with.
transformers reads the directory (and never the network), `tokenizers` does the work.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import random
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import processors

from jprm.chat.endless import CPU_S, MEMORY_BYTES, backtracks_on, is_panic, template_ends
from jprm.errors import UserError, one_line
from jprm.quoting import MARK, Quoter, TextCodec, broken, controls_of
from jprm.strict_json import read_object
from jprm.terminal import say

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
# The class named where tokenizer.json is the whole tokenizer, as it is called before and since transformers 5.
VERBATIM = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Texts in which rules of splitting differ: digits, blanks, line ends, contractions, accents, other scripts, signs.
PROBES = (
    "Step 12: 345 + 6 = 351.",
    "x\n\n  y\t z ",
    "It's  they'LL",
    "caf\u00e9 nai\u0308ve",
    "\u4f60\u597d5\u20ac \\frac{1}{2}",
)
EOS_FILES = ("generation_config.json", "config.json")  # the first file that names any counts
MOST_TOKENS = 1 << 24  # how many a vocabulary may have; the largest published ones have 2^18

DATE_CODES = ("%d", "%m", "%b", "%B", "%y", "%Y", "%a", "%A")  # the codes of formats that templates put together

Messages = Sequence[Mapping[str, Any]]


class ChatCodec(TextCodec):
    """Encodes and decodes as the checkpoint does, but adds no token of its own accord.

    eos_id: the token that ends a text, as the tokenizer has it.
    eos_ids: all tokens that end one, `eos_id` first; a generation config may name several.
    pad_id: the padding token; `eos_id` where there is none.
    bos_id: the beginning of a text; None where there is none.
    vocab_size: ids below it have a text. A model's table may be longer, padded to a round size.
    """

    def __init__(
        self, tokenizer: Any, eos_ids: Sequence[int] = (), source: str = "tokenizer", date: datetime.date | None = None
    ):
        """Wraps a tokenizer of transformers; `eos_ids` are ends of a text besides its own.

        source: the directory, for errors. date: what templates that write today's date are told;
        None: the day on which this is made. Raises UserError for a tokenizer that does not say which
        characters a token covers, that has no end of a text, or that loses a leading blank.
        """
        self.source = source
        self.date = date or datetime.date.today()
        self.peer = tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(
                f"{source}: {type(tokenizer).__name__} does not say where in a text its tokens lie; "
                "save the checkpoint's tokenizer with transformers so that it has a tokenizer.json"
            )
        last = max(tokenizer.backend_tokenizer.get_vocab().values(), default=-1)
        if not 0 <= last < MOST_TOKENS:  # the copy would count up to it
            raise UserError(f"{source}: the vocabulary's last token is {last}; copy it again")
        # A copy: transformers sets truncation and padding of the original at every call.
        self.backend = hf.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.backend.no_truncation()
        self.backend.no_padding()
        # It could add tokens, which is not wanted here, and cut blanks off the offsets.
        self.backend.post_processor = processors.ByteLevel(trim_offsets=False)
        self.vocab_size: int = last + 1
        own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([*own, *eos_ids]))
        if not self.eos_ids:
            raise UserError(
                f"{source}: no token ends a text; name eos_token in tokenizer_config.json, or "
                "eos_token_id in generation_config.json"
            )
        self.eos_id: int = self.eos_ids[0]
        pad = tokenizer.pad_token_id
        self.pad_id: int = self.eos_id if pad is None else pad
        self.bos_id: int | None = tokenizer.bos_token_id
        self._silent = {self.pad_id, *self.eos_ids}
        self._quoter = Quoter(self.backend, controls_of(self.backend, self.eos_ids))
        self._template_ends = False  # until it has been tried
        if text := backtracks_on(self.backend.encode):
            raise self._backtracks(text)
        if any(self.accepts(t) and self.decode(self.encode(t)) != t for t in ("a", " a")):
            raise UserError(
                f"{source}: this tokenizer drops or adds blanks at the beginning of a text "
                "(SentencePiece does), so parts of a conversation cannot be joined; supported are "
                "byte-level tokenizers, as Qwen2, Qwen3 and Llama 3 have them"
            )

    @classmethod
    def load(cls, directory: Path, date: datetime.date | None = None) -> ChatCodec:
        """Loads the tokenizer of a Hugging Face directory. Nothing is downloaded, none of its code run.

        date: see the constructor.

        Raises UserError, naming the file, where one is missing or damaged.
        """
        directory = Path(directory)
        found = [name for name in TOKENIZER_FILES if (directory / name).is_file()]
        if not found:
            raise UserError(
                f"{directory}: no tokenizer there ({', '.join(TOKENIZER_FILES)}); copy the tokenizer "
                "files of the checkpoint into it"
            )
        eos_ids = _eos_ids(directory)
        from transformers import AutoTokenizer, PreTrainedTokenizerFast  # importing it takes a second

        # For some kinds of model AutoTokenizer puts rules of its own in the place of those of
        # tokenizer.json, whatever class the directory names.
        kind: Any = PreTrainedTokenizerFast if _is_verbatim(directory) else AutoTokenizer
        try:
            tokenizer = kind.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
            if kind is AutoTokenizer:
                _tell_disagreement(directory, tokenizer)
        except Exception as error:  # damaged files raise whatever they break, Rust's bare Exception too
            raise UserError(
                f"{directory / found[0]}: cannot be loaded as a tokenizer ({one_line(error)}); copy "
                "tokenizer.json and tokenizer_config.json of the checkpoint again"
            ) from error
        return cls(tokenizer, eos_ids, str(directory), date)

    def on_day(self, date: datetime.date) -> ChatCodec:
        """Returns this codec with another date for templates that write today's."""
        other = copy.copy(self)
        other.date = date
        return other

    def end_with(self, token: str) -> None:
        """Lets this token end a text as well. Raises UserError where it is none."""
        self.eos_ids = tuple(dict.fromkeys([*self.eos_ids, self.token_id(token)]))
        self._silent.update(self.eos_ids)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text; the text of a special token becomes that token, and none is added."""
        return self._encoding(text).ids

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of a text with quoted parts, and for each the characters [start, end) that it covers.

        The tokens of one character that is several of them all cover it.
        """
        if MARK in text:
            try:
                return self._quoter.encode(text)
            except Exception as error:  # Rust raises a bare Exception
                raise self._unreadable(text, error) from error
        encoding = self._encoding(text)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids. Padding and ends of a text are left out, other special tokens not."""
        return self._spelled([i for i in ids if i not in self._silent])

    def spell(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids, in which all special tokens stand by their texts.

        What only spells one has a blank without width in it: whoever reads the text again takes it for no token.
        """
        return broken(self._quoter.decode(list(ids), self._spelled))

    def _spelled(self, ids: Sequence[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def shown(self, text: str) -> str:
        """A text as `decode` gives it back, in the normal form of the tokenizer and without ends of a text."""
        if MARK in text:
            return self.decode(self.encode_quoted(text))
        if self.backend.normalizer is not None:
            text = self.backend.normalizer.normalize_str(text)
        for token in self._silent:
            text = text.replace(self.backend.id_to_token(token) or "\0", "")
        return text

    def token_id(self, token: str) -> int:
        """Returns the id of a text that is one token. Raises UserError where it is not."""
        ids = self.encode(token)
        if len(ids) != 1:
            raise UserError(f"{self.source}: {token!r} is {len(ids)} tokens, and has to be one")
        return ids[0]

    def accepts(self, text: str) -> bool:
        """Says whether the vocabulary can write this text at all; a byte-level one can write any."""
        try:
            ids = self.encode(text)
        except UserError:
            return False
        unknown = self.peer.unk_token_id
        return unknown is None or unknown in self._silent or unknown not in ids

    @property
    def chat_template(self) -> str:
        """The template's source. Raises UserError where the directory has none."""
        try:
            return self.peer.get_chat_template()
        except ValueError as error:
            raise UserError(
                f"{self.source}: no chat template ({', '.join(TEMPLATE_FILES)}); copy that of the "
                "checkpoint there: a base model has none"
            ) from error

    @property
    def has_chat_template(self) -> bool:
        """Whether the directory has a chat template."""
        return bool(self.peer.chat_template)

    @property
    def writes_date(self) -> bool:
        """Whether there is a chat template that writes the date."""
        templates = self.peer.chat_template or ""  # one text, or several texts by name
        texts = templates.values() if isinstance(templates, Mapping) else [templates]
        return any("strftime_now" in text for text in texts)

    @property
    def dated_template(self) -> str:
        """Returns the template with a clock that stands at the beginning of `date`. Raises UserError as above."""
        if not self.writes_date:
            return self.chat_template
        now = datetime.datetime.combine(self.date, datetime.time())
        codes = dict.fromkeys([*re.findall(r"%-?[A-Za-z]", self.chat_template), *DATE_CODES])
        shown = [("%%", "\0"), *((code, now.strftime(code)) for code in codes), ("\0", "%")]
        filters = "".join(f"|replace({code!r}, {text!r})" for code, text in shown)
        # A macro hides the function of its name; the newline is the one that its end tag takes in.
        macro = "{%- macro strftime_now(format) -%}{{- format" + filters + " -}}{%- endmacro %}\n"
        return macro + self.chat_template

    def chat_text(self, messages: Messages, generation_prompt: bool = False, **options: object) -> str:
        """Writes the conversation as the checkpoint's template writes it; `encode` makes its ids.

        It is a function of messages and options: the clock shows the beginning of `date`, and what a template draws by
        chance comes out the same. options: of the template, such as enable_thinking. Raises UserError for messages that
        the template refuses and for a template that fails.
        """
        template = self.dated_template
        if not self._template_ends:
            known = {"add_generation_prompt": generation_prompt, **options}
            known |= self.peer.special_tokens_map
            if not template_ends(template, messages, known):
                raise UserError(
                    f"{self._template_file}: the chat template does not come to an end within "
                    f"{CPU_S} s and {MEMORY_BYTES >> 30} GiB; copy that of the checkpoint again"
                )
            self._template_ends = True
        try:
            with fixed_chance():
                return self.peer.apply_chat_template(
                    [dict(message) for message in messages],
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    **options,
                )
        except Exception as error:  # a template is a program
            raise UserError(
                f"{self._template_file}: the chat template fails on these messages "
                f"({one_line(error)}); check their roles and their order, or repair the template"
            ) from error

    @property
    def special_texts(self) -> list[str]:
        """The texts of all special tokens and ends of a text, the longest first."""
        added = self.backend.get_added_tokens_decoder().values()
        texts = {token.content for token in added if token.special}
        texts |= {text for i in self.eos_ids if (text := self.backend.id_to_token(i))}
        return sorted(texts, key=len, reverse=True)

    @property
    def _template_file(self) -> str:
        files = (Path(self.source) / name for name in TEMPLATE_FILES)
        return str(next((file for file in files if file.is_file()), self.source))

    def _encoding(self, text: str) -> hf.Encoding:
        try:
            return self.backend.encode(text, add_special_tokens=False)
        except BaseException as error:
            if is_panic(error):
                raise self._backtracks(text) from None
            if not isinstance(error, Exception):
                raise
            # Rust raises a bare Exception for a closed vocabulary without a token for the unknown
            raise self._unreadable(text, error) from error

    def _unreadable(self, text: str, error: Exception) -> UserError:
        return UserError(f"{self.source}: no tokens for {text[:40]!r} ({one_line(error)})")

    def _backtracks(self, text: str) -> UserError:
        return UserError(
            f"{self.source}: a pattern of tokenizer.json backtracks without end on {text[:20]!r}...; "
            "copy the file of the checkpoint again"
        )


@contextlib.contextmanager
def fixed_chance() -> Iterator[None]:
    """Makes `random`, which a template's filter may use, draw the same every time inside this context."""
    before = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)


def _eos_ids(directory: Path) -> list[int]:
    """Returns the ends of a text that the configs of a directory name. Raises UserError for a damaged file."""
    for name in EOS_FILES:
        path = directory / name
        if not path.is_file():
            continue
        named = read_object(path, "copy it again").get("eos_token_id")
        ids = named if isinstance(named, list) else [] if named is None else [named]
        if any(type(i) is not int or i < 0 for i in ids):
            raise UserError(f"{path}: eos_token_id = {named!r} must be a token id, or a list of them")
        if ids:
            return ids
    return []


def _is_verbatim(directory: Path) -> bool:
    """Says whether the directory declares tokenizer.json to be the whole tokenizer."""
    path = directory / "tokenizer_config.json"
    if not (directory / "tokenizer.json").is_file() or not path.is_file():
        return False
    return read_object(path, "copy it again").get("tokenizer_class") in VERBATIM


def _tell_disagreement(directory: Path, tokenizer: Any) -> None:
    """Tells the user, in one line, if the named tokenizer class and tokenizer.json read a text differently."""
    path = directory / "tokenizer.json"
    own = getattr(tokenizer, "backend_tokenizer", None)
    if own is None or not path.is_file():
        return
    file = hf.Tokenizer.from_file(str(path))
    for text in PROBES:
        ids, others = (t.encode(text, add_special_tokens=False).ids for t in (own, file))
        if ids != others:
            say(
                f"{directory}: {type(tokenizer).__name__} and tokenizer.json disagree: {text!r} is {ids} for the "
                f"class, {others} for the file; the class is used, as transformers does (tokenizer_class = "
                f"{VERBATIM[0]!r} in tokenizer_config.json would have the file used)",
                sys.stderr,
            )
            return
