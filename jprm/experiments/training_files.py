"""What the verifiers of a sweep learn, as files for `train`: their rows, and the configuration that trains on them.

A row is a document of the sweep's training to the letter: pieces of text, each with whether it is learnt. The rows
stand in the sweep's order, in which solutions with and without an error are equally many, the rarer ones repeated. With
the same recipe and seed `train` then ends in the sweep's weights.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jprm.config import toml
from jprm.errors import UserError
from jprm.formats.protocols import KEY
from jprm.jobs import Stages, write_atomic, write_rows
from jprm.label import Counts
from jprm.tasks.pretrained import Pretrained
from jprm.tasks.verifier import TrainedVerifier
from jprm.train.config import FirstWeightsSection, MeshSection, RunConfig, TrainConfig, TrainingDataSection


def named(verifiers: Sequence[TrainedVerifier]) -> dict[str, TrainedVerifier]:
    """Returns verifiers by what their files are called. Raises UserError for one that `train` cannot begin with."""
    found: dict[str, TrainedVerifier] = {}
    for verifier in verifiers:
        if not isinstance(verifier.base, Pretrained):
            raise UserError(
                f'--training: grid.sizes = "{verifier.size}": a preset is trained from scratch in the sweep; name a '
                "directory, or leave --training out"
            )
        name = re.sub(r"[^\w.-]+", "-", verifier.label.replace("=", ""))
        found[f"{name}-{verifier.key[:8]}" if name in found else name] = verifier
    return found


def write_training(folder: Path, name: str, verifier: TrainedVerifier, stages: Stages) -> None:
    """Writes what a verifier learns to `<name>.jsonl` in a folder, and how to `<name>.toml`.

    Its labels and the rationales of its teacher have to be finished. Raises UserError where nothing is left to learn.
    """
    rows, config = folder / f"{name}.jsonl", folder / f"{name}.toml"
    write_rows(rows, _rows(verifier, stages))
    settings = _settings(verifier, rows, folder, name).model_dump(mode="json", exclude_unset=True, exclude_none=True)
    write_atomic(config, f"# python -m jprm train --config {config}\n{toml(settings)}")


def _rows(verifier: TrainedVerifier, stages: Stages) -> Iterator[dict[str, Any]]:
    assert verifier.taught is not None, "what an annotator writes is no file"
    taught = verifier.conversations_of(verifier.taught, stages, verifier.chosen(stages))
    told = verifier.remembered.model_dump(mode="json")
    for conversation in verifier.lessons(taught, Counts()):
        for pieces in conversation.documents:
            about = {"solution_id": conversation.solution_id, "first_error": conversation.first_error}
            yield {"pieces": pieces, KEY: told} | about


def _settings(verifier: TrainedVerifier, rows: Path, folder: Path, name: str) -> RunConfig:
    """The configuration of `train`: the recipe in full, on one device, as the sweep trains."""
    base = verifier.base
    assert isinstance(base, Pretrained)
    *_, checkpoint = base.checkpoint.directory, *base.checkpoint.adapters
    return RunConfig(
        name=name,
        directory=folder,
        seed=verifier.seed_for("verifier", verifier.size),
        model=FirstWeightsSection(checkpoint=checkpoint),
        data=TrainingDataSection(path=rows),
        mesh=MeshSection(data=1, fsdp=1, tensor=1),
        train=TrainConfig(**verifier.effective_recipe.model_dump()),
        export=True,
    )
