"""A base model that has learnt to check values: where heads start that are taught by a `HindsightSet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.errors import UserError
from jprm.pipeline.base import Base, training_flops, training_summary
from jprm.pipeline.lab import Lab, Task
from jprm.runs import Stage
from jprm.seeds import rng_of, seed_of
from jprm.worlds.embedded import EmbeddedWorld

STATEMENTS = 12  # a document


@dataclass(frozen=True)
class Claims:
    """Step head and weights after the world's `claims`, by the recipe of the base model.

    From solutions alone, in as many steps as other baselines have, no head of these sizes learns to
    compare two numbers that are read at a distance.
    """

    kind: ClassVar[str] = "claims"
    version: ClassVar[int] = 1
    base: Base

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        return f"claims {self.base.label}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The base model."""
        return (self.base,)

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """Its recipe again; the world is that of the base."""
        recipe = lab.config.base.model_dump(mode="json", exclude={"checkpoint_every"})
        return {"train": recipe, "statements": STATEMENTS}

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Trains all weights."""
        from jprm.data import render_steps
        from jprm.train import fit, load_params, save_params

        world, seed, size = lab.world, self.base.seed, self.base.size
        if not isinstance(world, EmbeddedWorld):
            raise UserError(f"{self.label}: only the embedded world has claims")
        config = lab.config.base.model_copy(update={"objective": "step_head"})
        rng = rng_of(seed, "claims")
        documents = []
        for problem in world.problems("train", config.documents, seed_of(seed, "claims")):
            shown, stated = world.claims(problem, rng, STATEMENTS)
            pieces = [(shown, None), *((text, float(right)) for text, right in stated)]
            documents.append(render_steps(pieces, lab.tokenizer))
        params, _ = load_params(lab.stage(self.base).file("weights"))
        result = fit(
            lab.model(size),
            params,
            documents,
            config,
            seed_of(seed, "claims", size),
            stage.file("checkpoints"),
            on_step=lambda step, metrics: lab.progress.show(
                f"{self.label}: step {step} of {config.steps}, loss {metrics['loss']:.3f}"
            ),
        )
        save_params(stage.file("weights"), result.params, {"size": size})
        return training_summary(lab, size, result)

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        return training_flops(lab, self.base.size, lab.config.base)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 5 + self.flops(lab) / lab.rates.train
