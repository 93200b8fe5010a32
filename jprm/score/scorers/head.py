"""The discriminative step head: one forward pass, a probability at the end of every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jprm.errors import UserError
from jprm.score.base import Setup, scorer
from jprm.score.forward import ForwardScorer
from jprm.score.prm_layout import longest_context

if TYPE_CHECKING:
    from jprm.data import Document


@scorer("head")
class HeadScorer(ForwardScorer):
    """The head beside a checkpoint, as `python -m jprm export` writes one that was trained with it.

    It reads the problem and the steps, each with a newline behind it, which is how rows for
    `objective = "step_head"` have to be written for it.
    """

    def __init__(self, setup: Setup):
        """Loads model, tokenizer and head. Raises UserError where one of them is missing."""
        super().__init__(setup)
        from safetensors.numpy import load_file

        from jprm.chat import ChatCodec
        from jprm.models.hf_weights import from_hf
        from jprm.train.loss import STEP_HEAD
        from jprm.train.weights import HEAD_FILE

        if setup.model is None:
            raise UserError("--model DIR is missing: a checkpoint with a step head")
        path = setup.model / HEAD_FILE
        try:
            head = load_file(path)
        except Exception as error:  # safetensors raises what its Rust part does
            raise UserError(
                f"{path}: no step head to be read ({error}); train one with "
                'train.objective="step_head" and export the run'
            ) from error
        self.codec = ChatCodec.load(setup.model)
        self.model, params = from_hf(setup.model)
        self.params = params | {STEP_HEAD: head}
        self.context_tokens = longest_context(setup.model)

    def document(self, problem: str, steps: Sequence[str]) -> Document:
        """Lays a solution out as rows for training are: each text with a newline behind it."""
        from jprm.data import render_steps

        quote = self.codec.quote
        pieces: list[tuple[str, float | None]] = [(quote(f"{problem}\n"), None)]
        return render_steps(pieces + [(quote(f"{step}\n"), 0.0) for step in steps], self.codec)
