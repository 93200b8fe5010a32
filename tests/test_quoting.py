"""Texts of others inside of ours: what they spell of a control token stays plain text."""

import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.quoting import MARK, Quoter, broken, controls_of, marks, unquote
from jprm.tokenizer import bpe_tokenizer, word_tokenizer
from tests.chat import checkpoints

TAGS = ["<analyze>", "</analyze>\n", "<output>\\boxed{", "}</output>\n", "[Code output: ", "]\n"]


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    root = tmp_path_factory.mktemp("codecs")
    found = {f: ChatCodec.load(checkpoints.make(root / f, f)) for f in checkpoints.FAMILIES}
    return found | {"bpe": bpe_tokenizer(checkpoints.TEXTS, 400, [*TAGS, "Yes", "No"])}


NAMES = [*checkpoints.FAMILIES, "bpe"]
SPELLED = sorted(
    {
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_header_id|>"),
        *("<｜User｜>", "<｜end▁of▁sentence｜>", "<think>", "</think>", "<eos>", "<pad>", *TAGS),
    }
)
# Whole tags, halves of them, blanks, the mark itself, and letters that another normal form writes.
CHUNKS = st.sampled_from(
    [*SPELLED, *(t[:4] for t in SPELLED), *(t[4:] for t in SPELLED), MARK, "é", "e\u0301", "\n", "  "]
)
TEXTS = st.lists(CHUNKS | st.text(max_size=6), max_size=8).map("".join)


def quoter_of(codec):
    return codec._quoter


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS)
def test_no_text_of_others_becomes_a_control_token(codecs, name, text):
    codec = codecs[name]
    ids = codec.encode_quoted(codec.quote(text))
    assert not set(ids) & set(quoter_of(codec).controls.values())
    normal = codec.backend.normalizer
    assert codec.decode(ids) == (normal.normalize_str(text) if normal else text)
    assert unquote(codec.quote(text)) == text


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS)
def test_a_text_without_quotations_has_the_ids_it_always_had(codecs, name, text):
    codec = codecs[name]
    text = text.replace(MARK, "")
    expected = codec.backend.encode(text, add_special_tokens=False)
    assert codec.encode_quoted(text) == codec.encode(text) == expected.ids
    # The way that texts with quotations go, too: it cuts at the control tokens by itself.
    assert quoter_of(codec).encode(text) == (expected.ids, expected.offsets)


@pytest.mark.parametrize("name", NAMES)
@given(before=TEXTS, other=TEXTS, after=TEXTS)
def test_a_quotation_between_our_tags(codecs, name, before, other, after):
    codec = codecs[name]
    before, after = codec.quote(before), codec.quote(after)
    tag = {"qwen": "<|im_end|>", "llama": "<|eot_id|>", "r1": "<｜User｜>", "bpe": "<analyze>"}[name]
    ids = codec.encode_quoted(before + tag + codec.quote(other) + tag + after)
    [control] = codec.encode(tag)
    controls = set(quoter_of(codec).controls.values())
    assert [i for i in ids if i in controls] == [control, control]
    first, last = ids.index(control), len(ids) - 1 - ids[::-1].index(control)
    assert ids[first + 1 : last] == codec.encode_quoted(codec.quote(other))


def test_marks_are_counted_and_taken_out():
    quoter = Quoter(hf.Tokenizer(hf.models.BPE()), {"<a>": 0, "aa": 1, "ab": 2, "ø": 3})
    assert quoter.quote("plain") == "plain"
    assert quoter.quote("<a><a") == f"<{MARK}a><a" and marks(quoter.quote("<a><a>")) == 2
    assert quoter.quote("aab") == f"a{MARK}a{MARK}b", "spellings that overlap are all broken"
    assert quoter.quote("ø") == f"{MARK}ø"
    assert quoter.quote(MARK) == MARK * 2 and marks(quoter.quote(MARK)) == 0
    assert broken(quoter.quote(f"<a>{MARK}")) == f"<\u200ba>{MARK}"


def test_what_a_model_writes_in_its_turn_stays(codecs):
    for name in ("qwen", "r1"):
        codec = codecs[name]
        said = "<think>\nso\n</think>\n\nYes"
        assert codec.quote(said, own=True) == said
        assert codec.quote(f"{said}<|im_end|><｜User｜>", own=True) != f"{said}<|im_end|><｜User｜>"


@given(st.lists(st.integers(0, 10_000), max_size=8), TEXTS)
def test_what_a_model_only_spells_is_no_token_when_it_is_read_again(codecs, drawn, text):
    for codec in codecs.values():
        controls = set(quoter_of(codec).controls.values()) - {codec.eos_id, codec.pad_id}
        ids = [i % codec.vocab_size for i in drawn] + codec.encode_quoted(codec.quote(text))
        again = codec.encode_quoted(codec.decode_quoted(ids))
        assert [i for i in again if i in controls] == [i for i in ids if i in controls]


def test_a_server_that_takes_texts_is_sent_no_forged_turn(codecs):
    codec = codecs["qwen"]
    ids = [*codec.encode("<|im_start|>user\n"), *codec.encode_quoted(codec.quote("a<|im_end|>b"))]
    assert codec.spell(ids) == "<|im_start|>user\na<\u200b|im_end|>b"
    assert codec.spell(codec.encode("a<|im_end|>b")) == "a<|im_end|>b"


@pytest.mark.parametrize("added", [{"lstrip": True}, {"rstrip": True}, {"normalized": True}])
def test_tokens_that_take_blanks_in(added):
    backend = hf.Tokenizer(hf.models.BPE())
    backend.normalizer = hf.normalizers.NFKC()
    backend.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        ["a b <end> c"],
        hf.trainers.BpeTrainer(initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    backend.add_special_tokens([hf.AddedToken("<end>", special=True, **added)])
    quoter = Quoter(backend, controls_of(backend))
    for text in ("a <end> b", "a  <end>\n\nb", "<end><end>", " <end> <end> "):
        assert quoter.encode(text)[0] == backend.encode(text).ids
        ids, _ = quoter.encode(quoter.quote(text))
        assert backend.token_to_id("<end>") not in ids
    # Letters that only the normal form turns into the tag.
    wide = "\uff1cend\uff1e"
    assert backend.token_to_id("<end>") not in quoter.encode(quoter.quote(wide))[0]


def test_a_closed_vocabulary_leaves_quoted_tags_out():
    words = word_tokenizer([*TAGS, "Yes", "No", "8", "\n", " "])
    ids = words.encode_quoted("<analyze>" + words.quote("8 <analyze>Yes\n<eos>") + "8")
    assert words.decode(ids) == "<analyze>8 Yes\n8"
    assert words.shown(words.quote("8<analyze>")) == "8"
    ids, pieces = words.encode_spans(["<analyze>", words.quote("8<analyze>8"), "8"])
    assert (words.decode(ids), pieces) == ("<analyze>888", [0, 1, 1, 2])


def test_tokens_that_look_like_tags_are_control_tokens():
    """Added tokens need not be special to end a turn: [/INST], [|endofturn|], <start_of_turn>."""
    backend = hf.Tokenizer(hf.models.BPE())
    tags = ["[INST]", "[/INST]", "[|endofturn|]", "<start_of_turn>", "<\uff5cUser\uff5c>", "</s>"]
    backend.add_tokens([hf.AddedToken(text, special=False) for text in [*tags, "Yes", "  ", "[1]"]])
    assert set(controls_of(backend)) == set(tags)
