"""Hostile templates and patterns: a limit and a line each."""

import json

import pytest

from jprm.chat import ChatCodec
from jprm.chat.endless import template_ends
from jprm.errors import UserError
from tests.chat.checkpoints import make

USER = {"role": "user", "content": "Is 8 + 3 = 11?"}
LOOPS = "{%- for i in range(99999) -%}{%- for j in range(99999) -%}{%- endfor -%}{%- endfor -%}"
DOUBLES = "{%- set ns = namespace(x='a') -%}{%- for i in range(99) -%}{%- set ns.x = ns.x ~ ns.x -%}{%- endfor -%}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make(tmp_path_factory.mktemp("chat") / "r1", "r1")


def with_template(directory, tmp_path, template):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "tokenizer_config.json"
    about = json.loads(config.read_text())
    about.pop("chat_template", None)
    config.write_text(json.dumps(about))
    (tmp_path / "chat_template.jinja").write_text(template)
    return ChatCodec.load(tmp_path)


@pytest.mark.parametrize("template", [LOOPS, DOUBLES, "{{ 10 ** (10 ** 9) }}", "{{ 'a' * 10 ** 12 }}"])
def test_an_endless_template_is_refused(directory, tmp_path, template, monkeypatch):
    monkeypatch.setattr("jprm.chat.endless.CPU_S", 1)
    codec = with_template(directory, tmp_path, template)
    with pytest.raises(UserError, match="chat_template.jinja: the chat template does not come to an end"):
        codec.chat_text([USER])


def test_a_template_that_fails_or_refuses_ends(directory, tmp_path):
    assert template_ends("{{ raise_exception('no') }}", [USER], {})
    assert template_ends("{% broken", [USER], {})
    assert template_ends("{% generation %}{{ messages[0].content | tojson }}{% endgeneration %}", [USER], {})
    codec = with_template(directory, tmp_path, "{{ raise_exception('only users') }}")
    with pytest.raises(UserError, match="fails on these messages .only users"):
        codec.chat_text([USER])


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(\s|\s\s)+$", r"(?:\d|\d\d)+$"])
def test_a_pattern_that_backtracks_without_end_is_refused(directory, tmp_path, pattern):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "tokenizer.json"
    about = json.loads(file.read_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    about["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, about["pre_tokenizer"]]}
    file.write_text(json.dumps(about))
    with pytest.raises(UserError, match="a pattern of tokenizer.json backtracks without end"):
        ChatCodec.load(tmp_path)
