"""Published process reward models: a row of `PrmLayout` for each, and nothing else.

The rows are interface facts of the released checkpoints, from the code that their authors run them with. A score is
P(the step is right), between 0 and 1; what a system makes of it besides (PURE's difference of the two probabilities,
Qwen's product over a solution's steps) is for whoever aggregates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from jprm.errors import UserError
from jprm.score.base import Setup, scorer
from jprm.score.forward import ForwardScorer
from jprm.score.prm_layout import Pieces, PrmLayout, SeparatedChat, StepTurns, TaggedText, longest_context

if TYPE_CHECKING:
    from jprm.data import Document

TOKEN_CLASSIFIER = "ForTokenClassification"  # of transformers: one linear layer, two classes


class PublishedPRM(ForwardScorer):
    """A checkpoint of one layout."""

    layout: ClassVar[PrmLayout]

    def __init__(self, setup: Setup):
        """Loads the checkpoint. Raises UserError for one of another layout."""
        super().__init__(setup)
        if setup.model is None:
            raise UserError("--model DIR is missing: the directory of the process reward model")
        self.codec, self.model, self.params = self.layout.load(setup.model)
        self.context_tokens = longest_context(setup.model)

    def document(self, problem: str, steps: Sequence[str]) -> Document:
        """Lays a solution out as this model was trained to read it."""
        from jprm.data import Document

        ids, judged = self.layout.shown.tokens(self.codec, problem, steps)
        weights = np.zeros(len(ids), np.float32)
        weights[judged] = 1
        return Document(np.asarray(ids, np.int32), weights)


@scorer("qwen-prm")
class QwenPRM(PublishedPRM):
    """Qwen2.5-Math-PRM: <extra_0> behind every step of a chat, a head of two layers and two classes.

    Source: its model card and modeling_qwen2_rm.py; arXiv 2501.07301. The system turn is that of the card.
    """

    layout = PrmLayout(
        SeparatedChat(r"Please reason step by step, and put your final answer within \boxed{}.", "<extra_0>"),
        ending="ForProcessRewardModel",
        layers=("score.0", "score.2"),
    )


@scorer("skywork-prm")
class SkyworkPRM(PublishedPRM):
    """Skywork-o1-Open-PRM: a value head, read through a sigmoid at the newline behind every step.

    Source: SkyworkAI/skywork-o1-prm-inference at 719b56b (io_utils.py, prm_model.py).
    """

    layout = PrmLayout(Pieces(behind="\n", by_line=True), ending="ForPrmModel", layers=("v_head.summary",))


@scorer("rlhflow-prm")
class RLHFlowPRM(PublishedPRM):
    """RLHFlow's Llama3.1-8B-PRM: a turn for every step, answered by + or -.

    Source: RLHFlow/RLHF-Reward-Modeling at fc39179 (math-rm/prm_evaluate.py), which reads every step with + as the
    answer to all earlier ones; so one pass over the whole chat gives them all.
    """

    layout = PrmLayout(StepTurns("+"), words=("+", "-"))


@scorer("math-shepherd")
class MathShepherd(PublishedPRM):
    """Math-Shepherd's Mistral 7B PRM: the tag ки behind every step, where the logits of + and - are compared.

    Source: the model card of peiyi9979/math-shepherd-mistral-7b-prm; arXiv 2312.08935.
    """

    layout = PrmLayout(TaggedText("ки"), words=("+", "-"))


@scorer("trl-prm")
class TRLPRM(PublishedPRM):
    """What TRL's PRMTrainer trains: a token classifier of two classes, read at the newline behind every step.

    Source: TRL at f2cd577 (PRMTrainer.tokenize_row, with its default separator).
    """

    layout = PrmLayout(Pieces(), ending=TOKEN_CLASSIFIER, layers=("score",))


@scorer("pure")
class PurePRM(PublishedPRM):
    """PURE-PRM-7B: a token classifier as TRL trains it, on steps without blanks at their ends.

    Source: CJReinforce/PURE (PRM/eval/bon.py); arXiv 2504.15275.
    """

    layout = PrmLayout(Pieces(begins=False, stripped=True), ending=TOKEN_CLASSIFIER, layers=("score",))
