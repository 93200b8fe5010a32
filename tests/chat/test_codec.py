"""The tokenizer of a checkpoint: as transformers reads it, and one line for each way it can be broken."""

import json
import socket
import unicodedata

import numpy as np
import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from jprm.chat import ChatCodec
from jprm.data import render
from jprm.errors import UserError
from jprm.quoting import MARK
from jprm.tokenizer import word_tokenizer
from jprm.verify import trigger_ids
from jprm.verify.texts import first_stop
from tests.chat.checkpoints import FAMILIES, make

TEXT = st.lists(
    st.sampled_from(
        ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im", "_end|>", " ", "\n", "  ", "The step"]
        + ["Yes", "No", "é", "e\u0301", "你好", "€", "\U0001f600", "\t", "12", "<|eot_id|>", "</think>"]
    )
    | st.text(st.characters(codec="utf-8", exclude_characters=MARK), max_size=4),  # a mark quotes what follows
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: ChatCodec.load(make(root / name, name, trim_offsets=True)) for name in FAMILIES}


@pytest.fixture(scope="module")
def qwen(codecs):
    return codecs["qwen"]


@given(text=TEXT)
def test_ids_are_those_of_transformers(codecs, text):
    for codec in codecs.values():
        ids = codec.encode(text)
        assert ids == codec.peer(text, add_special_tokens=False)["input_ids"]
        assert codec.decode(ids) == codec.shown(text)
        assert codec.accepts(text)


@given(pieces=st.lists(TEXT, max_size=5))
def test_each_token_belongs_to_the_piece_in_which_it_begins(codecs, pieces):
    for codec in codecs.values():
        ids, where = codec.encode_spans(pieces)
        assert ids == codec.encode("".join(pieces))
        _, offsets = codec.encode_offsets("".join(pieces))
        owner = [n for n, piece in enumerate(pieces) for _ in piece]
        assert where == [owner[start] for start, _ in offsets]


@given(text=TEXT)
def test_offsets_cover_the_text(codecs, text):
    text = unicodedata.normalize("NFC", text)  # of composed characters only the first is covered
    for codec in codecs.values():
        _, offsets = codec.encode_offsets(text)
        covered = np.zeros(len(text), bool)
        for start, end in offsets:
            covered[start:end] = True
        assert covered.all(), "blanks are cut off"


def test_special_ids(codecs, tmp_path):
    qwen, llama = codecs["qwen"], codecs["llama"]
    end = qwen.token_id("<|im_end|>")
    assert (qwen.eos_id, qwen.eos_ids, qwen.bos_id) == (end, (end,), None)
    assert qwen.pad_id == qwen.token_id("<|endoftext|>") != end
    assert llama.pad_id == llama.eos_id == llama.token_id("<|eot_id|>")
    assert llama.bos_id == llama.token_id("<|begin_of_text|>")
    ids = qwen.encode("a<|im_end|>b<|im_start|>c<|endoftext|>")
    assert qwen.decode(ids) == "ab<|im_start|>c"
    with pytest.raises(UserError, match="'Yes or' is . tokens, and has to be one"):
        qwen.token_id("Yes or")


def test_a_generation_config_may_name_more_ends(codecs, tmp_path):
    llama = codecs["llama"]
    other = llama.token_id("<|end_of_text|>")
    path = make(tmp_path / "a", "llama", eos_token_id=[other, llama.eos_id])
    codec = ChatCodec.load(path)
    assert codec.eos_ids == (llama.eos_id, other)
    assert codec.decode([other, llama.eos_id]) == ""
    (path / "generation_config.json").write_text('{"eos_token_id": "end"}')
    with pytest.raises(UserError, match=r"generation_config.json: eos_token_id = 'end' must be"):
        ChatCodec.load(path)
    (path / "generation_config.json").write_text("[1]")
    with pytest.raises(UserError, match="generation_config.json: (not JSON|expected a JSON object)"):
        ChatCodec.load(path)


def test_loading_asks_no_network(tmp_path, monkeypatch):
    tried = []

    def refuse(*address):
        tried.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert ChatCodec.load(make(tmp_path / "a")).eos_ids and tried == []


