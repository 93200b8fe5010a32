"""Verifies many solutions at once: every (solution, vote) is a conversation, all are in flight.

The sampler and the executor work at the same time. A conversation that stops at its code gives the
code away and rests with its KV cache in place; the others go on; when the outcome is there, it is
fed back as forced tokens. What a vote says depends on its sample id alone, never on its company.

Two vote semantics. `chain` (GenPRM, eqs. 6-7): a vote is one conversation through all steps, with
its own rationales, code and namespace. `fork` (what the published evaluation did): all votes of a
step share one history, that of vote 0, and one new conversation per step and vote starts from it.

    chain   problem step1 rationale1[v] step2 rationale2[v] ...          for each vote v
    fork    problem step1 rationale1[0] ... step_t rationale_t[v]        for each step t and vote v

A conversation is a text, and the sampler holds its tokens. Mostly the text only grows, and what it grew by is fed.
Where the protocol rewrites what was written (the published one does), the whole text is submitted anew.
"""

import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future

from jprm.errors import UserError
from jprm.execute import CodePlace, Outcome, Session
from jprm.quoting import TextCodec
from jprm.records import Problem, Rationale, Solution
from jprm.sampling import SampleEvent, Sampler
from jprm.seeds import seed_of
from jprm.verify.conversation import ContextWindow, History, OpenConversation
from jprm.verify.protocol import Done, Execute, Generate
from jprm.verify.settings import VerifySettings
from jprm.verify.table import VoteTable
from jprm.verify.texts import end_of_turn_id, ends_of_text, stop_when, texts_of
from jprm.verify.votes import NO_VERDICT, verdict_of

HISTORY_VOTE = 0  # the vote whose rationales all others continue in fork mode


def verify(
    items: Sequence[tuple[Problem, Solution]],
    votes: Sequence[int],
    sampler: Sampler,
    executor: CodePlace | None,
    tokenizer: TextCodec,
    settings: VerifySettings,
    seed: int,
    stop_early: bool = False,
    known: Mapping[str, Sequence[Rationale]] | None = None,
    heard: Callable[[Rationale], None] | None = None,
) -> Iterator[list[Rationale]]:
    """Judges every step of every solution with the given vote indices.

    Yields all rationales of a solution (by step, then vote) when it is done; solutions come in the order in which they
    end, which may vary. The rationales do not vary: a vote is drawn with the sample id `seed_of(seed, solution.id,
    vote)`, in fork mode `seed_of(seed, solution.id, step, vote)`. So votes can be added later by asking for the new
    indices only (in fork mode vote 0 is then drawn again, unreported, for the others to continue).

    known: rationales by solution id that an earlier run has `heard`, however it ended; only what is
        missing of the votes asked for is drawn. A vote that lacks a step is drawn again from its
        first step (in fork mode from its own: only vote 0 is needed again), which gives the same.
    heard: is called with every rationale that is new, as soon as it is there.
    stop_early: report a solution only up to the first step that every vote calls wrong (reward below 1/2). The first
        error of any subset of these votes stays the same: the mean of numbers below 1/2 is below 1/2, and all earlier
        steps are reported in full. A None there stops nothing: the subset of that vote alone sees no error. Votes do
        not wait for one another, which could lock a sampler with few slots; what a vote has written beyond that step is
        not reported (it may have been `heard`). Of more votes than are `known` the new ones are drawn first; votes that
        an earlier run stopped go on only where a new one disagrees.

    A verdict that nobody could read is None (see `Done`). A conversation that would outgrow the context ends there,
    with the verdict None and the reason "context" for this step and the later ones, unless `settings.overflow` shortens
    it (`Rationale.shortened` counts that). A solution of which the sampler has lost a conversation is given up: the
    rationales that it lacks get the verdict None, a reason that begins with `LOST`, and are not `heard`.

    Raises UserError for settings that do not fit the tokenizer or each other.
    """
    driver = Driver(votes, sampler, executor, tokenizer, settings, seed, stop_early)
    known, heard = known or {}, heard or (lambda rationale: None)
    tables = (
        VoteTable(problem, solution, votes, settings.mode, known.get(solution.id, ()), heard)
        for problem, solution in items
    )
    return (table.rows() for table in driver.run(deque(tables)))


