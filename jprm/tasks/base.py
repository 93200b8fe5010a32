"""Pretraining: one base model per size and seed, from which the policy and all verifiers of that size start."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jprm.jobs import Stage, Stages, Task
from jprm.seeds import seed_of
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import BaseSection
from jprm.train.config import TrainConfig


@dataclass(frozen=True, eq=False)
class Base(Task):
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
    role: Literal["verifier", "policy"] = "verifier"

    @property
    def label(self) -> str:
        return f"{self.size} for the {self.role} s={self.seed}"

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
        start = world.model(self.size).init(seed)
        return train_model(stage, context, f"base {self.label}", world, self.size, start, documents, self.recipe, seed)

    def flops(self) -> float:
        return training_flops(self.world, self.size, self.recipe)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.train


def train_model(
    stage: Stage,
    context: TaskContext,
    label: str,
    world: OpenWorld,
    size: str,
    params: dict,
    documents: list,
    recipe: TrainConfig,
    seed: int,
) -> dict[str, Any]:
    """Trains a preset from `params` on rendered documents, saves its weights in the stage, and returns the summary.

    An interrupted training goes on from the checkpoint in the stage. Raises Diverged where the loss is no number.
    """
    from jprm.models import parameter_count
    from jprm.train import fit, save_params

    result = fit(
        world.model(size),
        params,
        documents,
        recipe,
        seed,
        stage.file("checkpoints"),
        on_step=lambda step, metrics: context.progress.show(
            f"{label}: step {step} of {recipe.steps}, loss {metrics['loss']:.3f}"
        ),
    )
    save_params(stage.file("weights"), result.params, {"size": size})
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return {
        "params": parameter_count(world.model_config(size)),
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


def training_flops(world: OpenWorld, size: str, recipe: TrainConfig) -> float:
    """The FLOPs of a training run, as if its rows were full."""
    from jprm.models.costs import train_flops

    tokens = recipe.steps * recipe.batch_rows * recipe.row_tokens
    return train_flops(world.model_config(size), tokens, recipe.row_tokens // 2)
