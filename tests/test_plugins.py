"""A plugin's worlds, label rules and layouts: chosen by name in a configuration, and part of what depends on them."""

import json
import sys

import pytest

from jprm import cli
from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.formats.protocols import protocol_of
from jprm.tasks.benchmark_file import BenchmarkFile
from jprm.tasks.labels import step_labels
from jprm.tasks.search import Search
from jprm.tasks.settings import LabelSection
from jprm.verify import CompactDialogue, RationaleFormat
from jprm.verify.settings import dialogue_of

WORLD = """
import jprm
from jprm.worlds.embedded import EmbeddedWorld

@jprm.world("{name}")
class Easier(EmbeddedWorld):
    \"\"\"The embedded world under another name.\"\"\"
    has_oracle = {oracle}
    def __init__(self, level: int = 1):
        super().__init__()
"""
RULE = """
import jprm

@jprm.label_rule("{name}")
def rule(mc):
    \"\"\"Right where the value is certain.\"\"\"
    return {labels}
"""
LAYOUT = """
import jprm
from jprm.formats.judged import JudgedSolution

@jprm.benchmark("{name}", keys=("q", "{name}"))
def layout(row, place, notes):
    return [JudgedSolution("", row["q"], row["q"], ("one", "two"), (True, False))]
"""
PROTOCOL = """
import jprm
from jprm.verify import Template

@jprm.protocol("{name}")
{made}
"""
OTHER_WORDS = "class Mine(Template):\n    unknown_output = 'no idea'"
SMALL = ["labels.source=planted", "grid.labels=exact", "evaluate.benchmarks=['planted']", "grid.ablations=[]"]


def written(path, text, **words):
    path.write_text(text.format(**words))
    return path


def keys(path, *words):
    """The keys of the first cell's tasks by kind."""
    cell = Sweep(load(SweepConfig, None, [f"plugins={path}", *words])).main
    tasks = cell.verifier, cell.verifier.base, cell.verifier.labels, cell.votes.benchmark
    return {task.kind: task.key for task in tasks}


def test_a_world_is_chosen_by_name_and_its_file_is_part_of_every_key(tmp_path):
    path = written(tmp_path / "mine.py", WORLD, name="easier", oracle=True)
    asked = [*SMALL, "world.kind=easier"]
    first = keys(path, *asked, "world.settings.level=2")
    assert first == keys(path, *asked, "world.settings.level=2")
    path.write_text(path.read_text() + "# another content\n")
    second = keys(path, *asked, "world.settings.level=2")
    assert first.keys() == second.keys() and all(first[kind] != second[kind] for kind in first)
    with pytest.raises(UserError, match="the world easier: got an unexpected keyword argument 'levle'"):
        keys(path, *asked, "world.settings.levle=2")


def verifier_of(path, *words):
    return Sweep(load(SweepConfig, None, [f"plugins={path}", *SMALL, *words])).main.verifier


def test_a_protocol_is_chosen_by_name_and_its_file_is_part_of_what_is_trained_and_asked(tmp_path):
    path = written(tmp_path / "mine.py", PROTOCOL, name="wordy", made=OTHER_WORDS)
    mine = verifier_of(path, "verify.protocol=wordy", "verify.max_tokens=50", "verify.code.output_chars=9")
    assert mine.template.unknown_output == "no idea" and mine.template.budget.max_tokens == 50
    assert mine.template.code.output_chars == 9 and mine.remembered.name == "wordy"
    assert type(mine.template).__name__ == "Mine" and dialogue_of(mine.template) is CompactDialogue
    first, tags = (keys(path, *SMALL, f"verify.protocol={name}") for name in ("wordy", "tags"))
    assert tags == keys(path, *SMALL) and {kind for kind in first if first[kind] != tags[kind]} == {"verifier"}
    path.write_text(path.read_text() + "# another content\n")
    assert keys(path, *SMALL, "verify.protocol=wordy")["verifier"] != first["verifier"]


def test_what_is_no_protocol_is_told(tmp_path):
    not_one = written(tmp_path / "none.py", PROTOCOL, name="none-at-all", made="def mine(budget, code):\n    return 3")
    with pytest.raises(UserError, match="the protocol none-at-all makes a int; a Template or a RationaleFormat is"):
        _ = verifier_of(not_one, "verify.protocol=none-at-all").template
    foreign = "class Mine(Template):\n    stops = ('<checked>',)"
    of_others = written(tmp_path / "foreign.py", PROTOCOL, name="foreign-tags", made=foreign)
    with pytest.raises(UserError, match="verify.protocol = foreign-tags: .*<checked>"):
        _ = verifier_of(of_others, "verify.protocol=foreign-tags").template
    with pytest.raises(UserError, match="verify.protocol = 'thinkprm' .*: ThinkPRM judges whole solutions"):
        load(SweepConfig, None, ["verify.protocol=thinkprm"])
    with pytest.raises(UserError, match="unknown protocol 'gemprm': did you mean 'genprm'"):
        load(SweepConfig, None, ["verify.protocol=gemprm"])
    with pytest.raises(UserError, match="name = 'gemprm'.*no protocol of that name; known: genprm, thinkprm, tags"):
        protocol_of({"protocol": {"name": "gemprm"}})


