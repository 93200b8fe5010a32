"""YaRN's cosines and sines are those of transformers, and an exported model has them again."""

import jax.numpy as jnp
import numpy as np
import pytest

from jprm.models.hf_config import read_config
from jprm.models.hf_export import to_hf
from jprm.models.hf_weights import from_hf
from jprm.models.rope import rotations
from tests.models.tiny_hf import CASES, YARN_ROPE, make, tensors, write

# R1-0528-Qwen3-8B and long Qwen2.5 by the numbers of their config.json, and each optional field.
PUBLISHED = {"rope_theta": 1e6, "hidden_size": 256, "num_attention_heads": 2, "max_position_embeddings": 131_072}
LONG = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
SCALINGS = {
    "tiny": ({"rope_theta": 200.0}, YARN_ROPE),
    "long": (PUBLISHED, LONG),
    "own attention": (PUBLISHED, LONG | {"attention_factor": 1.5}),
    "mscale": (PUBLISHED, LONG | {"mscale": 1.0, "mscale_all_dim": 0.5}),
    "band": (PUBLISHED, LONG | {"beta_fast": 16.0, "beta_slow": 2.0}),
    "not truncated": (PUBLISHED, LONG | {"truncate": False}),
    "no band": ({"rope_theta": 1e4}, LONG | {"original_max_position_embeddings": 6}),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_cosines_and_sines_are_those_of_transformers(tmp_path, name):
    torch = pytest.importorskip("torch", reason="torch defines what is compared")
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

    change, scaling = SCALINGS[name]
    fields = CASES["qwen2-yarn"] | change | {"rope_scaling": scaling}
    write(tmp_path / "x", fields, {"unused": np.zeros(1, np.float32)})
    positions = np.arange(64)  # of larger ones the rounding of an angle in f32 is more than is compared
    embedding = Qwen2RotaryEmbedding(Qwen2Config(**fields))
    cos, sin = embedding(torch.zeros(1), torch.from_numpy(positions)[None])
    found = rotations(jnp.asarray(positions), read_config(tmp_path / "x"))
    for ours, theirs in zip(found, (cos, sin), strict=True):
        np.testing.assert_allclose(np.tile(ours, 2), theirs[0].numpy(), rtol=0, atol=1e-5)


def test_yarn_is_exported_as_it_was_read(tmp_path):
    directory = make(tmp_path / "x", "qwen2-yarn")
    model, params = from_hf(directory)
    to_hf(tmp_path / "y", model, params, source=directory)
    assert read_config(tmp_path / "y") == model.config
    plain = CASES["qwen2-yarn"] | {"rope_scaling": None}
    write(tmp_path / "plain", plain, tensors(plain))
    assert read_config(tmp_path / "plain") != model.config
