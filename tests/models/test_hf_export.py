"""Parameters out: to the byte what was read, and the same function in transformers and in our engine."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import bind, preset
from jprm.models.hf_export import to_hf
from jprm.models.hf_weights import from_hf
from tests.models.test_hf_weights import logits
from tests.models.tiny_hf import CASES, VOCAB, make, tensors, token_ids, write

LIVE = ("qwen2-tied", "llama3")  # the other cases have their golden logits and bytes in the fast tests


def all_tensors(directory) -> dict[str, np.ndarray]:
    return {name: x for path in directory.glob("*.safetensors") for name, x in load_file(path).items()}


@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, np.float32) for case in CASES), ("qwen2-tied", ml_dtypes.bfloat16)]
)
def test_load_then_export_is_equal_to_the_byte(tmp_path, case, dtype):
    weights = {name: x.astype(dtype) for name, x in tensors(CASES[case]).items()}
    source = write(tmp_path / "in", CASES[case], weights, shards=2)
    model, params = from_hf(source)
    to_hf(tmp_path / "out", model, params, source=source)
    written = all_tensors(tmp_path / "out")
    assert written.keys() == weights.keys()
    for name, x in weights.items():
        assert written[name].dtype == dtype and written[name].tobytes() == x.tobytes(), name
    again, _ = from_hf(tmp_path / "out")
    assert again.config == model.config


def test_sharded_parameters_are_written_whole(tmp_path):
    config = CASES["qwen2-untied"] | {"vocab_size": 68}
    weights = tensors(config)
    source = write(tmp_path / "in", config, weights)
    with jax.set_mesh(make_mesh(fsdp=2, tensor=2)):
        to_hf(tmp_path / "out", *from_hf(source))
    written = all_tensors(tmp_path / "out")
    assert all(np.array_equal(written[name], x) for name, x in weights.items())


def test_large_weights_are_split_and_indexed(tmp_path):
    model, params = from_hf(make(tmp_path / "in", "llama3"))
    to_hf(tmp_path / "out", model, params, shard_bytes=20_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert [p.name for p in shards] == sorted(set(index["weight_map"].values()))
    assert len(shards) > 3 and shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    sizes = [sum(x.nbytes for x in load_file(path).values()) for path in shards]
    assert max(sizes) <= 20_000
    assert index["metadata"]["total_size"] == sum(sizes)
    _, again = from_hf(tmp_path / "out")
    assert all(map(np.array_equal, *map(jax.tree.leaves, (params, again))))


def test_the_files_beside_the_weights_come_along(tmp_path):
    source = make(tmp_path / "in", "qwen3")
    beside = {"tokenizer.json": "{}", "chat_template.jinja": "{{ x }}", "merges.txt": "a b\n"}
    for name, text in beside.items():
        (source / name).write_text(text)
    (source / "README.md").write_text("the card of another model")
    model, params = from_hf(source)
    to_hf(tmp_path / "out", model, params, source=source, fields={"eos_token_id": 9})
    out = tmp_path / "out"
    assert {name: (out / name).read_text() for name in beside} == beside
    assert not (out / "README.md").exists()
    config = json.loads((out / "config.json").read_text())
    assert config["eos_token_id"] == 9 and config["max_position_embeddings"] == 256
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 9 and generation["bos_token_id"] == 0
    (source / "generation_config.json").write_text('{"temperature": 0.6}')
    to_hf(tmp_path / "second", model, params, source=source)
    copied = json.loads((tmp_path / "second" / "generation_config.json").read_text())
    assert copied == {"temperature": 0.6}


def test_an_embedding_scale_moves_into_the_weights(tmp_path):
    model = bind(preset("tiny-0.1m", VOCAB))
    params = model.init(0)
    to_hf(tmp_path / "out", model, params)
    written, again = from_hf(tmp_path / "out")
    assert model.config.embed_scale == 8 and written.config.embed_scale == 1
    assert model.config.tied and not written.config.tied
    assert np.array_equal(again["embed"], 8 * params["embed"])
    assert np.array_equal(again["head"], params["embed"].T)
    assert all(map(np.array_equal, *map(jax.tree.leaves, (again["layers"], params["layers"]))))


def test_what_is_there_is_not_overwritten_and_what_was_begun_is(tmp_path):
    model, params = from_hf(make(tmp_path / "in", "qwen3"))
    with pytest.raises(UserError, match="in: is not empty"):
        to_hf(tmp_path / "in", model, params)
    begun = tmp_path / ".out.unfinished"
    begun.mkdir()
    (begun / "model.safetensors").write_bytes(b"half")
    to_hf(tmp_path / "out", model, params)
    assert not begun.exists() and from_hf(tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        to_hf(tmp_path / "file" / "out", model, params)


@pytest.mark.filterwarnings("ignore")  # torch's and transformers' own
@pytest.mark.parametrize("case", [pytest.param(case, marks=[] if case in LIVE else pytest.mark.slow) for case in CASES])
def test_transformers_agrees_live(tmp_path, case):
    """Logits from the original and the exported directory, and greedy text from our engine."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from tests.sample.tiny import GREEDY, SIZES, one_device, run

    source = make(tmp_path / "in", case)
    model, params = from_hf(source)
    to_hf(tmp_path / "out", model, params, source=source, shard_bytes=40_000)
    ids = torch.from_numpy(token_ids())
    ours = logits(model, params)
    with torch.no_grad():
        for directory in (source, tmp_path / "out"):
            theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
            np.testing.assert_allclose(theirs(ids).logits[0].numpy(), ours, rtol=0, atol=1e-4)
        text = theirs.generate(ids[:, :9], max_new_tokens=30, do_sample=False, eos_token_id=VOCAB, pad_token_id=0)
    sizes = dataclasses.replace(SIZES, slots=1, slot_groups=1)
    engine = one_device(model, params, sizes, GREEDY, seed=0)
    drawn = run(engine, [(token_ids()[0, :9].tolist(), [1], dict(max_tokens=30))])
    assert drawn[1][0][0] == text[0, 9:].tolist()


@pytest.mark.filterwarnings("ignore")
def test_transformers_opens_an_exported_preset(tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    model = bind(preset("tiny-0.1m", VOCAB))
    params = jax.tree.map(jnp.asarray, model.init(0))
    to_hf(tmp_path / "out", model, params)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        golden = theirs(torch.from_numpy(token_ids())).logits[0].numpy()
    np.testing.assert_allclose(logits(model, params), golden, rtol=0, atol=1e-4)
