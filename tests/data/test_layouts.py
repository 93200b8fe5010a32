"""The same conversation is the same document in every layout; a row of none is named by its line."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.chat import ChatCodec
from jprm.data import chat_document, messages_of, pieces_of, read_pieces, render
from jprm.data.conversations import chatml
from jprm.errors import UserError
from jprm.formats import turns_of
from jprm.formats.conversations import SHAREGPT, messages_row
from jprm.tokenizer import bpe_tokenizer
from tests.chat.checkpoints import make

MARKERS = (("[Output]\n", "\n[End]\n"),)
TOKENIZER = bpe_tokenizer(["the sum is 4\n"] * 9, 320, ["<|im_start|>", "<|im_end|>"])
TURN = {"role": "user", "content": "a"}
SAID = {"from": "gpt", "value": "b"}
FROM = {role: name for name, role in SHAREGPT.items() if name in ("human", "gpt", "system")}

said = st.lists(st.sampled_from(["So 8", " and 3.\n", "[Output]\n", "11", "\n[End]\n", "é", "<|im_end|>"]), max_size=4)
text = said.map("".join)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return ChatCodec.load(make(tmp_path_factory.mktemp("codec") / "it", "qwen"))


@st.composite
def conversations(draw):
    """Messages, of which the assistant's are learnt in the last turns alone, and where these begin."""
    messages = [{"role": "system", "content": draw(text)}] if draw(st.booleans()) else []
    turns = draw(st.integers(1, 3))
    first = draw(st.integers(0, turns - 1))
    begin = 0
    for i in range(turns):
        messages.append({"role": "user", "content": draw(text)})
        begin = len(messages) if i == first else begin
        learnt = {} if i >= first else {"train": False}
        messages.append({"role": "assistant", "content": draw(text)} | learnt)
    return messages, begin


def in_parts(message):
    half = len(message["content"]) // 2
    parts = [{"type": "text", "text": t} for t in (message["content"][:half], message["content"][half:])]
    return message | {"content": parts}


def sharegpt(message):
    kept = {key: value for key, value in message.items() if key == "train"}
    return {"from": FROM[message["role"]], "value": message["content"]} | kept


def layouts(messages, begin):
    """The rows of one conversation, by layout."""
    plain = [{key: value for key, value in message.items() if key != "train"} for message in messages]
    return {
        "messages": {"messages": messages},
        "parts": {"messages": list(map(in_parts, messages))},
        "conversations": {"conversations": messages},
        "sharegpt": {"conversations": list(map(sharegpt, messages)), "id": "7"},
        "prompt, completion": {"prompt": plain[:begin], "completion": plain[begin:], "protocol": {"name": "genprm"}},
        "columns of a table": {"messages": None, "pieces": None, "conversations": messages},
    }


def parts_of(document):
    return document.ids.tolist(), document.weights.tolist()


@given(conversations())
@settings(deadline=None)
def test_a_conversation_is_the_same_document_in_every_layout(codec, drawn):
    expected, *others = layouts(*drawn).values()
    chat = parts_of(chat_document(messages_of(expected, MARKERS), codec, MARKERS))
    own = parts_of(render(chatml(messages_of(expected, MARKERS), TOKENIZER.quote), TOKENIZER))
    for row in others:
        assert pieces_of(row) is None
        messages = messages_of(row, MARKERS)
        assert parts_of(chat_document(messages, codec, MARKERS)) == chat
        assert parts_of(render(chatml(messages, TOKENIZER.quote), TOKENIZER)) == own
        assert turns_of(messages_row(turns_of(row))) == turns_of(row)


def test_the_completion_alone_is_learnt():
    asked = [TURN, {"role": "assistant", "content": "2"}, TURN]
    row = {"prompt": asked, "completion": [{"role": "assistant", "content": "3"}]}
    assert [turn.trained for turn in turns_of(row)] == [False, False, False, True]
    pieces = chatml(messages_of(row, MARKERS))
    assert "".join(piece for piece, learnt in pieces if learnt) == "3<|im_end|>"


