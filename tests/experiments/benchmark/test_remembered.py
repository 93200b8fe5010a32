"""`evaluate` in a checkpoint's own chat, and a checkpoint that remembers in which protocol it was trained."""

import json

import pytest

from jprm import cli
from jprm.errors import UserError
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.benchmark.remembered import as_trained
from jprm.formats.protocols import PROTOCOL_FILE, ProtocolChoice, protocol_json
from jprm.models import bind
from jprm.models.hf_config import read_config as read_model_config
from jprm.score import find_scorer
from jprm.tasks.pretrained import model_digest
from jprm.train.config import LoraSection
from jprm.train.lora import init_adapters, save_peft
from jprm.verify import GenPRM
from tests.experiments.benchmark import checkpoint, stored
from tests.verify.published import BRIEF, FILE

SIZES = ("--slots", "1", "--context", "1280", "--n", "1", "--limit", "1")
TEMPLATE = ProtocolChoice(name="genprm", chat="template", overrides=(*BRIEF, "quirks.first_user=training"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return checkpoint.write(tmp_path_factory.mktemp("data") / "pb.jsonl", checkpoint.rows(4))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint.make(tmp_path_factory.mktemp("model") / "tiny", "qwen")


@pytest.fixture
def remembering(model, tmp_path):
    """The same model, which remembers what it is told to."""

    def make(choice):
        directory = tmp_path / "trained"
        directory.mkdir(exist_ok=True)
        for path in model.iterdir():
            (directory / path.name).write_bytes(path.read_bytes())
        (directory / PROTOCOL_FILE).write_text(protocol_json(choice))
        return directory

    return make


def evaluate(monkeypatch, model, data, out, *more):
    """(exit code, identity of the run, its votes)."""
    words = ["jprm", "evaluate", "--model", model, "--data", data, "--out", out, *SIZES, *more, *checkpoint.SHORT]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    code = cli.main()
    file = out / "identity.json"
    return code, json.loads(file.read_text()) if file.exists() else {}, stored.votes(out)


def told(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if "was trained in" in line]


def test_the_template_of_a_checkpoint(monkeypatch, capsys, model, data, tmp_path):
    """Another prompt draws other votes; the identity holds the chat only where it is not the published one."""
    code, plain, votes = evaluate(monkeypatch, model, data, tmp_path / "published")
    assert code == 0 and told(capsys) == []
    code, own, in_template = evaluate(monkeypatch, model, data, tmp_path / "template", "--chat", "template")
    assert code == 0 and votes.keys() == in_template.keys() and votes != in_template
    assert own.items() - plain.items() == {("protocol.chat.turns", "template"), ("protocol.chat.date", "2024-07-26")}
    assert plain.keys() <= own.keys()
    assert "note:" not in "".join(line for line in capsys.readouterr().err.splitlines() if "<|im" in line)
    code, _, _ = evaluate(monkeypatch, model, data, tmp_path / "template")
    assert code == 2 and "protocol.chat.turns" in capsys.readouterr().err
    code, same, _ = evaluate(monkeypatch, model, data, tmp_path / "published", "--chat", "published")
    assert code == 0 and same == plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--chat", "chatml"), "--chat chatml: no such chat; known: published, template"),
        (("--chat", "template", "--scorer", "thinkprm"), "--chat template: the scorer thinkprm has a chat of its own"),
    ],
)
def test_mistakes(monkeypatch, capsys, model, data, tmp_path, arguments, said):
    code, identity, _ = evaluate(monkeypatch, model, data, tmp_path / "out", *arguments)
    assert code == 2 and identity == {} and said in capsys.readouterr().err


def test_a_model_is_judged_as_it_was_trained(monkeypatch, capsys, remembering, data, tmp_path):
    trained = remembering(TEMPLATE)
    code, identity, votes = evaluate(monkeypatch, trained, data, tmp_path / "a")
    assert code == 0
    [line] = told(capsys)
    assert "in genprm, chat template, style full, " in line and line.endswith("training; it is asked so")
    words = ("--chat", "template", "quirks.first_user=training")
    (trained / PROTOCOL_FILE).unlink()
    code, same, by_hand = evaluate(monkeypatch, trained, data, tmp_path / "b", *words)
    assert code == 0 and same == identity and by_hand == votes and told(capsys) == []


