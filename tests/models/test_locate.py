"""What a user may call a checkpoint, and what is said where it is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from jprm.errors import UserError
from jprm.models import locate
from jprm.models.hf_config import read_config
from jprm.models.locate import Checkpoint, find_checkpoint
from jprm.train.config import LoraSection
from jprm.train.lora import from_checkpoint, init_adapters, merge, save_peft
from tests.models import tiny_hf

ROOT = Path(__file__).resolve().parents[2]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3087467144\n"


@pytest.fixture
def checkpoint(tmp_path):
    config = tiny_hf.CASES["qwen2-tied"]
    return tiny_hf.write(tmp_path / "checkpoint", config, tiny_hf.tensors(config))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(cache, name, checkpoint, commit="c0ffee"):
    """The checkpoint's files moved to where the hub's client would put them."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "snapshots").mkdir(parents=True)
    checkpoint.rename(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


def refused(path, said, **more):
    with pytest.raises(UserError, match=said) as caught:
        find_checkpoint(path, "--model", **more)
    assert "\n" not in str(caught.value)


def test_a_directory_is_itself(checkpoint):
    assert find_checkpoint(checkpoint, "--model") == Checkpoint(checkpoint)


def test_a_name_of_the_hub_is_looked_up_in_the_local_cache(checkpoint, cache):
    refused("Qwen/Qwen2.5-Math-1.5B", r"not in the local .* cache .*: hf download Qwen/Qwen2.5-Math-1.5B")
    refused("https://huggingface.co/Qwen/Qwen3-0.6B", "hf download Qwen/Qwen3-0.6B")
    found = cached(cache, "Qwen/Tiny-0.1B", checkpoint)
    (found.parent / "older").mkdir()
    for name in (
        "Qwen/Tiny-0.1B",
        Path("Qwen/Tiny-0.1B"),
        "https://huggingface.co/Qwen/Tiny-0.1B",
        Path("https://huggingface.co/Qwen/Tiny-0.1B"),
        cache / "models--Qwen--Tiny-0.1B",
    ):
        assert find_checkpoint(name, "--model").directory == found


def test_a_misspelt_path_names_the_nearest(checkpoint, cache, monkeypatch):
    refused(checkpoint.parent / "chekpoint", r"no such directory; did you mean .*/checkpoint\?")
    refused(checkpoint.parent / "zzz", r"no such directory$")
    monkeypatch.chdir(checkpoint.parent.parent)
    refused(f"{checkpoint.parent.name}/chekpoint", "did you mean")


def change(checkpoint, what):
    """The checkpoint's directory, with that wrong in it."""
    weights, config = checkpoint / "model.safetensors", checkpoint / "config.json"
    match what:
        case "empty":
            weights.unlink()
            config.unlink()
        case "pickle":
            weights.rename(checkpoint / "pytorch_model.bin")
        case "shards of pickles":
            weights.rename(checkpoint / "pytorch_model-00001-of-00002.bin")
        case "gguf":
            weights.unlink()
            config.unlink()
            (checkpoint / "Tiny.Q4_1.gguf").touch()
        case "pointer":
            weights.write_text(POINTER)
        case "pointer of the tokenizer":
            (checkpoint / "tokenizer.json").write_text(POINTER)
        case "no index":
            weights.rename(checkpoint / "model-00001-of-00002.safetensors")
        case "no weights":
            weights.unlink()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-9])
        case "nested":
            config.write_text("[" * 100_000)
        case "layers":
            config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 10**9}))
        case "layers of 5000 digits":
            text = config.read_text().replace('"num_hidden_layers": 3', f'"num_hidden_layers": {"9" * 5000}')
            config.write_text(text)
        case "width":
            config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_size": 10**18}))
        case "run":
            weights.rename(checkpoint / "weights.safetensors")
            config.unlink()
        case "inside":
            inner = checkpoint / "step-500"
            inner.mkdir()
            config.rename(inner / "config.json")
    return checkpoint


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("empty", "is empty"),
        ("pickle", r"a pickle.* python -c .*from_pretrained\('.*/checkpoint'\)\.save_pretrained"),
        ("shards of pickles", "a pickle"),
        ("gguf", r"GGUF.*: python .*/tools/from_gguf.py .*/checkpoint/Tiny.Q4_1.gguf NEW$"),
        ("pointer", r"model.safetensors is a git-lfs pointer of 7\d bytes.* lfs pull"),
        ("pointer of the tokenizer", "tokenizer.json is a git-lfs pointer"),
        ("no index", "model-00001-of-00002.safetensors without model.safetensors.index.json"),
        ("no weights", "neither model.safetensors nor"),
        ("truncated", "model.safetensors: truncated or damaged"),
        ("nested", "config.json: not JSON .nested more than 100 deep"),
        ("layers", "num_hidden_layers = 1000000000 must be a positive integer up to 1000"),
        ("layers of 5000 digits", "config.json: not JSON .an integer of 5000 digits"),
        ("width", "hidden_size = 1000000000000000000 must be"),
        ("run", "a training run; .* python -m jprm export --run"),
        ("inside", r"no config.json there; did you mean .*/step-500\?"),
    ],
)
def test_what_is_no_checkpoint_is_named_with_a_way_out(checkpoint, what, said):
    refused(change(checkpoint, what), said)


