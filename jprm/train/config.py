"""The settings of a training run. The defaults train a tiny preset in a minute on two cores.

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
    """Low-rank adapters beside frozen weights."""

    rank: int = Field(default=0, ge=0)
    """The rank of every adapter; 0 trains the weights themselves."""
    alpha: float = Field(default=16.0, gt=0)
    """The output of an adapter is multiplied by alpha / rank."""
    targets: tuple[Literal["q", "k", "v", "o", "gate", "up", "down"], ...] = ("q", "k", "v", "o", "gate", "up", "down")
    """The projections of every layer that get an adapter."""

    @model_validator(mode="after")
    def _consistent(self):
        if self.rank and not self.targets:
            raise ValueError("lora.targets is empty: name at least one projection")
        return self


class TrainConfig(Config):
    """One training run; the same for every stage that trains (policy, verifier)."""

    steps: int = Field(default=400, ge=1)
    """Optimizer steps."""
    batch_rows: int = Field(default=8, ge=1)
    """Rows of packed documents in each step, over all devices."""
    row_tokens: int = Field(default=256, ge=2)
    """Tokens of a row; documents that are longer are left out."""
    microbatches: int = Field(default=1, ge=1)
    """Parts of a step's rows that are computed one after the other, which saves memory."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """"muon": the matrices of the layers learn by orthogonalised momentum, all else by Adam. "adamw": all by AdamW."""
    learning_rate: float = Field(default=0.02, gt=0)
    """The peak learning rate; under "muon" that of the matrices."""
    adam_ratio: float = Field(default=0.15, gt=0)
    """Under "muon", the learning rate of embeddings, biases, norms and heads as a part of `learning_rate`."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps over which the learning rate rises to its peak."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The learning rate at the end as a part of its peak."""
    schedule: Literal["linear", "cosine", "wsd"] = "linear"
    """How the rate falls: on a line, on half a cosine, or ("wsd") on a line over the last part of the steps only."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """Under "wsd", the part of the steps over which the learning rate falls."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, multiplied by the learning rate."""
    adam_b2: float = Field(default=0.95, gt=0, lt=1)
    """Adam's decay of the squared gradients."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The largest norm of a gradient, under "adamw" only: Muon's step does not depend on the gradient's size."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """The type of the forward and backward passes; the weights that are kept are float32."""
    remat: Literal["none", "dots", "layers"] = "none"
    """What the backward pass recomputes: nothing, all but the matrix products, or whole layers (a third more time)."""
    attention: Literal["auto", "einsum", "xla", "cudnn", "splash"] = "auto"
    """The attention kernel; "auto" takes cuDNN on NVIDIA GPUs and splash on TPUs where it can run, else the einsum."""
    logits_mb: int = Field(default=64, ge=1)
    """MiB of float32 logits that exist at once on a device."""
    objective: Literal["tokens", "step_head"] = "tokens"
    """What is learnt: the next token, or a head that judges steps at their ends."""
    lora: LoraSection = LoraSection()
    """Adapters instead of the weights themselves."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""

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


class FirstWeightsSection(Config):
    """Where the weights come from: a size trained from scratch, or a Hugging Face directory."""

    preset: str | None = None
    """The name of a size that is trained from scratch, such as "tiny-0.5m"."""
    checkpoint: Path | None = None
    """The directory of a checkpoint, or the name of one in the local Hugging Face cache."""

    @model_validator(mode="after")
    def _one_of_them(self):
        if (self.preset is None) == (self.checkpoint is None):
            raise ValueError("give either model.preset or model.checkpoint")
        return self


class TrainingDataSection(Config):
    """The conversations that are trained on, and the tokenizer that reads them."""

    path: Path
    """Conversations (messages, ShareGPT, TRL's prompt and completion) or pieces: JSON lines, a JSON list or parquet."""
    tokenizer: Path | None = None
    """For a preset: a directory with tokenizer.json. A checkpoint brings its own."""
    vocab_size: int = Field(default=2048, ge=300)
    """For a preset without `tokenizer`: how many tokens are learnt from the file."""
    output_markers: tuple[tuple[str, str], ...] = (("[Code Output]\n\n```\n", "\n```\n"),)
    """Pairs of texts between which an assistant's message holds what code printed, which is not trained."""
    control_tokens: bool = False
    """Whether contents of messages may spell control tokens such as <|im_end|>; else these are plain text."""
    date: datetime.date | None = None
    """The day for chat templates that write it, such as 2026-11-30; unset, the day on which the run first started."""


class MeshSection(Config):
    """Devices along each axis of the mesh; at most one -1 stands for all that the others leave."""

    data: int = Field(default=1, ge=-1)
    """Devices that each hold a copy of the weights."""
    fsdp: int = Field(default=-1, ge=-1)
    """Devices among which the weights are sharded."""
    tensor: int = Field(default=1, ge=-1)
    """Devices among which the layers are split."""

    @model_validator(mode="after")
    def _consistent(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if 0 in sizes or sizes.count(-1) > 1:
            raise ValueError(f"{sizes} (data, fsdp, tensor): positive numbers, at most one -1")
        return self


class RunConfig(Config):
    """One run of `python -m jprm train`."""

    name: str = "train"
    """The name of the run."""
    directory: Path = Path("runs")
    """The run's results land in <directory>/<name>."""
    seed: int = 0
    """Decides the first weights of a preset, and the order of the rows."""
    model: FirstWeightsSection
    """Where the weights come from."""
    data: TrainingDataSection
    """What is trained on."""
    mesh: MeshSection = MeshSection()
    """How the run is laid out over devices."""
    train: TrainConfig = TrainConfig()
    """The recipe."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay."""
    log_every: int = Field(default=1, ge=1)
    """Steps between two lines of the log."""
    export: bool = False
    """Whether the trained model is also written as a Hugging Face checkpoint in float32, as it was trained, in `hf/` of
    the run directory; `--model` and `model.checkpoint` find it there when they are given the run directory."""
    tensorboard: bool = False
    """Whether the log is written for TensorBoard too, besides log.jsonl; needs the extra of that name."""

    def check_files(self) -> None:
        """Raises UserError for files that are not there; loads neither JAX nor a tokenizer."""
        present(self.data.path, "data.path")
        present(self.data.tokenizer, "data.tokenizer")
        if self.model.checkpoint is not None:
            from jprm.models.locate import find_checkpoint

            find_checkpoint(self.model.checkpoint, "model.checkpoint")
