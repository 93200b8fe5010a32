"""The references of commands and of the Python API are what the code says."""

import pytest
import typer

from jprm.errors import UserError
from tests.pages import ROOT
from tools import api_reference, command_reference


def test_the_page_of_commands_is_current():
    assert command_reference.PAGE.read_text(encoding="utf-8") == command_reference.page(), (
        "run: python -m tools.command_reference"
    )


def test_every_command_and_option_is_on_the_page():
    text = command_reference.page()
    for name, command in command_reference.commands():
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section
        for parameter in command.params:
            assert f"`{', '.join(parameter.opts)}`" in section or not parameter.opts[0].startswith("-")
    assert {name for name, _ in command_reference.commands()} >= {"sweep", "data convert", "list"}
    assert "<directory>" not in text, "Markdown would take it for HTML"


def test_an_option_without_a_help_text_is_named(monkeypatch):
    bare = typer.Typer()

    @bare.callback()
    def root() -> None:
        pass

    @bare.command()
    def first(size: int, kind: str = typer.Option("x", help="Told.")) -> None:
        """Does it."""

    monkeypatch.setattr(command_reference, "app", bare)
    with pytest.raises(UserError, match="without a help text: first: size"):
        command_reference.page()


def test_the_pages_of_the_api_are_current():
    assert api_reference.main(["--check"]) == 0, "run: python -m tools.api_reference"
    shown = set(api_reference.pages())
    assert shown == set(api_reference.PAGES.glob("*.md"))
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in shown if f"api/{path.name}" not in site] == []


def test_a_room_offers_what_it_imports_and_what_it_defines():
    rooms = api_reference.rooms()
    assert "relative_progress" in rooms["jprm.label"][1] and "fit" in rooms["jprm.train"][1], "those loaded late, too"
    assert rooms["jprm.doctor"][1] == ["diagnose", "Finding", "gather", "MachineFacts", "print_findings", "run_doctor"]
    assert "jprm.cli" not in rooms and not any(name.startswith("_") for _, names in rooms.values() for name in names)


def test_a_page_of_no_room_is_told_and_removed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(api_reference, "PAGES", tmp_path)
    assert api_reference.main([]) == 0 and api_reference.main(["--check"]) == 0
    (tmp_path / "gone.md").write_text("# jprm.gone\n")
    assert api_reference.main(["--check"]) == 1
    assert "gone.md: of no room" in capsys.readouterr().err
    assert api_reference.main([]) == 0 and not (tmp_path / "gone.md").exists()
