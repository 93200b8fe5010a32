"""Verifiers: rationales of labelled solutions, filtered by consensus, and a base model fine-tuned on them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from jprm.errors import UserError
from jprm.label import (
    Conversation,
    Counts,
    difference_labels,
    filter_conversations,
    first_error_of,
    hard_labels,
    relative_progress,
)
from jprm.pipeline.base import Base, training_flops, training_summary
from jprm.pipeline.conversations import held_out_conversations, write_conversation
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.labels import Example, Labels, load_examples
from jprm.runs import Stage
from jprm.seeds import rng_of, seed_of
from jprm.train.config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Verifier:
    """A base model of `size`, fine-tuned on rationales of `examples` labelled solutions.

    `labels` is the rule that turns values into labels, `filtered` whether the consensus filter is on, `style` what a
    rationale consists of. Smaller sets of examples are part of the larger ones of the same seed.
    """

    kind: ClassVar[str] = "verifier"
    version: ClassVar[int] = 2
    size: str
    examples: int
    labels: str
    filtered: bool
    style: str
    seed: int
    learning_rate: float | None = None

    @property
    def label(self) -> str:
        """A short name: what makes it different."""
        parts = [self.size, f"n={self.examples}", self.style, self.labels]
        parts += [f"lr={self.learning_rate}"] if self.learning_rate is not None else []
        return " ".join([*parts, *(["unfiltered"] if not self.filtered else []), f"s={self.seed}"])

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """Where it starts, and what it learns from."""
        return Base(self.size, self.seed), Labels(self.seed)

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """The labelling rule with its threshold, the annotator's noise, the recipe."""
        labels = lab.config.labels
        threshold = {"rpe": labels.epsilon, "difference": labels.difference_epsilon}.get(self.labels)
        return {
            "size": self.size,
            "examples": self.examples,
            "rule": self.labels,
            "threshold": threshold,
            "filtered": self.filtered,
            "style": self.style,
            "annotator_noise": labels.annotator_noise,
            "max_tokens": lab.config.verify.max_tokens,
            "max_rounds": lab.config.verify.max_rounds,
            "train": self.recipe(lab).model_dump(mode="json", exclude={"checkpoint_every"}),
            "seed": self.seed,
            **lab.code_inputs,
        }

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Synthesises, filters, balances, trains."""
        from jprm.data import render
        from jprm.train import fit, held_out_loss, load_params, save_params

        examples, counts = self.chosen(lab), Counts()
        conversations = self.conversations(lab, examples)
        kept = filter_conversations(conversations, counts, consensus=self.filtered)
        truth = {example.solution.id: example.solution.first_error for example in examples}
        documents = {c.solution_id: render(c.pieces, lab.tokenizer) for c in kept}
        balanced = balance(kept, lambda c: c.first_error >= 0)
        if not balanced:
            raise UserError(f"{self.label}: nothing left to learn from ({dict(counts.dropped)}); raise labels.problems")
        config, seed = self.recipe(lab), seed_of(self.seed, "verifier", self.size)
        params, _ = load_params(lab.stage(Base(self.size, self.seed)).file("weights"))
        result = fit(
            lab.model(self.size),
            params,
            [documents[c.solution_id] for c in balanced],
            config,
            seed,
            stage.file("checkpoints"),
            on_step=lambda step, metrics: lab.progress.show(
                f"verifier {self.label}: step {step} of {config.steps}, loss {metrics['loss']:.3f}"
            ),
        )
        save_params(stage.file("weights"), result.params, {"size": self.size})
        lab.tokenizer.save(stage.file("tokenizer"))
        held_out = [render(c.pieces, lab.tokenizer) for c in held_out_conversations(lab, self.style)]
        agree = [c.first_error == truth[c.solution_id] for c in kept]
        return training_summary(lab, self.size, result) | {
            "labelled": len(examples),
            "filter": counts.to_json(),
            "labels_right_before": _share([c.first_error == truth[c.solution_id] for c in conversations]),
            "labels_right_after": _share(agree),
            "documents": len(balanced),
            "held_out_loss": held_out_loss(lab.model(self.size), result.params, held_out, config.row_tokens),
        }

    def recipe(self, lab: Lab) -> TrainConfig:
        """The configuration's, with the learning rate of this verifier."""
        own = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return lab.config.train.model_copy(update=own)

    def params(self, lab: Lab) -> dict:
        """The trained weights."""
        from jprm.train import load_params

        return load_params(lab.stage(self).file("weights"))[0]

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        return training_flops(lab, self.size, lab.config.train)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 3 + self.flops(lab) / lab.rates.train

    def first_error(self, lab: Lab, example: Example) -> int:
        """The label of a solution: the 0-based first step labelled wrong, -1 for none."""
        if self.labels == "exact":
            assert example.solution.first_error is not None, "only worlds with known truth have exact labels"
            return example.solution.first_error
        assert example.mc is not None, "labels.source = planted has exact labels only"
        if self.labels == "rpe":
            return first_error_of(relative_progress(example.mc, lab.config.labels.epsilon))
        if self.labels == "difference":
            return first_error_of(difference_labels(example.mc, lab.config.labels.difference_epsilon))
        return first_error_of(hard_labels(example.mc))

    def conversations(self, lab: Lab, examples: Sequence[Example]) -> list[Conversation]:
        """A rationale of every example, before the filter."""
        return [
            write_conversation(
                lab,
                example.problem,
                example.solution,
                self.first_error(lab, example),
                self.style,
                lab.config.labels.annotator_noise,
                rng_of(self.seed, "annotator", example.solution.id),
            )
            for example in examples
        ]

    def chosen(self, lab: Lab) -> list[Example]:
        """The labelled solutions that it learns from, before the filter. Raises UserError for too few."""
        examples = load_examples(lab.stage(Labels(self.seed)))
        if len(examples) < self.examples:
            raise UserError(
                f"grid.train_examples asks for {self.examples} labelled solutions, but {len(examples)} came out; "
                "raise labels.problems"
            )
        order = rng_of(self.seed, "examples").permutation(len(examples))
        return [examples[i] for i in order[: self.examples]]


def balance(members: Sequence[T], class_of: Callable[[T], bool]) -> list[T]:
    """The rarer of the two classes (with an error, without) repeated until both are equally many."""
    classes = collections.defaultdict(list)
    for member in members:
        classes[class_of(member)].append(member)
    most = max(map(len, classes.values()), default=0)
    return [of_class[i % len(of_class)] for of_class in classes.values() for i in range(most)]


def _share(flags: list[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