def test_a_training_run_stands_for_the_checkpoint_that_it_holds(checkpoint):
    run = checkpoint.with_name("run")
    run.mkdir()
    (run / "weights.safetensors").touch()
    refused(run, "a training run; train again with export=true, or export it")
    checkpoint.rename(run / "hf")
    assert find_checkpoint(run, "--model") == Checkpoint(run / "hf")


def test_files_in_the_place_of_a_directory(checkpoint, monkeypatch):
    refused(checkpoint / "config.json", "a file; name the directory that holds it.*: .*/checkpoint$")
    refused(checkpoint / "model.safetensors", "a file; name the directory that holds it")
    (checkpoint / "x.gguf").touch()
    refused(checkpoint / "x.gguf", r"GGUF.*from_gguf.py .*/checkpoint/x.gguf NEW$")
    monkeypatch.setattr(locate, "GGUF_TOOL", checkpoint / "not installed")
    refused(checkpoint / "x.gguf", r"GGUF.*gguf_file='x.gguf'\).*hf_quantizer = None.*save_pretrained")


def test_a_server_needs_only_the_tokenizer_of_a_directory(checkpoint):
    change(checkpoint, "no weights")
    assert find_checkpoint(checkpoint, "--model", weights=False) == Checkpoint(checkpoint)
    change(checkpoint, "pointer of the tokenizer")
    refused(checkpoint, "git-lfs pointer", weights=False)


def adapter(directory, checkpoint, base, seed=0):
    """A PEFT directory whose adapters are not zero."""
    model, _ = from_checkpoint(Checkpoint(checkpoint))
    config = LoraSection(rank=2, alpha=4.0, targets=("q", "down"))
    adapters = jax.tree.map(lambda x: np.full_like(x, 0.01 * (1 + seed)), init_adapters(model, config, seed))
    save_peft(directory, adapters, config, base)
    return directory, adapters, config


def test_an_adapter_stands_for_its_base_with_itself_merged(checkpoint, tmp_path, cache):
    first, adapters, config = adapter(tmp_path / "first", checkpoint, str(checkpoint))
    found = find_checkpoint(first, "--model")
    assert found == Checkpoint(checkpoint, (first,))
    _, merged = from_checkpoint(found)
    _, plain = from_checkpoint(Checkpoint(checkpoint))
    jax.tree.map(np.testing.assert_array_equal, merged, merge(plain, adapters, config))
    assert not np.array_equal(merged["layers"]["q"], plain["layers"]["q"])

    second, more, _ = adapter(tmp_path / "second", checkpoint, "../first", seed=1)  # one upon another
    found = find_checkpoint(second, "--model")
    assert (found.directory.resolve(), len(found.adapters)) == (checkpoint, 2)
    _, twice = from_checkpoint(found)
    jax.tree.map(np.testing.assert_array_equal, twice, merge(merged, more, config))


