"""The discriminative step head: one forward pass, a probability at the end of every step."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from jprm.errors import UserError
from jprm.score.base import Setup, StepScorer, scorer

LEAST_ROW_TOKENS = 64  # rows are powers of two from here on, so that few lengths are compiled


@scorer("head")
class HeadScorer(StepScorer):
    """The head beside a checkpoint, as `python -m jprm export` writes one that was trained with it.

    It reads the problem and the steps, each with a newline behind it, which is how rows for
    `objective = "step_head"` have to be written for it. All votes are the same.
    """

    chance: ClassVar[bool] = False

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

    def scores(self, problem: str, steps: Sequence[str], seed: int) -> Iterable[float | None]:
        """Returns the head's probability at the end of every step."""
        from jprm.data import render_steps
        from jprm.train.forward import label_probabilities

        quote = self.codec.quote
        pieces: list[tuple[str, float | None]] = [(quote(f"{problem}\n"), None)]
        pieces += [(quote(f"{step}\n"), 0.0) for step in steps]
        document = render_steps(pieces, self.codec)
        row_tokens = max(LEAST_ROW_TOKENS, 1 << (len(document) - 1).bit_length())
        [found] = label_probabilities(self.model, self.params, [document], row_tokens, batch_rows=1)
        assert found is not None, "it fits into its own row"
        return [float(p) for p in found]
