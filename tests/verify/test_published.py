"""Protocols by name: what each name opens, and names and vocabularies that do not go together."""

import pytest

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.verify import EMBEDDED, GenPRM, ThinkPRM, protocol_for
from jprm.worlds import load_world
from tests.chat import checkpoints
from tests.verify.published import published, thinkprm


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return ChatCodec.load(checkpoints.make(tmp_path_factory.mktemp("checkpoint") / "qwen"))


def test_every_name_opens_its_protocol(codec):
    assert protocol_for("genprm", "published", codec) == published()
    found = protocol_for("genprm", "template", codec, ["budget.max_tokens=9"])
    assert isinstance(found, GenPRM) and found.budget.max_tokens == 9
    assert found == published("chat.turns=template", "budget.max_tokens=9").for_codec(codec)
    assert isinstance(protocol_for("thinkprm", "published", codec, ["budget.max_rounds=2"]), ThinkPRM)
    assert thinkprm().for_codec(codec) == thinkprm()
    assert protocol_for("tags", "published", load_world("embedded").tokenizer()) is EMBEDDED


@pytest.mark.parametrize(
    ("name", "chat", "overrides", "said"),
    [
        ("genprm", "chatml", (), "chat = 'chatml': known: published, template"),
        ("prm", "published", (), "no protocol 'prm'; known: genprm, thinkprm, tags"),
        ("thinkprm", "template", (), "only genprm is laid out in a checkpoint's own chat, not thinkprm"),
        ("tags", "published", ("budget.max_tokens=9",), "is no file that could be overridden"),
        ("tags", "published", (), "needs tags that are tokens of the vocabulary"),
        ("genprm", "template", ("chat.boss=1",), 'unknown key "chat.boss"'),
    ],
)
def test_what_does_not_go_together(codec, name, chat, overrides, said):
    with pytest.raises(UserError) as raised:
        protocol_for(name, chat, codec, overrides)
    assert said in str(raised.value) and "\n" not in str(raised.value).replace("\\n", "")
