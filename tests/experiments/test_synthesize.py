"""`synthesize` from the command line: a file that `train` reads, counts of all that was lost, and an honest code."""

import functools
import json

import pytest

from jprm.chat import ChatCodec
from jprm.cli.app import app
from jprm.cli.entry import guarded
from jprm.data.conversations import messages_of
from jprm.experiments.sweep import cells
from jprm.formats.protocols import protocol_of
from jprm.records import Problem, read_jsonl
from jprm.verify import protocol_for
from jprm.worlds import load_world
from tests.chat.checkpoints import make
from tests.pages import documented
from tests.tasks.scripted_teacher import KilledSampler, ScriptedTeacher, write

WORLD = load_world("embedded")
MARKERS = [("[Code Output]\n\n```\n", "\n```\n")]


def judge(problem, paragraphs):
    """The truth of the embedded world."""
    first_error, _ = WORLD.truth(Problem("", problem + "\n", ""), tuple(f"{p}\n" for p in paragraphs))
    return -1 if first_error is None or first_error < 0 else first_error + 1


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return ChatCodec.load(make(tmp_path_factory.mktemp("tokenizer") / "qwen", "qwen"))


@pytest.fixture
def lost():
    return []


@pytest.fixture
def run(codec, lost, tmp_path, monkeypatch):
    """Runs the command with a scripted teacher; the code runs in the pool."""
    script = functools.partial(write, judge=judge)

    def sampler(codec):
        return KilledSampler(codec, script=script, lost=tuple(lost))

    monkeypatch.setattr(cells, "model_source", lambda *_: ScriptedTeacher(codec, sampler))
    words = ["labels.source=planted", "labels.problems=3", "grid.labels=exact", "name=taught"]
    words += ["teacher.context_tokens=100000", "teacher.attempts=2", "model.teacher=scripted", f"directory={tmp_path}"]

    def call(*more):
        return guarded(lambda: app(["synthesize", *words, *more], standalone_mode=False))

    return call


def test_the_file_is_what_train_reads(run, codec, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert run("--out", str(out)) == 0
    told = capsys.readouterr().out
    rows = read_jsonl(out)
    assert f"conversations: {out} ({len(rows)} rows)" in told and "the teacher gave no verdict" in told
    assert 3 <= len(rows) <= 9
    protocol = protocol_for("genprm", "published", codec)
    for row in rows:
        messages = messages_of(row, MARKERS)
        judged = [message for message in messages if message.role == "assistant"]
        assert [m.role for m in messages] == ["system", *["user", "assistant"] * len(judged)]
        assert messages[0].text == protocol.chat.system and messages[1].text.startswith("Question: ")
        for t, message in enumerate(judged):
            word = "No" if t == row["first_error"] else "Yes"
            assert message.text.endswith(f"<output>\n**Judgement**: $\\boxed{{{word}}}$\n</output>\n")
            assert message.text.startswith("<analyze>\nLet's analyze the Paragraph ")
            [output] = [text for text, trained in message.pieces if not trained]
            assert output == f"[Code Output]\n\n```\n{2 if t == 0 else t}\n```\n"
        assert row.keys() == documented("conversations.jsonl")["fields"]
        assert protocol_of(row).overrides == ("quirks.first_user=training",)
    # Nothing is computed twice, and the file can be written in another place and style.
    assert run() == 0 and (tmp_path / "taught" / "conversations.jsonl").read_bytes() == out.read_bytes()
    assert run("cell.style=analysis", "--replace") == 0
    brief = read_jsonl(tmp_path / "taught" / "conversations.jsonl")
    assert [row["solution_id"] for row in brief] == [row["solution_id"] for row in rows]
    assert "```" not in json.dumps(brief) and brief[0]["protocol"]["style"] == "analysis"


def test_lost_attempts_are_told_and_the_rest_is_written(run, lost, tmp_path, capsys):
    lost += [1, 2]
    assert run() == 3
    told = capsys.readouterr().out
    assert "attempts were lost; the same command asks for them again" in told
    some = read_jsonl(tmp_path / "taught" / "conversations.jsonl")
    lost.clear()
    assert run() == 0
    rows = read_jsonl(tmp_path / "taught" / "conversations.jsonl")
    assert len(some) <= len(rows) and [row for row in rows if row in some] == some


def test_training_files_are_for_bases_that_train_can_start_from(run, tmp_path, capsys):
    assert run("--training", str(tmp_path / "training")) == 2
    said = capsys.readouterr().err
    assert '--training: grid.sizes = "tiny-0.3m": a preset is trained from scratch in the sweep; name a' in said
    assert not (tmp_path / "training").exists() and not list(tmp_path.glob("**/attempts.jsonl"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.teacher=tiny-0.1m"], 'model.teacher = "tiny-0.1m": a preset writes no rationales; name a directory'),
        (["name=x"], "model.teacher is not set; name a directory, or a table with base_url"),
        (["model.teacher=nowhere/else"], "model.teacher"),
        (["model.teacher=x", "--out", "nowhere/rows.jsonl"], "--out nowhere/rows.jsonl: there is no folder nowhere"),
    ],
)
def test_a_teacher_that_is_none_is_refused(words, said, tmp_path, capsys):
    command = ["synthesize", "labels.source=planted", "grid.labels=exact", f"directory={tmp_path}", *words]
    assert guarded(lambda: app(command, standalone_mode=False)) == 2
    assert said in capsys.readouterr().err
