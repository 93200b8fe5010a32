"""A stage is another one where any file that it depends on has another content, and only there."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.jobs import Graph, Stages
from jprm.tasks.benchmark import SolutionSet
from tests.experiments.sweep.tiny_sweep import TINY
from tests.worlds.test_gsm8k_world import row

GSM8K = ["world.kind=gsm8k", "evaluate.benchmarks=['planted', 'processbench']", "evaluate.split=dev"]
FILES = ("gsm8k/train.jsonl", "gsm8k/test.jsonl", "processbench/gsm8k.jsonl")


@pytest.fixture
def root(tmp_path):
    """The folder of the data files of two worlds."""
    folder = tmp_path / "data"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row(i)) + "\n" for i in range(40)))
    return folder


def keys(root: Path, *more: str) -> dict[str, set[str]]:
    """The keys of all stages of a sweep by what they are: of benchmarks, and of votes, those on each."""
    config = load(SweepConfig, None, [*TINY, f"data.root={root}", *more])
    found: dict[str, set[str]] = {}
    sweep = Sweep(config)
    for task in Graph(Stages(config.path), sweep.asked).tasks:
        of = task if isinstance(task, SolutionSet) else getattr(task, "benchmark", None)
        found.setdefault(f"{task.kind} {of.name if of else ''}", set()).add(task.key)
    return found


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("name", FILES)
def test_a_row_less_is_another_stage_wherever_the_file_counts(root, name):
    before = keys(root, *GSM8K)
    cut(root / name)
    after = keys(root, *GSM8K)
    changed = {kind for kind in before if not before[kind] & after[kind]}
    kept = {kind for kind in before if before[kind] == after[kind]}
    assert changed | kept == before.keys()
    if name.startswith("gsm8k"):
        assert kept == {"benchmark processbench"}
    else:
        assert changed == {"benchmark processbench", "votes processbench"}


def test_neither_the_place_nor_the_packing_of_files_counts(root, tmp_path):
    before = keys(root, *GSM8K)
    other = shutil.copytree(root, tmp_path / "elsewhere")
    for name in FILES:
        packed = gzip.compress((other / name).read_bytes())
        (other / name).with_suffix(".jsonl.gz").write_bytes(packed)
        (other / name).unlink()
    assert keys(other, *GSM8K) == before


def test_a_world_without_files_has_the_keys_that_it_had(root):
    """Files of other worlds do not count, and finished runs of the embedded one are used again."""
    before = keys(root)
    shutil.rmtree(root)
    assert keys(root) == before
    assert before["benchmark planted"] == {"b39c58740128"}


def test_missing_files_are_named_before_anything_is_computed(root):
    (root / "processbench" / "gsm8k.jsonl").unlink()
    with pytest.raises(UserError, match=r"processbench/gsm8k\.jsonl\.gz: .*No such file"):
        keys(root, *GSM8K)
