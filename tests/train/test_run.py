"""The command in this process: what a run leaves, stops and goes on from, and how it says what is wrong."""

import json
import os
import resource
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.chat import ChatCodec
from jprm.config import load
from jprm.data.conversations import Message, chatml
from jprm.errors import UserError
from jprm.models import ModelConfig, bind, preset, segment_attention
from jprm.models.hf_export import to_hf
from jprm.models.hf_weights import from_hf
from jprm.train import load_params
from jprm.train.config import RunConfig
from jprm.train.log import Log
from jprm.train.lora import load_peft, merge
from jprm.train.run import run_training
from jprm.train.weights import export_run
from tests.chat.checkpoints import make
from tests.train import launch

ALONE = "mesh.fsdp=1"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return launch.write_config(tmp_path_factory.mktemp("runs"), steps=8)


@pytest.fixture(scope="module")
def whole(config):
    assert train(config, "name=whole") == 0
    return config.parent / "whole"


def train(config, *overrides):
    return run_training(load(RunConfig, config, [ALONE, *overrides]))


def at_step(monkeypatch, step, act):
    """Makes the log call `act` when it is told of this step."""
    on_step = Log.on_step

    def acting(self, number, metrics):
        on_step(self, number, metrics)
        if number == step:
            act()

    monkeypatch.setattr(Log, "on_step", acting)


def test_a_run_leaves_log_data_report_tokenizer_and_weights(whole):
    rows = launch.log(whole)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(0 < row["loss_tokens"] < row["tokens"] <= 8 * 64 for row in rows)
    report = json.loads((whole / "data.json").read_text())
    assert (report["documents"], report["too_long"], report["untrained"]) == (60, [], [])
    result = json.loads((whole / "result.json").read_text())
    assert result["tokens"] == sum(row["tokens"] for row in rows)
    assert result["params"] == sum(x.size for x in jax.tree.leaves(load_params(whole)[0]))
    assert result["provenance"]["packages"]["jax"] == jax.__version__
    kept = [p.name for p in (whole / "checkpoints").iterdir() if p.name.isdigit()]
    assert sorted(kept) == ["6", "8"]


def test_a_finished_run_is_only_read(config, whole):
    before = launch.weights(whole), launch.log(whole)
    assert train(config, "name=whole") == 0
    assert (launch.weights(whole), launch.log(whole)) == before


