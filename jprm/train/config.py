"""What a training run is told. The defaults train a tiny preset in a minute on two cores.

`TrainConfig` is the recipe that every stage shares; `RunConfig` is a whole run of the command
`train`: what to train, on which file, over which mesh.
"""

import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jprm.config import Config
from jprm.paths import present


class LoraSection(Config):
    """Low-rank adapters beside frozen weights; rank 0 trains the weights themselves.

    `targets` are the projections of every layer that get one; an adapter's output is scaled by
    alpha / rank.
    """

    rank: int = Field(default=0, ge=0)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[Literal["q", "k", "v", "o", "gate", "up", "down"], ...] = ("q", "k", "v", "o", "gate", "up", "down")

    @model_validator(mode="after")
    def _consistent(self):
        if self.rank and not self.targets:
            raise ValueError("lora.targets is empty: name at least one projection")
        return self


class TrainConfig(Config):
    """One training run; the same for every stage that trains (policy, verifier).

    A step takes `batch_rows` rows of `row_tokens` tokens, in `microbatches` parts one after the
    other. The learning rate rises for `warmup_steps` and then falls to `final_fraction` of its peak:
    on a line, on half a cosine, or ("wsd") on a line over the last `decay_fraction` of the steps.
    Under "muon" the matrices of the layers learn by orthogonalised momentum at `learning_rate`, all
    else (embeddings, biases, norms, head) by Adam at `adam_ratio` of it; under "adamw" everything
    learns at `learning_rate`.
    """

    steps: int = Field(default=400, ge=1)
    batch_rows: int = Field(default=8, ge=1)
    row_tokens: int = Field(default=256, ge=2)
    microbatches: int = Field(default=1, ge=1)
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = Field(default=0.02, gt=0)
    adam_ratio: float = Field(default=0.15, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    schedule: Literal["linear", "cosine", "wsd"] = "linear"
    decay_fraction: float = Field(default=0.2, gt=0, le=1)  # wsd only
    weight_decay: float = Field(default=0.01, ge=0)
    adam_b2: float = Field(default=0.95, gt=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)  # adamw only: Muon's step does not depend on the gradient's size
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # of the passes; the weights kept are f32
    # What the backward pass recomputes: nothing, all but the matrix products, or whole layers (least
    # memory, a third more time).
    remat: Literal["none", "dots", "layers"] = "none"
    attention: Literal["auto", "einsum", "xla", "cudnn"] = "auto"
    logits_mb: int = Field(default=64, ge=1)  # MiB of f32 logits that exist at once
    # What is learnt: the next token, or a head that judges steps at their ends.
    objective: Literal["tokens", "step_head"] = "tokens"
    lora: LoraSection = LoraSection()
    checkpoint_every: int = Field(default=200, ge=1)

    @field_validator("remat", mode="before")
    @classmethod
    def _remat_may_be_a_switch(cls, value: Any) -> Any:
        return {True: "layers", False: "none"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _consistent(self):
        if self.batch_rows % self.microbatches:
            raise ValueError(f"batch_rows = {self.batch_rows} does not split in {self.microbatches} microbatches")
        if self.lora.rank and self.optimizer == "muon":
            raise ValueError("adapters are no matrices for Muon: set optimizer = 'adamw' with lora")
        return self


class ModelSection(Config):
    """Where the weights come from: a size trained from scratch, or a Hugging Face directory."""

    preset: str | None = None
    checkpoint: Path | None = None

    @model_validator(mode="after")
    def _one_of_them(self):
        if (self.preset is None) == (self.checkpoint is None):
            raise ValueError("give either model.preset or model.checkpoint")
        return self


class DataSection(Config):
    """JSON lines of conversations. A checkpoint brings its tokenizer; a preset reads `tokenizer`
    (a directory with tokenizer.json), or learns `vocab_size` tokens from the file.

    `output_markers` are pairs of texts between which an assistant's message holds what code printed.
    `control_tokens`: whether contents of messages may spell control tokens such as <|im_end|>; else
    these are plain text. `date`: the day for chat templates that write it, such as 2026-11-30; unset,
    it is the day on which the run first started.
    """

    path: Path
    tokenizer: Path | None = None
    vocab_size: int = Field(default=2048, ge=300)
    output_markers: tuple[tuple[str, str], ...] = (("[Code Output]\n\n```\n", "\n```\n"),)
    control_tokens: bool = False
    date: datetime.date | None = None


class MeshSection(Config):
    """Devices along each axis; at most one -1 stands for all that the others leave.

    `data` copies the weights, `fsdp` shards them, `tensor` splits the layers.
    """

    data: int = Field(default=1, ge=-1)
    fsdp: int = Field(default=-1, ge=-1)
    tensor: int = Field(default=1, ge=-1)

    @model_validator(mode="after")
    def _consistent(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if 0 in sizes or sizes.count(-1) > 1:
            raise ValueError(f"{sizes} (data, fsdp, tensor): positive numbers, at most one -1")
        return self


class RunConfig(Config):
    """One run of `python -m jprm train`; results land in <directory>/<name>."""

    name: str = "train"
    directory: Path = Path("runs")
    seed: int = 0
    model: ModelSection
    data: DataSection
    mesh: MeshSection = MeshSection()
    train: TrainConfig = TrainConfig()
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=1, ge=1)  # steps
    tensorboard: bool = False  # as well as log.jsonl; needs the extra of that name

    def check_files(self) -> None:
        """Raises UserError for files that are not there; loads neither JAX nor a tokenizer."""
        present(self.data.path, "data.path")
        present(self.data.tokenizer, "data.tokenizer")
        if self.model.checkpoint is not None:
            from jprm.models.locate import find_checkpoint

            find_checkpoint(self.model.checkpoint, "model.checkpoint")
