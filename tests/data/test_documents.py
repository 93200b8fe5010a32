import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.data import render
from jprm.errors import UserError
from jprm.tokenizer import bpe_tokenizer, word_tokenizer

WORDS = ["<tag>", "a ", "b ", "c\n", "d\n"]
CLOSED = word_tokenizer(WORDS)
OPEN = bpe_tokenizer(["the cat sat\non the mat\n"] * 9, 300, ["<tag>"])


@given(st.lists(st.tuples(st.lists(st.sampled_from(WORDS)).map("".join), st.booleans()), min_size=1))
def test_weights_follow_the_characters_and_ids_are_one_tokenisation(pieces):
    text = "".join(piece for piece, _ in pieces)
    if not text:
        with pytest.raises(UserError, match="without text"):
            render(pieces, CLOSED)
        return
    document = render(pieces, CLOSED)
    assert document.ids.tolist() == CLOSED.encode(text)
    expected = [flag for piece, flag in pieces for _ in CLOSED.encode(piece)]
    assert document.weights.tolist() == expected


def test_a_token_never_spans_trained_and_untrained_text():
    whole = OPEN.encode("the cat\n")
    assert len(whole) < len(OPEN.encode("the c")) + len(OPEN.encode("at\n"))  # else nothing to see
    with pytest.raises(UserError, match="trained and untrained"):
        render([("the c", False), ("at\n", True)], OPEN)
    document = render([("the c", True), ("at\n", True), ("<tag>on\n", False)], OPEN)
    assert document.ids.tolist() == OPEN.encode("the cat\n<tag>on\n")
    assert document.weights.tolist() == [1] * len(whole) + [0] * len(OPEN.encode("<tag>on\n"))


def test_characters_of_several_tokens_are_no_boundary_error():
    document = render([("caf\u00e9\n", False), ("\u00fcber\n", True)], OPEN)
    trained = document.ids[document.weights > 0]
    assert OPEN.decode(trained.tolist()) == "\u00fcber\n"
    assert len(trained) > len("\u00fcber\n")


def test_special_tokens_are_trained_like_any_other():
    document = render([("a b ", False), ("c\n<eos>", True)], CLOSED)
    assert document.ids[-1] == CLOSED.eos_id
    assert document.weights.tolist() == [0, 0, 1, 1]
    assert (document.ids.dtype, document.weights.dtype) == (np.int32, np.float32)
