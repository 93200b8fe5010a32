"""How published process reward models are stored, what they are shown, and where they are read.

A `PrmLayout` is a row of a table (`jprm/score/scorers/published.py`): the tensors of its head, and how a solution is
laid out as tokens. Each way of laying out gives the token ids and, for each step, the index of the token at which the
step is judged. What a problem or a step spells of a control token, or of a separator, is plain text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.errors import UserError
from jprm.models.hf_fields import read_fields
from jprm.models.locate import find_checkpoint

if TYPE_CHECKING:  # these load JAX and transformers
    from jprm.chat import ChatCodec
    from jprm.models import Model

Tokens = tuple[list[int], list[int]]  # ids, and the index of the token that judges each step
NO_LIMIT = 1 << 62


class Shown(ABC):
    """What a model is shown of a solution."""

    whole_text: bool = False  # the text is tokenised at once, and its tokenizer may change blanks at its beginning

    @abstractmethod
    def tokens(self, codec: ChatCodec, problem: str, steps: Sequence[str]) -> Tokens:
        """Lays a solution out. Raises UserError for a tokenizer or a template that cannot write it."""


@dataclass(frozen=True)
class SeparatedChat(Shown):
    """A chat whose assistant says all steps, each with a separator behind it, which judges it."""

    system: str
    separator: str

    def tokens(self, codec: ChatCodec, problem: str, steps: Sequence[str]) -> Tokens:
        """Lays a solution out, as `Shown` says."""
        said = "".join(codec.quote(step) + self.separator for step in steps)
        messages = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": codec.quote(problem)},
            {"role": "assistant", "content": said},
        ]
        separator = codec.token_id(self.separator)
        ids = codec.encode_quoted(codec.chat_text(messages))
        return ids, [at for at, token in enumerate(ids) if token == separator]


@dataclass(frozen=True)
class StepTurns(Shown):
    """A chat in which the user says a step (the first time behind the problem) and the assistant always `word`.

    A step is judged where the word is expected: at the token before it.
    """

    word: str

    def tokens(self, codec: ChatCodec, problem: str, steps: Sequence[str]) -> Tokens:
        """Lays a solution out, as `Shown` says."""
        from jprm.chat import render_chat

        texts = [step.strip() for step in steps]
        texts[0] = f"{problem} {texts[0]}"
        messages = [
            {"role": role, "content": said}
            for text in texts
            for role, said in (("user", text), ("assistant", self.word))
        ]
        ids, learnt = render_chat(messages, codec)
        begins = [at for at in range(1, len(ids)) if learnt[at] and not learnt[at - 1]]
        word = codec.token_id(self.word)
        if any(ids[at] != word for at in begins):
            raise UserError(f"{codec.source}: the chat template joins {self.word!r} with what stands around it")
        return ids.tolist(), [at - 1 for at in begins]


@dataclass(frozen=True)
class Pieces(Shown):
    """Problem, steps and separators, each tokenised by itself; the separator's last token judges the step before it.

    behind: what follows the problem. begins: whether a beginning-of-text token stands first, where there is one.
    by_line: whether every line of a step is a piece with a separator of its own; the last one judges the step.
    stripped: whether blanks at the end of a step are dropped.
    """

    separator: str = "\n"
    behind: str = ""
    begins: bool = True
    by_line: bool = False
    stripped: bool = False

    def tokens(self, codec: ChatCodec, problem: str, steps: Sequence[str]) -> Tokens:
        """Lays a solution out, as `Shown` says."""
        ids = [codec.bos_id] if self.begins and codec.bos_id is not None else []
        ids += codec.encode_quoted(codec.quote(problem + self.behind))
        separator, judged = codec.encode(self.separator), []
        for step in steps:
            text = step.rstrip() if self.stripped else step
            for piece in text.split(self.separator) if self.by_line else [text]:
                ids += codec.encode_quoted(codec.quote(piece)) + separator
            judged.append(len(ids) - 1)
        return ids, judged


@dataclass(frozen=True)
class TaggedText(Shown):
    """One text, tokenised at once: the problem, a blank, and steps by line, each with a blank and a tag behind it."""

    tag: str
    whole_text: bool = True

    def tokens(self, codec: ChatCodec, problem: str, steps: Sequence[str]) -> Tokens:
        """Lays a solution out, as `Shown` says."""
        text, ends = f"{codec.quote(problem)} ", []
        for step in steps:
            text += f"{codec.quote(step)} {self.tag}"
            ends.append(len(text))
            text += "\n"
        ids, offsets = codec.encode_offsets(text.removesuffix("\n"))
        last = {end: at for at, (_, end) in enumerate(offsets)}
        tag = codec.token_id(self.tag)
        judged = [last[end] for end in ends if end in last and ids[last[end]] == tag]
        if len(judged) < len(ends):
            raise UserError(f"{codec.source}: {self.tag!r} behind a step is no token of its own in this vocabulary")
        begins = [] if codec.bos_id is None else [codec.bos_id]
        return begins + ids, [at + len(begins) for at in judged]


@dataclass(frozen=True)
class PrmLayout:
    """A published process reward model.

    ending: how its architecture's name ends in config.json.
    layers: the linear layers of its head in their order, by the names of their weight [outputs, inputs] and bias
        [outputs]; there is a ReLU between two. The last one has one output, the log-odds that the step is right, or
        two, the logits of wrong and right.
    words: in place of a head, the words for right and for wrong, whose logits are compared.
    """

    shown: Shown
    ending: str = "ForCausalLM"
    layers: tuple[str, ...] = ()
    words: tuple[str, str] = ("", "")

    def load(self, model: Path) -> tuple[ChatCodec, Model, dict[str, Any]]:
        """Loads the tokenizer, the model and its parameters, with the head as a step head.

        Raises UserError in one line for what is missing or is not of this layout.
        """
        import jax

        from jprm.chat import ChatCodec
        from jprm.models.hf_weights import Head, from_hf, read_tensors
        from jprm.train.loss import STEP_HEAD

        checkpoint = find_checkpoint(model, "--model", ending=self.ending)
        if checkpoint.adapters:
            raise UserError(f"--model {model}: an adapter; merge it on its base with PEFT (merge_and_unload) first")
        directory = checkpoint.directory
        codec = ChatCodec.load(directory, whole_text=self.shown.whole_text)
        self.shown.tokens(codec, "1 + 1?", ["2"])  # a tokenizer or template of another layout is told before the rest
        names = tuple(f"{layer}.{part}" for layer in self.layers for part in ("weight", "bias"))
        dtype = "float32" if jax.default_backend() == "cpu" else None
        bound, params = from_hf(directory, dtype, head=Head(self.ending, names))
        codec.check_size(bound.config.vocab_size)
        if not self.layers:
            head = word_head(params, *map(codec.token_id, self.words))
        else:
            tensors = read_tensors(directory, names)
            layers = [(tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in self.layers]
            head = step_head(layers, f"{directory}: {self.layers[-1]}")
        return codec, bound, params | {STEP_HEAD: head}


def word_head(params: dict[str, Any], right: int, wrong: int) -> dict[str, Any]:
    """Makes a step head of two columns of the language model's: softmax over two logits is sigmoid of a difference."""
    import jax.numpy as jnp

    rows = params["head"].T if "head" in params else params["embed"]
    return {"weight": jnp.float32(rows[right]) - jnp.float32(rows[wrong]), "bias": jnp.zeros((), jnp.float32)}


def step_head(layers: Sequence[tuple[Any, Any]], where: str) -> dict[str, Any]:
    """Makes a step head of linear layers (weight [outputs, inputs], bias [outputs]).

    Raises UserError, beginning with `where`, if the last one does not have one output or two.
    """
    *hidden, (weight, bias) = layers
    if len(weight) not in (1, 2):
        raise UserError(f"{where} has {len(weight)} outputs; one is wanted, or two (wrong, right)")
    if len(weight) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    below = [{"weight": w.T, "bias": b} for w, b in hidden]
    return {"weight": weight[0], "bias": bias[0], "hidden": below}


def longest_context(directory: Path) -> int:
    """Returns the tokens that a checkpoint was made for; a number beyond all texts where it does not say."""
    fields, key = read_fields(directory), "max_position_embeddings"
    return fields.integer(key) if fields.get(key) is not None else NO_LIMIT
