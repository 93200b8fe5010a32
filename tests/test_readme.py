"""The README alone, as a newcomer follows it: every block runs as it is written and prints what is shown.

In the folder in which it runs, DIR, FILE and the configurations that the README names are tiny ones. `SMALLER` words
are appended to what would take minutes. `ELSEWHERE` says of the commands that are not run here what keeps them, and
which test runs them.
"""

import json
import re
import shlex
import shutil
import threading
import urllib.request
from pathlib import Path

import pytest

from jprm.cli import app, guarded
from jprm.config import toml
from jprm.experiments import view
from tests.experiments import by_heart
from tests.experiments.applications import tiny
from tests.experiments.benchmark import checkpoint
from tests.experiments.conftest import one_device
from tests.experiments.sweep.tiny_sweep import TINY
from tests.experiments.test_four_commands import settings
from tests.pages import ROOT, blocks
from tests.test_docs_commands import commands_of, jprm_words

README = ROOT / "README.md"
TEXTS = [text for language, text in blocks(README) if language == "text"]
# Every other command line, with what it has to print.
SAID = {
    "python experiments/sweep.py": r"(?s)has F1 .*report: runs/embedded/report\.html",
    "python -m jprm doctor": r"packages",
    "python -m jprm evaluate --model DIR --data FILE --n 8": r"(?s)processbench, 8 votes.*overall F1 by votes: .* at 8",
    "python -m jprm evaluate --model DIR --data FILE --n 16": r"processbench, 16 votes",
    "python -m jprm evaluate --model DIR --data FILE --scorer critic": r"overall",
    "python -m jprm list": r"(?s)scorers.*strategies.*protocols.*checkpoint families",
    "python -m jprm label configs/sweep/math-qwen.toml": r"labels\.jsonl",
    "python -m jprm synthesize configs/sweep/math-qwen.toml": r"conversations\.jsonl",
    "python experiments/sweep.py configs/sweep/math-qwen.toml": r"(?s)has F1 .*report: ",
    "python experiments/sweep.py configs/sweep/math-qwen.toml --plan --machine h100x16": r"(?s)Memory.* on 16 x h100",
    "python -m jprm train --config configs/train/qwen-1.5b.toml model.checkpoint=DIR data.path=FILE": r"step",
    "python -m jprm export --run DIR --to hf --out DIR": r"OUT: ",
    "python experiments/sweep.py --plan": r"10 cells, .* of them ready",
    "python experiments/sweep.py name=short train.steps=200 'grid.seeds=[0, 1]'": r"report: runs/short/report\.html",
    "python experiments/sweep.py configs/sweep/votes.toml": r"(?s)temperature.*report: ",
    "python experiments/sweep.py configs/sweep/laws.toml": r"(?s)law.*report: ",
    "python -m jprm view runs": r"http://127\.0\.0\.1:\d+",
    "python -m jprm report runs/embedded": r"report\.html: 4 of 4 cells",
    "python -m jprm compare runs/embedded runs/short": r"(?s)B minus A.*only A is right on",
    "python -m jprm laws FILE --budget 1e21": r"(?s)approach.*1e\+?21",
    "python experiments/uses.py": r"report: runs/applications/report\.html",
}
ELSEWHERE = {
    "pip ": "an installation: .ci/run",
    "pytest": "this is it",
    "--backend openai": "a server: tests/experiments/benchmark/test_backends.py",
    "--launcher slurm": "a cluster: tests/jobs/test_launch.py",
    "mkdocs serve": "the site: .ci/run builds it",
}
SMALLER = {
    "python experiments/sweep.py": TINY,
    "python experiments/sweep.py name=short train.steps=200 'grid.seeds=[0, 1]'": [*TINY, "grid.seeds=[0]"],
    "python experiments/uses.py": tiny.TINY,
    "python -m jprm evaluate --model DIR --data FILE --scorer critic": ["max_tokens=40"],
    "python -m jprm view runs": ["--port", "0"],
}
LOSSES = [
    {"params": n, "tokens": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28}
    for n in (1e7, 3e7, 1e8, 3e8)
    for d in (1e9, 3e9, 1e10)
]
TRAINING = {"steps": 2, "batch_rows": 8, "microbatches": 1, "row_tokens": 2048, "warmup_steps": 0}


