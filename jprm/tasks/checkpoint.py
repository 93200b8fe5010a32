"""A checkpoint that judges: a registered scorer on a directory of weights, or on a server of the model."""

from __future__ import annotations

import contextlib
import json
import os
import time
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.config import fingerprint
from jprm.errors import UserError
from jprm.execute import CodePlace
from jprm.jobs import (
    Stage,
    Stages,
    Task,
    differing_keys,
    flattened,
    inputs_without,
    read_identity,
    unique_suffix,
    write_atomic,
)
from jprm.models.locate import Checkpoint, find_checkpoint, find_directory
from jprm.quoting import TextCodec
from jprm.records import ReadOut
from jprm.score import Generator, Heard, Known, Scorer, Setup
from jprm.score import Item as ScorerItem
from jprm.score import scorer as scorers
from jprm.tasks.benchmark import Item, load_items
from jprm.tasks.pretrained import model_digest
from jprm.tasks.resources import TaskContext
from jprm.tasks.samplers import OpenSampler, SamplerRequest, open_engine, open_server, processors
from jprm.tasks.settings import CheckpointSection
from jprm.tasks.vote_store import holds_votes
from jprm.tasks.votes import CHOICES, Drawing, Judging, Sampling, Votes
from jprm.verify import CheckpointProtocol, Execution, GenPRM, RationaleFormat, VerifySettings, votes_drawn

ENGINE = "engine.json"  # in the folder of a stage: how its sampler was opened
ADVICE = "give another --out, or run it as it was"


@dataclass(frozen=True)
class CheckpointSampling(Sampling):
    """A scorer on a checkpoint; `CheckpointSampling.of` finds its files.

    identity: all but the read-out that decides its votes, as flat keys. Where it alone is known, the votes are those
    that are stored already, and no more can be drawn. checkpoint: None for scorers that need no model.
    """

    scorer: type[Scorer]
    readout: ReadOut
    identity: Mapping[str, Any]
    settings: CheckpointSection = CheckpointSection()
    checkpoint: Checkpoint | None = None
    protocol: CheckpointProtocol | None = None

    @classmethod
    def of(
        cls, model: Path | None, settings: CheckpointSection, scorer: type[Scorer], protocol: CheckpointProtocol
    ) -> CheckpointSampling:
        """Finds the checkpoint that a user calls `model`, for a scorer. Raises UserError where there is none."""
        checkpoint = None
        if model is None:
            if scorer.samples:
                raise UserError("--model DIR is missing: the directory of a Hugging Face checkpoint")
        elif scorer.samples:
            checkpoint = find_checkpoint(model, "--model", weights=settings.backend == "own")
        else:  # it reads whatever it likes of the directory
            checkpoint = Checkpoint(find_directory(model, "--model"))
        identity = {
            "model": model_digest(checkpoint.directory) if checkpoint else None,
            "adapters": "+".join(map(model_digest, checkpoint.adapters)) or None if checkpoint else None,
            "scorer": settings.scorer,
            "plugin": scorers.digest(settings.scorer) or None,
            "mode": settings.mode,
            "seed": settings.seed,
            "overflow": settings.overflow,
            "protocol": protocol.model_dump(mode="json") if scorer.samples else None,
        }
        return cls(scorer, settings.readout or scorer.readout, flattened(identity), settings, checkpoint, protocol)

    @property
    def label(self) -> str:
        name = f"{self.checkpoint.directory.name}, " if self.checkpoint else ""
        return f"{name}{self.identity['scorer']}, {self.identity['mode']}"

    def parents(self) -> tuple[Task, ...]:
        return ()

    def inputs(self) -> dict[str, Any]:
        return dict(self.identity)

    def draws(self, votes: int) -> int:
        """The votes that are drawn where `votes` are asked for: one where all of them would be the same."""
        if not self.scorer.chance:
            return 1
        if not self.scorer.samples:
            return votes
        temperature, top_k = (self.identity[f"protocol.sampling.{key}"] for key in ("temperature", "top_k"))
        return votes_drawn(votes, temperature, top_k)

    def judge(self, drawing: Drawing, items: Sequence[ScorerItem], known: Known, heard: Heard) -> Judging:
        """Judges all solutions; the model is loaded when the scorer asks for it.

        Raises UserError for what is missing, does not fit, or is not as it was when these votes were first sampled.
        """
        votes, resources = drawing.votes, drawing.context.resources
        with ExitStack() as stack:

            def generator(style: str, execute: Execution) -> Generator:
                if drawing.stage.name == Votes.kind:
                    loaded, sampler = self._load(drawing, style, execute, stack)
                else:  # a worker's part, after which it takes the next one
                    key = (self, votes.benchmark, style, execute)
                    loaded, sampler = resources.kept(key, lambda kept: self._load(drawing, style, execute, kept))
                drawing.told.speed = sampler.speed
                return loaded

            setup = Setup(
                model=self.checkpoint.directory if self.checkpoint else None,
                mode=self.settings.mode,
                readout=self.readout,
                seed=self.settings.seed,
                stop_early=votes.stop_early,
                generator=generator,
            )
            try:
                yield from self.scorer(setup).judge(items, range(votes.n_votes), known, heard)
            except FloatingPointError as error:  # the weights' fault, not the program's
                raise UserError(f"--model {setup.model}: {error}") from None

    @property
    def format(self) -> RationaleFormat | None:
        return self.protocol if self.scorer.samples else None

    def pool(self, context: TaskContext) -> CodePlace | None:
        runs = self.scorer.samples and getattr(self.scorer, "execute", "none") == "executed"
        return self._pool(context) if runs else None

    def decode_flops(self, rationales: float) -> float:
        """0: what a checkpoint writes, and how fast, is not known before it does."""
        return 0.0

    def _pool(self, context: TaskContext) -> CodePlace:
        assert isinstance(self.protocol, GenPRM), "no other protocol runs code"
        return context.resources.code_place(
            self.settings.place,
            context.progress,
            workers=self.settings.workers or processors(),
            timeout_s=self.protocol.sampling.code_timeout_s,
            options=self.protocol.code_settings.options,
            uncovered=self.settings.uncovered,
        )

    def _load(
        self, drawing: Drawing, style: str, execute: Execution, stack: ExitStack
    ) -> tuple[Generator, OpenSampler]:
        """Loads the model for votes that are stored, as it was loaded when the first of them were sampled."""
        context, stage = drawing.context, drawing.stage
        recorded = recorded_engine(context.stages, drawing.votes, stage)

        def record(engine: dict[str, Any]) -> None:
            there, now = flattened({"engine": recorded}), flattened({"engine": engine})
            if recorded and (differing := differing_keys(there, now)):
                where = f"{context.stages.root}: holds the votes of another run"
                raise UserError(f"{where}; it differs in {', '.join(differing)}; {ADVICE}")
            if stage.name != Votes.kind:
                agree_on_engine(context.stages, drawing.votes, engine)
            write_atomic(stage.path / ENGINE, json.dumps(engine, indent=1) + "\n")

        items = load_items(context.stages[drawing.votes.benchmark])
        return self.open(style, execute, items, context, stack, recorded, record)

    def open(
        self,
        style: str,
        execute: Execution,
        items: Sequence[Item],
        context: TaskContext,
        stack: ExitStack,
        recorded: Mapping[str, Any] = types.MappingProxyType({}),
        record: Callable[[dict[str, Any]], None] = lambda engine: None,
    ) -> tuple[Generator, OpenSampler]:
        """Loads the model for a scorer; returns it with the sampler in it, which ends with `stack`.

        items: the solutions that have to fit. recorded, record: see `SamplerRequest`. Raises UserError for whatever is
        missing.
        """
        from jprm.chat import ChatCodec

        progress, settings, started = context.progress, self.settings, time.monotonic()
        assert self.checkpoint is not None and self.protocol is not None, "this sampling only names stored votes"
        with progress.doing("loading the tokenizer"):
            codec = ChatCodec.load(self.checkpoint.directory)
        protocol = self.protocol.for_codec(codec)
        for note in protocol.notes:
            progress.note(f"note: {note}")
        _note_vocabulary(codec, protocol, progress.note)
        sampler = {"own": open_engine, "openai": open_server}[settings.backend](
            SamplerRequest(
                settings=settings,
                checkpoint=self.checkpoint,
                protocol=protocol,
                readout=self.readout,
                codec=codec,
                style=style,
                items=items,
                recorded=recorded,
                record=record,
                doing=progress.doing,
            )
        )
        if isinstance(sampler.sampler, AbstractContextManager):
            stack.enter_context(sampler.sampler)
        if sampler.about:
            progress.note(sampler.about)
        pool = self._pool(context) if execute == "executed" else None
        progress.note(
            f"sampling starts after {time.monotonic() - started:.1f} s; a conversation may "
            f"have {sampler.context_tokens} tokens"
        )
        verify = VerifySettings(
            context_tokens=sampler.context_tokens,
            mode=settings.mode,
            style=style,
            execute=execute,
            temperature=protocol.sampling.temperature,
            max_in_flight=sampler.in_flight,
            readout=self.readout,
            template=protocol,
            overflow=settings.overflow,
        )
        return Generator(sampler.sampler, pool, codec, verify), sampler


