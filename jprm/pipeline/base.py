"""Pretraining: one base model per size and seed, from which the policy and all verifiers of that size start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.pipeline.lab import Lab, Task
from jprm.runs import Stage
from jprm.seeds import seed_of


@dataclass(frozen=True)
class Base:
    """A base model; `load_params(stage.file("weights"))` reads it.

    `role` is "verifier" for the one that all verifiers of a size and seed start from, and "policy" for the one that
    writes solutions. They are trained on documents of their own: a verifier that shares the policy's misreadings
    does not see them (docs/decisions.md).
    """

    kind: ClassVar[str] = "base"
    version: ClassVar[int] = 1
    size: str
    seed: int
    role: str = "verifier"

    @property
    def label(self) -> str:
        """A short name."""
        return f"{self.size} for the {self.role} s={self.seed}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """None: it starts from nothing."""
        return ()

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """World, shape, recipe, seed."""
        config = lab.config.base.model_dump(mode="json", exclude={"checkpoint_every"})
        identity = {"size": self.size, "role": self.role, "seed": self.seed}
        return {"world": lab.world_identity, "base": config} | identity

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Trains on the world's base documents."""
        from jprm.data import render
        from jprm.train import fit, save_params

        config = lab.config.base
        seed = seed_of(self.seed, "base", self.role, self.size)
        segments = lab.world.base_documents(config.documents, seed_of(self.seed, "base documents", self.role))
        documents = [render([(s.text, s.trained) for s in document], lab.tokenizer) for document in segments]
        model = lab.model(self.size)
        result = fit(
            model,
            model.init(seed),
            documents,
            config,
            seed,
            stage.file("checkpoints"),
            on_step=lambda step, metrics: lab.progress.show(
                f"base {self.label}: step {step} of {config.steps}, loss {metrics['loss']:.3f}"
            ),
        )
        save_params(stage.file("weights"), result.params, {"size": self.size})
        return training_summary(lab, self.size, result)

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        return training_flops(lab, self.size, lab.config.base)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 3 + self.flops(lab) / lab.rates.train


def training_summary(lab: Lab, size: str, result) -> dict[str, Any]:
    """What a training run says of itself in the record."""
    from jprm.models import parameter_count

    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return {
        "params": parameter_count(lab.model_config(size)),
        "loss": float(tail.mean()),
        "steps": len(result.losses),
        "tokens": result.tokens,
        "flops": result.flops,
        "train_seconds": result.seconds,
        "too_long": len(result.too_long),
    }


def training_flops(lab: Lab, size: str, config) -> float:
    """Expected FLOPs of a training run, as if its rows were full."""
    from jprm.models.costs import train_flops

    tokens = config.steps * config.batch_rows * config.row_tokens
    return train_flops(lab.model_config(size), tokens, config.row_tokens // 2)
