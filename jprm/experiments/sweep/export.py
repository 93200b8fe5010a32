"""The verifier of a finished sweep as a Hugging Face checkpoint, with a card from the run's record."""

from pathlib import Path
from typing import Any

from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.finished import read_sweep_config, trained_verifier
from jprm.formats.protocols import PROTOCOL_FILE, protocol_json
from jprm.jobs import Stages, provenance, write_atomic
from jprm.tasks.base import Base, load_weights
from jprm.tasks.verifier import TrainedVerifier
from jprm.tokenizer import EOS, PAD


def export_verifier(run: Path, out: Path, dtype: str | None = None) -> str:
    """Writes the main verifier of the sweep in `run` to the new directory `out`; returns its label.

    dtype: of the weights in the files; None is float32, in which they were trained.
    Raises UserError where there is no trained verifier, and where `out` is not empty.
    """
    import jax.numpy as jnp

    from jprm.models.hf_export import to_hf

    sweep, stages = Sweep(read_sweep_config(run)), Stages(run)
    verifier = trained_verifier(run, sweep, stages)
    to_hf(
        out,
        verifier.base.model,
        load_weights(stages, verifier),
        dtype=dtype and jnp.dtype(dtype),
        source=stages[verifier].file("tokenizer"),
        fields=_own_fields(verifier) if isinstance(verifier.base, Base) else {},
    )
    write_atomic(out / PROTOCOL_FILE, protocol_json(verifier.remembered))
    write_atomic(out / "README.md", _card(verifier, stages[verifier].summary))
    return verifier.label


def _origin(verifier: TrainedVerifier) -> str:
    if isinstance(verifier.base, Base):
        return "Its base was trained from scratch by jprm, from an induction-ready initialisation."
    return f"It was fine-tuned by jprm from the checkpoint {verifier.size}."


def _own_fields(verifier: TrainedVerifier) -> dict[str, Any]:
    """The fields of config.json that a checkpoint would have brought."""
    tokenizer = verifier.base.tokenizer
    return {
        "eos_token_id": tokenizer.token_id(EOS),
        "pad_token_id": tokenizer.token_id(PAD),
        "max_position_embeddings": verifier.verify.context_tokens,
    }


def _card(verifier: TrainedVerifier, summary: dict[str, Any]) -> str:
    """The model card: what it is, what it was trained on, what computed it."""
    made, held_out = provenance(), summary["held_out_loss"]
    facts = {
        "parameters (a tied head counted once)": summary["params"],
        "labelled solutions": summary["labelled"],
        "documents after filter and balance": summary["documents"],
        "training steps": summary["steps"],
        "training tokens": summary["tokens"],
        "training FLOPs": f"{summary['flops']:.3g}",
        "final training loss": f"{summary['loss']:.4f}",
        "held-out loss": "not measured" if held_out is None else f"{held_out:.4f}",
        "exported by": f"jprm {made['packages'].get('jprm', '')} at commit {made['commit']}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "---\nlibrary_name: transformers\ntags: [process-reward-model]\n---\n\n"
        f"# Verifier {verifier.label}\n\n"
        "A generative process reward model: it writes a rationale for each step of a solution, and then a verdict.\n\n"
        f"{_origin(verifier)}\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )
