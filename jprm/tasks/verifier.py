"""Verifiers: rationales of labelled solutions, filtered by consensus, and a base model fine-tuned on them."""

from __future__ import annotations

import collections
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from jprm.errors import UserError
from jprm.formats.protocols import ProtocolChoice
from jprm.jobs import Stage, Stages, Task
from jprm.label import Conversation, Counts, filter_conversations, taught_conversation
from jprm.quoting import TextCodec
from jprm.seeds import rng_of, seed_of
from jprm.tasks.base import Base, train_model, training_flops
from jprm.tasks.labels import Example, LabelledSolutions, labelled_first_error, load_examples, rule_inputs
from jprm.tasks.model_source import ModelWeights
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.rationales import held_out_conversations, write_conversation
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import TrainSection, VerifySection
from jprm.tasks.teacher_rationales import TRAINING_FORM, TeacherRationales, load_kept
from jprm.verify import OURS, Budget, GenPRM, RationaleFormat, make_protocol, protocol, protocol_for

if TYPE_CHECKING:
    from jprm.data import Document  # loads JAX

T = TypeVar("T")
HELD_OUT_SHARE = 20  # one problem in so many, where the world has no other rationales
HELD_OUT_TOKENS = 16_384  # on which a checkpoint's loss is measured; all of a world's would take longer than training
RUN_CODE = ("full", "code")  # the styles whose rationales hold code


