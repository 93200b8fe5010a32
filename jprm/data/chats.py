"""Conversations as a checkpoint's own template writes them, with what is trained of them.

`jprm.chat.render_chat` says which tokens an assistant wrote. Here the turns that are not to be
trained, and what code printed inside of a turn, are taken out of that again.
"""

from collections.abc import Sequence

import numpy as np

from jprm.chat import ChatCodec, quote_messages, render_chat
from jprm.data.conversations import TRAINED_ROLE, Markers, Message, without_output
from jprm.data.documents import Document
from jprm.errors import UserError


def chat_document(
    messages: Sequence[Message], codec: ChatCodec, markers: Markers, control_tokens: bool = False
) -> Document:
    """The document of a conversation; ids are those of the checkpoint's chat template.

    Text between a pair of `markers` is not trained, nor a token that touches it. control_tokens: see
    `jprm.chat.render_chat`. Raises UserError for what the template refuses or rewrites.
    """
    raw = [{"role": message.role, "content": message.text} for message in messages]
    if not control_tokens:
        raw = quote_messages(raw, codec)
    ids, learnt = render_chat(raw, codec, control_tokens=True)  # all of what is left spells them
    weights = learnt.astype(np.float32)
    turns = [message for message in messages if message.role == TRAINED_ROLE]
    if all(trained for message in turns for _, trained in message.pieces):
        return Document(ids, weights)
    text = codec.chat_text(raw)
    _, offsets = codec.encode_offsets(text)
    starts, ends = np.asarray(offsets, np.int64).reshape(-1, 2).T
    runs = _runs(learnt)
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


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
