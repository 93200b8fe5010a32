"""Every command that the README and the pages of docs/ show can be parsed, and names files and keys that there are."""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from jprm.cli import app
from jprm.cli.app import CONFIGS
from jprm.cli.experiments import split_words
from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.applications.search_command import settings_of
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.sweep.config import SweepConfig
from jprm.registry import load_plugins
from jprm.score import find_scorer
from jprm.search import make_strategy
from jprm.train.config import RunConfig
from tests.experiments.benchmark import checkpoint
from tests.pages import ROOT, blocks, documented

GENERATED = {"commands.md", "configuration.md"}  # from the code itself; what stands there are usages
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in GENERATED),
]
LOADED = {"sweep": SweepConfig, "label": SweepConfig, "synthesize": SweepConfig, "uses": ApplicationsConfig}
SCRIPTS = {"experiments/sweep.py": "sweep", "experiments/uses.py": "uses"}
OWN_FILE = re.compile(r"(?:configs|experiments|tools|docs|tests)/[\w./-]+|constraints\.txt")
GUIDE = ROOT / "docs" / "guides" / "plugins.md"


@functools.cache
def commands_of(page: Path) -> tuple[str, ...]:
    """The command lines in a page's code blocks, without comments and usages in brackets."""
    texts = (text.replace("\\\n", " ") for language, text in blocks(page) if not language)
    lines = [line.strip() for text in texts for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    begins = ("python ", "pip ", "jprm ", "pytest", "mkdocs ", "srun ", "tools/", "bash ", "ruff ")
    return tuple(part for part in parts if part.startswith(begins) and "[KEY=VALUE" not in part)


COMMANDS = {f"{page.name}: {line}": line for page in PAGES for line in commands_of(page)}


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    """The plugin file of the guide, registered: (its folder)."""
    folder = tmp_path_factory.mktemp("plugin")
    [text] = [text for language, text in blocks(GUIDE) if language == "python"]
    (folder / "mine.py").write_text(text)
    load_plugins([folder / "mine.py"])
    return folder


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The name of a command, and the values of its arguments and options; raises what typer says of a mistake."""
    command: Any = typer.main.get_command(app)
    named = []
    while hasattr(command, "commands"):
        named.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    return " ".join(named), command.make_context("jprm", list(words)).params


def check_keys(name: str, given: dict[str, Any]) -> None:
    """Raises UserError for a key=value that the command would refuse."""
    if name in LOADED:
        words = [word for word in given["words"] or () if word not in ("FILE", "CONFIG")]
        file, overrides = split_words(words, "uses" if name == "uses" else "sweep")
        load(LOADED[name], file, overrides, CONFIGS)
    elif name == "train" and "NAME" not in str(given["config"]):  # such a file is made by another command
        load(RunConfig, given["config"], given["overrides"] or [], CONFIGS)
    elif name == "report":
        load(SweepConfig, None, given["overrides"] or [])
    elif name == "search":
        make_strategy(given["strategy"], **settings_of(given["settings"] or ()))
        find_scorer(given["scorer"])
    elif name == "evaluate":
        options = {key: value for key, value in given.items() if key != "temperature" and value is not None}
        config = read_config(**options | {"overrides": given["overrides"] or ()})
        config.read_protocol(find_scorer(config.scorer).protocol)


def jprm_words(words: list[str]) -> list[str] | None:
    """The words behind `python -m jprm` or behind the script that stands for a command; None for another program."""
    if words[:3] == ["python", "-m", "jprm"]:
        return words[3:]
    if words[0] == "jprm":
        return words[1:]
    return [SCRIPTS[words[1]], *words[2:]] if words[0] == "python" and words[1] in SCRIPTS else None


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_can_be_parsed(name, plugin):
    words = [word.replace("mine.py", str(plugin / "mine.py")) for word in shlex.split(COMMANDS[name], comments=True)]
    lost = [file for file in OWN_FILE.findall(" ".join(words)) if not (ROOT / file).exists()]
    assert lost == []
    if "python" in words and words[0] == "srun":
        words = words[words.index("python") :]
    if (given := jprm_words(words)) is not None:
        check_keys(*parsed(given))
    elif words[:2] == ["python", "-m"] and words[2].startswith("tools."):
        assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file()
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        asked = re.findall(r"\.\[([\w,]+)\]", COMMANDS[name])
        assert {extra for names in asked for extra in names.split(",")} <= extras.keys()
    elif words[0] == "python" and words[1].startswith("tools/"):
        text = (ROOT / words[1]).read_text()
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []


def test_the_pages_show_every_command():
    shown = set()
    for line in COMMANDS.values():
        if given := jprm_words(shlex.split(line, comments=True)):
            shown.add(parsed(given)[0])
    groups: Any = typer.main.get_command(app)
    every = {name for name, command in groups.commands.items() if not hasattr(command, "commands")}
    assert every - shown == set()


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("python -m jprm evaluate --data FILE --vote 8", "No such option"),
        ("python -m jprm sweep train.step=8", "unknown key"),
        ("python -m jprm search --run DIR --strategy beam widht=2", "no setting 'widht'"),
        ("python -m jprm evaluate --data FILE budget.max_token=8", "unknown key"),
    ],
)
def test_a_mistake_in_a_page_would_be_seen(line, mistake):
    with pytest.raises(Exception, match=mistake) as raised:
        check_keys(*parsed(jprm_words(shlex.split(line)) or []))
    assert isinstance(raised.value, UserError) or "No such option" in str(raised.value)


def test_the_readme_is_short_and_names_what_must_be_there():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    assert commands_of(ROOT / "README.md")[:4] == (
        "pip install -e .",
        "python experiments/sweep.py",
        "pip install -e '.[test]'",
        "pytest",
    )
    for name in ("CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert f"]({name})" in text and (ROOT / name).is_file()


NEEDS_NOTHING = {
    "python -m jprm list": "scorers",
    "python -m jprm list --plugin mine.py": "shows-its-sum",
    "python -m jprm doctor": "packages",
    "python experiments/sweep.py --plan": "26 stages, 0 done",
    "python experiments/uses.py --plan": "stages, 0 done",
    "python experiments/sweep.py configs/sweep/votes.toml --plan": "stages, 0 done",
    "python -m jprm choose --scores FILE": "1 problems, 1 to 1 candidates each",
    "python -m jprm grade --pairs FILE": '"verdict": "equal"',
    "python -m jprm evaluate --data FILE --scorer shows-its-sum --plugin mine.py --n 1": "overall",
    "python -m jprm data convert --in FILE --from processbench --to trl OUT.jsonl": "solutions read 8, written 8",
}


def rows_for(command: str) -> str:
    """What stands in FILE."""
    if command == "choose":
        return json.dumps(documented("Step scores")["example"]) + "\n"
    if command == "grade":
        return json.dumps({"gold": "1/2", "answer": "0.5"}) + "\n"
    return "".join(json.dumps(row) + "\n" for row in checkpoint.rows(8))


@pytest.mark.slow
@pytest.mark.parametrize("line", NEEDS_NOTHING)
def test_what_needs_no_weights_runs_as_written(line, plugin, tmp_path):
    assert shlex.split(line) in [shlex.split(shown, comments=True) for shown in COMMANDS.values()]
    shutil.copy(plugin / "mine.py", tmp_path)
    for folder in ("configs", "experiments"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "FILE").write_text(rows_for((jprm_words(shlex.split(line)) or [""])[0]))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    fit = (0, 1) if "doctor" in line else (0,)  # 1 is what it says of a machine that lacks something, or is busy
    assert done.returncode in fit, done.stderr
    assert NEEDS_NOTHING[line] in done.stdout
