"""Documents: token ids, and for each of them how much the model is trained to produce it.

A conversation is joined and tokenised once, and each token's weight is read off the characters it
covers. Tokenising message by message would give the model other tokens in training than in use, and
masking by a token's id (the pad id, say) would mask the same token where it is meant.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from jprm.errors import UserError


class SpanCodec(Protocol):
    """What `render` needs of a tokenizer: a `jprm.tokenizer.Tokenizer` or a `jprm.chat.ChatCodec`."""

    def encode_spans(self, pieces: Sequence[str]) -> tuple[list[int], list[int]]:
        """(ids of the joined pieces in one tokenisation, the index of the piece each begins in)."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, without padding and ends of a text."""
        ...

    def shown(self, text: str) -> str:
        """A text as `decode` gives it back."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """`ids` int32 and `weights` float32, both (T,): weights[t] weighs the loss on ids[t].

    weights[0] is never used: nothing stands before the first token that could predict it.
    """

    ids: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        assert self.ids.dtype == np.int32 and self.weights.dtype == np.float32
        assert self.ids.shape == self.weights.shape and self.ids.ndim == 1 and len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def render(pieces: Iterable[tuple[str, bool]], tokenizer: SpanCodec) -> Document:
    """The document of (text, trained) pieces in order: weight 1 on the tokens of trained text.

    Raises UserError for empty text, and where one token covers both trained and untrained text: end
    the piece where a token ends (a newline or a tag).
    """
    runs = _runs(pieces)
    texts = [text for text, _ in runs]
    ids, run_of_id = tokenizer.encode_spans(texts)
    if not ids:
        raise UserError("data: a document without text cannot be trained on")
    ids, run_of_id = np.asarray(ids, np.int32), np.asarray(run_of_id)
    if len(runs) > 1:
        _check_boundaries(texts, ids, run_of_id, tokenizer)
    trained = np.array([flag for _, flag in runs])
    return Document(ids, trained[run_of_id].astype(np.float32))


def _runs(pieces: Iterable[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbours of one kind joined, empty texts dropped: the weight changes at every boundary."""
    runs: list[tuple[str, bool]] = []
    for text, trained in pieces:
        if not text:
            continue
        if runs and runs[-1][1] == trained:
            runs[-1] = (runs[-1][0] + text, trained)
        else:
            runs.append((text, trained))
    return runs


def _check_boundaries(
    texts: Sequence[str], ids: np.ndarray, run_of_id: np.ndarray, tokenizer: SpanCodec
) -> None:
    """The tokens that begin in a run must spell it: one that ran over its end would spell more."""
    for run, text in enumerate(texts):
        spelt = tokenizer.decode(ids[run_of_id == run].tolist())
        if spelt != tokenizer.shown(text):
            raise UserError(
                f"data: a token covers trained and untrained text at an end of {text[-40:]!r}; "
                "end each piece where a token ends"
            )
