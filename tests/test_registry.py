"""Registration by name: what is found, what is refused, and where entries come from."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from jprm.digests import file_digest
from jprm.errors import UserError
from jprm.registry import Registry, load_plugin, load_plugins

COLOURS = Registry("colour")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A registry with one entry, under a name by which files can import it."""
    made = Registry("colour")
    made("red")(red)
    monkeypatch.setattr(sys.modules[__name__], "COLOURS", made)
    return made


def red():
    """The first."""


def another():
    """The second."""


def test_entries_come_in_the_order_of_their_registration(registry):
    assert registry("blue")(another) is another
    assert [*registry] == ["red", "blue"] == [*registry.names()] and registry.entries() == {"red": red, "blue": another}
    with pytest.raises(UserError, match="^unknown colour 'bleu': did you mean 'blue'. known: red, blue$"):
        registry["bleu"]


def test_a_name_is_taken_once_but_a_definition_may_come_again(registry):
    registry("red")(red)
    with pytest.raises(UserError, match="colour 'red' of tests.test_registry is taken by tests.test_registry; rename"):
        registry("red")(another)


def test_an_installed_package_registers_by_an_entry_point(registry, monkeypatch, tmp_path):
    (tmp_path / "dyes.py").write_text("from tests import test_registry\ntest_registry.COLOURS('green')(lambda: 0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = importlib.metadata.EntryPoint("green", "dyes", "jprm.plugins")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "jprm.plugins" else [])
    assert registry["green"]() == 0 and [*registry] == ["red", "green"]


def test_a_package_that_does_not_load_is_named(registry, monkeypatch):
    point = importlib.metadata.EntryPoint("green", "no_such_dyes", "jprm.plugins")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    for _ in range(2):
        with pytest.raises(UserError, match="plugin 'green' of no_such_dyes: ModuleNotFoundError: .* uninstall"):
            registry["red"]


def test_a_file_tells_what_it_adds_each_time_it_runs(registry, tmp_path):
    path = tmp_path / "mine.py"
    text = "from tests import test_registry\n@test_registry.COLOURS('grey')\ndef grey(): return {}\n"
    for shade in (1, 2):
        path.write_text(text.format(shade))
        assert load_plugin(path) == {("colour", "grey")} and registry["grey"]() == shade
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match='mine.py: registers nothing; decorate .* strategy, .* as in @scorer."name"'):
        load_plugin(path)
    path.write_text("raise KeyError('x')\n")
    with pytest.raises(UserError, match="mine.py: KeyError: 'x'"):
        load_plugin(path)
    with pytest.raises(UserError, match="no.txt: not a Python file that is there"):
        load_plugin(tmp_path / "no.txt")


def test_a_file_runs_once_for_each_of_its_contents_and_names_what_it_defines(registry, tmp_path):
    path = tmp_path / "mine.py"
    text = "from tests import test_registry\n@test_registry.COLOURS('grey')\ndef grey(): return {}\n"
    digests = []
    for shade in (1, 2):
        path.write_text(text.format(shade))
        load_plugins([path])
        made = registry["grey"]
        load_plugins([path])
        assert registry["grey"] is made and made() == shade
        digests.append(registry.digest("grey"))
    assert digests[1] == file_digest(path) != digests[0]


def test_own_entries_and_those_without_a_file_have_no_digest(registry):
    registry("own")(Registry)
    exec("def typed(): pass", made := {"__name__": "a notebook"})
    registry("typed")(made["typed"])
    assert registry.digest("own") == registry.digest("typed") == ""
    assert registry.digest("red") == file_digest(Path(__file__))
    with pytest.raises(UserError, match="did you mean 'red'"):
        registry.digest("rad")


def test_the_decorator_hands_on_what_else_it_is_told():
    shades = Registry("shade", adapt=lambda made, name, depth=0: (name, depth, made()))
    shades("dark", depth=3)(dict)
    assert shades["dark"] == ("dark", 3, {})