def test_a_protocol_that_no_state_machine_plays_is_told_and_one_of_its_own_is_taken():
    class Bare(RationaleFormat):
        verdict_words = ("Yes", "No")
        opening = following = parts = stop_ids = lambda self, *_: ""

    with pytest.raises(UserError, match="Bare does not say how it is played: set its class variable `dialogue`"):
        dialogue_of(Bare())
    Bare.dialogue = CompactDialogue
    assert dialogue_of(Bare()) is CompactDialogue


def test_what_a_plugin_world_does_not_know_is_told_before_it_is_loaded(tmp_path):
    path = written(tmp_path / "blind.py", WORLD, name="blind", oracle=False)
    config = [f"plugins={path}", "world.kind=blind", "model.policy=DIR", "grid.sizes=['DIR']"]
    with pytest.raises(UserError, match='grid.labels = "exact": the world blind does not know'):
        load(SweepConfig, None, [*config, "grid.labels=exact"])


def test_a_label_rule_is_chosen_by_name_and_its_file_is_part_of_the_verifiers_key(tmp_path):
    path = written(tmp_path / "rule.py", RULE, name="certain", labels="[int(v == 1) for v in mc[1:]]")
    before = keys(path, "grid.labels=certain")
    assert step_labels("certain", [0.5, 1.0, 0.9], LabelSection()) == [1, 0]
    path.write_text(path.read_text() + "# another content\n")
    after = keys(path, "grid.labels=certain")
    assert [kind for kind in before if before[kind] != after[kind]] == ["verifier"]
    written(tmp_path / "bad.py", RULE, name="short", labels="[1]")
    keys(tmp_path / "bad.py", "grid.labels=short")
    with pytest.raises(UserError, match=r"the label rule short gave \[1\] for 2 steps"):
        step_labels("short", [0.5, 1.0, 0.9], LabelSection())


def test_a_layout_is_told_by_its_fields_and_its_file_is_part_of_the_sets_key(tmp_path):
    path = written(tmp_path / "layout.py", LAYOUT, name="quiz")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"q": "Why?", "quiz": 1}) + "\n")
    read_config(data=rows, plugins=path)
    one = BenchmarkFile(rows)
    before = one.key
    assert (one.name, one.size, one.scores_solutions) == ("quiz", 1, True)
    path.write_text(path.read_text() + "# another content\n")
    read_config(data=rows, plugins=[path])
    assert BenchmarkFile(rows).key != before


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("world.kind=embeded", "world.kind = 'embeded' .from the command line.: unknown world .* 'embedded'"),
        ("grid.labels=rpee", "grid.labels = 'rpee' .from the command line.: unknown label rule .* 'rpe'"),
        ("cell.labels=hrad", "cell.labels = 'hrad' .from the command line.: unknown label rule .* 'hard'"),
        ("plugins=nowhere.py", "nowhere.py: not a Python file that is there"),
        ("plugins=[3]", "plugins"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_its_key_and_the_nearest(word, said):
    with pytest.raises(UserError, match=said):
        load(SweepConfig, None, [word])


def test_a_search_is_named_by_the_files_of_its_strategy_scorer_and_aggregation(tmp_path, search_with):
    path = tmp_path / "found.py"
    path.write_text(
        "from jprm import aggregation, scorer\n"
        "@scorer('listless')\ndef listless(problem, steps, seed): return [0.5] * len(steps)\n"
        "@aggregation('last-again')\ndef last_again(rewards): return rewards[-1]\n"
    )
    load(ApplicationsConfig, None, [f"plugins={path}"])
    plain, scored = search_with("genprm", "min"), search_with("listless", "min")
    assert plain.plugin == "" and len(scored.plugin) == 16
    assert search_with("genprm", "last-again").plugin == scored.plugin == search_with("listless", "last-again").plugin


@pytest.fixture
def search_with():
    def make(scorer, aggregation):
        search = object.__new__(Search)
        settings = json.dumps({"aggregation": aggregation, "width": 2})
        for name, value in {"strategy": "beam", "settings": settings, "scorer": scorer}.items():
            object.__setattr__(search, name, value)
        return search

    return make


def test_the_list_names_what_a_plugin_brings(monkeypatch, capsys, tmp_path):
    written(tmp_path / "a.py", RULE, name="listed-rule", labels="[]")
    written(tmp_path / "b.py", WORLD, name="listed-world", oracle=True)
    words = ["list", "--plugin", tmp_path / "a.py", "--plugin", tmp_path / "b.py"]
    monkeypatch.setattr(sys, "argv", ["jprm", *map(str, words)])
    assert cli.main() == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["listed-rule", "Right where the value is certain."] in lines
    assert ["listed-world", "The embedded world under another name."] in lines
