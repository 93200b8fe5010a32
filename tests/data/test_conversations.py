import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.data import Soft, by_line, corpus_of, read_pieces, render, render_steps
from jprm.data.conversations import chatml, messages_of, pieces_of, steps_of, without_output
from jprm.errors import UserError
from jprm.tokenizer import bpe_tokenizer

MARKERS = (("[Output]\n", "\n[End]\n"), ("<o>", "</o>"))
TOKENIZER = bpe_tokenizer(["the sum is 4\n"] * 9, 320, ["<|im_start|>", "<|im_end|>", "Yes", "No"])


def turn(role, content, **more):
    return {"role": role, "content": content} | more


def trained(row):
    return "".join(text for text, flag in chatml(messages_of(row, MARKERS)) if flag)


def test_an_assistant_s_turns_are_trained_with_their_ends_and_nothing_else():
    row = {
        "messages": [
            turn("system", "s"),
            turn("user", "u"),
            turn("assistant", "first"),
            turn("tool", "printed"),
            turn("assistant", "left out", train=False),
            turn("assistant", "last", train=True),
        ]
    }
    pieces = chatml(messages_of(row, MARKERS))
    assert "".join(text for text, _ in pieces) == "".join(
        f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in row["messages"]
    )
    assert trained(row) == "first<|im_end|>last<|im_end|>"
    document = render(pieces, TOKENIZER)
    ids = document.ids[document.weights > 0].tolist()
    assert TOKENIZER.decode(ids) == trained(row)


def test_what_code_printed_is_not_trained():
    said = "run\n[Output]\n4\n[End]\nso <o>4</o> it is"
    row = {"messages": [turn("assistant", said), turn("assistant", "x<o>never closed")]}
    assert trained(row) == "run\nso  it is<|im_end|>x<|im_end|>"


@given(st.lists(st.sampled_from(["a", "[Output]\n", "\n[End]\n", "<o>", "</o>", "\n"])))
def test_pieces_without_output_are_the_text_and_hold_no_printed_character(parts):
    text = "".join(parts)
    pieces = without_output(text, MARKERS)
    assert "".join(piece for piece, _ in pieces) == text
    said = [piece for piece, flag in pieces if flag]
    assert not any(opening in piece for piece in said for opening, _ in MARKERS)
    for piece, flag in pieces:  # an untrained piece is one span
        if not flag:
            opening, close = next(m for m in MARKERS if piece.startswith(m[0]))
            assert piece.find(close, len(opening)) in (-1, len(piece) - len(close))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "none of the known layouts .'messages'; 'conversations'; 'prompt', 'completion'; 'pieces'"),
        ({"messages": []}, "'messages' must be a list of messages"),
        ({"messages": ["hi"]}, r"messages\[0\] must be an object"),
        ({"messages": [turn("asistant", "x")]}, r"messages\[0\].role is 'asistant'; one of"),
        ({"messages": [turn("assistant", None)]}, r"messages\[0\].content must be text"),
        ({"messages": [turn("assistant", "x", train="no")]}, "train is 'no'; true or false"),
        ({"messages": [turn("tool", "x", train=True)]}, "for the role 'tool'; only an assistant"),
    ],
)
def test_a_bad_conversation_says_what_is_wrong(row, message):
    with pytest.raises(UserError, match=message):
        messages_of(row, MARKERS)


@pytest.mark.parametrize(
    "row",
    [
        {"pieces": "text"},
        {"pieces": [["text"]]},
        {"pieces": [["text", 1]]},
        {"pieces": [[1, True]]},
        {"pieces": [["Yes", "No", 1.5]]},
        {"pieces": [["Yes", "No", True]]},
        {"pieces": [], "messages": []},
    ],
)
def test_bad_pieces_are_refused(row):
    with pytest.raises(UserError, match="pieces"):
        pieces_of(row)


def test_soft_labels_lie_on_their_token():
    row = {"pieces": [["the sum\n", False], ["is it? ", True], ["Yes", "No", 0.75], ["\n", True]]}
    pieces = pieces_of(row)
    assert pieces is not None and pieces[2] == ("Yes", Soft("No", 0.75))
    document = render(pieces, TOKENIZER)
    assert document.targets is not None and document.others is not None
    [at] = (document.ids == TOKENIZER.token_id("Yes")).nonzero()[0]
    assert document.targets[at] == 0.75 and document.others[at] == TOKENIZER.token_id("No")
    assert document.weights[at] == 1
    assert sum(document.targets != 1) == 1
    with pytest.raises(UserError, match="soft label of 'the sum': . tokens, must be one"):
        render([("the sum", Soft("No", 0.5))], TOKENIZER)


def test_steps_are_judged_at_their_last_token():
    pieces = steps_of({"pieces": [["problem\n", None], ["step 1\n", 0.25], ["step 2\n", 1]]})
    document = render_steps(pieces, TOKENIZER)
    ends = [len(TOKENIZER.encode(text)) for text in ("problem\nstep 1\n", "problem\nstep 1\nstep 2\n")]
    assert document.weights.nonzero()[0].tolist() == [end - 1 for end in ends]
    assert document.targets is not None
    assert document.targets[[end - 1 for end in ends]].tolist() == [0.25, 1.0]
    with pytest.raises(UserError, match=r"pieces\[0\] must be \[text, probability or null\]"):
        steps_of({"pieces": [["step", 2]]})


GOOD = json.dumps({"messages": [turn("assistant", "x")]})


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lines_are_counted_from_one_and_the_last_needs_no_newline(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    data = f"{GOOD}\n\n{GOOD}".encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    assert [line for line, _ in read_pieces(path, MARKERS)] == [1, 3]


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'{"messages": 3}', b'{"pieces": [["\xff", true]]}', b'{"a": "\\ud800"}']
)
def test_all_bad_lines_are_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([GOOD.encode(), line, GOOD.encode(), line]))
    with pytest.raises(UserError, match=f"{path}: bad rows: line 2: .*; line 4: "):
        read_pieces(path, MARKERS)


def test_many_bad_lines_are_counted(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n" * 25)
    with pytest.raises(UserError, match="line 10: .*; and 15 more"):
        read_pieces(path, MARKERS)
    path.write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(UserError, match="rows.jsonl.gz: cannot be read"):
        read_pieces(path.rename(tmp_path / "rows.jsonl.gz"), MARKERS)


def test_documents_without_trained_text_are_kept_apart(tmp_path):
    def document(text_and_flag):
        return render([text_and_flag], TOKENIZER)

    rows = [(4, ("the sum", True)), (7, ("is 4", False))]
    corpus = corpus_of(tmp_path, by_line(tmp_path, rows, document))
    assert (corpus.lines, corpus.untrained, len(corpus.documents)) == ((4,), (7,), 1)
    with pytest.raises(UserError, match="none of 1 rows has a token to train on"):
        corpus_of(tmp_path, by_line(tmp_path, rows[1:], document))