@pytest.mark.slow  # one step on a mesh, and a run that resumes on one, are fast (test_step.py, test_loop.py)
@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 8, 1), (2, 1, 4)])
def test_eight_devices_have_the_losses_and_gradients_of_one(config, whole, shape):
    mesh = [f"mesh.{axis}={n}" for axis, n in zip(("data", "fsdp", "tensor"), shape, strict=True)]
    name = "mesh-" + "".join(map(str, shape))
    assert train(config, *mesh, f"name={name}") == 0
    for key in ("loss", "grad_norm"):
        got, expected = ([row[key] for row in launch.log(r)] for r in (config.parent / name, whole))
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_sigterm_saves_and_the_same_command_goes_on(config, whole, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        handler = signal.getsignal(signal.SIGTERM)
        assert train(config, "name=stopped") == 75
        assert signal.getsignal(signal.SIGTERM) is handler
    run = config.parent / "stopped"
    assert max(int(p.name) for p in (run / "checkpoints").iterdir()) == len(launch.log(run)) == 5
    assert train(config, "name=stopped") == 0
    assert launch.losses(run) == launch.losses(whole)
    assert launch.weights(run) == launch.weights(whole)


def test_a_full_disk_leaves_the_last_checkpoint_and_names_the_place(config, whole, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    run = config.parent / "full"

    def fill():
        while not (run / "checkpoints" / "3").is_dir():
            time.sleep(0.01)
        # bytes of one file: a stand-in for the last of the space
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    with monkeypatch.context() as patch:
        at_step(patch, 4, fill)
        try:
            with pytest.raises(UserError, match=f"{run}/checkpoints: cannot save a checkpoint"):
                train(config, "name=full")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in (run / "checkpoints").iterdir() if p.name.isdigit()] == ["3"]
    assert train(config, "name=full") == 0
    assert launch.weights(run) == launch.weights(whole)


def test_a_loss_that_is_no_number_leaves_the_state_before_it_and_the_batch(config):
    wild = ["name=infinite", "train.learning_rate=1e38"]
    with pytest.raises(UserError, match="step 2 gave .* on rows .*not-finite-2; lower train.learn"):
        train(config, *wild)
    folder = config.parent / "infinite" / "checkpoints" / "not-finite-2"
    about = json.loads((folder / "step.json").read_text())
    batch = np.load(folder / "batch.npz")
    assert batch["ids"].shape == (8, 64) and len(about["rows"]) == len(about["lines"]) == 8
    documents = [max(segments) for segments in batch["segments"]]
    assert [len(lines) for lines in about["lines"]] == documents
    assert (folder / "1").is_dir()  # the state after step 1, which was led to again
    with pytest.raises(UserError, match="step 2 gave"):
        train(config, *wild)


def test_checkpoints_of_another_configuration_are_refused_by_key(config, whole):
    before = (whole / "config.json").read_text()
    with pytest.raises(UserError, match=r"other train.weight_decay \(there 0.01, here 0.5\);"):
        train(config, "name=whole", "train.weight_decay=0.5")
    with pytest.raises(UserError, match="other initial_parameters .* seed"):
        train(config, "name=whole", "seed=1")
    assert (whole / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mesh.fsdp=16"], "needs 16 devices of 8"),
        (["mesh.tensor=3", "mesh.fsdp=-1"], "takes devices by 3, and 8 are no multiple"),
        (["mesh.fsdp=8", "train.batch_rows=12"], "12 rows of a microbatch .* multiple of 8"),
        (["mesh.fsdp=4", "train.microbatches=4"], "2 rows of a microbatch .* multiple of 16"),
        (["mesh.tensor=8"], "model: heads = 4 does not divide among 8"),
        (["mesh.fsdp=0"], "positive numbers, at most one -1"),
        (["model.checkpoint=here"], "either model.preset or model.checkpoint"),
        (["model.preset=tny-1m"], "no preset 'tny-1m'; nearest is 'tiny-1m'"),
        (["data.path=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["train.row_tokens=8"], "none of 60 documents fits into a row of 8 tokens"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(config, overrides, message):
    with pytest.raises(UserError, match=message):
        train(config, "name=mistaken", *overrides)


def test_rows_that_are_left_out_are_counted_by_line(config, capsys):
    said = [("x " * 200, None), ("short", False), ("kept", None)]
    data = config.parent / "uneven.jsonl"
    with open(data, "w") as file:
        for text, flag in said:
            turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
            if flag is not None:
                turns[1]["train"] = flag
            file.write(json.dumps({"messages": turns}) + "\n")
    assert train(config, "name=uneven", f"data.path={data}", "train.steps=1") == 0
    report = json.loads((config.parent / "uneven" / "data.json").read_text())
    assert (report["documents"], report["too_long"], report["untrained"]) == (1, [1], [2])
    shown = capsys.readouterr().err
    assert "1 left out (longer than train.row_tokens): lines 1" in shown
    assert "1 left out (nothing to train in them): lines 2" in shown


def test_a_checkpoint_is_trained_on_its_own_template_and_exported_again(config, tmp_path):
    tokenizer = make(tmp_path / "tokenizer", "qwen", eos_token_id=5)
    shape = ModelConfig(376, 1, 16, 2, 2, 8, 16)
    model = bind(shape)
    to_hf(tmp_path / "base", model, model.init(0), source=tokenizer)
    about = config.read_text().replace('preset = "tiny-0.1m"', f'checkpoint = "{tmp_path}/base"')
    copy = tmp_path / "config.toml"
    copy.write_text(about.replace("vocab_size = 400\n", ""))
    assert train(copy, "name=tuned", "train.steps=2", "train.row_tokens=128") == 0
    run = config.parent / "tuned"
    codec = ChatCodec.load(run / "tokenizer")
    row = json.loads((config.parent / "data.jsonl").read_text().splitlines()[0])
    tokens = json.loads((run / "data.json").read_text())["tokens"]
    assert tokens > 60 * 0.5 * len(codec.encode(codec.chat_text(row["messages"])))
    export_run(run, tmp_path / "out")
    _, params = from_hf(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, params, load_params(run)[0])
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {"eos_token_id": 5}
    weights = run / "weights.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-2] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(UserError, match=r"weights\.safetensors: changed since it was written"):
        export_run(run, tmp_path / "damaged")
    with pytest.raises(UserError, match="brings its own; leave it out"):
        train(copy, "name=tuned", f"data.tokenizer={tmp_path}")


def test_an_export_keeps_the_type_of_its_source_unless_told(config, tmp_path):
    tokenizer = make(tmp_path / "tokenizer", "qwen")
    model = bind(ModelConfig(376, 1, 16, 2, 2, 8, 16))
    halves = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model.init(0))
    to_hf(tmp_path / "base", model, halves, source=tokenizer)
    about = config.read_text().replace('preset = "tiny-0.1m"', f'checkpoint = "{tmp_path}/base"')
    copy = tmp_path / "config.toml"
    copy.write_text(about.replace("vocab_size = 400\n", ""))
    assert train(copy, "name=halves", "train.steps=1", "train.row_tokens=128") == 0
    run = config.parent / "halves"
    assert "in bfloat16" in export_run(run, tmp_path / "kept")
    assert "in float32" in export_run(run, tmp_path / "told", "float32")
    trained, _ = load_params(run)
    for name, dtype in (("kept", jnp.bfloat16), ("told", jnp.float32)):
        about = json.loads((tmp_path / name / "config.json").read_text())
        assert about["dtype"] == jnp.dtype(dtype).name
        _, params = from_hf(tmp_path / name)
        expected = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), trained)
        jax.tree.map(np.testing.assert_array_equal, params, expected)
    # the step of a layer elsewhere: its run does not go on from the other base
    path = tmp_path / "base" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="SHA256SUMS"):
        train(copy, "name=halves", "train.steps=1", "train.row_tokens=128")
    (tmp_path / "base" / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="checkpoints of another run: other initial_parameters"):
        train(copy, "name=halves", "train.steps=1", "train.row_tokens=128")


