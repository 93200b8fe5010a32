"""Conversations in a checkpoint's template: ids as the template's, and turns and outputs left out of the mask."""

import pytest

from jprm.chat import ChatCodec
from jprm.data import chat_document, messages_of
from tests.chat.checkpoints import make

MARKERS = (("[Output]\n", "\n[End]\n"),)
SAID = "So 8 and 3.\n[Output]\n11\n[End]\nThe sum is 11."


@pytest.fixture(scope="module", params=["qwen", "llama"])
def codec(request, tmp_path_factory):
    return ChatCodec.load(make(tmp_path_factory.mktemp("codec") / "it", request.param))


def document_of(codec, *flags):
    row = {"messages": []}
    for flag in flags:
        row["messages"].append({"role": "user", "content": "How much?"})
        row["messages"].append({"role": "assistant", "content": SAID, "train": flag})
    messages = messages_of(row, MARKERS)
    return chat_document(messages, codec, MARKERS), row


def learnt(codec, document):
    return codec.decode(document.ids[document.weights > 0].tolist())


def test_ids_are_those_of_the_template_whatever_is_trained(codec):
    for flags in ((True, True), (True, False)):
        document, row = document_of(codec, *flags)
        assert document.ids.tolist() == codec.encode(codec.chat_text(row["messages"]))


def test_what_code_printed_and_turns_that_are_not_trained_are_left_out(codec):
    spoken = "So 8 and 3.\nThe sum is 11."
    assert learnt(codec, document_of(codec, True)[0]) == spoken
    assert learnt(codec, document_of(codec, True, True)[0]) == spoken * 2
    places = document_of(codec, True, True)[0].weights.nonzero()[0]
    first, second = places[: len(places) // 2], places[len(places) // 2 :]
    for flags, expected in (((True, False), first), ((False, True), second)):
        document = document_of(codec, *flags)[0]
        assert document.weights.nonzero()[0].tolist() == expected.tolist()
    assert not document_of(codec, False)[0].weights.any()
