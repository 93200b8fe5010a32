"""Verifies many solutions at once: every (solution, vote) is a conversation, all are in flight.

The sampler and the executor work at the same time. A conversation that stops at its code gives the
code away and rests with its KV cache in place; the others go on; when the outcome is there, it is
fed back as forced tokens. What a vote says depends on its sample id alone, never on its company.

Two vote semantics. `chain` (GenPRM, eqs. 6-7): a vote is one conversation through all steps, with
its own rationales, code and namespace. `fork` (what the published evaluation did): all votes of a
step share one history, that of vote 0, and one new conversation per step and vote starts from it.

    chain   problem step1 rationale1[v] step2 rationale2[v] ...          for each vote v
    fork    problem step1 rationale1[0] ... step_t rationale_t[v]        for each step t and vote v

A conversation is a text, and the sampler holds its tokens. Mostly the text only grows, and what it
grew by is fed. Where the format rewrites what was written (the published protocol does), the whole
text is submitted anew.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from jprm.errors import UserError
from jprm.records import Problem, Rationale, Solution, Verdict
from jprm.seeds import seed_of
from jprm.verify.format import Machine, format_of
from jprm.verify.history import History
from jprm.verify.lane import Lane, Tokens
from jprm.verify.ports import CodeSession, Event, Executor, Sampler, TextCodec
from jprm.verify.protocol import Done, Execute, Generate
from jprm.verify.readout import probability_yes, token_at, verdict_position
from jprm.verify.settings import Settings
from jprm.verify.stops import ends_of_text
from jprm.verify.table import NO_VERDICT, Table
from jprm.verify.texts import texts_of

HISTORY_VOTE = 0  # the vote whose rationales all others continue in fork mode


def verify(
    items: Sequence[tuple[Problem, Solution]],
    votes: Sequence[int],
    sampler: Sampler,
    executor: Executor | None,
    tokenizer: TextCodec,
    settings: Settings,
    seed: int,
    stop_early: bool = False,
    known: Mapping[str, Sequence[Rationale]] | None = None,
    heard: Callable[[Rationale], None] | None = None,
) -> Iterator[list[Rationale]]:
    """Judge every step of every solution with the given vote indices.

    Yields all rationales of a solution (by step, then vote) when it is done; solutions come in the
    order in which they end, which may vary. The rationales do not vary: a vote is drawn with the
    sample id `seed_of(seed, solution.id, vote)`, in fork mode `seed_of(seed, solution.id, step,
    vote)`. So votes can be added later by asking for the new indices only (in fork mode vote 0 is
    then drawn again, unreported, for the others to continue).

    known: rationales by solution id that an earlier run has `heard`, however it ended; only what is
        missing of the votes asked for is drawn. A vote that lacks a step is drawn again from its
        first step (in fork mode from its own: only vote 0 is needed again), which gives the same.
    heard: told every rationale that is new, as soon as it is there.

    A conversation that would outgrow the context ends there: this step and the later ones get the
    verdict None with the reason "context". `settings.overflow` may first shorten what it wrote about
    earlier steps, which `Rationale.shortened` counts. A verdict nobody could read is None, too (see
    `Done`).

    A solution of which the sampler has lost a conversation is given up; rationales that lack get the
    verdict None, a reason that begins with `table.LOST`, and are not `heard`.

    stop_early: report a solution only up to the first step that every vote calls wrong (reward
    below 1/2), and waste no more on it. The first error of any subset of these votes stays the
    same: at that step the mean of any subset of numbers below 1/2 is below 1/2, so its first error
    is this step or an earlier one, and all earlier steps are reported in full. A None there stops
    nothing: the subset of that vote alone sees no error. Votes do not wait for one another, which
    could lock a sampler with few lanes; what a vote has written beyond that step is not reported
    (the sampler's statistics count it; it may have been `heard`). With more votes than are `known`
    the new ones are drawn first; votes that an earlier run stopped go on only where one of the new
    ones disagrees. What is reported is the same as with all votes at once.

    Raises UserError for settings that do not fit the tokenizer or each other.
    """
    driver = Driver(votes, sampler, executor, tokenizer, settings, seed, stop_early)
    known, heard = known or {}, heard or (lambda rationale: None)
    tables = (
        Table(problem, solution, votes, settings.mode, known.get(solution.id, ()), heard) for problem, solution in items
    )
    return (table.rows() for table in driver.run(deque(tables)))


class Driver:
    """Fills tables. What is not private, `jprm.verify.branches` changes for its own tables."""

    def __init__(
        self,
        votes: Sequence[int],
        sampler: Sampler,
        executor: Executor | None,
        tokenizer: TextCodec,
        settings: Settings,
        seed: int,
        stop_early: bool = False,
    ):
        if not votes or len(set(votes)) != len(votes) or min(votes) < 0:
            raise UserError(f"votes {list(votes)} must be different indices from 0 on")
        self.votes = list(votes)
        self.sampler, self.executor, self.tokenizer = sampler, executor, tokenizer
        self.settings, self.seed, self.stop_early = settings, seed, stop_early
        self.chain = settings.mode == "chain"
        self.format = format_of(settings.template)
        self._new_dialogue(0)  # a wrong style or mode is said before anything runs
        self.stops = self.format.stop_ids(tokenizer)
        self.ends = ends_of_text(tokenizer)
        self.stop_when = self.format.stop_when(tokenizer)
        self.logprob_ids = self._verdict_ids()
        self.tokens = Tokens(self.format, tokenizer, settings)
        self.texts = texts_of(tokenizer, self.format.reference)
        self.lanes: dict[int, Lane] = {}
        self.finished: deque[Table] = deque()
        self.outcomes: queue.SimpleQueue[tuple[Lane, Future[Any]]] = queue.SimpleQueue()
        self.running_code = 0

    def _verdict_ids(self) -> tuple[int, ...]:
        try:
            return self.format.verdict_ids(self.tokenizer)
        except UserError:
            if self.settings.readout == "vote":  # read off the text; only P(Yes) is not to be had
                return ()
            raise

    def run(self, waiting: deque[Table]) -> Iterator[Table]:
        """Fill the tables, each given back as it is full; meanwhile further ones may be queued."""
        try:
            while waiting or self.lanes or self.finished:
                while waiting and self._has_room():
                    self.begin(waiting.popleft())
                events = self.sampler.poll()
                for event in events:
                    self._hear(event)
                while self.finished:  # before any wait: nobody should sit on finished work
                    yield self.finished.popleft()
                idle = not self.sampler.busy
                assert events or not idle or self.running_code or not self.lanes, "a lane was lost"
                self._collect(wait=idle)
        finally:
            for lane in list(self.lanes.values()):
                self.release(lane)

    def _has_room(self) -> bool:
        return not self.lanes or len(self.lanes) + len(self.votes) <= self.settings.max_in_flight

    def _new_dialogue(self, step: int) -> Machine:
        settings = self.settings
        return self.format.dialogue(self.tokenizer, step, settings.style, settings.execute, settings.budget)

    # Conversations: begin, go on, end.

    def begin(self, table: Table) -> None:
        """Draw what the table lacks, from the first step on; finish it if it lacks nothing."""
        if self.stop_early:
            table.stop_where_known(self.settings.readout)
        votes = table.behind(self.stop_early) if self.chain else self._votes_of_step(table, 0)
        if not votes:
            self.finished.append(table)
            return
        problem, solution = table.problem, table.solution
        session = None
        if self.settings.execute == "executed":
            assert self.executor is not None, "nothing executes code"
            session = self.executor.session()
        begun, first = self.texts.quote(problem.text), self.texts.quote(solution.steps[0])
        history = History.begin(self.format, begun, first, self.settings.style)
        self.open(table, 0, votes, history, session)

    def _votes_of_step(self, table: Table, step: int) -> list[int]:
        """In fork mode: the votes that lack this step, and the one that the next steps continue."""
        if not any(table.lacking(later) for later in range(step, table.limit)):
            return []
        further = any(table.lacking(later) for later in range(step + 1, table.limit))
        return sorted({*table.lacking(step), *([HISTORY_VOTE] if further else [])})

    def open(
        self,
        table: Table,
        step: int,
        votes: Sequence[int],
        history: History,
        past: CodeSession | None,
        parent: Lane | None = None,
    ) -> None:
        """Start a conversation per vote at `step`, all from the same history and namespace.

        parent: the conversation that this text repeats and goes on from, if there is one; the
            sampler need not hold it any more.
        """
        dialogues = [self._new_dialogue(step) for _ in votes]
        opening = dialogues[0].next_action()
        assert isinstance(opening, Generate)
        said = dialogues[0].text
        history, prompt, fits = self.tokens.make_room(history, said, opening.max_tokens, parent)
        whole = history.text + said
        lanes = [
            Lane(table, vote, step, dialogue, past.fork() if past else None, history, whole, prompt)
            for vote, dialogue in zip(votes, dialogues, strict=True)
        ]
        if past:
            past.close()
        table.open_lanes += len(lanes)
        if not fits:
            for lane in lanes:
                self._give_up(lane)
            return
        known = parent is not None and prompt[: len(parent.ids)] == parent.ids
        held = parent.handle if parent and known and parent.handle in self.lanes else None
        self._submit(lanes, opening.max_tokens, held)

    def _submit(self, lanes: list[Lane], max_tokens: int, parent: int | None = None) -> None:
        """Hand conversations with the same tokens to the sampler."""
        handles = self.sampler.submit(
            lanes[0].ids,
            [self._sample_id(lane) for lane in lanes],
            max_tokens=max_tokens,
            stops=self.stops,
            logprob_ids=self.logprob_ids,
            stop_when=self.stop_when,
            parent=parent,
        )
        for lane, handle in zip(lanes, handles, strict=True):
            lane.handle = handle
            self.lanes[handle] = lane

    def _sample_id(self, lane: Lane) -> int:
        """Another one after a restart: positions that were drawn once are drawn again."""
        path = (lane.vote,) if self.chain else (lane.step, lane.vote)
        again = ("restart", lane.restarts) if lane.restarts else ()
        return seed_of(self.seed, lane.table.solution.id, *path, *again)

    def _say(self, lane: Lane, max_tokens: int) -> None:
        """Bring a stopped conversation to what its dialogue says, and let it generate."""
        known, said = len(lane.ids), lane.dialogue.text
        lane.history, ids, fits = self.tokens.make_room(lane.history, said, max_tokens, lane)
        whole = lane.history.text + said
        forced = ids[known:]
        grown = ids[:known] == lane.ids
        lane.held, lane.ids, lane.exact = whole, ids, True
        if forced or not grown:
            lane.turn, lane.watched, lane.heard = [], [], 0
        if not fits:
            self._give_up(lane)
        elif grown:
            self.sampler.extend(lane.handle, forced, max_tokens=max_tokens)
        else:
            del self.lanes[lane.handle]
            self.sampler.release(lane.handle)
            lane.restarts += 1
            self._submit([lane], max_tokens)

    def _hear(self, event: Event) -> None:
        lane = self.lanes.get(event.handle)
        if lane is None:
            return  # dropped by `stop_early` while this event was under way
        if event.finish == "lost":
            self._lose(lane.table, event.fault)
            return
        lane.turn += event.tokens
        lane.watched += list(event.logprobs)
        if event.finish is None:
            return
        new = lane.turn[lane.heard :]
        lane.heard = len(lane.turn)
        text = self.texts.decode(new)
        ended = bool(new) and new[-1] == self.tokenizer.eos_id
        # Another end of a text stands in no conversation that goes on: it is to be taken back.
        lane.exact = ended or not new or new[-1] not in self.ends
        lane.held += text + (self.format.end_of_turn if ended else "")
        lane.ids = [*lane.ids, *new]
        lane.dialogue.feed(text, len(new))
        self._go_on(lane)

    def _go_on(self, lane: Lane) -> None:
        match lane.dialogue.next_action():
            case Generate(_, max_tokens):
                self._say(lane, max_tokens)
            case Execute(code):
                assert lane.session is not None
                self.running_code += 1
                future = lane.session.submit(code)
                future.add_done_callback(lambda done: self.outcomes.put((lane, done)))
            case Done() as done:
                self._conclude(lane, done)

    def _collect(self, wait: bool) -> None:
        """Hand finished code back to its conversations; with `wait`, sleep until there is some."""
        while self.running_code:
            try:
                lane, future = self.outcomes.get(block=wait)
            except queue.Empty:
                return
            wait = False
            self.running_code -= 1
            outcome = future.result()  # raises if the executor is broken, not if the code is
            if lane.handle in self.lanes:
                lane.dialogue.feed_outcome(outcome.text, outcome.kind)
                self._go_on(lane)

    def _conclude(self, lane: Lane, done: Done) -> None:
        """Record the step's verdict; then the next step, in this conversation or in new ones."""
        table = lane.table
        verdict = self._verdict(lane, done)
        table.put(*(lane.step, lane.vote, lane.dialogue, verdict, done.reason, lane.history), unread=done.unread)
        if self.stop_early and table.stop_after(lane.step, self.settings.readout):
            for other in [other for other in self.lanes.values() if other.table is table]:
                if other.step >= table.limit:
                    self.retire(other)
        following = lane.step + 1
        if following >= table.limit:
            self.retire(lane)
            return
        step = self.texts.quote(table.solution.steps[following])
        history = lane.history.following(lane.dialogue.text, step)
        if self.chain:
            lane.step, lane.history = following, history
            lane.dialogue = self._new_dialogue(following)
            opening = lane.dialogue.next_action()
            assert isinstance(opening, Generate)
            self._say(lane, opening.max_tokens)
        else:
            votes = self._votes_of_step(table, following) if lane.vote == HISTORY_VOTE else []
            if votes:
                past = lane.session.fork() if lane.session else None
                self.open(table, following, votes, history, past, parent=lane)
            self.retire(lane)

    def _give_up(self, lane: Lane) -> None:
        """The context is full: no judgement of this step, nor of those that would follow here."""
        table = lane.table
        table.put(lane.step, lane.vote, lane.dialogue, NO_VERDICT, "context", lane.history)
        if self.chain or lane.vote == HISTORY_VOTE:
            for step in range(lane.step + 1, table.limit):
                for vote in [lane.vote] if self.chain else table.lacking(step):
                    table.put_nothing(step, vote, "context")
        self.retire(lane)

    def _lose(self, table: Table, fault: str) -> None:
        """Ends all conversations of a solution, because the sampler cannot complete one of them."""
        for lane in [lane for lane in self.lanes.values() if lane.table is table]:
            self.release(lane)
        table.open_lanes = 0
        table.lose(fault)
        self.finished.append(table)

    def retire(self, lane: Lane) -> None:
        """A conversation has said all that its table wants of it."""
        self.release(lane)
        self.leave(lane.table)

    def leave(self, table: Table) -> None:
        """One conversation less writes into a table."""
        table.open_lanes -= 1
        if table.open_lanes == 0:
            self.begin(table)  # votes that were stopped too early, if there are any

    def release(self, lane: Lane) -> None:
        """Give up what a conversation holds of the sampler and the executor."""
        if lane.session is not None:
            lane.session.close()
        if self.lanes.pop(lane.handle, None) is not None:
            self.sampler.release(lane.handle)

    # Records.

    def _verdict(self, lane: Lane, done: Done) -> Verdict:
        if done.correct is None:
            return NO_VERDICT
        if not self.logprob_ids:
            return Verdict(done.correct, None, None)
        yes_id, no_id = self.logprob_ids
        at = None if done.word_at is None else token_at(self.tokenizer, lane.turn, done.word_at)
        position = verdict_position(lane.turn, yes_id, no_id, done.correct, at)
        if position is None:
            return Verdict(done.correct, None, None)
        yes, no = (float(value) for value in lane.watched[position])
        tempered = probability_yes(yes, no, self.settings.temperature)
        return Verdict(done.correct, probability_yes(yes, no), tempered)