def pieces_file(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps({"pieces": pieces}) + "\n" for pieces in rows))
    return f"data.path={path}"


def test_adapters_are_trained_beside_the_weights_and_written_merged_and_alone(config):
    lora = ["name=adapters", "train.lora.rank=2", "train.steps=3", "train.checkpoint_every=1"]
    assert train(config, *lora) == 0
    run = config.parent / "adapters"
    params, _ = load_params(run)
    model = bind(preset("tiny-0.1m", params["embed"].shape[0]))
    adapters, section = load_peft(run / "adapter", model)
    expected = merge(model.init(0), adapters, section)
    assert np.abs(adapters["q"]["b"]).max() > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, expected)
    merged = launch.weights(run)
    shutil.rmtree(run / "checkpoints" / "3")
    assert train(config, *lora) == 0  # and the last step again
    assert launch.weights(run) == merged


def test_a_step_head_learns_from_probabilities(config):
    rows = [[["Is it so?\n", None], [f"{word}\n", p]] for word, p in (("yes", 1), ("no", 0))]
    data = pieces_file(config.parent, "steps.jsonl", rows * 8)
    more = ["name=head", "train.objective=step_head", "train.steps=40", "train.learning_rate=0.01"]
    more += ["train.batch_rows=2", "train.checkpoint_every=40"]
    assert train(config, data, *more) == 0
    found = launch.losses(config.parent / "head")
    assert found[0] == pytest.approx(np.log(2), rel=1e-4)  # an untrained head says 1/2
    assert found[-1] < 0.1
    assert load_params(config.parent / "head")[0]["step_head"]["weight"].shape == (64,)


@pytest.mark.slow
def test_soft_labels_are_learnt_as_probabilities(config):
    rows = [[["Is it so?\n", False], ["0", "1", 0.75]]] * 8
    more = ["name=soft", "train.steps=40", "train.learning_rate=0.01"]
    more += ["train.checkpoint_every=40"]
    assert train(config, pieces_file(config.parent, "soft.jsonl", rows), *more) == 0
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert entropy <= launch.losses(config.parent / "soft")[-1] < entropy + 0.02


def test_the_export_is_the_trained_model_and_speaks_its_format(config, whole, tmp_path):
    export_run(whole, tmp_path / "hf")
    params = jax.tree.map(jnp.asarray, load_params(whole)[0])
    trained = bind(preset("tiny-0.1m", params["embed"].shape[0]))
    codec = ChatCodec.load(tmp_path / "hf")
    turns = [Message("user", [("1 + 1?", False)]), Message("assistant", [("2", True)])]
    text = "".join(piece for piece, _ in chatml(turns))
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    assert codec.chat_text(messages) == text
    ids = np.array([codec.encode(text)], np.int32)

    def logits(model, params):
        attend = segment_attention(np.ones_like(ids), model.rules)
        hidden = model.hidden(params, ids, np.arange(ids.size)[None], attend)
        return model.logits(params, hidden)

    np.testing.assert_allclose(logits(*from_hf(tmp_path / "hf")), logits(trained, params), atol=1e-5)
