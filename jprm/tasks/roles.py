"""From what a configuration calls a model to the model: a preset, a checkpoint, or a server."""

from jprm.errors import UserError
from jprm.models.config import preset
from jprm.models.locate import names_checkpoint
from jprm.tasks.base import Base, Role
from jprm.tasks.model_source import ModelSource, ModelWeights
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.pretrained import Pretrained
from jprm.tasks.served import Served
from jprm.tasks.settings import BaseSection, ModelChoice


def model_source(
    model: str | ModelChoice, option: str, world: OpenWorld, recipe: BaseSection, seed: int, role: Role
) -> ModelSource:
    """Returns the model that a configuration names at `option`, such as "model.policy".

    recipe, seed, role: of a preset, which is trained from scratch on the world's documents. Raises UserError for a name
    that is neither a preset nor a directory.
    """
    if isinstance(model, str) and not names_checkpoint(model):
        preset(model, vocab_size=8)  # raises where there is none of that name
        return Base(world, recipe, model, seed, role)
    choice = ModelChoice(model=model) if isinstance(model, str) else model
    return Served.of(choice, option) if choice.base_url else Pretrained.of(choice, option)


def model_weights(
    model: str, option: str, world: OpenWorld, recipe: BaseSection, seed: int, role: Role
) -> ModelWeights:
    """Returns a model that can be trained, as `model_source` does. Raises UserError for one that cannot."""
    source = model_source(model, option, world, recipe, seed, role)
    if not isinstance(source, ModelWeights):
        raise UserError(f"{option} {source.size}: a served model cannot be trained; name a directory")
    return source
