"""Texts of others on a terminal: shown as they are spelled, whatever they spell."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jprm.jobs import Progress
from rich.table import Table

from jprm.errors import printable
from jprm.terminal import say, terminal

HOSTILE = ["\x1b[2Jgone", "\x1b]0;title\x07", "[/x]", "[bold]no[/bold]", ":warning:", "\ud800", "a\rb", "\x9b31m"]


@given(st.text(st.characters()))
def test_printable_texts_have_no_control_characters(text):
    shown = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_console_shows_texts_as_they_are_spelled(text, capsys):
    stream = io.StringIO()
    table = Table(text)
    table.add_row(text)
    console = terminal(stream)
    console.print(text)
    console.print(table)
    say(text)
    assert stream.getvalue().count(printable(text)) == 3
    assert capsys.readouterr().out == printable(text) + "\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_live_view_survives_any_label(text):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    stream = Tty()
    progress = Progress(10, stream)
    progress.show(text, force=True)
    progress.note(text)
    progress.close()
    assert stream.getvalue().count(printable(text)) >= 2
    assert "\x1b[2J" not in stream.getvalue() and "\x1b]" not in stream.getvalue()


def test_our_own_styles_still_reach_a_terminal():
    stream = io.StringIO()
    terminal(stream, force_terminal=True, color_system="standard").print("x", style="bold")
    assert stream.getvalue() == "\x1b[1mx\x1b[0m\n"