def lines() -> list[str]:
    """The command lines, without comments, in the order of the page."""
    return [shlex.join(shlex.split(line, comments=True)) for line in commands_of(README)]


def test_every_command_is_run_here_or_elsewhere():
    here = {shlex.join(shlex.split(line)) for line in SAID}
    assert here <= {*lines()} and SMALLER.keys() <= SAID.keys()
    left = [line for line in lines() if line not in here and not any(part in line for part in ELSEWHERE)]
    assert left == []
    named = [path for reason in ELSEWHERE.values() for path in re.findall(r"tests/[\w/]+\.py|\.ci/run", reason)]
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert {language for language, _ in blocks(README)} == {"", "text", "python"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of a newcomer, with all that the README names, in small."""
    folder = tmp_path_factory.mktemp("newcomer")
    (models := folder / "models").mkdir()
    shutil.copytree(ROOT / "configs", folder / "configs")
    checkpoint.make(folder / "DIR")
    asked = {"name": "genprm", "chat": "template", "overrides": list(checkpoint.SHORT)}
    (folder / "DIR" / "jprm.json").write_text(json.dumps({"protocol": asked}))
    axis = '[[axes]]\nkey = "verify.temperature"\nvalues = [0.7, 1.1]\n'
    (folder / "configs/sweep/votes.toml").write_text(f'name = "votes"\n{as_toml(TINY)}\n{axis}')
    (folder / "configs/sweep/laws.toml").write_text(f'name = "laws"\n{as_toml(TINY)}')
    (folder / "problems.jsonl").write_text(
        "".join(json.dumps({"problem": text, "answer": "4"}) + "\n" for text in by_heart.PROBLEMS)
    )
    steps = [by_heart.STEPS[0].strip(), by_heart.STEPS[1].format(4)]
    judged = [checkpoint.row(i, i % 3 - 1) | {"problem": by_heart.PROBLEMS[i], "steps": steps} for i in range(4)]
    checkpoint.write(folder / "judged.jsonl", judged)
    (folder / "configs/sweep/math-qwen.toml").write_text(toml(settings(by_heart.make(models))))
    train = (folder / "configs/train/qwen-1.5b.toml").read_text()
    for key, value in TRAINING.items():
        train = re.sub(rf"^{key} = .*$", f"{key} = {value}", train, flags=re.MULTILINE)
    (folder / "configs/train/qwen-1.5b.toml").write_text(train)
    return folder


def as_toml(words: list[str]) -> str:
    """Overrides of the command line as lines of a configuration file."""
    pairs = (word.split("=", 1) for word in words)
    return "".join(f"{key} = {value if value[0] in '[0123456789' else json.dumps(value)}\n" for key, value in pairs)


def words_of(line: str) -> list[str]:
    """The words of a command as they are run here."""
    found = [*(jprm_words(shlex.split(line)) or []), *map(str, SMALLER.get(line, []))]
    if found[0] == "export":
        found[found.index("--run") + 1], found[found.index("--out") + 1] = "runs/qwen-1.5b", "OUT"
    return found


def put_file(folder: Path, line: str) -> None:
    """Writes what stands in FILE for a command."""
    if "laws FILE" in line:
        checkpoint.write(folder / "FILE", LOSSES)
    elif "data.path=FILE" in line:
        shutil.copy(next(folder.glob("runs/sweep/conversations.jsonl")), folder / "FILE")
    else:
        checkpoint.write(folder / "FILE", checkpoint.rows(4, steps=2))


@pytest.mark.slow
def test_every_command_runs_as_written_and_says_what_it_should(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    tiny.install(monkeypatch.setattr)
    monkeypatch.setattr(view, "view", visited)
    asked = {shlex.join(shlex.split(line)): line for line in SAID}
    for line in [asked[shown] for shown in dict.fromkeys(lines()) if shown in asked]:
        put_file(place, line)
        words = words_of(line)
        monkeypatch.setattr("sys.argv", ["jprm", *words])
        with one_device():
            code = guarded(lambda words=words: app(words, standalone_mode=False))
        said = capsys.readouterr()
        fit = (0, 1) if "doctor" in line else (0,)
        assert code in fit, f"{line}\n{said.out[-2000:]}{said.err[-2000:]}"
        assert re.search(SAID[line], said.out + said.err), f"{line}\n{said.out[-3000:]}"


def visited(path, port):
    """Stands for `jprm.experiments.view.view`: serves, asks for the page as a browser would, and stops."""
    with view.server_of(view.RunsSite(path), port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        page = urllib.request.urlopen(address).read().decode()
        server.shutdown()
        thread.join()
    assert "embedded" in page and "short" in page
    print(address)


@pytest.mark.slow
def test_the_python_block_runs_as_written(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    put_file(place, "")
    [text] = [text for language, text in blocks(README) if language == "python"]
    (place / "configs/sweep/laws.toml").write_text(
        (place / "configs/sweep/laws.toml").read_text().replace("verify.n_votes = 2", "verify.n_votes = 4")
    )
    shutil.rmtree(place / "runs/laws", ignore_errors=True)  # of the commands above, with other votes
    names = {}
    with one_device():
        exec(compile(text.replace("train.steps=200", "train.steps=8"), "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"(?s)step 1 .*step 2 .*\n0\.\d+ \[.*\] 0\.\d+ \[.*\]$", said.strip())
    assert names["result"].overall.measures["f1"].low <= names["result"].overall.measures["f1"].value


def test_the_plan_that_is_shown_is_printed(tmp_path, monkeypatch, capsys):
    [shown] = [text for text in TEXTS if "stages, 0 done" in text]
    monkeypatch.chdir(tmp_path)
    assert guarded(lambda: app(["sweep", "--plan"], standalone_mode=False)) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == shown.splitlines()


@pytest.mark.slow
def test_the_judgements_that_are_shown_are_printed(tmp_path, monkeypatch, capsys, data_root):
    """Of the guide's scorer on the rows of ProcessBench, with the same numbers to the digit; but for the seconds."""
    [shown] = [text for text in TEXTS if "processbench, 8 votes" in text]
    [plugin] = [text for language, text in blocks(ROOT / "docs/guides/plugins.md") if language == "python"]
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(plugin)
    data = str(data_root / "processbench" / "gsm8k.jsonl.gz")
    words = ["evaluate", "--data", data, "--scorer", "shows-its-sum", "--plugin", "mine.py"]
    assert guarded(lambda: app(words, standalone_mode=False)) == 0
    printed, wanted = (
        re.sub(r", [\d.]+ s *$", "", text, flags=re.MULTILINE) for text in (capsys.readouterr().out, shown)
    )
    lost = {line.rstrip() for line in wanted.splitlines()} - {line.rstrip() for line in printed.splitlines()}
    assert lost == set()


def test_the_numbers_of_the_table_are_those_of_the_results():
    """docs/results.md has all rows of that run; `python -m tools.readme_results RUN --check` compares with another."""
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8").replace("0.", ".")
    rows = re.findall(
        r"^\| [^|]+ \| (\S+ \[[^]]+\]) \| (\S+ \[[^]]+\]) \| ([\d,]+) \|$", README.read_text(), re.MULTILINE
    )
    assert len(rows) >= 5
    assert [cell for row in rows for cell in row if f"| {cell} |" not in results] == []
