"""What a labelling task says of rows that its world has left out."""

import json

from jprm.jobs import open_run
from jprm.tasks import labels
from jprm.tasks.labels import Labels, load_examples
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.resources import Speed
from jprm.tasks.settings import LabelSection, WorldSection

GOOD = {"question": "How many?", "answer": "2+3 = <<2+3=5>>5 pens\n#### 5"}
UNSOUND = {"question": "Why?", "answer": "2+2=<<2+2=5>>5\n#### 5"}


def run(tmp_path, name, rows):
    root = tmp_path / name
    root.mkdir()
    (root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "test.jsonl").write_text(json.dumps(GOOD | {"question": "How many then?"}))
    settings = LabelSection(source="planted", problems=1, planted_solutions=1)
    task = Labels(OpenWorld(WorldSection(kind="gsm8k"), root), settings, None, seed=0)
    with open_run(root / "run", [task], None, speed=Speed()) as runner:
        stage = runner.ensure(task)
        return stage.summary, load_examples(stage)


def test_rows_that_the_world_left_out_are_told_and_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(labels, "TOLD", 2)
    whole, examples = run(tmp_path, "whole", [GOOD])
    assert "rejected" not in whole and "rejected" not in capsys.readouterr().err
    less, same = run(tmp_path, "less", [GOOD, *[UNSOUND] * 5])
    assert less == whole | {"rejected": 5} and same == examples
    told = [line for line in capsys.readouterr().err.splitlines() if "rejected" in line]
    assert [line.split("train.jsonl")[-1] for line in told] == [
        ":2: the calculator mark <<2+2=5>> does not add up",
        ":3: the calculator mark <<2+2=5>> does not add up",
        "rejected: and 3 more rows",
    ]