def test_an_adapter_whose_base_is_not_here_names_it(checkpoint, tmp_path, cache):
    directory, _, _ = adapter(tmp_path / "a", checkpoint, "Qwen/Tiny-0.1B")
    refused(directory, r"an adapter; its base Qwen/Tiny-0.1B: no such directory, .*hf download Qwen/Tiny-0.1B")
    found = cached(cache, "Qwen/Tiny-0.1B", checkpoint)
    assert find_checkpoint(directory, "--model") == Checkpoint(found, (directory,))
    about = directory / "adapter_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"base_model_name_or_path": None}))
    refused(directory, "base_model_name_or_path = None must name the checkpoint")
    about.write_text(json.dumps(json.loads(about.read_text()) | {"base_model_name_or_path": str(directory)}))
    refused(directory, "names itself as its base")
    (directory / "adapter_model.safetensors").unlink()
    refused(directory, "an adapter without adapter_model.safetensors")


MISTAKES = [
    ["evaluate", "--model", "GONE", "--data", "ROWS"],
    ["evaluate", "--model", "Qwen/Nowhere-1B", "--data", "ROWS"],
    ["evaluate", "--model", "PICKLE", "--data", "ROWS"],
    ["evaluate", "--model", "PICKLE", "--data", "GONE"],
    ["train", "--config", "TOML"],
    ["score", "--run", "GONE", "--problem", "a", "--steps", "ROWS"],
    ["search", "--run", "GONE", "--strategy", "beam"],
    ["export", "--run", "GONE", "--out", "NEW"],
    ["report", "GONE"],
    ["compare", "GONE", "GONE"],
]


def test_mistakes_in_paths_are_answered_before_anything_heavy_is_loaded(checkpoint, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a-0", "problem": "p", "steps": ["s"], "label": -1}\n')
    change(checkpoint, "pickle")
    toml = tmp_path / "run.toml"
    toml.write_text(f'model.checkpoint = "{checkpoint}"\ndata.path = "{tmp_path / "rows.jsonl"}"\n')
    places = {"GONE": tmp_path / "gone", "ROWS": tmp_path / "rows.jsonl", "PICKLE": checkpoint}
    places |= {"NEW": tmp_path / "new", "TOML": toml}
    commands = [[str(places.get(word, word)) for word in words] for words in MISTAKES]
    program = f"""
import sys
from jprm.cli import main
for words in {commands!r}:
    sys.argv = ["jprm", *words]
    heavy = main(), [m for m in ("jax", "transformers", "tokenizers") if m in sys.modules]
    assert heavy == (2, []), (words, heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"HF_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    assert len(lines) == len(MISTAKES) and all(line.startswith("error: ") for line in lines)


ROPE = {"rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0, "low_freq_factor": 1.0}
anything = st.sampled_from(
    [None, True, 0, -1, 5, 10**18, 10**250, 0.5, -7.25, 1e300, "", "a", [], ["a"], [[1]], {}, ROPE]
)
keys = st.sampled_from(
    [*tiny_hf.CASES["qwen3"], *tiny_hf.CASES["llama3"], "quantization_config", "rope_parameters"]
    + ["partial_rotary_factor", "layer_types", "max_window_layers", "rope_scaling", "head_dim"]
)


@pytest.mark.parametrize("case", tiny_hf.CASES)
def test_a_changed_config_is_read_or_refused(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.json"

    @given(st.dictionaries(keys, anything, min_size=1, max_size=2))
    def fuzz(change):
        path.write_text(json.dumps(tiny_hf.CASES[case] | change))
        try:
            read_config(path.parent)
        except UserError as error:
            assert "\n" not in str(error)

    fuzz()


def test_the_limits_of_a_config_allow_what_there_is(checkpoint):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 126}))  # of 405B
    assert read_config(checkpoint).n_layers == 126
    assert load_file(checkpoint / "model.safetensors")
