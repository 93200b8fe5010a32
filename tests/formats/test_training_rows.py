"""What `data convert` writes for training is read by the reader of `train`, and says the same."""

import json

import pytest

from jprm.data import messages_of, read_pieces, read_rows, render_steps, steps_of
from jprm.errors import UserError
from jprm.formats import convert, report
from jprm.formats import read_rows as rows_of
from jprm.tokenizer import bpe_tokenizer

TOKENIZER = bpe_tokenizer(["the sum is 4\n"] * 9, 320, ["<|im_start|>", "<|im_end|>"])
LABELS = {
    "prm800k": {
        "question": {"problem": "How many?\n"},
        "label": {
            "steps": [
                {"completions": [{"text": "1+1=2.", "rating": 1}], "chosen_completion": 0},
                {"completions": [{"text": " So 3\n\n", "rating": -1}], "chosen_completion": 0},
                {"completions": [{"text": "Done", "rating": None}], "chosen_completion": 0},
            ]
        },
    },
    "math-shepherd": {
        "input": "How many? Step 1: 1+1=2. ки\nStep 2: So 3 ки",
        "label": "How many? Step 1: 1+1=2. +\nStep 2: So 3 -",
    },
    "trl": {"prompt": "How many?", "completions": ["1+1=2.", "So 3"], "labels": [True, False]},
}
HEAD = [["How many?\n", None], ["1+1=2.\n", 1.0], ["So 3\n", 0.0]]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("source", LABELS)
def test_step_labels_become_rows_for_a_step_head(tmp_path, source):
    out = tmp_path / "head.jsonl"
    done = convert(write(tmp_path / "in.jsonl", LABELS[source]), source, "pieces", out)
    assert (done.written, done.cut, done.rejected) == (1, 0, ())
    [(_, steps)] = read_rows(out, steps_of)
    unknown = [("Done\n", None)] if source == "prm800k" else []
    assert steps == [*map(tuple, HEAD), *unknown]
    document = render_steps(steps, TOKENIZER)
    judged = document.weights.nonzero()[0]
    assert document.targets is not None and document.targets[judged].tolist() == [1.0, 0.0]
    assert TOKENIZER.decode(document.ids[: judged[0] + 1].tolist()) == "How many?\n1+1=2.\n"


def test_pieces_with_soft_probabilities_are_no_labels(tmp_path):
    rows = [{"pieces": HEAD}, {"pieces": [*HEAD[:2], ["So 3\n", 0.25]]}, {"pieces": [["How many?\n", 1], *HEAD[1:]]}]
    done = convert(write(tmp_path / "in.jsonl", *rows), "pieces", "trl", tmp_path / "out.jsonl")
    assert [row.value for row in rows_of(tmp_path / "out.jsonl")] == [LABELS["trl"]]
    assert [reason.partition(": ")[2] for reason in done.rejected] == [
        "the probability 0.25 is no label, as 0 and 1 are",
        "pieces[0] must be the problem, without a probability",
    ]


ASKED, ANSWERED = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b <o>4</o>"}
CONVERSATIONS = [
    {"messages": [ASKED, ANSWERED | {"train": False}, ASKED, ANSWERED], "id": 7},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "protocol": {"name": "x"}},
    {"prompt": [ASKED, ANSWERED], "completion": [ANSWERED | {"content": [{"type": "text", "text": "b"}]}]},
]


def test_conversations_become_messages_that_train_reads_the_same(tmp_path):
    path, out = write(tmp_path / "in.jsonl", *CONVERSATIONS), tmp_path / "out.jsonl.gz"
    done = convert(path, "conversations", "messages", out)
    assert report(done) == "conversations read 3, written 3, rejected 0"
    before, after = ([make(str) for _, make in read_pieces(p, [("<o>", "</o>")])] for p in (path, out))
    assert before == after
    written = [row.value for row in rows_of(out)]
    assert written[0] == CONVERSATIONS[0]
    assert [sorted(row) for row in written[1:]] == [["messages", "protocol"], ["messages"]]
    assert [m.role for m in messages_of(written[2], ())] == ["user", "assistant", "assistant"]


def test_what_is_no_conversation_is_rejected_with_its_place(tmp_path):
    rows = [CONVERSATIONS[0], {"prompt": "a", "completion": "b"}, {"pieces": [["a", True]]}, 3, LABELS["trl"]]
    path = write(tmp_path / "in.jsonl", *rows)
    done = convert(path, "conversations", "messages", tmp_path / "out.jsonl")
    assert (done.written, done.exit_code) == (1, 3)
    reasons = [reason.removeprefix(f"{path}:") for reason in done.rejected]
    assert reasons[:3] == [
        "2: prompt, completion: texts without turns; `train` reads the row as it is",
        "3: pieces: texts without turns; `train` reads the row as it is",
        "4: not an object",
    ]
    assert reasons[3].startswith("5: the fields 'prompt', 'completions', 'labels': none of the known layouts")


def test_a_step_head_names_the_command_that_writes_its_rows(tmp_path):
    with pytest.raises(UserError, match="line 1: a step head is trained on 'pieces' .* data convert --to pieces"):
        read_rows(write(tmp_path / "in.jsonl", CONVERSATIONS[0]), steps_of)
