"""Tokenizers: round trips, the fast path against Hugging Face's, spans, and boundaries that
concatenation keeps.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.tokenizer import EOS, PAD, Tokenizer, bpe_tokenizer, word_tokenizer

WORDS = ("a", "ab", "abc", "b", ". ", ".", ".\n", "<x>", "</x>\n", "1", "12", "\\boxed{", "(", ")")
SPECIAL = ("<x>", "</x>\n", "[out: ", "]\n", "Yes", "No")
TEXTS = ["Noah has 12 apples, and 3.50 pears.\nYes or No?\n", "Joe sold 48/2 = 24 clips.\n"] * 4
TEXTS += ["b.\n\n  a\n\n"] * 20  # where tokens across newlines would pay


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return word_tokenizer(WORDS)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return bpe_tokenizer(TEXTS, 320, SPECIAL)


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_closed_vocabulary_is_what_hugging_face_computes(words, pieces):
    text = "".join(pieces)
    ids = words.encode(text)
    assert ids == words.backend.encode(text, add_special_tokens=False).ids
    assert words.decode(ids) == text


def test_the_longest_piece_wins_and_ids_follow_the_order(words):
    assert words.encode("abc.\nab") == [2 + WORDS.index(w) for w in ("abc", ".\n", "ab")]
    assert words.vocab_size == len(WORDS) + 2
    assert (words.pad_id, words.eos_id) == (0, 1)


def test_unknown_text_is_named(words):
    with pytest.raises(UserError, match=r"no token for 'zab' \(character 3 of 6\)"):
        words.encode("abczab")
    assert not words.accepts("abczab") and words.accepts("abcab")
    with pytest.raises(UserError, match="'zab' is not one token"):
        words.token_id("zab")
    with pytest.raises(UserError, match="different"):
        word_tokenizer(["a", "a"])


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_spans_of_a_closed_vocabulary(words, pieces):
    ids, where = words.encode_spans(pieces)
    assert ids == words.encode("".join(pieces))
    starts = [len(words.decode(ids[:i])) for i in range(len(ids))]
    for start, piece in zip(starts, where, strict=True):
        before = len("".join(pieces[:piece]))
        assert before <= start < before + len(pieces[piece])


@given(st.text(max_size=40))
def test_bpe_round_trips_any_text(bpe, text):
    if EOS not in text and PAD not in text:
        assert bpe.decode(bpe.encode(text)) == text


def test_bpe_keeps_tags_and_digits_whole(bpe):
    for piece in SPECIAL:
        assert bpe.encode(piece) == [bpe.token_id(piece)]
    tokens = [bpe.decode([i]) for i in bpe.encode("Noah has 120 and No 7.\n")]
    assert [t for t in tokens if any(c.isdigit() for c in t)] == ["1", "2", "0", "7"]
    assert tokens.count("No") == 1, "the tag is a whole word, not the start of Noah"
    assert bpe.vocab_size <= 320


@given(st.text("ab 1.\n", max_size=30))
def test_no_bpe_token_crosses_a_newline(bpe, text):
    assert all("\n" not in bpe.decode([i])[:-1] for i in bpe.encode(text))


@given(st.lists(st.text("aé 1.,$", max_size=8).map(lambda t: t + "\n"), max_size=4), st.sampled_from(SPECIAL[:4]))
def test_concatenation_at_newlines_and_tags(bpe, lines, tag):
    pieces = [p for line in lines for p in (line, tag)]
    assert bpe.encode("".join(pieces)) == [i for piece in pieces for i in bpe.encode(piece)]


@given(st.lists(st.text("aé €1.\n", max_size=6), max_size=6))
def test_spans_of_bpe_are_the_piece_of_each_first_character(bpe, pieces):
    ids, where = bpe.encode_spans(pieces)
    assert ids == bpe.encode("".join(pieces))
    assert where == sorted(where)
    for piece in set(where):
        assert pieces[piece]
    # Cut only at the tokens' own borders, each piece's tokens decode to that piece.
    if all(bpe.encode(p) == [i for i, w in zip(ids, where, strict=True) if w == n] for n, p in enumerate(pieces)):
        for n, text in enumerate(pieces):
            assert bpe.decode([i for i, w in zip(ids, where, strict=True) if w == n]) == text


def test_training_is_deterministic(bpe):
    again = bpe_tokenizer(TEXTS, 320, SPECIAL)
    assert again.backend.to_str() == bpe.backend.to_str()


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_saved_and_loaded(kind, request, tmp_path):
    tokenizer = request.getfixturevalue(kind)
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    text = "ab.\n<x>12" if kind == "words" else TEXTS[0] + "<x>"
    assert again.encode(text) == tokenizer.encode(text)
    assert (again.vocab_size, again.pad_id, again.eos_id) == (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.eos_id)
    assert again.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_transformers_reads_the_same(kind, request, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = request.getfixturevalue(kind)
    tokenizer.save(tmp_path)
    peer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "ab.\n<x>12" if kind == "words" else TEXTS[0] + "<x>"
    assert peer(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert peer.decode(tokenizer.encode(text)) == text
    assert (peer.eos_token_id, peer.pad_token_id) == (tokenizer.eos_id, tokenizer.pad_id)


def test_eos_is_a_token_in_text_and_silent_in_decoding(words, bpe):
    for tokenizer in (words, bpe):
        assert tokenizer.encode("a" + EOS)[-1] == tokenizer.eos_id
        assert tokenizer.decode([*tokenizer.encode("a"), tokenizer.eos_id, tokenizer.pad_id]) == "a"


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no tokenizer there"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer.json: not a tokenizer"):
        Tokenizer.load(tmp_path)
