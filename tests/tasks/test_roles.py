"""Models by role: what a configuration may call a model, and what is then made of it."""

import jax
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.jobs import Stages
from jprm.models.hf_config import read_config
from jprm.sampling import SamplingParams
from jprm.tasks.base import Base
from jprm.tasks.model_source import SamplerSizes, opened
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.pretrained import Pretrained
from jprm.tasks.roles import model_source, model_weights
from jprm.tasks.served import Served
from jprm.tasks.settings import BaseSection, ModelChoice, WorldSection
from jprm.train.config import LoraSection
from jprm.train.lora import init_adapters, save_peft
from tests.experiments.benchmark import checkpoint


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return checkpoint.make(tmp_path_factory.mktemp("roles") / "tiny-qwen", "qwen")


@pytest.fixture(scope="module")
def world():
    return OpenWorld(WorldSection())


def source(model, world, make=model_source):
    return make(model, "model.policy", world, BaseSection(), 0, "policy")


def test_a_name_is_a_preset_and_a_directory_is_a_checkpoint(directory, world):
    preset, pretrained = source("tiny-0.3m", world), source(str(directory), world)
    assert isinstance(preset, Base) and (preset.size, preset.role) == ("tiny-0.3m", "policy")
    assert isinstance(pretrained, Pretrained) and pretrained.size == "tiny-qwen"
    assert pretrained.tokenizer.source == str(directory) and pretrained.config == read_config(directory)


def test_a_table_with_an_address_is_a_served_model(directory, world):
    choice = ModelChoice(model=str(directory), base_url="http://127.0.0.1:9", served_model="big")
    served = source(choice, world)
    assert isinstance(served, Served) and served.size == "big" and served.decode_flops(100, 1e6) == 0
    # where it stands decides nothing, which model it is does
    moved = source(choice.model_copy(update={"base_url": "http://127.0.0.1:10"}), world)
    other = source(choice.model_copy(update={"served_model": "small"}), world)
    assert served == moved != other
    with pytest.raises(UserError, match="a served model cannot be trained"):
        source(choice, world, model_weights)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("tiny-0.3n", "nearest is 'tiny-0.3m'"),
        ("no/such", "not in the local Hugging Face cache"),
        ("./no/such/x", "no"),
    ],
)
def test_other_names_are_refused(world, model, said):
    with pytest.raises(UserError, match=said):
        source(model, world)


def test_every_byte_of_a_checkpoint_is_in_its_key(directory, world, tmp_path):
    copy = tmp_path / "copy" / directory.name
    copy.mkdir(parents=True)
    for path in directory.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    pretrained = source(str(directory), world)
    assert source(str(copy), world) == pretrained
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert source(str(copy), world) != pretrained
    assert source(ModelChoice(model=str(directory), dtype="bfloat16"), world) != pretrained


def test_adapters_are_merged(directory, world, tmp_path):
    plain = source(str(directory), world, model_weights)
    lora = LoraSection(rank=2, alpha=4.0)
    adapters = jax.tree.map(lambda x: np.full_like(x, 0.1), init_adapters(plain.model, lora, 0))
    save_peft(tmp_path / "adapter", adapters, lora, str(directory))
    adapted = source(str(tmp_path / "adapter"), world, model_weights)
    assert adapted != plain and adapted.size == "adapter"
    stages = Stages(tmp_path)
    before, after = plain.params(stages), adapted.params(stages)
    changed = after["layers"]["q"] - before["layers"]["q"]
    np.testing.assert_allclose(changed, 4.0 / 2 * 2 * 0.1 * 0.1, rtol=1e-4)
    np.testing.assert_array_equal(before["embed"], after["embed"])


def test_a_checkpoint_is_sampled_with_slots_that_are_asked_for_at_most(directory, world, tmp_path):
    pretrained = source(str(directory), world)
    sizes = SamplerSizes(context_tokens=64, slots=4, stop_texts=("\n\n",))
    prompt = pretrained.tokenizer.encode("The sum of 8 and 3")
    with opened(pretrained.sampler(Stages(tmp_path), SamplingParams(0.0), sizes)) as engine:
        assert 1 <= engine.config.slots <= 4
        handles = engine.submit(prompt, [0, 1], max_tokens=5)
        drawn = {}
        while len(drawn) < 2:
            drawn |= {event.handle: event.tokens for event in engine.poll()}
    first, second = (drawn[handle] for handle in handles)
    assert first == second and 1 <= len(first) <= 5
