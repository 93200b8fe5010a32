"""What a run starts from: the tokenizer and documents of its file, and the model's first weights."""

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jprm.chat import ChatCodec
from jprm.data import (
    Corpus,
    Document,
    by_line,
    chat_document,
    corpus_of,
    messages_of,
    pieces_of,
    read_pieces,
    read_rows,
    render,
    render_steps,
    steps_of,
)
from jprm.data.conversations import TRAINED_ROLE, TURN_CLOSE, TURN_OPEN
from jprm.digests import files_digest
from jprm.errors import UserError
from jprm.formats.protocols import ProtocolChoice, protocol_of
from jprm.models import Model, bind, preset
from jprm.models.hf_config import read_config
from jprm.models.hf_export import copy_description
from jprm.models.hf_weights import stored_dtype
from jprm.models.locate import Checkpoint, find_checkpoint, weight_files
from jprm.quoting import marks
from jprm.tokenizer import Tokenizer, bpe_tokenizer
from jprm.train.config import RunConfig, TrainingDataSection
from jprm.train.lora import from_checkpoint

# A template that writes what `jprm.data.conversations.chatml` writes.
CHATML = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{{- message.content + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """A model with its first weights, and the documents that it is trained on.

    `fresh()` makes the first weights, laid out over the mesh in force; `weights` says which they are, and
    `dtype` in which type they were stored. `save_tokenizer(directory)` writes what reads the trained
    model's tokens. `quoted` are the lines whose messages spell control tokens, which were read as plain
    text. `date` is the day that the chat template wrote; "" where it writes none. `protocols` are those in
    which the rows say that they were written.
    """

    model: Model
    corpus: Corpus
    fresh: Callable[[], dict]
    weights: str
    dtype: str
    save_tokenizer: Callable[[Path], None]
    quoted: tuple[int, ...] = ()
    date: str = ""
    protocols: tuple[ProtocolChoice, ...] = ()

    @property
    def protocol(self) -> ProtocolChoice | None:
        """The protocol that the trained model remembers; None where the rows tell none, or more than one."""
        return self.protocols[0] if len(self.protocols) == 1 else None


def start_of(config: RunConfig, date: datetime.date | None = None) -> Start:
    """Reads the data and the checkpoint, or makes the model, under the mesh of the run.

    date: the day that chat templates write, on which the run first started; None is today.
    Raises UserError for what cannot be read, and for a model that does not divide over the mesh.
    """
    steps = config.train.objective == "step_head"
    if config.model.checkpoint is not None:
        checkpoint = find_checkpoint(config.model.checkpoint, "model.checkpoint")
        start = _from_checkpoint(checkpoint, config.data, steps, date)
    else:
        assert config.model.preset is not None
        start = _from_preset(config.model.preset, config.data, config.seed, steps)

    def protocol(row: dict[str, Any]) -> ProtocolChoice | None:
        told = protocol_of(row)
        if told is None or told.chat != "template" or not start.date or "pieces" in row:
            return told
        return told.model_copy(update={"overrides": (*told.overrides, f"chat.date={start.date}")})  # as written here

    told = (choice for _, choice in read_rows(config.data.path, protocol) if choice is not None)
    return dataclasses.replace(start, protocols=tuple(dict.fromkeys(told)))


def _from_preset(size: str, data: TrainingDataSection, seed: int, steps: bool) -> Start:
    write: Callable[..., Document] = render_steps if steps else render
    # A row's pieces, once it is known how messages are quoted; those for a step head have no messages.
    rows: list[tuple[int, Callable[[Callable[[str], str]], Any]]]
    rows = read_rows(data.path, _steps_as_given) if steps else read_pieces(data.path, data.output_markers)
    if data.tokenizer is not None:
        tokenizer = Tokenizer.load(data.tokenizer)
    else:
        texts = ("".join(text for text, _ in pieces(str)) for _, pieces in rows)
        tokenizer = bpe_tokenizer(texts, data.vocab_size, [TURN_OPEN, TURN_CLOSE])
    quote = str if data.control_tokens else tokenizer.quote
    read = [(line, pieces(quote)) for line, pieces in rows]
    documents = by_line(data.path, read, lambda pieces: write(pieces, tokenizer))
    model = bind(preset(size, -(-tokenizer.vocab_size // 8) * 8))  # a multiple of 8, which meshes divide
    return Start(
        model,
        corpus_of(data.path, documents),
        fresh=lambda: model.init(seed),
        weights=f"{size}, seed {seed}",
        dtype="float32",
        save_tokenizer=lambda folder: _save(tokenizer, folder),
        quoted=tuple(line for line, pieces in read if any(marks(text) for text, _ in pieces)),
    )


def _steps_as_given(row: dict[str, Any]) -> Callable[[Callable[[str], str]], Any]:
    steps = steps_of(row)
    return lambda quote: steps


def _weights_digest(checkpoint: Checkpoint) -> str:
    """Returns the digest of the checkpoint's weights and of the adapters that are merged on them."""
    base = files_digest(set(weight_files(checkpoint.directory).values()))
    adapters = (a.glob("adapter_*") for a in checkpoint.adapters)
    return "+".join([base, *map(files_digest, adapters)])


def _from_checkpoint(
    checkpoint: Checkpoint, data: TrainingDataSection, steps: bool, date: datetime.date | None
) -> Start:
    directory = checkpoint.directory
    if data.tokenizer is not None:
        raise UserError(f"data.tokenizer = {data.tokenizer}: {directory} brings its own; leave it out")
    config = read_config(directory)
    codec = ChatCodec.load(directory, date)
    if codec.vocab_size > config.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer has {codec.vocab_size} tokens, the model "
            f"{config.vocab_size}; they are not of one checkpoint"
        )

    def document(row: dict[str, Any]) -> tuple[Document, bool]:
        """Returns the row's document, and whether control tokens are spelled in it."""
        if steps:
            return render_steps(steps_of(row), codec), False
        if (pieces := pieces_of(row)) is not None:
            return render(pieces, codec), False
        messages = messages_of(row, data.output_markers)
        spelled = any(marks(codec.quote(message.text, message.role == TRAINED_ROLE)) for message in messages)
        return chat_document(messages, codec, data.output_markers, data.control_tokens), spelled

    rows = read_rows(data.path, document)
    return Start(
        bind(config),
        corpus_of(data.path, [(line, made) for line, (made, _) in rows]),
        fresh=lambda: from_checkpoint(checkpoint, np.float32)[1],
        weights=_weights_digest(checkpoint),
        dtype=stored_dtype(directory).name,
        save_tokenizer=lambda folder: copy_description(directory, folder),
        quoted=tuple(line for line, (_, spelled) in rows if spelled and not data.control_tokens),
        date=codec.date.isoformat() if codec.writes_date else "",
    )


def _save(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(folder)
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