@dataclass(frozen=True, eq=False)
class TrainedVerifier(Task):
    """A base model, fine-tuned on rationales of `examples` labelled solutions.

    rule: turns Monte-Carlo values into labels. filtered: whether the consensus filter is on. style: what a rationale
    consists of. Smaller sets of examples are part of the larger ones of the same seed.
    """

    kind: ClassVar[str] = "verifier"
    version: ClassVar[int] = 2
    base: ModelWeights
    labels: LabelledSolutions
    examples: int
    rule: str
    filtered: bool
    style: str
    recipe: TrainSection
    verify: VerifySection
    other_learning_rate: float | None = None  # stands in the label where it is not the recipe's
    rationales: TeacherRationales | None = None  # None: those of the world's annotator

    @property
    def taught(self) -> TeacherRationales | None:
        """The teacher's rationales under this verifier's labels and filter."""
        return self.rationales and replace(self.rationales, rule=self.rule, filtered=self.filtered)

    @property
    def world(self) -> OpenWorld:
        """The world whose solutions it judges."""
        return self.labels.world

    @property
    def size(self) -> str:
        """What tables call its model."""
        return self.base.size

    @property
    def seed(self) -> int:
        """The seed of its labels and of its training; a base that is trained from scratch has the same one."""
        return self.labels.seed

    @property
    def label(self) -> str:
        parts = [self.size, f"n={self.examples}", self.style, self.rule]
        parts += [f"lr={self.other_learning_rate}"] if self.other_learning_rate is not None else []
        return " ".join([*parts, *(["unfiltered"] if not self.filtered else []), f"s={self.seed}"])

    @functools.cached_property
    def template(self) -> RationaleFormat:
        """The rationale protocol with its budget, the same in training and in use.

        Raises UserError for a protocol that the tokenizer of the base cannot write, and for one that ends a rationale
        behind its code, so that none could be learnt.
        """
        found = rationale_protocol(self.verify, self.base)
        if isinstance(found, GenPRM) and self.style in RUN_CODE and found.budget.max_rounds < 2:
            raise UserError(
                f"verify.max_rounds = {found.budget.max_rounds}: GenPRM forces a verdict behind the last round, so "
                "no rationale with code would have one of its own; take 2 or more"
            )
        return found

    @property
    def remembered(self) -> ProtocolChoice:
        """What its weights remember of their training (`jprm.json`), so that `evaluate` asks them in the same way."""
        verify, style, template = self.verify, self.style, self.template
        own = verify.protocol not in ("auto", *OURS)
        if own or not isinstance(template, GenPRM):
            return ProtocolChoice(name=verify.protocol if own else "tags", style=style)  # type: ignore[arg-type]
        code = (f"code.{key}={json.dumps(value)}" for key, value in verify.code.model_dump().items())
        sampling = f"sampling.temperature={verify.temperature}", f"sampling.code_timeout_s={verify.timeout_s}"
        overrides = (*_overrides(verify), *sampling, *code)
        return ProtocolChoice(name="genprm", chat=template.chat.turns, style=style, overrides=overrides)  # type: ignore[arg-type]

    def seed_for(self, *purpose: str) -> int:
        """The seed of a purpose; of a checkpoint's verifier the seed itself, as `train` and `evaluate` take it."""
        return seed_of(self.seed, *purpose) if isinstance(self.base, Base) else self.seed

    def of_style(self, style: str, learning_rate: float | None = None) -> TrainedVerifier:
        """The verifier that is like this one but for its style, and perhaps its learning rate."""
        return replace(self, style=style, other_learning_rate=learning_rate)

    def parents(self) -> tuple[Task, ...]:
        return self.base, self.labels, *([self.taught] if self.taught else [])

    def inputs(self) -> dict[str, Any]:
        """The labelling rule with its threshold, the annotator's noise, the recipe."""
        labels = self.labels.settings
        return {
            "size": self.size,
            "examples": self.examples,
            **rule_inputs(self.rule, labels),
            "filtered": self.filtered,
            "style": self.style,
            "annotator_noise": labels.annotator_noise,
            "max_tokens": self.verify.max_tokens,
            "max_rounds": self.verify.max_rounds,
            "train": self.effective_recipe.model_dump(mode="json", exclude={"checkpoint_every"}),
            "seed": self.seed,
            **code_inputs(self.verify),
            **protocol_inputs(self.verify, self.template),
            **({} if isinstance(self.base, Base) else {"held_out_tokens": HELD_OUT_TOKENS}),
        }

    @property
    def effective_recipe(self) -> TrainSection:
        """The recipe with the learning rate of this verifier."""
        rate = self.other_learning_rate
        return self.recipe if rate is None else self.recipe.model_copy(update={"learning_rate": rate})

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Writes the rationales, filters and balances them, trains, and measures the held-out loss."""
        from jprm.data import render
        from jprm.train import held_out_loss, load_params

        # 1. The annotator writes a rationale of every example for its label; those that agree are learnt.
        examples, counts, tokenizer = self.chosen(context.stages), Counts(), self.base.tokenizer
        conversations = self.conversations(context, examples)
        lessons = self.lessons(conversations, counts)
        kept = list({id(c): c for c in lessons}.values())
        truth = {example.solution.id: example.solution.first_error for example in examples}
        # 2. The base model learns the rationales.
        documents = {id(c): [render(pieces, tokenizer) for pieces in c.documents] for c in kept}
        recipe = self.effective_recipe
        summary = train_model(
            stage,
            context,
            f"verifier {self.label}",
            self.base,
            self.base.params(context.stages),
            [document for c in lessons for document in documents[id(c)]],
            recipe,
            self.seed_for("verifier", self.size),
        )
        self.base.save_tokenizer(stage.file("tokenizer"))
        # 3. Its loss on right rationales of other problems can be compared between numbers of examples.
        held_out = [render(pieces, tokenizer) for c in self.held_out(context) for pieces in c.documents]
        held_out = [document for document in held_out if len(document) <= recipe.row_tokens]
        if not isinstance(self.base, Base):
            held_out = first_within(held_out, HELD_OUT_TOKENS)
        params, _ = load_params(stage.file("weights"))
        right = {id(c): c.first_error == truth[c.solution_id] for c in conversations}
        return summary | {
            "labelled": len(examples),
            "filter": counts.to_json(),
            "labels_right_before": _share([right[id(c)] for c in conversations]),
            "labels_right_after": _share([right[id(c)] for c in kept]),
            "documents": len(lessons),
            "held_out_loss": held_out_loss(self.base.model, params, held_out, recipe.row_tokens) if held_out else None,
        }

    def flops(self) -> float:
        return training_flops(self.base, self.recipe)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.train

    def first_error(self, example: Example) -> int:
        """The label of a solution: the 0-based first step labelled wrong, -1 for none. Raises UserError for none."""
        return labelled_first_error(self.rule, example, self.labels.settings)

    def held_out(self, context: TaskContext) -> Iterable[Conversation]:
        """Rationales of problems that no verifier learns from: the annotator's, or else a teacher's."""
        if self.world.world.has_oracle:
            pool = context.resources.pool(self.verify, context.progress)
            return held_out_conversations(self.world, self.base.tokenizer, pool, self.template, self.style)
        examples = load_examples(context.stages[self.labels])
        return self.conversations(context, [example for example in examples if is_held_out(example)])

    def conversations(self, context: TaskContext, examples: Sequence[Example]) -> list[Conversation]:
        """A rationale of every example, before the filter; of a teacher, of those examples that it agrees with."""
        if self.taught is not None:
            return self.conversations_of(self.taught, context.stages, examples)
        pool = context.resources.pool(self.verify, context.progress)
        return [
            write_conversation(
                self.world,
                self.base.tokenizer,
                pool,
                self.template,
                example.problem,
                example.solution,
                self.first_error(example),
                self.style,
                self.labels.settings.annotator_noise,
                rng_of(self.seed, "annotator", example.solution.id),
            )
            for example in examples
        ]

    def lessons(self, conversations: Sequence[Conversation], counts: Counts) -> list[Conversation]:
        """What is learnt of these conversations, in the order of training: those that the filter keeps, balanced.

        Balanced means that solutions with and without an error are equally many, the rarer ones repeated. Raises
        UserError where nothing is left.
        """
        kept = filter_conversations(conversations, counts, consensus=self.filtered)
        if not kept:
            raise UserError(f"{self.label}: nothing left to learn from ({dict(counts.dropped)}); raise labels.problems")
        return balance(kept, lambda c: c.first_error >= 0)

    def conversations_of(
        self, taught: TeacherRationales, stages: Stages, examples: Sequence[Example]
    ) -> list[Conversation]:
        """A teacher's attempts at these examples that were kept, in this verifier's own protocol and style."""
        by_id = {example.solution.id: example for example in examples}
        format, codec, style = self.template, self.base.tokenizer, self.style
        conversations = []
        for kept in load_kept(stages[taught]):
            if (of := by_id.get(kept.solution_id)) is not None:
                judged = of.problem, of.solution, kept.steps
                conversations.append(taught_conversation(*judged, format, codec, style))  # type: ignore[arg-type]
        return conversations

    def chosen(self, stages: Stages) -> list[Example]:
        """The labelled solutions that it learns from, before the filter. Raises UserError for too few."""
        examples = load_examples(stages[self.labels])
        if not self.world.world.has_oracle:
            examples = [example for example in examples if not is_held_out(example)]
        if len(examples) < self.examples:
            raise UserError(
                f"grid.train_examples asks for {self.examples} labelled solutions, but {len(examples)} came out; "
                "raise labels.problems"
            )
        order = rng_of(self.seed, "examples").permutation(len(examples))
        return [examples[i] for i in order[: self.examples]]


def code_inputs(verify: VerifySection) -> dict[str, Any]:
    """The settings of code as inputs of a task; left out where none is set, as in keys before there were any."""
    code = verify.code
    return {"code": code.model_dump()} if code != type(code)() else {}


def is_held_out(example: Example) -> bool:
    """Whether a labelled solution only measures the loss, in worlds without an oracle; by the hash of its problem."""
    return int(example.problem.id, 16) % HELD_OUT_SHARE == 0


def rationale_protocol(verify: VerifySection, base: ModelWeights) -> RationaleFormat:
    """The rationale protocol of these settings for verifiers that start from `base`.

    Raises UserError for a protocol that its tokenizer cannot write, and for a plugin that makes none.
    """
    of_a_world = isinstance(base, Base)
    name = ("tags" if of_a_world else "genprm") if verify.protocol == "auto" else verify.protocol
    if name != "genprm":
        budget = Budget(max_tokens=verify.max_tokens, max_rounds=verify.max_rounds, verdict_tokens=1)
        made = make_protocol(name, budget, verify.code)
        return made if name == "tags" else _written_by(base.tokenizer, name, made)
    chat = verify.chat
    if chat == "auto":
        chat = "template" if getattr(base.tokenizer, "has_chat_template", False) else "published"
    found = protocol_for(name, chat, base.tokenizer, _overrides(verify))
    assert isinstance(found, GenPRM)
    return found.model_copy(update={"code": verify.code})


def _written_by(codec: TextCodec, name: str, made: RationaleFormat) -> RationaleFormat:
    """A protocol of a plugin with what it takes from a tokenizer. Raises UserError where that cannot write it."""
    try:
        made = made.for_codec(codec)
        made.stop_ids(codec)
    except UserError as error:
        raise UserError(f"verify.protocol = {name}: {error}") from None
    return made


def _overrides(verify: VerifySection) -> tuple[str, ...]:
    """What these settings change of the published GenPRM's texts and budgets."""
    budget = f"budget.max_tokens={verify.max_tokens}", f"budget.max_rounds={verify.max_rounds}"
    return *TRAINING_FORM, *budget, *verify.overrides


def protocol_inputs(verify: VerifySection, format: RationaleFormat) -> dict[str, Any]:
    """A protocol as input of a task: the texts of a published one, the name and the file of a plugin's.

    Left out for the tags, whose strings are part of the code.
    """
    own = verify.protocol not in ("auto", *OURS)
    plugin = {"own_protocol": [verify.protocol, protocol.digest(verify.protocol)]} if own else {}
    return ({"protocol": format.model_dump(mode="json")} if isinstance(format, GenPRM) else {}) | plugin


def first_within(documents: Sequence[Document], tokens: int) -> list[Document]:
    """The first documents that together have so many tokens at most, and one at least."""
    ends = itertools.accumulate(map(len, documents))
    return [document for i, (document, end) in enumerate(zip(documents, ends, strict=True)) if not i or end <= tokens]


def balance(members: Sequence[T], class_of: Callable[[T], bool]) -> list[T]:
    """The rarer of the two classes (with an error, without) repeated until both are equally many."""
    classes = collections.defaultdict(list)
    for member in members:
        classes[class_of(member)].append(member)
    most = max(map(len, classes.values()), default=0)
    return [of_class[i % len(of_class)] for of_class in classes.values() for i in range(most)]


def _share(flags: list[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
