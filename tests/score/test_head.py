"""The step head as a scorer: the formula on a plain forward pass, and what it says where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jprm.chat import ChatCodec
from jprm.errors import UserError
from jprm.models import segment_attention
from jprm.models.hf_weights import from_hf
from jprm.records import Problem, Solution
from jprm.score import Setup, find_scorer
from tests.experiments.benchmark import checkpoint


def setup(model):
    return Setup(model, "chain", "prob_raw", 0, False, generator=lambda style, execute: None)  # type: ignore[arg-type, return-value]


def test_a_step_s_score_is_the_head_at_its_last_token(tmp_path):
    directory = checkpoint.make(tmp_path / "model")
    rng = np.random.default_rng(0)
    head = {"weight": rng.normal(size=32).astype(np.float32), "bias": np.array(0.3, np.float32)}
    save_file({k: np.ascontiguousarray(v) for k, v in head.items()}, directory / "step_head.safetensors")
    steps = ["Step 1: 8+3=11", "Step 2: so 11"]
    item = Problem("p", "Ann has 8.\n", ""), Solution("s", "p", tuple(steps), "t")
    heard = []
    assert [e.lost for e in find_scorer("head")(setup(directory)).judge([item], [0], {}, heard.append)] == [""]
    found = [rationale.verdict.p_yes_raw for rationale in heard]

    model, params = from_hf(directory)
    codec, text, expected = ChatCodec.load(directory), "Ann has 8.\n", []

    @jax.jit
    def hidden(ids, segments):
        positions = jnp.arange(ids.shape[1])[None]
        return model.hidden(params, ids, positions, segment_attention(segments))

    for step in steps:
        text += step + "\n"
        ids = codec.encode(text)
        padded = np.zeros((1, 128), np.int32)  # one shape, one compilation
        padded[0, : len(ids)] = ids
        h = np.asarray(hidden(padded, (np.arange(128) < len(ids)).astype(np.int32)[None]))[0, len(ids) - 1]
        expected.append(1 / (1 + np.exp(-(h @ head["weight"] + head["bias"]))))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert abs(found[0] - found[1]) > 1e-3


def test_a_checkpoint_without_a_head_is_told_how_to_get_one(tmp_path):
    directory = checkpoint.make(tmp_path / "model")
    with pytest.raises(UserError, match="step_head.safetensors: no step head.*train.objective"):
        find_scorer("head")(setup(directory))