def test_broken_directories_are_named(tmp_path):
    with pytest.raises(UserError, match="empty: no tokenizer there"):
        ChatCodec.load(tmp_path / "empty")
    path = make(tmp_path / "cut")
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"cut/tokenizer.json: cannot be loaded.*copy"):
        ChatCodec.load(path)
    path = make(tmp_path / "endless")
    config = json.loads((path / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no token ends a text; name eos_token"):
        ChatCodec.load(path)


def test_a_slow_tokenizer_is_refused(qwen):
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="Slow does not say where"):
        ChatCodec(Slow())


def test_a_tokenizer_that_loses_blanks_is_refused(tmp_path):
    path = make(tmp_path / "a")
    state = json.loads((path / "tokenizer.json").read_text())
    state["pre_tokenizer"]["add_prefix_space"] = True
    (path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="drops or adds blanks"):
        ChatCodec.load(path)


def test_the_closed_vocabulary_of_a_world(tmp_path):
    words = word_tokenizer(["Ann", " has ", "8", "\n"])
    words.save(tmp_path)
    codec = ChatCodec.load(tmp_path)
    assert codec.encode("Ann has 8\n") == words.encode("Ann has 8\n")
    assert codec.accepts("Ann") and not codec.accepts("Bob")
    assert (codec.vocab_size, codec.eos_id, codec.pad_id) == (6, words.eos_id, words.pad_id)
    with pytest.raises(UserError, match="no tokens for 'Bob'"):
        codec.encode("Bob")


def test_rendering_training_data(qwen):
    """Texts of the tokenizer's normal form and special tokens are no straddling."""
    document = render([("Problem: cafe\u0301\n", False), ("Yes<|im_end|>", True), ("\n", False)], qwen)
    learnt = document.ids[document.weights > 0].tolist()
    assert learnt == [*qwen.encode("Yes"), qwen.eos_id]
    with pytest.raises(UserError, match="a token covers trained and untrained text"):
        render([("The st", False), ("ep", True)], qwen)


def test_triggers_of_stops_that_are_texts(qwen):
    stops = ("</analyze>\n", "\n```\n", "is right")
    triggers = set(trigger_ids(qwen, qwen.vocab_size, stops))
    assert len(triggers) < qwen.vocab_size / 4
    for text in ("Fine</analyze>\n\nNext", "x\n```\n", "so the step is right.\n\nThe"):
        drawn = []
        for i in qwen.encode(text):
            drawn.append(i)
            if first_stop(qwen.decode(drawn), stops):
                assert i in triggers
                break
        else:
            raise AssertionError("no stop")


def test_transformers_opens_the_same_directory(tmp_path):
    path = make(tmp_path / "a")
    assert len(AutoTokenizer.from_pretrained(str(path))) == ChatCodec.load(path).vocab_size


def test_a_directory_that_says_so_is_read_to_the_letter(tmp_path, capsys):
    """transformers 5 would put Qwen2's own rules in the place of this vocabulary's."""
    directory = make(tmp_path / "q")
    (directory / "config.json").write_text('{"model_type": "qwen2"}')
    backend = hf.Tokenizer.from_file(str(directory / "tokenizer.json"))
    text = "step 12: the sum is 11, so 8+3 isn't 12\n"
    assert ChatCodec.load(directory).encode(text) == backend.encode(text).ids
    assert capsys.readouterr().err == "", "they agree"
    path = directory / "tokenizer_config.json"
    path.write_text(path.read_text().replace("PreTrainedTokenizerFast", "Qwen2Tokenizer"))
    other = ChatCodec.load(directory).encode(text)
    told = capsys.readouterr().err
    assert "tokenizer.json disagree" in told and "the class is used" in told and told.count("\n") == 1
    assert other == AutoTokenizer.from_pretrained(str(directory)).encode(text)
    assert other != backend.encode(text).ids  # or this test could not fail
    path.write_text("{")
    with pytest.raises(UserError, match="tokenizer_config.json: (not JSON|expected a JSON object)"):
        ChatCodec.load(directory)


@pytest.mark.parametrize("last", [1 << 24, (1 << 31) - 1])
def test_a_vocabulary_without_end_is_refused(tmp_path, last):
    """What lists it counts up to its last token, for minutes."""
    path = make(tmp_path / "a")
    state = json.loads((path / "tokenizer.json").read_text())
    state["model"]["vocab"]["zzz"] = last
    (path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=f"the vocabulary's last token is {last}"):
        ChatCodec.load(path)
