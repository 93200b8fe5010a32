"""The evaluation itself: read, sample what is missing, store, measure, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jprm.digests import file_digest
from jprm.errors import INCOMPLETE, UserError
from jprm.judge.identity import check, claim, flat, model_digest, read_identity
from jprm.judge.items import Item, read_items
from jprm.judge.judged import Account, Judged, judged
from jprm.judge.machine import Machine, read_protocol
from jprm.judge.measures import scores
from jprm.judge.options import Options
from jprm.judge.report import Result, print_result, write_json
from jprm.judge.store import VoteStore
from jprm.models.locate import find_checkpoint, find_directory
from jprm.paths import present
from jprm.progress import Progress
from jprm.records import ReadOut
from jprm.runs import HeldDirectory, provenance
from jprm.score import Scorer, Setup, find_scorer, load_plugin
from jprm.verify import ONE_VOTE, GenPRM, ThinkPRM, votes_drawn

FIRST_ERROR_ONLY = ("processbench",)  # of the others every step is scored
ENGINE = "engine."


def evaluate(options: Options) -> int:
    """Runs or resumes an evaluation, prints its table, and returns the exit code.

    0: every row is in the table. 3: rows were rejected, solutions lost, or (with `regrade`) votes
    are missing; the rest is in the table. Raises UserError for what keeps it from running.
    """
    with _Evaluation(options) as evaluation:
        if not options.regrade:
            evaluation.sample()
        result = evaluation.result()
    print_result(result)
    if options.json_file is not None:
        write_json(options.json_file, result)
    return INCOMPLETE if result.rejected or result.lost or result.missing else 0


class _Evaluation:
    """What is asked, what it is asked of, and the directory that holds the votes."""

    def __init__(self, options: Options):
        present(options.data, "--data")
        self.items = read_items(options.data, options.layout)
        self.chosen = self.items.items[: options.limit]
        self.stop_early = self.items.benchmark in FIRST_ERROR_ONLY and not options.full
        if options.plugin is not None:
            load_plugin(options.plugin)
        if not options.regrade:
            self.scorer = find_scorer(options.scorer)
            self.protocol = read_protocol(options, self.scorer.protocol)
        self.options = options if options.regrade else _located(options, self.scorer)
        self.directory = HeldDirectory(  # called as the user calls the model, wherever that lies
            options.directory, "give --out DIR for another place", "give another --out DIR"
        )
        try:
            self._open()
        except BaseException:
            self.directory.close()
            raise

    def _open(self) -> None:
        options, path = self.options, self.directory.path
        stored = read_identity(path)
        truth = {"data": file_digest(options.data), "benchmark": self.items.benchmark}
        if options.regrade:
            if stored is None:
                raise UserError(f"{path}: no votes there; run it without --regrade, or give --out")
            # The votes are what they are; only what they are compared with has to be the same.
            check(path, {name: stored.get(name) for name in truth}, truth)
            self.identity = stored
            self.scorer = find_scorer(stored["scorer"])
        else:
            self.identity = truth | _identity(options, self.scorer, self.protocol)
            if stored is not None:
                others = {k: v for k, v in stored.items() if not k.startswith(ENGINE)}
                check(path, others, self.identity)
        self.n = _votes(options.n, self.scorer, self.identity)
        self.engine = {k.removeprefix(ENGINE): v for k, v in (stored or {}).items() if ENGINE in k}
        self.readout: ReadOut = self._readout(self.engine)
        names = {item.solution.id: item.name for item in self.items.items}
        self.store = VoteStore(path, names)

    def _readout(self, engine: Mapping[str, Any]) -> ReadOut:
        """The user's; else the only one that the backend has, if it says so; else the scorer's."""
        asked, only = self.options.readout, engine.get("readout")
        if only and asked not in (None, only):
            raise UserError(
                f"--readout {asked}: the votes in {self.directory.path} have no probabilities; use --readout {only}"
            )
        return only or asked or self.scorer.readout

    def __enter__(self) -> _Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.close()

    def _judged(self, item: Item) -> Judged | None:
        rows = self.store.rationales(item.solution.id)
        return judged(item, rows, self.n, self.readout, self.stop_early)

    def sample(self) -> None:
        """Judges and stores what is missing; nothing is loaded where nothing is."""
        missing = [item for item in self.chosen if self._judged(item) is None]
        if not missing:
            return
        progress = Progress(len(missing))
        with Machine(
            self.options, self.protocol, self.readout, self.items.items, self.engine, self._claim, progress
        ) as machine:
            if not self.scorer.samples:
                self._claim({})
            try:
                self._judge(missing, machine, progress)
            except FloatingPointError as error:  # the weights' fault, not the program's
                raise UserError(f"--model {self.options.model}: {error}") from None
            finally:
                self.store.close(drawn_tokens=machine.drawn_tokens, provenance=provenance())

    def _judge(self, missing: Sequence[Item], machine: Machine, progress: Progress) -> None:
        options, store = self.options, self.store
        if self.n < options.n:
            progress.note(f"{ONE_VOTE} ({options.n} were asked for)")
        setup = Setup(
            model=options.model,
            mode=options.mode,
            readout=self.readout,
            seed=options.seed,
            stop_early=self.stop_early,
            generator=machine.generator,
        )
        items = [(item.problem, item.solution) for item in missing]
        for ended in self.scorer(setup).judge(items, range(self.n), store.known(), store.add):
            store.lose(ended.solution_id, ended.lost)
            progress.advance(1, f"solutions judged, {machine.speed}")

    def _claim(self, engine: Mapping[str, Any]) -> None:
        claim(self.directory.path, self.identity | flat(engine, ENGINE))
        self.readout = self._readout(engine)

    def result(self) -> Result:
        """The table of what is stored."""
        options, found = self.options, []
        missing = 0
        for item in self.chosen:
            solution = self._judged(item)
            reason = self.store.lost.get(item.solution.id, "")
            if solution is not None:
                found.append(solution)
            elif reason:
                found.append(Judged(item, None, (), reason))
            else:
                missing += 1
        if not found:
            raise UserError(
                f"{self.directory.path}: {self.n} votes are stored of no solution; run it "
                "without --regrade, or with a smaller --n"
            )
        about = {
            "benchmark": self.items.benchmark,
            "data": str(options.data),
            "model": str(options.model) if options.model else None,
            "n": self.n,
            "n_asked": options.n,
            "readout": self.readout,
            "full": not self.stop_early,
            "missing_as": options.missing,
            **{name: self.identity[name] for name in ("scorer", "mode", "seed")},
            "identity": read_identity(self.directory.path),
        }
        return Result(
            about,
            found,
            scores(found, self.n, not self.stop_early, options.missing),
            Account.of(found),
            self.items.rejected,
            self.items.notes,
            missing,
            self.store.seconds,
        )


def _votes(asked: int, scorer: type[Scorer], identity: Mapping[str, Any]) -> int:
    """The votes that are drawn: one where chance has no part in them."""
    if not scorer.chance:
        return 1
    if not scorer.samples:
        return asked
    temperature, top_k = (identity[f"protocol.sampling.{key}"] for key in ("temperature", "top_k"))
    return votes_drawn(asked, temperature, top_k)


def _located(options: Options, scorer: type[Scorer]) -> Options:
    """The options with the directory of the model, and its adapters. Raises UserError."""
    if options.model is None:
        if scorer.samples:
            raise UserError("--model DIR is missing: the directory of a Hugging Face checkpoint")
        return options
    if not scorer.samples:  # it reads whatever it likes of the directory
        return dataclasses.replace(options, model=find_directory(options.model, "--model"))
    found = find_checkpoint(options.model, "--model", weights=options.backend == "own")
    return dataclasses.replace(options, model=found.directory, adapters=found.adapters)


def _identity(options: Options, scorer: type[Scorer], protocol: GenPRM | ThinkPRM) -> dict[str, Any]:
    """What decides the votes, but for the data and the engine's sizes."""
    return flat(
        {
            "model": model_digest(options.model) if options.model else None,
            "adapters": "+".join(map(model_digest, options.adapters)) or None,
            "scorer": options.scorer,
            "plugin": file_digest(options.plugin) if options.plugin else None,
            "mode": options.mode,
            "seed": options.seed,
            "overflow": options.overflow,
            "protocol": protocol.model_dump(mode="json") if scorer.samples else None,
        }
    )