@pytest.mark.parametrize(
    ("family", "prompt", "completion", "beginning", "end"),
    [
        ("qwen", "The sum is", " 11.", "", "<|im_end|>"),
        ("qwen", "<|im_start|>user\nSum?<|im_end|>\n", "11.<|im_end|>", "", ""),
        ("llama", "The sum is", " 11.", "<|begin_of_text|>", "<|eot_id|>"),
        ("llama", "<|begin_of_text|>The sum is", " 11.<|eot_id|>", "", ""),
    ],
)
def test_prompt_and_completion_as_texts_are_learnt_as_they_are(tmp_path, family, prompt, completion, beginning, end):
    """TRL's standard format: no template around it, and the tokenizer's own tokens at its edges."""
    directory = make(tmp_path / "it", family)
    if family == "llama":
        add_beginning(directory)
    codec = ChatCodec.load(directory)
    pieces = pieces_of({"prompt": prompt, "completion": completion}, codec.beginning, codec.spell([codec.eos_id]))
    assert pieces == [(beginning + prompt, False), (completion + end, True)]
    document = render(pieces, codec)
    asked, learnt = codec.encode(beginning + prompt), codec.encode(completion + end)
    assert document.ids.tolist() == asked + learnt and learnt[-1] == codec.eos_id
    assert document.weights.tolist() == [0.0] * len(asked) + [1.0] * len(learnt)
    if not prompt.startswith("<|"):
        assert codec.peer(prompt)["input_ids"] == asked


def add_beginning(directory):
    """Has the tokenizer put its beginning before each text, as that of Llama 3 does."""
    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    token = "<|begin_of_text|>"
    [place] = [added["id"] for added in tokenizer["added_tokens"] if added["content"] == token]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [place], "tokens": [token]}},
    }
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "the fields 'text': none of the known layouts .'messages'; 'conversations'; "),
        ({"messages": [TURN], "conversations": [TURN]}, "several layouts: messages and conversations; give one"),
        ({"messages": [TURN], "prompt": "a", "completion": "b"}, "several layouts: messages and prompt, completion"),
        ({"prompt": "a"}, "the fields 'prompt': none of the known layouts"),
        ({"prompt": "a", "completion": [TURN]}, "must both be texts, or both be lists of messages"),
        ({"prompt": [], "completion": [TURN]}, "'prompt' must be a list of messages"),
        ({"prompt": 3, "completion": [TURN]}, "'prompt' must be a list of messages"),
        ({"prompt": "a", "completion": "b"}, "texts without turns"),
        ({"conversations": [SAID | {"from": "bing"}]}, r"conversations\[0\].from is 'bing'; one of human, gpt, system"),
        ({"conversations": [SAID | {"value": None}]}, r"conversations\[0\].value must be text"),
        ({"conversations": [{"role": "gpt", "content": "b"}]}, "role is 'gpt'; one of system, user, assistant"),
        ({"conversations": [SAID | {"from": "human", "train": True}]}, "only an assistant is trained"),
        ({"messages": [TURN | {"role": ["user"]}]}, "role is .'user'.; one of"),
        ({"messages": [TURN | {"content": [{"type": "image_url", "image_url": {}}]}]}, r"content\[0\] .* 'image_url'"),
        ({"messages": [TURN | {"content": [{"type": "text", "text": "a"}, "b"]}]}, r"content\[1\] is of the type 'b'"),
        ({"messages": [TURN | {"content": [{"type": "text"}]}]}, r"content\[0\].text must be text"),
    ],
)
def test_what_fits_no_layout_says_why(row, message):
    with pytest.raises(UserError, match=message):
        messages_of(row, MARKERS)


def test_a_file_may_mix_layouts_and_its_bad_rows_are_named_by_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": [TURN]}, {"text": "a"}, {"conversations": [SAID]}, {"conversations": [SAID | {"from": "x"}]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=f"{path}: bad rows: line 2: the fields 'text'.*; line 4: conversations"):
        read_pieces(path, MARKERS)


ROWS = [{"conversations": [TURN, {"role": "assistant", "content": answer}]} for answer in ("b", "c")]


def write_list(path):
    path.write_text(json.dumps(ROWS))


def write_gzip(path):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))


def write_parquet(path):
    """GenPRM-MATH-Data is one such file."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"), [("a.json", write_list), ("a.gz", write_gzip), ("a.parquet", write_parquet)]
)
def test_every_container_of_rows_is_read(tmp_path, name, write):
    write(tmp_path / name)
    read = [pieces(str) for _, pieces in read_pieces(tmp_path / name, MARKERS)]
    assert ["".join(piece for piece, learnt in pieces if learnt) for pieces in read] == ["b<|im_end|>", "c<|im_end|>"]
