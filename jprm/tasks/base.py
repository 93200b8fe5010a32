"""Pretraining: one base model per size and seed, from which the policy and all verifiers of that size start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jprm.jobs import Stage, Stages, Task
from jprm.quoting import TextCodec
from jprm.sampling import SamplingParams
from jprm.seeds import seed_of
from jprm.tasks.model_source import ModelWeights, SamplerSizes
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import BaseSection
from jprm.train.config import TrainConfig

if TYPE_CHECKING:  # JAX is imported when the first model is needed, not before
    from jprm.models import ModelConfig
    from jprm.sample import Engine

Role = Literal["verifier", "policy"]


@dataclass(frozen=True, eq=False)
class Base(ModelWeights):
    """A base model, trained from scratch on documents of a world.

    `role` is "verifier" for the model that all verifiers of a size and seed start from, and "policy" for the one that
    writes solutions. They are trained on different documents: a verifier that shares the policy's misreadings does not
    see them (docs/decisions.md).
    """

    kind: ClassVar[str] = "base"
    world: OpenWorld
    recipe: BaseSection
    size: str
    seed: int
    role: Role = "verifier"

    @property
    def label(self) -> str:
        return f"{self.size} for the {self.role} s={self.seed}"

    @property
    def tokenizer(self) -> TextCodec:
        return self.world.tokenizer

    @property
    def config(self) -> ModelConfig:
        """The shapes of the preset with the world's vocabulary, whose size is rounded up to a multiple of 8."""
        from jprm.models import preset

        return preset(self.size, -(-self.world.tokenizer.vocab_size // 8) * 8)

    def params(self, stages: Stages) -> dict:
        return load_weights(stages, self)

    def engine(self, params: dict, sampling: SamplingParams, sizes: SamplerSizes) -> Engine:
        """An engine without prefix rows, since these prompts are short; a shorter context is faster."""
        from jprm.sample import Engine, EngineConfig

        config = EngineConfig(slots=sizes.slots, context_tokens=sizes.context_tokens)
        return Engine(self.model, params, config, sampling, seed=0)

    def save_tokenizer(self, folder: Path) -> None:
        self.world.tokenizer.save(folder)

    def inputs(self) -> dict[str, Any]:
        recipe = self.recipe.model_dump(mode="json", exclude={"checkpoint_every"})
        identity = {"size": self.size, "role": self.role, "seed": self.seed}
        return {"world": self.world.identity, "base": recipe} | identity

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        from jprm.data import render

        world = self.world
        drawn = world.world.base_documents(self.recipe.documents, seed_of(self.seed, "base documents", self.role))
        documents = [render([(s.text, s.trained) for s in segments], world.tokenizer) for segments in drawn]
        seed = seed_of(self.seed, "base", self.role, self.size)
        start = self.model.init(seed)
        return train_model(stage, context, f"base {self.label}", self, start, documents, self.recipe, seed)

    def flops(self) -> float:
        return training_flops(self, self.recipe)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.train


def train_model(
    stage: Stage,
    context: TaskContext,
    label: str,
    source: ModelWeights,
    params: dict,
    documents: list,
    recipe: TrainConfig,
    seed: int,
) -> dict[str, Any]:
    """Trains the model of `source` from `params` on rendered documents, and saves its weights; returns the summary.

    An interrupted training goes on from the checkpoint in the stage. Raises Diverged where the loss is no number.
    """
    from jprm.models import parameter_count
    from jprm.train import fit, save_params

    result = fit(
        source.model,
        params,
        documents,
        recipe,
        seed,
        stage.file("checkpoints"),
        on_step=lambda step, metrics: context.progress.show(
            f"{label}: step {step} of {recipe.steps}, loss {metrics['loss']:.3f}"
        ),
    )
    save_params(stage.file("weights"), result.params, {"size": source.size})
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return {
        "params": parameter_count(source.config),
        "loss": float(tail.mean()),
        "steps": len(result.losses),
        "tokens": result.tokens,
        "flops": result.flops,
        "train_seconds": result.seconds,
        "too_long": len(result.too_long),
    }


def load_weights(stages: Stages, task: Task) -> dict:
    """The weights that a finished task has trained."""
    from jprm.train import load_params

    return load_params(stages[task].file("weights"))[0]


def training_flops(source: ModelWeights, recipe: TrainConfig) -> float:
    """The FLOPs of a training run, as if its rows were full."""
    from jprm.models.costs import train_flops

    tokens = recipe.steps * recipe.batch_rows * recipe.row_tokens
    return train_flops(source.config, tokens, recipe.row_tokens // 2)
