"""The protocol that rows tell and models remember: there and back, and every mistake in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.formats.protocols import PROTOCOL_FILE, ProtocolChoice, protocol_json, protocol_of, read_protocol
from tests.pages import documented

CHOICES = st.builds(
    ProtocolChoice,
    name=st.sampled_from(["genprm", "thinkprm", "tags"]),
    chat=st.sampled_from(["published", "template"]),
    style=st.sampled_from(["full", "code", "analysis", "direct"]),
    overrides=st.lists(st.builds("{}={}".format, st.text("ab.", min_size=1), st.text()), max_size=3).map(tuple),
)


@given(CHOICES)
def test_there_and_back(choice):
    assert protocol_of(json.loads(protocol_json(choice))) == choice


def test_a_directory_remembers_or_does_not(tmp_path):
    assert read_protocol(tmp_path) is None
    choice = ProtocolChoice(name="genprm", chat="template", overrides=("budget.max_tokens=9",))
    (tmp_path / PROTOCOL_FILE).write_text(protocol_json(choice))
    assert read_protocol(tmp_path) == choice
    assert json.loads(protocol_json(choice))["protocol"].keys() == documented("jprm.json")["fields"]
    assert str(choice) == "genprm, chat template, style full, budget.max_tokens=9"
    (tmp_path / PROTOCOL_FILE).write_text("{}")
    assert read_protocol(tmp_path) is None


def test_rows_without_one_are_any_rows():
    assert protocol_of({"messages": []}) is None and protocol_of({"protocol": None}) is None


MISTAKES = {
    '"genprm"': "'protocol' must be an object",
    '{"name": "prm"}': "name = 'prm' (from 'protocol')",
    '{"chat": "template"}': "'protocol': name: Field required",
    '{"name": "genprm", "chatt": 1}': "unknown key \"chatt\" (from 'protocol')",
    '{"name": "genprm", "overrides": ["x"]}': "'x' is not key=value",
    "[": "not JSON",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_name_the_file_and_the_key(tmp_path, text):
    (tmp_path / PROTOCOL_FILE).write_text(f'{{"protocol": {text}}}')
    with pytest.raises(UserError) as raised:
        read_protocol(tmp_path)
    said = str(raised.value)
    assert said.startswith(str(tmp_path / PROTOCOL_FILE)) and MISTAKES[text] in said and "\n" not in said
