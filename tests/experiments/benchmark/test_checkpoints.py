"""The command with a checkpoint: the own engine, killed and resumed, and directories that are no checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jprm import cli
from jprm.models import bind
from jprm.models.hf_config import read_config
from jprm.tasks import checkpoint as checkpoints
from jprm.tasks import samplers
from jprm.tasks.pretrained import model_digest
from jprm.train.config import LoraSection
from jprm.train.lora import init_adapters, save_peft
from tests.experiments.benchmark import checkpoint, stored

SIZES = ("--slots", "1", "--context", "1280")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return checkpoint.write(tmp_path_factory.mktemp("data") / "pb.jsonl", checkpoint.rows(4))


def words(model, data, out, *more):
    asked = ["evaluate", "--model", model, "--data", data, "--out", out, *SIZES, *more]
    return [str(word) for word in (*asked, *checkpoint.SHORT)]


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["jprm", *words(*arguments)])
    return cli.main()


def table(file):
    found = json.loads(file.read_text())
    del found["seconds"]
    return found


@pytest.fixture(scope="module")
def once(model, data, tmp_path_factory):
    """A run of two votes at once: its directory, and its table."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, model, data, folder / "run", "--n", 2, "--json", folder / "table.json") == 0
    return folder / "run", table(folder / "table.json")


def test_votes_of_a_checkpoint(monkeypatch, capsys, model, data, once, tmp_path):
    """More votes later, early or full, are those at once, to the bit; regrading needs no weights."""
    drawn = stored.votes(once[0])
    assert len(drawn) == 4 * 3 * 2, "a random model agrees on no error"
    assert run(monkeypatch, model, data, tmp_path / "grown", "--n", 1) == 0
    grown = tmp_path / "grown.json"
    assert run(monkeypatch, model, data, tmp_path / "grown", "--n", 2, "--json", grown) == 0
    assert table(grown) == once[1]
    assert stored.votes(tmp_path / "grown") == drawn
    again = tmp_path / "again.json"
    assert run(monkeypatch, model, data, tmp_path / "grown", "--n", 2, "--json", again) == 0
    assert again.read_text() == grown.read_text(), "seconds too: nothing was sampled"
    identity = table(grown)["identity"]
    assert identity["engine.backend"] == "own" and identity["engine.context_tokens"] == 1280
    for other in (("--context", "1536"), ("--dtype", "bfloat16"), ("--slots", "2")):
        assert run(monkeypatch, model, data, tmp_path / "grown", "--n", 3, *other) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"error: {tmp_path / 'grown'}: holds the votes of another run; it differs in engine.")


def test_a_worker_opens_the_model_once_and_draws_the_same(monkeypatch, capsys, model, data, once, tmp_path):
    opened = []
    monkeypatch.setattr(checkpoints, "open_engine", lambda r: opened.append(r) or samplers.open_engine(r))
    tables = {name: tmp_path / f"{name}.json" for name in ("fewer", "shared", "more")}
    shared = tmp_path / "shared", "--worker", "--chunk", 1
    assert run(monkeypatch, model, data, *shared, "--n", 1, "--json", tables["shared"]) == 0
    assert len(opened) == 1
    assert run(monkeypatch, model, data, once[0], "--n", 1, "--json", tables["fewer"]) == 0
    assert len(opened) == 1, "one vote is read off two"
    assert table(tables["shared"]) == table(tables["fewer"])
    assert run(monkeypatch, model, data, *shared, "--n", 2, "--json", tables["more"]) == 0
    assert table(tables["more"]) == once[1]
    capsys.readouterr()
    assert run(monkeypatch, model, data, *shared, "--n", 3, "--slots", "4") == 2
    assert "it differs in engine.slots (1 there, 4 now)" in capsys.readouterr().err.splitlines()[-1]


