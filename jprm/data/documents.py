"""Documents: token ids, and for each of them how much the model is trained to produce it.

A conversation is joined and tokenised once, and each token's weight is read off the characters it
covers. Tokenising message by message would give the model other tokens in training than in use, and
masking by a token's id (the pad id, say) would mask the same token where it is meant.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.quoting import TextCodec


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """One text as token ids, with how much the model is trained to produce each of them.

    `ids` int32 and `weights` float32, both (T,): weights[t] weighs the loss on ids[t].

    weights[0] is never used: nothing stands before the first token that could predict it.
    Soft labels: ids[t] has probability `targets[t]`, and `others[t]` the rest; for a step head
    `targets[t]` is the probability that the step which ends at t is right. None: all of it.
    """

    ids: np.ndarray
    weights: np.ndarray
    targets: np.ndarray | None = None
    others: np.ndarray | None = None

    def __post_init__(self):
        assert self.ids.dtype == np.int32 and self.weights.dtype == np.float32
        assert self.ids.shape == self.weights.shape and self.ids.ndim == 1 and len(self.ids)
        assert all(x.shape == self.ids.shape for x in self.arrays)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays that this document has."""
        return [x for x in (self.ids, self.weights, self.targets, self.others) if x is not None]


@dataclasses.dataclass(frozen=True)
class Soft:
    """A label for a text that is one token: the text has probability `target`, and `other` has the rest."""

    other: str
    target: float


def render(pieces: Iterable[tuple[str, bool | Soft]], tokenizer: TextCodec) -> Document:
    """Makes the document of (text, trained) pieces in order, with weight 1 on the tokens of trained text.

    Raises UserError for empty text, for a soft label of more than one token, and where one token
    covers both trained and untrained text: end the piece where a token ends (a newline or a tag).
    """
    runs = _runs(pieces)
    texts = [text for text, _ in runs]
    ids, run_of_id = tokenizer.encode_spans(texts)
    if not ids:
        raise UserError("data: a document without text cannot be trained on")
    ids, run_of_id = np.asarray(ids, np.int32), np.asarray(run_of_id)
    if len(runs) > 1:
        _check_boundaries(texts, ids, run_of_id, tokenizer)
    trained = np.array([flag is not False for _, flag in runs])
    weights = trained[run_of_id].astype(np.float32)
    if not any(isinstance(flag, Soft) for _, flag in runs):
        return Document(ids, weights)
    targets, others = np.ones(len(ids), np.float32), np.zeros(len(ids), np.int32)
    for run, (text, label) in enumerate(runs):
        if isinstance(label, Soft):
            here = np.flatnonzero(run_of_id == run)
            if len(here) != 1:
                raise UserError(f"data: the soft label of {text!r}: {len(here)} tokens, must be one")
            targets[here], others[here] = label.target, tokenizer.token_id(label.other)
    return Document(ids, weights, targets, others)


def render_steps(pieces: Iterable[tuple[str, float | None]], tokenizer: TextCodec) -> Document:
    """Makes the document of texts, of which those with a probability are steps, judged at their last token.

    Raises UserError for empty text, and where a token runs over the end of a text.
    """
    kept = [(text, value) for text, value in pieces if text]
    texts = [text for text, _ in kept]
    ids, run_of_id = map(np.asarray, tokenizer.encode_spans(texts))
    if not len(ids):
        raise UserError("data: a document without text cannot be trained on")
    _check_boundaries(texts, ids, run_of_id, tokenizer)
    weights, targets = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    for run, (_, value) in enumerate(kept):
        if value is not None:
            last = np.flatnonzero(run_of_id == run)[-1]
            weights[last], targets[last] = 1, value
    return Document(ids.astype(np.int32), weights, targets)


def _runs(pieces: Iterable[tuple[str, bool | Soft]]) -> list[tuple[str, bool | Soft]]:
    """Joins neighbours of one kind and drops empty texts, so that the weight changes at every boundary."""
    runs: list[tuple[str, bool | Soft]] = []
    for text, trained in pieces:
        if not text:
            continue
        if runs and runs[-1][1] is trained:
            runs[-1] = (runs[-1][0] + text, trained)
        else:
            runs.append((text, trained))
    return runs


def _check_boundaries(texts: Sequence[str], ids: np.ndarray, run_of_id: np.ndarray, tokenizer: TextCodec) -> None:
    """Raises UserError unless the tokens that begin in a run spell it: one that ran over its end spells more."""
    for run, text in enumerate(texts):
        spelt = tokenizer.decode(ids[run_of_id == run].tolist())
        if spelt != tokenizer.shown(text):
            raise UserError(
                f"data: a token covers trained and untrained text at an end of {text[-40:]!r}; "
                "end each piece where a token ends"
            )