def recorded_engine(stages: Stages, votes: Votes, stage: Stage | None = None) -> dict[str, Any]:
    """Returns how the sampler of these votes was opened, its kind and sizes; {} where nothing has been sampled.

    stage: the stage that is being computed, if it is a part of `votes`. Raises UserError for a damaged record.
    """
    if shared := read_identity(_shared_record(stages, votes), ADVICE):
        return shared
    for one in (*([stage] if stage else []), stages[votes], *stages.alike(votes, CHOICES)):
        # Without votes nothing depends on it: the sizes may have been too large.
        if holds_votes(one.path) and (found := read_identity(one.path / ENGINE, ADVICE)):
            return found
    return {}


def agree_on_engine(stages: Stages, votes: Votes, engine: Mapping[str, Any]) -> None:
    """Leaves how the sampler is opened for all workers on these votes: what one of them says first holds for all.

    Raises UserError where another one has said something else.
    """
    path = _shared_record(stages, votes)
    own = path.with_name(path.name + unique_suffix())
    write_atomic(own, json.dumps(engine, indent=1) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(own, path)
    own.unlink()
    if differing := differing_keys(read_identity(path, ADVICE) or {}, engine):
        raise UserError(f"{path}: the workers of one run open it in the same way; it differs in {', '.join(differing)}")


def _shared_record(stages: Stages, votes: Votes) -> Path:
    """The file beside the stages of these votes, of however many, that says how their workers open the sampler."""
    name = fingerprint(inputs_without(votes.all_inputs, CHOICES))[:12]
    return stages.root / f"engine-{name}.json"


def _note_vocabulary(codec: TextCodec, protocol: CheckpointProtocol, note: Callable[[str], None]) -> None:
    for texts, why in (
        (protocol.turn_marks, "is no single token of this vocabulary: another family's chat? (--chat template)"),
        (protocol.verdict_words, "is no single token of this vocabulary: verdicts are read without probabilities"),
    ):
        for text in texts:
            if len(codec.encode(text)) != 1:
                note(f"note: {text!r} {why}")
