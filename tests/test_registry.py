"""Registration by name: what is found, what is refused, and where entries come from."""

import importlib.metadata
import sys

import pytest

from jprm.errors import UserError
from jprm.registry import Registry, load_plugin

COLOURS = Registry("colour", "tests.colours")


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A registry with one entry, under a name by which files can import it."""
    made = Registry("colour", "tests.colours")
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
    point = importlib.metadata.EntryPoint("green", "dyes", "tests.colours")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "tests.colours" else [])
    assert registry["green"]() == 0 and [*registry] == ["red", "green"]


def test_a_package_that_does_not_load_is_named(registry, monkeypatch):
    point = importlib.metadata.EntryPoint("green", "no_such_dyes", "tests.colours")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    for _ in range(2):
        with pytest.raises(UserError, match="colour 'green' of no_such_dyes: ModuleNotFoundError: .* uninstall"):
            registry["red"]


def test_a_file_tells_what_it_adds_each_time_it_runs(registry, tmp_path):
    path, other = tmp_path / "mine.py", Registry("shape", "tests.shapes")
    text = "from tests import test_registry\n@test_registry.COLOURS('grey')\ndef grey(): return {}\n"
    for shade in (1, 2):
        path.write_text(text.format(shade))
        assert load_plugin(path, registry, other) == {("colour", "grey")} and registry["grey"]() == shade
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="mine.py: registers no colour; decorate a class or function with @colour"):
        load_plugin(path, registry)
    with pytest.raises(UserError, match='registers nothing; .* with @colour."name".,'):
        load_plugin(path, registry, other)
    path.write_text("raise KeyError('x')\n")
    with pytest.raises(UserError, match="mine.py: KeyError: 'x'"):
        load_plugin(path, registry)
    with pytest.raises(UserError, match="no.txt: not a Python file that is there"):
        load_plugin(tmp_path / "no.txt", registry)