def test_forks_have_prefix_rows_unless_asked_otherwise(model):
    def chosen(**asked):
        return samplers.choose_sizes(read_config(model), 4, 4096, slots=16, **asked)

    assert chosen().prefix_rows == 0 and chosen(shared_prompts=True).prefix_rows == 8
    assert chosen(shared_prompts=True, prefix_rows=0).prefix_rows == 0 and chosen(prefix_rows=6).prefix_rows == 6
    assert chosen().first_entries == 1024 and chosen().slot_entries == 4096


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_bit_of_a_checkpoint_is_another_model(tmp_path, name):
    model = checkpoint.make(tmp_path / "tiny")
    before = model_digest(model)
    content = bytearray((model / name).read_bytes())
    content[len(content) // 3] ^= 1
    (model / name).write_bytes(content)
    assert model_digest(model) != before
    (model / "README.md").write_text("reaches no model")
    content[len(content) // 3] ^= 1
    (model / name).write_bytes(content)
    assert model_digest(model) == before


def test_regrading_loads_no_jax(model, data, tmp_path):
    monkey = pytest.MonkeyPatch()
    assert run(monkey, model, data, tmp_path / "a", "--n", 1, "--limit", 1) == 0
    monkey.undo()
    program = (
        "import sys; from jprm.cli import main; code = main();"
        "print(code, [m for m in ('jax', 'transformers', 'torch') if m in sys.modules])"
    )
    asked = ["evaluate", "--data", data, "--out", tmp_path / "a", "--n", 1, "--limit", 1]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, asked), "--regrade"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_the_scorer_direct_writes_verdicts_only(monkeypatch, model, data, tmp_path):
    file = tmp_path / "a.json"
    more = ("--n", 2, "--scorer", "direct", "--json", file, "tags.yes=8", "tags.no=3")
    assert run(monkeypatch, model, data, tmp_path / "a", *more) == 0
    found = table(file)
    assert found["readout"] == "prob_raw" and found["code"] == {}
    for row in stored.votes(tmp_path / "a").values():
        assert row["text"].startswith("<output>\n**Judgement**: $\\boxed")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["chain", pytest.param("fork", marks=pytest.mark.release)])
def test_sigkill_in_the_middle(model, data, tmp_path, mode):
    def start(out, *more):
        arguments = words(model, data, out, "--mode", mode, "--n", 3, *more)
        with open(tmp_path / "log", "w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jprm", *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
            )

    once, killed = tmp_path / "once.json", tmp_path / "killed.json"
    whole = start(tmp_path / "once", "--json", once)
    assert whole.wait(400) == 0, (tmp_path / "log").read_text()
    there = 0
    for _ in range(2):
        process = start(tmp_path / "killed")
        while process.poll() is None:
            if stored.logged(tmp_path / "killed") > there + 2:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
        there = stored.logged(tmp_path / "killed")
    last = start(tmp_path / "killed", "--json", killed)
    assert last.wait(400) == 0, (tmp_path / "log").read_text()
    assert table(killed) == table(once)


def damage(directory, name, change):
    path = directory / name
    path.write_bytes(change(path.read_bytes()))


def without(key):
    def change(text):
        config = json.loads(text)
        del config[key]
        return json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda d: damage(d, "model.safetensors", lambda b: b[:-50]), "truncated or damaged"),
        (lambda d: damage(d, "model.safetensors", lambda b: b[:5]), "truncated or damaged"),
        (lambda d: damage(d, "model.safetensors", lambda b: b"\xff" * len(b)), "damaged"),
        (lambda d: (d / "model.safetensors").unlink(), "neither model.safetensors nor"),
        (lambda d: damage(d, "config.json", without("hidden_size")), "'hidden_size' is missing"),
        (lambda d: damage(d, "config.json", without("model_type")), "'model_type' is missing"),
        (lambda d: damage(d, "config.json", lambda b: b[:20]), "config.json: not JSON"),
        (lambda d: (d / "config.json").unlink(), "no config.json there"),
        (lambda d: (d / "tokenizer.json").unlink(), "no tokenizer there"),
        (lambda d: damage(d, "tokenizer.json", lambda b: b[:90]), "cannot be loaded as a tokenizer"),
        (
            lambda d: damage(d, "config.json", lambda b: b.replace(b'"qwen2"', b'"gpt2"')),
            "model_type = 'gpt2' is not supported",
        ),
    ],
)
def test_a_directory_that_is_no_checkpoint(monkeypatch, capsys, data, tmp_path, harm, said):
    directory = checkpoint.make(tmp_path / "model")
    harm(directory)
    assert run(monkeypatch, directory, data, tmp_path / "out", "--n", 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and said in error and str(directory) in error
    assert not stored.votes(tmp_path / "out")


def test_weights_that_are_not_numbers(monkeypatch, capsys, data, tmp_path):
    directory = checkpoint.make(tmp_path / "model")
    path = directory / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][:] = np.nan
    save_file(tensors, path, metadata={"format": "pt"})
    assert run(monkeypatch, directory, data, tmp_path / "out", "--n", 1) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: --model {directory}: ") and "not finite" in error


def test_an_adapter_is_judged_on_its_base(monkeypatch, model, data, tmp_path):
    """One that changes nothing draws the base's votes, and is another run than the base."""
    bound = bind(read_config(model))
    lora = LoraSection(rank=2, alpha=4.0)
    save_peft(tmp_path / "adapter", init_adapters(bound, lora, 0), lora, str(model))
    votes = {}
    for name, directory in (("base", model), ("adapter", tmp_path / "adapter")):
        asked = (directory, data, tmp_path / name, "--n", 1, "--limit", 2)
        assert run(monkeypatch, *asked) == 0
        votes[name] = stored.votes(tmp_path / name)
    assert votes["base"] == votes["adapter"] != {}
    assert run(monkeypatch, model, data, tmp_path / "adapter", "--n", 1, "--limit", 2) == 2