def asked(model, data, **options):
    """What an evaluation makes of the options; what it says is for `told`."""
    return as_trained(read_config(model=model, data=data, **options))


def test_what_the_user_asks_otherwise_is_said(capsys, remembering, data):
    trained = remembering(TEMPLATE)
    config = asked(trained, data, chat="published", overrides=("quirks.any_case=false", "budget.max_tokens=9"))
    protocol = config.read_protocol(GenPRM)
    assert isinstance(protocol, GenPRM) and protocol.chat.turns == "published"
    assert protocol.quirks.first_user == "training" and not protocol.quirks.any_case and protocol.budget.max_tokens == 9
    [line] = told(capsys)
    assert 'it is asked otherwise: chat.turns ("template" there, none now)' in line.replace("null", "none")
    assert "quirks.any_case (true there, false now)" in line and "budget" not in line


def test_a_file_of_the_user_is_taken_as_it_is(capsys, remembering, data):
    config = asked(remembering(TEMPLATE), data, protocol=FILE)
    protocol = config.read_protocol(GenPRM)
    assert isinstance(protocol, GenPRM) and protocol.quirks.first_user == "evaluation"
    assert "it is asked otherwise" in told(capsys)[0]


def test_the_style_finds_its_scorer(capsys, remembering, data):
    for style, scorer in {"full": "genprm", "code": "genprm-code", "analysis": "genprm-analysis"}.items():
        trained = remembering(ProtocolChoice(name="genprm", style=style))
        assert asked(trained, data).scorer == scorer and "it is asked so" in told(capsys)[0]
        assert find_scorer(scorer).style == style
    trained = remembering(ProtocolChoice(name="genprm", style="direct"))
    assert asked(trained, data).scorer == "direct" and "it is asked so" in told(capsys)[0]
    assert asked(trained, data, scorer="genprm").scorer == "genprm"
    assert "the scorer genprm judges in another protocol or style" in told(capsys)[0]
    assert asked(trained, data, scorer="head").scorer == "head" and told(capsys) == []
    trained = remembering(ProtocolChoice(name="thinkprm", style="analysis"))
    assert asked(trained, data).scorer == "thinkprm" and "it is asked so" in told(capsys)[0]
    trained = remembering(ProtocolChoice(name="tags"))
    assert asked(trained, data).scorer == "genprm" and "another protocol" in told(capsys)[0]


def test_an_adapter_remembers_before_its_base(capsys, model, remembering, data, tmp_path):
    trained = remembering(ProtocolChoice(name="tags"))
    lora = LoraSection(rank=2, alpha=4.0)
    save_peft(tmp_path / "adapter", init_adapters(bind(read_model_config(model)), lora, 0), lora, str(trained))
    asked(tmp_path / "adapter", data)
    assert told(capsys)[0].startswith(f"{trained / PROTOCOL_FILE}: ")
    (tmp_path / "adapter" / PROTOCOL_FILE).write_text(protocol_json(TEMPLATE))
    assert asked(tmp_path / "adapter", data).chat == "template"
    assert told(capsys)[0].startswith(f"{tmp_path / 'adapter' / PROTOCOL_FILE}: ")


def test_a_model_that_remembers_nothing_is_judged_as_ever(capsys, model, data):
    config = read_config(model=model, data=data)
    assert as_trained(config) is config and told(capsys) == []


def test_what_is_remembered_is_no_part_of_the_model(remembering, model):
    assert model_digest(remembering(TEMPLATE)) == model_digest(model)


def test_a_damaged_memory_is_named(remembering, data):
    trained = remembering(ProtocolChoice(name="genprm", overrides=("chat.boss=x",)))
    with pytest.raises(UserError, match='unknown key "chat.boss"') as raised:
        asked(trained, data)
    assert str(raised.value).startswith(str(trained / PROTOCOL_FILE))
