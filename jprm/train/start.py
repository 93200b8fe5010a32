"""What a run starts from: the mesh, the tokenizer and documents of its file, the model's first weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from jprm.data import Corpus, by_line, corpus_of, read_pieces, render
from jprm.data.conversations import TURN_CLOSE, TURN_OPEN
from jprm.errors import UserError
from jprm.mesh import MeshConfig, make_mesh
from jprm.models import Model, bind, preset
from jprm.tokenizer import Tokenizer, bpe_tokenizer
from jprm.train.config import MeshSection, RunConfig

@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """`fresh()` makes the first weights, laid out over the mesh in force; `weights` says which they are."""

    model: Model
    tokenizer: Tokenizer
    corpus: Corpus
    fresh: Callable[[], dict]
    weights: str


def mesh_of(section: MeshSection, batch_rows: int, microbatches: int) -> jax.sharding.Mesh | None:
    """The mesh of a run; None for one device.

    Raises UserError where it does not divide the devices or the rows, and where it would leave
    devices of a run of several processes idle.
    """
    sizes = section.model_dump()
    devices = jax.device_count()
    taken = 1
    for size in sizes.values():
        taken *= max(size, 1)
    if -1 in sizes.values():
        if devices % taken:
            raise UserError(
                f"mesh: {sizes} takes devices by {taken}, and {devices} are no multiple of it; "
                "choose axes that divide them"
            )
        sizes = {name: devices // taken if size < 0 else size for name, size in sizes.items()}
    config = MeshConfig(**sizes)
    if jax.process_count() > 1 and config.devices != devices:
        raise UserError(
            f"mesh: {sizes} has {config.devices} devices, but the {jax.process_count()} processes "
            f"have {devices}; a run of several processes takes all: set one axis to -1"
        )
    ways = config.data * config.fsdp
    if (batch_rows // microbatches) % ways:
        raise UserError(
            f"mesh: the {batch_rows // microbatches} rows of a microbatch (train.batch_rows / "
            f"train.microbatches) do not divide among data x fsdp = {config.data} x {config.fsdp} "
            f"devices; make train.batch_rows a multiple of {microbatches * ways}"
        )
    return None if config.devices == 1 else make_mesh(config)


def start_of(config: RunConfig) -> Start:
    """Reads the file and the checkpoint, or makes the model; under the mesh of the run.

    Raises UserError for what cannot be read, and for a model that does not divide over the mesh.
    """
    data = config.data
    rows = read_pieces(data.path, data.output_markers)
    if data.tokenizer is not None:
        tokenizer = Tokenizer.load(data.tokenizer)
    else:
        texts = ("".join(text for text, _ in pieces) for _, pieces in rows)
        tokenizer = bpe_tokenizer(texts, data.vocab_size, [TURN_OPEN, TURN_CLOSE])
    documents = by_line(data.path, rows, lambda pieces: render(pieces, tokenizer))
    size = config.model.preset
    assert size is not None
    model = bind(preset(size, -(-tokenizer.vocab_size // 8) * 8))  # a multiple that meshes divide
    return Start(
        model,
        tokenizer,
        corpus_of(data.path, documents),
        fresh=lambda: model.init(config.seed),
        weights=f"{size}, seed {config.seed}",
    )