class Driver:
    """Fills tables of votes. `jprm.verify.branches` overrides public methods for tables of its own."""

    def __init__(
        self,
        votes: Sequence[int],
        sampler: Sampler,
        executor: CodePlace | None,
        tokenizer: TextCodec,
        settings: VerifySettings,
        seed: int,
        stop_early: bool = False,
    ):
        if not votes or len(set(votes)) != len(votes) or min(votes) < 0:
            raise UserError(f"votes {list(votes)} must be different indices from 0 on")
        self.votes = list(votes)
        self.sampler, self.executor, self.tokenizer = sampler, executor, tokenizer
        self.settings, self.seed, self.stop_early = settings, seed, stop_early
        self.chain = settings.mode == "chain"
        self.format = settings.template
        settings.dialogue(tokenizer, 0)  # a wrong style is named before anything runs
        self.stops = self.format.stop_ids(tokenizer)
        self.ends = ends_of_text(tokenizer)
        self.end_of_turn = end_of_turn_id(tokenizer, self.format.end_of_turn)
        self.stop_when = stop_when(tokenizer, self.format.all_stops) if self.format.all_stops else None
        self.word_ids = self._word_ids()
        self.window = ContextWindow(self.format, tokenizer, settings.context_tokens, settings.overflow)
        self.texts = texts_of(tokenizer, self.format.reference)
        self.conversations: dict[int, OpenConversation] = {}  # by the sampler's handle
        self.finished: deque[VoteTable] = deque()
        self.outcomes: queue.SimpleQueue[tuple[OpenConversation, Future[Outcome]]] = queue.SimpleQueue()
        self.running_code = 0

    def _word_ids(self) -> tuple[int, ...]:
        """Returns the tokens of Yes and No; none where the vocabulary lacks them and only the word is asked for."""
        try:
            return self.format.verdict_ids(self.tokenizer)
        except UserError as error:
            readout = self.settings.readout
            if readout == "vote":  # it is read off the text; only P(Yes) is not to be had
                return ()
            raise UserError(f'{error} for the read-out "{readout}"; the read-out "vote" needs no probability') from None

    def run(self, waiting: deque[VoteTable]) -> Iterator[VoteTable]:
        """Fills the tables and gives each back as it is full; meanwhile the caller may queue further ones."""
        try:
            while waiting or self.conversations or self.finished:
                # 1. Begin solutions as long as their conversations may be in flight.
                while waiting and self._has_room():
                    self.begin(waiting.popleft())
                # 2. Let the sampler work for a moment. A conversation that has stopped is fed to its
                #    dialogue, and generates on, has code run, or concludes its step.
                events = self.sampler.poll()
                for event in events:
                    self._receive(event)
                # 3. Give finished solutions back before any wait: nobody should sit on finished work.
                while self.finished:
                    yield self.finished.popleft()
                # 4. Feed back what code has printed; where the sampler has nothing to do, wait for some.
                idle = not self.sampler.busy
                assert events or not idle or self.running_code or not self.conversations, "a conversation was lost"
                self._collect(wait=idle)
        finally:
            for conversation in list(self.conversations.values()):
                self.release(conversation)

    def _has_room(self) -> bool:
        in_flight = len(self.conversations)
        return not in_flight or in_flight + len(self.votes) <= self.settings.max_in_flight

    # Phase 1: begin a solution, and open its conversations.

    def begin(self, table: VoteTable) -> None:
        """Draws what the table lacks, from the first step on; finishes it if it lacks nothing."""
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
        quoted = self.texts.quote(problem.text), self.texts.quote(solution.steps[0])
        self.open(table, 0, votes, History.begin(self.format, *quoted, self.settings.style), session)

    def _votes_of_step(self, table: VoteTable, step: int) -> list[int]:
        """Returns the votes of fork mode that lack this step, and the one that the next steps continue."""
        if not any(table.lacking(later) for later in range(step, table.limit)):
            return []
        further = any(table.lacking(later) for later in range(step + 1, table.limit))
        return sorted({*table.lacking(step), *([HISTORY_VOTE] if further else [])})

    def open(
        self,
        table: VoteTable,
        step: int,
        votes: Sequence[int],
        history: History,
        past: Session | None,
        parent: OpenConversation | None = None,
    ) -> None:
        """Starts a conversation per vote at `step`, all from the same history and namespace.

        past: the session with that namespace; it is closed here, each conversation has a copy.
        parent: the conversation that this text repeats and goes on from, if there is one; the
            sampler need not hold it any more.
        """
        dialogues = [self.settings.dialogue(self.tokenizer, step) for _ in votes]
        opening = dialogues[0].next_action()
        assert isinstance(opening, Generate)
        said = dialogues[0].text
        history, prompt, fits = self.window.fit(history, said, opening.max_tokens, parent)
        text = history.text + said
        opened = [
            OpenConversation(table, vote, step, dialogue, past.fork() if past else None, history, text, prompt)
            for vote, dialogue in zip(votes, dialogues, strict=True)
        ]
        if past:
            past.close()
        table.n_open += len(opened)
        if not fits:
            for conversation in opened:
                self._give_up(conversation)
            return
        goes_on = parent is not None and prompt[: len(parent.ids)] == parent.ids
        held = parent.handle if parent and goes_on and parent.handle in self.conversations else None
        self._submit(opened, opening.max_tokens, held)

    def _submit(self, opened: list[OpenConversation], max_tokens: int, parent: int | None = None) -> None:
        """Hands conversations with the same tokens to the sampler."""
        handles = self.sampler.submit(
            opened[0].ids,
            [self._sample_id(conversation) for conversation in opened],
            max_tokens=max_tokens,
            stops=self.stops,
            logprob_ids=self.word_ids,
            stop_when=self.stop_when,
            parent=parent,
        )
        for conversation, handle in zip(opened, handles, strict=True):
            conversation.handle = handle
            self.conversations[handle] = conversation

    def _sample_id(self, conversation: OpenConversation) -> int:
        """Names the draws; a restart has another name, since positions that were drawn once are drawn again."""
        vote, step, restarts = conversation.vote, conversation.step, conversation.restarts
        path = (vote,) if self.chain else (step, vote)
        again = ("restart", restarts) if restarts else ()
        return seed_of(self.seed, conversation.table.solution.id, *path, *again)

    # Phase 2: a conversation has stopped; its dialogue says how it goes on.

    def _receive(self, event: SampleEvent) -> None:
        conversation = self.conversations.get(event.handle)
        if conversation is None:
            return  # `stop_early` dropped it while this event was under way
        if event.finish == "lost":
            self._lose(conversation.table, event.fault)
            return
        conversation.turn += event.tokens
        conversation.logprobs += list(event.logprobs)
        new = conversation.turn[conversation.fed :]
        conversation.fed = len(conversation.turn)
        text = self.texts.decode(new)
        ended = bool(new) and new[-1] == self.end_of_turn
        # Another end of a text stands in no conversation that goes on: it is to be taken back.
        conversation.exact = ended or not new or new[-1] not in self.ends
        conversation.text += text + (self.format.end_of_turn if ended else "")
        conversation.ids = [*conversation.ids, *new]
        conversation.dialogue.feed(text, len(new))
        self._go_on(conversation)

    def _go_on(self, conversation: OpenConversation) -> None:
        match conversation.dialogue.next_action():
            case Generate(_, max_tokens):
                self._generate(conversation, max_tokens)
            case Execute(code):
                assert conversation.session is not None
                self.running_code += 1
                future = conversation.session.submit(code)
                future.add_done_callback(lambda done: self.outcomes.put((conversation, done)))
            case Done() as done:
                self._conclude(conversation, done)

    def _generate(self, conversation: OpenConversation, max_tokens: int) -> None:
        """Brings a stopped conversation to the text of its dialogue, and lets it generate."""
        n_held, said = len(conversation.ids), conversation.dialogue.text
        conversation.history, ids, fits = self.window.fit(conversation.history, said, max_tokens, conversation)
        forced = ids[n_held:]
        only_grew = ids[:n_held] == conversation.ids
        conversation.text, conversation.ids, conversation.exact = conversation.history.text + said, ids, True
        if forced or not only_grew:
            conversation.turn, conversation.logprobs, conversation.fed = [], [], 0
        if not fits:
            self._give_up(conversation)
        elif only_grew:
            self.sampler.extend(conversation.handle, forced, max_tokens=max_tokens)
        else:  # the text was rewritten
            del self.conversations[conversation.handle]
            self.sampler.release(conversation.handle)
            conversation.restarts += 1
            self._submit([conversation], max_tokens)

    def _conclude(self, conversation: OpenConversation, done: Done) -> None:
        """Records the step's verdict, and goes on with the next step, in this conversation or in new ones."""
        table, dialogue, following = conversation.table, conversation.dialogue, conversation.step + 1
        # 1. Record what the vote says.
        about_words = self.word_ids, self.tokenizer, self.settings.temperature
        verdict = verdict_of(done, conversation.turn, conversation.logprobs, *about_words)
        table.put(conversation.rationale(verdict, done.reason, done.unread))
        # 2. Where every vote calls the step wrong, end the conversations on later steps.
        if self.stop_early and table.stop_after(conversation.step, self.settings.readout):
            for other in self._of(table):
                if other.step >= table.limit:
                    self.retire(other)
        # 3. Go on with the next step, if one is wanted.
        if following >= table.limit:
            self.retire(conversation)
            return
        step = self.texts.quote(table.solution.steps[following])
        history = conversation.history.following(dialogue.text, step)
        if self.chain:
            conversation.step, conversation.history = following, history
            conversation.dialogue = self.settings.dialogue(self.tokenizer, following)
            self._go_on(conversation)
            return
        if conversation.vote == HISTORY_VOTE and (votes := self._votes_of_step(table, following)):
            past = conversation.session.fork() if conversation.session else None
            self.open(table, following, votes, history, past, parent=conversation)
        self.retire(conversation)

    def _of(self, table: VoteTable) -> list[OpenConversation]:
        return [conversation for conversation in self.conversations.values() if conversation.table is table]

    # Phase 4: code has run.

    def _collect(self, wait: bool) -> None:
        """Hands finished code back to its conversations; with `wait`, sleeps until there is some."""
        while self.running_code:
            try:
                conversation, future = self.outcomes.get(block=wait)
            except queue.Empty:
                return
            wait = False
            self.running_code -= 1
            outcome = future.result()  # raises if the executor is broken, not if the code is
            if conversation.handle in self.conversations:
                conversation.dialogue.feed_outcome(outcome.text, outcome.kind)
                self._go_on(conversation)

    # Conversations end.

    def _give_up(self, conversation: OpenConversation) -> None:
        """Ends a conversation that fills the context: no judgement of this step, nor of those that would follow."""
        table, vote = conversation.table, conversation.vote
        table.put(conversation.rationale(NO_VERDICT, "context"))
        if self.chain or vote == HISTORY_VOTE:
            for step in range(conversation.step + 1, table.limit):
                for later in [vote] if self.chain else table.lacking(step):
                    table.put_nothing(step, later, "context")
        self.retire(conversation)

    def _lose(self, table: VoteTable, fault: str) -> None:
        """Ends all conversations of a solution, because the sampler cannot complete one of them."""
        for conversation in self._of(table):
            self.release(conversation)
        table.n_open = 0
        table.lose(fault)
        self.finished.append(table)

    def retire(self, conversation: OpenConversation) -> None:
        """Ends a conversation that has said all that its table wants of it."""
        self.release(conversation)
        self.leave(conversation.table)

    def leave(self, table: VoteTable) -> None:
        """Counts one conversation less that writes into a table."""
        table.n_open -= 1
        if table.n_open == 0:
            self.begin(table)  # votes that were stopped too early, if there are any

    def release(self, conversation: OpenConversation) -> None:
        """Gives up what a conversation holds of the sampler and the executor."""
        if conversation.session is not None:
            conversation.session.close()
        if self.conversations.pop(conversation.handle, None) is not None:
            self.sampler.release(conversation.handle)
